//! What can be asked of a lab.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The IP families of a lab: of its nodes, its services and its routers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only; BGP sessions run over IPv6.
    V6,
    /// Both, IPv4 first; BGP sessions run over IPv4 and carry both families.
    Dual,
}

impl Family {
    /// Whether the lab has IPv4.
    pub fn has_v4(self) -> bool {
        self != Self::V6
    }

    /// Whether the lab has IPv6.
    pub fn has_v6(self) -> bool {
        self != Self::V4
    }

    /// `v4`, `v6` or `dual`, as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Dual => "dual",
        }
    }
}

/// The routing daemon of a top-of-rack router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tor {
    /// BIRD 2.
    Bird,
    /// FRR: zebra and bgpd.
    Frr,
}

/// The AS numbers of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NodeAs {
    /// One for each rack.
    Rack,
    /// One for all: a path from another rack holds the AS of the node that is told it.
    One,
}

/// kube-proxy's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// The default of these labs.
    Nftables,
    /// Kubernetes' own default.
    Iptables,
}

impl Proxy {
    /// As in kube-proxy's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// The container runtime of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The machine's containerd, 1.6.
    Containerd1,
    /// containerd 2, built from its Go module when a lab first asks for it.
    Containerd2,
}

/// What a lab should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The lab's name: it names the namespaces (`mgl-NAME-n1`) and the state folder (`target/lab/NAME`).
    pub name: String,
    /// How many nodes, named `n1`, `n2`, …
    pub nodes: u16,
    /// How many racks; nodes fill them in order, so rack 1 is never smaller than the last.
    pub racks: u16,
    /// The IP families.
    pub family: Family,
    /// The ToR of each rack; the list repeats when it is shorter than the racks.
    pub tors: Vec<Tor>,
    /// Which AS number the ToRs expect of nodes.
    pub node_as: NodeAs,
    /// How services are programmed.
    pub proxy: Proxy,
    /// The container runtime.
    pub runtime: Runtime,
    /// Whether pods' addresses are part of the fabric's own range, of which the spine announces the whole.
    pub pods_in_fabric: bool,
    /// How many uplinks each node has, 1 or 2. With one, a rack is a subnet behind its ToR. With two, each is a link of its own to a
    /// ToR of its own (`tor1`, `tor1b`), and the node's address is on its loopback.
    pub uplinks: u16,
    /// OCI archives to import on every node besides the lab's own images.
    pub image_archives: Vec<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            name: "margay".into(),
            nodes: 3,
            racks: 2,
            family: Family::Dual,
            tors: vec![Tor::Bird, Tor::Frr],
            node_as: NodeAs::Rack,
            proxy: Proxy::Nftables,
            runtime: Runtime::Containerd1,
            pods_in_fabric: false,
            uplinks: 1,
            image_archives: Vec::new(),
        }
    }
}
