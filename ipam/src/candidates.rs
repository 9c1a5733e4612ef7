//! Which block to claim next.

use crate::Pool;
use crate::address::{Family, bits, from_bits, host_bits, low_bits, overlaps};
use ipnetwork::IpNetwork;

/// The blocks of `pool` that overlap none of `taken`, from a place that `node` decides and round the whole pool once.
///
/// Nodes begin at different places, so that many that start together rarely want the same block; a node's next block lies behind its last one,
/// so that its blocks stay together. The pool is never listed: an IPv6 pool of 2^66 blocks costs as much as one of four.
pub fn candidates<'a>(
    pool: &Pool,
    taken: impl IntoIterator<Item = &'a IpNetwork>,
    node: &str,
) -> Candidates {
    let last = low_bits(pool.block_size - pool.cidr.prefix());
    let start = hash(node) & last;
    let mut gaps = Vec::new();
    for cidr in taken.into_iter().filter(|cidr| overlaps(pool.cidr, **cidr)) {
        gaps.push(span(pool, *cidr, last));
    }
    if pool.has_edges() && pool.block_size == pool.family().width() {
        // One-address blocks: the pool's edges are blocks without a usable address.
        gaps.extend([(0, 0), (last, last)]);
    }
    gaps.sort_unstable();
    Candidates {
        cidr: pool.cidr,
        block_size: pool.block_size,
        taken: merged(gaps),
        last,
        start,
        at: Some(start),
        wrapped: false,
    }
}

/// Untaken blocks of a pool, see [`candidates`].
#[derive(Clone, Debug)]
pub struct Candidates {
    cidr: IpNetwork,
    block_size: u8,
    /// Runs of block numbers, first and last included, sorted and apart.
    taken: Vec<(u128, u128)>,
    /// Highest block number.
    last: u128,
    start: u128,
    at: Option<u128>,
    wrapped: bool,
}

impl Iterator for Candidates {
    type Item = IpNetwork;

    fn next(&mut self) -> Option<IpNetwork> {
        loop {
            let at = self.at?;
            let Some(end) = self.run_at(at) else {
                self.advance(at);
                return self.block(at);
            };
            self.advance(end);
        }
    }
}

impl Candidates {
    /// Moves behind block number `done`; past the highest once to 0, and to the end where it began.
    fn advance(&mut self, done: u128) {
        if self.wrapped {
            self.at = done.checked_add(1).filter(|next| *next < self.start);
        } else if done >= self.last {
            self.wrapped = true;
            self.at = (self.start > 0).then_some(0);
        } else {
            self.at = Some(done + 1);
        }
    }

    /// The end of the taken run that holds `number`.
    fn run_at(&self, number: u128) -> Option<u128> {
        let behind = self.taken.partition_point(|(first, _)| *first <= number);
        let (_, end) = self.taken[..behind].last()?;
        (*end >= number).then_some(*end)
    }

    fn block(&self, number: u128) -> Option<IpNetwork> {
        let family = Family::of(self.cidr);
        let shift = family.width() - self.block_size;
        IpNetwork::new(
            from_bits(family, bits(self.cidr.network()) + (number << shift)),
            self.block_size,
        )
        .ok()
    }
}

/// The numbers of the blocks of `pool` that `cidr`, which overlaps it, touches.
fn span(pool: &Pool, cidr: IpNetwork, last: u128) -> (u128, u128) {
    if cidr.prefix() <= pool.cidr.prefix() {
        return (0, last);
    }
    let shift = pool.family().width() - pool.block_size;
    let offset = bits(cidr.network()) - bits(pool.cidr.network());
    (
        offset >> shift,
        (offset + low_bits(host_bits(cidr))) >> shift,
    )
}

/// Joins runs that touch; `runs` is sorted by first number.
fn merged(runs: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(runs.len());
    for (first, end) in runs {
        match merged.last_mut() {
            Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(end),
            _ => merged.push((first, end)),
        }
    }
    merged
}

/// FNV-1a, then a mix, because names of nodes differ in their last digits only.
fn hash(name: &str) -> u128 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let low = hash ^ (hash >> 33);
    let high = low.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::pool;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn net(cidr: &str) -> IpNetwork {
        cidr.parse().unwrap()
    }

    #[test]
    fn every_block_once_from_the_nodes_own_place() {
        let pool = pool("a", "10.0.0.0/20", 26);
        let n1: Vec<_> = candidates(&pool, [], "n1").collect();
        assert_eq!(n1.len(), 64);
        assert_eq!(n1.iter().collect::<BTreeSet<_>>().len(), 64);
        assert_ne!(n1[0], candidates(&pool, [], "n2").next().unwrap());
        assert_eq!(candidates(&pool, [&n1[0]], "n1").next(), Some(n1[1]));
    }

    #[test]
    fn a_huge_pool_costs_nothing() {
        let wide = pool("a", "fd00::/56", 122);
        assert_eq!(
            candidates(&wide, [&net("fd00::/57")], "n1")
                .take(3)
                .filter(|b| overlaps(*b, net("fd00::/57")))
                .count(),
            0
        );
        assert_eq!(candidates(&wide, [&net("fd00::/40")], "n1").next(), None);
        let all = pool("b", "::/0", 128);
        assert!(candidates(&all, [], "n1").next().is_some());
    }

    #[test]
    fn one_address_blocks_leave_the_edges_out() {
        let pool = pool("a", "10.0.0.0/30", 32);
        let all: BTreeSet<_> = candidates(&pool, [], "n1").collect();
        assert_eq!(
            all,
            BTreeSet::from([net("10.0.0.1/32"), net("10.0.0.2/32")])
        );
    }

    proptest! {
        #[test]
        fn equals_the_plain_search(taken in proptest::collection::vec((0u32..1024, 22u8..=32), 0..12), node in "[a-z0-9]{1,8}") {
            let pool = pool("a", "10.0.0.0/24", 28);
            let taken: Vec<IpNetwork> = taken.into_iter().map(|(n, prefix)| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
                let cidr = IpNetwork::new(address.into(), prefix).unwrap();
                IpNetwork::new(cidr.network(), prefix).unwrap()
            }).collect();
            let found: Vec<_> = candidates(&pool, &taken, &node).collect();
            let plain: BTreeSet<_> = (0..16u32)
                .map(|n| net(&format!("10.0.0.{}/28", n * 16)))
                .filter(|block| !taken.iter().any(|t| overlaps(*t, *block)))
                .collect();
            prop_assert_eq!(found.len(), plain.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), plain);
        }
    }
}
