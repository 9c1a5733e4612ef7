//! Faults under traffic: numbered pings at 1 kHz both ways in both families, and a flood that a policy denies.
//!
//! ```text
//! pings start ── dump the kernel ── strike ── it took effect? ── healed: the dump is as before ── more pings ── counts
//! denied flood ───────────────────────────────────────────────────────────────────────────────────────────────────► 0 arrived
//! ```

mod agent;
mod away;
mod dump;
mod kernel;
mod nodes;
mod routers;
mod token;
mod traffic;

pub(crate) use agent::prove as restart;
pub(crate) use away::prove as api_away;
pub(crate) use nodes::prove as node_loss;
pub(crate) use token::prove as token_refused;

use crate::{cluster::Cluster, monitor::Monitor, report::Report};
use anyhow::{Result, ensure};
use dump::Dump;
use margay_lab::{Lab, Seen, wait_until};
use std::time::{Duration, Instant};
use traffic::{Denied, Places, Streams};

/// What a broken path may cost: the issue's limit for whatever is damaged in the kernel.
const HEALED: Duration = Duration::from_secs(2);
/// Looking at a kernel takes a moment itself, and more on a busy machine.
const LOOK: Duration = Duration::from_secs(1);

/// Something that goes wrong, and what is expected of Margay then.
struct Fault<'a> {
    /// For people.
    name: String,
    /// The node that it hits first, and others whose kernel must be as before afterwards.
    nodes: Vec<&'a str>,
    /// Does it, and says by what a tool showed that it took effect.
    strike: Box<dyn FnOnce() -> Result<String> + 'a>,
    /// Words that one line of `ip monitor` on the first node must hold: for what may heal before anybody can look.
    told: Vec<String>,
    /// What must be back, besides the kernel.
    healed: Box<dyn Fn() -> Result<Seen<()>> + 'a>,
    /// How long that may take.
    within: Duration,
    expect: Expect,
}

/// What the pings show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The path stays: nothing is lost, and no route or nexthop object of ours is touched at any moment.
    Untouched,
    /// The path stays: nothing is lost.
    NothingLost,
    /// The path breaks: no silence is longer than this.
    Silence(Duration),
}

impl<'a> Fault<'a> {
    /// One that breaks a path through a node, and heals by itself.
    fn of_kernel(
        name: &str,
        node: &'a str,
        told: &[&str],
        strike: impl FnOnce() -> Result<String> + 'a,
    ) -> Self {
        Self {
            name: name.to_owned(),
            nodes: vec![node],
            strike: Box::new(strike),
            told: told.iter().map(|&word| word.to_owned()).collect(),
            healed: Box::new(|| Ok(Seen::Holds(()))),
            within: HEALED + LOOK,
            expect: Expect::Silence(HEALED),
        }
    }
}

/// Traffic that goes on while faults come and go.
struct Scene<'a> {
    cluster: &'a Cluster,
    places: Places,
    denied: Denied,
}

impl<'a> Scene<'a> {
    fn set(cluster: &'a Cluster) -> Result<Self> {
        let places = Places::open(cluster, &["a1", "b", "c"])?;
        let denied = Denied::start(cluster, &places)?;
        Ok(Self {
            cluster,
            places,
            denied,
        })
    }

    /// Ends the traffic and removes its policy, whatever failed before.
    fn end(self, report: &mut Report) -> Result<()> {
        let cluster = self.cluster;
        report.check("the denied flood ran all the time", || {
            let all = self.denied.stop()?;
            Ok(format!("{} sent in all", all.sent))
        });
        let name = ["delete", "networkpolicy", "-n", "demo", "faults"];
        cluster.lab.kubectl(&name).map(drop)
    }

    fn lab(&self) -> &'a Lab {
        &self.cluster.lab
    }

    /// Proves one fault; true when all was as expected.
    fn fault(&self, report: &mut Report, fault: Fault<'_>) -> bool {
        let name = fault.name.clone();
        report.check(&name, || self.prove(fault))
    }

    fn prove(&self, fault: Fault<'_>) -> Result<String> {
        let lab = self.lab();
        let before = self.dumps(&fault.nodes)?;
        let monitor = Monitor::start(lab, fault.nodes[0])?;
        let denied = self.denied.count();
        let streams = Streams::start(self.cluster, &self.places)?;
        let begin = Instant::now();
        let course = (|| -> Result<(String, Duration)> {
            let proof = (fault.strike)()?;
            let healed = wait_until("healed", fault.within, || {
                if let Seen::NotYet(why) = (fault.healed)()? {
                    return Ok(Seen::NotYet(why));
                }
                Ok(match self.differences(&fault.nodes, &before)? {
                    None => Seen::Holds(begin.elapsed()),
                    Some(difference) => Seen::NotYet(difference),
                })
            })?;
            // After a restart longer than the speaker defers, so that what it would withdraw by mistake is seen.
            let more = if fault.expect == Expect::Untouched {
                3000
            } else {
                500
            };
            streams.more(more)?;
            Ok((proof, healed))
        })();
        let counted = streams.stop();
        let (mut proof, healed) = course?;
        let counted = counted?;
        if !fault.told.is_empty() {
            let lines = monitor.told(&fault.told[0])?;
            let all = |line: &&String| fault.told.iter().all(|word| line.contains(word.as_str()));
            let count = lines.iter().filter(all).count();
            ensure!(
                count > 0,
                "the fault took no effect: ip monitor told of no {:?}",
                fault.told
            );
            proof = format!(
                "{proof}ip monitor told of {count} × {}",
                fault.told.join(" ")
            );
        }
        if fault.expect == Expect::Untouched {
            let touched = monitor.told("proto 83")?;
            ensure!(
                touched.is_empty(),
                "routes were touched:\n{}",
                touched.join("\n")
            );
        }
        match fault.expect {
            Expect::Untouched | Expect::NothingLost => {
                ensure!(counted.lost == 0, "lost: {}", counted.losses.join(", "));
            }
            Expect::Silence(limit) => ensure!(
                counted.largest_gap <= limit,
                "silence of {} ms: {}",
                counted.largest_gap.as_millis(),
                counted.losses.join(", ")
            ),
        }
        let denied = self.denied.count().since(denied).none()?;
        Ok(format!(
            "{proof}; sent {}, lost {}, largest gap {} ms, {denied}; kernel as before within {} ms",
            counted.sent,
            counted.lost,
            counted.largest_gap.as_millis(),
            healed.as_millis()
        ))
    }

    fn dumps(&self, nodes: &[&str]) -> Result<Vec<Dump>> {
        nodes
            .iter()
            .map(|node| Dump::of(self.lab(), node))
            .collect()
    }

    fn differences(&self, nodes: &[&str], before: &[Dump]) -> Result<Option<String>> {
        for (node, before) in nodes.iter().zip(before) {
            if let Some(difference) = Dump::of(self.lab(), node)?.difference(before) {
                return Ok(Some(format!("{node}: {difference}")));
            }
        }
        Ok(None)
    }
}

/// Runs faults in a scene, and ends it whatever they came to.
fn staged(
    cluster: &Cluster,
    report: &mut Report,
    faults: impl FnOnce(&Scene<'_>, &mut Report) -> Result<()>,
) -> Result<()> {
    let scene = Scene::set(cluster).inspect_err(|_| {
        let name = [
            "delete",
            "networkpolicy",
            "-n",
            "demo",
            "faults",
            "--ignore-not-found",
        ];
        // What went wrong before says more.
        let _ = cluster.lab.kubectl(&name);
    })?;
    let course = faults(&scene, report);
    let ended = scene.end(report);
    course.and(ended)
}

/// Runs a script on a node.
fn sh(lab: &Lab, node: &str, script: &str) -> Result<String> {
    lab.exec(node, &["sh", "-ec", script])
}
