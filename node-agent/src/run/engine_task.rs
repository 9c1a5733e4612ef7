//! The engine's task: drains events, plans once for all of them, publishes, and keeps the last known configuration on disk.

use crate::{
    engine::{Engine, Event, Plan},
    health::Heartbeat,
    speaker::Desired,
    state::{LastKnown, StateFile},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// How many queued events one plan takes in at most, so that a storm of them still gets plans.
const BATCH: usize = 512;

/// Owns the engine.
#[derive(Debug)]
pub(super) struct EngineTask {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    plans: watch::Sender<Arc<Plan>>,
    desired: watch::Sender<Arc<Desired>>,
    state: StateFile,
    kept: Option<LastKnown>,
    /// A write that has not ended: a slow disk must not keep plans waiting.
    writing: Option<JoinHandle<Option<LastKnown>>>,
    /// The last write failed; the next one waits for the beat.
    write_failed: bool,
}

impl EngineTask {
    pub(super) fn new(
        engine: Engine,
        events: mpsc::Receiver<Event>,
        state: StateFile,
    ) -> (
        Self,
        watch::Receiver<Arc<Plan>>,
        watch::Receiver<Arc<Desired>>,
    ) {
        let (plans, plan) = watch::channel(Arc::default());
        let (desired, desire) = watch::channel(Arc::default());
        (
            Self {
                engine,
                events,
                plans,
                desired,
                state,
                kept: None,
                writing: None,
                write_failed: false,
            },
            plan,
            desire,
        )
    }

    pub(super) async fn run(
        mut self,
        heartbeat: Heartbeat,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut beat = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    // The successor starts from it, perhaps without the API server.
                    self.written().await;
                    self.keep();
                    self.written().await;
                    return Ok(());
                }
                Some(event) = self.events.recv() => {
                    self.take_in(event);
                    self.keep_blocks();
                }
                kept = ended(&mut self.writing) => {
                    self.note(kept);
                    self.keep_blocks();
                }
                _ = beat.tick() => {
                    heartbeat.beat();
                    self.write_failed = false;
                    if self.writing.is_none() {
                        self.keep();
                    }
                }
            }
        }
    }

    fn take_in(&mut self, first: Event) {
        let mut changed = self.engine.handle(first);
        for _ in 1..BATCH {
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            changed |= self.engine.handle(event);
        }
        if changed {
            let plan = Arc::new(self.engine.plan());
            self.desired.send_if_modified(|old| {
                let new = **old != *plan.speaker;
                *old = plan.speaker.clone();
                new
            });
            self.plans.send_replace(plan);
        }
    }

    /// Blocks are kept as soon as they change: a successor must not announce one that has been given back.
    fn keep_blocks(&mut self) {
        let kept = self.kept.as_ref().map(|kept| kept.blocks.as_slice());
        let changed = self.engine.blocks().is_some_and(|now| kept != Some(now));
        if changed && self.writing.is_none() && !self.write_failed {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let Some(now) = self.engine.last_known() else {
            return;
        };
        if self.kept.as_ref() == Some(&now) {
            return;
        }
        let state = self.state.clone();
        let write = move || match state.store(&now) {
            Ok(()) => Some(now),
            Err(error) => {
                tracing::warn!(%error, "the last known configuration could not be kept on disk, trying again");
                None
            }
        };
        self.writing = Some(tokio::task::spawn_blocking(write));
    }

    fn note(&mut self, kept: Option<LastKnown>) {
        match kept {
            Some(kept) => self.kept = Some(kept),
            None => self.write_failed = true,
        }
    }

    /// Waits for the write under way, if there is one.
    async fn written(&mut self) {
        if self.writing.is_some() {
            let kept = ended(&mut self.writing).await;
            self.note(kept);
        }
    }
}

/// What the write under way has kept, none when it failed; waits for ever where there is none.
async fn ended(writing: &mut Option<JoinHandle<Option<LastKnown>>>) -> Option<LastKnown> {
    let Some(task) = writing else {
        return std::future::pending().await;
    };
    let kept = task.await.ok().flatten();
    *writing = None;
    kept
}

/// Tells the engine of every new value of `receiver`, the newest only when it lags.
pub(super) async fn follow<T: Clone + Send + Sync + 'static>(
    mut receiver: watch::Receiver<T>,
    events: mpsc::Sender<Event>,
    wrap: fn(T) -> Event,
) -> anyhow::Result<()> {
    loop {
        let value = receiver.borrow_and_update().clone();
        if events.send(wrap(value)).await.is_err() || receiver.changed().await.is_err() {
            // Either end is gone only when the agent ends.
            return std::future::pending().await;
        }
    }
}
