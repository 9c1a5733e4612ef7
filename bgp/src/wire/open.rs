//! OPEN (RFC 4271 §4.2, RFC 5492, RFC 9072).

use std::net::Ipv4Addr;

use super::Notification;
use super::capability::{Capability, GracefulRestart};
use super::reader::Reader;
use crate::family::{Asn, Families, Family};

/// An OPEN message. The AS number is the one that counts: capability 65 where present, else the two-octet field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS number.
    pub asn: Asn,
    /// Proposed hold time in seconds: 0 or at least 3.
    pub hold_time: u16,
    /// BGP identifier, never 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// What the sender can do, in its order.
    pub capabilities: Vec<Capability>,
}

const CAPABILITIES: u8 = 2;
/// Non-extended parameter length and type that announce the extended format (RFC 9072 §2).
const EXTENDED: u8 = 255;

impl Open {
    /// Parses and checks everything that needs no configuration.
    ///
    /// # Errors
    /// The NOTIFICATION of RFC 4271 §6.2 that the message earns.
    pub fn decode(body: &[u8]) -> Result<Self, Notification> {
        let unspecific = || Notification::new(Notification::OPEN, 0);
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or_else(unspecific)?;
        if version != 4 {
            return Err(Notification::with_data(Notification::OPEN, 1, [0, 4]));
        }
        let field = reader.u16().ok_or_else(unspecific)?;
        let hold_time = reader.u16().ok_or_else(unspecific)?;
        let router_id = reader.ipv4().ok_or_else(unspecific)?;
        let capabilities = decode_parameters(reader).map_err(|e| e.unwrap_or_else(unspecific))?;
        let four_octets = capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        });
        let asn = four_octets.unwrap_or_else(|| Asn(u32::from(field)));
        if field == 0 || asn.is_reserved() {
            return Err(Notification::new(Notification::OPEN, 2));
        }
        if router_id.is_unspecified() {
            return Err(Notification::new(Notification::OPEN, 3));
        }
        if matches!(hold_time, 1 | 2) {
            return Err(Notification::new(Notification::OPEN, 6));
        }
        Ok(Self {
            asn,
            hold_time,
            router_id,
            capabilities,
        })
    }

    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        out.push(4);
        out.extend_from_slice(&self.asn.two_octets().to_be_bytes());
        out.extend_from_slice(&self.hold_time.to_be_bytes());
        out.extend_from_slice(&self.router_id.octets());
        let mut value = Vec::new();
        for capability in &self.capabilities {
            capability.encode(&mut value);
        }
        if value.is_empty() {
            out.push(0);
        } else if value.len() <= 253 {
            out.extend_from_slice(&[value.len() as u8 + 2, CAPABILITIES, value.len() as u8]);
            out.extend_from_slice(&value);
        } else {
            // Several hundred octets at most: a capability is ≤ 257 octets and the speaker sends a handful.
            out.extend_from_slice(&[EXTENDED, EXTENDED]);
            out.extend_from_slice(&(value.len() as u16 + 3).to_be_bytes());
            out.push(CAPABILITIES);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(&value);
        }
    }

    /// The families the sender speaks: without any multiprotocol capability IPv4 unicast (RFC 4760 §8).
    pub fn families(&self) -> Families {
        let mut families = Families::NONE;
        let mut announced = false;
        for capability in &self.capabilities {
            if let Capability::Multiprotocol { afi, safi } = capability {
                announced = true;
                if let Some(family) = Family::from_wire(*afi, *safi) {
                    families[family] = true;
                }
            }
        }
        families.v4 |= !announced;
        families
    }

    /// Whether the sender reads and writes AS numbers of four octets.
    pub fn four_octet_as(&self) -> bool {
        self.capabilities
            .iter()
            .any(|capability| matches!(capability, Capability::FourOctetAs(_)))
    }

    /// Whether the sender understands ROUTE-REFRESH.
    pub fn route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }

    /// Whether the sender reads and writes messages of up to 65535 octets.
    pub fn extended_messages(&self) -> bool {
        self.capabilities.contains(&Capability::ExtendedMessage)
    }

    /// Whether the sender understands the beginning and the end of a refresh.
    pub fn enhanced_refresh(&self) -> bool {
        self.capabilities
            .contains(&Capability::EnhancedRouteRefresh)
    }

    /// The graceful restart capability; the last one counts (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities
            .iter()
            .rev()
            .find_map(|capability| match capability {
                Capability::GracefulRestart(restart) => Some(restart),
                _ => None,
            })
    }
}

/// `Err(None)` is an overrun: "unspecific".
fn decode_parameters(mut reader: Reader<'_>) -> Result<Vec<Capability>, Option<Notification>> {
    let mut length = usize::from(reader.u8().ok_or(None)?);
    let mut extended = false;
    if length == usize::from(EXTENDED) {
        let mut peek = reader;
        if peek.u8() == Some(EXTENDED) {
            length = usize::from(peek.u16().ok_or(None)?);
            reader = peek;
            extended = true;
        }
    }
    if reader.len() != length {
        return Err(None);
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or(None)?;
        let length = if extended {
            usize::from(reader.u16().ok_or(None)?)
        } else {
            usize::from(reader.u8().ok_or(None)?)
        };
        let value = reader.take(length).ok_or(None)?;
        if kind != CAPABILITIES {
            return Err(Some(Notification::new(Notification::OPEN, 4)));
        }
        let mut inner = Reader::new(value);
        while !inner.is_empty() {
            let code = inner.u8().ok_or(None)?;
            let length = usize::from(inner.u8().ok_or(None)?);
            let value = inner.take(length).ok_or(None)?;
            capabilities.push(Capability::decode(code, value).map_err(Some)?);
        }
    }
    Ok(capabilities)
}
