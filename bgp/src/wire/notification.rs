//! NOTIFICATION (RFC 4271 §4.5, §6): why a session ends, as codes and in words.

use std::fmt;

use crate::family::Family;

/// A NOTIFICATION message; also the error type of every decoder that has to end the session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode; 0 is "unspecific".
    pub subcode: u8,
    /// Diagnostic data, as the code defines it.
    pub data: Vec<u8>,
}

/// Subcodes of Cease (code 6; RFC 4486, 8538, 9384).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cease {
    /// The peer announced more prefixes than allowed.
    MaximumPrefixes = 1,
    /// The session is held down by an operator.
    AdministrativeShutdown = 2,
    /// The peer is no longer configured.
    PeerDeconfigured = 3,
    /// An operator asked for a reset.
    AdministrativeReset = 4,
    /// The connection is not wanted.
    ConnectionRejected = 5,
    /// The configuration changed so that the session must be opened again.
    ConfigurationChange = 6,
    /// The other one of two connections was kept.
    CollisionResolution = 7,
    /// No memory left.
    OutOfResources = 8,
    /// The routes must not be kept although graceful restart was negotiated (RFC 8538).
    HardReset = 9,
    /// BFD says that the path is lost (RFC 9384).
    BfdDown = 10,
}

impl Notification {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313).
    pub const REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687).
    pub const SEND_HOLD_TIMER: u8 = 8;

    /// A notification without data.
    pub fn new(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// A notification with diagnostic data.
    pub fn with_data(code: u8, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Self {
            code,
            subcode,
            data: data.into(),
        }
    }

    /// Cease with its subcode.
    pub fn cease(subcode: Cease) -> Self {
        Self::new(Self::CEASE, subcode as u8)
    }

    /// Cease with a text for the operator of the other side (RFC 9003), cut at 255 octets.
    pub fn cease_with_text(subcode: Cease, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = vec![end as u8];
        data.extend_from_slice(&text.as_bytes()[..end]);
        Self::with_data(Self::CEASE, subcode as u8, data)
    }

    /// Cease because of too many prefixes, with family and limit (RFC 4486 §4).
    pub fn maximum_prefixes(family: Family, limit: u32) -> Self {
        let mut data = family.afi().to_be_bytes().to_vec();
        data.push(family.safi());
        data.extend_from_slice(&limit.to_be_bytes());
        Self::with_data(Self::CEASE, Cease::MaximumPrefixes as u8, data)
    }

    /// Wraps `self` so that a peer with RFC 8538 forgets the routes all the same.
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend_from_slice(&self.data);
        Self::with_data(Self::CEASE, Cease::HardReset as u8, data)
    }

    /// Whether the sender speaks another version (RFC 4271 §8.1.5, event 24).
    pub(crate) fn is_version_error(&self) -> bool {
        self.code == Self::OPEN && self.subcode == 1
    }

    /// Whether this is a hard reset (RFC 8538 §3).
    pub fn is_hard_reset(&self) -> bool {
        self.code == Self::CEASE && self.subcode == Cease::HardReset as u8
    }

    /// The text that an operator of the other side sent along (RFC 9003), made printable.
    pub fn text(&self) -> Option<String> {
        let inner = if self.is_hard_reset() {
            self.data.get(2..)?
        } else {
            &self.data[..]
        };
        let (code, subcode) = if self.is_hard_reset() {
            (*self.data.first()?, *self.data.get(1)?)
        } else {
            (self.code, self.subcode)
        };
        if code != Self::CEASE || !matches!(subcode, 2 | 4) {
            return None;
        }
        let (length, rest) = inner.split_first()?;
        let text = rest.get(..usize::from(*length))?;
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (&[code, subcode], data) = body.split_first_chunk::<2>()?;
        Some(Self::with_data(code, subcode, data))
    }

    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(
            &self.data[..self
                .data
                .len()
                .min(super::MAX_LENGTH - super::HEADER_LENGTH - 2)],
        );
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}/{})",
            words(self.code, self.subcode),
            self.code,
            self.subcode
        )?;
        if self.is_hard_reset()
            && let [code, subcode, ..] = self.data[..]
        {
            write!(f, ": {} ({code}/{subcode})", words(code, subcode))?;
        }
        if let Some(text) = self.text() {
            write!(f, ": \"{text}\"")?;
        }
        Ok(())
    }
}

/// The registered name of a code and subcode (IANA "BGP Error Codes").
fn words(code: u8, subcode: u8) -> &'static str {
    match (code, subcode) {
        (1, 1) => "connection not synchronized",
        (1, 2) => "bad message length",
        (1, 3) => "bad message type",
        (1, _) => "message header error",
        (2, 1) => "unsupported version number",
        (2, 2) => "bad peer AS",
        (2, 3) => "bad BGP identifier",
        (2, 4) => "unsupported optional parameter",
        (2, 6) => "unacceptable hold time",
        (2, 7) => "unsupported capability",
        (2, 11) => "role mismatch",
        (2, _) => "OPEN message error",
        (3, 1) => "malformed attribute list",
        (3, 2) => "unrecognized well-known attribute",
        (3, 3) => "missing well-known attribute",
        (3, 4) => "attribute flags error",
        (3, 5) => "attribute length error",
        (3, 6) => "invalid ORIGIN attribute",
        (3, 8) => "invalid NEXT_HOP attribute",
        (3, 9) => "optional attribute error",
        (3, 10) => "invalid network field",
        (3, 11) => "malformed AS_PATH",
        (3, _) => "UPDATE message error",
        (4, _) => "hold timer expired",
        (5, 1) => "unexpected message in OpenSent state",
        (5, 2) => "unexpected message in OpenConfirm state",
        (5, 3) => "unexpected message in Established state",
        (5, _) => "finite state machine error",
        (6, 1) => "maximum number of prefixes reached",
        (6, 2) => "administrative shutdown",
        (6, 3) => "peer de-configured",
        (6, 4) => "administrative reset",
        (6, 5) => "connection rejected",
        (6, 6) => "other configuration change",
        (6, 7) => "connection collision resolution",
        (6, 8) => "out of resources",
        (6, 9) => "hard reset",
        (6, 10) => "BFD down",
        (6, _) => "cease",
        (7, 1) => "invalid ROUTE-REFRESH length",
        (7, _) => "ROUTE-REFRESH message error",
        (8, _) => "send hold timer expired",
        _ => "unknown error",
    }
}
