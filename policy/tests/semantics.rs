//! What NetworkPolicy means, case by case; numbers are those of the project's checklist of semantics. Every case is put to the
//! compiled table and to the oracle, which must agree.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;

use fixtures::{PodExt, World, address, endpoint, link, namespace, packet, pod, policy};
use margay_policy::table::{CtState, Element, Hook, Outcome, Packet};
use margay_policy::verdict::Flow;
use margay_policy::{Index, Masquerade};
use serde_json::{Value, json};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;

const A: &str = "10.0.0.1";
const A6: &str = "fd00::1";
const B: &str = "10.0.0.2";
const B6: &str = "fd00::2";
const C: &str = "10.0.1.3";
const C6: &str = "fd00:1::3";
const NODE: &str = "172.16.0.1";
const OUTSIDE: &str = "192.0.2.1";

/// x/a and x/b on this node, y/c elsewhere.
fn world(policies: impl IntoIterator<Item = Value>) -> World {
    let named = |(number, spec)| policy("x", &format!("policy-{number}"), spec);
    World {
        pods: vec![
            pod("x", "a", &[("app", "a")], &[A, A6]).serving("TCP", "web", 80),
            pod("x", "b", &[("app", "b")], &[B, B6]).serving("TCP", "web", 8080),
            pod("y", "c", &[("app", "a")], &[C, C6]).serving("TCP", "web", 9090),
        ],
        namespaces: vec![namespace("x", &[]), namespace("y", &[("team", "red")])],
        policies: policies.into_iter().enumerate().map(named).collect(),
        local: vec![("mgya".to_owned(), 0), ("mgyb".to_owned(), 1)],
    }
}

fn ingress(rules: Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Ingress"], "ingress": rules })
}

fn egress(rules: Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Egress"], "egress": rules })
}

/// (source, destination, protocol, port, passes)
type Case<'a> = (&'a str, &'a str, u8, u16, bool);

fn check(world: &World, cases: &[Case<'_>]) {
    for (source, destination, protocol, port, passes) in cases {
        let passed = world.passes(source, destination, *protocol, *port);
        assert_eq!(
            passed,
            *passes,
            "{source} to {destination} {protocol}/{port}\n{}",
            world.table().render()
        );
    }
}

#[test]
fn case_1_2_16_27_default_deny_and_allow_all() {
    check(
        &world([]),
        &[(B, A, TCP, 80, true), (A6, C6, UDP, 53, true)],
    );
    let deny = world([ingress(json!([]))]);
    check(
        &deny,
        &[
            (B, A, TCP, 80, false),
            (B6, A6, UDP, 80, false),
            (OUTSIDE, A, ICMP, 0, false),
            (A, B, TCP, 80, true),
            (C, B, TCP, 80, true),
        ],
    );
    let both = world([json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })]);
    check(
        &both,
        &[
            (B, A, TCP, 80, false),
            (A, C, TCP, 80, false),
            (C, B, TCP, 80, false),
        ],
    );
    check(
        &world([ingress(json!([])), ingress(json!([{}]))]),
        &[(B, A, TCP, 80, true), (OUTSIDE, A, ICMP, 0, true)],
    );
}

#[test]
fn case_3_to_13_peers_by_pod_and_namespace() {
    let pods = world([ingress(
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    check(
        &pods,
        &[
            (B, A, TCP, 80, true),
            (B6, A6, TCP, 80, true),
            (C, A, TCP, 80, false),
            (OUTSIDE, A, TCP, 80, false),
        ],
    );
    let namespaces = world([ingress(
        json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }] }]),
    )]);
    check(
        &namespaces,
        &[
            (C, A, TCP, 80, true),
            (C6, A6, TCP, 80, true),
            (B, A, TCP, 80, false),
        ],
    );
    let everyone = world([ingress(json!([{ "from": [{ "namespaceSelector": {} }] }]))]);
    check(
        &everyone,
        &[
            (C, A, TCP, 80, true),
            (B, A, TCP, 80, true),
            (OUTSIDE, A, TCP, 80, false),
        ],
    );
    let and = json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } }, "podSelector": { "matchLabels": { "app": "b" } } }] }]);
    check(
        &world([ingress(and)]),
        &[(C, A, TCP, 80, false), (B, A, TCP, 80, false)],
    );
    let or = json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }, { "podSelector": { "matchLabels": { "app": "b" } } }] }]);
    check(
        &world([ingress(or)]),
        &[(C, A, TCP, 80, true), (B, A, TCP, 80, true)],
    );
}

#[test]
fn case_14_30_38_to_40_56_ports_and_protocols() {
    let port = world([ingress(json!([{ "ports": [{ "port": 80 }] }]))]);
    check(
        &port,
        &[
            (B, A, TCP, 80, true),
            (B, A, TCP, 81, false),
            (B, A, UDP, 80, false),
            (B, A, ICMP, 80, false),
        ],
    );
    let sctp = world([ingress(
        json!([{ "ports": [{ "protocol": "SCTP", "port": 80 }] }]),
    )]);
    check(
        &sctp,
        &[
            (B, A, SCTP, 80, true),
            (B, A, TCP, 80, false),
            (B, A, UDP, 80, false),
        ],
    );
    let udp = world([ingress(json!([{ "ports": [{ "protocol": "UDP" }] }]))]);
    check(&udp, &[(B, A, UDP, 1, true), (B, A, TCP, 80, false)]);
    let many: Vec<_> = (80..90).map(|port| json!({ "port": port })).collect();
    let many = world([ingress(
        json!([{ "from": [{ "podSelector": {} }], "ports": many }, { "ports": [{ "port": 95, "endPort": 99 }] }]),
    )]);
    check(
        &many,
        &[
            (B, A, TCP, 85, true),
            (C, A, TCP, 85, false),
            (B, A, TCP, 90, false),
            (C, A, TCP, 97, true),
            (B, A, UDP, 85, false),
        ],
    );
}

#[test]
fn case_15_31_36_59_policies_add_up() {
    let from = |app: &str, port: u16| {
        ingress(
            json!([{ "from": [{ "podSelector": { "matchLabels": { "app": app } } }], "ports": [{ "port": port }] }]),
        )
    };
    let stacked = world([from("b", 80), from("b", 81), ingress(json!([]))]);
    check(
        &stacked,
        &[
            (B, A, TCP, 80, true),
            (B, A, TCP, 81, true),
            (B, A, TCP, 82, false),
        ],
    );
    let block = |except: Value| {
        ingress(json!([{ "from": [{ "ipBlock": { "cidr": "192.0.2.0/24", "except": except } }] }]))
    };
    let excepted = world([block(json!(["192.0.2.0/25"]))]);
    check(
        &excepted,
        &[
            (OUTSIDE, A, TCP, 80, false),
            ("192.0.2.200", A, TCP, 80, true),
        ],
    );
    check(
        &world([block(json!(["192.0.2.0/25"])), block(json!([]))]),
        &[(OUTSIDE, A, TCP, 80, true)],
    );
}

#[test]
fn case_17_to_19_57_72_named_ports() {
    let everyone = json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": "web" }] }] });
    let numbers_differ = world([everyone]);
    check(
        &numbers_differ,
        &[
            (C, A, TCP, 80, true),
            (C, A, TCP, 8080, false),
            (C, B, TCP, 8080, true),
            (C, B, TCP, 80, false),
            (C, A, UDP, 80, false),
        ],
    );
    let wrong = |port: Value| world([ingress(json!([{ "ports": [port] }]))]);
    check(
        &wrong(json!({ "port": "web", "protocol": "UDP" })),
        &[(B, A, UDP, 80, false), (B, A, TCP, 80, false)],
    );
    check(
        &wrong(json!({ "port": "absent" })),
        &[(B, A, TCP, 80, false)],
    );
    let out = world([egress(
        json!([{ "to": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }], "ports": [{ "port": "web" }] }]),
    )]);
    check(
        &out,
        &[
            (A, C, TCP, 9090, true),
            (A6, C6, TCP, 9090, true),
            (A, C, TCP, 80, false),
            (A, B, TCP, 8080, false),
        ],
    );
    let anywhere = world([egress(json!([{ "ports": [{ "port": "web" }] }]))]);
    check(
        &anywhere,
        &[
            (A, C, TCP, 9090, true),
            (A, B, TCP, 8080, true),
            (A, B, TCP, 9090, false),
            (A, OUTSIDE, TCP, 80, false),
        ],
    );
    let block = world([egress(
        json!([{ "to": [{ "ipBlock": { "cidr": "10.0.1.0/24" } }], "ports": [{ "port": "web" }] }]),
    )]);
    check(
        &block,
        &[
            (A, C, TCP, 9090, true),
            (A, B, TCP, 8080, false),
            (A6, C6, TCP, 9090, false),
        ],
    );
}

#[test]
fn case_72_a_named_port_follows_the_pod() {
    let mut world = world([ingress(
        json!([{ "ports": [{ "port": "dns", "protocol": "UDP" }] }]),
    )]);
    let mut index = world.index();
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, UDP, 53, false)]);
    world.pods[0] = world.pods[0].clone().serving("UDP", "dns", 53);
    index.apply_pod(&world.pods[0]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, UDP, 53, true)]);
    let sidecar = world.pods[0].spec.containers.pop().unwrap();
    world.pods[0].spec.init_containers.push(sidecar);
    check(&world, &[(B, A, UDP, 53, true)]);
}

#[test]
fn case_20_to_24_33_updates_follow() {
    let mut world = world([ingress(
        json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "team": "red" } } }] }]),
    )]);
    let mut index = world.index();
    let follow = |world: &World, index: &mut Index, passes: bool| {
        assert_eq!(index.table(), world.table());
        check(world, &[(C, A, TCP, 80, passes)]);
    };
    follow(&world, &mut index, true);
    world.namespaces[1] = namespace("y", &[("team", "blue")]);
    index.apply_namespace(&world.namespaces[1]);
    follow(&world, &mut index, false);
    world.namespaces[1] = namespace("y", &[("team", "red")]);
    index.apply_namespace(&world.namespaces[1]);
    follow(&world, &mut index, true);
    world.policies[0] = policy("x", "policy-0", ingress(json!([])));
    index.apply_policy(&world.policies[0]);
    follow(&world, &mut index, false);
    world.pods[0].metadata.labels = None;
    index.apply_pod(&world.pods[0]);
    follow(&world, &mut index, true);
    world.pods[0].metadata.labels = world.pods[2].metadata.labels.clone();
    index.apply_pod(&world.pods[0]);
    follow(&world, &mut index, false);
    world.policies.clear();
    index.delete_policy("x", "policy-0");
    follow(&world, &mut index, true);
    world.namespaces.remove(1);
    index.delete_namespace("y");
    follow(&world, &mut index, true);
}

#[test]
fn case_25_26_28_29_37_egress_and_ingress_are_apart() {
    let out = world([egress(
        json!([{ "to": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    check(
        &out,
        &[
            (A, B, TCP, 80, true),
            (A, C, TCP, 80, false),
            (A, OUTSIDE, TCP, 80, false),
            (C, A, TCP, 80, true),
        ],
    );
    let server_allows = world([
        egress(json!([])),
        json!({ "podSelector": { "matchLabels": { "app": "b" } }, "ingress": [{ "from": [{ "podSelector": {} }] }] }),
    ]);
    check(
        &server_allows,
        &[(A, B, TCP, 80, false), (C, B, TCP, 80, false)],
    );
}

#[test]
fn case_34_35_54_71_blocks_and_exceptions() {
    let out = |block: Value| world([egress(json!([{ "to": [{ "ipBlock": block }] }]))]);
    check(
        &out(json!({ "cidr": "0.0.0.0/0" })),
        &[
            (A, OUTSIDE, ICMP, 0, true),
            (A, B, TCP, 80, true),
            (A6, B6, TCP, 80, false),
        ],
    );
    check(
        &out(json!({ "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] })),
        &[(A, OUTSIDE, TCP, 80, true), (A, B, TCP, 80, false)],
    );
    check(
        &out(json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"] })),
        &[(A, B, TCP, 80, false)],
    );
    check(
        &out(json!({ "cidr": "10.0.1.3/24" })),
        &[(A, C, TCP, 80, true), (A, B, TCP, 80, false)],
    );
}

#[test]
fn case_67_68_missing_and_empty_lists() {
    let spec = |rest: Value| {
        let mut spec = json!({ "podSelector": {} });
        spec.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        world([spec])
    };
    for nothing in [
        json!({}),
        json!({ "ingress": [] }),
        json!({ "policyTypes": ["Ingress"] }),
        json!({ "policyTypes": [], "egress": [] }),
    ] {
        check(
            &spec(nothing),
            &[(C, A, TCP, 80, false), (A, C, TCP, 80, true)],
        );
    }
    check(
        &spec(json!({ "egress": [{}] })),
        &[(C, A, TCP, 80, false), (A, C, TCP, 80, true)],
    );
    let only_dns = json!({ "egress": [{ "ports": [{ "port": 53 }] }] });
    check(
        &spec(only_dns),
        &[
            (C, A, TCP, 80, false),
            (A, C, TCP, 80, false),
            (A, C, TCP, 53, true),
        ],
    );
    let ignored = json!({ "policyTypes": ["Egress"], "ingress": [{ "ports": [{ "port": 1 }] }] });
    check(
        &spec(ignored),
        &[(C, A, TCP, 80, true), (A, C, TCP, 80, false)],
    );
    check(
        &spec(json!({ "ingress": [{ "from": [], "ports": [] }] })),
        &[(C, A, ICMP, 0, true)],
    );
}

#[test]
fn case_69_70_73_rules_do_not_narrow_each_other() {
    let both = world([ingress(json!([{ "ports": [{}, { "port": 80 }] }]))]);
    check(&both, &[(B, A, TCP, 9999, true), (B, A, UDP, 80, false)]);
    let hidden = json!([
        { "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/24"] } }] },
        { "from": [{ "podSelector": {} }], "ports": [{ "port": 80 }] },
    ]);
    check(
        &world([ingress(hidden)]),
        &[
            (B, A, TCP, 80, true),
            (B, A, TCP, 81, false),
            (C, A, TCP, 81, true),
        ],
    );
    let range = |port: u16, end: u16| json!([{ "ports": [{ "port": port, "endPort": end }] }]);
    check(
        &world([ingress(range(80, 80))]),
        &[(B, A, TCP, 80, true), (B, A, TCP, 81, false)],
    );
    check(
        &world([ingress(range(65535, 65535))]),
        &[(B, A, TCP, 65535, true), (B, A, TCP, 65534, false)],
    );
    let overlap = world([
        ingress(range(79, 81)),
        ingress(json!([{ "from": [{ "podSelector": {} }], "ports": [{ "port": 80 }] }])),
    ]);
    check(&overlap, &[(C, A, TCP, 80, true), (C, A, TCP, 82, false)]);
}

#[test]
fn case_74_host_network_pods_are_neither_subject_nor_peer() {
    let from_all = json!([{ "from": [{ "namespaceSelector": {} }] }]);
    let mut world = world([
        ingress(from_all),
        json!({ "podSelector": {}, "policyTypes": ["Egress"] }),
    ]);
    let mut host = pod("x", "host", &[("app", "a")], &[NODE]);
    host.spec.host_network = true;
    world.pods.push(host);
    check(
        &world,
        &[(NODE, A, TCP, 80, false), (C, NODE, TCP, 80, true)],
    );
    world.policies.push(policy(
        "x",
        "block",
        ingress(json!([{ "from": [{ "ipBlock": { "cidr": "172.16.0.1/32" } }] }])),
    ));
    check(&world, &[(NODE, A, TCP, 80, true)]);
}

/// A packet between links, or from a link to this node.
fn seen(input: &str, output: Option<&str>, source: &str, destination: &str) -> Packet {
    let flow = Flow {
        source: address(source),
        destination: address(destination),
        protocol: TCP,
        port: 80,
    };
    Packet {
        input: Some(link(input)),
        output: output.map(link),
        ..packet(&flow)
    }
}

fn neighbour_discovery(source: &str) -> Packet {
    Packet {
        protocol: 58,
        icmp_type: 135,
        state: CtState::UNTRACKED,
        ..seen("mgya", None, source, "fe80::1")
    }
}

#[test]
fn case_77_85_a_pods_own_node_is_policed_but_neighbour_discovery_works() {
    let table = world([egress(json!([]))]).table();
    let at = |packet: &Packet| table.evaluate(Hook::Input, packet) != Outcome::Drop;
    assert!(!at(&seen("mgya", None, A, NODE)));
    assert!(at(&seen("mgyb", None, B, NODE)));
    assert!(at(&seen("eth0", None, OUTSIDE, NODE)));
    assert!(
        !at(&seen("mgyz", None, "10.0.0.77", NODE)),
        "a link without policy"
    );
    for source in [A6, "::", "fe80::42"] {
        assert!(at(&neighbour_discovery(source)), "{source}");
    }
    assert!(!at(&neighbour_discovery(B6)), "another pod's address");
    assert!(
        !at(&Packet {
            icmp_type: 128,
            ..neighbour_discovery("fe80::42")
        }),
        "an echo from a link-local address"
    );
}

#[test]
fn case_79_a_pod_reaches_itself_through_a_service() {
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    check(
        &world([closed]),
        &[
            (A, A, TCP, 80, true),
            (A6, A6, TCP, 80, true),
            (A, B, TCP, 80, false),
        ],
    );
    let many: Vec<_> = (80..90).map(|port| json!({ "port": port })).collect();
    let nobody = json!([{ "ipBlock": { "cidr": "192.0.2.0/24" } }]);
    check(
        &world([ingress(json!([{ "from": nobody, "ports": many }]))]),
        &[(A, A, TCP, 80, true), (A, A, TCP, 99, true)],
    );
}

#[test]
fn case_80_replies_pass_and_invalid_packets_do_not() {
    let table = world([json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })]).table();
    let at = |packet: &Packet| table.evaluate(Hook::Forward, packet) != Outcome::Drop;
    let to = seen("eth0", Some("mgya"), OUTSIDE, A);
    assert!(!at(&to));
    for state in [CtState::ESTABLISHED, CtState::RELATED] {
        assert!(at(&Packet { state, ..to }));
        assert!(at(&Packet {
            state,
            ..seen("mgya", Some("eth0"), A, OUTSIDE)
        }));
        assert!(
            !at(&Packet {
                state,
                ..seen("mgya", Some("eth0"), B, OUTSIDE)
            }),
            "the source check comes first"
        );
    }
    let open = world([]).table();
    let invalid = |packet: Packet| {
        open.evaluate(
            Hook::Forward,
            &Packet {
                state: CtState::INVALID,
                ..packet
            },
        )
    };
    assert_eq!(invalid(to), Outcome::Drop);
    assert_eq!(
        invalid(seen("mgya", Some("eth0"), A, OUTSIDE)),
        Outcome::Drop
    );
    assert_eq!(
        invalid(seen("eth0", Some("eth1"), OUTSIDE, NODE)),
        Outcome::Accept
    );
}

#[test]
fn case_82_a_link_passes_nothing_until_its_pod_is_known() {
    let world = world([]);
    let mut index = Index::new();
    index.replace_namespaces(&world.namespaces);
    world
        .endpoints()
        .for_each(|endpoint| index.set_endpoint(endpoint));
    let to = seen("eth0", Some("mgya"), OUTSIDE, A);
    let from = seen("mgya", Some("eth0"), A, OUTSIDE);
    let passes = |index: &mut Index, packet: &Packet| {
        index.table().evaluate(Hook::Forward, packet) != Outcome::Drop
    };
    assert!(
        !index.endpoint_ready(link("mgya"))
            && !passes(&mut index, &to)
            && !passes(&mut index, &from)
    );
    index.apply_pod(&world.pods[0].clone().uid("another"));
    assert!(!index.endpoint_ready(link("mgya")) && !passes(&mut index, &to));
    index.apply_pod(&world.pods[0]);
    assert!(
        index.endpoint_ready(link("mgya")) && passes(&mut index, &to) && passes(&mut index, &from)
    );
    index.delete_pod("x", "a", "x-a");
    assert!(!index.endpoint_ready(link("mgya")) && !passes(&mut index, &to));
}

#[test]
fn a_static_pod_is_known_by_its_configuration_hash() {
    let mut mirror = pod("kube-system", "proxy", &[], &[A]);
    mirror.metadata.annotations = Some(
        [(
            "kubernetes.io/config.mirror".to_owned(),
            "0123abcd".to_owned(),
        )]
        .into(),
    );
    let mut index = Index::new();
    index.apply_pod(&mirror);
    assert!(index.knows_pod("kube-system", "proxy", "0123abcd"));
    assert!(index.knows_pod("kube-system", "proxy", "kube-system-proxy"));
    assert!(!index.knows_pod("kube-system", "proxy", "else"));
}

#[test]
fn case_83_an_address_belongs_to_the_latest_living_pod() {
    let from_b =
        ingress(json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]));
    let mut world = world([from_b]);
    // x/job had y/c's address before; it ended, but nobody has deleted it.
    world.pods.push(
        pod("x", "job", &[("app", "b")], &[C])
            .phase("Succeeded")
            .created(1),
    );
    check(&world, &[(C, A, TCP, 80, false)]);
    // It has not ended either, but y/c came later.
    world.pods[2] = world.pods[2].clone().created(2);
    let last = world.pods.len() - 1;
    world.pods[last] = world.pods[last].clone().phase("Running");
    check(&world, &[(C, A, TCP, 80, false)]);
    let mut index = world.index();
    index.delete_pod("y", "c", "y-c");
    world.pods.remove(2);
    assert_eq!(index.table(), world.table());
    check(&world, &[(C, A, TCP, 80, true)]);
}

#[test]
fn case_83_a_late_delete_of_an_old_pod_is_ignored() {
    let mut world = world([ingress(
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    world.local.pop();
    let mut index = world.index();
    world.pods[1] = pod("x", "b", &[("app", "b")], &["10.0.0.22"])
        .uid("later")
        .created(5);
    index.apply_pod(&world.pods[1]);
    index.delete_pod("x", "b", "x-b");
    index.apply_pod(&pod("x", "b", &[("app", "b")], &[B]));
    assert_eq!(index.table(), world.table());
    check(
        &world,
        &[("10.0.0.22", A, TCP, 80, true), (B, A, TCP, 80, false)],
    );
}

#[test]
fn case_84_a_deleted_pod_leaves_nothing() {
    let from_all = json!([{ "from": [{ "podSelector": {} }, { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"] } }], "ports": [{ "port": 80 }] }]);
    let world = world([ingress(from_all)]);
    let mut index = world.index();
    assert!(index.table().sets.len() > Index::new().table().sets.len());
    world
        .endpoints()
        .for_each(|endpoint| index.remove_endpoint(endpoint.link));
    assert_eq!(index.table(), Index::new().table());
    index.set_endpoint(endpoint("mgya", &world.pods[1]));
    assert!(index.endpoint_ready(link("mgya")));
}

#[test]
fn a_new_pods_address_is_a_member_before_its_status_says_so() {
    let mut world = world([ingress(
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    let mut index = world.index();
    let with_status = index.table();
    let mut fresh = world.pods[1].clone();
    fresh.status.pod_ips.clear();
    index.apply_pod(&fresh);
    assert_eq!(index.table(), with_status);
    let endpoint = world.endpoints().nth(1).unwrap();
    index.remove_endpoint(endpoint.link);
    world.pods[1] = fresh;
    world.local.pop();
    assert_eq!(index.table(), world.table());
    index.set_endpoint(endpoint);
    assert_eq!(index.table(), with_status);
}

#[test]
fn case_90_a_bad_object_isolates_what_it_selects_and_nothing_else() {
    let bad_peer = json!([{ "from": [{ "podSelector": {} }] }, { "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] }]);
    let world_with_bad = world([ingress(bad_peer)]);
    check(
        &world_with_bad,
        &[
            (B, A, TCP, 80, false),
            (A, C, TCP, 80, true),
            (C, B, TCP, 80, true),
        ],
    );
    let problems = world_with_bad.index().problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.ingress[1].from[0].ipBlock.cidr");
    assert_eq!(problems[0].value, "10.0.0.0/33");
    let other = ingress(json!([{ "ports": [{ "port": 443 }] }]));
    let bad_port = ingress(json!([{ "ports": [{ "port": 0 }] }]));
    check(
        &world([bad_port, other]),
        &[(B, A, TCP, 443, true), (B, A, TCP, 80, false)],
    );
    let bad_subjects = json!({
        "podSelector": { "matchExpressions": [{ "key": "app", "operator": "Near" }] },
        "ingress": [{}],
    });
    let whole = world([bad_subjects]);
    check(
        &whole,
        &[
            (C, A, TCP, 80, false),
            (C, B, TCP, 80, false),
            (A, C, TCP, 80, true),
        ],
    );
    assert_eq!(
        whole.index().problems()[0].field,
        "spec.podSelector.matchExpressions[0].operator"
    );
}

#[test]
fn every_bad_field_is_named() {
    let bad = [
        (
            json!({ "policyTypes": ["Sideways"] }),
            "spec.policyTypes[0]",
        ),
        (
            json!({ "ingress": [{ "from": [{}] }] }),
            "spec.ingress[0].from[0]",
        ),
        (
            json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.1" } }] }] }),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "010.0.0.0/8" } }] }] }),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "::ffff:10.0.0.0/104" } }] }] }),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            json!({ "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["::ffff:10.1.0.0/112"] } }] }] }),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            json!({ "egress": [{ "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"] } }] }] }),
            "spec.egress[0].to[0].ipBlock.except[0]",
        ),
        (
            json!({ "ingress": [{ "ports": [{ "protocol": "ICMP" }] }] }),
            "spec.ingress[0].ports[0].protocol",
        ),
        (
            json!({ "ingress": [{ "ports": [{ "port": 70000 }] }] }),
            "spec.ingress[0].ports[0].port",
        ),
        (
            json!({ "ingress": [{ "ports": [{ "port": 80, "endPort": 79 }] }] }),
            "spec.ingress[0].ports[0].endPort",
        ),
        (
            json!({ "ingress": [{ "ports": [{ "port": "web", "endPort": 79 }] }] }),
            "spec.ingress[0].ports[0].endPort",
        ),
        (
            json!({ "ingress": [{ "from": [{ "namespaceSelector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }] }] }),
            "spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].values",
        ),
    ];
    for (spec, field) in bad {
        let world = world([spec]);
        let problems = world.index().problems();
        assert_eq!(
            problems
                .iter()
                .map(|problem| problem.field.as_str())
                .collect::<Vec<_>>(),
            [field]
        );
        assert!(
            problems[0]
                .to_string()
                .starts_with("networkpolicy x/policy-0: spec.")
        );
        check(&world, &[(C, A, TCP, 80, false)]);
    }
}

#[test]
fn equal_policies_share_a_class_and_its_sets() {
    let from_b = json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]);
    let world = world([json!({ "podSelector": {}, "ingress": from_b })]);
    let table = world.table();
    let classes: Vec<_> = table
        .maps
        .values()
        .flat_map(|map| map.elements.iter())
        .filter_map(|(key, verdict)| {
            matches!(key, Element::Ifname(_))
                .then(|| verdict.target())
                .flatten()
        })
        .collect();
    assert_eq!(classes.len(), 2);
    assert_eq!(classes[0], classes[1]);
    assert_eq!(
        table
            .sets
            .keys()
            .filter(|name| name.as_str().starts_with("p4_"))
            .count(),
        1
    );
}

#[test]
fn pods_leave_the_cluster_with_the_nodes_address_and_nothing_else_does() {
    let mut index = world([]).index();
    index.set_masquerade(Masquerade {
        sources: ["10.0.0.0/24".parse().unwrap()].into(),
        exempt: ["10.0.0.0/16", "198.51.100.0/24"]
            .map(|network| network.parse().unwrap())
            .into(),
        nodes: ["172.16.0.1", "172.16.0.2"].map(address).into(),
        v4: Some("172.16.0.1".parse().unwrap()),
        v6: Some("fd01::1".parse().unwrap()),
    });
    let table = index.table();
    assert_eq!(table.check(), Ok(()));
    let at = |input: Option<&str>, source, destination| {
        let packet = Packet {
            input: input.map(link),
            ..seen("eth0", Some("eth0"), source, destination)
        };
        table.evaluate(Hook::Postrouting, &packet)
    };
    assert_eq!(at(Some("mgya"), A, OUTSIDE), Outcome::Snat(address(NODE)));
    assert_eq!(
        at(Some("mgya"), A6, "2001:db8::1"),
        Outcome::Accept,
        "no IPv6 pool asks for it"
    );
    for (input, source, destination) in [
        (Some("mgya"), A, C),
        (Some("mgya"), A, "172.16.0.2"),
        (Some("mgya"), A, "198.51.100.7"),
        (Some("mgyc"), C, OUTSIDE),
        (Some("eth0"), A, OUTSIDE),
        (None, NODE, OUTSIDE),
    ] {
        assert_eq!(
            at(input, source, destination),
            Outcome::Accept,
            "{source} to {destination}"
        );
    }
}

#[test]
fn a_named_port_to_anyone_asks_for_no_namespace() {
    let mut world = world([egress(json!([{ "ports": [{ "port": "web" }] }]))]);
    world.namespaces.clear();
    check(&world, &[(A, C, TCP, 9090, true), (A, C, TCP, 80, false)]);
}
