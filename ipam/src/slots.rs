//! The addresses of one block: free, used or resting.

use crate::Ordinal;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a freed address rests, so that connections, caches and policies elsewhere forget its last pod.
pub const QUARANTINE: Duration = Duration::from_secs(60);

/// One state an address. A block has at most 4096 of them.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// Freed addresses, oldest first.
    resting: VecDeque<(Duration, Ordinal)>,
    /// Where the search begins: behind the last one taken, so that a freed address comes back as late as possible.
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Used,
    Resting,
}

impl Slots {
    /// All free.
    pub(crate) fn new(host_bits: u8) -> Self {
        Self {
            slots: vec![Slot::Free; 1 << host_bits],
            resting: VecDeque::new(),
            next: 0,
        }
    }

    /// Ends the rest of those freed [`QUARANTINE`] before `now`.
    pub(crate) fn wake(&mut self, now: Duration) {
        while let Some(&(freed, ordinal)) = self.resting.front()
            && freed + QUARANTINE <= now
        {
            self.resting.pop_front();
            self.slots[ordinal.0 as usize] = Slot::Free;
        }
    }

    /// Takes `ordinal`, whatever it was; `false` when it is in use already or outside.
    pub(crate) fn occupy(&mut self, ordinal: Ordinal) -> bool {
        let Some(slot) = self
            .slots
            .get_mut(ordinal.0 as usize)
            .filter(|s| **s != Slot::Used)
        else {
            return false;
        };
        if *slot == Slot::Resting {
            self.resting.retain(|(_, resting)| *resting != ordinal);
        }
        *slot = Slot::Used;
        self.next = (ordinal.0 + 1) % self.len();
        true
    }

    /// Lets a used address rest from `now`.
    pub(crate) fn free(&mut self, ordinal: Ordinal, now: Duration) {
        if let Some(slot @ Slot::Used) = self.slots.get_mut(ordinal.0 as usize) {
            *slot = Slot::Resting;
            self.resting.push_back((now, ordinal));
        }
    }

    /// The next free one that is `usable`.
    pub(crate) fn next_free(&self, usable: impl Fn(Ordinal) -> bool) -> Option<Ordinal> {
        (self.next..self.len())
            .chain(0..self.next)
            .map(Ordinal)
            .find(|o| self.is_free(*o) && usable(*o))
    }

    /// The `usable` one that has rested longest, and since when.
    pub(crate) fn oldest_resting(
        &self,
        usable: impl Fn(Ordinal) -> bool,
    ) -> Option<(Duration, Ordinal)> {
        self.resting.iter().copied().find(|(_, o)| usable(*o))
    }

    /// How many are free and `usable`.
    pub(crate) fn count_free(&self, usable: impl Fn(Ordinal) -> bool) -> usize {
        (0..self.len())
            .map(Ordinal)
            .filter(|o| self.is_free(*o) && usable(*o))
            .count()
    }

    /// Whether none is used or resting.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.iter().all(|s| *s == Slot::Free)
    }

    /// Number of addresses.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("at most 4096 addresses a block")
    }

    fn is_free(&self, ordinal: Ordinal) -> bool {
        self.slots.get(ordinal.0 as usize) == Some(&Slot::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn freed_addresses_rest_in_order_of_their_freeing() {
        let mut slots = Slots::new(2);
        (0..4).for_each(|n| assert!(slots.occupy(Ordinal(n))));
        assert!(!slots.occupy(Ordinal(1)) && !slots.occupy(Ordinal(4)));
        slots.free(Ordinal(2), S(1));
        slots.free(Ordinal(0), S(2));
        slots.free(Ordinal(0), S(3));
        assert_eq!(slots.next_free(|_| true), None);
        assert_eq!(slots.oldest_resting(|_| true), Some((S(1), Ordinal(2))));
        slots.wake(S(60));
        assert_eq!(slots.next_free(|_| true), None);
        slots.wake(S(61));
        assert_eq!(
            (slots.next_free(|_| true), slots.count_free(|_| true)),
            (Some(Ordinal(2)), 1)
        );
        assert!(slots.occupy(Ordinal(0)), "adoption takes a resting one");
        assert_eq!(slots.oldest_resting(|_| true), None);
    }

    #[test]
    fn the_search_goes_round() {
        let mut slots = Slots::new(2);
        assert!(slots.occupy(Ordinal(2)));
        assert_eq!(slots.next_free(|_| true), Some(Ordinal(3)));
        assert_eq!(slots.next_free(|o| o.0 < 2), Some(Ordinal(0)));
    }
}
