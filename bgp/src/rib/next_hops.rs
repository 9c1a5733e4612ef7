//! Next hops in use and what the outside says about them. Whether one resolves is decided elsewhere (the node's own
//! routes); a path whose next hop does not resolve is not used.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Reference-counted next hops.
#[derive(Debug, Default)]
pub(crate) struct NextHops {
    uses: HashMap<IpAddr, usize>,
    answers: HashMap<IpAddr, Option<u32>>,
    changed: bool,
}

impl NextHops {
    pub(crate) fn acquire(&mut self, address: IpAddr) {
        let uses = self.uses.entry(address).or_default();
        self.changed |= *uses == 0;
        *uses += 1;
    }

    pub(crate) fn release(&mut self, address: IpAddr) {
        if let Some(uses) = self.uses.get_mut(&address) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&address);
                self.changed = true;
            }
        }
    }

    /// Distance to a next hop that resolves.
    pub(crate) fn metric(&self, address: IpAddr) -> Option<u32> {
        self.answers.get(&address).copied().flatten()
    }

    /// Whether somebody has judged every next hop in use.
    pub(crate) fn all_answered(&self) -> bool {
        self.uses
            .keys()
            .all(|address| self.answers.contains_key(address))
    }

    /// The next hops in use, in order.
    pub(crate) fn tracked(&self) -> Vec<IpAddr> {
        let mut tracked: Vec<_> = self.uses.keys().copied().collect();
        tracked.sort_unstable();
        tracked
    }

    /// Whether the set in use differs from when this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Replaces all answers; returns the addresses whose answer is another one now.
    pub(crate) fn answer(&mut self, answers: HashMap<IpAddr, Option<u32>>) -> HashSet<IpAddr> {
        let old = std::mem::replace(&mut self.answers, answers);
        let flat = |answers: &HashMap<IpAddr, Option<u32>>, address: &IpAddr| {
            answers.get(address).copied().flatten()
        };
        let addresses = old.keys().chain(self.answers.keys());
        addresses
            .filter(|address| flat(&old, address) != flat(&self.answers, address))
            .copied()
            .collect()
    }
}
