//! One connection with a peer: the state machine, its timers and its framing.
//!
//! A peer has up to three of these at once: the one it dials, one it accepted, and one more that may turn out to be
//! the peer's restart (RFC 4724 §5). Which of them lives is decided where they meet, in `speaker::peer`.

pub(crate) mod fsm;
pub(crate) mod negotiate;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use fsm::State;
use negotiate::Negotiated;
use serde::Serialize;

use crate::wire::{Framer, Open};

/// Names a transport connection between the speaker and its driver; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ConnectionId(pub u64);

/// Octets that may wait in the driver for one connection before the speaker stops writing routes.
pub(crate) const WINDOW: usize = 256 * 1024;
/// How long an OPEN may take (RFC 4271 §8, "large value").
pub(crate) const OPEN_HOLD: Duration = Duration::from_secs(240);
/// How long a dial may take before it is begun again.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// RFC 9687 §4: the least time after which a peer that does not read is given up.
const SEND_HOLD: Duration = Duration::from_secs(480);

/// Between three quarters of `time` and all of it (RFC 4271 §10), so that speakers that did something together do not do the next
/// thing together. A speaker has no source of chance: `seed` decides.
pub(crate) fn jittered(time: Duration, seed: impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    time.mul_f64(0.75 + 0.25 * (hasher.finish() % 1000) as f64 / 1000.0)
}

/// One connection, made or being made.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) state: State,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) local_address: Option<IpAddr>,
    pub(crate) framer: Framer,
    pub(crate) timers: Timers,
    pub(crate) sent_open: Option<Open>,
    pub(crate) negotiated: Option<Negotiated>,
    /// Keepalive intervals begun.
    beats: u32,
    /// Octets handed to the driver and not yet written to the transport.
    pub(crate) in_flight: usize,
    /// Since when the transport has taken nothing although something waits.
    pub(crate) stuck_since: Option<Instant>,
}

/// Deadlines; `None` is a timer that does not run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    pub(crate) connect_retry: Option<Instant>,
    pub(crate) hold: Option<Instant>,
    pub(crate) keepalive: Option<Instant>,
}

impl Session {
    /// A session for a connection that the peer opened.
    pub(crate) fn accepted(connection: ConnectionId, local_address: IpAddr) -> Self {
        Self {
            state: State::Active,
            connection: Some(connection),
            local_address: Some(local_address),
            ..Self::default()
        }
    }

    /// Forgets the connection and everything agreed on it; state and retry timer stay.
    pub(crate) fn forget(&mut self) -> Option<ConnectionId> {
        let connection = self.connection.take();
        *self = Self {
            state: self.state,
            timers: Timers {
                connect_retry: self.timers.connect_retry,
                ..Timers::default()
            },
            ..Self::default()
        };
        connection
    }

    /// Starts hold and keepalive timers as agreed.
    pub(crate) fn start_timers(&mut self, now: Instant) {
        self.heard(now);
        self.spoke(now);
    }

    /// The peer is alive: the hold timer starts again.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.timers.hold = self
            .agreed(|negotiated| negotiated.hold_time)
            .map(|time| now + time);
    }

    /// Something was sent: the keepalive timer starts again.
    pub(crate) fn spoke(&mut self, now: Instant) {
        if self.state >= State::OpenConfirm {
            self.beats = self.beats.wrapping_add(1);
            let seed = (self.connection, self.beats);
            self.timers.keepalive = self
                .agreed(Negotiated::keepalive)
                .map(|time| now + jittered(time, seed));
        }
    }

    fn agreed(&self, time: impl Fn(&Negotiated) -> Duration) -> Option<Duration> {
        self.negotiated
            .as_ref()
            .map(time)
            .filter(|time| !time.is_zero())
    }

    /// Octets were handed to the driver.
    pub(crate) fn queued(&mut self, octets: usize, now: Instant) {
        self.in_flight += octets;
        self.stuck_since.get_or_insert(now);
    }

    /// The driver wrote octets to the transport.
    pub(crate) fn written(&mut self, octets: usize, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(octets);
        self.stuck_since = (self.in_flight > 0).then_some(now);
    }

    /// Whether more routes may be handed to the driver.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < WINDOW
    }

    /// When a peer that does not read is given up (RFC 9687).
    pub(crate) fn send_hold(&self) -> Option<Instant> {
        let hold_time = self.agreed(|negotiated| negotiated.hold_time)?;
        Some(self.stuck_since? + SEND_HOLD.max(hold_time * 2))
    }

    /// The earliest deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [
            self.timers.connect_retry,
            self.timers.hold,
            self.timers.keepalive,
            self.send_hold(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
