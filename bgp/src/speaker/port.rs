//! What goes into a speaker and what comes out: the whole contract with the driver.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::config::Protection;
use crate::family::Family;
use crate::session::ConnectionId;
use crate::wire::{Attributes, NextHop};

/// Something happened to a connection.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A [`Output::Connect`] succeeded.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Our address of it.
        local: IpAddr,
    },
    /// A [`Output::Connect`] did not succeed.
    ConnectFailed {
        /// The connection.
        connection: ConnectionId,
        /// Why, for people.
        reason: String,
    },
    /// Octets came in.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The octets, cut anywhere.
        bytes: &'a [u8],
    },
    /// Octets of [`Output::Send`] left into the transport.
    Written {
        /// The connection.
        connection: ConnectionId,
        /// How many.
        octets: usize,
    },
    /// The peer closed, or the transport failed.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// Why, for people.
        reason: String,
    },
}

impl Input<'_> {
    pub(crate) fn connection(&self) -> ConnectionId {
        match self {
            Self::Connected { connection, .. }
            | Self::ConnectFailed { connection, .. }
            | Self::Received { connection, .. }
            | Self::Written { connection, .. }
            | Self::Closed { connection, .. } => *connection,
        }
    }
}

/// Something to do or to know.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect to a peer, answer with `Connected` or `ConnectFailed`.
    Connect(Dial),
    /// Write octets, in order, and report them `Written`.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The octets; shared with other connections.
        bytes: Arc<[u8]>,
    },
    /// Write what is queued, half-close, read to the end or for a second, close. A connect in progress is given up.
    /// The speaker has forgotten the connection; what is still reported about it is ignored.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Something to know.
    Event(Event),
}

/// A connection to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Its name from now on.
    pub connection: ConnectionId,
    /// The peer.
    pub peer: IpAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// Where from.
    pub source: Option<IpAddr>,
    /// What guards it.
    pub protection: Protection,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session is Established.
    PeerUp {
        /// The peer.
        peer: IpAddr,
    },
    /// A session that was Established is not any more.
    PeerDown {
        /// The peer.
        peer: IpAddr,
        /// Why.
        reason: String,
        /// Its routes are kept for a while (graceful restart).
        stale: bool,
    },
    /// A connection ended before it was Established.
    SessionFailed {
        /// The peer.
        peer: IpAddr,
        /// Why.
        reason: String,
    },
    /// The peer has sent all it had.
    EndOfRib {
        /// The peer.
        peer: IpAddr,
        /// Of this family.
        family: Family,
    },
    /// An UPDATE was malformed in a way that does not end the session.
    RouteFault {
        /// The peer.
        peer: IpAddr,
        /// What was wrong and what was done.
        fault: String,
    },
    /// A peer announced more prefixes than allowed; it is held down.
    MaximumPrefixes {
        /// The peer.
        peer: IpAddr,
        /// The family.
        family: Family,
        /// The limit.
        limit: u32,
    },
    /// Best paths are decided from now on: what was kept from before the restart and is not learned may go.
    DeferralEnded,
    /// [`Speaker::learned_changes`](crate::Speaker::learned_changes) has something.
    LearnedChanged,
    /// [`Speaker::tracked_next_hops`](crate::Speaker::tracked_next_hops) is another set.
    NextHopsChanged,
}

/// Why an incoming connection is not accepted; close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody configured a peer of this address.
    #[error("{0} is not a configured peer")]
    UnknownPeer(IpAddr),
    /// The peer is held down.
    #[error("peer {0} is held down")]
    HeldDown(IpAddr),
    /// Another connection of the peer is further and cannot be its past.
    #[error("peer {0} is already connected")]
    AlreadyConnected(IpAddr),
}

/// What became of [`Speaker::soft_reset`](crate::Speaker::soft_reset).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftReset {
    /// The peer was asked for its routes and is told ours again.
    BothWays,
    /// It is told ours again; it does not understand ROUTE-REFRESH, so what it sent before was judged again.
    OutOnly,
    /// There is no session to exchange routes over.
    NotEstablished,
    /// No such peer.
    UnknownPeer,
}

/// How a speaker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownKind {
    /// It will be back: nothing is sent, so that peers keep the routes (RFC 4724).
    Restart,
    /// It will not: Cease to every peer.
    Permanent,
}

/// A route for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRoute {
    /// The prefix.
    pub prefix: IpNetwork,
    /// Ways to it, best first, no next hop twice; never empty.
    pub paths: Vec<LearnedPath>,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedPath {
    /// Who told us.
    pub peer: IpAddr,
    /// Where packets go.
    pub next_hop: NextHop,
    /// Distance to the next hop.
    pub metric: u32,
    /// Attributes after import policy.
    pub attributes: Arc<Attributes>,
    /// Kept while the peer restarts.
    pub stale: bool,
}

/// A prefix whose ways are other ones now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedChange {
    /// The prefix.
    pub prefix: IpNetwork,
    /// `None`: no way any more.
    pub route: Option<LearnedRoute>,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}
