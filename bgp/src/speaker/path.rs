//! What BFD says about the way to a peer (RFC 5882 §4.3, §10).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Speaker;
use super::peer::Peer;
use crate::bfd::Loss;
use crate::session::fsm::State;
use crate::wire::{Cease, Notification};

/// How much later than its detection time a loss may be told and still be that of the restart before.
const SLACK: Duration = Duration::from_millis(500);

impl Speaker {
    /// BFD has lost the way to a peer. `false`: no session and no route depended on it.
    ///
    /// A session that exists ends by Cease 6/10 (RFC 9384) and its routes go, also under graceful restart, which is for peers that still
    /// forward. But where the peer's BFD shares the fate of its control plane, the loss may be a part of the peer's restart: routes that are
    /// kept then stay, and a session that is back already does too (RFC 5882 §4.3.2). Where it does not, the loss tells that the peer
    /// forwards no more, and a restart is given up (§4.3.1).
    pub fn path_lost(&mut self, address: IpAddr, loss: &Loss, now: Instant) -> bool {
        let Some(id) = self.by_address.get(&address.to_canonical()).copied() else {
            return false;
        };
        let Some(peer) = self.peers.get(&id) else {
            return false;
        };
        let opened = peer.furthest().state >= State::OpenSent;
        let depends = opened || peer.stale.is_some();
        if !depends || is_part_of_restart(peer, loss, now) {
            return false;
        }
        if opened {
            let notification = Notification::cease(Cease::BfdDown);
            self.stop(id, Some(&notification), &loss.to_string(), now);
        }
        self.forget_routes(id);
        self.start(id, now);
        true
    }
}

/// Whether what was lost is no more than what the peer's restart takes with it.
fn is_part_of_restart(peer: &Peer, loss: &Loss, now: Instant) -> bool {
    let recent = |ended: Instant| now <= ended + loss.detection_time + SLACK;
    loss.shares_fate
        && match peer.established() {
            None => peer.stale.is_some(),
            Some(_) => peer.restarted_at.is_some_and(recent),
        }
}
