//! A UDP flow to a Service whose backend goes away under it.
//!
//! The flow's translation is in conntrack on the client's node and would outlive the backend for as long as packets come. kube-proxy removes
//! such entries when an endpoint goes; the next packet is translated anew. Margay has no part in it but the routes and rules of the new backend.

use super::stage::{NAMESPACE, Stage, To};
use crate::{cluster::family, report::Report};
use anyhow::{Result, bail, ensure};
use margay_lab::{Echo, Pinging, Seen, wait_until};
use std::{net::SocketAddr, time::Duration};

const RATE: u32 = 200;
const SERVICE: To = To::Service("both", 7);
const TARGET_PORT: u16 = 7777;
const PODS: [&str; 2] = ["x1", "x3"];

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) {
    report.check("UDP flows whose backend is no endpoint any more", || {
        let flows = Flows::start(stage)?;
        let from = flows.held_by(0)?;
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
        let flows = Flows::start(stage)?;
        let from = flows.held_by(0)?;
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

/// One flow of each family from pod b, and the backends that may answer.
struct Flows(Vec<Flow>);

struct Flow {
    v4: bool,
    pinging: Pinging,
    echoes: Vec<(&'static str, Echo)>,
}

impl Flows {
    fn start(stage: &Stage<'_>) -> Result<Self> {
        let lab = stage.lab();
        let mut flows = Vec::new();
        for v4 in stage.families() {
            let mut echoes = Vec::new();
            for pod in PODS {
                let listen = SocketAddr::new(stage.address(pod, v4)?, TARGET_PORT);
                let place = format!("pod:{NAMESPACE}/{pod}");
                echoes.push((pod, lab.echo(&place, listen)?));
            }
            let place = stage.cluster.app("b").place();
            let pinging = lab.start_ping(&place, stage.resolve(SERVICE, v4)?, RATE)?;
            flows.push(Flow {
                v4,
                pinging,
                echoes,
            });
        }
        Ok(Self(flows))
    }

    /// The backend that answers a flow.
    fn held_by(&self, flow: usize) -> Result<&'static str> {
        wait_until("a backend answers", Duration::from_secs(5), || {
            let flow = &self.0[flow];
            let found = flow.echoes.iter().find(|(_, echo)| echo.answered() > 20);
            Ok(found.map_or_else(
                || Seen::NotYet("none".to_owned()),
                |(pod, _)| Seen::Holds(*pod),
            ))
        })
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
