//! Everything again, with a beginning and an end (RFC 2918, RFC 7313), against a peer made of octets.

use super::*;
use crate::wire::{self, Attributes, Capability, Encoding, Framer, Kind, Nlri, Open, Refresh};

/// A peer that is octets only: node 2, of AS 65002, of a speaker with its session up.
struct Raw {
    net: Net,
    connection: ConnectionId,
    framer: Framer,
}

const ENCODING: Encoding = Encoding {
    four_octet_as: true,
    extended_messages: false,
};

impl Raw {
    fn established(graceful_restart: bool) -> Self {
        let mut net = Net::new(vec![speaker(1, 65001)]);
        let config = PeerConfig {
            passive: true,
            ..peer(1, 2, 65002)
        };
        net.apply(0, vec![config]);
        net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
        let mut raw = Self {
            connection: ConnectionId(0),
            framer: Framer::default(),
            net,
        };
        raw.connect(graceful_restart);
        raw
    }

    fn connect(&mut self, graceful_restart: bool) {
        let now = self.net.now;
        let (remote, local) = (ip("192.0.2.2"), ip("192.0.2.1"));
        let speaker = &mut self.net.nodes[0].speaker;
        self.connection = speaker.accept(remote, local, now).unwrap();
        let mut capabilities: Vec<_> = Family::ALL.map(Capability::family).into();
        capabilities.extend([
            Capability::RouteRefresh,
            Capability::EnhancedRouteRefresh,
            Capability::FourOctetAs(Asn(65002)),
        ]);
        if graceful_restart {
            let preserved = |family| wire::PreservedFamily {
                family,
                forwarding: true,
            };
            capabilities.push(Capability::GracefulRestart(wire::GracefulRestart {
                restart_time: 60,
                families: Family::ALL.map(preserved).into(),
                ..wire::GracefulRestart::default()
            }));
        }
        let open = Open {
            asn: Asn(65002),
            hold_time: 0,
            router_id: [192, 0, 2, 2].into(),
            capabilities,
        };
        self.send(&[wire::encode_open(&open), wire::encode_keepalive()].concat());
        assert!(self.net.all_up());
    }

    fn send(&mut self, bytes: &[u8]) {
        let (connection, now) = (self.connection, self.net.now);
        let speaker = &mut self.net.nodes[0].speaker;
        speaker.handle(Input::Received { connection, bytes }, now);
    }

    fn announce(&mut self, prefixes: &[&str]) {
        for text in prefixes {
            let prefix = prefix(text);
            let next_hop = match prefix {
                IpNetwork::V4(_) => ip("192.0.2.2"),
                IpNetwork::V6(_) => ip("2001:db8::2"),
            };
            let attributes = Attributes {
                as_path: wire::AsPath::new([Asn(65002)]),
                next_hop: Some(NextHop::from(next_hop)),
                ..Attributes::default()
            };
            let mut bytes = Vec::new();
            let (family, nlri) = (Family::of(&prefix), [Nlri::from(prefix)]);
            wire::announce(family, &attributes, &nlri, ENCODING, &mut bytes).unwrap();
            self.send(&bytes);
        }
    }

    fn mark(&mut self, family: Family, refresh: Refresh) {
        self.send(&wire::encode_route_refresh(family, refresh));
    }

    fn end_of_rib(&mut self) {
        let mut bytes = Vec::new();
        Family::ALL
            .iter()
            .for_each(|family| wire::end_of_rib(*family, &mut bytes));
        self.send(&bytes);
    }

    /// Prefixes that are used.
    fn learned(&mut self) -> Vec<String> {
        self.net.settle();
        let routes = self.net.nodes[0].speaker.learned();
        routes
            .iter()
            .map(|route| route.prefix.to_string())
            .collect()
    }

    /// Messages that came since this was last asked, in words.
    fn heard(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(output) = self.net.nodes[0].speaker.poll_output() {
            let Output::Send { bytes, .. } = output else {
                continue;
            };
            self.framer.push(&bytes);
            while let Some(frame) = self.framer.next_frame().unwrap() {
                heard.push(match frame.kind {
                    Kind::RouteRefresh => {
                        let (family, refresh) =
                            wire::decode_route_refresh(frame.body).unwrap().unwrap();
                        format!("{refresh:?} {family}")
                    }
                    kind => format!("{kind:?}"),
                });
            }
        }
        heard
    }
}

const V4: Family = Family::Ipv4Unicast;

#[test]
fn item_089_a_request_is_answered_between_beginning_and_end() {
    let mut raw = Raw::established(false);
    let first = raw.heard();
    assert!(!first.iter().any(|message| message.contains("ipv")));
    raw.mark(V4, Refresh::Request);
    assert_eq!(
        raw.heard(),
        ["Begin ipv4-unicast", "Update", "Update", "End ipv4-unicast"]
    );
    // Two requests before the answer are one.
    raw.mark(V4, Refresh::Request);
    raw.mark(V4, Refresh::Request);
    assert_eq!(raw.heard().len(), 4);
    let counters = raw.net.nodes[0].speaker.peers(raw.net.now)[0].counters;
    let updates = first.iter().filter(|message| *message == "Update").count() as u64;
    assert_eq!(counters.updates_sent, updates + 4);
}

#[test]
fn item_091_what_does_not_come_again_is_swept_and_the_rest_never_stops() {
    let mut raw = Raw::established(false);
    raw.announce(&["10.2.0.0/16", "10.3.0.0/16", "fd00:2::/64"]);
    raw.mark(V4, Refresh::Begin);
    let all = ["10.2.0.0/16", "10.3.0.0/16", "fd00:2::/64"];
    assert_eq!(raw.learned(), all);
    raw.announce(&["10.3.0.0/16"]);
    assert_eq!(raw.learned(), all);
    // The end of another family says nothing about this one.
    raw.mark(Family::Ipv6Unicast, Refresh::End);
    assert_eq!(raw.learned(), all);
    raw.mark(V4, Refresh::End);
    assert_eq!(raw.learned(), ["10.3.0.0/16", "fd00:2::/64"]);
    // An end without a beginning sweeps nothing.
    raw.mark(V4, Refresh::End);
    assert_eq!(raw.learned().len(), 2);
}

#[test]
fn item_091_a_second_beginning_starts_over() {
    let mut raw = Raw::established(false);
    raw.announce(&["10.2.0.0/16", "10.3.0.0/16"]);
    raw.mark(V4, Refresh::Begin);
    raw.announce(&["10.2.0.0/16"]);
    raw.mark(V4, Refresh::Begin);
    raw.announce(&["10.3.0.0/16"]);
    raw.mark(V4, Refresh::End);
    assert_eq!(raw.learned(), ["10.3.0.0/16"]);
}

#[test]
fn item_091_a_session_lost_in_between_leaves_nothing_half_swept() {
    // Without graceful restart everything goes, and the next session begins clean.
    let mut raw = Raw::established(false);
    raw.announce(&["10.2.0.0/16"]);
    raw.mark(V4, Refresh::Begin);
    let lose = |raw: &mut Raw| {
        let closed = Input::Closed {
            connection: raw.connection,
            reason: "connection reset".into(),
        };
        let now = raw.net.now;
        raw.net.nodes[0].speaker.handle(closed, now);
    };
    lose(&mut raw);
    assert!(raw.learned().is_empty());
    raw.connect(false);
    raw.announce(&["10.2.0.0/16"]);
    raw.mark(V4, Refresh::End);
    assert_eq!(raw.learned(), ["10.2.0.0/16"]);

    // With it all routes are kept, those not yet told again too, until End-of-RIB.
    let mut raw = Raw::established(true);
    raw.announce(&["10.2.0.0/16", "10.3.0.0/16"]);
    raw.end_of_rib();
    raw.mark(V4, Refresh::Begin);
    raw.announce(&["10.2.0.0/16"]);
    lose(&mut raw);
    assert_eq!(raw.learned(), ["10.2.0.0/16", "10.3.0.0/16"]);
    raw.connect(true);
    raw.announce(&["10.3.0.0/16"]);
    assert_eq!(raw.learned().len(), 2);
    raw.end_of_rib();
    assert_eq!(raw.learned(), ["10.3.0.0/16"]);
}

#[test]
fn item_091_a_beginning_before_end_of_rib_is_ignored_and_said() {
    let mut raw = Raw::established(true);
    raw.announce(&["10.2.0.0/16"]);
    raw.mark(V4, Refresh::Begin);
    raw.mark(V4, Refresh::End);
    assert_eq!(raw.learned(), ["10.2.0.0/16"]);
    let status = raw.net.nodes[0].speaker.peers(raw.net.now).remove(0);
    assert_eq!(
        status.last_fault.unwrap().reason,
        "refresh of ipv4-unicast begins before End-of-RIB; ignored"
    );
}

#[test]
fn item_091_an_end_that_never_comes_is_not_waited_for_forever() {
    let mut raw = Raw::established(false);
    raw.announce(&["10.2.0.0/16", "10.3.0.0/16"]);
    raw.mark(V4, Refresh::Begin);
    raw.announce(&["10.3.0.0/16"]);
    raw.net.advance(SECOND * 359);
    assert_eq!(raw.learned().len(), 2);
    raw.net.advance(SECOND * 2);
    assert_eq!(raw.learned(), ["10.3.0.0/16"]);
}

#[test]
fn item_090_a_marker_that_is_too_long_ends_the_session() {
    let mut raw = Raw::established(false);
    let mut bytes = wire::encode_route_refresh(V4, Refresh::Begin);
    bytes.push(0);
    bytes[17] += 1;
    raw.send(&bytes);
    let status = raw.net.nodes[0].speaker.peers(raw.net.now).remove(0);
    assert_eq!(
        status.last_sent.unwrap().reason,
        "invalid ROUTE-REFRESH length (7/1)"
    );
}

#[test]
fn two_speakers_refresh_each_other_and_lose_nothing() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    let now = net.now;
    net.nodes[1].speaker.learned_changes();
    let before = net.nodes[1].speaker.peers(now)[0].counters.updates_received;
    assert!(net.nodes[1].speaker.request_refresh(ip("192.0.2.1"), now));
    assert!(!net.nodes[1].speaker.request_refresh(ip("192.0.2.9"), now));
    net.settle();
    let status = net.nodes[1].speaker.peers(now).remove(0);
    assert_eq!(status.counters.updates_received, before + 2);
    assert!(net.nodes[1].speaker.learned_changes().is_empty());
    assert_eq!(net.learned(1).len(), 2);
    let said = ["extended-message", "enhanced-route-refresh"];
    for name in said.map(str::to_owned) {
        assert!(status.capabilities_sent.contains(&name));
        assert!(status.capabilities_received.contains(&name));
    }
}

#[test]
fn a_speaker_tells_its_name() {
    let named = SpeakerConfig {
        hostname: Some("n1".into()),
        ..speaker(1, 65001)
    };
    let mut net = Net::new(vec![named, speaker(2, 65002)]);
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(1, vec![peer(2, 1, 65001)]);
    net.advance(SECOND * 5);
    let received = net.nodes[1].speaker.peers(net.now)[0]
        .capabilities_received
        .clone();
    assert!(received.contains(&"hostname n1".to_owned()), "{received:?}");
}
