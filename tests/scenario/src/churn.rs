//! 50 pods made and deleted leave addresses, routes, links, nft objects and IPBlocks as before.

use crate::{cluster::Cluster, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use std::{collections::BTreeMap, time::Duration};

const PODS: usize = 50;

fn deployment() -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: churn, namespace: demo}}
spec:
  replicas: {PODS}
  selector: {{matchLabels: {{app: churn}}}}
  template:
    metadata: {{labels: {{app: churn}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: pause, image: 'lab.local/pause:1', imagePullPolicy: Never}}]
"
    )
}

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let before = settled(lab)?;
    let done = report.check(&format!("{PODS} pods become Ready"), || {
        lab.apply(&deployment())?;
        lab.kubectl(&[
            "rollout",
            "status",
            "-n",
            "demo",
            "deployment/churn",
            "--timeout=240s",
        ])?;
        let during = snapshot(lab)?;
        let addresses = count(&during, "allocation");
        ensure!(
            count(&during, "link") == count(&before, "link") + PODS,
            "{} links, {} before",
            count(&during, "link"),
            count(&before, "link")
        );
        Ok(format!(
            "{addresses} addresses published so far, {} pod links",
            count(&during, "link")
        ))
    });
    lab.kubectl(&["delete", "-n", "demo", "deployment/churn", "--wait"])?;
    ensure!(done, "without the pods there is nothing to clean up");
    lab.kubectl(&[
        "wait",
        "-n",
        "demo",
        "--for=delete",
        "pod",
        "-l",
        "app=churn",
        "--timeout=240s",
    ])?;
    report.check(
        "addresses, routes, links, nft objects and IPBlocks are as before",
        || {
            wait_until("everything is as before", Duration::from_secs(40), || {
                let after = snapshot(lab)?;
                Ok(match difference(&before, &after) {
                    None => Seen::Holds(format!(
                        "{} objects compared",
                        before.values().map(Vec::len).sum::<usize>()
                    )),
                    Some(difference) => Seen::NotYet(difference),
                })
            })
        },
    );
    Ok(())
}

type Snapshot = BTreeMap<String, Vec<String>>;

fn count(snapshot: &Snapshot, what: &str) -> usize {
    snapshot
        .iter()
        .filter(|(key, _)| key.starts_with(what))
        .map(|(_, items)| items.len())
        .sum()
}

/// A snapshot that is equal to the one taken two seconds before: publications lag.
fn settled(lab: &Lab) -> Result<Snapshot> {
    let mut last = snapshot(lab)?;
    wait_until("the cluster is quiet", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_secs(3));
        let now = snapshot(lab)?;
        let change = difference(&last, &now);
        last = now;
        Ok(match change {
            None => Seen::Holds(last.clone()),
            Some(change) => Seen::NotYet(change),
        })
    })
}

fn snapshot(lab: &Lab) -> Result<Snapshot> {
    let mut all = Snapshot::new();
    for node in lab.nodes().iter().map(|n| n.name.as_str()) {
        for family in ["-4", "-6"] {
            all.insert(
                format!("route {family} {node}"),
                lines(&lab.exec(node, &["ip", family, "route", "show", "proto", "83"])?),
            );
        }
        all.insert(
            format!("neighbour {node}"),
            lines(&lab.exec(node, &["ip", "neigh", "show", "nud", "permanent"])?),
        );
        all.insert(
            format!("link {node}"),
            pod_links(&lab.exec(node, &["ip", "-j", "link"])?)?,
        );
        all.insert(
            format!("nft {node}"),
            nft(&lab.exec(node, &["nft", "-j", "list", "table", "inet", "margay"])?)?,
        );
        all.insert(
            format!("file {node}"),
            lines(&lab.exec(node, &["ls", "/run/margay/attachments"])?),
        );
    }
    let blocks = lab.kubectl_json(&["get", "ipblocks", "-o", "json"])?;
    for block in blocks["items"].as_array().context("no list of IPBlocks")? {
        let cidr = block["spec"]["cidr"].as_str().unwrap_or_default();
        all.insert(
            format!("block {cidr}"),
            vec![block["spec"]["nodeName"].to_string()],
        );
        let held = block["spec"]["allocations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| format!("{} {}", a["address"], a["pod"]))
            .collect();
        all.insert(format!("allocation {cidr}"), held);
    }
    Ok(all)
}

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|l| l.trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect();
    lines.sort();
    lines
}

fn pod_links(json: &str) -> Result<Vec<String>> {
    let links: serde_json::Value = serde_json::from_str(json).context("ip -j link")?;
    let names = links
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|l| l["ifname"].as_str());
    let mut names: Vec<String> = names
        .filter(|n| n.starts_with("mgy"))
        .map(str::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

/// Sets with their elements, chains and rules; counters are not content.
fn nft(json: &str) -> Result<Vec<String>> {
    let table: serde_json::Value = serde_json::from_str(json).context("nft -j")?;
    let mut objects = Vec::new();
    for object in table["nftables"].as_array().into_iter().flatten() {
        let mut object = object.clone();
        scrub(&mut object);
        if object.get("metainfo").is_none() {
            objects.push(object.to_string());
        }
    }
    objects.sort();
    Ok(objects)
}

fn scrub(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("handle");
            map.remove("counter");
            // Elements of a set have no order.
            if let Some(serde_json::Value::Array(elements)) = map.get_mut("elem") {
                elements.sort_by_key(ToString::to_string);
            }
            map.values_mut().for_each(scrub);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(scrub),
        _ => {}
    }
}

fn difference(before: &Snapshot, after: &Snapshot) -> Option<String> {
    let keys = before
        .keys()
        .chain(after.keys())
        .collect::<std::collections::BTreeSet<_>>();
    keys.into_iter().find_map(|key| {
        let (old, new) = (
            before.get(key).cloned().unwrap_or_default(),
            after.get(key).cloned().unwrap_or_default(),
        );
        let gone: Vec<&String> = old.iter().filter(|i| !new.contains(i)).take(3).collect();
        let extra: Vec<&String> = new.iter().filter(|i| !old.contains(i)).take(3).collect();
        (old != new).then(|| {
            format!(
                "{key}: {} before, {} after; gone {gone:?}, new {extra:?}",
                old.len(),
                new.len()
            )
        })
    })
}
