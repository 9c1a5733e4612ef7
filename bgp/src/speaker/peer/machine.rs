//! One step of a session's state machine, with everything it entails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Ending, Env, Happening, LastKnown, Peer, STEADY, Slot};
use crate::family::{Families, PerFamily};
use crate::session::fsm::{self, Action, State};
use crate::session::negotiate::{self, Negotiated};
use crate::session::{DIAL_TIMEOUT, OPEN_HOLD};
use crate::speaker::port::{Dial, Output};
use crate::wire::{self, Capability, Cease, Notification};

impl Peer {
    /// One step of a session's machine with all it entails. Returns the state it ends in.
    pub(super) fn step(
        &mut self,
        slot: Slot,
        event: fsm::Event,
        ending: Option<Ending>,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) -> State {
        let session = self.session(slot);
        let before = session.state;
        let (next, actions) = fsm::step(before, event);
        session.state = next;
        let unexpected = actions
            .iter()
            .any(|action| matches!(action, Action::NotifyUnexpected(_)));
        let ending = ending.unwrap_or_else(|| {
            Ending::silent(if unexpected {
                format!("unexpected message in {before}")
            } else {
                String::new()
            })
        });
        if actions.contains(&Action::Drop) {
            self.record_end(slot, before, event, &ending, env, happenings);
        }
        for action in actions {
            self.act(slot, *action, &ending, env, happenings);
        }
        if let Slot::Incoming(index) = slot
            && next < State::OpenSent
        {
            self.incoming.remove(index);
        }
        if actions.contains(&Action::Drop) {
            self.ensure_dialling(env);
        }
        next
    }

    fn act(
        &mut self,
        slot: Slot,
        action: Action,
        ending: &Ending,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        match action {
            Action::Dial => self.dial(env),
            Action::SendOpen => self.send_open(slot, env),
            Action::Confirm => {
                self.session(slot).start_timers(env.now);
                self.send(slot, wire::encode_keepalive(), env);
            }
            Action::SendKeepalive => {
                let session = self.session(slot);
                session.spoke(env.now);
                // With a full window the peer has enough unread octets to know that we live.
                if session.has_room() {
                    self.send(slot, wire::encode_keepalive(), env);
                }
            }
            Action::Heard => self.session(slot).heard(env.now),
            Action::Up => self.up(slot, env, happenings),
            Action::Deliver => {}
            Action::Notify => {
                if let Some(notification) = &ending.notification {
                    self.notify(slot, notification.clone(), env);
                }
            }
            Action::NotifyUnexpected(subcode) => {
                self.notify(slot, Notification::new(Notification::FSM, subcode), env);
            }
            Action::NotifyHold => {
                self.notify(slot, Notification::new(Notification::HOLD_TIMER, 0), env)
            }
            Action::Drop => {
                if let Some(connection) = self.session(slot).forget() {
                    env.io.close(connection);
                }
            }
            Action::Retry => {
                if slot == Slot::Outgoing {
                    let pause = self.retry_pause(env.router_id.into());
                    self.outgoing.timers.connect_retry = Some(env.now + pause);
                }
            }
        }
    }

    fn dial(&mut self, env: &mut Env<'_>) {
        let connection = env.io.open(self.id);
        self.outgoing.connection = Some(connection);
        self.outgoing.timers.connect_retry = Some(env.now + DIAL_TIMEOUT);
        env.io.push(Output::Connect(Dial {
            connection,
            peer: self.config.address,
            remote: SocketAddr::new(self.config.address, self.config.remote_port),
            source: self.config.source,
            protection: self.config.protection.clone(),
        }));
    }

    fn send_open(&mut self, slot: Slot, env: &mut Env<'_>) {
        let local_as = self.local_as(env.speaker_as);
        let mut open = negotiate::offer(&self.config, local_as, env.router_id, env.bits);
        open.capabilities
            .extend(env.hostname.map(Capability::hostname));
        let octets = wire::encode_open(&open);
        let session = self.session(slot);
        session.sent_open = Some(open);
        session.timers.connect_retry = None;
        session.timers.hold = Some(env.now + OPEN_HOLD);
        self.send(slot, octets, env);
    }

    fn send(&mut self, slot: Slot, octets: Vec<u8>, env: &mut Env<'_>) {
        self.counters.messages_sent += 1;
        self.counters.octets_sent += octets.len() as u64;
        let octets: Arc<[u8]> = octets.into();
        env.io.send(self.session(slot), octets, env.now);
    }

    fn notify(&mut self, slot: Slot, notification: Notification, env: &mut Env<'_>) {
        let graceful = self
            .session(slot)
            .negotiated
            .as_ref()
            .is_some_and(Negotiated::graceful_notification);
        // RFC 8538 §3.1: what an operator, a limit or the loss of the path ends must not be kept as if it were a restart.
        let final_word =
            notification.code == Notification::CEASE && matches!(notification.subcode, 1..=3 | 10);
        let notification = if graceful && final_word {
            notification.into_hard_reset()
        } else {
            notification
        };
        self.last_sent = Some((notification.to_string(), env.now));
        self.send(slot, wire::encode_notification(&notification), env);
    }

    fn up(&mut self, slot: Slot, env: &mut Env<'_>, happenings: &mut Vec<Happening>) {
        self.attempts = 0;
        self.established_count += 1;
        self.established_since = Some(env.now);
        self.ends_of_rib = Families::NONE;
        self.refreshing = PerFamily::default();
        self.last_error = None;
        let connection = self.session(slot).connection;
        // Whatever else is under way lost the race. From the last to the first: who ends leaves its place.
        for other in self.slots().collect::<Vec<_>>().into_iter().rev() {
            if self.session(other).connection != connection {
                let ending = Ending::sent(
                    Notification::cease(Cease::CollisionResolution),
                    "connection collision",
                );
                self.step(
                    other,
                    fsm::Event::CollisionLost,
                    Some(ending),
                    env,
                    happenings,
                );
            }
        }
        self.outgoing.timers.connect_retry = None;
        let local_addresses = self.local_addresses();
        if let Some(negotiated) = self.negotiated() {
            let (remote_as, external) = (negotiated.remote.asn, negotiated.context.external);
            self.last_known = Some(LastKnown {
                remote_as,
                external,
                local_addresses,
            });
        }
        happenings.push(Happening::Up);
    }

    /// Writes down why a session ends, and what becomes of its routes.
    fn record_end(
        &mut self,
        slot: Slot,
        before: State,
        event: fsm::Event,
        ending: &Ending,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        let reason = ending.reason.clone();
        if before != State::Established {
            // A lost collision or a stop is no failure; and who is up has none.
            if !reason.is_empty() && !matches!(event, fsm::Event::CollisionLost | fsm::Event::Stop)
            {
                env.failed(self.config.address, &reason);
                if self.established().is_none() {
                    self.last_error = Some((reason, env.now));
                }
            }
            return;
        }
        let negotiated = self.session(slot).negotiated.clone();
        let keep = negotiated
            .as_ref()
            .map_or(Families::NONE, |agreed| self.keeps(agreed, event, ending));
        let seconds = negotiated
            .and_then(|agreed| agreed.restart)
            .map_or(0, |restart| restart.restart_time);
        let brief = self
            .established_since
            .take()
            .is_some_and(|since| env.now < since + STEADY);
        // Only errors in messages: who loses its transport, is reset or restarts is wanted back at once.
        let error = ending
            .notification
            .as_ref()
            .is_some_and(|notification| notification.code != Notification::CEASE);
        self.oscillations = if brief && error {
            self.oscillations.saturating_add(1)
        } else {
            0
        };
        self.last_error = Some((reason.clone(), env.now));
        happenings.push(Happening::Down {
            keep,
            restart_time: Duration::from_secs(u64::from(seconds)),
            reason,
        });
    }

    /// The families whose routes outlive the session (RFC 4724 §4.2, RFC 8538 §4).
    fn keeps(&self, negotiated: &Negotiated, event: fsm::Event, ending: &Ending) -> Families {
        let hard = |notification: &Notification| {
            let ceased = notification.code == Notification::CEASE
                && matches!(notification.subcode, 1..=3 | 10);
            notification.is_hard_reset() || ceased && event == fsm::Event::Stop
        };
        let silent = ending.notification.is_none();
        let keeps = match event {
            fsm::Event::TcpFailed => true,
            fsm::Event::CollisionLost | fsm::Event::Stop if silent => true,
            _ => {
                negotiated.graceful_notification()
                    && !ending.notification.as_ref().is_some_and(hard)
            }
        };
        if keeps && self.config.graceful_restart {
            negotiated.preserved()
        } else {
            Families::NONE
        }
    }

    /// A peer without a connection is dialled again after a pause.
    fn ensure_dialling(&mut self, env: &Env<'_>) {
        let idle =
            self.outgoing.state == State::Idle && self.outgoing.timers.connect_retry.is_none();
        if !idle
            || !self.is_wanted()
            || self
                .sessions()
                .any(|session| session.state >= State::OpenSent)
        {
            return;
        }
        if self.config.passive {
            self.outgoing.state = fsm::step(State::Idle, fsm::Event::StartPassive).0;
        } else {
            let pause = self.retry_pause(env.router_id.into());
            self.outgoing.timers.connect_retry = Some(env.now + pause);
        }
    }
}
