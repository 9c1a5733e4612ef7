//! Watches into stores, and the loop that every controller runs.

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Keeps a store of everything `api` lists, and says `dirty` after each change. Errors are retried with backoff for ever.
pub(crate) fn mirror<K>(
    tasks: &mut JoinSet<Result<()>>,
    api: Api<K>,
    config: watcher::Config,
    dirty: &Arc<Notify>,
) -> reflector::Store<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default + Send + Sync,
{
    mirror_of(tasks, api, K::DynamicType::default(), config, dirty)
}

/// [`mirror`] of a type that is only known at run time.
pub(crate) fn mirror_of<K>(
    tasks: &mut JoinSet<Result<()>>,
    api: Api<K>,
    type_: K::DynamicType,
    config: watcher::Config,
    dirty: &Arc<Notify>,
) -> reflector::Store<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let kind = K::kind(&type_).into_owned();
    let writer = reflector::store::Writer::new(type_);
    let store = writer.as_reader();
    let dirty = dirty.clone();
    tasks.spawn(async move {
        let mut events = pin!(reflector(writer, watcher(api, config).default_backoff()));
        let mut told = false;
        while let Some(event) = events.next().await {
            match event {
                // Only the end of a listing says that the store holds it.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => {
                    told = false;
                    dirty.notify_one();
                }
                // A watch that is forbidden fails for ever; once is enough.
                Err(error) if told => tracing::debug!(kind, %error, "watch; trying again"),
                Err(error) => {
                    told = true;
                    tracing::warn!(kind, %error, "watch; trying again");
                }
            }
        }
        bail!("watch of {kind} ended")
    });
    store
}

/// When a controller acts: after each change, when leadership comes, and again after the time that it asked for; never while another
/// replica leads.
pub(crate) struct Turns {
    dirty: Arc<Notify>,
    leading: watch::Receiver<bool>,
    stop: CancellationToken,
    next: Instant,
}

impl Turns {
    /// The first comes at once, or with leadership.
    pub(crate) fn new(
        dirty: &Arc<Notify>,
        leading: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            dirty: dirty.clone(),
            leading,
            stop,
            next: Instant::now(),
        }
    }

    /// Waits for the next turn and takes it: `act` says when to look again although nothing changed. `false` when asked to stop, which cuts
    /// `act` off at an await.
    pub(crate) async fn take<C: Controller>(&mut self, controller: &mut C) -> Result<bool> {
        tokio::select! {
            () = self.stop.cancelled() => return Ok(false),
            () = self.dirty.notified() => {}
            () = tokio::time::sleep_until(self.next) => {}
            changed = self.leading.changed() => changed?,
        }
        // Changes come in bursts.
        tokio::time::sleep(COALESCE).await;
        let mut wait = RESYNC;
        if *self.leading.borrow_and_update() {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                asked = controller.reconcile() => wait = asked,
            }
        }
        self.next = Instant::now() + wait;
        Ok(true)
    }
}

/// Makes the cluster what it should be.
pub(crate) trait Controller {
    /// Once; returns when to do it again although nothing changed.
    fn reconcile(&mut self) -> impl Future<Output = Duration> + Send;
}

const COALESCE: Duration = Duration::from_millis(100);

/// When everything is looked at again although nothing changed.
pub(crate) const RESYNC: Duration = Duration::from_secs(60);

/// The wait after the `failures`-th failure in a row: 1 s doubling to 60 s.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(RESYNC)
}

/// Longest that a call of the API server may take; the client itself retries for minutes.
pub(crate) const CALL: Duration = Duration::from_secs(8);

/// An error of a call in words for a condition: without it, `deadline has elapsed`.
pub(crate) fn explain(
    result: Result<Result<(), kube::Error>, tokio::time::error::Elapsed>,
) -> Result<(), String> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            403 => format!(
                "{}; apply the manifests of this version, which hold the operator's rights",
                status.message
            ),
            404 => format!(
                "{}; apply the manifests of this version, which hold the definitions",
                status.message
            ),
            _ => status.message.clone(),
        }),
        Ok(Err(error)) => Err(format!("API server: {error}")),
        Err(_) => Err(format!("API server: no answer within {} s", CALL.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_resync() {
        assert_eq!(
            [1, 2, 3, 6, 7, 99].map(|n| backoff(n).as_secs()),
            [1, 2, 4, 32, 60, 60]
        );
    }
}
