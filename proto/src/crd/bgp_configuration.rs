//! `BGPConfiguration`: what holds for every speaker of the cluster.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Cluster-wide BGP settings; one object, named `default`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev", version = "v1alpha1", kind = "BGPConfiguration", plural = "bgpconfigurations", singular = "bgpconfiguration",
    derive = "PartialEq",
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(name = "Mesh", type_ = "string", json_path = ".spec.mesh"),
    validation = kube::core::Rule::new("self.metadata.name == 'default'").message("there is one BGPConfiguration, and its name is `default`"),
)]
#[x_kube(validation = ("self.keepaliveSeconds * 3 <= self.holdSeconds", "keepaliveSeconds may be at most a third of holdSeconds (RFC 4271 section 4.4); left out it is 3, so holdSeconds below 9 needs one"))]
#[x_kube(validation = ("self.asNumber != 23456 && self.asNumber != 65535", "asNumber may not be reserved (given: {self.asNumber == 23456 ? '23456' : '65535'}): 23456 is AS_TRANS (RFC 6793), 65535 is reserved by RFC 7300; private ones are 64512 to 65534 and 4200000000 to 4294967294 (RFC 6996)"))]
#[serde(rename_all = "camelCase")]
pub struct BGPConfigurationSpec {
    /// AS number of nodes that no NodeConfig gives another: 1 to 4294967294.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub as_number: u32,
    /// Whether every node peers with every other.
    #[serde(default)]
    pub mesh: Mesh,
    /// TCP port on which speakers listen.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default = "default_port")]
    pub listen_port: u16,
    /// Hold time offered, in seconds.
    #[schemars(range(min = 3, max = 65535))]
    #[serde(default = "default_hold")]
    pub hold_seconds: u16,
    /// Seconds between keepalives.
    #[schemars(range(min = 1, max = 21845))]
    #[serde(default = "default_keepalive")]
    pub keepalive_seconds: u16,
    /// Restart time advertised (RFC 4724): how long peers keep a restarting node's routes, in seconds.
    #[schemars(range(min = 1, max = 4095))]
    #[serde(default = "default_restart")]
    pub restart_seconds: u16,
}

const fn default_port() -> u16 {
    179
}
const fn default_hold() -> u16 {
    9
}
const fn default_keepalive() -> u16 {
    3
}
const fn default_restart() -> u16 {
    120
}

/// Which nodes peer without a BGPPeer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Mesh {
    /// Every node with every other.
    #[default]
    Full,
    /// None: BGPPeers say it all.
    None,
}
