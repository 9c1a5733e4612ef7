//! What follows when policies, labels, pods and namespaces change: each step in turn, and back.

use super::{
    arena::{Arena, Policy, Truth},
    ask::Ask,
};
use crate::report::Report;
use anyhow::Result;
use std::time::Instant;

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    policies(arena, report);
    let labels = [
        namespace_labels(arena, report),
        peer_labels(arena, report),
        subject_labels(arena, report),
    ];
    labels.into_iter().collect()
}

/// Does something and judges what follows.
pub(super) fn step(
    arena: &mut Arena<'_>,
    report: &mut Report,
    what: &str,
    change: impl FnOnce(&mut Arena<'_>) -> Result<()>,
    open: Truth<'_>,
) {
    report.check(what, || {
        let begin = Instant::now();
        change(arena)?;
        arena.holds(begin, Some(open))
    });
}

/// One policy in one namespace.
pub(super) fn one(namespace: &str, spec: &str) -> Vec<Policy> {
    vec![(namespace.to_owned(), spec.to_owned())]
}

fn policies(arena: &mut Arena<'_>, report: &mut Report) {
    let allow = one(
        "x",
        "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}",
    );
    let deny = one(
        "x",
        "{podSelector: {}, policyTypes: [Ingress], ingress: []}",
    );
    arena.case(
        report,
        "[20] [49] a policy is created: allow-all",
        &allow,
        Some(&|_| true),
    );
    arena.case(
        report,
        "[20] [49] and updated: deny-all",
        &deny,
        Some(&|a| !a.receiver_in("x")),
    );
    arena.case(report, "[33] [49] and deleted", &[], Some(&|_| true));
    let both = [one("x", DENY_ALL), one("y", DENY_ALL)].concat();
    let neither = |a: &Ask<'_>| {
        ["x", "y"]
            .iter()
            .all(|n| !a.receiver_in(n) && !a.sender_in(n))
    };
    arena.case(
        report,
        "[33] two policies of two namespaces",
        &both,
        Some(&neither),
    );
    let left = |a: &Ask<'_>| !a.receiver_in("x") && !a.sender_in("x");
    arena.case(
        report,
        "[33] one of them is deleted",
        &both[..1],
        Some(&left),
    );
    arena.case(report, "[33] and the other", &[], Some(&|_| true));
}

const DENY_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

/// Sets a label of an object, or takes it away.
pub(super) fn label(arena: &Arena<'_>, object: &str, key: &str, value: Option<&str>) -> Result<()> {
    let value = value.map_or_else(|| "null".to_owned(), |value| format!("{value:?}"));
    let patch = format!("{{\"metadata\": {{\"labels\": {{\"{key}\": {value}}}}}}}");
    arena.api.merge(object, &patch).map(drop)
}

fn namespace_labels(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let y = "/api/v1/namespaces/y";
    let policy = one(
        "x",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns2: updated}}}]}]}",
    );
    arena.case(
        report,
        "[21] no namespace has the label yet",
        &policy,
        Some(&|a| !a.to("x/a")),
    );
    step(
        arena,
        report,
        "[21] [49] a namespace gets the label",
        |arena| label(arena, y, "ns2", Some("updated")),
        &|a| !a.to("x/a") || a.sender_in("y"),
    );
    step(
        arena,
        report,
        "[21] [49] and loses it",
        |arena| label(arena, y, "ns2", None),
        &|a| !a.to("x/a"),
    );
    // Also after a failed step.
    label(arena, y, "ns2", None)
}

fn peer_labels(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let b = "/api/v1/namespaces/x/pods/b";
    let policy = one(
        "x",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b, pod2: updated}}}]}]}",
    );
    arena.case(
        report,
        "[22] no pod has the label yet",
        &policy,
        Some(&|a| !a.to("x/a")),
    );
    step(
        arena,
        report,
        "[22] [49] a pod gets the label",
        |arena| label(arena, b, "pod2", Some("updated")),
        &|a| !a.to("x/a") || a.from("x/b"),
    );
    step(
        arena,
        report,
        "[22] [49] and loses it",
        |arena| label(arena, b, "pod2", None),
        &|a| !a.to("x/a"),
    );
    label(arena, b, "pod2", None)
}

fn subject_labels(arena: &mut Arena<'_>, report: &mut Report) -> Result<()> {
    let a = "/api/v1/namespaces/x/pods/a";
    let policy = one(
        "x",
        "{podSelector: {matchLabels: {target: isolated}}, policyTypes: [Ingress, Egress]}",
    );
    arena.case(
        report,
        "[24] the policy selects no pod yet",
        &policy,
        Some(&|_| true),
    );
    step(
        arena,
        report,
        "[24] [49] a pod is relabelled: denied",
        |arena| label(arena, a, "target", Some("isolated")),
        &|a| !a.to("x/a") && !a.from("x/a"),
    );
    step(
        arena,
        report,
        "[24] [49] and back",
        |arena| label(arena, a, "target", None),
        &|_| true,
    );
    label(arena, a, "target", None)
}
