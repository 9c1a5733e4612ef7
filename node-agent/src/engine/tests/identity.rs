use super::*;
use margay_proto::crd::NodeConfigSpec;

fn identity(state: &State) -> Identity {
    plan_of(state).identity.unwrap()
}

/// Held down: nothing is spoken, no route is written or removed, and the reason is told.
fn assert_down(state: &State, why: &str) {
    let plan = plan_of(state);
    assert_eq!(plan.identity, None);
    assert_eq!(*plan.speaker, Desired::default());
    assert_eq!(plan.routes, None);
    assert!(plan.faults[0].contains(why), "{:?}", plan.faults);
    assert_eq!(plan.not_ready.as_ref(), plan.faults.first());
    assert!(plan.table.is_some(), "policy does not hang on BGP");
}

#[test]
fn a_node_is_who_its_objects_say() {
    let plan = plan_of(&State::cluster());
    let identity = plan.identity.unwrap();
    assert_eq!(identity.asn, 64512);
    assert_eq!(identity.router_id.to_string(), "172.31.0.1");
    assert_eq!(identity.addresses(), [ip("172.31.0.1"), ip("fd31::1")]);
    assert_eq!(identity.node_uid, "uid-a");
    assert_eq!(plan.mtu, 1400, "the uplink's");
    let config = plan.speaker.identity.clone().unwrap();
    assert_eq!((config.local_as, config.restart_time), (Asn(64512), 120));
    assert!(!config.restarting, "it starts for the first time");
}

#[test]
fn a_node_config_overrides_where_it_selects_and_the_first_by_name_wins() {
    let rack = |asn, value: &str| NodeConfigSpec {
        node_selector: selector("rack", value),
        as_number: Some(asn),
        ..NodeConfigSpec::default()
    };
    let mtu = NodeConfigSpec {
        mtu: Some(9000),
        router_id: Some("192.0.2.1".to_owned()),
        ..NodeConfigSpec::default()
    };
    let state = State::cluster()
        .with(node(SELF, &["172.31.0.1"]).label("rack", "1"))
        .with(node_config("rack-1", rack(65001, "1")))
        .with(node_config("rack-1b", rack(65009, "1")))
        .with(node_config("rack-2", rack(65002, "2")))
        .with(node_config("rest", mtu));
    let found = identity(&state);
    assert_eq!((found.asn, found.mtu), (65001, Some(9000)));
    assert_eq!(found.router_id.to_string(), "192.0.2.1");
    let plan = plan_of(&state);
    assert_eq!(plan.mtu, 9000);
    assert_eq!(
        plan.faults,
        [
            "NodeConfig/rack-1b: spec.asNumber is not in force on node a, because NodeConfig/rack-1 comes first by name; narrow one nodeSelector"
        ]
    );
}

#[test]
fn a_node_without_ipv4_gets_a_router_id_from_its_name() {
    let state = State::cluster().with(node(SELF, &["fd31::1"]));
    let first = identity(&state);
    assert_eq!((first.ipv4, first.addresses().len()), (None, 1));
    assert!(!first.router_id.is_unspecified() && !first.router_id.is_multicast());
    assert_eq!(first.router_id, identity(&state).router_id);
    let peer = &plan_of(&state).speaker.peers[0];
    assert_eq!(peer.address, ip("fd31::2"), "the family both have");
}

#[test]
fn what_is_missing_holds_bgp_down_and_says_so() {
    let mut unconfigured = State::cluster();
    unconfigured.inputs.configurations.clear();
    assert_down(
        &unconfigured,
        "BGPConfiguration `default` is not there; create an Installation",
    );
    let mut unknown = State::cluster();
    unknown.inputs.nodes.remove(SELF);
    assert_down(&unknown, "Node a is not known yet");
    assert_down(
        &State::cluster().with(node(SELF, &[])),
        "Node a has no InternalIP in status.addresses; give the kubelet --node-ip",
    );
    let bad = NodeConfigSpec {
        router_id: Some("172.31.0".to_owned()),
        ..NodeConfigSpec::default()
    };
    assert_down(
        &State::cluster().with(node_config("ids", bad)),
        "NodeConfig/ids: spec.routerID `172.31.0` is not an IPv4 address",
    );
}

#[test]
fn two_nodes_with_one_router_id_are_a_fault_of_each() {
    let mut twin = bgp_node("twin", 64512, &["172.31.0.9"]);
    twin.spec.router_id = "172.31.0.1".to_owned();
    let plan = plan_of(&State::cluster().with(twin));
    assert_eq!(plan.faults.len(), 1);
    assert!(
        plan.faults[0].starts_with("BGPNode/twin: spec.routerID 172.31.0.1 is also that of node a")
    );
    assert!(
        plan.identity.is_some(),
        "the other sessions need not suffer"
    );
}

#[test]
fn a_selector_that_cannot_be_understood_is_a_fault() {
    let spec = serde_json::json!({
        "nodeSelector": {"matchExpressions": [{"key": "rack", "operator": "in", "values": ["1"]}]},
        "asNumber": 65001,
    });
    let config = node_config("rack-1", serde_json::from_value(spec).unwrap());
    let plan = plan_of(&State::cluster().with(config));
    assert!(
        plan.faults[0].starts_with("NodeConfig/rack-1: spec.nodeSelector selects nothing: "),
        "{:?}",
        plan.faults
    );
}
