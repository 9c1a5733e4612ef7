//! The speaker against real routers: BIRD and FRR of the distribution, in network namespaces of their own.
//!
//! Needs root and the packages `bird2`, `frr`, `iproute2` and `util-linux`; without them every test fails and says so.
//!
//! ```text
//!   namespace "ours"                       namespace "router"
//!   speaker 10.99.0.2, fd99::2  ── veth ──  10.99.0.1, fd99::1  bird | bgpd
//!   AS 4200000010, announces                AS 65001, announces
//!   10.244.0.0/26, fd00:10:244::/122        198.51.100.0/24, 2001:db8:100::/48
//! ```

#![allow(clippy::unwrap_used, reason = "a test panics on everything unexpected")]

mod bfd;
mod bird;
mod filters;
mod frr;
mod herd;
mod net;
mod ours;
mod router;
mod slow_reader;
mod standalone;
mod transport;

use std::time::{Duration, Instant};

use margay_bgp::{Asn, Family, RemoteAs, State};
use ours::{OUR_AS, Ours};
use router::Router;

const OUR_ROUTES: [&str; 2] = ["10.244.0.0/26", "fd00:10:244::/122"];
const THEIR_ROUTES: [(&str, &str); 2] = [
    ("198.51.100.0/24", "10.99.0.1"),
    ("2001:db8:100::/48", "fd99::1"),
];

/// Polls until there is an answer; the panic says what was waited for.
fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "30 s passed without: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn established(ours: &Ours) {
    until("session established", || {
        (ours.session().state == State::Established).then_some(())
    });
}

/// Both sides have each other's routes of both families, with next hops of the right family, over the one IPv4 session.
fn routes_go_both_ways(router: &impl Router, ours: &Ours) {
    established(ours);
    for (prefix, next_hop) in OUR_ROUTES.into_iter().zip(["10.99.0.2", "fd99::2"]) {
        until(&format!("{prefix} via {next_hop} at the router"), || {
            router
                .route(prefix)
                .filter(|route| route.contains(next_hop))
                .map(drop)
        });
    }
    for (prefix, next_hop) in THEIR_ROUTES {
        until(&format!("{prefix} via {next_hop} at ours"), || {
            let learned = ours.handle.learned.borrow().clone();
            let route = learned.get(&prefix.parse().unwrap())?.clone();
            (route.paths[0].next_hop.address.to_string() == next_hop).then_some(())
        });
    }
    assert!(ours.handle.learned.borrow().deferral_ended);
    let peers = ours.peers();
    assert_eq!(peers.identity.unwrap().0, OUR_AS);
    let status = &peers.peers[0].status;
    assert_eq!(status.remote_as, Some(Asn(65001)));
    // What the gRPC answer goes by.
    assert!(
        status
            .capabilities_received
            .iter()
            .any(|text| text.starts_with("graceful-restart"))
    );
    for family in Family::ALL {
        let counts = status.prefixes[family];
        // FRR also shows us our own route, which is received and not accepted: our AS is in its path.
        assert_eq!((counts.accepted, counts.advertised), (1, 1), "{family}");
    }
}

/// Our side goes away without a word and comes back; the router never stops using our routes.
fn graceful_restart(router: &impl Router, ours: Ours) {
    routes_go_both_ways(router, &ours);
    let desired = ours.stop();
    until("the router notices that we are away", || {
        (!router.established()).then_some(())
    });
    for prefix in OUR_ROUTES {
        assert!(
            router.route(prefix).is_some(),
            "{prefix} is gone while we restart"
        );
    }
    let ours = Ours::start(router.net(), ours::restarting(&desired));
    until(
        "session established again, with the routes kept throughout",
        || {
            for prefix in OUR_ROUTES {
                assert!(
                    router.route(prefix).is_some(),
                    "{prefix} is gone while we restart"
                );
            }
            router.established().then_some(())
        },
    );
    routes_go_both_ways(router, &ours);
    for prefix in OUR_ROUTES {
        until(&format!("{prefix} is fresh again"), || {
            router
                .route(prefix)
                .filter(|route| !router.is_stale(route))
                .map(drop)
        });
    }
}

/// A peer of another AS than configured: our side says which.
fn wrong_as(router: &impl Router) {
    let mut desired = ours::desired();
    desired.peers[0].remote_as = RemoteAs::Number(Asn(65999));
    let ours = Ours::start(router.net(), desired);
    let reason = until("a reason", || {
        Some(ours.session().reason).filter(|reason| reason.contains("AS"))
    });
    assert!(
        reason.contains("65001") && reason.contains("65999"),
        "{reason}"
    );
    assert_ne!(ours.session().state, State::Established);
}

/// The peer thinks that we are of another AS: our side passes on what it said.
fn refused_as(ours: &Ours) {
    let reason = until("a reason", || {
        Some(ours.session().reason).filter(|reason| !reason.is_empty())
    });
    assert!(reason.to_lowercase().contains("as"), "{reason}");
    assert_ne!(ours.session().state, State::Established);
}

#[test]
fn fifty_thousand_routes_between_two_of_ours() {
    let net = net::Net::new();
    let v4 = (0..25_000_u32).map(|i| {
        format!("100.{}.{}.0/24", 64 + i / 256, i % 256)
            .parse()
            .unwrap()
    });
    let v6 = (0..25_000_u32).map(|i| format!("2001:db8:{i:x}::/48").parse().unwrap());
    let theirs = Ours::start_at(&net.router, ours::opposite(v4.chain(v6)));
    let ours = Ours::start(&net, ours::desired());
    let count = |ours: &Ours| Family::ALL.map(|family| ours.handle.learned.borrow().count(family));
    until("all routes learned", || {
        (count(&ours) == [25_000, 25_000]).then_some(())
    });
    until("ours over there", || {
        (count(&theirs) == [1, 1]).then_some(())
    });
    let before = ours.handle.learned.borrow().clone();
    theirs.desire(|desired| desired.originations.truncate(1));
    until("withdrawals", || (count(&ours) == [1, 0]).then_some(()));
    assert_eq!(
        ours.handle.learned.borrow().changes_since(&before).len(),
        49_999
    );
    assert_eq!(ours.session().state, State::Established);
}
