//! What the owner tells the rest of the agent: snapshots, metrics, the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use margay_bgp::{Event as Happening, Family, PeerStatus, Speaker, State};

use super::Owner;
use crate::speaker::Desired;
use crate::speaker::handle::{Peer, Peers, Session};

/// What the speaker does not keep about a peer.
#[derive(Debug)]
pub(super) struct Notes {
    state: State,
    since: Instant,
    /// The last failure that was logged: a peer that is away is no news every few seconds.
    pub(super) failure: String,
}

impl Owner {
    /// Looks at the sessions for what no event tells: states on the way to Established, and why they fail.
    pub(in crate::speaker) fn observe(&mut self) {
        let now = Instant::now();
        let statuses = self
            .speaker
            .as_ref()
            .map(|speaker| speaker.peers(now))
            .unwrap_or_default();
        self.note_states(&statuses, now);
        self.published
            .metrics
            .bgp_peers(statuses.iter().map(|status| status.state));
        let mut sessions: Vec<_> = statuses
            .into_iter()
            .map(|status| session(self.paths.state(status.address), status))
            .collect();
        sessions.sort_by_key(|session| session.address);
        self.published.sessions.send_if_modified(|old| {
            let changed = **old != sessions;
            if changed {
                *old = Arc::new(sessions);
            }
            changed
        });
    }

    pub(super) fn publish(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if changed.learned {
            if let Some(speaker) = &mut self.speaker {
                let changes = speaker.learned_changes();
                self.tell_ways(&changes);
                self.learned.apply(changes);
            }
            self.learned.generation += 1;
            self.published
                .learned
                .send_replace(Arc::new(self.learned.clone()));
            for family in Family::ALL {
                self.published
                    .metrics
                    .bgp_routes_learned(family, self.learned.count(family));
            }
        }
        if changed.next_hops {
            let tracked = self
                .speaker
                .as_ref()
                .map(Speaker::tracked_next_hops)
                .unwrap_or_default();
            self.published
                .next_hops
                .send_replace(Arc::new(tracked.into_iter().collect()));
        }
        if changed.sessions {
            self.observe();
        }
    }

    pub(super) fn peers(&mut self, now: Instant) -> Peers {
        let Some(speaker) = &self.speaker else {
            return Peers::default();
        };
        let statuses = speaker.peers(now);
        self.note_states(&statuses, now);
        let since = |status: &PeerStatus| {
            self.notes
                .get(&status.address)
                .map(|notes| now.saturating_duration_since(notes.since))
        };
        let peers = statuses
            .into_iter()
            .map(|status| Peer {
                since: since(&status).unwrap_or_default(),
                status,
            })
            .collect();
        let identity = self
            .desired
            .identity
            .as_ref()
            .map(|config| (config.local_as, config.router_id));
        Peers { identity, peers }
    }

    fn note_states(&mut self, statuses: &[PeerStatus], now: Instant) {
        for status in statuses {
            let notes = self
                .notes
                .entry(status.address)
                .or_insert_with(|| Notes::new(now));
            if notes.state != status.state {
                notes.state = status.state;
                notes.since = now;
            }
        }
    }

    pub(super) fn note(&mut self, event: Happening) {
        match event {
            Happening::PeerUp { peer } => self.session_up(peer),
            Happening::PeerDown {
                peer,
                reason,
                stale,
            } => self.session_down(peer, reason, stale),
            Happening::SessionFailed { peer, reason } => self.session_failed(peer, reason),
            Happening::EndOfRib { peer, family } => tracing::debug!(%peer, %family, "End-of-RIB"),
            Happening::RouteFault { peer, fault } => {
                tracing::warn!(%peer, "malformed UPDATE: {fault}")
            }
            Happening::MaximumPrefixes {
                peer,
                family,
                limit,
            } => {
                tracing::warn!(%peer, %family, limit, "more prefixes than allowed: the peer is held down");
                self.changed.sessions = true;
            }
            Happening::DeferralEnded => {
                tracing::info!("best paths are decided");
                self.learned.deferral_ended = true;
                self.changed.learned = true;
            }
            Happening::LearnedChanged => self.changed.learned = true,
            Happening::NextHopsChanged => self.changed.next_hops = true,
        }
    }

    pub(super) fn forget_peers(&mut self, old: &Desired) {
        let kept: HashSet<_> = self.desired.peers.iter().map(|peer| peer.address).collect();
        for gone in old
            .peers
            .iter()
            .map(|peer| peer.address)
            .filter(|address| !kept.contains(address))
        {
            self.notes.remove(&gone);
            self.closing.remove(&gone);
            self.published.metrics.bgp_peer_removed(gone);
        }
    }

    pub(super) fn count_announced(&self) {
        for family in Family::ALL {
            let count = self
                .desired
                .originations
                .iter()
                .filter(|route| Family::of(&route.prefix) == family)
                .count();
            self.published.metrics.bgp_routes_announced(family, count);
        }
    }
}

impl Notes {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Idle,
            since: now,
            failure: String::new(),
        }
    }
}

fn session(bfd: Option<margay_bgp::bfd::State>, status: PeerStatus) -> Session {
    let reason = match (status.state, status.last_error) {
        (State::Established, _) | (_, None) => String::new(),
        (_, Some(error)) => error.reason,
    };
    Session {
        name: status.description,
        address: status.address,
        state: status.state,
        reason,
        bfd,
    }
}
