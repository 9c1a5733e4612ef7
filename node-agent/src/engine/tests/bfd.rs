use super::*;
use margay_bgp::bfd::{Parameters, Path};
use serde_json::json;
use std::time::Duration;

/// BFD of the one router, and what is wrong.
fn of_router(address: &str, bfd: serde_json::Value) -> (Option<Parameters>, Vec<String>) {
    let spec = json!({"address": address, "remoteAS": 65000, "bfd": bfd});
    let state = State::cluster()
        .with(configuration(64512, "None"))
        .with(peer("tor", spec));
    let plan = plan_of(&state);
    let bfd = plan.speaker.peers.first().and_then(|peer| peer.bfd);
    (bfd, plan.faults.clone())
}

const NEAR: &str = "172.31.0.254";
const FAR: &str = "192.0.2.1";

#[test]
fn bfd_is_off_unless_asked_for() {
    let spec = json!({"address": NEAR, "remoteAS": 65000});
    let state = State::cluster()
        .with(configuration(64512, "None"))
        .with(peer("tor", spec));
    assert_eq!(plan_of(&state).speaker.peers[0].bfd, None);
    assert_eq!(of_router(NEAR, json!({"enabled": false})), (None, vec![]));
}

#[test]
fn bfd_has_the_timers_of_its_object() {
    let (found, faults) = of_router(NEAR, json!({}));
    assert_eq!((found, faults), (Some(Parameters::default()), vec![]));
    let spec = json!({"minRxMilliseconds": 100, "minTxMilliseconds": 50, "detectMultiplier": 5, "multihop": true, "minTTL": 250});
    let expected = Parameters {
        min_rx: Duration::from_millis(100),
        min_tx: Duration::from_millis(50),
        multiplier: 5,
        path: Path::Multihop { minimum_ttl: 250 },
    };
    assert_eq!(of_router(NEAR, spec), (Some(expected), vec![]));
}

#[test]
fn bfd_is_of_one_hop_in_a_subnet_and_of_several_outside() {
    let path = |address, bfd| of_router(address, bfd).0.map(|found| found.path);
    let multihop = Some(Path::Multihop { minimum_ttl: 1 });
    assert_eq!(path(NEAR, json!({})), Some(Path::SingleHop));
    assert_eq!(path(FAR, json!({})), multihop);
    assert_eq!(path(FAR, json!({"multihop": false})), Some(Path::SingleHop));
    assert_eq!(path(NEAR, json!({"multihop": true})), multihop);
}

#[test]
fn bfd_that_cannot_be_holds_the_session_down_and_says_why() {
    for (field, value) in [
        ("minRxMilliseconds", 0),
        ("minTxMilliseconds", 60_001),
        ("detectMultiplier", 0),
    ] {
        let spec = json!({"address": NEAR, "remoteAS": 65000, "bfd": {field: value}});
        let plan = plan_of(&State::cluster().with(peer("tor", spec)));
        let said = format!("BGPPeer/tor: spec.bfd.{field} {value} is not in");
        assert!(plan.faults[0].starts_with(&said), "{:?}", plan.faults);
        assert!(
            plan.speaker
                .peers
                .iter()
                .all(|p| p.description != "BGPPeer/tor")
        );
    }
}

#[test]
fn bfd_between_nodes_is_that_of_the_object_that_finds_them() {
    let state = State::cluster()
        .with(configuration(64512, "None"))
        .with(peer("all", json!({"peerSelector": {}, "bfd": {}})));
    let plan = plan_of(&state);
    assert_eq!(plan.speaker.peers[0].bfd, Some(Parameters::default()));
}
