//! Applies what the Installation asks for, and reports how it goes.

use crate::desired::{Desired, Kind, desired};
use crate::health::Health;
use crate::owned::{self, Marks, Owned, SETTLE, Seen, repair_gap};
use crate::status::{Facts, status};
use crate::watch::{CALL, Controller, RESYNC, Turns, backoff, explain, mirror};
use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::{reflector::Store, watcher};
use kube::{Api, Client, ResourceExt};
use margay_proto::crd::{Installation, InstallationStatus};
use margay_proto::names;
use serde_json::{Value, json};
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
    owned: Owned,
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
    marks: Marks,
    /// How often in a row it was because others had changed something.
    repairs: u32,
    /// Others have changed something since.
    drifted: bool,
}

/// Why everything is applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The Installation changed, or it is time again.
    Asked,
    /// Others changed what had been applied.
    Repair,
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
            owned: Owned::spawn(tasks, client, namespace, &dirty),
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

    /// Why to apply now, if at all.
    fn due(&mut self, installation: &Installation) -> Option<Reason> {
        self.look_for_drift();
        let Some(last) = &self.last else {
            return Some(Reason::Asked);
        };
        let age = last.at.elapsed();
        if last.uid != installation.uid().unwrap_or_default()
            || last.generation != installation.metadata.generation.unwrap_or_default()
            || age >= last.wait()
        {
            return Some(Reason::Asked);
        }
        (last.drifted && age >= repair_gap(last.repairs)).then_some(Reason::Repair)
    }

    /// Compares what the watches show with what was applied last.
    fn look_for_drift(&mut self) {
        let Some(mut last) = self.last.take() else {
            return;
        };
        let drifted = last
            .marks
            .drifted(last.at.elapsed(), |kind, name| self.seen(kind, name));
        if !drifted.is_empty() && !last.drifted {
            tracing::info!(
                objects = drifted.join(", "),
                "changed or deleted by others; applying again"
            );
        }
        last.drifted = !drifted.is_empty();
        self.last = Some(last);
    }

    fn seen(&self, kind: Kind, name: &str) -> Seen {
        if kind != Kind::DaemonSet {
            return self.owned.seen(kind, name);
        }
        let daemon_set = self.daemon_sets.find(|d| d.name_any() == name);
        daemon_set.map_or(Seen::Absent, |d| Seen::of(&d.metadata))
    }

    async fn apply_all(&mut self, installation: &Installation, reason: Reason) {
        let mut daemon_set = None;
        let mut failures = Vec::new();
        let mut marks = Marks::default();
        match desired(installation, &self.namespace) {
            Err(invalid) => failures.push(invalid.to_string()),
            Ok(objects) => {
                for Desired { kind, name, object } in objects {
                    match self.apply(kind, &name, &object).await {
                        Ok(metadata) => {
                            if kind == Kind::DaemonSet {
                                daemon_set = metadata.generation;
                            }
                            marks.applied(kind, &name, &metadata);
                        }
                        Err(error) => {
                            marks.refused(kind, &name, self.seen(kind, &name));
                            failures.push(format!("{} {name}: {error}", kind.resource().2));
                        }
                    }
                }
            }
        }
        self.health.applied(failures.len());
        for failure in &failures {
            tracing::warn!(failure, "not applied");
        }
        let (failed, repairs) = self
            .last
            .as_ref()
            .map_or((0, 0), |last| (last.failed, last.repairs));
        self.last = Some(Applied {
            uid: installation.uid().unwrap_or_default(),
            generation: installation.metadata.generation.unwrap_or_default(),
            at: Instant::now(),
            daemon_set,
            failed: if failures.is_empty() { 0 } else { failed + 1 },
            failures,
            marks,
            repairs: match reason {
                Reason::Asked => 0,
                Reason::Repair => repairs.saturating_add(1),
            },
            drifted: false,
        });
        // What was as it should be is settled at once; whatever happens to it from here on counts.
        self.look_for_drift();
    }

    /// Returns what the API server says that the object is now.
    async fn apply(&self, kind: Kind, name: &str, object: &Value) -> Result<ObjectMeta, String> {
        let (api, _) = owned::api(&self.client, &self.namespace, kind);
        let parameters = PatchParams::apply(names::OPERATOR_MANAGER).force();
        let mut metadata = ObjectMeta::default();
        let call = async {
            metadata = api
                .patch(name, &parameters, &Patch::Apply(object))
                .await?
                .metadata;
            Ok(())
        };
        explain(timeout(CALL, call).await)?;
        Ok(metadata)
    }

    /// Returns when to look again although nothing changed.
    async fn report(&self, installation: &Installation) -> Result<Duration, String> {
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
        if installation.status.as_ref() != Some(&status) {
            self.write(installation, &status).await?;
        }
        if status.ready_agents < status.desired_agents {
            return Ok(PATIENCE);
        }
        Ok(RESYNC)
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
        if let Some(reason) = self.due(&installation) {
            self.apply_all(&installation, reason).await;
        }
        match self.report(&installation).await {
            Ok(wait) => self
                .last
                .as_ref()
                .map_or(wait, |last| last.rest().min(wait)),
            Err(error) => {
                tracing::warn!(error, "status of the installation; trying again");
                backoff(1)
            }
        }
    }
}

impl Applied {
    /// How long it stands if nobody touches it.
    fn wait(&self) -> Duration {
        if self.failed == 0 {
            RESYNC
        } else {
            backoff(self.failed)
        }
    }

    /// When to look at it again.
    fn rest(&self) -> Duration {
        let wait = if self.drifted {
            repair_gap(self.repairs)
        } else if self.marks.are_settled() {
            RESYNC
        } else {
            SETTLE
        };
        wait.min(self.wait())
            .saturating_sub(self.at.elapsed())
            .max(Duration::from_millis(100))
    }
}

/// How often agents that are not ready are looked at: how long they have been so decides whether that is a failure.
const PATIENCE: Duration = Duration::from_secs(10);
