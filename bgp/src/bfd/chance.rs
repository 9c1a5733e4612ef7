//! Chance for jitter and discriminators: this crate has no source of its own, so it grows from a seed.

use std::time::Duration;

/// Numbers that no peer can guess from outside, as long as the seed is unknown to it (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number that is not zero: zero means "not known" (RFC 5880 §6.8.1).
    pub(super) const fn discriminator(&mut self) -> u32 {
        loop {
            let number = (self.next() >> 32) as u32;
            if number != 0 {
                return number;
            }
        }
    }

    /// RFC 5880 §6.8.7: 75 to 100 % of the interval, but 75 to 90 % where one lost packet ends the session.
    pub(super) fn jittered(&mut self, interval: Duration, multiplier: u8) -> Duration {
        let most = if multiplier == 1 { 900 } else { 1000 };
        let share = 750 + (self.next() % (most - 750 + 1)) as u32;
        interval * share / 1000
    }
}
