//! Sets pools active, and counts what they hold.

use crate::health::Health;
use crate::watch::{CALL, Controller, RESYNC, Turns, backoff, explain, mirror};
use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::{reflector::Store, watcher};
use kube::{Api, Client, ResourceExt};
use margay_ipam::{Activation, Block, Pool, activation};
use margay_proto::crd::{Condition, IPBlock, IPPool, IPPoolStatus};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The controller of IPPools.
pub(crate) struct Pools {
    client: Client,
    health: Arc<Health>,
    dirty: Arc<Notify>,
    pools: Store<IPPool>,
    blocks: Store<IPBlock>,
    failed: u32,
}

impl Pools {
    /// Starts the watches.
    pub(crate) fn spawn(
        tasks: &mut JoinSet<Result<()>>,
        client: &Client,
        health: &Arc<Health>,
    ) -> Self {
        let dirty = Arc::new(Notify::new());
        Self {
            client: client.clone(),
            health: health.clone(),
            pools: mirror(
                tasks,
                Api::all(client.clone()),
                watcher::Config::default(),
                &dirty,
            ),
            blocks: mirror(
                tasks,
                Api::all(client.clone()),
                watcher::Config::default(),
                &dirty,
            ),
            dirty,
            failed: 0,
        }
    }

    /// Decides and writes until stopped.
    pub(crate) async fn run(
        mut self,
        leading: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Result<()> {
        self.pools.wait_until_ready().await?;
        self.blocks.wait_until_ready().await?;
        self.health.pools_in_sync();
        let mut turns = Turns::new(&self.dirty, leading, stop);
        while turns.take(&mut self).await? {}
        Ok(())
    }

    async fn write(&self, change: &Change) -> Result<(), String> {
        let api: Api<IPPool> = Api::all(self.client.clone());
        let patch = json!({ "metadata": { "resourceVersion": change.resource_version }, "status": change.status });
        let call = async {
            api.patch_status(&change.pool, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map(drop)
        };
        explain(timeout(CALL, call).await)
    }
}

impl Controller for Pools {
    async fn reconcile(&mut self) -> Duration {
        let pools: Vec<IPPool> = self
            .pools
            .state()
            .iter()
            .map(|p| IPPool::clone(p))
            .collect();
        let changes = changes(&pools, &self.blocks.state(), &Time(Timestamp::now()));
        for change in &changes {
            if let Err(error) = self.write(change).await {
                // The rest waits: a pool becomes active only after those that must not be have been told.
                tracing::warn!(
                    pool = change.pool,
                    error,
                    "status of the pool; trying again"
                );
                self.failed += 1;
                return backoff(self.failed);
            }
        }
        self.failed = 0;
        self.health
            .pools(pools.iter().filter(|p| is_active(p)).count(), pools.len());
        RESYNC
    }
}

/// A status to write.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    pool: String,
    /// The version it was decided on.
    resource_version: Option<String>,
    status: IPPoolStatus,
}

/// The pools whose status is not what it should be; those that stop being active first.
fn changes(pools: &[IPPool], blocks: &[Arc<IPBlock>], now: &Time) -> Vec<Change> {
    // A block that no agent would recognise owns nothing.
    let parsed: Vec<Block> = blocks
        .iter()
        .filter_map(|b| Block::try_from(b.as_ref()).ok())
        .collect();
    let mut counts: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for block in blocks {
        let (blocks, allocated) = counts.entry(&block.spec.pool).or_default();
        *blocks += 1;
        *allocated += i64::try_from(block.spec.allocations.len()).unwrap_or(i64::MAX);
    }
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
        (status.blocks, status.allocated) = counts.get(name.as_str()).copied().unwrap_or_default();
        status.capacity = Pool::try_from(pool)
            .map(|p| p.capacity().to_string())
            .unwrap_or_default();
        for mut condition in conditions(activation) {
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
    [("Active", active), ("Overlap", overlap)].map(|(type_, status)| Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.clone(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    })
}

fn is_active(pool: &IPPool) -> bool {
    pool.status
        .as_ref()
        .is_some_and(|s| Condition::is_true(&s.conditions, "Active"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_proto::crd::{Allocation, IPBlockSpec, IPPoolSpec, block_name};

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
}
