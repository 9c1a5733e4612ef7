//! One session: the state variables of RFC 5880 §6.8.1 and what moves them.

use std::time::{Duration, Instant};

use super::chance::Chance;
use super::status::{Loss, SessionStatus, Transition};
use super::timing::Timing;
use super::{Diagnostic, Packet, SessionConfig, State};

/// A session of ours; always in the active role.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: SessionConfig,
    pub(super) discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    since: Instant,
    timing: Timing,
    remote: Remote,
    last_heard: Option<Instant>,
    last_sent: Instant,
    /// What the pause until the next packet was drawn from; another interval draws anew.
    interval: Option<Duration>,
    next_send: Option<Instant>,
    /// Switched off: says so until then, and is then forgotten.
    pub(super) leaves_at: Option<Instant>,
    ups: u64,
    losses: u64,
    last_loss: Option<Loss>,
    received: u64,
    sent: u64,
}

/// What the other end has told us.
#[derive(Clone, Copy, Debug)]
struct Remote {
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    min_rx: Duration,
    desired_tx: Duration,
    multiplier: u8,
    demand: bool,
    independent: bool,
}

/// What a step has to say.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) packets: Vec<Packet>,
    pub(super) transition: Option<Transition>,
}

impl Session {
    pub(super) fn new(
        config: SessionConfig,
        discriminator: u32,
        now: Instant,
        chance: &mut Chance,
    ) -> Self {
        let timing = Timing::new(&config.parameters);
        let mut session = Self {
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            since: now,
            timing,
            remote: Remote::UNKNOWN,
            last_heard: None,
            last_sent: now,
            interval: None,
            next_send: None,
            leaves_at: None,
            ups: 0,
            losses: 0,
            last_loss: None,
            received: 0,
            sent: 0,
            config,
        };
        session.pace(chance);
        // A few sessions begin at once, a thousand do not: the first packet comes within a part of a second.
        session.next_send = Some(now + chance.jittered(super::timing::SLOW, 1) / 4);
        session
    }

    /// New timers for the same session.
    pub(super) fn configure(&mut self, config: SessionConfig, now: Instant, chance: &mut Chance) {
        let returns = self.leaves_at.take().is_some();
        let changed = self.config != config;
        self.config = config;
        if returns {
            self.state = State::Down;
            self.since = now;
        }
        if self.state != State::Up {
            self.timing.slow_down(&self.config.parameters);
        } else if changed && self.timing.announce(&self.config.parameters) {
            self.next_send = Some(now);
        }
        self.pace(chance);
    }

    /// Switches the session off and says so until the other end must have heard it (RFC 5880 §6.8.16).
    pub(super) fn leave(&mut self, now: Instant) -> Effects {
        let patience = self.transmit_interval().unwrap_or_default();
        let heard = patience * u32::from(self.config.parameters.multiplier);
        self.leaves_at = Some(now + heard.max(super::timing::SLOW));
        let transition = self.enter(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, now);
        self.timing.slow_down(&self.config.parameters);
        // More than one, for one may be lost, and silence would look like the loss of the path.
        let packets = (0..self.config.parameters.multiplier.clamp(1, 3))
            .map(|_| self.packet(now))
            .collect();
        Effects {
            packets,
            transition,
        }
    }

    /// Takes a packet that was found to be of this session: the rest of RFC 5880 §6.8.6, in its order.
    pub(super) fn receive(
        &mut self,
        packet: &Packet,
        now: Instant,
        chance: &mut Chance,
    ) -> Effects {
        self.remote.learn(packet);
        if packet.is_final {
            self.timing.answered();
        }
        if self.state == State::AdminDown {
            return Effects::default();
        }
        self.last_heard = Some(now);
        self.received += 1;
        let transition = self
            .answer_to(packet.state)
            .and_then(|(state, diagnostic)| self.enter(state, diagnostic, now));
        let mut packets = Vec::new();
        if packet.poll {
            packets.push(self.final_packet(now));
        }
        if transition.is_some() {
            packets.push(self.packet(now));
        }
        self.pace(chance);
        if transition.is_some() {
            self.draw(chance);
        }
        Effects {
            packets,
            transition,
        }
    }

    /// Fires what is due. The loss first: who sends before it says what is no longer so.
    pub(super) fn handle_timeout(&mut self, now: Instant, chance: &mut Chance) -> Effects {
        let mut effects = Effects::default();
        if self.detection_deadline().is_some_and(|due| due <= now) {
            effects.transition = self.expire(now);
            if effects.transition.is_some() {
                self.next_send = Some(now);
            }
        }
        if self.next_send.is_some_and(|due| due <= now) {
            effects.packets.push(self.packet(now));
            self.interval = self.transmit_interval();
            self.draw(chance);
        }
        effects
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.detection_deadline(), self.next_send, self.leaves_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn status(&self, now: Instant) -> SessionStatus {
        SessionStatus {
            peer: self.config.peer,
            source: self.config.source,
            path: self.config.parameters.path,
            state: self.state,
            diagnostic: self.diagnostic,
            remote_state: self.remote.state,
            remote_diagnostic: self.remote.diagnostic,
            remote_independent: self.remote.independent,
            local_discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            transmit_interval: self.transmit_interval(),
            detection_time: self.last_heard.map(|_| self.detection_time()),
            since: now.saturating_duration_since(self.since),
            ups: self.ups,
            losses: self.losses,
            last_loss: self.last_loss,
            received: self.received,
            sent: self.sent,
        }
    }

    /// The state machine of RFC 5880 §6.2: where the other end's state takes us.
    fn answer_to(&self, remote: State) -> Option<(State, Diagnostic)> {
        let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
        match (self.state, remote) {
            (State::AdminDown, _) | (State::Down, State::AdminDown | State::Up) => None,
            (_, State::AdminDown) | (State::Up, State::Down) => Some((State::Down, signaled)),
            (State::Down, State::Down) => Some((State::Init, self.diagnostic)),
            (State::Down | State::Init, State::Init) | (State::Init, State::Up) => {
                Some((State::Up, Diagnostic::NONE))
            }
            (State::Init, State::Down) | (State::Up, State::Init | State::Up) => None,
        }
    }

    fn enter(&mut self, state: State, diagnostic: Diagnostic, now: Instant) -> Option<Transition> {
        let from = self.state;
        if from == state {
            return None;
        }
        self.state = state;
        self.diagnostic = diagnostic;
        self.since = now;
        // RFC 5882 §3.2: an end that was switched off tells nothing about the path.
        let lost = from == State::Up
            && state == State::Down
            && (diagnostic == Diagnostic::DETECTION_TIME_EXPIRED
                || self.remote.state != State::AdminDown);
        let loss = lost.then_some(Loss {
            diagnostic,
            shares_fate: !self.remote.independent,
            detection_time: self.detection_time(),
        });
        self.losses += u64::from(lost);
        self.last_loss = loss.or(self.last_loss);
        if state == State::Up {
            self.ups += 1;
            self.timing.announce(&self.config.parameters);
        } else {
            self.timing.slow_down(&self.config.parameters);
        }
        Some(Transition {
            peer: self.config.peer,
            from,
            to: state,
            diagnostic,
            loss,
        })
    }

    /// Nothing was heard in time (RFC 5880 §6.8.4); whoever is heard next may be somebody else.
    fn expire(&mut self, now: Instant) -> Option<Transition> {
        self.last_heard = None;
        let transition = (self.state > State::Down)
            .then(|| self.enter(State::Down, Diagnostic::DETECTION_TIME_EXPIRED, now))
            .flatten();
        self.remote.forget();
        transition
    }

    fn detection_deadline(&self) -> Option<Instant> {
        (self.state != State::AdminDown).then_some(())?;
        Some(self.last_heard? + self.detection_time())
    }

    fn detection_time(&self) -> Duration {
        self.timing.in_force.rx.max(self.remote.desired_tx) * u32::from(self.remote.multiplier)
    }

    /// How often we send (RFC 5880 §6.8.2, §6.8.7).
    fn transmit_interval(&self) -> Option<Duration> {
        let both_up = self.state == State::Up && self.remote.state == State::Up;
        let unwanted = self.remote.min_rx.is_zero()
            || self.remote.demand && both_up && !self.timing.is_polling();
        (!unwanted).then(|| self.timing.in_force.tx.max(self.remote.min_rx))
    }

    /// Draws the next pause anew when the interval has become another one.
    fn pace(&mut self, chance: &mut Chance) {
        let interval = self.transmit_interval();
        if interval != self.interval {
            self.interval = interval;
            self.draw(chance);
        }
    }

    fn draw(&mut self, chance: &mut Chance) {
        let multiplier = self.config.parameters.multiplier;
        let pause = self
            .interval
            .map(|interval| chance.jittered(interval, multiplier));
        self.next_send = pause.map(|pause| self.last_sent + pause);
    }

    /// The answer to a poll: at once, whatever the timers say, and no poll itself (RFC 5880 §6.8.7).
    fn final_packet(&mut self, now: Instant) -> Packet {
        let last_sent = self.last_sent;
        let packet = Packet {
            poll: false,
            is_final: true,
            ..self.packet(now)
        };
        self.last_sent = last_sent;
        packet
    }

    fn packet(&mut self, now: Instant) -> Packet {
        self.last_sent = now;
        self.sent += 1;
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.timing.is_polling(),
            is_final: false,
            // Our thread ends with the agent.
            control_plane_independent: false,
            demand: false,
            multiplier: self.config.parameters.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.timing.announced.tx,
            required_min_rx: self.timing.announced.rx,
            required_min_echo_rx: Duration::ZERO,
        }
    }
}

impl Remote {
    /// RFC 5880 §6.8.1: what is assumed of an end that was never heard.
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        min_rx: Duration::from_micros(1),
        desired_tx: Duration::ZERO,
        multiplier: 0,
        demand: false,
        independent: false,
    };

    const fn learn(&mut self, packet: &Packet) {
        *self = Self {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            min_rx: packet.required_min_rx,
            desired_tx: packet.desired_min_tx,
            multiplier: packet.multiplier,
            demand: packet.demand,
            independent: packet.control_plane_independent,
        };
    }

    /// What a person may still want to know stays.
    const fn forget(&mut self) {
        *self = Self {
            diagnostic: self.diagnostic,
            independent: self.independent,
            ..Self::UNKNOWN
        };
    }
}
