//! Which pools hand out blocks.

use crate::{Block, InvalidPool, Pool, overlaps};
use ipnetwork::IpNetwork;
use margay_proto::crd::{Condition, IPPool};
use std::collections::BTreeMap;
use std::fmt;

/// What the operator decides about a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nodes may claim from it.
    Active,
    /// Its addresses belong to something else as well.
    Overlap(OverlapWith),
    /// The user set `disabled`.
    Disabled,
    /// It cannot be parsed.
    Invalid(InvalidPool),
}

/// With what a pool overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlapWith {
    /// An active pool.
    Pool {
        /// Its name.
        name: String,
        /// Its addresses.
        cidr: IpNetwork,
    },
    /// A block that is not one of this pool's: of another pool, or of an earlier pool of this name with another block size.
    Block(Block),
}

impl fmt::Display for OverlapWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool { name, cidr } => write!(f, "pool {name} ({cidr})"),
            Self::Block(block) => write!(
                f,
                "block {} of pool {}, owned by node {}",
                block.cidr, block.pool, block.node
            ),
        }
    }
}

/// A pool and its decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Name of the pool.
    pub pool: String,
    /// The decision.
    pub activation: Activation,
}

/// Decides about all pools at once, in order of name.
///
/// A pool is active unless it is disabled or invalid, a block that is not its own lies in it, or it overlaps a pool that comes before it: pools
/// that are active now come first, then the oldest, then by name. (Were age alone to decide, enabling an old pool again would take
/// the addresses from under a younger one that nodes are claiming from at that moment.)
pub fn activation(pools: &[IPPool], blocks: &[Block]) -> Vec<Verdict> {
    let mut order: Vec<&IPPool> = pools.iter().collect();
    order.sort_by_key(|object| {
        let conditions = object
            .status
            .as_ref()
            .map(|s| &s.conditions[..])
            .unwrap_or_default();
        (
            !Condition::is_true(conditions, "Active"),
            object.metadata.creation_timestamp.clone(),
            object.metadata.name.clone(),
        )
    });
    let mut active: Vec<Pool> = Vec::new();
    let mut waiting: Vec<Pool> = Vec::new();
    let mut verdicts = BTreeMap::new();
    for object in order {
        match Pool::try_from(object) {
            Err(invalid) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                verdicts.insert(name, Activation::Invalid(invalid));
            }
            Ok(pool) if pool.disabled => {
                verdicts.insert(pool.name, Activation::Disabled);
            }
            Ok(pool) if conflict(&pool, &active, blocks).is_some() => waiting.push(pool),
            Ok(pool) => active.push(pool),
        }
    }
    for pool in waiting {
        // Named against the final set, so that a verdict does not change once it is written down.
        if let Some(with) = conflict(&pool, &active, blocks) {
            verdicts.insert(pool.name, Activation::Overlap(with));
        }
    }
    verdicts.extend(
        active
            .into_iter()
            .map(|pool| (pool.name, Activation::Active)),
    );
    verdicts
        .into_iter()
        .map(|(pool, activation)| Verdict { pool, activation })
        .collect()
}

fn conflict(pool: &Pool, active: &[Pool], blocks: &[Block]) -> Option<OverlapWith> {
    let others = active
        .iter()
        .filter(|other| overlaps(other.cidr, pool.cidr));
    if let Some(other) = others.min_by_key(|other| &other.name) {
        return Some(OverlapWith::Pool {
            name: other.name.clone(),
            cidr: other.cidr,
        });
    }
    let foreign = |b: &&Block| {
        overlaps(b.cidr, pool.cidr) && (b.pool != pool.name || !pool.has_block(b.cidr))
    };
    blocks
        .iter()
        .filter(foreign)
        .min()
        .cloned()
        .map(OverlapWith::Block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::object;
    use proptest::prelude::*;

    /// A pool created at `second`.
    fn aged(name: &str, cidr: &str, second: u8) -> IPPool {
        let mut object = object(name, cidr, None);
        let time = format!("\"2026-01-01T00:00:{second:02}Z\"");
        object.metadata.creation_timestamp = Some(serde_json::from_str(&time).unwrap());
        object
    }

    fn active_now(mut pool: IPPool) -> IPPool {
        let condition = r#"{"type":"Active","status":"True","reason":"Active","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}"#;
        pool.status.get_or_insert_default().conditions =
            vec![serde_json::from_str(condition).unwrap()];
        pool
    }

    fn block(cidr: &str, pool: &str) -> Block {
        Block {
            cidr: cidr.parse().unwrap(),
            pool: pool.into(),
            node: "n1".into(),
        }
    }

    /// `name:word` of every verdict.
    fn words(pools: &[IPPool], blocks: &[Block]) -> String {
        let word = |v: Verdict| match v.activation {
            Activation::Active => format!("{}:active", v.pool),
            Activation::Overlap(OverlapWith::Pool { name, .. }) => {
                format!("{}:pool {name}", v.pool)
            }
            Activation::Overlap(OverlapWith::Block(b)) => format!("{}:block {}", v.pool, b.cidr),
            Activation::Disabled => format!("{}:disabled", v.pool),
            Activation::Invalid(error) => format!("{}:{}", v.pool, error.field),
        };
        activation(pools, blocks)
            .into_iter()
            .map(word)
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn the_oldest_wins_then_the_name() {
        let pools = [
            aged("a", "10.0.0.0/16", 2),
            aged("b", "10.0.0.0/8", 1),
            aged("c", "10.9.0.0/16", 1),
            aged("d", "fd00::/64", 9),
        ];
        assert_eq!(words(&pools, &[]), "a:pool b, b:active, c:pool b, d:active");
    }

    #[test]
    fn an_active_pool_keeps_its_place() {
        let mut old = aged("old", "10.0.0.0/16", 1);
        old.spec.disabled = true;
        let young = active_now(aged("young", "10.0.0.0/16", 2));
        assert_eq!(
            words(&[old.clone(), young.clone()], &[]),
            "old:disabled, young:active"
        );
        old.spec.disabled = false;
        assert_eq!(
            words(&[old.clone(), young.clone()], &[]),
            "old:pool young, young:active"
        );
        assert_eq!(
            words(&[active_now(old), young], &[]),
            "old:active, young:pool old"
        );
    }

    #[test]
    fn foreign_blocks_keep_a_pool_inactive() {
        let pools = [aged("a", "10.0.0.0/16", 1), aged("b", "10.0.0.0/17", 2)];
        assert_eq!(
            words(&pools, &[block("10.0.0.0/26", "a")]),
            "a:active, b:pool a"
        );
        assert_eq!(
            words(&pools, &[block("10.0.0.0/26", "b")]),
            "a:pool b, b:active"
        );
        assert_eq!(
            words(&pools[..1], &[block("10.0.0.0/28", "a")]),
            "a:block 10.0.0.0/28",
            "another block size"
        );
        assert_eq!(
            words(&pools[..1], &[block("10.1.0.0/26", "gone")]),
            "a:active"
        );
    }

    #[test]
    fn invalid_pools_stop_nobody() {
        assert_eq!(
            words(
                &[aged("a", "10.0.0.1/8", 1), aged("b", "10.0.0.0/8", 2)],
                &[]
            ),
            "a:spec.cidr, b:active"
        );
    }

    proptest! {
        #[test]
        fn active_pools_never_overlap(seeds in proptest::collection::vec((0u8..4, 14u8..=18, 0u8..3, any::<bool>()), 0..8)) {
            let pools: Vec<IPPool> = seeds.iter().enumerate().map(|(i, (octet, prefix, second, active))| {
                let cidr = IpNetwork::new(std::net::Ipv4Addr::new(10, *octet, 0, 0).into(), *prefix).unwrap();
                let pool = aged(&format!("p{i}"), &format!("{}/{prefix}", cidr.network()), *second);
                if *active { active_now(pool) } else { pool }
            }).collect();
            let verdicts = activation(&pools, &[]);
            let active: Vec<IpNetwork> = pools.iter().zip(&verdicts)
                .filter(|(_, v)| v.activation == Activation::Active)
                .map(|(p, _)| p.spec.cidr.parse().unwrap()).collect();
            for (i, a) in active.iter().enumerate() {
                prop_assert!(active[i + 1..].iter().all(|b| !overlaps(*a, *b)));
            }
            prop_assert!(pools.is_empty() || !active.is_empty());
            // Deciding again with the outcome written down changes nothing.
            let settled: Vec<IPPool> = pools.iter().zip(&verdicts).map(|(p, v)| {
                let plain = IPPool { status: None, ..p.clone() };
                if v.activation == Activation::Active { active_now(plain) } else { plain }
            }).collect();
            prop_assert_eq!(activation(&settled, &[]), verdicts);
        }
    }
}
