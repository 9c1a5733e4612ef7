//! What others break is made whole again: links, routes, forwarding, the runtime's folders, our own objects at the API server.

use crate::{
    cluster::{App, Cluster, FAMILIES},
    http::opens,
    kill,
    monitor::Monitor,
    report::Report,
};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    io::Write,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let struck = reports_struck(lab);
    for (what, command) in [("taken down", ["set", "down"]), ("deleted", ["del", ""])] {
        report.check(&format!("a1's link {what} on its node"), || {
            let before = link_of(lab, cluster.app("a1"))?;
            let argv = ["ip", "link", command[0], &before.name, command[1]];
            lab.exec(
                "n1",
                argv[..if command[1].is_empty() { 4 } else { 5 }].as_ref(),
            )?;
            let seen = healed(|| reachable(cluster))?;
            let after = link_of(lab, cluster.app("a1"))?;
            // It is mended faster than anybody can look: that it is another link shows that it was broken.
            ensure!(after.index != before.index, "the fault took no effect");
            Ok(seen)
        });
    }
    report.check("our routes flushed on n1", || {
        let before = routes(lab)?;
        let monitor = Monitor::start(lab, "n1")?;
        for family in ["-4", "-6"] {
            // It flushes until nothing is left and gives up when somebody puts things back: its exit code says nothing.
            let _ = lab.exec("n1", &["ip", family, "route", "flush", "proto", "83"]);
        }
        let seen = healed(|| Ok(routes(lab)? == before))?;
        let told = monitor.told("proto 83")?;
        let deleted = told.iter().filter(|l| l.contains("Deleted")).count();
        ensure!(deleted > 0, "the fault took no effect");
        Ok(format!("{seen}, {deleted} deletions seen"))
    });
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        report.check(&format!("{key} turned off on n1"), || {
            lab.exec("n1", &["sysctl", "-w", &format!("{key}=0")])?;
            healed(|| Ok(lab.exec("n1", &["sysctl", "-n", key])?.trim() == "1"))
        });
    }
    report.check(
        "a foreign `nft flush table` and `nft delete table` on n1",
        || {
            // Not the whole ruleset: that takes kube-proxy's rules as well, and with them the way to the API server.
            for verb in ["flush", "delete"] {
                let foreign = ["nft", verb, "table", "inet", "margay"];
                ensure!(lab.exec("n1", &foreign).is_err(), "{verb} was allowed");
            }
            let table = lab.exec("n1", &["nft", "list", "table", "inet", "margay"])?;
            ensure!(
                table.contains(&link_of(lab, cluster.app("a1"))?.name),
                "a1's link is not in it any more"
            );
            Ok("refused: the table is owned".to_owned())
        },
    );
    files(cluster, report);
    objects(cluster, report);
    report.check(
        "n2's NodeState deleted, its network called unavailable",
        || {
            struck?;
            reports_are_back(lab)
        },
    );
    Ok(())
}

/// What n2's agent has reported is deleted and contradicted.
fn reports_struck(lab: &Lab) -> Result<()> {
    lab.kubectl(&["delete", "nodestate", "n2"])?;
    let unavailable = r#"{"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True", "reason": "Nobody"}]}}"#;
    let patch = [
        "patch",
        "node",
        "n2",
        "--subresource=status",
        "--type=strategic",
        "-p",
    ];
    lab.kubectl(&[patch.as_slice(), &[unavailable]].concat())?;
    ensure!(available(lab)? == "True", "the fault took no effect");
    ensure!(
        lab.kubectl(&["get", "nodestate", "n2"]).is_err(),
        "the fault took no effect"
    );
    Ok(())
}

/// Looked at each minute.
fn reports_are_back(lab: &Lab) -> Result<String> {
    wait_until("n2 reports again", Duration::from_secs(75), || {
        let state = lab.kubectl(&["get", "nodestate", "n2", "--no-headers"]);
        Ok(match (available(lab)?.as_str(), state) {
            ("False", Ok(state)) => Seen::Holds(format!("available again; {}", state.trim())),
            seen => Seen::NotYet(format!("{seen:?}")),
        })
    })
}

/// The status of the condition.
fn available(lab: &Lab) -> Result<String> {
    let path = r#"jsonpath={.status.conditions[?(@.type=="NetworkUnavailable")].status}"#;
    lab.kubectl(&["get", "node", "n2", "-o", path])
}

/// What others find of us on the node's file system, and the next agent.
fn files(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    for path in ["/opt/cni/bin/margay", "/etc/cni/net.d/10-margay.conflist"] {
        report.check(&format!("{path} deleted on n1"), || {
            lab.exec("n1", &["rm", path])?;
            wait_until("the file", Duration::from_secs(10), || {
                lab.exec("n1", &["ls", path])
                    .map(|_| Seen::Holds("written again".to_owned()))
            })
        });
    }
    report.check("attachment records of n1 removed", || {
        let list = ["sh", "-c", "cd /run/margay/attachments && cat *"];
        let before = lab.exec("n1", &list)?;
        lab.exec("n1", &["rm", "-r", "/run/margay/attachments"])?;
        // They are looked at together with the links.
        wait_until("the same records", Duration::from_secs(40), || {
            let now = lab.exec("n1", &list).unwrap_or_default();
            Ok(if now == before {
                Seen::Holds("written again, for the next agent".to_owned())
            } else {
                Seen::NotYet(now)
            })
        })
    });
    report.check("the agent's socket on n1 removed", || {
        kill::never_restarted(lab, "n1")?;
        ensure!(serves(lab)?, "STATUS fails before the fault");
        lab.exec("n1", &["rm", "/run/margay/agent.sock"])?;
        ensure!(!serves(lab)?, "the fault took no effect");
        // Every 5 s it is looked at, and the kubelet starts a new agent.
        wait_until("pods can start again", Duration::from_secs(20), || {
            Ok(if serves(lab)? {
                Seen::Holds("the agent started anew".to_owned())
            } else {
                Seen::NotYet("STATUS fails".to_owned())
            })
        })
    });
}

/// Whether the plugin's STATUS on n1 says that pods can start.
fn serves(lab: &Lab) -> Result<bool> {
    let mut status = lab.command("n1", &["/opt/cni/bin/margay"])?;
    status.env("CNI_COMMAND", "STATUS").stdin(Stdio::piped());
    let mut child = status.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let configuration = br#"{"cniVersion":"1.1.0","name":"margay","type":"margay"}"#;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(configuration)?;
    drop(stdin);
    Ok(child.wait()?.success())
}

/// Own objects that somebody deletes at the API server come back with all that they said.
fn objects(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    report.check("BGPNode n1 deleted", || {
        lab.kubectl(&["delete", "bgpnode", "n1"])?;
        healed(|| Ok(lab.kubectl(&["get", "bgpnode", "n1"]).is_ok()))
    });
    report.check("the IPBlock that holds a1's address deleted", || {
        let address = cluster.app("a1").address(true)?.to_string();
        let holds = || -> Result<Option<String>> {
            let blocks = lab.kubectl_json(&["get", "ipblocks", "-o", "json"])?;
            let mut all = blocks["items"].as_array().into_iter().flatten();
            let found = all.find(|b| {
                b["spec"]["allocations"]
                    .to_string()
                    .contains(&format!("\"{address}\""))
            });
            Ok(found.and_then(|b| b["metadata"]["name"].as_str().map(str::to_owned)))
        };
        let block = holds()?.context("no IPBlock names a1's address")?;
        lab.kubectl(&["delete", "ipblock", &block])?;
        wait_until("the block names a1 again", Duration::from_secs(10), || {
            Ok(if holds()?.as_deref() == Some(block.as_str()) {
                Seen::Holds(format!("{block} is back and names {address}"))
            } else {
                Seen::NotYet("not yet".to_owned())
            })
        })
    });
}

/// Waits until `whole`, and says how long it took.
fn healed(whole: impl Fn() -> Result<bool>) -> Result<String> {
    let begin = Instant::now();
    wait_until("healed", Duration::from_secs(10), || {
        Ok(if whole()? {
            Seen::Holds(())
        } else {
            Seen::NotYet("still broken".to_owned())
        })
    })?;
    Ok(format!(
        "healed within {} ms, the look included",
        begin.elapsed().as_millis()
    ))
}

fn reachable(cluster: &Cluster) -> Result<bool> {
    for v4 in FAMILIES {
        let to = SocketAddr::new(cluster.app("a1").address(v4)?, 8080);
        if !opens(&cluster.lab, "outside", to) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn routes(lab: &Lab) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for family in ["-4", "-6"] {
        let text = lab.exec("n1", &["ip", family, "route", "show", "proto", "83"])?;
        all.extend(text.lines().map(|l| l.trim().to_owned()));
    }
    all.sort();
    Ok(all)
}

pub(crate) struct Link {
    pub(crate) name: String,
    index: u64,
}

/// Host side link of a pod, by the alias that it carries.
pub(crate) fn link_of(lab: &Lab, app: &App) -> Result<Link> {
    let links: serde_json::Value =
        serde_json::from_str(&lab.exec(&app.node, &["ip", "-j", "link"])?)?;
    let alias = format!("demo/{}", app.name);
    let mut all = links.as_array().into_iter().flatten();
    let found = all.find(|l| l["ifalias"] == alias.as_str());
    let link = found.with_context(|| format!("no link on {} is named {alias}", app.node))?;
    Ok(Link {
        name: link["ifname"].as_str().unwrap_or_default().to_owned(),
        index: link["ifindex"].as_u64().unwrap_or_default(),
    })
}
