//! The agent ends in every way that it can.

use super::{Expect, Fault, Scene, dump::Dump, sh, staged, traffic::Streams};
use crate::{
    cluster::{Cluster, beside},
    kill::down,
    report::Report,
};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    fs,
    time::{Duration, SystemTime},
};

const PROCESS: &str = "margay-agent";
/// The kubelet waits 10 s before it restarts a container for the second time.
const BACK: Duration = Duration::from_secs(60);
/// From the start of the agent's process to the last denied datagram, when there was no table: its first write is one of its first acts.
const FIRST_WRITE: Duration = Duration::from_millis(500);

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    staged(cluster, report, |scene, report| {
        scene.fault(report, ended(scene, "n1", "KILL"));
        scene.fault(report, ended(scene, "n3", "TERM"));
        scene.fault(report, upgraded(scene)?);
        scene.fault(report, twice(scene, "n1"));
        scene.fault(report, flushed_alive(scene, "n1"));
        report.check("nft flush ruleset on n3 while no agent runs", || {
            flushed_unprotected(scene, "n3", false)
        });
        Ok(())
    })
}

/// Killed or told to end, once.
pub(super) fn ended<'a>(scene: &'a Scene<'_>, node: &'a str, signal: &'a str) -> Fault<'a> {
    let lab = scene.lab();
    let old = std::rc::Rc::new(std::cell::Cell::new(0));
    let killed = old.clone();
    Fault {
        name: format!("SIG{signal} to the agent on {node}"),
        nodes: vec![node],
        strike: Box::new(move || {
            killed.set(pid(lab, node)?);
            end(lab, node, killed.get(), signal)?;
            Ok(format!("process {} is gone", killed.get()))
        }),
        told: Vec::new(),
        healed: Box::new(move || back(lab, node, old.get(), true)),
        within: BACK,
        expect: Expect::Untouched,
    }
}

fn twice<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let lab = scene.lab();
    let old = std::rc::Rc::new(std::cell::Cell::new(0));
    let killed = old.clone();
    Fault {
        name: format!("the agent on {node} killed twice within the restart time"),
        nodes: vec![node],
        strike: Box::new(move || {
            let first = pid(lab, node)?;
            end(lab, node, first, "KILL")?;
            killed.set(successor(lab, node, first)?);
            // Not later: it announces its blocks at once and still waits for its peers' routes and End-of-RIBs.
            wait_until("it has announced its blocks again", BACK, || {
                announced(lab, node)
            })?;
            end(lab, node, killed.get(), "KILL")?;
            Ok(format!("processes {first} and {} are gone", killed.get()))
        }),
        told: Vec::new(),
        healed: Box::new(move || back(lab, node, old.get(), true)),
        within: BACK,
        expect: Expect::Untouched,
    }
}

/// Another image for all agents, by the Installation as a user would, and back.
fn upgraded<'a>(scene: &'a Scene<'_>) -> Result<Fault<'a>> {
    let lab = scene.lab();
    let old = image(lab)?;
    let new = format!("{old}-next");
    for node in lab.nodes() {
        let tag = [
            "ctr", "-n", "k8s.io", "images", "tag", "--force", &old, &new,
        ];
        lab.exec(&node.name, &tag)?;
    }
    let strike = move || {
        let pids = pids(lab)?;
        set_image(lab, Some(&new))?;
        rolled(lab, &new)?;
        let renewed = pids
            .iter()
            .zip(self::pids(lab)?)
            .filter(|(old, new)| **old != *new);
        let renewed = renewed.count();
        set_image(lab, None)?;
        rolled(lab, &old)?;
        ensure!(
            renewed == pids.len(),
            "only {renewed} of {} agents were replaced",
            pids.len()
        );
        Ok(format!("{renewed} agents ran {new}, then {old} again"))
    };
    Ok(Fault {
        name: "upgrade of all agents to another image, and back".to_owned(),
        nodes: vec!["n1", "n2", "n3"],
        strike: Box::new(strike),
        told: Vec::new(),
        healed: Box::new(move || {
            for node in lab.nodes() {
                if let Seen::NotYet(why) = back(lab, &node.name, 0, true)? {
                    return Ok(Seen::NotYet(why));
                }
            }
            Ok(Seen::Holds(()))
        }),
        within: BACK,
        expect: Expect::Untouched,
    })
}

/// Everybody's rules but ours, which are owned. kube-proxy is started again, as it is not ours to restore.
fn flushed_alive<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let lab = scene.lab();
    Fault {
        name: format!("nft flush ruleset on {node} while the agent runs"),
        nodes: vec![node],
        strike: Box::new(move || {
            let tables = sh(lab, node, "nft flush ruleset; nft list tables")?;
            lab.restart(node, "kube-proxy")?;
            ensure!(
                !tables.contains("kube-proxy"),
                "nothing was flushed: {tables}"
            );
            ensure!(
                tables.contains("inet margay"),
                "the owned table went with it: {tables}"
            );
            for verb in ["flush", "delete"] {
                let foreign = ["nft", verb, "table", "inet", "margay"];
                ensure!(lab.exec(node, &foreign).is_err(), "{verb} was allowed");
            }
            Ok("kube-proxy's tables were gone, ours stayed; nft flush and delete of ours were refused".to_owned())
        }),
        told: Vec::new(),
        healed: Box::new(move || {
            let tables = lab.exec(node, &["nft", "list", "tables"])?;
            let back = tables.contains("kube-proxy");
            Ok(if back {
                Seen::Holds(())
            } else {
                Seen::NotYet(tables)
            })
        }),
        within: BACK,
        expect: Expect::Untouched,
    }
}

/// The table taken while nobody protects it: what gets through until the agent's start is outside of anybody's hands, after it nothing does.
/// With `away` only our table: without the API server nobody could restore kube-proxy's.
pub(super) fn flushed_unprotected(scene: &Scene<'_>, node: &str, away: bool) -> Result<String> {
    let lab = scene.lab();
    let before = Dump::of(lab, node)?;
    let denied = scene.denied.count();
    let streams = Streams::start(scene.cluster, &scene.places)?;
    let course = (|| -> Result<_> {
        let old = pid(lab, node)?;
        lab.kill(node, "kubelet", "STOP")?;
        let struck = (|| -> Result<()> {
            end(lab, node, old, "KILL")?;
            let command = if away {
                "delete table inet margay"
            } else {
                "flush ruleset"
            };
            // The last thread of a process that was killed may hold the table for a moment.
            wait_until("the table is gone", BACK, || {
                // Refused as long as it is held.
                let script = format!("nft {command} || :; nft list tables");
                let tables = sh(lab, node, &script)?;
                Ok(if tables.contains("inet margay") {
                    Seen::NotYet(tables)
                } else {
                    Seen::Holds(())
                })
            })?;
            // That the flood comes through now shows that it would at any other time.
            wait_until("the unprotected flood comes through", BACK, || {
                let arrived = scene.denied.count().since(denied).arrived;
                Ok(if arrived > 0 {
                    Seen::Holds(())
                } else {
                    Seen::NotYet("none".to_owned())
                })
            })
        })();
        lab.kill(node, "kubelet", "CONT")?;
        if !away {
            lab.restart(node, "kube-proxy")?;
        }
        struck?;
        let new = successor(lab, node, old)?;
        let started = started(new)?;
        let latest = scene.denied.quiet(BACK)?.context("nothing came through")?;
        let after = latest.duration_since(started).unwrap_or_default();
        ensure!(
            after <= FIRST_WRITE,
            "denied datagrams arrived until {} ms after the agent's start",
            after.as_millis()
        );
        let leaked = scene.denied.count().since(denied);
        wait_until("healed", BACK, || match back(lab, node, old, !away)? {
            Seen::Holds(()) => Ok(match Dump::of(lab, node)?.difference(&before) {
                None => Seen::Holds(()),
                Some(difference) => Seen::NotYet(difference),
            }),
            other => Ok(other),
        })?;
        streams.more(1000)?;
        let total = scene.denied.count().since(denied);
        ensure!(
            total.arrived == leaked.arrived,
            "denied datagrams arrive again"
        );
        Ok((leaked, after, total))
    })();
    let counted = streams.stop();
    let (leaked, after, total): (_, Duration, _) = course?;
    let counted = counted?;
    ensure!(counted.lost == 0, "lost: {}", counted.losses.join(", "));
    Ok(format!(
        "the table was gone: {} of the denied flood came through until {} ms after the start of the new agent's process, 0 of {} later; sent {}, lost 0, largest gap {} ms",
        leaked.arrived,
        after.as_millis(),
        total.sent - leaked.sent,
        counted.sent,
        counted.largest_gap.as_millis()
    ))
}

/// The agent's process on a node.
pub(super) fn pid(lab: &Lab, node: &str) -> Result<i32> {
    match lab.pids(node, PROCESS)?.as_slice() {
        [pid] => Ok(*pid),
        other => bail!("{} processes {PROCESS} run on {node}", other.len()),
    }
}

fn pids(lab: &Lab) -> Result<Vec<i32>> {
    lab.nodes()
        .iter()
        .map(|node| pid(lab, &node.name))
        .collect()
}

/// Signals it and waits until it is gone.
pub(super) fn end(lab: &Lab, node: &str, pid: i32, signal: &str) -> Result<()> {
    let count = lab.kill(node, PROCESS, signal)?;
    ensure!(count == 1, "{count} processes were signalled, not 1");
    wait_until(
        "the agent's process is gone",
        Duration::from_secs(10),
        || {
            let gone = !lab.pids(node, PROCESS)?.contains(&pid);
            Ok(if gone {
                Seen::Holds(())
            } else {
                Seen::NotYet("it runs".to_owned())
            })
        },
    )
}

fn successor(lab: &Lab, node: &str, old: i32) -> Result<i32> {
    wait_until("a new agent's process", BACK, || {
        let new = lab.pids(node, PROCESS)?.into_iter().find(|pid| *pid != old);
        Ok(new.map_or_else(|| Seen::NotYet("none".to_owned()), Seen::Holds))
    })
}

/// Whether another process than `old` runs and its sessions are up; `ready`: and it has heard of everything from the API server.
pub(super) fn back(lab: &Lab, node: &str, old: i32, ready: bool) -> Result<Seen<()>> {
    if lab.pids(node, PROCESS)?.iter().all(|pid| *pid == old) {
        return Ok(Seen::NotYet("no new process".to_owned()));
    }
    let ctl = beside("margayctl")?;
    let socket = "--socket=/run/margay/agent.sock";
    let peers = lab.exec(node, &[&ctl, socket, "bgp", "peers", "-o", "json"])?;
    if down(&peers) {
        return Ok(Seen::NotYet(peers));
    }
    if ready {
        lab.exec(node, &["curl", "-sSf", "http://127.0.0.1:9179/readyz"])?;
    }
    Ok(Seen::Holds(()))
}

/// Whether every session is up and has been told of the node's own blocks.
fn announced(lab: &Lab, node: &str) -> Result<Seen<()>> {
    let ctl = beside("margayctl")?;
    let socket = "--socket=/run/margay/agent.sock";
    let text = lab.exec(node, &[&ctl, socket, "bgp", "peers", "-o", "json"])?;
    let text = text.replace(' ', "");
    let told = text.contains("\"advertised\":") && !text.contains("\"advertised\":0");
    Ok(if !down(&text) && told {
        Seen::Holds(())
    } else {
        Seen::NotYet(text)
    })
}

/// When a process began, to a hundredth of a second.
fn started(pid: i32) -> Result<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks: f64 = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(19))
        .context("no start time")?
        .parse()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime")?
        .split(' ')
        .next()
        .context("no uptime")?
        .parse()?;
    let age = Duration::from_secs_f64((uptime - ticks / 100.0).max(0.0));
    Ok(SystemTime::now() - age)
}

fn image(lab: &Lab) -> Result<String> {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    lab.kubectl(&[
        "get",
        "-n",
        "margay-system",
        "daemonset/margay-agent",
        "-o",
        path,
    ])
}

fn set_image(lab: &Lab, image: Option<&str>) -> Result<()> {
    let patch = serde_json::json!({"spec": {"image": image}}).to_string();
    let argv = [
        "patch",
        "installation",
        "default",
        "--type=merge",
        "-p",
        &patch,
    ];
    lab.kubectl(&argv).map(drop)
}

fn rolled(lab: &Lab, wanted: &str) -> Result<()> {
    wait_until("the operator asks for the image", BACK, || {
        let image = image(lab)?;
        Ok(if image == wanted {
            Seen::Holds(())
        } else {
            Seen::NotYet(image)
        })
    })?;
    let rollout = [
        "rollout",
        "status",
        "-n",
        "margay-system",
        "daemonset/margay-agent",
        "--timeout=120s",
    ];
    lab.kubectl(&rollout).map(drop)
}
