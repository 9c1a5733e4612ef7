//! The policies that select a pod, one direction at a time, compiled to a *class*: chains that every pod with the same
//! rules shares.
//!
//! ```text
//! i_<hash>        single ports by rules, or by one lookup when there are more than PLAIN_PORTS of them
//!   i_<hash>_q<n>   peers of a group of ports      (only with the lookup)
//!   i_<hash>_rest   ranges, any-port peers, hairpin, default deny     (only with the lookup)
//! ```
//! The hash is over the class's own text, so equal names are equal content, and a change of policy is a new class beside
//! the old one. "Allowed" is `accept` for ingress; for egress it is `return`, back to the base chain, which goes on to the
//! peer's ingress. Nothing inside a class jumps: the kernel validates every jump again and again.

mod allowed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::{Group, digit, short_hash};
use crate::layout;
use crate::policy::{Allow, Direction, PeerSelector};
use crate::ranges::Ranges;
use crate::table::{
    Action, Chain, ChainName, Element, Family, KeyType, Match, Protocol, Rule, Set, SetName, Side,
    Verdict, VerdictMap, VmapKey,
};
use allowed::{Allowed, Peers, PortKey};

/// Up to this many single ports are cheaper as rules than as a map lookup.
const PLAIN_PORTS: usize = 4;

/// Chains that implement one distinct set of rules for one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Where a pod's map element goes.
    pub(crate) entry: ChainName,
    pub(crate) chains: BTreeMap<ChainName, Arc<Chain>>,
    pub(crate) maps: BTreeMap<SetName, VerdictMap>,
    /// Interval sets of `ipBlock`s, named by content.
    pub(crate) blocks: BTreeMap<SetName, Set>,
    /// Sets it needs whose elements follow the pods.
    pub(crate) groups: BTreeSet<Group>,
}

/// What a pod's policies make of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiled {
    /// Everything passes: no policy selects the pod this way, or one allows everything.
    Open,
    Class(Class),
}

/// Numbers of the subject's named port.
pub(crate) type NamedPorts<'a> = &'a dyn Fn(Protocol, &str) -> BTreeSet<u16>;

/// Compiles what the isolating policies of one pod allow together.
///
/// `named` resolves named ports of ingress rules in the pod itself; those of egress rules are resolved per destination.
pub(crate) fn compile<'a>(
    direction: Direction,
    policies: impl IntoIterator<Item = &'a [Allow]>,
    named: NamedPorts<'_>,
) -> Compiled {
    let mut allowed = Allowed::default();
    for allow in policies.into_iter().flatten() {
        allowed.add(direction, allow, named);
    }
    if allowed
        .by_port
        .get(&PortKey::Any)
        .is_some_and(|peers| peers.anyone)
    {
        return Compiled::Open;
    }
    // The name is a hash of the text, and the text contains the name: hash the text with a fixed name in its place.
    let draft = Builder::new(direction, "class").build(&allowed);
    let prefix = match direction {
        Direction::Ingress => 'i',
        Direction::Egress => 'e',
    };
    let name = format!("{prefix}_{}", short_hash(&draft.text()));
    Compiled::Class(Builder::new(direction, &name).build(&allowed))
}

struct Builder {
    direction: Direction,
    class: Class,
}

impl Builder {
    fn new(direction: Direction, name: &str) -> Self {
        let class = Class {
            entry: ChainName::new(name),
            chains: BTreeMap::new(),
            maps: BTreeMap::new(),
            blocks: BTreeMap::new(),
            groups: BTreeSet::new(),
        };
        Self { direction, class }
    }

    fn build(mut self, allowed: &Allowed) -> Class {
        let entry = self.class.entry.clone();
        if allowed.single_ports().count() <= PLAIN_PORTS {
            let mut rules = self.port_rules(allowed, |_| true);
            rules.extend(self.tail());
            self.add_chain(entry, rules);
            return self.class;
        }
        let rest = ChainName::new(format!("{entry}_rest"));
        let map = self.port_map(allowed, &rest);
        let lookup = Rule::new(
            [],
            [Action::Vmap {
                key: VmapKey::ProtoPort,
                map,
            }],
        );
        self.add_chain(entry, vec![lookup, goto(&rest)]);
        let mut rules = self.port_rules(
            allowed,
            |key| !matches!(key, PortKey::Numbers(_, range) if range.is_single()),
        );
        rules.extend(self.tail());
        self.add_chain(rest, rules);
        self.class
    }

    /// One lookup for all single ports: each leads to the peers that are allowed there, ports with equal peers to one chain.
    fn port_map(&mut self, allowed: &Allowed, rest: &ChainName) -> SetName {
        let mut groups: BTreeMap<&Peers, Verdict> = BTreeMap::new();
        let mut map = VerdictMap::new(KeyType::ProtoPort);
        for (protocol, port, peers) in allowed.single_ports() {
            let next = groups.len() + 1;
            let verdict = groups
                .entry(peers)
                .or_insert_with(|| self.peer_chain(next, peers, rest));
            map.elements
                .insert(Element::ProtoPort(protocol, port), verdict.clone());
        }
        let name = SetName::new(format!("{}_ports", self.class.entry));
        self.class.maps.insert(name.clone(), map);
        name
    }

    fn peer_chain(&mut self, number: usize, peers: &Peers, rest: &ChainName) -> Verdict {
        if peers.anyone {
            return self.allowed();
        }
        let name = ChainName::new(format!("{}_q{number}", self.class.entry));
        let tests = self.peer_tests(peers);
        let mut rules: Vec<_> = tests
            .into_iter()
            .map(|test| Rule::new([test], [Action::Verdict(self.allowed())]))
            .collect();
        rules.push(goto(rest));
        self.add_chain(name.clone(), rules);
        Verdict::Goto(name)
    }

    fn port_rules(&mut self, allowed: &Allowed, wanted: impl Fn(&PortKey) -> bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (key, peers) in allowed.by_port.iter().filter(|(key, _)| wanted(key)) {
            let tests = match key {
                PortKey::Named(protocol, name) => self.service_tests(*protocol, name, peers),
                PortKey::Numbers(protocol, range) => {
                    self.prefixed(&[Match::L4proto(*protocol), Match::Dport(*range)], peers)
                }
                PortKey::Protocol(protocol) => self.prefixed(&[Match::L4proto(*protocol)], peers),
                PortKey::Any => self.prefixed(&[], peers),
            };
            rules.extend(
                tests
                    .into_iter()
                    .map(|tests| Rule::new(tests, [Action::Verdict(self.allowed())])),
            );
        }
        rules
    }

    /// The cheap test first: a port is compared in two instructions, a peer is looked up.
    fn prefixed(&mut self, port: &[Match], peers: &Peers) -> Vec<Vec<Match>> {
        if peers.anyone {
            return vec![port.to_vec()];
        }
        let tests = self.peer_tests(peers);
        tests
            .into_iter()
            .map(|test| port.iter().cloned().chain([test]).collect())
            .collect()
    }

    fn peer_tests(&mut self, peers: &Peers) -> Vec<Match> {
        let blocks = Family::BOTH.map(|family| self.block_test(family, &peers.blocks));
        let mut tests: Vec<_> = blocks.into_iter().flatten().collect();
        for selector in &peers.selectors {
            let group = Group::Pods(selector.clone());
            for family in Family::BOTH {
                let (side, set) = (self.peer_side(), group.set_name(family));
                tests.push(Match::AddressIn {
                    side,
                    family,
                    set,
                    inverted: false,
                });
            }
            self.class.groups.insert(group);
        }
        tests
    }

    /// The test for one family's part of a block; none when it has no such part.
    fn block_test(&mut self, family: Family, blocks: &Ranges) -> Option<Match> {
        let side = self.peer_side();
        match blocks.as_network(family) {
            Some(network) if network.prefix() == 0 => Some(Match::Nfproto(family)),
            Some(network) => Some(Match::AddressIs { side, network }),
            None if blocks.of(family).is_empty() => None,
            None => {
                let set = self.add_block(family, blocks);
                Some(Match::AddressIn {
                    side,
                    family,
                    set,
                    inverted: false,
                })
            }
        }
    }

    fn add_block(&mut self, family: Family, blocks: &Ranges) -> SetName {
        let key = match family {
            Family::V4 => KeyType::Ipv4,
            Family::V6 => KeyType::Ipv6,
        };
        let set = Set::interval(key).with(blocks.elements(family));
        let text: Vec<_> = set.elements.iter().map(ToString::to_string).collect();
        let name = SetName::new(format!(
            "c{}_{}",
            digit(family),
            short_hash(&text.join(","))
        ));
        self.class.blocks.insert(name.clone(), set);
        name
    }

    /// A named port to selected pods is one lookup; to a block it is the block and any pod that serves the port.
    fn service_tests(&mut self, protocol: Protocol, name: &str, peers: &Peers) -> Vec<Vec<Match>> {
        if peers.anyone {
            return self
                .service_in(PeerSelector::everyone(), protocol, name)
                .map(|test| vec![test])
                .to_vec();
        }
        let mut tests = Vec::new();
        let blocks = Family::BOTH.map(|family| self.block_test(family, &peers.blocks));
        if blocks.iter().any(Option::is_some) {
            let services = self.service_in(PeerSelector::everyone(), protocol, name);
            let both = blocks.into_iter().zip(services);
            tests.extend(both.filter_map(|(block, service)| Some(vec![block?, service])));
        }
        for selector in &peers.selectors {
            tests.extend(
                self.service_in(selector.clone(), protocol, name)
                    .map(|test| vec![test]),
            );
        }
        tests
    }

    fn service_in(&mut self, selector: PeerSelector, protocol: Protocol, name: &str) -> [Match; 2] {
        let group = Group::Service(selector, protocol, name.to_owned());
        let tests = Family::BOTH.map(|family| Match::ServiceIn(family, group.set_name(family)));
        self.class.groups.insert(group);
        tests
    }

    /// A pod may always reach itself through a service; everything else that was not allowed is dropped.
    fn tail(&self) -> [Rule; 2] {
        [
            Rule::new(
                [Match::LinkPairIn(SetName::new(layout::HAIRPIN))],
                [Action::Verdict(self.allowed())],
            ),
            Rule::new([], [Action::Counter, Action::Verdict(Verdict::Drop)]),
        ]
    }

    fn allowed(&self) -> Verdict {
        match self.direction {
            Direction::Ingress => Verdict::Accept,
            Direction::Egress => Verdict::Return,
        }
    }

    fn peer_side(&self) -> Side {
        match self.direction {
            Direction::Ingress => Side::Source,
            Direction::Egress => Side::Destination,
        }
    }

    fn add_chain(&mut self, name: ChainName, rules: Vec<Rule>) {
        self.class
            .chains
            .insert(name, Arc::new(Chain { base: None, rules }));
    }
}

impl Class {
    /// All its text; the sets that it names by content need not be repeated.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for (name, map) in &self.maps {
            lines.extend(
                map.elements
                    .iter()
                    .map(|(key, verdict)| format!("{name}: {key} : {verdict}")),
            );
        }
        for (name, chain) in &self.chains {
            lines.extend(chain.rules.iter().map(|rule| format!("{name}: {rule}")));
        }
        lines.join("\n")
    }
}

fn goto(chain: &ChainName) -> Rule {
    Rule::new([], [Action::Verdict(Verdict::Goto(chain.clone()))])
}
