//! The state machine of RFC 4271 §8.2.2 as a function: (state, event) → (state, actions).
//!
//! Optional attributes are fixed as data-centre speakers have them: no DelayOpen, no TrackTcpState, automatic start
//! after an idle hold. An event that a state does not expect ends the connection, as the RFC's "any other event".

use std::fmt;

use serde::Serialize;

/// RFC 4271 §8.2.2, in order of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nothing is tried: held down, or waiting after an error.
    #[default]
    Idle,
    /// A connection is being made.
    Connect,
    /// Waiting for the peer, or until the next attempt.
    Active,
    /// OPEN sent, the peer's awaited.
    OpenSent,
    /// OPEN accepted, the peer's KEEPALIVE awaited.
    OpenConfirm,
    /// Routes flow.
    Established,
}

/// What can happen to a connection. Numbers are those of RFC 4271 §8.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// 1, 3: start, connecting ourselves.
    Start,
    /// 4, 5: start, waiting for the peer.
    StartPassive,
    /// 2: stop; what to say is in the action's hands.
    Stop,
    /// 9.
    ConnectRetryExpires,
    /// 10.
    HoldExpires,
    /// 11.
    KeepaliveExpires,
    /// 16, 17.
    TcpConnected,
    /// 18.
    TcpFailed,
    /// 19, after the OPEN was checked against the configuration.
    OpenAccepted,
    /// 21, 22, 28, and an OPEN that the configuration refuses.
    MessageRefused,
    /// 23.
    CollisionLost,
    /// 24, 25.
    NotificationReceived,
    /// 26.
    KeepaliveReceived,
    /// 27.
    UpdateReceived,
    /// ROUTE-REFRESH: treated like an UPDATE by every state (RFC 2918 §4).
    RefreshReceived,
}

/// What to do; in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Ask for a connection.
    Dial,
    /// Send OPEN, start the large hold timer.
    SendOpen,
    /// Send KEEPALIVE, start the agreed timers.
    Confirm,
    /// Send KEEPALIVE, restart its timer.
    SendKeepalive,
    /// Restart the hold timer.
    Heard,
    /// Tell the RIB that routes may flow.
    Up,
    /// Hand the message on.
    Deliver,
    /// Send the NOTIFICATION that the event carries.
    Notify,
    /// Send FSM Error with this subcode (RFC 6608).
    NotifyUnexpected(u8),
    /// Send Hold Timer Expired.
    NotifyHold,
    /// Give the connection up.
    Drop,
    /// Wait before the next attempt.
    Retry,
}

/// The machine.
pub(crate) fn step(state: State, event: Event) -> (State, &'static [Action]) {
    match state {
        State::Idle => idle(event),
        State::Connect => connect(event),
        State::Active => active(event),
        State::OpenSent => open_sent(event),
        State::OpenConfirm => open_confirm(event),
        State::Established => established(event),
    }
}

fn idle(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start | Event::ConnectRetryExpires => (State::Connect, &[Action::Dial]),
        Event::StartPassive => (State::Active, &[]),
        _ => (State::Idle, &[]),
    }
}

fn connect(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start | Event::StartPassive => (State::Connect, &[]),
        Event::TcpConnected => (State::OpenSent, &[Action::SendOpen]),
        Event::TcpFailed => (State::Active, &[Action::Drop, Action::Retry]),
        Event::ConnectRetryExpires => (State::Connect, &[Action::Drop, Action::Dial]),
        Event::Stop | Event::CollisionLost => (State::Idle, &[Action::Drop]),
        _ => (State::Idle, &[Action::Drop, Action::Retry]),
    }
}

fn active(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start | Event::StartPassive => (State::Active, &[]),
        Event::ConnectRetryExpires => (State::Connect, &[Action::Dial]),
        Event::TcpConnected => (State::OpenSent, &[Action::SendOpen]),
        Event::Stop | Event::CollisionLost => (State::Idle, &[Action::Drop]),
        _ => (State::Idle, &[Action::Drop, Action::Retry]),
    }
}

fn open_sent(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start
        | Event::StartPassive
        | Event::ConnectRetryExpires
        | Event::KeepaliveExpires => (State::OpenSent, &[]),
        Event::Stop | Event::CollisionLost => (State::Idle, &[Action::Notify, Action::Drop]),
        Event::HoldExpires => (
            State::Idle,
            &[Action::NotifyHold, Action::Drop, Action::Retry],
        ),
        Event::TcpFailed => (State::Active, &[Action::Drop, Action::Retry]),
        Event::OpenAccepted => (State::OpenConfirm, &[Action::Confirm]),
        Event::MessageRefused => (State::Idle, &[Action::Notify, Action::Drop, Action::Retry]),
        Event::NotificationReceived => (State::Idle, &[Action::Drop, Action::Retry]),
        Event::TcpConnected
        | Event::KeepaliveReceived
        | Event::UpdateReceived
        | Event::RefreshReceived => (
            State::Idle,
            &[Action::NotifyUnexpected(1), Action::Drop, Action::Retry],
        ),
    }
}

fn open_confirm(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start | Event::StartPassive | Event::ConnectRetryExpires => {
            (State::OpenConfirm, &[])
        }
        Event::Stop | Event::CollisionLost => (State::Idle, &[Action::Notify, Action::Drop]),
        Event::HoldExpires => (
            State::Idle,
            &[Action::NotifyHold, Action::Drop, Action::Retry],
        ),
        Event::KeepaliveExpires => (State::OpenConfirm, &[Action::SendKeepalive]),
        Event::KeepaliveReceived => (State::Established, &[Action::Heard, Action::Up]),
        Event::MessageRefused => (State::Idle, &[Action::Notify, Action::Drop, Action::Retry]),
        Event::TcpFailed | Event::NotificationReceived => {
            (State::Idle, &[Action::Drop, Action::Retry])
        }
        Event::TcpConnected
        | Event::OpenAccepted
        | Event::UpdateReceived
        | Event::RefreshReceived => (
            State::Idle,
            &[Action::NotifyUnexpected(2), Action::Drop, Action::Retry],
        ),
    }
}

fn established(event: Event) -> (State, &'static [Action]) {
    match event {
        Event::Start | Event::StartPassive | Event::ConnectRetryExpires => {
            (State::Established, &[])
        }
        Event::Stop | Event::CollisionLost => (State::Idle, &[Action::Notify, Action::Drop]),
        Event::HoldExpires => (
            State::Idle,
            &[Action::NotifyHold, Action::Drop, Action::Retry],
        ),
        Event::KeepaliveExpires => (State::Established, &[Action::SendKeepalive]),
        Event::KeepaliveReceived => (State::Established, &[Action::Heard]),
        Event::UpdateReceived | Event::RefreshReceived => {
            (State::Established, &[Action::Heard, Action::Deliver])
        }
        Event::MessageRefused => (State::Idle, &[Action::Notify, Action::Drop, Action::Retry]),
        Event::TcpFailed | Event::NotificationReceived => {
            (State::Idle, &[Action::Drop, Action::Retry])
        }
        Event::TcpConnected | Event::OpenAccepted => (
            State::Idle,
            &[Action::NotifyUnexpected(3), Action::Drop, Action::Retry],
        ),
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] = [
        State::Idle,
        State::Connect,
        State::Active,
        State::OpenSent,
        State::OpenConfirm,
        State::Established,
    ];
    const EVENTS: [Event; 15] = [
        Event::Start,
        Event::StartPassive,
        Event::Stop,
        Event::ConnectRetryExpires,
        Event::HoldExpires,
        Event::KeepaliveExpires,
        Event::TcpConnected,
        Event::TcpFailed,
        Event::OpenAccepted,
        Event::MessageRefused,
        Event::CollisionLost,
        Event::NotificationReceived,
        Event::KeepaliveReceived,
        Event::UpdateReceived,
        Event::RefreshReceived,
    ];

    #[test]
    fn whatever_ends_a_connection_drops_it() {
        for state in [State::OpenSent, State::OpenConfirm, State::Established] {
            for event in EVENTS {
                let (next, actions) = step(state, event);
                assert_eq!(
                    next < State::OpenSent,
                    actions.contains(&Action::Drop),
                    "{state} {event:?}"
                );
            }
        }
    }

    #[test]
    fn established_is_reached_only_by_a_keepalive_in_open_confirm() {
        for state in STATES {
            for event in EVENTS {
                let (next, actions) = step(state, event);
                let enters = state != State::Established && next == State::Established;
                assert_eq!(
                    enters,
                    (state, event) == (State::OpenConfirm, Event::KeepaliveReceived)
                );
                assert_eq!(enters, actions.contains(&Action::Up));
            }
        }
    }

    #[test]
    fn messages_out_of_turn_name_the_state_they_came_in() {
        let subcode = |state, event| match step(state, event).1.first() {
            Some(Action::NotifyUnexpected(subcode)) => *subcode,
            _ => 0,
        };
        assert_eq!(subcode(State::OpenSent, Event::KeepaliveReceived), 1);
        assert_eq!(subcode(State::OpenSent, Event::UpdateReceived), 1);
        assert_eq!(subcode(State::OpenConfirm, Event::UpdateReceived), 2);
        assert_eq!(subcode(State::Established, Event::OpenAccepted), 3);
    }

    #[test]
    fn transport_failure_retries_from_active_and_falls_to_idle_when_open() {
        assert_eq!(step(State::Connect, Event::TcpFailed).0, State::Active);
        assert_eq!(step(State::OpenSent, Event::TcpFailed).0, State::Active);
        assert_eq!(step(State::OpenConfirm, Event::TcpFailed).0, State::Idle);
        assert_eq!(step(State::Established, Event::TcpFailed).0, State::Idle);
    }

    #[test]
    fn a_notification_is_never_answered() {
        for state in STATES {
            let (_, actions) = step(state, Event::NotificationReceived);
            assert!(!actions.iter().any(|action| {
                matches!(
                    action,
                    Action::Notify | Action::NotifyUnexpected(_) | Action::NotifyHold
                )
            }));
        }
    }
}
