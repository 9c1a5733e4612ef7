use proptest::prelude::*;

use super::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn context() -> impl Strategy<Value = Context> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(four_octet_as, external, v4, v6)| Context {
            four_octet_as,
            external,
            families: Families { v4, v6 },
        },
    )
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![(1u32..70_000).prop_map(Asn), (1u32..u32::MAX).prop_map(Asn)]
}

/// Attributes as an internal peer sends them.
fn attributes() -> impl Strategy<Value = Attributes> {
    let numbers = (
        prop::collection::vec(asn(), 0..300),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u32>()),
        any::<bool>(),
        prop::option::of((asn(), any::<u32>())),
        prop_oneof![
            Just(Origin::Igp),
            Just(Origin::Egp),
            Just(Origin::Incomplete)
        ],
    );
    let lists = (
        prop::collection::vec(any::<u32>(), 0..80),
        prop::option::of(any::<u32>()),
        prop::collection::vec(any::<u32>(), 0..5),
        prop::collection::vec(any::<[u8; 8]>(), 0..5),
        prop::collection::vec(any::<(u32, u32, u32)>(), 0..5),
        prop::option::of((100u8..=255, prop::collection::vec(any::<u8>(), 0..300))),
    );
    (numbers, lists).prop_map(|(numbers, lists)| {
        let (path, med, local_pref, atomic_aggregate, aggregator, origin) = numbers;
        let (communities, originator, clusters, extended_communities, large, unknown) = lists;
        Attributes {
            origin,
            as_path: AsPath::new(path),
            next_hop: None,
            med,
            local_pref,
            atomic_aggregate,
            aggregator: aggregator.map(|(asn, address)| Aggregator {
                asn,
                address: Ipv4Addr::from(address),
            }),
            communities: communities.into_iter().map(Community).collect(),
            originator_id: originator.map(Ipv4Addr::from),
            cluster_list: clusters.into_iter().map(Ipv4Addr::from).collect(),
            extended_communities,
            large_communities: large
                .into_iter()
                .map(|(a, b, c)| LargeCommunity(a, b, c))
                .collect(),
            unknown: unknown
                .map(|(code, value)| UnknownAttribute {
                    flags: 0xe0,
                    code,
                    value,
                })
                .into_iter()
                .collect(),
        }
    })
}

fn prefixes(family: Family) -> impl Strategy<Value = Vec<Nlri>> {
    let prefix = move |(address, length): (u128, u8)| {
        let (address, most) = match family {
            // Below class D, where prefixes are ignored.
            Family::Ipv4Unicast => (
                IpAddr::V4(Ipv4Addr::from((address >> 96) as u32 & 0x7fff_ffff)),
                32,
            ),
            Family::Ipv6Unicast => (IpAddr::V6(Ipv6Addr::from(address >> 3 | 1 << 125)), 128),
        };
        let length = length % (most + 1);
        let network = IpNetwork::new(address, length).unwrap();
        Nlri::from(IpNetwork::new(network.network(), length).unwrap())
    };
    prop::collection::vec((any::<u128>(), any::<u8>()).prop_map(prefix), 1..2000)
}

fn round_trip(family: Family, attributes: Attributes, prefixes: &[Nlri], four_octet_as: bool) {
    let address = match family {
        Family::Ipv4Unicast => IpAddr::from([192, 0, 2, 1]),
        Family::Ipv6Unicast => {
            IpAddr::from([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        }
    };
    let attributes = Attributes {
        next_hop: Some(NextHop::from(address)),
        ..attributes
    };
    let mut bytes = Vec::new();
    let encoding = Encoding {
        four_octet_as,
        ..ENCODING
    };
    if announce(family, &attributes, prefixes, encoding, &mut bytes).is_err() {
        return;
    }
    withdraw(family, prefixes, encoding, &mut bytes);
    let context = Context {
        four_octet_as,
        ..INTERNAL
    };
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    for (kind, body) in frames(&bytes) {
        assert_eq!(kind, Kind::Update);
        let update = Update::decode(&body, &context).unwrap();
        assert_eq!(update.faults, []);
        for announcement in update.announced {
            assert_eq!(announcement.next_hop, NextHop::from(address));
            seen.extend(announcement.prefixes);
            assert_eq!(
                Attributes {
                    next_hop: attributes.next_hop,
                    ..update.attributes.clone()
                },
                attributes
            );
        }
        gone.extend(update.withdrawn);
    }
    assert_eq!(seen, prefixes);
    assert_eq!(gone, prefixes);
}

proptest! {
    #[test]
    fn no_octets_panic_the_framer(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..20)) {
        let mut framer = Framer::default();
        for chunk in chunks {
            framer.push(&chunk);
            while let Ok(Some(_)) = framer.next_frame() {}
        }
    }

    #[test]
    fn no_octets_panic_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300), context in context()) {
        let _ = Open::decode(&bytes);
        let _ = Update::decode(&bytes, &context);
        let _ = decode_route_refresh(&bytes);
        let _ = Notification::decode(&bytes).map(|notification| notification.to_string());
    }

    #[test]
    fn no_mutation_of_an_update_panics(
        attributes in attributes(),
        prefixes in prefixes(Family::Ipv6Unicast),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        context in context(),
    ) {
        let mut bytes = Vec::new();
        if announce(Family::Ipv6Unicast, &attributes, &prefixes, ENCODING, &mut bytes).is_ok() {
            let mut body = bytes[HEADER_LENGTH..].to_vec();
            for (at, value) in changes {
                let at = at.index(body.len());
                body[at] = value;
            }
            let _ = Update::decode(&body, &context);
        }
    }

    #[test]
    fn ipv4_routes_survive_the_wire(attributes in attributes(), prefixes in prefixes(Family::Ipv4Unicast)) {
        round_trip(Family::Ipv4Unicast, attributes, &prefixes, true);
    }

    #[test]
    fn ipv6_routes_survive_the_wire(attributes in attributes(), prefixes in prefixes(Family::Ipv6Unicast)) {
        round_trip(Family::Ipv6Unicast, attributes, &prefixes, true);
    }

    #[test]
    fn four_octet_numbers_survive_a_two_octet_session(attributes in attributes(), prefixes in prefixes(Family::Ipv4Unicast)) {
        round_trip(Family::Ipv4Unicast, attributes, &prefixes, false);
    }

    #[test]
    fn messages_survive_being_cut_anywhere(cut in 1usize..30) {
        let mut bytes = encode_keepalive();
        end_of_rib(Family::Ipv6Unicast, &mut bytes);
        bytes.extend(encode_notification(&Notification::cease(Cease::AdministrativeReset)));
        let mut framer = Framer::default();
        let mut kinds = Vec::new();
        for chunk in bytes.chunks(cut) {
            framer.push(chunk);
            while let Some(frame) = framer.next_frame().unwrap() {
                kinds.push(frame.kind);
            }
        }
        prop_assert_eq!(kinds, [Kind::Keepalive, Kind::Update, Kind::Notification]);
    }
}
