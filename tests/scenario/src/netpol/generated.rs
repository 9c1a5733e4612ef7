//! The combinations that Cyclonus generates: targets, peers, ports, pairs of them, conflicts. The oracle says what is right.
//!
//! Rules of one direction never touch each other's pods: a rule for ingress to x/a decides paths to x/a alone. So nine of them are
//! tried at once, each on a pod of its own, and none can hide another.

use super::{
    arena::{Arena, Policy},
    pods::PODS,
};
use crate::report::Report;

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) {
    targets(arena, report);
    each(
        arena,
        report,
        "[51] [52] rules and empty lists",
        &simple_rules(),
    );
    let peers: Vec<_> = peers().iter().map(|peer| rule(&[peer], &[])).collect();
    each(arena, report, "[53] [54] [58] one peer", &peers);
    each(arena, report, "[55] two peers", &pairs_of_peers());
    let ports: Vec<_> = ports().iter().map(|port| rule(&[], &[port])).collect();
    each(arena, report, "[56] [57] one port", &ports);
    each(arena, report, "[56] two ports", &pairs_of_ports());
    conflicts(arena, report);
}

/// [50]: whose namespace, and which pods of it.
fn targets(arena: &mut Arena<'_>, report: &mut Report) {
    let selectors = [
        "{}",
        "{matchLabels: {pod: a}}",
        "{matchExpressions: [{key: pod, operator: In, values: [a, b]}]}",
        "{matchExpressions: [{key: pod, operator: Exists}]}",
        "{matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}",
        "{matchExpressions: [{key: pod, operator: DoesNotExist}]}",
    ];
    for (number, selector) in selectors.iter().enumerate() {
        let next = selectors[(number + 1) % selectors.len()];
        let policy = |namespace: &str, selector: &str, kind: &str| {
            let spec = format!("{{podSelector: {selector}, policyTypes: [{kind}]}}");
            (namespace.to_owned(), spec)
        };
        let policies = [
            policy("x", selector, "Ingress"),
            policy("y", next, "Egress"),
            policy("default", selector, "Ingress"),
        ];
        let what = format!("[50] targets {selector} in x and default, {next} in y");
        arena.case(report, &what, &policies, None);
    }
}

/// A rule whose peers stand under `PEERS`, which is `from` or `to`.
fn rule(peers: &[&String], ports: &[&String]) -> String {
    let joined = |items: &[&String]| {
        let items: Vec<&str> = items.iter().map(|item| item.as_str()).collect();
        items.join(", ")
    };
    match (peers.is_empty(), ports.is_empty()) {
        (true, true) => "[{}]".to_owned(),
        (false, true) => format!("[{{PEERS: [{}]}}]", joined(peers)),
        (true, false) => format!("[{{ports: [{}]}}]", joined(ports)),
        (false, false) => format!(
            "[{{PEERS: [{}], ports: [{}]}}]",
            joined(peers),
            joined(ports)
        ),
    }
}

/// Tries every rule on some pod, nine at once, as ingress and as egress.
fn each(arena: &mut Arena<'_>, report: &mut Report, what: &str, rules: &[String]) {
    let mut from = 1;
    for rules in rules.chunks(PODS.len()) {
        for (kind, side, peers) in [("Ingress", "ingress", "from"), ("Egress", "egress", "to")] {
            let policies: Vec<Policy> = PODS
                .iter()
                .zip(rules)
                .map(|((pod, _), rule)| {
                    let (namespace, name) = pod.split_once('/').unwrap_or_default();
                    let rule = rule.replace("PEERS", peers);
                    let spec = format!("{{podSelector: {{matchLabels: {{pod: {name}}}}}, policyTypes: [{kind}], {side}: {rule}}}");
                    (namespace.to_owned(), spec)
                })
                .collect();
            let last = from + rules.len() - 1;
            arena.case(
                report,
                &format!("{what}, {side} {from} to {last}"),
                &policies,
                None,
            );
        }
        from += rules.len();
    }
}

fn simple_rules() -> Vec<String> {
    let rules = [
        "[]",
        "[{}]",
        "[{PEERS: []}]",
        "[{ports: []}]",
        "[{PEERS: [], ports: []}]",
        "null",
        "[{PEERS: [], ports: [{port: 80}]}]",
        "[{PEERS: [{podSelector: {}}], ports: []}]",
        "[{}, {ports: [{port: 80}]}]",
    ];
    rules.map(str::to_owned).to_vec()
}

/// {absent, empty, by label} pods x {absent, empty, by label} namespaces, and blocks.
fn peers() -> Vec<String> {
    let choices = [None, Some("{}"), Some("by label")];
    let mut peers = Vec::new();
    for pods in choices {
        for namespaces in choices {
            let pods = pods.map(|text| text.replace("by label", "{matchLabels: {pod: c}}"));
            let namespaces =
                namespaces.map(|text| text.replace("by label", "{matchLabels: {ns: 'y'}}"));
            let pods = pods.map(|text| format!("podSelector: {text}"));
            let namespaces = namespaces.map(|text| format!("namespaceSelector: {text}"));
            let fields: Vec<_> = pods.into_iter().chain(namespaces).collect();
            if !fields.is_empty() {
                peers.push(format!("{{{}}}", fields.join(", ")));
            }
        }
    }
    let more = [
        "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}",
        "{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}, namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: ['y']}]}}",
        "{ipBlock: {cidr: '@y/b:v4/32'}}",
        "{ipBlock: {cidr: '@y/b:v6/128'}}",
        "{ipBlock: {cidr: 10.244.0.0/16, except: ['@z/c:v4/28']}}",
        "{ipBlock: {cidr: 'fd00:10:244::/56', except: ['@z/c:v6/124']}}",
        "{ipBlock: {cidr: 172.31.0.0/16}}",
        "{ipBlock: {cidr: '2001:db8:113::/64'}}",
    ];
    peers.extend(more.map(str::to_owned));
    peers
}

fn pairs_of_peers() -> Vec<String> {
    pairs(&peers(), |one, two| rule(&[one, two], &[]))
}

/// {absent, TCP, UDP, SCTP} x {absent, 80, 81, by name}, ranges, names of another protocol, what nobody serves.
fn ports() -> Vec<String> {
    let mut ports = vec![
        "{}".to_owned(),
        "{port: 80}".to_owned(),
        "{port: serve-81-tcp}".to_owned(),
    ];
    for protocol in ["TCP", "UDP", "SCTP"] {
        let lower = protocol.to_lowercase();
        let numbers = [
            String::new(),
            ", port: 80".to_owned(),
            ", port: 81".to_owned(),
            format!(", port: serve-80-{lower}"),
            format!(", port: serve-81-{lower}"),
            ", port: 53, endPort: 80".to_owned(),
            ", port: 53, endPort: 84".to_owned(),
        ];
        ports.extend(numbers.map(|number| format!("{{protocol: {protocol}{number}}}")));
    }
    ports.push("{protocol: UDP, port: serve-80-sctp}".to_owned());
    ports.push("{port: serve-99-tcp}".to_owned());
    ports.push("{port: 7981}".to_owned());
    ports
}

fn pairs_of_ports() -> Vec<String> {
    pairs(&ports(), |one, two| rule(&[], &[one, two]))
}

fn pairs(items: &[String], make: impl Fn(&String, &String) -> String) -> Vec<String> {
    let mut made = Vec::new();
    for (at, one) in items.iter().enumerate() {
        made.extend(items[at + 1..].iter().map(|two| make(one, two)));
    }
    made
}

/// [59]: what one policy denies and another allows, by pod, by address and for all, at the source, at the destination and at both.
fn conflicts(arena: &mut Arena<'_>, report: &mut Report) {
    let denies = [
        ("all", "[]"),
        (
            "all but a pod",
            "[{PEERS: [{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: z}}}]}]",
        ),
        (
            "all but an address",
            "[{PEERS: [{ipBlock: {cidr: '@z/b:v4/32'}}, {ipBlock: {cidr: '@z/b:v6/128'}}]}]",
        ),
        ("all on a port", "[{ports: [{port: 81}]}]"),
    ];
    let allows = [
        ("all", "[{}]"),
        (
            "pods",
            "[{PEERS: [{namespaceSelector: {matchLabels: {ns: 'y'}}}]}]",
        ),
        (
            "addresses",
            "[{PEERS: [{ipBlock: {cidr: 10.244.0.0/16}}, {ipBlock: {cidr: 'fd00:10:244::/56'}}]}]",
        ),
        ("a port", "[{ports: [{protocol: UDP, port: 80}]}]"),
    ];
    for (denied, deny) in denies {
        for (allowed, allow) in allows {
            let policy = |namespace: &str, pod: &str, kind: &str, rules: &str| {
                let (side, peers) = if kind == "Ingress" {
                    ("ingress", "from")
                } else {
                    ("egress", "to")
                };
                let rules = rules.replace("PEERS", peers);
                let spec = format!(
                    "{{podSelector: {{matchLabels: {{pod: {pod}}}}}, policyTypes: [{kind}], {side}: {rules}}}"
                );
                (namespace.to_owned(), spec)
            };
            // x/a at the destination, x/b at the source, x/c at both ends.
            let mut policies = Vec::new();
            for rules in [deny, allow] {
                policies.push(policy("x", "a", "Ingress", rules));
                policies.push(policy("x", "b", "Egress", rules));
                policies.push(policy("x", "c", "Ingress", rules));
                policies.push(policy("x", "c", "Egress", rules));
            }
            let what = format!("[59] a policy that denies {denied}, one that allows {allowed}");
            arena.case(report, &what, &policies, None);
        }
    }
}
