use super::*;
use margay_bgp::{PeerConfig, Policy, RemoteAs};
use serde_json::json;

fn sessions(state: &State) -> Vec<(String, String)> {
    let peers = plan_of(state).speaker.peers.clone();
    peers
        .into_iter()
        .map(|p| (p.description, p.address.to_string()))
        .collect()
}

fn own(description: &str, address: &str) -> (String, String) {
    (description.to_owned(), address.to_owned())
}

/// No mesh, so that BGPPeers alone decide.
fn without_mesh() -> State {
    State::cluster().with(configuration(64512, "None"))
}

fn only(state: &State) -> PeerConfig {
    let plan = plan_of(state);
    assert_eq!((plan.speaker.peers.len(), &plan.faults), (1, &Vec::new()));
    plan.speaker.peers[0].clone()
}

/// The object asks for no session and says why; what another object asks for stays.
fn assert_held_down(spec: serde_json::Value, why: &str) {
    let plan = plan_of(&State::cluster().with(peer("tor", spec)));
    assert_eq!(plan.faults.len(), 1, "{:?}", plan.faults);
    assert!(
        plan.faults[0].starts_with("BGPPeer/tor: "),
        "{:?}",
        plan.faults
    );
    assert!(plan.faults[0].contains(why), "{:?}", plan.faults);
    let peers: Vec<&str> = plan
        .speaker
        .peers
        .iter()
        .map(|p| &p.description[..])
        .collect();
    assert_eq!(peers, ["BGPNode/b"]);
}

#[test]
fn a_full_mesh_is_a_session_with_every_other_node() {
    let state = State::cluster()
        .with(bgp_node("c", 65003, &["fd31::3"]))
        .with(bgp_node(SELF, 64512, &["172.31.0.1", "fd31::1"]));
    assert_eq!(
        sessions(&state),
        [own("BGPNode/b", "172.31.0.2"), own("BGPNode/c", "fd31::3")]
    );
    assert_eq!(sessions(&without_mesh()), []);
}

#[test]
fn a_session_speaks_both_families_from_the_address_of_its_own() {
    let peer = only(&State::cluster());
    assert_eq!(peer.remote_as, RemoteAs::Number(Asn(64512)));
    assert_eq!(peer.source, Some(ip("172.31.0.1")));
    assert!(peer.families.v4 && peer.families.v6);
    assert_eq!(peer.local_addresses.v6.map(IpAddr::V6), Some(ip("fd31::1")));
    assert_eq!((peer.hold_time, peer.remote_port), (9, 179));
    assert_eq!(peer.allow_own_as, 0);
}

#[test]
fn a_node_is_never_transit() {
    assert_eq!(only(&State::cluster()).export, Policy::own_only());
}

#[test]
fn a_router_is_peered_with_as_its_object_says() {
    let spec = |remote| json!({"address": "172.31.0.254", "remoteAS": remote, "port": 1179, "holdSeconds": 30, "passive": true, "maxPrefixes": 10, "allowOwnAS": 2});
    for (remote, expected) in [
        (json!(65000), RemoteAs::Number(Asn(65000))),
        (json!("internal"), RemoteAs::Internal),
        (json!("external"), RemoteAs::External),
    ] {
        let found = only(&without_mesh().with(peer("tor", spec(remote))));
        assert_eq!(found.remote_as, expected);
        assert_eq!(found.description, "BGPPeer/tor");
        assert_eq!((found.remote_port, found.hold_time), (1179, 30));
        assert!(found.passive);
        assert_eq!(found.maximum_prefixes.v6, Some(10));
        assert_eq!(found.allow_own_as, 2);
    }
}

#[test]
fn a_wrong_peer_is_held_down_and_the_rest_is_not() {
    assert_held_down(
        json!({"address": "172.31.0.254", "remoteAS": "extern"}),
        "spec.remoteAS `extern` is neither a number, `internal` nor `external`",
    );
    assert_held_down(
        json!({"address": "172.31.0.254"}),
        "spec.remoteAS is missing; give a number",
    );
    assert_held_down(
        json!({"address": "tor-1", "remoteAS": 65000}),
        "spec.address `tor-1` is not an IP address",
    );
    assert_held_down(
        json!({"peerSelector": {"matchExpressions": [{"key": "rr", "operator": "Is"}]}}),
        "spec.peerSelector selects nothing: ",
    );
}

#[test]
fn a_family_that_the_node_lacks_is_a_fault() {
    let mut state = without_mesh().with(node(SELF, &["172.31.0.1"])).with(peer(
        "tor",
        json!({"address": "fd31::fe", "remoteAS": 65000}),
    ));
    state.inputs.pools.remove("v6");
    let plan = plan_of(&state);
    assert!(plan.speaker.peers.is_empty());
    assert_eq!(
        plan.faults,
        [
            "BGPPeer/tor: spec.address fd31::fe is of a family in which node a has no address; the session is held down"
        ]
    );
}

#[test]
fn a_router_is_for_the_nodes_that_the_selector_names() {
    let spec = json!({"address": "172.31.0.254", "remoteAS": 65000, "nodeSelector": {"matchLabels": {"rack": "1"}}});
    let state = without_mesh().with(peer("tor", spec));
    assert_eq!(sessions(&state), []);
    let labelled = node(SELF, &["172.31.0.1"]).label("rack", "1");
    assert_eq!(
        sessions(&state.with(labelled)),
        [own("BGPPeer/tor", "172.31.0.254")]
    );
}

#[test]
fn selectors_make_sessions_from_both_ends() {
    let reflectors = peer(
        "reflectors",
        json!({"nodeSelector": {"matchLabels": {"role": "client"}}, "peerSelector": {"matchLabels": {"role": "reflector"}}}),
    );
    let state = without_mesh()
        .with(bgp_node("c", 64512, &["172.31.0.3"]))
        .with(node("c", &["172.31.0.3"]).label("role", "client"))
        .with(node("b", &["172.31.0.2"]).label("role", "reflector"))
        .with(reflectors);
    let client = state
        .clone()
        .with(node(SELF, &["172.31.0.1"]).label("role", "client"));
    assert_eq!(sessions(&client), [own("BGPNode/b", "172.31.0.2")]);
    let reflector = state.with(node(SELF, &["172.31.0.1"]).label("role", "reflector"));
    assert_eq!(sessions(&reflector), [own("BGPNode/c", "172.31.0.3")]);
}

#[test]
fn a_node_never_peers_with_itself() {
    let everybody = peer("everybody", json!({"peerSelector": {}}));
    let reflector = peer(
        "reflector",
        json!({"address": "172.31.0.1", "remoteAS": "internal"}),
    );
    let same_over_ipv6 = peer(
        "reflector6",
        json!({"address": "fd31::1", "remoteAS": "internal"}),
    );
    let state = without_mesh()
        .with(bgp_node(SELF, 64512, &["172.31.0.1", "fd31::1"]))
        .with(everybody)
        .with(reflector)
        .with(same_over_ipv6);
    assert_eq!(sessions(&state), [own("BGPNode/b", "172.31.0.2")]);
    assert_eq!(plan_of(&state).faults, [""; 0]);
}

#[test]
fn of_two_objects_for_one_address_the_first_by_name_is_in_force() {
    let tor = |remote: u32| json!({"address": "172.31.0.254", "remoteAS": remote});
    let plan = plan_of(
        &without_mesh()
            .with(peer("x", tor(65000)))
            .with(peer("y", tor(65001))),
    );
    assert_eq!(
        plan.speaker.peers[0].remote_as,
        RemoteAs::Number(Asn(65000))
    );
    assert_eq!(
        plan.faults,
        [
            "BGPPeer/y: its session with 172.31.0.254 is not in force, because BGPPeer/x asks for one with that address as well and comes first by name; delete one of them or narrow a selector"
        ]
    );
}

#[test]
fn of_two_objects_for_one_node_the_first_by_name_is_in_force() {
    let nodes = |hold: u16| peer("y", json!({"peerSelector": {}, "holdSeconds": hold}));
    let first = peer("x", json!({"peerSelector": {}, "holdSeconds": 30}));
    let state = without_mesh().with(first);
    let alike = plan_of(&state.clone().with(nodes(30)));
    assert_eq!(alike.faults, [""; 0]);
    let plan = plan_of(&state.with(nodes(60)));
    assert_eq!(plan.speaker.peers[0].hold_time, 30);
    assert_eq!(
        plan.faults,
        [
            "BGPPeer/y: spec.holdSeconds is not in force for BGPNode/b, which BGPPeer/x finds as well and comes first by name; make them alike or narrow a selector"
        ]
    );
}

/// A node whose own addresses are on loopback.
fn loopback() -> State {
    let spec = json!({"addresses": {"ipv4": {"interface": "lo"}, "ipv6": {"interface": "lo"}}});
    without_mesh()
        .with(node_config("lo", serde_json::from_value(spec).unwrap()))
        .on(&[
            fixtures::link(1, "lo", 65536),
            fixtures::address(1, "192.0.2.7", 32, 0),
            fixtures::address(1, "fd00:7::7", 128, 0),
        ])
}

#[test]
fn a_router_on_a_link_is_spoken_to_from_the_link() {
    let tor = |address: &str| peer("tor", json!({"address": address, "remoteAS": "external"}));
    let found = only(&loopback().with(tor("172.31.0.254")));
    assert_eq!(found.source, Some(ip("172.31.0.1")));
    let local = found.local_addresses;
    assert_eq!(local.v4.map(IpAddr::V4), Some(ip("172.31.0.1")), "next hop");
    assert_eq!(local.v6.map(IpAddr::V6), Some(ip("fd31::1")));
    let found = only(&loopback().with(tor("fd31::fe")));
    assert_eq!(found.source, Some(ip("fd31::1")));
    let far = only(&loopback().with(tor("198.51.100.1")));
    assert_eq!(far.source, Some(ip("192.0.2.7")), "behind a router");
    let state = loopback().with(peer("mesh", json!({"peerSelector": {}})));
    assert_eq!(
        only(&state).source,
        Some(ip("192.0.2.7")),
        "nodes speak from their own"
    );
}

#[test]
fn a_loopback_address_is_announced_with_the_blocks() {
    let announced = |state: &State| {
        let routes = plan_of(state).speaker.originations.clone();
        routes
            .iter()
            .map(|o| o.prefix.to_string())
            .collect::<Vec<_>>()
    };
    let blocks = ["10.244.0.0/26", "fd44::/122"];
    assert_eq!(announced(&State::cluster()), blocks);
    assert_eq!(
        announced(&loopback()),
        [blocks[0], blocks[1], "192.0.2.7/32", "fd00:7::7/128"]
    );
}
