//! The agent's answers in gRPC, as CNI's own types and back.

use super::{AddResult, Code, Error, Interface, IpConfig, Route, Version};
use crate::rpc;
use std::net::IpAddr;

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

impl TryFrom<rpc::cni::Route> for Route {
    type Error = Error;

    fn try_from(route: rpc::cni::Route) -> Result<Self, Error> {
        Ok(Self {
            dst: route.destination.parse().map_err(nonsense)?,
            gw: gateway(&route.gateway)?,
        })
    }
}

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

impl From<Error> for rpc::cni::Error {
    fn from(error: Error) -> Self {
        Self {
            code: error.code.0,
            message: error.msg,
            details: error.details,
        }
    }
}

impl From<rpc::cni::Error> for Error {
    fn from(error: rpc::cni::Error) -> Self {
        Self::new(Code(error.code), error.message).with_details(error.details)
    }
}
