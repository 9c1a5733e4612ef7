//! The agent killed with -9 under numbered pings at 1 kHz both ways: nothing is lost.

use crate::{cluster::Cluster, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{net::SocketAddr, thread::sleep, time::Duration};

const RATE: u32 = 1000;
const PORT: u16 = 7777;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    for node in ["n1", "n3"] {
        killed(cluster, report, node);
    }
    Ok(())
}

fn killed(cluster: &Cluster, report: &mut Report, node: &str) {
    report.check(
        &format!("kill -9 of the agent on {node} under 1 kHz pings both ways, both families"),
        || {
            let lab = &cluster.lab;
            let (a1, c) = (cluster.app("a1"), cluster.app("c"));
            let mut echoes = Vec::new();
            let mut streams = Vec::new();
            for v4 in [true, false] {
                for (from, to) in [(a1, c), (c, a1)] {
                    let address = SocketAddr::new(to.address(v4)?, PORT);
                    echoes.push(lab.echo(&to.place(), address)?);
                    streams.push((
                        format!("{}->{} {}", from.name, to.name, address.ip()),
                        lab.start_ping(&from.place(), address, RATE)?,
                    ));
                }
            }
            sleep(Duration::from_secs(1));
            let before = agent(lab, node)?;
            let ended = lab.kill(node, "margay-agent", "KILL")?;
            ensure!(ended == 1, "{ended} processes were killed, not 1");
            let after = wait_until("a new agent serves", Duration::from_secs(60), || {
                let now = agent(lab, node)?;
                Ok(if now.restarts > before.restarts && now.ready {
                    Seen::Holds(now)
                } else {
                    Seen::NotYet(format!("{now:?}"))
                })
            })?;
            wait_until("its sessions are back", Duration::from_secs(30), || {
                let peers = cluster
                    .ctl_json(&["bgp", "peers", "--node", node])?
                    .to_string();
                Ok(if down(&peers) {
                    Seen::NotYet(peers)
                } else {
                    Seen::Holds(())
                })
            })?;
            // Longer than the deferral of the restarting speaker, so that what it withdraws by mistake is seen.
            sleep(Duration::from_secs(3));
            let mut sent = 0;
            let (mut lost, mut gap) = (Vec::new(), 0.0_f64);
            for (what, stream) in streams {
                let result = stream.stop()?;
                sent += result.sent;
                gap = gap.max(result.largest_gap_ms);
                if result.lost > 0 {
                    lost.push(format!("{what}: {} of {}", result.lost, result.sent));
                }
            }
            ensure!(lost.is_empty(), "lost {}", lost.join(", "));
            Ok(format!(
                "restarts {} -> {}, sent {sent}, lost 0, largest gap {gap:.1} ms",
                before.restarts, after.restarts
            ))
        },
    );
}

/// Whether a JSON listing of peers shows one that is not established.
pub(crate) fn down(peers: &str) -> bool {
    !peers.contains("\"Established\"")
        || [
            "\"Idle\"",
            "\"Connect\"",
            "\"Active\"",
            "\"OpenSent\"",
            "\"OpenConfirm\"",
        ]
        .iter()
        .any(|s| peers.contains(s))
}

#[derive(Debug)]
struct Agent {
    restarts: u64,
    ready: bool,
}

fn agent(lab: &Lab, node: &str) -> Result<Agent> {
    let field = format!("spec.nodeName={node}");
    let pods = lab.kubectl_json(&[
        "get",
        "pods",
        "-n",
        "margay-system",
        "-l",
        "app.kubernetes.io/name=margay-agent",
        "--field-selector",
        &field,
        "-o",
        "json",
    ])?;
    let status = pods["items"][0]["status"]["containerStatuses"][0]
        .as_object()
        .context("no agent pod")?;
    Ok(Agent {
        restarts: status["restartCount"].as_u64().unwrap_or(0),
        ready: status["ready"] == true,
    })
}
