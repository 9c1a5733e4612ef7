//! Warnings: Events of type Warning on the objects that people wrote, where they look first.
//!
//! ```text
//! engine ──Plan.warnings (watch)──► ┌────────┐
//!                                   │ Writer │ ──create──► events.k8s.io/v1
//! others ──Recorder::warn (mpsc)──► └────────┘
//! ```
//! Two ways in. What is wrong for as long as an object stays as it is belongs into the plan, decided by the engine; it is said
//! again when the API server has forgotten it. What just happened is given to [`Recorder::warn`] by whoever met it.
//!
//! The name of an event is made of what it says and whom it is about. All nodes that find the same fault therefore create the same
//! object: the API server keeps the first and refuses the others, which is success. An event is never changed, so that no nodes
//! fight over a count. The ledger decides what is written when; here is only the writing.
//!
//! Review notes: nothing waits for an event and no event is worth a storm of retries: the queue is bounded, writes are spaced out,
//! and what the API server will not have is given up with a line in the log.

mod event;
mod ledger;

use crate::engine::Plan;
use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use ledger::Ledger;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Something that people should know about an object of theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Warning {
    /// The object.
    pub about: About,
    /// For filters, in one word: `InvalidNetworkPolicy`.
    pub reason: &'static str,
    /// Object, field, value, remedy; equal on every node that finds the same. More than 1024 bytes are cut.
    pub message: String,
}

/// The object that a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct About {
    /// Group and version.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Its namespace, where the event goes; empty for a cluster-wide object, whose events go to `default`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a successor of the same name has events of its own.
    pub uid: String,
    /// Generation of its spec, so that a changed object is warned about anew; 0 for kinds that count none.
    pub generation: i64,
}

impl About {
    /// A node.
    pub fn node(name: &str, uid: &str) -> Self {
        Self {
            api_version: "v1",
            kind: "Node",
            namespace: String::new(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            generation: 0,
        }
    }

    /// A pod.
    pub fn pod(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            api_version: "v1",
            kind: "Pod",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            generation: 0,
        }
    }
}

/// Where anybody leaves a warning. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Warning>,
}

impl Recorder {
    /// Has an event written, soon and once: the same again within an hour is not written again. Never waits; when too many are
    /// queued the warning is lost, so whoever meets the fault again should warn again.
    pub fn warn(&self, about: About, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        let warning = Warning {
            about,
            reason,
            message,
        };
        if let Err(error) = self.queue.try_send(warning) {
            tracing::debug!(%error, "an event was not queued");
        }
    }
}

/// The task that writes events.
pub struct Writer {
    node: String,
    client: Client,
    plans: watch::Receiver<Arc<Plan>>,
    queue: mpsc::Receiver<Warning>,
    ledger: Ledger,
}

/// Warnings that wait for the task.
const QUEUE: usize = 64;
/// How long the API server has to answer.
const ANSWER: Duration = Duration::from_secs(10);

impl Writer {
    /// A writer that follows the plans, and the way to leave it other warnings.
    pub fn new(
        node: String,
        client: Client,
        plans: watch::Receiver<Arc<Plan>>,
    ) -> (Self, Recorder) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Self {
            node,
            client,
            plans,
            queue,
            ledger: Ledger::new(Instant::now()),
        };
        (writer, Recorder { queue: sender })
    }

    /// Writes until cancelled.
    ///
    /// # Errors
    /// None: what cannot be written is tried again or given up.
    pub async fn run(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        loop {
            let next = self.ledger.next(Instant::now());
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Ok(()) = self.plans.changed() => self.follow(),
                Some(warning) = self.queue.recv() => self.ledger.ask(warning, Instant::now()),
                warning = due(next) => self.write(warning).await,
            }
        }
    }

    fn follow(&mut self) {
        let standing = self.plans.borrow_and_update().warnings.clone();
        self.ledger.stand(standing);
    }

    async fn write(&mut self, warning: Warning) {
        let event = event::of(&warning, &self.node, Timestamp::now());
        match self.create(&event).await {
            Outcome::There => self.ledger.written(warning, Instant::now()),
            Outcome::Refused(error) => {
                let Warning {
                    reason, message, ..
                } = &warning;
                tracing::warn!(reason, message, error, "the API server refuses the event");
                self.ledger.written(warning, Instant::now());
            }
            Outcome::Later(error) => {
                tracing::debug!(error, "an event could not be written, trying again");
                self.ledger.failed(Instant::now());
            }
        }
    }

    async fn create(&self, event: &Event) -> Outcome {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(ANSWER, api.create(&PostParams::default(), event)).await {
            Ok(answer) => Outcome::of(answer.map(drop)),
            Err(late) => Outcome::Later(late.to_string()),
        }
    }
}

/// The warning when its time has come; never when there is none.
async fn due(next: Option<(Instant, Warning)>) -> Warning {
    let Some((at, warning)) = next else {
        return std::future::pending().await;
    };
    tokio::time::sleep_until(at.into()).await;
    warning
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is at the API server, by us or by another node.
    There,
    /// It will never be taken: its namespace ends, or our rights do not suffice.
    Refused(String),
    /// Nobody is to blame; try again.
    Later(String),
}

impl Outcome {
    fn of(answer: kube::Result<()>) -> Self {
        match answer {
            Ok(()) => Self::There,
            Err(kube::Error::Api(status)) => match status.code {
                409 => Self::There,
                401 | 408 | 429 | 500.. => Self::Later(status.message.clone()),
                _ => Self::Refused(status.message.clone()),
            },
            Err(error) => Self::Later(format!("{:#}", anyhow::Error::from(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16) -> Outcome {
        let status = Status::failure("no", "").with_code(code);
        Outcome::of(Err(kube::Error::Api(Box::new(status))))
    }

    #[test]
    fn an_event_that_another_node_wrote_is_there() {
        assert_eq!(answer(409), Outcome::There);
        assert_eq!(Outcome::of(Ok(())), Outcome::There);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for code in [401, 429, 500, 503] {
            assert_eq!(answer(code), Outcome::Later("no".to_owned()), "{code}");
        }
        for code in [403, 404, 422] {
            assert_eq!(answer(code), Outcome::Refused("no".to_owned()), "{code}");
        }
    }
}
