//! What the sinks are to make true.

use super::Identity;
use crate::{kernel::route::RouteSet, speaker::Desired, warnings::Warning};
use margay_policy::table::Table;
use margay_proto::crd::{BGPNodeSpec, IPPool};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One snapshot of the desired state, a function of the current state and never of history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Counts up; a sink that applied it says so.
    pub generation: u64,
    /// Who this node is; none while an object is missing.
    pub identity: Option<Identity>,
    /// UID of this node's Node object; none while there is none.
    pub node_uid: Option<String>,
    /// This node's BGPNode as the API server has it; whoever deletes or edits it gets it back.
    pub published: Option<BGPNodeSpec>,
    /// Routes of the kernel; none while a source is not in sync (invariant 4: nothing is written then).
    pub routes: Option<Arc<RouteSet>>,
    /// Learned routes that the kernel has and the plan has not stay: the speaker restarted and its peers have not said everything yet.
    pub keep_learned: bool,
    /// The nftables table; none while a source is not in sync.
    pub table: Option<Arc<Table>>,
    /// What the speaker keeps.
    pub speaker: Arc<Desired>,
    /// Every pool; none before they were listed.
    pub pools: Option<Arc<Vec<IPPool>>>,
    /// This node's labels, for the pools' selectors.
    pub labels: BTreeMap<String, String>,
    /// Why pods cannot start on this node yet, in words; none when they can once this plan is in the kernel.
    pub not_ready: Option<String>,
    /// What is wrong with objects: each names object, field, value and remedy.
    pub faults: Vec<String>,
    /// Nodes with this one's router id, each with the remedy; they are among the faults, too.
    pub duplicates: Vec<String>,
    /// What people are told by events on their objects.
    pub warnings: Arc<BTreeSet<Warning>>,
    /// MTU of new pod links.
    pub mtu: u32,
}
