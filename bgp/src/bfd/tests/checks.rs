use super::*;

type Spoil = fn(&mut Vec<u8>);

/// A packet that an end in state Down takes.
fn good() -> [u8; Packet::LENGTH] {
    packet().encode()
}

fn packet() -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 77,
        your_discriminator: 0,
        desired_min_tx: SECOND,
        required_min_rx: MILLI * 300,
        required_min_echo_rx: Duration::ZERO,
    }
}

/// One end whose other end is the test.
fn alone() -> Pair {
    let mut pair = Pair::new([Parameters::default(); 2]);
    pair.carries = [false; 2];
    pair
}

#[test]
fn item_116_checks_of_reception_come_in_their_order() {
    // Each spoils one field more, from the last check to the first: the earlier check speaks.
    let spoil: [(Malformed, Spoil); 8] = [
        (Malformed::Authentication, |o| {
            o[1] |= 0x04;
            o[3] = 26;
            o.extend([0, 0]);
        }),
        (Malformed::UnknownYours, |o| o[1] = o[1] & 0x3f | 0xc0),
        (Malformed::ZeroDiscriminator, |o| o[4..8].fill(0)),
        (Malformed::Multipoint, |o| o[1] |= 0x01),
        (Malformed::ZeroMultiplier, |o| o[2] = 0),
        (Malformed::TooLong, |o| o[3] = 200),
        (Malformed::TooShort, |o| o[3] = 23),
        (Malformed::Version, |o| o[0] = o[0] & 0x1f | 2 << 5),
    ];
    let mut octets = good().to_vec();
    assert!(alone().inject(0, &octets).is_ok());
    for (expected, spoil) in spoil {
        spoil(&mut octets);
        let mut pair = alone();
        let found = pair.inject(0, &octets);
        assert_eq!(found, Err(Discard::Malformed(expected)));
        assert_eq!(pair.status(0).received, 0);
        assert_eq!(pair.ends[0].discarded()[&Discard::Malformed(expected)], 1);
    }
}

#[test]
fn item_116_a_length_with_authentication_needs_its_header() {
    let mut octets = good();
    octets[1] |= 0x04;
    assert_eq!(Packet::decode(&octets), Err(Malformed::TooShort));
}

#[test]
fn item_116_octets_after_the_packet_are_ignored_and_missing_ones_are_not() {
    let mut octets = good().to_vec();
    octets.extend([9; 40]);
    assert_eq!(Packet::decode(&octets), Ok(packet()));
    for length in 0..Packet::LENGTH {
        assert!(Packet::decode(&good()[..length]).is_err(), "{length}");
    }
}

#[test]
fn item_116_your_discriminator_selects_or_discards() {
    let mut pair = alone();
    let unknown = Packet {
        your_discriminator: pair.status(0).local_discriminator ^ 1,
        ..packet()
    };
    assert_eq!(pair.inject(0, &unknown.encode()), Err(Discard::NoSession));
    let known = Packet {
        your_discriminator: pair.status(0).local_discriminator,
        ..packet()
    };
    // From elsewhere, as after a change of address: the discriminator alone counts (RFC 5880 §6.3).
    let arrival = Arrival {
        source: [198, 51, 100, 9].into(),
        ttl: Some(255),
        path: Path::SingleHop,
        octets: &known.encode(),
    };
    assert_eq!(pair.ends[0].receive(&arrival, pair.now), Ok(()));
    assert_eq!(pair.status(0).state, State::Init);
}

#[test]
fn item_116_without_a_discriminator_only_down_and_admin_down_begin() {
    for (state, taken) in [
        (State::AdminDown, true),
        (State::Down, true),
        (State::Init, false),
        (State::Up, false),
    ] {
        let octets = Packet { state, ..packet() }.encode();
        assert_eq!(alone().inject(0, &octets).is_ok(), taken, "{state}");
    }
}

#[test]
fn item_116_nobody_unknown_begins() {
    let mut pair = alone();
    let arrival = Arrival {
        source: [198, 51, 100, 9].into(),
        ttl: Some(255),
        path: Path::SingleHop,
        octets: &good(),
    };
    assert_eq!(
        pair.ends[0].receive(&arrival, pair.now),
        Err(Discard::NoSession)
    );
}

#[test]
fn item_119_one_hop_is_ttl_255_and_nothing_less() {
    for ttl in [Some(254), Some(1), None] {
        let mut pair = alone();
        let arrival = Arrival {
            source: address(1),
            ttl,
            path: Path::SingleHop,
            octets: &good(),
        };
        assert_eq!(pair.ends[0].receive(&arrival, pair.now), Err(Discard::Ttl));
        assert_eq!(pair.status(0).state, State::Down);
    }
}

#[test]
fn item_119_several_hops_have_their_least_ttl() {
    let path = Path::Multihop { minimum_ttl: 250 };
    let mut pair = Pair::new(
        [Parameters {
            path,
            ..Parameters::default()
        }; 2],
    );
    let mut arrives = |ttl, path| {
        let arrival = Arrival {
            source: address(1),
            ttl: Some(ttl),
            path,
            octets: &good(),
        };
        pair.ends[0].receive(&arrival, pair.now)
    };
    let multihop = Path::of_port(4784).unwrap();
    assert_eq!(arrives(249, multihop), Err(Discard::Ttl));
    // The port of the other kind is another session (RFC 5883 §4).
    assert_eq!(arrives(255, Path::SingleHop), Err(Discard::NoSession));
    assert_eq!(arrives(250, multihop), Ok(()));
    assert_eq!(path.port(), 4784);
    assert_eq!(Path::SingleHop.port(), 3784);
}
