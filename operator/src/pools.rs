//! Sets pools active, and counts what they hold.

mod status;

use crate::health::Health;
use crate::watch::{CALL, Controller, RESYNC, Turns, backoff, explain, mirror};
use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::{reflector::Store, watcher};
use kube::{Api, Client};
use margay_proto::crd::{Condition, IPBlock, IPPool};
use serde_json::json;
use status::{Change, changes};
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

fn is_active(pool: &IPPool) -> bool {
    pool.status
        .as_ref()
        .is_some_and(|s| Condition::is_true(&s.conditions, "Active"))
}
