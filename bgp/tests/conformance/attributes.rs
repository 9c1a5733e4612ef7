//! Items 60, 70-88 without AS_PATH: each attribute from external and internal peers (RFC 7606 §7 unless said).

use crate::octets::{
    GLOBAL, LINK_LOCAL, NEXT_HOP, ORIGIN, PATH, TEN, V6_PREFIX, attribute, reach, unreach, update,
};
use crate::outcome::Outcome::{Discarded, Kept, Reset, Unused, Withdrawn};
use crate::outcome::{self, Outcome};
use crate::script::{End, Script, ip, peer};

/// Rows of attribute and outcome, the same from external and internal peers.
fn same(rows: &[(&[u8], Outcome)]) {
    for (attribute, expected) in rows {
        let (external, internal) = outcome::with(attribute);
        assert_eq!(
            (&external, &internal),
            (expected, expected),
            "{attribute:?}"
        );
    }
}

#[test]
fn item_060_origin() {
    for origin in [
        &[][..],
        &[0x40, 1, 0],
        &[0x40, 1, 2, 0, 0],
        &[0x40, 1, 1, 3],
        &[0x40, 1, 1, 255],
        &[0xc0, 1, 1, 0],
        &[0x00, 1, 1, 0],
        &[0x80, 1, 1, 0],
    ] {
        assert_eq!(
            outcome::exactly(&[origin, PATH, NEXT_HOP]),
            Withdrawn,
            "{origin:?}"
        );
    }
    for value in 0..3 {
        assert_eq!(
            outcome::exactly(&[&[0x40, 1, 1, value], PATH, NEXT_HOP]),
            Kept
        );
    }
}

#[test]
fn item_070_next_hop() {
    let address = |octets: [u8; 4]| attribute(0x40, 3, &octets);
    for next_hop in [
        vec![],
        vec![0x40, 3, 3, 192, 0, 2],
        vec![0x40, 3, 5, 192, 0, 2, 2, 0],
        vec![0x40, 3, 0],
        vec![0xc0, 3, 4, 192, 0, 2, 2],
        vec![0x00, 3, 4, 192, 0, 2, 2],
        address([0, 0, 0, 0]),
        address([127, 0, 0, 1]),
        address([224, 0, 0, 1]),
        address([240, 0, 0, 1]),
        address([255, 255, 255, 255]),
    ] {
        assert_eq!(
            outcome::exactly(&[ORIGIN, PATH, &next_hop]),
            Withdrawn,
            "{next_hop:?}"
        );
    }
}

#[test]
fn item_071_a_next_hop_that_is_our_own_address() {
    assert_eq!(
        outcome::exactly(&[ORIGIN, PATH, &[0x40, 3, 4, 192, 0, 2, 1]]),
        Unused
    );
    let (mut script, connection) = Script::external();
    let ours = [&GLOBAL[..15], &[1]].concat();
    script.say(
        connection,
        &update(&[], &[&reach(2, &ours, V6_PREFIX), ORIGIN, PATH], &[]),
    );
    assert!(script.learned().is_empty());
    assert_eq!(script.reason(), "next hop is this node");
}

#[test]
fn item_072_a_next_hop_off_the_link_does_not_resolve_and_is_not_used() {
    let (mut script, connection) = Script::external();
    script.unresolved.insert(ip("198.51.100.9"));
    let far = attribute(0x40, 3, &[198, 51, 100, 9]);
    script.say(connection, &update(&[], &[ORIGIN, PATH, &far], TEN));
    assert!(script.learned().is_empty());
    assert_eq!(script.reason(), "next hop does not resolve");
    script.unresolved.clear();
    script.resolve();
    assert_eq!(script.learned(), ["10.0.0.0/8 via 198.51.100.9"]);
}

#[test]
fn item_073_med() {
    same(&[
        (&[0x80, 4, 4, 0, 0, 0, 9], Kept),
        (&[0x80, 4, 3, 0, 0, 0], Withdrawn),
        (&[0x80, 4, 5, 0, 0, 0, 0, 9], Withdrawn),
        (&[0x80, 4, 0], Withdrawn),
        (&[0xc0, 4, 4, 0, 0, 0, 9], Withdrawn),
        (&[0x40, 4, 4, 0, 0, 0, 9], Withdrawn),
    ]);
}

#[test]
fn item_074_local_pref() {
    assert_eq!(outcome::with(&[0x40, 5, 4, 0, 0, 0, 9]), (Discarded, Kept));
    for wrong in [
        &[0x40, 5, 3, 0, 0, 0][..],
        &[0x40, 5, 5, 0, 0, 0, 0, 0],
        &[0xc0, 5, 4, 0, 0, 0, 9],
    ] {
        assert_eq!(outcome::with(wrong), (Discarded, Withdrawn), "{wrong:?}");
    }
}

#[test]
fn item_075_atomic_aggregate() {
    same(&[(&[0x40, 6, 0], Kept), (&[0x40, 6, 1, 0], Discarded)]);
}

#[test]
fn item_076_aggregator() {
    same(&[
        (&[0xc0, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1], Kept),
        (&[0xe0, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1], Kept),
        (&[0xc0, 7, 6, 0xfd, 0xea, 1, 1, 1, 1], Discarded),
        (&[0xc0, 7, 9, 0, 0, 0xfd, 0xea, 1, 1, 1, 1, 1], Discarded),
        (&[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1], Discarded),
        (&[0x80, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1], Withdrawn),
        (&[0x40, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1], Withdrawn),
    ]);
}

#[test]
fn item_077_communities_of_every_kind() {
    // Type, octets of one community.
    for (kind, size) in [(8, 4), (16, 8), (25, 20), (32, 12)] {
        let of = |octets: usize| attribute(0xc0, kind, &vec![1; octets]);
        for octets in [size, size * 2, size * 30] {
            assert_eq!(
                outcome::with(&of(octets)),
                (Kept, Kept),
                "type {kind}, {octets} octets"
            );
        }
        for octets in [0, 1, size - 1, size + 1] {
            let expected = (Withdrawn, Withdrawn);
            assert_eq!(
                outcome::with(&of(octets)),
                expected,
                "type {kind}, {octets} octets"
            );
        }
        let flags = attribute(0x80, kind, &vec![1; size]);
        assert_eq!(
            outcome::with(&flags),
            (Withdrawn, Withdrawn),
            "type {kind}, not transitive"
        );
    }
}

#[test]
fn item_078_originator_id_and_cluster_list() {
    assert_eq!(outcome::with(&[0x80, 9, 4, 1, 1, 1, 1]), (Discarded, Kept));
    assert_eq!(
        outcome::with(&[0x80, 10, 8, 1, 1, 1, 1, 2, 2, 2, 2]),
        (Discarded, Kept)
    );
    for wrong in [
        &[0x80, 9, 3, 1, 1, 1][..],
        &[0x80, 9, 0],
        &[0x80, 10, 5, 1, 1, 1, 1, 1],
        &[0x80, 10, 0],
        &[0xc0, 9, 4, 1, 1, 1, 1],
    ] {
        assert_eq!(outcome::with(wrong), (Discarded, Withdrawn), "{wrong:?}");
    }
}

#[test]
fn item_079_an_unknown_well_known_attribute() {
    same(&[
        (&[0x40, 99, 1, 0], Reset(3, 2)),
        (&[0x00, 200, 0], Reset(3, 2)),
    ]);
    let (mut script, connection) = Script::external();
    script.say(
        connection,
        &update(&[], &[ORIGIN, PATH, NEXT_HOP, &[0x40, 99, 1, 7]], TEN),
    );
    assert_eq!(
        script.end(connection),
        End::Notified(3, 2, vec![0x40, 99, 1, 7])
    );
}

/// What peer 3 of AS 65003 is told of 10.0.0.0/8 when peer 2 announces it with this attribute: the attributes.
fn passed_on(attribute: &[u8]) -> Vec<u8> {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002), peer(3, 65003)]);
    let from = script.establish(2, crate::octets::open_of(2, 65002));
    let to = script.establish(3, crate::octets::open_of(3, 65003));
    script.say(
        from,
        &update(&[], &[ORIGIN, PATH, NEXT_HOP, attribute], TEN),
    );
    let body = script.heard(to).remove(0).body;
    let length = usize::from(u16::from_be_bytes([body[2], body[3]]));
    assert_eq!(body[4 + length..], *TEN);
    body[4..4 + length].to_vec()
}

#[test]
fn item_080_unknown_optional_transitive_attributes_go_on_with_partial_set() {
    for flags in [0xc0, 0xe0] {
        let attributes = passed_on(&[flags, 99, 3, 1, 2, 3]);
        assert_eq!(attributes[attributes.len() - 6..], [0xe0, 99, 3, 1, 2, 3]);
    }
    // One that is known goes on as it came.
    let ipv6 = attribute(0xc0, 25, &[1; 20]);
    let attributes = passed_on(&ipv6);
    assert_eq!(attributes[attributes.len() - 23..], ipv6);
}

#[test]
fn item_081_unknown_optional_attributes_end_here() {
    same(&[(&[0x80, 99, 1, 0], Kept)]);
    assert_eq!(passed_on(&[0x80, 99, 1, 0]), passed_on(&[]));
}

#[test]
fn item_082_attribute_type_0_is_no_reset() {
    for zero in [
        &[0xc0, 0, 0][..],
        &[0x40, 0, 1, 0],
        &[0x80, 0, 4, 0, 0, 0, 0],
    ] {
        assert_eq!(outcome::with(zero), (Discarded, Discarded), "{zero:?}");
    }
}

#[test]
fn item_083_mp_reach_next_hops_of_a_wrong_length() {
    for length in [0, 1, 4, 8, 12, 15, 17, 24, 33, 48] {
        let v6 = update(
            &[],
            &[&reach(2, &vec![0x20; length], V6_PREFIX), ORIGIN, PATH],
            &[],
        );
        let Reset(3, _) = outcome::external(&v6) else {
            panic!("next hop of {length} octets")
        };
    }
    // Shorter than its own head, and with a next hop that leaves it.
    for value in [
        &[0, 2, 1][..],
        &[0, 2],
        &[],
        &[0, 2, 1, 16, 0x20],
        &[0, 2, 1, 0],
    ] {
        let octets = update(&[], &[&attribute(0x80, 14, value), ORIGIN, PATH], &[]);
        let Reset(3, _) = outcome::external(&octets) else {
            panic!("{value:?}")
        };
    }
}

#[test]
fn item_083_what_was_once_a_count_of_snpas_is_ignored() {
    let (mut script, connection) = Script::external();
    let mut v6 = reach(2, &GLOBAL, V6_PREFIX);
    v6[3 + 4 + 16] = 7;
    script.say(connection, &update(&[], &[&v6, ORIGIN, PATH], &[]));
    assert_eq!(script.learned(), ["fd00:2::/64 via 2001:db8::2"]);
}

#[test]
fn item_083_ipv4_in_mp_reach() {
    let (mut script, connection) = Script::external();
    script.say(
        connection,
        &update(&[], &[&reach(1, &[192, 0, 2, 2], TEN), ORIGIN, PATH], &[]),
    );
    assert_eq!(script.learned(), ["10.0.0.0/8 via 192.0.2.2"]);
    script.say(connection, &update(&[], &[&unreach(1, TEN)], &[]));
    assert!(script.learned().is_empty());
}

#[test]
fn item_084_a_family_that_was_not_negotiated_is_never_applied() {
    let mut script = Script::new(65001);
    script.apply(vec![peer(2, 65002)]);
    let only_v4 = crate::octets::OpenFields {
        parameters: crate::octets::parameter(&[
            crate::octets::family(1),
            crate::octets::four_octets(65002),
        ]),
        ..crate::octets::open_of(2, 65002)
    };
    let connection = script.establish(2, only_v4);
    script.say(
        connection,
        &update(
            &[],
            &[&reach(2, &GLOBAL, V6_PREFIX), ORIGIN, PATH, NEXT_HOP],
            TEN,
        ),
    );
    script.say(
        connection,
        &update(
            &[],
            &[
                &attribute(0x80, 14, &[0, 25, 70, 4, 1, 1, 1, 1, 0, 1]),
                ORIGIN,
                PATH,
            ],
            &[],
        ),
    );
    script.say(connection, &update(&[], &[&unreach(2, V6_PREFIX)], &[]));
    assert_eq!(script.learned(), ["10.0.0.0/8 via 192.0.2.2"]);
    assert_eq!(script.end(connection), End::Open);
}

#[test]
fn item_085_mp_unreach_that_cannot_be_read() {
    for value in [&[][..], &[0], &[0, 2]] {
        let octets = update(&[], &[&attribute(0x80, 15, value)], &[]);
        assert_eq!(outcome::external(&octets), Reset(3, 9), "{value:?}");
    }
    assert_eq!(
        outcome::external(&update(&[], &[&unreach(2, &[64, 0xfd])], &[])),
        Reset(3, 10)
    );
}

#[test]
fn item_086_both_kinds_of_prefixes_in_one_update() {
    let v6 = reach(2, &GLOBAL, V6_PREFIX);
    for order in [
        [&v6[..], ORIGIN, PATH, NEXT_HOP],
        [ORIGIN, PATH, NEXT_HOP, &v6],
    ] {
        let (mut script, connection) = Script::external();
        script.say(connection, &update(&[], &order, TEN));
        let expected = ["10.0.0.0/8 via 192.0.2.2", "fd00:2::/64 via 2001:db8::2"];
        assert_eq!(script.learned(), expected);
        script.say(connection, &update(TEN, &[&unreach(2, V6_PREFIX)], &[]));
        assert!(script.learned().is_empty());
    }
}

/// The next hop that the kernel gets for fd00:2::/64 announced with this one.
fn next_hop_of(octets: &[u8]) -> Vec<String> {
    let (mut script, connection) = Script::external();
    script.say(
        connection,
        &update(&[], &[&reach(2, octets, V6_PREFIX), ORIGIN, PATH], &[]),
    );
    assert_eq!(script.end(connection), End::Open);
    script.learned()
}

#[test]
fn item_087_global_and_link_local_next_hops() {
    let both = [GLOBAL, LINK_LOCAL].concat();
    assert_eq!(
        next_hop_of(&both),
        ["fd00:2::/64 via 2001:db8::2 (fe80::2)"]
    );
    // Without a global address the link-local one counts (unnumbered peers).
    let unspecified = [[0; 16], LINK_LOCAL].concat();
    assert_eq!(next_hop_of(&unspecified), ["fd00:2::/64 via fe80::2"]);
    assert_eq!(next_hop_of(&LINK_LOCAL), ["fd00:2::/64 via fe80::2"]);
    for useless in [[0; 16], [0xff; 16]] {
        assert!(next_hop_of(&useless).is_empty());
    }
}
