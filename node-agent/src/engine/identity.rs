//! Who this node is: addresses, AS number, router id. A function of the objects and the kernel's addresses alone.

mod listen;
mod own;

pub(super) use own::{Own, Unseen, is_lasting};

use super::{Inputs, selector};
use crate::kernel::underlay::Snapshot;
use kube::ResourceExt;
use margay_proto::{crd::NodeConfig, slim::Node};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A node's identity in BGP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its AS number.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// IPv4 address it speaks from and announces as next hop.
    pub ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// TCP port on which it listens.
    pub listen_port: u16,
    /// Addresses on which it listens; all when a NodeConfig names none.
    pub listen_addresses: Option<Vec<IpAddr>>,
    /// UID of the Node object.
    pub node_uid: String,
    /// MTU of pod links, when a NodeConfig says it.
    pub mtu: Option<u32>,
}

/// Why a node has no identity (yet).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Not every kind has been listed.
    #[error("the objects that decide this node's BGP identity have not all been listed yet")]
    Lists,
    /// The Node object is not known.
    #[error("Node {0} is not known yet")]
    Node(String),
    /// The kubelet reported no InternalIP, and no NodeConfig says otherwise.
    #[error(
        "Node {0} has no InternalIP in status.addresses; give the kubelet --node-ip, or choose an address with a NodeConfig's spec.addresses"
    )]
    Address(String),
    /// What NodeConfigs choose is not there.
    #[error("{}", .0.join("; "))]
    Chosen(Vec<String>),
    /// What NodeConfigs choose depends on what the kernel has.
    #[error("the node's links and addresses have not been read from the kernel yet")]
    Kernel,
    /// A router id that is none. Another in its place could be that of another node.
    #[error(
        "NodeConfig/{name}: spec.routerID `{value}` is not an IPv4 address other than 0.0.0.0; give one that no other node has"
    )]
    RouterId {
        /// Name of the NodeConfig.
        name: String,
        /// What it says.
        value: String,
    },
    /// Nobody said which AS number.
    #[error("BGPConfiguration `default` is not there; create an Installation with spec.asNumber")]
    Configuration,
}

impl Identity {
    /// The identity of `node`.
    ///
    /// # Errors
    /// When an object that it follows from is missing.
    pub fn of(inputs: &Inputs, node: &str, kernel: Option<&Snapshot>) -> Result<Self, Missing> {
        let object = inputs
            .nodes
            .get(node)
            .ok_or_else(|| Missing::Node(node.to_owned()))?;
        let configuration = inputs.configuration().ok_or(Missing::Configuration)?;
        let own = Own::of(inputs, object, kernel).map_err(|_| Missing::Kernel)?;
        let (ipv4, ipv6) = (own.ipv4, own.ipv6);
        match (ipv4, ipv6, own.faults.is_empty()) {
            (None, None, true) => return Err(Missing::Address(node.to_owned())),
            (None, None, false) => return Err(Missing::Chosen(own.faults)),
            _ => {}
        }
        let listen_addresses =
            listen::addresses(inputs, object, kernel).map_err(|_| Missing::Kernel)?;
        let port = |c: &NodeConfig| c.spec.listen.as_ref()?.port;
        let configs = || configs_of(inputs, object);
        let router_id = configs().find_map(explicit_router_id).transpose()?;
        Ok(Self {
            asn: first(configs(), |c| c.spec.as_number).unwrap_or(configuration.spec.as_number),
            router_id: router_id.or(ipv4).unwrap_or_else(|| hashed_router_id(node)),
            ipv4,
            ipv6,
            listen_port: first(configs(), port).unwrap_or(configuration.spec.listen_port),
            listen_addresses,
            node_uid: object.metadata.uid.clone().unwrap_or_default(),
            mtu: first(configs(), |c| c.spec.mtu),
        })
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.ipv4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.ipv6.map(IpAddr::V6))
            .collect()
    }

    /// Its address of the family of `other`.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        }
    }
}

fn explicit_router_id(config: &NodeConfig) -> Option<Result<Ipv4Addr, Missing>> {
    let value = config.spec.router_id.as_ref()?;
    let wrong = || Missing::RouterId {
        name: config.name_any(),
        value: value.clone(),
    };
    let parsed = value
        .parse()
        .ok()
        .filter(|id: &Ipv4Addr| !id.is_unspecified());
    Some(parsed.ok_or_else(wrong))
}

/// Another node of this one's AS with its router id, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    /// The other.
    pub(super) node: String,
    /// What is said on both.
    pub(super) text: String,
}

/// Nodes with the AS number and router id of this one: no session between the two can come up (RFC 6286 section 2.2), and neither end can know
/// which is right. In different ASes one router id is no fault. A BGPNode that outlived its Node is nobody.
pub(super) fn duplicates(inputs: &Inputs, node: &str, identity: &Identity) -> Vec<Duplicate> {
    let others = inputs.bgp_nodes.values();
    let others =
        others.filter(|b| b.name_any() != node && inputs.nodes.contains_key(&b.name_any()));
    others
        .filter(|b| b.spec.as_number == identity.asn)
        .filter(|b| b.spec.router_id.parse() == Ok(identity.router_id))
        .map(|b| {
            let text = format!(
                "BGPNode/{}: spec.routerID {} is also that of node {node}, in the same AS {}; give one of them another with a NodeConfig's spec.routerID",
                b.name_any(),
                identity.router_id,
                identity.asn,
            );
            Duplicate { node: b.name_any(), text }
        })
        .collect()
}

/// What is wrong with how addresses are chosen: choices that nothing fits, and families that pods have here and the node has not.
pub(super) fn address_faults(
    inputs: &Inputs,
    node: &str,
    own: &Own,
    identity: &Identity,
    pools: &[margay_ipam::Pool],
) -> Vec<String> {
    let mut faults = own.faults.clone();
    for (v4, word, field) in [(true, "IPv4", "ipv4"), (false, "IPv6", "ipv6")] {
        // One that was chosen in vain is among the faults already.
        let chosen = format!("spec.addresses.{field}");
        let pool = pools.iter().find(|p| p.cidr.is_ipv4() == v4);
        if let Some(pool) = pool
            && own.is_missing(v4)
            && !own.faults.iter().any(|f| f.contains(&chosen))
        {
            faults.push(format!(
                "Node {node} has no InternalIP of {word} in status.addresses, though IPPool/{} gives its pods such addresses: nobody learns routes to them; give the kubelet --node-ip with both families, choose an address with a NodeConfig's {chosen}, or leave the node out by the pool's spec.nodeSelector",
                pool.name
            ));
        }
    }
    let listened = identity.listen_addresses.as_deref();
    let object = inputs.nodes.get(node);
    faults.extend(object.and_then(|object| listen::fault(inputs, object, listened)));
    faults
}

/// Whether a NodeConfig sets a field.
type Sets = fn(&NodeConfig) -> bool;

/// NodeConfigs that do nothing: their selector cannot be understood, or they set a field of `node` which one before them by name has set.
pub(super) fn idle_configs(inputs: &Inputs, node: &str) -> Vec<String> {
    let Some(object) = inputs.nodes.get(node) else {
        return Vec::new();
    };
    let fields: [(&str, Sets); 7] = [
        ("spec.asNumber", |c| c.spec.as_number.is_some()),
        ("spec.routerID", |c| c.spec.router_id.is_some()),
        ("spec.addresses.ipv4", |c| own::choice(c, true).is_some()),
        ("spec.addresses.ipv6", |c| own::choice(c, false).is_some()),
        ("spec.listen.addresses", |c| {
            c.spec
                .listen
                .as_ref()
                .is_some_and(|l| l.addresses.is_some())
        }),
        ("spec.listen.port", |c| {
            c.spec.listen.as_ref().is_some_and(|l| l.port.is_some())
        }),
        ("spec.mtu", |c| c.spec.mtu.is_some()),
    ];
    let mut faults: Vec<String> = inputs
        .node_configs
        .values()
        .filter_map(|c| {
            let name = format!("NodeConfig/{}", c.name_any());
            selector::fault(&name, "spec.nodeSelector", c.spec.node_selector.as_ref())
        })
        .collect();
    for (field, sets) in fields {
        let mut names = configs_of(inputs, object)
            .filter(|c| sets(c))
            .map(ResourceExt::name_any);
        let Some(in_force) = names.next() else {
            continue;
        };
        faults.extend(names.map(|name| {
            format!("NodeConfig/{name}: {field} is not in force on node {node}, because NodeConfig/{in_force} comes first by name; narrow one nodeSelector")
        }));
    }
    faults
}

/// The NodeConfigs that select a node, by name.
fn configs_of<'a>(inputs: &'a Inputs, node: &Node) -> impl Iterator<Item = &'a NodeConfig> {
    let labels = node.metadata.labels.clone();
    let selects =
        move |c: &&NodeConfig| selector::selects(c.spec.node_selector.as_ref(), labels.as_ref());
    inputs.node_configs.values().filter(selects)
}

fn first<'a, T>(
    mut configs: impl Iterator<Item = &'a NodeConfig>,
    field: impl Fn(&NodeConfig) -> Option<T>,
) -> Option<T> {
    configs.find_map(field)
}

/// A router id for a node without an IPv4 address: a hash of its name, never 0 and never multicast (RFC 6286 asks only for non-zero).
fn hashed_router_id(node: &str) -> Ipv4Addr {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in node.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    Ipv4Addr::from(0x0100_0000 | (hash & 0x7fff_ffff))
}
