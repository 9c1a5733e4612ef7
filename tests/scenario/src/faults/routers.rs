//! The physical routers' daemons end and come back.

use super::{Expect, Fault, HEALED, Scene, agent::back};
use anyhow::ensure;
use margay_lab::{Seen, wait_until};
use std::time::Duration;

const BACK: Duration = Duration::from_secs(60);

/// BIRD of `tor` killed, and started with the recovery that graceful restart needs (`-R`).
pub(super) fn bird<'a>(scene: &'a Scene<'_>, tor: &'a str, nodes: &[&'a str]) -> Fault<'a> {
    restarted(scene, tor, "bird", &["-R"], nodes)
}

/// bgpd of FRR killed and started. FRR 8.4 takes the nodes' routes out of its own kernel for a moment when it comes back, and says End-of-RIB
/// before its routes: so there is a silence, which is not ours to prevent.
pub(super) fn bgpd<'a>(scene: &'a Scene<'_>, tor: &'a str, nodes: &[&'a str]) -> Fault<'a> {
    Fault {
        expect: Expect::Silence(HEALED),
        ..restarted(scene, tor, "bgpd", &[], nodes)
    }
}

fn restarted<'a>(
    scene: &'a Scene<'_>,
    tor: &'a str,
    daemon: &'a str,
    recover: &'a [&'a str],
    nodes: &[&'a str],
) -> Fault<'a> {
    let lab = scene.lab();
    let first = nodes[0];
    let strike = move || {
        let old = lab.pids(tor, daemon)?;
        lab.restart_with(tor, daemon, recover)?;
        let new = wait_until("the daemon runs again", Duration::from_secs(10), || {
            let new = lab.pids(tor, daemon)?;
            let renewed = !new.is_empty() && new.iter().all(|pid| !old.contains(pid));
            Ok(if renewed {
                Seen::Holds(new)
            } else {
                Seen::NotYet(format!("{new:?}"))
            })
        })?;
        // The agent has noticed before anything counts as healed.
        ensure!(!old.is_empty(), "{daemon} did not run on {tor}");
        wait_until("the session was lost", Duration::from_secs(10), || {
            Ok(match back(lab, first, 0, false)? {
                Seen::NotYet(_) => Seen::Holds(()),
                _ => Seen::NotYet("established".to_owned()),
            })
        })?;
        Ok(format!(
            "process {old:?} became {new:?}, the sessions were lost"
        ))
    };
    let all: Vec<&'a str> = nodes.to_vec();
    Fault {
        name: format!("{daemon} of {tor} killed and started, with graceful restart"),
        nodes: nodes.to_vec(),
        strike: Box::new(strike),
        told: Vec::new(),
        healed: Box::new(move || {
            for node in &all {
                if let Seen::NotYet(why) = back(lab, node, 0, false)? {
                    return Ok(Seen::NotYet(why));
                }
            }
            Ok(Seen::Holds(()))
        }),
        within: BACK,
        expect: Expect::NothingLost,
    }
}
