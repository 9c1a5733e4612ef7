//! Upstream e2e, ingress: 1 to 18, 30, 31, 38 to 48.

use serde_json::{Value, json};

use crate::cluster::{
    PROTOCOLS, Probe, SCTP, TCP, UDP, cluster, ingress_to, prove, with_expression, with_label,
};

/// x/a takes what these rules allow.
fn to_a(rules: Value, truth: impl Fn(&Probe) -> bool) {
    prove(&cluster([("x", ingress_to("a", &rules))]), |probe| {
        !probe.to.is("x/a") || truth(probe)
    });
}

fn by_default_label(name: &str) -> Value {
    with_label("kubernetes.io/metadata.name", name)
}

#[test]
fn case_01_default_deny_ingress() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    prove(&cluster([("x", deny)]), |probe| probe.to.namespace != "x");
}

#[test]
fn case_02_default_deny_all() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    prove(&cluster([("x", deny)]), |probe| {
        probe.to.namespace != "x" && probe.from.namespace != "x"
    });
}

#[test]
fn case_03_pods_of_the_servers_namespace() {
    to_a(
        json!([{ "from": [{ "podSelector": with_label("pod", "b") }] }]),
        |probe| probe.from.is("x/b"),
    );
}

#[test]
fn case_04_traffic_for_a_target() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    prove(
        &cluster([("x", deny), ("x", ingress_to("a", &json!([{}])))]),
        |probe| probe.to.namespace != "x" || probe.to.pod == "a",
    );
}

#[test]
fn case_05_pods_of_all_namespaces() {
    to_a(
        json!([{ "from": [{ "namespaceSelector": {} }] }]),
        |probe| probe.from.is_pod(),
    );
}

#[test]
fn case_06_only_from_a_different_namespace() {
    to_a(
        json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }] }]),
        |probe| probe.from.namespace == "y",
    );
}

#[test]
fn case_07_pod_selector_with_expressions() {
    to_a(
        json!([{ "from": [{ "podSelector": with_expression("pod", "In", &["b"]) }] }]),
        |probe| probe.from.is("x/b"),
    );
}

#[test]
fn case_08_namespace_selector_with_expressions() {
    to_a(
        json!([{ "from": [{ "namespaceSelector": with_expression("ns", "In", &["y"]) }] }]),
        |probe| probe.from.namespace == "y",
    );
}

#[test]
fn case_09_pod_selector_or_namespace_selector() {
    let either = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }, { "podSelector": with_label("pod", "b") }] }]);
    to_a(either, |probe| {
        probe.from.namespace == "y" || probe.from.is("x/b")
    });
}

#[test]
fn case_10_pod_selector_and_namespace_selector() {
    let both = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y"), "podSelector": with_label("pod", "b") }] }]);
    to_a(both, |probe| probe.from.is("y/b"));
}

#[test]
fn case_11_several_pods_of_several_namespaces() {
    let several = json!([{ "from": [{
        "namespaceSelector": with_expression("ns", "NotIn", &["x"]),
        "podSelector": with_expression("pod", "In", &["b", "c"]),
    }] }]);
    to_a(several, |probe| {
        ["y", "z"].contains(&probe.from.namespace) && probe.from.pod != "a"
    });
}

#[test]
fn case_12_any_of_several_pod_selectors() {
    let any = json!([{ "from": [{ "podSelector": with_label("pod", "b") }, { "podSelector": with_label("pod", "c") }] }]);
    to_a(any, |probe| probe.from.is("x/b") || probe.from.is("x/c"));
}

#[test]
fn case_13_only_a_pod_of_a_different_namespace() {
    let one = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y"), "podSelector": with_label("pod", "a") }] }]);
    to_a(one, |probe| probe.from.is("y/a"));
}

#[test]
fn case_14_ports() {
    let rules = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }], "ports": [{ "port": 81 }] }]);
    to_a(rules, |probe| {
        probe.from.namespace == "y" && probe.is(TCP, 81)
    });
}

#[test]
fn case_15_stacked_policies_with_overlapping_selectors() {
    let rules = |port: u16| json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }], "ports": [{ "port": port }] }]);
    let wider =
        json!({ "podSelector": with_expression("pod", "In", &["a", "b"]), "ingress": rules(80) });
    prove(
        &cluster([("x", ingress_to("a", &rules(81))), ("x", wider)]),
        |probe| match (probe.to.namespace, probe.to.pod) {
            ("x", "a") => probe.from.namespace == "y" && (probe.is(TCP, 80) || probe.is(TCP, 81)),
            ("x", "b") => probe.from.namespace == "y" && probe.is(TCP, 80),
            _ => true,
        },
    );
}

#[test]
fn case_16_allow_all() {
    to_a(json!([{}]), |_| true);
}

#[test]
fn case_17_one_named_port() {
    to_a(
        json!([{ "ports": [{ "port": "serve-81-tcp" }] }]),
        |probe| probe.is(TCP, 81),
    );
}

#[test]
fn case_18_one_named_port_from_a_namespace() {
    let rules = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }], "ports": [{ "port": "serve-80-tcp" }] }]);
    to_a(rules, |probe| {
        probe.from.namespace == "y" && probe.is(TCP, 80)
    });
}

#[test]
fn case_30_any_port_of_one_protocol() {
    for (number, protocol) in PROTOCOLS {
        to_a(json!([{ "ports": [{ "protocol": protocol }] }]), |probe| {
            probe.protocol == number
        });
    }
}

#[test]
fn case_31_allow_all_takes_precedence_at_ingress() {
    let world = cluster([
        ("x", ingress_to("a", &json!([]))),
        ("x", ingress_to("a", &json!([{}]))),
    ]);
    prove(&world, |_| true);
}

#[test]
fn case_38_39_an_sctp_rule_opens_sctp_and_isolates_the_rest() {
    to_a(
        json!([{ "ports": [{ "protocol": "SCTP", "port": 80 }] }]),
        |probe| probe.is(SCTP, 80),
    );
    to_a(json!([{ "ports": [{ "protocol": "SCTP" }] }]), |probe| {
        probe.protocol == SCTP
    });
}

#[test]
fn case_40_a_udp_rule_opens_no_tcp() {
    to_a(
        json!([{ "ports": [{ "protocol": "UDP", "port": 80 }] }]),
        |probe| probe.is(UDP, 80),
    );
}

#[test]
fn case_41_default_label_of_a_namespace() {
    to_a(
        json!([{ "from": [{ "namespaceSelector": by_default_label("y") }] }]),
        |probe| probe.from.namespace == "y",
    );
}

#[test]
fn case_42_default_label_by_expression() {
    let selector = with_expression("kubernetes.io/metadata.name", "In", &["y"]);
    to_a(
        json!([{ "from": [{ "namespaceSelector": selector }] }]),
        |probe| probe.from.namespace == "y",
    );
}

/// 43 and 46: the table of case 1 has them in it, for all protocols.
#[test]
fn case_43_46_default_deny_holds_for_udp_and_sctp() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    let table = cluster([("x", deny)]);
    for protocol in [UDP, SCTP] {
        for (to, passes) in [("10.0.1.1", false), ("10.0.2.1", true)] {
            assert_eq!(table.passes("10.0.3.1", to, protocol, 80), passes);
        }
    }
}

#[test]
fn case_44_47_udp_and_sctp_ports() {
    for (number, protocol) in PROTOCOLS {
        let rules = json!([{
            "from": [{ "namespaceSelector": with_label("ns", "y") }],
            "ports": [{ "protocol": protocol, "port": 81 }],
        }]);
        to_a(rules, |probe| {
            probe.from.namespace == "y" && probe.is(number, 81)
        });
    }
}

#[test]
fn case_45_48_udp_and_sctp_from_one_pod_of_another_namespace() {
    for (number, protocol) in PROTOCOLS {
        let rules = json!([{
            "from": [{ "namespaceSelector": with_label("ns", "y"), "podSelector": with_label("pod", "a") }],
            "ports": [{ "protocol": protocol, "port": 80 }],
        }]);
        to_a(rules, |probe| probe.from.is("y/a") && probe.is(number, 80));
    }
}
