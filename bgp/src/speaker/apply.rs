//! Whole sets of peers and own routes, turned into the least that has to happen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::Speaker;
use super::peer::Peer;
use crate::config::{Config, Origination, PeerConfig};
use crate::family::Families;
use crate::rib::{PeerId, Source};
use crate::wire::{AsPath, Attributes, Cease, NextHop, Nlri, Notification};

impl Speaker {
    /// Declares all peers. Those that are new start, those that are gone end, and of the others only those are reset
    /// whose session could not have been opened as it is.
    pub fn apply(&mut self, desired: Config, now: Instant) {
        self.now = now;
        let mut wanted: HashMap<IpAddr, PeerConfig> = HashMap::new();
        let mut order = Vec::new();
        for mut peer in desired.peers {
            peer.address = peer.address.to_canonical();
            order.push(peer.address);
            wanted.entry(peer.address).or_insert(peer);
        }
        let gone = self
            .by_address
            .iter()
            .filter(|(address, _)| !wanted.contains_key(address));
        let mut gone: Vec<_> = gone.map(|(_, id)| *id).collect();
        gone.sort_unstable();
        gone.into_iter().for_each(|id| self.remove(id, now));
        for config in order.iter().filter_map(|address| wanted.remove(address)) {
            match self.by_address.get(&config.address).copied() {
                Some(id) => self.change(id, config, now),
                None => self.add(config, now),
            }
        }
        if let Some(deferral) = &mut self.deferral {
            deferral.configured = true;
        }
        self.check_deferral();
    }

    /// Declares all routes of our own.
    pub fn originate(&mut self, routes: Vec<Origination>, now: Instant) {
        self.now = now;
        let mut wanted = HashMap::new();
        for route in routes {
            let Ok(prefix) = IpNetwork::new(route.prefix.network(), route.prefix.prefix()) else {
                continue;
            };
            if let Entry::Vacant(vacant) = wanted.entry(prefix) {
                vacant.insert(route.source);
                if self.originated.get(&prefix) != Some(&route.source) {
                    self.table.touch(&prefix);
                }
                let attributes = self.table.interner.intern(attributes(route));
                self.table.announce(
                    Source::Local,
                    Nlri::from(prefix),
                    attributes.clone(),
                    Ok(attributes),
                );
            }
        }
        for prefix in self.originated.keys() {
            if !wanted.contains_key(prefix) {
                self.table.withdraw(Source::Local, Nlri::from(*prefix));
            }
        }
        self.originated = wanted;
        if let Some(deferral) = &mut self.deferral {
            deferral.originated = true;
        }
        self.check_deferral();
    }

    fn add(&mut self, config: PeerConfig, now: Instant) {
        self.next_peer += 1;
        let id = PeerId(self.next_peer);
        self.by_address.insert(config.address, id);
        self.peers.insert(id, Peer::new(id, config));
        self.start(id, now);
    }

    fn remove(&mut self, id: PeerId, now: Instant) {
        self.stop(
            id,
            Some(&Notification::cease(Cease::PeerDeconfigured)),
            "peer is no longer configured",
            now,
        );
        self.forget_routes(id);
        if let Some(peer) = self.peers.remove(&id) {
            self.by_address.remove(&peer.config.address);
        }
    }

    fn change(&mut self, id: PeerId, config: PeerConfig, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.config == config {
            return;
        }
        let old = std::mem::replace(&mut peer.config, config);
        if old.maximum_prefixes != peer.config.maximum_prefixes
            || old.held_down != peer.config.held_down
        {
            peer.held_down = None;
        }
        let other_peer =
            old.remote_as != peer.config.remote_as || old.local_as != peer.config.local_as;
        if peer.config.held_down.is_some() {
            let reason = "administratively down";
            self.stop(
                id,
                Some(&Notification::cease(Cease::AdministrativeShutdown)),
                reason,
                now,
            );
            self.forget_routes(id);
        } else if old.needs_reset(&peer.config) {
            // Graceful restart carries the routes over, unless the peer is to be somebody else.
            let graceful = !other_peer
                && peer
                    .negotiated()
                    .is_some_and(|agreed| agreed.preserved() != Families::NONE);
            let notification = (!graceful).then(|| Notification::cease(Cease::ConfigurationChange));
            self.stop(id, notification.as_ref(), "configuration changed", now);
            if other_peer {
                self.forget_routes(id);
            }
        } else {
            if old.passive != peer.config.passive && !peer.is_opening() {
                // Nobody is talked to yet: who waited dials now, who dialled waits.
                self.stop(id, None, "", now);
            }
            self.adjust(id, &old);
        }
        self.start(id, now);
    }

    /// What changes while the session stays up.
    fn adjust(&mut self, id: PeerId, old: &PeerConfig) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let addresses = peer.local_addresses();
        if let Some(known) = &mut peer.last_known {
            known.local_addresses = addresses;
        }
        let judged = |config: &PeerConfig| {
            (
                config.allow_own_as,
                config.enforce_first_as,
                config.local_addresses,
                config.link.clone(),
            )
        };
        if judged(old) != judged(&peer.config) || old.import != peer.config.import {
            self.reimport(id);
        }
        self.regroup(id);
    }

    pub(super) fn forget_routes(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.stale = None;
        }
        self.table.withdraw_where(Source::Peer(id), |_, _| true);
    }
}

fn attributes(route: Origination) -> Attributes {
    Attributes {
        origin: route.origin,
        as_path: AsPath::default(),
        next_hop: route.next_hop.map(NextHop::from),
        med: route.med,
        local_pref: route.local_pref,
        communities: route.communities,
        large_communities: route.large_communities,
        ..Attributes::default()
    }
}
