//! What follows from who the node is: its identity, its addresses, what is wrong with either.

use super::{
    Engine, Identity, Missing,
    identity::{self, Duplicate, Own, Unseen},
    warnings,
};
use crate::{
    kernel::underlay::Snapshot,
    warnings::{About, Warning},
};
use ipnetwork::IpNetwork;
use margay_ipam::Pool;
use margay_policy::Masquerade;
use margay_proto::crd::IPPool;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

impl Engine {
    /// Who this node is, once every object that decides it is known: an AS number without the NodeConfigs would be another's.
    pub(super) fn identity(&self) -> Result<Identity, Missing> {
        if self.underlay.is_none() {
            // Neither is known what the node's addresses are nor on which links.
            return Err(Missing::Kernel);
        }
        if self.routing_listed() || self.restored {
            Identity::of(&self.inputs, &self.node, self.underlay.as_deref())
        } else {
            Err(Missing::Lists)
        }
    }

    /// The node's own addresses; none are known before those are that they depend on.
    pub(super) fn own(&self) -> Result<Own, Unseen> {
        let node = self.inputs.nodes.get(&self.node);
        node.map_or_else(
            || Ok(Own::default()),
            |node| Own::of(&self.inputs, node, self.underlay.as_deref()),
        )
    }

    /// The pools that this node claims from.
    pub(super) fn claimable(&self) -> Vec<Pool> {
        let labels = self.labels();
        let pools = self.inputs.pools.values();
        let pools = pools.filter_map(|p| Pool::try_from(p).ok());
        pools.filter(|p| p.claimable(&labels)).collect()
    }

    /// Nodes with this one's router id; adds to `faults` what is wrong with who the node is.
    pub(super) fn duplicates(
        &self,
        identity: Option<&Identity>,
        faults: &mut Vec<String>,
    ) -> Vec<Duplicate> {
        let (Some(identity), Ok(own)) = (identity, self.own()) else {
            return Vec::new();
        };
        let (inputs, node) = (&self.inputs, &self.node);
        let pools = self.claimable();
        faults.extend(identity::address_faults(
            inputs, node, &own, identity, &pools,
        ));
        let duplicates = identity::duplicates(inputs, node, identity);
        faults.extend(duplicates.iter().map(|d| d.text.clone()));
        duplicates
    }

    /// What people are told by events.
    pub(super) fn warnings(&self, duplicates: &[Duplicate]) -> BTreeSet<Warning> {
        let mut warnings = warnings::of_policies(self.index.local_problems());
        let metadata = self.inputs.nodes.get(&self.node).map(|n| &n.metadata);
        let uid = metadata.and_then(|m| m.uid.clone()).unwrap_or_default();
        warnings.extend(duplicates.iter().map(|duplicate| Warning {
            about: About::node(&self.node, &uid),
            reason: "DuplicateRouterID",
            message: duplicate.text.clone(),
        }));
        warnings
    }

    /// What pods may reach without translation, and what the node translates to. It needs no BGP, so it follows from the node's addresses alone.
    pub(super) fn mask(&mut self) {
        let (v4, v6) = self.own().map_or((None, None), |own| (own.ipv4, own.ipv6));
        let own = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6));
        let cidr = |pool: &IPPool| pool.spec.cidr.parse::<IpNetwork>().ok();
        let nodes = self
            .inputs
            .bgp_nodes
            .values()
            .flat_map(|n| &n.spec.addresses)
            .filter_map(|a| a.parse().ok());
        self.index.set_masquerade(Masquerade {
            sources: self
                .inputs
                .pools
                .values()
                .filter(|p| p.spec.nat_outgoing)
                .filter_map(cidr)
                .collect(),
            exempt: self.inputs.pools.values().filter_map(cidr).collect(),
            nodes: nodes.chain(own).collect(),
            v4,
            v6,
        });
    }

    /// The MTU of new pod links; zero while it is not known: a link made meanwhile would keep a guess.
    pub(super) fn mtu(&self, identity: &Identity) -> u32 {
        let uplink = |kernel: &Arc<Snapshot>| {
            let own = identity.addresses().into_iter();
            own.filter_map(|a| kernel.mtu_of(a)).min().unwrap_or(1500)
        };
        identity
            .mtu
            .or_else(|| self.underlay.as_ref().map(uplink))
            .unwrap_or_default()
    }
}
