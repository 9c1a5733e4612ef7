//! From octets to events of the state machine.

use super::{Ending, Env, Happening, Peer, Slot};
use crate::session::fsm::{self, State};
use crate::session::negotiate;
use crate::speaker::port::Input;
use crate::wire::{self, Frame, Kind, Notification, Open, Refresh, Update};

impl Peer {
    /// Something happened to a connection of this peer.
    pub(crate) fn handle(&mut self, input: Input<'_>, env: &mut Env<'_>) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let Some(slot) = self.slot(input.connection()) else {
            return happenings;
        };
        match input {
            Input::Connected { local, .. } => {
                self.session(slot).local_address = Some(local);
                self.step(slot, fsm::Event::TcpConnected, None, env, &mut happenings);
            }
            Input::ConnectFailed { reason, .. } | Input::Closed { reason, .. } => {
                self.step(
                    slot,
                    fsm::Event::TcpFailed,
                    Some(Ending::silent(reason)),
                    env,
                    &mut happenings,
                );
            }
            Input::Received { bytes, .. } => self.receive(slot, bytes, env, &mut happenings),
            Input::Written { octets, .. } => self.session(slot).written(octets, env.now),
        }
        happenings
    }

    fn receive(
        &mut self,
        slot: Slot,
        bytes: &[u8],
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        self.counters.octets_received += bytes.len() as u64;
        let session = self.session(slot);
        let connection = session.connection;
        let mut framer = std::mem::take(&mut session.framer);
        framer.push(bytes);
        // A session may lose its place to another one while a message is handled, so it is looked up each time.
        while let Some(slot) = connection.and_then(|connection| self.slot(connection)) {
            let negotiated = self.session(slot).negotiated.as_ref();
            framer.extended(negotiated.is_some_and(|agreed| agreed.encoding.extended_messages));
            match framer.next_frame() {
                Ok(Some(frame)) => self.message(slot, frame, env, happenings),
                Ok(None) => {
                    self.session(slot).framer = framer;
                    return;
                }
                Err(notification) => self.refuse(slot, notification, env, happenings),
            }
        }
    }

    fn message(
        &mut self,
        slot: Slot,
        frame: Frame<'_>,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        self.counters.messages_received += 1;
        match frame.kind {
            Kind::Open => self.open(slot, frame.body, env, happenings),
            Kind::Keepalive => {
                self.step(slot, fsm::Event::KeepaliveReceived, None, env, happenings);
            }
            Kind::Notification => self.notified(slot, frame.body, env, happenings),
            Kind::Update => self.update(slot, frame.body, env, happenings),
            Kind::RouteRefresh => self.refresh(slot, frame.body, env, happenings),
        }
    }

    fn open(
        &mut self,
        slot: Slot,
        body: &[u8],
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        let session = self.session(slot);
        let Some(local) = session
            .sent_open
            .clone()
            .filter(|_| session.state == State::OpenSent)
        else {
            let ending = Ending::silent("peer sent a second OPEN");
            self.step(
                slot,
                fsm::Event::OpenAccepted,
                Some(ending),
                env,
                happenings,
            );
            return;
        };
        let remote = match Open::decode(body) {
            Ok(remote) => remote,
            Err(notification) => return self.refuse(slot, notification, env, happenings),
        };
        let negotiated = match negotiate::accept(&self.config, &local, remote) {
            Ok(negotiated) => negotiated,
            Err(negotiate::Refused {
                notification,
                reason,
            }) => {
                let ending = Ending::sent(notification, reason);
                self.step(
                    slot,
                    fsm::Event::MessageRefused,
                    Some(ending),
                    env,
                    happenings,
                );
                return;
            }
        };
        if let Some(slot) = self.resolve_collision(slot, &local, &negotiated, env, happenings) {
            self.session(slot).negotiated = Some(negotiated);
            self.step(slot, fsm::Event::OpenAccepted, None, env, happenings);
        }
    }

    fn notified(
        &mut self,
        slot: Slot,
        body: &[u8],
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        let Some(notification) = Notification::decode(body) else {
            return;
        };
        self.last_received = Some((notification.to_string(), env.now));
        // RFC 4271 §8.1.5, event 24: the peer speaks another version, which is no failure to count.
        let attempts = self.attempts;
        let uncounted = notification.is_version_error();
        let reason = format!("peer sent: {notification}");
        let ending = Ending::sent(notification, reason);
        self.step(
            slot,
            fsm::Event::NotificationReceived,
            Some(ending),
            env,
            happenings,
        );
        if uncounted {
            self.attempts = attempts;
        }
    }

    fn update(
        &mut self,
        slot: Slot,
        body: &[u8],
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        self.counters.updates_received += 1;
        let session = self.session(slot);
        let context = session
            .negotiated
            .as_ref()
            .filter(|_| session.state == State::Established);
        let update = match context.map(|negotiated| Update::decode(body, &negotiated.context)) {
            Some(Err(notification)) => return self.refuse(slot, notification, env, happenings),
            Some(Ok(update)) => Some(update),
            None => None,
        };
        let state = self.step(slot, fsm::Event::UpdateReceived, None, env, happenings);
        if let Some(update) = update.filter(|_| state == State::Established) {
            happenings.push(Happening::Update(Box::new(update)));
        }
    }

    fn refresh(
        &mut self,
        slot: Slot,
        body: &[u8],
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        let refresh = match wire::decode_route_refresh(body) {
            Err(notification) if self.session(slot).state == State::Established => {
                return self.refuse(slot, notification, env, happenings);
            }
            refresh => refresh.ok().flatten(),
        };
        let state = self.step(slot, fsm::Event::RefreshReceived, None, env, happenings);
        if state != State::Established {
            return;
        }
        // RFC 7313 §5: what nobody agreed on is ignored.
        let agreed = self.session(slot).negotiated.as_ref();
        let agreed = |(family, kind): &(_, Refresh)| {
            agreed.is_some_and(|agreed| {
                agreed.context.families[*family]
                    && (*kind == Refresh::Request || agreed.enhanced_refresh)
            })
        };
        if let Some((family, kind)) = refresh.filter(agreed) {
            happenings.push(Happening::Refresh(family, kind));
        }
    }

    fn refuse(
        &mut self,
        slot: Slot,
        notification: Notification,
        env: &mut Env<'_>,
        happenings: &mut Vec<Happening>,
    ) {
        let reason = format!("peer's message is refused: {notification}");
        let ending = Ending::sent(notification, reason);
        self.step(
            slot,
            fsm::Event::MessageRefused,
            Some(ending),
            env,
            happenings,
        );
    }
}
