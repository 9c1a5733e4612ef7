//! Keys of sets and maps as the kernel holds them.
//!
//! The parts of a concatenation each begin at a 32-bit register, so each is zero padded to four bytes; addresses, protocols and
//! ports are in network order, link names are 16 bytes. The numbers of the types mean nothing to the kernel: they are
//! nft(8)'s (`enum datatypes`, six bits for each part), so that it lists our sets readable, and by them we know our own again.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use margay_policy::table::{Element, Ifname, KeyType, Protocol};

const IPV4: (u32, usize) = (7, 4);
const IPV6: (u32, usize) = (8, 16);
const PROTOCOL: (u32, usize) = (12, 1);
const SERVICE: (u32, usize) = (13, 2);
const IFNAME: (u32, usize) = (41, 16);

const ALL: [KeyType; 9] = [
    KeyType::Ipv4,
    KeyType::Ipv6,
    KeyType::Ifname,
    KeyType::IfnameIpv4,
    KeyType::IfnameIpv6,
    KeyType::IfnameIfname,
    KeyType::ProtoPort,
    KeyType::Ipv4ProtoPort,
    KeyType::Ipv6ProtoPort,
];

/// Type and length of each part.
fn parts(key: KeyType) -> &'static [(u32, usize)] {
    match key {
        KeyType::Ipv4 => &[IPV4],
        KeyType::Ipv6 => &[IPV6],
        KeyType::Ifname => &[IFNAME],
        KeyType::IfnameIpv4 => &[IFNAME, IPV4],
        KeyType::IfnameIpv6 => &[IFNAME, IPV6],
        KeyType::IfnameIfname => &[IFNAME, IFNAME],
        KeyType::ProtoPort => &[PROTOCOL, SERVICE],
        KeyType::Ipv4ProtoPort => &[IPV4, PROTOCOL, SERVICE],
        KeyType::Ipv6ProtoPort => &[IPV6, PROTOCOL, SERVICE],
    }
}

/// `NFTA_SET_KEY_TYPE`.
pub(super) fn type_number(key: KeyType) -> u32 {
    parts(key)
        .iter()
        .fold(0, |number, (part, _)| number << 6 | part)
}

/// `NFTA_SET_KEY_LEN`.
pub(super) fn length(key: KeyType) -> usize {
    parts(key)
        .iter()
        .map(|(_, length)| length.next_multiple_of(4))
        .sum()
}

/// `enum byteorder` of nft(8) for its userdata; without it nft prints link names as empty. None for a concatenation.
pub(super) fn byte_order(key: KeyType) -> Option<u32> {
    match key {
        KeyType::Ifname => Some(1),
        KeyType::Ipv4 | KeyType::Ipv6 => Some(2),
        _ => None,
    }
}

/// The type with this number and length, if it is one of ours.
pub(super) fn from_kernel(number: u32, bytes: usize) -> Option<KeyType> {
    ALL.into_iter()
        .find(|key| type_number(*key) == number && length(*key) == bytes)
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    bytes: [u8; 32],
    length: usize,
}

impl Key {
    fn of(parts: &[&[u8]]) -> Self {
        let mut key = Self {
            bytes: [0; 32],
            length: 0,
        };
        for part in parts {
            key.bytes[key.length..key.length + part.len()].copy_from_slice(part);
            key.length += part.len().next_multiple_of(4);
        }
        key
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// How an element is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// One element.
    Single(Key),
    /// The beginning and, as an element with `NFT_SET_ELEM_INTERVAL_END`, the first key behind it; none behind the last address.
    Range(Key, Option<Key>),
}

/// An element as the kernel wants it.
pub(super) fn write(element: &Element) -> Written {
    match element {
        Element::Ipv4Range(first, last) => {
            let behind = last
                .to_bits()
                .checked_add(1)
                .map(|bits| Key::of(&[&bits.to_be_bytes()]));
            Written::Range(Key::of(&[&first.octets()]), behind)
        }
        Element::Ipv6Range(first, last) => {
            let behind = last
                .to_bits()
                .checked_add(1)
                .map(|bits| Key::of(&[&bits.to_be_bytes()]));
            Written::Range(Key::of(&[&first.octets()]), behind)
        }
        Element::Ipv4(address) => Written::Single(Key::of(&[&address.octets()])),
        Element::Ipv6(address) => Written::Single(Key::of(&[&address.octets()])),
        Element::Ifname(link) => Written::Single(Key::of(&[link.bytes()])),
        Element::IfnameIpv4(link, address) => {
            Written::Single(Key::of(&[link.bytes(), &address.octets()]))
        }
        Element::IfnameIpv6(link, address) => {
            Written::Single(Key::of(&[link.bytes(), &address.octets()]))
        }
        Element::IfnameIfname(input, output) => {
            Written::Single(Key::of(&[input.bytes(), output.bytes()]))
        }
        Element::ProtoPort(protocol, port) => {
            Written::Single(Key::of(&[&[protocol.number()], &port.to_be_bytes()]))
        }
        Element::Ipv4ProtoPort(address, protocol, port) => Written::Single(Key::of(&[
            &address.octets(),
            &[protocol.number()],
            &port.to_be_bytes(),
        ])),
        Element::Ipv6ProtoPort(address, protocol, port) => Written::Single(Key::of(&[
            &address.octets(),
            &[protocol.number()],
            &port.to_be_bytes(),
        ])),
    }
}

/// The single element that these bytes stand for; none when they are no key of this type.
pub(super) fn read(key: KeyType, bytes: &[u8]) -> Option<Element> {
    let mut reader = Reader(bytes);
    let element = match key {
        KeyType::Ipv4 => Element::Ipv4(reader.ipv4()?),
        KeyType::Ipv6 => Element::Ipv6(reader.ipv6()?),
        KeyType::Ifname => Element::Ifname(reader.ifname()?),
        KeyType::IfnameIpv4 => Element::IfnameIpv4(reader.ifname()?, reader.ipv4()?),
        KeyType::IfnameIpv6 => Element::IfnameIpv6(reader.ifname()?, reader.ipv6()?),
        KeyType::IfnameIfname => Element::IfnameIfname(reader.ifname()?, reader.ifname()?),
        KeyType::ProtoPort => Element::ProtoPort(reader.protocol()?, reader.port()?),
        KeyType::Ipv4ProtoPort => {
            Element::Ipv4ProtoPort(reader.ipv4()?, reader.protocol()?, reader.port()?)
        }
        KeyType::Ipv6ProtoPort => {
            Element::Ipv6ProtoPort(reader.ipv6()?, reader.protocol()?, reader.port()?)
        }
    };
    reader.0.is_empty().then_some(element)
}

/// One bound of an interval set, as read.
pub(super) struct Bound {
    /// The key.
    pub(super) bytes: Vec<u8>,
    /// `NFT_SET_ELEM_INTERVAL_END`: the range before it ends here, exclusive.
    pub(super) is_end: bool,
}

/// The ranges between bounds that come in any order; none when a bound is no key of this type.
///
/// An end without a beginning is nothing: nft(8) writes one at address zero. A beginning before the end of the last range ends it.
pub(super) fn read_ranges(key: KeyType, bounds: &[Bound]) -> Option<BTreeSet<Element>> {
    let (length, last) = match key {
        KeyType::Ipv4 => (4, u128::from(u32::MAX)),
        KeyType::Ipv6 => (16, u128::MAX),
        _ => return None,
    };
    let mut sorted = Vec::with_capacity(bounds.len());
    for bound in bounds {
        let value = (bound.bytes.len() == length).then(|| {
            bound
                .bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
        })?;
        // At the same address an end comes before a beginning.
        sorted.push((value, !bound.is_end));
    }
    sorted.sort_unstable();
    let mut ranges = BTreeSet::new();
    let mut open: Option<u128> = None;
    for (value, begins) in sorted {
        if let Some(first) = open {
            let last = value.checked_sub(1).filter(|last| first <= *last)?;
            ranges.insert(range(key, first, last)?);
        }
        open = begins.then_some(value);
    }
    if let Some(first) = open {
        ranges.insert(range(key, first, last)?);
    }
    Some(ranges)
}

fn range(key: KeyType, first: u128, last: u128) -> Option<Element> {
    if key == KeyType::Ipv6 {
        return Some(Element::Ipv6Range(
            Ipv6Addr::from_bits(first),
            Ipv6Addr::from_bits(last),
        ));
    }
    let v4 = |value: u128| Some(Ipv4Addr::from_bits(u32::try_from(value).ok()?));
    Some(Element::Ipv4Range(v4(first)?, v4(last)?))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn part<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_at_checked(N.next_multiple_of(4))?;
        self.0 = rest;
        part.first_chunk().copied()
    }

    fn ipv4(&mut self) -> Option<Ipv4Addr> {
        self.part().map(Ipv4Addr::from_octets)
    }

    fn ipv6(&mut self) -> Option<Ipv6Addr> {
        self.part().map(Ipv6Addr::from_octets)
    }

    fn ifname(&mut self) -> Option<Ifname> {
        let bytes: [u8; 16] = self.part()?;
        let name = std::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
        Ifname::try_from(name).ok()
    }

    fn protocol(&mut self) -> Option<Protocol> {
        self.part::<1>()
            .and_then(|[number]| Protocol::from_number(number))
    }

    fn port(&mut self) -> Option<u16> {
        self.part().map(u16::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements() -> Vec<Element> {
        let (link, other) = (
            Ifname::try_from("mgya").unwrap(),
            Ifname::try_from("mgy-fifteen-byt").unwrap(),
        );
        let (v4, v6) = (Ipv4Addr::new(10, 1, 0, 2), "fd00:1::2".parse().unwrap());
        vec![
            Element::Ipv4(v4),
            Element::Ipv6(v6),
            Element::Ifname(other),
            Element::IfnameIpv4(link, v4),
            Element::IfnameIpv6(link, v6),
            Element::IfnameIfname(link, other),
            Element::ProtoPort(Protocol::Udp, 53),
            Element::Ipv4ProtoPort(v4, Protocol::Tcp, 80),
            Element::Ipv6ProtoPort(v6, Protocol::Sctp, 65535),
        ]
    }

    #[test]
    fn keys_have_their_declared_length_and_come_back() {
        for element in elements() {
            let key = element.key_type();
            let Written::Single(written) = write(&element) else {
                panic!("{element} is no range")
            };
            assert_eq!(written.bytes().len(), length(key), "{element}");
            assert_eq!(read(key, written.bytes()), Some(element));
            assert_eq!(read(key, &written.bytes()[1..]), None);
            assert_eq!(from_kernel(type_number(key), length(key)), Some(key));
        }
    }

    #[test]
    fn parts_are_padded_to_registers() {
        let Written::Single(key) = write(&Element::ProtoPort(Protocol::Tcp, 80)) else {
            panic!()
        };
        assert_eq!(key.bytes(), [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(type_number(KeyType::ProtoPort), 0x30d);
        assert_eq!(type_number(KeyType::IfnameIfname), 0xa69);
    }

    fn bounds(of: &[Element]) -> Vec<Bound> {
        let mut bounds = Vec::new();
        for element in of {
            let Written::Range(first, behind) = write(element) else {
                panic!("{element} is a range")
            };
            bounds.push(Bound {
                bytes: first.bytes().to_vec(),
                is_end: false,
            });
            bounds.extend(behind.map(|key| Bound {
                bytes: key.bytes().to_vec(),
                is_end: true,
            }));
        }
        bounds
    }

    #[test]
    fn ranges_come_back_in_any_order() {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let fours = [
            Element::Ipv4Range(v4("0.0.0.0"), v4("0.0.0.0")),
            Element::Ipv4Range(v4("192.0.2.0"), v4("192.0.2.63")),
            Element::Ipv4Range(v4("192.0.2.64"), v4("192.0.2.64")),
            Element::Ipv4Range(v4("240.0.0.0"), v4("255.255.255.255")),
        ];
        let sixes = [
            Element::Ipv6Range(v6("fd00::"), v6("fd00::ffff")),
            Element::Ipv6Range(v6("ff00::"), v6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
        ];
        for (key, ranges) in [(KeyType::Ipv4, &fours[..]), (KeyType::Ipv6, &sixes)] {
            let mut bounds = bounds(ranges);
            bounds.reverse();
            assert_eq!(
                read_ranges(key, &bounds),
                Some(ranges.iter().copied().collect())
            );
        }
    }

    #[test]
    fn odd_bounds_are_understood_or_refused() {
        let bound = |octets: [u8; 4], is_end| Bound {
            bytes: octets.to_vec(),
            is_end,
        };
        let stray = [
            bound([0; 4], true),
            bound([10, 0, 0, 0], false),
            bound([10, 0, 0, 8], true),
        ];
        let range = Element::Ipv4Range(Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(read_ranges(KeyType::Ipv4, &stray), Some([range].into()));
        assert_eq!(read_ranges(KeyType::Ipv6, &stray), None);
        assert_eq!(read_ranges(KeyType::Ifname, &[]), None);
        let twice = [bound([1; 4], false), bound([1; 4], false)];
        assert_eq!(read_ranges(KeyType::Ipv4, &twice), None);
    }
}
