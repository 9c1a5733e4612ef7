//! How the CNI server asks the addresses' task.

use margay_ipam::{Attachment, AttachmentKey, Refusal, Wish};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Why no address was given.
#[derive(Debug, thiserror::Error)]
pub enum NoAddress {
    /// The pools say no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The pools are full; with their numbers.
    #[error("{refusal} ({numbers})")]
    Exhausted {
        /// What the pools say.
        refusal: Refusal,
        /// Blocks and addresses of these pools.
        numbers: String,
    },
    /// A block is being claimed.
    #[error("this node owns no free address and is claiming a block{0}")]
    Claiming(String),
    /// The agent is ending.
    #[error("the agent is ending; its successor will serve this")]
    Ending,
}

pub(super) type Answer = oneshot::Sender<Result<Attachment, NoAddress>>;

#[derive(Debug)]
pub(super) enum Request {
    Allocate(Box<Attachment>, Wish, Answer),
    Release(AttachmentKey, oneshot::Sender<()>),
}

/// To the task.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Addresses for `attachment`, one of every family that has a pool for this wish; the same again for an attachment that has them.
    /// Waits for a block to be claimed for as long as `patience`.
    ///
    /// # Errors
    /// When there is none, or none yet.
    pub async fn allocate(
        &self,
        attachment: Attachment,
        wish: Wish,
        patience: Duration,
    ) -> Result<Attachment, NoAddress> {
        let (reply, mut answer) = oneshot::channel();
        self.requests
            .send(Request::Allocate(Box::new(attachment), wish, reply))
            .await
            .map_err(|_| NoAddress::Ending)?;
        if let Ok(answer) = tokio::time::timeout(patience, &mut answer).await {
            return answer.map_err(|_| NoAddress::Ending)?;
        }
        // From here on the task knows that nobody listens; an answer that came a moment before is taken, or its address would be nobody's.
        answer.close();
        answer.try_recv().unwrap_or_else(|_| {
            Err(NoAddress::Claiming(
                ": the API server has not answered yet".to_owned(),
            ))
        })
    }

    /// Frees what an attachment holds; one that holds nothing is fine.
    ///
    /// # Errors
    /// When the agent is ending.
    pub async fn release(&self, key: AttachmentKey) -> Result<(), NoAddress> {
        let (reply, done) = oneshot::channel();
        self.requests
            .send(Request::Release(key, reply))
            .await
            .map_err(|_| NoAddress::Ending)?;
        done.await.map_err(|_| NoAddress::Ending)
    }
}
