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
    known: BTreeMap<(String, String), Vec<String>>,
    waiting: Vec<(PodIdentity, oneshot::Sender<()>)>,
}

impl LocalPods {
    pub(super) fn replace(&mut self, all: &[Pod], node: &str) {
        self.known.clear();
        all.iter().for_each(|pod| self.apply(pod, node));
    }

    pub(super) fn apply(&mut self, pod: &Pod, node: &str) {
        if pod.spec.node_name.as_deref() != Some(node) {
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

    pub(super) fn delete(&mut self, pod: &Pod) {
        self.known.remove(&key(pod));
    }

    /// Answers at once when the pod is known, else when it becomes so. Callers that gave up are dropped.
    pub(super) fn wait(&mut self, identity: PodIdentity, reply: oneshot::Sender<()>) {
        self.waiting.push((identity, reply));
        self.answer();
    }

    fn answer(&mut self) {
        for (identity, reply) in std::mem::take(&mut self.waiting) {
            if self.knows(&identity) {
                // A receiver that is gone gave up: nothing to tell.
                let _ = reply.send(());
            } else if !reply.is_closed() {
                self.waiting.push((identity, reply));
            }
        }
    }

    fn knows(&self, identity: &PodIdentity) -> bool {
        let known = self
            .known
            .get(&(identity.namespace.clone(), identity.name.clone()));
        known.is_some_and(|uids| identity.uid.is_empty() || uids.contains(&identity.uid))
    }
}

fn key(pod: &Pod) -> (String, String) {
    (
        pod.metadata.namespace.clone().unwrap_or_default(),
        pod.metadata.name.clone().unwrap_or_default(),
    )
}
