//! The pods that are bound to this node, and who waits for one.

use super::PodIdentity;
use margay_proto::slim::Pod;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// The annotation by which a static pod's mirror names the configuration that the kubelet started it from; at ADD that hash is the pod's UID.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Known pods of this node by namespace and name, with the identities they answer to.
#[derive(Debug, Default)]
pub(super) struct LocalPods {
    /// The UID first, then the configuration hash of a static pod.
    known: BTreeMap<(String, String), Vec<String>>,
    waiting: Vec<(PodIdentity, oneshot::Sender<String>)>,
}

impl LocalPods {
    pub(super) fn replace(&mut self, all: &[Pod], node: &str) {
        self.known.clear();
        all.iter().for_each(|pod| self.apply(pod, node));
    }

    pub(super) fn apply(&mut self, pod: &Pod, node: &str) {
        if pod.spec.node_name.as_deref() != Some(node) {
            // One of this name was here before and is elsewhere now.
            self.known.remove(&key(pod));
            return;
        }
        let hash = pod
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(CONFIG_HASH))
            .cloned();
        self.known.insert(
            key(pod),
            pod.metadata.uid.clone().into_iter().chain(hash).collect(),
        );
        self.answer();
    }

    /// Forgets a pod, if it still is the one with this UID.
    pub(super) fn delete(&mut self, pod: &Pod) {
        let key = key(pod);
        let known = self.known.get(&key).and_then(|uids| uids.first());
        if known == pod.metadata.uid.as_ref() {
            self.known.remove(&key);
        }
    }

    /// Answers at once when the pod is known, else when it becomes so. Callers that gave up are dropped.
    pub(super) fn wait(&mut self, identity: PodIdentity, reply: oneshot::Sender<String>) {
        self.waiting.push((identity, reply));
        self.answer();
    }

    fn answer(&mut self) {
        for (identity, reply) in std::mem::take(&mut self.waiting) {
            if let Some(uid) = self.uid_of(&identity) {
                // A receiver that is gone gave up: nothing to tell.
                let _ = reply.send(uid);
            } else if !reply.is_closed() {
                self.waiting.push((identity, reply));
            }
        }
    }

    /// The UID that policy knows the pod by: the one that was asked for, or the pod's own when the runtime gave none.
    fn uid_of(&self, identity: &PodIdentity) -> Option<String> {
        let known = self
            .known
            .get(&(identity.namespace.clone(), identity.name.clone()))?;
        known
            .iter()
            .find(|uid| identity.uid.is_empty() || **uid == identity.uid)
            .cloned()
    }
}

fn key(pod: &Pod) -> (String, String) {
    (
        pod.metadata.namespace.clone().unwrap_or_default(),
        pod.metadata.name.clone().unwrap_or_default(),
    )
}
