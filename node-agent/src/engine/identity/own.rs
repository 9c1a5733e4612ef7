//! The node's own addresses: what it speaks BGP from, announces as next hop and sends from towards its pods.
//!
//! A function of the Node, the NodeConfigs and the kernel's links, addresses and routes. For each family the first NodeConfig by name that
//! chooses decides, else the first InternalIP. A choice that nothing fits leaves the node without an address of the family: another
//! address in its place might be one that the routers do not know.

use super::configs_of;
use crate::{engine::Inputs, kernel::underlay::Snapshot};
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use margay_proto::{crd::AddressChoice, crd::NodeConfig, slim::Node};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses, and why there are not more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Own {
    pub(in crate::engine) ipv4: Option<Ipv4Addr>,
    pub(in crate::engine) ipv6: Option<Ipv6Addr>,
    /// Choices that nothing fits.
    pub(in crate::engine) faults: Vec<String>,
}

/// A choice depends on the kernel, which was not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Unseen;

impl Own {
    /// Those of `node`.
    pub(in crate::engine) fn of(
        inputs: &Inputs,
        node: &Node,
        kernel: Option<&Snapshot>,
    ) -> Result<Self, Unseen> {
        let reported = reported(node);
        let mut own = Self::default();
        for v4 in [true, false] {
            let choice = configs_of(inputs, node).find_map(|c| Some((c, choice(c, v4)?)));
            let found = match choice {
                None => reported.iter().find(|a| a.is_ipv4() == v4).copied(),
                Some((config, choice)) => {
                    let asked = Asked {
                        config: config.name_any(),
                        node: node.name_any(),
                        v4,
                    };
                    let chosen = asked.choose(choice, kernel.ok_or(Unseen)?);
                    chosen.map_err(|fault| own.faults.push(fault)).ok()
                }
            };
            match found {
                Some(IpAddr::V4(v4)) => own.ipv4 = Some(v4),
                Some(IpAddr::V6(v6)) => own.ipv6 = Some(v6),
                None => {}
            }
        }
        Ok(own)
    }

    /// The node's address of the family of `v4`.
    pub(in crate::engine) fn is_missing(&self, v4: bool) -> bool {
        if v4 {
            self.ipv4.is_none()
        } else {
            self.ipv6.is_none()
        }
    }
}

/// What the kubelet reported as InternalIP.
fn reported(node: &Node) -> Vec<IpAddr> {
    let internal = node.status.addresses.iter();
    let internal = internal.filter(|a| a.type_ == "InternalIP");
    internal.filter_map(|a| a.address.parse().ok()).collect()
}

/// What a NodeConfig says of a family.
pub(super) fn choice(config: &NodeConfig, v4: bool) -> Option<&AddressChoice> {
    let addresses = config.spec.addresses.as_ref()?;
    if v4 {
        addresses.ipv4.as_ref()
    } else {
        addresses.ipv6.as_ref()
    }
}

/// Who asks for an address, for which node.
struct Asked {
    config: String,
    node: String,
    v4: bool,
}

impl Asked {
    fn choose(&self, choice: &AddressChoice, kernel: &Snapshot) -> Result<IpAddr, String> {
        let node = &self.node;
        match (
            &choice.interface,
            &choice.cidr,
            &choice.can_reach,
            &choice.address,
        ) {
            (Some(name), None, None, None) => self.of_interface(name, kernel),
            (None, Some(cidr), None, None) => {
                let none = format!(
                    "no interface of node {node} has an address in it; add one or give a network that holds one"
                );
                let wanted: IpNetwork = self.parsed("cidr", cidr, "a network in CIDR notation")?;
                self.best(kernel, |_, ip| wanted.contains(ip))
                    .ok_or_else(|| self.fault("cidr", cidr, &none))
            }
            (None, None, Some(target), None) => {
                let none = format!(
                    "node {node} has no route to it with an address of its own; add a route or give an address that is reached"
                );
                let to: IpAddr = self.parsed("canReach", target, "an IP address")?;
                let source = kernel.source_towards(to).filter(|a| self.is_of_family(*a));
                source.ok_or_else(|| self.fault("canReach", target, &none))
            }
            (None, None, None, Some(address)) => {
                let none = format!(
                    "no interface of node {node} has it; add it to one, or give one that is there"
                );
                let wanted: IpAddr = self.parsed("address", address, "an IP address")?;
                self.best(kernel, |_, ip| ip == wanted)
                    .ok_or_else(|| self.fault("address", address, &none))
            }
            _ => Err(format!(
                "NodeConfig/{}: spec.addresses.{} must give exactly one of interface, cidr, canReach and address",
                self.config,
                self.family()
            )),
        }
    }

    fn of_interface(&self, name: &str, kernel: &Snapshot) -> Result<IpAddr, String> {
        let Some(link) = kernel.links().find(|link| link.name == name) else {
            let names: Vec<&str> = kernel.links().map(|link| link.name.as_str()).collect();
            let none = format!(
                "node {} has no such interface; it has {}",
                self.node,
                names.join(", ")
            );
            return Err(self.fault("interface", name, &none));
        };
        let none = format!(
            "it has no {} address on node {} but loopback and link-local ones; add one or give another interface",
            if self.v4 { "IPv4" } else { "IPv6" },
            self.node
        );
        self.best(kernel, |ifindex, _| ifindex == link.ifindex)
            .ok_or_else(|| self.fault("interface", name, &none))
    }

    /// Of the addresses that fit the one that lasts longest, then the lowest: the same whatever order the kernel tells them in.
    fn best(&self, kernel: &Snapshot, fits: impl Fn(u32, IpAddr) -> bool) -> Option<IpAddr> {
        let candidates = kernel.addresses().filter(|own| {
            self.is_of_family(own.ip)
                && is_lasting(own.ip)
                && !own.is_unusable()
                && fits(own.ifindex, own.ip)
        });
        candidates
            .min_by_key(|own| (own.is_passing(), own.ip))
            .map(|own| own.ip)
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        field: &str,
        value: &str,
        what: &str,
    ) -> Result<T, String> {
        let wrong = |_| self.fault(field, value, &format!("that is not {what}"));
        value.parse().map_err(wrong)
    }

    fn is_of_family(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.v4
    }

    const fn family(&self) -> &'static str {
        if self.v4 { "ipv4" } else { "ipv6" }
    }

    fn fault(&self, field: &str, value: &str, why: &str) -> String {
        format!(
            "NodeConfig/{}: spec.addresses.{}.{field} is `{value}`: {why}",
            self.config,
            self.family()
        )
    }
}

/// Whether others can have a route to it.
pub(in crate::engine) const fn is_lasting(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.is_unspecified())
        }
    }
}
