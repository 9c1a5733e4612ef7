use super::*;

fn restarting(number: u8, asn: u32) -> SpeakerConfig {
    SpeakerConfig {
        restarting: true,
        forwarding_preserved: Families::BOTH,
        ..speaker(number, asn)
    }
}

fn up() -> Net {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.originate(1, &["10.2.0.0/16", "fd00:2::/64"]);
    net.advance(SECOND * 5);
    assert_eq!((net.learned(0).len(), net.learned(1).len()), (2, 2));
    net
}

/// A new process on node 1 that knows its configuration and routes.
fn return_with(net: &mut Net, config: SpeakerConfig, prefixes: &[&str]) {
    net.replace(0, config);
    net.originate(0, prefixes);
    net.apply(0, vec![peer(1, 2, 65002)]);
}

#[test]
fn a_restarted_speaker_loses_no_route_on_either_side() {
    let mut net = up();
    net.nodes[1].speaker.learned_changes();
    return_with(
        &mut net,
        restarting(1, 65001),
        &["10.1.0.0/16", "fd00:1::/64"],
    );
    net.advance(SECOND * 60);
    assert!(net.all_up());
    // The helper's kernel never had to change.
    assert_eq!(net.nodes[1].speaker.learned_changes(), []);
    assert!(
        net.nodes[1]
            .events
            .iter()
            .any(|event| matches!(event, Event::PeerDown { stale: true, .. }))
    );
    // The restarter had everything before it said that the deferral is over.
    assert_eq!(net.learned(0).len(), 2);
    let ended = net.nodes[0]
        .events
        .iter()
        .position(|event| *event == Event::DeferralEnded)
        .unwrap();
    let last_end = net.nodes[0]
        .events
        .iter()
        .rposition(|event| matches!(event, Event::EndOfRib { .. }))
        .unwrap();
    assert!(last_end < ended);
}

#[test]
fn a_route_that_the_restarted_speaker_no_longer_has_is_swept_at_its_end_of_rib() {
    let mut net = up();
    return_with(&mut net, restarting(1, 65001), &["fd00:1::/64"]);
    net.advance(SECOND * 30);
    assert_eq!(net.learned(1), ["fd00:1::/64 via 2001:db8::1"]);
}

#[test]
fn without_the_forwarding_bit_stale_routes_go_at_once() {
    let mut net = up();
    let config = SpeakerConfig {
        forwarding_preserved: Families {
            v4: true,
            v6: false,
        },
        ..restarting(1, 65001)
    };
    net.replace(0, config);
    // No own routes are declared, so the restarter says nothing yet.
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.advance(SECOND * 4);
    assert!(net.all_up());
    assert_eq!(net.learned(1), ["10.1.0.0/16 via 192.0.2.1"]);
}

#[test]
fn a_peer_that_does_not_come_back_is_forgotten_after_its_restart_time() {
    let mut net = up();
    net.cut(0);
    net.dead.push(0);
    net.advance(SECOND * 119);
    assert_eq!(net.learned(1).len(), 2);
    let status = net.nodes[1].speaker.peers(net.now).remove(0);
    assert_eq!(status.prefixes.v4.stale, 1);
    assert!(status.stale_remaining_seconds.unwrap() <= 1);
    net.advance(SECOND * 2);
    assert!(net.learned(1).is_empty());
}

#[test]
fn hold_timer_expiry_keeps_routes_when_both_can_rfc_8538() {
    let mut net = up();
    net.dead.push(0);
    net.advance(SECOND * 20);
    assert_ne!(net.states(1), [State::Established]);
    assert_eq!(net.learned(1).len(), 2);
}

#[test]
fn a_new_connection_of_an_established_peer_is_its_restart() {
    let mut net = up();
    net.advance(SECOND * 5);
    // The helper does not see the old connection fail.
    let old: Vec<_> = net.nodes[1]
        .speaker
        .peers
        .values()
        .map(|peer| peer.established_count)
        .collect();
    assert_eq!(old, [1]);
    net.replace_unseen(0, restarting(1, 65001));
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    net.nodes[1].speaker.learned_changes();
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.advance(SECOND * 2);
    assert!(net.all_up());
    assert_eq!(net.nodes[1].speaker.learned_changes(), []);
    let down = net.nodes[1]
        .events
        .iter()
        .find(|event| matches!(event, Event::PeerDown { .. }))
        .unwrap();
    let expected = Event::PeerDown {
        peer: ip("192.0.2.1"),
        reason: "peer has restarted".into(),
        stale: true,
    };
    assert_eq!(*down, expected);
}

#[test]
fn a_second_connection_without_graceful_restart_is_refused() {
    let mut net = pair(65001, 65002);
    net.apply(
        1,
        vec![PeerConfig {
            graceful_restart: false,
            ..peer(2, 1, 65001)
        }],
    );
    net.advance(SECOND * 5);
    let now = net.now;
    let refused = net.nodes[1]
        .speaker
        .accept(ip("192.0.2.1"), ip("192.0.2.2"), now);
    assert_eq!(refused, Err(Refusal::AlreadyConnected(ip("192.0.2.1"))));
}

#[test]
fn the_second_loss_before_end_of_rib_forgets_what_was_not_told_again() {
    let mut net = up();
    // Comes back without its own routes known, so neither routes nor End-of-RIB are sent, and goes again.
    net.replace(0, restarting(1, 65001));
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.advance(SECOND * 4);
    assert!(net.all_up());
    assert_eq!(net.learned(1).len(), 2);
    net.cut(0);
    net.dead.push(0);
    net.settle();
    assert!(net.learned(1).is_empty());
}

#[test]
fn the_second_loss_before_end_of_rib_keeps_what_was_told_again() {
    let mut net = up();
    net.replace(0, restarting(1, 65001));
    net.originate(0, &["10.1.0.0/16", "fd00:1::/64"]);
    // The third peer is absent, so best path and End-of-RIB wait for it.
    net.apply(0, vec![peer(1, 2, 65002), peer(1, 3, 65003)]);
    net.advance(SECOND * 4);
    assert!(net.nodes[0].speaker.is_deferring());
    assert!(net.learned(0).is_empty());
    net.nodes[1].speaker.learned_changes();
    return_with(
        &mut net,
        restarting(1, 65001),
        &["10.1.0.0/16", "fd00:1::/64"],
    );
    net.advance(SECOND * 60);
    assert!(net.all_up());
    assert_eq!(net.nodes[1].speaker.learned_changes(), []);
    assert_eq!((net.learned(0).len(), net.learned(1).len()), (2, 2));
}

#[test]
fn deferral_is_bounded_when_a_peer_never_says_end_of_rib() {
    let mut net = Net::new(vec![
        restarting(1, 65001),
        restarting(2, 65002),
        speaker(3, 65003),
    ]);
    net.originate(0, &["10.1.0.0/16"]);
    net.apply(0, vec![peer(1, 2, 65002), peer(1, 3, 65003)]);
    net.apply(2, vec![peer(3, 1, 65001)]);
    net.originate(2, &["10.3.0.0/16"]);
    net.advance(SECOND * 4);
    // Peer 2 is absent: it is waited for, but not for ever.
    assert!(net.nodes[0].speaker.is_deferring());
    assert!(net.learned(0).is_empty());
    net.advance(SECOND * 2);
    assert!(!net.nodes[0].speaker.is_deferring());
    assert_eq!(net.learned(0), ["10.3.0.0/16 via 192.0.2.3"]);
    assert_eq!(net.learned(2), ["10.1.0.0/16 via 192.0.2.1"]);
}

#[test]
fn two_speakers_that_restart_together_wait_for_each_other_only_for_a_moment() {
    let mut net = up();
    net.replace(1, restarting(2, 65002));
    net.replace(0, restarting(1, 65001));
    net.originate(0, &["10.1.0.0/16"]);
    net.originate(1, &["10.2.0.0/16"]);
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(1, vec![peer(2, 1, 65001)]);
    net.advance(SECOND * 4);
    assert!(net.nodes[0].speaker.is_deferring());
    net.advance(SECOND * 2);
    assert_eq!(net.learned(0), ["10.2.0.0/16 via 192.0.2.2"]);
    assert_eq!(net.learned(1), ["10.1.0.0/16 via 192.0.2.1"]);
}

#[test]
fn a_peer_that_says_it_restarts_is_given_a_moment_to_tell_its_routes() {
    let mut net = up();
    // As FRR does for two minutes after its start: R bit set, routes a little later than the session.
    net.replace(1, restarting(2, 65002));
    net.replace(0, restarting(1, 65001));
    net.originate(0, &["10.1.0.0/16"]);
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.apply(1, vec![peer(2, 1, 65001)]);
    net.advance(SECOND);
    assert!(
        net.nodes[0].speaker.is_deferring(),
        "pruning now would cut what the kernel forwards"
    );
}

#[test]
fn a_planned_restart_says_nothing_and_keeps_the_routes() {
    let mut net = up();
    let now = net.now;
    net.nodes[0].speaker.shutdown(ShutdownKind::Restart, now);
    assert!(net.nodes[0].speaker.poll_output().is_none());
    net.cut(0);
    net.settle();
    assert_eq!(net.learned(1).len(), 2);
    assert!(net.nodes[1].speaker.peers(now)[0].last_received.is_none());
}

#[test]
fn the_deferral_waits_until_next_hops_are_judged() {
    let mut net = up();
    net.replace(0, restarting(1, 65001));
    net.nodes[0].resolves = false;
    net.originate(0, &[]);
    net.apply(0, vec![peer(1, 2, 65002)]);
    net.advance(SECOND * 4);
    // Judged as unresolved: that is an answer too.
    assert!(!net.nodes[0].speaker.is_deferring());
    assert!(net.learned(0).is_empty());
}

#[test]
fn a_first_start_defers_nothing() {
    let mut net = pair(65001, 65002);
    net.settle();
    assert_eq!(net.nodes[0].events.first(), Some(&Event::DeferralEnded));
}
