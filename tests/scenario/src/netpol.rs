//! NetworkPolicy whole, proven by packets: 9 pods in 3 namespaces on 3 nodes, the nodes and the outside host ask each other on
//! every port, protocol and family after every change.
//!
//! ```text
//!            n1 (rack 1)   n2 (rack 1)   n3 (rack 2)
//!  x           x/a           x/b           x/c
//!  y           y/c           y/a           y/b          any two pods: on one node, in one rack, across racks
//!  z           z/b           z/c           z/a
//! ```
//! Each check bears the numbers of the checklist that it proves (1-48 the upstream e2e suite, 49-59 Cyclonus, 67-90 our own). A
//! case passes when the table of truth that was written for it, or that the `verdict` oracle derives from the API objects, is
//! what packets see: first for the paths that the change turned, which are asked until they have turned, then for *all* paths, once, with no
//! second try. Tables written by hand must agree with the oracle as well. Cases that are generated have the oracle only.

mod arena;
mod ask;
mod bad;
mod basic;
mod blocks;
mod comings;
mod generated;
mod hosts;
mod named;
mod owners;
mod paths;
mod pods;
mod ports;
mod replies;
mod services;
mod updates;

use crate::{cluster::Cluster, report::Report};
use anyhow::{Result, ensure};
use arena::Arena;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let mut arena = Arena::new(cluster)?;
    let proven = arena.fill(report).and_then(|()| topics(&mut arena, report));
    close(&mut arena, report);
    // Whatever failed, the next scenario starts without our objects.
    arena.down()?;
    proven
}

/// Each leaves the cluster as it found it, but for policies, which the next case replaces.
fn topics(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    basic::prove(arena, report);
    ports::prove(arena, report);
    blocks::prove(arena, report);
    updates::prove(arena, report)?;
    named::prove(arena, report)?;
    hosts::prove(arena, report)?;
    services::prove(arena, report)?;
    replies::prove(arena, report)?;
    owners::prove(arena, report)?;
    comings::prove(arena, report)?;
    bad::prove(arena, report);
    generated::prove(arena, report);
    Ok(())
}

fn close(arena: &mut Arena<'_>, report: &mut Report) {
    report.check("nothing that was judged closed arrived later", || {
        let late = arena.matrix.late()?;
        ensure!(
            late.is_empty(),
            "{} came late: {}",
            late.len(),
            late.join(", ")
        );
        Ok(format!("{} probes were sent in all", arena.matrix.sent()))
    });
}
