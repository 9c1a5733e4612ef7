//! `BGPFilter`: ordered rules that decide which routes are used and told, and change them on the way.

mod schema;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a newer definition holds and this version does not know. Whoever acts on the object must refuse it: a condition that is passed over
/// would let more through than was meant.
pub type Unknown = BTreeMap<String, Value>;

/// Ordered rules. A BGPPeer names filters in `importFilters` and `exportFilters`; of all their rules, in order, the first that accepts or rejects a route decides.
/// What no rule decides is used on import, and told on export if the node itself originates it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "BGPFilter",
    plural = "bgpfilters",
    singular = "bgpfilter",
    derive = "PartialEq",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BGPFilterSpec {
    /// Tried in order.
    #[schemars(length(max = 64))]
    #[serde(default)]
    pub rules: Vec<FilterRule>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What a route must be like, what is changed, and what is decided.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.set) || self.action != 'Reject'", "set goes with the actions Accept and Continue: a rejected route is not changed"))]
#[serde(rename_all = "camelCase")]
pub struct FilterRule {
    /// For people: `margayctl bgp why` shows it.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All that is given here must hold; every route when left out.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<FilterMatch>,
    /// What is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<FilterSet>,
    /// `Accept` and `Reject` decide; `Continue` makes the changes and leaves the decision to the rules that follow. On export a rule that accepts and names no `sources` is for the node's own routes only.
    pub action: FilterAction,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What becomes of a route.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum FilterAction {
    /// Used, or told.
    Accept,
    /// Not used, or not told.
    Reject,
    /// The next rules decide.
    Continue,
    /// Of a newer version.
    #[default]
    #[schemars(skip)]
    #[serde(other)]
    Unknown,
}

/// Properties of a route and of the peer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterMatch {
    /// The prefix is in one of these.
    #[schemars(length(min = 1, max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Vec<FilterPrefix>>,
    /// The next hop is in one of these networks, or one of these addresses.
    #[schemars(schema_with = "schema::networks")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hops: Option<Vec<String>>,
    /// The peer that told the route (import), or is to be told (export).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<FilterPeer>,
    /// What the route is: of this node one of `PodBlock`, `PodAddress` (an address apart from its blocks), `Service`, `Node` (its own address), `Static`; `Learned` from a peer.
    #[schemars(length(min = 1, max = 6))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<FilterSource>>,
    /// The communities that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<FilterCommunities>,
    /// The AS path.
    #[serde(default, rename = "asPath", skip_serializing_if = "Option::is_none")]
    pub as_path: Option<FilterPath>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A prefix; with `ge` or `le` also more specific ones, of these lengths.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("isCIDR(self.prefix) && cidr(self.prefix) == cidr(self.prefix).masked()", "prefix must be a network in CIDR notation without host bits, such as 192.0.2.0/24 (given: {self.prefix})"))]
#[x_kube(validation = ("!isCIDR(self.prefix) || (!has(self.ge) || (self.ge >= cidr(self.prefix).prefixLength() && self.ge <= (has(self.le) ? self.le : 128) && (self.ge <= 32 || cidr(self.prefix).ip().family() == 6))) && (!has(self.le) || (self.le >= cidr(self.prefix).prefixLength() && (self.le <= 32 || cidr(self.prefix).ip().family() == 6)))", "ge and le must be lengths from that of the prefix up to 32 (IPv4) or 128 (IPv6), ge not above le (given: prefix {self.prefix})"))]
#[serde(rename_all = "camelCase")]
pub struct FilterPrefix {
    /// The prefix.
    #[schemars(length(max = 43))]
    pub prefix: String,
    /// Shortest length that matches; the prefix's own when left out.
    #[schemars(range(min = 0, max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ge: Option<u8>,
    /// Longest length that matches; when left out the longest there is if `ge` is given, else the prefix's own.
    #[schemars(range(min = 0, max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<u8>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Properties of the peer; all that are given must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterPeer {
    /// Its address is in one of these networks, or one of these addresses.
    #[schemars(schema_with = "schema::networks")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// It is in one of these ASes.
    #[schemars(
        length(min = 1, max = 64),
        inner(range(min = 1, max = 4_294_967_295_u32))
    )]
    #[serde(default, rename = "asNumbers", skip_serializing_if = "Option::is_none")]
    pub as_numbers: Option<Vec<u32>>,
    /// It is on one of these network interfaces of the node; `*` at the end stands for any. A peer that shares no subnet with the node is on none.
    #[schemars(schema_with = "schema::interfaces")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
    /// `Internal` (of the node's own AS) or `External`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FilterPeerType>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Whether a peer is in the node's AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum FilterPeerType {
    /// It is.
    Internal,
    /// It is not.
    External,
    /// Of a newer version.
    #[schemars(skip)]
    #[serde(other)]
    Unknown,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum FilterSource {
    /// A block of pod addresses.
    PodBlock,
    /// A pod address apart from the node's blocks.
    PodAddress,
    /// A service address.
    Service,
    /// The node's own address.
    Node,
    /// Configured.
    Static,
    /// A peer.
    Learned,
    /// Of a newer version.
    #[schemars(skip)]
    #[serde(other)]
    Unknown,
}

/// Communities of all kinds: `65000:100` or a well-known name, large `65000:1:2`, extended `rt:65000:100`, `soo:65000:100` or `0x` with 16 digits. `*` stands for any number.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterCommunities {
    /// The route carries one of these at least.
    #[schemars(schema_with = "schema::patterns")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Vec<String>>,
    /// It carries each of these.
    #[schemars(schema_with = "schema::patterns")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_of: Option<Vec<String>>,
    /// It carries none of these.
    #[schemars(schema_with = "schema::patterns")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Vec<String>>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Properties of the AS path; all that are given must hold. A route of the node's own AS has an empty one, without origin and neighbour.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.minLength) || !has(self.maxLength) || self.minLength <= self.maxLength", "minLength may not exceed maxLength"))]
#[serde(rename_all = "camelCase")]
pub struct FilterPath {
    /// The last AS is one of these.
    #[schemars(
        length(min = 1, max = 64),
        inner(range(min = 1, max = 4_294_967_295_u32))
    )]
    #[serde(default, rename = "originAS", skip_serializing_if = "Option::is_none")]
    pub origin_as: Option<Vec<u32>>,
    /// The first AS is one of these.
    #[schemars(
        length(min = 1, max = 64),
        inner(range(min = 1, max = 4_294_967_295_u32))
    )]
    #[serde(
        default,
        rename = "neighbourAS",
        skip_serializing_if = "Option::is_none"
    )]
    pub neighbour_as: Option<Vec<u32>>,
    /// It has so many numbers at least, each counted as often as it is there.
    #[schemars(range(min = 0, max = 16384))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u16>,
    /// And at most.
    #[schemars(range(min = 0, max = 16384))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u16>,
    /// A regular expression is found in it, written as decimal numbers with a space between, the nearest first. `_` stands for what is between numbers, or before the first or after the last. Digits, spaces and `_ ^ $ . * + ? | ( ) [ ] { } - ,` only.
    #[schemars(schema_with = "schema::regex")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Changes, made in this order.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterSet {
    /// LOCAL_PREF; what external peers are told has none.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// Communities, of all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<FilterCommunityChange>,
    /// AS numbers to put in front of the path; not towards internal peers (RFC 4271 section 5.1.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepend: Option<FilterPrepend>,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<FilterNextHop>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `replace`, then `remove`, then `add`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterCommunityChange {
    /// In place of all there are, of every kind; an empty list removes all.
    #[schemars(schema_with = "schema::communities")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<Vec<String>>,
    /// Taken off; `*` stands for any number.
    #[schemars(schema_with = "schema::patterns")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<String>>,
    /// Put on where they are missing.
    #[schemars(schema_with = "schema::communities")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<String>>,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// So many times the same AS number.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterPrepend {
    /// Which one; when left out on export the one that the node shows the peer, on import the peer's.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[serde(default, rename = "asNumber", skip_serializing_if = "Option::is_none")]
    pub as_number: Option<u32>,
    /// How often.
    #[schemars(range(min = 1, max = 16))]
    #[serde(default = "once")]
    pub times: u8,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Addresses, each for routes of its family (of the other family keep theirs), or the node itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("(has(self.ipv4) || has(self.ipv6)) != (has(self.node) && self.node)", "nextHop must be either `node: true` or ipv4, ipv6 or both"))]
#[x_kube(validation = ("!has(self.ipv4) || (isIP(self.ipv4) && ip(self.ipv4).family() == 4 && ip(self.ipv4).isGlobalUnicast())", "nextHop.ipv4 must be a unicast IPv4 address (given: {self.ipv4})"))]
#[x_kube(validation = ("!has(self.ipv6) || (isIP(self.ipv6) && ip(self.ipv6).family() == 6 && ip(self.ipv6).isGlobalUnicast())", "nextHop.ipv6 must be a unicast IPv6 address, not a link-local one (given: {self.ipv6})"))]
#[serde(rename_all = "camelCase")]
pub struct FilterNextHop {
    /// For IPv4 routes.
    #[schemars(length(max = 15))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// For IPv6 routes.
    #[schemars(length(max = 39))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// The node's address on the session; on export only.
    #[serde(default)]
    pub node: bool,
    /// Fields of newer versions.
    #[schemars(skip)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

const fn once() -> u8 {
    1
}
