//! Flows that are more than their first packet: 78 to 80.

use margay_policy::table::{CtState, Hook, Outcome, Packet};
use serde_json::json;

use crate::cluster::TCP;
use crate::small::{
    A, A6, B, B6, C, ICMP, ICMPV6, NODE, OUTSIDE, check, egress, ingress, seen, world,
};

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

/// The table stands after DNAT: what it sees of a flow to a Service is the backend and its port.
#[test]
fn case_78_rules_are_about_backends_and_not_about_service_addresses() {
    let to = |cidr: &str, port: u16| {
        world([egress(
            json!([{ "to": [{ "ipBlock": { "cidr": cidr } }], "ports": [{ "port": port }] }]),
        )])
    };
    check(&to("10.96.0.10/32", 80), &[(A, C, TCP, 9090, false)]);
    check(&to("10.0.1.3/32", 80), &[(A, C, TCP, 9090, false)]);
    check(&to("10.0.1.3/32", 9090), &[(A, C, TCP, 9090, true)]);
    // With externalTrafficPolicy Local the client comes as itself, else as the node that took its packet.
    let from = |cidr: &str| {
        world([ingress(
            json!([{ "from": [{ "ipBlock": { "cidr": cidr } }] }]),
        )])
    };
    check(
        &from("192.0.2.0/24"),
        &[
            (OUTSIDE, A, TCP, 80, true),
            ("172.16.0.2", A, TCP, 80, false),
        ],
    );
    check(
        &from("172.16.0.0/24"),
        &[
            (OUTSIDE, A, TCP, 80, false),
            ("172.16.0.2", A, TCP, 80, true),
        ],
    );
}

#[test]
fn case_80_an_echo_needs_a_rule_without_ports() {
    let b = json!([{ "podSelector": { "matchLabels": { "app": "b" } } }]);
    let any_port = world([ingress(json!([{ "from": b }]))]);
    let all_ports = world([ingress(json!([{ "from": b, "ports": [
        { "protocol": "TCP" }, { "protocol": "UDP" }, { "protocol": "SCTP" }, { "port": 1, "endPort": 65535 },
    ] }]))]);
    for (source, destination, protocol) in [(B, A, ICMP), (B6, A6, ICMPV6)] {
        check(&any_port, &[(source, destination, protocol, 0, true)]);
        check(
            &all_ports,
            &[
                (source, destination, protocol, 80, false),
                (source, destination, TCP, 80, true),
            ],
        );
    }
}
