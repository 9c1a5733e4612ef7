//! What guards a connection: TCP MD5 (RFC 2385) and TTL security (RFC 5082), against BIRD, FRR and ourselves.

use margay_agent::speaker::Desired;
use margay_bgp::{Password, Protection, Reach, State};

use crate::bird::{Bird, V4, V6};
use crate::frr::Frr;
use crate::net::{Net, Place};
use crate::ours::{self, OUR_AS, Ours};
use crate::router::Router;
use crate::{THEIR_ROUTES, established, routes_go_both_ways, until};

fn with_password(password: &str) -> Protection {
    Protection {
        password: Some(Password(password.to_owned())),
        ..Protection::default()
    }
}

fn within(reach: Reach) -> Protection {
    Protection {
        reach,
        ..Protection::default()
    }
}

/// To the peer over one transport.
fn desired((router, own): (&str, &str), protection: Protection) -> Desired {
    let mut desired = ours::desired();
    let peer = &mut desired.peers[0];
    peer.address = router.parse().unwrap();
    peer.source = own.parse().ok();
    peer.protection = protection;
    desired
}

/// The kernel of `place` drops something for the reason `counter`, and nobody is established.
fn dropped(place: &Place, counter: &str, ours: &Ours) {
    let before = place.count(counter);
    until(&format!("the kernel counts {counter}"), || {
        assert_ne!(ours.session().state, State::Established);
        (place.count(counter) > before).then_some(())
    });
}

fn protect(ours: &Ours, protection: Protection) {
    ours.desire(|desired| desired.peers[0].protection = protection);
}

/// What must not change when nothing is lost: how often the session came up, and the number of the snapshot of learned routes.
fn untouched(ours: &Ours) -> (u64, u64) {
    let count = ours.peers().peers[0].status.established_count;
    (count, ours.handle.learned.borrow().generation)
}

#[test]
fn conformance_110_bird_takes_the_right_password_only() {
    for transport in [V4, V6] {
        let bird = Bird::start_with(
            Net::new(),
            transport,
            OUR_AS.0,
            "password \"right\"; passive;",
        );
        let ours = Ours::start(&bird.net, desired(transport, Protection::default()));
        dropped(&bird.net.router, "TCPMD5NotFound", &ours);
        protect(&ours, with_password("wrong"));
        dropped(&bird.net.router, "TCPMD5Failure", &ours);
        protect(&ours, with_password("right"));
        routes_go_both_ways(&bird, &ours);
    }
}

#[test]
fn conformance_110_we_take_the_right_password_only() {
    for transport in [V4, V6] {
        for (more, counter) in [
            ("", "TCPMD5NotFound"),
            ("password \"wrong\";", "TCPMD5Failure"),
        ] {
            let net = Net::new();
            let mut desired = desired(transport, with_password("right"));
            desired.peers[0].passive = true;
            // First without the peer: its key comes to the listening socket with it.
            let peers = std::mem::take(&mut desired.peers);
            let place = net.ours.handle();
            let ours = Ours::start_at(&place, desired);
            ours.desire(|desired| desired.peers = peers);
            let bird = Bird::start_with(net, transport, OUR_AS.0, more);
            dropped(&place, counter, &ours);
            drop(bird);
        }
        let bird = Bird::start_with(Net::new(), transport, OUR_AS.0, "password \"right\";");
        let mut desired = desired(transport, with_password("right"));
        desired.peers[0].passive = true;
        let ours = Ours::start(&bird.net, desired);
        routes_go_both_ways(&bird, &ours);
        // The key goes with the peer: what is signed is now unexpected.
        ours.desire(|desired| desired.peers.clear());
        dropped(&bird.net.ours, "TCPMD5Unexpected", &ours);
    }
}

/// FRR resets the session when its own password changes, and was seen to forget our routes then; its routes are kept here throughout.
#[test]
fn conformance_110_frr_gets_another_password_and_its_routes_stay_here() {
    let frr = Frr::start_with(
        OUR_AS.0,
        "neighbor 10.99.0.2 password old\n bgp graceful-restart preserve-fw-state",
    );
    let ours = Ours::start(&frr.net, desired(V4, with_password("old")));
    routes_go_both_ways(&frr, &ours);
    let kept = || {
        let learned = ours.handle.learned.borrow().clone();
        for (prefix, _) in THEIR_ROUTES {
            let route = learned.get(&prefix.parse().unwrap());
            assert!(route.is_some(), "{prefix} is gone here");
        }
    };
    frr.configure(&["router bgp 65001", "neighbor 10.99.0.2 password new"]);
    protect(&ours, with_password("new"));
    until(
        "the session is up again, with the routes kept throughout",
        || {
            kept();
            let again = ours.peers().peers[0].status.established_count > 1;
            (again && ours.session().state == State::Established).then_some(())
        },
    );
    routes_go_both_ways(&frr, &ours);
}

/// Two of ours: the session lives on, and not a single route is touched.
#[test]
fn conformance_110_a_password_changes_on_the_live_session() {
    for (ours_at, theirs_at) in [
        (V4, ("10.99.0.2", "10.99.0.1")),
        (V6, ("fd99::2", "fd99::1")),
    ] {
        let net = Net::new();
        let mut other = ours::opposite(
            THEIR_ROUTES
                .iter()
                .map(|(prefix, _)| prefix.parse().unwrap()),
        );
        let peer = &mut other.peers[0];
        (peer.address, peer.source) = (theirs_at.0.parse().unwrap(), theirs_at.1.parse().ok());
        peer.protection = with_password("old");
        let theirs = Ours::start_at(&net.router, other);
        let ours = Ours::start(&net, desired(ours_at, with_password("old")));
        for side in [&ours, &theirs] {
            until("both routes", || {
                (side.handle.learned.borrow().iter().count() == 2).then_some(())
            });
        }
        let before = [untouched(&ours), untouched(&theirs)];
        // One side first: what it sends is dropped until the other follows.
        protect(&ours, with_password("new"));
        let failed = net.router.count("TCPMD5Failure");
        ours.desire(|desired| desired.originations.truncate(1));
        until("the old key drops the new one's segments", || {
            (net.router.count("TCPMD5Failure") > failed).then_some(())
        });
        protect(&theirs, with_password("new"));
        until("the withdrawal arrives", || {
            (theirs.handle.learned.borrow().iter().count() == 1).then_some(())
        });
        let after = [untouched(&ours), untouched(&theirs)];
        assert_eq!(after[0], before[0], "nothing of theirs was touched");
        assert_eq!(after[1].0, before[1].0, "the session lived on");
        assert_eq!(
            after[1].1,
            before[1].1 + 1,
            "one route was withdrawn, and nothing else happened"
        );
    }
}

#[test]
fn conformance_112_bird_and_we_are_neighbours_with_255_and_strangers_with_254() {
    for transport in [V4, V6] {
        let bird = Bird::start_with(Net::new(), transport, OUR_AS.0, "ttl security on;");
        let ours = Ours::start(&bird.net, desired(transport, within(Reach::Secured(1))));
        routes_go_both_ways(&bird, &ours);
        // From now on what we send looks as if a router had passed it on.
        protect(&ours, within(Reach::Within(254)));
        let before = bird.net.router.count("TCPMinTTLDrop");
        until("BIRD's kernel drops TTL 254", || {
            (bird.net.router.count("TCPMinTTLDrop") > before).then_some(())
        });
        until("BIRD gives us up", || (!bird.established()).then_some(()));
        protect(&ours, within(Reach::Secured(1)));
        routes_go_both_ways(&bird, &ours);
    }
}

#[test]
fn conformance_112_we_drop_a_bird_that_does_not_send_255() {
    for transport in [V4, V6] {
        // An external neighbour of BIRD gets TTL 1.
        let bird = Bird::start_with(Net::new(), transport, OUR_AS.0, "passive;");
        let ours = Ours::start(&bird.net, desired(transport, within(Reach::Secured(1))));
        dropped(&bird.net.ours, "TCPMinTTLDrop", &ours);
        protect(&ours, within(Reach::Within(1)));
        established(&ours);
    }
}

#[test]
fn conformance_112_frr_with_ttl_security() {
    let frr = Frr::start_with(OUR_AS.0, "neighbor 10.99.0.2 ttl-security hops 1");
    let ours = Ours::start(&frr.net, desired(V4, within(Reach::Secured(1))));
    routes_go_both_ways(&frr, &ours);
}
