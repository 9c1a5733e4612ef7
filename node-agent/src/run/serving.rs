//! Whether pods can start here, and telling the runtime so.

use crate::{actuate::Applied, cni::conflist, engine::Plan};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the runtime's folders are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the runtime finds of us, and where.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The plugin in the agent's image.
    pub(super) plugin: PathBuf,
    /// The runtime's folder of plugins.
    pub(super) cni_bin: PathBuf,
    /// The network configuration list.
    pub(super) conflist: PathBuf,
}

impl Files {
    fn write(&self) -> anyhow::Result<()> {
        conflist::install_plugin(&self.plugin, &self.cni_bin)?;
        conflist::write(&self.conflist, &self.cni_bin)
    }
}

/// Follows plan and kernel; writes the network configuration once both are right.
#[derive(Debug)]
pub(super) struct Serving {
    plans: watch::Receiver<Arc<Plan>>,
    applied: watch::Receiver<Applied>,
    files: Files,
    why_not: watch::Sender<Option<String>>,
}

impl Serving {
    pub(super) fn new(
        plans: watch::Receiver<Arc<Plan>>,
        applied: watch::Receiver<Applied>,
        files: Files,
    ) -> (Self, watch::Receiver<Option<String>>) {
        let (why_not, receiver) = watch::channel(Some("starting".to_owned()));
        (
            Self {
                plans,
                applied,
                files,
                why_not,
            },
            receiver,
        )
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            let why_not = self.why_not();
            if self.why_not.borrow().is_some() && why_not.is_none() {
                self.files.write()?;
            }
            self.why_not.send_if_modified(|old| {
                let changed = *old != why_not;
                if changed {
                    let can = if why_not.is_none() { "can" } else { "cannot" };
                    tracing::info!(why_not, "pods {can} start on this node");
                }
                *old = why_not;
                changed
            });
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = self.plans.changed() => {}
                _ = self.applied.changed() => {}
                _ = look.tick() => self.look()?,
            }
        }
    }

    /// The runtime has no other way to us: what somebody removed is written again.
    fn look(&self) -> anyhow::Result<()> {
        if self.why_not.borrow().is_some() {
            return Ok(());
        }
        self.files.write()
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
