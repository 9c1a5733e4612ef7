use proptest::prelude::*;

use super::*;
use crate::config::LocalAddresses;
use crate::wire::{AsPath, Community, LargeCommunity, NextHop};

mod communities;
mod order;

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// A peer of AS 65002 at 192.0.2.2.
fn peer() -> Facing<'static> {
    Facing {
        link: Some("eth1"),
        peer: [192, 0, 2, 2].into(),
        remote_as: Asn(65002),
        external: true,
    }
}

fn hand() -> Hand {
    Hand {
        prepend: Asn(65002),
        keep_path: false,
        own: LocalAddresses::default(),
    }
}

fn rule(conditions: Vec<Condition>, changes: Vec<Change>, verdict: Verdict) -> Rule {
    Rule {
        conditions,
        changes,
        verdict,
        ..Rule::default()
    }
}

fn of_path(asns: &[u32]) -> Attributes {
    Attributes {
        as_path: AsPath::new(asns.iter().copied().map(Asn)),
        next_hop: Some(NextHop::from(IpAddr::from([192, 0, 2, 9]))),
        ..Attributes::default()
    }
}

/// The route after the policy, `None` when it is rejected.
fn outcome(
    policy: &Policy,
    prefix: &str,
    attributes: &Attributes,
    source: RouteSource,
) -> Option<Attributes> {
    let prefix = net(prefix);
    let resolved = policy.facing(&peer());
    let subject = Subject {
        prefix: &prefix,
        attributes,
        source,
    };
    let decision = resolved.decide(subject, &hand());
    decision.accepted.then(|| {
        let mut changed = attributes.clone();
        for change in decision.changes {
            change.apply(&mut changed, prefix.is_ipv4(), &hand());
        }
        changed
    })
}

fn passes(policy: &Policy, prefix: &str, attributes: &Attributes, source: RouteSource) -> bool {
    outcome(policy, prefix, attributes, source).is_some()
}

/// Whether a route to 10.0.0.0/8 passes a policy that accepts by this condition only.
fn meets(condition: Condition, attributes: &Attributes) -> bool {
    let policy = Policy::new(
        [rule(vec![condition], vec![], Verdict::Accept)],
        Otherwise::Reject,
    );
    passes(&policy, "10.0.0.0/8", attributes, RouteSource::Learned)
}

#[test]
fn a_policy_that_nobody_wrote_rejects() {
    let plain = Attributes::default();
    assert!(!passes(
        &Policy::default(),
        "10.0.0.0/8",
        &plain,
        RouteSource::Static
    ));
}

#[test]
fn ranges_bound_the_length_from_both_sides() {
    let range = PrefixRange {
        prefix: net("10.0.0.0/16"),
        at_least: 24,
        at_most: 26,
    };
    assert!(range.contains(&net("10.0.1.64/26")));
    assert!(!range.contains(&net("10.0.0.0/16")));
    assert!(!range.contains(&net("10.0.1.64/27")));
    assert!(!range.contains(&net("10.1.0.0/24")));
    assert!(!PrefixRange::or_longer(net("10.0.0.0/8")).contains(&net("fd00::/64")));
}

#[test]
fn own_only_passes_nothing_that_was_learned() {
    let plain = Attributes::default();
    for own in RouteSource::OWN {
        assert!(passes(&Policy::own_only(), "10.0.0.0/8", &plain, own));
    }
    assert!(!passes(
        &Policy::own_only(),
        "10.0.0.0/8",
        &plain,
        RouteSource::Learned
    ));
}

#[test]
fn the_first_rule_that_holds_decides() {
    let exact = PrefixRange::exact(net("10.0.0.0/8"));
    let first = rule(
        vec![Condition::Prefix(vec![exact])],
        vec![],
        Verdict::Reject,
    );
    let policy = Policy::new([first], Otherwise::Accept);
    let plain = Attributes::default();
    assert!(!passes(&policy, "10.0.0.0/8", &plain, RouteSource::Learned));
    assert!(passes(&policy, "10.0.0.0/9", &plain, RouteSource::Learned));
}

#[test]
fn what_a_rule_changed_is_what_the_next_one_sees() {
    let mark = AnyCommunity::Standard(Community(7));
    let add = Change::Communities(CommunityChange::Add(vec![mark]));
    let policy = Policy::new(
        [
            rule(vec![], vec![add], Verdict::Continue),
            rule(
                vec![Condition::AnyCommunity(vec![mark.into()])],
                vec![Change::Med(5)],
                Verdict::Accept,
            ),
        ],
        Otherwise::Reject,
    );
    let plain = Attributes::default();
    let changed = outcome(&policy, "10.0.0.0/8", &plain, RouteSource::Learned).unwrap();
    assert_eq!(changed.med, Some(5));
    assert_eq!(changed.communities, [Community(7)]);
}

#[test]
fn a_route_that_no_rule_decides_keeps_what_rules_changed() {
    let policy = Policy::new(
        [rule(vec![], vec![Change::LocalPref(7)], Verdict::Continue)],
        Otherwise::Accept,
    );
    let plain = Attributes::default();
    let changed = outcome(&policy, "fd00::/64", &plain, RouteSource::Learned).unwrap();
    assert_eq!(changed.local_pref, Some(7));
}

#[test]
fn conditions_about_the_path() {
    let route = of_path(&[65002, 65000, 4_200_000_001]);
    let own = of_path(&[]);
    let last = || Condition::OriginAs(vec![Asn(4_200_000_001)]);
    assert!(meets(last(), &route) && !meets(last(), &own));
    let first = || Condition::NeighbourAs(vec![Asn(65002)]);
    assert!(meets(first(), &route) && !meets(first(), &own));
    assert!(!meets(Condition::OriginAs(vec![Asn(65002)]), &route));
    assert!(meets(Condition::PathLength(3, 3), &route));
    assert!(!meets(Condition::PathLength(0, 2), &route));
    assert!(meets(Condition::PathLength(0, 0), &own));
    for (pattern, path, expected) in [
        ("^65002_", &route, true),
        ("_4200000001$", &route, true),
        ("_65000_", &route, true),
        ("_6500_", &route, false),
        ("^65002 65000", &route, true),
        ("^[0-9]+ 65000", &route, true),
        ("^$", &own, true),
        ("^$", &route, false),
        ("_65000_", &own, false),
    ] {
        let condition = Condition::Path(PathPattern::new(pattern).unwrap());
        assert_eq!(meets(condition, path), expected, "{pattern}");
    }
}

#[test]
fn conditions_about_the_next_hop() {
    let route = of_path(&[65002]);
    assert!(meets(Condition::NextHop(vec![net("192.0.2.0/24")]), &route));
    assert!(!meets(
        Condition::NextHop(vec![net("198.51.100.0/24")]),
        &route
    ));
    let unnamed = Attributes::default();
    assert!(!meets(
        Condition::NextHop(vec![net("0.0.0.0/0"), net("::/0")]),
        &unnamed
    ));
}

#[test]
fn conditions_about_the_peer_choose_the_rules_of_a_session() {
    let only = |condition| Rule {
        peers: vec![condition],
        ..rule(vec![], vec![], Verdict::Reject)
    };
    let plain = Attributes::default();
    for (condition, applies) in [
        (PeerCondition::Address(vec![net("192.0.2.0/24")]), true),
        (PeerCondition::Address(vec![net("192.0.2.1/32")]), false),
        (PeerCondition::As(vec![Asn(65001), Asn(65002)]), true),
        (PeerCondition::As(vec![Asn(65001)]), false),
        (PeerCondition::External(true), true),
        (PeerCondition::External(false), false),
        (PeerCondition::Link(vec!["eth1".to_owned()]), true),
        (PeerCondition::Link(vec!["eth*".to_owned()]), true),
        (PeerCondition::Link(vec!["eth".to_owned()]), false),
        (PeerCondition::Link(vec!["eth10".to_owned()]), false),
    ] {
        let policy = Policy::new([only(condition.clone())], Otherwise::Accept);
        let passed = passes(&policy, "10.0.0.0/8", &plain, RouteSource::Learned);
        assert_eq!(passed, !applies, "{condition:?}");
    }
}

/// What keeps two peers in one update group.
#[test]
fn peers_for_which_the_same_rules_remain_are_equal() {
    let here = Rule {
        peers: vec![PeerCondition::As(vec![Asn(65002)])],
        ..Rule::default()
    };
    let policy = Policy::new([here, Rule::default()], Otherwise::Accept);
    let other = |remote_as| Facing {
        link: None,
        peer: [192, 0, 2, 3].into(),
        remote_as: Asn(remote_as),
        external: true,
    };
    assert_eq!(policy.facing(&peer()), policy.facing(&other(65002)));
    assert_ne!(policy.facing(&peer()), policy.facing(&other(65003)));
}

#[test]
fn prepending_takes_the_given_or_the_sessions_as_and_leaves_internal_paths_alone() {
    let mut route = of_path(&[65002]);
    Change::Prepend(None, 2).apply(&mut route, true, &hand());
    assert_eq!(route.as_path.to_string(), "65002 65002 65002");
    Change::Prepend(Some(Asn(9)), 1).apply(&mut route, true, &hand());
    assert_eq!(route.as_path.to_string(), "9 65002 65002 65002");
    let internal = Hand {
        keep_path: true,
        ..hand()
    };
    Change::Prepend(Some(Asn(9)), 1).apply(&mut route, true, &internal);
    assert_eq!(route.as_path.len(), 4);
}

#[test]
fn a_next_hop_is_for_routes_of_its_family() {
    let change = Change::NextHop(NextHopChange::Address(Some([10, 0, 0, 9].into()), None));
    let mut route = of_path(&[]);
    let before = route.clone();
    change.apply(&mut route, false, &hand());
    assert_eq!(route, before);
    change.apply(&mut route, true, &hand());
    assert_eq!(
        route.next_hop,
        Some(NextHop::from(IpAddr::from([10, 0, 0, 9])))
    );
}

#[test]
fn patterns_are_refused_for_what_they_are() {
    let refusal = |text: &str| PathPattern::new(text).unwrap_err().to_string();
    assert!(refusal(r"\d+").contains("`\\` may not stand in"));
    assert!(
        refusal("(65000").contains("unclosed group"),
        "{}",
        refusal("(65000")
    );
    assert!(refusal(&"1".repeat(257)).contains("257 characters"));
    assert!(refusal("((1{100}){100}){100}").contains("size limit"));
}

proptest! {
    /// Whatever is typed is refused or compiled within the limits, and then answers for the longest path there is.
    #[test]
    fn no_pattern_is_expensive(text in "[0-9 _^$.*+?|()\\[\\]{},-]{0,40}") {
        if let Ok(pattern) = PathPattern::new(&text) {
            let path = AsPath::new((0..1000).map(|n| Asn(4_200_000_000 + n)));
            pattern.matches(&path);
        }
    }
}
