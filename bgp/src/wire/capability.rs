//! Capabilities of an OPEN (RFC 5492): what a speaker can do, in its own words.

use std::fmt;

use super::Notification;
use super::reader::Reader;
use crate::family::{Asn, Family};

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Multiprotocol extensions for a family (code 1, RFC 4760 §8).
    Multiprotocol {
        /// Address family identifier.
        afi: u16,
        /// Subsequent address family identifier.
        safi: u8,
    },
    /// Route refresh (code 2, RFC 2918).
    RouteRefresh,
    /// Messages of up to 65535 octets (code 6, RFC 8654).
    ExtendedMessage,
    /// Graceful restart (code 64, RFC 4724 §3, RFC 8538 §2).
    GracefulRestart(GracefulRestart),
    /// Four-octet AS numbers (code 65, RFC 6793 §3).
    FourOctetAs(Asn),
    /// Route refresh with a beginning and an end (code 70, RFC 7313).
    EnhancedRouteRefresh,
    /// The sender's name, for people (code 73, draft-walton-bgp-hostname-capability).
    Hostname {
        /// Name of the host.
        host: String,
        /// Its domain, often empty.
        domain: String,
    },
    /// Anything else: shown to people, otherwise ignored.
    Unknown {
        /// Capability code.
        code: u8,
        /// Capability value.
        value: Vec<u8>,
    },
}

/// The value of the graceful restart capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// R bit: the sender has restarted and asks not to be waited for.
    pub restarting: bool,
    /// N bit: graceful also after a NOTIFICATION and a hold timer expiry (RFC 8538).
    pub notification: bool,
    /// Seconds for which routes are kept after the session is lost, at most 4095.
    pub restart_time: u16,
    /// Families whose routes are kept; families of other kinds are dropped at the decoder.
    pub families: Vec<PreservedFamily>,
}

/// One family of a graceful restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PreservedFamily {
    /// The family.
    pub family: Family,
    /// F bit: forwarding state was kept through the restart.
    pub forwarding: bool,
}

impl Capability {
    /// The capability that announces a family.
    pub fn family(family: Family) -> Self {
        Self::Multiprotocol {
            afi: family.afi(),
            safi: family.safi(),
        }
    }

    /// The capability that tells the peer a name; FRR takes no more than 64 octets of it.
    pub fn hostname(name: &str) -> Self {
        Self::Hostname {
            host: name[..name.floor_char_boundary(64)].to_owned(),
            domain: String::new(),
        }
    }

    pub(crate) fn decode(code: u8, value: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(Notification::OPEN, 0);
        match code {
            1 => {
                let &[a, b, _, safi] = value else {
                    return Err(malformed());
                };
                Ok(Self::Multiprotocol {
                    afi: u16::from_be_bytes([a, b]),
                    safi,
                })
            }
            2 => Ok(Self::RouteRefresh),
            6 if value.is_empty() => Ok(Self::ExtendedMessage),
            64 => Ok(GracefulRestart::decode(value).map_or_else(
                || Self::Unknown {
                    code,
                    value: value.to_vec(),
                },
                Self::GracefulRestart,
            )),
            65 => {
                let octets: [u8; 4] = value.try_into().map_err(|_| malformed())?;
                Ok(Self::FourOctetAs(Asn(u32::from_be_bytes(octets))))
            }
            70 if value.is_empty() => Ok(Self::EnhancedRouteRefresh),
            _ => Ok((code == 73)
                .then(|| hostname(value))
                .flatten()
                .unwrap_or_else(|| Self::Unknown {
                    code,
                    value: value.to_vec(),
                })),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (code, value) = match self {
            Self::Multiprotocol { afi, safi } => {
                let [a, b] = afi.to_be_bytes();
                (1, vec![a, b, 0, *safi])
            }
            Self::RouteRefresh => (2, Vec::new()),
            Self::ExtendedMessage => (6, Vec::new()),
            Self::GracefulRestart(restart) => (64, restart.encode()),
            Self::FourOctetAs(asn) => (65, asn.0.to_be_bytes().to_vec()),
            Self::EnhancedRouteRefresh => (70, Vec::new()),
            Self::Hostname { host, domain } => {
                let mut value = Vec::new();
                for text in [host, domain] {
                    let text = &text[..text.floor_char_boundary(126)];
                    value.push(text.len() as u8);
                    value.extend_from_slice(text.as_bytes());
                }
                (73, value)
            }
            Self::Unknown { code, value } => (*code, value.clone()),
        };
        let length = value.len().min(255);
        out.extend_from_slice(&[code, length as u8]);
        out.extend_from_slice(&value[..length]);
    }
}

impl GracefulRestart {
    /// The entry of `family`; the first one counts when a peer repeats itself.
    pub fn preserved(&self, family: Family) -> Option<PreservedFamily> {
        self.families
            .iter()
            .copied()
            .find(|entry| entry.family == family)
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let head = reader.u16()?;
        if !reader.len().is_multiple_of(4) {
            return None;
        }
        let mut families = Vec::new();
        while let Some([a, b, safi, flags]) = reader.array() {
            if let Some(family) = Family::from_wire(u16::from_be_bytes([a, b]), safi) {
                families.push(PreservedFamily {
                    family,
                    forwarding: flags & 0x80 != 0,
                });
            }
        }
        Some(Self {
            restarting: head & 0x8000 != 0,
            notification: head & 0x4000 != 0,
            restart_time: head & 0x0fff,
            families,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut head = self.restart_time.min(0x0fff);
        if self.restarting {
            head |= 0x8000;
        }
        if self.notification {
            head |= 0x4000;
        }
        let mut value = head.to_be_bytes().to_vec();
        for entry in &self.families {
            value.extend_from_slice(&entry.family.afi().to_be_bytes());
            value
                .extend_from_slice(&[entry.family.safi(), if entry.forwarding { 0x80 } else { 0 }]);
        }
        value
    }
}

/// Two texts with their lengths; what a terminal would act on is left out, because the peer wrote them.
fn hostname(value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let mut text = || {
        let length = reader.u8()?;
        let octets = reader.take(usize::from(length))?;
        let text = String::from_utf8_lossy(octets);
        Some(text.chars().filter(|c| !c.is_control()).collect())
    };
    Some(Capability::Hostname {
        host: text()?,
        domain: text()?,
    })
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiprotocol { afi, safi } => match Family::from_wire(*afi, *safi) {
                Some(family) => write!(f, "{family}"),
                None => write!(f, "family {afi}/{safi}"),
            },
            Self::RouteRefresh => f.write_str("route-refresh"),
            Self::GracefulRestart(restart) => {
                write!(f, "graceful-restart {}s", restart.restart_time)?;
                if restart.restarting {
                    f.write_str(" restarting")?;
                }
                if restart.notification {
                    f.write_str(" notification")?;
                }
                for entry in &restart.families {
                    write!(
                        f,
                        " {}{}",
                        entry.family,
                        if entry.forwarding { "+forwarding" } else { "" }
                    )?;
                }
                Ok(())
            }
            Self::FourOctetAs(asn) => write!(f, "four-octet-as {asn}"),
            Self::ExtendedMessage => f.write_str("extended-message"),
            Self::EnhancedRouteRefresh => f.write_str("enhanced-route-refresh"),
            Self::Hostname { host, domain } if domain.is_empty() => write!(f, "hostname {host}"),
            Self::Hostname { host, domain } => write!(f, "hostname {host}.{domain}"),
            Self::Unknown { code: 5, .. } => f.write_str("extended-next-hop"),
            Self::Unknown { code: 9, .. } => f.write_str("role"),
            Self::Unknown { code: 69, .. } => f.write_str("add-path"),
            Self::Unknown { code: 71, .. } => f.write_str("long-lived-graceful-restart"),
            Self::Unknown { code: 128, .. } => f.write_str("prestandard-route-refresh"),
            Self::Unknown { code, .. } => write!(f, "capability {code}"),
        }
    }
}
