//! A speaker brought into a state of RFC 4271 §8.2.2, and an event of §8.1 made to happen there.

use margay_bgp::{ConnectionId, PeerConfig, State};

use crate::octets::{OpenFields, good_update, keepalive, notification, open_of, update};
use crate::script::{SECOND, Script, ip, peer};

/// A speaker in a state, and the connection that brought it there.
pub(crate) struct Stage {
    pub(crate) script: Script,
    connection: Option<ConnectionId>,
    state: State,
}

fn config() -> PeerConfig {
    PeerConfig {
        passive: false,
        hold_time: 90,
        ..peer(2, 65002)
    }
}

impl Stage {
    pub(crate) fn at(state: State) -> Self {
        let mut script = Script::new(65001);
        script.apply(vec![config()]);
        let connection = match state {
            State::Connect => Some(script.dials.remove(0).connection),
            State::Active => {
                script.refused();
                None
            }
            // After an error, in the pause before the next attempt.
            State::Idle => {
                let connection = script.connected();
                script.say(connection, &notification(6, 5));
                Some(connection)
            }
            _ => Some(script.connected()),
        };
        if let Some(connection) = connection {
            if state >= State::OpenConfirm {
                script.say(connection, &open_of(2, 65002).message());
            }
            if state == State::Established {
                script.say(connection, &keepalive());
            }
            script.heard(connection);
        }
        assert_eq!(script.status().state, state);
        Self {
            script,
            connection,
            state,
        }
    }

    /// Lets the event happen; the state that follows and what was said and done.
    pub(crate) fn play(&mut self, event: u32) -> String {
        let was_closed = self.connection.is_some_and(|c| self.script.is_closed(c));
        match event {
            1..=8 => self.administer(event),
            9..=13 => self.pass_time(event),
            15 => {
                let stranger = ip("198.51.100.7");
                let refused =
                    self.script
                        .speaker
                        .accept(stranger, ip("192.0.2.1"), self.script.now);
                assert!(refused.is_err());
            }
            16..=18 => self.transport(event),
            _ => self.hear(event),
        }
        let state = self
            .script
            .speaker
            .peers(self.script.now)
            .first()
            .map_or(State::Idle, |p| p.state);
        let mut words = vec![state.to_string()];
        if let Some(connection) = self.connection {
            let closed = self.script.is_closed(connection) && !was_closed;
            words.extend(self.said(connection, closed));
        }
        words.extend(self.script.dials.iter().map(|_| "dial".to_owned()));
        words.join(" ")
    }

    fn said(&mut self, connection: ConnectionId, closed: bool) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for message in self.script.heard(connection) {
            let word = match message.kind {
                1 => "open".to_owned(),
                2 => "update".to_owned(),
                3 => format!("{}/{}", message.body[0], message.body[1]),
                4 => "keepalive".to_owned(),
                other => format!("type {other}"),
            };
            words.push(word);
        }
        words.dedup();
        let notified = words.last().is_some_and(|word| word.contains('/'));
        assert!(closed || !notified, "open after NOTIFICATION");
        if closed && !notified {
            words.push("closed".to_owned());
        }
        words
    }

    fn administer(&mut self, event: u32) {
        let changed = PeerConfig {
            description: "changed".into(),
            ..config()
        };
        match event {
            1 | 3 => self.script.apply(vec![changed]),
            2 => self.script.apply(vec![PeerConfig {
                held_down: Some("by order".into()),
                ..changed
            }]),
            4 | 5 => self.script.apply(vec![PeerConfig {
                passive: true,
                ..changed
            }]),
            // Less than the shortest pause: the start that an error put off has not come.
            6 => self.script.wait(SECOND * 14 / 10),
            8 => self.script.apply(vec![]),
            _ => unreachable!("event {event}"),
        }
    }

    fn pass_time(&mut self, event: u32) {
        match (event, self.state) {
            (9 | 13, State::Idle | State::Connect | State::Active) => {
                _ = self.script.time_to_dial()
            }
            // Longer than any pause between attempts.
            (9, _) => self.script.wait(SECOND * 20),
            (10, State::OpenSent) => self.script.wait(SECOND * 240),
            (10, _) => self.script.wait(SECOND * 90),
            (11, _) => self.script.wait(SECOND * 30),
            _ => unreachable!("event {event}"),
        }
    }

    fn transport(&mut self, event: u32) {
        match (event, self.state) {
            (16, _) => {
                let (connection, local) = (self.connection.unwrap(), ip("192.0.2.1"));
                let connected = margay_bgp::Input::Connected { connection, local };
                self.script.speaker.handle(connected, self.script.now);
                self.script.settle();
            }
            (17, State::Established) => {
                let again =
                    self.script
                        .speaker
                        .accept(ip("192.0.2.2"), ip("192.0.2.1"), self.script.now);
                assert!(again.is_err());
            }
            (17, _) => self.connection = Some(self.script.connect(2)),
            _ => self.script.lose(self.connection.unwrap()),
        }
    }

    fn hear(&mut self, event: u32) {
        let octets = match event {
            19 => open_of(2, 65002).message(),
            21 => vec![0; 19],
            22 => OpenFields {
                version: 3,
                ..open_of(2, 65002)
            }
            .message(),
            23 => {
                // The peer's identifier is the higher one, so its own connection wins.
                let other = self.script.connect(2);
                return self.script.say(other, &open_of(2, 65002).message());
            }
            24 => notification(2, 1),
            25 => notification(6, 0),
            26 => keepalive(),
            27 => good_update(),
            28 => update(&[], &[&[0x40, 1, 1, 9]], &[]),
            _ => unreachable!("event {event}"),
        };
        self.script.say(self.connection.unwrap(), &octets);
    }
}
