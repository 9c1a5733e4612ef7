//! Random small clusters and flows: few labels, ports and addresses, so that they meet often.
#![allow(dead_code, reason = "each test file uses a part")]

use k8s_openapi::api::networking::v1::NetworkPolicy;
use margay_policy::verdict::Flow;
use margay_proto::slim::{Namespace, Pod};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::fixtures::{PodExt, World, address, namespace, pod, policy};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const OUTSIDE: [&str; 6] = [
    "192.0.2.1",
    "192.0.2.65",
    "198.51.100.7",
    "2001:db8::1",
    "2001:db8:1::1",
    "10.9.9.9",
];
const NODES: [&str; 2] = ["172.16.0.1", "fd01::1"];

fn some_labels() -> impl Strategy<Value = Value> {
    (select(vec!["", "a", "b"]), select(vec!["", "s", "t"])).prop_map(|(app, tier)| {
        let mut labels = serde_json::Map::new();
        for (key, value) in [("app", app), ("tier", tier)] {
            if !value.is_empty() {
                labels.insert(key.to_owned(), json!(value));
            }
        }
        Value::Object(labels)
    })
}

fn selector() -> BoxedStrategy<Value> {
    let expression = prop_oneof![
        10 => Just(json!({"key": "app", "operator": "In", "values": ["a", "b"]})),
        10 => Just(json!({"key": "app", "operator": "NotIn", "values": ["a"]})),
        10 => Just(json!({"key": "tier", "operator": "Exists"})),
        10 => Just(json!({"key": "tier", "operator": "DoesNotExist"})),
        1 => Just(json!({"key": "tier", "operator": "In", "values": []})),
        1 => Just(json!({"key": "tier", "operator": "Sideways"})),
    ];
    prop_oneof![
        2 => Just(json!({})),
        4 => some_labels().prop_map(|labels| json!({ "matchLabels": labels })),
        2 => expression.prop_map(|expression| json!({ "matchExpressions": [expression] })),
        1 => select(NAMESPACES.to_vec())
            .prop_map(|name| json!({ "matchLabels": { "kubernetes.io/metadata.name": name } })),
    ]
    .boxed()
}

fn block() -> impl Strategy<Value = Value> {
    let networks = vec![
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.1.0/24",
        "192.0.2.0/24",
        "192.0.2.65/32",
        "192.0.2.77/26",
        "fd00::/8",
        "2001:db8::/32",
        "172.16.0.1/32",
    ];
    let holes = vec![
        "10.0.1.0/24",
        "192.0.2.64/26",
        "192.0.2.0/24",
        "10.0.0.1/32",
        "2001:db8:1::/48",
        "fd00::1/128",
        "0.0.0.0/1",
    ];
    (
        select(networks),
        proptest::collection::vec(select(holes), 0..3),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(cidr, mut except, bad)| {
            // Most exceptions that do not fit are taken out: the rest proves that a bad one fails closed.
            if !bad {
                let inside = |hole: &&str| {
                    let (cidr, hole): (ipnetwork::IpNetwork, ipnetwork::IpNetwork) =
                        (cidr.parse().unwrap(), hole.parse().unwrap());
                    cidr.contains(hole.ip()) && hole.prefix() >= cidr.prefix()
                };
                except.retain(inside);
            }
            json!({ "ipBlock": { "cidr": cidr, "except": except } })
        })
}

fn peer() -> BoxedStrategy<Value> {
    prop_oneof![
        3 => selector().prop_map(|pods| json!({ "podSelector": pods })),
        3 => selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        3 => (selector(), selector()).prop_map(|(namespaces, pods)| json!({ "namespaceSelector": namespaces, "podSelector": pods })),
        4 => block(),
    ]
    .boxed()
}

fn port() -> BoxedStrategy<Value> {
    let protocol = prop_oneof![8 => select(vec!["TCP", "UDP", "SCTP"]), 1 => Just("")];
    let number = prop_oneof![
        2 => Just(json!({})),
        8 => select(vec![80, 81, 443, 8080, 65535]).prop_map(|port| json!({ "port": port })),
        3 => select(vec![(80, 81), (1, 65535), (443, 443), (79, 442), (81, 80)]).prop_map(|(port, end)| json!({ "port": port, "endPort": end })),
        4 => select(vec!["http", "dns"]).prop_map(|name| json!({ "port": name })),
    ];
    (protocol, number)
        .prop_map(|(protocol, mut port)| {
            if !protocol.is_empty() {
                port["protocol"] = json!(protocol);
            }
            port
        })
        .boxed()
}

fn rules(side: &'static str) -> impl Strategy<Value = Value> {
    let rule = (
        proptest::collection::vec(peer(), 0..3),
        proptest::collection::vec(port(), 0..7),
    );
    proptest::collection::vec(rule, 0..3).prop_map(move |rules| {
        let rules = rules
            .into_iter()
            .map(|(peers, ports)| json!({ side: peers, "ports": ports }));
        Value::Array(rules.collect())
    })
}

fn any_policy(number: usize) -> impl Strategy<Value = NetworkPolicy> {
    let types = select(vec![
        json!(null),
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
    ]);
    (select(NAMESPACES.to_vec()), selector(), types, rules("from"), rules("to")).prop_map(
        move |(namespace, pods, types, ingress, egress)| {
            let spec = json!({ "podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress });
            policy(namespace, &format!("policy-{number}"), spec)
        },
    )
}

fn any_pod(number: usize) -> impl Strategy<Value = Pod> {
    let ports = proptest::collection::vec(
        (
            select(vec!["TCP", "UDP", "SCTP"]),
            select(vec!["http", "dns"]),
            select(vec![80, 81, 443]),
        ),
        0..3,
    );
    (
        select(NAMESPACES.to_vec()),
        some_labels(),
        0..4u8,
        0..13u8,
        ports,
    )
        .prop_map(move |(namespace, labels, families, kind, ports)| {
            let v4 = format!("10.0.{}.{}", number % 2, number + 1);
            let v6 = format!("fd00::{:x}", number + 1);
            let addresses = match families {
                0 => vec![v4.as_str()],
                1 => vec![v6.as_str()],
                _ => vec![v4.as_str(), v6.as_str()],
            };
            let mut pod = pod(namespace, &format!("pod-{number}"), &[], &addresses)
                .created(i64::try_from(number).unwrap());
            pod.metadata.labels = serde_json::from_value(labels).unwrap();
            for (protocol, name, number) in ports {
                pod = pod.serving(protocol, name, number);
            }
            match kind {
                0 => {
                    pod.spec.host_network = true;
                    pod.status
                        .pod_ips
                        .iter_mut()
                        .zip(NODES)
                        .for_each(|(its, node)| node.clone_into(&mut its.ip));
                }
                1 => pod.status.phase = Some("Succeeded".to_owned()),
                // The address of a pod before it, which had it earlier.
                2 if number > 0 => {
                    pod.status.pod_ips[0].ip = if families == 1 {
                        format!("fd00::{number:x}")
                    } else {
                        format!("10.0.{}.{number}", (number - 1) % 2)
                    };
                }
                3 => pod = pod.ending(),
                _ => {}
            }
            pod
        })
}

fn any_namespace(name: &'static str) -> impl Strategy<Value = Option<Namespace>> {
    let labels = (select(vec!["", "a", "b"]), prop::bool::weighted(0.9));
    labels.prop_map(move |(app, exists)| {
        let extra: &[(&str, &str)] = if app.is_empty() { &[] } else { &[("app", app)] };
        exists.then(|| namespace(name, extra))
    })
}

/// A cluster of up to seven pods, three namespaces and four policies; about half of the pods are local.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let pods: Vec<_> = (0..7).map(any_pod).collect();
    let policies: Vec<_> = (0..4).map(any_policy).collect();
    let namespaces: Vec<_> = NAMESPACES.into_iter().map(any_namespace).collect();
    (
        pods,
        1..8usize,
        policies,
        0..5usize,
        namespaces,
        any::<u8>(),
    )
        .prop_map(
            |(mut pods, pod_count, mut policies, policy_count, namespaces, local)| {
                pods.truncate(pod_count);
                policies.truncate(policy_count);
                let mut world = World {
                    pods,
                    policies,
                    namespaces: namespaces.into_iter().flatten().collect(),
                    local: Vec::new(),
                };
                world.local = (0..world.pods.len())
                    .filter(|number| local >> number & 1 == 1 && owns_all(&world, *number))
                    .map(|number| (format!("mgy{number}"), number))
                    .collect();
                world
            },
        )
}

/// Only a pod that holds its addresses has a link in these clusters: the source check is another test's business.
fn owns_all(world: &World, number: usize) -> bool {
    let pod = &world.pods[number];
    pod.status.pod_ips.iter().all(|its| {
        world
            .cluster()
            .pod_at(address(&its.ip))
            .is_some_and(|owner| owner.metadata.uid == pod.metadata.uid)
    })
}

/// All flows worth trying in a cluster: between all addresses of one family, on ports the policies speak of and one they do not.
pub(crate) fn flows(world: &World) -> Vec<Flow> {
    let mut addresses: Vec<_> = world
        .pods
        .iter()
        .flat_map(|pod| &pod.status.pod_ips)
        .map(|its| its.ip.clone())
        .collect();
    addresses.extend(OUTSIDE.into_iter().chain(NODES).map(str::to_owned));
    addresses.sort();
    addresses.dedup();
    let mut flows = Vec::new();
    for source in addresses.iter().map(|text| address(text)) {
        for destination in addresses
            .iter()
            .map(|text| address(text))
            .filter(|to| to.is_ipv4() == source.is_ipv4())
        {
            for protocol in [6, 17, 132] {
                flows.extend([80, 81, 442, 443, 65535].map(|port| Flow {
                    source,
                    destination,
                    protocol,
                    port,
                }));
            }
            flows.push(Flow {
                source,
                destination,
                protocol: if source.is_ipv4() { 1 } else { 58 },
                port: 80,
            });
        }
    }
    flows
}
