//! What a change of one route does to the others, and to packets on their way.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;

/// Datagrams to one address, as fast as they go: the kernel looks the route up for each.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// Those for which the kernel had no way.
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn to(target: &'static str) -> Self {
        let (stop, sent, lost) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (halt, count, gaps) = (stop.clone(), sent.clone(), lost.clone());
        let any = if target.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        let thread = std::thread::spawn(move || {
            while !halt.load(Ordering::Relaxed) {
                match socket.send_to(b"flood", target) {
                    Ok(_) => count.fetch_add(1, Ordering::Relaxed),
                    Err(_) => gaps.fetch_add(1, Ordering::Relaxed),
                };
            }
        });
        Self {
            stop,
            sent,
            lost,
            thread: Some(thread),
        }
    }

    /// Waits until that many more were tried.
    fn tried(&self, more: u64) {
        let tried = || self.sent.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed);
        let (until, start) = (tried() + more, Instant::now());
        while tried() < until {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the flood stands still"
            );
            std::thread::yield_now();
        }
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn item_121_a_flood_finds_no_gap_in_any_change() {
    isolated(async || {
        let up = uplinks();
        for n in 0..2 {
            let neighbour = format!("lladdr 02:00:00:00:00:01 dev up{n} nud permanent");
            ip(&format!("neigh add 172.31.{n}.1 {neighbour}"));
            ip(&format!("-6 neigh add fd31:{n}::1 {neighbour}"));
        }
        let over = |links: &[usize]| {
            let (v4, v6) = (["172.31.0.1", "172.31.1.1"], ["fd31:0::1", "fd31:1::1"]);
            let hops = |of: [&'static str; 2]| -> Vec<_> {
                links.iter().map(|n| (of[*n], up[*n])).collect()
            };
            set(vec![
                ("10.244.1.0/26", via(&hops(v4))),
                ("fd00:10:244:0:1::/122", via(&hops(v6))),
            ])
        };
        let mut sink = RouteSink::open().unwrap();
        apply(&mut sink, &over(&[0])).await;
        let floods = ["10.244.1.7:9", "[fd00:10:244:0:1::7]:9"].map(Flood::to);
        for round in 0..100 {
            for links in [&[0, 1][..], &[1], &[0], &[0, 1], &[0], &[1]] {
                apply(&mut sink, &over(links)).await;
            }
            if round % 10 == 0 {
                floods.iter().for_each(|flood| flood.tried(100));
            }
        }
        for flood in &floods {
            flood.tried(100);
            assert_eq!(flood.lost(), 0);
            assert!(flood.sent.load(Ordering::Relaxed) > 1000);
        }
        // The flood would have seen a gap: it sees this one.
        apply(&mut sink, &RouteSet::new()).await;
        for flood in &floods {
            flood.tried(100);
            assert!(flood.lost() > 0);
        }
    });
}

#[test]
fn item_124_one_bad_route_stops_no_other_and_foreign_ones_are_not_overwritten() {
    isolated(async || {
        let up = uplinks();
        pod_link("mgy000000000001");
        ip("route add 10.244.1.0/26 via 172.31.0.9 metric 2048");
        let mut routes = everything(up);
        routes.extend(set(vec![
            (
                "10.244.0.9/32",
                Route {
                    target: Target::Pod {
                        link: "mgy000000000009".into(),
                    },
                    src: None,
                },
            ),
            ("10.244.9.0/26", via(&[("198.51.100.1", up[0])])),
            ("10.244.10.0/26", via(&[])),
            ("fd00:10:244:0:9::/122", via(&[("172.31.0.1", up[0])])),
            (
                "10.244.11.0/26",
                Route {
                    target: Target::Pod {
                        link: "mgy000000000001".into(),
                    },
                    src: "192.0.2.1".parse().ok(),
                },
            ),
        ]));
        let mut sink = RouteSink::open().unwrap();
        for _ in 0..2 {
            let applied = sink.apply(&routes).await.unwrap();
            let mut failed: Vec<String> = applied
                .failed
                .iter()
                .map(|f| f.prefix.to_string())
                .collect();
            failed.sort();
            failed.dedup();
            let expected = [
                "10.244.0.9/32",
                "10.244.1.0/26",
                "10.244.10.0/26",
                "10.244.11.0/26",
                "10.244.9.0/26",
                "fd00:10:244:0:9::/122",
            ];
            assert_eq!(failed, expected);
            assert!(
                applied
                    .failed
                    .iter()
                    .all(|f| f.error.to_string().contains(&f.prefix.to_string())),
                "{:?}",
                applied.failed
            );
        }
        assert!(ip("route show 10.244.1.0/26").contains("172.31.0.9"));
        assert!(shown("-4").contains("10.244.2.0/26") && shown("-6").contains("fd00:10:244::5"));
        // Once the other owner leaves, ours goes in.
        let mut events = Events::subscribe(&[sink.port()]).unwrap();
        ip("route del 10.244.1.0/26 metric 2048");
        hurt(&mut events, &mut sink).await;
        sink.apply(&routes).await.unwrap();
        assert!(shown("-4").contains("10.244.1.0/26"));
    });
}

#[test]
fn item_121_kinds_change_in_place_and_strays_of_our_protocol_go() {
    isolated(async || {
        let up = uplinks();
        pod_link("mgy000000000001");
        ip("route add 10.250.0.0/24 via 172.31.0.1 proto 83 metric 5");
        ip("-6 route add fd99::/64 via fd31::1 proto 83 metric 5");
        let mut sink = RouteSink::open().unwrap();
        let pod = || Route {
            target: Target::Pod {
                link: "mgy000000000001".into(),
            },
            src: None,
        };
        let unreachable = || Route {
            target: Target::Unreachable,
            src: None,
        };
        for prefix in ["10.244.0.5/32", "fd00:10:244::5/128"] {
            let gateway = if prefix.contains(':') {
                "fd31::1"
            } else {
                "172.31.0.1"
            };
            for route in [
                pod(),
                unreachable(),
                via(&[(gateway, up[0])]),
                pod(),
                via(&[(gateway, up[0])]),
                unreachable(),
            ] {
                let wanted = set(vec![(prefix, route)]);
                apply(&mut sink, &wanted).await;
                assert_eq!(
                    RouteSink::open().unwrap().adopt().await.unwrap().routes,
                    wanted
                );
            }
        }
        apply(&mut sink, &RouteSet::new()).await;
        assert_eq!((shown("-4"), shown("-6")), (String::new(), String::new()));
    });
}
