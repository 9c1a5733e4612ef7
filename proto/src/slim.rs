//! Slim forms of the built-in objects that agents watch: only the fields Margay reads.
//!
//! Ten thousand pods take 29 MB in this form and 209 MB in the full one.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    Namespace as FullNamespace, Node as FullNode, Pod as FullPod, Secret as FullSecret,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A Pod.
#[derive(Resource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[resource(inherit = FullPod)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Name, namespace, UID, labels, annotations, deletion.
    pub metadata: ObjectMeta,
    /// Where and what it runs.
    #[serde(default)]
    pub spec: PodSpec,
    /// Phase and addresses.
    #[serde(default)]
    pub status: PodStatus,
}

/// The part of `PodSpec` that routing and policy need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Node it is bound to, once scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Shares its node's network namespace: never a policy subject, never a selected peer.
    #[serde(default)]
    pub host_network: bool,
    /// For named ports.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Sidecars among them serve named ports as well.
    #[serde(default)]
    pub init_containers: Vec<Container>,
}

/// A container's ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
}

/// A port that a container says it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name for policies and services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number, 1-65535.
    pub container_port: i32,
    /// TCP (the default), UDP or SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// The part of `PodStatus` that routing and policy need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown. A pod that ended owns no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Its addresses, at most one a family.
    #[serde(default, rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
}

/// One address of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// Textual address, no prefix length.
    #[serde(default)]
    pub ip: String,
}

/// A Namespace.
#[derive(Resource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[resource(inherit = FullNamespace)]
pub struct Namespace {
    /// Name and labels.
    pub metadata: ObjectMeta,
}

/// A Node.
#[derive(Resource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[resource(inherit = FullNode)]
pub struct Node {
    /// Name, UID, labels.
    pub metadata: ObjectMeta,
    /// Addresses.
    #[serde(default)]
    pub status: NodeStatus,
}

/// The part of `NodeStatus` that routing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// InternalIP, Hostname, ...
    #[serde(default)]
    pub addresses: Vec<NodeAddress>,
}

/// An address as the kubelet reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP` or `Hostname`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Textual address or name.
    pub address: String,
}

/// A Secret; its values are never printed.
#[derive(Resource, Clone, Default, PartialEq, Serialize, Deserialize)]
#[resource(inherit = FullSecret)]
pub struct Secret {
    /// Name.
    pub metadata: ObjectMeta,
    /// Values by key.
    #[serde(default)]
    pub data: BTreeMap<String, ByteString>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Annotations may repeat the values.
        f.debug_struct("Secret")
            .field("name", &self.metadata.name)
            .field("keys", &self.data.keys())
            .finish()
    }
}
