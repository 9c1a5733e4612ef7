//! The agents' service account is made anew, and with it every token is worth nothing.

use super::{Expect, Fault, Scene, agent::back, sh, staged};
use crate::{cluster::Cluster, report::Report};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// The agent waits 20 s for an API server that only starts, and tries again at ever longer intervals meanwhile.
const NOTICED: Duration = Duration::from_secs(120);

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    staged(cluster, report, |scene, report| {
        scene.fault(report, token_refused(scene));
        Ok(())
    })
}

fn token_refused<'a>(scene: &'a Scene<'_>) -> Fault<'a> {
    let lab = scene.lab();
    Fault {
        name: "the service account deleted, and the API server started again".to_owned(),
        nodes: lab.nodes().iter().map(|n| n.name.as_str()).collect(),
        strike: Box::new(move || {
            let account = account_made_anew(lab)?;
            // Watches that are open are not asked again who they are.
            lab.restart("cp", "kube-apiserver")?;
            let begin = Instant::now();
            let told = wait_until("every agent says that it is refused", NOTICED, || {
                refused(lab)
            })?;
            let noticed = begin.elapsed().as_secs();
            let found = found_by_doctor(scene.cluster)?;
            let app = ["-l", "app.kubernetes.io/name=margay-agent"];
            let delete = ["delete", "pod", "-n", "margay-system"];
            lab.kubectl(&[delete.as_slice(), &app].concat())?;
            Ok(format!(
                "{account}; after {noticed} s /readyz: {told}; doctor: {found}; agents' pods deleted"
            ))
        }),
        told: Vec::new(),
        healed: Box::new(move || {
            for node in lab.nodes() {
                if let Seen::NotYet(why) = back(lab, &node.name, 0, true)? {
                    return Ok(Seen::NotYet(why));
                }
            }
            Ok(Seen::Holds(()))
        }),
        within: NOTICED + SOON,
        expect: Expect::NothingLost,
    }
}

/// Another UID shows that it is another one.
fn account_made_anew(lab: &Lab) -> Result<String> {
    let account = ["serviceaccount", "margay-agent", "-n", "margay-system"];
    let uid = || {
        let get = ["get", "-o", "jsonpath={.metadata.uid}"];
        lab.kubectl(&[get.as_slice(), &account].concat())
    };
    let old = uid()?;
    lab.kubectl(&[["delete"].as_slice(), &account].concat())?;
    wait_until("the operator makes it again", SOON, || {
        let new = uid()?;
        ensure!(new != old, "it was not deleted");
        Ok(Seen::Holds(format!("service account {old} became {new}")))
    })
}

fn refused(lab: &Lab) -> Result<Seen<String>> {
    let mut last = String::new();
    for node in lab.nodes() {
        let readyz = "curl -sS http://127.0.0.1:9179/readyz || :";
        last = sh(lab, &node.name, readyz)?;
        if !last.contains("Unauthorized (401)") {
            return Ok(Seen::NotYet(format!("{}: {last}", node.name)));
        }
    }
    Ok(Seen::Holds(
        last.lines().next().unwrap_or_default().to_owned(),
    ))
}

/// An error of each node, with a remedy.
fn found_by_doctor(cluster: &Cluster) -> Result<String> {
    let json = cluster.ctl_output(&["doctor", "-o", "json"])?;
    let json: Value = serde_json::from_str(&json).with_context(|| format!("no JSON: {json}"))?;
    let findings = json["findings"].as_array().context("no findings")?;
    let of = |node: &str| {
        let mut all = findings.iter();
        all.find(|f| f["check"] == "watches" && f["node"] == node && f["severity"] == "error")
    };
    let nodes = cluster.lab.nodes();
    let found: Vec<&Value> = nodes.iter().filter_map(|n| of(&n.name)).collect();
    ensure!(
        found.len() == nodes.len(),
        "no finding of every node: {json}"
    );
    let remedy = found[0]["remedy"].as_str().unwrap_or_default();
    ensure!(
        remedy.contains("delete the agent's pod"),
        "remedy: {remedy}"
    );
    Ok(format!(
        "{} {} -> {remedy}",
        found[0]["object"], found[0]["what"]
    ))
}
