//! Sets and verdict maps: typed keys and their elements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::rule::Verdict;

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    /// Type of its elements.
    pub key: KeyType,
    /// `flags interval`: the elements are ranges, disjoint and not touching. Else they are single keys in a hash.
    pub interval: bool,
    /// What it stands for, for people; never compared with the kernel.
    pub note: Arc<str>,
    /// Its elements.
    pub elements: Arc<BTreeSet<Element>>,
}

impl Set {
    /// An empty hash set.
    pub fn hash(key: KeyType) -> Self {
        Self {
            key,
            interval: false,
            note: Arc::from(""),
            elements: Arc::default(),
        }
    }

    /// An empty interval set.
    pub fn interval(key: KeyType) -> Self {
        Self {
            interval: true,
            ..Self::hash(key)
        }
    }

    /// With these elements.
    pub fn with(mut self, elements: impl IntoIterator<Item = Element>) -> Self {
        self.elements = Arc::new(elements.into_iter().collect());
        self
    }

    /// With a note for people. Line breaks become spaces.
    pub fn noted(mut self, note: &str) -> Self {
        self.note = Arc::from(note.replace(char::is_control, " "));
        self
    }
}

/// A named verdict map. Margay has no interval maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerdictMap {
    /// Type of its keys.
    pub key: KeyType,
    /// Verdict of each key.
    pub elements: BTreeMap<Element, Verdict>,
}

impl VerdictMap {
    /// An empty map.
    pub fn new(key: KeyType) -> Self {
        Self {
            key,
            elements: BTreeMap::new(),
        }
    }
}

/// Type of the keys of a set or map. Each part of a concatenation is padded to four bytes in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `ifname`, 16 bytes, zero padded
    Ifname,
    /// `ifname . ipv4_addr`
    IfnameIpv4,
    /// `ifname . ipv6_addr`
    IfnameIpv6,
    /// `ifname . ifname`
    IfnameIfname,
    /// `inet_proto . inet_service`
    ProtoPort,
    /// `ipv4_addr . inet_proto . inet_service`
    Ipv4ProtoPort,
    /// `ipv6_addr . inet_proto . inet_service`
    Ipv6ProtoPort,
}

impl KeyType {
    /// As `nft` writes it after `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Ifname => "ifname",
            Self::IfnameIpv4 => "ifname . ipv4_addr",
            Self::IfnameIpv6 => "ifname . ipv6_addr",
            Self::IfnameIfname => "ifname . ifname",
            Self::ProtoPort => "inet_proto . inet_service",
            Self::Ipv4ProtoPort => "ipv4_addr . inet_proto . inet_service",
            Self::Ipv6ProtoPort => "ipv6_addr . inet_proto . inet_service",
        }
    }
}

/// One element of a set, or key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// One address.
    Ipv4(Ipv4Addr),
    /// One address.
    Ipv6(Ipv6Addr),
    /// Addresses from the first to the last, both included. Only in interval sets, which hold nothing else.
    Ipv4Range(Ipv4Addr, Ipv4Addr),
    /// Addresses from the first to the last, both included. Only in interval sets, which hold nothing else.
    Ipv6Range(Ipv6Addr, Ipv6Addr),
    /// A link.
    Ifname(Ifname),
    /// A link and an address on it.
    IfnameIpv4(Ifname, Ipv4Addr),
    /// A link and an address on it.
    IfnameIpv6(Ifname, Ipv6Addr),
    /// Incoming and outgoing link.
    IfnameIfname(Ifname, Ifname),
    /// Protocol and destination port.
    ProtoPort(Protocol, u16),
    /// Destination address, protocol and port.
    Ipv4ProtoPort(Ipv4Addr, Protocol, u16),
    /// Destination address, protocol and port.
    Ipv6ProtoPort(Ipv6Addr, Protocol, u16),
}

impl Element {
    /// The type of the set or map it belongs in.
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Ipv4(_) | Self::Ipv4Range(..) => KeyType::Ipv4,
            Self::Ipv6(_) | Self::Ipv6Range(..) => KeyType::Ipv6,
            Self::Ifname(_) => KeyType::Ifname,
            Self::IfnameIpv4(..) => KeyType::IfnameIpv4,
            Self::IfnameIpv6(..) => KeyType::IfnameIpv6,
            Self::IfnameIfname(..) => KeyType::IfnameIfname,
            Self::ProtoPort(..) => KeyType::ProtoPort,
            Self::Ipv4ProtoPort(..) => KeyType::Ipv4ProtoPort,
            Self::Ipv6ProtoPort(..) => KeyType::Ipv6ProtoPort,
        }
    }

    /// Whether it belongs in an interval set.
    pub fn is_range(&self) -> bool {
        matches!(self, Self::Ipv4Range(..) | Self::Ipv6Range(..))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Ipv4Range(first, last) if first == last => write!(f, "{first}"),
            Self::Ipv6Range(first, last) if first == last => write!(f, "{first}"),
            Self::Ipv4Range(first, last) => write!(f, "{first}-{last}"),
            Self::Ipv6Range(first, last) => write!(f, "{first}-{last}"),
            Self::Ifname(link) => write!(f, "\"{link}\""),
            Self::IfnameIpv4(link, address) => write!(f, "\"{link}\" . {address}"),
            Self::IfnameIpv6(link, address) => write!(f, "\"{link}\" . {address}"),
            Self::IfnameIfname(input, output) => write!(f, "\"{input}\" . \"{output}\""),
            Self::ProtoPort(protocol, port) => write!(f, "{protocol} . {port}"),
            Self::Ipv4ProtoPort(address, protocol, port) => {
                write!(f, "{address} . {protocol} . {port}")
            }
            Self::Ipv6ProtoPort(address, protocol, port) => {
                write!(f, "{address} . {protocol} . {port}")
            }
        }
    }
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The keyword of `nft` for its header.
    pub fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of this IANA number, if it is one with ports.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Name of a network link: 1 to 15 bytes without slash, quote, asterisk or white space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ifname([u8; 16]);

/// Text that cannot be the name of a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a link name: 1 to 15 printable ASCII bytes without slash, quote, asterisk or space"
)]
pub struct InvalidIfname(pub String);

impl Ifname {
    /// The 16 bytes of a key of type `ifname`, zero padded.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let length = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..length]).expect("only ASCII is let in")
    }
}

impl TryFrom<&str> for Ifname {
    type Error = InvalidIfname;

    fn try_from(name: &str) -> Result<Self, InvalidIfname> {
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'*' | b'\\');
        if name.is_empty() || name.len() > 15 || !name.bytes().all(plain) {
            return Err(InvalidIfname(name.to_owned()));
        }
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self(bytes))
    }
}

impl fmt::Display for Ifname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ifname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
