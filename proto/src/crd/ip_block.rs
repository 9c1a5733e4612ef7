//! `IPBlock`: a block of a pool and the node that owns it.

use ipnetwork::IpNetwork;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A block of addresses with one writer: the node that owns it. Creating the object whose name is canonical for its cidr is the claim.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "IPBlock",
    plural = "ipblocks",
    singular = "ipblock",
    derive = "PartialEq",
    selectable = ".spec.nodeName",
    selectable = ".spec.pool",
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = ("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()", "cidr must be a network in CIDR notation without host bits (given: {self.cidr})"))]
#[x_kube(validation = ("self.cidr == oldSelf.cidr && self.pool == oldSelf.pool && self.nodeName == oldSelf.nodeName", "cidr, pool and nodeName of a block are immutable (given: {self.cidr}, {self.pool}, {self.nodeName} for {oldSelf.cidr}, {oldSelf.pool}, {oldSelf.nodeName})"))]
#[serde(rename_all = "camelCase")]
pub struct IPBlockSpec {
    /// The addresses.
    #[schemars(length(max = 43))]
    pub cidr: String,
    /// Pool from which it was claimed.
    #[schemars(length(max = 253))]
    pub pool: String,
    /// Node that owns it.
    #[schemars(length(max = 253))]
    pub node_name: String,
    /// UID of that Node when it was last claimed or re-stamped; another UID means the node was made anew.
    #[serde(default)]
    pub node_uid: String,
    /// Addresses in use; published by the owner in coalesced writes, so it may lag a moment.
    #[serde(default)]
    pub allocations: Vec<Allocation>,
}

/// One address in use.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// The address.
    pub address: String,
    /// Namespace of the pod.
    #[serde(default)]
    pub namespace: String,
    /// Name of the pod.
    #[serde(default)]
    pub pod: String,
    /// Container id and interface of the attachment.
    #[serde(default)]
    pub attachment: String,
}

/// The canonical object name of a block: `10-0-0-64-26`; IPv6 as eight full groups, `fd00-0010-...-0000-122`.
///
/// # Examples
/// ```
/// # use margay_proto::crd::block_name;
/// assert_eq!(block_name("10.0.0.64/26".parse().unwrap()), "10-0-0-64-26");
/// assert_eq!(block_name("fd00:10::40/122".parse().unwrap()), "fd00-0010-0000-0000-0000-0000-0000-0040-122");
/// ```
pub fn block_name(cidr: IpNetwork) -> String {
    let address = match cidr.network() {
        IpAddr::V4(v4) => v4.octets().map(|o| o.to_string()).join("-"),
        IpAddr::V6(v6) => v6.segments().map(|s| format!("{s:04x}")).join("-"),
    };
    format!("{address}-{}", cidr.prefix())
}
