//! What a person sees: peers and routes as plain data, every reason in words.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::family::{Asn, Family, PerFamily};
use crate::session::State;
use crate::wire::Origin;

/// One peer, at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Address of the peer.
    pub address: IpAddr,
    /// The configured description.
    pub description: String,
    /// The AS that the configuration asks for: a number, `internal` or `external`.
    pub configured_as: String,
    /// The AS of the peer's OPEN.
    pub remote_as: Option<Asn>,
    /// The AS that we show it.
    pub local_as: Asn,
    /// The peer's BGP identifier.
    pub router_id: Option<Ipv4Addr>,
    /// State of the connection that is furthest.
    pub state: State,
    /// Held down by configuration.
    pub enabled: bool,
    /// Whole seconds in Established.
    pub uptime_seconds: Option<u64>,
    /// How often the session has been Established.
    pub established_count: u64,
    /// Our address of the connection.
    pub local_address: Option<IpAddr>,
    /// What we offered.
    pub capabilities_sent: Vec<String>,
    /// What the peer offered.
    pub capabilities_received: Vec<String>,
    /// Families that both speak.
    pub families: Vec<Family>,
    /// Agreed hold time in seconds, configured one before.
    pub hold_time_seconds: u64,
    /// Interval of keepalives in seconds.
    pub keepalive_seconds: u64,
    /// Seconds until the hold timer expires.
    pub hold_remaining_seconds: Option<u64>,
    /// Seconds until the next attempt to connect.
    pub connect_retry_seconds: Option<u64>,
    /// Seconds for which stale routes are still kept.
    pub stale_remaining_seconds: Option<u64>,
    /// The last NOTIFICATION we sent.
    pub last_sent: Option<LastError>,
    /// The last NOTIFICATION we received.
    pub last_received: Option<LastError>,
    /// Why the session is not up or was last lost, in words.
    pub last_error: Option<LastError>,
    /// The last malformed attribute that did not end the session.
    pub last_fault: Option<LastError>,
    /// Messages and octets.
    pub counters: Counters,
    /// Prefixes, for each family.
    pub prefixes: PerFamily<PrefixCounts>,
}

/// Something that went wrong, and when.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// What happened.
    pub reason: String,
    /// Whole seconds since.
    pub seconds_ago: u64,
}

/// Messages and octets of a peer since it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Messages received.
    pub messages_received: u64,
    /// Of these UPDATE.
    pub updates_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Of these UPDATE.
    pub updates_sent: u64,
    /// Octets received.
    pub octets_received: u64,
    /// Octets sent.
    pub octets_sent: u64,
    /// Malformed attributes that did not end the session.
    pub faults: u64,
}

/// Prefixes of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrefixCounts {
    /// Announced by the peer.
    pub received: u32,
    /// Of these passed by policy and loop checks.
    pub accepted: u32,
    /// Told to the peer.
    pub advertised: u32,
    /// Received ones kept from before the peer restarted.
    pub stale: u32,
    /// The configured limit.
    pub maximum: Option<u32>,
}

/// What the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableSize {
    /// Prefixes.
    pub prefixes: PerFamily<usize>,
    /// Their paths, those that are not used too.
    pub paths: PerFamily<usize>,
    /// Distinct attribute sets in use.
    pub attribute_sets: usize,
    /// Groups of peers that are told the same.
    pub update_groups: usize,
}

/// Which routes to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Which table.
    pub view: View,
    /// Only this prefix.
    pub lookup: Option<Lookup>,
}

/// Which prefix to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This one and no other.
    Exactly(IpNetwork),
    /// The longest that covers the address, among those of the view.
    Covering(IpAddr),
}

/// A table to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Every path of every route.
    #[default]
    All,
    /// Only paths in use.
    Best,
    /// What a peer announced.
    In(IpAddr),
    /// What a peer is told.
    Out(IpAddr),
}

/// One prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: IpNetwork,
    /// Its paths, best first.
    pub paths: Vec<PathStatus>,
}

/// One path of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStatus {
    /// The peer it came from; none for our own routes.
    pub peer: Option<IpAddr>,
    /// The one that is announced further.
    pub best: bool,
    /// Packets are sent this way.
    pub multipath: bool,
    /// Kept while the peer restarts.
    pub stale: bool,
    /// Why it is used or what it lost by.
    pub reason: String,
    /// Next hop, with a link-local one in parentheses.
    pub next_hop: Option<String>,
    /// Distance to the next hop, if it resolves.
    pub metric: Option<u32>,
    /// AS_PATH.
    pub as_path: String,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF as it counts.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<String>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<String>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Vec<String>,
}
