//! Everything again: for a peer that asks (RFC 2918), and from one that says where it begins and ends (RFC 7313).

use std::time::Duration;

use super::{Event, SoftReset, Speaker};
use crate::family::Family;
use crate::rib::PeerId;
use crate::rib::group::Owed;
use crate::wire::{self, Refresh};
use std::net::IpAddr;
use std::time::Instant;

/// RFC 7313 §4: how long an end is waited for before what did not come again is taken for gone.
const PATIENCE: Duration = Duration::from_secs(360);

impl Speaker {
    /// Asks an established peer for everything again (RFC 2918). `false`: there is no such peer, it has no session, or it
    /// knows no refresh.
    pub fn request_refresh(&mut self, address: IpAddr, now: Instant) -> bool {
        self.now = now;
        let peer = self.by_address.get(&address);
        let Some(peer) = peer.and_then(|id| self.peers.get_mut(id)) else {
            return false;
        };
        let Some(agreed) = peer
            .negotiated()
            .filter(|agreed| agreed.remote.route_refresh())
        else {
            return false;
        };
        let mut octets = Vec::new();
        for family in agreed.context.families.iter() {
            octets.extend(wire::encode_route_refresh(family, Refresh::Request));
            peer.counters.messages_sent += 1;
        }
        peer.counters.octets_sent += octets.len() as u64;
        if let Some(session) = peer.established_mut() {
            self.io.send(session, octets.into(), now);
        }
        true
    }

    /// Judges and exchanges all routes of a peer again while its session stays up.
    pub fn soft_reset(&mut self, address: IpAddr, now: Instant) -> SoftReset {
        self.now = now;
        let Some(id) = self.by_address.get(&address).copied() else {
            return SoftReset::UnknownPeer;
        };
        let agreed = self.peers.get(&id).and_then(|peer| peer.negotiated());
        let Some(families) = agreed.map(|agreed| agreed.context.families) else {
            return SoftReset::NotEstablished;
        };
        let asked = self.request_refresh(address, now);
        // What the peer sent before is kept, so a changed import takes hold without its answer.
        self.reimport(id);
        for family in families.iter() {
            self.refresh_requested(id, family);
        }
        if asked {
            SoftReset::BothWays
        } else {
            SoftReset::OutOnly
        }
    }

    pub(super) fn refresh(&mut self, id: PeerId, family: Family, refresh: Refresh) {
        match refresh {
            Refresh::Request => self.refresh_requested(id, family),
            Refresh::Begin => self.refresh_begins(id, family),
            Refresh::End => self.refresh_ends(id, family),
        }
    }

    fn refresh_requested(&mut self, id: PeerId, family: Family) {
        let enhanced = self
            .peers
            .get(&id)
            .and_then(|peer| peer.negotiated())
            .is_some_and(|agreed| agreed.enhanced_refresh);
        // RFC 7313 §4: no beginning before End-of-RIB, which waits for the deferral.
        let marked = enhanced && self.deferral.is_none();
        self.owe(id, Some(Owed::refresh(family, marked)));
    }

    /// What a member of a group still has to hear, whichever group it was in when it became due.
    pub(super) fn owe(&mut self, id: PeerId, owed: Option<Owed>) {
        let group = self
            .member_of
            .get(&id)
            .and_then(|group| self.groups.get_mut(group));
        if let (Some(group), Some(owed)) = (group, owed) {
            group.owe(id, owed);
            self.pump = true;
        }
    }

    fn refresh_begins(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let restarts = |agreed: &crate::session::negotiate::Negotiated| agreed.preserved()[family];
        if peer.negotiated().is_some_and(restarts) && !peer.ends_of_rib[family] {
            // RFC 7313 §4: ignored, and worth a word.
            let fault = format!("refresh of {family} begins before End-of-RIB; ignored");
            peer.last_fault = Some((fault.clone(), self.now));
            self.io.tell(Event::RouteFault {
                peer: peer.config.address,
                fault,
            });
            return;
        }
        peer.refreshing[family] = Some(self.now + PATIENCE);
        self.table.begin_refresh(id, family);
    }

    fn refresh_ends(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.refreshing[family].take().is_some() {
            self.table.end_refresh(id, family);
        }
    }

    /// An end that never came.
    pub(super) fn expire_refreshes(&mut self, id: PeerId) {
        for family in Family::ALL {
            let over = |peer: &super::peer::Peer| {
                peer.refreshing[family].is_some_and(|until| until <= self.now)
            };
            if self.peers.get(&id).is_some_and(over) {
                self.refresh_ends(id, family);
            }
        }
    }
}
