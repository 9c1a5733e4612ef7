//! From objects to sessions: which peers this node keeps. A function of the objects and the kernel's addresses alone.
//!
//! A session between nodes is symmetric: when a BGPPeer's `nodeSelector` picks one and its `peerSelector` the other, both keep it.
//! Every session exports what the node itself originates and nothing it learned: a node is never transit unless a filter names what was
//! learned.

mod bfd;
mod guard;

use super::{
    Identity, Inputs,
    filters::Policies,
    identity::{Duplicate, is_lasting},
    selector::{fault, selects},
};
use crate::filters::Filters;
use crate::kernel::underlay::{Address, Snapshot};
use guard::Guard;
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use margay_bgp::{Asn, Families, LocalAddresses, PeerConfig, PerFamily, RemoteAs as BgpRemoteAs};
use margay_proto::crd::{BGPConfigurationSpec, BGPNode, BGPPeer, BGPPeerSpec, Mesh, RemoteAs};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

/// Every session of `node`, by address; and what is wrong with objects that ask for one. The description of each names the object that asked for it.
pub(super) fn wanted(
    inputs: &Inputs,
    filters: &Filters,
    node: &str,
    identity: &Identity,
    kernel: Option<&Snapshot>,
    duplicates: &[Duplicate],
) -> (BTreeMap<IpAddr, PeerConfig>, Vec<String>) {
    let mut peers = BTreeMap::new();
    let mut asked_by = BTreeMap::new();
    let mut faults: Vec<String> = filters.faults().collect();
    let Some(configuration) = inputs.configuration().map(|c| &c.spec) else {
        return (peers, faults);
    };
    for peer in inputs.peers.values() {
        let (name, spec) = (format!("BGPPeer/{}", peer.name_any()), &peer.spec);
        faults.extend(fault(
            &name,
            "spec.nodeSelector",
            spec.node_selector.as_ref(),
        ));
        faults.extend(fault(
            &name,
            "spec.peerSelector",
            spec.peer_selector.as_ref(),
        ));
        if let Some(fault) = bfd::fault(&name, spec.bfd.as_ref()) {
            faults.push(fault);
            continue;
        }
        let found = match &peer.spec.address {
            Some(address) => router(inputs, node, identity, kernel, configuration, peer, address),
            None => Ok(neighbours(
                inputs,
                node,
                identity,
                kernel,
                configuration,
                peer,
            )),
        };
        match found {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let policies = Policies::of(filters, &name, spec);
                faults.extend(policies.as_ref().err().cloned());
                let guard = Guard::of(inputs, spec, &name);
                faults.extend(guard.fault());
                for wanted in found {
                    let mut wanted = filtered(wanted, &policies);
                    guard.protect(&mut wanted, identity, kernel);
                    let first = asked_by
                        .entry(wanted.address)
                        .or_insert_with(|| name.clone());
                    faults.extend(add(&mut peers, wanted, &name, first));
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    if configuration.mesh == Mesh::Full {
        for other in inputs.bgp_nodes.values().filter(|b| b.name_any() != node) {
            if let Some(peer) = to_node(
                identity,
                kernel,
                configuration,
                other,
                &BGPPeerSpec::default(),
            ) {
                peers.entry(peer.address).or_insert(peer);
            }
        }
    }
    for duplicate in duplicates {
        let description = format!("BGPNode/{}", duplicate.node);
        let twin = |p: &&mut PeerConfig| p.description == description;
        for peer in peers.values_mut().filter(twin) {
            peer.held_down = Some(duplicate.text.clone());
        }
    }
    (peers, faults)
}

/// The session with what its filters come to, or held down when they come to nothing: it stays in the set, so that no other object, and
/// no mesh, opens it without them.
fn filtered(wanted: PeerConfig, policies: &Result<Policies, String>) -> PeerConfig {
    match policies {
        Ok(Policies { import, export }) => PeerConfig {
            import: import.clone(),
            export: export.clone(),
            ..wanted
        },
        Err(why) => PeerConfig {
            held_down: Some(why.clone()),
            ..wanted
        },
    }
}

/// Adds a session that `name` asks for; one with the same address that another object, `first`, asked for stays, and the newcomer is a
/// fault unless both ask for the same session with a node.
fn add(
    peers: &mut BTreeMap<IpAddr, PeerConfig>,
    wanted: PeerConfig,
    name: &str,
    first: &str,
) -> Option<String> {
    let held = match peers.entry(wanted.address) {
        Entry::Vacant(vacant) => {
            vacant.insert(wanted);
            return None;
        }
        Entry::Occupied(held) => held.into_mut(),
    };
    if held.description != wanted.description {
        return Some(format!(
            "{name}: its session with {} is not in force, because {first} asks for one with that address as well and comes first by name; delete one of them or narrow a selector",
            wanted.address
        ));
    }
    let same = [
        ("holdSeconds", held.hold_time == wanted.hold_time),
        ("passive", held.passive == wanted.passive),
        (
            "maxPrefixes",
            held.maximum_prefixes == wanted.maximum_prefixes,
        ),
        ("allowOwnAS", held.allow_own_as == wanted.allow_own_as),
        (
            "authentication",
            held.protection.password == wanted.protection.password,
        ),
        ("multihop", held.protection.reach == wanted.protection.reach),
        ("bfd", held.bfd == wanted.bfd),
        ("importFilters", held.import == wanted.import),
        ("exportFilters", held.export == wanted.export),
    ];
    let (field, _) = same.iter().find(|(_, same)| !same)?;
    Some(format!(
        "{name}: spec.{field} is not in force for {}, which {first} finds as well and comes first by name; make them alike or narrow a selector",
        held.description
    ))
}

fn labels_match(
    inputs: &Inputs,
    selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    node: &str,
) -> bool {
    inputs
        .nodes
        .get(node)
        .is_some_and(|n| selects(selector, n.metadata.labels.as_ref()))
}

fn router(
    inputs: &Inputs,
    node: &str,
    identity: &Identity,
    kernel: Option<&Snapshot>,
    defaults: &BGPConfigurationSpec,
    peer: &BGPPeer,
    address: &str,
) -> Result<Vec<PeerConfig>, String> {
    if !labels_match(inputs, peer.spec.node_selector.as_ref(), node) {
        return Ok(Vec::new());
    }
    let name = format!("BGPPeer/{}", peer.name_any());
    let address: IpAddr = address.parse().map_err(|_| {
        format!("{name}: spec.address `{address}` is not an IP address; the session is held down")
    })?;
    let remote_as = match &peer.spec.remote_as {
        Some(RemoteAs::Number(n)) => BgpRemoteAs::Number(Asn(*n)),
        Some(RemoteAs::Word(word)) if word == "internal" => BgpRemoteAs::Internal,
        Some(RemoteAs::Word(word)) if word == "external" => BgpRemoteAs::External,
        Some(RemoteAs::Word(word)) => {
            return Err(format!(
                "{name}: spec.remoteAS `{word}` is neither a number, `internal` nor `external`; the session is held down"
            ));
        }
        None => {
            return Err(format!(
                "{name}: spec.remoteAS is missing; give a number, `internal` or `external`; the session is held down"
            ));
        }
    };
    if identity.addresses().contains(&address) {
        // A node that others reflect through, say, and the selector does not leave it out.
        return Ok(Vec::new());
    }
    if identity.address_like(address).is_none() {
        return Err(format!(
            "{name}: spec.address {address} is of a family in which node {node} has no address; the session is held down"
        ));
    }
    let config = session(
        identity,
        defaults,
        &peer.spec,
        address,
        remote_as,
        peer.spec.port.unwrap_or(179),
    );
    let local = kernel
        .and_then(|kernel| on_link(kernel, identity, address))
        .unwrap_or(config.local_addresses);
    Ok(vec![PeerConfig {
        description: name,
        link: link(kernel, address),
        bfd: bfd::parameters(peer.spec.bfd.as_ref(), kernel, address),
        source: match address {
            IpAddr::V4(_) => local.v4.map(IpAddr::V4),
            IpAddr::V6(_) => local.v6.map(IpAddr::V6),
        },
        local_addresses: local,
        ..config
    }])
}

/// What the node calls itself towards a router on one of its links: the link's addresses, when its own is elsewhere, as on loopback with
/// two uplinks. The router knows its neighbours by these, and takes no next hop that is not on the link.
fn on_link(kernel: &Snapshot, identity: &Identity, router: IpAddr) -> Option<LocalAddresses> {
    let own = identity.address_like(router)?;
    let near = facing(kernel, router)?;
    let addresses = || kernel.addresses();
    let (link, source) = (near.ifindex, near.ip);
    if kernel
        .link_of_address(own)
        .is_none_or(|l| l.ifindex == link)
    {
        return None;
    }
    let other = || {
        let of_link = addresses().filter(|a| a.ifindex == link && !a.is_unusable());
        let global = of_link.filter(|a| is_lasting(a.ip) && a.ip.is_ipv4() != router.is_ipv4());
        let best = global.min_by_key(|a| (a.is_passing(), a.ip));
        best.map(|a| a.ip)
    };
    let mut local = LocalAddresses {
        v4: identity.ipv4,
        v6: identity.ipv6,
    };
    for address in [Some(source), other()].into_iter().flatten() {
        match address {
            IpAddr::V4(v4) => local.v4 = Some(v4),
            IpAddr::V6(v6) => local.v6 = Some(v6),
        }
    }
    Some(local)
}

/// The node's address in the subnet that it shares with a router. By subnets, not by routes: those of a link without carrier are not
/// used, and its session is not to move for a moment's loss.
pub(super) fn facing(kernel: &Snapshot, router: IpAddr) -> Option<&Address> {
    let near = |a: &&Address| {
        let subnet = IpNetwork::new(a.ip, a.prefix_len);
        is_lasting(a.ip) && !a.is_unusable() && subnet.is_ok_and(|subnet| subnet.contains(router))
    };
    kernel
        .addresses()
        .filter(near)
        .min_by_key(|a| (Reverse(a.prefix_len), a.is_passing(), a.ip))
}

/// Name of the link that the node shares with a peer.
fn link(kernel: Option<&Snapshot>, peer: IpAddr) -> Option<String> {
    let link = kernel?.link_shared_with(peer)?;
    Some(link.name.clone())
}

fn neighbours(
    inputs: &Inputs,
    node: &str,
    identity: &Identity,
    kernel: Option<&Snapshot>,
    defaults: &BGPConfigurationSpec,
    peer: &BGPPeer,
) -> Vec<PeerConfig> {
    let is_node = |name: &str| labels_match(inputs, peer.spec.node_selector.as_ref(), name);
    let is_peer = |name: &str| labels_match(inputs, peer.spec.peer_selector.as_ref(), name);
    let (i_ask, i_am_asked) = (is_node(node), is_peer(node));
    inputs
        .bgp_nodes
        .values()
        .filter(|other| {
            let other = other.name_any();
            other != node && ((i_ask && is_peer(&other)) || (i_am_asked && is_node(&other)))
        })
        .filter_map(|other| to_node(identity, kernel, defaults, other, &peer.spec))
        .collect()
}

fn to_node(
    identity: &Identity,
    kernel: Option<&Snapshot>,
    defaults: &BGPConfigurationSpec,
    other: &BGPNode,
    spec: &BGPPeerSpec,
) -> Option<PeerConfig> {
    let mut addresses: Vec<IpAddr> = other
        .spec
        .addresses
        .iter()
        .filter_map(|a| a.parse().ok())
        .collect();
    addresses.sort();
    let address = addresses
        .into_iter()
        .find(|a| identity.address_like(*a).is_some())?;
    let remote_as = BgpRemoteAs::Number(Asn(other.spec.as_number));
    let config = session(
        identity,
        defaults,
        spec,
        address,
        remote_as,
        other.spec.listen_port,
    );
    Some(PeerConfig {
        description: format!("BGPNode/{}", other.name_any()),
        link: link(kernel, address),
        bfd: bfd::parameters(spec.bfd.as_ref(), kernel, address),
        ..config
    })
}

fn session(
    identity: &Identity,
    defaults: &BGPConfigurationSpec,
    spec: &BGPPeerSpec,
    address: IpAddr,
    remote_as: BgpRemoteAs,
    port: u16,
) -> PeerConfig {
    let policies = Policies::default();
    PeerConfig {
        passive: spec.passive,
        remote_port: port,
        source: identity.address_like(address),
        hold_time: spec.hold_seconds.unwrap_or(defaults.hold_seconds),
        families: Families {
            v4: identity.ipv4.is_some(),
            v6: identity.ipv6.is_some(),
        },
        local_addresses: LocalAddresses {
            v4: identity.ipv4,
            v6: identity.ipv6,
        },
        maximum_prefixes: PerFamily {
            v4: spec.max_prefixes,
            v6: spec.max_prefixes,
        },
        allow_own_as: spec.allow_own_as.unwrap_or(0),
        import: policies.import,
        export: policies.export,
        ..PeerConfig::new(address, remote_as)
    }
}
