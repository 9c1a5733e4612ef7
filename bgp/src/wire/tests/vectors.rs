use super::*;

#[test]
fn an_open_as_frr_sends_it() {
    let body = [
        4, 0xfd, 0xea, 0, 180, 192, 0, 2, 2,
        38, // version, AS, hold time, identifier, parameters
        2, 6, 1, 4, 0, 1, 0, 1, // IPv4 unicast
        2, 2, 128, 0, // route refresh before it had a number
        2, 2, 2, 0, // route refresh
        2, 6, 65, 4, 0, 0, 0xfd, 0xea, // four octets
        2, 12, 64, 10, 0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1,
        0, // restarting, notification, 120 s, two families
    ];
    let open = Open::decode(&body).unwrap();
    assert_eq!((open.asn, open.hold_time), (Asn(65002), 180));
    assert_eq!(
        open.families(),
        Families {
            v4: true,
            v6: false
        }
    );
    assert!(open.route_refresh() && open.four_octet_as());
    let restart = open.graceful_restart().unwrap();
    assert!(restart.restarting && restart.notification);
    assert_eq!(restart.restart_time, 120);
    assert!(restart.preserved(Family::Ipv4Unicast).unwrap().forwarding);
    assert!(!restart.preserved(Family::Ipv6Unicast).unwrap().forwarding);
}

#[test]
fn an_open_without_capabilities_speaks_ipv4_with_two_octets() {
    let open = Open::decode(&[4, 0xfd, 0xea, 0, 0, 192, 0, 2, 2, 0]).unwrap();
    assert_eq!(
        open.families(),
        Families {
            v4: true,
            v6: false
        }
    );
    assert!(!open.four_octet_as() && !open.route_refresh());
}

#[test]
fn as_trans_with_capability_65_is_the_capability() {
    let open = Open::decode(&[
        4, 0x5b, 0xa0, 0, 9, 1, 1, 1, 1, 8, 2, 6, 65, 4, 0xfa, 0x56, 0xea, 0,
    ])
    .unwrap();
    assert_eq!(open.asn, Asn(4_200_000_000));
}

#[test]
fn extended_parameters_of_rfc_9072_are_read_and_written() {
    let body = [
        4, 0xfd, 0xea, 0, 9, 1, 1, 1, 1, 255, 255, 0, 7, 2, 0, 4, 2, 0, 77, 0,
    ];
    let open = Open::decode(&body).unwrap();
    assert_eq!(open.capabilities[0], Capability::RouteRefresh);
    assert_eq!(
        open.capabilities[1],
        Capability::Unknown {
            code: 77,
            value: vec![]
        }
    );
    let many = Open {
        capabilities: vec![
            Capability::Unknown {
                code: 200,
                value: vec![7; 100]
            };
            5
        ],
        ..open
    };
    let frames = frames(&encode_open(&many));
    assert_eq!(Open::decode(&frames[0].1).unwrap(), many);
}

#[test]
fn an_update_of_both_families_as_bird_sends_it() {
    let reach = [
        0x80, 14, 30, 0, 2, 1, 16, // optional, MP_REACH, IPv6 unicast, 16 octets of next hop
        0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, // 2001:db8::2, reserved
        64, 0xfd, 0, 0, 2, 0, 0, 0, 0, // fd00:2::/64
    ];
    let body = body(
        &[16, 10, 9],
        &[&reach, ORIGIN, AS_PATH, NEXT_HOP],
        &[26, 10, 2, 0, 127],
    );
    let update = Update::decode(&body, &EXTERNAL).unwrap();
    assert_eq!(withdrawn(&update), ["10.9.0.0/16"]);
    // Host bits are cleared.
    assert_eq!(announced(&update), ["10.2.0.64/26", "fd00:2::/64"]);
    assert_eq!(update.announced[1].next_hop.to_string(), "2001:db8::2");
    assert_eq!(update.attributes.as_path.to_string(), "65002");
    assert!(update.faults.is_empty());
    // A family that was not negotiated is never applied.
    let only_v4 = Context {
        families: Families {
            v4: true,
            v6: false,
        },
        ..EXTERNAL
    };
    assert_eq!(
        announced(&Update::decode(&body, &only_v4).unwrap()),
        ["10.2.0.64/26"]
    );
    let only_v6 = Context {
        families: Families {
            v4: false,
            v6: true,
        },
        ..EXTERNAL
    };
    let update = Update::decode(&body, &only_v6).unwrap();
    assert_eq!(
        (announced(&update), withdrawn(&update)),
        (vec!["fd00:2::/64".to_owned()], vec![])
    );
}

#[test]
fn a_link_local_next_hop_beside_the_global_one() {
    let mut reach = vec![0x80, 14, 46, 0, 2, 1, 32];
    reach.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    reach.extend_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    reach.extend_from_slice(&[0, 64, 0xfd, 0, 0, 2, 0, 0, 0, 0]);
    let update = Update::decode(&body(&[], &[&reach, ORIGIN, AS_PATH], &[]), &EXTERNAL).unwrap();
    assert_eq!(
        update.announced[0].next_hop.to_string(),
        "2001:db8::2 (fe80::2)"
    );
}

#[test]
fn ipv4_in_mp_reach_is_ipv4() {
    let reach = [0x80, 14, 11, 0, 1, 1, 4, 192, 0, 2, 2, 0, 8, 10];
    let update = Update::decode(&body(&[], &[&reach, ORIGIN, AS_PATH], &[]), &EXTERNAL).unwrap();
    assert_eq!(announced(&update), ["10.0.0.0/8"]);
}

#[test]
fn end_of_rib_of_each_family() {
    for family in Family::ALL {
        let mut bytes = Vec::new();
        end_of_rib(family, &mut bytes);
        let update = Update::decode(&frames(&bytes)[0].1, &EXTERNAL).unwrap();
        assert_eq!(update.end_of_rib, Some(family));
        assert!(update.withdrawn.is_empty() && update.announced.is_empty());
    }
    let mut bytes = Vec::new();
    end_of_rib(Family::Ipv4Unicast, &mut bytes);
    assert_eq!(bytes.len(), 23);
}

#[test]
fn two_octet_paths_are_merged_with_as4_path() {
    let two = Context {
        four_octet_as: false,
        ..EXTERNAL
    };
    let path = [0x40, 2, 8, 2, 3, 0xfd, 0xea, 0x5b, 0xa0, 0x5b, 0xa0];
    let four = [0xc0, 17, 10, 2, 2, 0xfa, 0x56, 0xea, 1, 0xfa, 0x56, 0xea, 2];
    let update = Update::decode(&body(&[], &[ORIGIN, &path, NEXT_HOP, &four], TEN), &two).unwrap();
    assert_eq!(
        update.attributes.as_path.to_string(),
        "65002 4200000001 4200000002"
    );
    // An AGGREGATOR that is not AS_TRANS says that both are out of date.
    let aggregator = [0xc0, 7, 6, 0xfd, 0xea, 1, 1, 1, 1];
    let new = [0xc0, 18, 8, 0xfa, 0x56, 0xea, 1, 1, 1, 1, 1];
    let attributes: [&[u8]; 6] = [ORIGIN, &path, NEXT_HOP, &aggregator, &four, &new];
    let update = Update::decode(&body(&[], &attributes, TEN), &two).unwrap();
    assert_eq!(update.attributes.as_path.to_string(), "65002 23456 23456");
    assert_eq!(update.attributes.aggregator.unwrap().asn, Asn(65002));
    // From a four-octet speaker AS4_PATH is discarded.
    let update = Update::decode(
        &body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &four], TEN),
        &EXTERNAL,
    )
    .unwrap();
    assert_eq!(update.faults[0].disposition, Disposition::Discard);
    assert_eq!(update.attributes.as_path.to_string(), "65002");
}

#[test]
fn a_two_octet_peer_gets_as_trans_and_as4_path() {
    let attributes = Attributes {
        as_path: AsPath::new([Asn(65001), Asn(4_200_000_001)]),
        aggregator: Some(Aggregator {
            asn: Asn(4_200_000_001),
            address: [1, 1, 1, 1].into(),
        }),
        next_hop: Some(NextHop::from(std::net::IpAddr::from([192, 0, 2, 1]))),
        ..Attributes::default()
    };
    let mut bytes = Vec::new();
    announce(
        Family::Ipv4Unicast,
        &attributes,
        &[Nlri::from(net("10.0.0.0/8"))],
        Encoding {
            four_octet_as: false,
            ..ENCODING
        },
        &mut bytes,
    )
    .unwrap();
    let raw = &frames(&bytes)[0].1;
    assert!(
        raw.windows(7)
            .any(|window| window == [2, 2, 0xfd, 0xe9, 0x5b, 0xa0, 0x40])
    );
    let two = Context {
        four_octet_as: false,
        ..EXTERNAL
    };
    let update = Update::decode(raw, &two).unwrap();
    assert_eq!(update.attributes.as_path, attributes.as_path);
    assert_eq!(update.attributes.aggregator, attributes.aggregator);
}

#[test]
fn unknown_optional_transitive_attributes_go_on_with_the_partial_bit() {
    let unknown = [0xc0, 99, 3, 1, 2, 3];
    let dropped = [0x80, 98, 1, 7];
    let update = Update::decode(
        &body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &unknown, &dropped], TEN),
        &EXTERNAL,
    )
    .unwrap();
    assert_eq!(update.attributes.unknown.len(), 1);
    let attributes = Attributes {
        next_hop: Some(update.announced[0].next_hop),
        ..update.attributes
    };
    let mut bytes = Vec::new();
    announce(
        Family::Ipv4Unicast,
        &attributes,
        &update.announced[0].prefixes,
        ENCODING,
        &mut bytes,
    )
    .unwrap();
    assert!(
        bytes
            .windows(6)
            .any(|window| window == [0xe0, 99, 3, 1, 2, 3])
    );
}

#[test]
fn a_path_of_six_hundred_keeps_all_its_numbers() {
    let path = AsPath::new((1..=600).map(Asn)).prepended(Asn(65001));
    let mut value = Vec::new();
    path.encode(true, &mut value);
    assert_eq!(AsPath::decode(&value, true).unwrap(), path);
    assert_eq!(path.len(), 601);
}

#[test]
fn a_default_route_is_one_octet() {
    let update = Update::decode(&body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[0]), &EXTERNAL).unwrap();
    assert_eq!(announced(&update), ["0.0.0.0/0"]);
}

#[test]
fn a_route_refresh_names_its_family() {
    for family in Family::ALL {
        let bytes = encode_route_refresh(family, Refresh::Request);
        assert_eq!(
            decode_route_refresh(&frames(&bytes)[0].1),
            Ok(Some((family, Refresh::Request)))
        );
    }
    assert_eq!(decode_route_refresh(&[0, 25, 0, 70]), Ok(None));
}

#[test]
fn shutdown_texts_are_read_and_cut() {
    let notification =
        Notification::cease_with_text(Cease::AdministrativeShutdown, "maintenance until 14:00");
    assert_eq!(
        notification.to_string(),
        "administrative shutdown (6/2): \"maintenance until 14:00\""
    );
    let long = "ä".repeat(300);
    let notification = Notification::cease_with_text(Cease::AdministrativeShutdown, &long);
    assert_eq!(notification.text().unwrap().chars().count(), 127);
    let hard = notification.into_hard_reset();
    assert!(
        hard.to_string()
            .starts_with("hard reset (6/9): administrative shutdown (6/2): \"ää")
    );
    let lying = Notification::with_data(Notification::CEASE, 2, [200, b'x']);
    assert_eq!(lying.text(), None);
}
