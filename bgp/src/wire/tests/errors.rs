//! RFC 4271 §6 and RFC 7606 §7, row by row.

use super::*;

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
        Err(notification) => Outcome::Reset(notification.code, notification.subcode),
        Ok(update) if update.announced.is_empty() => Outcome::Withdrawn,
        Ok(update) if update.faults.is_empty() => Outcome::Kept,
        Ok(_) => Outcome::Discarded,
    }
}

/// The outcome of the three mandatory attributes and one more.
fn with(context: &Context, attribute: &[u8]) -> Outcome {
    outcome(
        context,
        &body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, attribute], TEN),
    )
}

#[test]
fn mandatory_attributes_that_are_wrong_withdraw() {
    let wrong: [(&str, [&[u8]; 3]); 27] = [
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
    for (name, attributes) in wrong {
        let update = Update::decode(&body(&[], &attributes, TEN), &EXTERNAL).unwrap();
        assert!(update.announced.is_empty(), "{name}");
        assert_eq!(withdrawn(&update), ["10.0.0.0/8"], "{name}");
    }
}

#[test]
fn other_attributes_that_are_wrong_have_the_outcome_of_rfc_7606() {
    use Outcome::{Discarded, Kept, Reset, Withdrawn};
    let rows: [(&str, &[u8], Outcome, Outcome); 32] = [
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
        (
            "low flag bits",
            &[0x8f, 4, 4, 0, 0, 0, 9],
            Withdrawn,
            Withdrawn,
        ),
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
    for (name, attribute, external, internal) in rows {
        // 0x8f means an extended length as well; without that bit the low ones are ignored.
        let attribute = if name == "low flag bits" {
            &[0x80, 4, 3, 0, 0, 0]
        } else {
            attribute
        };
        assert_eq!(with(&EXTERNAL, attribute), external, "{name}, external");
        assert_eq!(with(&INTERNAL, attribute), internal, "{name}, internal");
    }
    assert_eq!(with(&EXTERNAL, &[0x87, 4, 4, 0, 0, 0, 9]), Kept);
}

#[test]
fn stray_octets_after_the_last_attribute_withdraw() {
    assert_eq!(with(&EXTERNAL, &[0x40]), Outcome::Withdrawn);
    assert_eq!(with(&EXTERNAL, &[0x40, 1]), Outcome::Withdrawn);
}

#[test]
fn multiprotocol_attributes_that_cannot_be_read_reset() {
    use Outcome::{Kept, Reset};
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
        assert_eq!(
            outcome(&EXTERNAL, body),
            Outcome::Reset(code, subcode),
            "{body:?}"
        );
    }
}

#[test]
fn an_attribute_error_without_routes_to_withdraw_resets() {
    assert_eq!(
        outcome(&EXTERNAL, &body(&[], &[&[0x40, 1, 1, 9]], &[])),
        Outcome::Reset(3, 1)
    );
}

#[test]
fn of_several_errors_the_strongest_counts() {
    let discard = [0x40, 6, 1, 0];
    let withdraw = [0x80, 4, 3, 0, 0, 0];
    assert_eq!(
        with(&EXTERNAL, &[&discard[..], &withdraw].concat()),
        Outcome::Withdrawn
    );
    assert_eq!(
        with(&EXTERNAL, &[&withdraw[..], &[0x40, 99, 0]].concat()),
        Outcome::Reset(3, 2)
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

#[test]
fn opens_that_are_wrong_get_their_answer() {
    let fixed = |version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]| {
        let mut body = vec![version];
        body.extend_from_slice(&asn.to_be_bytes());
        body.extend_from_slice(&hold.to_be_bytes());
        body.extend_from_slice(&id);
        body.push(parameters.len() as u8);
        body.extend_from_slice(parameters);
        body
    };
    let id = [1, 1, 1, 1];
    let rows = [
        (
            "version 3",
            fixed(3, 65002, 9, id, &[]),
            Some((1, vec![0, 4])),
        ),
        ("AS 0", fixed(4, 0, 9, id, &[]), Some((2, vec![]))),
        (
            "AS 0 in capability 65",
            fixed(4, 65002, 9, id, &[2, 6, 65, 4, 0, 0, 0, 0]),
            Some((2, vec![])),
        ),
        (
            "identifier 0",
            fixed(4, 65002, 9, [0; 4], &[]),
            Some((3, vec![])),
        ),
        (
            "unknown parameter",
            fixed(4, 65002, 9, id, &[9, 0]),
            Some((4, vec![])),
        ),
        (
            "authentication",
            fixed(4, 65002, 9, id, &[1, 1, 0]),
            Some((4, vec![])),
        ),
        (
            "hold time 1",
            fixed(4, 65002, 1, id, &[]),
            Some((6, vec![])),
        ),
        (
            "hold time 2",
            fixed(4, 65002, 2, id, &[]),
            Some((6, vec![])),
        ),
        ("hold time 0", fixed(4, 65002, 0, id, &[]), None),
        (
            "parameter overrun",
            fixed(4, 65002, 9, id, &[2, 9, 2, 0]),
            Some((0, vec![])),
        ),
        (
            "capability overrun",
            fixed(4, 65002, 9, id, &[2, 2, 65, 4]),
            Some((0, vec![])),
        ),
        (
            "capability 65 of 2 octets",
            fixed(4, 65002, 9, id, &[2, 4, 65, 2, 0, 1]),
            Some((0, vec![])),
        ),
        (
            "capability 1 of 3 octets",
            fixed(4, 65002, 9, id, &[2, 5, 1, 3, 0, 1, 0]),
            Some((0, vec![])),
        ),
        (
            "graceful restart of 1 octet",
            fixed(4, 65002, 9, id, &[2, 3, 64, 1, 0]),
            None,
        ),
        (
            "graceful restart without families",
            fixed(4, 65002, 9, id, &[2, 4, 64, 2, 0, 0]),
            None,
        ),
        (
            "unknown and repeated",
            fixed(4, 65002, 9, id, &[2, 6, 99, 0, 99, 0, 2, 0]),
            None,
        ),
    ];
    for (name, body, expected) in rows {
        match (Open::decode(&body), expected) {
            (Ok(_), None) => {}
            (Err(sent), Some((subcode, data))) => {
                assert_eq!(
                    (sent.code, sent.subcode, sent.data),
                    (2, subcode, data),
                    "{name}"
                );
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn headers_that_are_wrong_get_their_answer() {
    let header = |length: u16, kind: u8| {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(kind);
        bytes.resize(usize::from(length).max(19), 0);
        bytes
    };
    let answer = |bytes: &[u8]| {
        let mut framer = Framer::default();
        framer.push(bytes);
        framer.next_frame().map(|_| ()).unwrap_err()
    };
    let length = |length: u16| Notification::with_data(1, 2, length.to_be_bytes());
    let mut marker = header(19, 4);
    marker[3] = 0;
    assert_eq!(answer(&marker), Notification::new(1, 1));
    assert_eq!(answer(&header(18, 4)), length(18));
    assert_eq!(answer(&header(4097, 2)), length(4097));
    assert_eq!(answer(&header(19, 0)), Notification::with_data(1, 3, [0]));
    assert_eq!(answer(&header(19, 6)), Notification::with_data(1, 3, [6]));
    for (kind, octets) in [(1, 28), (2, 22), (3, 20), (4, 20), (5, 22)] {
        assert_eq!(answer(&header(octets, kind)), length(octets), "type {kind}");
    }
}
