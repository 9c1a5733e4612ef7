//! A BGP speaker as one value: inputs with a time go in, outputs come out, nothing else happens.
//!
//! ```text
//!  apply, originate ──┐                                            ┌─► Connect, Send, Close ─► driver
//!  accept, handle ────┼─► peers (sessions) ─► table ─► groups ─────┤
//!  set_next_hops ─────┘    at once            when input is drained └─► Event, learned_changes ─► kernel plan
//! ```
//! Sessions and timers are served inside [`Speaker::handle`]; routes are only marked. The work of the RIB is done
//! when [`Speaker::poll_output`] finds nothing else to hand out, that is, when the driver has delivered all the
//! input it had. So a burst is decided and packed once, and there is no coalescing timer.

mod apply;
mod heard;
mod io;
mod learned;
mod path;
mod peer;
mod port;
mod refresh;
mod restart;
mod routes;
mod snapshot;
#[cfg(test)]
mod tests;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use crate::config::SpeakerConfig;
use crate::policy::RouteSource;
use crate::rib::PeerId;
use crate::rib::decision::Multipath;
use crate::rib::group::Group;
use crate::rib::table::Table;
use crate::session::ConnectionId;
use crate::wire::{Cease, Notification};
pub use heard::{Heard, Told};
use io::Io;
use peer::{Env, Happening, Peer};
pub use port::{
    Dial, Event, Input, LearnedChange, LearnedPath, LearnedRoute, Output, Refusal, ShutdownKind,
    SoftReset,
};
use restart::Deferral;

/// Owns all sessions and all routes.
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    peers: BTreeMap<PeerId, Peer>,
    by_address: HashMap<IpAddr, PeerId>,
    next_peer: u32,
    table: Table,
    groups: BTreeMap<u32, Group>,
    next_group: u32,
    member_of: HashMap<PeerId, u32>,
    originated: HashMap<IpNetwork, RouteSource>,
    learned: BTreeSet<IpNetwork>,
    learned_told: bool,
    ear: heard::Ear,
    deferral: Option<Deferral>,
    io: Io,
    /// Some member may have something to send.
    pump: bool,
    now: Instant,
}

impl Speaker {
    /// A speaker without peers and routes.
    pub fn new(config: SpeakerConfig, now: Instant) -> Self {
        let multipath = Multipath {
            maximum: config.maximum_paths,
            relax: config.multipath_relax,
        };
        let deferral = config
            .restarting
            .then(|| Deferral::new(now, config.deferral_time));
        let mut io = Io::default();
        if deferral.is_none() {
            io.tell(Event::DeferralEnded);
        }
        Self {
            config,
            peers: BTreeMap::new(),
            by_address: HashMap::new(),
            next_peer: 0,
            table: Table::new(multipath),
            groups: BTreeMap::new(),
            next_group: 0,
            member_of: HashMap::new(),
            originated: HashMap::new(),
            learned: BTreeSet::new(),
            learned_told: false,
            ear: heard::Ear::default(),
            deferral,
            io,
            pump: false,
            now,
        }
    }

    /// A peer has opened a connection to us.
    ///
    /// # Errors
    /// Why the connection is not wanted; the driver closes it without a word.
    pub fn accept(
        &mut self,
        remote: IpAddr,
        local: IpAddr,
        now: Instant,
    ) -> Result<ConnectionId, Refusal> {
        let (remote, local) = (remote.to_canonical(), local.to_canonical());
        let id = *self
            .by_address
            .get(&remote)
            .ok_or(Refusal::UnknownPeer(remote))?;
        let accepted = self.with_peer(id, now, |peer, env| peer.accept(local, env));
        let (connection, happenings) = accepted.unwrap_or(Err(Refusal::UnknownPeer(remote)))?;
        self.digest(id, happenings);
        Ok(connection)
    }

    /// Something happened to a connection; unknown ones are ignored.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        let Some(id) = self.io.owner(input.connection()) else {
            return;
        };
        self.pump |= matches!(input, Input::Written { .. });
        let happenings = self.with_peer(id, now, |peer, env| peer.handle(input, env));
        self.digest(id, happenings.unwrap_or_default());
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.peers[&id]
                .next_timeout()
                .is_none_or(|deadline| deadline > now)
            {
                continue;
            }
            let happenings = self.with_peer(id, now, |peer, env| peer.handle_timeout(env));
            self.digest(id, happenings.unwrap_or_default());
            self.expire_stale(id);
            self.expire_refreshes(id);
        }
        self.check_deferral();
    }

    /// When [`Speaker::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deferral = self
            .deferral
            .as_ref()
            .and_then(|deferral| deferral.next_timeout(self.now));
        self.peers
            .values()
            .filter_map(Peer::next_timeout)
            .chain(deferral)
            .min()
    }

    /// The next thing to do. `None` means that everything heard so far has been thought through.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.io.pop() {
            return Some(output);
        }
        self.flush();
        self.io.pop()
    }

    /// Says which next hops resolve and how far they are: the whole set. A next hop that is missing here, or has no
    /// distance, does not resolve and its paths are not used.
    pub fn set_next_hops(&mut self, answers: HashMap<IpAddr, Option<u32>>) {
        let moved = self.table.next_hops.answer(answers);
        if !moved.is_empty() {
            self.table.next_hops_moved(&moved);
        }
        self.check_deferral();
    }

    /// The next hops that somebody has to judge, in order.
    pub fn tracked_next_hops(&self) -> Vec<IpAddr> {
        self.table.next_hops.tracked()
    }

    /// Ends a session by Cease 6/4 and begins anew, also when it was held down. `false`: no such peer.
    pub fn reset(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(id) = self.by_address.get(&address).copied() else {
            return false;
        };
        let notification = Notification::cease(Cease::AdministrativeReset);
        self.stop(id, Some(&notification), "reset by operator", now);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.held_down = None;
        }
        self.start(id, now);
        true
    }

    /// Ends everything. After [`ShutdownKind::Restart`] the driver closes its sockets without half-close ceremony;
    /// after [`ShutdownKind::Permanent`] it carries the remaining outputs out first.
    pub fn shutdown(&mut self, kind: ShutdownKind, now: Instant) {
        self.now = now;
        match kind {
            ShutdownKind::Restart => self.io.abandon(),
            ShutdownKind::Permanent => {
                let notification = Notification::cease(Cease::AdministrativeShutdown);
                for id in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.stop(id, Some(&notification), "shut down", now);
                }
            }
        }
        self.peers.clear();
        self.by_address.clear();
    }

    fn start(&mut self, id: PeerId, now: Instant) {
        let happenings = self.with_peer(id, now, |peer, env| peer.start(env));
        self.digest(id, happenings.unwrap_or_default());
    }

    fn stop(
        &mut self,
        id: PeerId,
        notification: Option<&Notification>,
        reason: &str,
        now: Instant,
    ) {
        let happenings = self.with_peer(id, now, |peer, env| peer.stop(notification, reason, env));
        self.digest(id, happenings.unwrap_or_default());
    }

    fn with_peer<T>(
        &mut self,
        id: PeerId,
        now: Instant,
        act: impl FnOnce(&mut Peer, &mut Env<'_>) -> T,
    ) -> Option<T> {
        self.now = now;
        let restarting = self.deferral.is_some();
        let peer = self.peers.get_mut(&id)?;
        let mut env = Env {
            bits: restart::bits(&self.config, peer, restarting),
            io: &mut self.io,
            speaker_as: self.config.local_as,
            router_id: self.config.router_id,
            hostname: self.config.hostname.as_deref(),
            now,
        };
        Some(act(peer, &mut env))
    }

    fn digest(&mut self, id: PeerId, happenings: Vec<Happening>) {
        for happening in happenings {
            match happening {
                Happening::Up => self.peer_up(id),
                Happening::Update(update) => self.update(id, *update),
                Happening::Refresh(family, refresh) => self.refresh(id, family, refresh),
                Happening::Down {
                    keep,
                    restart_time,
                    reason,
                } => self.peer_down(id, keep, restart_time, reason),
            }
        }
    }
}
