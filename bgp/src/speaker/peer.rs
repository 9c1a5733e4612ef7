//! One peer: its connections, which of them lives, and why the last one ended.

mod collision;
mod connection;
mod machine;
mod timers;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::io::Io;
use super::port::{Event, Refusal};
use crate::config::{LocalAddresses, PeerConfig};
use crate::family::{Asn, Families, Family, PerFamily};
use crate::rib::PeerId;
use crate::session::fsm::{self, State};
use crate::session::negotiate::{Negotiated, RestartBits};
use crate::session::{ConnectionId, Session};
use crate::status::Counters;
use crate::wire::{Cease, Notification, Refresh, Update};
use std::net::Ipv4Addr;

/// A configured peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) config: PeerConfig,
    pub(crate) outgoing: Session,
    /// At most two: an established one and one that may be its successor.
    pub(crate) incoming: Vec<Session>,
    /// Attempts to connect since the session was last up.
    attempts: u32,
    /// Sessions in a row that ended in an error soon after they were up (RFC 4271 §8.1.1, DampPeerOscillations).
    oscillations: u32,
    pub(crate) established_since: Option<Instant>,
    pub(crate) established_count: u64,
    /// Held down by the speaker itself, until reset or configured anew.
    pub(crate) held_down: Option<String>,
    /// Families of which routes are kept while the peer restarts, and until when.
    pub(crate) stale: Option<(Families, Instant)>,
    /// When the session last ended such that routes were kept.
    pub(crate) restarted_at: Option<Instant>,
    /// Families of which the peer has sent everything in this session.
    pub(crate) ends_of_rib: Families,
    /// Families that the peer is telling everything of again, and until when that is waited for (RFC 7313).
    pub(crate) refreshing: PerFamily<Option<Instant>>,
    /// The peer as it was when last up; its stale routes are judged by it.
    pub(crate) last_known: Option<LastKnown>,
    pub(crate) counters: Counters,
    pub(crate) last_sent: Option<(String, Instant)>,
    pub(crate) last_received: Option<(String, Instant)>,
    pub(crate) last_error: Option<(String, Instant)>,
    pub(crate) last_fault: Option<(String, Instant)>,
}

/// What outlives a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastKnown {
    pub(crate) remote_as: Asn,
    pub(crate) external: bool,
    pub(crate) local_addresses: LocalAddresses,
}

/// Who we are, and where to put what we say.
pub(crate) struct Env<'a> {
    pub(crate) io: &'a mut Io,
    pub(crate) speaker_as: Asn,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) bits: RestartBits,
    pub(crate) now: Instant,
}

/// What the RIB has to know.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Routes may flow.
    Up,
    /// Routes.
    Update(Box<Update>),
    /// The peer asks for everything of a family again, or tells it.
    Refresh(Family, Refresh),
    /// No routes flow any more.
    Down {
        /// Families to keep, and for how long.
        keep: Families,
        restart_time: Duration,
        reason: String,
    },
}

/// Which session of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Outgoing,
    Incoming(usize),
}

/// Longest pause between attempts, as a power of two of the configured one.
const BACK_OFF: u32 = 3;
/// A session that was up for so long is no oscillation.
const STEADY: Duration = Duration::from_secs(60);
/// A second connection within this time after Established is a late collision; after it, the peer has restarted.
const COLLISION_WINDOW: Duration = Duration::from_secs(1);

impl Peer {
    pub(crate) fn new(id: PeerId, config: PeerConfig) -> Self {
        Self {
            id,
            config,
            outgoing: Session::default(),
            incoming: Vec::new(),
            attempts: 0,
            oscillations: 0,
            established_since: None,
            established_count: 0,
            held_down: None,
            stale: None,
            restarted_at: None,
            ends_of_rib: Families::NONE,
            refreshing: PerFamily::default(),
            last_known: None,
            counters: Counters::default(),
            last_sent: None,
            last_received: None,
            last_error: None,
            last_fault: None,
        }
    }

    /// Begins to connect, or to wait.
    pub(crate) fn start(&mut self, env: &mut Env<'_>) -> Vec<Happening> {
        let mut happenings = Vec::new();
        if self.is_wanted() && self.outgoing.state == State::Idle && !self.is_opening() {
            let event = if self.config.passive {
                fsm::Event::StartPassive
            } else {
                fsm::Event::Start
            };
            self.step(Slot::Outgoing, event, None, env, &mut happenings);
        }
        happenings
    }

    /// Ends every connection. Without a notification the transport just closes, and the peer keeps our routes.
    pub(crate) fn stop(
        &mut self,
        notification: Option<&Notification>,
        reason: &str,
        env: &mut Env<'_>,
    ) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for slot in self.slots().collect::<Vec<_>>().into_iter().rev() {
            let ending = Ending {
                notification: notification.cloned(),
                reason: reason.to_owned(),
            };
            self.step(slot, fsm::Event::Stop, Some(ending), env, &mut happenings);
        }
        self.outgoing.timers.connect_retry = None;
        self.attempts = 0;
        self.oscillations = 0;
        happenings
    }

    /// A connection from the peer.
    pub(crate) fn accept(
        &mut self,
        local: IpAddr,
        env: &mut Env<'_>,
    ) -> Result<(ConnectionId, Vec<Happening>), Refusal> {
        let address = self.config.address;
        if !self.is_wanted() {
            return Err(Refusal::HeldDown(address));
        }
        let mut happenings = Vec::new();
        let replaceable = |agreed: &Negotiated| agreed.restart.is_some();
        if self.established().is_some() && !self.negotiated().is_some_and(replaceable) {
            return Err(Refusal::AlreadyConnected(address));
        }
        if self
            .incoming
            .iter()
            .any(|session| session.state == State::OpenConfirm)
        {
            return Err(Refusal::AlreadyConnected(address));
        }
        // Of two that have said nothing yet the newer one is alive.
        while let Some(index) = self
            .incoming
            .iter()
            .position(|session| session.state < State::OpenConfirm)
        {
            let ending = Ending::sent(
                Notification::cease(Cease::CollisionResolution),
                "superseded by a newer connection",
            );
            self.step(
                Slot::Incoming(index),
                fsm::Event::CollisionLost,
                Some(ending),
                env,
                &mut happenings,
            );
        }
        let connection = env.io.open(self.id);
        self.incoming.push(Session::accepted(connection, local));
        let slot = Slot::Incoming(self.incoming.len() - 1);
        self.step(slot, fsm::Event::TcpConnected, None, env, &mut happenings);
        Ok((connection, happenings))
    }

    /// Whether the peer is to be talked to.
    pub(crate) fn is_wanted(&self) -> bool {
        self.config.held_down.is_none() && self.held_down.is_none()
    }

    /// The AS that we show this peer.
    pub(crate) fn local_as(&self, speaker_as: Asn) -> Asn {
        self.config.local_as.unwrap_or(speaker_as)
    }

    /// The established session.
    pub(crate) fn established(&self) -> Option<&Session> {
        self.sessions()
            .find(|session| session.state == State::Established)
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Session> {
        let sessions = std::iter::once(&mut self.outgoing).chain(&mut self.incoming);
        sessions
            .into_iter()
            .find(|session| session.state == State::Established)
    }

    /// What the established session agreed on.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        self.established()?.negotiated.as_ref()
    }

    /// The session that is furthest.
    pub(crate) fn furthest(&self) -> &Session {
        self.sessions()
            .max_by_key(|session| session.state)
            .unwrap_or(&self.outgoing)
    }

    /// Our next hops towards the peer.
    pub(crate) fn local_addresses(&self) -> LocalAddresses {
        let addresses = self.config.local_addresses;
        self.established()
            .and_then(|session| session.local_address)
            .map_or(addresses, |address| addresses.or(address))
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.outgoing).chain(&self.incoming)
    }

    /// Whether an OPEN was sent on some connection.
    pub(crate) fn is_opening(&self) -> bool {
        self.sessions()
            .any(|session| session.state >= State::OpenSent)
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        std::iter::once(Slot::Outgoing).chain((0..self.incoming.len()).map(Slot::Incoming))
    }

    fn slot(&self, connection: ConnectionId) -> Option<Slot> {
        if self.outgoing.connection == Some(connection) {
            return Some(Slot::Outgoing);
        }
        let index = self
            .incoming
            .iter()
            .position(|session| session.connection == Some(connection))?;
        Some(Slot::Incoming(index))
    }

    fn session(&mut self, slot: Slot) -> &mut Session {
        match slot {
            Slot::Outgoing => &mut self.outgoing,
            Slot::Incoming(index) => &mut self.incoming[index],
        }
    }
}

/// Why a session ends.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// What is said, or was heard.
    pub(crate) notification: Option<Notification>,
    /// In words.
    pub(crate) reason: String,
}

impl Ending {
    pub(crate) fn sent(notification: Notification, reason: impl Into<String>) -> Self {
        Self {
            notification: Some(notification),
            reason: reason.into(),
        }
    }

    pub(crate) fn silent(reason: impl Into<String>) -> Self {
        Self {
            notification: None,
            reason: reason.into(),
        }
    }
}

impl Env<'_> {
    fn failed(&mut self, peer: IpAddr, reason: &str) {
        self.io.tell(Event::SessionFailed {
            peer,
            reason: reason.to_owned(),
        });
    }
}
