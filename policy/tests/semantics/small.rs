//! A small cluster for cases about one thing: x/a and x/b on this node, y/c elsewhere, whose named port has a number of its own in
//! each of them.

use margay_policy::table::{CtState, Packet};
use margay_policy::verdict::Flow;
use serde_json::{Value, json};

use crate::cluster::TCP;
use crate::fixtures::{PodExt, World, address, link, namespace, packet, pod, policy};

pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) const A: &str = "10.0.0.1";
pub(crate) const A6: &str = "fd00::1";
pub(crate) const B: &str = "10.0.0.2";
pub(crate) const B6: &str = "fd00::2";
pub(crate) const C: &str = "10.0.1.3";
pub(crate) const C6: &str = "fd00:1::3";
/// The pods' own node.
pub(crate) const NODE: &str = "172.16.0.1";
pub(crate) const NODE6: &str = "fd01::1";
pub(crate) const OUTSIDE: &str = "192.0.2.1";
pub(crate) const OUTSIDE6: &str = "2001:db8::1";

/// x/a and x/b on this node, y/c elsewhere.
pub(crate) fn world(policies: impl IntoIterator<Item = Value>) -> World {
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

pub(crate) fn ingress(rules: Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Ingress"], "ingress": rules })
}

pub(crate) fn egress(rules: Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Egress"], "egress": rules })
}

/// (source, destination, protocol, port, passes)
pub(crate) type Case<'a> = (&'a str, &'a str, u8, u16, bool);

pub(crate) fn check(world: &World, cases: &[Case<'_>]) {
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

/// A packet between links, or from a link to this node.
pub(crate) fn seen(input: &str, output: Option<&str>, source: &str, destination: &str) -> Packet {
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

pub(crate) fn neighbour_discovery(source: &str) -> Packet {
    Packet {
        protocol: 58,
        icmp_type: 135,
        state: CtState::UNTRACKED,
        ..seen("mgya", None, source, "fe80::1")
    }
}
