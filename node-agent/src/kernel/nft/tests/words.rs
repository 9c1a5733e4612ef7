//! Words for writing tables short.

use margay_policy::Table;
use margay_policy::table::{
    Action, Base, Chain, ChainKind, ChainName, ChainPolicy, Element, Family, Hook, Ifname, KeyType,
    LinkPattern, Match, PortRange, Protocol, Rule, SetName, Side, Verdict, VerdictMap, VmapKey,
};

pub(super) fn link(name: &str) -> Ifname {
    Ifname::try_from(name).unwrap()
}

pub(super) fn pod(name: &str) -> Element {
    Element::Ifname(link(name))
}

pub(super) fn v4(text: &str) -> Element {
    Element::Ipv4(text.parse().unwrap())
}

pub(super) fn v6(text: &str) -> Element {
    Element::Ipv6(text.parse().unwrap())
}

pub(super) fn v4_range(first: &str, last: &str) -> Element {
    Element::Ipv4Range(first.parse().unwrap(), last.parse().unwrap())
}

pub(super) fn v6_range(first: &str, last: &str) -> Element {
    Element::Ipv6Range(first.parse().unwrap(), last.parse().unwrap())
}

pub(super) fn set(name: &str) -> SetName {
    SetName::new(name)
}

pub(super) fn goto(chain: &str) -> Verdict {
    Verdict::Goto(ChainName::new(chain))
}

pub(super) fn jump(chain: &str) -> Verdict {
    Verdict::Jump(ChainName::new(chain))
}

pub(super) fn from(family: Family, name: &str) -> Match {
    let side = Side::Source;
    Match::AddressIn {
        side,
        family,
        set: set(name),
        inverted: false,
    }
}

pub(super) fn not_to(family: Family, name: &str) -> Match {
    let side = Side::Destination;
    Match::AddressIn {
        side,
        family,
        set: set(name),
        inverted: true,
    }
}

pub(super) fn source(text: &str) -> Match {
    Match::AddressIs {
        side: Side::Source,
        network: text.parse().unwrap(),
    }
}

pub(super) fn destination(text: &str) -> Match {
    Match::AddressIs {
        side: Side::Destination,
        network: text.parse().unwrap(),
    }
}

pub(super) fn ports(protocol: Protocol, first: u16, last: u16) -> [Match; 2] {
    [
        Match::L4proto(protocol),
        Match::Dport(PortRange { first, last }),
    ]
}

pub(super) fn pod_link() -> LinkPattern {
    LinkPattern::StartsWith(link("mgy"))
}

pub(super) fn when(matches: impl IntoIterator<Item = Match>, verdict: Verdict) -> Rule {
    Rule::new(matches, [Action::Verdict(verdict)])
}

pub(super) fn accept(one: Match) -> Rule {
    when([one], Verdict::Accept)
}

pub(super) fn leave(one: Match) -> Rule {
    when([one], Verdict::Return)
}

pub(super) fn always(verdict: Verdict) -> Rule {
    when([], verdict)
}

pub(super) fn deny(matches: impl IntoIterator<Item = Match>) -> Rule {
    Rule::new(matches, [Action::Counter, Action::Verdict(Verdict::Drop)])
}

pub(super) fn vmap(key: VmapKey, map: &str) -> Rule {
    Rule::new([], [Action::Vmap { key, map: set(map) }])
}

pub(super) fn snat(one: Match, to: &str) -> Rule {
    Rule::new([one], [Action::Snat(to.parse().unwrap())])
}

pub(super) fn base(kind: ChainKind, hook: Hook, priority: i32) -> Base {
    Base {
        kind,
        hook,
        priority,
        policy: ChainPolicy::Accept,
    }
}

pub(super) fn add_base(table: &mut Table, name: &str, base: Base, rules: impl Into<Vec<Rule>>) {
    let chain = Chain {
        base: Some(base),
        rules: rules.into(),
    };
    table.add_chain(ChainName::new(name), chain);
}

pub(super) fn add_chain(table: &mut Table, name: &str, rules: impl Into<Vec<Rule>>) {
    let chain = Chain {
        base: None,
        rules: rules.into(),
    };
    table.add_chain(ChainName::new(name), chain);
}

pub(super) fn add_map<const N: usize>(
    table: &mut Table,
    name: &str,
    key: KeyType,
    elements: [(Element, Verdict); N],
) {
    table.add_map(
        set(name),
        VerdictMap {
            key,
            elements: elements.into(),
        },
    );
}
