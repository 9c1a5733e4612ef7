//! A node that is deleted, deleted while it runs, or rebooted. Its neighbours keep all that is theirs.

use super::{Expect, Fault, Scene, agent::back, staged};
use crate::{cluster::Cluster, http::opens, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{net::SocketAddr, time::Duration};

/// Not on the path of the pings.
const NODE: &str = "n2";
const OTHERS: [&str; 2] = ["n1", "n3"];
const SOON: Duration = Duration::from_secs(120);
/// The ToR's hold time, and a moment.
const SILENT: Duration = Duration::from_secs(15);

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    staged(cluster, report, |scene, report| {
        let lab = scene.lab();
        let blocks = Blocks::of(lab)?;
        let uid = uid(lab)?;
        scene.fault(report, deleted_alive(scene, &blocks));
        report.check("the node is as before, with a new UID", || {
            whole(lab, &blocks, &uid)
        });
        scene.fault(report, deleted_dead(scene, &blocks));
        let second = self::uid(lab)?;
        report.check("the node is as before, with a new UID", || {
            whole(lab, &blocks, &uid)
        });
        scene.fault(report, rebooted(scene));
        report.check("the node is as before, with the same UID", || {
            ensure!(self::uid(lab)? == second, "another Node object");
            whole(lab, &blocks, "")
        });
        report.check(
            "b runs on it again: open to a1, closed to the outside host",
            || b_serves(cluster),
        );
        Ok(())
    })
}

/// The blocks of the node.
struct Blocks(Vec<String>);

impl Blocks {
    fn of(lab: &Lab) -> Result<Self> {
        let list = lab.kubectl_json(&["get", "ipblocks"])?;
        let all = list["items"].as_array().context("no list")?;
        let own = all.iter().filter(|b| b["spec"]["nodeName"] == NODE);
        let mut cidrs: Vec<String> = own
            .filter_map(|b| b["spec"]["cidr"].as_str().map(str::to_owned))
            .collect();
        cidrs.sort();
        ensure!(!cidrs.is_empty(), "{NODE} owns no block");
        Ok(Self(cidrs))
    }

    /// Who still has a route to one of them: the routers, and the kernels of the other nodes.
    fn held(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut tables = vec![
            ("tor1", lab.birdc("tor1", "show route")?),
            (
                "tor2",
                lab.exec("tor2", &["sh", "-c", "ip -4 route; ip -6 route"])?,
            ),
        ];
        for node in OTHERS {
            tables.push((
                node,
                lab.exec(node, &["sh", "-c", "ip -4 route; ip -6 route"])?,
            ));
        }
        let holds = |text: &str, cidr: &str| {
            text.lines()
                .any(|l| l.split_whitespace().next() == Some(cidr))
        };
        let mut all = Vec::new();
        for (place, text) in &tables {
            let found = self.0.iter().filter(|cidr| holds(text, cidr));
            all.extend(found.map(|cidr| format!("{place} {cidr}")));
        }
        Ok(all)
    }

    /// From everywhere but `except`.
    fn left(&self, lab: &Lab, limit: Duration, except: &str) -> Result<Duration> {
        let begin = std::time::Instant::now();
        wait_until("its routes leave everywhere", limit, || {
            let mut held = self.held(lab)?;
            held.retain(|h| except.is_empty() || !h.starts_with(except));
            Ok(if held.is_empty() {
                Seen::Holds(begin.elapsed())
            } else {
                Seen::NotYet(held.join(", "))
            })
        })
    }

    fn are_back(&self, lab: &Lab) -> Result<Seen<()>> {
        let held = self.held(lab)?;
        // A node has those of its own rack from the ToR as well.
        let missing = self
            .0
            .iter()
            .find(|cidr| held.iter().filter(|h| h.ends_with(cidr.as_str())).count() < 4);
        Ok(missing.map_or(Seen::Holds(()), |cidr| {
            Seen::NotYet(format!("{cidr}: only {held:?}"))
        }))
    }
}

fn uid(lab: &Lab) -> Result<String> {
    lab.kubectl(&["get", "node", NODE, "-o", "jsonpath={.metadata.uid}"])
}

fn no_objects(lab: &Lab) -> Result<()> {
    wait_until("its BGPNode and NodeState are gone", SILENT, || {
        let left = lab.kubectl(&["get", "bgpnode,nodestate", "-o", "name"])?;
        let own = left.lines().any(|line| line.ends_with(&format!("/{NODE}")));
        Ok(if own {
            Seen::NotYet(left)
        } else {
            Seen::Holds(())
        })
    })
}

/// The kubelet registers its node only when it starts.
fn deleted_alive<'a>(scene: &'a Scene<'_>, blocks: &'a Blocks) -> Fault<'a> {
    let lab = scene.lab();
    let strike = move || {
        lab.kubectl(&["delete", "node", NODE])?;
        let left = blocks.left(lab, SILENT, "")?;
        no_objects(lab)?;
        let kept = Blocks::of(lab)?;
        ensure!(kept.0 == blocks.0, "its IPBlocks changed: {:?}", kept.0);
        lab.restart(NODE, "kubelet")?;
        Ok(format!(
            "its routes left everywhere within {} ms, BGPNode and NodeState are gone, {} IPBlocks stay its own",
            left.as_millis(),
            kept.0.len()
        ))
    };
    Fault {
        name: format!("kubectl delete node {NODE} while it runs, and its kubelet restarted"),
        nodes: OTHERS.to_vec(),
        strike: Box::new(strike),
        told: Vec::new(),
        healed: Box::new(move || back_whole(lab, blocks)),
        within: SOON,
        expect: Expect::NothingLost,
    }
}

fn deleted_dead<'a>(scene: &'a Scene<'_>, blocks: &'a Blocks) -> Fault<'a> {
    let lab = scene.lab();
    let strike = move || {
        lab.power_off(NODE)?;
        let struck = (|| -> Result<String> {
            // n1, in its rack, keeps what it heard from the node itself, as RFC 8538 allows, until the node is deleted.
            let left = blocks.left(lab, SILENT, "n1 ")?;
            lab.kubectl(&["delete", "node", NODE])?;
            let deleted = blocks.left(lab, SILENT, "")?;
            no_objects(lab)?;
            Ok(format!(
                "its routes left the routers and n3 {} ms after its power, n1 {} ms after the Node, and BGPNode and NodeState are gone",
                left.as_millis(),
                deleted.as_millis()
            ))
        })();
        lab.power_on(NODE)?;
        struck
    };
    Fault {
        name: format!("{NODE} without power, deleted, and back"),
        nodes: OTHERS.to_vec(),
        strike: Box::new(strike),
        told: Vec::new(),
        healed: Box::new(move || back_whole(lab, blocks)),
        within: SOON,
        expect: Expect::NothingLost,
    }
}

fn rebooted<'a>(scene: &'a Scene<'_>) -> Fault<'a> {
    let lab = scene.lab();
    let strike = move || {
        let before = boot_mark(lab)?;
        lab.reboot(NODE)?;
        let after = boot_mark(lab)?;
        ensure!(before != after, "it has the same network namespace");
        let routes = lab.exec(NODE, &["ip", "route", "show", "proto", "83"])?;
        Ok(format!(
            "network namespace {before} became {after}, with {} of our routes",
            routes.lines().count()
        ))
    };
    Fault {
        name: format!("{NODE} rebooted"),
        nodes: OTHERS.to_vec(),
        strike: Box::new(strike),
        told: Vec::new(),
        healed: Box::new(move || up_again(lab)),
        within: SOON,
        expect: Expect::NothingLost,
    }
}

/// Its daemons and its agent run.
fn up_again(lab: &Lab) -> Result<Seen<()>> {
    let mut daemons = ["containerd", "kubelet"].into_iter();
    match daemons.find_map(|daemon| lab.has_ended(NODE, daemon)) {
        Some(why) => Ok(Seen::Never(why)),
        None => back(lab, NODE, 0, true),
    }
}

/// And its blocks are announced.
fn back_whole(lab: &Lab, blocks: &Blocks) -> Result<Seen<()>> {
    match up_again(lab)? {
        Seen::Holds(()) => blocks.are_back(lab),
        other => Ok(other),
    }
}

fn boot_mark(lab: &Lab) -> Result<String> {
    lab.exec(NODE, &["readlink", "/proc/self/ns/net"])
        .map(|s| s.trim().to_owned())
}

/// Ready, with its objects of the new UID and all its blocks, which name that too.
fn whole(lab: &Lab, blocks: &Blocks, old_uid: &str) -> Result<String> {
    wait_until("the node is whole", SOON, || {
        let uid = uid(lab)?;
        ensure!(uid != old_uid, "still the same Node object");
        let ready = lab.kubectl(&["get", "node", NODE, "--no-headers"])?;
        if ready.split_whitespace().nth(1) != Some("Ready") {
            return Ok(Seen::NotYet(ready));
        }
        let node = lab.kubectl(&[
            "get",
            "bgpnode",
            NODE,
            "-o",
            "jsonpath={.spec.nodeUID} {.metadata.ownerReferences[0].uid}",
        ])?;
        if node != format!("{uid} {uid}") {
            return Ok(Seen::NotYet(format!("BGPNode of {node}, Node {uid}")));
        }
        let now = Blocks::of(lab)?.0;
        if now != blocks.0 {
            return Ok(Seen::NotYet(format!("{:?} became {now:?}", blocks.0)));
        }
        Ok(match blocks.are_back(lab)? {
            Seen::Holds(()) => Seen::Holds(format!("{} blocks as before, announced", now.len())),
            Seen::NotYet(why) | Seen::Never(why) => Seen::NotYet(why),
        })
    })
}

/// Its address may be another one now.
fn b_serves(cluster: &Cluster) -> Result<String> {
    let lab = &cluster.lab;
    wait_until("b is Ready and isolated", SOON, || {
        let pod = lab.kubectl_json(&["get", "pod", "-n", "demo", "b"])?;
        let ips = pod["status"]["podIPs"]
            .as_array()
            .context("b has no addresses")?;
        for ip in ips {
            let to = SocketAddr::new(ip["ip"].as_str().context("no address")?.parse()?, 8080);
            ensure!(!opens(lab, "outside", to), "the outside host reaches {to}");
            if !opens(lab, "pod:demo/a1", to) {
                return Ok(Seen::NotYet(format!("a1 does not reach {to}")));
            }
        }
        Ok(Seen::Holds(format!("{} addresses", ips.len())))
    })
}
