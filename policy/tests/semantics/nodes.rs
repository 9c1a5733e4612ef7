//! Nodes and pods on their network: 74 to 77, 82.

use margay_policy::Index;
use margay_policy::table::{ChainKind, CtState, Hook, Outcome, Packet};
use serde_json::json;

use crate::cluster::TCP;
use crate::fixtures::{PodExt, link, pod, policy};
use crate::small::{
    A, A6, B, B6, C, NODE, NODE6, OUTSIDE, check, egress, ingress, neighbour_discovery, seen, world,
};

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

/// What the node itself sends passes the hooks output and postrouting, and nothing filters there.
#[test]
fn case_75_probes_reach_a_pod_under_default_deny() {
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let table = world([closed]).table();
    let filtered = table.chains.values().filter_map(|chain| chain.base);
    for base in filtered.filter(|base| base.kind == ChainKind::Filter) {
        assert!(matches!(base.hook, Hook::Forward | Hook::Input), "{base:?}");
    }
    for (node, pod) in [(NODE, A), (NODE6, A6)] {
        let probe = Packet {
            input: None,
            ..seen("eth0", Some("mgya"), node, pod)
        };
        assert_eq!(table.evaluate(Hook::Postrouting, &probe), Outcome::Accept);
        let answer = Packet {
            state: CtState::ESTABLISHED,
            ..seen("mgya", None, pod, node)
        };
        assert_eq!(table.evaluate(Hook::Input, &answer), Outcome::Accept);
        assert_eq!(
            table.evaluate(
                Hook::Input,
                &Packet {
                    state: CtState::NEW,
                    ..answer
                }
            ),
            Outcome::Drop,
            "a flow that the pod begins is policed"
        );
    }
}

#[test]
fn case_76_another_node_is_policed_by_its_address() {
    const OTHER: [(&str, &str); 2] = [("172.16.0.2", A), ("fd01::2", A6)];
    let from_pods = world([ingress(json!([{ "from": [{ "namespaceSelector": {} }] }]))]);
    let block = |cidr: &str| json!({ "ipBlock": { "cidr": cidr } });
    let from_nodes = world([ingress(
        json!([{ "from": [block("172.16.0.0/24"), block("fd01::/64")] }]),
    )]);
    for (node, pod) in OTHER {
        check(&from_pods, &[(node, pod, TCP, 80, false)]);
        check(&from_nodes, &[(node, pod, TCP, 80, true)]);
    }
}

/// Multicast listener reports (ICMPv6 143) are no neighbour discovery: nobody on the node listens to them, and they stay closed.
#[test]
fn case_85_discovery_works_under_default_deny_and_listener_reports_do_not() {
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    for policies in [vec![], vec![closed]] {
        let table = world(policies).table();
        for (icmp_type, source, passes) in [
            (133, "fe80::42", true),
            (135, "::", true),
            (135, A6, true),
            (136, A6, true),
            (143, "fe80::42", false),
            (143, "::", false),
            (131, "fe80::42", false),
        ] {
            let packet = Packet {
                icmp_type,
                ..neighbour_discovery(source)
            };
            let passed = table.evaluate(Hook::Input, &packet) == Outcome::Accept;
            assert_eq!(passed, passes, "type {icmp_type} from {source}");
        }
    }
}
