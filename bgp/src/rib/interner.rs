//! Equal attribute sets are one allocation.

use std::collections::HashSet;
use std::sync::Arc;

use crate::wire::Attributes;

/// The attribute sets in use.
#[derive(Debug)]
pub(crate) struct Interner {
    sets: HashSet<Arc<Attributes>>,
    sweep_at: usize,
}

const LEAST_SWEEP: usize = 1024;

impl Default for Interner {
    fn default() -> Self {
        Self {
            sets: HashSet::new(),
            sweep_at: LEAST_SWEEP,
        }
    }
}

impl Interner {
    /// Sets that somebody holds.
    pub(crate) fn len(&self) -> usize {
        let held = |set: &&Arc<Attributes>| Arc::strong_count(set) > 1;
        self.sets.iter().filter(held).count()
    }

    /// The shared form of `attributes`.
    pub(crate) fn intern(&mut self, attributes: Attributes) -> Arc<Attributes> {
        if let Some(shared) = self.sets.get(&attributes) {
            return Arc::clone(shared);
        }
        if self.sets.len() >= self.sweep_at {
            // Amortised: each sweep is paid for by as many insertions as survived the last one.
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.sweep_at = (self.sets.len() * 2).max(LEAST_SWEEP);
        }
        let shared = Arc::new(attributes);
        self.sets.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_pointer_and_unused_ones_go() {
        let mut interner = Interner::default();
        let set = |med| Attributes {
            med: Some(med),
            ..Attributes::default()
        };
        let kept = interner.intern(set(0));
        assert!(Arc::ptr_eq(&kept, &interner.intern(set(0))));
        for med in 1..5000 {
            interner.intern(set(med));
        }
        assert!(interner.sets.len() <= LEAST_SWEEP + 1);
        assert!(Arc::ptr_eq(&kept, &interner.intern(set(0))));
    }
}
