//! Applies what the Installation asks for, and reports how it goes.

use crate::desired::{Desired, desired};
use crate::health::Health;
use crate::status::{Facts, status};
use crate::watch::{CALL, Controller, RESYNC, Turns, backoff, explain, mirror};
use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::{reflector::Store, watcher};
use kube::{Api, Client, ResourceExt};
use margay_proto::crd::{Installation, InstallationStatus};
use margay_proto::names;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The controller of the Installation.
pub(crate) struct Installer {
    client: Client,
    namespace: String,
    health: Arc<Health>,
    dirty: Arc<Notify>,
    installations: Store<Installation>,
    daemon_sets: Store<DaemonSet>,
    pods: Store<Pod>,
    last: Option<Applied>,
}

/// The last time everything was applied.
struct Applied {
    uid: String,
    generation: i64,
    at: Instant,
    /// Generation of the DaemonSet that came of it.
    daemon_set: Option<i64>,
    /// What could not be applied, in words.
    failures: Vec<String>,
    /// How often in a row.
    failed: u32,
}

impl Installer {
    /// Starts the watches.
    pub(crate) fn spawn(
        tasks: &mut JoinSet<Result<()>>,
        client: &Client,
        namespace: &str,
        health: &Arc<Health>,
    ) -> Self {
        let dirty = Arc::new(Notify::new());
        let named =
            watcher::Config::default().fields(&format!("metadata.name={}", names::AGENT_APP));
        let labelled = watcher::Config::default()
            .labels(&format!("app.kubernetes.io/name={}", names::AGENT_APP));
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            health: health.clone(),
            installations: mirror(
                tasks,
                Api::all(client.clone()),
                watcher::Config::default(),
                &dirty,
            ),
            daemon_sets: mirror(
                tasks,
                Api::namespaced(client.clone(), namespace),
                named,
                &dirty,
            ),
            pods: mirror(
                tasks,
                Api::namespaced(client.clone(), namespace),
                labelled,
                &dirty,
            ),
            dirty,
            last: None,
        }
    }

    /// Applies and reports until stopped.
    pub(crate) async fn run(
        mut self,
        leading: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Result<()> {
        self.installations.wait_until_ready().await?;
        self.daemon_sets.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.health.installer_in_sync();
        let mut turns = Turns::new(&self.dirty, leading, stop);
        while turns.take(&mut self).await? {}
        Ok(())
    }

    /// Whether to apply: something new is asked for, it is time again, or the DaemonSet is not what came of it.
    fn is_due(&self, installation: &Installation) -> bool {
        let Some(last) = &self.last else { return true };
        let seen = self
            .daemon_sets
            .state()
            .first()
            .and_then(|d| d.metadata.generation);
        last.uid != installation.uid().unwrap_or_default()
            || last.generation != installation.metadata.generation.unwrap_or_default()
            || last.at.elapsed() >= last.wait()
            || (last.failures.is_empty()
                && (seen.is_none() || seen > last.daemon_set)
                && last.at.elapsed() >= SETTLE)
    }

    async fn apply_all(&mut self, installation: &Installation) {
        let mut daemon_set = None;
        let mut failures = Vec::new();
        match desired(installation, &self.namespace) {
            Err(invalid) => failures.push(invalid.to_string()),
            Ok(objects) => {
                for object in objects {
                    match self.apply(&object).await {
                        Ok(generation) => daemon_set = generation,
                        Err(error) => failures.push(format!(
                            "{} {}: {error}",
                            object.kind.resource().2,
                            object.name
                        )),
                    }
                }
            }
        }
        self.health.applied(failures.len());
        for failure in &failures {
            tracing::warn!(failure, "not applied");
        }
        let failed = self.last.as_ref().map_or(0, |last| last.failed);
        self.last = Some(Applied {
            uid: installation.uid().unwrap_or_default(),
            generation: installation.metadata.generation.unwrap_or_default(),
            at: Instant::now(),
            daemon_set,
            failed: if failures.is_empty() { 0 } else { failed + 1 },
            failures,
        });
    }

    /// Returns the object's generation; the DaemonSet's is the last that is applied.
    async fn apply(&self, desired: &Desired) -> Result<Option<i64>, String> {
        let (group, version, kind, plural) = desired.kind.resource();
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = if desired.kind.is_namespaced() {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        let parameters = PatchParams::apply(names::OPERATOR_MANAGER).force();
        let mut generation = None;
        let call = async {
            let applied = api
                .patch(&desired.name, &parameters, &Patch::Apply(&desired.object))
                .await?;
            generation = applied.metadata.generation;
            Ok(())
        };
        explain(timeout(CALL, call).await)?;
        Ok(generation)
    }

    async fn report(&self, installation: &Installation) -> Result<(), String> {
        let daemon_sets = self.daemon_sets.state();
        let facts = Facts {
            failures: self
                .last
                .as_ref()
                .map(|last| &last.failures[..])
                .unwrap_or_default(),
            daemon_set: daemon_sets.first().map(AsRef::as_ref),
            applied_generation: self.last.as_ref().and_then(|last| last.daemon_set),
            pods: self.pods.state(),
        };
        let status = status(installation, &facts, &Time(Timestamp::now()));
        if installation.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.write(installation, &status).await
    }

    async fn write(
        &self,
        installation: &Installation,
        status: &InstallationStatus,
    ) -> Result<(), String> {
        let api: Api<Installation> = Api::all(self.client.clone());
        // With the version it was decided on: a decision on an old one is refused, and the watch brings the new one.
        let patch = json!({ "metadata": { "resourceVersion": installation.resource_version() }, "status": status });
        let call = async {
            match api
                .patch_status("default", &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                result => result.map(drop),
            }
        };
        explain(timeout(CALL, call).await)
    }
}

impl Controller for Installer {
    async fn reconcile(&mut self) -> Duration {
        let Some(installation) = self
            .installations
            .state()
            .into_iter()
            .find(|i| i.name_any() == "default")
        else {
            self.last = None;
            return RESYNC;
        };
        if self.is_due(&installation) {
            self.apply_all(&installation).await;
        }
        if let Err(error) = self.report(&installation).await {
            tracing::warn!(error, "status of the installation; trying again");
            return backoff(1);
        }
        match &self.last {
            Some(last) => last
                .wait()
                .saturating_sub(last.at.elapsed())
                .max(Duration::from_millis(100)),
            None => RESYNC,
        }
    }
}

impl Applied {
    fn wait(&self) -> Duration {
        if self.failed == 0 {
            RESYNC
        } else {
            backoff(self.failed)
        }
    }
}

/// How long the watch may take to show what was applied.
const SETTLE: Duration = Duration::from_secs(2);
