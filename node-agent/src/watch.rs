//! Watches: the API server's objects as [`Event`]s, one task a kind.
//!
//! ```text
//! API server ──list, then watch──► watch::run::<K> ──Event (bounded mpsc)──► engine
//! ```
//! A watch that breaks is retried in the process with back-off, never by exiting; meanwhile the engine keeps what it has (a stale source
//! freezes, it never deletes). A kind that is absent (404) counts as empty and is probed again.

mod outages;

pub use outages::{Outage, Outages};

use crate::engine::Change;
use futures::TryStreamExt;
use kube::{
    Api, Resource,
    core::Status,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::sync::mpsc;

/// Feeds every change of one kind to the engine until the engine goes away.
///
/// `wrap` names the kind; objects lose their managed fields first, which nobody here reads and which are half of their size.
///
/// # Errors
/// When the engine's queue is closed: the agent is ending.
pub async fn run<K, E>(
    api: Api<K>,
    config: watcher::Config,
    wrap: fn(Change<K>) -> E,
    events: mpsc::Sender<E>,
    outages: Outages,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    E: Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = Vec::new();
    let mut empty_sent = false;
    loop {
        let told = stream.try_next().await;
        if told.is_ok() {
            outages.works(&kind);
        }
        let change = match told {
            Ok(None) => anyhow::bail!("the watch of {kind} ended"),
            Ok(Some(watcher::Event::Init)) => {
                listed.clear();
                continue;
            }
            Ok(Some(watcher::Event::InitApply(object))) => {
                listed.push(trimmed(object));
                continue;
            }
            Ok(Some(watcher::Event::InitDone)) => Change::Reset(std::mem::take(&mut listed)),
            Ok(Some(watcher::Event::Apply(object))) => Change::Apply(trimmed(object)),
            Ok(Some(watcher::Event::Delete(object))) => Change::Delete(trimmed(object)),
            Err(error) if is_absent(&error) => {
                if std::mem::replace(&mut empty_sent, true) {
                    continue;
                }
                tracing::warn!(
                    kind,
                    "this kind is not installed; counted as empty, probed again"
                );
                Change::Reset(Vec::new())
            }
            Err(error) => {
                let refused = status_of(&error).is_some_and(|s| matches!(s.code, 401 | 403));
                let error = in_words(error);
                tracing::warn!(
                    kind,
                    error,
                    "watch broken, retrying; what is known stays in force"
                );
                outages.failed(&kind, refused, error);
                continue;
            }
        };
        if events.send(wrap(change)).await.is_err() {
            return Ok(());
        }
    }
}

fn trimmed<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// What the API server answered, if it did.
fn status_of(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// The API server's own words, or else the error with its causes: the outermost says only that a request failed.
fn in_words(error: watcher::Error) -> String {
    match status_of(&error) {
        Some(status) => format!("{} ({})", status.message, status.code),
        None => format!("{:#}", anyhow::Error::from(error)),
    }
}

fn is_absent(error: &watcher::Error) -> bool {
    let starts = !matches!(
        error,
        watcher::Error::WatchFailed(_) | watcher::Error::WatchError(_)
    );
    starts && status_of(error).is_some_and(|status| status.code == 404)
}
