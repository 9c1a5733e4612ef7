//! Whose an address is: pods that ended own none, of several the latest does, and of one that is gone nothing is left.
//!
//! Addresses rest before they are given again, so reuse is shown by *ghosts*: pods that no scheduler takes, whose status says that they
//! have the address of x/b. Agents go by the objects: the packets are x/b's, and whose they count as is what is asked.

use super::{
    arena::{Arena, Policy},
    ask::Ask,
    paths::{Extra, IDLE, Path},
    updates::step,
};
use crate::{
    cluster::FAMILIES,
    matrix::{Protocol, inside},
    report::Report,
};
use anyhow::{Result, ensure};
use margay_lab::{Seen, wait_until};
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    reuse(arena, report);
    one_family(arena, report);
    arena.remove_extras()?;
    gone(arena, report);
    arena.remove_extras()
}

fn ghost(name: &str) -> String {
    format!("/api/v1/namespaces/x/pods/{name}")
}

/// Makes a pod that says it has the addresses of x/b.
fn haunt(arena: &Arena<'_>, name: &str, phase: &str) -> Result<()> {
    haunt_in(arena, name, phase, &FAMILIES)
}

/// Makes a pod that says it has these of the addresses of x/b.
fn haunt_in(arena: &Arena<'_>, name: &str, phase: &str, families: &[bool]) -> Result<()> {
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{extra: '', ghost: {name}}}}}, spec: {{schedulingGates: [{{name: margay.dev/ghost}}], containers: {IDLE}}}}}"
    );
    arena.api.apply(&ghost(name), &manifest)?;
    let addresses: Vec<String> = families
        .iter()
        .map(|v4| Ok(format!("{{\"ip\": \"{}\"}}", arena.address("x/b", *v4)?)))
        .collect::<Result<_>>()?;
    let first = arena.address("x/b", families[0])?;
    let status = format!(
        "{{\"status\": {{\"phase\": \"{phase}\", \"podIP\": \"{first}\", \"podIPs\": [{}]}}}}",
        addresses.join(", ")
    );
    arena
        .api
        .merge(&format!("{}/status", ghost(name)), &status)?;
    Ok(())
}

/// A ghost that is later than another by more than the second that timestamps count.
fn haunt_later(arena: &Arena<'_>, name: &str, than: &str) -> Result<()> {
    let born = |name: &str| -> Result<String> {
        let pod = arena.api.get(&ghost(name))?;
        Ok(pod["metadata"]["creationTimestamp"].to_string())
    };
    let earlier = born(than)?;
    wait_until("the next second", Duration::from_secs(5), || {
        haunt(arena, name, "Running")?;
        if born(name)? > earlier {
            return Ok(Seen::Holds(()));
        }
        arena.api.delete(&ghost(name))?;
        Ok(Seen::NotYet(earlier.clone()))
    })
}

/// Two pods of y: y/a is open to x/b, y/b to ghost one, y/c to ghost two.
fn rules() -> Vec<Policy> {
    let rule = |pod: &str, peer: &str| {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{pod: {pod}}}}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: x}}}}, podSelector: {{matchLabels: {{{peer}}}}}}}]}}]}}"
        );
        ("y".to_owned(), spec)
    };
    vec![
        rule("a", "pod: b"),
        rule("b", "ghost: one"),
        rule("c", "ghost: two"),
    ]
}

fn reuse(arena: &mut Arena<'_>, report: &mut Report) {
    // Which of the three pods takes the packets of x/b tells whose they are.
    arena.case(
        report,
        "[83] the address is x/b's",
        &rules(),
        Some(&|a| !a.receiver_in("y") || a.to("y/a") && a.from("x/b")),
    );
    step(
        arena,
        report,
        "[83] a later pod with it that has Succeeded owns nothing",
        |arena| haunt(arena, "one", "Succeeded"),
        &|a| !a.receiver_in("y") || a.to("y/a") && a.from("x/b"),
    );
    step(
        arena,
        report,
        "[83] a later pod that runs owns it",
        |arena| {
            arena.api.delete(&ghost("one"))?;
            haunt(arena, "one", "Running")
        },
        &|a| !a.receiver_in("y") || a.to("y/b") && a.from("x/b"),
    );
    step(
        arena,
        report,
        "[83] a still later one takes it over",
        |arena| haunt_later(arena, "two", "one"),
        &|a| !a.receiver_in("y") || a.to("y/c") && a.from("x/b"),
    );
    step(
        arena,
        report,
        "[83] the earlier is deleted after the later was added: it stays the later's",
        |arena| arena.api.delete(&ghost("one")),
        &|a| !a.receiver_in("y") || a.to("y/c") && a.from("x/b"),
    );
    step(
        arena,
        report,
        "[83] the later completes: the address is the first pod's again",
        |arena| {
            let status = "{\"status\": {\"phase\": \"Succeeded\"}}";
            arena
                .api
                .merge(&format!("{}/status", ghost("two")), status)
                .map(drop)
        },
        &|a| !a.receiver_in("y") || a.to("y/a") && a.from("x/b"),
    );
    step(
        arena,
        report,
        "[83] and is deleted: nothing changes",
        |arena| arena.api.delete(&ghost("two")),
        &|a| !a.receiver_in("y") || a.to("y/a") && a.from("x/b"),
    );
}

/// [85]: a pod with one of x/b's addresses only, and made anew with the other.
fn one_family(arena: &mut Arena<'_>, report: &mut Report) {
    for (what, families) in [
        (
            "[85] a later pod with the IPv4 address alone owns that alone",
            &[true][..],
        ),
        (
            "[85] made anew with the IPv6 address alone it owns that alone",
            &[false],
        ),
        ("[85] made anew with both it owns both", &[true, false]),
    ] {
        let owned = |a: &Ask<'_>| families.contains(&a.v4);
        step(
            arena,
            report,
            what,
            |arena| {
                arena.api.delete(&ghost("one"))?;
                haunt_in(arena, "one", "Running", families)
            },
            &|a| {
                let owner = if owned(a) { "y/b" } else { "y/a" };
                !a.receiver_in("y") || a.to(owner) && a.from("x/b")
            },
        );
    }
    step(
        arena,
        report,
        "[85] it is deleted: both are x/b's",
        |arena| arena.api.delete(&ghost("one")),
        &|a| !a.receiver_in("y") || a.to("y/a") && a.from("x/b"),
    );
}

/// [84]: a pod with classes of its own, which is a peer on every node, comes and goes.
fn gone(arena: &mut Arena<'_>, report: &mut Report) {
    let before = dumps(arena);
    let pod = Extra {
        namespace: "x",
        name: "gone",
        node: "n1",
        labels: "role: gone",
        containers: IDLE,
        more: "",
        served: true,
    };
    let mut marks = Vec::new();
    let mut connections = Vec::new();
    let made = report.check("[84] a pod with a policy of its own, that every node knows as a peer", || {
        let before = before?;
        arena.extra(&[pod], &[80])?;
        let begin = Instant::now();
        let peer = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {role: gone}}, namespaceSelector: {}}]}]}";
        let own = "{podSelector: {matchLabels: {role: gone}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: 80, endPort: 99}]}]}";
        arena.set(&["x", "y", "z"].map(|n| (n.to_owned(), peer.to_owned())).into_iter().chain([("x".to_owned(), own.to_owned())]).collect::<Vec<_>>())?;
        let mut paths = Vec::new();
        for v4 in FAMILIES {
            for to in ["x/b", "y/b", "z/b"] {
                let path = Path::closed("x/gone", arena.at(to, 80, v4)?, Protocol::Tcp);
                paths.push(path.lands(to, 80));
            }
            let own = Path::closed("z/a", arena.at("x/gone", 80, v4)?, Protocol::Tcp);
            paths.push(own.lands("x/gone", 80));
        }
        let seen = arena.follow(begin, &paths)?;
        connections = lasting(arena)?;
        for v4 in FAMILIES {
            marks.push(arena.address("x/gone", v4)?.to_string());
        }
        let with = dumps(arena)?;
        for mark in &marks {
            let nodes = with.iter().filter(|(_, dump)| has_word(dump, mark)).count();
            ensure!(nodes == 3, "only {nodes} nodes know {mark}");
        }
        let tracked = tracked(arena, &marks)?;
        ensure!(tracked > 0, "conntrack of n1 knows no flow of the pod: what shall it forget?");
        ensure!(before.iter().all(|(_, dump)| marks.iter().all(|mark| !has_word(dump, mark))), "its addresses were known before");
        Ok(seen)
    });
    if made {
        left(arena, report, &marks);
    }
    drop(connections);
}

/// What is left of a pod with these addresses, once it is deleted.
fn left(arena: &mut Arena<'_>, report: &mut Report, marks: &[String]) {
    report.check(
        "[84] it is deleted: rules, sets, maps, routes and neighbours know its addresses no more",
        || {
            let begin = Instant::now();
            arena.remove_extras()?;
            wait_until("nothing is left of it", Duration::from_secs(10), || {
                let left: Vec<String> = dumps(arena)?
                    .iter()
                    .flat_map(|(node, dump)| {
                        let left = marks.iter().filter(|mark| has_word(dump, mark));
                        left.map(move |mark| format!("{node}: {mark}"))
                    })
                    .collect();
                Ok(if left.is_empty() {
                    Seen::Holds(format!(
                        "on 3 nodes, after {} ms",
                        begin.elapsed().as_millis()
                    ))
                } else {
                    Seen::NotYet(left.join(", "))
                })
            })
        },
    );
    report.check("[83] [84] conntrack of its node has no flow of its addresses, though they would last for days", || {
        wait_until("conntrack is clean", Duration::from_secs(5), || {
            Ok(match tracked(arena, marks)? {
                0 => Seen::Holds("none left".to_owned()),
                left => Seen::NotYet(format!("{left} left")),
            })
        })
    });
    report.check("[84] and its classes went with it", || {
        let range = dumps(arena)?
            .iter()
            .filter(|(_, dump)| dump.contains("80-99"))
            .count();
        ensure!(range == 0, "{range} nodes still have its port range");
        Ok("no node has its port range".to_owned())
    });
}

/// A TCP connection of either family that neither end has closed when the pod goes.
fn lasting(arena: &Arena<'_>) -> Result<Vec<TcpStream>> {
    let connect = |v4: &bool| {
        let to = arena.at("x/gone", 80, *v4)?;
        let limit = Duration::from_secs(1);
        inside(arena.place("z/a")?.namespace(), move || {
            TcpStream::connect_timeout(&to, limit)
        })
    };
    FAMILIES.iter().map(connect).collect()
}

/// How many flows of these addresses conntrack knows on n1.
fn tracked(arena: &Arena<'_>, addresses: &[String]) -> Result<usize> {
    let lab = &arena.cluster.lab;
    let script = "conntrack -L -f ipv4; conntrack -L -f ipv6";
    let list = lab.exec("n1", &["sh", "-ec", script])?;
    let flows = list.lines().filter(|line| {
        let mut words = line.split([' ', '=']);
        words.any(|word| addresses.iter().any(|address| address == word))
    });
    Ok(flows.count())
}

/// What every node's kernel knows of pods: our table, routes, neighbours.
fn dumps(arena: &Arena<'_>) -> Result<Vec<(String, String)>> {
    let lab = &arena.cluster.lab;
    let dump = |node: &str| -> Result<String> {
        let script = "nft list table inet margay; ip route show table all; ip -6 route show table all; ip neigh";
        lab.exec(node, &["sh", "-ec", script])
    };
    lab.nodes()
        .iter()
        .map(|node| Ok((node.name.clone(), dump(&node.name)?)))
        .collect()
}

/// Whether an address stands in a text, and not only as the beginning of another.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    text.split(|c: char| !part(c)).any(|found| found == word)
}
