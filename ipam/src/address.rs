//! Addresses as numbers, so that both families share one arithmetic.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family. IPv4 sorts first, as in `status.podIPs` of most clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of a network.
    pub fn of(cidr: IpNetwork) -> Self {
        if cidr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of an address.
    pub fn of_address(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Bits in an address.
    pub const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The position of an address in its block, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The position of `address` in `block`, when it is in it and the block is small enough to count (at most 2^31 addresses).
    pub fn of(address: IpAddr, block: IpNetwork) -> Option<Self> {
        if !block.contains(address) || host_bits(block) > 31 {
            return None;
        }
        u32::try_from(bits(address) - bits(block.network()))
            .ok()
            .map(Self)
    }

    /// The address at this position of `block`; the caller keeps it inside.
    pub(crate) fn address(self, block: IpNetwork) -> IpAddr {
        from_bits(
            Family::of(block),
            bits(block.network()) + u128::from(self.0),
        )
    }
}

/// Whether two networks share an address. Networks of different families never do.
///
/// # Examples
/// ```
/// # use margay_ipam::overlaps;
/// assert!(overlaps("10.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()));
/// assert!(!overlaps("10.0.0.0/16".parse().unwrap(), "10.1.0.0/16".parse().unwrap()));
/// ```
pub fn overlaps(a: IpNetwork, b: IpNetwork) -> bool {
    match (a, b) {
        (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
        (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
        _ => false,
    }
}

/// Whether `outer` holds all of `inner`.
pub(crate) fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

/// Bits of `cidr` that are not prefix.
pub(crate) fn host_bits(cidr: IpNetwork) -> u8 {
    Family::of(cidr).width() - cidr.prefix()
}

/// An address as a number; IPv4 in the low 32 bits.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The inverse of [`bits`]; for IPv4 only the low 32 bits count.
pub(crate) fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let low = u32::try_from(bits & u128::from(u32::MAX)).expect("masked to 32 bits");
            IpAddr::V4(Ipv4Addr::from(low))
        }
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

/// The number whose low `count` bits are set.
pub(crate) fn low_bits(count: u8) -> u128 {
    u128::MAX.checked_shr(128 - u32::from(count)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_and_addresses_are_inverse() {
        for block in ["10.0.0.64/26", "fd00::40/122", "10.0.0.7/32"] {
            let block: IpNetwork = block.parse().unwrap();
            for n in 0..1u32 << host_bits(block) {
                let address = Ordinal(n).address(block);
                assert_eq!(Ordinal::of(address, block), Some(Ordinal(n)));
            }
        }
        let block = "10.0.0.64/26".parse().unwrap();
        assert_eq!(Ordinal::of("10.0.0.63".parse().unwrap(), block), None);
        assert_eq!(
            Ordinal::of("::1".parse().unwrap(), "::/0".parse().unwrap()),
            None
        );
    }

    #[test]
    fn low_bits_reach_both_ends() {
        assert_eq!(low_bits(0), 0);
        assert_eq!(low_bits(6), 63);
        assert_eq!(low_bits(128), u128::MAX);
    }
}
