//! The speaker task: waits for whatever comes first and hands it to the [`Owner`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::handle::Request;
use super::owner::{Owner, Published};
use super::socket::Keys;
use super::{Desired, listener};
use crate::bfd;
use crate::health::Heartbeat;

/// Events taken before the speaker works and looks at its timers: 64 reads are 2 MiB of UPDATEs.
const BATCH: usize = 64;
/// Connections that peers opened and nobody has looked at; more wait in the kernel's backlog.
const INCOMING: usize = 64;
/// How often the sessions are looked at for what no event tells, and the heart beats.
const TICK: Duration = Duration::from_secs(2);
/// When nothing is due.
const FAR: Duration = Duration::from_secs(3600);

/// Everything the speaker task needs; made by [`super::new`].
#[derive(Debug)]
pub struct Driver {
    pub(super) desired: watch::Receiver<Arc<Desired>>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) published: Published,
    pub(super) trouble: watch::Sender<Option<String>>,
    pub(super) bfd: watch::Sender<Arc<bfd::Snapshot>>,
    pub(super) heartbeat: Heartbeat,
}

impl Driver {
    /// Speaks until `cancel`, then drops every connection without a word: peers keep our routes (RFC 4724).
    ///
    /// # Errors
    /// When a part that should outlive it has ended: a bug.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let Self {
            mut desired,
            mut requests,
            published,
            trouble,
            bfd,
            heartbeat,
        } = self;
        let (places, follow) = watch::channel(None);
        let (keys, follow_keys) = watch::channel(Keys::default());
        let (incoming_sender, mut incoming) = mpsc::channel(INCOMING);
        let mut listening = JoinSet::new();
        listening.spawn(listener::run(follow, follow_keys, incoming_sender, trouble));
        let mut paths = bfd.subscribe();
        let thread = bfd::Thread::start(bfd).context("the BFD thread")?;
        let mut owner = Owner::new(published, places, keys, thread);
        let mut batch = Vec::with_capacity(BATCH);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        owner.apply(Arc::clone(&desired.borrow_and_update()));
        loop {
            owner.turn();
            let due = owner
                .due()
                .map_or_else(|| Instant::now() + FAR, Instant::from_std);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = paths.changed() => {
                    changed.context("the BFD thread ended")?;
                    owner.paths_changed(Arc::clone(&paths.borrow_and_update()));
                }
                changed = desired.changed() => {
                    if cancel.is_cancelled() {
                        return Ok(());
                    }
                    changed.context("nobody configures the speaker any more")?;
                    owner.apply(Arc::clone(&desired.borrow_and_update()));
                }
                _ = owner.events.recv_many(&mut batch, BATCH) => owner.happened(batch.drain(..)),
                Some(connection) = incoming.recv() => owner.accept(connection),
                Some(request) = requests.recv() => owner.answer(request),
                Some(ended) = owner.connections.join_next() => ended.context("a BGP connection's task")?,
                Some(ended) = listening.join_next() => {
                    ended.context("the BGP listener")?;
                    anyhow::bail!("the BGP listener ended");
                }
                _ = tick.tick() => {
                    heartbeat.beat();
                    owner.observe();
                }
                () = sleep_until(due) => {}
            }
        }
    }
}
