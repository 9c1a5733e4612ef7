//! Who reaches whom, asked by packets: from every place to every address, port and protocol at once, in a fraction of a second.
//!
//! ```text
//!   place ── SYN, datagram, INIT, each with a number ──►  place: a raw socket sees the number arrive, and from whom
//!     ▲                                                     │
//!     └── SYN-ACK or RST, datagram, INIT ACK, same number ──┘
//! ```
//! - **Open** means that the number arrived at the right place from the sender's own address, and that its answer came back.
//!   **Closed** means that it did not arrive, which is seen at the receiver and not guessed from silence at the sender.
//! - Every number is sent once, and every pass has source ports of its own: conntrack knows none of its flows.
//! - A pass ends when all that shall open has opened, and never sooner than [`GRACE`] after its last packet. A number that was
//!   judged closed and arrives at any later time is kept: [`Matrix::late`] tells.
//! - One thread does it all: nobody serves while no pass runs, but the kernel's listeners.

mod packet;
mod place;

pub(crate) use packet::Protocol;
pub(crate) use place::{Place, inside};

use anyhow::{Context, Result};
use packet::Kind;
use place::Arrival;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// How long a packet may take that must not arrive. Paths of the lab take far below a millisecond; what comes later is kept as late.
const GRACE: Duration = Duration::from_millis(100);
/// So many packets are sent before their arrivals are looked at, so that no buffer overflows.
const BURST: usize = 64;
/// Source ports of passes; no server and no node uses them.
const SOURCE_PORTS: std::ops::Range<u16> = 10_300..30_000;
/// The first number; what bears another is none of ours.
const FIRST: u32 = 0x4d47_0000;

/// How a packet differs from the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Plain,
    /// A datagram with so many bytes more than its number.
    Padded(usize),
    /// A segment whose checksum is wrong; not for UDP, whose checksum is the kernel's.
    Damaged,
}

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shot {
    /// The sending place, by its order.
    pub(crate) from: usize,
    /// Where it goes: an address of a place, or of a service.
    pub(crate) to: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) shape: Shape,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// The place that got it, the source address it saw, and the port it came to.
    pub(crate) arrived: Option<(usize, IpAddr, u16)>,
    /// Whether the sender heard back.
    pub(crate) answered: bool,
}

/// Places that probe each other.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    places: Vec<Place>,
    sent: Vec<Sent>,
    passes: u16,
    late: Vec<u32>,
}

/// A number that was sent.
#[derive(Debug)]
struct Sent {
    shot: Shot,
    source_port: u16,
    fate: Fate,
    judged_closed: bool,
}

/// The numbers of a pass.
#[derive(Debug)]
pub(crate) struct Pass {
    numbers: std::ops::Range<usize>,
}

impl Matrix {
    /// Adds a place; its order is returned.
    pub(crate) fn add(&mut self, place: Place) -> usize {
        self.places.push(place);
        self.places.len() - 1
    }

    /// Takes away the last places, so that at most this many remain.
    pub(crate) fn truncate(&mut self, places: usize) {
        self.places.truncate(places);
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// How many packets were sent in all.
    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Whether the right place got it from the right address and, where it serves the port, answered.
    pub(crate) fn is_open(&self, shot: &Shot, fate: &Fate) -> bool {
        let Some((place, source, port)) = fate.arrived else {
            return false;
        };
        let right = self.places[place].addresses().contains(&shot.to.ip())
            && self.places[shot.from].addresses().contains(&source)
            && port == shot.to.port();
        right && (fate.answered || !self.places[place].serves(port))
    }

    /// Sends all shots and returns what became of them, in their order. It waits until all are
    /// `settled`, at most for `limit`.
    ///
    /// # Errors
    /// If a packet cannot be sent.
    pub(crate) fn pass(
        &mut self,
        shots: &[Shot],
        limit: Duration,
        settled: impl Fn(&Self, usize, &Fate) -> bool,
    ) -> Result<(Pass, Vec<Fate>)> {
        let first = self.sent.len();
        let source_port =
            SOURCE_PORTS.start + self.passes % (SOURCE_PORTS.end - SOURCE_PORTS.start);
        self.passes = self.passes.wrapping_add(1);
        let mut clients = BTreeMap::new();
        for burst in shots.chunks(BURST) {
            for shot in burst {
                self.send(*shot, source_port, &mut clients)?;
            }
            self.receive()?;
        }
        let sent = Instant::now();
        loop {
            self.receive()?;
            let waited = sent.elapsed();
            let mut numbers = self.sent[first..].iter().enumerate();
            let all = numbers.all(|(at, sent)| settled(self, at, &sent.fate));
            if waited >= GRACE && (all || waited >= limit) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let fates = self.sent[first..].iter().map(|sent| sent.fate).collect();
        let numbers = first..self.sent.len();
        Ok((Pass { numbers }, fates))
    }

    /// Keeps that these of a pass (by their order) are closed: from now on, an arrival is a late one.
    pub(crate) fn judge_closed(&mut self, pass: &Pass, closed: impl Fn(usize) -> bool) {
        for (at, sent) in self.sent[pass.numbers.clone()].iter_mut().enumerate() {
            sent.judged_closed |= closed(at) && sent.fate.arrived.is_none();
        }
    }

    /// Packets that arrived after they had been judged closed.
    pub(crate) fn late(&mut self) -> Result<Vec<String>> {
        self.receive()?;
        let late = self.late.iter().map(|number| {
            let sent = &self.sent[self.index(*number).unwrap_or_default()];
            let name = self.places[sent.shot.from].name();
            format!("{} {name} -> {}", sent.shot.protocol.name(), sent.shot.to)
        });
        Ok(late.collect())
    }

    fn send(
        &mut self,
        shot: Shot,
        source_port: u16,
        clients: &mut BTreeMap<(usize, bool), UdpSocket>,
    ) -> Result<()> {
        let Shot {
            from,
            to,
            protocol,
            shape,
        } = shot;
        let number = FIRST + u32::try_from(self.sent.len()).context("too many packets")?;
        let v4 = to.is_ipv4();
        let place = &self.places[from];
        let source = place
            .address(v4)
            .with_context(|| format!("{} has no address of the family of {to}", place.name()))?;
        match protocol {
            Protocol::Tcp | Protocol::Sctp => {
                let mut segment = match protocol {
                    Protocol::Tcp => {
                        packet::syn(number, (source, source_port), (to.ip(), to.port()))
                    }
                    _ => packet::init(number, source_port, to.port()),
                };
                if shape == Shape::Damaged {
                    packet::damage(protocol, &mut segment);
                }
                place.send(source, protocol, to.ip(), &segment)?;
            }
            Protocol::Udp => {
                let padding = match shape {
                    Shape::Padded(bytes) => bytes,
                    _ => 0,
                };
                let client = match clients.entry((from, v4)) {
                    Entry::Occupied(client) => client.into_mut(),
                    Entry::Vacant(none) => {
                        none.insert(place.client(SocketAddr::new(source, source_port))?)
                    }
                };
                client
                    .send_to(&packet::question(number, padding), to)
                    .with_context(|| format!("sending UDP from {} to {to}", place.name()))?;
            }
        }
        self.sent.push(Sent {
            shot,
            source_port,
            fate: Fate::default(),
            judged_closed: false,
        });
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut arrivals = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            place.receive(|arrival| arrivals.push((at, arrival)))?;
        }
        for (at, arrival) in arrivals {
            self.note(at, &arrival);
        }
        Ok(())
    }

    fn note(&mut self, place: usize, arrival: &Arrival) {
        let (Kind::Request(number) | Kind::Answer(number)) = arrival.packet.kind;
        let Some(index) = self.index(number) else {
            return;
        };
        let sent = &mut self.sent[index];
        if sent.shot.protocol != arrival.protocol {
            return;
        }
        match arrival.packet.kind {
            // A masquerade may change the source port; the number tells whose it is.
            Kind::Request(_) => {
                let port = arrival.packet.destination_port;
                sent.fate.arrived = Some((place, arrival.source, port));
                if sent.judged_closed {
                    self.late.push(number);
                }
            }
            Kind::Answer(_) => {
                sent.fate.answered |=
                    place == sent.shot.from && arrival.packet.destination_port == sent.source_port;
            }
        }
    }

    fn index(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(FIRST)?).ok()?;
        (index < self.sent.len()).then_some(index)
    }
}
