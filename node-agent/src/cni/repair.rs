//! Pod links kept as they were made: what others delete, take down or strip is made again.
//!
//! The kernel tells of links and addresses at once; of permanent neighbours it does not, so everything is compared now and then as well.

use super::{
    link_name,
    server::{Server, is_gone},
};
use crate::kernel::{
    link::{self, PodLink},
    sysctl,
};
use margay_ipam::Attachment;
use std::{path::Path, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often every link is compared, and pods that ended without a DEL are looked for.
const EVERY_LINK: Duration = Duration::from_secs(30);
/// How often forwarding is looked at: `sysctl --system` of a package upgrade turns it off without a word.
const FORWARDING: Duration = Duration::from_secs(1);

/// Repairs until cancelled. `damaged` names links of which the kernel told something that may be damage.
///
/// # Errors
/// None: what cannot be repaired now is tried again.
pub async fn run(
    server: Server,
    mut damaged: mpsc::Receiver<String>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    // What an earlier agent left undone is finished at once, not at the second look: without a plan nobody knows the MTU of a missing link.
    let mut plans = server.plans.clone();
    tokio::select! {
        () = cancel.cancelled() => return Ok(()),
        _ = plans.wait_for(|plan| plan.mtu > 0) => {}
    }
    let mut every_link = tokio::time::interval(EVERY_LINK);
    let mut forwarding = tokio::time::interval(FORWARDING);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            Some(link) = damaged.recv() => server.repair(&link).await,
            _ = every_link.tick() => server.repair_all().await,
            _ = forwarding.tick() => forward(),
        }
    }
}

fn forward() {
    match sysctl::enable_forwarding(Path::new(sysctl::RECORD)) {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => tracing::warn!(?changes, "somebody turned forwarding off, it is on again"),
        Err(error) => tracing::warn!(%error, "forwarding cannot be looked at"),
    }
}

impl Server {
    /// Ends attachments whose pod is gone and repairs the links of the others.
    async fn repair_all(&self) {
        for attachment in self.records.all() {
            if is_gone(&attachment.netns) {
                self.end(&attachment).await;
            } else {
                self.repair(&link_name(&attachment.key)).await;
            }
        }
    }

    /// Releases an attachment whose network namespace is gone: its pod ended while no DEL reached us.
    async fn end(&self, attachment: &Attachment) {
        let name = link_name(&attachment.key);
        let _turn = self.turns.take(&name).await;
        if self.records.of_link(&name).as_ref() != Some(attachment) {
            // DEL has been here meanwhile, or an ADD with another namespace.
            return;
        }
        tracing::info!(pod = %attachment.pod, namespace = %attachment.namespace, "its network namespace is gone, releasing its addresses");
        if let Err(error) = self.detach_in_turn(&attachment.key).await {
            tracing::warn!(%error, "release put off");
        }
    }

    /// The link as it should be, with the MTU that it was made with: another uplink's is for new links. None while that is not known.
    pub(super) async fn as_made(&self, attachment: &Attachment) -> Option<PodLink> {
        let wanted = self.pod_link(attachment);
        let links = link::list().await.unwrap_or_default();
        let made = links.iter().find(|l| l.name == wanted.host_name);
        let mtu = made.map_or(wanted.mtu, |l| l.mtu);
        (mtu > 0).then_some(PodLink { mtu, ..wanted })
    }

    /// Makes a link as its record says, unless it is so or has no record (then DEL has been here, or ADD has not).
    async fn repair(&self, name: &str) {
        let _turn = self.turns.take(name).await;
        let Some(attachment) = self.records.of_link(name) else {
            return;
        };
        match self.records.keep(name) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                link = name,
                "somebody removed an attachment record, it is written again"
            ),
            Err(error) => {
                tracing::warn!(link = name, %error, "an attachment record cannot be written again");
            }
        }
        let Some(wanted) = self.as_made(&attachment).await else {
            return;
        };
        let Err(damage) = link::check(&wanted).await else {
            return;
        };
        let pod = format!("{}/{}", attachment.namespace, attachment.pod);
        match link::create(&wanted).await {
            Ok(_) => tracing::warn!(link = name, pod, %damage, "repaired a pod link"),
            Err(error) => {
                tracing::warn!(link = name, pod, %damage, %error, "a pod link cannot be repaired, trying again");
            }
        }
    }
}
