use futures::StreamExt as _;
use margay_bgp::wire::NextHop;
use margay_bgp::{LearnedPath, LearnedRoute};

use super::*;
use crate::speaker::Bulletin;

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn heard(prefix: &str, peer: u8, change: Told) -> What {
    What::Heard(Heard {
        peer: ip(peer),
        prefix: prefix.parse().unwrap(),
        change,
    })
}

fn ways(prefix: &str, before: &[u8], now: &[u8]) -> What {
    let prefix = prefix.parse().unwrap();
    let path = |peer: &u8| LearnedPath {
        peer: ip(*peer),
        next_hop: NextHop::from(ip(*peer)),
        metric: 0,
        attributes: Arc::default(),
        stale: false,
    };
    let paths: Vec<_> = now.iter().map(path).collect();
    let route = LearnedRoute { prefix, paths };
    What::Ways {
        prefix,
        before: before.iter().map(|peer| ip(*peer)).collect(),
        route: (!now.is_empty()).then(|| Box::new(route)),
    }
}

fn up(peer: u8) -> What {
    What::Session {
        peer: ip(peer),
        name: format!("BGPPeer/{peer}"),
        change: SessionChange::Established,
    }
}

/// What a reader with a ring of four sees of all this, one word each.
async fn seen(filter: Filter, all: Vec<Option<What>>) -> Vec<String> {
    let bulletin = Bulletin::new(4);
    let reader = bulletin.subscription().reader().unwrap();
    let events = events("n1".to_owned(), reader, filter);
    for what in all {
        match what {
            Some(what) => bulletin.tell(what),
            None => bulletin.skip(9),
        }
    }
    drop(bulletin);
    let words = events.map(|event| {
        let event = event.unwrap();
        assert_eq!(event.node, "n1");
        match event.route {
            Some(route) => format!("{} {}", event.event, route.prefix),
            None if event.missed > 0 => format!("missed {}", event.missed),
            None => format!("{} {}", event.event, event.name),
        }
    });
    words.collect().await
}

#[tokio::test]
async fn a_reader_sees_what_it_asked_for() {
    let all = || {
        vec![
            Some(up(1)),
            Some(heard("10.0.0.0/8", 1, Told::Withdrawn)),
            Some(heard("fd00::/64", 2, Told::Withdrawn)),
            Some(ways("10.0.0.0/8", &[1], &[2])),
        ]
    };
    let everything = [
        "established BGPPeer/1",
        "withdrawn 10.0.0.0/8",
        "withdrawn fd00::/64",
        "best 10.0.0.0/8",
    ];
    assert_eq!(seen(Filter::default(), all()).await, everything);
    let of = |peer| Filter {
        peers: Some(vec![ip(peer)]),
        ..Filter::default()
    };
    // The prefix is no longer reached through the first and is through the second: of interest to who watches either.
    assert_eq!(
        seen(of(1), all()).await,
        [everything[0], everything[1], everything[3]]
    );
    assert_eq!(seen(of(2), all()).await, [everything[2], everything[3]]);
    let v6 = Filter {
        family: Some(Family::Ipv6Unicast),
        ..Filter::default()
    };
    assert_eq!(seen(v6, all()).await, [everything[0], everything[2]]);
    let sessions = Filter {
        sessions_only: true,
        ..Filter::default()
    };
    assert_eq!(seen(sessions, all()).await, [everything[0]]);
}

#[tokio::test]
async fn a_reader_that_is_behind_is_told_by_how_much() {
    // Of seven the ring holds four; nine more were dropped before it.
    let mut all: Vec<_> = (1..=7).map(|peer| Some(up(peer))).collect();
    all.insert(5, None);
    let expected = [
        "missed 3",
        "established BGPPeer/4",
        "established BGPPeer/5",
        "missed 9",
        "established BGPPeer/6",
        "established BGPPeer/7",
    ];
    assert_eq!(seen(Filter::default(), all).await, expected);
}

#[tokio::test]
async fn a_prefix_without_ways_is_unreachable() {
    let gone = vec![Some(ways("fd00::/64", &[1], &[]))];
    let filter = Filter::default();
    assert_eq!(seen(filter, gone).await, ["unreachable fd00::/64"]);
}

#[test]
fn requests_that_mean_nothing_are_refused() {
    let request = |peer: &str, family: &str| MonitorRequest {
        peer: peer.to_owned(),
        family: family.to_owned(),
        sessions_only: false,
    };
    let nobody = Filter::of(&request("tor", ""), Some(Vec::new())).unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::NotFound);
    let family = Filter::of(&request("", "ipx"), None).unwrap_err();
    assert!(family.message().contains("\"ipx\""), "{family}");
}
