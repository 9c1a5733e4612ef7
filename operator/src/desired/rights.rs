//! Proves that `docs/rbac.md` says exactly what `manifests/rbac.yaml` and the agents' roles allow: no verb more, none less.

use super::{Kind, tests::find};
use margay_proto::names;
use serde_json::Value;
use std::collections::BTreeSet;

/// One verb on one resource, as RBAC decides: where, group, resource, the only name (or none), verb.
type Right = [String; 5];

#[test]
fn the_agents_table_is_what_they_get() {
    let mut given = rights("cluster", &find(Kind::ClusterRole, "margay-agent")["rules"]);
    given.extend(rights(
        names::NAMESPACE,
        &find(Kind::Role, "margay-agent")["rules"],
    ));
    compare(&table("## Agents"), &given);
}

/// The operator may create only roles whose rules it holds, so its manifest holds the agents' table besides its own, and nothing else.
#[test]
fn the_operators_table_is_the_manifest() {
    let manifest = manifest("rbac.yaml");
    let rules = |kind: &str| manifest.iter().find(|o| o["kind"] == kind).unwrap()["rules"].clone();
    let mut held = rights("cluster", &rules("ClusterRole"));
    held.extend(rights(names::NAMESPACE, &rules("Role")));
    let mut told = table("## Operator");
    told.extend(table("## Agents"));
    compare(&told, &held);
}

/// The admission policy judges the service account that the agents run as, and is bound.
#[test]
fn the_admission_policy_is_about_the_agents() {
    let manifest = manifest("admission.yaml");
    let account = format!(
        "request.userInfo.username == 'system:serviceaccount:{}:{}'",
        names::NAMESPACE,
        names::AGENT_APP
    );
    let [policy, binding] = &manifest[..] else {
        panic!("a policy and its binding")
    };
    assert_eq!(policy["spec"]["matchConditions"][0]["expression"], account);
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    let documented = page();
    for rule in policy["spec"]["validations"].as_array().unwrap() {
        let message = rule["messageExpression"].as_str().unwrap();
        let name = message
            .strip_prefix("'rule ")
            .and_then(|rest| rest.split(':').next())
            .unwrap();
        assert!(
            documented.contains(&format!("| `{name}` |")),
            "docs/rbac.md lacks {name}"
        );
    }
}

fn compare(told: &BTreeSet<Right>, given: &BTreeSet<Right>) {
    let only = |a: &BTreeSet<Right>, b: &BTreeSet<Right>| -> Vec<Right> {
        a.difference(b).cloned().collect()
    };
    assert!(
        told == given,
        "only in docs/rbac.md: {:?}\nnot in docs/rbac.md: {:?}",
        only(told, given),
        only(given, told)
    );
}

fn rights(place: &str, rules: &Value) -> BTreeSet<Right> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        serde_json::from_value(rule[field].clone()).unwrap_or_default()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        let mut names = words(rule, "resourceNames");
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    rights.extend(
                        names
                            .iter()
                            .map(|name| [place, &group, &resource, name, &verb].map(str::to_owned)),
                    );
                }
            }
        }
    }
    rights
}

/// The rights in the table under a heading: where, group, resources, only, verbs, what for.
fn table(heading: &str) -> BTreeSet<Right> {
    let page = page();
    let (_, section) = page.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let words = |cell: &str| -> Vec<String> {
        cell.split(',')
            .map(|word| word.trim().trim_matches('`').to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [place, groups, resources, only, verbs, _] = cells[..] else {
            panic!("six columns: {line}")
        };
        if place.trim() == "where" {
            continue;
        }
        for group in words(groups) {
            let group = if group == "core" { "" } else { &group };
            for resource in words(resources) {
                for only in words(only) {
                    rights.extend(words(verbs).iter().map(|verb| {
                        [place.trim(), group, &resource, &only, verb].map(str::to_owned)
                    }));
                }
            }
        }
    }
    assert!(!rights.is_empty(), "no table under {heading}");
    rights
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rbac.md")).unwrap()
}

fn manifest(name: &str) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/");
    let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap();
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}
