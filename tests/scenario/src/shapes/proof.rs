//! What shows that a cluster is of its shape, and what only that shape has.

use crate::{
    cluster::{Cluster, family},
    report::Report,
    routing::{blocks, kernel_routes},
};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, plan::FABRIC, wait_until};
use std::{collections::BTreeSet, time::Duration};

pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn v6(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    single(cluster, report, false);
    report.check("nodes have no IPv4 but the loopback's", || {
        for node in lab.nodes() {
            let addresses = lab.exec(&node.name, &["ip", "-4", "-o", "addr", "show"])?;
            let foreign = addresses.lines().find(|line| !line.contains(" lo "));
            ensure!(foreign.is_none(), "{}: {foreign:?}", node.name);
        }
        Ok(format!("{} nodes looked at", lab.nodes().len()))
    });
    report.check("router ids follow from the names and are not alike", || {
        let ids: Vec<String> = bgp_nodes(lab, "spec.routerID")?;
        let distinct: BTreeSet<&String> = ids.iter().collect();
        ensure!(distinct.len() == lab.nodes().len(), "{ids:?}");
        Ok(ids.join(", "))
    });
    Ok(())
}

pub(super) fn v4(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    single(cluster, report, true);
    report.check("nodes have no IPv6 at all", || {
        for node in lab.nodes() {
            let addresses = lab.exec(&node.name, &["ip", "-6", "-o", "addr", "show"])?;
            ensure!(addresses.trim().is_empty(), "{} has {addresses}", node.name);
            let routes = lab.exec(&node.name, &["ip", "-6", "route", "show", "table", "all"])?;
            ensure!(routes.trim().is_empty(), "{} has {routes}", node.name);
        }
        Ok(format!(
            "{} nodes without an IPv6 address or route, pod links included",
            lab.nodes().len()
        ))
    });
    Ok(())
}

/// Everything that has addresses has those of one family.
fn single(cluster: &Cluster, report: &mut Report, v4: bool) {
    let lab = &cluster.lab;
    report.check(
        &format!("nodes, blocks and sessions are {} only", family(v4)),
        || {
            let addresses = bgp_nodes(lab, "spec.addresses[*]")?;
            let owned = blocks(cluster)?;
            let other = |text: &str| text.contains(if v4 { ':' } else { '.' });
            ensure!(!addresses.iter().any(|a| other(a)), "{addresses:?}");
            ensure!(!owned.iter().any(|(cidr, _)| other(cidr)), "{owned:?}");
            let peers: Vec<String> = sessions(lab)?;
            ensure!(
                !peers.is_empty() && !peers.iter().any(|a| other(a)),
                "{peers:?}"
            );
            Ok(format!(
                "{}, {} blocks, {} sessions",
                addresses.join(", "),
                owned.len(),
                peers.len()
            ))
        },
    );
    no_faults(cluster, report);
}

/// Nothing that an agent finds wrong with objects.
pub(super) fn no_faults(cluster: &Cluster, report: &mut Report) {
    report.check("no agent finds fault with its objects", || {
        let states = cluster.lab.kubectl_json(&["get", "nodestates"])?;
        let items = states["items"].as_array().context("no list")?;
        ensure!(items.len() == cluster.lab.nodes().len(), "{states}");
        for state in items {
            let conditions = state["status"]["conditions"].as_array();
            let bad = conditions.into_iter().flatten().find(|c| {
                let wanted = if c["type"] == "Ready" {
                    "True"
                } else {
                    "False"
                };
                c["status"] != wanted && c["type"] != "NetworkAvailable"
            });
            ensure!(bad.is_none(), "{}: {bad:?}", state["metadata"]["name"]);
        }
        Ok(format!("{} NodeStates", items.len()))
    });
}

pub(super) fn five(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    report.check("5 nodes run containerd 2", || {
        let path = "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}";
        let versions = lab.kubectl(&["get", "nodes", "-o", path])?;
        let right = versions
            .split_whitespace()
            .filter(|v| v.starts_with("containerd://v2.") || v.starts_with("containerd://2."))
            .count();
        ensure!(right == 5, "{versions}");
        Ok(versions)
    });
    report.check("kube-proxy writes iptables and nothing else", || {
        let mut rules = 0;
        for command in ["iptables-save", "ip6tables-save"] {
            let saved = lab.exec("n1", &[command, "-t", "nat"])?;
            let found = saved.lines().filter(|l| l.contains("-j KUBE-SEP-")).count();
            ensure!(found > 0, "{command} shows no endpoint:\n{saved}");
            rules += found;
        }
        let tables = lab.exec("n1", &["nft", "list", "tables"])?;
        ensure!(!tables.contains("kube-proxy"), "{tables}");
        Ok(format!("{rules} rules to endpoints"))
    });
    Ok(())
}

pub(super) fn one_as(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    in_fabric(cluster, report);
    let (cidr, _) = far_block(cluster)?;
    report.check("n1 uses paths that hold its own AS", || {
        wait_until("the path", LIMIT, || {
            let routes = cluster.ctl_json(&["bgp", "routes", &cidr, "--node", "n1"])?;
            let text = routes.to_string();
            Ok(
                match text.contains("4200000000") && installed(lab, &cidr)? {
                    true => Seen::Holds(format!("{cidr} of the other rack, by the ToR")),
                    false => Seen::NotYet(text),
                },
            )
        })
    });
    report.show(&cluster.ctl(&["bgp", "routes", "--node", "n1"])?);
    report.check("without allowOwnAS it does not, and says why", || {
        let allow = |count: &str| {
            let patch = format!("{{\"spec\": {{\"allowOwnAS\": {count}}}}}");
            lab.kubectl(&["patch", "bgppeer/rack1-tor", "--type=merge", "-p", &patch])
        };
        allow("null")?;
        let refused = wait_until("the refusal", LIMIT, || {
            let routes = cluster.ctl_json(&["bgp", "routes", &cidr, "--node", "n1"])?;
            let text = routes.to_string();
            let told = text.contains("our AS is in the path") && !installed(lab, &cidr)?;
            Ok(match told {
                true => Seen::Holds("`our AS is in the path`, and the kernel's route went"),
                false => Seen::NotYet(text),
            })
        });
        allow("1")?;
        let back = wait_until("the path is back", LIMIT, || {
            Ok(match installed(lab, &cidr)? {
                true => Seen::Holds("with it the path came back, without a new session"),
                false => Seen::NotYet("not yet".to_owned()),
            })
        });
        Ok(format!("{}; {}", refused?, back?))
    });
    no_faults(cluster, report);
    Ok(())
}

/// Pods' addresses are part of what the fabric announces as a whole.
fn in_fabric(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    report.check("the pools are parts of what the fabric announces", || {
        let plan = lab.plan();
        for (whole, pool) in plan.choose(FABRIC[0], FABRIC[1]).iter().zip(plan.pods()) {
            let routes = kernel_routes(lab, "n1")?;
            let line = routes
                .lines()
                .find(|line| line.starts_with(&format!("{whole} ")));
            let line = line.with_context(|| format!("no route to {whole}:\n{routes}"))?;
            ensure!(!line.contains("unreachable"), "{line}");
            ensure!(
                pool.split(':').next() == whole.split(':').next() || pool.starts_with("172.31."),
                "{pool} is not in {whole}"
            );
        }
        Ok(format!(
            "{} within {}",
            plan.pods().join(", "),
            FABRIC.join(", ")
        ))
    });
}

pub(super) fn mesh(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let (cidr, owner) = far_block(cluster)?;
    let plan = lab.plan();
    let far = plan.node(&owner).context("the owner is a node")?;
    let near = plan.racks[0].gateway.primary().to_string();
    let next_hop = far.fabric.primary().to_string();
    let what = format!("n1 learns {cidr} from {owner} itself, next hop {next_hop}, two hops away");
    report.check(&what, || {
        wait_until("the path", LIMIT, || {
            let table = cluster.ctl(&["bgp", "routes", &cidr, "--node", "n1", "-o", "wide"])?;
            let kernel = lab.exec("n1", &["ip", "route", "show", &cidr])?;
            let direct = lab.exec("n1", &["ip", "route", "get", &next_hop])?;
            let right = table.contains(&next_hop)
                && kernel.contains(&format!("via {near} "))
                && direct.contains(&format!("via {near} "));
            Ok(match right {
                true => Seen::Holds(format!("the kernel sends it to {near}, as {next_hop}")),
                false => Seen::NotYet(format!("{table}\n{kernel}\n{direct}")),
            })
        })
    });
    report.show(&cluster.ctl(&["bgp", "routes", "--node", "n1"])?);
    report.check("every node peers with every other and its ToR", || {
        let nodes = lab.nodes().len();
        wait_until("the sessions", LIMIT, || {
            let text = cluster.ctl_json(&["bgp", "peers"])?.to_string();
            let established = text.matches("\"Established\"").count();
            Ok(match established == nodes * nodes {
                true => Seen::Holds(format!("{established} sessions, each counted at each end")),
                false => Seen::NotYet(text),
            })
        })
    });
    no_faults(cluster, report);
    Ok(())
}

/// A block of the first family of the last node, which is in another rack than n1, and its owner.
fn far_block(cluster: &Cluster) -> Result<(String, String)> {
    let owner = &cluster.app("c").node;
    let v4 = cluster.families()[0];
    let found = blocks(cluster)?
        .into_iter()
        .find(|(cidr, node)| node == owner && cidr.contains('.') == v4);
    found.with_context(|| format!("{owner} owns no {} block", family(v4)))
}

/// Whether n1's kernel has a way to a prefix of another node.
fn installed(lab: &Lab, cidr: &str) -> Result<bool> {
    let routes = kernel_routes(lab, "n1")?;
    Ok(routes.lines().any(|l| l.starts_with(&format!("{cidr} "))))
}

/// The addresses of all peers of all nodes.
fn sessions(lab: &Lab) -> Result<Vec<String>> {
    let path = "jsonpath={.items[*].status.sessions[*].address}";
    let peers = lab.kubectl(&["get", "nodestates", "-o", path])?;
    Ok(peers.split_whitespace().map(str::to_owned).collect())
}

/// A field of every BGPNode.
fn bgp_nodes(lab: &Lab, field: &str) -> Result<Vec<String>> {
    let path = format!("jsonpath={{.items[*].{field}}}");
    let values = lab.kubectl(&["get", "bgpnodes", "-o", &path])?;
    Ok(values.split_whitespace().map(str::to_owned).collect())
}
