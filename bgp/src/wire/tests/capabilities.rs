//! Longer messages, longer OPENs, refresh markers and names.

use std::net::IpAddr;

use super::*;

/// A whole message of `length` octets.
fn message(length: u16, kind: Kind) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind as u8);
    bytes.resize(usize::from(length), 0);
    bytes
}

fn framed(bytes: &[u8], extended: bool) -> Result<usize, Notification> {
    let mut framer = Framer::default();
    framer.extended(extended);
    framer.push(bytes);
    framer.next_frame().map(|frame| frame.unwrap().body.len())
}

#[test]
fn item_003_messages_grow_only_where_both_said_so_and_opens_never() {
    let refused = |length: u16| Err(Notification::with_data(1, 2, length.to_be_bytes()));
    for length in [4097, 65535] {
        for kind in [Kind::Update, Kind::Notification, Kind::RouteRefresh] {
            let bytes = message(length, kind);
            assert_eq!(framed(&bytes, false), refused(length), "{kind:?}");
            assert_eq!(framed(&bytes, true), Ok(usize::from(length) - 19));
        }
        for kind in [Kind::Open, Kind::Keepalive] {
            assert_eq!(framed(&message(length, kind), true), refused(length));
        }
    }
    assert_eq!(framed(&message(4096, Kind::Open), true), Ok(4077));
}

#[test]
fn item_020_parameters_grow_when_they_must_and_are_read_in_both_forms() {
    let mut open = Open {
        asn: Asn(65001),
        hold_time: 9,
        router_id: [1, 1, 1, 1].into(),
        capabilities: vec![Capability::FourOctetAs(Asn(65001))],
    };
    // Six octets are there; a capability of 247 octets more fills 253, which is the last that fits the short form.
    for (octets, extended) in [(245, false), (246, true), (250, true)] {
        let value = vec![7; octets];
        open.capabilities.truncate(1);
        open.capabilities
            .push(Capability::Unknown { code: 200, value });
        let bytes = encode_open(&open);
        assert_eq!(bytes[29] == 255, extended, "{octets} octets");
        let body = frames(&bytes).remove(0).1;
        assert_eq!(Open::decode(&body).unwrap(), open, "{octets} octets");
    }
    // The long form may also carry what would have been short (RFC 9072 section 2).
    let body = [
        &[4, 0xfd, 0xe9, 0, 9, 1, 1, 1, 1, 255, 255, 0, 5, 2, 0, 2][..],
        &[2, 0],
    ];
    let open = Open::decode(&body.concat()).unwrap();
    assert_eq!(open.capabilities, [Capability::RouteRefresh]);
    // A length that runs over the end.
    let body = [
        4, 0xfd, 0xe9, 0, 9, 1, 1, 1, 1, 255, 255, 0, 9, 2, 0, 2, 2, 0,
    ];
    assert_eq!(Open::decode(&body).unwrap_err(), Notification::new(2, 0));
}

/// Attributes whose one unknown attribute makes an UPDATE of 10.0.0.0/8 `length` octets long.
fn filling(length: usize) -> Attributes {
    let attributes = |value| Attributes {
        next_hop: Some(NextHop::from(IpAddr::from([192, 0, 2, 1]))),
        unknown: vec![UnknownAttribute {
            flags: 0xc0,
            code: 99,
            value,
        }],
        ..Attributes::default()
    };
    // Header, two lengths, ORIGIN, an empty AS_PATH, NEXT_HOP, the attribute's own head, and the prefix.
    attributes(vec![9; length - 19 - 4 - 4 - 3 - 7 - 4 - 2])
}

#[test]
fn item_059_updates_fill_a_message_to_the_last_octet() {
    let prefixes = [Nlri::from(net("10.0.0.0/8"))];
    for extended_messages in [false, true] {
        let encoding = Encoding {
            extended_messages,
            ..ENCODING
        };
        let maximum = max_length(extended_messages);
        let mut bytes = Vec::new();
        let mut write = |attributes: &Attributes| {
            announce(
                Family::Ipv4Unicast,
                attributes,
                &prefixes,
                encoding,
                &mut bytes,
            )
        };
        // Room for the longest prefix is kept free, and this one is 15 octets shorter.
        assert!(write(&filling(maximum - 14)).is_err());
        let attributes = filling(maximum - 15);
        write(&attributes).unwrap();
        assert_eq!(bytes.len(), maximum - 15);
        let update = Update::decode(&bytes[HEADER_LENGTH..], &INTERNAL).unwrap();
        let carried = &update.attributes.unknown[0].value;
        assert_eq!(carried, &attributes.unknown[0].value);
        assert_eq!(framed(&bytes, extended_messages), Ok(maximum - 15 - 19));
    }
}

#[test]
fn item_059_updates_that_a_peer_filled_to_the_last_octet_are_read() {
    for maximum in [4096, 65535] {
        // Header, two lengths, the other attributes, this one's head, and the prefix.
        let octets = maximum - 19 - 4 - ORIGIN.len() - AS_PATH.len() - NEXT_HOP.len() - 4 - 2;
        let mut attribute = vec![0xd0, 99];
        attribute.extend_from_slice(&(octets as u16).to_be_bytes());
        attribute.resize(4 + octets, 9);
        let body = body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &attribute], TEN);
        let mut bytes = message(maximum as u16, Kind::Update);
        bytes[HEADER_LENGTH..].copy_from_slice(&body);
        assert_eq!(framed(&bytes, maximum > 4096), Ok(maximum - 19));
        let update = Update::decode(&body, &EXTERNAL).unwrap();
        assert_eq!(announced(&update), ["10.0.0.0/8"]);
        assert_eq!(update.attributes.unknown[0].value.len(), octets);
    }
}

#[test]
fn long_lists_of_prefixes_take_fewer_and_longer_messages() {
    let prefixes: Vec<_> = (0..20_000u32)
        .map(|n| IpNetwork::new(IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes()), 24))
        .map(|prefix| Nlri::from(prefix.unwrap()))
        .collect();
    let encoding = Encoding {
        extended_messages: true,
        ..ENCODING
    };
    let attributes = filling(100);
    let mut bytes = Vec::new();
    announce(
        Family::Ipv4Unicast,
        &attributes,
        &prefixes,
        encoding,
        &mut bytes,
    )
    .unwrap();
    withdraw(Family::Ipv4Unicast, &prefixes, encoding, &mut bytes);
    let mut framer = Framer::default();
    framer.extended(true);
    framer.push(&bytes);
    let (mut messages, mut announced, mut withdrawn) = (0, 0, 0);
    while let Some(frame) = framer.next_frame().unwrap() {
        let update = Update::decode(frame.body, &INTERNAL).unwrap();
        messages += 1;
        announced += update
            .announced
            .iter()
            .map(|a| a.prefixes.len())
            .sum::<usize>();
        withdrawn += update.withdrawn.len();
    }
    assert_eq!((messages, announced, withdrawn), (4, 20_000, 20_000));
}

#[test]
fn item_090_refreshes_of_a_wrong_length_or_kind() {
    let marker = encode_route_refresh(Family::Ipv6Unicast, Refresh::End);
    assert_eq!(marker[HEADER_LENGTH..], [0, 2, 2, 1]);
    assert_eq!(
        decode_route_refresh(&marker[HEADER_LENGTH..]),
        Ok(Some((Family::Ipv6Unicast, Refresh::End)))
    );
    for subtype in [1, 2] {
        let body = [0, 1, subtype, 1, 0];
        let whole = [&[0xff; 16][..], &[0, 24, 5], &body].concat();
        assert_eq!(
            decode_route_refresh(&body),
            Err(Notification::with_data(7, 1, whole))
        );
    }
    // A longer request carries route filters, and other subtypes or families are nobody's here.
    for body in [
        &[0, 1, 0, 1, 0][..],
        &[0, 1, 3, 1],
        &[0, 1, 0, 2],
        &[0, 25, 1, 70],
    ] {
        assert_eq!(decode_route_refresh(body), Ok(None), "{body:?}");
    }
}

#[test]
fn names_are_cut_and_shown_without_what_a_terminal_acts_on() {
    let name = "\u{e9}".repeat(40);
    let Capability::Hostname { host, .. } = Capability::hostname(&name) else {
        panic!("another capability");
    };
    assert_eq!(host.chars().count(), 32);
    let shown = Capability::decode(73, b"\x05n\x1b[31\x03lab").unwrap();
    assert_eq!(shown.to_string(), "hostname n[31.lab");
    let broken = Capability::decode(73, &[5, b'n']).unwrap();
    assert_eq!(broken.to_string(), "capability 73");
}
