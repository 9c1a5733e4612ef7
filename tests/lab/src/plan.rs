//! Who is in a lab, and which addresses and AS numbers they have.
//!
//! Pure: a [`Plan`] is a function of a [`Spec`]. Labs share one addressing plan, because each lives in namespaces of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail, ensure};

mod addressing;
mod links;
mod spec;

use addressing::{
    DEVICES, LOOPBACKS, UPLINKS, control_plane, in_rack, management, outside, point_to_point,
    rack_address,
};
pub use links::{Bridge, DefaultRoute, Link, Port};
pub use spec::{Family, NodeAs, Proxy, Runtime, Spec, Tor};

/// The addresses of one interface or host, one per family of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 address, unless the lab is IPv6 only.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address, unless the lab is IPv4 only.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn of(family: Family, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self {
            v4: family.has_v4().then_some(v4),
            v6: family.has_v6().then_some(v6),
        }
    }

    /// IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.v6.map(IpAddr::V6))
    }

    /// The IPv4 address where there is one, else the IPv6 address: what BGP sessions and the API server use.
    pub fn primary(&self) -> IpAddr {
        self.iter()
            .next()
            .expect("a family has at least one address")
    }

    /// `172.31.1.11,fd31:1::11`
    pub fn joined(&self) -> String {
        self.iter()
            .map(|address| address.to_string())
            .collect::<Vec<_>>()
            .join(",")
    }

    fn with_prefixes(self, v4: u8, v6: u8) -> Vec<String> {
        let v4 = self.v4.map(|address| format!("{address}/{v4}"));
        let v6 = self.v6.map(|address| format!("{address}/{v6}"));
        v4.into_iter().chain(v6).collect()
    }
}

/// A Kubernetes node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `n1`, `n2`, …: the place, and the name of the Node object.
    pub name: String,
    /// The number of its rack, from 1.
    pub rack: u16,
    /// Addresses on the management network, where the API server is reached.
    pub mgmt: Addresses,
    /// The Node's InternalIPs: its addresses on the rack's subnet, or with two uplinks those on its loopback.
    pub fabric: Addresses,
    /// Its cables to the ToRs of its rack, in order.
    pub uplinks: Vec<Uplink>,
}

/// A node's cable to a ToR, and the ends of its BGP session with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The interface on the node.
    pub device: &'static str,
    /// The node's end.
    pub node: Addresses,
    /// The ToR's end: a gateway of the node.
    pub tor: Addresses,
}

/// A rack as one of its ToRs sees it: with one uplink a node the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rack {
    /// From 1. The ToR's place is `tor1`, `tor2`, …
    pub number: u16,
    /// Which uplink of the nodes leads to this ToR, from 0.
    pub plane: usize,
    /// The daemon that runs on the ToR.
    pub tor: Tor,
    /// The ToR's AS number.
    pub asn: u32,
    /// The AS number of the rack's nodes.
    pub node_asn: u32,
    /// The ToR's addresses on the rack's subnet: the nodes' default gateway and BGP neighbour. With two uplinks see [`Uplink::tor`].
    pub gateway: Addresses,
    /// The ToR's end of its link to the spine.
    pub uplink: Addresses,
    /// The spine's end of that link.
    pub spine: Addresses,
}

impl Rack {
    /// The place of its ToR.
    pub fn tor_place(&self) -> String {
        match self.plane {
            0 => format!("tor{}", self.number),
            _ => format!("tor{}b", self.number),
        }
    }

    /// The value of the nodes' label [`RACK_LABEL`].
    pub fn label(&self) -> String {
        format!("rack{}", self.number)
    }
}

/// The label on Node objects that names the rack.
pub const RACK_LABEL: &str = "topology.margay.dev/rack";
/// The AS number of the spine.
pub const SPINE_ASN: u32 = 65000;
/// The AS number of the ToR of rack r is this plus r.
pub const TOR_ASN_BASE: u32 = 65100;
/// The AS number of the nodes of rack r is this plus r, and that of all nodes this itself; it does not fit in 16 bits (RFC 6793).
pub const NODE_ASN_BASE: u32 = 4_200_000_000;
/// Where pods' addresses should come from, by family: kube-proxy counts this as inside the cluster.
const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/56"];
/// The same inside [`FABRIC`].
const PODS_IN_FABRIC: [&str; 2] = ["172.31.192.0/20", "fd31:c0::/56"];
/// What all racks' subnets are in, by family.
pub const FABRIC: [&str; 2] = ["172.31.0.0/16", "fd31::/16"];
/// The IPv4 service range.
pub const SERVICE_CIDR_V4: &str = "10.96.0.0/16";
/// The IPv6 service range.
pub const SERVICE_CIDR_V6: &str = "fd00:10:96::/112";

const MAX_NODES: u16 = 120;
const MAX_RACKS: u16 = 60;

/// A lab worked out: every place, address and AS number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The lab's name.
    pub name: String,
    /// The IP families.
    pub family: Family,
    /// In order of their names.
    pub nodes: Vec<Node>,
    /// In order of their numbers.
    pub racks: Vec<Rack>,
    /// The same racks as their second ToRs see them; none with one uplink a node.
    pub twins: Vec<Rack>,
    /// How services are programmed.
    pub proxy: Proxy,
    /// The container runtime.
    pub runtime: Runtime,
    /// Whether pods' addresses are part of the fabric's own range.
    pub pods_in_fabric: bool,
}

impl Plan {
    /// Works out the lab.
    ///
    /// # Errors
    /// If the name cannot name a namespace, or the numbers are out of range.
    pub fn new(spec: &Spec) -> Result<Self> {
        check_name(&spec.name)?;
        ensure!(
            (1..=MAX_NODES).contains(&spec.nodes),
            "a lab has 1 to {MAX_NODES} nodes, not {}",
            spec.nodes
        );
        ensure!(
            (1..=MAX_RACKS).contains(&spec.racks),
            "a lab has 1 to {MAX_RACKS} racks, not {}",
            spec.racks
        );
        ensure!(
            spec.racks <= spec.nodes,
            "{} racks for {} nodes: a rack would be empty",
            spec.racks,
            spec.nodes
        );
        ensure!(
            !spec.tors.is_empty(),
            "no routing daemon named for the racks"
        );
        ensure!(
            (1..=2).contains(&spec.uplinks),
            "a node has 1 or 2 uplinks, not {}",
            spec.uplinks
        );
        ensure!(
            spec.uplinks == 1 || spec.nodes <= MAX_NODES / 2,
            "with 2 uplinks a lab has at most {} nodes, not {}",
            MAX_NODES / 2,
            spec.nodes
        );
        let nodes = (0..spec.nodes).map(|index| node(spec, index)).collect();
        let plane = |plane| (1..=spec.racks).map(move |number| rack(spec, number, plane));
        let racks = plane(0).collect();
        let twins = plane(1).filter(|_| spec.uplinks == 2).collect();
        Ok(Self {
            name: spec.name.clone(),
            family: spec.family,
            nodes,
            racks,
            twins,
            proxy: spec.proxy,
            runtime: spec.runtime,
            pods_in_fabric: spec.pods_in_fabric,
        })
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The rack of that number.
    pub fn rack(&self, number: u16) -> Option<&Rack> {
        self.racks.iter().find(|rack| rack.number == number)
    }

    /// Every ToR.
    pub fn tors(&self) -> impl Iterator<Item = &Rack> {
        self.racks.iter().chain(&self.twins)
    }

    /// Whether nodes have two uplinks, and their addresses on their loopbacks.
    pub fn is_dual_homed(&self) -> bool {
        !self.twins.is_empty()
    }

    /// The nodes of one rack.
    pub fn nodes_of(&self, rack: u16) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.rack == rack)
    }

    /// Every place: the control plane, the management switch, the routers, the outside host and the nodes.
    pub fn places(&self) -> Vec<String> {
        let fixed = ["mgmt", "cp", "spine", "outside"]
            .into_iter()
            .map(String::from);
        let tors = self.tors().map(Rack::tor_place);
        fixed
            .chain(tors)
            .chain(self.nodes.iter().map(|node| node.name.clone()))
            .collect()
    }

    /// The API server's addresses, on the management network.
    pub fn api_server(&self) -> Addresses {
        management(self.family, 10)
    }

    /// The outside host's addresses, behind the spine.
    pub fn outside(&self) -> Addresses {
        outside(self.family, 10)
    }

    /// The control plane's addresses towards the spine: the source of what the API server sends to kubelets and webhooks.
    pub fn control_plane(&self) -> Addresses {
        control_plane(self.family, 2)
    }

    /// Of two values, those of the lab's families, IPv4 first.
    pub fn choose<T>(&self, v4: T, v6: T) -> Vec<T> {
        let v4 = self.family.has_v4().then_some(v4);
        let v6 = self.family.has_v6().then_some(v6);
        v4.into_iter().chain(v6).collect()
    }

    /// Where pods' addresses should come from, per family.
    pub fn pods(&self) -> Vec<&'static str> {
        let [v4, v6] = if self.pods_in_fabric {
            PODS_IN_FABRIC
        } else {
            PODS
        };
        self.choose(v4, v6)
    }

    /// The service address of the cluster's name service, per family.
    pub fn dns_service(&self) -> Vec<&'static str> {
        self.choose("10.96.0.10", "fd00:10:96::a")
    }

    /// The network namespace of a place, as named in `/run/netns`.
    pub fn namespace(&self, place: &str) -> String {
        format!("{}{place}", namespace_prefix(&self.name))
    }
}

/// What the names of a lab's network namespaces begin with; the rest is a place, which has no hyphen.
pub(crate) fn namespace_prefix(lab: &str) -> String {
    format!("mgl-{lab}-")
}

/// A lab's name becomes part of namespace, folder and cgroup names.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let first_is_letter = name.starts_with(|c: char| c.is_ascii_lowercase());
    // Built images live beside the labs.
    if name == "images" || !first_is_letter || name.len() > 32 || !name.chars().all(allowed) {
        bail!(
            "{name:?} is no name for a lab: 1 to 32 of a-z, 0-9 and -, a letter first, not images"
        );
    }
    Ok(())
}

fn node(spec: &Spec, index: u16) -> Node {
    // Contiguous: with 3 nodes in 2 racks, n1 and n2 share rack 1.
    let rack = 1 + u16::try_from(u32::from(index) * u32::from(spec.racks) / u32::from(spec.nodes))
        .expect("less than racks");
    let (family, host) = (spec.family, 11 + index);
    let (fabric, uplinks) = match spec.uplinks {
        1 => {
            let fabric = rack_address(family, rack, host);
            let uplink = Uplink {
                device: DEVICES[0],
                node: fabric,
                tor: rack_address(family, rack, 1),
            };
            (fabric, vec![uplink])
        }
        _ => {
            let uplinks = (0..2).map(|plane| point_to_point(family, rack, host, plane));
            (in_rack(family, LOOPBACKS, rack, host), uplinks.collect())
        }
    };
    Node {
        name: format!("n{}", index + 1),
        rack,
        mgmt: management(family, 101 + index),
        fabric,
        uplinks,
    }
}

fn rack(spec: &Spec, number: u16, plane: usize) -> Rack {
    let family = spec.family;
    Rack {
        number,
        plane,
        tor: spec.tors[(usize::from(number - 1) + plane) % spec.tors.len()],
        asn: TOR_ASN_BASE + u32::from(number) + if plane == 0 { 0 } else { 100 },
        node_asn: match spec.node_as {
            NodeAs::Rack => NODE_ASN_BASE + u32::from(number),
            NodeAs::One => NODE_ASN_BASE,
        },
        gateway: rack_address(family, number, 1),
        uplink: in_rack(family, UPLINKS[plane], number, 2),
        spine: in_rack(family, UPLINKS[plane], number, 1),
    }
}

#[cfg(test)]
mod tests;
