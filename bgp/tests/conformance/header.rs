//! Items 1-6: RFC 4271 §4.1, §6.1.

use crate::octets::{
    self, KEEPALIVE, NOTIFICATION, OPEN, REFRESH, UPDATE, good_update, keepalive, message,
};
use crate::script::{End, Script};

/// How a session ends that hears these octets.
fn answer(octets: &[u8]) -> End {
    let (mut script, connection) = Script::external();
    script.say(connection, octets);
    script.end(connection)
}

/// A message that says it is of `length` octets, with as many as it says, the header at least.
fn claiming(length: u16, kind: u8) -> Vec<u8> {
    let mut octets = message(kind, &vec![0; usize::from(length).saturating_sub(19)]);
    octets[16..18].copy_from_slice(&length.to_be_bytes());
    octets
}

fn bad_length(length: u16) -> End {
    End::Notified(1, 2, length.to_be_bytes().into())
}

#[test]
fn item_001_a_marker_that_is_not_all_ones() {
    for at in [0, 7, 15] {
        let mut octets = keepalive();
        octets[at] = 0xfe;
        assert_eq!(answer(&octets), End::notified(1, 1), "octet {at}");
    }
    // Not a session's worth of octets was needed to know.
    assert_eq!(answer(&[0; 19]), End::notified(1, 1));
}

#[test]
fn item_002_a_length_below_the_header() {
    for length in [0, 1, 18] {
        assert_eq!(answer(&claiming(length, KEEPALIVE)), bad_length(length));
    }
}

#[test]
fn item_003_a_length_above_4096_without_extended_messages() {
    for length in [4097, u16::MAX] {
        assert_eq!(answer(&claiming(length, UPDATE)[..19]), bad_length(length));
        assert_eq!(answer(&claiming(length, OPEN)[..19]), bad_length(length));
        assert_eq!(
            answer(&claiming(length, KEEPALIVE)[..19]),
            bad_length(length)
        );
    }
}

#[test]
fn item_004_an_unknown_type() {
    for kind in [0, 6, 77, 255] {
        assert_eq!(
            answer(&message(kind, &[])),
            End::Notified(1, 3, vec![kind]),
            "type {kind}"
        );
    }
}

#[test]
fn item_005_lengths_that_a_type_does_not_allow() {
    let rows = [
        (OPEN, 28),
        (UPDATE, 22),
        (NOTIFICATION, 20),
        (KEEPALIVE, 20),
        (REFRESH, 22),
    ];
    for (kind, length) in rows {
        assert_eq!(
            answer(&claiming(length, kind)),
            bad_length(length),
            "type {kind}"
        );
    }
}

#[test]
fn item_006_messages_in_single_octets_and_sixty_four_at_once() {
    let (mut script, connection) = Script::external();
    for octet in good_update() {
        assert!(script.learned().is_empty(), "nothing before the last octet");
        script.say(connection, &[octet]);
    }
    assert_eq!(script.learned(), ["10.0.0.0/8 via 192.0.2.2"]);
    let many: Vec<_> = (0..64)
        .flat_map(|number| {
            octets::update(
                &[],
                &[octets::ORIGIN, octets::PATH, octets::NEXT_HOP],
                &[16, 11, number],
            )
        })
        .collect();
    script.say(connection, &many);
    assert_eq!(script.learned().len(), 65);
    assert_eq!(script.end(connection), End::Open);
}

#[test]
fn item_006_the_peer_closes_inside_a_message() {
    let (mut script, connection) = Script::external();
    let update = good_update();
    for length in 1..update.len() {
        let (mut script, connection) = Script::external();
        script.say(connection, &update[..length]);
        script.lose(connection);
        assert!(script.learned().is_empty(), "cut at {length}");
        assert_eq!(script.end(connection), End::Silent);
        assert_eq!(
            script.status().last_error.unwrap().reason,
            "connection reset"
        );
    }
    script.say(connection, &update);
    assert_eq!(script.learned().len(), 1);
}
