//! Which backend is chosen: any, the same as before, oneself.

use super::stage::{NAMESPACE, Stage, To};
use crate::{cluster::family, report::Report};
use anyhow::{Result, anyhow, ensure};
use margay_lab::{Seen, wait_until};
use std::{
    collections::BTreeMap,
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// With two backends and a free choice, one of them is left out of this many once in half a million runs.
const CONNECTIONS: usize = 20;

pub(super) fn prove(stage: &Stage<'_>, report: &mut Report) {
    for v4 in stage.families() {
        for (from, what) in [
            ("b", "two backends"),
            ("x1", "two backends, one of them the client"),
        ] {
            report.check(
                &format!("{} {what}: {from} to Service both", family(v4)),
                || {
                    let seen = stage.spread(from, To::Service("both", 80), v4, CONNECTIONS)?;
                    ensure!(seen.len() == 2, "only {seen:?} answered");
                    Ok(format!("{CONNECTIONS} connections, all answered: {seen:?}"))
                },
            );
        }
        report.check(&format!("{} sessionAffinity ClientIP", family(v4)), || {
            let seen = stage.spread("b", To::Service("sticky", 80), v4, CONNECTIONS)?;
            ensure!(seen.len() == 1, "{seen:?} answered");
            Ok(format!("{CONNECTIONS} connections: {seen:?}"))
        });
    }
    report.check("an affinity of 1 s ends, both families", || {
        let each = thread::scope(|scope| {
            let both = stage.families().into_iter();
            let both: Vec<_> = both
                .map(|v4| scope.spawn(move || expires(stage, v4)))
                .collect();
            let joined = both.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => Err(anyhow!("a client panicked")),
            });
            joined.collect::<Result<Vec<String>>>()
        })?;
        Ok(each.join("; "))
    });
    report.check(
        "the backend of an affinity goes away, both families",
        || moves(stage),
    );
}

fn only(stage: &Stage<'_>, service: &'static str, v4: bool) -> Result<String> {
    let seen = stage.spread("b", To::Service(service, 80), v4, 1)?;
    Ok(seen.into_keys().collect())
}

/// Kept alive it stays far beyond its second; left alone for longer, the next connection may go elsewhere and after some does.
fn expires(stage: &Stage<'_>, v4: bool) -> Result<String> {
    let begin = Instant::now();
    let first = only(stage, "brief", v4)?;
    let mut kept = 0;
    while begin.elapsed() < Duration::from_millis(2500) {
        sleep(Duration::from_millis(250));
        let now = only(stage, "brief", v4)?;
        ensure!(now == first, "it moved from {first} to {now} while in use");
        kept += 1;
    }
    let mut pauses = 0;
    wait_until(
        "the choice of another backend",
        Duration::from_secs(40),
        || {
            // The affinity itself is a pause: nothing can be waited for instead.
            sleep(Duration::from_millis(1300));
            pauses += 1;
            let now = only(stage, "brief", v4)?;
            Ok(if now == first {
                Seen::NotYet(format!("{first} after {pauses} pauses"))
            } else {
                Seen::Holds(())
            })
        },
    )?;
    Ok(format!(
        "{kept} connections in 2.5 s stayed with {first}, after {pauses} pauses of 1.3 s it moved"
    ))
}

/// The backend loses its label, so that it is no endpoint any more, and gets it back.
fn moves(stage: &Stage<'_>) -> Result<String> {
    let mut before = BTreeMap::new();
    for v4 in stage.families() {
        before.insert(v4, only(stage, "sticky", v4)?);
    }
    let gone = before.values().next().cloned().unwrap_or_default();
    label(stage, &gone, "app=away")?;
    let moved = wait_until("another backend", Duration::from_secs(10), || {
        for v4 in stage.families() {
            let now = only(stage, "sticky", v4)?;
            if now == gone {
                return Ok(Seen::NotYet(format!("{} still to {gone}", family(v4))));
            }
        }
        Ok(Seen::Holds(()))
    });
    let after = moved.and_then(|()| {
        stage
            .families()
            .into_iter()
            .map(|v4| stage.spread("b", To::Service("sticky", 80), v4, CONNECTIONS))
            .collect::<Result<Vec<_>>>()
    });
    label(stage, &gone, "app=x")?;
    let after = after?;
    ensure!(
        after
            .iter()
            .all(|seen| seen.len() == 1 && !seen.contains_key(&gone)),
        "{after:?} after {gone} went"
    );
    Ok(format!(
        "{gone} lost its label; {CONNECTIONS} connections each: {after:?}"
    ))
}

/// Sets a label of one of the pods, and waits until it is an endpoint of Service both if it shall be.
fn label(stage: &Stage<'_>, pod: &str, label: &str) -> Result<()> {
    let lab = stage.lab();
    lab.kubectl(&["label", "pod", "-n", NAMESPACE, pod, label, "--overwrite"])?;
    if label != "app=x" {
        return Ok(());
    }
    wait_until("both backends again", Duration::from_secs(10), || {
        for v4 in stage.families() {
            let seen = stage.spread("b", To::Service("both", 80), v4, CONNECTIONS)?;
            if seen.len() < 2 {
                return Ok(Seen::NotYet(format!("{seen:?}")));
            }
        }
        Ok(Seen::Holds(()))
    })
}
