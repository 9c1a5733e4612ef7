//! Prefixes on the wire (RFC 4271 §4.3): a length in bits and as many octets as it needs.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::Serialize;

use super::Notification;
use super::reader::Reader;
use crate::family::Family;

/// One announced or withdrawn path of a prefix. `path_id` is 0 where ADD-PATH (RFC 7911) is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Nlri {
    /// The prefix, host bits cleared.
    pub prefix: IpNetwork,
    /// Path identifier, local to the session.
    pub path_id: u32,
}

impl From<IpNetwork> for Nlri {
    fn from(prefix: IpNetwork) -> Self {
        Self { prefix, path_id: 0 }
    }
}

/// Reads a whole field of prefixes.
///
/// # Errors
/// 3/10 when a length is impossible or the field ends inside a prefix.
pub(crate) fn decode(family: Family, bytes: &[u8]) -> Result<Vec<Nlri>, Notification> {
    let invalid = || Notification::new(Notification::UPDATE, 10);
    let mut reader = Reader::new(bytes);
    let mut prefixes = Vec::new();
    while let Some(length) = reader.u8() {
        let octets = reader
            .take(usize::from(length).div_ceil(8))
            .ok_or_else(invalid)?;
        let prefix = prefix(family, octets, length).ok_or_else(invalid)?;
        prefixes.push(Nlri::from(prefix));
    }
    Ok(prefixes)
}

fn prefix(family: Family, octets: &[u8], length: u8) -> Option<IpNetwork> {
    match family {
        Family::Ipv4Unicast => {
            let mut address = [0; 4];
            address.get_mut(..octets.len())?.copy_from_slice(octets);
            let network = Ipv4Network::new(Ipv4Addr::from(address), length).ok()?;
            Ipv4Network::new(network.network(), length)
                .ok()
                .map(IpNetwork::V4)
        }
        Family::Ipv6Unicast => {
            let mut address = [0; 16];
            address.get_mut(..octets.len())?.copy_from_slice(octets);
            let network = Ipv6Network::new(Ipv6Addr::from(address), length).ok()?;
            Ipv6Network::new(network.network(), length)
                .ok()
                .map(IpNetwork::V6)
        }
    }
}

/// The octets that one prefix takes.
pub(crate) fn encoded_length(nlri: &Nlri) -> usize {
    1 + usize::from(nlri.prefix.prefix()).div_ceil(8)
}

pub(crate) fn encode(nlri: &Nlri, out: &mut Vec<u8>) {
    let length = nlri.prefix.prefix();
    let octets = usize::from(length).div_ceil(8);
    out.push(length);
    match nlri.prefix {
        IpNetwork::V4(network) => out.extend_from_slice(&network.network().octets()[..octets]),
        IpNetwork::V6(network) => out.extend_from_slice(&network.network().octets()[..octets]),
    }
}

/// Whether a prefix may be routed at all: multicast, class E and link-local ones may not.
pub(crate) fn is_routable(prefix: &IpNetwork) -> bool {
    match prefix {
        IpNetwork::V4(network) => network.prefix() == 0 || network.network().octets()[0] < 224,
        IpNetwork::V6(network) => {
            let address = network.network();
            network.prefix() == 0 || !(address.is_multicast() || address.is_unicast_link_local())
        }
    }
}
