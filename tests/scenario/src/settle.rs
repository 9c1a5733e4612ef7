//! What objects settle: which pool a pod's addresses come from, who a node is, and which objects are refused with which words.

mod node;
mod pools;
mod refused;

use crate::{cluster::Cluster, report::Report};
use anyhow::{Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use serde_json::Value;
use std::time::Duration;

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    refused::prove(cluster, report);
    // Their pods' addresses rest while the nodes are proved, so that the blocks go back sooner.
    let made = pools::prove(cluster, report);
    let cleared = pools::clear(&cluster.lab);
    let nodes = node::prove(cluster, report);
    report.check("blocks of deleted pools are given back", || {
        pools::blocks_gone(&cluster.lab)
    });
    made.and(cleared).and(nodes)
}

/// One condition of an object, as `status reason: message`.
fn condition(lab: &Lab, object: &str, type_: &str) -> Result<String> {
    let object = lab.kubectl_json(&["get", object, "-o", "json"])?;
    let found = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == type_)
        .cloned()
        .unwrap_or_default();
    let word = |field: &str| found[field].as_str().unwrap_or("?").to_owned();
    Ok(format!(
        "{} {}: {}",
        word("status"),
        word("reason"),
        word("message")
    ))
}

/// Waits for a condition to say all of this.
fn says(lab: &Lab, object: &str, type_: &str, parts: &[&str]) -> Result<String> {
    let what = format!("{type_} of {object} says {parts:?}");
    wait_until(&what, Duration::from_secs(30), || {
        let text = condition(lab, object, type_)?;
        Ok(if parts.iter().all(|part| text.contains(part)) {
            Seen::Holds(text)
        } else {
            Seen::NotYet(text)
        })
    })
}

/// Waits for a warning event on an object that says all of this.
fn warned(lab: &Lab, namespace: &str, object: &str, parts: &[&str]) -> Result<String> {
    let what = format!("an event on {object} says {parts:?}");
    wait_until(&what, Duration::from_secs(40), || {
        let events = lab.kubectl_json(&["get", "events", "-n", namespace, "-o", "json"])?;
        let of_object =
            |e: &&Value| e["involvedObject"]["name"] == object && e["type"] == "Warning";
        let events: Vec<String> = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(of_object)
            .filter_map(|e| e["message"].as_str().map(str::to_owned))
            .collect();
        let found = events.iter().find(|e| parts.iter().all(|p| e.contains(p)));
        Ok(found.map_or_else(
            || Seen::NotYet(format!("{events:?}")),
            |e| Seen::Holds(e.clone()),
        ))
    })
}

fn all_in(text: &str, parts: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = parts.iter().filter(|p| !text.contains(**p)).collect();
    ensure!(missing.is_empty(), "{missing:?} are not in: {text}");
    Ok(())
}
