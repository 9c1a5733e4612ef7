//! `Installation`: what the operator installs.

use super::{Condition, bgp_configuration::Mesh};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What to install: one object, named `default`, makes a cluster's network.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev", version = "v1alpha1", kind = "Installation", plural = "installations",
    status = "InstallationStatus",
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].message"),
    validation = kube::core::Rule::new("self.metadata.name == 'default'").message("there is one Installation, and its name is `default`"),
)]
#[x_kube(validation = ("self.asNumber != 23456 && self.asNumber != 65535", "asNumber may not be reserved (given: {self.asNumber == 23456 ? '23456' : '65535'}): 23456 is AS_TRANS (RFC 6793), 65535 is reserved by RFC 7300; private ones are 64512 to 65534 and 4200000000 to 4294967294 (RFC 6996)"))]
#[serde(rename_all = "camelCase")]
pub struct InstallationSpec {
    /// AS number of nodes that no NodeConfig gives another: 1 to 4294967294. Required; there is no default, because a wrong one peers with the wrong network.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: u32,
    /// Pools to create, each name once. A pool that exists is left as it is but for the fields named here.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default)]
    pub pools: Vec<InstallationPool>,
    /// Whether every node peers with every other (`Full`, the default), or only as BGPPeers say (`None`).
    #[serde(default)]
    pub mesh: Mesh,
    /// Agent image; the one of the operator's own version when left out, so that new manifests bring new agents.
    #[schemars(length(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Pull policy of the image.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// `address:port` of the API server for the agents (`[2001:db8::10]:6443`; no name, because there is no DNS yet), for clusters in which the `kubernetes` Service cannot be reached before the network is up.
    #[serde(default)]
    pub kubernetes_service_endpoint: Option<String>,
    /// Log filter of the agents, as in `info,margay_agent=debug`.
    #[serde(default = "default_log")]
    pub log: String,
}

impl InstallationSpec {
    /// The image of the agents.
    pub fn effective_image(&self) -> String {
        let own = || format!("margay.dev/margay:{}", env!("CARGO_PKG_VERSION"));
        self.image.clone().unwrap_or_else(own)
    }
}

fn default_log() -> String {
    "info".to_owned()
}

/// When the runtime pulls an image.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[allow(missing_docs)]
pub enum ImagePullPolicy {
    Always,
    Never,
    #[default]
    IfNotPresent,
}

/// A pool that the Installation brings.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()", "cidr must be a network in CIDR notation without host bits, such as 10.244.0.0/16 (given: {self.cidr})"))]
#[x_kube(validation = ("!isCIDR(self.cidr) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/127', 'fe80::/10', 'ff00::/8'].exists(other, cidr(other).containsCIDR(self.cidr) || cidr(self.cidr).containsCIDR(other))", "cidr must be of unicast addresses that pods can have (given: {self.cidr}): none of them loopback, link-local, multicast, reserved or unspecified"))]
#[serde(rename_all = "camelCase")]
pub struct InstallationPool {
    /// Name of the IPPool.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its addresses, in CIDR notation.
    #[schemars(length(max = 43))]
    pub cidr: String,
    /// Prefix length of a block; 26 (IPv4) and 122 (IPv6) when left out.
    #[schemars(range(min = 20, max = 128))]
    #[serde(default)]
    pub block_size: Option<u8>,
    /// Source address translation for pods that leave the pools and the nodes.
    #[serde(default)]
    pub nat_outgoing: bool,
    /// As the IPPool's field; the pool's own when left out.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// As the IPPool's field; the pool's own when left out.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// As the IPPool's field; the pool's own when left out.
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// As the IPPool's field; the pool's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_edges: Option<bool>,
    /// As the IPPool's field; the pool's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// What the operator found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallationStatus {
    /// `Available`, `Progressing`, `Degraded`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Generation of the Installation that this speaks of.
    #[serde(default)]
    pub observed_generation: Option<i64>,
    /// Agents wanted, one a node.
    #[serde(default)]
    pub desired_agents: i32,
    /// Agents ready.
    #[serde(default)]
    pub ready_agents: i32,
}
