//! Tasks and sockets around [`margay_bgp::Speaker`], which decides everything.
//!
//! ```text
//!  engine ──watch Desired──┐                          ┌─watch Learned────► plan (routes to write)
//!  ctl ─────mpsc Request──►│                          ├─watch next hops──► engine (what to resolve)
//!            (oneshot back)│       speaker task       ├─watch sessions───► NodeState
//!  listener ─mpsc Incoming►│   Driver::run: Owner     ├─Metrics, Heartbeat, log
//!  BFD thread ─watch──────►│     └ Speaker (values)   │
//!     ▲                    │                          │
//!     └───watch port───────┤                          ├─spawns dial(…) / carry(…): one task a connection
//!  connections ─mpsc Event►┘                          ├─Outbox (octets to write; dropped = close) ─► connection
//!                                                     └─broadcast News─► bgp monitor, who is told what it misses
//! ```
//! - The speaker task is the one owner of the `Speaker` and never waits for anybody: it takes what has come, lets the
//!   speaker do its work, hands out the results by queues that take them at once, and looks at the timers in every turn.
//! - Every queue into it is bounded. When it is behind, connections stop reading and TCP slows the peers down.
//! - Cancelling it is a planned restart: sockets are dropped without a Cease, so that peers keep our routes (RFC 4724).
//! - A connection is protected (TCP MD5, TTL) before its first octet is read or written; a new key is set on the connection that lives.
//! - Deliberately missing yet: unnumbered peers.

mod connection;
mod desired;
mod driver;
mod handle;
mod holder;
mod learned;
mod listener;
mod monitor;
mod owner;
pub(crate) mod socket;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

pub use desired::Desired;
pub use driver::Driver;
pub use handle::{Gone, Handle, Peer, Peers, Session, Survey};
pub use learned::Learned;
pub use monitor::{Entry, News, Reader, SessionChange, What};

use crate::bfd;
use crate::health::{Heartbeat, Metrics};
pub(crate) use monitor::Bulletin;
use owner::Published;

/// Questions that may wait for the speaker.
const REQUESTS: usize = 16;

/// A driver to run, and the handle through which everyone else sees it.
pub fn new(
    desired: watch::Receiver<Arc<Desired>>,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
) -> (Driver, Handle) {
    let (request_sender, requests) = mpsc::channel(REQUESTS);
    let (learned_sender, learned) = watch::channel(Arc::default());
    let (next_hops_sender, next_hops) = watch::channel(Arc::<BTreeSet<_>>::default());
    let (sessions_sender, sessions) = watch::channel(Arc::default());
    let (trouble, listener) = watch::channel(None);
    let (bfd_sender, bfd) = watch::channel(Arc::<bfd::Snapshot>::default());
    let bulletin = Bulletin::new(monitor::RING);
    let news = bulletin.subscription();
    let published = Published {
        learned: learned_sender,
        next_hops: next_hops_sender,
        sessions: sessions_sender,
        bulletin,
        metrics: Arc::clone(&metrics),
    };
    let driver = Driver {
        desired,
        requests,
        published,
        trouble,
        bfd: bfd_sender,
        heartbeat,
    };
    let handle = Handle {
        learned,
        next_hops,
        sessions,
        listener,
        bfd,
        news,
        requests: request_sender,
    };
    metrics.follow(handle.clone());
    (driver, handle)
}
