//! The cables of a lab.

use super::addressing::{control_plane, outside};
use super::{Addresses, Plan};

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The place it is in.
    pub place: String,
    /// The interface's name there.
    pub device: String,
    /// The bridge it is a port of, if any.
    pub bridge: Option<&'static str>,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<String>,
}

/// A veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// One end.
    pub left: Port,
    /// The other.
    pub right: Port,
}

/// A bridge inside a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The place it is in.
    pub place: String,
    /// Its name there.
    pub device: &'static str,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<String>,
}

/// A default route, or one for each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The place that has it.
    pub place: String,
    /// The routers that share its traffic.
    pub gateways: Vec<Addresses>,
    /// What the place itself sends from.
    pub source: Option<Addresses>,
}

impl DefaultRoute {
    /// The arguments of `ip route add`, one line for each family.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (family, first) in self.gateways[0].iter().enumerate() {
            let source = self.source.and_then(|source| source.iter().nth(family));
            // First: it tells `ip` the family.
            let source = source.map_or(String::new(), |source| format!("src {source} "));
            let ways = self
                .gateways
                .iter()
                .filter_map(|all| all.iter().nth(family));
            lines.push(match self.gateways.len() {
                1 => format!("default {source}via {first} proto static"),
                _ => {
                    let ways: Vec<String> = ways.map(|way| format!("nexthop via {way}")).collect();
                    format!("default {source}proto static {}", ways.join(" "))
                }
            });
        }
        lines
    }
}

/// The bridge of the management network, in the place `mgmt`.
const MGMT_BRIDGE: &str = "br0";
/// The bridge of a rack's subnet, in its ToR.
const RACK_BRIDGE: &str = "rack0";

impl Plan {
    /// The management switch, and the rack side of each ToR.
    pub fn bridges(&self) -> Vec<Bridge> {
        let mgmt = Bridge {
            place: "mgmt".into(),
            device: MGMT_BRIDGE,
            addresses: Vec::new(),
        };
        let shared = self.racks.iter().filter(|_| !self.is_dual_homed());
        let racks = shared.map(|rack| Bridge {
            place: rack.tor_place(),
            device: RACK_BRIDGE,
            addresses: rack.gateway.with_prefixes(24, 64),
        });
        std::iter::once(mgmt).chain(racks).collect()
    }

    /// Every cable.
    pub fn links(&self) -> Vec<Link> {
        let mut links = vec![
            self.to_management("cp", self.api_server()),
            Link {
                left: port(
                    "cp",
                    "spine0",
                    control_plane(self.family, 2).with_prefixes(24, 64),
                ),
                right: port(
                    "spine",
                    "cp0",
                    control_plane(self.family, 1).with_prefixes(24, 64),
                ),
            },
            Link {
                left: port(
                    "outside",
                    "eth0",
                    outside(self.family, 10).with_prefixes(24, 64),
                ),
                right: port(
                    "spine",
                    "outside0",
                    outside(self.family, 1).with_prefixes(24, 64),
                ),
            },
        ];
        for rack in self.tors() {
            let tor = rack.tor_place();
            links.push(Link {
                left: port(&tor, "spine0", rack.uplink.with_prefixes(24, 64)),
                right: port("spine", &tor, rack.spine.with_prefixes(24, 64)),
            });
        }
        for node in &self.nodes {
            links.push(self.to_management(&node.name, node.mgmt));
            let tors = self.tors().filter(|rack| rack.number == node.rack);
            for (uplink, tor) in node.uplinks.iter().zip(tors) {
                let tor = tor.tor_place();
                let (left, right) = if self.is_dual_homed() {
                    let right = port(&tor, &node.name, uplink.tor.with_prefixes(31, 64));
                    (uplink.node.with_prefixes(31, 64), right)
                } else {
                    let right = bridge_port(&tor, &node.name, RACK_BRIDGE);
                    (uplink.node.with_prefixes(24, 64), right)
                };
                links.push(Link {
                    left: port(&node.name, uplink.device, left),
                    right,
                });
            }
        }
        links
    }

    /// The static default routes of hosts and nodes.
    pub fn default_routes(&self) -> Vec<DefaultRoute> {
        let host = |place: &str, gateway: Addresses| DefaultRoute {
            place: place.to_owned(),
            gateways: vec![gateway],
            source: None,
        };
        let mut routes = vec![
            host("cp", control_plane(self.family, 1)),
            host("outside", outside(self.family, 1)),
        ];
        routes.extend(self.nodes.iter().map(|node| DefaultRoute {
            place: node.name.clone(),
            gateways: node.uplinks.iter().map(|uplink| uplink.tor).collect(),
            source: self.is_dual_homed().then_some(node.fabric),
        }));
        routes
    }

    /// The addresses on the loopback of a place, with prefix lengths, besides the usual ones.
    pub fn loopbacks(&self, place: &str) -> Vec<String> {
        let node = self.node(place).filter(|_| self.is_dual_homed());
        node.map(|node| node.fabric.with_prefixes(32, 128))
            .unwrap_or_default()
    }

    fn to_management(&self, place: &str, addresses: Addresses) -> Link {
        Link {
            left: port(place, "mgmt0", addresses.with_prefixes(24, 64)),
            right: bridge_port("mgmt", place, MGMT_BRIDGE),
        }
    }
}

fn port(place: &str, device: &str, addresses: Vec<String>) -> Port {
    Port {
        place: place.into(),
        device: device.into(),
        bridge: None,
        addresses,
    }
}

fn bridge_port(place: &str, device: &str, bridge: &'static str) -> Port {
    Port {
        place: place.into(),
        device: device.into(),
        bridge: Some(bridge),
        addresses: Vec::new(),
    }
}
