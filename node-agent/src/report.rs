//! What this node tells the API server: `BGPNode`, `NodeState`, and that its network is available.
//!
//! Coalesced and on change; a server that is away is tried again, and nothing here ever stops the rest.
//!
//! Both objects are owned by the Node, by its UID: when a node is deleted the cluster's own garbage collector removes them, without a
//! controller of ours that would have to be sure. While there is no Node nothing is written, or it would be there for ever.

use crate::{actuate::Applied, engine::Plan, health::Gate, speaker::Handle};
use k8s_openapi::{
    api::core::v1::Node,
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use margay_proto::{
    crd::{
        BGPNode, BGPNodeSpec, Condition, NodeState, NodeStateSpec, NodeStateStatus, SessionState,
    },
    names,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Writes are this far apart at least.
const COALESCE: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_secs(2);
/// What was written is written again, as it was: the API server takes that for nothing, unless somebody has changed or deleted it.
const RENEWAL: Duration = Duration::from_secs(60);

/// Everything that is reported on.
pub struct Reporter {
    /// This node.
    pub node: String,
    /// For the writes.
    pub client: Client,
    /// Identity, faults.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// What is in the kernel.
    pub applied: watch::Receiver<Applied>,
    /// Sessions.
    pub speaker: Handle,
    /// Why ADD is not served; none when it is.
    pub serving: watch::Receiver<Option<String>>,
    /// What the API server refuses to do with this node's blocks.
    pub blocks_refused: watch::Receiver<Vec<String>>,
    /// `/readyz`.
    pub gate: Gate,
}

#[derive(Default, PartialEq)]
struct Written {
    /// The Node that owns what was written.
    node_uid: String,
    /// The node's identity was written since then.
    identity: bool,
    status: Option<NodeStateStatus>,
    /// Since when the node's network is said to be available.
    available: Option<Time>,
    /// Time to write it again.
    is_old: bool,
}

/// Whether everything was taken; what was not is in the state, and tried again.
enum Outcome {
    Written,
    Refused,
}

/// What the API server refuses, in words. It is said in the node's state, which must not wait for it to be mended.
#[derive(Default)]
struct Refusals(Vec<String>);

impl Refusals {
    /// Whether the write of `object` was taken. Only a server that is away or broken is an error.
    fn unless_taken(
        &mut self,
        object: &str,
        name: &str,
        result: kube::Result<()>,
    ) -> kube::Result<bool> {
        match result {
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
                let refusal = format!("{object} {name}: API server refused: {}", status.message);
                tracing::warn!("{refusal}");
                self.0.push(refusal);
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    fn outcome(&self) -> Outcome {
        if self.0.is_empty() {
            Outcome::Written
        } else {
            Outcome::Refused
        }
    }
}

impl Reporter {
    /// Reports until cancelled.
    ///
    /// # Errors
    /// None: a refused write is tried again.
    pub async fn run(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        let mut written = Written::default();
        let mut renewal = tokio::time::interval(RENEWAL);
        renewal.reset();
        loop {
            let pause = match self.report(&mut written).await {
                Ok(Outcome::Written) => COALESCE,
                Ok(Outcome::Refused) => RETRY,
                Err(error) => {
                    tracing::warn!(%error, "could not report this node's state, trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            if pause == RETRY {
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = self.plans.changed() => {}
                _ = self.applied.changed() => {}
                _ = self.speaker.sessions.changed() => {}
                _ = self.speaker.listener.changed() => {}
                _ = self.speaker.bfd.changed() => {}
                _ = self.serving.changed() => {}
                _ = self.blocks_refused.changed() => {}
                _ = renewal.tick() => written.is_old = true,
            }
        }
    }

    async fn report(&mut self, written: &mut Written) -> kube::Result<Outcome> {
        let plan = self.plans.borrow_and_update().clone();
        let why_not = self.serving.borrow_and_update().clone();
        match &why_not {
            None => self.gate.open(),
            Some(why) => self.gate.close(why),
        }
        let Some(node_uid) = &plan.node_uid else {
            return Ok(Outcome::Written);
        };
        if written.node_uid != *node_uid {
            // Another Node of our name: it knows nothing of what was written for the one before.
            *written = Written {
                node_uid: node_uid.clone(),
                ..Written::default()
            };
        }
        let mut refused = Refusals::default();
        let kept = self.keep_identity(&plan, written.identity).await;
        let taken = refused.unless_taken("BGPNode", &self.node, kept)?;
        written.identity = taken && plan.identity.is_some();
        let renew = std::mem::take(&mut written.is_old);
        if why_not.is_none() && (renew || written.available.is_none()) {
            let since = written
                .available
                .take()
                .unwrap_or_else(|| Time(Timestamp::now()));
            let marked = self.mark_available(&since).await;
            let taken = refused.unless_taken("NetworkUnavailable of Node", &self.node, marked)?;
            written.available = taken.then_some(since);
        }
        let outcome = refused.outcome();
        refused
            .0
            .extend(self.blocks_refused.borrow_and_update().clone());
        let status = self.status(&plan, why_not, refused);
        let known = written.status.take().filter(|old| same(old, &status));
        let changed = known.is_none();
        let status = known.unwrap_or(status);
        if changed || renew {
            self.publish_state(&status, node_uid).await?;
        }
        written.status = Some(status);
        Ok(outcome)
    }

    /// Compared with what is there, not with what was written: whoever deletes or edits it gets it back. Once in any case: what is there may
    /// have no owner.
    async fn keep_identity(&self, plan: &Plan, written: bool) -> kube::Result<()> {
        let Some(identity) = &plan.identity else {
            return Ok(());
        };
        let addresses = identity.addresses();
        let spec = BGPNodeSpec {
            as_number: identity.asn,
            router_id: identity.router_id.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            listen_port: identity.listen_port,
            node_uid: identity.node_uid.clone(),
        };
        if written && plan.published.as_ref() == Some(&spec) {
            return Ok(());
        }
        self.publish_identity(&spec).await
    }

    fn status(
        &mut self,
        plan: &Plan,
        why_not: Option<String>,
        refused: Refusals,
    ) -> NodeStateStatus {
        let applied = self.applied.borrow_and_update().clone();
        let sessions: Vec<SessionState> = self
            .speaker
            .sessions
            .borrow_and_update()
            .iter()
            .map(|s| SessionState {
                peer: s.name.clone(),
                address: s.address.to_string(),
                state: s.state.to_string(),
                reason: s.reason.clone(),
                bfd: s.bfd.map(|state| state.to_string()),
            })
            .collect();
        let established = sessions.iter().filter(|s| s.state == "Established").count();
        let mut faults = plan.faults.clone();
        faults.extend(refused.0);
        faults.extend(self.speaker.listener.borrow_and_update().clone());
        faults.extend(bfd_troubles(&self.speaker.bfd.borrow_and_update()));
        faults.extend(applied.policy_error);
        faults.extend(
            applied
                .failed
                .iter()
                .map(|(prefix, error)| format!("route {prefix}: {error}")),
        );
        let ready = match why_not {
            None => condition("Ready", true, "Serving", "pods can start on this node"),
            Some(why) => condition("Ready", false, "NotServing", &why),
        };
        let degraded = match faults.first() {
            None => condition("Degraded", false, "AsWanted", ""),
            Some(_) => condition("Degraded", true, "Faults", &faults.join("; ")),
        };
        let duplicate = match plan.duplicates.first() {
            None => condition("DuplicateRouterID", false, "Unique", ""),
            Some(_) => condition(
                "DuplicateRouterID",
                true,
                "Duplicate",
                &plan.duplicates.join("; "),
            ),
        };
        NodeStateStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            established: format!("{established}/{}", sessions.len()),
            sessions,
            generation: i64::try_from(applied.generation).unwrap_or(i64::MAX),
            conditions: vec![ready, degraded, duplicate],
        }
    }

    async fn publish_identity(&self, spec: &BGPNodeSpec) -> kube::Result<()> {
        let mut object = BGPNode::new(&self.node, spec.clone());
        object.metadata.owner_references = Some(vec![owner(&self.node, &spec.node_uid)]);
        let params = PatchParams::apply(names::AGENT_MANAGER).force();
        Api::<BGPNode>::all(self.client.clone())
            .patch(&self.node, &params, &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    async fn publish_state(&self, status: &NodeStateStatus, node_uid: &str) -> kube::Result<()> {
        let api = Api::<NodeState>::all(self.client.clone());
        let params = PatchParams::apply(names::AGENT_MANAGER).force();
        let mut object = NodeState::new(
            &self.node,
            NodeStateSpec {
                node_name: self.node.clone(),
            },
        );
        object.metadata.owner_references = Some(vec![owner(&self.node, node_uid)]);
        api.patch(&self.node, &params, &Patch::Apply(&object))
            .await?;
        let status = json!({"apiVersion": "margay.dev/v1alpha1", "kind": "NodeState", "metadata": {"name": self.node}, "status": status});
        api.patch_status(&self.node, &params, &Patch::Apply(&status))
            .await?;
        Ok(())
    }

    /// Clears NetworkUnavailable, which cloud providers and the node controller set until a network says otherwise.
    async fn mark_available(&self, since: &Time) -> kube::Result<()> {
        let patch = json!({"status": {"conditions": [{
            "type": "NetworkUnavailable", "status": "False", "reason": "MargayIsUp", "message": "Margay serves pods on this node",
            "lastTransitionTime": since, "lastHeartbeatTime": since,
        }]}});
        let api = Api::<Node>::all(self.client.clone());
        api.patch_status(
            &self.node,
            &PatchParams::default(),
            &Patch::Strategic(patch),
        )
        .await?;
        Ok(())
    }
}

/// Why packets do not come or leave, with the session where it is one session's.
fn bfd_troubles(snapshot: &crate::bfd::Snapshot) -> Vec<String> {
    let sessions = snapshot.sessions.iter();
    let sending = sessions.filter_map(|s| {
        let trouble = s.trouble.as_ref()?;
        Some(format!("BFD with {}: {trouble}", s.status.peer))
    });
    snapshot.troubles.iter().cloned().chain(sending).collect()
}

/// It blocks nothing: deleting a Node never waits for us.
fn owner(node: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    }
}

fn condition(type_: &str, status: bool, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::now()),
    }
}

/// Equal but for counters and times: a write per plan would be a write per pod.
fn same(old: &NodeStateStatus, new: &NodeStateStatus) -> bool {
    let bare = |s: &NodeStateStatus| {
        let conditions: Vec<_> = s
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), c.status.clone(), c.message.clone()))
            .collect();
        (s.version.clone(), s.sessions.clone(), conditions)
    };
    bare(old) == bare(new)
}
