//! Rules in effect: what is used, what is told, and that no session ends when they change.

use super::*;
use crate::policy::{
    Change, CommunityChange, Condition, NextHopChange, Otherwise, PeerCondition, RouteSource, Rule,
    Verdict,
};
use crate::status::PathStatus;
use crate::why::Explanation;

fn when(conditions: Vec<Condition>, changes: Vec<Change>, verdict: Verdict) -> Rule {
    Rule {
        conditions,
        changes,
        verdict,
        ..Rule::default()
    }
}

fn within(text: &str) -> Condition {
    Condition::Prefix(vec![PrefixRange::or_longer(prefix(text))])
}

/// The only path of a prefix in a view.
fn path(net: &Net, node: usize, view: View, text: &str) -> Option<PathStatus> {
    let lookup = Some(Lookup::Exactly(prefix(text)));
    let mut routes = net.nodes[node]
        .speaker
        .routes(&RouteFilter { view, lookup });
    let mut paths = routes.pop()?.paths;
    assert_eq!(paths.len(), 1, "{text}");
    paths.pop()
}

fn sessions(net: &Net, node: usize) -> Vec<u64> {
    let peers = net.nodes[node].speaker.peers(net.now);
    peers.iter().map(|peer| peer.established_count).collect()
}

/// Node 2 of [`pair`] with an import policy.
fn importing(policy: Policy) -> PeerConfig {
    PeerConfig {
        import: policy,
        ..peer(2, 1, 65001)
    }
}

/// Node 1 of [`pair`] with an export policy.
fn exporting(policy: Policy) -> PeerConfig {
    PeerConfig {
        export: policy,
        ..peer(1, 2, 65002)
    }
}

#[test]
fn import_rules_decide_and_change_both_families_and_no_session_ends() {
    let mut net = pair(65001, 65002);
    net.originate(
        0,
        &["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/64", "fd00:2::/64"],
    );
    net.advance(SECOND * 5);
    assert_eq!(net.learned(1).len(), 4);
    let before = sessions(&net, 1);
    let only_one = vec![
        when(vec![within("10.2.0.0/16")], vec![], Verdict::Reject),
        when(vec![within("fd00:2::/64")], vec![], Verdict::Reject),
        when(vec![], vec![Change::LocalPref(200)], Verdict::Continue),
        when(
            vec![within("fd00::/16")],
            vec![Change::Communities(CommunityChange::Add(vec![
                "65002:7".parse().unwrap(),
                "rt:65002:7".parse().unwrap(),
                "65002:1:2".parse().unwrap(),
            ]))],
            Verdict::Accept,
        ),
    ];
    net.apply(1, vec![importing(Policy::new(only_one, Otherwise::Accept))]);
    net.settle();
    assert_eq!(
        net.learned(1),
        ["10.1.0.0/16 via 192.0.2.1", "fd00:1::/64 via 2001:db8::1"]
    );
    let v4 = path(&net, 1, View::Best, "10.1.0.0/16").unwrap();
    let v6 = path(&net, 1, View::Best, "fd00:1::/64").unwrap();
    assert_eq!((v4.local_pref, v6.local_pref), (Some(200), Some(200)));
    assert!(v4.communities.is_empty());
    assert_eq!(v6.communities, ["65002:7"]);
    assert_eq!(v6.large_communities, ["65002:1:2"]);
    // What was rejected is still there, so that the next change needs nobody's help.
    net.apply(1, vec![importing(Policy::accept_all())]);
    net.settle();
    assert_eq!(net.learned(1).len(), 4);
    assert_eq!(sessions(&net, 1), before);
    assert_eq!(net.connections(), 1);
}

#[test]
fn an_import_rule_that_names_a_next_hop_makes_it_the_one_to_resolve() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    let to = NextHopChange::Address(Some([192, 0, 2, 77].into()), None);
    let rewrite = when(vec![], vec![Change::NextHop(to)], Verdict::Accept);
    net.apply(
        1,
        vec![importing(Policy::new([rewrite], Otherwise::Reject))],
    );
    net.advance(SECOND * 5);
    assert_eq!(
        net.learned(1),
        ["10.1.0.0/16 via 192.0.2.77", "fd00:1::/64 via 2001:db8::1"]
    );
    let tracked = |net: &Net| net.nodes[1].speaker.tracked_next_hops();
    assert_eq!(tracked(&net), [ip("192.0.2.77"), ip("2001:db8::1")]);
    net.apply(1, vec![importing(Policy::accept_all())]);
    net.settle();
    assert_eq!(tracked(&net), [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!(net.learned(1)[0], "10.1.0.0/16 via 192.0.2.1");
    // A rule that names this node itself makes no loop.
    let own = NextHopChange::Address(Some([192, 0, 2, 2].into()), None);
    let wrong = when(vec![], vec![Change::NextHop(own)], Verdict::Accept);
    net.apply(1, vec![importing(Policy::new([wrong], Otherwise::Reject))]);
    net.settle();
    assert_eq!(net.learned(1), ["fd00:1::/64 via 2001:db8::1"]);
    net.originate(0, &[]);
    net.settle();
    assert!(tracked(&net).is_empty());
}

#[test]
fn export_rules_change_what_is_told() {
    let mut net = pair(65001, 65002);
    net.originate(
        0,
        &["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/64", "fd00:2::/64"],
    );
    net.advance(SECOND * 5);
    let before = sessions(&net, 0);
    let rules = vec![
        when(vec![within("10.2.0.0/16")], vec![], Verdict::Reject),
        when(vec![within("fd00:2::/64")], vec![], Verdict::Reject),
        when(
            vec![Condition::Path(
                crate::policy::PathPattern::new("^$").unwrap(),
            )],
            vec![Change::Prepend(None, 2), Change::Med(50)],
            Verdict::Continue,
        ),
        when(
            vec![Condition::PathLength(2, 2)],
            vec![Change::NextHop(NextHopChange::Address(
                Some([192, 0, 2, 99].into()),
                Some("2001:db8::99".parse().unwrap()),
            ))],
            Verdict::Accept,
        ),
    ];
    net.apply(0, vec![exporting(Policy::new(rules, Otherwise::AcceptOwn))]);
    net.settle();
    assert_eq!(
        net.learned(1),
        ["10.1.0.0/16 via 192.0.2.99", "fd00:1::/64 via 2001:db8::99"]
    );
    for text in ["10.1.0.0/16", "fd00:1::/64"] {
        let heard = path(&net, 1, View::Best, text).unwrap();
        assert_eq!(
            (heard.as_path.as_str(), heard.med),
            ("65001 65001 65001", Some(50))
        );
    }
    assert_eq!(sessions(&net, 0), before);
}

#[test]
fn export_rules_tell_kinds_of_routes_apart() {
    let mut net = pair(65001, 65002);
    let of = |text, source| Origination {
        source,
        ..Origination::new(prefix(text))
    };
    let routes = |second| {
        vec![
            of("10.1.0.0/26", RouteSource::PodBlock),
            of("10.1.1.1/32", second),
            of("fd00:1::/122", RouteSource::PodBlock),
        ]
    };
    let blocks = Condition::Source(vec![RouteSource::PodBlock]);
    let policy = Policy::new(
        [when(vec![blocks], vec![], Verdict::Accept)],
        Otherwise::Reject,
    );
    net.apply(0, vec![exporting(policy)]);
    net.nodes[0]
        .speaker
        .originate(routes(RouteSource::PodAddress), net.now);
    net.advance(SECOND * 5);
    let blocks_only = ["10.1.0.0/26 via 192.0.2.1", "fd00:1::/122 via 2001:db8::1"];
    assert_eq!(net.learned(1), blocks_only);
    net.nodes[0]
        .speaker
        .originate(routes(RouteSource::PodBlock), net.now);
    net.settle();
    assert_eq!(net.learned(1).len(), 3);
    net.nodes[0]
        .speaker
        .originate(routes(RouteSource::PodAddress), net.now);
    net.settle();
    assert_eq!(net.learned(1), blocks_only);
}

/// 1 ─ 2 ─ 3: the one in the middle tells what it learned only when a rule says so, and only whom the rule names.
#[test]
fn a_rule_about_the_peer_is_for_that_peer() {
    let mut net = Net::new((1..=3).map(|n| speaker(n, 65000 + u32::from(n))).collect());
    let told_to = |asn: u32| {
        let rule = Rule {
            peers: vec![
                PeerCondition::As(vec![Asn(asn)]),
                PeerCondition::External(true),
            ],
            ..when(
                vec![Condition::Source(vec![RouteSource::Learned])],
                vec![],
                Verdict::Accept,
            )
        };
        Policy::new([rule], Otherwise::AcceptOwn)
    };
    let middle = |policy: &Policy| {
        [(1, 65001), (3, 65003)]
            .map(|(number, asn)| PeerConfig {
                export: policy.clone(),
                ..peer(2, number, asn)
            })
            .to_vec()
    };
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(1, middle(&Policy::own_only()));
    net.apply(2, vec![peer(3, 2, 65002)]);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.originate(2, &["10.3.0.0/16"]);
    net.advance(SECOND * 5);
    assert!(net.learned(2).is_empty() && net.learned(0).is_empty());
    net.apply(1, middle(&told_to(65003)));
    net.settle();
    assert_eq!(
        net.learned(2),
        ["10.1.0.0/16 via 192.0.2.2", "fd00:1::/64 via 2001:db8::2"]
    );
    assert!(net.learned(0).is_empty());
    net.apply(1, middle(&told_to(65001)));
    net.settle();
    assert!(net.learned(2).is_empty());
    assert_eq!(net.learned(0), ["10.3.0.0/16 via 192.0.2.2"]);
    assert!(net.all_up());
}

/// A policy of one rule, `marked`, before own routes.
fn marked(rule: Rule) -> Policy {
    let name = crate::policy::RuleName {
        filter: "lab".into(),
        number: 1,
        name: "marked".into(),
    };
    Policy::new([Rule { name, ..rule }], Otherwise::AcceptOwn)
}

/// 1 ─ 2 ─ 3, and 1 ─ 3: node 3 hears of each prefix twice, and has a peer that is not there.
fn triangle() -> Net {
    let mut net = Net::new((1..=3).map(|n| speaker(n, 65000 + u32::from(n))).collect());
    let learned = vec![Condition::Source(vec![RouteSource::Learned])];
    let transit = PeerConfig {
        export: marked(when(learned, vec![Change::Med(5)], Verdict::Accept)),
        ..peer(2, 3, 65003)
    };
    let silent = |number, asn| PeerConfig {
        export: Policy::own_only(),
        ..peer(3, number, asn)
    };
    net.apply(0, vec![peer(1, 2, 65002), peer(1, 3, 65003)]);
    net.apply(1, vec![peer(2, 1, 65001), transit]);
    net.apply(
        2,
        vec![silent(1, 65001), silent(2, 65002), silent(9, 65009)],
    );
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    net
}

fn why(net: &Net, node: usize, text: &str, peer: Option<&str>) -> Explanation {
    let lookup = Lookup::Exactly(prefix(text));
    let speaker = &net.nodes[node].speaker;
    let explained = speaker.why(lookup).unwrap();
    match peer {
        None => explained,
        Some(peer) => explained.of_peers(&[ip(peer)]),
    }
}

#[test]
fn every_path_has_its_reason() {
    let mut net = triangle();
    for text in ["10.1.0.0/16", "fd00:1::/64"] {
        let explained = why(&net, 2, text, None);
        let reasons = explained.paths.iter().map(|one| {
            let import = one.import.as_ref().unwrap();
            (one.path.reason.as_str(), import.decided.as_str())
        });
        let passes = "no rule decides: every route passes";
        let expected = [("best", passes), ("longer AS path", passes)];
        assert_eq!(reasons.collect::<Vec<_>>(), expected);
    }
    let absent = Lookup::Exactly(prefix("10.9.0.0/16"));
    assert_eq!(net.nodes[2].speaker.why(absent), None);
    let reject = when(vec![within("10.1.0.0/16")], vec![], Verdict::Reject);
    let rejecting = PeerConfig {
        import: marked(reject),
        ..peer(3, 2, 65002)
    };
    net.apply(2, vec![peer(3, 1, 65001), rejecting]);
    net.settle();
    let explained = why(&net, 2, "10.1.0.0/16", Some("192.0.2.2"));
    let [best, rejected] = &explained.paths[..] else {
        panic!("{explained:?}")
    };
    assert!(best.path.best);
    assert_eq!(rejected.path.reason, "rejected by import policy");
    let import = rejected.import.as_ref().unwrap();
    assert_eq!(import.decided, "rejected by rule 1 (marked) of filter lab");
    assert_eq!(import.steps.len(), 1);
}

#[test]
fn every_peer_has_the_reason_why_it_is_told_or_not() {
    let net = triangle();
    for text in ["10.1.0.0/16", "fd00:1::/64"] {
        let explained = why(&net, 2, text, None);
        let reasons = explained.peers.iter().map(|one| one.reason.as_str());
        let expected = [
            "it is the peer's own route",
            "rejected by export policy",
            "there is no session with the peer",
        ];
        assert_eq!(reasons.collect::<Vec<_>>(), expected);
        let export = explained.peers[1].export.as_ref().unwrap();
        let learned = "no rule decides: what was learned is not told on";
        assert_eq!(export.decided, learned);
        let explained = why(&net, 1, text, Some("192.0.2.3"));
        let [told] = &explained.peers[..] else {
            panic!("{explained:?}")
        };
        assert_eq!(told.told.as_ref().unwrap().med, Some(5));
        let export = told.export.as_ref().unwrap();
        assert_eq!(export.decided, "accepted by rule 1 (marked) of filter lab");
    }
}
