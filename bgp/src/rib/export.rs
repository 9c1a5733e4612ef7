//! From best path to what a group of peers is told.

use ipnetwork::IpNetwork;

use super::Source;
use super::table::BestPath;
use crate::config::LocalAddresses;
use crate::family::{Asn, Families, Family};
use crate::policy::Policy;
use crate::wire::{AsPath, Attributes, Community, NextHop};

/// Everything that makes the octets of two peers differ. Peers with equal keys share an adj-out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExportKey {
    pub(crate) external: bool,
    pub(crate) local_as: Asn,
    pub(crate) four_octet_as: bool,
    pub(crate) families: Families,
    pub(crate) next_hops: LocalAddresses,
    pub(crate) next_hop_self: bool,
    pub(crate) policy: Policy,
}

/// LOCAL_PREF of routes that say nothing (RFC 4271 §5.1.5 leaves it to configuration; 100 is what everybody uses).
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

impl ExportKey {
    /// What the group is told about `prefix`, if anything.
    pub(crate) fn export(&self, prefix: &IpNetwork, best: &BestPath<'_>) -> Option<Attributes> {
        let family = Family::of(prefix);
        let originated = best.source == Source::Local;
        if !self.families[family] || self.is_kept_inside(best) {
            return None;
        }
        let changes = self.policy.decide(prefix, best.attributes, originated)?;
        let mut attributes = best.attributes.clone();
        if self.external {
            self.to_external(&mut attributes, originated);
        } else {
            attributes.local_pref = attributes.local_pref.or(Some(DEFAULT_LOCAL_PREF));
        }
        attributes.next_hop = Some(self.next_hop(family, best)?);
        changes
            .iter()
            .for_each(|change| change.apply(&mut attributes));
        if self.external {
            attributes.local_pref = None;
        }
        Some(attributes)
    }

    /// Split horizon of internal peers (RFC 4271 §9.2.1) and well-known communities (RFC 1997).
    fn is_kept_inside(&self, best: &BestPath<'_>) -> bool {
        let from_internal = best.source != Source::Local && !best.external;
        let has = |community| best.attributes.communities.contains(&community);
        (from_internal && !self.external)
            || has(Community::NO_ADVERTISE)
            || (self.external && (has(Community::NO_EXPORT) || has(Community::NO_EXPORT_SUBCONFED)))
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
