//! What the Installation's conditions say. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use margay_proto::crd::{Condition, Installation, InstallationStatus};
use std::sync::Arc;

/// What is known about the installation.
pub(crate) struct Facts<'a> {
    /// What could not be applied.
    pub(crate) failures: &'a [String],
    pub(crate) daemon_set: Option<&'a DaemonSet>,
    /// Generation of the DaemonSet after the last apply; an older one in the watch is out of date.
    pub(crate) applied_generation: Option<i64>,
    pub(crate) pods: Vec<Arc<Pod>>,
}

/// The status that the Installation should have; transition times are kept where nothing turned.
pub(crate) fn status(
    installation: &Installation,
    facts: &Facts<'_>,
    now: &Time,
) -> InstallationStatus {
    let agents = Agents::of(facts);
    let mut status = installation.status.clone().unwrap_or_default();
    status.desired_agents = agents.desired;
    status.ready_agents = agents.ready;
    status.observed_generation = installation.metadata.generation;
    for (type_, (value, reason, message)) in [
        ("Available", available(&agents, facts)),
        ("Progressing", progressing(&agents)),
        ("Degraded", degraded(facts)),
    ] {
        let condition = Condition {
            type_: type_.to_owned(),
            status: if value { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: installation.metadata.generation,
            last_transition_time: now.clone(),
        };
        Condition::set(&mut status.conditions, condition);
    }
    status
}

type Verdict = (bool, &'static str, String);

/// All agents are ready, or all but the one that a roll-out restarts.
fn available(agents: &Agents, facts: &Facts<'_>) -> Verdict {
    let counted = format!("{} of {} agents ready", agents.ready, agents.desired);
    if !agents.exist {
        return (
            false,
            "NoAgents",
            "the DaemonSet margay-agent is not there yet".to_owned(),
        );
    }
    if agents.observed && agents.desired == 0 {
        return (
            false,
            "NoNodes",
            "no node runs an agent: the cluster has no Linux nodes".to_owned(),
        );
    }
    if agents.observed && agents.ready >= agents.desired {
        return (true, "AllReady", counted);
    }
    if agents.is_rolling() && agents.desired > 1 && agents.ready + 1 >= agents.desired {
        return (true, "RollingOut", counted);
    }
    let failing = failing(&facts.pods);
    let message = if failing.is_empty() {
        counted
    } else {
        format!("{counted}; {failing}")
    };
    (false, "AgentsNotReady", message)
}

fn progressing(agents: &Agents) -> Verdict {
    let counted = format!(
        "{} of {} agents updated, {} ready",
        agents.updated, agents.desired, agents.ready
    );
    if !agents.exist || !agents.observed {
        return (
            true,
            "Applying",
            "the DaemonSet margay-agent was changed".to_owned(),
        );
    }
    if agents.updated < agents.desired || agents.ready < agents.desired {
        return (true, "RollingOut", counted);
    }
    (false, "Done", counted)
}

fn degraded(facts: &Facts<'_>) -> Verdict {
    match facts.failures {
        [] => (false, "AsExpected", "everything is applied".to_owned()),
        [first] => (true, "NotApplied", first.clone()),
        [first, others @ ..] => (
            true,
            "NotApplied",
            format!("{first} (and {} more)", others.len()),
        ),
    }
}

/// The DaemonSet in numbers.
struct Agents {
    exist: bool,
    /// The numbers are about what was applied last.
    observed: bool,
    desired: i32,
    updated: i32,
    ready: i32,
}

impl Agents {
    fn of(facts: &Facts<'_>) -> Self {
        let Some(daemon_set) = facts.daemon_set else {
            return Self {
                exist: false,
                observed: false,
                desired: 0,
                updated: 0,
                ready: 0,
            };
        };
        let status = daemon_set.status.clone().unwrap_or_default();
        let generation = daemon_set.metadata.generation;
        Self {
            exist: true,
            observed: status.observed_generation >= generation.max(facts.applied_generation),
            desired: status.desired_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or_default(),
            ready: status.number_ready,
        }
    }

    fn is_rolling(&self) -> bool {
        !self.observed || self.updated < self.desired
    }
}

/// The first agents that are not ready, and why.
fn failing(pods: &[Arc<Pod>]) -> String {
    let mut failing: Vec<String> = pods.iter().filter_map(|pod| complaint(pod)).collect();
    failing.sort_unstable();
    let rest = failing.len().saturating_sub(SHOWN);
    failing.truncate(SHOWN);
    if rest > 0 {
        failing.push(format!("and {rest} more"));
    }
    failing.join("; ")
}

/// How many failing agents are named.
const SHOWN: usize = 3;

fn complaint(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
    {
        return None;
    }
    let node = pod
        .spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or("no node");
    let unscheduled = conditions
        .iter()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let container = status
        .container_statuses
        .as_deref()
        .unwrap_or_default()
        .first()
        .and_then(container_complaint);
    let why = container
        .or_else(|| unscheduled.and_then(|c| c.message.clone()))
        .or_else(|| status.message.clone())
        .unwrap_or_else(|| "is not ready; its log says why".to_owned());
    Some(format!("{} on {node}: {why}", pod.name_any()))
}

fn container_complaint(status: &ContainerStatus) -> Option<String> {
    let last = status
        .last_state
        .as_ref()
        .and_then(|s| s.terminated.as_ref());
    let waiting = status.state.as_ref().and_then(|s| s.waiting.as_ref());
    if let Some(last) = last {
        let line = last
            .message
            .as_deref()
            .unwrap_or_default()
            .trim()
            .lines()
            .last()
            .unwrap_or_default();
        let line: String = line.chars().take(LINE).collect();
        return Some(format!(
            "exit code {}, {} restarts: {line}",
            last.exit_code, status.restart_count
        ));
    }
    let waiting = waiting.filter(|w| w.reason.as_deref() != Some("ContainerCreating"))?;
    let words: Vec<&str> = [&waiting.reason, &waiting.message]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    Some(words.join(": "))
}

/// Characters shown of a failing agent's last line.
const LINE: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::installation;
    use serde_json::json;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    fn daemon_set(desired: i32, updated: i32, ready: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "generation": 2 },
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated, "numberReady": ready,
                "currentNumberScheduled": desired, "numberMisscheduled": 0,
            },
        }))
        .unwrap()
    }

    fn pod(node: &str, status: serde_json::Value) -> Arc<Pod> {
        let pod = json!({ "metadata": { "name": format!("margay-agent-{node}") }, "spec": { "nodeName": node, "containers": [] }, "status": status });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// `status reason: message` of one condition.
    fn condition(facts: &Facts<'_>, type_: &str) -> String {
        let status = status(&installation(), facts, &at(1));
        let condition = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
        format!(
            "{} {}: {}",
            condition.status, condition.reason, condition.message
        )
    }

    fn facts(daemon_set: Option<&DaemonSet>) -> Facts<'_> {
        Facts {
            failures: &[],
            daemon_set,
            applied_generation: Some(2),
            pods: Vec::new(),
        }
    }

    #[test]
    fn from_nothing_to_all_ready() {
        assert!(condition(&facts(None), "Available").starts_with("False NoAgents"));
        assert!(condition(&facts(None), "Progressing").starts_with("True Applying"));
        let half = daemon_set(3, 3, 1);
        assert_eq!(
            condition(&facts(Some(&half)), "Available"),
            "False AgentsNotReady: 1 of 3 agents ready"
        );
        let done = daemon_set(3, 3, 3);
        assert_eq!(
            condition(&facts(Some(&done)), "Available"),
            "True AllReady: 3 of 3 agents ready"
        );
        assert_eq!(
            condition(&facts(Some(&done)), "Progressing"),
            "False Done: 3 of 3 agents updated, 3 ready"
        );
        assert_eq!(
            condition(&facts(Some(&done)), "Degraded"),
            "False AsExpected: everything is applied"
        );
        let stale = Facts {
            applied_generation: Some(3),
            ..facts(Some(&done))
        };
        assert!(
            condition(&stale, "Progressing").starts_with("True Applying"),
            "the watch shows what was before"
        );
    }

    #[test]
    fn one_restarting_agent_of_a_rollout_leaves_it_available() {
        let rolling = daemon_set(3, 1, 2);
        assert_eq!(
            condition(&facts(Some(&rolling)), "Available"),
            "True RollingOut: 2 of 3 agents ready"
        );
        let worse = daemon_set(3, 1, 1);
        assert!(condition(&facts(Some(&worse)), "Available").starts_with("False"));
        assert!(
            condition(&facts(Some(&daemon_set(0, 0, 0))), "Available").starts_with("False NoNodes")
        );
    }

    #[test]
    fn failing_agents_are_named_with_the_reason() {
        let set = daemon_set(5, 5, 1);
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        let crash = json!({ "containerStatuses": [{ "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }] });
        let exited = json!({ "containerStatuses": [{ "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "lastState": { "terminated": { "exitCode": 2, "message": "starting\nno such file\n" } }, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] });
        let pods = vec![
            pod("n1", ready),
            pod("n2", crash),
            pod("n3", exited),
            pod("n4", json!({})),
            pod("n5", json!({})),
        ];
        let facts = Facts {
            pods,
            ..facts(Some(&set))
        };
        assert_eq!(
            condition(&facts, "Available"),
            "False AgentsNotReady: 1 of 5 agents ready; margay-agent-n2 on n2: ImagePullBackOff: no such image; \
             margay-agent-n3 on n3: exit code 2, 4 restarts: no such file; margay-agent-n4 on n4: is not ready; its log says why; and 1 more"
        );
    }

    #[test]
    fn failures_degrade_and_times_stay() {
        let failures = [
            "IPPool pods: blockSize is immutable".to_owned(),
            "Role x: y".to_owned(),
        ];
        let broken = Facts {
            failures: &failures,
            ..facts(None)
        };
        assert_eq!(
            condition(&broken, "Degraded"),
            "True NotApplied: IPPool pods: blockSize is immutable (and 1 more)"
        );
        let mut installation = installation();
        installation.status = Some(status(&installation, &facts(None), &at(1)));
        let later = status(&installation, &facts(None), &at(2));
        assert_eq!(
            installation.status,
            Some(later),
            "nothing turned, nothing to write"
        );
        assert_eq!(installation.status.unwrap().observed_generation, Some(3));
    }
}
