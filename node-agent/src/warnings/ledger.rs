//! What has been said, what is to be said, and not before when.

use super::Warning;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// The API server forgets events after this long (its `--event-ttl`); what still stands is then said again.
const RENEW: Duration = Duration::from_secs(3600);
/// Writes that may follow each other at once.
const BURST: u32 = 16;
/// And then one in this time.
const SPACING: Duration = Duration::from_secs(5);
/// Warnings that are kept until they can be written.
const ASKED: usize = 64;
/// Longest pause after failures.
const PAUSE: Duration = Duration::from_secs(60);

/// The decisions of the writer, without a clock.
#[derive(Debug)]
pub(super) struct Ledger {
    /// True as long as they are here.
    standing: Arc<BTreeSet<Warning>>,
    /// To be said once.
    asked: VecDeque<Warning>,
    written: BTreeMap<Warning, Instant>,
    /// When the writes so far would be over if each took SPACING; it may be ahead of now by a burst.
    paid: Instant,
    failures: u32,
    not_before: Instant,
}

impl Ledger {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            standing: Arc::default(),
            asked: VecDeque::new(),
            written: BTreeMap::new(),
            paid: now,
            failures: 0,
            not_before: now,
        }
    }

    /// These are true now, and others not any more.
    pub(super) fn stand(&mut self, standing: Arc<BTreeSet<Warning>>) {
        self.standing = standing;
    }

    /// This is to be said once. What waits already, or was said a short time ago, is not said again.
    pub(super) fn ask(&mut self, warning: Warning, now: Instant) {
        let said = self
            .written
            .get(&warning)
            .is_some_and(|at| now < *at + RENEW);
        if !said && !self.asked.contains(&warning) && self.asked.len() < ASKED {
            self.asked.push_back(warning);
        }
    }

    /// What to write next and when; none when everything is said.
    pub(super) fn next(&self, now: Instant) -> Option<(Instant, Warning)> {
        let due = |warning| self.written.get(warning).map_or(now, |at| *at + RENEW);
        let standing = self.standing.iter().map(|warning| (due(warning), warning));
        let asked = self.asked.front().map(|warning| (now, warning));
        let (due, warning) = standing.chain(asked).min_by_key(|(due, _)| *due)?;
        Some((due.max(self.free(now)), warning.clone()))
    }

    /// It is said, or never will be.
    pub(super) fn written(&mut self, warning: Warning, now: Instant) {
        self.asked.retain(|asked| *asked != warning);
        self.written.insert(warning, now);
        // Nothing else keeps the memory of what was said from growing.
        let standing = &self.standing;
        self.written
            .retain(|warning, at| now < *at + RENEW || standing.contains(warning));
        self.paid = self.paid.max(now) + SPACING;
        self.failures = 0;
    }

    /// The API server could not be told.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = Duration::from_secs(1 << self.failures.min(6));
        self.not_before = now + pause.min(PAUSE);
        self.failures += 1;
    }

    fn free(&self, now: Instant) -> Instant {
        let ahead = SPACING * (BURST - 1);
        let spaced = self.paid.checked_sub(ahead).unwrap_or(now);
        now.max(spaced).max(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::About;
    use super::*;

    fn warning(number: usize) -> Warning {
        Warning {
            about: About::pod("shop", &format!("web-{number}"), "uid"),
            reason: "Tested",
            message: "no".to_owned(),
        }
    }

    fn all(numbers: std::ops::Range<usize>) -> Arc<BTreeSet<Warning>> {
        Arc::new(numbers.map(warning).collect())
    }

    /// Writes all that may be written now.
    fn write_due(ledger: &mut Ledger, now: Instant) -> usize {
        let mut count = 0;
        while let Some((at, warning)) = ledger.next(now)
            && at <= now
        {
            ledger.written(warning, now);
            count += 1;
        }
        count
    }

    #[test]
    fn what_stands_is_said_once_until_it_is_forgotten() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        ledger.stand(all(0..2));
        assert_eq!(write_due(&mut ledger, now), 2);
        ledger.stand(all(0..3));
        assert_eq!(write_due(&mut ledger, now), 1, "only the new one");
        assert_eq!(ledger.next(now).map(|(at, _)| at), Some(now + RENEW));
        assert_eq!(write_due(&mut ledger, now + RENEW), 3);
        ledger.stand(all(0..0));
        assert_eq!(ledger.next(now + RENEW * 3), None);
    }

    #[test]
    fn what_is_asked_for_again_is_not_said_again() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        ledger.ask(warning(1), now);
        ledger.ask(warning(1), now);
        assert_eq!(write_due(&mut ledger, now), 1);
        ledger.ask(warning(1), now + RENEW / 2);
        assert_eq!(ledger.next(now + RENEW / 2), None);
        ledger.ask(warning(1), now + RENEW);
        assert_eq!(write_due(&mut ledger, now + RENEW), 1);
        assert_eq!(ledger.next(now + RENEW), None);
    }

    #[test]
    fn a_flood_is_spaced_out_and_bounded() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        (0..1000).for_each(|number| ledger.ask(warning(number), now));
        assert_eq!(ledger.asked.len(), ASKED);
        let burst = BURST as usize;
        assert_eq!(write_due(&mut ledger, now), burst);
        assert_eq!(ledger.next(now).map(|(at, _)| at), Some(now + SPACING));
        assert_eq!(write_due(&mut ledger, now + SPACING), 1);
        assert_eq!(write_due(&mut ledger, now + SPACING * 4), 3);
        assert_eq!(write_due(&mut ledger, now + RENEW / 2), burst);
    }

    #[test]
    fn memory_of_what_was_said_ends() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        ledger.ask(warning(1), now);
        write_due(&mut ledger, now);
        ledger.ask(warning(2), now + RENEW);
        write_due(&mut ledger, now + RENEW);
        assert_eq!(ledger.written.len(), 1);
    }

    #[test]
    fn failures_pause_longer_and_longer_and_lose_nothing() {
        let now = Instant::now();
        let mut ledger = Ledger::new(now);
        ledger.ask(warning(1), now);
        ledger.ask(warning(2), now);
        let mut at = now;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            ledger.failed(at);
            assert_eq!(
                ledger.next(at),
                Some((at + Duration::from_secs(seconds), warning(1)))
            );
            at += Duration::from_secs(seconds);
        }
        assert_eq!(write_due(&mut ledger, at), 2);
        ledger.failed(at);
        ledger.ask(warning(3), at);
        assert_eq!(
            ledger.next(at).map(|(due, _)| due),
            Some(at + Duration::from_secs(1))
        );
    }
}
