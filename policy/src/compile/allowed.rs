//! What the policies of a pod allow together, by port.

use std::collections::{BTreeMap, BTreeSet};

use super::NamedPorts;
use crate::policy::{Allow, Direction, Peer, PeerSelector, Port};
use crate::ranges::Ranges;
use crate::table::{PortRange, Protocol};

/// Ports as far as they can be told apart, in the order of the rules: the most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PortKey {
    Numbers(Protocol, PortRange),
    Named(Protocol, String),
    Protocol(Protocol),
    Any,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peers {
    pub(super) anyone: bool,
    pub(super) selectors: BTreeSet<PeerSelector>,
    pub(super) blocks: Ranges,
}

impl Peers {
    fn add(&mut self, peers: &[Peer]) {
        self.anyone |= peers.is_empty();
        for peer in peers {
            match peer {
                Peer::Pods(selector) => {
                    self.selectors.insert(selector.clone());
                }
                Peer::Block(ranges) => self.blocks.extend(ranges),
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Allowed {
    pub(super) by_port: BTreeMap<PortKey, Peers>,
}

impl Allowed {
    pub(super) fn add(&mut self, direction: Direction, allow: &Allow, named: NamedPorts<'_>) {
        if allow.ports.is_empty() {
            self.peers(PortKey::Any).add(&allow.peers);
        }
        for port in &allow.ports {
            match (port, direction) {
                (Port::Any(protocol), _) => {
                    self.peers(PortKey::Protocol(*protocol)).add(&allow.peers)
                }
                (Port::Numbers(protocol, range), _) => self
                    .peers(PortKey::Numbers(*protocol, *range))
                    .add(&allow.peers),
                (Port::Named(protocol, name), Direction::Egress) => {
                    self.peers(PortKey::Named(*protocol, name.clone()))
                        .add(&allow.peers);
                }
                (Port::Named(protocol, name), Direction::Ingress) => {
                    for number in named(*protocol, name) {
                        self.peers(PortKey::Numbers(*protocol, PortRange::single(number)))
                            .add(&allow.peers);
                    }
                }
            }
        }
    }

    fn peers(&mut self, key: PortKey) -> &mut Peers {
        self.by_port.entry(key).or_default()
    }

    pub(super) fn single_ports(&self) -> impl Iterator<Item = (Protocol, u16, &Peers)> {
        self.by_port.iter().filter_map(|(key, peers)| match key {
            PortKey::Numbers(protocol, range) if range.is_single() => {
                Some((*protocol, range.first, peers))
            }
            _ => None,
        })
    }
}
