//! Snapshots of what peers taught us, for the plan.
//!
//! A snapshot is a fixed number of shared shards. A change copies only its shard, and two snapshots are compared by
//! the shards that they do not share: publishing and following changes cost what changed, not what is there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use margay_bgp::{Family, LearnedChange, LearnedRoute, PerFamily};

type Shard = BTreeMap<IpNetwork, Arc<LearnedRoute>>;

/// Every prefix in use, with its paths, at one moment.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Grows with every snapshot.
    pub generation: u64,
    /// Best paths may be trusted to be all there are. Until then a kernel route that is missing here is kept:
    /// it may be of a peer that has not come back yet (RFC 4724 section 4.1).
    pub deferral_ended: bool,
    counts: PerFamily<usize>,
    shards: Vec<Arc<Shard>>,
}

const SHARDS: usize = 256;

impl Learned {
    /// Nothing yet, and it cannot be trusted.
    pub(super) fn new(generation: u64) -> Self {
        let empty = Arc::<Shard>::default();
        Self {
            generation,
            deferral_ended: false,
            counts: PerFamily::default(),
            shards: vec![empty; SHARDS],
        }
    }

    /// Takes over what changed.
    pub(super) fn apply(&mut self, changes: Vec<LearnedChange>) {
        for LearnedChange { prefix, route } in changes {
            let shard = Arc::make_mut(&mut self.shards[shard_of(&prefix)]);
            let count = &mut self.counts[Family::of(&prefix)];
            match route {
                Some(route) => {
                    *count += usize::from(shard.insert(prefix, Arc::new(route)).is_none())
                }
                None => *count -= usize::from(shard.remove(&prefix).is_some()),
            }
        }
    }

    /// These and no others.
    #[cfg(test)]
    pub(crate) fn decided(routes: impl IntoIterator<Item = LearnedRoute>) -> Self {
        let mut learned = Self::new(1);
        learned.deferral_ended = true;
        let change = |route: LearnedRoute| LearnedChange {
            prefix: route.prefix,
            route: Some(route),
        };
        learned.apply(routes.into_iter().map(change).collect());
        learned
    }

    /// The route for exactly `prefix`.
    pub fn get(&self, prefix: &IpNetwork) -> Option<&Arc<LearnedRoute>> {
        self.shards[shard_of(prefix)].get(prefix)
    }

    /// Every route, in no order that means something.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LearnedRoute>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// How many prefixes a family has.
    pub fn count(&self, family: Family) -> usize {
        self.counts[family]
    }

    /// Whether nothing is learned.
    pub fn is_empty(&self) -> bool {
        self.counts == PerFamily::default()
    }

    /// What leads from `old` to this snapshot; `None` is a prefix that is gone.
    pub fn changes_since(&self, old: &Self) -> Vec<(IpNetwork, Option<Arc<LearnedRoute>>)> {
        let pairs = self
            .shards
            .iter()
            .zip(&old.shards)
            .filter(|(new, old)| !Arc::ptr_eq(new, old));
        let mut changes = Vec::new();
        for (new, old) in pairs {
            for (prefix, route) in new.iter() {
                if !old
                    .get(prefix)
                    .is_some_and(|before| Arc::ptr_eq(before, route))
                {
                    changes.push((*prefix, Some(Arc::clone(route))));
                }
            }
            changes.extend(
                old.keys()
                    .filter(|prefix| !new.contains_key(prefix))
                    .map(|prefix| (*prefix, None)),
            );
        }
        changes
    }
}

impl Default for Learned {
    fn default() -> Self {
        Self::new(0)
    }
}

fn shard_of(prefix: &IpNetwork) -> usize {
    let mut hasher = DefaultHasher::new();
    prefix.hash(&mut hasher);
    (hasher.finish() % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(prefix: &str, there: bool) -> LearnedChange {
        let prefix = prefix.parse().unwrap();
        LearnedChange {
            prefix,
            route: there.then(|| LearnedRoute {
                prefix,
                paths: Vec::new(),
            }),
        }
    }

    fn prefixes(learned: &Learned) -> Vec<String> {
        let mut prefixes: Vec<_> = learned
            .iter()
            .map(|route| route.prefix.to_string())
            .collect();
        prefixes.sort();
        prefixes
    }

    #[test]
    fn a_snapshot_keeps_what_it_was() {
        let mut learned = Learned::default();
        learned.apply(vec![change("10.0.0.0/26", true), change("fd00::/64", true)]);
        let before = learned.clone();
        learned.apply(vec![
            change("10.0.0.0/26", false),
            change("10.0.0.64/26", true),
        ]);
        assert_eq!(prefixes(&before), ["10.0.0.0/26", "fd00::/64"]);
        assert_eq!(prefixes(&learned), ["10.0.0.64/26", "fd00::/64"]);
        assert_eq!(
            (
                learned.count(Family::Ipv4Unicast),
                learned.count(Family::Ipv6Unicast)
            ),
            (1, 1)
        );
    }

    #[test]
    fn changes_lead_from_one_snapshot_to_the_other() {
        let mut learned = Learned::default();
        learned.apply(
            (0..200)
                .map(|i| change(&format!("10.0.{i}.0/24"), true))
                .collect(),
        );
        let before = learned.clone();
        assert!(learned.changes_since(&before).is_empty());
        learned.apply(vec![
            change("10.0.7.0/24", false),
            change("10.0.8.0/24", true),
            change("10.9.0.0/24", true),
        ]);
        let mut changes: Vec<_> = learned
            .changes_since(&before)
            .into_iter()
            .map(|(prefix, route)| (prefix.to_string(), route.is_some()))
            .collect();
        changes.sort();
        let expected = [
            ("10.0.7.0/24", false),
            ("10.0.8.0/24", true),
            ("10.9.0.0/24", true),
        ];
        assert_eq!(
            changes,
            expected.map(|(prefix, there)| (prefix.to_owned(), there))
        );
        assert_eq!(before.changes_since(&learned).len(), 3);
    }

    #[test]
    fn a_withdrawal_of_nothing_changes_no_count() {
        let mut learned = Learned::default();
        learned.apply(vec![change("10.0.0.0/26", false)]);
        assert!(learned.is_empty());
    }
}
