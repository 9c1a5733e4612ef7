//! One speaker and octets that no speaker would send.

use proptest::prelude::*;

use super::*;
use crate::wire::{self, Open};

/// A speaker with a session up, and the connection's name.
fn established(own_as: u32, remote_as: u32) -> (Net, ConnectionId) {
    let mut net = Net::new(vec![speaker(1, own_as)]);
    net.apply(
        0,
        vec![PeerConfig {
            passive: true,
            ..peer(1, 2, remote_as)
        }],
    );
    let now = net.now;
    let connection = net.nodes[0]
        .speaker
        .accept(ip("192.0.2.2"), ip("192.0.2.1"), now)
        .unwrap();
    let open = Open {
        asn: Asn(remote_as),
        hold_time: 90,
        router_id: [192, 0, 2, 2].into(),
        capabilities: vec![
            wire::Capability::family(Family::Ipv4Unicast),
            wire::Capability::family(Family::Ipv6Unicast),
            wire::Capability::FourOctetAs(Asn(remote_as)),
        ],
    };
    let mut bytes = wire::encode_open(&open);
    bytes.extend(wire::encode_keepalive());
    net.nodes[0].speaker.handle(
        Input::Received {
            connection,
            bytes: &bytes,
        },
        now,
    );
    net.settle();
    assert!(net.all_up());
    (net, connection)
}

fn send(net: &mut Net, connection: ConnectionId, bytes: &[u8]) {
    let now = net.now;
    net.nodes[0]
        .speaker
        .handle(Input::Received { connection, bytes }, now);
    net.settle();
}

fn last_sent(net: &Net) -> Option<String> {
    net.nodes[0].speaker.peers(net.now)[0]
        .last_sent
        .clone()
        .map(|sent| sent.reason)
}

/// An UPDATE of these attributes and 10.0.0.0/8.
fn update(attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    let length = 19 + 4 + attributes.len() + 2;
    bytes.extend_from_slice(&(length as u16).to_be_bytes());
    bytes.extend_from_slice(&[2, 0, 0]);
    bytes.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    bytes.extend_from_slice(attributes);
    bytes.extend_from_slice(&[8, 10]);
    bytes
}

/// ORIGIN IGP, AS_PATH 65002, NEXT_HOP 192.0.2.2.
const GOOD: &[u8] = &[
    0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea, 0x40, 3, 4, 192, 0, 2, 2,
];

#[test]
fn a_malformed_attribute_withdraws_and_the_session_stays() {
    let (mut net, connection) = established(65001, 65002);
    send(&mut net, connection, &update(GOOD));
    assert_eq!(net.learned(0), ["10.0.0.0/8 via 192.0.2.2"]);
    // MED of three octets.
    send(
        &mut net,
        connection,
        &update(&[GOOD, &[0x80, 4, 3, 0, 0, 0]].concat()),
    );
    assert!(net.learned(0).is_empty());
    assert!(net.all_up());
    let fault = net.nodes[0].speaker.peers(net.now)[0]
        .last_fault
        .clone()
        .unwrap()
        .reason;
    assert_eq!(
        fault,
        "attribute 4: malformed value; routes treated as withdrawn"
    );
}

#[test]
fn a_path_that_does_not_begin_with_the_peer_is_not_used() {
    let (mut net, connection) = established(65001, 65003);
    send(&mut net, connection, &update(GOOD));
    assert!(net.learned(0).is_empty());
    let routes = net.nodes[0].speaker.routes(&RouteFilter::default());
    assert_eq!(
        routes[0].paths[0].reason,
        "path does not begin with the peer's AS"
    );
}

#[test]
fn broken_framing_and_messages_out_of_turn_end_the_session_with_the_right_word() {
    let open = |version| {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&[0, 29, 1, version, 0xfd, 0xea, 0, 90, 192, 0, 2, 2, 0]);
        bytes
    };
    let mut short = wire::encode_keepalive();
    short[17] = 18;
    let mut unknown = wire::encode_keepalive();
    unknown[18] = 77;
    let truncated_mp_unreach = update(&[0x80, 15, 2, 0, 2]);
    let cases: [(&[u8], &str); 6] = [
        (&[0; 19], "connection not synchronized (1/1)"),
        (&short, "bad message length (1/2)"),
        (&unknown, "bad message type (1/3)"),
        (&open(4), "unexpected message in Established state (5/3)"),
        (&open(3), "unexpected message in Established state (5/3)"),
        (&truncated_mp_unreach, "optional attribute error (3/9)"),
    ];
    for (bytes, expected) in cases {
        let (mut net, connection) = established(65001, 65002);
        send(&mut net, connection, bytes);
        assert_eq!(last_sent(&net).as_deref(), Some(expected));
        assert!(!net.all_up());
    }
}

#[test]
fn a_peer_that_never_reads_costs_one_window_and_is_given_up() {
    let (mut net, _) = established(65001, 65002);
    let routes: Vec<_> = (0..200_000u32)
        .map(|n| IpNetwork::new(IpAddr::from((0x0a00_0000 + (n << 4)).to_be_bytes()), 28).unwrap())
        .map(|prefix| Origination {
            med: Some(prefix.network().to_canonical().is_ipv4().into()),
            ..Origination::new(prefix)
        })
        .collect();
    let now = net.now;
    net.nodes[0].speaker.originate(routes, now);
    let mut octets = 0;
    while let Some(output) = net.nodes[0].speaker.poll_output() {
        if let Output::Send { bytes, .. } = output {
            octets += bytes.len();
        }
    }
    assert!(octets > 200_000 && octets < 600_000, "{octets}");
    let mut later = now;
    for _ in 0..1000 {
        later += SECOND;
        let connection = net.nodes[0]
            .speaker
            .peers
            .values()
            .next()
            .unwrap()
            .established()
            .map(|s| s.connection.unwrap());
        let Some(connection) = connection else { break };
        let bytes = wire::encode_keepalive();
        net.nodes[0].speaker.handle(
            Input::Received {
                connection,
                bytes: &bytes,
            },
            later,
        );
        net.nodes[0].speaker.handle_timeout(later);
    }
    net.now = later;
    assert_eq!(
        last_sent(&net).as_deref(),
        Some("send hold timer expired (8/0)")
    );
    // RFC 9687: eight minutes; the loop notices a second later.
    assert_eq!((later - now).as_secs(), 481);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_panic_a_speaker(bytes in prop::collection::vec(any::<u8>(), 0..600), header in any::<bool>()) {
        let (mut net, connection) = established(65001, 65002);
        let framed = if header && bytes.len() >= 4 { update(&bytes) } else { bytes };
        send(&mut net, connection, &framed);
    }

    #[test]
    fn no_flipped_octet_panics_a_speaker(at in 0usize..200, value in any::<u8>(), cut in 1usize..60) {
        let (mut net, connection) = established(65001, 65002);
        let mut bytes = update(&[GOOD, &[0xc0, 8, 4, 0, 1, 0, 2, 0x80, 14, 22, 0, 2, 1, 16]].concat());
        bytes.extend(update(GOOD));
        bytes.extend(wire::encode_route_refresh(Family::Ipv6Unicast, wire::Refresh::Begin));
        let length = bytes.len();
        bytes[at % length] = value;
        for chunk in bytes.chunks(cut) {
            send(&mut net, connection, chunk);
        }
    }
}
