//! Networks, read by hand.

use std::net::IpAddr;

pub(super) fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if length.is_empty() || !length.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return None;
    }
    let length: u32 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

pub(super) fn network_has(text: &str, address: IpAddr) -> bool {
    network(text).is_some_and(|(base, length)| same_network(base, address, length))
}

/// Whether two addresses of one family agree in their first bits.
pub(super) fn same_network(one: IpAddr, two: IpAddr, length: u32) -> bool {
    let differing = match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => (u32::from(one) ^ u32::from(two)).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(two)) => (u128::from(one) ^ u128::from(two)).leading_zeros(),
        _ => return false,
    };
    differing >= length
}
