//! All sessions: which one a packet is of, and what they have to say together.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::chance::Chance;
use super::session::{Effects, Session};
use super::status::{SessionStatus, Transition};
use super::{Malformed, Packet, Path, SessionConfig};

/// Every BFD session of the node; at most one with each peer.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<IpAddr, Session>,
    by_discriminator: HashMap<u32, IpAddr>,
    chance: Chance,
    outputs: VecDeque<Output>,
    discarded: BTreeMap<Discard, u64>,
}

/// A datagram that came, with what the kernel says about it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// TTL or hop limit that it arrived with; a datagram without one is not trusted.
    pub ttl: Option<u8>,
    /// The path that its port stands for.
    pub path: Path,
    /// What it says.
    pub octets: &'a [u8],
}

/// Something to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to the port of the path, with TTL or hop limit 255, from a port that stays the session's own.
    Send {
        /// To whom.
        peer: IpAddr,
        /// From where.
        source: Option<IpAddr>,
        /// Which port.
        path: Path,
        /// What.
        octets: [u8; Packet::LENGTH],
    },
    /// A session is in another state.
    Changed(Transition),
    /// Nothing will be sent to this peer any more; its socket may go.
    Forgotten {
        /// The session.
        peer: IpAddr,
    },
}

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Discard {
    /// It was forwarded, or more often than is allowed (RFC 5881 §5, RFC 5883 §5).
    #[error("TTL is too low")]
    Ttl,
    /// It is no packet for us.
    #[error("{0}")]
    Malformed(Malformed),
    /// No session is of this discriminator or peer.
    #[error("no such session")]
    NoSession,
}

impl Sessions {
    /// No sessions. The seed decides on jitter and discriminators, so it must be unknown to others.
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            by_discriminator: HashMap::new(),
            chance: Chance::new(seed),
            outputs: VecDeque::new(),
            discarded: BTreeMap::new(),
        }
    }

    /// Declares all sessions. Those that are gone are switched off, which the other end is told, and timers change without a loss; another
    /// path or address of ours makes another session.
    pub fn apply(&mut self, desired: Vec<SessionConfig>, now: Instant) {
        let wanted: BTreeMap<IpAddr, SessionConfig> = desired
            .into_iter()
            .map(|mut config| {
                config.peer = config.peer.to_canonical();
                (config.peer, config)
            })
            .collect();
        let gone = self
            .sessions
            .iter()
            .filter(|(peer, session)| session.leaves_at.is_none() && !wanted.contains_key(*peer));
        for peer in gone.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.leave(peer, now);
        }
        for (peer, config) in wanted {
            let same = |session: &Session| {
                let (old, new) = (&session.config, &config);
                (old.source, old.parameters.path) == (new.source, new.parameters.path)
            };
            match self.sessions.get_mut(&peer) {
                Some(session) if same(session) => {
                    session.configure(config, now, &mut self.chance);
                }
                found => {
                    if found.is_some_and(|session| session.leaves_at.is_none()) {
                        self.leave(peer, now);
                    }
                    self.begin(config, now);
                }
            }
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// Why it is discarded; that is counted, and nothing else happens.
    pub fn receive(&mut self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Discard> {
        let taken = self.take(arrival, now);
        if let Err(discard) = taken {
            *self.discarded.entry(discard).or_default() += 1;
        }
        taken
    }

    /// Fires every timer that is due. What has arrived before is to be delivered before.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.sessions.iter().filter(|(_, session)| {
            session
                .next_timeout()
                .is_some_and(|deadline| deadline <= now)
        });
        for peer in due.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&peer) else {
                continue;
            };
            if session.leaves_at.is_some_and(|at| at <= now) {
                self.forget(peer);
                self.outputs.push_back(Output::Forgotten { peer });
                continue;
            }
            let effects = session.handle_timeout(now, &mut self.chance);
            self.put(peer, effects);
        }
    }

    /// When [`Sessions::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sessions
            .values()
            .filter_map(Session::next_timeout)
            .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A planned end: every peer is told that it is no loss (RFC 5880 §6.8.16). Send what [`Sessions::poll_output`] has, then leave.
    pub fn shutdown(&mut self, now: Instant) {
        self.apply(Vec::new(), now);
    }

    /// Every session that is configured, in the order of addresses.
    pub fn statuses(&self, now: Instant) -> Vec<SessionStatus> {
        let configured = self.sessions.values().filter(|s| s.leaves_at.is_none());
        configured.map(|session| session.status(now)).collect()
    }

    /// How many datagrams were discarded, and why.
    pub const fn discarded(&self) -> &BTreeMap<Discard, u64> {
        &self.discarded
    }

    fn take(&mut self, arrival: &Arrival<'_>, now: Instant) -> Result<(), Discard> {
        let ttl = arrival.ttl.ok_or(Discard::Ttl)?;
        if arrival.path == Path::SingleHop && ttl != u8::MAX {
            return Err(Discard::Ttl);
        }
        let packet = Packet::decode(arrival.octets).map_err(Discard::Malformed)?;
        let peer = self.select(&packet, arrival.source)?;
        let session = self.sessions.get_mut(&peer).ok_or(Discard::NoSession)?;
        match (session.config.parameters.path, arrival.path) {
            (Path::SingleHop, Path::SingleHop) => {}
            (Path::Multihop { minimum_ttl }, Path::Multihop { .. }) if ttl >= minimum_ttl => {}
            (Path::Multihop { .. }, Path::Multihop { .. }) => return Err(Discard::Ttl),
            _ => return Err(Discard::NoSession),
        }
        let effects = session.receive(&packet, now, &mut self.chance);
        self.put(peer, effects);
        Ok(())
    }

    /// RFC 5880 §6.3: by our discriminator and nothing else once the peer knows it, by address before.
    fn select(&self, packet: &Packet, source: IpAddr) -> Result<IpAddr, Discard> {
        if packet.your_discriminator == 0 {
            return Ok(source.to_canonical());
        }
        let found = self.by_discriminator.get(&packet.your_discriminator);
        found.copied().ok_or(Discard::NoSession)
    }

    fn begin(&mut self, config: SessionConfig, now: Instant) {
        let peer = config.peer;
        self.forget(peer);
        let discriminator = loop {
            let free = self.chance.discriminator();
            if !self.by_discriminator.contains_key(&free) {
                break free;
            }
        };
        self.by_discriminator.insert(discriminator, peer);
        let session = Session::new(config, discriminator, now, &mut self.chance);
        self.sessions.insert(peer, session);
    }

    fn leave(&mut self, peer: IpAddr, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            let effects = session.leave(now);
            self.put(peer, effects);
        }
    }

    fn forget(&mut self, peer: IpAddr) {
        if let Some(session) = self.sessions.remove(&peer) {
            self.by_discriminator.remove(&session.discriminator);
        }
    }

    /// The transition first: who ends a BGP session waits for no packet.
    fn put(&mut self, peer: IpAddr, effects: Effects) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        let changed = effects.transition.map(Output::Changed);
        let sends = effects.packets.into_iter().map(|packet| Output::Send {
            peer,
            source: session.config.source,
            path: session.config.parameters.path,
            octets: packet.encode(),
        });
        self.outputs.extend(changed.into_iter().chain(sends));
    }
}
