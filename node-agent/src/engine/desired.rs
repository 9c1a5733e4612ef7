//! What the speaker shall do.

use super::{Engine, Identity, identity::Duplicate, peers};
use crate::speaker::Desired;
use ipnetwork::IpNetwork;
use margay_bgp::{Asn, Origination, RouteSource, SpeakerConfig};
use std::{collections::HashMap, net::IpAddr};

impl Engine {
    pub(super) fn desired(
        &self,
        identity: &Identity,
        duplicates: &[Duplicate],
        faults: &mut Vec<String>,
    ) -> Desired {
        let Some(configuration) = self.inputs.configuration() else {
            return Desired::default();
        };
        let kernel = self.underlay.as_deref();
        let (peers, wrong) = peers::wanted(
            &self.inputs,
            &self.filters,
            &self.node,
            identity,
            kernel,
            duplicates,
        );
        faults.extend(wrong);
        let mut config = SpeakerConfig::new(Asn(identity.asn), identity.router_id);
        config.restarting = !self.forwarding.is_empty();
        config.forwarding_preserved = self.forwarding;
        config.restart_time = configuration.spec.restart_seconds;
        config.hostname = Some(self.node.clone());
        Desired {
            identity: Some(config),
            listen_port: identity.listen_port,
            listen_addresses: identity.listen_addresses.clone(),
            peers: peers.into_values().collect(),
            originations: self.originations(identity),
            next_hops: self.resolved(),
        }
    }

    /// The node's blocks, and those of its own addresses to which nothing but a route leads, as to one on loopback.
    fn originations(&self, identity: &Identity) -> Vec<Origination> {
        let blocks = self.blocks.iter().flatten().map(|block| {
            // An address lent to this node is a block of its own.
            let source = if block.cidr.prefix() == IpNetwork::from(block.cidr.ip()).prefix() {
                RouteSource::PodAddress
            } else {
                RouteSource::PodBlock
            };
            (block.cidr, source)
        });
        let apart = |address: &IpAddr| {
            let kernel = self.underlay.as_ref();
            kernel.is_some_and(|kernel| kernel.is_apart(*address))
        };
        let own = identity.addresses().into_iter().filter(apart);
        let own = own.map(|address| (IpNetwork::from(address), RouteSource::Node));
        let origination = |(prefix, source)| Origination {
            source,
            ..Origination::new(prefix)
        };
        blocks.chain(own).map(origination).collect()
    }

    fn resolved(&self) -> HashMap<IpAddr, Option<u32>> {
        let metric = |hop: &IpAddr| {
            self.underlay
                .as_ref()
                .and_then(|u| u.resolve(*hop))
                .map(|r| r.metric)
        };
        self.next_hops
            .iter()
            .map(|hop| (*hop, metric(hop)))
            .collect()
    }
}
