//! What rules ask about a route and about the peer.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{CommunityPattern, Facing, PathPattern, Subject};
use crate::family::Asn;

/// A property of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The prefix is in one of these ranges.
    Prefix(Vec<PrefixRange>),
    /// The next hop is in one of these prefixes; a route of our own that names none has none.
    NextHop(Vec<IpNetwork>),
    /// The route is of one of these kinds.
    Source(Vec<RouteSource>),
    /// It carries a community that one of these names.
    AnyCommunity(Vec<CommunityPattern>),
    /// It carries a community for each of these.
    AllCommunities(Vec<CommunityPattern>),
    /// It carries none that one of these names.
    NoCommunity(Vec<CommunityPattern>),
    /// The last AS of the path is one of these; an empty path has none.
    OriginAs(Vec<Asn>),
    /// The first AS of the path is one of these; an empty path has none.
    NeighbourAs(Vec<Asn>),
    /// The path has at least and at most so many numbers.
    PathLength(usize, usize),
    /// The path as text matches.
    Path(PathPattern),
}

/// A property of the peer: the one that told the route, on import; the one that is to be told, on export.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerCondition {
    /// Its address is in one of these prefixes.
    Address(Vec<IpNetwork>),
    /// It is in one of these ASes.
    As(Vec<Asn>),
    /// It is in another AS than we (`true`), or in ours.
    External(bool),
    /// It is on a link of one of these names; a `*` at the end stands for any.
    Link(Vec<String>),
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteSource {
    /// A block of pod addresses of this node.
    PodBlock,
    /// A single pod address that is apart from the node's blocks.
    PodAddress,
    /// A service address.
    Service,
    /// An address of the node itself.
    Node,
    /// Configured.
    #[default]
    Static,
    /// A peer.
    Learned,
}

/// A prefix and the lengths of its more specifics that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    /// The covering prefix.
    pub prefix: IpNetwork,
    /// Shortest length that matches.
    pub at_least: u8,
    /// Longest length that matches.
    pub at_most: u8,
}

impl Condition {
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        let attributes = subject.attributes;
        let path = &attributes.as_path;
        let carries = |pattern: &CommunityPattern| pattern.is_on(attributes);
        match self {
            Self::Prefix(ranges) => ranges.iter().any(|range| range.contains(subject.prefix)),
            Self::NextHop(nets) => attributes
                .next_hop
                .is_some_and(|next_hop| any_contains(nets, next_hop.address)),
            Self::Source(sources) => sources.contains(&subject.source),
            Self::AnyCommunity(patterns) => patterns.iter().any(carries),
            Self::AllCommunities(patterns) => patterns.iter().all(carries),
            Self::NoCommunity(patterns) => !patterns.iter().any(carries),
            Self::OriginAs(asns) => path.asns().last().is_some_and(|asn| asns.contains(asn)),
            Self::NeighbourAs(asns) => path.neighbour().is_some_and(|asn| asns.contains(&asn)),
            Self::PathLength(least, most) => (*least..=*most).contains(&path.len()),
            Self::Path(pattern) => pattern.matches(path),
        }
    }
}

impl PeerCondition {
    pub(super) fn holds(&self, session: &Facing<'_>) -> bool {
        match self {
            Self::Address(nets) => any_contains(nets, session.peer),
            Self::As(asns) => asns.contains(&session.remote_as),
            Self::External(external) => session.external == *external,
            Self::Link(names) => session
                .link
                .is_some_and(|link| names.iter().any(|name| is_named(link, name))),
        }
    }
}

fn is_named(link: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => link.starts_with(beginning),
        None => link == name,
    }
}

fn any_contains(nets: &[IpNetwork], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(address))
}

impl RouteSource {
    /// Every kind of route of our own.
    pub const OWN: [Self; 5] = [
        Self::PodBlock,
        Self::PodAddress,
        Self::Service,
        Self::Node,
        Self::Static,
    ];
}

impl PrefixRange {
    /// The prefix itself and everything inside it.
    pub fn or_longer(prefix: IpNetwork) -> Self {
        let at_most = if prefix.is_ipv4() { 32 } else { 128 };
        Self {
            prefix,
            at_least: prefix.prefix(),
            at_most,
        }
    }

    /// The prefix itself only.
    pub fn exact(prefix: IpNetwork) -> Self {
        Self {
            prefix,
            at_least: prefix.prefix(),
            at_most: prefix.prefix(),
        }
    }

    /// Whether `other` is inside, with a length that counts.
    pub fn contains(&self, other: &IpNetwork) -> bool {
        self.prefix.prefix() <= other.prefix()
            && (self.at_least..=self.at_most).contains(&other.prefix())
            && self.prefix.contains(other.network())
    }
}

/// What the condition asks, as `margayctl bgp why` names it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix(_) => "prefix",
            Self::NextHop(_) => "next hop",
            Self::Source(_) => "source",
            Self::AnyCommunity(_) | Self::AllCommunities(_) | Self::NoCommunity(_) => "communities",
            Self::OriginAs(_) => "origin AS",
            Self::NeighbourAs(_) => "neighbour AS",
            Self::PathLength(..) => "length of the AS path",
            Self::Path(_) => "regular expression of the AS path",
        })
    }
}

impl fmt::Display for PeerCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address(_) => "peer address",
            Self::As(_) => "peer AS",
            Self::External(_) => "peer type",
            Self::Link(_) => "interface",
        })
    }
}

impl fmt::Display for RouteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PodBlock => "pod block",
            Self::PodAddress => "pod address",
            Self::Service => "service",
            Self::Node => "node",
            Self::Static => "static",
            Self::Learned => "learned",
        })
    }
}
