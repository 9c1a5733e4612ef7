//! Two uplinks: all that is learned has two ways, and one of them may go.

use super::proof::{LIMIT, no_faults};
use crate::{
    cluster::{App, Cluster, family},
    http::inside,
    report::Report,
    routing::blocks,
};
use anyhow::{Context, Result, bail, ensure};
use margay_lab::{Echo, Lab, Pinging, Seen, plan::Node, wait_until};
use std::{
    net::{IpAddr, SocketAddr},
    thread::sleep,
    time::Duration,
};

/// Of the links of the fabric.
const MTU: &str = "mtu 1500";
const RATE: u32 = 1000;
const PORT: u16 = 7779;
/// Both ends see the loss of carrier; what is longer is no detection of that. On a busy machine of two cores a few tens of milliseconds are usual.
const DETECTION_MS: f64 = 500.0;

pub(super) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let n1 = lab.plan().node("n1").context("the lab has n1")?;
    for v4 in cluster.families() {
        both_ways(cluster, report, n1, v4)?;
        announced(cluster, report, n1, v4)?;
    }
    report.check(
        "pods have the MTU of the uplinks, not the loopback's",
        || {
            let links = lab.exec("n1", &["ip", "-o", "link", "show"])?;
            let pods: Vec<&str> = links.lines().filter(|l| l.contains(": mgy")).collect();
            ensure!(!pods.is_empty(), "n1 has no pod links:\n{links}");
            let wrong = pods.iter().find(|l| !l.contains(MTU));
            ensure!(wrong.is_none(), "{wrong:?}");
            Ok(format!("{} links with {MTU}", pods.len()))
        },
    );
    no_faults(cluster, report);
    for uplink in 0..n1.uplinks.len() {
        cut(cluster, report, n1, uplink);
    }
    Ok(())
}

fn of(addresses: &margay_lab::plan::Addresses, v4: bool) -> Result<IpAddr> {
    let found = addresses.iter().find(|a| a.is_ipv4() == v4);
    found.with_context(|| format!("the lab has no {}", family(v4)))
}

/// A block of the last node, which is in the other rack.
fn far_block(cluster: &Cluster, v4: bool) -> Result<String> {
    let owner = &cluster.app("c").node;
    let found = blocks(cluster)?
        .into_iter()
        .find(|(cidr, node)| node == owner && cidr.contains('.') == v4);
    Ok(found.context("the owner of c's address owns no block")?.0)
}

/// What the kernel of a node says about a prefix.
fn route(lab: &Lab, node: &str, cidr: &str) -> Result<String> {
    let family = if cidr.contains(':') { "-6" } else { "-4" };
    lab.exec(node, &["ip", family, "route", "show", cidr])
}

/// The uplinks that a node's route to a prefix uses.
fn ways(lab: &Lab, node: &Node, cidr: &str) -> Result<Vec<&'static str>> {
    let text = route(lab, &node.name, cidr)?;
    let uses = |device: &&str| text.contains(&format!("dev {device} "));
    let devices = node.uplinks.iter().map(|uplink| uplink.device);
    Ok(devices.filter(uses).collect())
}

fn both_ways(cluster: &Cluster, report: &mut Report, n1: &Node, v4: bool) -> Result<()> {
    let lab = &cluster.lab;
    let cidr = far_block(cluster, v4)?;
    let what = format!(
        "{} n1's kernel sends to {cidr} by both ToRs, through a nexthop group of two",
        family(v4)
    );
    report.check(&what, || {
        wait_until("both ways", LIMIT, || {
            let text = route(lab, "n1", &cidr)?;
            let Some(id) = text
                .split(" nhid ")
                .nth(1)
                .and_then(|t| t.split(' ').next())
            else {
                return Ok(Seen::NotYet(format!("no nexthop object: {text}")));
            };
            let group = lab.exec("n1", &["ip", "nexthop", "show", "id", id])?;
            let members = group
                .split("group ")
                .nth(1)
                .and_then(|t| t.split(' ').next())
                .map_or(0, |members| members.split('/').count());
            let mut through = 0;
            for uplink in &n1.uplinks {
                let tor = of(&uplink.tor, v4)?;
                through += usize::from(text.contains(&format!("via {tor} dev {} ", uplink.device)));
            }
            let source = of(&n1.fabric, v4)?;
            let right = members == 2 && through == 2 && text.contains(&format!("src {source} "));
            Ok(match right {
                true => Seen::Holds(format!("`{}`, from {source}", group.trim())),
                false => Seen::NotYet(format!("{text}\n{group}")),
            })
        })
    });
    report.show(&route(lab, "n1", &cidr)?);
    report.show(&lab.exec("n1", &["ip", "nexthop", "show", "proto", "83"])?);
    Ok(())
}

/// Both ToRs hear of n1's blocks, and the outside reaches its loopback.
fn announced(cluster: &Cluster, report: &mut Report, n1: &Node, v4: bool) -> Result<()> {
    let lab = &cluster.lab;
    let own = blocks(cluster)?;
    let own = own
        .iter()
        .find(|(cidr, node)| *node == n1.name && cidr.contains('.') == v4);
    let cidr = own.context("n1 owns no block")?.0.clone();
    let what = format!(
        "{} n1 announces {cidr} to both ToRs: the spine has two ways",
        family(v4)
    );
    report.check(&what, || {
        wait_until("two ways", LIMIT, || {
            let text = route(lab, "spine", &cidr)?;
            let tors: Vec<String> = lab
                .plan()
                .tors()
                .map(|tor| tor.tor_place())
                .filter(|tor| text.contains(&format!("dev {tor} ")))
                .collect();
            Ok(match tors == ["tor1", "tor1b"] {
                true => Seen::Holds(tors.join(" and ")),
                false => Seen::NotYet(text),
            })
        })
    });
    let address = of(&n1.fabric, v4)?.to_string();
    let what = format!(
        "{} the outside host reaches n1's loopback {address}",
        family(v4)
    );
    report.check(&what, || {
        wait_until("an answer", LIMIT, || {
            let ping = ["ping", "-n", "-c", "1", "-W", "2", &address];
            let output = inside(lab, "outside", &ping)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(match output.status.success() {
                true => Seen::Holds(text.lines().nth(1).unwrap_or_default().to_owned()),
                false => Seen::NotYet(text),
            })
        })
    });
    Ok(())
}

/// One uplink of n1 loses its carrier under pings both ways, and comes back.
fn cut(cluster: &Cluster, report: &mut Report, n1: &Node, number: usize) {
    let lab = &cluster.lab;
    let tors = ["tor1", "tor1b"];
    let (device, tor) = (n1.uplinks[number].device, tors[number]);
    let what = format!("{device} of n1 (to {tor}) down and up under 1 kHz pings both ways");
    report.check(&what, || {
        let port = |state| lab.exec(tor, &["ip", "link", "set", &n1.name, state]);
        let traffic = Traffic::start(cluster)?;
        sleep(Duration::from_secs(1));
        let carried = packets(lab, device)?;
        sleep(Duration::from_secs(1));
        let carried = packets(lab, device)? - carried;
        port("down")?;
        let down = while_down(cluster, n1, device);
        // Also when something is wrong meanwhile.
        port("up")?;
        let down = down?;
        back(cluster, n1)?;
        sleep(Duration::from_secs(1));
        let seen = traffic.stop()?;
        Ok(format!(
            "it carried {carried} packets a second before, {down}; both ways are back; {seen}"
        ))
    });
}

/// The fault took effect, the kernel uses the other uplink only, for longer than the hold time.
fn while_down(cluster: &Cluster, n1: &Node, device: &str) -> Result<String> {
    let lab = &cluster.lab;
    let link = lab.exec("n1", &["ip", "-o", "link", "show", device])?;
    ensure!(
        link.contains("NO-CARRIER"),
        "the fault took no effect: {link}"
    );
    for v4 in cluster.families() {
        let cidr = far_block(cluster, v4)?;
        wait_until("one way", LIMIT, || {
            let ways = ways(lab, n1, &cidr)?;
            Ok(match ways.len() == 1 && ways[0] != device {
                true => Seen::Holds(()),
                false => Seen::NotYet(format!("{ways:?}")),
            })
        })?;
    }
    let before = packets(lab, device)?;
    sleep(Duration::from_secs(2));
    let later = packets(lab, device)? - before;
    ensure!(
        later == 0,
        "{later} packets left by the link without carrier"
    );
    Ok("none while down".to_owned())
}

fn back(cluster: &Cluster, n1: &Node) -> Result<()> {
    for v4 in cluster.families() {
        let cidr = far_block(cluster, v4)?;
        wait_until("both ways", Duration::from_secs(40), || {
            let ways = ways(&cluster.lab, n1, &cidr)?;
            Ok(match ways.len() {
                2 => Seen::Holds(()),
                _ => Seen::NotYet(format!("{ways:?}")),
            })
        })?;
    }
    Ok(())
}

/// Packets that n1 has sent and received by a link.
fn packets(lab: &Lab, device: &str) -> Result<u64> {
    let mut sum = 0;
    for counter in ["tx_packets", "rx_packets"] {
        let links = lab.exec("n1", &["ip", "-j", "-s", "link", "show", device])?;
        let links: serde_json::Value = serde_json::from_str(&links)?;
        let way = counter.split('_').next().unwrap_or_default();
        let count = links[0]["stats64"][way]["packets"].as_u64();
        sum += count.with_context(|| format!("no {counter} of {device}"))?;
    }
    Ok(sum)
}

/// Numbered pings between a1 and c, both ways, every family.
struct Traffic {
    streams: Vec<(String, Pinging)>,
    _echoes: Vec<Echo>,
}

impl Traffic {
    fn start(cluster: &Cluster) -> Result<Self> {
        let (a1, c): (&App, &App) = (cluster.app("a1"), cluster.app("c"));
        let (mut streams, mut echoes) = (Vec::new(), Vec::new());
        for v4 in cluster.families() {
            for (from, to) in [(a1, c), (c, a1)] {
                let address = SocketAddr::new(to.address(v4)?, PORT);
                echoes.push(cluster.lab.echo(&to.place(), address)?);
                let stream = cluster.lab.start_ping(&from.place(), address, RATE)?;
                let what = format!("{} {} -> {}", family(v4), from.name, to.name);
                streams.push((what, stream));
            }
        }
        Ok(Self {
            streams,
            _echoes: echoes,
        })
    }

    /// What was lost; an error when a silence was longer than the detection.
    fn stop(self) -> Result<String> {
        let (mut seen, mut slow) = (Vec::new(), Vec::new());
        for (what, stream) in self.streams {
            let result = stream.stop()?;
            if result.largest_gap_ms > DETECTION_MS {
                slow.push(what.clone());
            }
            seen.push(format!(
                "{what}: lost {} of {}, largest gap {:.0} ms",
                result.lost, result.sent, result.largest_gap_ms
            ));
        }
        let seen = seen.join(", ");
        if !slow.is_empty() {
            bail!(
                "silent for more than {DETECTION_MS} ms: {}; {seen}",
                slow.join(", ")
            );
        }
        Ok(seen)
    }
}
