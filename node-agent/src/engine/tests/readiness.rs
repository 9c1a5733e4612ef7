use super::*;
use crate::state::LastKnown;

fn kind_of(event: &Event) -> String {
    format!("{event:?}").split('(').next().unwrap().to_owned()
}

/// The state, without what a source of this name tells.
fn without(kinds: &[&str]) -> Engine {
    let mut engine = fresh();
    for event in State::cluster().events() {
        if !kinds.contains(&&kind_of(&event)[..]) {
            engine.handle(event);
        }
    }
    engine
}

fn not_ready(state: &State) -> String {
    plan_of(state)
        .not_ready
        .unwrap_or_else(|| "ready".to_owned())
}

#[test]
fn a_node_with_everything_is_ready() {
    assert_eq!(not_ready(&State::cluster()), "ready");
    assert_eq!(plan_of(&State::cluster()).faults, [""; 0]);
}

#[test]
fn a_new_agent_says_all_that_it_waits_for() {
    assert_eq!(
        fresh().plan().not_ready.unwrap(),
        "waiting for the API server to list Pod, Namespace, NetworkPolicy, Node, IPPool, BGPConfiguration, BGPPeer, BGPFilter, BGPNode, NodeConfig, \
         the list of this node's IPBlocks, the kernel's links and addresses"
    );
    let why = without(&["BgpNodes", "Underlay"]).plan().not_ready.unwrap();
    assert_eq!(
        why,
        "waiting for the API server to list BGPNode, the kernel's links and addresses"
    );
}

#[test]
fn pools_and_blocks_decide_whether_pods_can_start() {
    let mut state = State::cluster();
    state.inputs.pools.clear();
    assert!(not_ready(&state).starts_with("no IPPool is active for this node"));
    let mut inactive = State::cluster();
    for pool in inactive.inputs.pools.values_mut() {
        pool.status = None;
    }
    assert!(not_ready(&inactive).starts_with("no IPPool is active for this node"));
    let mut state = State::cluster();
    state.blocks.pop();
    assert_eq!(not_ready(&state), "claiming the first IPv6 block");
    let mut state = State::cluster();
    state.inputs.pools.remove("v6");
    assert!(
        not_ready(&state)
            .starts_with("no IPv6 IPPool is active for this node, which still owns IPv6 blocks"),
        "{}",
        not_ready(&state)
    );
}

/// Pods of the other namespaces would get one family less, and nobody would say so.
#[test]
fn a_pool_for_some_namespaces_replaces_no_general_one() {
    let mut state = State::cluster();
    let mut special = state.inputs.pools.remove("v6").unwrap();
    special.metadata.name = Some("special".to_owned());
    special.spec.namespace_selector = selector("team", "red");
    state.inputs.pools.insert("special".to_owned(), special);
    assert!(
        not_ready(&state).starts_with("no IPv6 IPPool is active"),
        "{}",
        not_ready(&state)
    );
    // A block of a pool that never was for everybody is missed by nobody.
    for block in &mut state.blocks {
        if block.cidr.is_ipv6() {
            block.pool = "special".to_owned();
        }
    }
    assert_eq!(not_ready(&state), "ready");
}

#[test]
fn a_pool_for_some_namespaces_needs_no_block_before_a_pod_comes() {
    let mut state = State::cluster();
    state.blocks.pop();
    let special = state.inputs.pools.get_mut("v6").unwrap();
    special.spec.namespace_selector = selector("team", "red");
    assert_eq!(not_ready(&state), "ready");
}

#[test]
fn no_table_before_everything_in_it_was_listed() {
    for late in [
        "Pods",
        "Namespaces",
        "Policies",
        "Nodes",
        "NodeConfigs",
        "Pools",
        "BgpNodes",
    ] {
        let mut engine = without(&[late]);
        assert_eq!(engine.plan().table, None, "without {late}");
        let rest = State::cluster().events().into_iter();
        for event in rest.filter(|e| kind_of(e) == late) {
            assert!(engine.handle(event), "the list of {late} is news");
        }
        assert_eq!(engine.plan().table, plan_of(&State::cluster()).table);
    }
    let unrelated = without(&["Peers", "Configurations", "Underlay", "Blocks"]);
    let mut unrelated = unrelated;
    assert!(unrelated.plan().table.is_some());
}

#[test]
fn an_empty_list_counts_as_listed() {
    let mut engine = fresh();
    State::empty().tell(&mut engine);
    assert!(engine.plan().table.is_some());
}

#[test]
fn a_heartbeat_of_a_node_changes_nothing() {
    let mut engine = fresh();
    State::cluster().tell(&mut engine);
    let beat = node("b", &["172.31.0.2", "fd31::2"]).version("2");
    assert!(!engine.handle(Event::Nodes(Change::Apply(beat))));
    let moved = node("b", &["172.31.0.2"]).label("rack", "1");
    assert!(engine.handle(Event::Nodes(Change::Apply(moved))));
}

#[test]
fn nothing_is_kept_on_disk_before_everything_was_listed() {
    for late in [
        "Nodes",
        "Pools",
        "Configurations",
        "Peers",
        "BgpNodes",
        "NodeConfigs",
        "Blocks",
    ] {
        assert_eq!(without(&[late]).last_known(), None, "without {late}");
    }
    let known = without(&["Pods", "Policies", "Underlay"])
        .last_known()
        .unwrap();
    assert_eq!(known.inputs, State::cluster().inputs);
    assert_eq!(known.blocks, State::cluster().blocks);
}

#[test]
fn what_is_kept_on_disk_comes_back_as_it_was() {
    let state = State::cluster()
        .with(peer("tor", serde_json::json!({"address": "172.31.0.254", "remoteAS": "external", "nodeSelector": {"matchLabels": {"rack": "1"}}})))
        .with(peer("rr", serde_json::json!({"address": "172.31.0.253", "remoteAS": 65000, "peerSelector": {}})))
        .with(node_config("rack-1", serde_json::from_value(serde_json::json!({"asNumber": 65001, "routerID": "192.0.2.1", "mtu": 9000})).unwrap()))
        .with(node("c", &["172.31.0.3"]).label("rack", "1"));
    let known = LastKnown {
        inputs: state.inputs,
        blocks: state.blocks,
    };
    let bytes = serde_json::to_vec(&known).unwrap();
    assert_eq!(serde_json::from_slice::<LastKnown>(&bytes).unwrap(), known);
}

/// An agent that was restarted while the API server is away.
fn restarted() -> Engine {
    let state = State::cluster();
    let mut engine = Engine::new(Start {
        node: SELF.to_owned(),
        inputs: state.inputs.clone(),
        blocks: Some(state.blocks.clone()),
        attachments: state.attachments.clone(),
        forwarding: Families {
            v4: true,
            v6: false,
        },
    });
    engine.handle(Event::Underlay(state.underlay.clone()));
    engine
}

#[test]
fn a_restart_without_the_api_server_brings_sessions_and_routes_back_and_leaves_policy_alone() {
    let mut engine = restarted();
    let mut state = State::cluster();
    state.learned = Learned::default();
    state.next_hops.clear();
    let (plan, full) = (engine.plan(), plan_of(&state));
    assert_eq!(plan.routes, full.routes);
    assert_eq!(plan.identity, full.identity);
    assert_eq!(plan.speaker.peers, full.speaker.peers);
    assert_eq!(plan.speaker.originations, full.speaker.originations);
    let config = plan.speaker.identity.clone().unwrap();
    assert!(config.restarting);
    assert_eq!(
        config.forwarding_preserved,
        Families {
            v4: true,
            v6: false
        }
    );
    assert!(plan.keep_learned, "peers have said nothing yet");
    assert_eq!(plan.table, None);
    assert_eq!(plan.pools, None, "addresses are not handed out on old news");
    assert!(plan.not_ready.is_some());
    assert_eq!(engine.last_known(), None, "what is on disk is as good");
}

#[test]
fn lists_that_come_in_after_a_restart_end_no_session() {
    let mut engine = restarted();
    let before = engine.plan();
    for event in State::cluster().events() {
        engine.handle(event);
        let plan = engine.plan();
        assert_eq!(plan.speaker.peers, before.speaker.peers);
        assert_eq!(plan.speaker.originations, before.speaker.originations);
        assert_eq!(plan.speaker.identity, before.speaker.identity);
        assert!(plan.routes.is_some());
    }
    assert_eq!(engine.plan().not_ready, None);
    assert!(engine.last_known().is_some());
}

#[test]
fn translation_survives_a_configuration_that_is_gone() {
    let mut state = State::cluster();
    let table = plan_of(&state).table;
    state.inputs.configurations.clear();
    assert_eq!(plan_of(&state).table, table);
}
