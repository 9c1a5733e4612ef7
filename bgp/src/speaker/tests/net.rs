//! A network of speakers: connections deliver in order, but which one delivers next is the test's choice.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;

/// All nodes and what is under way between them.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    /// In order per connection end.
    wires: BTreeMap<(usize, ConnectionId), VecDeque<Parcel>>,
    /// Connection attempts.
    dials: Vec<(usize, Dial)>,
    ends: BTreeMap<(usize, ConnectionId), (usize, ConnectionId)>,
    seed: Option<u64>,
    /// Nodes that hear and say nothing, as after a power loss.
    pub(super) dead: Vec<usize>,
}

/// One speaker and what it reported.
pub(super) struct Node {
    pub(super) speaker: Speaker,
    pub(super) address: IpAddr,
    pub(super) events: Vec<Event>,
    /// Whether next hops resolve.
    pub(super) resolves: bool,
}

#[derive(Debug)]
enum Parcel {
    Bytes(Vec<u8>),
    Connected,
    Closed,
}

impl Net {
    #[expect(
        clippy::disallowed_methods,
        reason = "a time to begin at; it is moved by hand from here on"
    )]
    pub(super) fn new(configs: Vec<SpeakerConfig>) -> Self {
        let now = Instant::now();
        let node = |config: SpeakerConfig| Node {
            address: config.router_id.into(),
            speaker: Speaker::new(config, now),
            events: Vec::new(),
            resolves: true,
        };
        Self {
            now,
            nodes: configs.into_iter().map(node).collect(),
            wires: BTreeMap::new(),
            dials: Vec::new(),
            ends: BTreeMap::new(),
            seed: None,
            dead: Vec::new(),
        }
    }

    /// Deliveries happen in an order that depends on `seed`.
    pub(super) fn shuffled(mut self, seed: u64) -> Self {
        self.seed = Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        self
    }

    pub(super) fn apply(&mut self, node: usize, peers: Vec<PeerConfig>) {
        self.nodes[node].speaker.apply(Config { peers }, self.now);
    }

    pub(super) fn originate(&mut self, node: usize, prefixes: &[&str]) {
        self.nodes[node].speaker.originate(own(prefixes), self.now);
    }

    /// Delivers until nothing is under way.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            self.collect();
            if !self.deliver_one() {
                return;
            }
        }
        panic!("the network never settles");
    }

    /// Lets time pass, with every timer at its moment.
    pub(super) fn advance(&mut self, time: Duration) {
        let target = self.now + time;
        self.settle();
        loop {
            let alive = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(number, _)| !self.dead.contains(number));
            let next = alive
                .filter_map(|(_, node)| node.speaker.poll_timeout())
                .min();
            let Some(next) = next.filter(|next| *next <= target) else {
                break;
            };
            self.now = next.max(self.now);
            for number in 0..self.nodes.len() {
                if !self.dead.contains(&number) {
                    self.nodes[number].speaker.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = target;
    }

    /// The node's process is gone and a new one begins; its connections are reset.
    pub(super) fn replace(&mut self, number: usize, config: SpeakerConfig) {
        self.cut(number);
        let node = &mut self.nodes[number];
        node.speaker = Speaker::new(config, self.now);
        node.events.clear();
    }

    /// Every connection of the node fails, on the other side only.
    pub(super) fn cut(&mut self, number: usize) {
        let own: Vec<_> = self
            .ends
            .keys()
            .filter(|(node, _)| *node == number)
            .copied()
            .collect();
        for end in own {
            let other = self.ends.remove(&end).unwrap();
            self.ends.remove(&other);
            self.wires.remove(&end);
            self.wires
                .entry(other)
                .or_default()
                .push_back(Parcel::Closed);
        }
        self.dials.retain(|(node, _)| *node != number);
    }

    /// The node's process is gone and a new one begins, and nobody is told of the old connections.
    pub(super) fn replace_unseen(&mut self, number: usize, config: SpeakerConfig) {
        self.ends.clear();
        self.wires.clear();
        self.nodes[number].speaker = Speaker::new(config, self.now);
    }

    /// Both sides of every connection see it fail.
    pub(super) fn cut_both(&mut self) {
        for (node, connection) in std::mem::take(&mut self.ends).into_keys() {
            self.wires
                .entry((node, connection))
                .or_default()
                .push_back(Parcel::Closed);
        }
    }

    fn collect(&mut self) {
        for number in 0..self.nodes.len() {
            if self.dead.contains(&number) {
                continue;
            }
            while let Some(output) = self.nodes[number].speaker.poll_output() {
                self.carry_out(number, output);
            }
        }
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        match output {
            Output::Connect(dial) => self.dials.push((number, dial)),
            Output::Send { connection, bytes } => {
                if let Some(other) = self.ends.get(&(number, connection)) {
                    self.wires
                        .entry(*other)
                        .or_default()
                        .push_back(Parcel::Bytes(bytes.to_vec()));
                }
                let written = Input::Written {
                    connection,
                    octets: bytes.len(),
                };
                self.nodes[number].speaker.handle(written, self.now);
            }
            Output::Close { connection } => {
                self.dials
                    .retain(|(node, dial)| (*node, dial.connection) != (number, connection));
                if let Some(other) = self.ends.remove(&(number, connection)) {
                    self.ends.remove(&other);
                    self.wires.remove(&(number, connection));
                    self.wires
                        .entry(other)
                        .or_default()
                        .push_back(Parcel::Closed);
                }
            }
            Output::Event(event) => {
                let node = &mut self.nodes[number];
                if event == Event::NextHopsChanged {
                    let metric = node.resolves.then_some(10);
                    let tracked = node.speaker.tracked_next_hops();
                    node.speaker.set_next_hops(
                        tracked
                            .into_iter()
                            .map(|address| (address, metric))
                            .collect(),
                    );
                }
                node.events.push(event);
            }
        }
    }

    fn deliver_one(&mut self) -> bool {
        self.wires.retain(|_, wire| !wire.is_empty());
        let ready: Vec<_> = self.wires.keys().copied().collect();
        let choices = ready.len() + self.dials.len();
        if choices == 0 {
            return false;
        }
        let choice = self.choose(choices);
        if let Some(end) = ready.get(choice) {
            let parcel = self
                .wires
                .get_mut(end)
                .and_then(VecDeque::pop_front)
                .unwrap();
            self.hand_over(*end, parcel);
        } else {
            let (number, dial) = self.dials.remove(choice - ready.len());
            self.connect(number, dial);
        }
        true
    }

    fn hand_over(&mut self, (number, connection): (usize, ConnectionId), parcel: Parcel) {
        if self.dead.contains(&number) {
            return;
        }
        let local = self.nodes[number].address;
        let input = match &parcel {
            Parcel::Bytes(bytes) => Input::Received { connection, bytes },
            Parcel::Connected => Input::Connected { connection, local },
            Parcel::Closed => Input::Closed {
                connection,
                reason: "connection reset".into(),
            },
        };
        self.nodes[number].speaker.handle(input, self.now);
    }

    fn connect(&mut self, number: usize, dial: Dial) {
        let own = (number, dial.connection);
        let target = self
            .nodes
            .iter()
            .position(|node| node.address == dial.remote.ip());
        let target = target.filter(|target| !self.dead.contains(target));
        let remote = self.nodes[number].address;
        let accepted = target.and_then(|target| {
            let node = &mut self.nodes[target];
            Some((
                target,
                node.speaker
                    .accept(remote, dial.remote.ip(), self.now)
                    .ok()?,
            ))
        });
        match accepted {
            Some(other) => {
                self.ends.insert(own, other);
                self.ends.insert(other, own);
                self.wires
                    .entry(own)
                    .or_default()
                    .push_back(Parcel::Connected);
            }
            None => {
                let (connection, reason) = (dial.connection, "connection refused".to_owned());
                self.nodes[number]
                    .speaker
                    .handle(Input::ConnectFailed { connection, reason }, self.now);
            }
        }
    }

    fn choose(&mut self, choices: usize) -> usize {
        let Some(seed) = &mut self.seed else { return 0 };
        // xorshift64: any order will do, if it is the same one for the same seed.
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed % choices as u64) as usize
    }

    pub(super) fn states(&self, node: usize) -> Vec<State> {
        self.nodes[node]
            .speaker
            .peers(self.now)
            .iter()
            .map(|peer| peer.state)
            .collect()
    }

    pub(super) fn all_up(&self) -> bool {
        (0..self.nodes.len()).all(|node| {
            self.states(node)
                .iter()
                .all(|state| *state == State::Established)
        })
    }

    /// Connections that exist, each counted once.
    pub(super) fn connections(&self) -> usize {
        self.ends.len() / 2
    }

    /// `prefix via next hops` of every learned route.
    pub(super) fn learned(&mut self, node: usize) -> Vec<String> {
        let routes = self.nodes[node].speaker.learned();
        let line = |route: &LearnedRoute| {
            let hops: Vec<_> = route
                .paths
                .iter()
                .map(|path| path.next_hop.to_string())
                .collect();
            format!("{} via {}", route.prefix, hops.join(", "))
        };
        routes.iter().map(line).collect()
    }
}
