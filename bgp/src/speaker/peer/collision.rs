//! Two connections with one peer: which of them lives (RFC 4271 §6.8, RFC 4724 §5).

use super::{COLLISION_WINDOW, Ending, Env, Happening, Peer, Slot};
use crate::session::fsm::{self, State};
use crate::session::negotiate::{self, Negotiated};
use crate::wire::{Cease, Notification, Open};

impl Peer {
    /// RFC 4271 §6.8 and RFC 4724 §5. Returns where the session is now, if it is the one that lives.
    ///
    /// The peer's identifier is known from this OPEN, so connections in OpenSent take part: both sides then close
    /// the same one, whatever they have seen of the other.
    pub(super) fn resolve_collision(
        &mut self,
        slot: Slot,
        local: &Open,
        new: &Negotiated,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) -> Option<Slot> {
        let connection = self.session(slot).connection?;
        let lost = || {
            Ending::sent(
                Notification::cease(Cease::CollisionResolution),
                "connection collision",
            )
        };
        let own_wins = negotiate::keeps_own_connection(
            (local.router_id, local.asn),
            (new.remote.router_id, new.remote.asn),
        );
        loop {
            let slot = self.slot(connection)?;
            let mut others = self.slots().filter(|other| *other != slot);
            let Some(other) = others.find(|other| self.session(*other).state >= State::OpenSent)
            else {
                return Some(slot);
            };
            let (loser, ending) = if self.session(other).state == State::Established {
                if self.is_restart(other, env) {
                    (other, Ending::silent("peer has restarted"))
                } else {
                    (slot, lost())
                }
            } else if (slot == Slot::Outgoing) == own_wins
                || other != Slot::Outgoing && slot != Slot::Outgoing
            {
                (other, lost())
            } else {
                (slot, lost())
            };
            self.step(
                loser,
                fsm::Event::CollisionLost,
                Some(ending),
                env,
                happenings,
            );
        }
    }

    fn is_restart(&mut self, established: Slot, env: &Env<'_>) -> bool {
        let graceful = self
            .session(established)
            .negotiated
            .as_ref()
            .is_some_and(|agreed| agreed.restart.is_some());
        graceful
            && self
                .established_since
                .is_some_and(|since| since + COLLISION_WINDOW <= env.now)
    }
}
