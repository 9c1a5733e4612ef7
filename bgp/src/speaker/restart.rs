//! Graceful restart (RFC 4724): our own, when best path waits for the peers, and theirs, when their routes are kept.

use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Event, Speaker};
use crate::config::SpeakerConfig;
use crate::family::{Families, Family};
use crate::rib::PeerId;
use crate::rib::group::Owed;
use crate::session::negotiate::RestartBits;

/// Waiting for the peers' routes after our restart (RFC 4724 §4.1).
#[derive(Debug)]
pub(crate) struct Deferral {
    /// Until then peers are waited for that are not up or that promise no End-of-RIB; later only those that do.
    absent_until: Instant,
    deadline: Instant,
    /// Own routes and peers are known; before that an End-of-RIB would be a lie.
    pub(crate) originated: bool,
    pub(crate) configured: bool,
}

impl Deferral {
    pub(crate) fn new(now: Instant, time: Duration) -> Self {
        Self {
            absent_until: now + time / 2,
            deadline: now + time,
            originated: false,
            configured: false,
        }
    }

    pub(crate) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        [self.absent_until, self.deadline]
            .into_iter()
            .find(|deadline| *deadline > now)
            .or(Some(self.deadline))
    }
}

/// R while we wait for the peers. F: what the caller knows of the kernel until the first session of a peer is up;
/// after that we have been forwarding all along, so a session that comes back finds everything in place.
pub(crate) fn bits(config: &SpeakerConfig, peer: &Peer, restarting: bool) -> RestartBits {
    let forwarding = if peer.established_count == 0 {
        config.forwarding_preserved
    } else {
        Families::BOTH
    };
    RestartBits {
        restarting,
        forwarding,
        restart_time: config.restart_time,
    }
}

impl Speaker {
    /// Whether best path still waits for the peers.
    pub fn is_deferring(&self) -> bool {
        self.deferral.is_some()
    }

    /// Ends the deferral when nothing is left to wait for.
    pub(super) fn check_deferral(&mut self) {
        let Some(deferral) = &self.deferral else {
            return;
        };
        let ready = deferral.originated
            && deferral.configured
            && self
                .peers
                .values()
                .all(|peer| is_done(peer, deferral, self.now))
            && self.table.next_hops.all_answered();
        if !ready && self.now < deferral.deadline {
            return;
        }
        self.deferral = None;
        // Decided before it is told, so that who prunes on this event sees what was learned.
        self.decide_dirty();
        for (id, number) in &self.member_of {
            if let Some(group) = self.groups.get_mut(number) {
                group.owe(*id, Owed::end_of_rib(true));
            }
        }
        self.pump = true;
        self.io.tell(Event::DeferralEnded);
    }

    /// The peer is up again: what it no longer keeps is swept at once (RFC 4724 §4.2).
    pub(super) fn resume_stale(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some((stale, _)) = peer.stale else { return };
        let Some(negotiated) = peer.negotiated() else {
            return;
        };
        let kept = stale.intersect(negotiated.forwarded());
        let patience = Duration::from_secs(u64::from(self.config.restart_time));
        peer.stale = (!kept.is_empty()).then_some((kept, self.now + patience));
        for family in stale.iter().filter(|family| !kept[*family]) {
            self.table.sweep_stale(id, family);
        }
    }

    /// The peer has said everything about a family.
    pub(super) fn end_of_rib(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.ends_of_rib[family] = true;
        if let Some((stale, until)) = &mut peer.stale {
            stale[family] = false;
            peer.stale = (!stale.is_empty()).then_some((*stale, *until));
        }
        self.io.tell(Event::EndOfRib {
            peer: peer.config.address,
            family,
        });
        self.table.sweep_stale(id, family);
        self.check_deferral();
    }

    /// The time for which stale routes are kept may be over.
    pub(super) fn expire_stale(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some((stale, _)) = peer.stale.filter(|(_, until)| *until <= self.now) else {
            return;
        };
        peer.stale = None;
        stale
            .iter()
            .for_each(|family| self.table.sweep_stale(id, family));
    }
}

/// Whether the deferral need not wait for this peer.
fn is_done(peer: &Peer, deferral: &Deferral, now: Instant) -> bool {
    if !peer.is_wanted() {
        return true;
    }
    let Some(negotiated) = peer.negotiated() else {
        return now >= deferral.absent_until;
    };
    if negotiated
        .context
        .families
        .iter()
        .all(|family| peer.ends_of_rib[family])
    {
        return true;
    }
    // Who restarts itself waits for us, and who knows no graceful restart need not say End-of-RIB (RFC 4724 §4.1): they are
    // given a moment and no more. Not none: FRR sets the R bit for two minutes after it started, while its routes are on their
    // way, and whoever prunes before they are here cuts traffic that the kernel still forwards.
    let Some(restart) = negotiated.restart.as_ref().filter(|r| !r.restarting) else {
        return now >= deferral.absent_until;
    };
    negotiated
        .context
        .families
        .iter()
        .all(|family| peer.ends_of_rib[family] || restart.preserved(family).is_none())
}
