//! The octets of BGP-4 (RFC 4271 §4): framing, messages, and which error earns which answer.
//!
//! Decoding happens in two steps, because an UPDATE can only be read with what the session negotiated:
//! [`Framer`] cuts a byte stream into [`Frame`]s and checks headers, then each message type decodes a frame's
//! body. Every error that ends a session *is* the [`Notification`] to send; everything milder (RFC 7606) comes
//! back as a [`Fault`] beside the routes. Nothing here panics on any input; property tests hold that.
//!
//! RFC 4271, 2918, 4360, 4456, 4724, 4760, 5492, 6286, 6793, 7313, 7606, 7607, 8092, 8538, 8654, 9003, 9072, 9774.

mod as_path;
pub(crate) mod attributes;
mod capability;
mod nlri;
mod notification;
mod open;
mod reader;
mod refresh;
#[cfg(test)]
mod tests;
mod update;

pub use as_path::AsPath;
pub use attributes::decode::{Disposition, Fault};
pub use attributes::{
    Aggregator, Attributes, Community, LargeCommunity, NextHop, Origin, UnknownAttribute,
};
pub use capability::{Capability, GracefulRestart, PreservedFamily};
pub use nlri::Nlri;
pub use notification::{Cease, Notification};
pub use open::Open;
pub use refresh::{Refresh, decode_route_refresh, encode_route_refresh};
pub use update::{
    Announcement, Context, Encoding, TooLong, Update, announce, end_of_rib, withdraw,
};

/// Octets of a message header.
pub const HEADER_LENGTH: usize = 19;
/// Octets of the longest message.
pub const MAX_LENGTH: usize = 4096;
/// Octets of the longest message where both sides speak RFC 8654; never of an OPEN.
pub const MAX_EXTENDED_LENGTH: usize = 65535;

/// Message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// OPEN.
    Open = 1,
    /// UPDATE.
    Update = 2,
    /// NOTIFICATION.
    Notification = 3,
    /// KEEPALIVE.
    Keepalive = 4,
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh = 5,
}

impl Kind {
    fn from_wire(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// Whether a message of this type may have `length` octets, header included (RFC 4271 §6.1, RFC 7313 §5).
    fn allows(self, length: usize) -> bool {
        match self {
            // RFC 8654 §4: OPEN and KEEPALIVE never grow.
            Self::Open => (29..=MAX_LENGTH).contains(&length),
            Self::Update => length >= 23,
            Self::Notification => length >= 21,
            Self::Keepalive => length == HEADER_LENGTH,
            Self::RouteRefresh => length >= 23,
        }
    }
}

/// One message with its header checked and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Message type.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Cuts a stream of octets into messages. Holds less than one message between calls.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    read: usize,
    extended: bool,
}

impl Framer {
    /// Appends what the transport delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether messages may be longer than [`MAX_LENGTH`]: only once both sides have said so. RFC 8654 §4 would let a
    /// peer use it that only we told, but nobody does, and a length that was not agreed on is better taken for a fault.
    pub fn extended(&mut self, extended: bool) {
        self.extended = extended;
    }

    /// The next whole message, or `None` until more octets come.
    ///
    /// # Errors
    /// The NOTIFICATION for a broken header (RFC 4271 §6.1); the stream cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Notification> {
        let available = &self.buffer[self.read..];
        let Some((header, _)) = available.split_first_chunk::<HEADER_LENGTH>() else {
            return Ok(None);
        };
        if header[..16] != [0xff; 16] {
            return Err(Notification::new(Notification::HEADER, 1));
        }
        let (length, kind) = ([header[16], header[17]], header[18]);
        let bad_length = || Notification::with_data(Notification::HEADER, 2, length);
        let octets = usize::from(u16::from_be_bytes(length));
        let maximum = max_length(self.extended);
        if !(HEADER_LENGTH..=maximum).contains(&octets) {
            return Err(bad_length());
        }
        let kind = Kind::from_wire(kind)
            .ok_or_else(|| Notification::with_data(Notification::HEADER, 3, [kind]))?;
        if !kind.allows(octets) {
            return Err(bad_length());
        }
        if available.len() < octets {
            return Ok(None);
        }
        let body = self.read + HEADER_LENGTH..self.read + octets;
        self.read += octets;
        Ok(Some(Frame {
            kind,
            body: &self.buffer[body],
        }))
    }
}

/// Writes a complete OPEN.
pub fn encode_open(open: &Open) -> Vec<u8> {
    message(Kind::Open, |out| open.encode_body(out))
}

/// Writes a complete KEEPALIVE.
pub fn encode_keepalive() -> Vec<u8> {
    message(Kind::Keepalive, |_| {})
}

/// Writes a complete NOTIFICATION.
pub fn encode_notification(notification: &Notification) -> Vec<u8> {
    message(Kind::Notification, |out| notification.encode_body(out))
}

fn max_length(extended: bool) -> usize {
    if extended {
        MAX_EXTENDED_LENGTH
    } else {
        MAX_LENGTH
    }
}

fn message(kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let start = begin(&mut out, kind);
    body(&mut out);
    finish(&mut out, start);
    out
}

fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind as u8]);
    start
}

fn finish(out: &mut [u8], start: usize) {
    // Writers stay within the session's maximum: OPEN and NOTIFICATION are short or cut, UPDATE is packed to it.
    let length = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}
