use std::time::Duration;

use super::*;
use crate::kernel::events::Events;
use crate::kernel::testnet::{ip, isolated};

/// Feeds events until the snapshot satisfies the condition.
async fn until(
    events: &mut Events,
    underlay: &mut Underlay,
    what: &str,
    holds: impl Fn(&Snapshot) -> bool,
) {
    let wait = async {
        while !holds(&underlay.snapshot()) {
            let batch = events.next().await.unwrap();
            underlay.observe(&batch).unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

fn hops(snapshot: &Snapshot, address: &str) -> Vec<(Option<String>, String)> {
    let resolution = snapshot.resolve(address.parse().unwrap());
    resolution
        .into_iter()
        .flat_map(|r| r.hops)
        .map(|h| (h.gateway.map(|g| g.to_string()), h.name))
        .collect()
}

fn uplinks() {
    for (n, name) in ["up0", "up1"].iter().enumerate() {
        ip(&format!(
            "link add {name} mtu 900{n} type veth peer name far{n}"
        ));
        ip(&format!("link set {name} up"));
        ip(&format!("link set far{n} up"));
        ip(&format!("address add 172.31.{n}.11/24 dev {name}"));
        ip(&format!("-6 address add fd31:{n}::11/64 dev {name} nodad"));
    }
}

#[test]
fn item_072_next_hops_resolve_through_the_nodes_own_routes_only() {
    isolated(async || {
        uplinks();
        ip("route add default via 172.31.0.1");
        ip("-6 route add default via fd31:1::1");
        ip("route add 10.0.0.0/8 nexthop via 172.31.0.1 nexthop via 172.31.1.1");
        ip("route add 10.244.0.0/16 via 172.31.1.1 proto 83 metric 2048");
        ip("route add unreachable 10.9.0.0/16");
        ip("link add mgy000000000001 type veth peer name pod");
        ip("link set mgy000000000001 up");
        ip("route add 10.245.0.5/32 dev mgy000000000001");
        let snapshot = Underlay::open().unwrap().snapshot();
        let via = |gateway: &str, name: &str| (Some(gateway.to_owned()), name.to_owned());
        assert_eq!(hops(&snapshot, "172.31.0.9"), [(None, "up0".into())]);
        assert_eq!(hops(&snapshot, "203.0.113.1"), [via("172.31.0.1", "up0")]);
        assert_eq!(hops(&snapshot, "2001:db8::1"), [via("fd31:1::1", "up1")]);
        assert_eq!(
            hops(&snapshot, "10.1.0.1"),
            [via("172.31.0.1", "up0"), via("172.31.1.1", "up1")]
        );
        assert_eq!(
            hops(&snapshot, "10.244.0.1").len(),
            2,
            "our own route does not count"
        );
        assert_eq!(
            hops(&snapshot, "10.245.0.5").len(),
            2,
            "nor does one of a pod's link"
        );
        assert_eq!(hops(&snapshot, "10.9.1.1"), []);
        assert_eq!(
            hops(&snapshot, "172.31.0.11"),
            [],
            "the node itself is no next hop"
        );
        let connected = snapshot.resolve("172.31.1.9".parse().unwrap()).unwrap();
        assert!(connected.connected);
        assert_eq!(
            connected
                .next_hops("172.31.1.9".parse().unwrap())
                .first()
                .unwrap()
                .gateway
                .to_string(),
            "172.31.1.9"
        );
        assert_eq!(
            snapshot.mtu_towards("10.1.0.1".parse().unwrap()),
            Some(9000)
        );
        assert_eq!(
            snapshot
                .link_of_address("172.31.1.11".parse().unwrap())
                .unwrap()
                .name,
            "up1"
        );
        assert_eq!(
            snapshot.source_towards("203.0.113.1".parse().unwrap()),
            "172.31.0.11".parse().ok()
        );
        assert_eq!(
            snapshot.source_towards("fd31:0::77".parse().unwrap()),
            "fd31:0::11".parse().ok()
        );
        assert!(!snapshot.links().any(|l| l.name.starts_with("mgy")));
    });
}

#[test]
fn item_122_a_lost_link_or_address_takes_its_routes_although_the_kernel_is_silent() {
    isolated(async || {
        uplinks();
        ip("route add 203.0.113.0/24 via 172.31.1.1");
        ip("route add default via 172.31.0.1");
        let mut events = Events::subscribe(&[]).unwrap();
        let mut underlay = Underlay::open().unwrap();
        assert_eq!(hops(&underlay.snapshot(), "203.0.113.1")[0].1, "up1");
        ip("link set up1 down");
        until(
            &mut events,
            &mut underlay,
            "falls back to the default route",
            |s| hops(s, "203.0.113.1").first().is_some_and(|h| h.1 == "up0"),
        )
        .await;
        ip("link set up1 up");
        ip("route add 203.0.113.0/24 via 172.31.1.1 src 172.31.1.11");
        until(&mut events, &mut underlay, "comes back", |s| {
            hops(s, "203.0.113.1").first().is_some_and(|h| h.1 == "up1")
        })
        .await;
        ip("link set far1 down");
        until(&mut events, &mut underlay, "carrier loss", |s| {
            hops(s, "203.0.113.1").first().is_some_and(|h| h.1 == "up0")
        })
        .await;
        ip("link set far1 up");
        until(&mut events, &mut underlay, "carrier", |s| {
            hops(s, "203.0.113.1").first().is_some_and(|h| h.1 == "up1")
        })
        .await;
        ip("address del 172.31.1.11/24 dev up1");
        until(&mut events, &mut underlay, "address loss", |s| {
            hops(s, "203.0.113.1").first().is_some_and(|h| h.1 == "up0")
        })
        .await;
        ip("link del up0");
        until(&mut events, &mut underlay, "no way at all", |s| {
            hops(s, "203.0.113.1").is_empty()
        })
        .await;
        assert_eq!(
            *underlay.snapshot(),
            *Underlay::open().unwrap().snapshot(),
            "the mirror is what a fresh dump says"
        );
    });
}

#[test]
fn the_mirror_follows_changes_of_every_kind() {
    isolated(async || {
        uplinks();
        let mut events = Events::subscribe(&[]).unwrap();
        let mut underlay = Underlay::open().unwrap();
        for change in [
            "-6 route add 2001:db8::/32 via fd31:0::1 metric 10",
            "-6 route append 2001:db8::/32 via fd31:1::1 metric 10",
            "-6 route del 2001:db8::/32 via fd31:0::1 metric 10",
            "-6 route replace 2001:db8::/32 via fd31:0::2 metric 10",
            "route add 198.51.100.0/24 nexthop via 172.31.0.1 nexthop via 172.31.1.1",
            "route replace 198.51.100.0/24 via 172.31.1.1",
            "route add 198.51.100.0/24 via 172.31.0.1 metric 7",
            "route del 198.51.100.0/24 metric 7",
            "link set up0 mtu 1400",
            "link set up0 name uplink",
            "-6 address del fd31:1::11/64 dev up1",
            "address add 172.31.1.12/24 dev up1",
            "route flush 198.51.100.0/24",
            "link set far1 down",
        ] {
            ip(change);
            // Something of this very change may still be on its way (a link is down before its carrier is known to be).
            until(&mut events, &mut underlay, change, |s| {
                *s == *Underlay::open().unwrap().snapshot()
            })
            .await;
        }
        let batch = Batch {
            events: Vec::new(),
            overrun: true,
        };
        assert!(
            !underlay.observe(&batch).unwrap(),
            "a resync of a true mirror changes nothing"
        );
    });
}
