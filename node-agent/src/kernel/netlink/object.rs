//! Links, addresses, routes, nexthops and neighbours as the kernel reports them: only what the agent looks at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::message::{Attributes, INET, INET6, Message, family_of, ip, text, u16_at, u32_at};
use crate::kernel::link::Mac;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index, unique in its namespace.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// MTU in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Has carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Ethernet address, if the link has one.
    pub mac: Option<Mac>,
    /// `ifalias`.
    pub alias: Option<String>,
    /// Our id of the namespace that the other end (of a veth) is in.
    pub peer_netns: Option<i32>,
    /// Index of the other end (of a veth), in its namespace.
    pub(crate) peer_ifindex: Option<u32>,
    /// `in6_addr_gen_mode`; 1 is none.
    pub(crate) addr_gen_mode: Option<u8>,
    /// Kind, as in `ip link add type`.
    pub(crate) kind: Option<String>,
}

/// An address of this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Interface that has it.
    pub ifindex: u32,
    /// The address itself.
    pub ip: IpAddr,
    /// Prefix length of its subnet.
    pub prefix_len: u8,
    /// `IFA_F_*`.
    pub flags: u32,
}

impl Address {
    /// Whether new connections should not use it as their source (deprecated, tentative or duplicate).
    pub const fn is_unfit(&self) -> bool {
        self.flags & (libc::IFA_F_DEPRECATED | libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0
    }

    /// Whether nothing can be bound to it: another host may have it, or has.
    pub const fn is_unusable(&self) -> bool {
        self.flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0
    }

    /// Whether it is a secondary or temporary one (one bit for both), or on its way out.
    pub const fn is_passing(&self) -> bool {
        self.flags & (libc::IFA_F_SECONDARY | libc::IFA_F_DEPRECATED) != 0
    }
}

/// One way out of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteHop {
    /// Router; none where the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub ifindex: u32,
}

/// A route of any owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// Destination.
    pub prefix: IpNetwork,
    /// Table number; 254 is main.
    pub table: u32,
    /// `rtm_protocol`: the owner.
    pub protocol: u8,
    /// `RTN_*`: 1 unicast, 7 unreachable.
    pub kind: u8,
    /// `rtm_tos`.
    pub tos: u8,
    /// Priority; smaller wins.
    pub metric: u32,
    /// Preferred source.
    pub src: Option<IpAddr>,
    /// Nexthop object.
    pub nexthop: Option<u32>,
    /// The ways out, sorted; empty for unreachable and its like.
    pub hops: Vec<RouteHop>,
}

/// A nexthop object of any owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexthopEntry {
    /// Its id.
    pub id: u32,
    /// The owner, numbered like routes.
    pub protocol: u8,
    /// Members of a group; empty for a single.
    pub group: Vec<u32>,
    /// Router of a single.
    pub gateway: Option<IpAddr>,
    /// Interface of a single.
    pub ifindex: Option<u32>,
    /// Resolved without asking the routes.
    pub onlink: bool,
}

/// A neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) ip: IpAddr,
    pub(crate) mac: Option<Mac>,
    pub(crate) permanent: bool,
}

pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
pub(crate) const NHA_ID: u16 = 1;
pub(crate) const NHA_GROUP: u16 = 2;
pub(crate) const NHA_OIF: u16 = 5;
pub(crate) const NHA_GATEWAY: u16 = 6;
/// `RTNH_F_ONLINK`.
pub(crate) const RTNH_F_ONLINK: u32 = 4;

pub(crate) const RT_TABLE_MAIN: u32 = 254;
pub(crate) const RTN_UNICAST: u8 = 1;
pub(crate) const RTN_UNREACHABLE: u8 = 7;
const RTM_F_CLONED: u32 = 0x200;

pub(crate) const IFLA_LINK_NETNSID: u16 = 37;
pub(crate) const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `RTEXT_FILTER_SKIP_STATS`: counters are half of a link's message.
const SKIP_STATS: u32 = 8;
const NUD_PERMANENT: u16 = 0x80;

/// Dump of all links, or a request for one.
pub(crate) fn get_link(name: Option<&str>) -> Message {
    let message = Message::new(libc::RTM_GETLINK, 0)
        .link(0, 0, 0)
        .u32(libc::IFLA_EXT_MASK, SKIP_STATS);
    match name {
        Some(name) => message.text(libc::IFLA_IFNAME, name),
        None => message,
    }
}

pub(crate) fn get_addresses(ifindex: u32) -> Message {
    Message::new(libc::RTM_GETADDR, 0).address(0, 0, 0, 0, ifindex)
}

pub(crate) fn get_neighbours(family: u8, ifindex: u32) -> Message {
    Message::new(libc::RTM_GETNEIGH, 0)
        .neighbour(family, 0, 0)
        .u32(libc::NDA_IFINDEX, ifindex)
}

/// Dump of the main table; protocol 0 is everyone's.
pub(crate) fn get_routes(family: u8, protocol: u8) -> Message {
    let mut bytes = [0; 12];
    bytes[0] = family;
    bytes[5] = protocol;
    Message::new(libc::RTM_GETROUTE, 0)
        .raw(&bytes)
        .u32(libc::RTA_TABLE, RT_TABLE_MAIN)
}

pub(crate) fn get_nexthops() -> Message {
    Message::new(RTM_GETNEXTHOP, 0).raw(&[0; 8])
}

impl Link {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        // AF_UNSPEC only: the bridge module reports its ports under AF_BRIDGE with the same message types.
        if payload.first() != Some(&0) {
            return None;
        }
        let flags = u32_at(payload, 8)?;
        let attributes = Attributes::after(payload, 16);
        let info = attributes.find(libc::IFLA_LINKINFO).map(Attributes);
        Some(Self {
            ifindex: u32_at(payload, 4)?,
            name: text(attributes.find(libc::IFLA_IFNAME)?),
            mtu: attributes
                .find(libc::IFLA_MTU)
                .and_then(|v| u32_at(v, 0))
                .unwrap_or_default(),
            up: flags & libc::IFF_UP.cast_unsigned() != 0,
            carrier: flags & libc::IFF_LOWER_UP.cast_unsigned() != 0,
            mac: attributes
                .find(libc::IFLA_ADDRESS)
                .and_then(Mac::from_slice),
            alias: attributes.find(libc::IFLA_IFALIAS).map(text),
            peer_netns: attributes
                .find(IFLA_LINK_NETNSID)
                .and_then(|v| u32_at(v, 0))
                .map(u32::cast_signed),
            peer_ifindex: attributes.find(libc::IFLA_LINK).and_then(|v| u32_at(v, 0)),
            addr_gen_mode: addr_gen_mode(attributes),
            kind: info.and_then(|i| i.find(libc::IFLA_INFO_KIND)).map(text),
        })
    }
}

fn addr_gen_mode(attributes: Attributes<'_>) -> Option<u8> {
    let families = Attributes(attributes.find(libc::IFLA_AF_SPEC)?);
    let inet6 = Attributes(families.find(u16::from(INET6))?);
    inet6.find(IFLA_INET6_ADDR_GEN_MODE)?.first().copied()
}

impl Address {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::after(payload, 8);
        // IFA_LOCAL is the own address of a point-to-point link, where IFA_ADDRESS is the peer's; IPv6 often has only the latter.
        let own = attributes
            .find(libc::IFA_LOCAL)
            .or_else(|| attributes.find(libc::IFA_ADDRESS))?;
        let flags = attributes.find(libc::IFA_FLAGS).and_then(|v| u32_at(v, 0));
        Some(Self {
            ifindex: u32_at(payload, 4)?,
            ip: ip(own)?,
            prefix_len: *payload.get(1)?,
            flags: flags.unwrap_or_else(|| payload.get(2).copied().unwrap_or_default().into()),
        })
    }
}

impl RouteEntry {
    /// `None` for cached clones and families that are not ours.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let &[family, prefix_len, _, tos, table, protocol, _, kind] = payload.first_chunk::<8>()?;
        let flags = u32_at(payload, 8)?;
        if flags & RTM_F_CLONED != 0 {
            return None;
        }
        let attributes = Attributes::after(payload, 12);
        let any = match family {
            INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let destination = attributes.find(libc::RTA_DST).map_or(Some(any), ip)?;
        // IPv6 reports unreachable routes as going out of the loopback.
        let hops = if kind == RTN_UNICAST {
            hops(attributes)
        } else {
            Vec::new()
        };
        Some(Self {
            prefix: IpNetwork::new(destination, prefix_len).ok()?,
            table: attributes
                .find(libc::RTA_TABLE)
                .and_then(|v| u32_at(v, 0))
                .unwrap_or_else(|| table.into()),
            protocol,
            kind,
            tos,
            metric: attributes
                .find(libc::RTA_PRIORITY)
                .and_then(|v| u32_at(v, 0))
                .unwrap_or_default(),
            src: attributes.find(libc::RTA_PREFSRC).and_then(ip),
            nexthop: attributes.find(RTA_NH_ID).and_then(|v| u32_at(v, 0)),
            hops,
        })
    }
}

pub(crate) const RTA_NH_ID: u16 = 30;

fn hops(attributes: Attributes<'_>) -> Vec<RouteHop> {
    let Some(mut rest) = attributes.find(libc::RTA_MULTIPATH) else {
        let ifindex = attributes.find(libc::RTA_OIF).and_then(|v| u32_at(v, 0));
        return ifindex
            .map(|ifindex| RouteHop {
                gateway: gateway(attributes),
                ifindex,
            })
            .into_iter()
            .collect();
    };
    let mut hops = Vec::new();
    // struct rtnexthop { u16 len; u8 flags; u8 hops; int ifindex; } and attributes.
    while let (Some(length), Some(ifindex)) = (u16_at(rest, 0), u32_at(rest, 4)) {
        let Some(inside) = rest.get(8..usize::from(length)) else {
            break;
        };
        hops.push(RouteHop {
            gateway: gateway(Attributes(inside)),
            ifindex,
        });
        rest = rest
            .get(usize::from(length).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    hops.sort();
    hops
}

fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    if let Some(gateway) = attributes.find(libc::RTA_GATEWAY) {
        return ip(gateway);
    }
    // struct rtvia { u16 family; u8 addr[]; }: an IPv6 router of an IPv4 route.
    ip(attributes.find(libc::RTA_VIA)?.get(2..)?)
}

impl NexthopEntry {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::after(payload, 8);
        let group = attributes.find(NHA_GROUP).unwrap_or_default();
        Some(Self {
            id: attributes.find(NHA_ID).and_then(|v| u32_at(v, 0))?,
            protocol: *payload.get(2)?,
            group: group
                .chunks_exact(8)
                .filter_map(|member| u32_at(member, 0))
                .collect(),
            gateway: attributes.find(NHA_GATEWAY).and_then(ip),
            ifindex: attributes.find(NHA_OIF).and_then(|v| u32_at(v, 0)),
            onlink: u32_at(payload, 4)? & RTNH_F_ONLINK != 0,
        })
    }
}

impl Neighbour {
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::after(payload, 12);
        Some(Self {
            ip: attributes.find(libc::NDA_DST).and_then(ip)?,
            mac: attributes.find(libc::NDA_LLADDR).and_then(Mac::from_slice),
            permanent: u16_at(payload, 8)? & NUD_PERMANENT != 0,
        })
    }
}

/// Request for a permanent neighbour entry.
pub(crate) fn new_neighbour(ifindex: u32, ip: IpAddr, mac: Mac) -> Message {
    Message::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE)
        .neighbour(family_of(ip), ifindex, NUD_PERMANENT)
        .ip(libc::NDA_DST, ip)
        .attr(libc::NDA_LLADDR, &mac.octets())
}

/// Request for an address of a link, usable at once (no duplicate address detection).
pub(crate) fn new_address(ifindex: u32, ip: IpAddr, prefix_len: u8) -> Message {
    let nodad = if ip.is_ipv6() { libc::IFA_F_NODAD } else { 0 };
    Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE)
        .address(family_of(ip), prefix_len, nodad as u8, 0, ifindex)
        .ip(libc::IFA_LOCAL, ip)
        .ip(libc::IFA_ADDRESS, ip)
        .u32(libc::IFA_FLAGS, nodad)
}
