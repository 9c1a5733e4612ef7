//! How the nodes of a lab peer with each other and with their routers: the objects that an administrator of such a fabric would write.

use anyhow::Result;
use margay_lab::{
    Lab,
    plan::{NODE_ASN_BASE, Rack},
};
use std::fmt::Write;

/// A way to peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peering {
    /// Each rack has its own AS, an iBGP mesh within and an eBGP session to its ToR.
    Racks,
    /// All racks have one AS and no mesh: each node hears of all others by its ToR.
    OneAs,
    /// All nodes have one AS and one iBGP mesh; ToRs are told, and tell nothing that is better.
    Mesh,
    /// Two uplinks a node, each with a session to a ToR of its own; no mesh, so that all that is learned comes twice.
    Uplinks,
}

impl Peering {
    /// The objects in words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Racks => {
                "asNumber 4200000000, a pool for each family; a NodeConfig and two BGPPeers a rack"
            }
            Self::OneAs => "asNumber 4200000000, mesh None; a BGPPeer with allowOwnAS a rack",
            Self::Mesh => "asNumber 4200000000, mesh Full; a BGPPeer a rack",
            Self::Uplinks => {
                "asNumber 4200000000, mesh None; a NodeConfig a rack, a BGPPeer with allowOwnAS an uplink"
            }
        }
    }

    /// Applies the objects.
    pub(crate) fn apply(self, lab: &Lab) -> Result<()> {
        lab.apply(&self.objects(lab))?;
        lab.apply(&self.installation(lab))?;
        Ok(())
    }

    /// Makes a cluster that peers otherwise peer this way.
    pub(crate) fn replace(self, lab: &Lab) -> Result<()> {
        lab.kubectl(&["delete", "bgppeers,nodeconfigs", "--all"])?;
        self.apply(lab)
    }

    fn installation(self, lab: &Lab) -> String {
        let mesh = if self == Self::Mesh { "Full" } else { "None" };
        let pools: String = lab
            .plan()
            .pods()
            .iter()
            .map(|cidr| {
                let family = if cidr.contains(':') { "v6" } else { "v4" };
                format!("    - {{name: pods-{family}, cidr: '{cidr}'}}\n")
            })
            .collect();
        format!(
            "apiVersion: margay.dev/v1alpha1
kind: Installation
metadata: {{name: default}}
spec:
  asNumber: {NODE_ASN_BASE}
  mesh: {mesh}
  imagePullPolicy: Never
  pools:
{pools}"
        )
    }

    fn objects(self, lab: &Lab) -> String {
        let mut yaml = String::new();
        for rack in lab.racks() {
            match self {
                Self::Racks => {
                    node_config(&mut yaml, rack);
                    tor(&mut yaml, rack, "");
                    rack_mesh(&mut yaml, rack);
                }
                Self::OneAs => tor(&mut yaml, rack, ", allowOwnAS: 1"),
                Self::Mesh => tor(&mut yaml, rack, ""),
                Self::Uplinks => node_config(&mut yaml, rack),
            }
        }
        if self == Self::Uplinks {
            lab.plan()
                .tors()
                .for_each(|rack| uplinks(&mut yaml, lab, rack));
        }
        yaml
    }
}

fn selector(rack: &Rack) -> String {
    format!(
        "{{matchLabels: {{topology.margay.dev/rack: {}}}}}",
        rack.label()
    )
}

// Writing to a String does not fail.

fn node_config(yaml: &mut String, rack: &Rack) {
    let _ = write!(
        yaml,
        "---
apiVersion: margay.dev/v1alpha1
kind: NodeConfig
metadata: {{name: rack{number}}}
spec: {{nodeSelector: {selector}, asNumber: {asn}}}
",
        number = rack.number,
        selector = selector(rack),
        asn = rack.node_asn,
    );
}

fn tor(yaml: &mut String, rack: &Rack, more: &str) {
    let _ = write!(
        yaml,
        "---
apiVersion: margay.dev/v1alpha1
kind: BGPPeer
metadata: {{name: rack{number}-tor}}
spec: {{nodeSelector: {selector}, address: '{tor}', remoteAS: {asn}{more}}}
",
        number = rack.number,
        selector = selector(rack),
        tor = rack.gateway.primary(),
        asn = rack.asn,
    );
}

fn rack_mesh(yaml: &mut String, rack: &Rack) {
    let _ = write!(
        yaml,
        "---
apiVersion: margay.dev/v1alpha1
kind: BGPPeer
metadata: {{name: rack{number}-mesh}}
spec: {{nodeSelector: {selector}, peerSelector: {selector}}}
",
        number = rack.number,
        selector = selector(rack),
    );
}

/// Each link has addresses of its own, so each session is an object of its own.
fn uplinks(yaml: &mut String, lab: &Lab, rack: &Rack) {
    for node in lab.plan().nodes_of(rack.number) {
        let _ = write!(
            yaml,
            "---
apiVersion: margay.dev/v1alpha1
kind: BGPPeer
metadata: {{name: {node}-{place}}}
spec: {{nodeSelector: {{matchLabels: {{kubernetes.io/hostname: {node}}}}}, address: '{tor}', remoteAS: {asn}, allowOwnAS: 1}}
",
            node = node.name,
            place = rack.tor_place(),
            tor = node.uplinks[rack.plane].tor.primary(),
            asn = rack.asn,
        );
    }
}
