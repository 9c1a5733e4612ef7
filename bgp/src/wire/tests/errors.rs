//! RFC 4271 §6 and RFC 7606 §7, row by row.

use super::*;
use Outcome::{Discarded, Kept, Reset, Withdrawn};

/// What becomes of an UPDATE.
#[derive(Debug, PartialEq)]
enum Outcome {
    Kept,
    Discarded,
    Withdrawn,
    Reset(u8, u8),
}

fn outcome(context: &Context, body: &[u8]) -> Outcome {
    match Update::decode(body, context) {
        Err(notification) => Reset(notification.code, notification.subcode),
        Ok(update) if update.announced.is_empty() => Withdrawn,
        Ok(update) if update.faults.is_empty() => Kept,
        Ok(_) => Discarded,
    }
}

/// The outcome of the three mandatory attributes and one more.
fn with(context: &Context, attribute: &[u8]) -> Outcome {
    outcome(
        context,
        &body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, attribute], TEN),
    )
}

const MANDATORY: &[(&str, [&[u8]; 3])] = &[
    ("no origin", [&[], AS_PATH, NEXT_HOP]),
    ("origin of 0 octets", [&[0x40, 1, 0], AS_PATH, NEXT_HOP]),
    (
        "origin of 2 octets",
        [&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP],
    ),
    ("origin 3", [&[0x40, 1, 1, 3], AS_PATH, NEXT_HOP]),
    ("origin optional", [&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP]),
    ("origin not transitive", [&[0, 1, 1, 0], AS_PATH, NEXT_HOP]),
    ("origin partial", [&[0x60, 1, 1, 0], AS_PATH, NEXT_HOP]),
    ("no path", [ORIGIN, &[], NEXT_HOP]),
    (
        "path optional",
        [ORIGIN, &[0xc0, 2, 6, 2, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "segment type 0",
        [ORIGIN, &[0x40, 2, 6, 0, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "segment type 5",
        [ORIGIN, &[0x40, 2, 6, 5, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "segment of 0 numbers",
        [ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP],
    ),
    (
        "segment overrun",
        [ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "segment underrun",
        [ORIGIN, &[0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xea, 2], NEXT_HOP],
    ),
    (
        "AS 0",
        [
            ORIGIN,
            &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xea, 0, 0, 0, 0],
            NEXT_HOP,
        ],
    ),
    (
        "AS_SET",
        [ORIGIN, &[0x40, 2, 6, 1, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "confederation sequence",
        [ORIGIN, &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    (
        "confederation set",
        [ORIGIN, &[0x40, 2, 6, 4, 1, 0, 0, 0xfd, 0xea], NEXT_HOP],
    ),
    ("no next hop", [ORIGIN, AS_PATH, &[]]),
    (
        "next hop of 3 octets",
        [ORIGIN, AS_PATH, &[0x40, 3, 3, 192, 0, 2]],
    ),
    (
        "next hop of 5 octets",
        [ORIGIN, AS_PATH, &[0x40, 3, 5, 192, 0, 2, 2, 0]],
    ),
    (
        "next hop optional",
        [ORIGIN, AS_PATH, &[0xc0, 3, 4, 192, 0, 2, 2]],
    ),
    (
        "next hop 0.0.0.0",
        [ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]],
    ),
    (
        "next hop 127.0.0.1",
        [ORIGIN, AS_PATH, &[0x40, 3, 4, 127, 0, 0, 1]],
    ),
    (
        "next hop 224.0.0.1",
        [ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 1]],
    ),
    (
        "next hop 255.255.255.255",
        [ORIGIN, AS_PATH, &[0x40, 3, 4, 255, 255, 255, 255]],
    ),
    ("nothing", [&[], &[], &[]]),
];

#[test]
fn mandatory_attributes_that_are_wrong_withdraw() {
    for (name, attributes) in MANDATORY {
        let update = Update::decode(&body(&[], attributes, TEN), &EXTERNAL).unwrap();
        assert!(update.announced.is_empty(), "{name}");
        assert_eq!(withdrawn(&update), ["10.0.0.0/8"], "{name}");
    }
}

const OTHERS: &[(&str, &[u8], Outcome, Outcome)] = &[
    ("MED", &[0x80, 4, 4, 0, 0, 0, 9], Kept, Kept),
    (
        "MED of 3 octets",
        &[0x80, 4, 3, 0, 0, 0],
        Withdrawn,
        Withdrawn,
    ),
    (
        "MED transitive",
        &[0xc0, 4, 4, 0, 0, 0, 9],
        Withdrawn,
        Withdrawn,
    ),
    ("LOCAL_PREF", &[0x40, 5, 4, 0, 0, 0, 9], Discarded, Kept),
    (
        "LOCAL_PREF of 3 octets",
        &[0x40, 5, 3, 0, 0, 0],
        Discarded,
        Withdrawn,
    ),
    ("ATOMIC_AGGREGATE", &[0x40, 6, 0], Kept, Kept),
    (
        "ATOMIC_AGGREGATE of 1 octet",
        &[0x40, 6, 1, 0],
        Discarded,
        Discarded,
    ),
    (
        "AGGREGATOR",
        &[0xc0, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1],
        Kept,
        Kept,
    ),
    (
        "AGGREGATOR of 6 octets",
        &[0xc0, 7, 6, 0xfd, 0xea, 1, 1, 1, 1],
        Discarded,
        Discarded,
    ),
    (
        "AGGREGATOR of AS 0",
        &[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1],
        Discarded,
        Discarded,
    ),
    (
        "AGGREGATOR not transitive",
        &[0x80, 7, 8, 0, 0, 0xfd, 0xea, 1, 1, 1, 1],
        Withdrawn,
        Withdrawn,
    ),
    ("COMMUNITIES", &[0xc0, 8, 4, 0, 1, 0, 2], Kept, Kept),
    ("COMMUNITIES partial", &[0xe0, 8, 4, 0, 1, 0, 2], Kept, Kept),
    (
        "COMMUNITIES of 0 octets",
        &[0xc0, 8, 0],
        Withdrawn,
        Withdrawn,
    ),
    (
        "COMMUNITIES of 5 octets",
        &[0xc0, 8, 5, 0, 1, 0, 2, 3],
        Withdrawn,
        Withdrawn,
    ),
    ("ORIGINATOR_ID", &[0x80, 9, 4, 1, 1, 1, 1], Discarded, Kept),
    (
        "ORIGINATOR_ID of 3 octets",
        &[0x80, 9, 3, 1, 1, 1],
        Discarded,
        Withdrawn,
    ),
    ("CLUSTER_LIST", &[0x80, 10, 4, 1, 1, 1, 1], Discarded, Kept),
    (
        "CLUSTER_LIST of 5 octets",
        &[0x80, 10, 5, 1, 1, 1, 1, 1],
        Discarded,
        Withdrawn,
    ),
    (
        "EXTENDED COMMUNITIES",
        &[0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 1],
        Kept,
        Kept,
    ),
    (
        "EXTENDED COMMUNITIES of 7 octets",
        &[0xc0, 16, 7, 0, 2, 0, 1, 0, 0, 0],
        Withdrawn,
        Withdrawn,
    ),
    (
        "LARGE_COMMUNITY",
        &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],
        Kept,
        Kept,
    ),
    (
        "LARGE_COMMUNITY of 0 octets",
        &[0xc0, 32, 0],
        Withdrawn,
        Withdrawn,
    ),
    (
        "LARGE_COMMUNITY of 8 octets",
        &[0xc0, 32, 8, 0, 0, 0, 1, 0, 0, 0, 2],
        Withdrawn,
        Withdrawn,
    ),
    ("ORIGIN twice", &[0x40, 1, 1, 2], Discarded, Discarded),
    (
        "extended length on a short one",
        &[0x90, 4, 0, 4, 0, 0, 0, 9],
        Kept,
        Kept,
    ),
    ("low flag bits", &[0x87, 4, 4, 0, 0, 0, 9], Kept, Kept),
    ("type 0", &[0xc0, 0, 0], Discarded, Discarded),
    ("unknown optional transitive", &[0xc0, 99, 1, 0], Kept, Kept),
    ("unknown optional", &[0x80, 99, 1, 0], Kept, Kept),
    (
        "unknown well-known",
        &[0x40, 99, 1, 0],
        Reset(3, 2),
        Reset(3, 2),
    ),
    ("list ends inside", &[0x80, 4, 40, 0], Withdrawn, Withdrawn),
];

#[test]
fn other_attributes_that_are_wrong_have_the_outcome_of_rfc_7606() {
    for (name, attribute, external, internal) in OTHERS {
        assert_eq!(with(&EXTERNAL, attribute), *external, "{name}, external");
        assert_eq!(with(&INTERNAL, attribute), *internal, "{name}, internal");
    }
}

#[test]
fn stray_octets_after_the_last_attribute_withdraw() {
    assert_eq!(with(&EXTERNAL, &[0x40]), Withdrawn);
    assert_eq!(with(&EXTERNAL, &[0x40, 1]), Withdrawn);
}

#[test]
fn multiprotocol_attributes_that_cannot_be_read_reset() {
    let v6 = |length: u8| {
        let mut value = vec![0, 2, 1, length];
        value.extend(vec![0x20; usize::from(length)]);
        value.extend_from_slice(&[0, 16, 0xfd, 0]);
        let mut attribute = vec![0x80, 14, value.len() as u8];
        attribute.extend(value);
        attribute
    };
    let only =
        |attribute: &[u8]| outcome(&EXTERNAL, &body(&[], &[ORIGIN, AS_PATH, attribute], &[]));
    assert_eq!(only(&v6(16)), Kept);
    for length in [0, 4, 12, 15, 24, 48] {
        assert_eq!(
            only(&v6(length)),
            Reset(3, 9),
            "next hop of {length} octets"
        );
    }
    assert_eq!(only(&[0x80, 14, 3, 0, 2, 1]), Reset(3, 9));
    assert_eq!(only(&[0x80, 15, 2, 0, 2]), Reset(3, 9));
    assert_eq!(only(&[0x80, 15, 5, 0, 2, 1, 129, 0]), Reset(3, 10));
    assert_eq!(only(&[v6(16), v6(16)].concat()), Reset(3, 1));
}

#[test]
fn lengths_that_leave_the_message_reset() {
    let cases: [(&[u8], (u8, u8)); 7] = [
        (&[0], (3, 1)),
        (&[0, 9, 0, 0], (3, 1)),
        (&[0, 0, 0, 9], (3, 1)),
        (&[0, 0, 0, 0, 33, 10, 0, 0, 0, 0], (3, 10)),
        (&[0, 0, 0, 0, 24, 10], (3, 10)),
        (&[0, 2, 24, 10, 0, 0], (3, 10)),
        (&[0, 6, 33, 10, 0, 0, 0, 0, 0, 0], (3, 10)),
    ];
    for (body, (code, subcode)) in cases {
        assert_eq!(outcome(&EXTERNAL, body), Reset(code, subcode), "{body:?}");
    }
}

#[test]
fn an_attribute_error_without_routes_to_withdraw_resets() {
    assert_eq!(
        outcome(&EXTERNAL, &body(&[], &[&[0x40, 1, 1, 9]], &[])),
        Reset(3, 1)
    );
}

#[test]
fn of_several_errors_the_strongest_counts() {
    let discard = [0x40, 6, 1, 0];
    let withdraw = [0x80, 4, 3, 0, 0, 0];
    assert_eq!(
        with(&EXTERNAL, &[&discard[..], &withdraw].concat()),
        Withdrawn
    );
    assert_eq!(
        with(&EXTERNAL, &[&withdraw[..], &[0x40, 99, 0]].concat()),
        Reset(3, 2)
    );
}

#[test]
fn multicast_and_class_e_prefixes_are_ignored_alone() {
    let nlri = [8, 10, 8, 224, 8, 240, 8, 11];
    let update =
        Update::decode(&body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &nlri), &EXTERNAL).unwrap();
    assert_eq!(announced(&update), ["10.0.0.0/8", "11.0.0.0/8"]);
    assert!(update.withdrawn.is_empty());
}
