use super::*;
use margay_bgp::{Password, PeerConfig, Reach};
use serde_json::json;

const TOR: &str = "172.31.0.254";

fn with_password() -> serde_json::Value {
    json!({"address": TOR, "remoteAS": 65000, "authentication": {"passwordSecretRef": {"name": "tor"}}})
}

fn guarded(state: &State) -> (PeerConfig, Vec<String>) {
    let plan = plan_of(state);
    let session = plan
        .speaker
        .peers
        .iter()
        .find(|p| p.description == "BGPPeer/tor");
    (session.unwrap().clone(), plan.faults)
}

#[test]
fn a_password_comes_out_of_its_secret() {
    let state = State::cluster()
        .with(peer("tor", with_password()))
        .with(secret("tor", "password", "xyz"));
    let (session, faults) = guarded(&state);
    assert_eq!(
        session.protection.password,
        Some(Password("xyz".to_owned()))
    );
    assert_eq!((session.held_down, faults), (None, Vec::new()));
    // The other session has none.
    let plan = plan_of(&state);
    let other = plan
        .speaker
        .peers
        .iter()
        .find(|p| p.description == "BGPNode/b");
    assert_eq!(other.unwrap().protection, margay_bgp::Protection::default());
}

#[test]
fn conformance_110_a_password_that_is_not_to_be_had_holds_the_session_down() {
    let longest = "k".repeat(80);
    let wrong = [
        (
            secret("other", "password", "xyz"),
            "Secret tor in namespace margay-system is not there; create it",
        ),
        (
            secret("tor", "key", "xyz"),
            "Secret tor in namespace margay-system has no key password, it has key; add it",
        ),
        (
            secret("tor", "password", ""),
            "has 0 octets at password; TCP MD5 takes 1 to 80",
        ),
        (
            secret("tor", "password", &"k".repeat(81)),
            "has 81 octets at password; TCP MD5 takes 1 to 80",
        ),
        (secret("tor", "password", "xyz\n"), "has a line break"),
    ];
    for (secret, why) in wrong {
        let state = State::cluster()
            .with(peer("tor", with_password()))
            .with(secret);
        let (session, faults) = guarded(&state);
        let text = session.held_down.unwrap();
        assert!(
            text.starts_with("BGPPeer/tor: spec.authentication.passwordSecretRef: "),
            "{text}"
        );
        assert!(
            text.contains(why) && text.ends_with("; the session is held down"),
            "{text}"
        );
        assert_eq!(faults, [text]);
        assert_eq!(session.protection.password, None);
        assert_eq!(
            plan_of(&state).speaker.peers.len(),
            2,
            "the other session stays"
        );
    }
    let right = State::cluster()
        .with(peer("tor", with_password()))
        .with(secret("tor", "password", &longest));
    assert_eq!(guarded(&right).0.held_down, None);
}

#[test]
fn conformance_111_ao_is_unsupported_and_says_so() {
    let mut spec = with_password();
    spec["authentication"]["method"] = json!("AO");
    let state = State::cluster()
        .with(peer("tor", spec))
        .with(secret("tor", "password", "xyz"));
    let (session, faults) = guarded(&state);
    let text = session.held_down.unwrap();
    assert!(text.contains("TCP-AO (RFC 5925) is unsupported"), "{text}");
    assert_eq!(faults, [text]);
}

#[test]
fn secrets_that_are_not_listed_yet_are_not_taken_for_missing_ones_only() {
    let mut engine = fresh();
    let state = State::cluster().with(peer("tor", with_password()));
    for event in state.events() {
        if !matches!(event, Event::Secrets(_)) {
            engine.handle(event);
        }
    }
    let unlisted = "the Secrets of namespace margay-system have not been listed yet; sessions with a password are held down";
    let plan = engine.plan();
    assert!(
        plan.faults.contains(&unlisted.to_owned()),
        "{:?}",
        plan.faults
    );
    assert!(plan.speaker.peers.iter().any(|p| p.held_down.is_some()));
    engine.handle(Event::Secrets(Change::Reset(vec![secret(
        "tor", "password", "xyz",
    )])));
    assert_eq!(engine.plan().faults, [""; 0]);
}

#[test]
fn the_disk_gets_the_values_in_use_and_no_more() {
    let mut unused = secret("tor", "password", "xyz");
    unused
        .data
        .extend(secret("tor", "spare", "unused-value").data);
    let state = State::cluster()
        .with(peer("tor", with_password()))
        .with(unused)
        .with(secret("foreign", "password", "foreign-value"));
    let mut engine = fresh();
    state.tell(&mut engine);
    let kept = engine.last_known().unwrap();
    let secrets: Vec<_> = kept.inputs.secrets.keys().map(String::as_str).collect();
    assert_eq!(secrets, ["tor"]);
    assert_eq!(kept.inputs.secrets["tor"].metadata.annotations, None);
    let text = serde_json::to_string(&kept).unwrap();
    let encoded =
        |value: &str| serde_json::to_string(&k8s_openapi::ByteString(value.into())).unwrap();
    assert!(text.contains(&encoded("xyz")));
    assert!(!text.contains(&encoded("unused-value")) && !text.contains(&encoded("foreign-value")));
    assert!(!format!("{kept:?}").contains("xyz"));
    // From disk alone the session comes up.
    let mut engine = Engine::new(Start {
        node: SELF.to_owned(),
        inputs: kept.inputs,
        ..Start::default()
    });
    engine.handle(Event::Underlay(state.underlay.clone()));
    let plan = engine.plan();
    assert!(
        plan.speaker
            .peers
            .iter()
            .any(|p| p.protection.password.is_some())
    );
    assert_eq!(plan.faults, [""; 0]);
}

#[test]
fn how_far_a_peer_may_be() {
    let reach = |spec: serde_json::Value| {
        let (session, _) = guarded(&State::cluster().with(peer("tor", spec)));
        session.protection.reach
    };
    let far = "198.51.100.9";
    let cases = [
        (json!({"address": TOR, "remoteAS": 65000}), Reach::Within(1)),
        (
            json!({"address": TOR, "remoteAS": "external"}),
            Reach::Within(1),
        ),
        (
            json!({"address": TOR, "remoteAS": "internal"}),
            Reach::Anywhere,
        ),
        (json!({"address": TOR, "remoteAS": 64512}), Reach::Anywhere),
        (json!({"address": far, "remoteAS": 65000}), Reach::Anywhere),
        (
            json!({"address": far, "remoteAS": 65000, "multihop": 3}),
            Reach::Within(3),
        ),
        (
            json!({"address": TOR, "remoteAS": 65000, "ttlSecurity": true}),
            Reach::Secured(1),
        ),
        (
            json!({"address": TOR, "remoteAS": 65000, "ttlSecurity": true, "multihop": 2}),
            Reach::Secured(2),
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(reach(spec.clone()), expected, "{spec}");
    }
    let nodes = State::cluster().with(peer(
        "nodes",
        json!({"peerSelector": {}, "ttlSecurity": true, "multihop": 4}),
    ));
    assert_eq!(
        plan_of(&nodes).speaker.peers[0].protection.reach,
        Reach::Secured(4)
    );
}
