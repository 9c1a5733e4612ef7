//! From what the kernel holds to what it should hold: changes as data, in an order the kernel accepts.
//!
//! ```text
//! fill, fill, ...   new sets that nothing refers to yet, in slices of at most SLICE elements
//! hook-up           everything else, one transaction:
//!                     declare sets, maps, chains · flush chains · write rules · change elements · drop maps, chains, sets
//! ```
//! A reader of the kernel's state at any moment sees the old policy or the new one, never a mixture: the fills cannot be
//! seen by packets, and the hook-up is one transaction. Inside it references come after what they refer to, removals the
//! other way round. When a name is wanted for something that the kernel cannot change in place (another key type,
//! another hook), the whole table is made anew in that one transaction.

mod apply;
mod change;
mod observed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::table::{ChainName, Element, Set, SetName, Table, Verdict};

pub use apply::Misfit;
pub use change::{Batch, Change};
pub use observed::{Observed, ObservedChain};

/// Elements that one batch of a first load carries at most: the kernel does not yield while it applies one.
pub const SLICE: usize = 10_000;

/// The batches that make `to` out of `from`, none when they are equal.
pub fn diff(from: &Table, to: &Table) -> Vec<Batch> {
    diff_observed(&Observed::from(from), to)
}

/// The batches that make `to` out of what was read from the kernel, none when it holds just that.
pub fn diff_observed(from: &Observed, to: &Table) -> Vec<Batch> {
    if !can_change_in_place(from, to) {
        let mut changes = vec![Change::RecreateTable];
        changes.extend(Difference::between(&Observed::default(), to).hook_up(BTreeSet::new()));
        return vec![Batch { changes }];
    }
    let difference = Difference::between(from, to);
    let (mut batches, filled) = difference.fills();
    let changes = difference.hook_up(filled);
    if !changes.is_empty() {
        batches.push(Batch { changes });
    }
    batches
}

fn can_change_in_place(from: &Observed, to: &Table) -> bool {
    let sets = to.sets.iter().all(|(name, set)| {
        !from.maps.contains_key(name)
            && from
                .sets
                .get(name)
                .is_none_or(|old| old.key == set.key && old.interval == set.interval)
    });
    let maps = to.maps.iter().all(|(name, map)| {
        !from.sets.contains_key(name) && from.maps.get(name).is_none_or(|old| old.key == map.key)
    });
    let chains = to.chains.iter().all(|(name, chain)| {
        from.chains
            .get(name)
            .is_none_or(|old| old.base() == chain.base)
    });
    !from.alien && sets && maps && chains
}

/// Two states whose common names have the same declarations.
struct Difference<'a> {
    from: &'a Observed,
    to: &'a Table,
}

impl<'a> Difference<'a> {
    fn between(from: &'a Observed, to: &'a Table) -> Self {
        Self { from, to }
    }

    fn new_sets(&self) -> impl Iterator<Item = (&'a SetName, &'a Set)> {
        self.to
            .sets
            .iter()
            .filter(|(name, _)| !self.from.sets.contains_key(*name))
    }

    /// Batches that fill new sets ahead of the hook-up, if they are too large for it, and the names of those sets.
    fn fills(&self) -> (Vec<Batch>, BTreeSet<&'a SetName>) {
        let size: usize = self.new_sets().map(|(_, set)| set.elements.len()).sum();
        if size <= SLICE {
            return (Vec::new(), BTreeSet::new());
        }
        let mut batches = vec![Batch::default()];
        let mut room = SLICE;
        for (name, set) in self.new_sets() {
            push(&mut batches, add_set(name, set));
            let mut elements = set.elements.iter().copied().peekable();
            while elements.peek().is_some() {
                if room == 0 {
                    batches.push(Batch::default());
                    room = SLICE;
                }
                let slice: Vec<_> = elements.by_ref().take(room).collect();
                room -= slice.len();
                push(
                    &mut batches,
                    Change::AddElements {
                        set: name.clone(),
                        elements: slice,
                    },
                );
            }
        }
        (batches, self.new_sets().map(|(name, _)| name).collect())
    }

    fn hook_up(&self, filled: BTreeSet<&SetName>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.declare(&filled, &mut changes);
        self.rewrite_chains(&mut changes);
        self.change_sets(&mut changes);
        self.change_maps(&mut changes);
        self.remove(&mut changes);
        changes
    }

    fn declare(&self, filled: &BTreeSet<&SetName>, changes: &mut Vec<Change>) {
        for (name, set) in self.new_sets().filter(|(name, _)| !filled.contains(*name)) {
            changes.push(add_set(name, set));
            if !set.elements.is_empty() {
                let elements = set.elements.iter().copied().collect();
                changes.push(Change::AddElements {
                    set: name.clone(),
                    elements,
                });
            }
        }
        for (name, map) in self
            .to
            .maps
            .iter()
            .filter(|(name, _)| !self.from.maps.contains_key(*name))
        {
            changes.push(Change::AddMap {
                name: name.clone(),
                key: map.key,
            });
        }
        for (name, chain) in self
            .to
            .chains
            .iter()
            .filter(|(name, _)| !self.from.chains.contains_key(*name))
        {
            changes.push(Change::AddChain {
                name: name.clone(),
                base: chain.base,
            });
        }
    }

    /// All flushes come first: with the old rules gone no order of the new ones can close a loop.
    fn rewrite_chains(&self, changes: &mut Vec<Change>) {
        let stale = |name: &ChainName, old: &ObservedChain| {
            !old.is_empty()
                && self
                    .to
                    .chains
                    .get(name)
                    .is_none_or(|chain| !old.has_rules_of(chain))
        };
        for (name, _) in self
            .from
            .chains
            .iter()
            .filter(|(name, old)| stale(name, old))
        {
            changes.push(Change::FlushChain(name.clone()));
        }
        for (name, chain) in &self.to.chains {
            let same = self
                .from
                .chains
                .get(name)
                .is_some_and(|old| old.has_rules_of(chain));
            if !same && !chain.rules.is_empty() {
                changes.push(Change::AddRules {
                    chain: name.clone(),
                    rules: chain.rules.clone(),
                });
            }
        }
    }

    fn change_sets(&self, changes: &mut Vec<Change>) {
        for (name, set) in &self.to.sets {
            let Some(old) = self.from.sets.get(name) else {
                continue;
            };
            if Arc::ptr_eq(&old.elements, &set.elements) {
                continue;
            }
            let gone: Vec<_> = old.elements.difference(&set.elements).copied().collect();
            let new: Vec<_> = set.elements.difference(&old.elements).copied().collect();
            if !gone.is_empty() {
                changes.push(Change::DeleteElements {
                    set: name.clone(),
                    elements: gone,
                });
            }
            if !new.is_empty() {
                changes.push(Change::AddElements {
                    set: name.clone(),
                    elements: new,
                });
            }
        }
    }

    fn change_maps(&self, changes: &mut Vec<Change>) {
        let none = BTreeMap::new();
        for (name, map) in &self.to.maps {
            let old = self.from.maps.get(name).map_or(&none, |map| &map.elements);
            let gone =
                |(key, verdict): &(&Element, &Verdict)| map.elements.get(*key) != Some(*verdict);
            let keys: Vec<_> = old.iter().filter(gone).map(|(key, _)| *key).collect();
            let new = |(key, verdict): &(&Element, &Verdict)| old.get(*key) != Some(*verdict);
            let elements: Vec<_> = map
                .elements
                .iter()
                .filter(new)
                .map(|(key, verdict)| (*key, verdict.clone()))
                .collect();
            if !keys.is_empty() {
                changes.push(Change::DeleteVerdicts {
                    map: name.clone(),
                    keys,
                });
            }
            if !elements.is_empty() {
                changes.push(Change::AddVerdicts {
                    map: name.clone(),
                    elements,
                });
            }
        }
    }

    /// Maps before chains, because their elements lead to chains; sets last, when no rule is left that could refer to them.
    fn remove(&self, changes: &mut Vec<Change>) {
        let maps = self
            .from
            .maps
            .keys()
            .filter(|name| !self.to.maps.contains_key(*name));
        changes.extend(maps.cloned().map(Change::DeleteMap));
        let chains = self
            .from
            .chains
            .keys()
            .filter(|name| !self.to.chains.contains_key(*name));
        changes.extend(chains.cloned().map(Change::DeleteChain));
        let sets = self
            .from
            .sets
            .keys()
            .filter(|name| !self.to.sets.contains_key(*name));
        changes.extend(sets.cloned().map(Change::DeleteSet));
    }
}

fn add_set(name: &SetName, set: &Set) -> Change {
    Change::AddSet {
        name: name.clone(),
        key: set.key,
        interval: set.interval,
        note: set.note.clone(),
    }
}

fn push(batches: &mut [Batch], change: Change) {
    if let Some(batch) = batches.last_mut() {
        batch.changes.push(change);
    }
}
