//! What must have been listed before what may be written, and why pods cannot start yet.

use super::{Change, Engine};
use margay_ipam::{Family, Pool};
use std::collections::BTreeSet;

/// The kinds that must have been listed before policy may be written.
const POLICY_KINDS: [&str; 3] = ["Pod", "Namespace", "NetworkPolicy"];
/// The kinds that the translation of addresses follows from, which is in the same table, unless they were kept on disk.
const MASQUERADE_KINDS: [&str; 4] = ["Node", "NodeConfig", "IPPool", "BGPNode"];
/// The kinds that the BGP half follows from, unless they were kept on disk.
const ROUTING_KINDS: [&str; 7] = [
    "Node",
    "IPPool",
    "BGPConfiguration",
    "BGPPeer",
    "BGPFilter",
    "BGPNode",
    "NodeConfig",
];

impl Engine {
    /// Notes that `kind` was listed; true the first time.
    pub(super) fn synced<K>(&mut self, change: &Change<K>, kind: &'static str) -> bool {
        matches!(change, Change::Reset(_)) && self.synced.insert(kind)
    }

    pub(super) fn policy_synced(&self) -> bool {
        POLICY_KINDS.iter().all(|kind| self.synced.contains(kind))
    }

    /// Without its pools and nodes the table would end the translation of whatever pods send outside.
    pub(super) fn table_synced(&self) -> bool {
        let listed = |kind: &&'static str| self.synced.contains(kind);
        let known = self.restored || MASQUERADE_KINDS.iter().all(listed);
        self.policy_synced() && known && self.own().is_ok()
    }

    pub(super) fn routing_listed(&self) -> bool {
        ROUTING_KINDS.iter().all(|kind| self.synced.contains(kind))
    }

    fn waiting(&self) -> Vec<String> {
        let kinds = POLICY_KINDS
            .iter()
            .chain(&ROUTING_KINDS)
            .filter(|kind| !self.synced.contains(*kind));
        let kinds: Vec<&str> = kinds.copied().collect();
        let mut waiting = Vec::new();
        if !kinds.is_empty() {
            waiting.push(format!("the API server to list {}", kinds.join(", ")));
        }
        if self.blocks.is_none() {
            waiting.push("the list of this node's IPBlocks".to_owned());
        }
        if self.underlay.is_none() {
            waiting.push("the kernel's links and addresses".to_owned());
        }
        waiting
    }

    /// Whether a block of this family is for pods of every namespace, as far as its pool is known.
    fn owns_general(&self, family: Family) -> bool {
        let special = |pool: &str| {
            let pool = self.inputs.pools.get(pool);
            pool.is_some_and(|pool| pool.spec.namespace_selector.is_some())
        };
        let mut blocks = self.blocks.iter().flatten();
        blocks.any(|block| Family::of(block.cidr) == family && !special(&block.pool))
    }

    pub(super) fn not_ready(&self, faults: &[String]) -> Option<String> {
        let waiting = self.waiting();
        if !waiting.is_empty() {
            return Some(format!("waiting for {}", waiting.join(", ")));
        }
        if self.identity().is_err() {
            return faults.first().cloned();
        }
        let claimable = self.claimable();
        let of = |pools: &mut dyn Iterator<Item = &Pool>| -> BTreeSet<Family> {
            pools.map(Pool::family).collect()
        };
        let families = of(&mut claimable.iter());
        // A block of a pool for some namespaces only is claimed when a pod of theirs comes.
        let ahead = of(&mut claimable.iter().filter(|p| p.is_general()));
        if families.is_empty() {
            return Some(
                "no IPPool is active for this node; `margayctl pool list` says why".to_owned(),
            );
        }
        let owned = |family: &Family| {
            self.blocks
                .iter()
                .flatten()
                .any(|b| Family::of(b.cidr) == *family)
        };
        let missing = |f: &Family| !owned(f);
        if let Some(family) = ahead.iter().find(|f| missing(f)) {
            return Some(format!("claiming the first {family} block"));
        }
        // Pods would silently get one family less than their neighbours: a pool that vanished is no wish for that. What is for some
        // namespaces only neither replaces it nor is missed by the others.
        let orphaned = |f: &Family| self.owns_general(*f) && !ahead.contains(f);
        let family = Family::ALL.into_iter().find(orphaned)?;
        Some(format!(
            "no {family} IPPool is active for this node, which still owns {family} blocks; `margayctl pool list` says why"
        ))
    }
}
