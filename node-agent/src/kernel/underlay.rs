//! The node's own links, addresses and routes: through what a next hop is reached.
//!
//! "A next hop resolves through the node's own routes, never through a route learned for a pod or a service": routes of our
//! protocol are not in here at all, nor are pod links.

mod snapshot;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::snapshot::{Hop, Resolution, Snapshot};
use super::error::Error;
use super::events::Batch;
use super::netlink::Socket;
use super::netlink::message::{INET, INET6};
pub use super::netlink::object::{Address, Link};
use super::netlink::object::{RouteEntry, get_addresses, get_link, get_routes};

/// The mirror, kept true by events.
pub struct Underlay {
    socket: Socket,
    state: Arc<Snapshot>,
}

impl Underlay {
    /// Reads the calling thread's network namespace; subscribe to its events before.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::open()?;
        let state = Arc::new(read(&mut socket)?);
        Ok(Self { socket, state })
    }

    /// Takes note of what happened; `true` when the snapshot changed.
    ///
    /// After an overrun, and after the loss of a link or address (which takes IPv4 routes with it in silence), everything is read again.
    ///
    /// # Errors
    /// What the kernel says to that.
    pub fn observe(&mut self, batch: &Batch) -> Result<bool, Error> {
        let before = Arc::clone(&self.state);
        let state = Arc::make_mut(&mut self.state);
        let mut doubtful = batch.overrun;
        for event in &batch.events {
            doubtful |= state.fold(event);
        }
        if doubtful {
            *state = read(&mut self.socket)?;
        }
        Ok(*before != *self.state)
    }

    /// The state as a value.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state)
    }
}

fn read(socket: &mut Socket) -> Result<Snapshot, Error> {
    let mut state = Snapshot::default();
    for link in socket.dump("links", &get_link(None), |_, payload| Link::decode(payload))? {
        state.insert_link(link);
    }
    for address in socket.dump("addresses", &get_addresses(0), |_, payload| {
        Address::decode(payload)
    })? {
        state.insert_address(address);
    }
    for family in [INET, INET6] {
        for route in socket.dump("routes", &get_routes(family, 0), |_, payload| {
            RouteEntry::decode(payload)
        })? {
            state.insert_route(route);
        }
    }
    Ok(state)
}
