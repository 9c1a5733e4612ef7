//! Missing and empty lists, and what policyTypes default to: 67, 68.

use serde_json::{Value, json};

use crate::cluster::TCP;
use crate::small::{A, C, ICMP, check, world};

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
        json!({ "ingress": null, "policyTypes": null }),
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
    check(
        &spec(json!({ "ingress": [{ "from": null, "ports": null }] })),
        &[(C, A, ICMP, 0, true)],
    );
}
