//! Items 61-69: AS_PATH and its four-octet remains (RFC 7606 §7.2, RFC 6793, 7607, 9774, 5065).

use margay_bgp::PeerConfig;

use crate::octets::{
    NEXT_HOP, ORIGIN, OpenFields, PATH, TEN, attribute, family, open_of, parameter, path, update,
};
use crate::outcome::Outcome::{Discarded, Kept, Unused, Withdrawn};
use crate::outcome::{self, Outcome};
use crate::script::{Script, peer};

/// The outcome with this AS_PATH, the same from external and internal peers.
fn with(path: &[u8]) -> Outcome {
    outcome::exactly(&[ORIGIN, path, NEXT_HOP])
}

/// The outcome with these segments.
fn segments(value: &[u8]) -> Outcome {
    with(&attribute(0x40, 2, value))
}

#[test]
fn item_061_as_paths_that_are_malformed() {
    let rows: [(&str, Vec<u8>); 9] = [
        ("missing", vec![]),
        ("optional", attribute(0xc0, 2, &PATH[3..])),
        ("not transitive", attribute(0x00, 2, &PATH[3..])),
        (
            "segment type 0",
            attribute(0x40, 2, &[0, 1, 0, 0, 0xfd, 0xea]),
        ),
        (
            "segment type 5",
            attribute(0x40, 2, &[5, 1, 0, 0, 0xfd, 0xea]),
        ),
        ("segment of no numbers", attribute(0x40, 2, &[2, 0])),
        ("overrun", attribute(0x40, 2, &[2, 2, 0, 0, 0xfd, 0xea])),
        ("underrun", attribute(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xea, 2])),
        (
            "two octets a number",
            attribute(0x40, 2, &[2, 1, 0xfd, 0xea]),
        ),
    ];
    for (name, path) in rows {
        assert_eq!(with(&path), Withdrawn, "{name}");
    }
    assert_eq!(
        segments(&[2, 1, 0, 0, 0xfd, 0xea, 2, 1, 0, 0, 0xfd, 0xeb]),
        Kept,
        "two segments"
    );
}

#[test]
fn item_062_as_0_anywhere() {
    for asns in [&[0][..], &[65002, 0], &[65002, 0, 65003]] {
        assert_eq!(with(&path(asns)), Withdrawn, "{asns:?}");
    }
}

#[test]
fn item_063_our_own_as_is_a_loop_unless_allowed() {
    let looped = update(&[], &[ORIGIN, &path(&[65002, 65001]), NEXT_HOP], TEN);
    assert_eq!(outcome::external(&looped), Unused);
    let once = || {
        Script::between(
            65001,
            PeerConfig {
                allow_own_as: 1,
                ..peer(2, 65002)
            },
        )
    };
    assert_eq!(outcome::of(once, &looped), Kept);
    let twice = update(&[], &[ORIGIN, &path(&[65002, 65001, 65001]), NEXT_HOP], TEN);
    assert_eq!(outcome::of(once, &twice), Unused);
}

#[test]
fn item_064_confederation_segments() {
    for kind in [3, 4] {
        assert_eq!(
            segments(&[kind, 1, 0, 0, 0xfd, 0xea]),
            Withdrawn,
            "type {kind}"
        );
        let after = [2, 1, 0, 0, 0xfd, 0xea, kind, 1, 0, 0, 0xfd, 0xea];
        assert_eq!(segments(&after), Withdrawn, "type {kind} after a sequence");
    }
}

#[test]
fn item_065_as_sets() {
    assert_eq!(segments(&[1, 1, 0, 0, 0xfd, 0xea]), Withdrawn);
    assert_eq!(
        segments(&[2, 1, 0, 0, 0xfd, 0xea, 1, 1, 0, 0, 0xfd, 0xeb]),
        Withdrawn
    );
}

#[test]
fn item_066_a_path_that_does_not_begin_with_the_peer() {
    let foreign = update(&[], &[ORIGIN, &path(&[65009, 65002]), NEXT_HOP], TEN);
    assert_eq!(outcome::external(&foreign), Unused);
    assert_eq!(
        outcome::internal(&foreign),
        Kept,
        "an internal peer is in no path"
    );
    let lax = || {
        Script::between(
            65001,
            PeerConfig {
                enforce_first_as: false,
                ..peer(2, 65002)
            },
        )
    };
    assert_eq!(outcome::of(lax, &foreign), Kept);
}

#[test]
fn item_067_an_empty_path() {
    let empty = update(&[], &[ORIGIN, &attribute(0x40, 2, &[]), NEXT_HOP], TEN);
    assert_eq!(outcome::external(&empty), Unused);
    assert_eq!(outcome::internal(&empty), Kept, "the peer's own route");
}

#[test]
fn item_068_six_hundred_numbers_are_kept_and_prepended_into_a_new_segment() {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002), peer(3, 65003)]);
    let from = script.establish(2, open_of(2, 65002));
    let to = script.establish(3, open_of(3, 65003));
    let numbers: Vec<u32> = (0..600)
        .map(|n| 65002 + n % 7)
        .filter(|n| *n != 65001)
        .collect();
    let value: Vec<u8> = numbers
        .chunks(255)
        .flat_map(|chunk| path(chunk)[if chunk.len() > 63 { 4 } else { 3 }..].to_vec())
        .collect();
    script.say(
        from,
        &update(&[], &[ORIGIN, &attribute(0x40, 2, &value), NEXT_HOP], TEN),
    );
    assert_eq!(script.routes()[0].paths[0].as_path.split(' ').count(), 600);
    let body = script.heard(to).remove(0).body;
    // Withdrawn 2, attributes 2, ORIGIN 4, then AS_PATH with an extended length.
    assert_eq!(body[8..10], [0x50, 2]);
    let length = usize::from(u16::from_be_bytes([body[10], body[11]]));
    let (mut rest, mut heard) = (&body[12..12 + length], Vec::new());
    while let [kind, count, numbers @ ..] = rest {
        assert_eq!(*kind, 2);
        let (numbers, next) = numbers.split_at(usize::from(*count) * 4);
        heard.extend(
            numbers
                .as_chunks()
                .0
                .iter()
                .map(|octets| u32::from_be_bytes(*octets)),
        );
        rest = next;
    }
    assert_eq!(heard[0], 65001);
    assert_eq!(heard[1..], numbers);
}

/// A session with a peer that knows two octets only.
fn two_octets() -> (Script, margay_bgp::ConnectionId) {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let open = OpenFields {
        parameters: parameter(&[family(1)]),
        ..open_of(2, 65002)
    };
    let connection = script.establish(2, open);
    (script, connection)
}

fn merged(attributes: &[&[u8]]) -> String {
    let (mut script, connection) = two_octets();
    script.say(connection, &update(&[], attributes, TEN));
    script.routes()[0].paths[0].as_path.clone()
}

/// AS_PATH 65002 23456 23456 in two octets.
const TRANS: &[u8] = &[0x40, 2, 8, 2, 3, 0xfd, 0xea, 0x5b, 0xa0, 0x5b, 0xa0];
/// AS4_PATH 4200000001 4200000002.
const FOUR: &[u8] = &[0xc0, 17, 10, 2, 2, 0xfa, 0x56, 0xea, 1, 0xfa, 0x56, 0xea, 2];
/// AS4_AGGREGATOR 4200000001.
const FOUR_AGGREGATOR: &[u8] = &[0xc0, 18, 8, 0xfa, 0x56, 0xea, 1, 1, 1, 1, 1];

#[test]
fn item_069_as4_path_from_a_four_octet_speaker_is_discarded() {
    assert_eq!(outcome::with(FOUR), (Discarded, Discarded));
    assert_eq!(outcome::with(FOUR_AGGREGATOR), (Discarded, Discarded));
}

#[test]
fn item_069_as4_path_from_a_two_octet_speaker_is_merged() {
    assert_eq!(
        merged(&[ORIGIN, TRANS, NEXT_HOP, FOUR]),
        "65002 4200000001 4200000002"
    );
    // A longer AS4_PATH than AS_PATH is ignored, a malformed one too, and the route is used.
    let short = [0x40, 2, 4, 2, 1, 0xfd, 0xea];
    assert_eq!(merged(&[ORIGIN, &short, NEXT_HOP, FOUR]), "65002");
    assert_eq!(
        merged(&[ORIGIN, TRANS, NEXT_HOP, &attribute(0xc0, 17, &[2, 9, 0])]),
        "65002 23456 23456"
    );
}

#[test]
fn item_069_an_aggregator_other_than_as_trans_makes_both_void() {
    let aggregator = |asn: [u8; 2]| attribute(0xc0, 7, &[asn[0], asn[1], 1, 1, 1, 1]);
    let attributes =
        |aggregator: &[u8]| merged(&[ORIGIN, TRANS, NEXT_HOP, aggregator, FOUR, FOUR_AGGREGATOR]);
    assert_eq!(attributes(&aggregator([0xfd, 0xea])), "65002 23456 23456");
    assert_eq!(
        attributes(&aggregator([0x5b, 0xa0])),
        "65002 4200000001 4200000002"
    );
}
