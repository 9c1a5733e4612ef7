//! Items 25-30 and 36-39: what bites in the state machine (RFC 4271 §8, RFC 6608). Every event in every state: `table`.

use std::time::Duration;

use margay_bgp::{ConnectionId, PeerConfig, PerFamily, Refusal};

use crate::attempts::active;
use crate::octets::{
    self, NEXT_HOP, ORIGIN, PATH, good_update, graceful, keepalive, notification, open_of, refresh,
    update,
};
use crate::script::{End, Message, SECOND, Script, ip, peer};

/// A connection of the peer on which our OPEN was sent.
fn open_sent() -> (Script, ConnectionId) {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let connection = script.connect(2);
    script.heard(connection);
    (script, connection)
}

fn open_confirm() -> (Script, ConnectionId) {
    let (mut script, connection) = open_sent();
    script.say(connection, &open_of(2, 65002).message());
    script.heard(connection);
    (script, connection)
}

type Start = fn() -> (Script, ConnectionId);

/// How a connection ends in that state when these octets come.
fn answer(start: Start, octets: &[u8]) -> End {
    let (mut script, connection) = start();
    script.say(connection, octets);
    script.end(connection)
}

#[test]
fn item_025_other_messages_before_open() {
    for octets in [
        keepalive(),
        good_update(),
        update(&[], &[], &[]),
        refresh(1, 0, 1),
    ] {
        assert_eq!(answer(open_sent, &octets), End::notified(5, 1));
    }
}

#[test]
fn item_026_a_notification_is_never_answered() {
    for start in [open_sent as Start, open_confirm, Script::external] {
        for (code, subcode) in [(2, 1), (2, 2), (6, 0), (6, 9), (99, 99)] {
            assert_eq!(answer(start, &notification(code, subcode)), End::Silent);
        }
    }
}

#[test]
fn item_026_a_version_error_does_not_count_as_a_failure() {
    let pauses = |code, subcode| -> Vec<Duration> {
        let mut script = Script::new(65001);
        script.apply(vec![active()]);
        let pause = |_| {
            let connection = script.connected();
            script.say(connection, &notification(code, subcode));
            script.time_to_dial()
        };
        (0..3).map(pause).collect()
    };
    assert!(pauses(2, 1).iter().all(|pause| *pause <= SECOND * 2));
    assert!(pauses(2, 2)[2] >= SECOND * 6, "others do");
}

#[test]
fn item_027_update_in_open_confirm() {
    assert_eq!(answer(open_confirm, &good_update()), End::notified(5, 2));
    assert_eq!(answer(open_confirm, &refresh(1, 0, 1)), End::notified(5, 2));
}

#[test]
fn item_028_open_in_open_confirm() {
    let open = open_of(2, 65002).message();
    assert_eq!(answer(open_confirm, &open), End::notified(5, 2));
}

#[test]
fn item_029_open_in_established() {
    let open = open_of(2, 65002).message();
    assert_eq!(answer(Script::external, &open), End::notified(5, 3));
}

#[test]
fn item_030_hold_expiry_in_every_state_that_has_one() {
    let rows: [(Start, u32); 3] = [(open_sent, 240), (open_confirm, 9), (Script::external, 9)];
    for (start, seconds) in rows {
        let (mut script, connection) = start();
        script.wait(SECOND * (seconds - 1));
        assert!(!script.is_closed(connection), "after {} s", seconds - 1);
        script.wait(SECOND);
        assert_eq!(
            script.end(connection),
            End::notified(4, 0),
            "after {seconds} s"
        );
    }
}

#[test]
fn item_030_anything_that_is_heard_holds_a_session() {
    let (mut script, connection) = Script::external();
    for octets in [keepalive(), good_update(), refresh(1, 0, 1), keepalive()] {
        script.wait(SECOND * 8);
        script.say(connection, &octets);
    }
    assert_eq!(script.end(connection), End::Open);
}

/// A session with graceful restart, with the N bit or without.
fn graceful_session(notifying: bool) -> (Script, ConnectionId) {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let flags = if notifying { octets::NOTIFYING } else { 0 };
    let offer = graceful(flags, 120, &[(1, true), (2, true)]);
    let connection = script.establish(2, open_of(2, 65002).and(&[offer]));
    (script, connection)
}

type Act = fn(&mut Script);

#[test]
fn item_036_each_reason_has_its_cease() {
    let reset = |script: &mut Script| assert!(script.speaker.reset(ip("192.0.2.2"), script.now));
    let remove = |script: &mut Script| script.apply(vec![]);
    let change = |script: &mut Script| {
        script.apply(vec![PeerConfig {
            hold_time: 30,
            ..peer(2, 65002)
        }])
    };
    let shut_down = |script: &mut Script| {
        let held_down = Some("by order".into());
        script.apply(vec![PeerConfig {
            held_down,
            ..peer(2, 65002)
        }]);
    };
    let rows: [(&str, Act, u8); 4] = [
        ("reset", reset, 4),
        ("removed", remove, 3),
        ("shut down", shut_down, 2),
        ("changed", change, 6),
    ];
    for (name, act, subcode) in rows {
        let (mut script, connection) = Script::external();
        act(&mut script);
        script.settle();
        assert_eq!(script.end(connection).code(), Some((6, subcode)), "{name}");
        // RFC 8538: where routes would be kept although they must not be, it is a hard reset.
        let (mut script, connection) = graceful_session(true);
        act(&mut script);
        script.settle();
        match script.end(connection) {
            End::Notified(6, 9, data) => {
                assert_eq!(data[..2], [6, subcode], "{name}");
                assert!(subcode <= 3);
            }
            End::Notified(6, 4, _) => assert_eq!(subcode, 4),
            // A restart of the session with the routes kept (RFC 4724) says nothing.
            End::Silent => assert_eq!(subcode, 6),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn item_036_too_many_prefixes_name_family_and_limit() {
    let maximum_prefixes = PerFamily {
        v4: Some(2),
        v6: None,
    };
    let (mut script, connection) = Script::between(
        65001,
        PeerConfig {
            maximum_prefixes,
            ..peer(2, 65002)
        },
    );
    script.say(
        connection,
        &update(&[], &[ORIGIN, PATH, NEXT_HOP], &[8, 10, 8, 11]),
    );
    assert_eq!(script.end(connection), End::Open);
    script.say(
        connection,
        &update(&[], &[ORIGIN, PATH, NEXT_HOP], &[8, 12]),
    );
    assert_eq!(
        script.end(connection),
        End::Notified(6, 1, vec![0, 1, 1, 0, 0, 0, 2])
    );
    assert!(script.learned().is_empty());
}

#[test]
fn item_037_a_peer_that_never_reads_is_given_up() {
    for (hold_time, seconds) in [(9, 480), (300, 600)] {
        let mut script = Script::new(65001);
        script.apply(vec![PeerConfig {
            hold_time,
            ..peer(2, 65002)
        }]);
        let open = octets::OpenFields {
            hold_time,
            ..open_of(2, 65002)
        };
        let connection = script.establish(2, open);
        script.clogged = true;
        script.originate(&["10.1.0.0/16"]);
        for _ in 1..seconds {
            script.wait(SECOND);
            script.say(connection, &keepalive());
        }
        assert!(!script.is_closed(connection), "hold time {hold_time}");
        script.wait(SECOND);
        assert_eq!(
            script.end(connection),
            End::notified(8, 0),
            "hold time {hold_time}"
        );
    }
}

#[test]
fn item_038_of_two_notifications_that_cross_none_is_answered() {
    let (mut script, connection) = Script::external();
    script.speaker.reset(ip("192.0.2.2"), script.now);
    script.settle();
    assert_eq!(script.end(connection), End::notified(6, 4));
    script.say(connection, &notification(6, 4));
    script.say(connection, &good_update());
    script.lose(connection);
    assert_eq!(script.heard(connection), Vec::<Message>::new());
    assert!(script.status().last_received.is_none());
}

#[test]
fn item_039_a_stranger_is_closed_without_a_word() {
    let (mut script, _) = Script::external();
    script.events.clear();
    let stranger = ip("198.51.100.7");
    let refused = script.speaker.accept(stranger, ip("192.0.2.1"), script.now);
    assert_eq!(refused, Err(Refusal::UnknownPeer(stranger)));
    assert!(script.speaker.poll_output().is_none());
}
