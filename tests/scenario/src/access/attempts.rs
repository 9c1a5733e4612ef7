//! Every verb that the token is tried with.

use super::{JSON, MARGAY, MERGE, refused};
use crate::rest::Caller;
use anyhow::{Result, ensure};
use margay_lab::Lab;
use serde_json::{Value, json};

const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A request, and what is to come of it.
pub(super) struct Attempt {
    what: String,
    request: Request,
    expect: Expect,
}

/// Method, path, and body with its content type.
type Request = (&'static str, String, Option<(&'static str, Value)>);

enum Expect {
    Allowed,
    /// By RBAC: the role lacks the verb.
    Forbidden,
    /// By the admission policy: the object, and the rule's name.
    Refused(String, &'static str),
}

impl Attempt {
    fn new(what: impl Into<String>, request: Request, expect: Expect) -> Self {
        Self {
            what: what.into(),
            request,
            expect,
        }
    }

    pub(super) fn title(&self) -> String {
        let expected = match &self.expect {
            Expect::Allowed => "allowed".to_owned(),
            Expect::Forbidden => "forbidden by RBAC".to_owned(),
            Expect::Refused(_, rule) => format!("refused by {rule}"),
        };
        format!("{}: {expected}", self.what)
    }

    pub(super) fn run(&self, caller: &Caller<'_>) -> Result<String> {
        let (method, path, body) = &self.request;
        let mut path = path.clone();
        if *method != "GET" {
            path.push_str("?dryRun=All");
        }
        let body = body.as_ref().map(|(kind, body)| (*kind, body));
        let answer = caller.ask(method, &path, body)?;
        match &self.expect {
            Expect::Allowed => {
                ensure!((200..300).contains(&answer.code), "{answer:?}");
                Ok(answer.code.to_string())
            }
            Expect::Forbidden => {
                // RBAC's words; those of an admission policy would be another reason.
                ensure!(answer.code == 403, "{answer:?}");
                ensure!(answer.message().contains(" cannot "), "{answer:?}");
                let words = answer.message().split(" cannot ").last();
                Ok(format!("cannot {}", words.unwrap_or_default()))
            }
            Expect::Refused(object, rule) => refused(&answer, object, rule),
        }
    }
}

/// On n1's objects, which are the token's own, on n2's, and on what is no agent's business.
pub(super) fn all(lab: &Lab, own: &str, other: &str) -> Result<Vec<Attempt>> {
    let mut all = identity("n1", |_, _| Expect::Allowed);
    all.extend(identity("n2", Expect::Refused));
    all.extend(blocks(lab, ("n1", own), |_, _| Expect::Allowed)?);
    all.extend(blocks(lab, ("n2", other), Expect::Refused)?);
    all.push(nobodys(lab)?);
    all.extend(own_condition());
    all.extend(elsewhere());
    all.extend(business_of_others());
    Ok(all)
}

fn condition(kind: &str) -> Value {
    json!({"status": {"conditions": [{"type": kind, "status": "False", "reason": "Stolen", "message": "by a stolen token"}]}})
}

/// BGPNode, NodeState and Node of a node.
fn identity(node: &str, rule: impl Fn(String, &'static str) -> Expect) -> Vec<Attempt> {
    let path = |kind: &str| format!("{MARGAY}/{kind}/{node}");
    let named = |kind: &str| rule(format!("{kind}/{node}"), "own-node");
    let patch = |path, body| ("PATCH", path, Some((MERGE, body)));
    let status = format!("{}/status", path("nodestates"));
    let available = format!("/api/v1/nodes/{node}/status");
    vec![
        Attempt::new(
            format!("patch BGPNode {node}"),
            patch(path("bgpnodes"), json!({"spec": {"listenPort": 1790}})),
            named("bgpnodes"),
        ),
        Attempt::new(
            format!("delete BGPNode {node}"),
            ("DELETE", path("bgpnodes"), None),
            Expect::Forbidden,
        ),
        Attempt::new(
            format!("patch NodeState {node}"),
            patch(
                path("nodestates"),
                json!({"metadata": {"labels": {"stolen": "yes"}}}),
            ),
            named("nodestates"),
        ),
        Attempt::new(
            format!("patch the status of NodeState {node}"),
            patch(status, json!({"status": {"version": "stolen"}})),
            named("nodestates"),
        ),
        Attempt::new(
            format!("read NodeState {node}"),
            ("GET", path("nodestates"), None),
            Expect::Forbidden,
        ),
        Attempt::new(
            format!("set NetworkUnavailable of Node {node}"),
            (
                "PATCH",
                available,
                Some((STRATEGIC, condition("NetworkUnavailable"))),
            ),
            named("nodes"),
        ),
    ]
}

/// Claim, publish, give back.
fn blocks(
    lab: &Lab,
    (node, name): (&str, &str),
    rule: impl Fn(String, &'static str) -> Expect,
) -> Result<Vec<Attempt>> {
    let mut block = lab.kubectl_json(&["get", "ipblock", name])?;
    block["spec"]["allocations"] = json!([]);
    let new = json!({
        "apiVersion": "margay.dev/v1alpha1", "kind": "IPBlock", "metadata": {"name": "198-51-100-0-26"},
        "spec": {"cidr": "198.51.100.0/26", "pool": block["spec"]["pool"], "nodeName": node},
    });
    let path = || format!("{MARGAY}/ipblocks/{name}");
    let own = || rule(format!("ipblocks/{name}"), "own-block");
    Ok(vec![
        Attempt::new(
            format!("claim a block for {node}"),
            ("POST", format!("{MARGAY}/ipblocks"), Some((JSON, new))),
            rule("ipblocks/198-51-100-0-26".to_owned(), "own-block"),
        ),
        Attempt::new(
            format!("empty block {name} of {node}"),
            ("PUT", path(), Some((JSON, block))),
            own(),
        ),
        Attempt::new(
            format!("delete block {name} of {node}"),
            ("DELETE", path(), None),
            own(),
        ),
        Attempt::new(
            format!("patch block {name} of {node}"),
            (
                "PATCH",
                path(),
                Some((MERGE, json!({"spec": {"allocations": []}}))),
            ),
            Expect::Forbidden,
        ),
    ])
}

/// The identity of a node that is not there: others would peer with it.
fn nobodys(lab: &Lab) -> Result<Attempt> {
    let mut node = lab.kubectl_json(&["get", "bgpnode", "n1"])?;
    node["metadata"] = json!({"name": "n9"});
    Ok(Attempt::new(
        "create a BGPNode n9, which is no node",
        ("POST", format!("{MARGAY}/bgpnodes"), Some((JSON, node))),
        Expect::Refused("bgpnodes/n9".to_owned(), "own-node"),
    ))
}

/// What `nodes/status` would allow besides.
fn own_condition() -> Vec<Attempt> {
    let label = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    let address = json!({"type": "InternalIP", "address": "203.0.113.66"});
    [
        ("set Ready of its own Node", condition("Ready")),
        ("label its own Node through the status", label),
        (
            "change the addresses of its own Node",
            json!({"status": {"addresses": [address]}}),
        ),
        (
            "change the capacity of its own Node",
            json!({"status": {"capacity": {"margay.dev/stolen": "1"}}}),
        ),
    ]
    .map(|(what, body)| {
        let path = "/api/v1/nodes/n1/status".to_owned();
        let rule = Expect::Refused("nodes/n1".to_owned(), "own-condition");
        Attempt::new(what, ("PATCH", path, Some((STRATEGIC, body))), rule)
    })
    .into()
}

/// Secrets and events.
fn elsewhere() -> Vec<Attempt> {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "access.probe", "namespace": "demo"},
        "involvedObject": {"kind": "Pod", "name": "a1", "namespace": "demo"}, "reason": "Probe", "message": "scenario access", "type": "Normal",
    });
    let secrets = |namespace: &str| ("GET", format!("/api/v1{namespace}/secrets"), None);
    let events = "/api/v1/namespaces/demo/events".to_owned();
    vec![
        Attempt::new(
            "write an event",
            ("POST", events, Some((JSON, event))),
            Expect::Allowed,
        ),
        Attempt::new(
            "list the Secrets of margay-system",
            secrets("/namespaces/margay-system"),
            Expect::Allowed,
        ),
        Attempt::new(
            "list the Secrets of kube-system",
            secrets("/namespaces/kube-system"),
            Expect::Forbidden,
        ),
        Attempt::new("list all Secrets", secrets(""), Expect::Forbidden),
    ]
}

fn business_of_others() -> Vec<Attempt> {
    let merge = |body| Some((MERGE, body));
    let label = json!({"metadata": {"labels": {"stolen": "yes"}}});
    let disabled = json!({"spec": {"disabled": true}});
    let token = Some((JSON, json!({"spec": {}})));
    let system = "/api/v1/namespaces/margay-system";
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    [
        (
            "delete a pod",
            "DELETE",
            "/api/v1/namespaces/demo/pods/a1".to_owned(),
            None,
        ),
        (
            "delete its own Node",
            "DELETE",
            "/api/v1/nodes/n1".to_owned(),
            None,
        ),
        (
            "label its own Node",
            "PATCH",
            "/api/v1/nodes/n1".to_owned(),
            merge(label.clone()),
        ),
        (
            "disable a pool",
            "PATCH",
            format!("{MARGAY}/ippools/pods-v4"),
            merge(disabled),
        ),
        (
            "run a command in an agent",
            "POST",
            format!("{system}/pods/any/exec"),
            None,
        ),
        (
            "make a token",
            "POST",
            format!("{system}/serviceaccounts/margay-agent/token"),
            token,
        ),
        (
            "change its own role",
            "PATCH",
            format!("{rbac}/clusterroles/margay-agent"),
            merge(label),
        ),
        (
            "delete the admission policy",
            "DELETE",
            format!("{admission}/validatingadmissionpolicies/margay-agent"),
            None,
        ),
    ]
    .map(|(what, method, path, body)| Attempt::new(what, (method, path, body), Expect::Forbidden))
    .into()
}
