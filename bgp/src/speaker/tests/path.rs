//! What the loss of a path does to a session and its routes.

use super::*;
use crate::bfd::{Diagnostic, Loss};

const LOSS: Loss = Loss {
    diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
    shares_fate: true,
    detection_time: Duration::from_millis(900),
};
const INDEPENDENT: Loss = Loss {
    shares_fate: false,
    ..LOSS
};

fn up() -> Net {
    let mut net = pair(65001, 65002);
    net.originate(0, &["10.1.0.0/16"]);
    net.originate(1, &["10.2.0.0/16"]);
    net.advance(SECOND * 5);
    assert_eq!((net.learned(0).len(), net.learned(1).len()), (1, 1));
    net
}

/// Connections of node 1 are reset, and nobody answers there any more.
fn vanish(net: &mut Net) {
    net.cut(1);
    net.dead.push(1);
    net.settle();
    assert_eq!(net.learned(0).len(), 1, "kept while the peer restarts");
}

fn lose(net: &mut Net, loss: &Loss) -> bool {
    let (now, address) = (net.now, net.nodes[1].address);
    let acted = net.nodes[0].speaker.path_lost(address, loss, now);
    net.settle();
    acted
}

#[test]
fn item_36_a_lost_path_ends_the_session_by_cease_6_10_and_its_routes_go() {
    let mut net = up();
    assert_eq!(net.learned(0).len(), 1);
    net.dead.push(1);
    assert!(lose(&mut net, &LOSS));
    assert!(net.learned(0).is_empty(), "also under graceful restart");
    let status = &net.nodes[0].speaker.peers(net.now)[0];
    assert_eq!(
        status.last_sent.as_ref().unwrap().reason,
        "hard reset (6/9): BFD down (6/10)"
    );
    let told = |event: &Event| matches!(event, Event::PeerDown { reason, stale: false, .. } if reason == "BFD: control detection time expired");
    assert!(net.nodes[0].events.iter().any(told));
}

#[test]
fn item_36_the_peer_hears_why_and_both_come_back() {
    let mut net = up();
    assert!(lose(&mut net, &LOSS));
    let status = &net.nodes[1].speaker.peers(net.now)[0];
    assert_eq!(
        status.last_received.as_ref().unwrap().reason,
        "hard reset (6/9): BFD down (6/10)"
    );
    net.advance(SECOND * 30);
    assert!(net.all_up());
    assert_eq!(net.learned(0).len(), 1);
}

#[test]
fn item_36_without_graceful_restart_the_cease_is_a_plain_one() {
    let mut net = Net::new(vec![speaker(1, 65001), speaker(2, 65002)]);
    for (node, other) in [(0, 1), (1, 0)] {
        let config = peer(node as u8 + 1, other as u8 + 1, 65001 + other);
        let plain = PeerConfig {
            graceful_restart: false,
            ..config
        };
        net.apply(node, vec![plain]);
    }
    net.advance(SECOND * 10);
    assert!(net.all_up());
    assert!(lose(&mut net, &LOSS));
    let status = &net.nodes[1].speaker.peers(net.now)[0];
    assert_eq!(
        status.last_received.as_ref().unwrap().reason,
        "BFD down (6/10)"
    );
}

#[test]
fn item_119_a_restart_goes_on_when_bfd_shares_its_fate() {
    let mut net = up();
    vanish(&mut net);
    assert!(!lose(&mut net, &LOSS));
    assert_eq!(net.learned(0).len(), 1);
}

#[test]
fn item_119_a_restart_is_given_up_when_bfd_is_independent() {
    let mut net = up();
    vanish(&mut net);
    assert!(lose(&mut net, &INDEPENDENT));
    assert!(net.learned(0).is_empty());
}

#[test]
fn item_119_a_session_that_is_back_outlives_the_loss_of_the_restart_before() {
    let mut net = up();
    net.replace(1, speaker(2, 65002));
    net.apply(1, vec![peer(2, 1, 65001)]);
    net.advance(Duration::from_millis(900));
    assert!(net.all_up());
    assert!(!lose(&mut net, &LOSS));
    assert!(net.all_up());
    // Later it is a loss of its own.
    net.advance(SECOND * 2);
    assert!(lose(&mut net, &LOSS));
}

#[test]
fn a_lost_path_to_nobody_is_nothing() {
    let mut net = up();
    let now = net.now;
    let unknown = IpAddr::from([198, 51, 100, 1]);
    assert!(!net.nodes[0].speaker.path_lost(unknown, &LOSS, now));
    assert!(net.all_up());
}
