//! What ADD returns, and every later verb gets back as `prevResult`.

use super::{Cidr, Code, Error, Version};
#[cfg(feature = "rpc")]
use crate::rpc;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The result of ADD (specification section 5, "ADD Success").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddResult {
    /// Version of this form.
    #[serde(default)]
    pub cni_version: Version,
    /// Links, host side and pod side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes inside the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Resolver settings; Kubernetes ignores them, a chain may hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Bytes; from 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Network namespace of the pod side, as `CNI_NETNS` had it; empty on the host side.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpConfig {
    /// `4` or `6`; required up to 0.4.0, gone from 1.0.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<IpVersion>,
    /// Index into the interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address and its prefix length.
    pub address: Cidr,
    /// Default gateway for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// The family of an address, as results up to 0.4.0 spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpVersion {
    /// IPv4.
    #[serde(rename = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    V6,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Destination.
    pub dst: Cidr,
    /// Next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// Resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// Servers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search domains, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options for the resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl AddResult {
    /// The same in the form of `version`: what it does not know is left out, what it requires is put in.
    pub fn in_version(mut self, version: Version) -> Self {
        self.cni_version = version;
        for interface in &mut self.interfaces {
            interface.mtu = interface.mtu.filter(|_| version >= Version::V1_1_0);
        }
        for ip in &mut self.ips {
            let family = if ip.address.address().is_ipv4() {
                IpVersion::V4
            } else {
                IpVersion::V6
            };
            ip.version = (version <= Version::V0_4_0).then_some(family);
        }
        self
    }
}

#[cfg(feature = "rpc")]
impl TryFrom<rpc::cni::AddReply> for AddResult {
    type Error = Error;

    /// Reads the agent's answer.
    ///
    /// # Errors
    /// The agent's refusal as it is; [`Code::INTERNAL`] for an address or index that makes no sense, which would fail inside the runtime.
    fn try_from(reply: rpc::cni::AddReply) -> Result<Self, Error> {
        if let Some(error) = reply.error {
            return Err(error.into());
        }
        let links = reply.interfaces.len();
        Ok(Self {
            cni_version: Version::default(),
            interfaces: reply.interfaces.into_iter().map(Interface::from).collect(),
            ips: reply
                .addresses
                .into_iter()
                .map(|address| ip_config(address, links))
                .collect::<Result<_, _>>()?,
            routes: reply
                .routes
                .into_iter()
                .map(Route::try_from)
                .collect::<Result<_, _>>()?,
            dns: None,
        })
    }
}

#[cfg(feature = "rpc")]
impl From<rpc::cni::Interface> for Interface {
    fn from(link: rpc::cni::Interface) -> Self {
        let mtu = (link.mtu > 0).then_some(link.mtu);
        Self {
            name: link.name,
            mac: link.mac,
            mtu,
            sandbox: link.sandbox,
        }
    }
}

#[cfg(feature = "rpc")]
impl TryFrom<rpc::cni::Route> for Route {
    type Error = Error;

    fn try_from(route: rpc::cni::Route) -> Result<Self, Error> {
        Ok(Self {
            dst: route.destination.parse().map_err(nonsense)?,
            gw: gateway(&route.gateway)?,
        })
    }
}

#[cfg(feature = "rpc")]
fn ip_config(address: rpc::cni::Address, links: usize) -> Result<IpConfig, Error> {
    let index = usize::try_from(address.interface)
        .ok()
        .filter(|index| *index < links);
    let index =
        index.ok_or_else(|| nonsense(format!("interface {} of {links}", address.interface)))?;
    Ok(IpConfig {
        version: None,
        interface: Some(index),
        address: address.address.parse().map_err(nonsense)?,
        gateway: gateway(&address.gateway)?,
    })
}

fn gateway(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| nonsense(format!("{text:?} is not an address")))
}

fn nonsense(what: String) -> Error {
    Error::new(Code::INTERNAL, "the agent's answer makes no sense").with_details(what)
}

#[cfg(test)]
mod tests;
