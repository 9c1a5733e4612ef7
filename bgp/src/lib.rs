//! BGP-4 as values: no socket, no clock, no task.
//!
//! ```text
//!   octets ─► wire ─► session ─► rib ─► wire ─► octets
//!             frames   states     adj-in, best path, adj-out
//!             ╰───────── speaker: one value that owns all of it ─────────╯
//! ```
//! A driver moves octets and time: it calls [`Speaker::handle`] with what happened and `now`, carries out what
//! [`Speaker::poll_output`] returns, and wakes up at [`Speaker::poll_timeout`]. Peers and own routes are declared as
//! whole sets ([`Speaker::apply`], [`Speaker::originate`]); what the kernel should have comes out as changes
//! ([`Speaker::learned_changes`]).
//!
//! BFD is a value of its own ([`bfd`]); that a path is lost reaches the speaker by [`Speaker::path_lost`].
//!
//! # Review notes
//! - Octets from a peer never panic, and cost bounded memory: less than a message per connection, one batch per
//!   member of an update group, [`PeerConfig::maximum_prefixes`] for the table.
//! - Whether a next hop resolves is the caller's knowledge ([`Speaker::set_next_hops`]); a path whose next hop
//!   nobody vouches for is not used.
//! - There is no policy by default (RFC 8212): [`Policy::default`] rejects.

pub mod bfd;
mod config;
mod family;
mod policy;
mod rib;
mod session;
mod speaker;
mod status;
mod why;
pub mod wire;

pub use config::{
    Config, LocalAddresses, Origination, Password, PeerConfig, Protection, Reach, RemoteAs,
    SpeakerConfig,
};
pub use family::{Asn, Families, Family, PerFamily};
pub use policy::{
    AnyCommunity, BadPathPattern, Change, CommunityChange, CommunityPattern, Condition,
    NextHopChange, NotACommunity, Otherwise, PathPattern, PeerCondition, Policy, PrefixRange,
    RouteSource, Rule, RuleName, Verdict,
};
pub use session::{ConnectionId, State};
pub use speaker::{
    Dial, Event, Heard, Input, LearnedChange, LearnedPath, LearnedRoute, Output, Refusal,
    ShutdownKind, SoftReset, Speaker, Told,
};
pub use status::{
    Counters, LastError, Lookup, PathStatus, PeerStatus, PrefixCounts, RouteFilter, RouteStatus,
    TableSize, View,
};
pub use why::{Explanation, Judgement, PathExplanation, PeerExplanation, Step};
