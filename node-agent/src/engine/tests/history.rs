//! The plan is a function of the current state, never of history (invariant 3).

use super::*;
use kube::ResourceExt;
use margay_proto::crd::NodeConfigSpec;
use serde_json::json;

/// A plan without its number: the only thing that counts.
fn bare(plan: Plan) -> Plan {
    Plan {
        generation: 0,
        ..plan
    }
}

/// States that differ in everything an engine may be told.
fn states() -> Vec<(&'static str, State)> {
    let cluster = State::cluster;
    let mut policed = cluster();
    policed.policies.push(policy("deny-web", "web"));
    policed.pods.push(pod("peer", "b").label("app", "web"));
    let mut busy = cluster();
    busy.pods.push(pod("shop", SELF));
    let shop = attachment("c2", "shop", &["10.244.0.2", "fd44::2"]);
    busy.attachments.push(shop);
    busy.blocks.push(block("10.244.1.0/26"));
    busy.learned = learned(&[("10.244.7.0/26", &["172.31.0.2", "172.31.0.3"])]);
    let mut remade = cluster();
    remade.pods[0].metadata.uid = Some("uid-web-again".to_owned());
    remade.attachments = vec![attachment("c3", "web", &["10.244.0.1", "fd44::1"])];
    remade.attachments[0].uid = "uid-web-again".to_owned();
    let mut moved = cluster();
    moved.pods = vec![pod("web", "b")];
    moved.attachments.clear();
    let racks = NodeConfigSpec {
        node_selector: selector("rack", "1"),
        as_number: Some(65001),
        ..NodeConfigSpec::default()
    };
    let mut unconfigured = cluster();
    unconfigured.inputs.configurations.clear();
    let mut unnamed = cluster();
    unnamed.inputs.nodes.clear();
    vec![
        ("empty", State::empty()),
        ("cluster", cluster()),
        ("policed", policed),
        ("busy", busy),
        ("the pod made anew", remade),
        ("the pod on another node", moved),
        (
            "racks",
            cluster()
                .with(node(SELF, &["172.31.0.1"]).label("rack", "1"))
                .with(node_config("r1", racks)),
        ),
        ("filtered", filters::state("mark").with(filters::mark())),
        ("a filter that is not there", filters::state("mark")),
        (
            "a wrong peer",
            cluster().with(peer(
                "tor",
                json!({"address": "172.31.0.254", "remoteAS": "x"}),
            )),
        ),
        ("no BGPConfiguration", unconfigured),
        ("no Node", unnamed),
    ]
}

/// By single changes, as a watch tells them.
fn changes(from: &State, to: &State) -> Vec<Event> {
    fn diff<K: Clone + PartialEq>(
        from: &[K],
        to: &[K],
        same: fn(&K, &K) -> bool,
        wrap: fn(Change<K>) -> Event,
    ) -> Vec<Event> {
        let gone = from
            .iter()
            .filter(|old| !to.iter().any(|new| same(old, new)));
        let came = to.iter().filter(|new| !from.contains(new));
        gone.cloned()
            .map(|k| wrap(Change::Delete(k)))
            .chain(came.cloned().map(|k| wrap(Change::Apply(k))))
            .collect()
    }
    fn named<K: ResourceExt + Clone + PartialEq>(
        from: &BTreeMap<String, K>,
        to: &BTreeMap<String, K>,
        wrap: fn(Change<K>) -> Event,
    ) -> Vec<Event> {
        let list =
            |objects: &BTreeMap<String, K>| -> Vec<K> { objects.values().cloned().collect() };
        diff(
            &list(from),
            &list(to),
            |a, b| a.name_any() == b.name_any(),
            wrap,
        )
    }
    let (old, new) = (&from.inputs, &to.inputs);
    let mut events = named(&old.nodes, &new.nodes, Event::Nodes);
    events.extend(named(&old.pools, &new.pools, Event::Pools));
    events.extend(named(
        &old.configurations,
        &new.configurations,
        Event::Configurations,
    ));
    events.extend(named(&old.peers, &new.peers, Event::Peers));
    events.extend(named(&old.filters, &new.filters, Event::Filters));
    events.extend(named(&old.bgp_nodes, &new.bgp_nodes, Event::BgpNodes));
    events.extend(named(
        &old.node_configs,
        &new.node_configs,
        Event::NodeConfigs,
    ));
    events.extend(diff(
        &from.pods,
        &to.pods,
        |a, b| a.metadata.uid == b.metadata.uid,
        Event::Pods,
    ));
    events.extend(diff(
        &from.namespaces,
        &to.namespaces,
        |a, b| a.name_any() == b.name_any(),
        Event::Namespaces,
    ));
    events.extend(diff(
        &from.policies,
        &to.policies,
        |a, b| a.name_any() == b.name_any(),
        Event::Policies,
    ));
    events.push(Event::Blocks(to.blocks.clone()));
    events.push(Event::Learned(Arc::new(to.learned.clone())));
    events.push(Event::NextHops(Arc::new(to.next_hops.clone())));
    let gone = from
        .attachments
        .iter()
        .filter(|a| !to.attachments.contains(a));
    events.extend(gone.map(|a| detach(&link_name(&a.key)).0));
    events.extend(to.attachments.iter().cloned().map(|a| attach(a).0));
    events
}

/// A deterministic stream of numbers (xorshift), so that a failure names its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.roll(last + 1));
        }
    }
}

#[test]
fn the_way_to_a_state_does_not_show() {
    let states = states();
    let differ = |(i, (_, state)): (usize, &(_, State))| {
        let others = states[..i].iter();
        others
            .into_iter()
            .all(|(_, other)| bare(plan_of(other)) != bare(plan_of(state)))
    };
    assert!(
        states.iter().enumerate().all(differ),
        "or the test shows nothing"
    );
    for (last, target) in &states {
        let expected = bare(plan_of(target));
        let mut engine = fresh();
        let mut reversed = fresh();
        let mut hurried = fresh();
        for (_, state) in &states {
            state.tell(&mut engine);
            engine.plan();
            state.tell(&mut hurried);
        }
        for (_, state) in states.iter().rev() {
            state.tell(&mut reversed);
            State::empty().tell(&mut reversed);
            reversed.plan();
            state.tell(&mut reversed);
            state.tell(&mut reversed);
        }
        for engine in [&mut engine, &mut reversed, &mut hurried] {
            target.tell(engine);
            assert_eq!(bare(engine.plan()), expected, "{last}");
            assert_eq!(bare(engine.plan()), expected, "{last}, asked again");
        }
    }
}

#[test]
fn single_changes_lead_where_a_list_does() {
    let states = states();
    for (from_name, from) in &states {
        for (to_name, to) in &states {
            let mut engine = fresh();
            from.tell(&mut engine);
            engine.plan();
            let mut twice = changes(from, to);
            twice.extend(changes(from, to));
            for event in twice {
                engine.handle(event);
            }
            assert_eq!(
                bare(engine.plan()),
                bare(plan_of(to)),
                "{from_name} to {to_name}"
            );
        }
    }
}

#[test]
fn the_order_of_events_does_not_show() {
    for (name, state) in states() {
        let expected = bare(plan_of(&state));
        for seed in 1..=20 {
            let mut dice = Dice(seed * 0x9e37_79b9);
            let mut events = state.events();
            dice.shuffle(&mut events);
            let mut engine = fresh();
            for event in events {
                engine.handle(event);
                if dice.roll(3) == 0 {
                    engine.plan();
                }
            }
            assert_eq!(bare(engine.plan()), expected, "{name}, seed {seed}");
        }
    }
}

#[test]
fn generations_count_up() {
    let mut engine = fresh();
    let first = engine.plan().generation;
    State::cluster().tell(&mut engine);
    assert_eq!(engine.plan().generation, first + 1);
}

#[test]
fn an_event_that_changes_nothing_asks_for_no_plan() {
    let mut engine = fresh();
    let state = State::cluster();
    state.tell(&mut engine);
    for event in state.events() {
        // Attachments are answered with a generation, policy and learned routes come as they are.
        let quiet = !matches!(
            event,
            Event::Attach(..)
                | Event::Learned(_)
                | Event::Underlay(_)
                | Event::Pods(_)
                | Event::Namespaces(_)
                | Event::Policies(_)
        );
        let name = format!("{event:?}");
        assert!(!(engine.handle(event) && quiet), "{name}");
    }
}
