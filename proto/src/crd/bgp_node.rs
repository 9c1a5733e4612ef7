//! `BGPNode`: what the other agents need to know to peer with a node.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Written by each node's agent, named as the node; changes rarely.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "BGPNode",
    plural = "bgpnodes",
    singular = "bgpnode",
    derive = "PartialEq",
    selectable = ".spec.asNumber",
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(name = "RouterID", type_ = "string", json_path = ".spec.routerID"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses")
)]
#[serde(rename_all = "camelCase")]
pub struct BGPNodeSpec {
    /// The node's AS number.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: u32,
    /// Its BGP identifier, in dotted form.
    #[serde(rename = "routerID")]
    pub router_id: String,
    /// The addresses it speaks from and announces as next hops, at most one a family.
    #[schemars(length(min = 1, max = 2))]
    pub addresses: Vec<String>,
    /// TCP port on which it listens.
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: u16,
    /// UID of the Node object.
    #[serde(default, rename = "nodeUID")]
    pub node_uid: String,
}
