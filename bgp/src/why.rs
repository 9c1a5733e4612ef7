//! Why a route is used or not, and who is told of it: the rule or the step of the decision, in words.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::status::PathStatus;

/// What there is to say about one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The prefix.
    pub prefix: IpNetwork,
    /// Its paths, best first; `reason` of each is what it lost by.
    pub paths: Vec<PathExplanation>,
    /// Every peer, in order of address.
    pub peers: Vec<PeerExplanation>,
}

impl Explanation {
    /// Only these peers' part, beside the best path.
    #[must_use]
    pub fn of_peers(mut self, peers: &[IpAddr]) -> Self {
        let meant = |peer: &IpAddr| peers.contains(peer);
        self.paths
            .retain(|one| one.path.best || one.path.peer.as_ref().is_some_and(meant));
        self.peers.retain(|one| meant(&one.peer));
        self
    }
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathExplanation {
    /// The path after import policy, or as it came where it was rejected.
    pub path: PathStatus,
    /// What import policy made of it; none of our own routes, and of paths that were refused before.
    pub import: Option<Judgement>,
}

/// What one peer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerExplanation {
    /// The peer.
    pub peer: IpAddr,
    /// As it is told; none when it is not.
    pub told: Option<PathStatus>,
    /// Why it is told or not.
    pub reason: String,
    /// What export policy made of it, if it was asked.
    pub export: Option<Judgement>,
}

/// What a policy made of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// It passed.
    pub accepted: bool,
    /// The rule that decided, or what holds when none does.
    pub decided: String,
    /// Every rule that was tried, in order.
    pub steps: Vec<Step>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The rule.
    pub rule: String,
    /// What came of it.
    pub outcome: String,
}
