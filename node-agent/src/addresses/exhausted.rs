//! Full pools in numbers, for whoever has to enlarge one.

use margay_ipam::{Allocator, Pool};
use margay_proto::crd::IPPool;

/// Blocks of `names`, and what this node has of them: `pool web 10.245.0.0/26: all 8 blocks are claimed, 3 by this node with 24 addresses in use`.
pub(super) fn in_numbers(names: &[String], pools: &[IPPool], allocator: &Allocator) -> String {
    let parsed = pools.iter().filter_map(|pool| Pool::try_from(pool).ok());
    let named = parsed.filter(|pool| names.contains(&pool.name));
    let text: Vec<String> = named.map(|pool| one(&pool, allocator)).collect();
    text.join("; ")
}

fn one(pool: &Pool, allocator: &Allocator) -> String {
    let own: Vec<_> = allocator.blocks().filter(|b| b.pool == pool.name).collect();
    let held = allocator.attachments().flat_map(|a| &a.addresses);
    let used = held
        .filter(|a| own.iter().any(|b| b.cidr.contains(**a)))
        .count();
    let blocks = 1_u128 << pool.block_size.saturating_sub(pool.cidr.prefix());
    format!(
        "pool {} {}: all {blocks} blocks are claimed, {} by this node with {used} addresses in use",
        pool.name,
        pool.cidr,
        own.len()
    )
}
