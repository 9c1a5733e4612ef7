//! A pod that asks a Service and is itself a backend of it.

use super::{PORT, Reach, TARGET, land};
use crate::{
    cluster::FAMILIES,
    matrix::{Matrix, Protocol, Shape, Shot},
    netpol::{
        arena::{Arena, Policy},
        paths::Path,
        updates::{label, one},
    },
    report::Report,
};
use anyhow::{Context, Result, ensure};
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// [79]: a pod that asks a Service and is itself the backend.
pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report, reach: &Reach) -> Result<()> {
    let deny = one("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}");
    report.check(
        "[79] hairpin: a pod reaches itself through a Service under default-deny",
        || {
            let begin = Instant::now();
            arena.set(&deny)?;
            let paths = land(Reach::all(&reach.inner, "x/c"));
            arena.follow(begin, &paths)
        },
    );
    let backends = ["/api/v1/namespaces/x/pods/b", "/api/v1/namespaces/x/pods/c"];
    for pod in backends {
        label(arena, pod, "role", Some("two"))?;
    }
    report.check(
        "[79] of two backends it reaches itself and never the other",
        || two_backends(arena, &reach.two, &deny),
    );
    for pod in backends {
        label(arena, pod, "role", None)?;
    }
    Ok(())
}

/// What became of the shots of several passes, each shot apart.
#[derive(Debug, Default)]
struct Counts {
    itself: Vec<usize>,
    other: Vec<usize>,
    none: Vec<usize>,
}

/// First it is seen that the Service has both backends, then that default-deny leaves itself alone.
fn two_backends(arena: &mut Arena<'_>, service: &[IpAddr], deny: &[Policy]) -> Result<String> {
    arena.set(&[])?;
    let to = || service.iter().map(|ip| SocketAddr::new(*ip, PORT));
    let both = |counts: &Counts| {
        counts
            .itself
            .iter()
            .chain(&counts.other)
            .all(|count| *count > 0)
    };
    count(arena, to(), both).context("without policies")?;
    let begin = Instant::now();
    arena.set(deny)?;
    let mut closed = Vec::new();
    for v4 in FAMILIES {
        closed.push(Path::closed(
            "x/c",
            arena.at("x/b", TARGET, v4)?,
            Protocol::Tcp,
        ));
    }
    arena.follow(begin, &closed)?;
    let itself = |counts: &Counts| {
        counts
            .itself
            .iter()
            .chain(&counts.none)
            .all(|count| *count > 0)
    };
    let counts = count(arena, to(), itself)?;
    let sum = |counts: &[usize]| counts.iter().sum::<usize>();
    ensure!(sum(&counts.other) == 0, "the other was reached: {counts:?}");
    let (itself, none) = (sum(&counts.itself), sum(&counts.none));
    Ok(format!(
        "of {} probes {itself} reached itself, {none} were denied the other",
        itself + none
    ))
}

/// Passes from x/c, until there is enough.
fn count(
    arena: &mut Arena<'_>,
    to: impl Iterator<Item = SocketAddr>,
    enough: impl Fn(&Counts) -> bool,
) -> Result<Counts> {
    let from = arena
        .matrix
        .places()
        .iter()
        .position(|place| place.name() == "x/c");
    let from = from.context("x/c is a place")?;
    let shots: Vec<Shot> = to
        .flat_map(|to| {
            Protocol::ALL.map(|protocol| Shot {
                from,
                to,
                protocol,
                shape: Shape::Plain,
            })
        })
        .collect();
    let zeros = || vec![0; shots.len()];
    let mut counts = Counts {
        itself: zeros(),
        other: zeros(),
        none: zeros(),
    };
    let begin = Instant::now();
    while !enough(&counts) {
        ensure!(
            begin.elapsed() < Duration::from_secs(15),
            "one backend was never met: {counts:?}"
        );
        let (_, fates) = arena
            .matrix
            .pass(&shots, Duration::ZERO, |_: &Matrix, _, _| true)?;
        for (at, fate) in fates.iter().enumerate() {
            let place = fate.arrived.map(|(place, ..)| place);
            match place {
                None => counts.none[at] += 1,
                Some(place) if place == from => counts.itself[at] += 1,
                Some(_) => counts.other[at] += 1,
            }
        }
    }
    Ok(counts)
}
