//! UPDATE (RFC 4271 §4.3, RFC 4760, RFC 7606): decoding to routes, packing of routes.

use super::attributes::decode::{self, Fault};
use super::attributes::encode;
use super::attributes::{Attributes, NextHop, code, multiprotocol};
use super::nlri::{self, Nlri};
use super::reader::Reader;
use super::{HEADER_LENGTH, Kind, Notification};
use crate::family::{Families, Family};
use std::net::IpAddr;

/// What the session agreed on; the octets of an UPDATE mean nothing without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// Both sides write AS numbers with four octets.
    pub four_octet_as: bool,
    /// The peer is in another AS.
    pub external: bool,
    /// Families that both sides speak.
    pub families: Families,
}

/// How the peer reads UPDATEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// Messages may have up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
}

impl Encoding {
    fn max_length(self) -> usize {
        super::max_length(self.extended_messages)
    }
}

/// A decoded UPDATE. Withdrawals are applied before announcements.
#[derive(Debug, Default)]
pub struct Update {
    /// Withdrawn prefixes of both kinds, and those treated as withdrawn.
    pub withdrawn: Vec<Nlri>,
    /// Announced prefixes with their next hops; all share `attributes`.
    pub announced: Vec<Announcement>,
    /// Attributes without a next hop.
    pub attributes: Attributes,
    /// The sender has sent all it had of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong and did not end the session.
    pub faults: Vec<Fault>,
}

/// Prefixes that share a next hop.
#[derive(Debug)]
pub struct Announcement {
    /// Their next hop.
    pub next_hop: NextHop,
    /// The prefixes.
    pub prefixes: Vec<Nlri>,
}

impl Update {
    /// Decodes the body of an UPDATE.
    ///
    /// # Errors
    /// The NOTIFICATION, where RFC 7606 still asks for a session reset.
    pub fn decode(body: &[u8], context: &Context) -> Result<Self, Notification> {
        let malformed = || Notification::new(Notification::UPDATE, 1);
        let mut reader = Reader::new(body);
        let length = reader.u16().ok_or_else(malformed)?;
        let withdrawn = reader.take(usize::from(length)).ok_or_else(malformed)?;
        let length = reader.u16().ok_or_else(malformed)?;
        let attributes = reader.take(usize::from(length)).ok_or_else(malformed)?;
        let classic = reader.rest();
        if withdrawn.is_empty() && attributes.is_empty() && classic.is_empty() {
            let end_of_rib = Some(Family::Ipv4Unicast).filter(|family| context.families[*family]);
            return Ok(Self {
                end_of_rib,
                ..Self::default()
            });
        }
        let withdrawn = nlri::decode(Family::Ipv4Unicast, withdrawn)?;
        let classic = nlri::decode(Family::Ipv4Unicast, classic)?;
        let decoded = decode::attributes(attributes, context)?;
        Self {
            withdrawn,
            ..Self::default()
        }
        .assemble(decoded, classic, !attributes.is_empty(), context)
    }

    fn assemble(
        mut self,
        mut decoded: decode::Decoded,
        mut classic: Vec<Nlri>,
        has_attributes: bool,
        context: &Context,
    ) -> Result<Self, Notification> {
        if !context.families.v4 {
            // Not negotiated: neither announced nor withdrawn by the classic fields.
            classic.clear();
            self.withdrawn.clear();
        }
        let reachable = !classic.is_empty()
            || decoded
                .reach
                .as_ref()
                .is_some_and(|reach| !reach.prefixes.is_empty());
        if reachable {
            decoded.check_mandatory(!classic.is_empty());
        }
        if decoded.withdraws() && !reachable && has_attributes {
            // RFC 7606 §5.2: nothing can be named as withdrawn, so what the sender meant is lost.
            return Err(Notification::new(Notification::UPDATE, 1));
        }
        if let Some((family, prefixes)) = decoded.unreach.take() {
            if prefixes.is_empty() && !reachable && self.withdrawn.is_empty() {
                self.end_of_rib = Some(family);
            }
            self.withdrawn.extend(prefixes);
        }
        let withdraws = decoded.withdraws();
        self.faults = decoded.faults;
        let next_hop = decoded.attributes.next_hop.take();
        self.attributes = decoded.attributes;
        match next_hop {
            Some(next_hop) => self.announce(
                Announcement {
                    next_hop,
                    prefixes: classic,
                },
                withdraws,
            ),
            None => self.withdrawn.extend(classic),
        }
        if let Some(multiprotocol::MpReach { next_hop, prefixes }) = decoded.reach {
            self.announce(Announcement { next_hop, prefixes }, withdraws);
        }
        Ok(self)
    }

    fn announce(&mut self, mut announcement: Announcement, withdraws: bool) {
        announcement
            .prefixes
            .retain(|nlri| nlri::is_routable(&nlri.prefix));
        if announcement.prefixes.is_empty() {
            return;
        }
        if withdraws || !multiprotocol::next_hop_is_usable(announcement.next_hop) {
            self.withdrawn.append(&mut announcement.prefixes);
            return;
        }
        self.announced.push(announcement);
    }
}

impl decode::Decoded {
    /// RFC 4271 §6.3 "missing well-known attribute", as treat-as-withdraw (RFC 7606 §3d).
    fn check_mandatory(&mut self, classic: bool) {
        for (kind, needed) in [
            (code::ORIGIN, true),
            (code::AS_PATH, true),
            (code::NEXT_HOP, classic),
        ] {
            if needed && !self.seen.contains(kind) {
                self.fault(
                    decode::Disposition::Withdraw,
                    kind,
                    "mandatory attribute is missing",
                );
            }
        }
    }
}

/// The attributes leave no room for a prefix in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attributes of {0} octets fit no message")]
pub struct TooLong(pub usize);

/// Writes complete UPDATE messages that announce `prefixes` of `family`, as few as possible.
///
/// IPv4 goes into the classic field, IPv6 into MP_REACH_NLRI, whatever the transport is.
///
/// # Errors
/// [`TooLong`] when not even one prefix fits.
pub fn announce(
    family: Family,
    attributes: &Attributes,
    prefixes: &[Nlri],
    encoding: Encoding,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let mut encoded = Vec::with_capacity(64);
    let classic = family == Family::Ipv4Unicast;
    encode::attributes(attributes, classic, encoding.four_octet_as, &mut encoded);
    let mut reach = Vec::new();
    if !classic {
        reach_head(family, attributes.next_hop, &mut reach);
    }
    // Header, two length fields, attributes, and for MP_REACH its own header with an extended length.
    let mp_overhead = if classic { 0 } else { 4 + reach.len() };
    let fixed = HEADER_LENGTH + 4 + encoded.len() + mp_overhead;
    let Some(room) = encoding
        .max_length()
        .checked_sub(fixed)
        .filter(|room| *room >= 17)
    else {
        return Err(TooLong(encoded.len()));
    };
    for chunk in Packed::new(prefixes, room) {
        let start = super::begin(out, Kind::Update);
        out.extend_from_slice(&[0, 0]);
        if classic {
            out.extend_from_slice(&(encoded.len() as u16).to_be_bytes());
            out.extend_from_slice(&encoded);
            chunk.iter().for_each(|nlri| nlri::encode(nlri, out));
        } else {
            let mut value = reach.clone();
            chunk.iter().for_each(|nlri| nlri::encode(nlri, &mut value));
            let mut list = Vec::with_capacity(value.len() + 4 + encoded.len());
            // RFC 7606 §5.1: MP_REACH comes first, so that its prefixes are found whatever follows.
            encode::attribute(&mut list, code::OPTIONAL, code::MP_REACH, &value);
            list.extend_from_slice(&encoded);
            out.extend_from_slice(&(list.len() as u16).to_be_bytes());
            out.extend_from_slice(&list);
        }
        super::finish(out, start);
    }
    Ok(())
}

/// Writes complete UPDATE messages that withdraw `prefixes` of `family`.
pub fn withdraw(family: Family, prefixes: &[Nlri], encoding: Encoding, out: &mut Vec<u8>) {
    for chunk in Packed::new(prefixes, encoding.max_length() - HEADER_LENGTH - 4 - 7) {
        let mut value = Vec::new();
        let start = super::begin(out, Kind::Update);
        match family {
            Family::Ipv4Unicast => {
                chunk.iter().for_each(|nlri| nlri::encode(nlri, &mut value));
                out.extend_from_slice(&(value.len() as u16).to_be_bytes());
                out.extend_from_slice(&value);
                out.extend_from_slice(&[0, 0]);
            }
            Family::Ipv6Unicast => {
                value.extend_from_slice(&family.afi().to_be_bytes());
                value.push(family.safi());
                chunk.iter().for_each(|nlri| nlri::encode(nlri, &mut value));
                mp_unreach(&value, out);
            }
        }
        super::finish(out, start);
    }
}

/// Writes the End-of-RIB marker of `family` (RFC 4724 §2).
pub fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    let start = super::begin(out, Kind::Update);
    match family {
        Family::Ipv4Unicast => out.extend_from_slice(&[0, 0, 0, 0]),
        Family::Ipv6Unicast => {
            let [a, b] = family.afi().to_be_bytes();
            mp_unreach(&[a, b, family.safi()], out);
        }
    }
    super::finish(out, start);
}

fn mp_unreach(value: &[u8], out: &mut Vec<u8>) {
    let mut list = Vec::with_capacity(value.len() + 4);
    encode::attribute(&mut list, code::OPTIONAL, code::MP_UNREACH, value);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(list.len() as u16).to_be_bytes());
    out.extend_from_slice(&list);
}

fn reach_head(family: Family, next_hop: Option<NextHop>, out: &mut Vec<u8>) {
    out.extend_from_slice(&family.afi().to_be_bytes());
    out.push(family.safi());
    let mut octets = Vec::with_capacity(32);
    match next_hop.map(|next_hop| (next_hop.address, next_hop.link_local)) {
        Some((IpAddr::V6(global), link_local)) => {
            octets.extend_from_slice(&global.octets());
            octets.extend(link_local.iter().flat_map(|address| address.octets()));
        }
        Some((IpAddr::V4(address), _)) => octets.extend_from_slice(&address.octets()),
        None => {}
    }
    out.push(octets.len() as u8);
    out.extend_from_slice(&octets);
    out.push(0);
}

/// Slices of prefixes that fit `room` octets each.
struct Packed<'a> {
    prefixes: &'a [Nlri],
    room: usize,
}

impl<'a> Packed<'a> {
    fn new(prefixes: &'a [Nlri], room: usize) -> Self {
        Self { prefixes, room }
    }
}

impl<'a> Iterator for Packed<'a> {
    type Item = &'a [Nlri];

    fn next(&mut self) -> Option<&'a [Nlri]> {
        let mut used = 0;
        let count = self
            .prefixes
            .iter()
            .take_while(|nlri| {
                used += nlri::encoded_length(nlri);
                used <= self.room
            })
            .count();
        let (chunk, rest) = self.prefixes.split_at(count);
        self.prefixes = rest;
        (!chunk.is_empty()).then_some(chunk)
    }
}
