//! A speaker in memory whose peers are scripts: they say octets, hear octets, and time moves when told to.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use margay_bgp::{
    Asn, Config, ConnectionId, Dial, Event, Input, LocalAddresses, Origination, Output, PeerConfig,
    PeerStatus, Policy, RemoteAs, RouteFilter, RouteStatus, Speaker, SpeakerConfig, State,
};

use crate::octets::{self, OpenFields};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The speaker is 192.0.2.1; peer n is 192.0.2.n.
pub(crate) struct Script {
    pub(crate) speaker: Speaker,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    /// Connections that the speaker asked for and that nobody has answered.
    pub(crate) dials: Vec<Dial>,
    /// Next hops that do not resolve; all others do, at distance 10.
    pub(crate) unresolved: HashSet<IpAddr>,
    /// The peer reads nothing.
    pub(crate) clogged: bool,
    unread: HashMap<ConnectionId, Vec<u8>>,
    closed: HashSet<ConnectionId>,
}

/// A message of the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// How a connection stands after what was said on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It lives.
    Open,
    /// Closed without a NOTIFICATION.
    Silent,
    /// Closed with code, subcode and data.
    Notified(u8, u8, Vec<u8>),
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Peer `number` of AS `asn` as it is configured unless a test says otherwise: it connects to us, and everything passes.
pub(crate) fn peer(number: u8, asn: u32) -> PeerConfig {
    PeerConfig {
        passive: true,
        local_addresses: LocalAddresses {
            v4: Some([192, 0, 2, 1].into()),
            v6: Some("2001:db8::1".parse().unwrap()),
        },
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..PeerConfig::new(
            IpAddr::from([192, 0, 2, number]),
            RemoteAs::Number(Asn(asn)),
        )
    }
}

impl Script {
    /// A speaker of this AS that starts for the first time.
    pub(crate) fn new(asn: u32) -> Self {
        Self::with(SpeakerConfig::new(Asn(asn), [192, 0, 2, 1].into()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a time to begin at; it is moved by hand from here on"
    )]
    pub(crate) fn with(config: SpeakerConfig) -> Self {
        let now = Instant::now();
        let mut script = Self {
            speaker: Speaker::new(config, now),
            now,
            events: Vec::new(),
            dials: Vec::new(),
            unresolved: HashSet::new(),
            clogged: false,
            unread: HashMap::new(),
            closed: HashSet::new(),
        };
        script.settle();
        script
    }

    /// AS 65001 with peer 2 of AS 65002 up.
    pub(crate) fn external() -> (Self, ConnectionId) {
        Self::between(65001, peer(2, 65002))
    }

    /// AS 65010 with peer 2 of the same AS up.
    pub(crate) fn internal() -> (Self, ConnectionId) {
        Self::between(65010, peer(2, 65010))
    }

    pub(crate) fn between(own_as: u32, config: PeerConfig) -> (Self, ConnectionId) {
        let RemoteAs::Number(asn) = config.remote_as else {
            panic!("a peer of a known AS")
        };
        let mut script = Self::new(own_as);
        script.apply(vec![config]);
        let connection = script.establish(2, octets::open_of(2, asn.0));
        (script, connection)
    }

    pub(crate) fn apply(&mut self, peers: Vec<PeerConfig>) {
        self.speaker.apply(Config { peers }, self.now);
        self.settle();
    }

    pub(crate) fn originate(&mut self, prefixes: &[&str]) {
        let routes = prefixes.iter().map(|text| text.parse().unwrap());
        self.speaker
            .originate(routes.map(Origination::new).collect(), self.now);
        self.settle();
    }

    /// A connection of peer `number` to us.
    pub(crate) fn connect(&mut self, number: u8) -> ConnectionId {
        let remote = IpAddr::from([192, 0, 2, number]);
        let connection = self
            .speaker
            .accept(remote, ip("192.0.2.1"), self.now)
            .unwrap();
        self.settle();
        connection
    }

    /// A session of peer `number` that opens with `open`; what is said on the way is not kept.
    pub(crate) fn establish(&mut self, number: u8, open: OpenFields) -> ConnectionId {
        let connection = self.connect(number);
        self.say(connection, &open.message());
        self.say(connection, &octets::keepalive());
        let address = IpAddr::from([192, 0, 2, number]);
        assert_eq!(
            self.status_of(address).state,
            State::Established,
            "{:?}",
            self.end(connection)
        );
        self.heard(connection);
        connection
    }

    /// The peer says octets.
    pub(crate) fn say(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.speaker
            .handle(Input::Received { connection, bytes }, self.now);
        self.settle();
    }

    /// The transport fails.
    pub(crate) fn lose(&mut self, connection: ConnectionId) {
        let reason = "connection reset".to_owned();
        self.speaker
            .handle(Input::Closed { connection, reason }, self.now);
        self.settle();
    }

    /// A connection that the speaker asked for is made.
    pub(crate) fn connected(&mut self) -> ConnectionId {
        let connection = self.dials.remove(0).connection;
        let local = ip("192.0.2.1");
        self.speaker
            .handle(Input::Connected { connection, local }, self.now);
        self.settle();
        connection
    }

    /// A connection that the speaker asked for is refused.
    pub(crate) fn refused(&mut self) {
        let connection = self.dials.remove(0).connection;
        let reason = "connection refused".to_owned();
        self.speaker
            .handle(Input::ConnectFailed { connection, reason }, self.now);
        self.settle();
    }

    /// Time passes, each timer at its moment.
    pub(crate) fn wait(&mut self, time: Duration) {
        let target = self.now + time;
        while let Some(next) = self.speaker.poll_timeout().filter(|next| *next <= target) {
            self.now = next.max(self.now);
            self.speaker.handle_timeout(self.now);
            self.settle();
        }
        self.now = target;
    }

    /// Time passes until the speaker dials; how long that took.
    pub(crate) fn time_to_dial(&mut self) -> Duration {
        let start = self.now;
        while self.dials.is_empty() {
            self.now = self.speaker.poll_timeout().expect("a timer runs");
            self.speaker.handle_timeout(self.now);
            self.settle();
        }
        self.now - start
    }

    /// Carries out what the speaker asks for.
    pub(crate) fn settle(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Connect(dial) => self.dials.push(dial),
                Output::Send { connection, bytes } => {
                    self.unread
                        .entry(connection)
                        .or_default()
                        .extend(&bytes[..]);
                    if !self.clogged {
                        let octets = bytes.len();
                        let written = Input::Written { connection, octets };
                        self.speaker.handle(written, self.now);
                    }
                }
                Output::Close { connection } => {
                    self.dials.retain(|dial| dial.connection != connection);
                    self.closed.insert(connection);
                }
                Output::Event(event) => {
                    if event == Event::NextHopsChanged {
                        self.resolve();
                    }
                    self.events.push(event);
                }
            }
        }
    }

    /// Says which next hops resolve.
    pub(crate) fn resolve(&mut self) {
        let tracked = self.speaker.tracked_next_hops();
        let answer = |address: IpAddr| {
            let resolves = !self.unresolved.contains(&address);
            (address, resolves.then_some(10))
        };
        self.speaker
            .set_next_hops(tracked.into_iter().map(answer).collect());
    }

    /// What the speaker has said on a connection since this was last asked.
    pub(crate) fn heard(&mut self, connection: ConnectionId) -> Vec<Message> {
        let bytes = self.unread.remove(&connection).unwrap_or_default();
        let (mut rest, mut messages) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            assert_eq!(rest[..16], [0xff; 16]);
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let (message, next) = rest.split_at(length);
            messages.push(Message {
                kind: message[18],
                body: message[19..].to_vec(),
            });
            rest = next;
        }
        messages
    }

    pub(crate) fn is_closed(&self, connection: ConnectionId) -> bool {
        self.closed.contains(&connection)
    }

    /// How the connection stands; forgets what was said on it before.
    pub(crate) fn end(&mut self, connection: ConnectionId) -> End {
        let heard = self.heard(connection);
        let notified = heard
            .iter()
            .filter(|message| message.kind == octets::NOTIFICATION)
            .collect::<Vec<_>>();
        assert!(notified.len() < 2, "{notified:?}");
        match (notified.first(), self.is_closed(connection)) {
            (Some(Message { body, .. }), true) => End::Notified(body[0], body[1], body[2..].into()),
            (Some(message), false) => panic!("not closed after {message:?}"),
            (None, true) => End::Silent,
            (None, false) => End::Open,
        }
    }

    /// The status of the only peer.
    pub(crate) fn status(&self) -> PeerStatus {
        self.speaker.peers(self.now).remove(0)
    }

    pub(crate) fn status_of(&self, address: IpAddr) -> PeerStatus {
        let mut peers = self.speaker.peers(self.now).into_iter();
        peers.find(|peer| peer.address == address).unwrap()
    }

    /// `prefix via next hops` of every route for the kernel.
    pub(crate) fn learned(&mut self) -> Vec<String> {
        let routes = self.speaker.learned();
        let line = |route: &margay_bgp::LearnedRoute| {
            let hops: Vec<_> = route.paths.iter().map(|p| p.next_hop.to_string()).collect();
            format!("{} via {}", route.prefix, hops.join(", "))
        };
        routes.iter().map(line).collect()
    }

    pub(crate) fn routes(&self) -> Vec<RouteStatus> {
        self.speaker.routes(&RouteFilter::default())
    }

    /// Why the only path of the only route is used or not.
    pub(crate) fn reason(&self) -> String {
        self.routes()[0].paths[0].reason.clone()
    }
}

impl End {
    pub(crate) fn notified(code: u8, subcode: u8) -> Self {
        Self::Notified(code, subcode, Vec::new())
    }

    /// Code and subcode, whatever the data.
    pub(crate) fn code(&self) -> Option<(u8, u8)> {
        match self {
            Self::Notified(code, subcode, _) => Some((*code, *subcode)),
            _ => None,
        }
    }
}
