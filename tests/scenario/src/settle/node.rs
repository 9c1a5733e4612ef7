//! Who a node is: chosen addresses, where it listens, its router id and that of others, what `remoteAS` may say.

use super::says;
use crate::{cluster::Cluster, kill::down, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::time::Duration;

/// Addresses that n3 gets on loopback.
const LOOPBACK: [&str; 2] = ["192.0.2.13/32", "fd00:7::13/128"];

pub(super) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    addresses(cluster, report);
    misfits(cluster, report);
    forget(lab)?;
    for address in LOOPBACK {
        // Not there when what came before failed early.
        let _ = lab.exec("n3", &["ip", "addr", "del", address, "dev", "lo"]);
    }
    report.check(
        "without the NodeConfig n3 has its InternalIPs again",
        || fabric(lab),
    );
    listen(cluster, report);
    forget(lab)?;
    duplicate(cluster, report);
    forget(lab)?;
    report.check("with router ids of their own they talk again", || {
        says(lab, "nodestate/n1", "DuplicateRouterID", &["False Unique"])?;
        says(lab, "nodestate/n2", "DuplicateRouterID", &["False Unique"])?;
        established(cluster, "n1")
    });
    remote_as(cluster, report)
}

fn configure(lab: &Lab, name: &str, spec: &str) -> Result<()> {
    lab.apply(&format!(
        "apiVersion: margay.dev/v1alpha1\nkind: NodeConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    ))
    .map(drop)
}

/// First by name is `a-settle`, before those of the racks; last is `z-settle`.
fn forget(lab: &Lab) -> Result<()> {
    let both = ["nodeconfig/a-settle", "nodeconfig/z-settle"];
    lab.kubectl(&["delete", both[0], both[1], "--ignore-not-found"])
        .map(drop)
}

const N3: &str = "nodeSelector: {matchLabels: {kubernetes.io/hostname: n3}}";

fn addresses(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    report.check(
        "a node's addresses are chosen by network and by interface",
        || {
            for address in LOOPBACK {
                lab.exec("n3", &["ip", "addr", "add", address, "dev", "lo"])?;
            }
            let choice = "addresses: {ipv4: {cidr: 192.0.2.0/24}, ipv6: {interface: lo}}";
            configure(lab, "a-settle", &format!("{{{N3}, {choice}}}"))?;
            own_addresses(lab, &["192.0.2.13", "fd00:7::13"])
        },
    );
    report.check(
        "sessions use the link's addresses, routes to pods the node's own",
        || {
            let sessions = established(cluster, "n3")?;
            for (family, source) in [("-4", "src 192.0.2.13"), ("-6", "src fd00:7::13")] {
                wait_until(source, Duration::from_secs(15), || {
                    let routes = lab.exec("n3", &["ip", family, "route", "show", "proto", "83"])?;
                    let mut pods = routes.lines().filter(|r| r.contains("dev mgy"));
                    Ok(
                        if routes.contains("dev mgy") && pods.all(|r| r.contains(source)) {
                            Seen::Holds(())
                        } else {
                            Seen::NotYet(routes)
                        },
                    )
                })?;
            }
            Ok(sessions)
        },
    );
    report.check(
        "the chosen addresses are announced, and answer from outside",
        || {
            for address in ["192.0.2.13", "fd00:7::13"] {
                wait_until(address, Duration::from_secs(20), || {
                    let ping = ["ping", "-c", "1", "-W", "1", address];
                    lab.exec("outside", &ping).map(Seen::Holds)
                })?;
            }
            Ok("192.0.2.13 and fd00:7::13".to_owned())
        },
    );
    report.check("by the route to an address", || {
        let gateway = lab
            .racks()
            .last()
            .map(|r| r.gateway.joined())
            .unwrap_or_default();
        let gateway = gateway
            .split(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let choice =
            format!("addresses: {{ipv4: {{canReach: {gateway}}}, ipv6: {{interface: lo}}}}");
        configure(lab, "a-settle", &format!("{{{N3}, {choice}}}"))?;
        let fabric = lab
            .plan()
            .node("n3")
            .and_then(|n| n.fabric.v4)
            .map(|a| a.to_string());
        own_addresses(lab, &[&fabric.unwrap_or_default(), "fd00:7::13"])
    });
}

fn misfits(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    report.check("a choice that nothing fits names object, field, value and remedy", || {
        let choice = "addresses: {ipv4: {interface: bond7}, ipv6: {interface: lo}}";
        configure(lab, "a-settle", &format!("{{{N3}, {choice}}}"))?;
        let text = "NodeConfig/a-settle: spec.addresses.ipv4.interface is `bond7`: node n3 has no such interface; it has ";
        let said = says(lab, "nodestate/n3", "Degraded", &["True", text])?;
        own_addresses(lab, &["fd00:7::13"])?;
        Ok(said)
    });
    report.check("and follows the kernel when it does fit", || {
        let far = ["type", "veth", "peer", "name", "bond7-far"];
        lab.exec("n3", &[&["ip", "link", "add", "bond7"], &far[..]].concat())?;
        let added = lab.exec(
            "n3",
            &["ip", "addr", "add", "192.0.2.77/32", "dev", "bond7"],
        );
        let found = added.and_then(|_| own_addresses(lab, &["192.0.2.77", "fd00:7::13"]));
        lab.exec("n3", &["ip", "link", "del", "bond7"])?;
        found
    });
    report.check("of two NodeConfigs the first by name wins and the node says which is idle", || {
        configure(lab, "z-settle", &format!("{{{N3}, asNumber: 64999}}"))?;
        let text = "NodeConfig/z-settle: spec.asNumber is not in force on node n3, because NodeConfig/rack2 comes first by name";
        says(lab, "nodestate/n3", "Degraded", &["True", text])
    });
}

/// Waits for the BGPNode of n3 to have exactly these.
fn own_addresses(lab: &Lab, wanted: &[&str]) -> Result<String> {
    wait_until("BGPNode n3", Duration::from_secs(20), || {
        let node = lab.kubectl_json(&["get", "bgpnode", "n3", "-o", "json"])?;
        let spec = &node["spec"];
        Ok(if spec["addresses"] == serde_json::json!(wanted) {
            Seen::Holds(format!(
                "{}, router id {}",
                spec["addresses"], spec["routerID"]
            ))
        } else {
            Seen::NotYet(spec.to_string())
        })
    })
}

fn fabric(lab: &Lab) -> Result<String> {
    let node = lab.plan().node("n3");
    let wanted: Vec<String> = node
        .map(|n| n.fabric.iter().map(|a| a.to_string()).collect())
        .unwrap_or_default();
    own_addresses(lab, &wanted.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until all sessions of a node are up.
fn established(cluster: &Cluster, node: &str) -> Result<String> {
    wait_until(
        &format!("sessions of {node}"),
        Duration::from_secs(40),
        || {
            let peers = cluster
                .ctl_json(&["bgp", "peers", "--node", node])?
                .to_string();
            Ok(if down(&peers) {
                Seen::NotYet(peers)
            } else {
                Seen::Holds(format!(
                    "{} established",
                    peers.matches("\"Established\"").count()
                ))
            })
        },
    )
}

fn listen(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    let sockets = || lab.exec("n1", &["ss", "-Hltn", "sport = :179"]);
    report.check("a node listens on the addresses that it shall", || {
        let node = lab.plan().node("n1").and_then(|n| n.fabric.v4);
        let own = node.map(|a| a.to_string()).unwrap_or_default();
        let only = format!("{own}:179");
        let before = sockets()?;
        ensure!(before.contains("*:179"), "before: {before}");
        let selector = "nodeSelector: {matchLabels: {kubernetes.io/hostname: n1}}";
        configure(
            lab,
            "a-settle",
            &format!("{{{selector}, listen: {{addresses: [{own}]}}}}"),
        )?;
        wait_until("its sockets", Duration::from_secs(20), || {
            let now = sockets()?;
            Ok(if now.contains(&only) && now.lines().count() == 1 {
                Seen::Holds(())
            } else {
                Seen::NotYet(now)
            })
        })?;
        Ok(format!(
            "{only} instead of *:179; {}",
            established(cluster, "n1")?
        ))
    });
}

fn duplicate(cluster: &Cluster, report: &mut Report) {
    let lab = &cluster.lab;
    report.check("two nodes of one AS with one router id both say so", || {
        let nodes = "nodeSelector: {matchLabels: {topology.margay.dev/rack: rack1}}";
        configure(
            lab,
            "a-settle",
            &format!("{{{nodes}, routerID: 192.0.2.99}}"),
        )?;
        let parts = [
            "True Duplicate",
            "spec.routerID 192.0.2.99 is also that of node",
            "spec.routerID",
        ];
        says(lab, "nodestate/n2", "DuplicateRouterID", &parts)?;
        says(lab, "nodestate/n1", "DuplicateRouterID", &parts)
    });
    report.check("and events on both Nodes", || {
        let parts = ["spec.routerID 192.0.2.99 is also that of node"];
        super::warned(lab, "default", "n2", &parts)?;
        super::warned(lab, "default", "n1", &parts)
    });
    report.check(
        "the session between them stays down with that reason, the router's is up",
        || {
            wait_until("the sessions of n1", Duration::from_secs(40), || {
                let state = lab.kubectl_json(&["get", "nodestate", "n1", "-o", "json"])?;
                let sessions = state["status"]["sessions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let of = |peer: &str| {
                    let found = sessions.iter().find(|s| s["peer"] == peer).cloned();
                    found.unwrap_or_default()
                };
                let (twin, router) = (of("BGPNode/n2"), of("BGPPeer/rack1-tor"));
                let reason = twin["reason"].as_str().unwrap_or_default().to_owned();
                let held = reason.contains("spec.routerID 192.0.2.99") && twin["state"] == "Idle";
                Ok(if held && router["state"] == "Established" {
                    Seen::Holds(reason)
                } else {
                    Seen::NotYet(state["status"]["sessions"].to_string())
                })
            })
        },
    );
}

fn remote_as(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let rack = lab
        .racks()
        .last()
        .map(|r| (r.number, r.asn))
        .unwrap_or_default();
    let peer = format!("bgppeer/rack{}-tor", rack.0);
    let patch = |spec: &str| {
        let patch = format!("{{\"spec\":{spec}}}");
        lab.kubectl(&["patch", &peer, "--type=merge", "-p", &patch])
    };
    report.check(
        "remoteAS external is shown as such before the peer has said its number",
        || {
            // Nobody listens there.
            patch("{\"remoteAS\":\"external\",\"port\":1}")?;
            wait_until("the row", Duration::from_secs(20), || {
                let table = cluster.ctl(&["bgp", "peers", "--node", "n3"])?;
                let row = table
                    .lines()
                    .find(|l| l.contains("-tor"))
                    .unwrap_or_default();
                let words: Vec<&str> = row.split_whitespace().collect();
                Ok(if words.get(3) == Some(&"external") {
                    Seen::Holds(words.join(" "))
                } else {
                    Seen::NotYet(table)
                })
            })
        },
    );
    report.check("and takes any AS but ours", || {
        patch("{\"port\":null}")?;
        established(cluster, "n3")?;
        let table = cluster.ctl(&["bgp", "peers", "--node", "n3"])?;
        ensure!(
            table.contains(&rack.1.to_string()),
            "no AS {} in:\n{table}",
            rack.1
        );
        Ok(format!("AS {}", rack.1))
    });
    report.check("remoteAS internal refuses a router of another AS", || {
        patch("{\"remoteAS\":\"internal\"}")?;
        wait_until("the reason", Duration::from_secs(30), || {
            let peers = cluster
                .ctl_json(&["bgp", "peers", "--node", "n3"])?
                .to_string();
            let text = format!("peer's AS {} differs from ours", rack.1);
            Ok(if peers.contains(&text) {
                Seen::Holds(text)
            } else {
                Seen::NotYet(peers)
            })
        })
    });
    patch(&format!("{{\"remoteAS\":{},\"port\":null}}", rack.1))?;
    report.check("with its number it is up", || established(cluster, "n3"));
    Ok(())
}
