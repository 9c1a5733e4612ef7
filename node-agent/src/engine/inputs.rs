//! The watched objects, as the engine holds them and as they are kept on disk.

use super::Change;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use margay_proto::{
    crd::{BGPConfiguration, BGPFilter, BGPNode, BGPPeer, IPPool, NodeConfig},
    slim::{Node, Secret},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything of the API that the BGP half of the plan depends on.
///
/// Serialised as the last known configuration (invariant 12): sessions come back from it without the API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Nodes by name; of other nodes only the labels matter.
    #[serde(default)]
    pub nodes: BTreeMap<String, Node>,
    /// Pools by name.
    #[serde(default)]
    pub pools: BTreeMap<String, IPPool>,
    /// Cluster-wide BGP settings.
    #[serde(default)]
    pub configurations: BTreeMap<String, BGPConfiguration>,
    /// Peers by name.
    #[serde(default)]
    pub peers: BTreeMap<String, BGPPeer>,
    /// Filters by name.
    #[serde(default)]
    pub filters: BTreeMap<String, BGPFilter>,
    /// What other agents published.
    #[serde(default)]
    pub bgp_nodes: BTreeMap<String, BGPNode>,
    /// Overrides by name.
    #[serde(default)]
    pub node_configs: BTreeMap<String, NodeConfig>,
    /// Secrets of the agents' namespace by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
}

impl Inputs {
    /// The object named `default`, if there is one.
    pub fn configuration(&self) -> Option<&BGPConfiguration> {
        self.configurations.get("default")
    }

    /// With no value of a Secret that no session asks for: what is kept on disk is as little as will do.
    pub(super) fn without_unused_secrets(&self) -> Self {
        let references = || {
            let all = self.peers.values().flat_map(|p| &p.spec.authentication);
            all.map(|authentication| &authentication.password_secret_ref)
        };
        let mut kept = self.clone();
        kept.secrets.retain(|name, secret| {
            let used = |key: &String| references().any(|r| r.name == *name && r.key == *key);
            secret.data.retain(|key, _| used(key));
            references().any(|r| r.name == *name)
        });
        kept
    }
}

/// Applies `change` to `objects`; true when that changed anything but bookkeeping.
pub(super) fn apply<K>(objects: &mut BTreeMap<String, K>, change: Change<K>) -> bool
where
    K: Resource<DynamicType = ()> + PartialEq + Clone,
{
    match change {
        Change::Reset(all) => {
            let fresh: BTreeMap<_, _> = all
                .into_iter()
                .map(|o| (o.name_any(), without_version(o)))
                .collect();
            let changed = *objects != fresh;
            *objects = fresh;
            changed
        }
        Change::Apply(object) => {
            let object = without_version(object);
            let old = objects.insert(object.name_any(), object.clone());
            old.as_ref() != Some(&object)
        }
        Change::Delete(object) => objects.remove(&object.name_any()).is_some(),
    }
}

/// Of a Secret nothing but its name and values: annotations may hold it once more.
pub(super) fn bare(change: Change<Secret>) -> Change<Secret> {
    let strip = |mut secret: Secret| {
        secret.metadata = ObjectMeta {
            name: secret.metadata.name.take(),
            ..ObjectMeta::default()
        };
        secret
    };
    match change {
        Change::Reset(all) => Change::Reset(all.into_iter().map(strip).collect()),
        Change::Apply(secret) => Change::Apply(strip(secret)),
        Change::Delete(secret) => Change::Delete(strip(secret)),
    }
}

/// A heartbeat of a Node changes its resource version and nothing that matters here.
fn without_version<K: Resource>(mut object: K) -> K {
    object.meta_mut().resource_version = None;
    object
}
