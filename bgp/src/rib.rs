//! Routes: what peers announced (adj-in), what is used of it (loc-RIB), what peers are told (adj-out).
//!
//! One [`Table`](table::Table) holds every path of every prefix; a peer's adj-in is the paths that name it. Changes
//! mark prefixes dirty, and nothing is decided until the speaker's input is drained: a prefix that changes ten
//! times in between is decided once. Decisions go into update groups ([`group`]), one adj-out and one encoding for
//! all peers with equal export. Attribute sets are interned, so equal ones are one pointer.
//!
//! Deliberately missing so far: ADD-PATH (paths carry an identifier already), reflection.

pub(crate) mod decision;
pub(crate) mod export;
pub(crate) mod group;
pub(crate) mod import;
pub(crate) mod interner;
pub(crate) mod next_hops;
pub(crate) mod path;
pub(crate) mod table;

/// A peer, as the RIB knows it; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId(pub(crate) u32);

/// Where a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// This speaker.
    Local,
    /// A peer.
    Peer(PeerId),
}
