//! Whether pods can start here, and telling the runtime so.

use crate::{actuate::Applied, cni::conflist, engine::Plan};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Follows plan and kernel; writes the network configuration once both are right.
#[derive(Debug)]
pub(super) struct Serving {
    plans: watch::Receiver<Arc<Plan>>,
    applied: watch::Receiver<Applied>,
    conflist: PathBuf,
    cni_bin: PathBuf,
    why_not: watch::Sender<Option<String>>,
}

impl Serving {
    pub(super) fn new(
        plans: watch::Receiver<Arc<Plan>>,
        applied: watch::Receiver<Applied>,
        conflist: PathBuf,
        cni_bin: PathBuf,
    ) -> (Self, watch::Receiver<Option<String>>) {
        let (why_not, receiver) = watch::channel(Some("starting".to_owned()));
        (
            Self {
                plans,
                applied,
                conflist,
                cni_bin,
                why_not,
            },
            receiver,
        )
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        loop {
            let why_not = self.why_not();
            if why_not.is_none() {
                conflist::write(&self.conflist, &self.cni_bin)?;
            }
            self.why_not.send_if_modified(|old| {
                let changed = *old != why_not;
                if changed {
                    tracing::info!(
                        why_not,
                        "pods {} start on this node",
                        if why_not.is_none() { "can" } else { "cannot" }
                    );
                }
                *old = why_not;
                changed
            });
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = self.plans.changed() => {}
                _ = self.applied.changed() => {}
            }
        }
    }

    fn why_not(&mut self) -> Option<String> {
        let plan = self.plans.borrow_and_update();
        let applied = self.applied.borrow_and_update();
        if plan.generation == 0 {
            return Some("starting".to_owned());
        }
        if let Some(why) = &plan.not_ready {
            return Some(why.clone());
        }
        match (&applied.policy_error, applied.policy, applied.routes) {
            (Some(error), false, _) => Some(format!("nftables refused the policy table: {error}")),
            (_, false, _) => Some("the policy table is not in the kernel yet".to_owned()),
            (_, _, false) => Some("the routes are not in the kernel yet".to_owned()),
            _ => None,
        }
    }
}
