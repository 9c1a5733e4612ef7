//! From best path to what a group of peers is told.

use std::fmt;

use ipnetwork::IpNetwork;

use super::Source;
use super::table::BestPath;
use crate::config::LocalAddresses;
use crate::family::{Asn, Families, Family};
use crate::policy::{Hand, Resolved, RouteSource, Subject};
use crate::wire::{AsPath, Attributes, Community, Encoding, NextHop};

/// Everything that makes the octets of two peers differ. Peers with equal keys share an adj-out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExportKey {
    pub(crate) external: bool,
    pub(crate) local_as: Asn,
    pub(crate) encoding: Encoding,
    pub(crate) families: Families,
    pub(crate) next_hops: LocalAddresses,
    pub(crate) next_hop_self: bool,
    /// The export policy as it is in force for these sessions.
    pub(crate) policy: Resolved,
}

/// Why a peer is not told of a best path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    Family,
    Internal,
    NoAdvertise,
    NoExport,
    Policy,
    NoNextHop,
}

/// LOCAL_PREF of routes that say nothing (RFC 4271 §5.1.5 leaves it to configuration; 100 is what everybody uses).
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

impl ExportKey {
    /// What the group is told about `prefix`, or why nothing. `source`: the kind of route if it is one of our own.
    pub(crate) fn export(
        &self,
        prefix: &IpNetwork,
        best: &BestPath<'_>,
        source: RouteSource,
    ) -> Result<Attributes, Withheld> {
        let family = Family::of(prefix);
        let originated = best.source == Source::Local;
        self.check(family, best)?;
        let hand = self.hand();
        let decision = self.policy.decide(subject(prefix, best, source), &hand);
        if !decision.accepted {
            return Err(Withheld::Policy);
        }
        let mut attributes = best.attributes.clone();
        if self.external {
            self.to_external(&mut attributes, originated);
        } else {
            attributes.local_pref = attributes.local_pref.or(Some(DEFAULT_LOCAL_PREF));
        }
        attributes.next_hop = self.next_hop(family, best);
        for change in decision.changes {
            change.apply(&mut attributes, prefix.is_ipv4(), &hand);
        }
        if self.external {
            attributes.local_pref = None;
        }
        match attributes.next_hop {
            Some(_) => Ok(attributes),
            None => Err(Withheld::NoNextHop),
        }
    }

    pub(crate) fn hand(&self) -> Hand {
        Hand {
            prepend: self.local_as,
            keep_path: !self.external,
            own: self.next_hops,
        }
    }

    /// Negotiated families, split horizon of internal peers (RFC 4271 §9.2.1) and well-known communities (RFC 1997).
    fn check(&self, family: Family, best: &BestPath<'_>) -> Result<(), Withheld> {
        let from_internal = best.source != Source::Local && !best.external;
        let has = |community| best.attributes.communities.contains(&community);
        if !self.families[family] {
            Err(Withheld::Family)
        } else if from_internal && !self.external {
            Err(Withheld::Internal)
        } else if has(Community::NO_ADVERTISE) {
            Err(Withheld::NoAdvertise)
        } else if self.external
            && (has(Community::NO_EXPORT) || has(Community::NO_EXPORT_SUBCONFED))
        {
            Err(Withheld::NoExport)
        } else {
            Ok(())
        }
    }

    fn to_external(&self, attributes: &mut Attributes, originated: bool) {
        attributes.as_path = AsPath::prepended(&attributes.as_path, self.local_as);
        if !originated {
            // RFC 4271 §5.1.4: a neighbour's MED is not passed on to another one.
            attributes.med = None;
        }
        attributes.originator_id = None;
        attributes.cluster_list.clear();
    }

    fn next_hop(&self, family: Family, best: &BestPath<'_>) -> Option<NextHop> {
        let own = self.next_hops.of(family).map(NextHop::from);
        if self.external {
            return own;
        }
        match best.attributes.next_hop {
            Some(_) if best.source != Source::Local && self.next_hop_self => own,
            // A link-local next hop means nothing beyond its link.
            Some(next_hop) => Some(NextHop::from(next_hop.address)),
            None => own,
        }
    }
}

/// A best path as policy sees it.
pub(crate) fn subject<'a>(
    prefix: &'a IpNetwork,
    best: &BestPath<'a>,
    source: RouteSource,
) -> Subject<'a> {
    let source = match best.source {
        Source::Local => source,
        Source::Peer(_) => RouteSource::Learned,
    };
    Subject {
        prefix,
        attributes: best.attributes,
        source,
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Family => "the family is not negotiated",
            Self::Internal => "what an internal peer told is not told to another one",
            Self::NoAdvertise => "it carries no-advertise",
            Self::NoExport => "it carries no-export",
            Self::Policy => "rejected by export policy",
            Self::NoNextHop => "this node has no address of the family to name as next hop",
        })
    }
}
