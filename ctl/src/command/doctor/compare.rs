//! What no node sees alone: two nodes side by side, and what objects say of themselves.

use super::Line;
use kube::ResourceExt;
use margay_proto::crd::{BGPNode, Condition, IPPool, NodeState};
use margay_proto::rpc::agent::DoctorReply;
use std::collections::BTreeMap;

/// What was read; none of a kind that may not be read.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) pools: Option<Vec<IPPool>>,
    pub(super) nodes: Option<Vec<BGPNode>>,
    pub(super) states: Option<Vec<NodeState>>,
    /// The admission policy that keeps agents to their own objects is in force.
    pub(super) bound: bool,
}

/// All findings; of nodes only those about `node`, if one is given.
pub(super) fn compare(objects: &Objects, replies: &[DoctorReply], node: Option<&str>) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.extend(objects.nodes.iter().flat_map(|nodes| router_ids(nodes)));
    lines.extend(mtus(replies));
    lines.extend(objects.states.iter().flat_map(|states| cut_off(states)));
    lines.extend(objects.states.iter().flatten().flat_map(degraded));
    lines.retain(|line| node.is_none_or(|node| line.node == node || line.is("ok")));
    lines.extend(objects.pools.iter().flat_map(|pools| pool_states(pools)));
    lines.push(if objects.bound {
        Line::new(
            "",
            ["admission", "ok"],
            "ValidatingAdmissionPolicyBinding margay-agent",
            ["in force", ""],
        )
    } else {
        let what = "it is not there: a token stolen from one node can write every node's objects";
        let remedy = "kubectl apply -k manifests/";
        Line::new(
            "",
            ["admission", "error"],
            "ValidatingAdmissionPolicyBinding margay-agent",
            [what, remedy],
        )
    });
    lines
}

fn or_ok(found: Vec<Line>, check: &str, object: &str, what: &str) -> Vec<Line> {
    if found.is_empty() {
        vec![Line::new("", [check, "ok"], object, [what, ""])]
    } else {
        found
    }
}

/// Two speakers of one AS with one identifier refuse each other, or take each other's routes for their own; in different ones they may
/// have the same (RFC 6286).
fn router_ids(nodes: &[BGPNode]) -> Vec<Line> {
    let mut of_id: BTreeMap<(&str, u32), Vec<String>> = BTreeMap::new();
    for node in nodes {
        of_id
            .entry((&node.spec.router_id, node.spec.as_number))
            .or_default()
            .push(node.name_any());
    }
    let found = of_id.iter().filter(|(_, nodes)| nodes.len() > 1).flat_map(|((id, asn), nodes)| {
        nodes.iter().map(move |node| {
            let others: Vec<&str> = nodes.iter().filter(|n| *n != node).map(String::as_str).collect();
            let what = format!("its router id {id} is also that of {} in AS {asn}", others.join(", "));
            let remedy = "give each a routerID of its own in a NodeConfig, or leave it out: then it is the node's IPv4 address";
            Line::new(node, ["router-id", "error"], &format!("BGPNode/{node}"), [&what, remedy])
        })
    });
    or_ok(
        found.collect(),
        "router-id",
        "BGPNodes",
        "every router id is there once in its AS",
    )
}

fn mtus(replies: &[DoctorReply]) -> Vec<Line> {
    let all = replies
        .iter()
        .flat_map(|r| r.uplinks.iter().map(move |link| (&r.node, link)));
    let Some(largest) = all.clone().map(|(_, link)| link.mtu).max() else {
        return Vec::new();
    };
    let others: Vec<&str> = replies
        .iter()
        .filter(|r| r.uplinks.iter().all(|link| link.mtu == largest))
        .map(|r| r.node.as_str())
        .collect();
    let found = all.filter(|(_, link)| link.mtu < largest).map(|(node, link)| {
        let what = format!("its MTU is {}, and {largest} on {}: large packets between them depend on path MTU discovery", link.mtu, others.join(", "));
        let remedy = "one MTU on all uplinks, or `mtu` in a NodeConfig for the pods of all nodes";
        Line::new(node, ["mtu", "warning"], &format!("link {}", link.name), [&what, remedy])
    });
    or_ok(
        found.collect(),
        "mtu",
        "uplinks",
        &format!("all have MTU {largest}"),
    )
}

/// A node alone has nobody to talk to; of several, each must be announced by somebody.
fn cut_off(states: &[NodeState]) -> Vec<Line> {
    let silent = |state: &&NodeState| state.status.as_ref().is_some_and(|s| s.sessions.is_empty());
    let found = states.iter().filter(silent).filter(|_| states.len() > 1).map(|state| {
        let node = state.name_any();
        let what = "it has no session, not even one that is down: nobody learns the way to its pods";
        let remedy = "a BGPPeer has to select this node, by labels that it has; what holds one down stands in its NodeState's Degraded";
        Line::new(&node, ["session", "error"], &format!("NodeState/{node}"), [what, remedy])
    });
    found.collect()
}

fn degraded(state: &NodeState) -> Option<Line> {
    let conditions = state.status.iter().flat_map(|status| &status.conditions);
    let degraded = conditions
        .into_iter()
        .find(|c| c.type_ == "Degraded" && c.status == "True")?;
    let node = state.name_any();
    let remedy = "docs/errors.md, NodeState Degraded";
    Some(Line::new(
        &node,
        ["degraded", "warning"],
        &format!("NodeState/{node}"),
        [&degraded.message, remedy],
    ))
}

fn pool_states(pools: &[IPPool]) -> Vec<Line> {
    if pools.is_empty() {
        let remedy = "margayctl pool create NAME --cidr CIDR, or name pools in the Installation";
        return vec![Line::new(
            "",
            ["pool", "error"],
            "IPPools",
            ["there is none: no pod gets an address", remedy],
        )];
    }
    let found = pools.iter().flat_map(|pool| {
        let conditions = pool
            .status
            .as_ref()
            .map(|s| s.conditions.as_slice())
            .unwrap_or_default();
        let object = format!("IPPool/{}", pool.name_any());
        let unseen = conditions.iter().all(|c| c.type_ != "Active");
        let unseen = unseen.then(|| {
            let what = "it has no condition Active, so pods get no address of it: no operator has looked at it yet";
            let remedy = "kubectl -n margay-system get deployments,leases: does an operator run and lead?";
            Line::new("", ["pool", "error"], &object, [what, remedy])
        });
        let told: Vec<Line> = conditions
            .iter()
            .filter_map(|c| pool_condition(&object, c))
            .chain(unseen)
            .collect();
        told
    });
    or_ok(
        found.collect(),
        "pool",
        "IPPools",
        "all active, or disabled by intention",
    )
}

fn pool_condition(object: &str, condition: &Condition) -> Option<Line> {
    let severity = match (
        condition.type_.as_str(),
        condition.status.as_str(),
        condition.reason.as_str(),
    ) {
        ("Active", "False", "Disabled") => return None,
        ("Active", "False", _) => "error",
        ("Exhausted", "True", _) => "warning",
        _ => return None,
    };
    let what = format!("{}: {}", condition.reason, condition.message);
    let remedy = match condition.reason.as_str() {
        "Overlap" => "make it anew with a cidr of its own, or delete the other",
        "Exhausted" => "enlarge its cidr, or add a pool",
        _ => "docs/errors.md, IPPool",
    };
    Some(Line::new("", ["pool", severity], object, [&what, remedy]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_proto::rpc::agent::Uplink;
    use serde_json::json;

    fn node(name: &str, id: &str) -> BGPNode {
        serde_json::from_value(json!({
            "apiVersion": "margay.dev/v1alpha1", "kind": "BGPNode", "metadata": {"name": name},
            "spec": {"asNumber": 64512, "routerID": id, "addresses": ["192.0.2.1"], "listenPort": 179},
        }))
        .unwrap()
    }

    fn pool(name: &str, conditions: serde_json::Value) -> IPPool {
        serde_json::from_value(json!({
            "apiVersion": "margay.dev/v1alpha1", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"cidr": "10.0.0.0/16"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn reply(node: &str, mtu: u32) -> DoctorReply {
        let uplink = Uplink {
            name: "eth0".into(),
            mtu,
            ..Uplink::default()
        };
        DoctorReply {
            node: node.into(),
            uplinks: vec![uplink],
            ..DoctorReply::default()
        }
    }

    fn wrong(lines: Vec<Line>) -> Vec<String> {
        let bad = lines.into_iter().filter(|line| !line.is("ok"));
        bad.map(|l| {
            format!(
                "{} {} {} {}",
                l.finding.severity, l.node, l.finding.object, l.finding.what
            )
        })
        .collect()
    }

    #[test]
    fn a_duplicate_router_id_names_both() {
        let nodes = [
            node("n1", "1.1.1.1"),
            node("n2", "1.1.1.1"),
            node("n3", "3.3.3.3"),
        ];
        assert_eq!(
            wrong(router_ids(&nodes)),
            [
                "error n1 BGPNode/n1 its router id 1.1.1.1 is also that of n2 in AS 64512",
                "error n2 BGPNode/n2 its router id 1.1.1.1 is also that of n1 in AS 64512"
            ]
        );
        assert_eq!(router_ids(&nodes[1..]).len(), 1);
        let mut other = node("n2", "1.1.1.1");
        other.spec.as_number = 64513;
        let apart = [node("n1", "1.1.1.1"), other];
        assert_eq!(wrong(router_ids(&apart)), [""; 0], "RFC 6286");
    }

    #[test]
    fn of_several_nodes_one_without_any_session_is_named() {
        let state = |name: &str, sessions: serde_json::Value| -> NodeState {
            serde_json::from_value(json!({
                "apiVersion": "margay.dev/v1alpha1", "kind": "NodeState", "metadata": {"name": name},
                "spec": {"nodeName": name},
                "status": {"version": "1", "established": "", "generation": 1, "conditions": [], "sessions": sessions},
            }))
            .unwrap()
        };
        let down = json!([{"peer": "tor", "address": "192.0.2.9", "state": "Idle", "reason": ""}]);
        let states = [state("n1", down), state("n2", json!([]))];
        let found = wrong(cut_off(&states));
        assert!(
            found.len() == 1 && found[0].starts_with("error n2 NodeState/n2 it has no session"),
            "{found:?}"
        );
        assert_eq!(wrong(cut_off(&states[1..])), [""; 0], "a node alone");
    }

    #[test]
    fn the_smaller_mtu_is_named() {
        let found = wrong(mtus(&[reply("n1", 1400), reply("n2", 1500)]));
        assert!(
            found.len() == 1
                && found[0].starts_with("warning n1 link eth0 its MTU is 1400, and 1500 on n2"),
            "{found:?}"
        );
        assert_eq!(
            wrong(mtus(&[reply("n1", 1500), reply("n2", 1500)])),
            Vec::<String>::new()
        );
        assert!(mtus(&[]).is_empty());
    }

    #[test]
    fn pools_that_serve_nobody_are_named() {
        let pools = [
            pool("a", json!([condition("Active", "True", "Active")])),
            pool("b", json!([condition("Active", "False", "Disabled")])),
            pool(
                "c",
                json!([
                    condition("Active", "False", "Overlap"),
                    condition("Exhausted", "True", "Exhausted")
                ]),
            ),
        ];
        assert_eq!(
            wrong(pool_states(&pools)),
            [
                "error  IPPool/c Overlap: why",
                "warning  IPPool/c Exhausted: why"
            ]
        );
        assert_eq!(wrong(pool_states(&pools[..2])), Vec::<String>::new());
        let unseen = wrong(pool_states(&[pool("d", json!([]))]));
        assert!(
            unseen[0].contains("IPPool/d it has no condition Active"),
            "{unseen:?}"
        );
        assert_eq!(wrong(pool_states(&[])).len(), 1);
    }

    #[test]
    fn one_node_is_told_of_itself_and_of_the_cluster() {
        let objects = Objects {
            nodes: Some(vec![node("n1", "1.1.1.1"), node("n2", "1.1.1.1")]),
            pools: Some(Vec::new()),
            ..Objects::default()
        };
        let found = wrong(compare(&objects, &[], Some("n2")));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("BGPNode/n2")
                && found[1].contains("IPPools")
                && found[2].contains("AdmissionPolicy")
        );
    }
}
