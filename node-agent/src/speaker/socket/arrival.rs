//! What the first packet of a connection proves of the peer that opened it.
//!
//! The options of a protection are set on a connection after the kernel has accepted it. What came before is judged by the SYN: a connection
//! that began without what its peer's configuration demands is closed before an octet of it is read.

use margay_bgp::Protection;

/// The SYN of a connection that a peer opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::speaker) struct Arrival {
    /// TTL or hop limit that was left.
    ttl: u8,
    /// It had a TCP MD5 signature, which the kernel has verified.
    signed: bool,
}

/// RFC 2385 section 3.
const MD5_SIGNATURE: u8 = 19;
const TCP: u8 = 6;

impl Arrival {
    /// From the packet, beginning with its IP header.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (ttl, protocol, header) = match first >> 4 {
            4 => (
                *packet.get(8)?,
                *packet.get(9)?,
                usize::from(first & 15) * 4,
            ),
            6 => (*packet.get(7)?, *packet.get(6)?, 40),
            _ => return None,
        };
        let segment = packet.get(header..).filter(|_| protocol == TCP)?;
        let end = usize::from(segment.get(12)? >> 4) * 4;
        let options = segment.get(20..end)?;
        Some(Self {
            ttl,
            signed: has_option(options, MD5_SIGNATURE),
        })
    }

    /// What the connection lacks of what is demanded, in words; of a connection whose SYN is not known everything.
    pub(in crate::speaker) fn lacks(
        arrival: Option<Self>,
        demanded: &Protection,
    ) -> Option<String> {
        if demanded.password.is_some() && !arrival.is_some_and(|arrival| arrival.signed) {
            return Some("it has no TCP MD5 signature, and the peer has a password".to_owned());
        }
        let least = demanded.reach.least_ttl()?;
        match arrival {
            Some(Self { ttl, .. }) if ttl >= least => None,
            Some(Self { ttl, .. }) => Some(format!(
                "it came with TTL {ttl}, and TTL security demands {least} or more"
            )),
            None => Some(format!(
                "its TTL is not known, and TTL security demands {least} or more"
            )),
        }
    }
}

/// Whether `kind` is among the options of a TCP header (RFC 9293 section 3.1).
fn has_option(mut options: &[u8], kind: u8) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    loop {
        let skip = match *options {
            [] | [END, ..] => return false,
            [found, ..] if found == kind => return true,
            [NO_OPERATION, ..] => 1,
            [_, length, ..] if length >= 2 => usize::from(length),
            _ => return false,
        };
        options = options.get(skip..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use margay_bgp::{Password, Reach};

    use super::*;

    fn v4(ttl: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, ttl, TCP];
        packet.resize(20, 0);
        packet.extend(segment(options));
        packet
    }

    fn segment(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[12] = (((20 + options.len()) / 4) << 4) as u8;
        segment.extend(options);
        segment
    }

    fn signature() -> Vec<u8> {
        let mut options = vec![2, 4, 5, 180, 1, 1, MD5_SIGNATURE, 18];
        options.extend([MD5_SIGNATURE; 16]);
        options
    }

    #[test]
    fn ttl_and_signature_are_found_in_both_families() {
        let mut v6 = vec![0x60, 0, 0, 0, 0, 0, TCP, 254];
        v6.resize(40, 0);
        v6.extend(segment(&signature()));
        let expected = |ttl, signed| Some(Arrival { ttl, signed });
        assert_eq!(Arrival::parse(&v6), expected(254, true));
        assert_eq!(Arrival::parse(&v4(64, &signature())), expected(64, true));
        // The number 19 as the value of another option is no signature.
        assert_eq!(Arrival::parse(&v4(64, &[3, 3, 19, 1])), expected(64, false));
        assert_eq!(Arrival::parse(&v4(64, &[])), expected(64, false));
    }

    #[test]
    fn what_is_cut_short_proves_nothing() {
        let whole = v4(255, &signature());
        for length in 0..whole.len() {
            assert_eq!(Arrival::parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(
            Arrival::parse(&v4(255, &[8, 0, 19, 18])),
            Some(Arrival {
                ttl: 255,
                signed: false
            })
        );
    }

    #[test]
    fn a_demand_is_met_only_by_proof() {
        let demand = |password: bool, reach| Protection {
            password: password.then(|| Password("x".to_owned())),
            reach,
        };
        let near = Arrival {
            ttl: 255,
            signed: true,
        };
        let far = Arrival {
            ttl: 254,
            signed: false,
        };
        let lacks = |arrival, password, reach| Arrival::lacks(arrival, &demand(password, reach));
        assert_eq!(lacks(Some(near), true, Reach::Secured(1)), None);
        assert_eq!(lacks(None, false, Reach::Within(1)), None);
        assert_eq!(lacks(Some(far), false, Reach::Secured(2)), None);
        let text = lacks(Some(far), false, Reach::Secured(1)).unwrap();
        assert!(text.contains("TTL 254") && text.contains("255"), "{text}");
        assert!(lacks(Some(far), true, Reach::Anywhere).is_some());
        assert!(lacks(None, true, Reach::Anywhere).is_some());
        assert!(lacks(None, false, Reach::Secured(1)).is_some());
    }
}
