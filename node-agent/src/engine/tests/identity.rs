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
        .with(node(SELF, &["172.31.0.1", "fd31::1"]).label("rack", "1"))
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
        "Node a has no InternalIP in status.addresses; give the kubelet --node-ip, or choose",
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

/// A node `twin` of this AS with this node's router id.
fn twin(asn: u32) -> State {
    let mut twin = bgp_node("twin", asn, &["172.31.0.9"]);
    twin.spec.router_id = "172.31.0.1".to_owned();
    State::cluster()
        .with(twin)
        .with(node("twin", &["172.31.0.9"]))
}

#[test]
fn two_nodes_with_one_router_id_say_so_and_do_not_talk() {
    let plan = plan_of(&twin(64512));
    let text = "BGPNode/twin: spec.routerID 172.31.0.1 is also that of node a, in the same AS 64512; give one of them another with a NodeConfig's spec.routerID";
    assert_eq!(
        (&plan.faults, &plan.duplicates),
        (&vec![text.to_owned()], &vec![text.to_owned()])
    );
    let warned: Vec<_> = plan.warnings.iter().collect();
    assert_eq!(
        (warned[0].reason, warned[0].about.name.as_str()),
        ("DuplicateRouterID", SELF)
    );
    let held: Vec<_> = plan
        .speaker
        .peers
        .iter()
        .map(|p| (p.description.as_str(), p.held_down.as_deref()))
        .collect();
    assert_eq!(
        held,
        [("BGPNode/b", None), ("BGPNode/twin", Some(text))],
        "the other sessions need not suffer"
    );
}

#[test]
fn one_router_id_in_two_systems_or_of_a_node_that_is_gone_is_no_fault() {
    assert_eq!(plan_of(&twin(64513)).duplicates, [""; 0]);
    let mut gone = twin(64512);
    gone.inputs.nodes.remove("twin");
    assert_eq!(plan_of(&gone).duplicates, [""; 0]);
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

/// This node, configured by `spec` as users write it.
fn configured(spec: serde_json::Value) -> State {
    let config = node_config("own", serde_json::from_value(spec).unwrap());
    State::cluster().with(config)
}

const LO: u32 = 1;

/// Loopback addresses, as of a node with two uplinks.
fn with_loopback(state: State) -> State {
    state.on(&[
        fixtures::link(LO, "lo", 65536),
        fixtures::address(LO, "127.0.0.1", 8, 0),
        fixtures::address(LO, "::1", 128, 0),
        fixtures::address(LO, "192.0.2.7", 32, 0),
        fixtures::address(LO, "fd00:7::7", 128, 0),
    ])
}

#[test]
fn addresses_are_chosen_by_interface_network_and_reach() {
    let chosen = |ipv4: serde_json::Value, ipv6: serde_json::Value| {
        let spec = serde_json::json!({"addresses": {"ipv4": ipv4, "ipv6": ipv6}});
        let plan = plan_of(&with_loopback(configured(spec)));
        assert_eq!(plan.faults, [""; 0]);
        plan
    };
    let own = |plan: &Plan| plan.identity.as_ref().unwrap().addresses();
    let lo = [ip("192.0.2.7"), ip("fd00:7::7")];
    let by = |key: &str, value: &str| serde_json::json!({key: value});
    let plan = chosen(by("interface", "lo"), by("cidr", "fd00:7::/64"));
    assert_eq!(own(&plan), lo);
    assert_eq!(
        plan.identity.as_ref().unwrap().router_id.to_string(),
        "192.0.2.7"
    );
    assert_eq!(plan.mtu, 1400, "the uplink's, not that of lo");
    let routes = plan.routes.as_ref().unwrap();
    let pod = |p: &str| routes[&prefix(p)].src;
    assert_eq!(
        pod("10.244.0.1/32"),
        Some(lo[0]),
        "pods are spoken to from it"
    );
    assert_eq!(pod("fd44::1/128"), Some(lo[1]));
    let plan = chosen(by("cidr", "192.0.2.0/24"), by("address", "fd00:7::7"));
    assert_eq!(own(&plan), lo);
    let plan = chosen(by("canReach", "198.51.100.9"), by("canReach", "fd31::2"));
    assert_eq!(own(&plan), [ip("172.31.0.1"), ip("fd31::1")]);
}

#[test]
fn of_several_that_fit_the_lasting_and_lowest_is_taken_in_any_order() {
    const TEMPORARY: u32 = 0x01;
    const TENTATIVE: u32 = 0x40;
    let state = configured(serde_json::json!({"addresses": {"ipv6": {"interface": "up0"}}}));
    let mut more = vec![
        fixtures::address(2, "fd31::5", 64, 0),
        fixtures::address(2, "fd30::2", 64, TEMPORARY),
        fixtures::address(2, "fd30::1", 64, TENTATIVE),
        fixtures::address(2, "fe80::1", 64, 0),
    ];
    for _ in 0..2 {
        let found = identity(&state.clone().on(&more));
        assert_eq!(found.ipv6.map(IpAddr::V6), Some(ip("fd31::1")));
        more.reverse();
    }
}

#[test]
fn a_choice_that_nothing_fits_is_told_and_never_replaced() {
    let config = |field: &str, value: &str| {
        with_loopback(configured(
            serde_json::json!({"addresses": {"ipv4": {field: value}}}),
        ))
    };
    for (field, value, why) in [
        (
            "interface",
            "bond0",
            "node a has no such interface; it has lo, up0",
        ),
        (
            "cidr",
            "203.0.113.0/24",
            "no interface of node a has an address in it; add one",
        ),
        ("canReach", "203.0.113.1", "node a has no route to it"),
        (
            "address",
            "203.0.113.1",
            "no interface of node a has it; add it to one",
        ),
        (
            "cidr",
            "127.0.0.0/8",
            "no interface of node a has an address in it",
        ),
    ] {
        let plan = plan_of(&config(field, value));
        let text = format!("NodeConfig/own: spec.addresses.ipv4.{field} is `{value}`: {why}");
        assert!(plan.faults[0].starts_with(&text), "{:?}", plan.faults);
        assert_eq!(plan.faults.len(), 1, "{:?}", plan.faults);
        let identity = plan.identity.unwrap();
        assert_eq!(
            (identity.ipv4, identity.ipv6.is_some()),
            (None, true),
            "{field}"
        );
    }
    let lost =
        serde_json::json!({"addresses": {"ipv4": {"interface": "a"}, "ipv6": {"interface": "b"}}});
    assert_down(
        &configured(lost),
        "NodeConfig/own: spec.addresses.ipv4.interface is `a`: node a has no such interface",
    );
}

#[test]
fn a_choice_waits_for_the_kernel_and_follows_it() {
    let spec = serde_json::json!({"addresses": {"ipv4": {"cidr": "192.0.2.0/24"}}});
    let state = configured(spec);
    let mut engine = fresh();
    for event in state.events() {
        if !matches!(event, Event::Underlay(_)) {
            engine.handle(event);
        }
    }
    let plan = engine.plan();
    assert_eq!((plan.identity, plan.table), (None, None));
    assert!(
        plan.faults[0].contains("have not been read from the kernel yet"),
        "{:?}",
        plan.faults
    );
    let address = |plan: &Plan| plan.identity.as_ref().unwrap().ipv4;
    engine.handle(Event::Underlay(state.underlay.clone()));
    assert_eq!(address(&engine.plan()), None, "it is not there");
    engine.handle(Event::Underlay(with_loopback(state).underlay));
    assert_eq!(address(&engine.plan()).unwrap().to_string(), "192.0.2.7");
}

#[test]
fn a_family_that_pods_have_and_the_node_has_not_is_told() {
    let plan = plan_of(&State::cluster().with(node(SELF, &["172.31.0.1"])));
    let text = "Node a has no InternalIP of IPv6 in status.addresses, though IPPool/v6 gives its pods such addresses: nobody learns routes to them; give the kubelet --node-ip";
    assert!(plan.faults[0].starts_with(text), "{:?}", plan.faults);
    assert_eq!(plan.faults.len(), 1);
}

#[test]
fn the_speaker_listens_where_it_shall() {
    let plan = plan_of(&State::cluster());
    assert_eq!(
        (plan.speaker.listen_port, &plan.speaker.listen_addresses),
        (179, &None)
    );
    let listen = |addresses: &[&str]| {
        let spec = serde_json::json!({"listen": {"addresses": addresses, "port": 1790}});
        plan_of(&with_loopback(configured(spec)))
    };
    let plan = listen(&["192.0.2.0/24", "fd31::1", "172.31.9.0/24"]);
    assert_eq!(plan.speaker.listen_port, 1790);
    assert_eq!(
        plan.speaker.listen_addresses,
        Some(vec![ip("192.0.2.7"), ip("fd31::1")])
    );
    let plan = listen(&["203.0.113.0/24"]);
    assert_eq!(plan.speaker.listen_addresses, Some(Vec::new()));
    let text = "NodeConfig/own: spec.listen.addresses is `203.0.113.0/24`: no interface of node a has an address in it, so nobody can connect";
    assert!(plan.faults[0].starts_with(text), "{:?}", plan.faults);
}

#[test]
fn every_field_is_idle_on_its_own() {
    let one =
        serde_json::json!({"addresses": {"ipv4": {"interface": "up0"}}, "listen": {"port": 1790}});
    let other = serde_json::json!({"addresses": {"ipv4": {"interface": "lo"}, "ipv6": {"interface": "up0"}}, "listen": {"port": 1791}});
    let plan = plan_of(
        &State::cluster()
            .with(node_config("a", serde_json::from_value(one).unwrap()))
            .with(node_config("b", serde_json::from_value(other).unwrap())),
    );
    let idle: Vec<&str> = plan
        .faults
        .iter()
        .filter_map(|f| f.strip_prefix("NodeConfig/b: "))
        .collect();
    assert!(
        idle[0].starts_with("spec.addresses.ipv4 is not in force on node a"),
        "{idle:?}"
    );
    assert!(
        idle[1].starts_with("spec.listen.port is not in force on node a"),
        "{idle:?}"
    );
    assert_eq!((idle.len(), plan.speaker.listen_port), (2, 1790));
}
