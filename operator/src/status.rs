//! What the Installation's conditions say. Pure.
//!
//! - `Available`: every node that should have an agent has one that is ready. Once that was so it stays True while at most
//!   [`MAX_UNAVAILABLE`] agents restart (a roll-out, a crash) and none of them fails; an agent fails when its container cannot start
//!   (`ErrImagePull`, `CrashLoopBackOff`, ...) or when it has not been ready for [`GRACE`]. Then it is False until all are ready again.
//! - `Progressing`: the DaemonSet is not yet everywhere as it was applied, or an agent is not ready.
//! - `Degraded`: something that the Installation asks for could not be applied.
//!
//! `kubectl get` shows one message, that of `Available`: it also tells what is degraded, and which agents are not ready and why.

mod unready;

use crate::desired::MAX_UNAVAILABLE;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use margay_proto::crd::{Condition, Installation, InstallationStatus};
use std::sync::Arc;
use unready::{Unready, complaints};

/// How long an agent may take to become ready before that is a failure: a pull of the image and a start, with room.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

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
    let agents = Agents::of(facts, now.0);
    let mut status = installation.status.clone().unwrap_or_default();
    let before = Condition::is_true(&status.conditions, "Available");
    status.desired_agents = agents.desired;
    status.ready_agents = agents.ready;
    status.observed_generation = installation.metadata.generation;
    for (type_, (value, reason, message)) in [
        ("Available", available(&agents, facts, before)),
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

/// `before`: it was so far.
fn available(agents: &Agents, facts: &Facts<'_>, before: bool) -> Verdict {
    let (value, reason) = if !agents.exist {
        (false, "NoAgents")
    } else if agents.observed && agents.desired == 0 {
        (false, "NoNodes")
    } else if agents.observed && agents.ready >= agents.desired {
        (true, "AllReady")
    } else if before && agents.are_enough() {
        (true, "RollingOut")
    } else {
        (false, "AgentsNotReady")
    };
    let mut sentences = vec![match reason {
        "NoAgents" => "the DaemonSet margay-agent is not there yet".to_owned(),
        "NoNodes" => "no node runs an agent: the cluster has no Linux nodes".to_owned(),
        _ => format!("{} of {} agents ready", agents.ready, agents.desired),
    }];
    if let (true, _, what) = degraded(facts) {
        sentences.push(format!("not applied: {what}"));
    }
    if agents.exist && reason != "AllReady" {
        sentences.extend(agents.complaints());
    }
    (value, reason, sentences.join("; "))
}

fn progressing(agents: &Agents) -> Verdict {
    if !agents.exist || !agents.observed {
        return (
            true,
            "Applying",
            "the DaemonSet margay-agent was changed".to_owned(),
        );
    }
    let counted = format!(
        "{} of {} agents updated, {} ready",
        agents.updated, agents.desired, agents.ready
    );
    if agents.updated < agents.desired || agents.ready < agents.desired {
        let mut sentences = vec![counted];
        sentences.extend(agents.complaints());
        return (true, "RollingOut", sentences.join("; "));
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

/// The agents in numbers.
#[derive(Default)]
struct Agents {
    exist: bool,
    /// The numbers are about what was applied last.
    observed: bool,
    desired: i32,
    updated: i32,
    ready: i32,
    unready: Vec<Unready>,
    /// Nodes without even a pod.
    missing: i32,
}

impl Agents {
    fn of(facts: &Facts<'_>, now: Timestamp) -> Self {
        let Some(daemon_set) = facts.daemon_set else {
            return Self::default();
        };
        let status = daemon_set.status.clone().unwrap_or_default();
        let generation = daemon_set.metadata.generation;
        let mut unready: Vec<Unready> = facts
            .pods
            .iter()
            .filter_map(|pod| Unready::of(pod, now))
            .collect();
        unready.sort_unstable();
        let pods = i32::try_from(facts.pods.len()).unwrap_or(i32::MAX);
        Self {
            exist: true,
            observed: status.observed_generation >= generation.max(facts.applied_generation),
            desired: status.desired_number_scheduled,
            updated: status.updated_number_scheduled.unwrap_or_default(),
            ready: status.number_ready,
            unready,
            missing: (status.desired_number_scheduled - pods).max(0),
        }
    }

    /// No more are away than a roll-out takes at a time, and those are on their way back.
    fn are_enough(&self) -> bool {
        self.desired > MAX_UNAVAILABLE
            && self.ready + MAX_UNAVAILABLE >= self.desired
            && !self.unready.iter().any(|agent| agent.fails)
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = complaints(&self.unready);
        if self.missing > 0 {
            complaints.push(format!("{} without a pod yet", self.missing));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::unready::tests::{container, pod, waiting};
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

    /// Three agents: two are ready, n3 has `status`.
    fn third(status: serde_json::Value) -> Vec<Arc<Pod>> {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        let pods = [("n1", ready.clone()), ("n2", ready), ("n3", status)];
        pods.map(|(node, status)| Arc::new(pod(node, status)))
            .into()
    }

    /// `status reason: message` of one condition of an Installation that had none before.
    fn condition(facts: &Facts<'_>, type_: &str) -> String {
        words(&installation(), facts, type_)
    }

    /// The same after all agents were ready.
    fn condition_later(facts: &Facts<'_>, type_: &str) -> String {
        let mut installation = installation();
        let done = daemon_set(3, 3, 3);
        installation.status = Some(status(&installation, &self::facts(Some(&done)), &at(0)));
        words(&installation, facts, type_)
    }

    fn words(installation: &Installation, facts: &Facts<'_>, type_: &str) -> String {
        let status = status(installation, facts, &at(1));
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
            "False AgentsNotReady: 1 of 3 agents ready; 3 without a pod yet"
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
        assert!(
            condition(&facts(Some(&daemon_set(0, 0, 0))), "Available").starts_with("False NoNodes")
        );
    }

    #[test]
    fn one_restarting_agent_leaves_it_available_and_is_named() {
        // The last of a roll-out counts as updated before it is ready.
        for updated in [1, 3] {
            let rolling = daemon_set(3, updated, 2);
            let rolling = Facts {
                pods: third(waiting("ContainerCreating", "")),
                ..facts(Some(&rolling))
            };
            assert_eq!(
                condition_later(&rolling, "Available"),
                "True RollingOut: 2 of 3 agents ready; margay-agent-n3 on n3: ContainerCreating"
            );
            assert_eq!(
                condition_later(&rolling, "Progressing"),
                format!(
                    "True RollingOut: {updated} of 3 agents updated, 2 ready; margay-agent-n3 on n3: ContainerCreating"
                )
            );
            assert!(
                condition(&rolling, "Available").starts_with("False AgentsNotReady"),
                "an installation is available when all are ready for the first time"
            );
        }
        let worse = daemon_set(3, 1, 1);
        assert!(condition_later(&facts(Some(&worse)), "Available").starts_with("False"));
    }

    #[test]
    fn a_roll_out_that_cannot_go_on_is_not_available() {
        let rolling = daemon_set(3, 1, 2);
        let stuck = Facts {
            pods: third(waiting("ErrImagePull", "nowhere.invalid: no such host")),
            ..facts(Some(&rolling))
        };
        assert_eq!(
            condition_later(&stuck, "Available"),
            "False AgentsNotReady: 2 of 3 agents ready; margay-agent-n3 on n3: ErrImagePull: nowhere.invalid: no such host"
        );
        assert!(condition_later(&stuck, "Progressing").starts_with("True RollingOut"));
    }

    #[test]
    fn failing_agents_are_named_first() {
        let set = daemon_set(6, 5, 1);
        let exited = container(
            json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            json!({ "terminated": { "exitCode": 2, "message": "starting\nno such file\n" } }),
        );
        let mut pods = third(exited);
        pods.remove(0);
        for (node, status) in [
            ("n0", json!({})),
            ("n1", json!({})),
            ("n4", waiting("ImagePullBackOff", "no image")),
        ] {
            pods.push(Arc::new(pod(node, status)));
        }
        let facts = Facts {
            pods,
            ..facts(Some(&set))
        };
        assert_eq!(
            condition(&facts, "Available"),
            "False AgentsNotReady: 1 of 6 agents ready; margay-agent-n3 on n3: exit code 2, 4 restarts: no such file; \
             margay-agent-n4 on n4: ImagePullBackOff: no image; margay-agent-n0 on n0: is not ready; its log says why; and 1 more; \
             1 without a pod yet"
        );
    }

    #[test]
    fn what_could_not_be_applied_is_in_both_messages() {
        let failures = [
            "IPPool pods: blockSize is immutable".to_owned(),
            "Role x: y".to_owned(),
        ];
        let done = daemon_set(3, 3, 3);
        let broken = Facts {
            failures: &failures,
            ..facts(Some(&done))
        };
        assert_eq!(
            condition(&broken, "Degraded"),
            "True NotApplied: IPPool pods: blockSize is immutable (and 1 more)"
        );
        assert_eq!(
            condition(&broken, "Available"),
            "True AllReady: 3 of 3 agents ready; not applied: IPPool pods: blockSize is immutable (and 1 more)"
        );
    }

    #[test]
    fn times_stay_where_nothing_turned() {
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
