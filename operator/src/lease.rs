//! One leader among the operator's replicas, by a Lease as other controllers use it.
//!
//! Whoever writes its name into the Lease leads until it has not renewed for [`DURATION`]. A waiting replica measures that by its own clock,
//! from when it saw the Lease change last, so that clocks may differ. A leader that cannot renew stops writing before that time is over.

use crate::health::Health;
use crate::watch::CALL;
use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use margay_proto::names;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a lease holds after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops: this, [`PERIOD`] and a write under way ([`CALL`]) must fit into [`DURATION`].
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a lease is renewed or asked for.
const PERIOD: Duration = Duration::from_secs(2);

/// A replica in the election.
pub(crate) struct Election {
    api: Api<Lease>,
    identity: String,
    health: Arc<Health>,
    seen: Option<Seen>,
}

/// A lease of someone else as last seen to change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    resource_version: Option<String>,
    at: Instant,
}

impl Election {
    /// For `identity`, in `namespace`.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        identity: &str,
        health: Arc<Health>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            health,
            seen: None,
        }
    }

    /// Takes part until stopped, then gives the lease back.
    pub(crate) async fn run(
        mut self,
        leading: watch::Sender<bool>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut renewed = Instant::now();
        loop {
            let began = Instant::now();
            let until = if *leading.borrow() { renewed } else { began } + DEADLINE;
            let attempt = tokio::select! {
                () = stop.cancelled() => break,
                attempt = timeout_at(until, self.attempt()) => attempt.context("no answer").and_then(|result| result),
            };
            match attempt {
                Ok(held) => {
                    renewed = began;
                    self.lead(&leading, held);
                }
                Err(error) => {
                    tracing::warn!(%error, "lease; trying again");
                    if renewed.elapsed() >= DEADLINE {
                        self.lead(&leading, false);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(PERIOD) => {}
            }
        }
        let led = leading.send_replace(false);
        if led {
            timeout(CALL, self.give_back())
                .await
                .context("no answer")??;
        }
        Ok(())
    }

    fn lead(&self, leading: &watch::Sender<bool>, held: bool) {
        let turned = leading.send_if_modified(|now| std::mem::replace(now, held) != held);
        if turned {
            tracing::info!(identity = self.identity, leading = held, "election");
            self.health.leading(held);
        }
    }

    /// Whether the lease is ours now.
    async fn attempt(&mut self) -> Result<bool> {
        let lease = self.api.get_opt(names::OPERATOR_MANAGER).await?;
        let step = decide(
            lease.as_ref(),
            &self.identity,
            self.seen.as_ref(),
            Instant::now(),
        );
        match (step, lease) {
            (Step::Wait(seen), _) => {
                self.seen = Some(seen);
                Ok(false)
            }
            (Step::Write, None) => self.settle(
                self.api
                    .create(&PostParams::default(), &self.write(None))
                    .await,
            ),
            (Step::Write, Some(old)) => {
                let lease = self.write(Some(&old));
                self.settle(
                    self.api
                        .replace(names::OPERATOR_MANAGER, &PostParams::default(), &lease)
                        .await,
                )
            }
        }
    }

    /// Another replica may have been faster: the API server takes only the first write on a version.
    fn settle(&self, written: kube::Result<Lease>) -> Result<bool> {
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, old: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = old.and_then(|l| l.spec.clone()).unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        let metadata = old.map(|l| l.metadata.clone());
        Lease {
            metadata: metadata.unwrap_or_else(|| ObjectMeta {
                name: Some(names::OPERATOR_MANAGER.to_owned()),
                ..Default::default()
            }),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if ours {
                    before.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(if ours {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                ..Default::default()
            }),
        }
    }

    async fn give_back(&self) -> Result<()> {
        let Some(mut lease) = self.api.get_opt(names::OPERATOR_MANAGER).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = None;
            self.api
                .replace(names::OPERATOR_MANAGER, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Create, renew or take over.
    Write,
    /// Someone else leads.
    Wait(Seen),
}

fn decide(lease: Option<&Lease>, identity: &str, seen: Option<&Seen>, now: Instant) -> Step {
    let Some(lease) = lease else {
        return Step::Write;
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return Step::Write;
    }
    let resource_version = lease.metadata.resource_version.clone();
    let duration = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .map_or(DURATION, Duration::from_secs);
    match seen {
        Some(seen) if seen.resource_version == resource_version && now - seen.at >= duration => {
            Step::Write
        }
        Some(seen) if seen.resource_version == resource_version => Step::Wait(seen.clone()),
        _ => Step::Wait(Seen {
            resource_version,
            at: now,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.into()),
                ..Default::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(15),
                ..Default::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_taken_when_free_ours_or_silent() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(decide(None, "me", None, start), Step::Write);
        assert_eq!(
            decide(Some(&lease("me", "1")), "me", None, start),
            Step::Write
        );
        assert_eq!(
            decide(Some(&lease("", "1")), "me", None, start),
            Step::Write,
            "given back"
        );
        let other = lease("other", "1");
        let Step::Wait(seen) = decide(Some(&other), "me", None, start) else {
            panic!("just seen")
        };
        assert_eq!(
            decide(Some(&other), "me", Some(&seen), after(14)),
            Step::Wait(seen.clone())
        );
        assert_eq!(
            decide(Some(&other), "me", Some(&seen), after(15)),
            Step::Write
        );
        let renewed = decide(Some(&lease("other", "2")), "me", Some(&seen), after(20));
        assert_eq!(
            renewed,
            Step::Wait(Seen {
                resource_version: Some("2".into()),
                at: after(20)
            })
        );
    }

    #[test]
    fn writes_under_way_end_before_the_lease_does() {
        assert!(DEADLINE + PERIOD + CALL <= DURATION);
    }
}
