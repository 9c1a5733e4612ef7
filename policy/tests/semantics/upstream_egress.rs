//! Upstream e2e, egress and addresses: 19, 25 to 29, 32, 34 to 37.

use serde_json::{Value, json};

use crate::cluster::{Probe, TCP, UDP, cluster, egress_of, ingress_to, place, prove, with_label};

/// x/a sends what these rules allow.
fn from_a(rules: Value, truth: impl Fn(&Probe) -> bool) {
    prove(&cluster([("x", egress_of("a", &rules))]), |probe| {
        !probe.from.is("x/a") || truth(probe)
    });
}

/// An ipBlock of each family.
fn blocks(cidrs: [&str; 2], except: [&[String]; 2]) -> Value {
    let block =
        |family: usize| json!({ "ipBlock": { "cidr": cidrs[family], "except": except[family] } });
    json!([block(0), block(1)])
}

#[test]
fn case_19_one_named_port() {
    let rules =
        json!([{ "ports": [{ "port": "serve-80-tcp" }, { "port": 53, "protocol": "UDP" }] }]);
    from_a(rules, |probe| {
        (probe.to.is_pod() && probe.is(TCP, 80)) || probe.is(UDP, 53)
    });
}

#[test]
fn case_25_deny_by_pod_selector() {
    from_a(json!([]), |_| false);
}

#[test]
fn case_26_deny_of_a_namespace() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
    prove(&cluster([("x", deny)]), |probe| probe.from.namespace != "x");
}

#[test]
fn case_27_ingress_and_egress_together() {
    let both = json!({
        "podSelector": with_label("pod", "a"),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": [{ "namespaceSelector": with_label("ns", "y") }], "ports": [{ "port": 80 }] }],
        "egress": [{ "to": [{ "namespaceSelector": with_label("ns", "z") }] }],
    });
    prove(&cluster([("x", both)]), |probe| {
        let goes = !probe.from.is("x/a") || probe.to.namespace == "z";
        let comes = !probe.to.is("x/a") || (probe.from.namespace == "y" && probe.is(TCP, 80));
        goes && comes
    });
}

#[test]
fn case_28_the_client_denies_what_the_server_allows() {
    let world = cluster([
        ("x", egress_of("a", &json!([]))),
        (
            "y",
            ingress_to(
                "a",
                &json!([{ "from": [{ "namespaceSelector": with_label("ns", "x") }] }]),
            ),
        ),
    ]);
    prove(&world, |probe| {
        !probe.from.is("x/a") && (!probe.to.is("y/a") || probe.from.namespace == "x")
    });
}

#[test]
fn case_29_a_server_of_another_namespace() {
    let to = json!([{ "to": [{ "namespaceSelector": with_label("ns", "y"), "podSelector": with_label("pod", "a") }] }]);
    from_a(to, |probe| probe.to.is("y/a"));
}

#[test]
fn case_32_allow_all_takes_precedence_at_egress() {
    let world = cluster([
        ("x", egress_of("a", &json!([]))),
        ("x", egress_of("a", &json!([{}]))),
    ]);
    prove(&world, |_| true);
}

#[test]
fn case_34_an_address() {
    let [four, six] = place("y", "b").addresses();
    let to = blocks([&format!("{four}/32"), &format!("{six}/128")], [&[], &[]]);
    from_a(json!([{ "to": to }]), |probe| probe.to.is("y/b"));
}

#[test]
fn case_35_all_but_an_address() {
    let [four, six] = place("y", "b").addresses();
    let holes = [[format!("{four}/32")], [format!("{six}/128")]];
    let to = blocks(["10.0.2.0/24", "fd00:0:0:2::/64"], [&holes[0], &holes[1]]);
    from_a(json!([{ "to": to }]), |probe| {
        probe.to.namespace == "y" && !probe.to.is("y/b")
    });
}

#[test]
fn case_36_excepted_by_one_policy_and_allowed_by_another() {
    let [four, six] = place("y", "b").addresses();
    let holes = [[format!("{four}/32")], [format!("{six}/128")]];
    let but = blocks(["10.0.2.0/24", "fd00:0:0:2::/64"], [&holes[0], &holes[1]]);
    let one = blocks([&holes[0][0], &holes[1][0]], [&[], &[]]);
    let world = cluster([
        ("x", egress_of("a", &json!([{ "to": but }]))),
        ("x", egress_of("a", &json!([{ "to": one }]))),
    ]);
    prove(&world, |probe| {
        !probe.from.is("x/a") || probe.to.namespace == "y"
    });
}

#[test]
fn case_37_ingress_and_egress_are_independent() {
    let b = json!([{ "podSelector": with_label("pod", "b") }]);
    for (in_rules, out_rules, comes, goes) in [
        (json!([{ "from": b }]), json!([]), true, false),
        (json!([]), json!([{ "to": b }]), false, true),
    ] {
        let world = cluster([
            ("x", ingress_to("a", &in_rules)),
            ("x", egress_of("a", &out_rules)),
        ]);
        prove(&world, |probe| {
            (!probe.to.is("x/a") || (comes && probe.from.is("x/b")))
                && (!probe.from.is("x/a") || (goes && probe.to.is("x/b")))
        });
    }
}
