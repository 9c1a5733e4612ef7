//! Crafted packets: a TCP SYN, a UDP datagram's payload, an SCTP INIT, and what answers them. The number of a probe travels in
//! the packet itself, and comes back in its answer.
//!
//! SCTP is crafted because it need not be in the kernel for policy to see it: conntrack and nftables know its ports and
//! check its CRC32c (RFC 9260, appendix A) either way.

use std::net::IpAddr;

/// A transport protocol that policy knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its IANA number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// As Kubernetes writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// What a packet is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A probe of this number.
    Request(u32),
    /// The answer to it: SYN-ACK or RST, datagram, INIT-ACK.
    Answer(u32),
}

/// A packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) kind: Kind,
}

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const STATE_COOKIE: [u8; 8] = [0, 7, 0, 8, b'm', b'r', b'g', b'y'];

const ASK: [u8; 4] = *b"MGY?";
const TELL: [u8; 4] = *b"MGY!";

/// A TCP segment that opens a connection, with the number as its sequence number: the SYN-ACK acknowledges it.
pub(crate) fn syn(number: u32, from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    let mut segment = ports(from.1, to.1);
    segment.extend(number.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&pseudo_header(from.0, to.0, Protocol::Tcp, &segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// What a UDP probe carries, and so many bytes more.
pub(crate) fn question(number: u32, padding: usize) -> Vec<u8> {
    let mut payload = [ASK, number.to_be_bytes()].concat();
    payload.resize(payload.len() + padding, 0);
    payload
}

/// What its answer carries.
pub(crate) fn reply(number: u32) -> Vec<u8> {
    [TELL, number.to_be_bytes()].concat()
}

/// An SCTP INIT, with the number as its initiate tag: the INIT ACK has it as its verification tag.
pub(crate) fn init(number: u32, source_port: u16, destination_port: u16) -> Vec<u8> {
    sctp(source_port, destination_port, 0, INIT, number, &[])
}

/// The INIT ACK that answers an INIT.
pub(crate) fn init_ack(to: &Packet, number: u32) -> Vec<u8> {
    sctp(
        to.destination_port,
        to.source_port,
        number,
        INIT_ACK,
        !number,
        &STATE_COOKIE,
    )
}

fn sctp(source: u16, destination: u16, tag: u32, chunk: u8, own_tag: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = ports(source, destination);
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    let length = u16::try_from(20 + rest.len()).expect("a cookie is short");
    packet.extend([chunk, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend(own_tag.to_be_bytes());
    packet.extend(0x1_0000_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(own_tag.to_be_bytes());
    packet.extend(rest);
    let crc = crc32c(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    packet
}

/// Makes the checksum wrong.
pub(crate) fn damage(protocol: Protocol, segment: &mut [u8]) {
    let at = if protocol == Protocol::Tcp { 16 } else { 8 };
    segment[at] ^= 0x55;
}

/// Reads a transport header; none when the packet is none of ours.
pub(crate) fn parse(protocol: Protocol, bytes: &[u8]) -> Option<Packet> {
    let kind = match protocol {
        Protocol::Tcp => {
            let acknowledged = word(bytes, 8)?.wrapping_sub(1);
            match bytes.get(13)? & (SYN | RST | ACK) {
                SYN => Kind::Request(word(bytes, 4)?),
                flags if flags == SYN | ACK || flags == RST | ACK => Kind::Answer(acknowledged),
                _ => return None,
            }
        }
        Protocol::Udp => match bytes.get(8..12)? {
            ask if ask == ASK => Kind::Request(word(bytes, 12)?),
            tell if tell == TELL => Kind::Answer(word(bytes, 12)?),
            _ => return None,
        },
        Protocol::Sctp => match *bytes.get(12)? {
            INIT => Kind::Request(word(bytes, 16)?),
            INIT_ACK => Kind::Answer(word(bytes, 4)?),
            _ => return None,
        },
    };
    let half = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    Some(Packet {
        source_port: half(0)?,
        destination_port: half(2)?,
        kind,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The bytes over which a checksum goes (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, protocol: Protocol, segment: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    let length = u32::try_from(segment.len()).expect("a segment is short");
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, protocol.number()]);
    bytes.extend(segment);
    bytes
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

/// CRC32c (Castagnoli), bit by bit: packets are few and short.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_segment_with_its_checksum_sums_to_zero() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let segment = syn(7, (from, 40_000), (to, 80));
            assert_eq!(
                checksum(&pseudo_header(from, to, Protocol::Tcp, &segment)),
                0
            );
        }
    }

    #[test]
    fn an_answer_bears_the_number() {
        let init = parse(Protocol::Sctp, &init(77, 20_000, 80)).unwrap();
        assert_eq!(init.kind, Kind::Request(77));
        let ack = parse(Protocol::Sctp, &init_ack(&init, 77)).unwrap();
        assert_eq!((ack.kind, ack.source_port), (Kind::Answer(77), 80));
        let datagram = [vec![0; 8], reply(78)].concat();
        assert_eq!(
            parse(Protocol::Udp, &datagram).unwrap().kind,
            Kind::Answer(78)
        );
    }

    #[test]
    fn foreign_and_short_packets_are_none() {
        for protocol in Protocol::ALL {
            assert_eq!(parse(protocol, &[]), None);
            assert_eq!(parse(protocol, &[0; 12]), None);
        }
    }
}
