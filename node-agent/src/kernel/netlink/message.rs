//! Encoding of rtnetlink requests and the attributes of what comes back.
//!
//! Reading is tolerant on purpose: an attribute that is unknown, longer than expected or of a newer kernel is skipped, because a
//! message that does not decode would blind the mirror. Constants that `libc` lacks are from `linux/{rtnetlink,nexthop,if_link,veth}.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// What is left of an attribute's type without the flags.
const TYPE_MASK: u16 = 0x3fff;

/// One netlink request while it is written; header fields are filled in when it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// Header space included.
    buffer: Vec<u8>,
}

impl Message {
    /// A request of this `RTM_*` kind; `NLM_F_REQUEST` is added.
    pub(crate) fn new(kind: u16, flags: i32) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "NLM_F_* are 16 bits"
        )]
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        Self {
            kind,
            flags,
            buffer: vec![0; HEADER],
        }
    }

    /// Raw bytes: the family's fixed struct. Padded to 4.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.buffer.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// `struct ifinfomsg`.
    pub(crate) fn link(self, ifindex: u32, flags: u32, change: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[12..16].copy_from_slice(&change.to_ne_bytes());
        self.raw(&bytes)
    }

    /// `struct ifaddrmsg`.
    pub(crate) fn address(
        self,
        family: u8,
        prefix_len: u8,
        flags: u8,
        scope: u8,
        ifindex: u32,
    ) -> Self {
        let mut bytes = [family, prefix_len, flags, scope, 0, 0, 0, 0];
        bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        self.raw(&bytes)
    }

    /// `struct ndmsg` of a permanent neighbour (or, for a dump, with state 0).
    pub(crate) fn neighbour(self, family: u8, ifindex: u32, state: u16) -> Self {
        let mut bytes = [0; 12];
        bytes[0] = family;
        bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        bytes[8..10].copy_from_slice(&state.to_ne_bytes());
        self.raw(&bytes)
    }

    /// One attribute.
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.open(kind);
        self.buffer.extend_from_slice(value);
        self.close(start);
        self
    }

    pub(crate) fn u8(self, kind: u16, value: u8) -> Self {
        self.attr(kind, &[value])
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    pub(crate) fn ip(self, kind: u16, value: IpAddr) -> Self {
        match value {
            IpAddr::V4(ip) => self.attr(kind, &ip.octets()),
            IpAddr::V6(ip) => self.attr(kind, &ip.octets()),
        }
    }

    /// A text with its terminating zero.
    pub(crate) fn text(mut self, kind: u16, value: &str) -> Self {
        let start = self.open(kind);
        self.buffer.extend_from_slice(value.as_bytes());
        self.buffer.push(0);
        self.close(start);
        self
    }

    /// An attribute made of attributes.
    pub(crate) fn nest(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.open(kind | NESTED);
        let mut all = inside(self);
        all.close(start);
        all
    }

    /// Appends the finished message to one buffer of a batch.
    pub(crate) fn finish(&self, extra_flags: u16, sequence: u32, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.buffer);
        let length = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        into[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        into[start + 4..start + 6].copy_from_slice(&self.kind.to_ne_bytes());
        into[start + 6..start + 8].copy_from_slice(&(self.flags | extra_flags).to_ne_bytes());
        into[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0, 0]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        // Nothing we write comes near 64 KiB: the longest is an alias of 256 bytes or a group of some hundred members.
        let length = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }
}

/// `AF_INET` or `AF_INET6` of an address.
pub(crate) const fn family_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// `AF_INET`.
pub(crate) const INET: u8 = 2;
/// `AF_INET6`.
pub(crate) const INET6: u8 = 10;

/// The attributes of a message or of a nested attribute; stops at the first malformed one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    /// The attributes behind a fixed struct of this length.
    pub(crate) fn after(payload: &'a [u8], fixed: usize) -> Self {
        Self(payload.get(fixed..).unwrap_or_default())
    }

    /// The first attribute of this kind.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(k, value)| (k == kind).then_some(value))
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// An address attribute: its length tells the family.
pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    Some(IpAddr::V6(Ipv6Addr::from(
        <[u8; 16]>::try_from(bytes).ok()?,
    )))
}

/// A text attribute without its terminating zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_written_and_padded() {
        let message = Message::new(16, 0)
            .link(7, 1, 1)
            .text(3, "eth0")
            .nest(18, |m| m.u32(1, 5).u8(2, 9));
        let mut bytes = Vec::new();
        message.finish(0, 1, &mut bytes);
        assert_eq!(u32_at(&bytes, 0), Some(u32::try_from(bytes.len()).unwrap()));
        assert_eq!(bytes.len() % 4, 0);
        let attributes = Attributes::after(&bytes[HEADER..], 16);
        assert_eq!(attributes.find(3).map(text).as_deref(), Some("eth0"));
        let nested = Attributes(attributes.find(18).unwrap());
        assert_eq!(nested.find(1).and_then(|v| u32_at(v, 0)), Some(5));
        assert_eq!(nested.find(2), Some(&[9][..]));
    }

    #[test]
    fn malformed_attributes_end_the_iteration() {
        for bytes in [
            &[][..],
            &[1],
            &[3, 0, 1, 0],
            &[40, 0, 1, 0, 0],
            &[0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
        }
    }
}
