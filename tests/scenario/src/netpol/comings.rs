//! Pods and namespaces that come and go.

use super::{
    arena::Arena,
    paths::{Extra, IDLE, Path},
    updates::one,
};
use crate::{cluster::FAMILIES, matrix::Protocol, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Seen, wait_until};
use std::time::{Duration, Instant};

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    pod(arena, report)?;
    namespace(arena, report)?;
    remade(arena, report)
}

fn comer<'e>(namespace: &'e str, name: &'e str) -> Extra<'e> {
    Extra {
        namespace,
        name,
        node: "n2",
        labels: "role: comer",
        containers: IDLE,
        more: "",
        served: true,
    }
}

/// Paths from a comer that a policy of x/a and y/b permits, and to itself one that its own policy permits.
fn peer_paths(arena: &Arena<'_>, comer: &str) -> Result<Vec<Path>> {
    let mut paths = Vec::new();
    for v4 in FAMILIES {
        for to in ["x/a", "y/b"] {
            let target = arena.at(to, 80, v4)?;
            paths.extend(
                Protocol::ALL.map(|protocol| Path::closed(comer, target, protocol).lands(to, 80)),
            );
            paths.push(Path::closed("z/a", target, Protocol::Tcp));
        }
    }
    Ok(paths)
}

/// x/a and y/b are open to comers of every namespace.
fn to_comers() -> Vec<(String, String)> {
    let spec = |pod: &str| {
        format!(
            "{{podSelector: {{matchLabels: {{pod: {pod}}}}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{comers: welcome}}}}, podSelector: {{matchLabels: {{role: comer}}}}}}]}}]}}"
        )
    };
    [one("x", &spec("a")), one("y", &spec("b"))].concat()
}

fn welcome(arena: &Arena<'_>, namespace: &str, yes: bool) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}");
    super::updates::label(arena, &path, "comers", yes.then_some("welcome"))
}

fn pod(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    welcome(arena, "z", true)?;
    let closed = |a: &super::ask::Ask<'_>| !a.to("x/a") && !a.to("y/b");
    arena.case(
        report,
        "[49] policies for a pod that is not there yet",
        &to_comers(),
        Some(&closed),
    );
    report.check("[49] the pod is created: its first packets pass", || {
        let comer = comer("z", "comer");
        arena.extra(&[comer], &[80])?;
        let paths = peer_paths(arena, "z/comer")?;
        arena.follow(Instant::now(), &paths)
    });
    arena.remove_extras()?;
    arena.case(
        report,
        "[49] the pod is deleted",
        &to_comers(),
        Some(&closed),
    );
    welcome(arena, "z", false)
}

/// A namespace `w` with a pod, which a selector of namespaces matches as long as it is there.
fn namespace(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let path = "/api/v1/namespaces/w";
    report.check("[49] a namespace is created, and a pod in it", || {
        arena.set(&to_comers())?;
        let manifest = "{apiVersion: v1, kind: Namespace, metadata: {name: w, labels: {netpol: '', comers: welcome}}}";
        arena.api.apply(path, manifest)?;
        let comer = comer("w", "comer");
        wait_until("the pod is taken", Duration::from_secs(10), || {
            arena.extra(&[comer], &[80]).map(Seen::Holds)
        })?;
        let paths = peer_paths(arena, "w/comer")?;
        arena.follow(Instant::now(), &paths)
    });
    arena.remove_extras()?;
    arena.api.delete(path)?;
    report.check("[49] the namespace is deleted with its pod", || {
        wait_until("it is gone", Duration::from_secs(30), || {
            let list = arena.api.get("/api/v1/namespaces?labelSelector=comers")?;
            let left = list["items"].as_array().map_or(0, Vec::len);
            Ok(if left == 0 {
                Seen::Holds(())
            } else {
                Seen::NotYet(list.to_string())
            })
        })?;
        let begin = Instant::now();
        arena.holds(begin, Some(&|a| !a.to("x/a") && !a.to("y/b")))
    });
    Ok(())
}

/// [85]: a pod of the same name has other addresses, in both families.
fn remade(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    welcome(arena, "z", true)?;
    for what in [
        "[85] a dual-stack pod is a peer in both families",
        "[85] made anew under its name it is again, with its new addresses",
    ] {
        report.check(what, || {
            arena.set(&to_comers())?;
            arena.remove_extras()?;
            arena.extra(&[comer("z", "comer")], &[80])?;
            let found = arena.place("z/comer")?.addresses().to_vec();
            ensure!(found.len() == 2, "it has {found:?}");
            let paths = peer_paths(arena, "z/comer")?;
            arena.follow(Instant::now(), &paths)
        });
    }
    arena.remove_extras()?;
    welcome(arena, "z", false)
}
