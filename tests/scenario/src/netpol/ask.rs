//! One path: who asks whom, on which port, protocol and family.

use crate::matrix::Protocol;
use std::fmt;

/// A path, in the words of a table of truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    from: &'a str,
    to: &'a str,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) v4: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn new(from: &'a str, to: &'a str, port: u16, protocol: Protocol, v4: bool) -> Self {
        Self {
            from,
            to,
            port,
            protocol,
            v4,
        }
    }

    /// Whether this place asks: `x/a`, `n1`, `outside`.
    pub(super) fn from(&self, place: &str) -> bool {
        self.from == place
    }

    /// Whether this place is asked.
    pub(super) fn to(&self, place: &str) -> bool {
        self.to == place
    }

    /// Whether a pod of this namespace asks.
    pub(super) fn sender_in(&self, namespace: &str) -> bool {
        namespace_of(self.from) == Some(namespace)
    }

    /// Whether a pod of this namespace is asked.
    pub(super) fn receiver_in(&self, namespace: &str) -> bool {
        namespace_of(self.to) == Some(namespace)
    }

    /// Whether a pod asks, and not a node or the outside host.
    pub(super) fn by_pod(&self) -> bool {
        namespace_of(self.from).is_some()
    }

    /// Whether a pod is asked.
    pub(super) fn at_pod(&self) -> bool {
        namespace_of(self.to).is_some()
    }

    /// Whether it is TCP to this port.
    pub(super) fn tcp(&self, port: u16) -> bool {
        self.protocol == Protocol::Tcp && self.port == port
    }

    /// Whether it is UDP to this port.
    pub(super) fn udp(&self, port: u16) -> bool {
        self.protocol == Protocol::Udp && self.port == port
    }

    /// Whether it is SCTP to this port.
    pub(super) fn sctp(&self, port: u16) -> bool {
        self.protocol == Protocol::Sctp && self.port == port
    }
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v4 { "IPv4" } else { "IPv6" };
        let (protocol, port) = (self.protocol.name(), self.port);
        write!(f, "{} -> {} {protocol} {port} {family}", self.from, self.to)
    }
}

fn namespace_of(place: &str) -> Option<&str> {
    Some(place.split_once('/')?.0)
}
