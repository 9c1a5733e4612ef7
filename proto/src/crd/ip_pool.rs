//! `IPPool`: the addresses that pods may get.

use super::Condition;
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A range of addresses, handed to nodes block by block.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "IPPool",
    plural = "ippools",
    singular = "ippool",
    derive = "PartialEq",
    status = "IPPoolStatus",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "NAT", type_ = "boolean", json_path = ".spec.natOutgoing"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = ("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()", "cidr must be a network in CIDR notation without host bits, such as 10.244.0.0/16 (given: {self.cidr})"))]
#[x_kube(validation = ("!isCIDR(self.cidr) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/127', 'fe80::/10', 'ff00::/8'].exists(other, cidr(other).containsCIDR(self.cidr) || cidr(self.cidr).containsCIDR(other))", "cidr must be of unicast addresses that pods can have (given: {self.cidr}): none of them loopback, link-local, multicast, reserved or unspecified"))]
#[x_kube(validation = ("!has(self.blockSize) || !isCIDR(self.cidr) || (cidr(self.cidr).ip().family() == 4 ? self.blockSize >= 20 && self.blockSize <= 32 : self.blockSize >= 116 && self.blockSize <= 128)", "blockSize must be 20 to 32 for IPv4 and 116 to 128 for IPv6 (given: cidr {self.cidr})"))]
#[x_kube(validation = ("!isCIDR(self.cidr) || cidr(self.cidr).prefixLength() <= (has(self.blockSize) ? self.blockSize : cidr(self.cidr).ip().family() == 4 ? 26 : 122)", "cidr must hold at least one block: its prefix length may not exceed blockSize (26 for IPv4, 122 for IPv6 when left out) (given: {self.cidr})"))]
#[x_kube(validation = ("has(self.blockSize) == has(oldSelf.blockSize) && (!has(self.blockSize) || self.blockSize == oldSelf.blockSize)", "blockSize is immutable: create another pool instead"))]
#[x_kube(validation = ("!isCIDR(self.cidr) || cidr(self.cidr).containsCIDR(cidr(oldSelf.cidr))", "cidr may only grow (given: {self.cidr} for {oldSelf.cidr}): create another pool instead"))]
#[serde(rename_all = "camelCase")]
pub struct IPPoolSpec {
    /// The addresses, in CIDR notation. May grow, never shrink or move.
    #[schemars(length(max = 43))]
    pub cidr: String,
    /// Prefix length of a block: 20-32 (26) for IPv4, 116-128 (122) for IPv6. Immutable.
    #[schemars(extend("anyOf" = [{"minimum": 20, "maximum": 32}, {"minimum": 116, "maximum": 128}]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// Nodes that may claim blocks; all when left out.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Namespaces whose pods may get addresses; all when left out. For their pods it goes before every pool without one.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Of several pools for one pod, that with the highest number goes first.
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000))]
    #[serde(default)]
    pub priority: i32,
    /// Whether the first and the last address of the pool are never used, which old stacks take for network and broadcast address; true for IPv4 and false for IPv6 when left out. Every other address of every block is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_edges: Option<bool>,
    /// No new blocks and no new addresses; what is in use stays.
    #[serde(default)]
    pub disabled: bool,
    /// Translate the source of connections that leave pools and nodes to the node's own address.
    #[serde(default)]
    pub nat_outgoing: bool,
}

/// What the operator decided about the pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IPPoolStatus {
    /// `Active`, `Overlap`, `Exhausted`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Blocks claimed from it.
    #[serde(default)]
    pub blocks: i64,
    /// Addresses in use, as published by the blocks' owners.
    #[serde(default)]
    pub allocated: i64,
    /// Addresses it could hold, as text because IPv6 pools pass 2^63.
    #[serde(default)]
    pub capacity: String,
}

impl IPPoolSpec {
    /// The prefix length of this pool's blocks.
    pub fn effective_block_size(&self, cidr: IpNetwork) -> u8 {
        self.block_size
            .unwrap_or_else(|| if cidr.is_ipv4() { 26 } else { 122 })
    }

    /// Whether the first and last address are never used.
    pub fn effective_reserve_edges(&self, cidr: IpNetwork) -> bool {
        self.reserve_edges.unwrap_or_else(|| cidr.is_ipv4())
    }
}
