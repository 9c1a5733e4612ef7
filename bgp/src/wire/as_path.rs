//! AS_PATH (RFC 4271 §5.1.2) with two- and four-octet numbers (RFC 6793 §4).

use std::fmt;

use super::reader::Reader;
use crate::family::Asn;

/// A sequence of AS numbers. Sets and confederation segments are refused at the decoder (RFC 9774, RFC 5065),
/// so segments carry no meaning and are made anew when the path is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath(Vec<Asn>);

const SEQUENCE: u8 = 2;

impl AsPath {
    /// The path of these numbers, nearest first.
    pub fn new(asns: impl IntoIterator<Item = Asn>) -> Self {
        Self(asns.into_iter().collect())
    }

    /// The numbers, nearest first.
    pub fn asns(&self) -> &[Asn] {
        &self.0
    }

    /// The length that best path selection compares.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A path that has not left its AS.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The AS that announced the route to us; none for a route of our own AS.
    pub fn neighbour(&self) -> Option<Asn> {
        self.0.first().copied()
    }

    /// How often `asn` stands in the path.
    pub fn count(&self, asn: Asn) -> usize {
        self.0.iter().filter(|member| **member == asn).count()
    }

    /// The path with `asn` put in front.
    #[must_use]
    pub fn prepended(&self, asn: Asn) -> Self {
        Self(std::iter::once(asn).chain(self.0.iter().copied()).collect())
    }

    /// `None`: malformed, or with a segment or number that must not be there (RFC 7606 §7.2, 9774, 5065, 7607).
    pub(crate) fn decode(value: &[u8], four_octets: bool) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut asns = Vec::new();
        while !reader.is_empty() {
            let (kind, count) = (reader.u8()?, reader.u8()?);
            if kind != SEQUENCE || count == 0 {
                return None;
            }
            for _ in 0..count {
                let asn = Asn(if four_octets {
                    reader.u32()?
                } else {
                    u32::from(reader.u16()?)
                });
                if asn.is_reserved() {
                    return None;
                }
                asns.push(asn);
            }
        }
        Some(Self(asns))
    }

    pub(crate) fn encode(&self, four_octets: bool, out: &mut Vec<u8>) {
        // A sequence holds 255 numbers; the short one comes first so that the next AS can prepend into it.
        let (head, tail) = self.0.split_at(self.0.len() % 255);
        for segment in std::iter::once(head)
            .chain(tail.chunks(255))
            .filter(|segment| !segment.is_empty())
        {
            out.extend_from_slice(&[SEQUENCE, segment.len() as u8]);
            for asn in segment {
                if four_octets {
                    out.extend_from_slice(&asn.0.to_be_bytes());
                } else {
                    out.extend_from_slice(&asn.two_octets().to_be_bytes());
                }
            }
        }
    }

    /// Whether a two-octet speaker would lose a number of the path.
    pub(crate) fn needs_four_octets(&self) -> bool {
        self.0.iter().any(|asn| asn.0 > u32::from(u16::MAX))
    }

    /// AS_PATH of a two-octet speaker with its AS4_PATH put in place (RFC 6793 §4.2.3). A longer AS4_PATH is ignored.
    #[must_use]
    pub(crate) fn merged(self, four_octets: Self) -> Self {
        let Some(leading) = self.0.len().checked_sub(four_octets.0.len()) else {
            return self;
        };
        Self(
            self.0
                .into_iter()
                .take(leading)
                .chain(four_octets.0)
                .collect(),
        )
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, asn) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            asn.fmt(f)?;
        }
        Ok(())
    }
}
