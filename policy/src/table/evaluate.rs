//! Walks a packet through a table, as the kernel would: the compiled form judged in memory.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::rule::{Action, CtState, LinkPattern, Match, Side, Verdict, VmapKey};
use super::set::{Element, Family, Ifname, KeyType, Protocol, Set};
use super::{Chain, ChainKind, ChainName, ChainPolicy, Hook, SetName, Table};

/// What the kernel knows about a packet when a hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Link it came in by; none when this node sent it.
    pub input: Option<Ifname>,
    /// Link it leaves by; none in the input hook.
    pub output: Option<Ifname>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, after DNAT.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Bytes 2 and 3 of the transport header: the destination port where the protocol has one.
    pub port: u16,
    /// Byte 0 of the transport header: the type of an ICMP packet.
    pub icmp_type: u8,
    /// Connection tracking state.
    pub state: CtState,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Accept,
    /// It goes on with this source address.
    Snat(IpAddr),
    /// It is gone.
    Drop,
}

/// How a chain ended.
enum End {
    Accept,
    Drop,
    Snat(IpAddr),
    /// Its end, or `return`.
    Continue,
}

/// Jumps deeper than this are refused by the kernel (`NFT_JUMP_STACK_SIZE`).
const JUMP_STACK_SIZE: usize = 16;

impl Table {
    /// The fate of a packet at one hook: its base chains by priority, until one drops.
    ///
    /// A reference to something that is not in the table drops, as does a jump stack deeper than the kernel's: such a
    /// table cannot be loaded (see [`Table::check`]).
    pub fn evaluate(&self, hook: Hook, packet: &Packet) -> Outcome {
        let mut bases: Vec<_> = self
            .chains
            .values()
            .filter_map(|chain| {
                chain
                    .base
                    .filter(|base| base.hook == hook)
                    .map(|base| (base, chain))
            })
            .collect();
        bases.sort_by_key(|(base, _)| base.priority);
        let mut outcome = Outcome::Accept;
        for (base, chain) in bases {
            if base.kind == ChainKind::Nat
                && !packet.state.intersects(CtState::NEW | CtState::RELATED)
            {
                continue;
            }
            match self.walk(chain, packet, 0) {
                End::Drop => return Outcome::Drop,
                End::Continue if base.policy == ChainPolicy::Drop => return Outcome::Drop,
                End::Snat(address) => outcome = Outcome::Snat(address),
                End::Accept | End::Continue => {}
            }
        }
        outcome
    }

    fn walk(&self, chain: &Chain, packet: &Packet, depth: usize) -> End {
        for rule in &chain.rules {
            if !rule
                .matches
                .iter()
                .all(|condition| self.holds(condition, packet))
            {
                continue;
            }
            for action in &rule.actions {
                let verdict = match action {
                    Action::Counter => continue,
                    Action::Snat(address) => return End::Snat(*address),
                    Action::Verdict(verdict) => verdict,
                    Action::Vmap { key, map } => match self.look_up(*key, map, packet) {
                        Some(verdict) => verdict,
                        None => break,
                    },
                };
                match self.follow(verdict, packet, depth) {
                    (End::Continue, Flow::Next) => {}
                    (end, _) => return end,
                }
            }
        }
        End::Continue
    }

    fn follow(&self, verdict: &Verdict, packet: &Packet, depth: usize) -> (End, Flow) {
        match verdict {
            Verdict::Accept => (End::Accept, Flow::Stop),
            Verdict::Drop => (End::Drop, Flow::Stop),
            Verdict::Return => (End::Continue, Flow::Stop),
            Verdict::Goto(target) => (self.enter(target, packet, depth), Flow::Stop),
            Verdict::Jump(_) if depth + 1 >= JUMP_STACK_SIZE => (End::Drop, Flow::Stop),
            Verdict::Jump(target) => (self.enter(target, packet, depth + 1), Flow::Next),
        }
    }

    fn enter(&self, target: &ChainName, packet: &Packet, depth: usize) -> End {
        self.chains
            .get(target)
            .map_or(End::Drop, |chain| self.walk(chain, packet, depth))
    }

    fn look_up(&self, key: VmapKey, map: &SetName, packet: &Packet) -> Option<&Verdict> {
        let element = match key {
            VmapKey::Iifname => Element::Ifname(packet.input?),
            VmapKey::Oifname => Element::Ifname(packet.output?),
            VmapKey::ProtoPort => {
                Element::ProtoPort(Protocol::from_number(packet.protocol)?, packet.port)
            }
        };
        self.maps.get(map)?.elements.get(&element)
    }

    fn holds(&self, condition: &Match, packet: &Packet) -> bool {
        match condition {
            Match::Iifname(pattern) => pattern.fits(packet.input),
            Match::Oifname(pattern) => pattern.fits(packet.output),
            Match::LinkPairIn(set) => match (packet.input, packet.output) {
                (Some(input), Some(output)) => self.has(set, Element::IfnameIfname(input, output)),
                _ => false,
            },
            Match::LinkSourceIn(family, set) => match (packet.input, packet.source) {
                (Some(link), IpAddr::V4(source)) if *family == Family::V4 => {
                    self.has(set, Element::IfnameIpv4(link, source))
                }
                (Some(link), IpAddr::V6(source)) if *family == Family::V6 => {
                    self.has(set, Element::IfnameIpv6(link, source))
                }
                _ => false,
            },
            Match::AddressIn {
                side,
                family,
                set,
                inverted,
            } => {
                let address = packet.address(*side);
                Family::from(address) == *family && self.has_address(set, address) != *inverted
            }
            Match::AddressIs { side, network } => within(*network, packet.address(*side)),
            Match::ServiceIn(family, set) => {
                let Some(protocol) = Protocol::from_number(packet.protocol) else {
                    return false;
                };
                Family::from(packet.destination) == *family
                    && self.has(
                        set,
                        match packet.destination {
                            IpAddr::V4(address) => {
                                Element::Ipv4ProtoPort(address, protocol, packet.port)
                            }
                            IpAddr::V6(address) => {
                                Element::Ipv6ProtoPort(address, protocol, packet.port)
                            }
                        },
                    )
            }
            Match::Nfproto(family) => Family::from(packet.source) == *family,
            Match::L4proto(protocol) => packet.protocol == protocol.number(),
            Match::Dport(range) => range.contains(packet.port),
            Match::CtState(states) => packet.state.intersects(*states),
            Match::Icmpv6Type(first, last) => {
                packet.protocol == 58 && (*first..=*last).contains(&packet.icmp_type)
            }
        }
    }

    fn has(&self, set: &SetName, element: Element) -> bool {
        self.sets
            .get(set)
            .is_some_and(|set| set.elements.contains(&element))
    }

    fn has_address(&self, set: &SetName, address: IpAddr) -> bool {
        self.sets.get(set).is_some_and(|set| set.covers(address))
    }
}

/// What a chain does after a verdict that decided nothing.
enum Flow {
    Next,
    Stop,
}

impl Set {
    /// Whether a set of addresses or of ranges of them holds this one.
    pub fn covers(&self, address: IpAddr) -> bool {
        if !matches!(self.key, KeyType::Ipv4 | KeyType::Ipv6) {
            return false;
        }
        if !self.interval {
            return self.elements.contains(&Element::from(address));
        }
        self.elements
            .iter()
            .any(|element| match (element, address) {
                (Element::Ipv4Range(first, last), IpAddr::V4(address)) => {
                    (*first..=*last).contains(&address)
                }
                (Element::Ipv6Range(first, last), IpAddr::V6(address)) => {
                    (*first..=*last).contains(&address)
                }
                _ => false,
            })
    }
}

impl From<IpAddr> for Element {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl Packet {
    fn address(&self, side: Side) -> IpAddr {
        match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        }
    }
}

impl LinkPattern {
    fn fits(self, link: Option<Ifname>) -> bool {
        match (self, link) {
            (Self::Is(name), Some(link)) => name == link,
            (Self::StartsWith(prefix), Some(link)) => link.as_str().starts_with(prefix.as_str()),
            (_, None) => false,
        }
    }
}

fn within(network: IpNetwork, address: IpAddr) -> bool {
    network.contains(address)
}
