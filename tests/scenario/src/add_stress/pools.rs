//! The pools that are too small, and what nodes and API server have of them.

use super::NAMESPACE;
use crate::runtime;
use anyhow::Result;
use margay_lab::{Lab, Seen, wait_until};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// 64 IPv4 addresses in 8 blocks of 8, of which the first and last are never used. IPv6 addresses enough: were both short, nodes could share
/// them out so that one has only the one and another only the other.
pub(super) const POOLS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: stress}
---
apiVersion: margay.dev/v1alpha1
kind: IPPool
metadata: {name: tiny-v4}
spec: {cidr: 10.251.0.0/26, blockSize: 29}
---
apiVersion: margay.dev/v1alpha1
kind: IPPool
metadata: {name: tiny-v6}
spec: {cidr: 'fd00:10:251::/120', blockSize: 125}
";
pub(super) const USABLE: usize = 62;
const LARGE: [&str; 2] = ["pods-v4", "pods-v6"];

/// Addresses of the tiny pools that the IPBlocks name.
pub(super) fn published(lab: &Lab) -> Result<BTreeSet<IpAddr>> {
    let blocks = lab.kubectl_json(&["get", "ipblocks"])?;
    let tiny = |b: &&Value| {
        b["spec"]["pool"]
            .as_str()
            .is_some_and(|p| p.starts_with("tiny-"))
    };
    let blocks = blocks["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(tiny);
    let allocations =
        blocks.flat_map(|b| b["spec"]["allocations"].as_array().into_iter().flatten());
    Ok(allocations
        .filter_map(|a| a["address"].as_str()?.parse().ok())
        .collect())
}

/// Addresses of the tiny pools that a node's kernel routes to a pod link.
pub(super) fn pod_routes(lab: &Lab, node: &str) -> Result<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    for family in ["-4", "-6"] {
        let text = lab.exec(node, &["ip", family, "route", "show", "proto", "83"])?;
        let pods = text.lines().filter(|l| {
            l.contains(" dev mgy") && (l.starts_with("10.251.") || l.starts_with("fd00:10:251:"))
        });
        all.extend(pods.filter_map(|l| l.split_whitespace().next()?.parse::<IpAddr>().ok()));
    }
    Ok(all)
}

pub(super) fn set_large(lab: &Lab, disabled: bool) -> Result<()> {
    for pool in LARGE {
        let patch = format!(r#"{{"spec":{{"disabled":{disabled}}}}}"#);
        lab.kubectl(&["patch", "ippool", pool, "--type=merge", "-p", &patch])?;
    }
    Ok(())
}

/// The operator has taken both changes, and every node owns a block of each family of the tiny pools.
pub(super) fn only_tiny(lab: &Lab) -> Result<Seen<()>> {
    let pools = lab.kubectl(&["get", "ippools", "-o", "jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type==\"Active\")].status} {end}"])?;
    let wanted = [
        "tiny-v4=True",
        "tiny-v6=True",
        "pods-v4=False",
        "pods-v6=False",
    ];
    if !wanted.iter().all(|w| pools.contains(w)) {
        return Ok(Seen::NotYet(pools));
    }
    let blocks = lab.kubectl_json(&["get", "ipblocks"])?;
    let owners: BTreeSet<String> = blocks["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|b| {
            b["spec"]["pool"]
                .as_str()
                .is_some_and(|p| p.starts_with("tiny-"))
        })
        .map(|b| format!("{} {}", b["spec"]["pool"], b["spec"]["nodeName"]))
        .collect();
    Ok(if owners.len() == 2 * lab.nodes().len() {
        Seen::Holds(())
    } else {
        Seen::NotYet(format!("{owners:?}"))
    })
}

/// Also after a failure half-way.
pub(super) fn restore(lab: &Lab) -> Result<()> {
    set_large(lab, false)?;
    runtime::end_all_namespaces(lab)?;
    runtime::end_pods(lab, NAMESPACE)?;
    lab.kubectl(&[
        "delete",
        "ippool",
        "tiny-v4",
        "tiny-v6",
        "--ignore-not-found",
    ])?;
    // Freed addresses rest for a minute and keep their blocks. An agent that starts anew knows nothing of that and gives them back.
    let agents = [
        "-n",
        "margay-system",
        "-l",
        "app.kubernetes.io/name=margay-agent",
    ];
    lab.kubectl(&[&["delete", "pods", "--wait"], &agents[..]].concat())?;
    wait_until(
        "the tiny pools' blocks are given back",
        Duration::from_secs(40),
        || {
            let blocks =
                lab.kubectl(&["get", "ipblocks", "-o", "jsonpath={.items[*].spec.pool}"])?;
            Ok(if blocks.contains("tiny-") {
                Seen::NotYet(blocks)
            } else {
                Seen::Holds(())
            })
        },
    )?;
    lab.kubectl(&[
        "rollout",
        "status",
        "-n",
        "margay-system",
        "daemonset/margay-agent",
        "--timeout=60s",
    ])?;
    Ok(())
}

/// Pod links, records and routes of every node, those to other nodes' blocks included.
pub(super) fn outside_state(lab: &Lab) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for node in lab.nodes() {
        let look = "ls /run/margay/attachments; ip -br link | grep -o '^mgy[^@ ]*'; for f in -4 -6; do ip $f route show proto 83 | cut -d' ' -f1,2; done";
        let text = lab.exec(&node.name, &["sh", "-c", look])?;
        all.extend(
            text.lines()
                .map(|line| format!("{} {}", node.name, line.trim())),
        );
    }
    Ok(all)
}
