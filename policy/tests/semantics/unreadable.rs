//! Objects that the API server takes and nobody can obey: 90.

use serde_json::json;

use crate::cluster::TCP;
use crate::small::{A, B, C, check, ingress, world};

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
            json!({ "ingress": [{ "ports": [{ "endPort": 79 }] }] }),
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
