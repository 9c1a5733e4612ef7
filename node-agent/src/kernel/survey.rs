//! What of the kernel only `margayctl doctor` looks at. Reads, never writes, and only when somebody asks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use margay_proto::names::{LINK_PREFIX, ROUTE_PROTOCOL};

use super::error::Error;
use super::netlink::Socket;
use super::netlink::message::{INET, INET6};
use super::netlink::object::{
    Address, Link, Neighbour, NexthopEntry, get_addresses, get_link, get_neighbours, get_nexthops,
};

/// A link and the addresses that others may know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SurveyedLink {
    /// Its name.
    pub name: String,
    /// Kind, as in `ip link add type`; none for hardware.
    pub kind: Option<String>,
    /// Namespace and name of the pod, on a pod link.
    pub alias: String,
    /// MTU in octets.
    pub mtu: u32,
    /// Up and with carrier.
    pub running: bool,
    /// Without link-local ones.
    pub addresses: Vec<IpAddr>,
}

impl SurveyedLink {
    /// Whether it is the host side of a pod's link.
    pub fn is_pod(&self) -> bool {
        self.name.starts_with(LINK_PREFIX)
    }

    /// Whether packets leave the node over it: not a loopback, a pod's, or one that only carries service addresses.
    pub fn is_uplink(&self) -> bool {
        let local = self.name == "lo" || self.kind.as_deref() == Some("dummy");
        self.running && !self.is_pod() && !local && !self.addresses.is_empty()
    }
}

/// The kernel at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every link.
    pub links: Vec<SurveyedLink>,
    /// Neighbours known, IPv4 and IPv6.
    pub neighbours: (usize, usize),
    /// Some of our routes have more than one way out.
    pub multipath: bool,
}

/// Looks at the calling thread's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn survey() -> Result<Survey, Error> {
    let mut socket = Socket::open()?;
    let links = socket.dump("links", &get_link(None), |_, payload| Link::decode(payload))?;
    let addresses = socket.dump("addresses", &get_addresses(0), |_, payload| {
        Address::decode(payload)
    })?;
    let mut of_link: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for address in addresses.iter().filter(|a| !is_local(a.ip)) {
        of_link.entry(address.ifindex).or_default().push(address.ip);
    }
    let links = links.into_iter().map(|link| SurveyedLink {
        addresses: of_link.remove(&link.ifindex).unwrap_or_default(),
        running: link.up && link.carrier,
        alias: link.alias.unwrap_or_default(),
        name: link.name,
        kind: link.kind,
        mtu: link.mtu,
    });
    let links = links.collect();
    let mut count = |family| {
        let dump = socket.dump("neighbours", &get_neighbours(family, 0), |_, payload| {
            Neighbour::decode(payload)
        });
        dump.map(|all| all.len())
    };
    let neighbours = (count(INET)?, count(INET6)?);
    let hops = socket.dump("nexthops", &get_nexthops(), |_, payload| {
        NexthopEntry::decode(payload)
    })?;
    Ok(Survey {
        links,
        neighbours,
        multipath: hops
            .iter()
            .any(|hop| hop.protocol == ROUTE_PROTOCOL && hop.group.len() > 1),
    })
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
