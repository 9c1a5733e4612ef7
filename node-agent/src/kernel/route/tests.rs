mod changes;

use std::time::Duration;

use margay_proto::names::ROUTE_PROTOCOL;

use super::*;
use crate::kernel::events::{Event, Events};
use crate::kernel::testnet::{ip, isolated};

fn uplinks() -> [u32; 2] {
    for n in 0..2 {
        ip(&format!("link add up{n} type veth peer name far{n}"));
        ip(&format!("link set up{n} up"));
        ip(&format!("link set far{n} up"));
        ip(&format!("address add 172.31.{n}.11/24 dev up{n}"));
        ip(&format!("-6 address add fd31:{n}::11/64 dev up{n} nodad"));
    }
    ["up0", "up1"].map(|name| nix::net::if_::if_nametoindex(name).unwrap())
}

fn pod_link(name: &str) {
    ip(&format!("link add {name} type veth peer name pod0"));
    ip(&format!("link set {name} up"));
    ip("link set pod0 up");
}

fn via(gateways: &[(&str, u32)]) -> Route {
    let hops = gateways
        .iter()
        .map(|(gateway, ifindex)| NextHop::new(gateway.parse().unwrap(), *ifindex));
    Route {
        target: Target::Via(hops.collect()),
        src: None,
    }
}

fn set(routes: Vec<(&str, Route)>) -> RouteSet {
    routes
        .into_iter()
        .map(|(prefix, route)| (prefix.parse().unwrap(), route))
        .collect()
}

/// A bit of everything, in both families.
fn everything(up: [u32; 2]) -> RouteSet {
    let pod = |src: &str| Route {
        target: Target::Pod {
            link: "mgy000000000001".into(),
        },
        src: src.parse().ok(),
    };
    let unreachable = || Route {
        target: Target::Unreachable,
        src: None,
    };
    set(vec![
        ("10.244.0.5/32", pod("172.31.0.11")),
        ("fd00:10:244::5/128", pod("fd31:0::11")),
        ("10.244.0.0/26", unreachable()),
        ("fd00:10:244::/122", unreachable()),
        (
            "10.244.1.0/26",
            via(&[("172.31.0.1", up[0]), ("172.31.1.1", up[1])]),
        ),
        (
            "10.244.2.0/26",
            via(&[("172.31.0.1", up[0]), ("172.31.1.1", up[1])]),
        ),
        ("10.244.3.0/26", via(&[("172.31.1.1", up[1])])),
        ("10.244.4.0/26", via(&[("fd31:0::1", up[0])])),
        (
            "fd00:10:244:0:1::/122",
            via(&[("fd31:0::1", up[0]), ("fd31:1::1", up[1])]),
        ),
    ])
}

async fn apply(sink: &mut RouteSink, routes: &RouteSet) -> Applied {
    let applied = sink.apply(routes).await.unwrap();
    assert!(applied.failed.is_empty(), "{:?}", applied.failed);
    applied
}

/// Waits until the sink says that it was hurt.
async fn hurt(events: &mut Events, sink: &mut RouteSink) {
    let wait = async { while !sink.observe(&events.next().await.unwrap()) {} };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("the sink never noticed");
}

/// The events of fifty milliseconds that are about our routes and nexthops; new links cause others for a while.
async fn told_of_ours(events: &mut Events) -> Vec<Event> {
    let mut told = Vec::new();
    let collect = async {
        loop {
            told.extend(events.next().await.unwrap().events);
        }
    };
    let never_ends: Result<(), _> = tokio::time::timeout(Duration::from_millis(50), collect).await;
    assert!(never_ends.is_err());
    told.retain(|event| match event {
        Event::Route { entry, .. } | Event::RouteGone(entry) => entry.protocol == ROUTE_PROTOCOL,
        Event::Nexthop(_) | Event::NexthopGone(_) => true,
        _ => false,
    });
    told
}

/// What `ip` shows of ours.
fn shown(family: &str) -> String {
    ip(&format!("{family} route show proto 83"))
}

#[test]
fn all_kinds_of_routes_appear_and_go() {
    isolated(async || {
        let up = uplinks();
        pod_link("mgy000000000001");
        let mut sink = RouteSink::open().unwrap();
        let all = everything(up);
        let applied = apply(&mut sink, &all).await;
        assert_eq!(applied.routes_written, all.len());
        let (v4, v6) = (shown("-4"), shown("-6"));
        assert!(
            v4.contains("10.244.0.5 dev mgy000000000001 scope link src 172.31.0.11 metric 2048"),
            "{v4}"
        );
        assert!(v4.contains("unreachable 10.244.0.0/26 metric 2048"), "{v4}");
        assert!(
            v6.contains("fd00:10:244::5 dev mgy000000000001 src fd31::11 metric 2048"),
            "{v6}"
        );
        assert!(
            v6.contains("unreachable fd00:10:244::/122 dev lo metric 2048"),
            "{v6}"
        );
        for (destination, ways) in [
            ("10.244.1.7", ["172.31.0.1", "172.31.1.1"]),
            ("fd00:10:244:0:1::7", ["fd31::1", "fd31:1::1"]),
        ] {
            let family = if destination.contains(':') {
                "-6"
            } else {
                "-4"
            };
            let route = ip(&format!(
                "{family} route show to match {destination} proto 83"
            ));
            assert!(ways.iter().all(|way| route.contains(way)), "{route}");
        }
        assert!(ip("route get 10.244.4.1").contains("via inet6 fd31::1 dev up0"));
        assert_eq!(apply(&mut sink, &all).await.routes_written, 0);
        let gone = apply(&mut sink, &RouteSet::new()).await;
        assert_eq!(gone.routes_removed, all.len());
        assert_eq!((shown("-4"), shown("-6")), (String::new(), String::new()));
        assert_eq!(ip("nexthop show"), "");
        assert!(
            ip("route show").contains("172.31.0.0/24 dev up0 proto kernel"),
            "other routes are left alone"
        );
    });
}

#[test]
fn item_125_a_restarted_agent_finds_its_routes_and_writes_nothing() {
    isolated(async || {
        let up = uplinks();
        pod_link("mgy000000000001");
        let all = everything(up);
        apply(&mut RouteSink::open().unwrap(), &all).await;
        let mut sink = RouteSink::open().unwrap();
        let mut events = Events::subscribe(&[]).unwrap();
        let adopted = sink.adopt().await.unwrap();
        assert_eq!(adopted.routes, all);
        assert!(apply(&mut sink, &all).await.is_unchanged());
        assert_eq!(
            told_of_ours(&mut events).await,
            [],
            "the kernel saw no change"
        );
    });
}

#[test]
fn item_121_losing_a_next_hop_is_one_write() {
    isolated(async || {
        let up = uplinks();
        let prefixes: Vec<String> = (0..1000)
            .map(|n| format!("10.{}.{}.0/26", n / 250, n % 250))
            .collect();
        let all =
            |hops: &[(&str, u32)]| set(prefixes.iter().map(|p| (p.as_str(), via(hops))).collect());
        let mut sink = RouteSink::open().unwrap();
        assert_eq!(
            apply(
                &mut sink,
                &all(&[("172.31.0.1", up[0]), ("172.31.1.1", up[1])])
            )
            .await
            .routes_written,
            1000
        );
        let applied = apply(&mut sink, &all(&[("172.31.1.1", up[1])])).await;
        assert_eq!(
            (
                applied.routes_written,
                applied.nexthops_written,
                applied.nexthops_removed
            ),
            (0, 1, 1)
        );
        assert!(ip("route get 10.1.7.1").contains("via 172.31.1.1"));
    });
}

#[test]
fn item_123_what_others_delete_or_replace_comes_back() {
    isolated(async || {
        let up = uplinks();
        pod_link("mgy000000000001");
        let all = everything(up);
        let mut sink = RouteSink::open().unwrap();
        let mut events = Events::subscribe(&[sink.port()]).unwrap();
        apply(&mut sink, &all).await;
        let before = (shown("-4"), shown("-6"));
        assert_eq!(
            told_of_ours(&mut events).await,
            [],
            "its own writes are not told"
        );
        for harm in [
            "route flush root 10.244.0.0/26",
            "-6 route flush root fd00:10:244::/122",
            "route del 10.244.1.0/26 metric 2048",
            "-6 route del fd00:10:244:0:1::/122 metric 2048",
            "nexthop flush proto 83",
            "route replace unreachable 10.244.3.0/26 metric 2048 proto 83",
            "route replace 10.244.2.0/26 via 172.31.0.9 metric 2048 proto 83",
        ] {
            ip(harm);
            assert_ne!((shown("-4"), shown("-6")), before, "{harm}");
            hurt(&mut events, &mut sink).await;
            // The events of one harm may come in several batches; the sink converges on the last.
            let mut tries = 0;
            while (shown("-4"), shown("-6")) != before {
                apply(&mut sink, &all).await;
                tries += 1;
                assert!(tries < 5, "{harm}: {} {}", shown("-4"), shown("-6"));
                if let Ok(batch) =
                    tokio::time::timeout(Duration::from_millis(20), events.next()).await
                {
                    sink.observe(&batch.unwrap());
                }
            }
            while let Ok(batch) =
                tokio::time::timeout(Duration::from_millis(20), events.next()).await
            {
                sink.observe(&batch.unwrap());
            }
            apply(&mut sink, &all).await;
        }
    });
}

#[test]
fn item_122_a_dead_uplink_costs_its_next_hops_only() {
    isolated(async || {
        let up = uplinks();
        let routes = set(vec![
            (
                "10.244.1.0/26",
                via(&[("172.31.0.1", up[0]), ("172.31.1.1", up[1])]),
            ),
            ("10.244.3.0/26", via(&[("172.31.1.1", up[1])])),
            (
                "fd00:10:244:0:1::/122",
                via(&[("fd31:0::1", up[0]), ("fd31:1::1", up[1])]),
            ),
        ]);
        let mut sink = RouteSink::open().unwrap();
        let mut events = Events::subscribe(&[sink.port()]).unwrap();
        apply(&mut sink, &routes).await;
        ip("link set up1 down");
        hurt(&mut events, &mut sink).await;
        let applied = sink.apply(&routes).await.unwrap();
        let failed: Vec<String> = applied
            .failed
            .iter()
            .map(|f| f.prefix.to_string())
            .collect();
        for prefix in routes.keys() {
            assert!(failed.contains(&prefix.to_string()), "{prefix}: {failed:?}");
        }
        assert!(
            applied.failed[0]
                .error
                .to_string()
                .contains("10.244.1.0/26"),
            "{}",
            applied.failed[0].error
        );
        assert!(ip("route get 10.244.1.7").contains("via 172.31.0.1"));
        assert!(ip("-6 route get fd00:10:244:0:1::7").contains("via fd31::1"));
        assert!(!shown("-4").contains("10.244.3.0"));
        ip("link set up1 up");
        ip("-6 address add fd31:1::11/64 dev up1 nodad");
        apply(&mut sink, &routes).await;
        assert!(shown("-4").contains("10.244.3.0"));
        assert!(sink.apply(&routes).await.unwrap().is_unchanged());
    });
}
