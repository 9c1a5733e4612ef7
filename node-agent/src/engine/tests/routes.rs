use super::*;
use crate::kernel::route::NextHop;

fn routes(state: &State) -> RouteSet {
    (*plan_of(state).routes.unwrap()).clone()
}

fn via(gateways: &[&str]) -> Target {
    Target::Via(gateways.iter().map(|g| NextHop::new(ip(g), 2)).collect())
}

#[test]
fn pods_blocks_and_what_was_learned_have_routes() {
    let routes = routes(&State::cluster());
    let pod = Target::Pod {
        link: link_name(&attachment("c1", "web", &[]).key),
    };
    let expected = [
        ("10.244.0.1/32", pod.clone(), Some("172.31.0.1")),
        ("fd44::1/128", pod, Some("fd31::1")),
        ("10.244.0.0/26", Target::Unreachable, None),
        ("fd44::/122", Target::Unreachable, None),
        ("10.244.0.64/26", via(&["172.31.0.2"]), None),
    ];
    let route = |(cidr, target, src): (&str, Target, Option<&str>)| {
        (
            prefix(cidr),
            Route {
                target,
                src: src.map(ip),
            },
        )
    };
    assert_eq!(routes, expected.map(route).into());
}

#[test]
fn a_pod_wins_over_the_block_of_its_one_address() {
    let mut state = State::cluster();
    state.blocks.push(block("10.244.9.5/32"));
    assert_eq!(
        routes(&state)[&prefix("10.244.9.5/32")].target,
        Target::Unreachable
    );
    state
        .attachments
        .push(attachment("c2", "fixed", &["10.244.9.5"]));
    assert!(matches!(
        routes(&state)[&prefix("10.244.9.5/32")].target,
        Target::Pod { .. }
    ));
}

#[test]
fn learned_next_hops_go_where_the_nodes_own_routes_lead() {
    let mut state = State::cluster();
    state.learned = learned(&[
        ("10.244.1.0/26", &["172.31.0.2", "172.31.0.3"]),
        ("10.244.2.0/26", &["198.51.100.9"]),
        ("10.244.3.0/26", &["203.0.113.9"]),
        ("10.244.4.0/26", &["203.0.113.9", "172.31.0.2"]),
        ("10.244.5.0/26", &["172.31.0.1"]),
        ("fd44::100/122", &["fd31::2"]),
    ]);
    let routes = routes(&state);
    let target = |cidr: &str| routes.get(&prefix(cidr)).map(|r| r.target.clone());
    assert_eq!(
        target("10.244.1.0/26"),
        Some(via(&["172.31.0.2", "172.31.0.3"]))
    );
    assert_eq!(
        target("10.244.2.0/26"),
        Some(via(&["172.31.0.254"])),
        "by a router"
    );
    assert_eq!(target("10.244.3.0/26"), None, "nothing leads there");
    assert_eq!(
        target("10.244.4.0/26"),
        Some(via(&["172.31.0.2"])),
        "the way that is there"
    );
    assert_eq!(
        target("10.244.5.0/26"),
        None,
        "the node itself is no next hop"
    );
    assert_eq!(target("fd44::100/122"), Some(via(&["fd31::2"])));
}

#[test]
fn what_the_node_sends_to_learned_routes_comes_from_its_loopback() {
    let spec = serde_json::json!({"addresses": {"ipv4": {"interface": "lo"}}});
    let mut state = State::cluster()
        .with(node_config("lo", serde_json::from_value(spec).unwrap()))
        .on(&[
            fixtures::link(1, "lo", 65536),
            fixtures::address(1, "192.0.2.7", 32, 0),
        ]);
    state.learned = learned(&[
        ("10.244.1.0/26", &["172.31.0.2", "172.31.0.3"]),
        ("fd44::100/122", &["fd31::2"]),
    ]);
    let routes = routes(&state);
    assert_eq!(routes[&prefix("10.244.1.0/26")].src, Some(ip("192.0.2.7")));
    let on_the_link = routes[&prefix("fd44::100/122")].src;
    assert_eq!(on_the_link, None, "the kernel takes the right one itself");
}

#[test]
fn a_learned_route_never_replaces_an_own_one() {
    let mut state = State::cluster();
    state.learned = learned(&[
        ("10.244.0.0/26", &["172.31.0.2"]),
        ("10.244.0.1/32", &["172.31.0.2"]),
    ]);
    let routes = routes(&state);
    assert!(routes.values().all(|r| !matches!(r.target, Target::Via(_))));
}

#[test]
fn next_hops_that_the_speaker_asks_about_are_answered() {
    let mut state = State::cluster();
    state.next_hops = [ip("172.31.0.2"), ip("203.0.113.9")].into();
    let answers = plan_of(&state).speaker.next_hops.clone();
    assert_eq!(
        answers,
        [(ip("172.31.0.2"), Some(7)), (ip("203.0.113.9"), None)].into()
    );
}

#[test]
fn own_blocks_are_announced() {
    let plan = plan_of(&State::cluster());
    let announced: Vec<_> = plan.speaker.originations.iter().map(|o| o.prefix).collect();
    assert_eq!(announced, [prefix("10.244.0.0/26"), prefix("fd44::/122")]);
}

#[test]
fn nothing_is_written_before_blocks_and_underlay_are_known() {
    for missing in ["Blocks", "Underlay"] {
        let mut engine = fresh();
        let (late, rest): (Vec<_>, Vec<_>) = State::cluster()
            .events()
            .into_iter()
            .partition(|e| format!("{e:?}").starts_with(missing));
        for event in rest {
            engine.handle(event);
        }
        assert_eq!(engine.plan().routes, None, "without {missing}");
        for event in late {
            assert!(engine.handle(event));
        }
        assert!(engine.plan().routes.is_some());
    }
}

#[test]
fn learned_routes_are_kept_until_the_speaker_has_decided() {
    let mut engine = fresh();
    let mut state = State::cluster();
    state.learned = Learned::default();
    state.tell(&mut engine);
    assert!(engine.plan().keep_learned);
    engine.handle(Event::Learned(Arc::new(learned(&[]))));
    assert!(!engine.plan().keep_learned);
}

#[test]
fn of_two_records_with_one_address_the_first_by_link_has_it() {
    let mut state = State::cluster();
    let other = attachment("c2", "shop", &["10.244.0.1"]);
    state.attachments.push(other.clone());
    let first = state
        .attachments
        .iter()
        .map(|a| link_name(&a.key))
        .min()
        .unwrap();
    assert_eq!(
        routes(&state)[&prefix("10.244.0.1/32")].target,
        Target::Pod { link: first }
    );
    state.attachments.reverse();
    assert_eq!(plan_of(&state).routes, Some(Arc::new(routes(&state))));
}
