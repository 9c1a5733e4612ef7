//! What a pool's status should be. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use margay_ipam::{Activation, Block, Pool, activation};
use margay_proto::crd::{Condition, IPBlock, IPPool, IPPoolStatus};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A status to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) pool: String,
    /// The version it was decided on.
    pub(super) resource_version: Option<String>,
    pub(super) status: IPPoolStatus,
}

/// The pools whose status is not what it should be; those that stop being active first.
pub(super) fn changes(pools: &[IPPool], blocks: &[Arc<IPBlock>], now: &Time) -> Vec<Change> {
    // A block that no agent would recognise owns nothing.
    let parsed: Vec<Block> = blocks
        .iter()
        .filter_map(|b| Block::try_from(b.as_ref()).ok())
        .collect();
    let counts = counts(blocks);
    let verdicts: BTreeMap<_, _> = activation(pools, &parsed)
        .into_iter()
        .map(|v| (v.pool, v.activation))
        .collect();
    let mut changes = Vec::new();
    for pool in pools {
        let name = pool.name_any();
        let Some(activation) = verdicts.get(&name) else {
            continue;
        };
        let mut status = pool.status.clone().unwrap_or_default();
        let held = counts.get(name.as_str()).copied().unwrap_or_default();
        (status.blocks, status.allocated) = held;
        let parsed = Pool::try_from(pool).ok();
        status.capacity = parsed
            .as_ref()
            .map(|p| p.capacity().to_string())
            .unwrap_or_default();
        let exhausted = exhausted(parsed.as_ref(), held);
        for mut condition in conditions(activation).into_iter().chain([exhausted]) {
            condition.observed_generation = pool.metadata.generation;
            condition.last_transition_time = now.clone();
            Condition::set(&mut status.conditions, condition);
        }
        if pool.status.as_ref() != Some(&status) {
            changes.push(Change {
                pool: name,
                resource_version: pool.resource_version(),
                status,
            });
        }
    }
    changes.sort_by_key(|change| Condition::is_true(&change.status.conditions, "Active"));
    changes
}

/// Blocks and addresses in use, by pool.
fn counts(blocks: &[Arc<IPBlock>]) -> BTreeMap<&str, (i64, i64)> {
    let mut counts: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for block in blocks {
        let (blocks, allocated) = counts.entry(&block.spec.pool).or_default();
        *blocks += 1;
        *allocated += i64::try_from(block.spec.allocations.len()).unwrap_or(i64::MAX);
    }
    counts
}

/// `Active` and `Overlap`.
fn conditions(activation: &Activation) -> [Condition; 2] {
    let (reason, message) = match activation {
        Activation::Active => ("NoOverlap", "nodes may claim blocks".to_owned()),
        Activation::Disabled => (
            "Disabled",
            "spec.disabled is true: pods keep their addresses, new ones get none".to_owned(),
        ),
        Activation::Invalid(invalid) => ("Invalid", invalid.to_string()),
        Activation::Overlap(with) => (
            "Overlap",
            format!(
                "spec.cidr overlaps {with}; make this pool anew with a cidr of its own, or delete the other"
            ),
        ),
    };
    let overlap = match activation {
        Activation::Overlap(_) => "True",
        Activation::Active => "False",
        Activation::Disabled | Activation::Invalid(_) => "Unknown",
    };
    let active = if *activation == Activation::Active {
        "True"
    } else {
        "False"
    };
    [("Active", active), ("Overlap", overlap)]
        .map(|(type_, status)| condition(type_, status, reason, message.clone()))
}

/// `Exhausted`: whether a pod that needs an address of the pool can get none, on whichever node.
fn exhausted(pool: Option<&Pool>, (blocks, allocated): (i64, i64)) -> Condition {
    let Some(pool) = pool else {
        let why = "the pool cannot be read; its condition Active says why";
        return condition("Exhausted", "Unknown", "Invalid", why.to_owned());
    };
    let (blocks, allocated) = (count(blocks), count(allocated));
    let (capacity, all) = (pool.capacity(), pool.blocks());
    let left = capacity.saturating_sub(allocated);
    let (status, reason, message) = if left == 0 {
        (
            "True",
            "NoFreeAddress",
            format!(
                "all {capacity} addresses of {} are in use: new pods get none; enlarge spec.cidr, add a pool, or end pods",
                pool.cidr
            ),
        )
    } else if blocks >= all {
        (
            "False",
            "NoFreeBlock",
            format!(
                "all {all} blocks of {} are claimed; {left} addresses are free in them, each for pods of the node that owns its block only; enlarge spec.cidr or add a pool before other nodes need one",
                pool.cidr
            ),
        )
    } else {
        let free = format!("{left} of {capacity} addresses are free");
        ("False", "FreeBlocks", free)
    };
    condition("Exhausted", status, reason, message)
}

fn count(number: i64) -> u128 {
    u128::try_from(number).unwrap_or_default()
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_proto::crd::{Allocation, IPBlockSpec, IPPoolSpec, block_name};
    use serde_json::json;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    fn pool(name: &str, cidr: &str, second: u8) -> IPPool {
        let mut pool = IPPool::new(
            name,
            IPPoolSpec {
                cidr: cidr.into(),
                ..Default::default()
            },
        );
        pool.metadata.creation_timestamp = Some(at(second));
        pool.metadata.resource_version = Some("7".into());
        pool.metadata.generation = Some(1);
        pool
    }

    fn block(cidr: &str, pool: &str, addresses: usize) -> Arc<IPBlock> {
        let spec = IPBlockSpec {
            cidr: cidr.into(),
            pool: pool.into(),
            node_name: "n1".into(),
            allocations: vec![Allocation::default(); addresses],
            ..Default::default()
        };
        Arc::new(IPBlock::new(&block_name(cidr.parse().unwrap()), spec))
    }

    fn condition<'a>(change: &'a Change, type_: &str) -> &'a Condition {
        change
            .status
            .conditions
            .iter()
            .find(|c| c.type_ == type_)
            .unwrap()
    }

    #[test]
    fn statuses_count_and_say_why() {
        let pools = [pool("b", "10.0.0.0/17", 2), pool("a", "10.0.0.0/16", 1)];
        let blocks = [block("10.0.0.0/26", "a", 3), block("10.0.0.64/26", "a", 1)];
        let changes = changes(&pools, &blocks, &at(9));
        assert_eq!(
            changes.iter().map(|c| c.pool.as_str()).collect::<Vec<_>>(),
            ["b", "a"],
            "inactive ones first"
        );
        let status = &changes[1].status;
        assert_eq!(
            (status.blocks, status.allocated, status.capacity.as_str()),
            (2, 4, "65534")
        );
        assert_eq!(condition(&changes[1], "Active").status, "True");
        let active = condition(&changes[0], "Active");
        assert_eq!(
            (active.status.as_str(), active.reason.as_str()),
            ("False", "Overlap")
        );
        assert!(
            active.message.contains("overlaps pool a (10.0.0.0/16)"),
            "{}",
            active.message
        );
        assert_eq!(
            (
                condition(&changes[0], "Overlap").status.as_str(),
                &changes[0].resource_version
            ),
            ("True", &Some("7".into()))
        );
    }

    #[test]
    fn a_written_status_is_not_written_again() {
        let mut pools = [pool("a", "10.0.0.0/16", 1), pool("x", "10.0.0.1/16", 1)];
        for change in changes(&pools, &[], &at(1)) {
            let pool = pools
                .iter_mut()
                .find(|p| p.name_any() == change.pool)
                .unwrap();
            pool.status = Some(change.status);
        }
        assert_eq!(changes(&pools, &[], &at(2)), []);
        pools[0].spec.disabled = true;
        let changed = changes(&pools, &[], &at(3));
        assert_eq!(
            (
                changed.len(),
                condition(&changed[0], "Active").reason.as_str()
            ),
            (1, "Disabled")
        );
        assert_eq!(condition(&changed[0], "Active").last_transition_time, at(3));
        let invalid = pools[1].status.as_ref().unwrap();
        assert!(
            invalid.conditions[0].message.contains("10.0.0.0/16"),
            "{}",
            invalid.conditions[0].message
        );
    }

    #[test]
    fn a_full_pool_is_exhausted_until_an_address_is_free_again() {
        let mut tiny = pool("tiny", "10.0.0.0/28", 1);
        tiny.spec.block_size = Some(29);
        let found = |used: [usize; 2]| {
            let blocks = [
                block("10.0.0.0/29", "tiny", used[0]),
                block("10.0.0.8/29", "tiny", used[1]),
            ];
            let changes = changes(std::slice::from_ref(&tiny), &blocks, &at(9));
            let found = condition(&changes[0], "Exhausted").clone();
            (found.status, found.reason, found.message)
        };
        let (status, reason, message) = found([7, 7]);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("True", "NoFreeAddress")
        );
        assert!(
            message.starts_with("all 14 addresses of 10.0.0.0/28 are in use")
                && message.contains("enlarge spec.cidr"),
            "{message}"
        );
        let (status, reason, message) = found([7, 6]);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "NoFreeBlock"));
        assert!(
            message.contains("all 2 blocks") && message.contains("1 addresses"),
            "{message}"
        );
        let changes = changes(&[tiny], &[block("10.0.0.0/29", "tiny", 7)], &at(9));
        let free = condition(&changes[0], "Exhausted");
        assert_eq!(free.message, "7 of 14 addresses are free");
    }
}
