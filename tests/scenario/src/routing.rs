//! What the physical routers and the kernels hold.

use crate::{cluster::Cluster, kill::down, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::time::Duration;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let blocks = blocks(cluster)?;
    report.check("every node owns a block of each family", || {
        for node in lab.nodes() {
            let own = blocks
                .iter()
                .filter(|(_, owner)| *owner == node.name)
                .count();
            ensure!(
                own >= cluster.families().len(),
                "{} owns {own} blocks",
                node.name
            );
        }
        Ok(blocks
            .iter()
            .map(|(cidr, node)| format!("{cidr} on {node}"))
            .collect::<Vec<_>>()
            .join(", "))
    });
    report.check("BIRD (tor1) holds one route a block", || {
        wait_until("tor1 holds every block", Duration::from_secs(20), || {
            let table = lab.birdc("tor1", "show route")?;
            let missing = blocks.iter().find(|(cidr, _)| {
                table
                    .lines()
                    .filter(|l| l.split_whitespace().next() == Some(cidr.as_str()))
                    .count()
                    != 1
            });
            Ok(match missing {
                None => Seen::Holds(format!("{} blocks", blocks.len())),
                Some((cidr, node)) => {
                    Seen::NotYet(format!("{cidr} of {node} is not there once:\n{table}"))
                }
            })
        })
    });
    report.show(&lab.birdc("tor1", "show route")?);
    report.check("FRR (tor2) holds one route a block", || {
        wait_until("tor2 holds every block", Duration::from_secs(20), || {
            let v4 = lab.vtysh("tor2", "show bgp ipv4 unicast json")?;
            let v6 = lab.vtysh("tor2", "show bgp ipv6 unicast json")?;
            let mut routes = keys(&v4)?;
            routes.extend(keys(&v6)?);
            let missing = blocks.iter().find(|(cidr, _)| !routes.contains(cidr));
            Ok(match missing {
                None => Seen::Holds(format!("{} blocks", blocks.len())),
                Some((cidr, node)) => {
                    Seen::NotYet(format!("{cidr} of {node} is missing among {routes:?}"))
                }
            })
        })
    });
    report.show(&lab.vtysh("tor2", "show bgp ipv4 unicast")?);
    kernels(lab, &blocks, report);
    report.check("every session is established", || {
        wait_until("the sessions", Duration::from_secs(20), || {
            let text = cluster.ctl_json(&["bgp", "peers"])?.to_string();
            let established = text.matches("\"Established\"").count();
            Ok(match down(&text) {
                false => Seen::Holds(format!("{established} sessions")),
                true => Seen::NotYet(text),
            })
        })
    });
    report.show(&cluster.ctl(&["bgp", "peers"])?);
    report.show(&cluster.ctl(&["bgp", "routes", "--node", "n1"])?);
    Ok(())
}

fn kernels(lab: &Lab, blocks: &[(String, String)], report: &mut Report) {
    for node in lab.nodes() {
        let what = format!(
            "the kernel of {} has a way to every other node's block, and its own as unreachable",
            node.name
        );
        report.check(&what, || {
            wait_until("the routes", Duration::from_secs(20), || {
                let routes = kernel_routes(lab, &node.name)?;
                let missing = blocks
                    .iter()
                    .map(|(cidr, owner)| match *owner == node.name {
                        true => format!("unreachable {cidr} "),
                        false => format!("{cidr} "),
                    });
                let mut missing =
                    missing.filter(|wanted| !routes.lines().any(|l| l.starts_with(wanted)));
                Ok(match missing.next() {
                    None => Seen::Holds(format!("{} routes", routes.lines().count())),
                    Some(wanted) => Seen::NotYet(format!("`{wanted}` is missing:\n{routes}")),
                })
            })
        });
    }
}

/// The routes of ours in a node's kernel, both families.
pub(crate) fn kernel_routes(lab: &Lab, node: &str) -> Result<String> {
    let of = |family| lab.exec(node, &["ip", family, "route", "show", "proto", "83"]);
    Ok(of("-4")? + &of("-6")?)
}

/// Every block and its owner.
pub(crate) fn blocks(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let list = cluster
        .lab
        .kubectl_json(&["get", "ipblocks", "-o", "json"])?;
    let of = |item: &serde_json::Value| {
        Some((
            item["spec"]["cidr"].as_str()?.to_owned(),
            item["spec"]["nodeName"].as_str()?.to_owned(),
        ))
    };
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| of(item).context("an IPBlock without cidr or nodeName"))
        .collect()
}

fn keys(json: &str) -> Result<Vec<String>> {
    let table: serde_json::Value = serde_json::from_str(json).context("vtysh printed no JSON")?;
    Ok(table["routes"]
        .as_object()
        .map(|r| r.keys().cloned().collect())
        .unwrap_or_default())
}
