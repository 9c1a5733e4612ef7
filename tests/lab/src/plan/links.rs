//! The cables of a lab.

use super::{Addresses, Plan, control_plane, outside};

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
        let racks = self.racks.iter().map(|rack| Bridge {
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
        for rack in &self.racks {
            let tor = rack.tor_place();
            links.push(Link {
                left: port(&tor, "spine0", rack.uplink.with_prefixes(24, 64)),
                right: port("spine", &tor, rack.spine.with_prefixes(24, 64)),
            });
        }
        for node in &self.nodes {
            links.push(self.to_management(&node.name, node.mgmt));
            let tor = format!("tor{}", node.rack);
            links.push(Link {
                left: port(&node.name, "fabric0", node.fabric.with_prefixes(24, 64)),
                right: bridge_port(&tor, &node.name, RACK_BRIDGE),
            });
        }
        links
    }

    /// The places with a static default route, and where it points.
    pub fn default_routes(&self) -> Vec<(String, Addresses)> {
        let mut routes = vec![
            ("cp".to_owned(), control_plane(self.family, 1)),
            ("outside".to_owned(), outside(self.family, 1)),
        ];
        for node in &self.nodes {
            let rack = self.rack(node.rack).expect("a node's rack exists");
            routes.push((node.name.clone(), rack.gateway));
        }
        routes
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
