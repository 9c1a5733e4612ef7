//! Headers and OPENs that are wrong (RFC 4271 §6.1, §6.2).

use super::*;

fn fixed(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![version];
    body.extend_from_slice(&asn.to_be_bytes());
    body.extend_from_slice(&hold.to_be_bytes());
    body.extend_from_slice(&id);
    body.push(parameters.len() as u8);
    body.extend_from_slice(parameters);
    body
}

/// Subcode and data of the answer to an OPEN; `None` when it is accepted.
fn answer(body: &[u8]) -> Option<(u8, Vec<u8>)> {
    let sent = Open::decode(body).err()?;
    assert_eq!(sent.code, Notification::OPEN);
    Some((sent.subcode, sent.data))
}

const ID: [u8; 4] = [1, 1, 1, 1];

#[test]
fn opens_with_wrong_fixed_fields_get_their_answer() {
    assert_eq!(
        answer(&fixed(3, 65002, 9, ID, &[])),
        Some((1, vec![0, 4])),
        "version 3"
    );
    assert_eq!(answer(&fixed(4, 0, 9, ID, &[])), Some((2, vec![])), "AS 0");
    assert_eq!(
        answer(&fixed(4, 65002, 9, [0; 4], &[])),
        Some((3, vec![])),
        "identifier 0"
    );
    for hold_time in [1, 2] {
        assert_eq!(
            answer(&fixed(4, 65002, hold_time, ID, &[])),
            Some((6, vec![]))
        );
    }
    assert_eq!(answer(&fixed(4, 65002, 0, ID, &[])), None, "hold time 0");
}

#[test]
fn opens_with_wrong_parameters_get_their_answer() {
    let rows: [(&str, &[u8], Option<u8>); 10] = [
        ("AS 0 in capability 65", &[2, 6, 65, 4, 0, 0, 0, 0], Some(2)),
        ("unknown parameter", &[9, 0], Some(4)),
        ("authentication", &[1, 1, 0], Some(4)),
        ("parameter overrun", &[2, 9, 2, 0], Some(0)),
        ("capability overrun", &[2, 2, 65, 4], Some(0)),
        ("capability 65 of 2 octets", &[2, 4, 65, 2, 0, 1], Some(0)),
        ("capability 1 of 3 octets", &[2, 5, 1, 3, 0, 1, 0], Some(0)),
        ("graceful restart of 1 octet", &[2, 3, 64, 1, 0], None),
        (
            "graceful restart without families",
            &[2, 4, 64, 2, 0, 0],
            None,
        ),
        ("unknown and repeated", &[2, 6, 99, 0, 99, 0, 2, 0], None),
    ];
    for (name, parameters, expected) in rows {
        let answer = answer(&fixed(4, 65002, 9, ID, parameters));
        assert_eq!(answer.map(|(subcode, _)| subcode), expected, "{name}");
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
