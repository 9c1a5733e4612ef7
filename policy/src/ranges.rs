//! Sets of addresses as disjoint ranges: what an `ipBlock` minus its exceptions is, and what an interval set holds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::table::{Element, Family};

/// Addresses of both families. The ranges of a family are sorted, disjoint and do not touch, so equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ranges {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// A network without those inside it; exceptions of the other family take nothing away.
    pub(crate) fn block(network: IpNetwork, except: &[IpNetwork]) -> Self {
        let family = Family::from(network.ip());
        let mut left = vec![bounds(network)];
        for hole in except
            .iter()
            .filter(|hole| Family::from(hole.ip()) == family)
        {
            let (first, last) = bounds(*hole);
            left = left
                .into_iter()
                .flat_map(|range| without(range, first, last))
                .collect();
        }
        let mut ranges = Self::default();
        *ranges.of_mut(family) = merged(left);
        ranges
    }

    /// Everything in any of these networks.
    pub(crate) fn union_of<'a>(networks: impl IntoIterator<Item = &'a IpNetwork>) -> Self {
        let mut ranges = Self::default();
        for network in networks {
            ranges
                .of_mut(Family::from(network.ip()))
                .push(bounds(*network));
        }
        Self {
            v4: merged(ranges.v4),
            v6: merged(ranges.v6),
        }
    }

    /// Adds all of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.v4 = merged(self.v4.iter().chain(&other.v4).copied().collect());
        self.v6 = merged(self.v6.iter().chain(&other.v6).copied().collect());
    }

    /// The elements of an interval set.
    pub(crate) fn elements(&self, family: Family) -> BTreeSet<Element> {
        let element = |(first, last): &(u128, u128)| match (
            address(family, *first),
            address(family, *last),
        ) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Some(Element::Ipv4Range(first, last)),
            (IpAddr::V6(first), IpAddr::V6(last)) => Some(Element::Ipv6Range(first, last)),
            _ => None,
        };
        self.of(family).iter().filter_map(element).collect()
    }

    /// The one network that a family's part is, if it is one.
    pub(crate) fn as_network(&self, family: Family) -> Option<IpNetwork> {
        let [(first, last)] = *self.of(family) else {
            return None;
        };
        let width = width(family);
        // The whole IPv6 space has a size that u128 cannot hold: count the host bits by the distance instead.
        let distance = last - first;
        let host_bits = u128::BITS - distance.leading_zeros();
        let is_mask = distance == low_bits(host_bits);
        if !is_mask || first & distance != 0 {
            return None;
        }
        IpNetwork::new(
            address(family, first),
            u8::try_from(width - host_bits).ok()?,
        )
        .ok()
    }

    pub(crate) fn of(&self, family: Family) -> &[(u128, u128)] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Vec<(u128, u128)> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The network with its host bits cleared, as the API server reads `192.0.2.5/24`.
pub(crate) fn masked(network: IpNetwork) -> IpNetwork {
    match network {
        IpNetwork::V4(network) => Ipv4Network::new(network.network(), network.prefix())
            .map_or(IpNetwork::V4(network), IpNetwork::V4),
        IpNetwork::V6(network) => Ipv6Network::new(network.network(), network.prefix())
            .map_or(IpNetwork::V6(network), IpNetwork::V6),
    }
}

fn bounds(network: IpNetwork) -> (u128, u128) {
    let first = match masked(network).ip() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let host_bits = width(Family::from(network.ip())) - u32::from(network.prefix());
    (first, first | low_bits(host_bits))
}

fn width(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

fn low_bits(count: u32) -> u128 {
    u128::MAX.checked_shr(u128::BITS - count).unwrap_or(0)
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // An IPv4 range never leaves 32 bits: its bounds come from IPv4 networks.
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

fn without((first, last): (u128, u128), hole_first: u128, hole_last: u128) -> Vec<(u128, u128)> {
    if hole_last < first || hole_first > last {
        return vec![(first, last)];
    }
    let mut left = Vec::with_capacity(2);
    if hole_first > first {
        left.push((first, hole_first - 1));
    }
    if hole_last < last {
        left.push((hole_last + 1, last));
    }
    left
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn block(cidr: &str, except: &[&str]) -> Ranges {
        Ranges::block(
            network(cidr),
            &except.iter().map(|text| network(text)).collect::<Vec<_>>(),
        )
    }

    fn text(ranges: &Ranges, family: Family) -> Vec<String> {
        ranges
            .elements(family)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    // Checklist 71: nested, overlapping and duplicate blocks, except = cidr, /0, a family beside the other.
    #[test]
    fn exceptions_leave_disjoint_ranges() {
        let ranges = block(
            "192.0.2.0/24",
            &["192.0.2.64/26", "192.0.2.64/27", "192.0.2.64/26"],
        );
        assert_eq!(
            text(&ranges, Family::V4),
            ["192.0.2.0-192.0.2.63", "192.0.2.128-192.0.2.255"]
        );
        assert_eq!(block("10.0.0.0/8", &["10.0.0.0/8"]), Ranges::default());
        assert_eq!(block("10.0.0.0/8", &["0.0.0.0/0"]), Ranges::default());
        assert_eq!(
            text(&block("10.0.0.0/31", &["10.0.0.0/32"]), Family::V4),
            ["10.0.0.1"]
        );
        assert_eq!(block("10.0.0.0/8", &["fd00::/8"]), block("10.0.0.0/8", &[]));
    }

    #[test]
    fn everything_is_one_network() {
        for all in ["0.0.0.0/0", "::/0"] {
            let network = network(all);
            assert_eq!(
                block(all, &[]).as_network(Family::from(network.ip())),
                Some(network)
            );
        }
        let holed = block("::/0", &["fd00::/8"]);
        assert_eq!(holed.as_network(Family::V6), None);
        assert_eq!(text(&holed, Family::V6).len(), 2);
    }

    #[test]
    fn touching_blocks_merge() {
        let ranges = Ranges::union_of(&[
            network("10.0.0.0/25"),
            network("10.0.0.128/25"),
            network("10.0.0.5/32"),
        ]);
        assert_eq!(ranges.as_network(Family::V4), Some(network("10.0.0.0/24")));
        assert_eq!(Ranges::union_of(&[network("10.0.0.7/24")]), ranges);
        let last = Ranges::union_of(&[network("255.255.255.255/32"), network("0.0.0.0/32")]);
        assert_eq!(last.as_network(Family::V4), None);
        assert_eq!(
            block("10.0.0.1/32", &[]).as_network(Family::V4),
            Some(network("10.0.0.1/32"))
        );
    }
}
