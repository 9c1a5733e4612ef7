//! What the physical routers and the kernels hold.

use crate::{cluster::Cluster, kill::down, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Seen, wait_until};
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
    for node in lab.nodes() {
        report.check(&format!("the kernel of {} has a way to every other node's block, and its own as unreachable", node.name), || {
            let routes = format!("{}{}", lab.exec(&node.name, &["ip", "-4", "route", "show", "proto", "83"])?, lab.exec(&node.name, &["ip", "-6", "route", "show", "proto", "83"])?);
            for (cidr, owner) in &blocks {
                let wanted = if *owner == node.name { format!("unreachable {cidr} ") } else { format!("{cidr} ") };
                ensure!(routes.lines().any(|l| l.starts_with(&wanted)), "`{wanted}` is missing:\n{routes}");
            }
            Ok(format!("{} routes", routes.lines().count()))
        });
    }
    report.check("every session is established", || {
        let text = cluster.ctl_json(&["bgp", "peers"])?.to_string();
        ensure!(!down(&text), "{text}");
        Ok(format!(
            "{} sessions",
            text.matches("\"Established\"").count()
        ))
    });
    report.show(&cluster.ctl(&["bgp", "peers"])?);
    report.show(&cluster.ctl(&["bgp", "routes", "--node", "n1"])?);
    Ok(())
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
