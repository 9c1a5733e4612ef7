//! What others do to a node's kernel.

use super::{Expect, Fault, HEALED, LOOK, Scene, agent::back, sh};
use crate::heal::link_of;
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

/// Every fault of this kind on `node`, which is that of pod a1.
pub(super) fn faults<'a>(scene: &'a Scene<'_>, node: &'a str) -> Result<Vec<Fault<'a>>> {
    let mut all = vec![
        routes_flushed(scene, node),
        main_table_flushed(scene, node),
        Fault::of_kernel("ip nexthop flush", node, &["Deleted", "id"], move || {
            sh(scene.lab(), node, "ip nexthop flush")
                .map(drop)
                .map(nothing)
        }),
        refused(scene, node),
        forwarding_off(scene, node),
        addresses_deleted(scene, node)?,
        uplink_down(scene, node),
    ];
    all.extend(links(scene, node)?);
    Ok(all)
}

fn nothing(_: ()) -> String {
    String::new()
}

fn routes_flushed<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let name = "ip route flush proto 83, both families";
    Fault::of_kernel(name, node, &["Deleted", "proto 83"], move || {
        for family in ["-4", "-6"] {
            // It flushes until nothing is left and gives up when somebody puts things back: its exit code says nothing.
            let _ = scene
                .lab()
                .exec(node, &["ip", family, "route", "flush", "proto", "83"]);
        }
        Ok(String::new())
    })
}

/// What the node's own network configuration would do: everything but our routes, twice because they refer to each other.
const SAVE: &str =
    "for f in 4 6; do ip -$f route show table main | grep -v 'proto 83' > /run/saved.$f; done";
const RESTORE: &str = "for i in 1 2; do for f in 4 6; do while read -r r; do ip -$f route append $r 2>/dev/null || :; done < /run/saved.$f; done; done; rm /run/saved.?";

fn main_table_flushed<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let name = "ip route flush table main, both families; the host restores its own routes";
    Fault::of_kernel(name, node, &["Deleted default"], move || {
        let flush = "ip -4 route flush table main || :; ip -6 route flush table main || :";
        sh(scene.lab(), node, &format!("{SAVE}; {flush}; {RESTORE}"))
            .map(drop)
            .map(nothing)
    })
}

/// While the agent lives its table is its own.
fn refused<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let strike = move || {
        for verb in ["flush", "delete"] {
            let foreign = ["nft", verb, "table", "inet", "margay"];
            ensure!(
                scene.lab().exec(node, &foreign).is_err(),
                "{verb} was allowed"
            );
        }
        Ok("both refused".to_owned())
    };
    Fault {
        expect: Expect::Untouched,
        ..Fault::of_kernel(
            "nft flush and delete of table inet margay",
            node,
            &[],
            strike,
        )
    }
}

fn forwarding_off<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    Fault::of_kernel(
        "forwarding turned off, both families",
        node,
        &[],
        move || {
            let off = "sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 >/dev/null; \
                   sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding";
            let seen = sh(scene.lab(), node, off)?;
            ensure!(
                seen.split_whitespace().all(|v| v == "0"),
                "it is still on: {seen}"
            );
            Ok("sysctl showed 0 for both".to_owned())
        },
    )
}

/// The node's addresses, as `ip` takes them.
fn addresses(scene: &Scene<'_>, node: &str) -> Result<Vec<String>> {
    let node = scene.lab().plan().node(node).context("no such node")?;
    let with_length = |a: std::net::IpAddr| format!("{a}/{}", if a.is_ipv4() { 24 } else { 64 });
    Ok(node.fabric.iter().map(with_length).collect())
}

fn addresses_deleted<'a>(scene: &'a Scene<'_>, node: &'a str) -> Result<Fault<'a>> {
    let addresses = addresses(scene, node)?;
    let each = |verb: &str, tail: &str| {
        let commands = addresses
            .iter()
            .map(|a| format!("ip addr {verb} {a} dev fabric0 {tail}; "));
        commands.collect::<String>()
    };
    let script = format!(
        "{SAVE}; {}{}{RESTORE}",
        each("del", ""),
        each("add", "nodad 2>/dev/null")
    );
    // IPv4 knows no nodad.
    let script = script.replace(
        &format!("{} dev fabric0 nodad", addresses[0]),
        &format!("{} dev fabric0", addresses[0]),
    );
    let first = addresses[0].clone();
    let name = "the node's addresses deleted; the host puts them and its routes back";
    Ok(Fault::of_kernel(
        name,
        node,
        &["Deleted", &first],
        move || sh(scene.lab(), node, &script).map(drop).map(nothing),
    ))
}

/// Down as an administrator does it: the kernel drops routes and IPv6 addresses, most of it in silence.
fn uplink_down<'a>(scene: &'a Scene<'_>, node: &'a str) -> Fault<'a> {
    let name = "the uplink set down and up; the host puts IPv6 address and routes back";
    Fault::of_kernel(name, node, &["fabric0", "state DOWN"], move || {
        let v6 = addresses(scene, node)?
            .into_iter()
            .find(|a| a.contains(':'));
        let v6 = v6.context("no IPv6 address")?;
        let script = format!(
            "{SAVE}; ip link set fabric0 down; ip link set fabric0 up; ip addr add {v6} dev fabric0 nodad; {RESTORE}"
        );
        sh(scene.lab(), node, &script).map(drop).map(nothing)
    })
}

/// Pod a1's link, by its host half.
fn links<'a>(scene: &'a Scene<'_>, node: &'a str) -> Result<Vec<Fault<'a>>> {
    let lab = scene.lab();
    let link = link_of(lab, scene.cluster.app("a1"))?.name;
    let elsewhere = *lab
        .pids("outside", "sleep")?
        .first()
        .context("outside has no holder")?;
    let ip = |name: &str, told: &[&str], arguments: String| {
        let script = format!("ip link {arguments}");
        let mut fault = Fault::of_kernel(name, node, told, move || {
            sh(lab, node, &script).map(drop).map(nothing)
        });
        // It may not stay where it was moved to either.
        fault.healed = Box::new(move || {
            let strays = lab.exec("outside", &["ip", "link"])?;
            let stray = strays.contains("mgy");
            Ok(if stray {
                Seen::NotYet(strays)
            } else {
                Seen::Holds(())
            })
        });
        fault
    };
    let renamed = ip(
        "a pod's link renamed",
        &["stray0"],
        format!("set {link} name stray0"),
    );
    Ok(vec![
        ip(
            "a pod's link deleted",
            &["Deleted", &link],
            format!("del {link}"),
        ),
        ip(
            "a pod's link set down",
            &[&link, "state DOWN"],
            format!("set {link} down"),
        ),
        ip(
            "a pod's link moved to another namespace",
            &["Deleted", &link],
            format!("set {link} netns {elsewhere}"),
        ),
        renamed,
    ])
}

/// The cable of the uplink pulled at the ToR, until the node sees it (or the ToR gives its session up), and put back.
pub(super) fn cable_pulled<'a>(
    scene: &'a Scene<'_>,
    node: &'a str,
    tor: &'a str,
    long: bool,
) -> Fault<'a> {
    let lab = scene.lab();
    let up_at: Rc<Cell<Option<Instant>>> = Rc::default();
    let up = up_at.clone();
    let strike = move || {
        let begin = Instant::now();
        lab.exec(tor, &["ip", "link", "set", node, "down"])?;
        let seen = wait_until("the fault takes effect", Duration::from_secs(30), || {
            if long {
                let sessions = lab.birdc(tor, &format!("show protocols {node}"))?;
                let lost = !sessions.contains("Established");
                return Ok(if lost {
                    Seen::Holds("its session was lost")
                } else {
                    Seen::NotYet(sessions)
                });
            }
            let link = lab.exec(node, &["ip", "link", "show", "fabric0"])?;
            let lost = link.contains("NO-CARRIER");
            Ok(if lost {
                Seen::Holds("NO-CARRIER was seen")
            } else {
                Seen::NotYet(link)
            })
        });
        lab.exec(tor, &["ip", "link", "set", node, "up"])?;
        up.set(Some(Instant::now()));
        Ok(format!(
            "pulled for {} ms, {}",
            begin.elapsed().as_millis(),
            seen?
        ))
    };
    let how = if long {
        "until its session was lost"
    } else {
        "until the node noticed"
    };
    Fault {
        name: format!("the uplink's cable pulled {how}"),
        // Down by itself as long as it is pulled.
        expect: Expect::Silence(if long {
            Duration::from_secs(30)
        } else {
            HEALED
        }),
        within: Duration::from_secs(40),
        healed: Box::new(move || {
            let since = up_at.get().map_or(Duration::ZERO, |at| at.elapsed());
            if long {
                let sessions = lab.birdc(tor, &format!("show protocols {node}"))?;
                if !sessions.contains("Established") {
                    return Ok(Seen::NotYet(sessions));
                }
                return back(lab, node, 0, false);
            }
            ensure!(
                since < HEALED + LOOK,
                "not healed {} ms after the cable was back",
                since.as_millis()
            );
            Ok(Seen::Holds(()))
        }),
        ..Fault::of_kernel("", node, &[], strike)
    }
}

/// The host half of a pod's wire, by its alias.
pub(super) fn has_link(lab: &Lab, node: &str, alias: &str) -> Result<Option<String>> {
    let links: serde_json::Value = serde_json::from_str(&lab.exec(node, &["ip", "-j", "link"])?)?;
    let mut all = links.as_array().into_iter().flatten();
    let found = all.find(|l| l["ifalias"] == alias);
    Ok(found.and_then(|l| l["ifname"].as_str().map(str::to_owned)))
}
