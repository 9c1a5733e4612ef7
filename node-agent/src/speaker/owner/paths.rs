//! What BFD says about the ways to the peers, passed on to the speaker.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use margay_bgp::bfd::{SessionConfig, SessionStatus, State};

use super::Owner;
use crate::bfd::{Snapshot, Thread};

/// The BFD thread, and what was last heard from it.
pub(super) struct Paths {
    thread: Thread,
    snapshot: Arc<Snapshot>,
    seen: HashMap<IpAddr, Seen>,
}

/// How far the events of a session have been passed on; another discriminator is another session.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    discriminator: u32,
    ups: u64,
    losses: u64,
}

impl Paths {
    pub(super) fn new(thread: Thread) -> Self {
        Self {
            thread,
            snapshot: Arc::default(),
            seen: HashMap::new(),
        }
    }

    /// State of the session with a peer.
    pub(super) fn state(&self, peer: IpAddr) -> Option<State> {
        let session = self
            .snapshot
            .sessions
            .iter()
            .find(|s| s.status.peer == peer);
        session.map(|session| session.status.state)
    }

    fn forget_gone(&mut self) {
        let sessions = &self.snapshot.sessions;
        let exists = |peer: &IpAddr| sessions.iter().any(|s| s.status.peer == *peer);
        self.seen.retain(|peer, _| exists(peer));
    }

    /// How often the session came up and was lost since it was last asked.
    fn news(&mut self, status: &SessionStatus) -> (u64, u64) {
        let seen = self.seen.entry(status.peer).or_default();
        if seen.discriminator != status.local_discriminator {
            *seen = Seen {
                discriminator: status.local_discriminator,
                ..Seen::default()
            };
        }
        let news = (status.ups - seen.ups, status.losses - seen.losses);
        (seen.ups, seen.losses) = (status.ups, status.losses);
        news
    }
}

impl Owner {
    /// Tells the thread for which peers it runs. One that is held down needs no session.
    pub(super) fn want_paths(&self) {
        let peers = self
            .desired
            .identity
            .iter()
            .flat_map(|_| &self.desired.peers);
        let wanted = peers
            .filter(|peer| peer.held_down.is_none())
            .filter_map(|peer| {
                Some(SessionConfig {
                    peer: peer.address.to_canonical(),
                    source: peer.source,
                    parameters: peer.bfd?,
                })
            });
        self.paths.thread.want(wanted.collect());
    }

    fn wants_path(&self, peer: IpAddr) -> bool {
        let mut peers = self.desired.peers.iter();
        peers.any(|wanted| wanted.address == peer && wanted.bfd.is_some())
    }

    /// Passes on what happened to the paths since the last snapshot.
    pub(in crate::speaker) fn paths_changed(&mut self, snapshot: Arc<Snapshot>) {
        let now = Instant::now();
        self.paths.snapshot = snapshot;
        let snapshot = Arc::clone(&self.paths.snapshot);
        for session in &snapshot.sessions {
            let status = &session.status;
            // It may have been switched off meanwhile.
            if !self.wants_path(status.peer) {
                continue;
            }
            let (ups, losses) = self.paths.news(status);
            self.published
                .metrics
                .bfd_transitions(status.peer, ups, losses);
            if ups > 0 {
                tracing::info!(peer = %status.peer, "BFD session up");
            }
            let Some(loss) = status.last_loss.filter(|_| losses > 0) else {
                continue;
            };
            tracing::warn!(peer = %status.peer, losses, state = %status.state, "path lost: {loss}");
            if let Some(speaker) = &mut self.speaker {
                speaker.path_lost(status.peer, &loss, now);
            }
        }
        self.paths.forget_gone();
        let sessions = &self.paths.snapshot.sessions;
        let states = sessions.iter().map(|session| session.status.state);
        self.published.metrics.bfd_sessions(states);
        self.changed.sessions = true;
    }
}
