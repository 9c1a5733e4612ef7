//! Tables in the shape of the real one.

use std::net::Ipv4Addr;

use margay_policy::Table;
use margay_policy::table::{
    ChainKind, ChainName, CtState, Element, Family, Hook, KeyType, LinkPattern, Match, Protocol,
    Set, Verdict, VmapKey,
};

use super::words::*;

/// Every kind of set, match and action.
pub(super) fn layout() -> Table {
    let mut table = Table::default();
    add_sets(&mut table);
    add_interval_sets(&mut table);
    add_classes(&mut table);
    add_dispatch(&mut table);
    add_hooks(&mut table);
    add_chain(&mut table, "unused", []);
    table
}

/// As after a policy change, a relabelled pod, a deleted pod and a new one.
pub(super) fn changed() -> Table {
    let mut table = layout();
    let peers = [v4("10.3.0.3"), v4("10.3.0.4")];
    table.add_set(set("p4_nsy"), Set::hash(KeyType::Ipv4).with(peers));
    let all = v4_range("0.0.0.0", "255.255.255.255");
    table.add_set(set("c4"), Set::interval(KeyType::Ipv4).with([all]));
    table.add_set(
        set("p4_new"),
        Set::hash(KeyType::Ipv4).with([v4("10.5.0.2")]),
    );
    table.sets.remove(&set("empty"));
    for chain in ["i_77d0", "i_77d0_np", "unused"] {
        table.chains.remove(&ChainName::new(chain));
    }
    table.maps.remove(&set("i_77d0_ports"));
    let class = [
        accept(from(Family::V4, "p4_new")),
        always(goto("i_77d0_rest")),
    ];
    add_chain(&mut table, "i_99", class);
    let pods = [(pod("mgya"), goto("i_99")), (pod("mgyd"), goto("i_99"))];
    add_map(&mut table, "to_pod", KeyType::Ifname, pods);
    let swapped = [
        deny([Match::Iifname(pod_link())]),
        vmap(VmapKey::Iifname, "from_pod"),
    ];
    add_chain(&mut table, "from", swapped);
    table
}

/// With a name that stands for something else, which no kernel can change in place.
pub(super) fn redeclared() -> Table {
    let mut table = changed();
    table.add_set(set("ports"), Set::hash(KeyType::Ipv6).with([v6("fd00::9")]));
    table
}

fn add_sets(table: &mut Table) {
    let (a, long) = (link("mgya"), link("mgy0123456789ab"));
    let (one, dns) = (Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 7, 0, 10));
    let (one6, dns6) = ("fd00:1::2".parse().unwrap(), "fd00:7::10".parse().unwrap());
    let hashes = [
        ("p4_nsy", vec![v4("10.3.0.2"), v4("10.3.0.3")]),
        ("p6_nsy", vec![v6("fd00:3::2")]),
        ("links", vec![Element::Ifname(a), Element::Ifname(long)]),
        ("src4", vec![Element::IfnameIpv4(a, one)]),
        ("src6", vec![Element::IfnameIpv6(a, one6)]),
        (
            "self",
            vec![
                Element::IfnameIfname(a, a),
                Element::IfnameIfname(long, long),
            ],
        ),
        ("ports", vec![Element::ProtoPort(Protocol::Sctp, 9)]),
        (
            "named4",
            vec![Element::Ipv4ProtoPort(dns, Protocol::Udp, 53)],
        ),
        (
            "named6",
            vec![Element::Ipv6ProtoPort(dns6, Protocol::Tcp, 53)],
        ),
    ];
    for (name, elements) in hashes {
        let hash = Set::hash(elements[0].key_type()).noted("pods of \"y\"");
        table.add_set(set(name), hash.with(elements));
    }
    table.add_set(set("empty"), Set::hash(KeyType::Ipv4));
}

fn add_interval_sets(table: &mut Table) {
    let fours = [
        v4_range("0.0.0.0", "0.0.0.255"),
        v4_range("192.0.2.0", "192.0.2.63"),
        v4_range("192.0.2.128", "192.0.2.128"),
        v4_range("240.0.0.0", "255.255.255.255"),
    ];
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let sixes = [v6_range("fd00::", "fd00::ff"), v6_range("ff00::", last)];
    table.add_set(set("c4"), Set::interval(KeyType::Ipv4).with(fours));
    table.add_set(set("c6"), Set::interval(KeyType::Ipv6).with(sixes));
}

fn add_classes(table: &mut Table) {
    let tcp = |port| Element::ProtoPort(Protocol::Tcp, port);
    let by_port = [(tcp(80), goto("i_77d0_q1")), (tcp(443), goto("i_77d0_q1"))];
    add_map(table, "i_77d0_ports", KeyType::ProtoPort, by_port);
    let admin = [
        when([from(Family::V4, "empty")], Verdict::Drop),
        always(goto("i_77d0_np")),
    ];
    add_chain(table, "i_77d0", admin);
    let np = [
        vmap(VmapKey::ProtoPort, "i_77d0_ports"),
        always(goto("i_77d0_rest")),
    ];
    add_chain(table, "i_77d0_np", np);
    let peers = [
        accept(from(Family::V4, "p4_nsy")),
        accept(from(Family::V6, "p6_nsy")),
        accept(not_to(Family::V6, "c6")),
        always(goto("i_77d0_rest")),
    ];
    add_chain(table, "i_77d0_q1", peers);
    let [tcp, range] = ports(Protocol::Tcp, 8080, 8090);
    let [udp, dns] = ports(Protocol::Udp, 53, 53);
    let rest = [
        when([tcp, range, from(Family::V4, "c4")], Verdict::Accept),
        accept(source("10.0.0.0/9")),
        accept(destination("10.2.0.0/16")),
        accept(source("fd00:2::/61")),
        when([destination("192.0.2.1/32"), udp, dns], Verdict::Accept),
        accept(source("fd00::1/128")),
        accept(Match::LinkPairIn(set("self"))),
        deny([]),
    ];
    add_chain(table, "i_77d0_rest", rest);
    let egress = [
        leave(Match::ServiceIn(Family::V4, set("named4"))),
        leave(Match::ServiceIn(Family::V6, set("named6"))),
        leave(Match::L4proto(Protocol::Sctp)),
        deny([]),
    ];
    add_chain(table, "e_3f9c", egress);
}

fn add_dispatch(table: &mut Table) {
    let egress = [
        (pod("mgya"), Verdict::Return),
        (pod("mgyb"), goto("e_3f9c")),
    ];
    add_map(table, "from_pod", KeyType::Ifname, egress);
    let ingress = [
        (pod("mgya"), jump("i_77d0")),
        (pod("mgyb"), Verdict::Accept),
        (pod("mgyc"), Verdict::Drop),
    ];
    add_map(table, "to_pod", KeyType::Ifname, ingress);
    let from = [
        vmap(VmapKey::Iifname, "from_pod"),
        deny([Match::Iifname(pod_link())]),
    ];
    add_chain(table, "from", from);
    let to = [
        vmap(VmapKey::Oifname, "to_pod"),
        deny([Match::Oifname(pod_link())]),
    ];
    add_chain(table, "to", to);
    let discovery = [source("fe80::/10"), Match::Icmpv6Type(133, 137)];
    let check = [
        leave(Match::LinkSourceIn(Family::V4, set("src4"))),
        leave(Match::LinkSourceIn(Family::V6, set("src6"))),
        when(discovery, Verdict::Return),
        deny([]),
    ];
    add_chain(table, "source", check);
}

fn add_hooks(table: &mut Table) {
    let established = Match::CtState(CtState::ESTABLISHED | CtState::RELATED);
    let invalid = [Match::Oifname(pod_link()), Match::CtState(CtState::INVALID)];
    let forward = [
        when([Match::Iifname(pod_link())], jump("source")),
        accept(established.clone()),
        when(invalid, Verdict::Drop),
        always(jump("from")),
        always(goto("to")),
    ];
    add_base(
        table,
        "forward",
        base(ChainKind::Filter, Hook::Forward, 0),
        forward,
    );
    let input = [
        accept(established),
        accept(Match::Iifname(LinkPattern::Is(link("eth0")))),
        when([Match::Iifname(pod_link())], jump("from")),
    ];
    add_base(
        table,
        "input",
        base(ChainKind::Filter, Hook::Input, -1),
        input,
    );
    let outgoing = [
        snat(source("10.1.0.0/16"), "192.0.2.1"),
        snat(Match::Nfproto(Family::V6), "2001:db8::1"),
    ];
    add_base(
        table,
        "outgoing",
        base(ChainKind::Nat, Hook::Postrouting, 99),
        outgoing,
    );
}
