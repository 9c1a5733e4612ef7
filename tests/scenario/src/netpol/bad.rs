//! A policy that the API server lets in and nobody can obey: an event names the field, and the pods it selects stay isolated.

use super::{arena::Arena, updates::one};
use crate::report::Report;
use margay_lab::{Seen, wait_until};
use std::time::Duration;

/// Go reads leading zeros, and the API server with it; what is meant is anybody's guess.
const CIDR: &str = "010.244.0.0/16";
const FIELD: &str = "spec.ingress[0].from[0].ipBlock.cidr";

pub(super) fn prove(arena: &mut Arena<'_>, report: &mut Report) {
    let bad = one(
        "y",
        &format!(
            "{{podSelector: {{matchLabels: {{pod: b}}}}, ingress: [{{from: [{{ipBlock: {{cidr: {CIDR}}}}}, {{podSelector: {{}}}}]}}]}}"
        ),
    );
    let good = one(
        "y",
        "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}], ports: [{port: 80}]}]}",
    );
    arena.case(
        report,
        "[90] a policy with an unreadable CIDR isolates its pods and allows nothing",
        &bad,
        Some(&|a| !a.to("y/b")),
    );
    report.check(
        "[90] an event names object, field, value and remedy",
        || {
            let events = "/api/v1/namespaces/y/events?fieldSelector=reason=InvalidNetworkPolicy";
            wait_until("the event", Duration::from_secs(10), || {
                let list = arena.api.get(events)?;
                let items = list["items"].as_array().cloned().unwrap_or_default();
                let wanted = items.iter().find_map(|event| {
                    let message = event["message"].as_str()?;
                    let named = event["involvedObject"]["name"] == "p0"
                        && event["involvedObject"]["kind"] == "NetworkPolicy";
                    let tells = [FIELD, CIDR, "leading zeros"]
                        .iter()
                        .all(|part| message.contains(part));
                    (named && tells).then(|| message.to_owned())
                });
                Ok(wanted.map_or_else(|| Seen::NotYet(list["items"].to_string()), Seen::Holds))
            })
        },
    );
    arena.case(
        report,
        "[90] another policy of the same pods is obeyed",
        &[bad, good.clone()].concat(),
        Some(&|a| !a.to("y/b") || a.from("x/a") && a.tcp(80)),
    );
    arena.case(
        report,
        "[90] the policy is mended",
        &good,
        Some(&|a| !a.to("y/b") || a.from("x/a") && a.tcp(80)),
    );
}
