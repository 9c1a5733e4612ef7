//! Communities of the three kinds as people write them, one notation for all.
//!
//! ```text
//! 65000:100  no-export          standard (RFC 1997): two numbers of 16 bits, or a well-known name
//! 4200000001:1:2                large (RFC 8092): three numbers of 32 bits
//! rt:65000:100  soo:10.0.0.1:7  extended (RFC 4360, 5668): route target and origin, by AS number or IPv4 address
//! 0x0002fde800000064            extended: any other, as its eight octets
//! ```
//! A pattern may have `*` for a number: any. Of `rt` and `soo` only for the last, as the first decides the encoding.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::wire::{Attributes, Community, LargeCommunity};

/// A community of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 8092.
    Large(LargeCommunity),
    /// RFC 4360.
    Extended([u8; 8]),
}

/// Communities that agree in the bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommunityPattern {
    value: AnyCommunity,
    mask: u128,
}

/// The text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a community: write `65000:100`, `no-export`, `65000:1:2`, `rt:65000:100`, `soo:65000:100` or `0x` and 16 hexadecimal digits"
)]
pub struct NotACommunity(pub String);

const NAMES: [(&str, Community); 4] = [
    ("graceful-shutdown", Community::GRACEFUL_SHUTDOWN),
    ("no-export", Community::NO_EXPORT),
    ("no-advertise", Community::NO_ADVERTISE),
    ("no-export-subconfed", Community::NO_EXPORT_SUBCONFED),
];

impl AnyCommunity {
    fn bits(self) -> u128 {
        match self {
            Self::Standard(Community(value)) => value.into(),
            Self::Large(LargeCommunity(a, b, c)) => {
                (u128::from(a) << 64) | (u128::from(b) << 32) | u128::from(c)
            }
            Self::Extended(octets) => u64::from_be_bytes(octets).into(),
        }
    }

    /// Puts it on, if it is not there.
    pub(super) fn add(self, attributes: &mut Attributes) {
        match self {
            Self::Standard(value) => add(&mut attributes.communities, value),
            Self::Large(value) => add(&mut attributes.large_communities, value),
            Self::Extended(value) => add(&mut attributes.extended_communities, value),
        }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

impl CommunityPattern {
    fn names(&self, other: AnyCommunity) -> bool {
        std::mem::discriminant(&self.value) == std::mem::discriminant(&other)
            && (self.value.bits() ^ other.bits()) & self.mask == 0
    }

    pub(super) fn is_on(&self, attributes: &Attributes) -> bool {
        match self.value {
            AnyCommunity::Standard(_) => {
                let mut all = attributes.communities.iter();
                all.any(|value| self.names(AnyCommunity::Standard(*value)))
            }
            AnyCommunity::Large(_) => {
                let mut all = attributes.large_communities.iter();
                all.any(|value| self.names(AnyCommunity::Large(*value)))
            }
            AnyCommunity::Extended(_) => {
                let mut all = attributes.extended_communities.iter();
                all.any(|value| self.names(AnyCommunity::Extended(*value)))
            }
        }
    }

    /// Takes off everything it names.
    pub(super) fn remove(&self, attributes: &mut Attributes) {
        attributes
            .communities
            .retain(|value| !self.names(AnyCommunity::Standard(*value)));
        attributes
            .large_communities
            .retain(|value| !self.names(AnyCommunity::Large(*value)));
        attributes
            .extended_communities
            .retain(|value| !self.names(AnyCommunity::Extended(*value)));
    }
}

impl From<AnyCommunity> for CommunityPattern {
    fn from(value: AnyCommunity) -> Self {
        Self {
            value,
            mask: u128::MAX,
        }
    }
}

impl FromStr for AnyCommunity {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        let pattern: CommunityPattern = text.parse()?;
        match pattern.mask {
            u128::MAX => Ok(pattern.value),
            _ => Err(NotACommunity(text.to_owned())),
        }
    }
}

impl FromStr for CommunityPattern {
    type Err = NotACommunity;

    fn from_str(text: &str) -> Result<Self, NotACommunity> {
        pattern(text).ok_or_else(|| NotACommunity(text.to_owned()))
    }
}

fn pattern(text: &str) -> Option<CommunityPattern> {
    if let Some((_, community)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Some(AnyCommunity::Standard(*community).into());
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let right = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let value = u64::from_str_radix(digits, 16).ok().filter(|_| right)?;
        return Some(AnyCommunity::Extended(value.to_be_bytes()).into());
    }
    match *text.split(':').collect::<Vec<_>>() {
        ["rt", first, second] => extended(2, first, second),
        ["soo", first, second] => extended(3, first, second),
        [a, b] => {
            let ((a, x), (b, y)) = (number(a, 16)?, number(b, 16)?);
            Some(CommunityPattern {
                value: AnyCommunity::Standard(Community((a << 16) | b)),
                // Bits beyond the value are 0 on both sides and always agree.
                mask: whole((x << 16) | y, 32),
            })
        }
        [a, b, c] => {
            let ((a, x), (b, y), (c, z)) = (number(a, 32)?, number(b, 32)?, number(c, 32)?);
            let mask = AnyCommunity::Large(LargeCommunity(x, y, z)).bits();
            Some(CommunityPattern {
                value: AnyCommunity::Large(LargeCommunity(a, b, c)),
                mask: mask | (u128::MAX << 96),
            })
        }
        _ => None,
    }
}

fn whole(mask: u32, bits: u32) -> u128 {
    u128::from(mask) | (u128::MAX << bits)
}

/// A number of so many bits and the bits that count: none for `*`.
fn number(text: &str, bits: u32) -> Option<(u32, u32)> {
    if text == "*" {
        return Some((0, 0));
    }
    let mask = u32::MAX >> (32 - bits);
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let value = text.parse().ok().filter(|value| plain && *value <= mask)?;
    Some((value, mask))
}

/// RFC 4360 §3: two octets of type, then six of value, divided by the kind of the first part.
fn extended(subtype: u8, first: &str, second: &str) -> Option<CommunityPattern> {
    let (kind, first, bits) = if let Ok(address) = first.parse::<Ipv4Addr>() {
        (1_u8, u64::from(u32::from(address)) << 16, 16)
    } else {
        match number(first, 32)? {
            (_, 0) => return None,
            (asn, _) if asn <= 0xffff => (0, u64::from(asn) << 32, 32),
            (asn, _) => (2, u64::from(asn) << 16, 16),
        }
    };
    let (second, mask) = number(second, bits)?;
    let head = (u64::from(kind) << 56) | (u64::from(subtype) << 48);
    let value = (head | first | u64::from(second)).to_be_bytes();
    Some(CommunityPattern {
        value: AnyCommunity::Extended(value),
        mask: whole(mask, bits),
    })
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(community) => community.fmt(f),
            Self::Large(community) => community.fmt(f),
            Self::Extended(octets) => extended_text(*octets, f),
        }
    }
}

fn extended_text(octets: [u8; 8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [kind, subtype, a, b, c, d, e, g] = octets;
    let name = match subtype {
        2 => "rt",
        3 => "soo",
        _ => "",
    };
    let wide = u32::from_be_bytes([a, b, c, d]);
    let tail = u16::from_be_bytes([e, g]);
    match (kind, name) {
        (0, "rt" | "soo") => {
            let asn = u16::from_be_bytes([a, b]);
            write!(f, "{name}:{asn}:{}", u32::from_be_bytes([c, d, e, g]))
        }
        (1, "rt" | "soo") => write!(f, "{name}:{}:{tail}", Ipv4Addr::from(wide)),
        // A small number in the four-octet form has no other notation than its octets.
        (2, "rt" | "soo") if wide > 0xffff => write!(f, "{name}:{wide}:{tail}"),
        _ => write!(f, "0x{:016x}", u64::from_be_bytes(octets)),
    }
}
