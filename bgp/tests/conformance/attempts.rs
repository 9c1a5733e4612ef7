//! Items 31, 32, 34, 35 and 40: when the speaker dials, and whom it lets in (RFC 4271 §8.1.1, §8.2.1, §10).

use margay_bgp::{Event, PeerConfig, Refusal, State};

use crate::octets::{self, keepalive, notification, open_of, update};
use crate::script::{End, SECOND, Script, ip, peer};

pub(crate) fn active() -> PeerConfig {
    PeerConfig {
        passive: false,
        ..peer(2, 65002)
    }
}

#[test]
fn item_031_transport_failure_in_every_state() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    script.refused();
    assert_eq!(script.status().state, State::Active, "from Connect");
    script.time_to_dial();
    let connection = script.connected();
    script.lose(connection);
    assert_eq!(script.status().state, State::Active, "from OpenSent");
    for messages in [1, 2] {
        script.time_to_dial();
        let connection = script.connected();
        script.say(connection, &open_of(2, 65002).message());
        if messages == 2 {
            script.say(connection, &keepalive());
            assert_eq!(script.status().state, State::Established);
        }
        script.lose(connection);
        assert_eq!(
            script.status().state,
            State::Idle,
            "after {messages} messages"
        );
        assert_eq!(
            script.status().last_error.unwrap().reason,
            "connection reset"
        );
    }
}

#[test]
fn item_032_attempts_back_off_with_jitter_up_to_a_bound() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    let mut pauses = Vec::new();
    for exponent in [0, 1, 2, 3, 3, 3, 3] {
        script.refused();
        let (pause, most) = (script.time_to_dial(), SECOND * (2 << exponent));
        assert!(
            pause <= most && pause >= most * 3 / 4,
            "{pause:?} of {most:?}"
        );
        pauses.push(pause);
    }
    assert!(
        pauses[3..].iter().any(|pause| *pause != pauses[3]),
        "no jitter: {pauses:?}"
    );
    // Established resets it.
    let connection = script.connected();
    script.say(connection, &open_of(2, 65002).message());
    script.say(connection, &keepalive());
    script.lose(connection);
    assert!(script.time_to_dial() <= SECOND * 2);
}

#[test]
fn item_032_an_attempt_without_an_answer_is_begun_again() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    let first = script.dials.remove(0).connection;
    assert_eq!(script.time_to_dial(), SECOND * 10);
    assert!(script.is_closed(first));
}

#[test]
fn item_034_a_passive_peer_is_never_dialled_and_hears_open_at_once() {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    script.wait(SECOND * 600);
    assert!(script.dials.is_empty());
    assert_eq!(script.status().state, State::Active);
    let connection = script.connect(2);
    let kinds: Vec<_> = script.heard(connection).iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [octets::OPEN]);
    // Nor after an error.
    script.say(connection, &notification(2, 2));
    script.wait(SECOND * 600);
    assert!(script.dials.is_empty());
    assert_eq!(script.status().state, State::Active);
}

#[test]
fn item_034_waiting_or_dialling_is_changed_at_once() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    script.apply(vec![peer(2, 65002)]);
    assert!(script.dials.is_empty(), "the attempt is given up");
    script.wait(SECOND * 600);
    assert!(script.dials.is_empty());
    script.apply(vec![active()]);
    assert_eq!(script.dials.len(), 1);
    // In the pause after a failure too.
    script.refused();
    script.apply(vec![peer(2, 65002)]);
    script.wait(SECOND * 600);
    assert!(script.dials.is_empty());
    // And a session in the making is left alone.
    let connection = script.connect(2);
    script.apply(vec![active()]);
    assert_eq!(script.end(connection), End::Open);
}

#[test]
fn item_035_sessions_that_soon_end_in_errors_damp_the_attempts() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    let mut session = |up: u32, octets: &[u8]| {
        let connection = script.connected();
        script.say(connection, &open_of(2, 65002).message());
        for _ in 0..=up {
            script.say(connection, &keepalive());
            script.wait(SECOND);
        }
        script.say(connection, octets);
        assert!(script.is_closed(connection));
        script.time_to_dial()
    };
    let wrong = update(&[], &[&[0x40, 1, 1, 9]], &[]);
    let pauses: Vec<_> = (0..4).map(|_| session(1, &wrong)).collect();
    for (pause, most) in pauses.iter().zip([4, 8, 16, 16]) {
        let most = SECOND * most;
        assert!(*pause <= most && *pause >= most * 3 / 4, "{pauses:?}");
    }
    // A session that lasts is forgiven, and a Cease is no error.
    assert!(session(61, &wrong) <= SECOND * 2);
    assert!(session(1, &notification(6, 4)) <= SECOND * 2);
}

#[test]
fn item_040_a_connection_in_the_pause_after_an_error_is_welcome() {
    let mut script = Script::new(65001);
    script.apply(vec![active()]);
    let connection = script.connected();
    script.say(connection, &notification(6, 5));
    assert_eq!(script.status().state, State::Idle);
    script.establish(2, open_of(2, 65002));
    script.wait(SECOND * 5);
    assert!(
        script.dials.is_empty(),
        "and the attempt is not wanted any more"
    );
}

#[test]
fn item_040_a_connection_of_a_peer_that_is_held_down_is_closed() {
    let mut script = Script::new(65001);
    let held_down = Some("no password".to_owned());
    script.apply(vec![PeerConfig {
        held_down,
        ..peer(2, 65002)
    }]);
    let refused = script
        .speaker
        .accept(ip("192.0.2.2"), ip("192.0.2.1"), script.now);
    assert_eq!(refused, Err(Refusal::HeldDown(ip("192.0.2.2"))));
    assert!(
        !script
            .events
            .iter()
            .any(|event| matches!(event, Event::PeerUp { .. }))
    );
}
