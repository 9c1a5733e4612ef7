//! The underlay as a value: what events do to it and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use margay_proto::names::{LINK_PREFIX, ROUTE_PROTOCOL};

use super::{Address, Link};
use crate::kernel::events::Event;
use crate::kernel::netlink::object::{RT_TABLE_MAIN, RTN_UNICAST, RouteEntry, RouteHop};
use crate::kernel::nexthop::{NextHop, NextHops};

/// `RTN_THROW`: look on, as if the table ended here.
const RTN_THROW: u8 = 9;
/// `RTN_UNREACHABLE`, `RTN_BLACKHOLE` and `RTN_PROHIBIT` are 6 to 8.
const REFUSALS: std::ops::RangeInclusive<u8> = 6..=8;
const LOOPBACK: &str = "lo";

/// The node's links, addresses and main table, without what the agent made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    links: BTreeMap<u32, Link>,
    pod_links: BTreeSet<u32>,
    addresses: BTreeSet<Address>,
    /// By metric, best first.
    routes: BTreeMap<IpNetwork, Vec<RouteEntry>>,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The route that matched.
    pub prefix: IpNetwork,
    /// Its usable ways out.
    pub hops: BTreeSet<Hop>,
    /// Its metric.
    pub metric: u32,
    /// Whether the address is on a link of this node, with no router between.
    pub connected: bool,
    /// The source address that the route prefers.
    pub src: Option<IpAddr>,
}

/// A usable way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Router, unless the address is on the link.
    pub gateway: Option<IpAddr>,
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
}

impl Resolution {
    /// What a route through the resolved address uses: the routers, or the address itself where it is on the link.
    pub fn next_hops(&self, address: IpAddr) -> NextHops {
        self.hops
            .iter()
            .map(|hop| NextHop::new(hop.gateway.unwrap_or(address), hop.ifindex))
            .collect()
    }
}

impl Snapshot {
    /// How the address is reached: the longest prefix that has a usable way out, the best metric of it.
    ///
    /// `None` for the node's own addresses, for link-local ones (they mean nothing without a link), where a route refuses, and where none is.
    pub fn resolve(&self, address: IpAddr) -> Option<Resolution> {
        if self.is_own(address) || is_link_local(address) {
            return None;
        }
        let longest = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=longest).rev() {
            let prefix = truncated(address, length)?;
            for route in self.routes.get(&prefix).into_iter().flatten() {
                if REFUSALS.contains(&route.kind) {
                    return None;
                }
                let hops: BTreeSet<Hop> = route
                    .hops
                    .iter()
                    .filter_map(|hop| self.usable(hop))
                    .collect();
                if route.kind == RTN_UNICAST && !hops.is_empty() {
                    let connected = hops.iter().all(|hop| hop.gateway.is_none());
                    return Some(Resolution {
                        prefix,
                        hops,
                        metric: route.metric,
                        connected,
                        src: route.src,
                    });
                }
            }
        }
        None
    }

    /// Whether the address is the node's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.ip == address)
    }

    /// Smallest MTU of the links through which the address is reached, in octets.
    pub fn mtu_towards(&self, address: IpAddr) -> Option<u32> {
        self.resolve(address)?
            .hops
            .iter()
            .filter_map(|hop| Some(self.links.get(&hop.ifindex)?.mtu))
            .min()
    }

    /// The source address the node would use towards the address: the route's, or the link's first fit one of that family.
    pub fn source_towards(&self, address: IpAddr) -> Option<IpAddr> {
        let resolution = self.resolve(address)?;
        let link = resolution.hops.first()?.ifindex;
        let fits = |own: &&Address| {
            own.ifindex == link
                && own.ip.is_ipv4() == address.is_ipv4()
                && !own.is_unfit()
                && !is_link_local(own.ip)
        };
        let in_subnet = |own: &&Address| {
            IpNetwork::new(own.ip, own.prefix_len).is_ok_and(|subnet| subnet.contains(address))
        };
        let of_link = || self.addresses.iter().filter(fits);
        resolution.src.or_else(|| {
            of_link()
                .find(in_subnet)
                .or_else(|| of_link().next())
                .map(|own| own.ip)
        })
    }

    /// The link on which the node shares a subnet with `neighbour`. An address of link scope could be on any.
    pub fn link_shared_with(&self, neighbour: IpAddr) -> Option<&Link> {
        let shares = |own: &&Address| {
            let subnet = IpNetwork::new(own.ip, own.prefix_len);
            !own.is_unusable() && subnet.is_ok_and(|subnet| subnet.contains(neighbour))
        };
        let near = self.addresses.iter().filter(|_| !is_link_local(neighbour));
        let nearest = near.filter(shares).max_by_key(|own| own.prefix_len)?;
        self.links.get(&nearest.ifindex)
    }

    /// The link that has this address.
    pub fn link_of_address(&self, address: IpAddr) -> Option<&Link> {
        self.links
            .get(&self.addresses.iter().find(|own| own.ip == address)?.ifindex)
    }

    /// MTU of what leaves the node with this source address: that of its link, or for an address on a link that leads nowhere
    /// (a loopback or dummy one) the smallest of the links that default routes use, or else of all links with an address.
    pub fn mtu_of(&self, address: IpAddr) -> Option<u32> {
        let link = self.link_of_address(address)?;
        if leads_out(link) {
            return Some(link.mtu);
        }
        let default = truncated(address, 0)?;
        let routes = self.routes.get(&default).into_iter().flatten();
        let hops = routes.flat_map(|route| &route.hops);
        let used = hops.filter_map(|hop| self.links.get(&hop.ifindex));
        let addressed = || {
            let global = self.addresses.iter().filter(|own| !is_link_local(own.ip));
            global.filter_map(|own| self.links.get(&own.ifindex))
        };
        let smallest = |links: &mut dyn Iterator<Item = &Link>| {
            links.filter(|l| leads_out(l)).map(|l| l.mtu).min()
        };
        smallest(&mut used.into_iter()).or_else(|| smallest(&mut addressed()))
    }

    /// Whether the address is the node's and no link leads to it from outside: others reach it by a route only.
    pub fn is_apart(&self, address: IpAddr) -> bool {
        self.link_of_address(address).is_some_and(|l| !leads_out(l))
    }

    /// The node's own addresses, without those of pod links.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter()
    }

    /// The node's links, without pod links.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// One link by its index.
    pub fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    fn usable(&self, hop: &RouteHop) -> Option<Hop> {
        let link = self
            .links
            .get(&hop.ifindex)
            .filter(|link| link.up && link.carrier && link.name != LOOPBACK)?;
        Some(Hop {
            gateway: hop.gateway,
            ifindex: hop.ifindex,
            name: link.name.clone(),
        })
    }

    /// Applies an event; `true` when it may mean more than it says, so that everything has to be read again.
    pub(super) fn fold(&mut self, event: &Event) -> bool {
        match event {
            Event::Link(link) => {
                let was_up = self.links.get(&link.ifindex).is_some_and(|known| known.up);
                self.insert_link(link.clone());
                was_up && !link.up
            }
            Event::LinkGone(link) => {
                self.pod_links.remove(&link.ifindex);
                self.links.remove(&link.ifindex).is_some()
            }
            Event::Address(address) => {
                self.insert_address(address.clone());
                false
            }
            Event::AddressGone(address) => self.remove_address(address),
            Event::Route { entry, replaces } => self.route_seen(entry, *replaces),
            Event::RouteGone(entry) => self.route_gone(entry),
            Event::Nexthop(_) | Event::NexthopGone(_) => false,
        }
    }

    /// What follows when the kernel tells this.
    #[cfg(test)]
    pub(crate) fn told(events: impl IntoIterator<Item = Event>) -> Self {
        let mut snapshot = Self::default();
        for event in events {
            snapshot.fold(&event);
        }
        snapshot
    }

    pub(super) fn insert_link(&mut self, link: Link) {
        if link.name.starts_with(LINK_PREFIX) {
            self.pod_links.insert(link.ifindex);
            self.links.remove(&link.ifindex);
            return;
        }
        self.pod_links.remove(&link.ifindex);
        self.links.insert(link.ifindex, link);
    }

    pub(super) fn insert_address(&mut self, address: Address) {
        if self.pod_links.contains(&address.ifindex) {
            return;
        }
        self.remove_address(&address);
        self.addresses.insert(address);
    }

    fn remove_address(&mut self, gone: &Address) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|a| {
            (a.ifindex, a.ip, a.prefix_len) != (gone.ifindex, gone.ip, gone.prefix_len)
        });
        self.addresses.len() != before
    }

    pub(super) fn insert_route(&mut self, entry: RouteEntry) {
        if !self.is_relevant(&entry) {
            return;
        }
        let routes = self.routes.entry(entry.prefix).or_default();
        routes.retain(|known| !is_same(known, &entry));
        routes.push(entry);
        routes.sort_by_key(|route| route.metric);
    }

    fn route_seen(&mut self, entry: &RouteEntry, replaces: bool) -> bool {
        if entry.table != RT_TABLE_MAIN {
            return false;
        }
        let replaced = replaces
            && self
                .routes
                .get(&entry.prefix)
                .is_some_and(|all| all.iter().any(|known| known.metric == entry.metric));
        self.insert_route(entry.clone());
        // Which route a replacement or an additional IPv6 path took the place of is not in the message.
        replaced || (self.is_relevant(entry) && entry.hops.len() > 1 && entry.prefix.is_ipv6())
    }

    fn route_gone(&mut self, entry: &RouteEntry) -> bool {
        if !self.is_relevant(entry) {
            return false;
        }
        let Some(routes) = self.routes.get_mut(&entry.prefix) else {
            return false;
        };
        let before = routes.len();
        routes.retain(|known| !is_same(known, entry));
        // One path of several went, or one that is not known in this shape.
        let unclear =
            routes.len() == before && routes.iter().any(|known| known.metric == entry.metric);
        if routes.is_empty() {
            self.routes.remove(&entry.prefix);
        }
        unclear
    }

    /// The node's own routes of the main table that say where packets go.
    fn is_relevant(&self, entry: &RouteEntry) -> bool {
        let says =
            entry.kind == RTN_UNICAST || REFUSALS.contains(&entry.kind) || entry.kind == RTN_THROW;
        let of_pods = !entry.hops.is_empty()
            && entry
                .hops
                .iter()
                .all(|hop| self.pod_links.contains(&hop.ifindex));
        entry.table == RT_TABLE_MAIN
            && entry.protocol != ROUTE_PROTOCOL
            && entry.tos == 0
            && says
            && !of_pods
    }
}

/// Whether two messages are about one route: IPv6 has routes that differ in nothing but the link.
fn is_same(one: &RouteEntry, other: &RouteEntry) -> bool {
    one.metric == other.metric && one.kind == other.kind && one.hops == other.hops
}

fn leads_out(link: &Link) -> bool {
    link.name != LOOPBACK && link.kind.as_deref() != Some("dummy")
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn truncated(address: IpAddr, length: u8) -> Option<IpNetwork> {
    let prefix = IpNetwork::new(address, length).ok()?;
    IpNetwork::new(prefix.network(), length).ok()
}
