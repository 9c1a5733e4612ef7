//! The pods that are bound to this node, what they and their namespaces say about addresses, and who waits for one.

use super::{Change, PodIdentity};
use kube::ResourceExt;
use margay_ipam::{Annotations, Wish};
use margay_proto::{
    names,
    slim::{Namespace, Pod},
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// The annotation by which a static pod's mirror names the configuration that the kubelet started it from; at ADD that hash is the pod's UID.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// What ADD needs to know of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPod {
    /// The UID that policy knows it by.
    pub uid: String,
    /// Where its addresses are to come from.
    pub wish: Wish,
}

/// Known pods of this node by namespace and name.
#[derive(Debug, Default)]
pub(super) struct LocalPods {
    known: BTreeMap<(String, String), Local>,
    namespaces: BTreeMap<String, (Annotations, BTreeMap<String, String>)>,
    waiting: Vec<(PodIdentity, oneshot::Sender<KnownPod>)>,
}

#[derive(Debug)]
struct Local {
    /// The identities it answers to: the UID first, then the configuration hash of a static pod.
    uids: Vec<String>,
    annotations: Annotations,
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
        let hash = pod.annotations().get(CONFIG_HASH).cloned();
        let local = Local {
            uids: pod.uid().into_iter().chain(hash).collect(),
            annotations: of_pools(pod.annotations()),
        };
        self.known.insert(key(pod), local);
        self.answer();
    }

    /// Forgets a pod, if it still is the one with this UID.
    pub(super) fn delete(&mut self, pod: &Pod) {
        let key = key(pod);
        let known = self.known.get(&key).and_then(|local| local.uids.first());
        if known == pod.metadata.uid.as_ref() {
            self.known.remove(&key);
        }
    }

    /// Takes note of namespaces: their annotations and labels decide about pools as well.
    pub(super) fn namespaces(&mut self, change: &Change<Namespace>) {
        match change {
            Change::Reset(all) => {
                self.namespaces.clear();
                all.iter().for_each(|namespace| self.namespace(namespace));
            }
            Change::Apply(namespace) => self.namespace(namespace),
            Change::Delete(namespace) => drop(self.namespaces.remove(&namespace.name_any())),
        }
        self.answer();
    }

    fn namespace(&mut self, namespace: &Namespace) {
        let said = (
            of_pools(namespace.annotations()),
            namespace.labels().clone(),
        );
        self.namespaces.insert(namespace.name_any(), said);
    }

    /// Answers at once when the pod is known, else when it becomes so. Callers that gave up are dropped.
    pub(super) fn wait(&mut self, identity: PodIdentity, reply: oneshot::Sender<KnownPod>) {
        self.waiting.push((identity, reply));
        self.answer();
    }

    fn answer(&mut self) {
        for (identity, reply) in std::mem::take(&mut self.waiting) {
            if let Some(known) = self.known_as(&identity) {
                // A receiver that is gone gave up: nothing to tell.
                let _ = reply.send(known);
            } else if !reply.is_closed() {
                self.waiting.push((identity, reply));
            }
        }
    }

    /// The pod with its namespace, by the UID that was asked for, or its own when the runtime gave none.
    fn known_as(&self, identity: &PodIdentity) -> Option<KnownPod> {
        let (namespace, name) = (identity.namespace.clone(), identity.name.clone());
        let (annotations, labels) = self.namespaces.get(&namespace)?;
        let local = self.known.get(&(namespace, name))?;
        let mut uids = local.uids.iter();
        let uid = uids.find(|uid| identity.uid.is_empty() || **uid == identity.uid)?;
        Some(KnownPod {
            uid: uid.clone(),
            wish: Wish::of(
                (&identity.name, &local.annotations),
                (&identity.namespace, annotations),
                labels.clone(),
            ),
        })
    }
}

/// Those that name pools; the others are not worth their memory.
fn of_pools(annotations: &Annotations) -> Annotations {
    let ours = [names::IPV4_POOLS, names::IPV6_POOLS];
    let said = |name: &str| Some((name.to_owned(), annotations.get(name)?.clone()));
    ours.into_iter().filter_map(said).collect()
}

fn key(pod: &Pod) -> (String, String) {
    (
        pod.metadata.namespace.clone().unwrap_or_default(),
        pod.metadata.name.clone().unwrap_or_default(),
    )
}
