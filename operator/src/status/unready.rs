//! Agents that are not ready, and why, in words for a condition.

use super::GRACE;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

/// One agent that is not ready.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unready {
    /// `pod on node: why`.
    pub(super) complaint: String,
    /// It will not become ready by waiting: its container cannot start, or [`GRACE`] is over.
    pub(super) fails: bool,
}

impl Unready {
    /// `None` for an agent that is ready.
    pub(super) fn of(pod: &Pod, now: Timestamp) -> Option<Self> {
        let nothing = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&nothing);
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let ready = conditions.iter().find(|c| c.type_ == "Ready");
        if ready.is_some_and(|c| c.status == "True") {
            return None;
        }
        let since = ready
            .and_then(|c| c.last_transition_time.as_ref())
            .or(pod.metadata.creation_timestamp.as_ref());
        let late = since.is_some_and(|since| now.duration_since(since.0) >= GRACE);
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        let unscheduled = conditions
            .iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let container = status.container_statuses.as_deref().unwrap_or_default();
        let container = container.first();
        let why = if pod.metadata.deletion_timestamp.is_some() {
            "is stopping".to_owned()
        } else {
            container
                .and_then(container_complaint)
                .or_else(|| unscheduled.and_then(|c| c.message.clone()))
                .or_else(|| status.message.clone())
                .unwrap_or_else(|| "is not ready; its log says why".to_owned())
        };
        let why: String = why.chars().take(LINE).collect();
        Some(Self {
            complaint: format!("{} on {}: {why}", pod.name_any(), node.unwrap_or("no node")),
            fails: late
                || status.phase.as_deref() == Some("Failed")
                || container.is_some_and(cannot_start),
        })
    }
}

/// The first complaints; those that fail first.
pub(super) fn complaints(unready: &[Unready]) -> Vec<String> {
    let (failing, starting): (Vec<&Unready>, Vec<&Unready>) =
        unready.iter().partition(|agent| agent.fails);
    let all = failing.iter().chain(&starting);
    let mut complaints: Vec<String> = all.take(SHOWN).map(|a| a.complaint.clone()).collect();
    if unready.len() > SHOWN {
        complaints.push(format!("and {} more", unready.len() - SHOWN));
    }
    complaints
}

/// How many agents are named.
const SHOWN: usize = 3;

/// Characters shown of a complaint.
const LINE: usize = 300;

/// The runtime waits for something that does not come by itself: an image, a mount, an end of crashes.
fn cannot_start(status: &ContainerStatus) -> bool {
    waiting(status).is_some_and(|(reason, _)| !STARTING.contains(&reason))
}

/// Reasons of a container that is on its way.
const STARTING: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];

/// Reason and message.
fn waiting(status: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    Some((
        waiting.reason.as_deref().unwrap_or_default(),
        waiting.message.as_deref().unwrap_or_default(),
    ))
}

fn container_complaint(status: &ContainerStatus) -> Option<String> {
    let terminated =
        |state: &Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.clone());
    let ended = terminated(&status.state).or_else(|| terminated(&status.last_state));
    match (waiting(status), ended) {
        // A back-off says less than what the agent said last.
        (None | Some(("" | "CrashLoopBackOff", _)), Some(ended)) => {
            Some(last_words(status, &ended))
        }
        (Some((reason, "")), _) if !reason.is_empty() => Some(reason.to_owned()),
        (Some((reason, message)), _) if !reason.is_empty() => Some(format!("{reason}: {message}")),
        _ => None,
    }
}

fn last_words(status: &ContainerStatus, ended: &ContainerStateTerminated) -> String {
    let message = ended.message.as_deref().unwrap_or_default().trim();
    let line = message.lines().last().unwrap_or_default();
    format!(
        "exit code {}, {} restarts: {line}",
        ended.exit_code, status.restart_count
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    /// A pod that became unready, or was made, at second 0.
    pub(in super::super) fn pod(node: &str, mut status: Value) -> Pod {
        if status.get("conditions").is_none() {
            status["conditions"] = json!([{ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        }
        let pod = json!({ "metadata": { "name": format!("margay-agent-{node}") }, "spec": { "nodeName": node, "containers": [] }, "status": status });
        serde_json::from_value(pod).unwrap()
    }

    pub(in super::super) fn container(state: Value, last: Value) -> Value {
        json!({ "containerStatuses": [{ "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": state, "lastState": last }] })
    }

    pub(in super::super) fn waiting(reason: &str, message: &str) -> Value {
        container(
            json!({ "waiting": { "reason": reason, "message": message } }),
            json!({}),
        )
    }

    fn after(seconds: i64, status: Value) -> (String, bool) {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now = start + SignedDuration::from_secs(seconds);
        let unready = Unready::of(&pod("n1", status), now).unwrap();
        let why = unready.complaint.strip_prefix("margay-agent-n1 on n1: ");
        (why.unwrap().to_owned(), unready.fails)
    }

    #[test]
    fn an_agent_on_its_way_fails_only_after_the_grace() {
        let creating = waiting("ContainerCreating", "");
        assert_eq!(
            after(1, creating.clone()),
            ("ContainerCreating".to_owned(), false)
        );
        assert_eq!(after(60, creating), ("ContainerCreating".to_owned(), true));
        let running = container(json!({ "running": {} }), json!({}));
        let (why, fails) = after(59, running);
        assert_eq!((&*why, fails), ("is not ready; its log says why", false));
    }

    #[test]
    fn a_container_that_cannot_start_fails_at_once() {
        assert_eq!(
            after(1, waiting("ErrImagePull", "no such host")),
            ("ErrImagePull: no such host".to_owned(), true)
        );
        let ended =
            json!({ "terminated": { "exitCode": 2, "message": "starting\nno such file\n" } });
        let crashing = container(
            json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            ended.clone(),
        );
        let words = "exit code 2, 4 restarts: no such file".to_owned();
        assert_eq!(after(1, crashing), (words.clone(), true));
        assert_eq!(
            after(1, container(ended.clone(), json!({}))),
            (words.clone(), false)
        );
        assert_eq!(
            after(1, container(json!({ "running": {} }), ended)),
            (words, false)
        );
    }

    #[test]
    fn a_long_message_is_cut_and_a_ready_agent_has_none() {
        let (why, _) = after(1, waiting("ErrImagePull", &"ö".repeat(1000)));
        assert_eq!(why.chars().count(), LINE);
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        let now = "2026-01-01T00:00:01Z".parse().unwrap();
        assert_eq!(Unready::of(&pod("n1", ready), now), None);
    }
}
