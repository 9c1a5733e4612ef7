//! The addressing plan: the same in all labs, because each lives in namespaces of its own.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Addresses, Family, Uplink};

/// What a node calls its uplinks.
pub(super) const DEVICES: [&str; 2] = ["fabric0", "fabric1"];
/// The second number of IPv4 addresses and the last digits of the first group of IPv6 ones: of node links and of ToRs' links to the spine, by
/// plane, and of nodes' loopbacks.
const NODE_LINKS: [u16; 2] = [31, 29];
pub(super) const UPLINKS: [u16; 2] = [30, 28];
pub(super) const LOOPBACKS: u16 = 27;

/// A link between a node and a ToR: a /31 (RFC 3021), the ToR's end even, and a /64.
pub(super) fn point_to_point(family: Family, rack: u16, host: u16, plane: usize) -> Uplink {
    let network = NODE_LINKS[plane];
    let end = |end: u16| {
        let v4 = Ipv4Addr::new(172, octet(network), octet(rack), octet(2 * host + end));
        let v6 = Ipv6Addr::new(
            0xfd00 | digits(network),
            digits(rack),
            digits(host),
            0,
            0,
            0,
            0,
            1 + end,
        );
        Addresses::of(family, v4, v6)
    };
    Uplink {
        device: DEVICES[plane],
        node: end(1),
        tor: end(0),
    }
}

/// The group of an IPv6 address that reads like the decimal number: 11 becomes `::11`.
fn digits(number: u16) -> u16 {
    u16::from_str_radix(&number.to_string(), 16).expect("at most four digits")
}

fn octet(number: u16) -> u8 {
    u8::try_from(number).expect("the limits on nodes and racks keep host numbers below 256")
}

pub(super) fn management(family: Family, host: u16) -> Addresses {
    let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, digits(host));
    Addresses::of(family, Ipv4Addr::new(192, 168, 77, octet(host)), v6)
}

pub(super) fn in_rack(family: Family, network: u16, rack: u16, host: u16) -> Addresses {
    let first = 0xfd00 | digits(network);
    let v6 = Ipv6Addr::new(first, digits(rack), 0, 0, 0, 0, 0, digits(host));
    let v4 = Ipv4Addr::new(172, octet(network), octet(rack), octet(host));
    Addresses::of(family, v4, v6)
}

pub(super) fn rack_address(family: Family, rack: u16, host: u16) -> Addresses {
    in_rack(family, NODE_LINKS[0], rack, host)
}

pub(super) fn control_plane(family: Family, host: u16) -> Addresses {
    in_rack(family, UPLINKS[0], 250, host)
}

pub(super) fn outside(family: Family, host: u16) -> Addresses {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, digits(host));
    Addresses::of(family, Ipv4Addr::new(203, 0, 113, octet(host)), v6)
}
