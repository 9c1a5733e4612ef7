//! Octets to attributes, and what to do about each fault (RFC 7606).
//!
//! Faults do not stop the walk: prefixes must be found before anything is decided, so that treat-as-withdraw
//! can name them, and of several faults the strongest counts (RFC 7606 §3h).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::super::as_path::AsPath;
use super::super::nlri::Nlri;
use super::super::reader::Reader;
use super::super::{Context, Notification};
use super::multiprotocol::{self, MpReach};
use super::{Aggregator, Attributes, Community, LargeCommunity, Origin, UnknownAttribute, code};
use crate::family::{Asn, Family};

/// What was wrong with an UPDATE that does not end the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is done about it.
    pub disposition: Disposition,
    /// Attribute type, 0 for the list itself.
    pub code: u8,
    /// Cause in words.
    pub cause: &'static str,
}

/// The strength of an error's consequence short of a session reset, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disposition {
    /// The attribute is dropped and the routes are used.
    Discard,
    /// The routes are treated as withdrawn.
    Withdraw,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.disposition {
            Disposition::Discard => "attribute discarded",
            Disposition::Withdraw => "routes treated as withdrawn",
        };
        write!(f, "attribute {}: {}; {done}", self.code, self.cause)
    }
}

/// Everything found in one attribute list.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) attributes: Attributes,
    /// Types present, malformed or not.
    pub(crate) seen: Seen,
    pub(crate) faults: Vec<Fault>,
    pub(crate) reach: Option<MpReach>,
    pub(crate) unreach: Option<(Family, Vec<Nlri>)>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

/// A set of attribute types.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen([u128; 2]);

impl Seen {
    pub(crate) fn contains(self, code: u8) -> bool {
        self.0[usize::from(code >> 7)] & (1 << (code & 127)) != 0
    }

    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 7)] |= 1 << (code & 127);
        new
    }
}

/// Decodes a list of attributes.
///
/// # Errors
/// Only what RFC 7606 still answers with a session reset: MP_REACH or MP_UNREACH that cannot be read or occurs
/// twice, and unknown well-known attributes.
pub(crate) fn attributes(bytes: &[u8], context: &Context) -> Result<Decoded, Notification> {
    let mut decoded = Decoded::default();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let Some((flags, kind, value)) = header(&mut reader) else {
            decoded.fault(
                Disposition::Withdraw,
                0,
                "attribute list ends inside an attribute",
            );
            break;
        };
        if !decoded.seen.insert(kind) {
            if matches!(kind, code::MP_REACH | code::MP_UNREACH) {
                return Err(Notification::new(Notification::UPDATE, 1));
            }
            decoded.fault(Disposition::Discard, kind, "occurs twice");
            continue;
        }
        decoded.one(flags, kind, value, context)?;
    }
    decoded.merge_four_octets();
    Ok(decoded)
}

fn header<'a>(reader: &mut Reader<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (flags, kind) = (reader.u8()?, reader.u8()?);
    let length = if flags & code::EXTENDED != 0 {
        usize::from(reader.u16()?)
    } else {
        usize::from(reader.u8()?)
    };
    Some((flags, kind, reader.take(length)?))
}

/// The optional and transitive bits that a known attribute must have.
fn required_flags(kind: u8) -> Option<u8> {
    match kind {
        code::ORIGIN..=code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => {
            Some(code::TRANSITIVE)
        }
        code::MED
        | code::ORIGINATOR_ID
        | code::CLUSTER_LIST
        | code::MP_REACH
        | code::MP_UNREACH => Some(code::OPTIONAL),
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::IPV6_EXTENDED_COMMUNITIES
        | code::LARGE_COMMUNITIES => Some(code::OPTIONAL | code::TRANSITIVE),
        _ => None,
    }
}

impl Decoded {
    pub(crate) fn fault(&mut self, disposition: Disposition, code: u8, cause: &'static str) {
        self.faults.push(Fault {
            disposition,
            code,
            cause,
        });
    }

    /// Whether some fault withdraws the routes.
    pub(crate) fn withdraws(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.disposition == Disposition::Withdraw)
    }

    fn one(
        &mut self,
        flags: u8,
        kind: u8,
        value: &[u8],
        context: &Context,
    ) -> Result<(), Notification> {
        if context.external
            && matches!(
                kind,
                code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST
            )
        {
            // RFC 7606 §7.5, 7.9, 7.10: dropped before anybody looks inside.
            self.fault(
                Disposition::Discard,
                kind,
                "not allowed from an external peer",
            );
            return Ok(());
        }
        let Some(required) = required_flags(kind) else {
            return self.unknown(flags, kind, value);
        };
        // Partial belongs to optional transitive attributes (RFC 4271 §4.3).
        let stray_partial = flags & code::PARTIAL != 0 && required & code::OPTIONAL == 0;
        if flags & (code::OPTIONAL | code::TRANSITIVE) != required || stray_partial {
            self.fault(Disposition::Withdraw, kind, "wrong flags");
        }
        match kind {
            code::MP_REACH => self.reach = multiprotocol::reach(value, context)?,
            code::MP_UNREACH => self.unreach = multiprotocol::unreach(value, context)?,
            code::AS4_PATH | code::AS4_AGGREGATOR if context.four_octet_as => {
                self.fault(Disposition::Discard, kind, "sent by a four-octet speaker");
            }
            _ => {
                if let Err((disposition, cause)) = self.known(flags, kind, value, context) {
                    self.fault(disposition, kind, cause);
                }
            }
        }
        Ok(())
    }

    fn known(
        &mut self,
        flags: u8,
        kind: u8,
        value: &[u8],
        context: &Context,
    ) -> Result<(), (Disposition, &'static str)> {
        const WITHDRAW: (Disposition, &str) = (Disposition::Withdraw, "malformed value");
        const DISCARD: (Disposition, &str) = (Disposition::Discard, "malformed value");
        let attributes = &mut self.attributes;
        match kind {
            code::ORIGIN => attributes.origin = origin(value).ok_or(WITHDRAW)?,
            code::AS_PATH => {
                attributes.as_path = AsPath::decode(value, context.four_octet_as).ok_or(WITHDRAW)?
            }
            code::NEXT_HOP => {
                attributes.next_hop = Some(IpAddr::V4(next_hop_v4(value).ok_or(WITHDRAW)?).into())
            }
            code::MED => attributes.med = Some(number(value).ok_or(WITHDRAW)?),
            code::LOCAL_PREF => attributes.local_pref = Some(number(value).ok_or(WITHDRAW)?),
            code::ATOMIC_AGGREGATE if value.is_empty() => attributes.atomic_aggregate = true,
            code::ATOMIC_AGGREGATE => return Err(DISCARD),
            code::AGGREGATOR => {
                attributes.aggregator =
                    Some(aggregator(value, context.four_octet_as).ok_or(DISCARD)?);
            }
            code::COMMUNITIES => {
                attributes.communities =
                    chunks(value, |c| Community(u32::from_be_bytes(c))).ok_or(WITHDRAW)?;
            }
            code::ORIGINATOR_ID => {
                attributes.originator_id = Some(number(value).ok_or(WITHDRAW)?.into())
            }
            code::CLUSTER_LIST => {
                attributes.cluster_list = chunks::<_, 4>(value, Ipv4Addr::from).ok_or(WITHDRAW)?
            }
            code::EXTENDED_COMMUNITIES => {
                attributes.extended_communities = chunks(value, |c| c).ok_or(WITHDRAW)?
            }
            code::LARGE_COMMUNITIES => {
                attributes.large_communities = chunks(value, large).ok_or(WITHDRAW)?
            }
            // RFC 5701, RFC 7606 §7.15: nothing here reads them, but their length is known.
            code::IPV6_EXTENDED_COMMUNITIES => {
                chunks::<_, 20>(value, |_| ()).ok_or(WITHDRAW)?;
                self.pass_on(flags, kind, value);
            }
            // RFC 6793 §6: malformed ones are dropped, the routes are used.
            code::AS4_PATH => self.as4_path = Some(AsPath::decode(value, true).ok_or(DISCARD)?),
            code::AS4_AGGREGATOR => {
                self.as4_aggregator = Some(aggregator(value, true).ok_or(DISCARD)?)
            }
            _ => {}
        }
        Ok(())
    }

    fn unknown(&mut self, flags: u8, kind: u8, value: &[u8]) -> Result<(), Notification> {
        if kind == 0 {
            // Reserved: never a reset for a value that nobody assigned.
            self.fault(Disposition::Discard, kind, "reserved type");
            return Ok(());
        }
        if flags & code::OPTIONAL == 0 {
            let mut data = Vec::new();
            super::encode::attribute(&mut data, flags, kind, value);
            return Err(Notification::with_data(Notification::UPDATE, 2, data));
        }
        if flags & code::TRANSITIVE != 0 {
            self.pass_on(flags, kind, value);
        }
        Ok(())
    }

    fn pass_on(&mut self, flags: u8, kind: u8, value: &[u8]) {
        let flags = flags & (code::OPTIONAL | code::TRANSITIVE | code::PARTIAL);
        let list = &mut self.attributes.unknown;
        let position = list.partition_point(|other| other.code < kind);
        list.insert(
            position,
            UnknownAttribute {
                flags,
                code: kind,
                value: value.to_vec(),
            },
        );
    }

    /// RFC 6793 §4.2.3: an AGGREGATOR other than AS_TRANS says that a two-octet speaker aggregated after all.
    fn merge_four_octets(&mut self) {
        let (path, new) = (self.as4_path.take(), self.as4_aggregator.take());
        if let (Some(old), Some(new)) = (self.attributes.aggregator, new) {
            if old.asn != Asn::TRANS {
                return;
            }
            self.attributes.aggregator = Some(new);
        }
        if let Some(path) = path {
            self.attributes.as_path = std::mem::take(&mut self.attributes.as_path).merged(path);
        }
    }
}

fn origin(value: &[u8]) -> Option<Origin> {
    match value {
        [0] => Some(Origin::Igp),
        [1] => Some(Origin::Egp),
        [2] => Some(Origin::Incomplete),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn chunks<T, const N: usize>(value: &[u8], item: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (chunks, rest) = value.as_chunks::<N>();
    (rest.is_empty() && !chunks.is_empty())
        .then(|| chunks.iter().map(|chunk| item(*chunk)).collect())
}

fn large(octets: [u8; 12]) -> LargeCommunity {
    let part = |at: usize| {
        u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    LargeCommunity(part(0), part(4), part(8))
}

fn aggregator(value: &[u8], four_octets: bool) -> Option<Aggregator> {
    let mut reader = Reader::new(value);
    let asn = Asn(if four_octets {
        reader.u32()?
    } else {
        u32::from(reader.u16()?)
    });
    let address = reader.ipv4()?;
    (reader.is_empty() && !asn.is_reserved()).then_some(Aggregator { asn, address })
}

fn next_hop_v4(value: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = value.try_into().ok()?;
    Some(Ipv4Addr::from(octets)).filter(|address| multiprotocol::usable_v4(*address))
}
