//! The intervals of a session: what is announced, and what is in force until the other end has answered a poll (RFC 5880 §6.8.3).

use std::time::Duration;

use super::Parameters;

/// While a session is not up nobody sends more often (RFC 5880 §6.8.3).
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// Intervals of one side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// What we announce: DesiredMinTxInterval and RequiredMinRxInterval.
    pub(super) announced: Intervals,
    /// What counts: a longer pause between our packets waits until the other end has heard of it, and so does less patience with its.
    pub(super) in_force: Intervals,
    poll: Poll,
}

/// Both intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intervals {
    pub(super) tx: Duration,
    pub(super) rx: Duration,
}

/// A Poll Sequence (RFC 5880 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Idle,
    Running,
    /// The intervals changed while it ran: its answer says nothing about them, so that another one follows.
    RunningOutdated,
}

impl Timing {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let slow = Intervals::slow(parameters);
        Self {
            announced: slow,
            in_force: slow,
            poll: Poll::Idle,
        }
    }

    /// Whether packets carry the P bit.
    pub(super) fn is_polling(&self) -> bool {
        self.poll != Poll::Idle
    }

    /// The session is not up: slow, and at once, for nobody relies on what was agreed.
    pub(super) fn slow_down(&mut self, parameters: &Parameters) {
        *self = Self::new(parameters);
    }

    /// The session is up, or its configuration changed while it is. Whether a poll begins.
    pub(super) fn announce(&mut self, parameters: &Parameters) -> bool {
        let new = Intervals {
            tx: parameters.min_tx,
            rx: parameters.min_rx,
        };
        if new == self.announced {
            return false;
        }
        self.announced = new;
        self.in_force = Intervals {
            tx: self.in_force.tx.min(new.tx),
            rx: self.in_force.rx.max(new.rx),
        };
        let begins = self.poll == Poll::Idle;
        self.poll = if begins {
            Poll::Running
        } else {
            Poll::RunningOutdated
        };
        begins
    }

    /// The F bit came.
    pub(super) fn answered(&mut self) {
        self.poll = match self.poll {
            Poll::Idle => return,
            Poll::RunningOutdated => Poll::Running,
            Poll::Running => {
                self.in_force = self.announced;
                Poll::Idle
            }
        };
    }
}

impl Intervals {
    fn slow(parameters: &Parameters) -> Self {
        Self {
            tx: parameters.min_tx.max(SLOW),
            rx: parameters.min_rx,
        }
    }
}
