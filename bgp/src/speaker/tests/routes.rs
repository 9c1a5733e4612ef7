use super::*;

#[test]
fn both_families_flow_over_one_ipv4_session() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.originate(1, &["10.2.0.0/16", "fd00:2::/64"]);
    net.advance(SECOND * 5);
    assert_eq!(
        net.learned(0),
        ["10.2.0.0/16 via 192.0.2.2", "fd00:2::/64 via 2001:db8::2"]
    );
    assert_eq!(
        net.learned(1),
        ["10.1.0.0/16 via 192.0.2.1", "fd00:1::/64 via 2001:db8::1"]
    );
    assert_eq!(net.connections(), 1);
}

#[test]
fn both_families_flow_over_one_ipv6_session() {
    let mut net = Net::new(vec![speaker(1, 65001), speaker(2, 65002)]);
    let addresses = [ip("2001:db8::1"), ip("2001:db8::2")];
    for node in 0..2 {
        net.nodes[node].address = addresses[node];
        let config = peer(node as u8 + 1, 2 - node as u8, 65002 - node as u32);
        net.apply(
            node,
            vec![PeerConfig {
                address: addresses[1 - node],
                ..config
            }],
        );
        let number = node + 1;
        net.originate(
            node,
            &[
                &format!("10.{number}.0.0/16"),
                &format!("fd00:{number}::/64"),
            ],
        );
    }
    net.advance(SECOND * 5);
    assert_eq!(
        net.learned(0),
        ["10.2.0.0/16 via 192.0.2.2", "fd00:2::/64 via 2001:db8::2"]
    );
}

#[test]
fn a_family_without_an_address_of_ours_is_not_announced() {
    let mut net = pair(65001, 65002);
    net.apply(
        0,
        vec![PeerConfig {
            local_addresses: LocalAddresses::default(),
            ..peer(1, 2, 65002)
        }],
    );
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    // IPv4 is filled in from the connection.
    assert_eq!(net.learned(1), ["10.1.0.0/16 via 192.0.2.1"]);
}

#[test]
fn a_withdrawn_route_goes_and_only_changes_are_told() {
    let mut net = pair(65001, 65001);
    net.originate(0, &["10.1.0.0/26", "10.1.0.64/26", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    assert_eq!(net.nodes[1].speaker.learned_changes().len(), 3);
    net.nodes[1].events.clear();
    net.originate(0, &["10.1.0.64/26"]);
    net.settle();
    assert!(net.nodes[1].events.contains(&Event::LearnedChanged));
    let changes = net.nodes[1].speaker.learned_changes();
    let gone: Vec<_> = changes
        .iter()
        .map(|change| (change.prefix.to_string(), change.route.is_some()))
        .collect();
    assert_eq!(
        gone,
        [
            ("10.1.0.0/26".to_owned(), false),
            ("fd00:1::/64".to_owned(), false)
        ]
    );
    assert!(net.nodes[1].speaker.learned_changes().is_empty());
    assert_eq!(
        net.nodes[1].speaker.peers(net.now)[0].prefixes.v4.received,
        1
    );
}

#[test]
fn nothing_passes_without_a_policy() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16"]);
    net.apply(
        0,
        vec![PeerConfig {
            export: Policy::default(),
            ..peer(1, 2, 65002)
        }],
    );
    net.advance(SECOND * 5);
    assert!(net.learned(1).is_empty());
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(
        1,
        vec![PeerConfig {
            import: Policy::default(),
            ..peer(2, 1, 65001)
        }],
    );
    net.settle();
    assert!(net.learned(1).is_empty());
    let routes = net.nodes[1].speaker.routes(&RouteFilter::default());
    assert_eq!(routes[0].paths[0].reason, "rejected by import policy");
    net.apply(1, vec![peer(2, 1, 65001)]);
    net.settle();
    assert_eq!(net.learned(1), ["10.1.0.0/16 via 192.0.2.1"]);
    assert!(net.all_up());
}

#[test]
fn an_export_policy_that_narrows_withdraws_what_it_no_longer_passes() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "10.9.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    assert_eq!(net.learned(1).len(), 3);
    let only = Policy::prefixes(vec![PrefixRange::or_longer(prefix("10.1.0.0/16"))]);
    net.apply(
        0,
        vec![PeerConfig {
            export: only,
            ..peer(1, 2, 65002)
        }],
    );
    net.settle();
    assert_eq!(net.learned(1), ["10.1.0.0/16 via 192.0.2.1"]);
    let told = net.nodes[0].speaker.routes(&RouteFilter {
        view: View::Out(ip("192.0.2.2")),
        lookup: None,
    });
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].paths[0].as_path, "65001");
}

/// 1 ─ 2 ─ 3 in a row.
fn row(asns: [u32; 3]) -> Net {
    let mut net = Net::new(
        (1..=3)
            .map(|number| speaker(number, asns[usize::from(number) - 1]))
            .collect(),
    );
    net.apply(0, vec![peer(1, 2, asns[1])]);
    net.apply(1, vec![peer(2, 1, asns[0]), peer(2, 3, asns[2])]);
    net.apply(2, vec![peer(3, 2, asns[1])]);
    net
}

#[test]
fn external_routes_are_passed_on_with_our_next_hop_and_as() {
    let mut net = row([65001, 65002, 65003]);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    assert_eq!(
        net.learned(2),
        ["10.1.0.0/16 via 192.0.2.2", "fd00:1::/64 via 2001:db8::2"]
    );
    let routes = net.nodes[2].speaker.routes(&RouteFilter {
        view: View::Best,
        lookup: Some(Lookup::Exactly(prefix("10.1.0.0/16"))),
    });
    assert_eq!(routes[0].paths[0].as_path, "65002 65001");
}

#[test]
fn an_address_is_looked_up_by_the_longest_prefix_that_covers_it() {
    let mut net = row([65001, 65002, 65003]);
    net.originate(0, &["10.1.0.0/16", "10.1.2.0/24", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    let found = |lookup| -> Vec<String> {
        let filter = RouteFilter {
            view: View::All,
            lookup: Some(lookup),
        };
        let routes = net.nodes[2].speaker.routes(&filter);
        routes.iter().map(|r| r.prefix.to_string()).collect()
    };
    let covering = |address| found(Lookup::Covering(ip(address)));
    assert_eq!(covering("10.1.2.3"), ["10.1.2.0/24"]);
    assert_eq!(covering("10.1.3.3"), ["10.1.0.0/16"]);
    assert_eq!(covering("fd00:1::7"), ["fd00:1::/64"]);
    assert!(covering("10.2.0.1").is_empty());
    assert!(found(Lookup::Exactly(prefix("10.1.2.3/32"))).is_empty());
}

#[test]
fn internal_routes_are_not_passed_on_to_internal_peers() {
    let mut net = row([65001, 65001, 65001]);
    net.originate(0, &["10.1.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!(net.learned(1).len(), 1);
    assert!(net.learned(2).is_empty());
}

#[test]
fn towards_internal_peers_the_next_hop_stays_unless_we_step_in() {
    let mut net = row([65001, 65002, 65002]);
    net.originate(0, &["10.1.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!(net.learned(2), ["10.1.0.0/16 via 192.0.2.1"]);
    let to_three = PeerConfig {
        next_hop_self: true,
        ..peer(2, 3, 65002)
    };
    net.apply(1, vec![peer(2, 1, 65001), to_three]);
    net.settle();
    assert_eq!(net.learned(2), ["10.1.0.0/16 via 192.0.2.2"]);
    assert!(net.all_up());
}

#[test]
fn our_own_as_in_the_path_is_a_loop_unless_allowed() {
    let mut net = row([65001, 65002, 65001]);
    net.originate(0, &["10.1.0.0/16"]);
    net.advance(SECOND * 5);
    assert!(net.learned(2).is_empty());
    let routes = net.nodes[2].speaker.routes(&RouteFilter::default());
    assert_eq!(routes[0].paths[0].reason, "our AS is in the path");
    net.apply(
        2,
        vec![PeerConfig {
            allow_own_as: 1,
            ..peer(3, 2, 65002)
        }],
    );
    net.settle();
    assert_eq!(net.learned(2), ["10.1.0.0/16 via 192.0.2.2"]);
}

/// Node 1 in the middle of 2, 3 and 4.
fn star(asns: [u32; 4]) -> Net {
    let mut net = Net::new(
        (1..=4)
            .map(|number| speaker(number, asns[usize::from(number) - 1]))
            .collect(),
    );
    net.apply(
        0,
        (2..=4)
            .map(|number| peer(1, number, asns[usize::from(number) - 1]))
            .collect(),
    );
    for number in 2..=4 {
        net.apply(usize::from(number) - 1, vec![peer(number, 1, asns[0])]);
    }
    net
}

#[test]
fn equal_paths_share_the_traffic_also_through_different_ases() {
    let mut net = star([65001, 65002, 65003, 65004]);
    net.originate(1, &["10.9.0.0/16"]);
    net.originate(2, &["10.9.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.2, 192.0.2.3"]);
    net.originate(1, &[]);
    net.settle();
    assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.3"]);
}

#[test]
fn a_peer_that_becomes_the_best_source_loses_what_it_was_told_before() {
    // 2 and 3 announce the same prefix; 2 wins by router id, so 3 is told 2's route. When 2 withdraws, 3 is the
    // source, and must not be left believing in the way through 1.
    let mut net = star([65001, 65002, 65003, 65004]);
    net.originate(1, &["10.9.0.0/16"]);
    net.originate(2, &["10.9.0.0/16"]);
    net.advance(SECOND * 5);
    let received = |net: &Net, node: usize| {
        net.nodes[node].speaker.peers(net.now)[0]
            .prefixes
            .v4
            .received
    };
    assert_eq!(
        (received(&net, 1), received(&net, 2), received(&net, 3)),
        (0, 1, 1)
    );
    net.originate(1, &[]);
    net.settle();
    assert_eq!(
        (received(&net, 1), received(&net, 2), received(&net, 3)),
        (1, 0, 1)
    );
}

#[test]
fn peers_with_equal_export_share_one_group() {
    let mut net = star([65001, 65002, 65003, 65004]);
    net.originate(0, &["10.1.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!(net.nodes[0].speaker.groups.len(), 1);
    assert!((1..4).all(|node| net.learned(node) == ["10.1.0.0/16 via 192.0.2.1"]));
}

#[test]
fn an_unresolved_next_hop_is_not_used_until_it_resolves() {
    let mut net = pair(65001, 65002);
    net.nodes[0].resolves = false;
    net.originate(1, &["10.2.0.0/16"]);
    net.advance(SECOND * 5);
    assert!(net.learned(0).is_empty());
    assert_eq!(net.nodes[0].speaker.tracked_next_hops(), [ip("192.0.2.2")]);
    let routes = net.nodes[0].speaker.routes(&RouteFilter::default());
    assert_eq!(routes[0].paths[0].reason, "next hop does not resolve");
    net.nodes[0]
        .speaker
        .set_next_hops([(ip("192.0.2.2"), Some(1))].into());
    net.settle();
    assert!(net.nodes[0].events.contains(&Event::LearnedChanged));
    assert_eq!(net.learned(0), ["10.2.0.0/16 via 192.0.2.2"]);
    net.nodes[0].speaker.set_next_hops(HashMap::new());
    assert!(net.learned(0).is_empty());
}

#[test]
fn the_shorter_way_to_the_next_hop_wins() {
    let mut net = star([65001, 65001, 65001, 65001]);
    net.nodes[0].resolves = false;
    net.originate(1, &["10.9.0.0/16"]);
    net.originate(2, &["10.9.0.0/16"]);
    net.advance(SECOND * 5);
    let answers = [(ip("192.0.2.2"), Some(20)), (ip("192.0.2.3"), Some(10))];
    net.nodes[0].speaker.set_next_hops(answers.into());
    assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.3"]);
}

#[test]
fn our_own_route_wins_over_a_learned_one() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.9.0.0/16"]);
    net.originate(1, &["10.9.0.0/16"]);
    net.advance(SECOND * 5);
    assert!(net.learned(0).is_empty());
    net.originate(0, &[]);
    net.settle();
    assert_eq!(net.learned(0), ["10.9.0.0/16 via 192.0.2.2"]);
}

#[test]
fn too_many_prefixes_end_the_session_until_reset() {
    let mut net = pair(65001, 65002);
    let maximum_prefixes = PerFamily {
        v4: Some(2),
        v6: None,
    };
    net.apply(
        0,
        vec![PeerConfig {
            maximum_prefixes,
            ..peer(1, 2, 65002)
        }],
    );
    net.originate(1, &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
    net.advance(SECOND * 60);
    assert_eq!(net.states(0), [State::Idle]);
    assert!(net.learned(0).is_empty());
    let status = net.nodes[0].speaker.peers(net.now).remove(0);
    assert_eq!(
        status.last_error.unwrap().reason,
        "peer announced more than 2 ipv4-unicast prefixes"
    );
    assert_eq!(status.established_count, 1);
    net.originate(1, &["10.1.0.0/16"]);
    let now = net.now;
    net.nodes[0].speaker.reset(ip("192.0.2.2"), now);
    net.advance(SECOND * 60);
    assert_eq!(net.learned(0), ["10.1.0.0/16 via 192.0.2.2"]);
}

#[test]
fn twenty_thousand_routes_pass_in_packed_messages_and_windows() {
    let mut net = pair(65001, 65002);
    let prefixes: Vec<_> = (0..20_000u32)
        .map(|n| format!("10.{}.{}.{}/28", n >> 12, n >> 4 & 255, (n & 15) << 4))
        .collect();
    let texts: Vec<_> = prefixes.iter().map(String::as_str).collect();
    net.originate(0, &texts);
    net.advance(SECOND * 5);
    assert_eq!(
        net.nodes[1].speaker.peers(net.now)[0].prefixes.v4.accepted,
        20_000
    );
    // 5 octets each, about 4000 octets to a message, and one marker for each family.
    assert!(net.nodes[0].speaker.peers(net.now)[0].counters.updates_sent < 30);
}

#[test]
fn a_refresh_brings_everything_again() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.advance(SECOND * 5);
    let sent = |net: &Net| net.nodes[0].speaker.peers(net.now)[0].counters.updates_sent;
    let before = sent(&net);
    let connection = net.nodes[0]
        .speaker
        .peers
        .values()
        .next()
        .unwrap()
        .established()
        .unwrap()
        .connection
        .unwrap();
    let bytes =
        crate::wire::encode_route_refresh(Family::Ipv4Unicast, crate::wire::Refresh::Request);
    let now = net.now;
    net.nodes[0].speaker.handle(
        Input::Received {
            connection,
            bytes: &bytes,
        },
        now,
    );
    net.settle();
    assert_eq!(sent(&net), before + 2);
    assert_eq!(net.learned(1).len(), 2);
}

#[test]
fn a_soft_reset_exchanges_routes_both_ways_in_the_same_session() {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.originate(1, &["10.2.0.0/16"]);
    net.advance(SECOND * 5);
    let counters =
        |net: &Net| [0, 1].map(|n: usize| net.nodes[n].speaker.peers(net.now)[0].counters);
    let (before, now) = (counters(&net), net.now);
    let address = net.nodes[0].speaker.peers(now)[0].address;
    let done = net.nodes[0].speaker.soft_reset(address, now);
    assert_eq!(done, SoftReset::BothWays);
    net.settle();
    let after = counters(&net);
    // Two prefixes of two families from here, one from there.
    assert_eq!(after[0].updates_sent, before[0].updates_sent + 2);
    assert_eq!(after[1].updates_sent, before[1].updates_sent + 1);
    assert_eq!(net.nodes[0].speaker.peers(net.now)[0].established_count, 1);
    let nobody = net.nodes[0].speaker.soft_reset(ip("192.0.2.99"), now);
    assert_eq!(nobody, SoftReset::UnknownPeer);
}

#[test]
fn a_path_knows_its_next_hop_and_peer() {
    let mut net = pair(65001, 65002);
    net.originate(1, &["fd00:2::/64"]);
    net.advance(SECOND * 5);
    let route = net.nodes[0].speaker.learned().remove(0);
    assert_eq!(route.paths[0].next_hop, NextHop::from(ip("2001:db8::2")));
    assert_eq!(
        (
            route.paths[0].peer,
            route.paths[0].metric,
            route.paths[0].stale
        ),
        (ip("192.0.2.2"), 10, false)
    );
    assert_eq!(Families::BOTH.iter().count(), 2);
}
