//! Upstream e2e and Cyclonus actions, what changes while it runs: 20 to 24, 33, 49.

use serde_json::json;

use crate::cluster::{
    Live, cluster, egress_of, ingress_to, place, serving_pod, with_expression, with_label,
};

const XA: &str = "x/a";

#[test]
fn case_20_allow_all_becomes_deny_all() {
    let mut live = Live::new(cluster([("x", ingress_to("a", &json!([{}])))]));
    live.prove(|_| true);
    live.policy("x", "p0", ingress_to("a", &json!([])));
    live.prove(|probe| !probe.to.is(XA));
}

#[test]
fn case_21_labels_of_a_namespace_change() {
    let from = json!([{ "from": [{ "namespaceSelector": with_label("team", "red") }] }]);
    let mut live = Live::new(cluster([("x", ingress_to("a", &from))]));
    live.prove(|probe| !probe.to.is(XA));
    live.namespace("y", &[("ns", "y"), ("team", "red")]);
    live.prove(|probe| !probe.to.is(XA) || probe.from.namespace == "y");
    live.namespace("y", &[("ns", "y"), ("team", "blue")]);
    live.prove(|probe| !probe.to.is(XA));
}

#[test]
fn case_22_24_labels_of_a_peer_change() {
    let from = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y"), "podSelector": with_label("pod", "new") }] }]);
    let mut live = Live::new(cluster([("x", ingress_to("a", &from))]));
    live.prove(|probe| !probe.to.is(XA));
    let labels = |value: &str| Some([("pod".to_owned(), value.to_owned())].into());
    live.change_pod(place("y", "b"), |pod| pod.metadata.labels = labels("new"));
    live.prove(|probe| !probe.to.is(XA) || probe.from.is("y/b"));
    live.change_pod(place("y", "b"), |pod| pod.metadata.labels = labels("b"));
    live.prove(|probe| !probe.to.is(XA));
}

#[test]
fn case_22_24_labels_of_the_subject_change() {
    let mut live = Live::new(cluster([("x", ingress_to("new", &json!([])))]));
    live.prove(|_| true);
    live.change_pod(place("x", "a"), |pod| {
        pod.metadata.labels = Some([("pod".to_owned(), "new".to_owned())].into());
    });
    live.prove(|probe| !probe.to.is(XA));
    live.change_pod(place("x", "a"), |pod| pod.metadata.labels = None);
    live.prove(|_| true);
}

#[test]
fn case_23_other_namespaces_are_denied() {
    let own = json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }] }] });
    Live::new(cluster([("x", own)]))
        .prove(|probe| probe.to.namespace != "x" || probe.from.namespace == "x");
    let others =
        json!([{ "from": [{ "namespaceSelector": with_expression("ns", "NotIn", &["y"]) }] }]);
    Live::new(cluster([("x", ingress_to("a", &others))]))
        .prove(|probe| !probe.to.is(XA) || ["x", "z"].contains(&probe.from.namespace));
}

#[test]
fn case_33_a_deleted_policy_holds_no_more() {
    let mut live = Live::new(cluster([
        (
            "x",
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
        ),
        ("x", egress_of("a", &json!([]))),
    ]));
    live.prove(|probe| probe.from.namespace != "x" && probe.to.namespace != "x");
    live.delete_policy("x", "p0");
    live.prove(|probe| !probe.from.is(XA));
    live.delete_policy("x", "p1");
    live.prove(|_| true);
}

#[test]
fn case_49_policies_come_change_and_go() {
    let mut live = Live::new(cluster([]));
    live.prove(|_| true);
    live.policy("x", "one", ingress_to("a", &json!([])));
    live.prove(|probe| !probe.to.is(XA));
    let from_y = json!([{ "from": [{ "namespaceSelector": with_label("ns", "y") }] }]);
    live.policy("x", "two", ingress_to("a", &from_y));
    live.prove(|probe| !probe.to.is(XA) || probe.from.namespace == "y");
    live.policy("x", "one", egress_of("a", &from_y_as_to()));
    live.prove(|probe| {
        (!probe.to.is(XA) || probe.from.namespace == "y")
            && (!probe.from.is(XA) || probe.to.namespace == "y")
    });
    live.delete_policy("x", "two");
    live.prove(|probe| !probe.from.is(XA) || probe.to.namespace == "y");
    live.delete_policy("x", "one");
    live.prove(|_| true);
}

fn from_y_as_to() -> serde_json::Value {
    json!([{ "to": [{ "namespaceSelector": with_label("ns", "y") }] }])
}

#[test]
fn case_49_pods_come_and_go() {
    let from = json!([{ "from": [{ "podSelector": with_label("pod", "b") }] }]);
    let mut live = Live::new(cluster([("x", ingress_to("a", &from))]));
    live.prove(|probe| !probe.to.is(XA) || probe.from.is("x/b"));
    let b = place("x", "b");
    live.delete_pod(b);
    live.prove(|probe| !probe.to.is(XA));
    let addresses = b.addresses();
    let pod = serving_pod(b, &addresses.each_ref().map(String::as_str));
    live.pod(b, pod);
    live.prove(|probe| !probe.to.is(XA) || probe.from.is("x/b"));
    let a = place("x", "a");
    live.delete_pod(a);
    live.prove(|_| true);
}

#[test]
fn case_49_namespaces_come_and_go() {
    let from =
        json!([{ "from": [{ "namespaceSelector": with_expression("ns", "NotIn", &["x"]) }] }]);
    let mut live = Live::new(cluster([("x", ingress_to("a", &from))]));
    live.prove(|probe| !probe.to.is(XA) || ["y", "z"].contains(&probe.from.namespace));
    // Its pods are still there: a namespace that is not known is matched by no selector.
    live.delete_namespace("y");
    live.prove(|probe| !probe.to.is(XA) || probe.from.namespace == "z");
    live.namespace("y", &[("ns", "y")]);
    live.prove(|probe| !probe.to.is(XA) || ["y", "z"].contains(&probe.from.namespace));
}
