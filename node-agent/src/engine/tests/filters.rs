//! BGPFilters and the peers that name them.

use super::*;
use margay_bgp::{
    Change, CommunityChange, Condition, Otherwise, PeerConfig, Policy, RouteSource, Verdict,
};
use margay_proto::crd::BGPFilter;
use serde_json::{Value, json};

/// A router, with `name` as its only filter, both ways.
pub(super) fn state(name: &str) -> State {
    let spec = json!({"address": "172.31.0.254", "remoteAS": 65000, "importFilters": [name], "exportFilters": [name]});
    State::cluster().with(peer("tor", spec))
}

/// Marks what it sees and decides nothing.
pub(super) fn mark() -> BGPFilter {
    let rule =
        json!({"name": "all", "set": {"communities": {"add": ["65000:7"]}}, "action": "Continue"});
    filter("mark", json!({"rules": [rule]}))
}

fn router(state: &State) -> PeerConfig {
    let plan = plan_of(state);
    let mut peers = plan.speaker.peers.iter();
    peers
        .find(|p| p.description == "BGPPeer/tor")
        .unwrap()
        .clone()
}

/// The policies of a router with one filter of one rule.
fn compiled(rule: Value) -> (Policy, Policy) {
    let peer = router(&state("f").with(filter("f", json!({"rules": [rule]}))));
    assert_eq!(peer.held_down, None);
    (peer.import, peer.export)
}

/// A filter with this rule holds the router down, and nobody else.
fn assert_refused(rule: Value, why: &str) {
    let state = state("f").with(filter("f", json!({"rules": [rule]})));
    let plan = plan_of(&state);
    let held = router(&state).held_down.unwrap_or_default();
    assert!(held.contains(why), "{held}");
    assert!(held.starts_with("BGPPeer/tor: spec.importFilters names `f`, which is refused: BGPFilter/f: spec.rules[0]"), "{held}");
    assert!(plan.faults.contains(&held), "{:?}", plan.faults);
    let others = plan.speaker.peers.iter().filter(|p| p.held_down.is_none());
    assert_eq!(others.count(), 1);
}

#[test]
fn without_filters_everything_is_used_and_only_own_routes_are_told() {
    let plan = plan_of(&State::cluster());
    let peer = &plan.speaker.peers[0];
    assert_eq!(
        (&peer.import, &peer.export),
        (&Policy::accept_all(), &Policy::own_only())
    );
}

#[test]
fn a_filter_is_in_front_of_what_holds_without_it() {
    let peer = router(&state("mark").with(mark()));
    assert_eq!(peer.import.otherwise, Otherwise::Accept);
    assert_eq!(peer.export.otherwise, Otherwise::AcceptOwn);
    let rule = &peer.import.rules[0];
    assert_eq!(rule.name.to_string(), "rule 1 (all) of filter mark");
    assert_eq!(rule.verdict, Verdict::Continue);
    let community = vec!["65000:7".parse().unwrap()];
    assert_eq!(
        rule.changes,
        [Change::Communities(CommunityChange::Add(community))]
    );
    assert_eq!(peer.import.rules, peer.export.rules);
}

#[test]
fn filters_are_asked_in_the_order_in_which_the_peer_names_them() {
    let named = |names: [&str; 2]| {
        let spec = json!({"address": "172.31.0.254", "remoteAS": 65000, "importFilters": names});
        let other = filter(
            "other",
            json!({"rules": [{"action": "Reject"}, {"action": "Accept"}]}),
        );
        let state = State::cluster().with(peer("tor", spec));
        let rules = router(&state.with(mark()).with(other)).import.rules;
        rules
            .iter()
            .map(|rule| format!("{} {}", rule.name.filter, rule.name.number))
            .collect::<Vec<_>>()
    };
    assert_eq!(named(["mark", "other"]), ["mark 1", "other 1", "other 2"]);
    assert_eq!(named(["other", "mark"]), ["other 1", "other 2", "mark 1"]);
}

#[test]
fn every_field_means_something() {
    let rule = json!({
        "match": {
            "prefixes": [{"prefix": "10.0.0.0/8", "ge": 16, "le": 24}, {"prefix": "fd00::/8", "ge": 48}, {"prefix": "192.0.2.0/24"}],
            "nextHops": ["10.0.0.1", "fd00::/64"],
            "peer": {"addresses": ["172.31.0.0/24"], "asNumbers": [65000], "type": "External", "interfaces": ["eth*"]},
            "sources": ["Learned"],
            "communities": {"anyOf": ["65000:*"], "allOf": ["rt:65000:1"], "noneOf": ["1:2:3"]},
            "asPath": {"originAS": [65000], "neighbourAS": [65000], "minLength": 1, "maxLength": 3, "regex": "^65000_"},
        },
        "set": {
            "localPref": 200, "med": 0, "communities": {"replace": [], "remove": ["65000:*"], "add": ["no-export"]},
            "prepend": {"times": 2}, "nextHop": {"ipv4": "10.0.0.9", "ipv6": "fd00::9"},
        },
        "action": "Accept",
    });
    let (import, export) = compiled(rule);
    assert_eq!(import.rules, export.rules);
    let rule = &import.rules[0];
    assert_eq!(rule.peers.len(), 4);
    let Condition::Prefix(ranges) = &rule.conditions[0] else {
        panic!("{:?}", rule.conditions)
    };
    let lengths: Vec<_> = ranges.iter().map(|r| (r.at_least, r.at_most)).collect();
    assert_eq!(lengths, [(16, 24), (48, 128), (24, 24)]);
    let names: Vec<String> = rule.conditions.iter().map(ToString::to_string).collect();
    let expected = "prefix, next hop, source, communities, communities, communities, origin AS, neighbour AS, length of the AS path, \
                    regular expression of the AS path";
    assert_eq!(names.join(", "), expected);
    assert_eq!(rule.changes.len(), 7);
}

/// Who only wanted to mark or rank its own routes does not become transit by it.
#[test]
fn learned_routes_are_told_only_by_a_rule_that_names_them() {
    let own = [Condition::Source(RouteSource::OWN.to_vec())];
    let (import, export) = compiled(json!({"set": {"med": 5}, "action": "Accept"}));
    assert_eq!(export.rules[0].conditions, own);
    assert_eq!(import.rules[0].conditions, []);
    let (_, export) = compiled(json!({"action": "Reject"}));
    assert_eq!(export.rules[0].conditions, []);
    let (_, export) = compiled(json!({"match": {"sources": ["Learned"]}, "action": "Accept"}));
    let learned = [Condition::Source(vec![RouteSource::Learned])];
    assert_eq!(export.rules[0].conditions, learned);
}

#[test]
fn a_filter_that_is_not_there_holds_the_peer_down_until_it_is() {
    let held = router(&state("mark")).held_down.unwrap();
    assert_eq!(
        held,
        "BGPPeer/tor: spec.importFilters names `mark`, and there is no such BGPFilter; create it or take the name out; the session is held down"
    );
    assert_eq!(plan_of(&state("mark")).faults, [held]);
    assert_eq!(router(&state("mark").with(mark())).held_down, None);
}

/// Else the mesh would open the session without what was to be kept out.
#[test]
fn a_session_of_the_mesh_is_held_down_by_the_filter_of_a_peer_object_that_finds_the_node() {
    let spec = json!({"peerSelector": {}, "importFilters": ["missing"]});
    let plan = plan_of(&State::cluster().with(peer("rack", spec)));
    assert_eq!(plan.speaker.peers.len(), 1);
    let held = plan.speaker.peers[0].held_down.as_deref().unwrap();
    assert!(
        held.starts_with("BGPPeer/rack: spec.importFilters names `missing`"),
        "{held}"
    );
}

#[test]
fn what_the_definition_lets_pass_and_nobody_understands_is_refused() {
    for (part, why) in [
        (
            json!({"asPath": {"regex": "(65000"}}),
            "match.asPath.regex is `(65000`: ",
        ),
        (
            json!({"communities": {"anyOf": ["65536:1"]}}),
            "match.communities.anyOf is `65536:1`: ",
        ),
        (
            json!({"prefixes": [{"prefix": "10.0.0.0/8", "le": 64}]}),
            "ge 8 and le 64 are no lengths",
        ),
        (
            json!({"prefixes": [{"prefix": "ten"}]}),
            "prefix is `ten`: ",
        ),
        (json!({"nextHops": ["ten"]}), "match.nextHops is `ten`: "),
        (
            json!({"interfaces": ["eth0"]}),
            "match.interfaces is not known to this agent's version",
        ),
        (
            json!({"sources": ["Elsewhere"]}),
            "match.sources has a value that is not known",
        ),
        (
            json!({"peer": {"type": "Confederation"}}),
            "match.peer.type has a value that is not known",
        ),
    ] {
        assert_refused(json!({"match": part, "action": "Reject"}), why);
    }
    for (part, why) in [
        (
            json!({"nextHop": {"ipv4": "fd00::1"}}),
            "set.nextHop.ipv4 is `fd00::1`: ",
        ),
        (
            json!({"nextHop": {"node": true}}),
            "set.nextHop.node is `true`: ",
        ),
        (
            json!({"communities": {"add": ["65000:*"]}}),
            "set.communities.add is `65000:*`: ",
        ),
        (
            json!({"weight": 5}),
            "set.weight is not known to this agent's version",
        ),
    ] {
        assert_refused(json!({"set": part, "action": "Accept"}), why);
    }
    assert_refused(
        json!({"action": "Next"}),
        "rules[0].action has a value that is not known",
    );
}

#[test]
fn a_wrong_filter_is_a_fault_before_anybody_names_it() {
    let wrong = filter("f", json!({"rules": [{"action": "Next"}]}));
    let plan = plan_of(&State::cluster().with(wrong));
    assert_eq!(plan.faults.len(), 1);
    assert!(
        plan.faults[0].starts_with("BGPFilter/f: spec.rules[0].action"),
        "{:?}",
        plan.faults
    );
}

#[test]
fn filters_come_back_from_disk_with_the_peers_that_name_them() {
    let mut engine = fresh();
    state("mark").with(mark()).tell(&mut engine);
    let known = engine.last_known().unwrap();
    let text = serde_json::to_string(&known).unwrap();
    let known: crate::state::LastKnown = serde_json::from_str(&text).unwrap();
    assert_eq!(known.inputs.filters["mark"], mark());
}
