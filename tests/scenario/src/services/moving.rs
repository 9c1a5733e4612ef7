//! A UDP flow to a Service whose backend goes away under it.
//!
//! The flow's translation is in conntrack on the client's node and would outlive the backend for as long as packets come. kube-proxy removes
//! such entries when an endpoint goes; the next packet is translated anew. Margay has no part in it but the routes and rules of the new backend.

use super::stage::{NAMESPACE, Stage, To};
use crate::{cluster::family, report::Report};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Echo, Pinging, Seen, wait_until};
use std::{net::SocketAddr, time::Duration};

const RATE: u32 = 200;
/// Flows that are tried for one to a certain backend of two.
const ATTEMPTS: usize = 20;
const SERVICE: To = To::Service("both", 7);
const TARGET_PORT: u16 = 7777;
const PODS: [&str; 2] = ["x1", "x3"];

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) {
    report.check("UDP flows whose backend is no endpoint any more", || {
        let (flows, from) = Flows::start(stage)?;
        let relabel = |label| {
            stage
                .lab()
                .kubectl(&["label", "pod", "-n", NAMESPACE, from, label, "--overwrite"])
        };
        relabel("app=away")?;
        let moved = flows.moved(from);
        relabel("app=x")?;
        moved?;
        flows.stop(from)
    });
    report.check("UDP flows whose backend is deleted", || {
        let (flows, from) = Flows::start(stage)?;
        let delete = [
            "delete",
            "pod",
            "-n",
            NAMESPACE,
            from,
            "--force",
            "--grace-period=0",
        ];
        stage.lab().kubectl(&delete)?;
        flows.moved(from)?;
        stale(stage, from)?;
        flows.stop(from)
    });
}

/// One flow of each family from pod b.
struct Flows(Vec<Flow>);

/// A flow, the backends that may answer it, and the one that does.
struct Flow {
    v4: bool,
    pinging: Pinging,
    echoes: Vec<(&'static str, Echo)>,
    held_by: &'static str,
}

impl Flow {
    /// Starts flows until one is `wanted`'s: kube-proxy chooses at random.
    fn start(stage: &Stage<'_>, v4: bool, wanted: Option<&str>) -> Result<Self> {
        let lab = stage.lab();
        let mut echoes = Vec::new();
        for pod in PODS {
            let listen = SocketAddr::new(stage.address(pod, v4)?, TARGET_PORT);
            let place = format!("pod:{NAMESPACE}/{pod}");
            echoes.push((pod, lab.echo(&place, listen)?));
        }
        let place = stage.cluster.app("b").place();
        for _ in 0..ATTEMPTS {
            let before: Vec<u64> = echoes.iter().map(|(_, echo)| echo.answered()).collect();
            let pinging = lab.start_ping(&place, stage.resolve(SERVICE, v4)?, RATE)?;
            let held_by = wait_until("a backend answers", Duration::from_secs(5), || {
                let mut all = echoes.iter().zip(&before);
                let found = all.find(|((_, echo), before)| echo.answered() > **before + 20);
                Ok(found.map_or_else(
                    || Seen::NotYet("none".to_owned()),
                    |((pod, _), _)| Seen::Holds(*pod),
                ))
            })?;
            if wanted.is_none_or(|pod| pod == held_by) {
                return Ok(Self {
                    v4,
                    pinging,
                    echoes,
                    held_by,
                });
            }
            pinging.stop()?;
        }
        bail!("none of {ATTEMPTS} flows went to {wanted:?}")
    }
}

impl Flows {
    /// Starts them, all to the same backend, and names it.
    fn start(stage: &Stage<'_>) -> Result<(Self, &'static str)> {
        let mut flows = Vec::new();
        let mut held = None;
        for v4 in stage.families() {
            let flow = Flow::start(stage, v4, held)?;
            held = Some(flow.held_by);
            flows.push(flow);
        }
        let held = held.context("the lab has no family")?;
        Ok((Self(flows), held))
    }

    /// Every flow that `from` answered is answered by another: 100 times after this was asked, and by `from` not once in that time.
    fn moved(&self, from: &str) -> Result<()> {
        for flow in &self.0 {
            let sum = |old: bool| -> u64 {
                let all = flow.echoes.iter().filter(|(pod, _)| (*pod == from) == old);
                all.map(|(_, echo)| echo.answered()).sum()
            };
            let mut old = sum(true);
            let mut mark = sum(false);
            wait_until(
                &format!("the {} flow leaves {from}", family(flow.v4)),
                Duration::from_secs(15),
                || {
                    if sum(true) != old {
                        (old, mark) = (sum(true), sum(false));
                    }
                    let since = sum(false) - mark;
                    Ok(if since >= 100 {
                        Seen::Holds(())
                    } else {
                        Seen::NotYet(format!("{since} answers of others"))
                    })
                },
            )?;
        }
        Ok(())
    }

    fn stop(self, from: &str) -> Result<String> {
        let mut seen = Vec::new();
        for flow in self.0 {
            let report = flow.pinging.stop()?;
            let shares: Vec<String> = flow
                .echoes
                .iter()
                .map(|(pod, echo)| format!("{pod} {}", echo.answered()))
                .collect();
            ensure!(
                report.largest_gap_ms < 5000.0,
                "{}: {report:?}",
                family(flow.v4)
            );
            seen.push(format!(
                "{}: sent {}, lost {}, largest gap {:.0} ms, answered by {}",
                family(flow.v4),
                report.sent,
                report.lost,
                report.largest_gap_ms,
                shares.join(" and ")
            ));
        }
        Ok(format!("{from} went; {}", seen.join("; ")))
    }
}

/// conntrack on the client's node holds no flow of the Service that the deleted pod answers.
fn stale(stage: &Stage<'_>, pod: &str) -> Result<()> {
    let node = stage.cluster.app("b").node.as_str();
    for v4 in stage.families() {
        let gone = stage.address(pod, v4)?;
        let to = stage.resolve(SERVICE, v4)?.ip().to_string();
        let argv = ["conntrack", "-L", "-p", "udp", "--orig-dst", &to];
        let table = stage.lab().exec(node, &argv)?;
        ensure!(!table.is_empty(), "{node} has no flow to {to} at all");
        let reply = format!(" src={gone} ");
        if let Some(left) = table.lines().find(|line| line.contains(&reply)) {
            bail!("{node} still has {left}");
        }
    }
    Ok(())
}
