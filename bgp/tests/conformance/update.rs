//! Items 41-59: where the parts of an UPDATE end, and what an error does to it (RFC 4271 §6.3, RFC 7606 §3-5).

use crate::octets::{
    GLOBAL, NEXT_HOP, ORIGIN, PATH, TEN, UPDATE, V6_PREFIX, attribute, good_update, message, reach,
    unreach, update,
};
use crate::outcome::{self, Outcome};
use crate::script::{End, Script, ip};

const GOOD: [&[u8]; 3] = [ORIGIN, PATH, NEXT_HOP];

/// The outcome of an UPDATE of exactly this body; the same from external and internal peers.
fn body(body: &[u8]) -> Outcome {
    let octets = message(UPDATE, body);
    let outcome = outcome::external(&octets);
    assert_eq!(outcome::internal(&octets), outcome);
    outcome
}

#[test]
fn item_041_withdrawn_length_beyond_the_message() {
    assert_eq!(body(&[0, 9, 0, 0]), Outcome::Reset(3, 1));
    assert_eq!(body(&[0xff, 0xff, 0, 0]), Outcome::Reset(3, 1));
    // It may not eat the length of the attributes either.
    assert_eq!(body(&[0, 2, 8, 10, 0]), Outcome::Reset(3, 1));
}

#[test]
fn item_042_attribute_length_beyond_the_message() {
    assert_eq!(body(&[0, 0, 0, 9]), Outcome::Reset(3, 1));
    let mut octets = good_update();
    octets[22] = 200;
    assert_eq!(outcome::external(&octets), Outcome::Reset(3, 1));
}

#[test]
fn item_043_prefix_lengths_that_no_address_has() {
    let v4 = update(&[], &GOOD, &[33, 10, 0, 0, 0, 0]);
    assert_eq!(outcome::external(&v4), Outcome::Reset(3, 10));
    let v4 = update(&[], &GOOD, &[8, 11, 255, 10, 0, 0, 0]);
    assert_eq!(outcome::external(&v4), Outcome::Reset(3, 10));
    let long = [&[129][..], &[0xfd; 17]].concat();
    let v6 = update(&[], &[&reach(2, &GLOBAL, &long), ORIGIN, PATH], &[]);
    assert_eq!(outcome::external(&v6), Outcome::Reset(3, 10));
}

#[test]
fn item_044_prefixes_that_are_cut() {
    for nlri in [&[24, 10][..], &[8], &[8, 11, 32, 10, 0, 0]] {
        let octets = update(&[], &GOOD, nlri);
        assert_eq!(
            outcome::external(&octets),
            Outcome::Reset(3, 10),
            "{nlri:?}"
        );
    }
    let v6 = update(&[], &[&reach(2, &GLOBAL, &[64, 0xfd]), ORIGIN, PATH], &[]);
    assert_eq!(outcome::external(&v6), Outcome::Reset(3, 10));
}

#[test]
fn item_045_withdrawn_prefixes_that_are_wrong() {
    for withdrawn in [&[33, 10, 0, 0, 0, 0][..], &[24, 10], &[8]] {
        let octets = update(withdrawn, &[], &[]);
        assert_eq!(
            outcome::external(&octets),
            Outcome::Reset(3, 10),
            "{withdrawn:?}"
        );
    }
    for nlri in [&[129, 0xfd][..], &[64, 0xfd]] {
        let octets = update(&[], &[&unreach(2, nlri)], &[]);
        assert_eq!(
            outcome::external(&octets),
            Outcome::Reset(3, 10),
            "{nlri:?}"
        );
    }
}

#[test]
fn item_046_an_attribute_beyond_the_list() {
    for last in [&[0x80, 4, 40, 0, 0, 0, 0][..], &[0x90, 4, 0xff, 0xff, 0]] {
        let both = outcome::with(last);
        assert_eq!(both, (Outcome::Withdrawn, Outcome::Withdrawn), "{last:?}");
    }
}

#[test]
fn item_047_stray_octets_after_the_last_attribute() {
    for stray in [&[0x40][..], &[0x40, 1], &[0], &[0x90, 4, 0]] {
        let both = outcome::with(stray);
        assert_eq!(both, (Outcome::Withdrawn, Outcome::Withdrawn), "{stray:?}");
    }
}

#[test]
fn item_048_an_attribute_error_without_a_route_to_withdraw() {
    let wrong: &[u8] = &[0x40, 1, 1, 9];
    assert_eq!(
        outcome::external(&update(&[], &[wrong], &[])),
        Outcome::Reset(3, 1)
    );
    // Withdrawn prefixes are no reachable ones (RFC 7606 §5.2).
    assert_eq!(
        outcome::external(&update(&[8, 11], &[wrong], &[])),
        Outcome::Reset(3, 1)
    );
    let v6 = update(&[], &[&unreach(2, V6_PREFIX), wrong], &[]);
    assert_eq!(outcome::external(&v6), Outcome::Reset(3, 1));
    // With one that can be named it is no reset.
    assert_eq!(
        outcome::exactly(&[wrong, PATH, NEXT_HOP]),
        Outcome::Withdrawn
    );
}

#[test]
fn item_049_of_several_errors_the_strongest_counts() {
    let discard: &[u8] = &[0x40, 6, 1, 0];
    let withdraw: &[u8] = &[0x80, 4, 3, 0, 0, 0];
    let reset: &[u8] = &[0x80, 15, 2, 0, 2];
    let both = |attributes: &[&[u8]]| outcome::with(&attributes.concat());
    for order in [[discard, withdraw], [withdraw, discard]] {
        assert_eq!(both(&order), (Outcome::Withdrawn, Outcome::Withdrawn));
    }
    for order in [[discard, withdraw, reset], [reset, withdraw, discard]] {
        assert_eq!(both(&order), (Outcome::Reset(3, 9), Outcome::Reset(3, 9)));
    }
}

#[test]
fn item_050_attributes_that_occur_twice() {
    let (mut script, connection) = Script::external();
    let second = attribute(0x40, 1, &[2]);
    script.say(
        connection,
        &update(&[], &[ORIGIN, PATH, NEXT_HOP, &second], TEN),
    );
    assert_eq!(
        script.routes()[0].paths[0].origin,
        margay_bgp::wire::Origin::Igp
    );
    assert_eq!(script.status().counters.faults, 1);
    // Even a malformed second one says nothing about the first.
    let both = outcome::with(&[0x40, 1, 1, 9]);
    assert_eq!(both, (Outcome::Discarded, Outcome::Discarded));
    let reach = reach(2, &GLOBAL, V6_PREFIX);
    let twice = update(&[], &[&reach, &reach, ORIGIN, PATH], &[]);
    assert_eq!(outcome::external(&twice), Outcome::Reset(3, 1));
    let unreach = unreach(2, V6_PREFIX);
    assert_eq!(
        outcome::external(&update(&[], &[&unreach, &unreach], &[])),
        Outcome::Reset(3, 1)
    );
}

#[test]
fn item_051_flags_that_may_and_may_not_be_set() {
    // Extended length on a short attribute; the four low bits.
    for med in [&[0x90, 4, 0, 4, 0, 0, 0, 9][..], &[0x8f, 4, 4, 0, 0, 0, 9]] {
        assert_eq!(
            outcome::with(med),
            (Outcome::Kept, Outcome::Kept),
            "{med:?}"
        );
    }
    // Partial on a well-known attribute; on others RFC 7606 §3c leaves it without consequence.
    assert_eq!(
        outcome::exactly(&[&[0x60, 1, 1, 0], PATH, NEXT_HOP]),
        Outcome::Withdrawn
    );
    for partial in [&[0xa0, 4, 4, 0, 0, 0, 9][..], &[0xe0, 8, 4, 0, 1, 0, 2]] {
        assert_eq!(outcome::with(partial), (Outcome::Kept, Outcome::Kept));
    }
}

#[test]
fn item_052_prefixes_without_attributes() {
    assert_eq!(outcome::exactly(&[]), Outcome::Withdrawn);
}

#[test]
fn item_053_an_update_without_anything_is_end_of_rib() {
    let rows = [
        (update(&[], &[], &[]), margay_bgp::Family::Ipv4Unicast),
        (
            update(&[], &[&unreach(2, &[])], &[]),
            margay_bgp::Family::Ipv6Unicast,
        ),
        (
            update(&[], &[&unreach(1, &[])], &[]),
            margay_bgp::Family::Ipv4Unicast,
        ),
    ];
    for (octets, family) in rows {
        let (mut script, connection) = Script::external();
        script.events.clear();
        script.say(connection, &octets);
        let peer = ip("192.0.2.2");
        assert_eq!(
            script.events,
            [margay_bgp::Event::EndOfRib { peer, family }]
        );
        assert_eq!(script.end(connection), End::Open);
    }
}

#[test]
fn item_054_a_prefix_both_withdrawn_and_announced_is_announced() {
    assert_eq!(outcome::external(&update(TEN, &GOOD, TEN)), Outcome::Kept);
    let (mut script, connection) = Script::external();
    let (reach, unreach) = (reach(2, &GLOBAL, V6_PREFIX), unreach(2, V6_PREFIX));
    script.say(
        connection,
        &update(&[], &[&reach, ORIGIN, PATH, &unreach], &[]),
    );
    assert_eq!(script.learned(), ["fd00:2::/64 via 2001:db8::2"]);
}

#[test]
fn item_055_a_withdrawal_of_what_was_never_announced() {
    assert_eq!(
        outcome::external(&update(&[8, 11, 16, 12, 0], &[], &[])),
        Outcome::Kept
    );
    assert_eq!(
        outcome::external(&update(&[], &[&unreach(2, V6_PREFIX)], &[])),
        Outcome::Kept
    );
}

#[test]
fn item_056_bits_behind_the_mask_are_cleared() {
    let (mut script, connection) = Script::external();
    let v6 = reach(2, &GLOBAL, &[61, 0xfd, 0, 0, 2, 0, 0, 0, 0xff]);
    script.say(
        connection,
        &update(
            &[],
            &[&v6, ORIGIN, PATH, NEXT_HOP],
            &[9, 10, 0xff, 26, 10, 2, 0, 127],
        ),
    );
    let expected = [
        "10.2.0.64/26 via 192.0.2.2",
        "10.128.0.0/9 via 192.0.2.2",
        "fd00:2:0:f8::/61 via 2001:db8::2",
    ];
    assert_eq!(script.learned(), expected);
    // Withdrawn with other bits behind the mask it is the same prefix.
    script.say(connection, &update(&[9, 10, 0x80], &[], &[]));
    assert_eq!(script.learned().len(), 2);
}

#[test]
fn item_057_prefixes_that_nobody_routes_are_ignored_alone() {
    let (mut script, connection) = Script::external();
    let v6 = reach(
        2,
        &GLOBAL,
        &[&[8, 0xff, 10, 0xfe, 0x80][..], V6_PREFIX].concat(),
    );
    script.say(
        connection,
        &update(
            &[],
            &[&v6, ORIGIN, PATH, NEXT_HOP],
            &[8, 10, 8, 224, 8, 240, 8, 11],
        ),
    );
    let expected = [
        "10.0.0.0/8 via 192.0.2.2",
        "11.0.0.0/8 via 192.0.2.2",
        "fd00:2::/64 via 2001:db8::2",
    ];
    assert_eq!(script.learned(), expected);
    assert_eq!(script.end(connection), End::Open);
}

#[test]
fn item_058_the_default_route_is_one_octet_both_ways() {
    let (mut script, connection) = Script::external();
    script.say(
        connection,
        &update(
            &[],
            &[&reach(2, &GLOBAL, &[0]), ORIGIN, PATH, NEXT_HOP],
            &[0],
        ),
    );
    assert_eq!(
        script.learned(),
        ["0.0.0.0/0 via 192.0.2.2", "::/0 via 2001:db8::2"]
    );
    script.say(connection, &update(&[0], &[&unreach(2, &[0])], &[]));
    assert!(script.learned().is_empty());
    script.heard(connection);
    script.originate(&["0.0.0.0/0"]);
    let said = script.heard(connection).remove(0);
    assert_eq!(said.body.last(), Some(&0));
    // And only if policy says so (RFC 8212).
    let reject = margay_bgp::PeerConfig {
        import: margay_bgp::Policy::default(),
        ..crate::script::peer(2, 65002)
    };
    let (mut script, connection) = Script::between(65001, reject);
    script.say(connection, &update(&[], &GOOD, &[0]));
    assert!(script.learned().is_empty());
}

#[test]
fn item_059_an_update_of_4096_octets_with_one_attribute_of_4072() {
    // Header 19, lengths 4, the mandatory 20, a prefix of 2: 4051 are left for the attribute, 4 of them its head.
    let (mut script, connection) = Script::external();
    let large = attribute(0xc0, 99, &[7; 4047]);
    let octets = update(&[], &[ORIGIN, PATH, NEXT_HOP, &large], TEN);
    assert_eq!(octets.len(), 4096);
    script.say(connection, &octets);
    assert_eq!(script.learned().len(), 1);
    // Nothing but the attribute: 4073 with its head. It has no route that could be withdrawn, and no fault.
    let alone = update(&[], &[&attribute(0xc0, 99, &[7; 4069])], &[]);
    assert_eq!(alone.len(), 4096);
    script.say(connection, &alone);
    assert_eq!(script.end(connection), End::Open);
    assert_eq!(script.status().counters.faults, 0);
}
