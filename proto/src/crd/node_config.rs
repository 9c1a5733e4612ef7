//! `NodeConfig`: what holds for some nodes only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Overrides for the nodes that the selector names, such as a rack's AS number. Of several that set a field for one node, the first by name wins and the node says so.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "NodeConfig",
    plural = "nodeconfigs",
    singular = "nodeconfig",
    derive = "PartialEq",
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = ("!has(self.routerID) || (isIP(self.routerID) && ip(self.routerID).family() == 4 && self.routerID != '0.0.0.0')", "routerID must be an IPv4 address other than 0.0.0.0"))]
#[x_kube(validation = ("!has(self.asNumber) || (self.asNumber != 23456 && self.asNumber != 65535)", "asNumber may not be reserved: 23456 is AS_TRANS (RFC 6793), 65535 is reserved by RFC 7300; private ones are 64512 to 65534 and 4200000000 to 4294967294 (RFC 6996)"))]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigSpec {
    /// Nodes that this is for; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Their AS number.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_number: Option<u32>,
    /// BGP identifier; only sensible with a selector for one node. Else the node's IPv4 address, else a hash of its name.
    #[schemars(length(max = 15))]
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// MTU of pod links; the uplink's when left out.
    #[schemars(range(min = 1280, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}
