//! Counting answers.

use std::time::{Duration, Instant};

use serde::Serialize;

/// What became of a stream of numbered pings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many numbers were sent, including those the kernel refused to send.
    pub sent: u64,
    /// How many of them were answered.
    pub received: u64,
    /// How many were not.
    pub lost: u64,
    /// Answers to numbers that had been answered already.
    pub duplicated: u64,
    /// How many the sender's kernel refused, as for want of a route; they are lost too.
    pub send_errors: u64,
    /// The longest time without an answer, from the first number sent to the last, in milliseconds.
    pub largest_gap_ms: f64,
}

/// Which numbers were answered, and when the answers came.
#[derive(Debug)]
pub(super) struct Tally {
    answered: Vec<bool>,
    received: u64,
    duplicated: u64,
    latest: Instant,
    largest_gap: Duration,
}

impl Tally {
    pub(super) fn new(begin: Instant) -> Self {
        Self {
            answered: Vec::new(),
            received: 0,
            duplicated: 0,
            latest: begin,
            largest_gap: Duration::ZERO,
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Counts an answer; what holds no number is not one.
    pub(super) fn answer(&mut self, message: &[u8], now: Instant) {
        let Some(number) = number_of(message) else {
            return;
        };
        if self.answered.len() <= number {
            self.answered.resize(number + 1, false);
        }
        if std::mem::replace(&mut self.answered[number], true) {
            self.duplicated += 1;
            return;
        }
        self.received += 1;
        self.heard(now);
    }

    pub(super) fn report(mut self, sent: u64, send_errors: u64, last_sent: Instant) -> Report {
        self.heard(last_sent);
        Report {
            sent,
            received: self.received,
            lost: sent.saturating_sub(self.received),
            duplicated: self.duplicated,
            send_errors,
            largest_gap_ms: (self.largest_gap.as_secs_f64() * 1e5).round() / 100.0,
        }
    }

    fn heard(&mut self, now: Instant) {
        self.largest_gap = self
            .largest_gap
            .max(now.saturating_duration_since(self.latest));
        self.latest = self.latest.max(now);
    }
}

/// The last word, which has ten digits; agnhost answers without the word before it.
fn number_of(message: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(message).ok()?;
    let number = text
        .split_whitespace()
        .last()
        .filter(|word| word.len() == 10)?
        .parse()
        .ok()?;
    // A thousand a second for a day: what is larger was not sent by us, and must not cost memory.
    (number < 100_000_000).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Vec<u8> {
        format!("echo {number:010}").into_bytes()
    }

    #[test]
    fn counts_each_number_once_and_finds_the_longest_silence() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut tally = Tally::new(begin);
        tally.answer(&message(0), at(1));
        tally.answer(b"0000000002", at(9));
        tally.answer(&message(2), at(10));
        tally.answer(b"garbage", at(10));
        let report = tally.report(4, 1, at(12));
        assert_eq!((report.sent, report.received, report.lost), (4, 2, 2));
        assert_eq!((report.duplicated, report.send_errors), (1, 1));
        assert!((report.largest_gap_ms - 8.0).abs() < 0.01);
    }

    #[test]
    fn silence_at_the_end_counts() {
        let begin = Instant::now();
        let mut tally = Tally::new(begin);
        tally.answer(&message(0), begin);
        assert!(
            (tally
                .report(50, 0, begin + Duration::from_millis(49))
                .largest_gap_ms
                - 49.0)
                .abs()
                < 0.01
        );
    }

    #[test]
    fn foreign_numbers_cost_no_memory() {
        assert_eq!(number_of(b"echo 9999999999"), None);
        assert_eq!(number_of(b"echo 7"), None);
        assert_eq!(number_of(b"echo 0000000007\n"), Some(7));
    }
}
