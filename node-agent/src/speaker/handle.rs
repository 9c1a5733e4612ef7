//! What the rest of the agent sees of the speaker.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use margay_bgp::{
    Asn, Explanation, Lookup, PeerStatus, RouteFilter, RouteStatus, SoftReset, State, TableSize,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::Learned;
use super::monitor::{Reader, Subscription};
use crate::bfd;

/// Snapshots to watch and questions to ask; clones are cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    /// What peers taught us.
    pub learned: watch::Receiver<Arc<Learned>>,
    /// Next hops that the speaker wants resolved, see `Desired::next_hops`.
    pub next_hops: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// One entry a configured peer, in the order of the addresses; changes when a state or reason does.
    pub sessions: watch::Receiver<Arc<Vec<Session>>>,
    /// Why nobody can connect to us, with the remedy; `None` when all is well.
    pub listener: watch::Receiver<Option<String>>,
    /// BFD sessions; tells when a state or a trouble changes, and is fresh to a second.
    pub bfd: watch::Receiver<Arc<bfd::Snapshot>>,
    pub(super) news: Subscription,
    pub(super) requests: mpsc::Sender<Request>,
}

/// A session in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name of the object that asked for it.
    pub name: String,
    /// The peer.
    pub address: IpAddr,
    /// RFC 4271 section 8.2.2.
    pub state: State,
    /// Why it is not established; empty when it is, or when nothing has failed yet.
    pub reason: String,
    /// State of the BFD session beside it, if there is one.
    pub bfd: Option<margay_bgp::bfd::State>,
}

/// Every peer in full, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// Our AS and router id, when configured.
    pub identity: Option<(Asn, Ipv4Addr)>,
    /// One entry a configured peer.
    pub peers: Vec<Peer>,
}

/// Everything that metrics tell, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The peers.
    pub peers: Vec<Peer>,
    /// The tables.
    pub tables: TableSize,
}

/// One peer in full.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What the speaker says.
    pub status: PeerStatus,
    /// How long it has been in this state.
    pub since: Duration,
}

/// The speaker's task has ended: the agent is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has ended")]
pub struct Gone;

/// A question, with where the answer goes.
#[derive(Debug)]
pub(super) enum Request {
    Peers(oneshot::Sender<Peers>),
    Routes(RouteFilter, oneshot::Sender<Vec<RouteStatus>>),
    Why(Lookup, oneshot::Sender<Option<Explanation>>),
    Survey(oneshot::Sender<Survey>),
    Reset(IpAddr, oneshot::Sender<bool>),
    SoftReset(IpAddr, oneshot::Sender<SoftReset>),
}

impl Handle {
    /// Every peer in full.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn peers(&self) -> Result<Peers, Gone> {
        self.ask(Request::Peers).await
    }

    /// Every peer and the size of the tables.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn survey(&self) -> Result<Survey, Gone> {
        self.ask(Request::Survey).await
    }

    /// Routes of a table.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn routes(&self, filter: RouteFilter) -> Result<Vec<RouteStatus>, Gone> {
        self.ask(|answer| Request::Routes(filter, answer)).await
    }

    /// Why a route is what it is. `None`: there is no such route.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn why(&self, lookup: Lookup) -> Result<Option<Explanation>, Gone> {
        self.ask(|answer| Request::Why(lookup, answer)).await
    }

    /// Ends the session with a peer (Cease, administrative reset) so that it starts anew; `false` if there is no such peer.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn reset(&self, peer: IpAddr) -> Result<bool, Gone> {
        self.ask(|answer| Request::Reset(peer, answer)).await
    }

    /// Exchanges all routes with a peer again, in the session that is there.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub async fn soft_reset(&self, peer: IpAddr) -> Result<SoftReset, Gone> {
        self.ask(|answer| Request::SoftReset(peer, answer)).await
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// When the speaker has ended.
    pub fn monitor(&self) -> Result<Reader, Gone> {
        self.news.reader().ok_or(Gone)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (sender, answer) = oneshot::channel();
        self.requests
            .send(request(sender))
            .await
            .map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
