//! The agent killed with -9 under numbered pings at 1 kHz both ways: nothing is lost.

use crate::{cluster::Cluster, monitor::Monitor, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Echo, Lab, Pinging, Seen, wait_until};
use std::{net::SocketAddr, thread::sleep, time::Duration};

const RATE: u32 = 1000;
const PORT: u16 = 7777;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    for node in [&cluster.app("a1").node, &cluster.app("c").node] {
        killed(cluster, report, node);
    }
    Ok(())
}

fn killed(cluster: &Cluster, report: &mut Report, node: &str) {
    let what = format!("kill -9 of the agent on {node} under 1 kHz pings both ways, every family");
    report.check(&what, || {
        let lab = &cluster.lab;
        let before = never_restarted(lab, node)?;
        let traffic = Traffic::start(cluster)?;
        let monitor = Monitor::start(lab, node)?;
        let ended = lab.kill(node, "margay-agent", "KILL")?;
        ensure!(ended == 1, "{ended} processes were killed, not 1");
        let after = wait_until("a new agent serves", Duration::from_secs(60), || {
            let now = agent(lab, node)?;
            let serves = now.restarts > before.restarts && now.ready;
            Ok(if serves {
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
        // Longer than the speaker defers, so that what it would withdraw by mistake is seen.
        sleep(Duration::from_secs(3));
        let seen = traffic.stop()?;
        let changes = monitor.told("proto 83")?;
        ensure!(
            changes.is_empty(),
            "the new agent changed routes instead of adopting them:\n{}",
            changes.join("\n")
        );
        Ok(format!(
            "restarts {} -> {}, {seen}, no route or nexthop of the kernel changed",
            before.restarts, after.restarts
        ))
    });
}

/// Streams of numbered pings: between the racks, both ways, every family.
struct Traffic {
    streams: Vec<(String, Pinging)>,
    _echoes: Vec<Echo>,
}

impl Traffic {
    fn start(cluster: &Cluster) -> Result<Self> {
        let (a1, c) = (cluster.app("a1"), cluster.app("c"));
        let (mut streams, mut echoes) = (Vec::new(), Vec::new());
        for v4 in cluster.families() {
            for (from, to) in [(a1, c), (c, a1)] {
                let address = SocketAddr::new(to.address(v4)?, PORT);
                echoes.push(cluster.lab.echo(&to.place(), address)?);
                let stream = cluster.lab.start_ping(&from.place(), address, RATE)?;
                streams.push((
                    format!("{} -> {} {}", from.name, to.name, address.ip()),
                    stream,
                ));
            }
        }
        Ok(Self {
            streams,
            _echoes: echoes,
        })
    }

    /// What was seen; an error when anything was lost.
    fn stop(self) -> Result<String> {
        let (mut sent, mut gap, mut lost) = (0, 0.0_f64, Vec::new());
        for (what, stream) in self.streams {
            let result = stream.stop()?;
            sent += result.sent;
            gap = gap.max(result.largest_gap_ms);
            if result.lost > 0 {
                lost.push(format!("{what}: {} of {}", result.lost, result.sent));
            }
        }
        ensure!(lost.is_empty(), "lost {}", lost.join(", "));
        Ok(format!("sent {sent}, lost 0, largest gap {gap:.1} ms"))
    }
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

/// The node's agent, in a new pod if its own was killed before: the kubelet starts a container again at once, but the second time after 10 s and
/// then after 20, which would be all that one sees.
pub(crate) fn never_restarted(lab: &Lab, node: &str) -> Result<Agent> {
    let now = agent(lab, node)?;
    if now.restarts == 0 && now.ready {
        return Ok(now);
    }
    lab.kubectl(&["delete", "pod", "-n", "margay-system", &now.pod, "--wait"])?;
    wait_until("a new agent's pod", Duration::from_secs(60), || {
        let new = agent(lab, node)?;
        let serves = new.pod != now.pod && new.ready;
        Ok(if serves {
            Seen::Holds(new)
        } else {
            Seen::NotYet(format!("{new:?}"))
        })
    })
}

#[derive(Debug)]
pub(crate) struct Agent {
    pod: String,
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
    let pod = &pods["items"][0];
    let status = &pod["status"]["containerStatuses"][0];
    Ok(Agent {
        pod: pod["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        restarts: status["restartCount"].as_u64().unwrap_or(0),
        ready: status["ready"] == true,
    })
}
