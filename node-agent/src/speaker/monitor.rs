//! What happens to sessions and routes, as it happens, for people who watch.
//!
//! ```text
//!  Speaker ─ heard(), events, learned_changes() ─► Owner ─ broadcast ring of RING entries ─► a reader each
//! ```
//! Nobody waits for a reader: who is slower than the ring is told how many entries it missed. Without readers nothing is kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ipnetwork::IpNetwork;
use margay_bgp::{Heard, LearnedRoute};
use tokio::sync::broadcast::{self, error::RecvError};

/// Entries that a reader may be behind; with what an entry may hold at most this bounds the ring to a few MiB.
pub(super) const RING: usize = 4096;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct News {
    /// How many changes there were before, also those that were dropped.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A session came up, ended or failed to come up.
    Session {
        /// The peer.
        peer: IpAddr,
        /// Name of the object that asked for the session.
        name: String,
        /// What became of it.
        change: SessionChange,
    },
    /// A peer told something about a prefix.
    Heard(Heard),
    /// Packets to a prefix go other ways than before.
    Ways {
        /// The prefix.
        prefix: IpNetwork,
        /// The peers to which they went.
        before: Vec<IpAddr>,
        /// The ways from now on; none any more when it is `None`.
        route: Option<Box<LearnedRoute>>,
    },
}

/// What became of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It is established.
    Established,
    /// It is not any more.
    Ended {
        /// Why.
        reason: String,
        /// The peer's routes are kept for a while (graceful restart).
        routes_kept: bool,
    },
    /// An attempt failed, for another reason than the one before.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What a reader is handed.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The next that happened.
    News(Arc<News>),
    /// So many changes came faster than they were read, and are gone.
    Missed(u64),
}

/// Follows what happens from when it is asked for.
#[derive(Debug)]
pub struct Reader {
    ring: broadcast::Receiver<Arc<News>>,
    /// The number that the next entry has if nothing was missed.
    expected: u64,
    /// Came after what was missed.
    held: Option<Arc<News>>,
}

/// The speaker's end.
#[derive(Debug)]
pub(crate) struct Bulletin {
    ring: broadcast::Sender<Arc<News>>,
    /// How many changes there have been while somebody read.
    count: Arc<AtomicU64>,
}

/// The readers' end. It does not keep the ring alive: readers see the speaker end.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    ring: broadcast::WeakSender<Arc<News>>,
    count: Arc<AtomicU64>,
}

impl Bulletin {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            ring: broadcast::Sender::new(entries),
            count: Arc::default(),
        }
    }

    pub(crate) fn subscription(&self) -> Subscription {
        Subscription {
            ring: self.ring.downgrade(),
            count: Arc::clone(&self.count),
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.ring.receiver_count() > 0
    }

    /// So many changes were dropped before they came here.
    pub(crate) fn skip(&self, dropped: u64) {
        self.count.fetch_add(dropped, Ordering::Relaxed);
    }

    pub(crate) fn tell(&self, what: What) {
        if self.is_read() {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let at = SystemTime::now();
            // The last reader may have left just now.
            let _ = self.ring.send(Arc::new(News { number, at, what }));
        }
    }
}

impl Subscription {
    pub(crate) fn reader(&self) -> Option<Reader> {
        let ring = self.ring.upgrade()?.subscribe();
        Some(Reader {
            ring,
            // Read after the subscription: what comes in between is early, not missed.
            expected: self.count.load(Ordering::Relaxed),
            held: None,
        })
    }
}

impl Reader {
    /// The next entry; `None` when the speaker has ended.
    pub async fn next(&mut self) -> Option<Entry> {
        let news = match self.held.take() {
            Some(held) => held,
            None => self.received().await?,
        };
        let missed = news.number.saturating_sub(self.expected);
        if missed > 0 {
            self.expected = news.number;
            self.held = Some(news);
            return Some(Entry::Missed(missed));
        }
        self.expected = news.number + 1;
        Some(Entry::News(news))
    }

    async fn received(&mut self) -> Option<Arc<News>> {
        loop {
            match self.ring.recv().await {
                Ok(news) => return Some(news),
                // The numbers tell by how much, with what was dropped before the ring.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
