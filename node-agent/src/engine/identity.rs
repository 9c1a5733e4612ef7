//! Who this node is: addresses, AS number, router id. A function of the inputs alone.

use super::{Inputs, selector};
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
    /// The kubelet reported no InternalIP.
    #[error("Node {0} has no InternalIP in status.addresses; give the kubelet --node-ip")]
    Address(String),
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
    pub fn of(inputs: &Inputs, node: &str) -> Result<Self, Missing> {
        let object = inputs
            .nodes
            .get(node)
            .ok_or_else(|| Missing::Node(node.to_owned()))?;
        let configuration = inputs.configuration().ok_or(Missing::Configuration)?;
        let (ipv4, ipv6) = addresses(object);
        if ipv4.is_none() && ipv6.is_none() {
            return Err(Missing::Address(node.to_owned()));
        }
        let configs = || configs_of(inputs, object);
        let router_id = configs().find_map(explicit_router_id).transpose()?;
        Ok(Self {
            asn: first(configs(), |c| c.spec.as_number).unwrap_or(configuration.spec.as_number),
            router_id: router_id.or(ipv4).unwrap_or_else(|| hashed_router_id(node)),
            ipv4,
            ipv6,
            listen_port: configuration.spec.listen_port,
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

/// The first InternalIP of each family that the kubelet reported.
pub(super) fn addresses(node: &Node) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let (mut ipv4, mut ipv6) = (None, None);
    let reported = &node.status.addresses;
    for address in reported.iter().filter(|a| a.type_ == "InternalIP") {
        match address.address.parse() {
            Ok(IpAddr::V4(v4)) => _ = ipv4.get_or_insert(v4),
            Ok(IpAddr::V6(v6)) => _ = ipv6.get_or_insert(v6),
            Err(_) => {}
        }
    }
    (ipv4, ipv6)
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

/// Nodes with the router id of this one: no session between the two comes up (RFC 6286 section 2.2 in one AS), and neither end can know which is right.
pub(super) fn duplicates(inputs: &Inputs, node: &str, identity: &Identity) -> Vec<String> {
    let others = inputs.bgp_nodes.values().filter(|b| b.name_any() != node);
    others
        .filter(|b| b.spec.router_id.parse() == Ok(identity.router_id))
        .map(|b| {
            format!(
                "BGPNode/{}: spec.routerID {} is also that of node {node}; give one of them another with a NodeConfig's spec.routerID",
                b.name_any(),
                identity.router_id
            )
        })
        .collect()
}

/// Whether a NodeConfig sets a field.
type Sets = fn(&NodeConfig) -> bool;

/// NodeConfigs that do nothing: their selector cannot be understood, or they set a field of `node` which one before them by name has set.
pub(super) fn idle_configs(inputs: &Inputs, node: &str) -> Vec<String> {
    let Some(object) = inputs.nodes.get(node) else {
        return Vec::new();
    };
    let fields: [(&str, Sets); 3] = [
        ("spec.asNumber", |c| c.spec.as_number.is_some()),
        ("spec.routerID", |c| c.spec.router_id.is_some()),
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
