//! What becomes of sessions: told to the log, the metrics and whoever watches. Fields of the log have the same names everywhere.

use std::net::IpAddr;
use std::time::Instant;

use super::Owner;
use super::publish::Notes;
use crate::speaker::monitor::SessionChange;

impl Owner {
    pub(super) fn session_up(&mut self, peer: IpAddr) {
        let name = self.name_of(peer);
        tracing::info!(%peer, name, "BGP session established");
        self.published.metrics.bgp_session_up(peer);
        if let Some(notes) = self.notes.get_mut(&peer) {
            notes.failure.clear();
        }
        self.tell_session(peer, SessionChange::Established);
        self.changed.sessions = true;
    }

    pub(super) fn session_down(&mut self, peer: IpAddr, reason: String, routes_kept: bool) {
        let name = self.name_of(peer);
        tracing::warn!(%peer, name, reason, routes_kept, "BGP session ended");
        // The series of one that is configured no more have ended, and are not to begin again.
        if self.wants(peer) {
            self.published.metrics.bgp_session_down(peer);
        }
        self.tell_session(
            peer,
            SessionChange::Ended {
                reason,
                routes_kept,
            },
        );
        self.changed.sessions = true;
    }

    pub(super) fn session_failed(&mut self, peer: IpAddr, reason: String) {
        if !self.wants(peer) {
            return;
        }
        let notes = self.notes.entry(peer);
        let notes = notes.or_insert_with(|| Notes::new(Instant::now()));
        if notes.failure == reason {
            return;
        }
        notes.failure.clone_from(&reason);
        let name = self.name_of(peer);
        tracing::warn!(%peer, name, reason, "no BGP session");
        self.tell_session(peer, SessionChange::Failed { reason });
        self.changed.sessions = true;
    }

    fn wants(&self, peer: IpAddr) -> bool {
        let mut peers = self.desired.peers.iter();
        peers.any(|wanted| wanted.address == peer)
    }

    /// The object that asked for the session.
    pub(super) fn name_of(&self, peer: IpAddr) -> String {
        let mut peers = self.desired.peers.iter();
        let wanted = peers.find(|wanted| wanted.address == peer);
        wanted
            .map(|peer| peer.description.clone())
            .unwrap_or_default()
    }
}
