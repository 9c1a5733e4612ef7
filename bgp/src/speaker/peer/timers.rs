//! Deadlines of a peer's sessions.

use std::time::{Duration, Instant};

use super::{BACK_OFF, Ending, Env, Happening, Peer, Slot};
use crate::session::fsm::{self, State};
use crate::session::jittered;
use crate::wire::Notification;

impl Peer {
    /// The earliest deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let stale = self.stale.map(|(_, until)| until);
        self.sessions()
            .filter_map(crate::session::Session::next_timeout)
            .chain(stale)
            .chain(self.refreshing.v4)
            .chain(self.refreshing.v6)
            .min()
    }

    /// Fires what is due.
    pub(crate) fn handle_timeout(&mut self, env: &mut Env<'_>) -> Vec<Happening> {
        let mut happenings = Vec::new();
        // From the last to the first: a session that ends leaves its place.
        for slot in self.slots().collect::<Vec<_>>().into_iter().rev() {
            for event in self.due(slot, env.now) {
                let ending = match event {
                    fsm::Event::HoldExpires => Some(Ending::silent("hold timer expired")),
                    fsm::Event::MessageRefused => {
                        let notification = Notification::new(Notification::SEND_HOLD_TIMER, 0);
                        Some(Ending::sent(
                            notification,
                            "peer does not read: send hold timer expired",
                        ))
                    }
                    fsm::Event::ConnectRetryExpires => Some(Ending::silent("connect timed out")),
                    _ => None,
                };
                if self.step(slot, event, ending, env, &mut happenings) < State::OpenSent {
                    break;
                }
            }
        }
        happenings
    }

    fn due(&mut self, slot: Slot, now: Instant) -> Vec<fsm::Event> {
        let session = self.session(slot);
        let mut due = Vec::new();
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if passed(session.timers.hold) {
            due.push(fsm::Event::HoldExpires);
        }
        if passed(session.send_hold()) {
            due.push(fsm::Event::MessageRefused);
        }
        if passed(session.timers.keepalive) {
            due.push(fsm::Event::KeepaliveExpires);
        }
        if passed(session.timers.connect_retry) {
            session.timers.connect_retry = None;
            due.push(fsm::Event::ConnectRetryExpires);
        }
        due
    }

    /// When to try again: doubling with every attempt in vain and every session that soon ended in an error, bounded,
    /// and spread.
    pub(crate) fn retry_pause(&mut self, seed: u32) -> Duration {
        let exponent = self.attempts.saturating_add(self.oscillations);
        let base = self.config.connect_retry * (1 << exponent.min(BACK_OFF));
        let pause = jittered(base, (seed, self.config.address, self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        pause
    }
}
