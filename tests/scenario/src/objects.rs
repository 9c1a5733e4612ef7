//! `margayctl`, and what bad objects say: a wrong AS, an overlapping pool.

use crate::{cluster::Cluster, kill::down, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Seen, wait_until};
use std::time::Duration;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    ctl(cluster, report)?;
    overlap(cluster, report);
    wrong_as(cluster, report)
}

fn ctl(cluster: &Cluster, report: &mut Report) -> Result<()> {
    for arguments in [
        &["version"][..],
        &["pool", "list"],
        &["ipam", "show"],
        &["ipam", "show", "--blocks"],
        &["bgp", "peers"],
        &["bgp", "routes", "--node", "n3"],
    ] {
        report.check(
            &format!("margayctl {}, as table, JSON and YAML", arguments.join(" ")),
            || {
                let table = cluster.ctl(arguments)?;
                ensure!(!table.trim().is_empty(), "an empty table");
                cluster.ctl_json(arguments)?;
                let yaml = cluster.ctl(&[arguments, &["-o", "yaml"]].concat())?;
                ensure!(!yaml.trim().is_empty(), "empty YAML");
                Ok(format!("{} lines", table.lines().count()))
            },
        );
    }
    report.show(&cluster.ctl(&["pool", "list"])?);
    report.show(&cluster.ctl(&["ipam", "show", "--blocks"])?);
    report.check(
        "margayctl bgp routes ADDRESS finds the prefix that covers it",
        || {
            let c = cluster.app("c");
            let address = c.addresses[0].to_string();
            let found = cluster.ctl(&["bgp", "routes", &address, "--node", "n1"])?;
            let blocks = cluster.lab.kubectl_json(&[
                "get",
                "ipblocks",
                "--field-selector",
                &format!("spec.nodeName={}", c.node),
            ])?;
            let blocks = blocks["items"].as_array().into_iter().flatten();
            let mut cidrs = blocks.filter_map(|b| b["spec"]["cidr"].as_str());
            let cidr = cidrs.find(|cidr| found.contains(*cidr));
            let cidr = cidr.with_context(|| format!("no block of {}: {found}", c.node))?;
            Ok(format!("{address}: {cidr}"))
        },
    );
    report.check("margayctl completes shells", || {
        let script = cluster.ctl(&["completion", "bash"])?;
        ensure!(script.contains("margayctl"), "no completion script");
        Ok(format!("{} lines for bash", script.lines().count()))
    });
    Ok(())
}

fn overlap(cluster: &Cluster, report: &mut Report) {
    report.check(
        "a pool that overlaps another becomes inactive with Overlap",
        || {
            cluster.ctl(&["pool", "create", "overlapping", "--cidr", "10.244.128.0/17"])?;
            let seen = wait_until("its condition", Duration::from_secs(20), || {
                let pool =
                    cluster
                        .lab
                        .kubectl_json(&["get", "ippool", "overlapping", "-o", "json"])?;
                let active = pool["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|c| c["type"] == "Active")
                    .cloned()
                    .unwrap_or_default();
                let inactive = active["status"] == "False" && active["reason"] == "Overlap";
                Ok(if inactive {
                    Seen::Holds(active["message"].to_string())
                } else {
                    Seen::NotYet(pool["status"].to_string())
                })
            });
            cluster.ctl(&["pool", "delete", "overlapping"])?;
            seen
        },
    );
    report.check(
        "a pool with host bits is refused with the remedy",
        || match cluster.ctl(&["pool", "create", "crooked", "--cidr", "10.99.0.1/16"]) {
            Ok(_) => anyhow::bail!("it was accepted"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(text.contains("10.99.0.0/16"), "no remedy in: {text}");
                Ok("it names 10.99.0.0/16".to_owned())
            }
        },
    );
}

fn wrong_as(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let tor = lab
        .racks()
        .last()
        .map(|r| (r.number, r.asn))
        .unwrap_or_default();
    let name = format!("bgppeer/rack{}-tor", tor.0);
    let patch = |asn: u32| {
        lab.kubectl(&[
            "patch",
            &name,
            "--type=merge",
            "-p",
            &format!("{{\"spec\": {{\"remoteAS\": {asn}}}}}"),
        ])
    };
    patch(65_999)?;
    report.check("a wrong AS on a peer shows its reason", || {
        wait_until("the reason", Duration::from_secs(30), || {
            let peers = cluster
                .ctl_json(&["bgp", "peers", "--node", "n3"])?
                .to_string();
            let told = peers.contains("65999") && peers.contains(&tor.1.to_string());
            Ok(if told && down(&peers) {
                Seen::Holds(reason(&peers))
            } else {
                Seen::NotYet(peers)
            })
        })
    });
    report.check("and so does the node's state", || {
        wait_until("NodeState", Duration::from_secs(20), || {
            let state = lab.kubectl_json(&["get", "nodestate", "n3", "-o", "json"])?;
            let told = state["status"]["sessions"]
                .as_array()
                .into_iter()
                .flatten()
                .find_map(|s| {
                    s["reason"]
                        .as_str()
                        .filter(|r| r.contains("65999"))
                        .map(str::to_owned)
                });
            Ok(told.map_or_else(|| Seen::NotYet(state["status"].to_string()), Seen::Holds))
        })
    });
    patch(tor.1)?;
    report.check("with the right AS the session comes back", || {
        wait_until("the session", Duration::from_secs(30), || {
            let peers = cluster
                .ctl_json(&["bgp", "peers", "--node", "n3"])?
                .to_string();
            Ok(if down(&peers) {
                Seen::NotYet(peers)
            } else {
                Seen::Holds("established".to_owned())
            })
        })
    });
    Ok(())
}

fn reason(peers: &str) -> String {
    let after = peers
        .split("\"reason\":\"")
        .find(|part| part.contains("65999"));
    after
        .and_then(|part| part.split('"').next())
        .unwrap_or("shown")
        .to_owned()
}
