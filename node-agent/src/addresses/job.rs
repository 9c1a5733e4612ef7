//! What the task asks of the API server, one job at a time.

use ipnetwork::IpNetwork;
use margay_ipam::{Block, ClaimRequest, Claimant, Outcome, Store, StoreError};
use margay_proto::crd::Allocation;
use std::time::Duration;

/// How long a job waits for the API server. Each may be cut off and done again; a request that hangs must not keep the next block from its pods.
const JOB_WAIT: Duration = Duration::from_secs(20);

/// One exchange with the API server.
#[derive(Debug)]
pub(super) enum Job {
    Claim(ClaimRequest),
    Reclaim(Block),
    Release(IpNetwork),
    Publish(IpNetwork, Vec<Allocation>),
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Done {
    /// The block, or none when all of the pools named are full.
    Claimed(Result<Option<Block>, StoreError>, Vec<String>),
    /// Whether it is ours again.
    Reclaimed(Result<bool, StoreError>, Block),
    Released(Result<(), StoreError>, IpNetwork),
    /// Whether it is still ours.
    Published(Result<bool, StoreError>, IpNetwork),
}

impl Job {
    pub(super) async fn run(self, store: impl Store + Sync, claimant: Claimant) -> Done {
        match self {
            Self::Claim(request) => {
                let pools = request.pools.iter().map(|p| p.name.clone()).collect();
                Done::Claimed(
                    in_time(margay_ipam::claim(&store, &claimant, &request)).await,
                    pools,
                )
            }
            Self::Reclaim(block) => {
                let outcome = in_time(margay_ipam::claim_exactly(
                    &store,
                    &claimant,
                    &block.pool,
                    block.cidr,
                ))
                .await;
                Done::Reclaimed(outcome.map(|o| matches!(o, Outcome::Done(_))), block)
            }
            Self::Release(cidr) => Done::Released(
                in_time(margay_ipam::release(&store, &claimant, cidr)).await,
                cidr,
            ),
            Self::Publish(cidr, allocations) => {
                let outcome =
                    in_time(margay_ipam::publish(&store, &claimant, cidr, &allocations)).await;
                Done::Published(outcome.map(|o| matches!(o, Outcome::Done(()))), cidr)
            }
        }
    }
}

impl Done {
    /// What was asked, in words, and the error that it met.
    pub(super) fn outcome(&self) -> (&'static str, Option<&StoreError>) {
        match self {
            Self::Claimed(result, _) => ("claim an IPBlock", result.as_ref().err()),
            Self::Reclaimed(result, _) => ("claim an IPBlock back", result.as_ref().err()),
            Self::Released(result, _) => ("give an IPBlock back", result.as_ref().err()),
            Self::Published(result, _) => ("publish an IPBlock", result.as_ref().err()),
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer within {} s", JOB_WAIT.as_secs()));
    tokio::time::timeout(JOB_WAIT, call).await.map_err(late)?
}
