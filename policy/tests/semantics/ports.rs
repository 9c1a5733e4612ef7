//! Ports: 69, 70, 72, 73.

use serde_json::{Value, json};

use crate::cluster::{TCP, UDP};
use crate::fixtures::PodExt;
use crate::small::{A, A6, B, C, C6, OUTSIDE, check, egress, ingress, world};

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
    index.apply_pod(&world.pods[0]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, UDP, 53, true)]);
    world.pods[0].spec.init_containers.clear();
    index.apply_pod(&world.pods[0]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, UDP, 53, false)]);
}

#[test]
fn a_named_port_to_anyone_asks_for_no_namespace() {
    let mut world = world([egress(json!([{ "ports": [{ "port": "web" }] }]))]);
    world.namespaces.clear();
    check(&world, &[(A, C, TCP, 9090, true), (A, C, TCP, 80, false)]);
}

#[test]
fn case_72_a_remote_pods_named_port_follows_it() {
    let mut world = world([egress(json!([{ "ports": [{ "port": "web" }] }]))]);
    let mut index = world.index();
    check(&world, &[(A, C, TCP, 9090, true), (A, C, TCP, 9091, false)]);
    let container = world.pods[2].spec.containers.pop().unwrap();
    index.apply_pod(&world.pods[2]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(A, C, TCP, 9090, false)]);
    world.pods[2].spec.init_containers.push(container);
    world.pods[2].spec.init_containers[0].ports[0].container_port = 9091;
    index.apply_pod(&world.pods[2]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(A, C, TCP, 9090, false), (A, C, TCP, 9091, true)]);
}

#[test]
fn case_73_ranges_that_mean_nothing_open_nothing() {
    for port in [
        json!({ "endPort": 80 }),
        json!({ "port": "web", "endPort": 90 }),
        json!({ "port": 81, "endPort": 80 }),
        json!({ "port": 80, "endPort": 65536 }),
        json!({ "port": 0, "endPort": 80 }),
    ] {
        let world = world([ingress(json!([{ "ports": [port] }]))]);
        assert_eq!(world.index().problems().len(), 1, "{port}");
        check(&world, &[(B, A, TCP, 80, false), (B, A, TCP, 81, false)]);
    }
}
