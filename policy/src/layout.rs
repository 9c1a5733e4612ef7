//! The fixed part of the table: base chains, dispatch, source check, masquerade.
//!
//! ```text
//! forward ── pod link in? jump source ── established? accept ── invalid at a pod link? drop ── jump from ── goto to
//! input   ── pod link in? jump source ── established? accept ── neighbour discovery? accept ── pod link in? jump from
//! from    ── iifname vmap @from_pod ── a pod link without element? drop ── a pod's address from elsewhere? drop
//! to      ── oifname vmap @to_pod   ── a pod link without element? drop ── a pod's address by another way? drop
//! postrouting ── from a nat pool, not towards a pool or a node: snat
//! ```
//! Both chains run after DNAT and before SNAT, so policies see backends and the original clients. Packets that the node
//! itself sends to its pods (probes) pass through neither. Why each line is where it is: `reference/policy.md` has the
//! measurements; in short, an established packet meets the source check and one rule.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::ranges::Ranges;
use crate::table::{
    Action, Base, Chain, ChainKind, ChainName, ChainPolicy, CtState, Element, Family, Hook, Ifname,
    KeyType, LinkPattern, Match, POD_LINK_PREFIX, Rule, Set, SetName, Side, Table, Verdict,
    VerdictMap, VmapKey,
};

/// Set of (link, same link): a pod that talks to itself through a service.
pub(crate) const HAIRPIN: &str = "self";

const SOURCES_V4: &str = "src4";
const SOURCES_V6: &str = "src6";
/// Addresses of the pods here, whatever their links are called.
const PODS_V4: &str = "pods4";
const PODS_V6: &str = "pods6";
const FROM_POD: &str = "from_pod";
const TO_POD: &str = "to_pod";

/// `NF_IP_PRI_FILTER`.
const FILTER: i32 = 0;
/// `NF_IP_PRI_NAT_SRC`.
const SRCNAT: i32 = 100;

/// ICMPv6 types 133 to 137, neighbour discovery (RFC 4861): without them a pod loses its gateway.
const NEIGHBOUR_DISCOVERY: Match = Match::Icmpv6Type(133, 137);

/// Whose packets leave the cluster with the node's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Pools with `natOutgoing`.
    pub sources: BTreeSet<IpNetwork>,
    /// Destinations that see the pod's own address: all pools, and what pools exclude.
    pub exempt: BTreeSet<IpNetwork>,
    /// Addresses of the cluster's nodes; exempt as well.
    pub nodes: BTreeSet<IpAddr>,
    /// This node's IPv4 address; without one, IPv4 is left alone.
    pub v4: Option<Ipv4Addr>,
    /// This node's IPv6 address; without one, IPv6 is left alone.
    pub v6: Option<Ipv6Addr>,
}

/// A local pod as the dispatch sees it.
pub(crate) struct Port<'a> {
    pub(crate) link: Ifname,
    pub(crate) addresses: &'a BTreeSet<IpAddr>,
    /// What becomes of new flows from it.
    pub(crate) from: Verdict,
    /// What becomes of new flows to it.
    pub(crate) to: Verdict,
}

/// The table with these pods attached and no class yet.
pub(crate) fn table<'a>(
    ports: impl IntoIterator<Item = Port<'a>>,
    masquerade: &Masquerade,
) -> Table {
    let mut table = Table::default();
    add_dispatch(&mut table, ports);
    add_source_check(&mut table);
    add_forward(&mut table);
    add_input(&mut table);
    add_masquerade(&mut table, masquerade);
    table
}

fn add_dispatch<'a>(table: &mut Table, ports: impl IntoIterator<Item = Port<'a>>) {
    let mut from = VerdictMap::new(KeyType::Ifname);
    let mut to = VerdictMap::new(KeyType::Ifname);
    let (mut sources4, mut sources6, mut hairpin) = (Vec::new(), Vec::new(), Vec::new());
    let mut addresses = BTreeSet::new();
    for port in ports {
        addresses.extend(port.addresses);
        from.elements.insert(Element::Ifname(port.link), port.from);
        to.elements.insert(Element::Ifname(port.link), port.to);
        hairpin.push(Element::IfnameIfname(port.link, port.link));
        for address in port.addresses {
            match address {
                IpAddr::V4(address) => sources4.push(Element::IfnameIpv4(port.link, *address)),
                IpAddr::V6(address) => sources6.push(Element::IfnameIpv6(port.link, *address)),
            }
        }
    }
    table.add_map(SetName::new(FROM_POD), from);
    table.add_map(SetName::new(TO_POD), to);
    table.add_set(
        SetName::new(HAIRPIN),
        Set::hash(KeyType::IfnameIfname).with(hairpin),
    );
    table.add_set(
        SetName::new(SOURCES_V4),
        Set::hash(KeyType::IfnameIpv4).with(sources4),
    );
    table.add_set(
        SetName::new(SOURCES_V6),
        Set::hash(KeyType::IfnameIpv6).with(sources6),
    );
    add_pods(table, &addresses);
    // The last two rules: a link that somebody renamed is in no map, but its pod's rules hold.
    let dispatch = |key, map, unknown, side| {
        chain([
            Rule::new(
                [],
                [Action::Vmap {
                    key,
                    map: SetName::new(map),
                }],
            ),
            dropped([unknown]),
            dropped([of_pod(side, Family::V4, PODS_V4)]),
            dropped([of_pod(side, Family::V6, PODS_V6)]),
        ])
    };
    table.add_chain(
        ChainName::new("from"),
        dispatch(VmapKey::Iifname, FROM_POD, from_pod(), Side::Source),
    );
    table.add_chain(
        ChainName::new("to"),
        dispatch(VmapKey::Oifname, TO_POD, to_pod(), Side::Destination),
    );
}

fn add_pods(table: &mut Table, addresses: &BTreeSet<IpAddr>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(Element::Ipv4(*address)),
            IpAddr::V6(address) => v6.push(Element::Ipv6(*address)),
        }
    }
    table.add_set(SetName::new(PODS_V4), Set::hash(KeyType::Ipv4).with(v4));
    table.add_set(SetName::new(PODS_V6), Set::hash(KeyType::Ipv6).with(v6));
}

fn of_pod(side: Side, family: Family, set: &'static str) -> Match {
    Match::AddressIn {
        side,
        family,
        set: SetName::new(set),
        inverted: false,
    }
}

/// Who may send from which pod link. Neighbour discovery may also come from `::` and link-local addresses.
fn add_source_check(table: &mut Table) {
    let discovery = |network| {
        let source = Match::AddressIs {
            side: Side::Source,
            network,
        };
        verdict([source, NEIGHBOUR_DISCOVERY], Verdict::Return)
    };
    let unspecified = IpNetwork::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let link_local = IpNetwork::new(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
    let mut rules = vec![
        verdict(
            [Match::LinkSourceIn(Family::V4, SetName::new(SOURCES_V4))],
            Verdict::Return,
        ),
        verdict(
            [Match::LinkSourceIn(Family::V6, SetName::new(SOURCES_V6))],
            Verdict::Return,
        ),
        discovery(unspecified),
    ];
    rules.extend(link_local.map(discovery));
    rules.push(dropped([]));
    table.add_chain(ChainName::new("source"), Chain { base: None, rules });
}

fn add_forward(table: &mut Table) {
    let rules = [
        verdict([from_pod()], jump("source")),
        verdict(
            [Match::CtState(CtState::ESTABLISHED | CtState::RELATED)],
            Verdict::Accept,
        ),
        dropped([from_pod(), Match::CtState(CtState::INVALID)]),
        dropped([to_pod(), Match::CtState(CtState::INVALID)]),
        verdict([], jump("from")),
        verdict([], Verdict::Goto(ChainName::new("to"))),
    ];
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: FILTER,
        policy: ChainPolicy::Accept,
    };
    table.add_chain(
        ChainName::new("forward"),
        Chain {
            base: Some(base),
            ..chain(rules)
        },
    );
}

/// A pod's own node is a destination like others: only what the node sends to the pod is exempt from policy.
fn add_input(table: &mut Table) {
    let rules = [
        verdict([from_pod()], jump("source")),
        verdict(
            [Match::CtState(CtState::ESTABLISHED | CtState::RELATED)],
            Verdict::Accept,
        ),
        verdict([NEIGHBOUR_DISCOVERY], Verdict::Accept),
        dropped([from_pod(), Match::CtState(CtState::INVALID)]),
        verdict([from_pod()], jump("from")),
    ];
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Input,
        priority: FILTER,
        policy: ChainPolicy::Accept,
    };
    table.add_chain(
        ChainName::new("input"),
        Chain {
            base: Some(base),
            ..chain(rules)
        },
    );
}

/// Only what came in by a pod link is translated: what the node itself sends has no input link here.
fn add_masquerade(table: &mut Table, masquerade: &Masquerade) {
    let sources = Ranges::union_of(&masquerade.sources);
    let exempt = Ranges::union_of(&masquerade.exempt);
    let nodes: Vec<_> = masquerade
        .nodes
        .iter()
        .map(|address| IpNetwork::from(*address))
        .collect();
    let nodes = Ranges::union_of(&nodes);
    let mut rules = Vec::new();
    for (family, key, address) in [
        (Family::V4, KeyType::Ipv4, masquerade.v4.map(IpAddr::V4)),
        (Family::V6, KeyType::Ipv6, masquerade.v6.map(IpAddr::V6)),
    ] {
        let name = |stem| {
            SetName::new(format!(
                "{stem}{}",
                if family == Family::V4 { 4 } else { 6 }
            ))
        };
        for (stem, ranges) in [("nat", &sources), ("pools", &exempt), ("nodes", &nodes)] {
            table.add_set(name(stem), Set::interval(key).with(ranges.elements(family)));
        }
        let Some(address) = address else { continue };
        let test = |side, stem, inverted| Match::AddressIn {
            side,
            family,
            set: name(stem),
            inverted,
        };
        let matches = [
            from_pod(),
            test(Side::Source, "nat", false),
            test(Side::Destination, "pools", true),
            test(Side::Destination, "nodes", true),
        ];
        rules.push(Rule::new(matches, [Action::Snat(address)]));
    }
    let base = Base {
        kind: ChainKind::Nat,
        hook: Hook::Postrouting,
        priority: SRCNAT,
        policy: ChainPolicy::Accept,
    };
    table.add_chain(
        ChainName::new("postrouting"),
        Chain {
            base: Some(base),
            ..chain(rules)
        },
    );
}

fn pod_links() -> LinkPattern {
    LinkPattern::StartsWith(Ifname::try_from(POD_LINK_PREFIX).expect("the prefix is three letters"))
}

fn from_pod() -> Match {
    Match::Iifname(pod_links())
}

fn to_pod() -> Match {
    Match::Oifname(pod_links())
}

fn jump(chain: &str) -> Verdict {
    Verdict::Jump(ChainName::new(chain))
}

fn chain(rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain {
        base: None,
        rules: rules.into_iter().collect(),
    }
}

fn verdict(matches: impl IntoIterator<Item = Match>, verdict: Verdict) -> Rule {
    Rule::new(matches, [Action::Verdict(verdict)])
}

fn dropped(matches: impl IntoIterator<Item = Match>) -> Rule {
    Rule::new(matches, [Action::Counter, Action::Verdict(Verdict::Drop)])
}
