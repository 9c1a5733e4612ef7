//! `NodeState`: what a node's agent reports. Never watched by agents, or one node's restart in a mesh of a thousand would be a million events.

use super::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Sessions, applied generations and conditions of one node; written by its agent on change, coalesced.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "NodeState",
    plural = "nodestates",
    singular = "nodestate",
    status = "NodeStateStatus",
    selectable = ".spec.nodeName",
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Sessions", type_ = "string", json_path = ".status.established"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeStateSpec {
    /// The node.
    pub node_name: String,
}

/// What the agent last saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStateStatus {
    /// Version of the agent.
    #[serde(default)]
    pub version: String,
    /// `2/3`: sessions established of those configured.
    #[serde(default)]
    pub established: String,
    /// Every configured session.
    #[serde(default)]
    pub sessions: Vec<SessionState>,
    /// Plan generation in the kernel.
    #[serde(default)]
    pub generation: i64,
    /// `Ready`, and what is wrong.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One BGP session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionState {
    /// Object that asked for it.
    pub peer: String,
    /// Peer's address.
    pub address: String,
    /// RFC 4271 section 8.2.2 state.
    pub state: String,
    /// Why it is not established.
    #[serde(default)]
    pub reason: String,
    /// RFC 5880 state of the BFD session beside it: `Up`, `Init`, `Down`; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
}
