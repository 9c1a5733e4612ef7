//! The queue towards the driver, and who owns which connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::port::{Event, Output};
use crate::rib::PeerId;
use crate::session::{ConnectionId, Session};

/// Outputs in order, connections by name.
#[derive(Debug, Default)]
pub(crate) struct Io {
    outputs: VecDeque<Output>,
    owners: HashMap<ConnectionId, PeerId>,
    next: u64,
}

impl Io {
    /// A name for a new connection of `peer`.
    pub(crate) fn open(&mut self, peer: PeerId) -> ConnectionId {
        self.next += 1;
        let connection = ConnectionId(self.next);
        self.owners.insert(connection, peer);
        connection
    }

    pub(crate) fn owner(&self, connection: ConnectionId) -> Option<PeerId> {
        self.owners.get(&connection).copied()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Hands octets to the driver and counts them against the connection's window.
    pub(crate) fn send(&mut self, session: &mut Session, bytes: Arc<[u8]>, now: Instant) {
        if let Some(connection) = session.connection {
            session.queued(bytes.len(), now);
            self.push(Output::Send { connection, bytes });
        }
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.owners.remove(&connection);
        self.push(Output::Close { connection });
    }

    /// Forgets connections without a word.
    pub(crate) fn abandon(&mut self) {
        self.owners.clear();
        self.outputs.clear();
    }
}
