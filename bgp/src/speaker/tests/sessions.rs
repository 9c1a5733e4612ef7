use super::*;

#[test]
fn two_speakers_that_dial_each_other_end_with_one_session() {
    let mut net = pair(65001, 65002);
    net.settle();
    net.advance(SECOND * 30);
    assert!(net.all_up());
    assert_eq!(net.connections(), 1);
}

#[test]
fn item_024_a_thousand_interleavings_end_with_exactly_one_session() {
    for seed in 0..1000 {
        let mut net = pair(65001 + (seed as u32 % 2), 65002).shuffled(seed);
        net.advance(SECOND * 60);
        assert!(
            net.all_up(),
            "seed {seed}: {:?} {:?}",
            net.states(0),
            net.states(1)
        );
        assert_eq!(net.connections(), 1, "seed {seed}");
        // And it stays the same one.
        net.nodes.iter_mut().for_each(|node| node.events.clear());
        net.advance(SECOND * 60);
        assert!(
            net.nodes.iter().all(|node| node.events.is_empty()),
            "seed {seed}: {:?}",
            net.nodes[0].events
        );
    }
}

#[test]
fn a_wrong_as_is_told_in_words_on_both_sides() {
    let mut net = Net::new(vec![speaker(1, 65010), speaker(2, 65002)]);
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(
        1,
        vec![PeerConfig {
            passive: true,
            ..peer(2, 1, 65011)
        }],
    );
    net.advance(SECOND);
    let status = &net.nodes[1].speaker.peers(net.now)[0];
    assert_ne!(status.state, State::Established);
    assert_eq!(
        status.last_error.as_ref().unwrap().reason,
        "peer's AS 65010 differs from configured 65011"
    );
    assert_eq!(
        status.last_sent.as_ref().unwrap().reason,
        "bad peer AS (2/2)"
    );
    let status = &net.nodes[0].speaker.peers(net.now)[0];
    assert_eq!(
        status.last_received.as_ref().unwrap().reason,
        "bad peer AS (2/2)"
    );
    assert_eq!(
        status.last_error.as_ref().unwrap().reason,
        "peer sent: bad peer AS (2/2)"
    );
}

#[test]
fn a_passive_peer_waits_and_two_passive_ones_wait_for_ever() {
    let mut net = pair(65001, 65002);
    net.apply(
        0,
        vec![PeerConfig {
            passive: true,
            ..peer(1, 2, 65002)
        }],
    );
    net.advance(SECOND * 20);
    assert!(net.all_up());
    let mut net = Net::new(vec![speaker(1, 65001), speaker(2, 65002)]);
    net.apply(
        0,
        vec![PeerConfig {
            passive: true,
            ..peer(1, 2, 65002)
        }],
    );
    net.apply(
        1,
        vec![PeerConfig {
            passive: true,
            ..peer(2, 1, 65001)
        }],
    );
    net.advance(SECOND * 60);
    assert_eq!(net.states(0), [State::Active]);
}

#[test]
fn an_unknown_address_is_refused() {
    let mut net = pair(65001, 65002);
    let now = net.now;
    let refused = net.nodes[0]
        .speaker
        .accept(ip("198.51.100.7"), ip("192.0.2.1"), now);
    assert_eq!(refused, Err(Refusal::UnknownPeer(ip("198.51.100.7"))));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "198.51.100.7 is not a configured peer"
    );
}

#[test]
fn a_mapped_ipv4_address_is_the_ipv4_peer() {
    let mut net = pair(65001, 65002);
    let now = net.now;
    assert!(
        net.nodes[0]
            .speaker
            .accept(ip("::ffff:192.0.2.2"), ip("::ffff:192.0.2.1"), now)
            .is_ok()
    );
}

#[test]
fn keepalives_hold_a_session_and_silence_ends_it() {
    let mut net = pair(65001, 65002);
    net.advance(SECOND * 600);
    assert!(net.all_up());
    assert_eq!(net.nodes[0].speaker.peers(net.now)[0].established_count, 1);
    net.dead.push(1);
    net.advance(SECOND * 10);
    let status = &net.nodes[0].speaker.peers(net.now)[0];
    assert_ne!(status.state, State::Established);
    assert_eq!(
        status.last_sent.as_ref().unwrap().reason,
        "hold timer expired (4/0)"
    );
}

#[test]
fn the_peer_comes_back_after_silence() {
    let mut net = pair(65001, 65002);
    net.advance(SECOND * 5);
    net.dead.push(1);
    net.advance(SECOND * 30);
    net.dead.clear();
    net.cut_both();
    net.advance(SECOND * 60);
    assert!(net.all_up());
    assert_eq!(net.connections(), 1);
}

#[test]
fn a_reset_says_so_and_the_session_returns() {
    let mut net = pair(65001, 65002);
    net.advance(SECOND * 5);
    let now = net.now;
    assert!(net.nodes[0].speaker.reset(ip("192.0.2.2"), now));
    net.settle();
    let received = net.nodes[1].speaker.peers(now)[0].last_received.clone();
    assert_eq!(received.unwrap().reason, "administrative reset (6/4)");
    net.advance(SECOND * 30);
    assert!(net.all_up());
}

#[test]
fn disabled_and_removed_peers_go_down_for_good() {
    let mut net = pair(65001, 65002);
    net.originate(1, &["10.2.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!(net.learned(0).len(), 1);
    net.apply(
        0,
        vec![PeerConfig {
            held_down: Some("by order".to_owned()),
            ..peer(1, 2, 65002)
        }],
    );
    net.advance(SECOND * 30);
    assert_eq!(net.states(0), [State::Idle]);
    assert!(net.learned(0).is_empty());
    let status = net.nodes[0].speaker.peers(net.now)[0].clone();
    assert!(!status.enabled);
    assert_eq!(status.last_error.unwrap().reason, "by order");
    let received = net.nodes[1].speaker.peers(net.now)[0]
        .last_received
        .clone()
        .unwrap()
        .reason;
    assert_eq!(received, "hard reset (6/9): administrative shutdown (6/2)");
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.advance(SECOND * 30);
    assert!(net.all_up());
    net.apply(0, vec![]);
    net.advance(SECOND);
    assert!(net.nodes[0].speaker.peers(net.now).is_empty());
    let received = net.nodes[1].speaker.peers(net.now)[0]
        .last_received
        .clone()
        .unwrap()
        .reason;
    assert_eq!(received, "hard reset (6/9): peer de-configured (6/3)");
}

#[test]
fn only_what_must_resets_a_session() {
    let mut net = pair(65001, 65002);
    net.advance(SECOND * 5);
    let count = |net: &Net| net.nodes[0].speaker.peers(net.now)[0].established_count;
    let mild = PeerConfig {
        description: "rack 1".into(),
        import: Policy::reject_all(),
        export: Policy::own_only(),
        passive: true,
        maximum_prefixes: PerFamily {
            v4: Some(10),
            v6: None,
        },
        ..peer(1, 2, 65002)
    };
    net.apply(0, vec![mild.clone()]);
    net.advance(SECOND * 20);
    assert_eq!(count(&net), 1);
    net.apply(
        0,
        vec![PeerConfig {
            hold_time: 30,
            ..mild
        }],
    );
    net.advance(SECOND * 20);
    assert!(net.all_up());
    assert_eq!(count(&net), 2);
}

#[test]
fn a_permanent_shutdown_says_cease() {
    let mut net = pair(65001, 65002);
    net.advance(SECOND * 5);
    let now = net.now;
    net.nodes[0].speaker.shutdown(ShutdownKind::Permanent, now);
    net.settle();
    let received = net.nodes[1].speaker.peers(now)[0]
        .last_received
        .clone()
        .unwrap()
        .reason;
    assert_eq!(received, "hard reset (6/9): administrative shutdown (6/2)");
}

#[test]
fn status_tells_capabilities_and_timers() {
    let mut net = pair(65001, 4_200_000_002);
    net.advance(SECOND * 12);
    let status = net.nodes[0].speaker.peers(net.now).remove(0);
    assert_eq!(status.remote_as, Some(Asn(4_200_000_002)));
    assert_eq!((status.hold_time_seconds, status.keepalive_seconds), (9, 3));
    assert_eq!(status.families, Family::ALL);
    assert!(
        status
            .capabilities_received
            .contains(&"four-octet-as 4200000002".to_owned())
    );
    assert!(
        status
            .capabilities_sent
            .iter()
            .any(|name| name.starts_with("graceful-restart 120s notification"))
    );
    assert!(status.uptime_seconds.unwrap() >= 10);
    assert!(status.hold_remaining_seconds.unwrap() >= 5);
}
