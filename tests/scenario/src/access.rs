//! What an agent's token is good for, tried with one stolen from n1: its own node's objects, and nobody else's. Refused writes are tried as
//! `dryRun`, which passes authorization and admission like any other, so that a hole would be seen and not torn open.

mod attempts;

use crate::{
    cluster::Cluster,
    report::Report,
    rest::{Answer, Caller, page, stolen_token},
};
use anyhow::{Context, Result, ensure};
use margay_lab::{Lab, Seen, wait_until};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const MARGAY: &str = "/apis/margay.dev/v1alpha1";

pub(crate) fn prove(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let lab = &cluster.lab;
    let token = stolen_token(lab, "n1")?;
    let thief = Caller::new(lab, &token)?;
    report.check("the token is n1's agent's", || whoami(&thief));
    report.check("the rights of docs/rbac.md and no other", || {
        rights(lab, &thief)
    });
    let (own, other) = (block_of(lab, "n1")?, block_of(lab, "n2")?);
    for attempt in attempts::all(lab, &own, &other)? {
        report.check(&attempt.title(), || attempt.run(&thief));
    }
    anonymous(lab, report)?;
    report.check(
        "nobody else is judged: the administrator writes to n2's state",
        || {
            let patch = r#"{"metadata": {"labels": {"seen-by": "administrator"}}}"#;
            lab.kubectl(&[
                "patch",
                "nodestate",
                "n2",
                "--type=merge",
                "--dry-run=server",
                "-p",
                patch,
            ])
            .map(|text| text.trim().to_owned())
        },
    );
    report.check("no agent was ever forbidden anything", || unforbidden(lab));
    refused_agent(lab, report)
}

/// Checks that the admission policy refused, by that rule and naming that object.
fn refused(answer: &Answer, object: &str, rule: &str) -> Result<String> {
    let message = answer.message();
    ensure!(answer.code == 403, "{answer:?}");
    ensure!(
        message.contains(&format!("rule {rule}: ")),
        "not by rule {rule}: {message}"
    );
    ensure!(message.contains(object), "{object} is not named: {message}");
    let told = message.split("denied request: ").last();
    Ok(told.unwrap_or(message).to_owned())
}

/// A token of the same account that says no node.
fn anonymous(lab: &Lab, report: &mut Report) -> Result<()> {
    let token = lab.kubectl(&["create", "token", "margay-agent", "-n", "margay-system"])?;
    let caller = Caller::new(lab, &token)?;
    for (path, object) in [
        (format!("{MARGAY}/bgpnodes/n1"), "bgpnodes/n1"),
        ("/api/v1/nodes/n1/status".to_owned(), "nodes/n1"),
    ] {
        report.check(
            &format!("a token without a node, on {object}: refused"),
            || {
                let nothing = json!({"metadata": {"labels": {"stolen": "yes"}}});
                let answer = caller.ask(
                    "PATCH",
                    &format!("{path}?dryRun=All"),
                    Some((MERGE, &nothing)),
                )?;
                refused(&answer, object, "token-names-node")
            },
        );
    }
    Ok(())
}

fn whoami(thief: &Caller<'_>) -> Result<String> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = thief.ask("POST", path, Some((JSON, &review)))?;
    let user = &answer.body["status"]["userInfo"];
    let node = &user["extra"]["authentication.kubernetes.io/node-name"][0];
    ensure!(node == "n1", "{answer:?}");
    ensure!(
        user["username"] == "system:serviceaccount:margay-system:margay-agent",
        "{answer:?}"
    );
    Ok(format!("{}, node {node}", user["username"]))
}

/// One verb on one resource: group, resource, verb.
type Right = [String; 3];

/// What `kubectl auth can-i --list` shows, less what every service account may, against the page.
fn rights(lab: &Lab, thief: &Caller<'_>) -> Result<String> {
    let token = lab.kubectl(&["create", "token", "default", "-n", "demo"])?;
    let anybody = Caller::new(lab, &token)?;
    let mut seen = 0;
    for namespace in ["margay-system", "demo"] {
        let basic = reviewed(&anybody, namespace)?;
        let mine: BTreeSet<Right> = reviewed(thief, namespace)?
            .difference(&basic)
            .cloned()
            .collect();
        let told = documented(&page("rbac.md")?, namespace)?;
        let only = |a: &BTreeSet<Right>, b: &BTreeSet<Right>| {
            format!("{:?}", a.difference(b).collect::<Vec<_>>())
        };
        ensure!(
            mine == told,
            "in {namespace}: the API server also allows {}, and not {}",
            only(&mine, &told),
            only(&told, &mine)
        );
        seen += mine.len();
    }
    Ok(format!("{seen} verbs in two namespaces"))
}

fn reviewed(caller: &Caller<'_>, namespace: &str) -> Result<BTreeSet<Right>> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = caller.ask("POST", path, Some((JSON, &review)))?;
    ensure!(answer.body["status"]["incomplete"] == false, "{answer:?}");
    let rules = answer.body["status"]["resourceRules"]
        .as_array()
        .context("no rules")?;
    let mut rights = BTreeSet::new();
    for rule in rules {
        ensure!(rule["resourceNames"].is_null(), "limited to names: {rule}");
        let words = |field: &str| -> Vec<String> {
            let all = rule[field].as_array().into_iter().flatten();
            all.filter_map(|w| w.as_str().map(str::to_owned)).collect()
        };
        for group in words("apiGroups") {
            for resource in words("resources") {
                let right = |verb| [group.clone(), resource.clone(), verb];
                rights.extend(words("verbs").into_iter().map(right));
            }
        }
    }
    Ok(rights)
}

/// The agents' table of docs/rbac.md, as far as it holds in `namespace`.
fn documented(page: &str, namespace: &str) -> Result<BTreeSet<Right>> {
    let (_, section) = page
        .split_once("## Agents")
        .context("docs/rbac.md has no agents")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let words = |cell: &str| -> Vec<String> {
        let bare = cell.split(',').map(|w| w.trim().trim_matches('`'));
        bare.map(|w| if w == "core" { "" } else { w }.to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for line in section
        .lines()
        .filter(|l| l.starts_with("| cluster") || l.starts_with(&format!("| {namespace}")))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [_, groups, resources, _, verbs, _] = cells[..] else {
            anyhow::bail!("six columns: {line}")
        };
        for group in words(groups) {
            for resource in words(resources) {
                let right = |verb| [group.clone(), resource.clone(), verb];
                rights.extend(words(verbs).into_iter().map(right));
            }
        }
    }
    Ok(rights)
}

/// The name of a block that `node` owns.
fn block_of(lab: &Lab, node: &str) -> Result<String> {
    let selector = format!("spec.nodeName={node}");
    let list = lab.kubectl_json(&["get", "ipblocks", "--field-selector", &selector])?;
    let name = list["items"][0]["metadata"]["name"].as_str();
    Ok(name
        .with_context(|| format!("{node} owns no block"))?
        .to_owned())
}

fn unforbidden(lab: &Lab) -> Result<String> {
    let logs = lab.kubectl(&[
        "logs",
        "-n",
        "margay-system",
        "-l",
        "app.kubernetes.io/part-of=margay",
        "--tail=-1",
        "--max-log-requests=10",
    ])?;
    let lines = logs.lines().count();
    ensure!(lines > 10, "only {lines} lines of log");
    let forbidden: Vec<&str> = logs.lines().filter(|l| l.contains("forbidden")).collect();
    ensure!(forbidden.is_empty(), "{}", forbidden.join("\n"));
    Ok(format!(
        "{lines} lines of operator and agents, none says forbidden"
    ))
}

/// An agent whose writes are refused says so and goes on.
fn refused_agent(lab: &Lab, report: &mut Report) -> Result<()> {
    let uid = |lab: &Lab| lab.kubectl(&["get", "bgpnode", "n1", "-o", "jsonpath={.spec.nodeUID}"]);
    let restarts = |lab: &Lab| {
        let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        lab.kubectl(&["get", "pods", "-n", "margay-system", "-o", path])
    };
    let (right, before) = (uid(lab)?, restarts(lab)?);
    lab.apply(LOCK)?;
    report.check(
        "an agent that is refused says so in its NodeState and runs on",
        || {
            // Known to be in force before the agent is given a reason to write.
            wait_until("the lock", Duration::from_secs(10), || {
                let thief = Caller::new(lab, &stolen_token(lab, "n1")?)?;
                let body = json!({"spec": {"listenPort": 179}});
                let path = format!("{MARGAY}/bgpnodes/n1?dryRun=All");
                let answer = thief.ask("PATCH", &path, Some((MERGE, &body)))?;
                Ok(if answer.code == 403 {
                    Seen::Holds(())
                } else {
                    Seen::NotYet(format!("{answer:?}"))
                })
            })?;
            lab.kubectl(&[
                "patch",
                "bgpnode",
                "n1",
                "--type=merge",
                "-p",
                r#"{"spec": {"nodeUID": "wrong"}}"#,
            ])?;
            let told = degraded(lab, |message| {
                message.contains("BGPNode n1") && message.contains("locked by the scenario")
            })?;
            ensure!(uid(lab)? == "wrong", "it was written all the same");
            ensure!(restarts(lab)? == before, "an agent restarted");
            Ok(told)
        },
    );
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        lab.kubectl(&["delete", kind, "scenario-lock"])?;
    }
    report.check("and makes it right once it may", || {
        wait_until("BGPNode n1", Duration::from_secs(15), || {
            let seen = uid(lab)?;
            Ok(if seen == right {
                Seen::Holds(())
            } else {
                Seen::NotYet(seen)
            })
        })?;
        degraded(lab, |message| !message.contains("BGPNode n1"))?;
        Ok("written, and Degraded says no more of it".to_owned())
    });
    Ok(())
}

fn degraded(lab: &Lab, wanted: impl Fn(&str) -> bool) -> Result<String> {
    wait_until("n1's Degraded", Duration::from_secs(15), || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Degraded\")].message}";
        let message = lab.kubectl(&["get", "nodestate", "n1", "-o", path])?;
        Ok(if wanted(&message) {
            Seen::Holds(message)
        } else {
            Seen::NotYet(message)
        })
    })
}

const LOCK: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: scenario-lock}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [margay.dev], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [bgpnodes]}
  matchConditions:
  - {name: agents, expression: request.userInfo.username.endsWith(':margay-agent')}
  validations:
  - {expression: 'false', message: locked by the scenario, reason: Forbidden}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: scenario-lock}
spec: {policyName: scenario-lock, validationActions: [Deny]}
";
