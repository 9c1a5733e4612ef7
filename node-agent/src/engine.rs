//! Events in, a plan out: everything that has an opinion about this node, synchronous, without IO.
//!
//! ```text
//! watches ──┐                       ┌─► kernel  (routes, nftables)
//! CNI     ──┼─► Event ─► Engine ─► Plan ─► speaker (peers, origins, next hops)
//! speaker ──┤   (mpsc)            (watch)─► ipam    (pools)
//! kernel  ──┘                       └─► report  (BGPNode, NodeState)
//! ```
//! The plan is a function of the current state, never of history (invariant 3): [`Engine::plan`] computes it whole from what the engine holds.

mod desired;
mod event;
mod filters;
mod identity;
mod inputs;
pub(crate) mod learned;
mod passwords;
mod peers;
mod plan;
mod pods;
mod readiness;
mod selector;
#[cfg(test)]
mod tests;
mod warnings;
mod who;

pub use event::{Change, Event, PodIdentity};
pub use identity::{Identity, Missing};
pub use inputs::Inputs;
pub use plan::Plan;
pub use pods::KnownPod;

use crate::{
    cni::link_name,
    filters::Filters,
    kernel::{
        route::{Route, RouteSet, Target},
        underlay::Snapshot,
    },
    speaker::Learned,
};
use ipnetwork::IpNetwork;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use margay_bgp::Families;
use margay_ipam::{Attachment, Block};
use margay_policy::{Endpoint, Index, table::Ifname};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// What an engine starts from: what the node itself remembers.
#[derive(Debug, Default)]
pub struct Start {
    /// This node's name.
    pub node: String,
    /// Objects kept on disk; empty on a new node.
    pub inputs: Inputs,
    /// Blocks kept on disk; none on a new node.
    pub blocks: Option<Vec<Block>>,
    /// Attachments recorded in /run.
    pub attachments: Vec<Attachment>,
    /// The families whose routes of an earlier agent are still in the kernel: what the F bits say. Any means that this is a restart (R bit).
    pub forwarding: Families,
}

/// The one owner of the node's state.
#[derive(Debug)]
pub struct Engine {
    node: String,
    inputs: Inputs,
    filters: Filters,
    attachments: BTreeMap<String, Attachment>,
    blocks: Option<Vec<Block>>,
    underlay: Option<Arc<Snapshot>>,
    learned: Arc<Learned>,
    next_hops: Arc<BTreeSet<IpAddr>>,
    forwarding: Families,
    index: Index,
    pods: pods::LocalPods,
    synced: BTreeSet<&'static str>,
    /// The objects of an earlier agent came from disk: sessions need not wait for the API server.
    restored: bool,
    generation: u64,
    /// Something has changed since the last plan.
    outdated: bool,
}

impl Engine {
    /// An engine that remembers `start`.
    pub fn new(start: Start) -> Self {
        let mut engine = Self {
            node: start.node,
            restored: start.inputs.configuration().is_some(),
            filters: filters::compiled(&start.inputs.filters),
            inputs: start.inputs,
            attachments: BTreeMap::new(),
            blocks: start.blocks,
            underlay: None,
            learned: Arc::default(),
            next_hops: Arc::default(),
            forwarding: start.forwarding,
            index: Index::default(),
            pods: pods::LocalPods::default(),
            synced: BTreeSet::new(),
            generation: 0,
            outdated: false,
        };
        start.attachments.into_iter().for_each(|a| engine.attach(a));
        engine
    }

    /// Takes in one event. True when the plan may have changed.
    pub fn handle(&mut self, event: Event) -> bool {
        let changed = self.take_in(event);
        self.outdated |= changed;
        changed
    }

    fn take_in(&mut self, event: Event) -> bool {
        match event {
            Event::Nodes(change) => {
                self.object("Node", |i, c| inputs::apply(&mut i.nodes, c), change)
            }
            Event::Pools(change) => {
                self.object("IPPool", |i, c| inputs::apply(&mut i.pools, c), change)
            }
            Event::Configurations(change) => self.object(
                "BGPConfiguration",
                |i, c| inputs::apply(&mut i.configurations, c),
                change,
            ),
            Event::Peers(change) => {
                self.object("BGPPeer", |i, c| inputs::apply(&mut i.peers, c), change)
            }
            Event::Filters(change) => {
                let changed =
                    self.object("BGPFilter", |i, c| inputs::apply(&mut i.filters, c), change);
                if changed {
                    self.filters = filters::compiled(&self.inputs.filters);
                }
                changed
            }
            Event::BgpNodes(change) => {
                self.object("BGPNode", |i, c| inputs::apply(&mut i.bgp_nodes, c), change)
            }
            Event::NodeConfigs(change) => self.object(
                "NodeConfig",
                |i, c| inputs::apply(&mut i.node_configs, c),
                change,
            ),
            Event::Secrets(change) => self.object(
                "Secret",
                |i, c| inputs::apply(&mut i.secrets, inputs::bare(c)),
                change,
            ),
            Event::Pods(change) => self.policy_pods(change),
            Event::Namespaces(change) => {
                let first = self.synced(&change, "Namespace");
                self.pods.namespaces(&change);
                match change {
                    Change::Reset(all) => self.index.replace_namespaces(&all),
                    Change::Apply(namespace) => self.index.apply_namespace(&namespace),
                    Change::Delete(namespace) => self
                        .index
                        .delete_namespace(namespace.metadata.name.as_deref().unwrap_or_default()),
                }
                first || self.policy_synced()
            }
            Event::Policies(change) => self.policies(change),
            Event::Attach(attachment, reply) => {
                self.attach(*attachment);
                // The next plan is the first that holds it. A caller that gave up takes care of its own undo.
                let _ = reply.send(self.generation + 1);
                true
            }
            Event::Detach { link, reply } => {
                let known = self.detach(&link);
                // For what was not known there is nothing to wait for but what is under way.
                let _ = reply.send(self.generation + u64::from(known || self.outdated));
                known
            }
            Event::AwaitPod { identity, reply } => {
                self.pods.wait(identity, reply);
                false
            }
            Event::Blocks(blocks) => replaced(&mut self.blocks, Some(blocks)),
            Event::Learned(learned) => {
                self.learned = learned;
                true
            }
            Event::NextHops(next_hops) => replaced(&mut self.next_hops, next_hops),
            Event::Underlay(snapshot) => {
                self.underlay = Some(snapshot);
                true
            }
        }
    }

    /// The objects as they are to be kept on disk; none before they were all listed.
    pub fn last_known(&self) -> Option<crate::state::LastKnown> {
        let blocks = self.blocks.clone()?;
        self.routing_listed().then(|| crate::state::LastKnown {
            inputs: self.inputs.without_unused_secrets(),
            blocks,
        })
    }

    /// This node's blocks; none before they are known.
    pub fn blocks(&self) -> Option<&[Block]> {
        self.blocks.as_deref()
    }

    /// The attachments, for who shows or publishes them.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values()
    }

    /// The desired state as of now.
    pub fn plan(&mut self) -> Plan {
        self.generation += 1;
        self.outdated = false;
        let identity = self.identity();
        let mut faults: Vec<String> = identity
            .as_ref()
            .err()
            .map(ToString::to_string)
            .into_iter()
            .collect();
        let identity = identity.ok();
        faults.extend(identity::idle_configs(&self.inputs, &self.node));
        faults.extend(self.secrets_missing());
        let duplicates = self.duplicates(identity.as_ref(), &mut faults);
        let speaker = identity
            .as_ref()
            .map(|i| self.desired(i, &duplicates, &mut faults))
            .unwrap_or_default();
        self.mask();
        faults.extend(self.index.problems().iter().map(ToString::to_string));
        let routes = identity.as_ref().and_then(|i| self.routes(i));
        let mtu = identity.as_ref().map_or(0, |i| self.mtu(i));
        Plan {
            generation: self.generation,
            node_uid: self
                .inputs
                .nodes
                .get(&self.node)
                .and_then(|n| n.metadata.uid.clone()),
            published: self
                .inputs
                .bgp_nodes
                .get(&self.node)
                .map(|n| n.spec.clone()),
            routes: routes.map(Arc::new),
            keep_learned: !self.learned.deferral_ended,
            table: self.table_synced().then(|| Arc::new(self.index.table())),
            speaker: Arc::new(speaker),
            pools: self
                .synced
                .contains("IPPool")
                .then(|| Arc::new(self.inputs.pools.values().cloned().collect())),
            labels: self.labels(),
            not_ready: self.not_ready(&faults),
            identity,
            faults,
            warnings: Arc::new(self.warnings(&duplicates)),
            duplicates: duplicates.into_iter().map(|d| d.text).collect(),
            mtu,
        }
    }

    fn object<K>(
        &mut self,
        kind: &'static str,
        apply: fn(&mut Inputs, Change<K>) -> bool,
        change: Change<K>,
    ) -> bool {
        let first = self.synced(&change, kind);
        apply(&mut self.inputs, change) || first
    }

    fn policy_pods(&mut self, change: Change<margay_proto::slim::Pod>) -> bool {
        let first = self.synced(&change, "Pod");
        match change {
            Change::Reset(all) => {
                self.pods.replace(&all, &self.node);
                self.index.replace_pods(&all);
            }
            Change::Apply(pod) => {
                self.pods.apply(&pod, &self.node);
                self.index.apply_pod(&pod);
            }
            Change::Delete(pod) => {
                self.pods.delete(&pod);
                let metadata = &pod.metadata;
                self.index.delete_pod(
                    metadata.namespace.as_deref().unwrap_or_default(),
                    metadata.name.as_deref().unwrap_or_default(),
                    metadata.uid.as_deref().unwrap_or_default(),
                );
            }
        }
        first || self.policy_synced()
    }

    fn policies(&mut self, change: Change<NetworkPolicy>) -> bool {
        let first = self.synced(&change, "NetworkPolicy");
        match change {
            Change::Reset(all) => self.index.replace_policies(&all),
            Change::Apply(policy) => self.index.apply_policy(&policy),
            Change::Delete(policy) => {
                let metadata = &policy.metadata;
                self.index.delete_policy(
                    metadata.namespace.as_deref().unwrap_or_default(),
                    metadata.name.as_deref().unwrap_or_default(),
                );
            }
        }
        first || self.policy_synced()
    }

    fn attach(&mut self, attachment: Attachment) {
        let link = link_name(&attachment.key);
        // A link whose name the kernel would refuse has no packets.
        if let Ok(link) = Ifname::try_from(link.as_str()) {
            self.index.set_endpoint(Endpoint {
                link,
                namespace: attachment.namespace.clone(),
                name: attachment.pod.clone(),
                uid: attachment.uid.clone(),
                addresses: attachment.addresses.iter().copied().collect(),
            });
        }
        self.attachments.insert(link, attachment);
    }

    /// Whether there was anything to end.
    fn detach(&mut self, link: &str) -> bool {
        let Some(_) = self.attachments.remove(link) else {
            return false;
        };
        if let Ok(link) = Ifname::try_from(link) {
            self.index.remove_endpoint(link);
        }
        true
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.inputs
            .nodes
            .get(&self.node)
            .and_then(|n| n.metadata.labels.clone())
            .unwrap_or_default()
    }

    /// Every route of ours; none before blocks and underlay are known.
    fn routes(&self, identity: &Identity) -> Option<RouteSet> {
        let underlay = self.underlay.clone()?;
        let blocks = self.blocks.as_ref()?;
        let mut routes = learned::routes(&self.learned, &underlay, identity.addresses());
        // A block's own route outlives every pod in it: what nobody has is unreachable, never sent back to the router.
        routes.extend(blocks.iter().map(|block| {
            (
                block.cidr,
                Route {
                    target: Target::Unreachable,
                    src: None,
                },
            )
        }));
        // Should two records name one address, the first by link has it, as it has in the allocator.
        for attachment in self.attachments.values().rev() {
            for address in &attachment.addresses {
                let target = Target::Pod {
                    link: link_name(&attachment.key),
                };
                routes.insert(
                    IpNetwork::from(*address),
                    Route {
                        target,
                        src: identity.address_like(*address),
                    },
                );
            }
        }
        Some(routes)
    }
}

fn replaced<T: PartialEq>(old: &mut T, new: T) -> bool {
    let changed = *old != new;
    *old = new;
    changed
}
