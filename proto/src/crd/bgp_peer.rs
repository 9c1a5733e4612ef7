//! `BGPPeer`: a session that nodes keep, with a router or with other nodes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Sessions of some nodes: with one router (`address` and `remoteAS`), or with the nodes that `peerSelector` names.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "BGPPeer",
    plural = "bgppeers",
    singular = "bgppeer",
    derive = "PartialEq",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "RemoteAS", type_ = "string", json_path = ".spec.remoteAS"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = ("has(self.address) != has(self.peerSelector)", "give either address (a router) or peerSelector (nodes), not both"))]
#[x_kube(validation = ("!has(self.address) || has(self.remoteAS)", "remoteAS is required with address: a number, `internal` or `external`"))]
#[x_kube(validation = ("!has(self.peerSelector) || (!has(self.remoteAS) && !has(self.port))", "remoteAS and port go with address only: of the nodes that peerSelector finds, each one's BGPNode says them"))]
#[x_kube(validation = ("!has(self.address) || (isIP(self.address) && (ip(self.address).isGlobalUnicast() || ip(self.address).isLinkLocalUnicast()))", "address must be the IP address of a router: unicast, neither unspecified nor loopback nor multicast (given: {self.address})"))]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerSpec {
    /// Nodes that keep the session; all when left out.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Address of the router.
    #[schemars(length(max = 39))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Nodes to peer with; a node never peers with itself.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_selector: Option<LabelSelector>,
    /// AS number of the peer: a number, `internal` (the node's own) or `external` (any other). Only with address: of nodes found by peerSelector their BGPNode says it.
    #[serde(default, rename = "remoteAS", skip_serializing_if = "Option::is_none")]
    pub remote_as: Option<RemoteAs>,
    /// TCP port of the router; 179 when left out. Only with address.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Hold time offered to this peer, in seconds; the BGPConfiguration's when left out.
    #[schemars(range(min = 3, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u16>,
    /// Wait for the peer to connect, never dial.
    #[serde(default)]
    pub passive: bool,
    /// Most prefixes a family accepted from the peer; more end the session (RFC 4486 Cease 1).
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<u32>,
    /// BGPFilters for what the peer announces, in order; everything is used when there is none. One that does not exist holds the session down.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_filters: Vec<String>,
    /// BGPFilters for what the peer is told, in order; the node's own routes, and no others, when there is none.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_filters: Vec<String>,
    /// How often the node's own AS may stand in a path from the peer; 0 when left out. Where several racks have one AS, a path from another rack holds it once.
    #[schemars(range(min = 0, max = 10))]
    #[serde(
        default,
        rename = "allowOwnAS",
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_own_as: Option<u8>,
    /// Authentication of the TCP connection; none when left out. Without its password the session stays down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Send with TTL 255 and drop what has come further than a neighbour's, or than `multihop` says (RFC 5082). The peer must do the same.
    #[serde(default)]
    pub ttl_security: bool,
    /// How many hops away the peer may be. When left out: 1 for an external router on a link of the node, else as many as it takes.
    #[schemars(range(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multihop: Option<u8>,
    /// Notice the loss of the path to the peer in less than a second; off when left out. The peer must run BFD too: until it does, the BGP session is as without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<super::BFD>,
}

/// How both ends prove who they are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// `MD5` (RFC 2385). `AO` (RFC 5925) is understood and not supported yet: it keeps the session down.
    #[serde(default)]
    pub method: Method,
    /// Where the password is.
    pub password_secret_ref: SecretKey,
}

/// An option of TCP that authenticates segments.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Method {
    /// RFC 2385.
    #[default]
    MD5,
    /// RFC 5925.
    AO,
}

/// A value of a Secret in the namespace of the agents.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("self.name.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "name must be the name of a Secret in the namespace of the agents (given: {self.name}): lower case letters, digits, `-` and `.`"))]
#[x_kube(validation = ("self.key.matches('^[-._a-zA-Z0-9]+$')", "key must be a key of the Secret (given: {self.key}): letters, digits, `-`, `_` and `.`"))]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the value.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_key")]
    pub key: String,
}

impl Default for SecretKey {
    fn default() -> Self {
        Self {
            name: String::new(),
            key: default_key(),
        }
    }
}

fn default_key() -> String {
    "password".to_owned()
}

/// A peer's AS number, or its relation to ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RemoteAs {
    /// This AS and no other.
    Number(u32),
    /// `internal` or `external`.
    Word(String),
}

impl schemars::JsonSchema for RemoteAs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RemoteAs".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "x-kubernetes-validations": [{
                "rule": "type(self) == int ? self >= 1 && self <= 4294967294 && self != 23456 && self != 65535 : self in ['internal', 'external']",
                "message": "remoteAS must be a number from 1 to 4294967294 without quotes, but not 23456 or 65535, which are reserved (RFC 6793, RFC 7300); or `internal` or `external`"
            }]
        })
    }
}
