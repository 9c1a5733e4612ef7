//! What rules do to a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AnyCommunity, CommunityPattern};
use crate::config::LocalAddresses;
use crate::family::Asn;
use crate::wire::{Attributes, NextHop};

/// A change to a route's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Replaces LOCAL_PREF; an external peer is not told of it.
    LocalPref(u32),
    /// Replaces MULTI_EXIT_DISC.
    Med(u32),
    /// Adds, removes or replaces communities.
    Communities(CommunityChange),
    /// Puts an AS so often in front of the path: this one, or by default the peer's on import and ours on export.
    /// Not towards internal peers, whose path is left alone (RFC 4271 §5.1.2).
    Prepend(Option<Asn>, u8),
    /// Replaces the next hop.
    NextHop(NextHopChange),
}

/// A change of communities of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommunityChange {
    /// Adds those that are missing.
    Add(Vec<AnyCommunity>),
    /// Removes those that are named.
    Remove(Vec<CommunityPattern>),
    /// Puts these in place of all there are, of every kind.
    Replace(Vec<AnyCommunity>),
}

/// Another next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHopChange {
    /// This speaker's address on the session; only on export.
    Own,
    /// These, each for routes of its family; routes of a family without one keep theirs.
    Address(Option<Ipv4Addr>, Option<Ipv6Addr>),
}

/// What the session adds to changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    /// The AS to prepend by default.
    pub(crate) prepend: Asn,
    /// Paths are left alone.
    pub(crate) keep_path: bool,
    /// This speaker as next hop.
    pub(crate) own: LocalAddresses,
}

impl Change {
    pub(crate) fn apply(&self, attributes: &mut Attributes, ipv4: bool, hand: &Hand) {
        match self {
            Self::LocalPref(value) => attributes.local_pref = Some(*value),
            Self::Med(value) => attributes.med = Some(*value),
            Self::Communities(change) => change.apply(attributes),
            Self::Prepend(asn, times) if !hand.keep_path => {
                for _ in 0..*times {
                    attributes.as_path = attributes.as_path.prepended(asn.unwrap_or(hand.prepend));
                }
            }
            Self::Prepend(..) => {}
            Self::NextHop(change) => {
                if let Some(address) = change.address(ipv4, hand) {
                    attributes.next_hop = Some(NextHop::from(address));
                }
            }
        }
    }
}

impl NextHopChange {
    fn address(self, ipv4: bool, hand: &Hand) -> Option<IpAddr> {
        let (v4, v6) = match self {
            Self::Own => (hand.own.v4, hand.own.v6),
            Self::Address(v4, v6) => (v4, v6),
        };
        if ipv4 {
            v4.map(IpAddr::V4)
        } else {
            v6.map(IpAddr::V6)
        }
    }
}

impl CommunityChange {
    fn apply(&self, attributes: &mut Attributes) {
        match self {
            Self::Add(values) => values.iter().for_each(|value| value.add(attributes)),
            Self::Remove(patterns) => patterns
                .iter()
                .for_each(|pattern| pattern.remove(attributes)),
            Self::Replace(values) => {
                attributes.communities.clear();
                attributes.large_communities.clear();
                attributes.extended_communities.clear();
                values.iter().for_each(|value| value.add(attributes));
            }
        }
    }
}
