//! Communities that mean the same everywhere (RFC 1997, RFC 8326): item 109.

use super::*;
use crate::policy::{AnyCommunity, Change, CommunityChange, Otherwise, Rule, Verdict};
use crate::wire::Community;

/// Node 1 announces 10.1.0.0/16 and fd00:1::/64 with `community` to 2; 2 passes on to 3.
fn passed_on(asns: [u32; 3], community: Community) -> (Vec<String>, Vec<String>) {
    let mut net = row(asns);
    let with = |mut route: Origination| {
        route.communities = vec![community];
        route
    };
    let routes = own(&["10.1.0.0/16", "fd00:1::/64"]).into_iter().map(with);
    let routes = routes.collect();
    let now = net.now;
    net.nodes[0].speaker.originate(routes, now);
    net.advance(SECOND * 5);
    (net.learned(1), net.learned(2))
}

fn row(asns: [u32; 3]) -> Net {
    let config = |number: u8| speaker(number, asns[usize::from(number) - 1]);
    let mut net = Net::new((1..=3).map(config).collect());
    net.apply(0, vec![peer(1, 2, asns[1])]);
    net.apply(1, vec![peer(2, 1, asns[0]), peer(2, 3, asns[2])]);
    net.apply(2, vec![peer(3, 2, asns[1])]);
    net
}

#[test]
fn item_109_no_export_stays_in_the_as() {
    for community in [Community::NO_EXPORT, Community::NO_EXPORT_SUBCONFED] {
        let (second, third) = passed_on([65001, 65001, 65002], community);
        assert_eq!((second.len(), third.len()), (2, 0), "{community}");
        // From outside it may not leave again, but it may go on inside.
        let own_export = passed_on([65001, 65002, 65002], community);
        assert_eq!(own_export.0.len(), 0, "our own route, to an external peer");
    }
    let (second, third) = passed_on([65001, 65002, 65003], Community(0xfde9_0001));
    assert_eq!((second.len(), third.len()), (2, 2), "any other community");
}

/// Accepts everything with a change.
fn changing(change: Change) -> Policy {
    let rule = Rule {
        changes: vec![change],
        verdict: Verdict::Accept,
        ..Rule::default()
    };
    Policy::new([rule], Otherwise::Reject)
}

#[test]
fn item_109_no_export_that_a_peer_set_is_obeyed() {
    // 2 adds NO_EXPORT on import: inside the AS it goes on, outside it does not.
    for (third_as, expected) in [(65002, 1), (65003, 0)] {
        let mut net = row([65001, 65002, third_as]);
        let add = CommunityChange::Add(vec![AnyCommunity::Standard(Community::NO_EXPORT)]);
        let import = changing(Change::Communities(add));
        let from_one = PeerConfig {
            import,
            ..peer(2, 1, 65001)
        };
        net.apply(1, vec![from_one, peer(2, 3, third_as)]);
        net.originate(0, &["10.1.0.0/16"]);
        net.advance(SECOND * 5);
        assert_eq!(net.learned(1).len(), 1);
        assert_eq!(net.learned(2).len(), expected, "to AS {third_as}");
    }
}

#[test]
fn item_109_no_advertise_goes_to_nobody() {
    for asns in [[65001, 65001, 65002], [65001, 65002, 65003]] {
        let (second, third) = passed_on(asns, Community::NO_ADVERTISE);
        assert_eq!((second.len(), third.len()), (0, 0));
    }
}

/// 1 has the same prefix from 2 and 3; 2's carries GRACEFUL_SHUTDOWN.
fn leaving(asns: [u32; 3], import: Policy) -> Net {
    let config = |number: u8| speaker(number, asns[usize::from(number) - 1]);
    let mut net = Net::new((1..=3).map(config).collect());
    let from_two = PeerConfig {
        import,
        ..peer(1, 2, asns[1])
    };
    net.apply(0, vec![from_two, peer(1, 3, asns[2])]);
    net.apply(1, vec![peer(2, 1, asns[0])]);
    net.apply(2, vec![peer(3, 1, asns[0])]);
    let mut route = own(&["10.9.0.0/16"]).remove(0);
    route.communities = vec![Community::GRACEFUL_SHUTDOWN];
    let now = net.now;
    net.nodes[1].speaker.originate(vec![route], now);
    net.originate(2, &["10.9.0.0/16"]);
    net.advance(SECOND * 5);
    net
}

#[test]
fn item_109_who_shuts_down_gracefully_is_used_only_without_another() {
    let eager = changing(Change::LocalPref(500));
    for import in [Policy::accept_all(), eager] {
        let mut net = leaving([65001, 65002, 65003], import);
        assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.3"]);
        let routes = net.nodes[0].speaker.routes(&RouteFilter::default());
        let loser = &routes[0].paths[1];
        assert_eq!(loser.reason, "lower local preference");
        assert_eq!(loser.local_pref, Some(0));
        net.originate(2, &[]);
        net.settle();
        assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.2"]);
    }
}

#[test]
fn item_109_graceful_shutdown_of_an_internal_peer_is_its_own_local_preference() {
    // RFC 8326 section 4: internal peers are told by LOCAL_PREF, which the leaving router sets itself.
    let mut net = leaving([65001, 65001, 65001], Policy::accept_all());
    assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.2, 192.0.2.3"]);
}
