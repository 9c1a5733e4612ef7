use super::*;
use crate::kernel::{nft::ForeignDrop, survey::SurveyedLink};
use crate::{speaker::Session, watch::Outage};

fn link(name: &str, mtu: u32, address: &str) -> SurveyedLink {
    SurveyedLink {
        name: name.to_owned(),
        alias: "demo/a1".to_owned(),
        mtu,
        running: true,
        addresses: address.parse().into_iter().collect(),
        ..SurveyedLink::default()
    }
}

/// A node with two uplinks and a pod, with which nothing is wrong.
fn healthy() -> Facts {
    let mut facts = Facts {
        release: "6.12.0-rc1".to_owned(),
        ..Facts::default()
    };
    facts.kernel.links = vec![
        link("eth0", 1500, "192.0.2.1"),
        link("eth1", 9000, "192.0.2.129"),
        link("mgy0123", 1500, ""),
    ];
    for (key, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "2"),
        ("net/ipv4/conf/eth0/rp_filter", "1"),
        ("net/ipv4/conf/eth0/forwarding", "1"),
        ("net/netfilter/nf_conntrack_count", "79"),
        ("net/netfilter/nf_conntrack_max", "100"),
        ("net/ipv4/neigh/default/gc_thresh3", "1024"),
        ("net/ipv4/fib_multipath_hash_policy", "0"),
    ] {
        facts.sysctls.insert(key.to_owned(), value.to_owned());
    }
    facts
}

/// Checks, objects and texts of what is not ok.
fn wrong(facts: &Facts) -> Vec<String> {
    let found = diagnose(facts).into_iter().filter(|f| f.severity != "ok");
    found
        .map(|f| {
            assert!(!f.remedy.is_empty(), "{f:?}");
            format!("{} {}: {}: {}", f.severity, f.check, f.object, f.what)
        })
        .collect()
}

#[test]
fn a_healthy_node_has_an_ok_for_every_check() {
    let findings = diagnose(&healthy());
    assert_eq!(wrong(&healthy()), Vec::<String>::new());
    assert_eq!(findings.len(), CHECKS.len());
}

type Fault = (fn(&mut Facts), &'static str);

/// What is done to a healthy node, and how the finding begins.
const FAULTS: [Fault; 15] = [
    (
        |f| f.not_serving = Some("no IPPool is active".into()),
        "error agent: agent: no IPPool is active",
    ),
    (
        |f| {
            f.outages.push(Outage {
                kind: "NetworkPolicy".into(),
                refused: true,
                error: "Unauthorized".into(),
            });
        },
        "error watches: watch of NetworkPolicy",
    ),
    (
        |f| f.missing_files.push("/opt/cni/bin/margay".into()),
        "error cni-files: /opt/cni/bin/margay",
    ),
    (
        |f| set(f, "net/ipv4/ip_forward", "0"),
        "error forwarding: net/ipv4/ip_forward",
    ),
    (
        |f| set(f, "net/ipv4/conf/mgy0123/forwarding", "0"),
        "error forwarding: link mgy0123",
    ),
    (
        |f| set(f, "net/ipv6/conf/all/forwarding", "0"),
        "error forwarding: net/ipv6/conf/all/forwarding",
    ),
    (
        |f| {
            f.foreign.push(ForeignDrop {
                family: "ip",
                table: "filter".into(),
                chain: "FORWARD".into(),
            })
        },
        "error foreign-drop: chain ip filter FORWARD",
    ),
    (
        |f| set(f, "net/ipv4/conf/all/rp_filter", "0"),
        "warning reverse-path: link eth0",
    ),
    (
        |f| f.listener = Some("port 179 is in use by bird (pid 7)".into()),
        "error bgp-port: BGP port: port 179 is in use by bird",
    ),
    (
        |f| {
            f.sessions
                .push(session("peer's AS 65101 differs from configured 65999"))
        },
        "error session: rack1-tor 192.0.2.9: the session is Idle: peer's AS",
    ),
    (
        |f| f.kernel.links[0].mtu = 1400,
        "warning pod-mtu: pod demo/a1: its MTU is 1500, that of uplink eth0 is 1400",
    ),
    (
        |f| set(f, "net/netfilter/nf_conntrack_count", "80"),
        "warning conntrack: conntrack: 80 of 100",
    ),
    (
        |f| f.kernel.neighbours.0 = 1000,
        "warning neighbours: net/ipv4/neigh/default/gc_thresh3: 1000",
    ),
    (
        |f| f.kernel.multipath = true,
        "warning multipath: net/ipv4/fib_multipath_hash_policy",
    ),
    (
        |f| f.release = "6.1.0-44-amd64".into(),
        "warning kernel: kernel: Linux 6.1.0-44-amd64",
    ),
];

#[test]
fn each_fault_is_named_once_and_alone() {
    for (break_it, expected) in FAULTS {
        let mut facts = healthy();
        break_it(&mut facts);
        let found = wrong(&facts);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn strict_filtering_matters_only_between_uplinks() {
    let mut facts = healthy();
    set(&mut facts, "net/ipv4/conf/all/rp_filter", "1");
    assert_eq!(wrong(&facts).len(), 2);
    facts.kernel.links.remove(1);
    assert_eq!(wrong(&facts), Vec::<String>::new());
}

#[test]
fn a_session_s_remedy_follows_its_reason() {
    assert!(remedy_of("peer's AS 1 differs from configured 2").contains("remoteAS"));
    assert!(remedy_of("peer sent: connection rejected (6/5)").contains("neighbour"));
    assert!(remedy_of("no answer within 5s").contains("firewall"));
}

fn set(facts: &mut Facts, key: &str, value: &str) {
    facts.sysctls.insert(key.to_owned(), value.to_owned());
}

fn session(reason: &str) -> Session {
    Session {
        name: "rack1-tor".to_owned(),
        address: "192.0.2.9".parse().unwrap(),
        state: State::Idle,
        reason: reason.to_owned(),
        bfd: None,
    }
}
