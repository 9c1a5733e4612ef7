//! What must hold for any octets. Each function takes what the fuzzer made and panics when something does not hold.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use margay_bgp::wire::{self, Context, Encoding, Framer, Open, Update};
use margay_bgp::{
    Asn, Config, ConnectionId, Event, Families, Family, Input, LocalAddresses, Output, PeerConfig,
    Policy, RemoteAs, Speaker, SpeakerConfig, State,
};

/// Octets cut anywhere are the same messages, and end with the same error, as in one piece.
pub fn framer(data: &[u8]) {
    let Some((&size, octets)) = data.split_first() else {
        return;
    };
    let read = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let (mut framer, mut frames) = (Framer::default(), Vec::new());
        framer.extended(size & 1 != 0);
        for chunk in chunks {
            framer.push(chunk);
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => frames.push((frame.kind, frame.body.to_vec())),
                    Ok(None) => break,
                    Err(notification) => return (frames, Some(notification)),
                }
            }
        }
        (frames, None)
    };
    let whole = read(&mut std::iter::once(octets));
    let cut = read(&mut octets.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
}

/// An OPEN that is accepted is the same one after it was written and read again.
pub fn open(data: &[u8]) {
    if let Ok(open) = Open::decode(data) {
        let octets = wire::encode_open(&open);
        let mut framer = Framer::default();
        framer.push(&octets);
        let frame = framer.next_frame().expect("its own header").expect("whole");
        assert_eq!(Open::decode(frame.body).as_ref(), Ok(&open));
        open.capabilities.iter().for_each(|c| drop(c.to_string()));
    }
}

/// Announced routes are the same ones after they were written and read again.
pub fn update(data: &[u8]) {
    let Some((&bits, body)) = data.split_first() else {
        return;
    };
    let context = context(bits);
    let Ok(update) = Update::decode(body, &context) else {
        return;
    };
    update
        .faults
        .iter()
        .for_each(|fault| drop(fault.to_string()));
    for announcement in &update.announced {
        for family in Family::ALL {
            let prefixes: Vec<_> = announcement
                .prefixes
                .iter()
                .copied()
                .filter(|nlri| Family::of(&nlri.prefix) == family)
                .collect();
            if !prefixes.is_empty() {
                let mut attributes = update.attributes.clone();
                attributes.next_hop = Some(announcement.next_hop);
                again(family, &attributes, &prefixes, &context);
            }
        }
    }
}

fn again(
    family: Family,
    attributes: &wire::Attributes,
    prefixes: &[wire::Nlri],
    context: &Context,
) {
    for extended_messages in [false, true] {
        let encoding = Encoding {
            four_octet_as: context.four_octet_as,
            extended_messages,
        };
        again_as(encoding, family, attributes, prefixes, context);
    }
}

fn again_as(
    encoding: Encoding,
    family: Family,
    attributes: &wire::Attributes,
    prefixes: &[wire::Nlri],
    context: &Context,
) {
    let mut octets = Vec::new();
    if wire::announce(family, attributes, prefixes, encoding, &mut octets).is_err() {
        return;
    }
    wire::withdraw(family, prefixes, encoding, &mut octets);
    let mut framer = Framer::default();
    framer.extended(encoding.extended_messages);
    framer.push(&octets);
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    while let Some(frame) = framer.next_frame().expect("our own header") {
        let update = Update::decode(frame.body, context).expect("our own UPDATE");
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        for announcement in update.announced {
            assert_eq!(Some(announcement.next_hop), attributes.next_hop);
            announced.extend(announcement.prefixes);
            let mut expected = attributes.clone();
            expected.next_hop = None;
            expected.unknown.iter_mut().for_each(mark_partial);
            assert_eq!(update.attributes, expected);
        }
        withdrawn.extend(update.withdrawn);
    }
    assert_eq!(announced, prefixes);
    assert_eq!(withdrawn, prefixes);
}

/// As it goes on: IPv6 extended communities are known, all others get the Partial bit.
fn mark_partial(unknown: &mut wire::UnknownAttribute) {
    if unknown.code != 25 {
        unknown.flags |= 0x20;
    }
}

fn context(bits: u8) -> Context {
    Context {
        four_octet_as: bits & 1 != 0,
        external: bits & 2 != 0,
        families: Families {
            v4: bits & 4 == 0,
            v6: bits & 8 == 0,
        },
    }
}

/// A speaker that hears the messages stays consistent: it says one NOTIFICATION at most, nothing after it closed, it settles, and who
/// is not up has no routes unless they are stale.
///
/// The first octet chooses the session; then each message is a type, a length of two octets and as much of the rest.
pub fn speaker(data: &[u8]) {
    let Some((&bits, mut rest)) = data.split_first() else {
        return;
    };
    let mut world = World::established(bits);
    while let [kind, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (body, next) = tail.split_at(length);
        // Types above 127 are raw octets, so that headers are not always right.
        if *kind < 128 {
            let mut octets = vec![0xff; 16];
            octets.extend(((body.len() + 19) as u16).to_be_bytes());
            octets.push(*kind);
            octets.extend(body);
            octets.chunks(700).for_each(|chunk| world.say(chunk));
        } else {
            world.say(body);
        }
        rest = next;
    }
    world.check();
    for _ in 0..3 {
        world.pass(Duration::from_secs(100));
        world.check();
    }
}

struct World {
    speaker: Speaker,
    now: Instant,
    connection: ConnectionId,
    closed: HashSet<ConnectionId>,
    notified: HashSet<ConnectionId>,
}

const PEER: [u8; 4] = [192, 0, 2, 2];

impl World {
    #[allow(clippy::disallowed_methods, reason = "a time to begin at")]
    fn established(bits: u8) -> Self {
        let now = Instant::now();
        let peer_as = if bits & 1 == 0 { 65002 } else { 65001 };
        let mut speaker = Speaker::new(SpeakerConfig::new(Asn(65001), [192, 0, 2, 1].into()), now);
        let config = PeerConfig {
            passive: true,
            local_addresses: LocalAddresses {
                v4: Some([192, 0, 2, 1].into()),
                v6: None,
            },
            import: Policy::accept_all(),
            export: Policy::accept_all(),
            ..PeerConfig::new(IpAddr::from(PEER), RemoteAs::Number(Asn(peer_as)))
        };
        speaker.apply(
            Config {
                peers: vec![config],
            },
            now,
        );
        let connection = speaker
            .accept(IpAddr::from(PEER), IpAddr::from([192, 0, 2, 1]), now)
            .expect("a configured peer");
        let mut world = Self {
            speaker,
            now,
            connection,
            closed: HashSet::new(),
            notified: HashSet::new(),
        };
        world.say(&Self::open(bits, peer_as));
        world.say(&wire::encode_keepalive());
        assert_eq!(world.state(), State::Established);
        world
    }

    fn open(bits: u8, peer_as: u32) -> Vec<u8> {
        let mut capabilities = vec![wire::Capability::family(Family::Ipv4Unicast)];
        if bits & 2 == 0 {
            capabilities.push(wire::Capability::family(Family::Ipv6Unicast));
        }
        if bits & 4 == 0 {
            capabilities.push(wire::Capability::FourOctetAs(Asn(peer_as)));
        }
        if bits & 32 != 0 {
            capabilities.push(wire::Capability::RouteRefresh);
            capabilities.push(wire::Capability::EnhancedRouteRefresh);
            capabilities.push(wire::Capability::ExtendedMessage);
        }
        if bits & 8 != 0 {
            let preserved = |family| wire::PreservedFamily {
                family,
                forwarding: true,
            };
            capabilities.push(wire::Capability::GracefulRestart(wire::GracefulRestart {
                restarting: false,
                notification: bits & 16 != 0,
                restart_time: 120,
                families: Family::ALL.into_iter().map(preserved).collect(),
            }));
        }
        wire::encode_open(&Open {
            asn: Asn(peer_as),
            hold_time: 90,
            router_id: PEER.into(),
            capabilities,
        })
    }

    fn state(&self) -> State {
        self.speaker.peers(self.now)[0].state
    }

    fn say(&mut self, bytes: &[u8]) {
        let connection = self.connection;
        self.speaker
            .handle(Input::Received { connection, bytes }, self.now);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        let target = self.now + time;
        while let Some(next) = self.speaker.poll_timeout().filter(|next| *next <= target) {
            self.now = next.max(self.now);
            self.speaker.handle_timeout(self.now);
            self.settle();
        }
        self.now = target;
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.speaker.poll_output() {
                None => return,
                Some(Output::Send { connection, bytes }) => self.sent(connection, &bytes),
                Some(Output::Close { connection }) => drop(self.closed.insert(connection)),
                Some(Output::Event(Event::NextHopsChanged)) => {
                    let tracked = self.speaker.tracked_next_hops();
                    self.speaker
                        .set_next_hops(tracked.into_iter().map(|hop| (hop, Some(1))).collect());
                }
                Some(_) => {}
            }
        }
        panic!("the speaker never settles");
    }

    fn sent(&mut self, connection: ConnectionId, bytes: &[u8]) {
        assert!(!self.closed.contains(&connection), "said after the close");
        let mut framer = Framer::default();
        framer.extended(true);
        framer.push(bytes);
        while let Some(frame) = framer.next_frame().expect("our own header") {
            assert!(
                !self.notified.contains(&connection),
                "said after NOTIFICATION"
            );
            if frame.kind == wire::Kind::Notification {
                self.notified.insert(connection);
            }
        }
        let octets = bytes.len();
        self.speaker
            .handle(Input::Written { connection, octets }, self.now);
    }

    fn check(&mut self) {
        let status = self.speaker.peers(self.now).remove(0);
        for connection in &self.notified {
            assert!(self.closed.contains(connection), "open after NOTIFICATION");
        }
        for family in Family::ALL {
            let counts = status.prefixes[family];
            assert!(counts.accepted <= counts.received);
            if status.state != State::Established && counts.received > 0 {
                assert_eq!(
                    counts.stale, counts.received,
                    "routes of a peer that is away"
                );
            }
        }
        for change in self.speaker.learned_changes() {
            if let Some(route) = change.route {
                assert!(!route.paths.is_empty());
            }
        }
    }
}
