//! Where the speaker listens.

use super::configs_of;
use crate::{engine::Inputs, kernel::underlay::Snapshot};
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use margay_proto::{crd::NodeConfig, slim::Node};
use std::net::IpAddr;

/// The addresses that a NodeConfig has a speaker listen on; none when it says nothing, and an empty list when nothing fits.
pub(super) fn addresses(
    inputs: &Inputs,
    node: &Node,
    kernel: Option<&Snapshot>,
) -> Result<Option<Vec<IpAddr>>, super::own::Unseen> {
    let Some((_, wanted)) = said(inputs, node) else {
        return Ok(None);
    };
    let kernel = kernel.ok_or(super::own::Unseen)?;
    let networks: Vec<IpNetwork> = wanted.iter().filter_map(|n| n.parse().ok()).collect();
    let fits = |ip: &IpAddr| networks.iter().any(|network| network.contains(*ip));
    let own = kernel.addresses().filter(|a| !a.is_unusable());
    // A link-local address means nothing without its link.
    let global = own.map(|a| a.ip).filter(|ip| super::own::is_lasting(*ip));
    let mut found: Vec<IpAddr> = global.filter(fits).collect();
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// What is wrong with where it shall listen.
pub(super) fn fault(inputs: &Inputs, node: &Node, found: Option<&[IpAddr]>) -> Option<String> {
    let (config, wanted) = said(inputs, node).filter(|_| found.is_some_and(<[_]>::is_empty))?;
    Some(format!(
        "NodeConfig/{}: spec.listen.addresses is `{}`: no interface of node {} has an address in it, so nobody can connect to its speaker; add one, give a network that holds one, or leave it out to listen on all",
        config.name_any(),
        wanted.join(", "),
        node.name_any()
    ))
}

fn said<'a>(inputs: &'a Inputs, node: &Node) -> Option<(&'a NodeConfig, &'a [String])> {
    configs_of(inputs, node).find_map(|config| {
        let listen = config.spec.listen.as_ref()?;
        Some((config, listen.addresses.as_deref()?))
    })
}
