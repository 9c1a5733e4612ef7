//! `[[filter]]`, and the peers that name them.

use super::*;
use margay_bgp::{Condition, Otherwise, RouteSource, Verdict};

/// A filter with one rule, named by the only peer on import.
fn imported(rule: &str) -> String {
    let peer = PEER.replace("import =", "import-filters = [\"f\"]\nimport =");
    format!("{WHO}{peer}[[filter]]\nname = \"f\"\n[[filter.rule]]\n{rule}\n")
}

fn exported(rule: &str, export: &str) -> Settings {
    let peer = PEER.replace(
        "export = \"own\"",
        &format!("export-filters = [\"f\"]\nexport = \"{export}\""),
    );
    let text = format!("{WHO}{peer}[[filter]]\nname = \"f\"\n[[filter.rule]]\n{rule}\n");
    read(&text).unwrap()
}

#[test]
fn every_field_of_a_filter_means_something() {
    let settings = read(&imported(
        "name = \"all\"
        match.prefixes = [{ prefix = \"10.0.0.0/8\", ge = 16, le = 24 }, { prefix = \"fd00::/8\" }]
        match.next-hops = [\"10.0.0.1\", \"fd00::/64\"]
        match.peer = { addresses = [\"192.0.2.0/24\"], as-numbers = [65001], type = \"external\", interfaces = [\"bond*\"] }
        match.sources = [\"pod-block\", \"learned\"]
        match.communities = { any-of = [\"65000:*\"], all-of = [\"rt:65000:1\"], none-of = [\"1:2:3\"] }
        match.as-path = { origin-as = [1], neighbour-as = [2], min-length = 1, max-length = 3, regex = \"^2_\" }
        set.local-pref = 200
        set.med = 0
        set.communities = { replace = [], remove = [\"65000:*\"], add = [\"no-export\"] }
        set.prepend = { times = 2, as-number = 65000 }
        set.next-hop = { ipv4 = \"10.0.0.9\", ipv6 = \"fd00::9\" }
        action = \"continue\"",
    ))
    .unwrap();
    let import = &settings.peers[0].import;
    assert_eq!(import.otherwise, Otherwise::Accept);
    let rule = &import.rules[0];
    assert_eq!(rule.name.to_string(), "rule 1 (all) of filter f");
    assert_eq!(rule.verdict, Verdict::Continue);
    assert_eq!(
        (rule.peers.len(), rule.conditions.len(), rule.changes.len()),
        (4, 10, 7)
    );
    let sources = vec![RouteSource::PodBlock, RouteSource::Learned];
    assert!(rule.conditions.contains(&Condition::Source(sources)));
}

/// Towards a peer that is told our own routes only, a rule that forgets to say so is for these.
#[test]
fn learned_routes_are_told_where_all_are_or_a_rule_names_them() {
    let rule = |export| {
        exported("action = \"accept\"", export).peers[0]
            .export
            .rules[0]
            .clone()
    };
    let own = [Condition::Source(RouteSource::OWN.to_vec())];
    assert_eq!(rule("own").conditions, own);
    assert_eq!(rule("all").conditions, []);
    assert_eq!(rule("none").conditions, []);
    for (rule, export, transit) in [
        ("action = \"accept\"", "own", false),
        ("action = \"reject\"", "none", false),
        ("action = \"accept\"", "none", true),
        (
            "match.sources = [\"learned\"]\naction = \"accept\"",
            "own",
            true,
        ),
        (
            "match.sources = [\"static\"]\naction = \"accept\"",
            "none",
            false,
        ),
        ("action = \"reject\"", "all", true),
    ] {
        assert_eq!(exported(rule, export).transit, transit, "{rule} {export}");
    }
}

#[test]
fn a_filter_of_the_defaults_is_every_peers() {
    let text = format!(
        "{WHO}[defaults]\nimport-filters = [\"f\"]\n{PEER}{}[[filter]]\nname = \"f\"\n[[filter.rule]]\naction = \"reject\"\n",
        PEER.replace("192.0.2.2", "192.0.2.3")
    );
    let settings = read(&text).unwrap();
    assert_eq!(settings.peers[0].import, settings.peers[1].import);
    assert_eq!(settings.peers[0].import.rules.len(), 1);
    let none = text.replace(
        "remote-as = 65001",
        "remote-as = 65001\nimport-filters = []",
    );
    assert!(read(&none).unwrap().peers[0].import.rules.is_empty());
}

#[test]
fn mistakes_in_filters_are_named_in_the_spelling_of_the_file() {
    for (rule, words) in [
        ("action = \"Accept\"", &["`Accept`", "capitals"][..]),
        (
            "action = \"next\"",
            &["filter \"f\": rule 1: action has a value"],
        ),
        ("name = \"x\"", &["missing field `action`"]),
        (
            "match.asPath = { min-length = 1 }\naction = \"accept\"",
            &["`asPath`", "capitals"],
        ),
        (
            "match.colour = 1\naction = \"accept\"",
            &["filter \"f\": rule 1: match.colour is not known"],
        ),
        (
            "match.as-path.origin-as = []\naction = \"accept\"",
            &["match.as-path.origin-as is empty", "leave it out"],
        ),
        (
            "match.as-path.regex = \"(1\"\naction = \"accept\"",
            &["match.as-path.regex is `(1`", "unclosed group"],
        ),
        (
            "match.as-path = { min-length = 3, max-length = 2 }\naction = \"accept\"",
            &["match.as-path.min-length is `3`", "length 2"],
        ),
        (
            "match.prefixes = [{ prefix = \"10.0.0.1/8\" }]\naction = \"accept\"",
            &["prefix is `10.0.0.1/8`", "write 10.0.0.0/8"],
        ),
        (
            "match.prefixes = [{ prefix = \"10.0.0.0/8\", le = 64 }]\naction = \"accept\"",
            &["ge 8 and le 64 are no lengths"],
        ),
        (
            "match.peer.interfaces = [\"a/b\"]\naction = \"accept\"",
            &["match.peer.interfaces is `a/b`", "such as eth0"],
        ),
        (
            "set.med = -1\naction = \"accept\"",
            &["invalid value", "-1"],
        ),
        (
            "set.med = 1\naction = \"reject\"",
            &["action is `Reject`", "not changed"],
        ),
        (
            "set.prepend.times = 17\naction = \"accept\"",
            &["set.prepend.times is `17`", "1 to 16"],
        ),
        (
            "set.next-hop.node = true\naction = \"accept\"",
            &[
                "filter \"f\": rule 1: set.next-hop.node is `true`",
                "on export",
            ],
        ),
        (
            "set.next-hop.ipv6 = \"fe80::1\"\naction = \"accept\"",
            &["set.next-hop.ipv6 is `fe80::1`", "link-local"],
        ),
    ] {
        let fault = fault(&imported(rule));
        for word in words {
            assert!(fault.contains(word), "{rule}: {fault}");
        }
    }
}

#[test]
fn filters_are_there_once_and_under_the_name_that_peers_give() {
    let twice = imported("action = \"reject\"") + "[[filter]]\nname = \"f\"\n";
    assert!(fault(&twice).contains("filter \"f\" is there twice"));
    let missing = PEER.replace("import =", "import-filters = [\"g\"]\nimport =");
    let fault = fault(&format!("{WHO}{missing}"));
    assert!(
        fault.contains(
            "peer 192.0.2.2: import-filters names \"g\", and there is no such [[filter]]"
        ),
        "{fault}"
    );
}
