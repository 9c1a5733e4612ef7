//! What the speaker is told: itself, its peers, its own routes. Whole sets; the speaker computes differences.

mod protection;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::family::{Asn, Families, Family, PerFamily};
use crate::policy::{Policy, RouteSource};
use crate::wire::{Community, LargeCommunity, Origin};
pub use protection::{Password, Protection, Reach};

/// What cannot change while a speaker lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS; a peer may be shown another one (`PeerConfig::local_as`).
    pub local_as: Asn,
    /// BGP identifier, unique in the AS (RFC 6286).
    pub router_id: Ipv4Addr,
    /// The name that peers are told, for their operators.
    pub hostname: Option<String>,
    /// The speaker starts again after it has run here: R bit, and best path waits for the peers (RFC 4724 §4.1).
    pub restarting: bool,
    /// Families whose routes are still in the kernel from before the restart: the F bits.
    pub forwarding_preserved: Families,
    /// How long best path waits at most for the peers' End-of-RIB.
    pub deferral_time: Duration,
    /// Seconds that peers shall keep our routes after they lost us; at most 4095.
    pub restart_time: u16,
    /// How many equal paths a route may have.
    pub maximum_paths: usize,
    /// Equal paths may come through different neighbour ASes.
    pub multipath_relax: bool,
}

impl SpeakerConfig {
    /// A speaker that starts for the first time, with the defaults of a node: ECMP over up to 64 paths.
    pub fn new(local_as: Asn, router_id: Ipv4Addr) -> Self {
        Self {
            local_as,
            router_id,
            hostname: None,
            restarting: false,
            forwarding_preserved: Families::NONE,
            deferral_time: Duration::from_secs(10),
            restart_time: 120,
            maximum_paths: 64,
            multipath_relax: true,
        }
    }
}

/// The whole set of peers.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// One entry for each peer address; of several for one address the first counts.
    pub peers: Vec<PeerConfig>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer's address: its name here, and where to connect to.
    pub address: IpAddr,
    /// For people.
    pub description: String,
    /// Why it is held down, with an administrative shutdown; `None` when it is not.
    pub held_down: Option<String>,
    /// The AS that the peer must be in.
    pub remote_as: RemoteAs,
    /// The AS that we say we are, when it is not the speaker's own.
    pub local_as: Option<Asn>,
    /// Never connect, only accept.
    pub passive: bool,
    /// TCP port of the peer.
    pub remote_port: u16,
    /// Address to connect from.
    pub source: Option<IpAddr>,
    /// Name of the link that the peer is on, for rules that ask; `None` when it is on none of ours.
    pub link: Option<String>,
    /// Proposed hold time in seconds, 0 for none; keepalives go out every third of what is agreed on.
    pub hold_time: u16,
    /// Pause between attempts to connect; doubles up to eight times while they fail.
    pub connect_retry: Duration,
    /// Families to offer.
    pub families: Families,
    /// Our addresses as next hops, whichever family the transport is of.
    pub local_addresses: LocalAddresses,
    /// To an internal peer, name ourselves as next hop also for routes learned from external peers.
    pub next_hop_self: bool,
    /// How often our own AS may stand in a path that is used.
    pub allow_own_as: u8,
    /// The first AS of an external peer's paths must be its own.
    pub enforce_first_as: bool,
    /// Offer graceful restart, and keep the peer's routes while it restarts.
    pub graceful_restart: bool,
    /// More prefixes than this end the session until the configuration changes or it is reset.
    pub maximum_prefixes: PerFamily<Option<u32>>,
    /// What is used of that which the peer announces.
    pub import: Policy,
    /// What the peer is told.
    pub export: Policy,
    /// What guards the connection below BGP; for the driver, carried through in [`Dial`](crate::Dial).
    pub protection: Protection,
    /// RFC 5882; for the driver, which runs the session and says what came of it by [`Speaker::path_lost`](crate::Speaker::path_lost).
    pub bfd: Option<crate::bfd::Parameters>,
}

impl PeerConfig {
    /// A peer with both families, hold time 9 s, graceful restart, and policies that let nothing through (RFC 8212).
    pub fn new(address: IpAddr, remote_as: RemoteAs) -> Self {
        Self {
            address,
            description: String::new(),
            held_down: None,
            remote_as,
            local_as: None,
            passive: false,
            remote_port: 179,
            source: None,
            link: None,
            hold_time: 9,
            connect_retry: Duration::from_secs(2),
            families: Families::BOTH,
            local_addresses: LocalAddresses::default(),
            next_hop_self: false,
            allow_own_as: 0,
            enforce_first_as: true,
            graceful_restart: true,
            maximum_prefixes: PerFamily::default(),
            import: Policy::reject_all(),
            export: Policy::reject_all(),
            protection: Protection::default(),
            bfd: None,
        }
    }

    /// Whether going from `self` to `new` needs a new session. Policies, next hops, limits and texts do not, and another
    /// password or distance is set on the connection that is there.
    pub(crate) fn needs_reset(&self, new: &Self) -> bool {
        let session = |config: &Self| {
            (
                (
                    config.remote_as,
                    config.local_as,
                    config.hold_time,
                    config.families,
                ),
                (
                    config.graceful_restart,
                    config.protection.password.is_some(),
                    config.source,
                    config.remote_port,
                ),
            )
        };
        session(self) != session(new)
    }
}

/// Which AS a peer may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoteAs {
    /// Exactly this one.
    Number(Asn),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

impl RemoteAs {
    /// Whether a peer of AS `asn` is the one that is meant.
    pub fn admits(self, asn: Asn, local_as: Asn) -> bool {
        match self {
            Self::Number(number) => number == asn,
            Self::Internal => asn == local_as,
            Self::External => asn != local_as,
        }
    }
}

impl fmt::Display for RemoteAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Internal => f.write_str("internal"),
            Self::External => f.write_str("external"),
        }
    }
}

/// Our own address in each family. A family without one is filled in from the connection if that is of the
/// family; without any, nothing of the family is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalAddresses {
    /// Next hop of IPv4 routes.
    pub v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes.
    pub v6: Option<Ipv6Addr>,
}

impl LocalAddresses {
    /// The address of `family`.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4Unicast => self.v4.map(IpAddr::V4),
            Family::Ipv6Unicast => self.v6.map(IpAddr::V6),
        }
    }

    /// Fills the family of `address` in where it is missing.
    #[must_use]
    pub(crate) fn or(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.v4 = self.v4.or(Some(address)),
            IpAddr::V6(address) if !address.is_unicast_link_local() => {
                self.v6 = self.v6.or(Some(address))
            }
            IpAddr::V6(_) => {}
        }
        self
    }
}

/// A route of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origination {
    /// The prefix.
    pub prefix: IpNetwork,
    /// What it is, for export policy.
    pub source: RouteSource,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF towards internal peers; 100 when not set.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<LargeCommunity>,
    /// `None`: the local address of each session; otherwise this one, towards internal peers.
    pub next_hop: Option<IpAddr>,
}

impl Origination {
    /// A plain static route of origin IGP whose next hop is this node.
    pub fn new(prefix: IpNetwork) -> Self {
        Self {
            prefix,
            source: RouteSource::Static,
            origin: Origin::Igp,
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
            next_hop: None,
        }
    }
}
