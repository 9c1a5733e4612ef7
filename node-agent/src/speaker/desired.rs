//! What the engine wants of the speaker: whole sets, compared inside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use margay_bgp::{Asn, Origination, PeerConfig, Protection, SpeakerConfig};

use super::socket::Keys;

/// Everything the speaker is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Who we are; without it there is no speaker and nobody listens. A change ends every session (Cease) and
    /// starts a new speaker. `restarting`, `forwarding_preserved` and `deferral_time` count only at the first.
    pub identity: Option<SpeakerConfig>,
    /// TCP port to listen on.
    pub listen_port: u16,
    /// Addresses to listen on, none if there are none in it; all addresses when it is `None`.
    pub listen_addresses: Option<Vec<IpAddr>>,
    /// All peers; `description` names the object that asked for the session.
    pub peers: Vec<PeerConfig>,
    /// All routes of our own.
    pub originations: Vec<Origination>,
    /// How the tracked next hops resolve: address to distance. One that is missing or `None` does not, and routes
    /// through it are not used.
    pub next_hops: HashMap<IpAddr, Option<u32>>,
}

impl Desired {
    /// Where to listen, if there is anybody to listen for.
    pub(super) fn place(&self) -> Option<Place> {
        self.identity.as_ref().map(|_| Place {
            port: self.listen_port,
            addresses: self.listen_addresses.clone(),
        })
    }

    /// How connections of each peer are guarded.
    pub(super) fn protections(&self) -> HashMap<IpAddr, Protection> {
        let protection = |peer: &PeerConfig| (peer.address, peer.protection.clone());
        self.peers.iter().map(protection).collect()
    }

    /// The keys by which peers may connect.
    pub(super) fn keys(&self) -> Keys {
        let key = |peer: &PeerConfig| {
            let password = peer.protection.password.clone()?;
            Some((peer.address.into(), password))
        };
        self.peers.iter().filter_map(key).collect()
    }
}

/// Where the speaker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) port: u16,
    /// All when there are none named.
    pub(super) addresses: Option<Vec<IpAddr>>,
}

/// What cannot change while a speaker lives.
pub(super) fn fixed(config: &SpeakerConfig) -> (Asn, Ipv4Addr, u16, usize, bool) {
    (
        config.local_as,
        config.router_id,
        config.restart_time,
        config.maximum_paths,
        config.multipath_relax,
    )
}
