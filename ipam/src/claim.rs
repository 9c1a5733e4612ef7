//! Claiming, publishing and giving back a block, over a [`Store`].
//!
//! A claim is the creation of the block's object; whoever creates it owns it. A listing only says where to try first, so a stale one costs
//! a refused create and never an address. Each function may be cut off at any await and called again.

use crate::{Block, ClaimRequest, Pool, Store, StoreError, candidates};
use ipnetwork::IpNetwork;
use margay_proto::crd::{Allocation, IPBlock, IPBlockSpec, block_name};

/// The node in whose name blocks are claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Name of the Node.
    pub node: String,
    /// Its UID. A node made anew has another, with which it re-stamps its blocks.
    pub uid: String,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// As wished.
    Done(T),
    /// Another node owns the block, or it is gone.
    Lost,
}

/// Creates refused in a row before the listing is read again: many nodes claim at once, and each refusal says that it is out of date.
const TRIES_PER_LISTING: usize = 16;
/// Listings before the claim gives up for now.
const LISTINGS: usize = 8;
/// Conflicts in a row before a publication gives up for now; each means that the operator wrote to the block.
const PUBLISH_TRIES: usize = 5;

/// Claims a block from the first pool that has one; `Ok(None)` when none of them has: [`crate::Allocator::set_exhausted`].
///
/// # Errors
/// Those of the store; the claim may have taken effect, in which case the watch of own blocks brings it.
pub async fn claim(
    store: &impl Store,
    claimant: &Claimant,
    request: &ClaimRequest,
) -> Result<Option<Block>, StoreError> {
    for _ in 0..LISTINGS {
        let taken = store.list_blocks().await?;
        let free = |pool| candidates(pool, &taken, &claimant.node).map(move |cidr| (pool, cidr));
        let mut tried = false;
        for (pool, cidr) in request.pools.iter().flat_map(free).take(TRIES_PER_LISTING) {
            tried = true;
            if let Outcome::Done(block) = claim_exactly(store, claimant, &pool.name, cidr).await? {
                return Ok(Some(block));
            }
        }
        if !tried {
            return Ok(None);
        }
    }
    Err(StoreError::Unavailable(format!(
        "other nodes took every block of {} that was tried",
        names(&request.pools)
    )))
}

/// Claims `cidr` and no other: also to get back an own block that was deleted while pods hold its addresses. `Lost` when another node has it.
///
/// # Errors
/// Those of the store.
pub async fn claim_exactly(
    store: &impl Store,
    claimant: &Claimant,
    pool: &str,
    cidr: IpNetwork,
) -> Result<Outcome<Block>, StoreError> {
    let name = block_name(cidr);
    let spec = IPBlockSpec {
        cidr: cidr.to_string(),
        pool: pool.to_owned(),
        node_name: claimant.node.clone(),
        node_uid: claimant.uid.clone(),
        allocations: Vec::new(),
    };
    match store.create_block(IPBlock::new(&name, spec)).await {
        Ok(_) => Ok(Outcome::Done(Block {
            cidr,
            pool: pool.to_owned(),
            node: claimant.node.clone(),
        })),
        Err(StoreError::AlreadyExists(_)) => {
            // Ours after all, if the answer to an earlier create was lost.
            let found = store
                .block(&name)
                .await?
                .filter(|found| found.spec.node_name == claimant.node);
            let ours = found
                .and_then(|found| Block::try_from(&found).ok())
                .filter(|block| block.pool == pool);
            Ok(ours.map_or(Outcome::Lost, Outcome::Done))
        }
        Err(error) => Err(error),
    }
}

/// The block with these allocations and the claimant's UID in it, or `None` when it says so already.
pub fn publication(
    current: &IPBlock,
    claimant: &Claimant,
    allocations: &[Allocation],
) -> Option<IPBlock> {
    if current.spec.allocations == allocations && current.spec.node_uid == claimant.uid {
        return None;
    }
    let mut block = current.clone();
    block.spec.allocations = allocations.to_vec();
    block.spec.node_uid.clone_from(&claimant.uid);
    Some(block)
}

/// Makes the object say `allocations` and the claimant's UID. `Lost` when the block is gone or another node's.
///
/// # Errors
/// Those of the store; [`StoreError::Conflict`] only after several tries.
pub async fn publish(
    store: &impl Store,
    claimant: &Claimant,
    cidr: IpNetwork,
    allocations: &[Allocation],
) -> Result<Outcome<()>, StoreError> {
    let name = block_name(cidr);
    for _ in 0..PUBLISH_TRIES {
        let Some(current) = own(store, claimant, &name).await? else {
            return Ok(Outcome::Lost);
        };
        let Some(block) = publication(&current, claimant, allocations) else {
            return Ok(Outcome::Done(()));
        };
        match store.publish(block).await {
            Ok(_) => return Ok(Outcome::Done(())),
            Err(StoreError::Conflict(_)) => {}
            Err(StoreError::NotFound(_)) => return Ok(Outcome::Lost),
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict(name))
}

/// Gives a block back, after [`crate::Allocator::begin_release`]: `Done` when it is no longer ours, whoever saw to it.
///
/// # Errors
/// Those of the store; then [`crate::Allocator::cancel_release`] or call again.
pub async fn release(
    store: &impl Store,
    claimant: &Claimant,
    cidr: IpNetwork,
) -> Result<(), StoreError> {
    let Some(current) = own(store, claimant, &block_name(cidr)).await? else {
        return Ok(());
    };
    match store.delete_block(&current).await {
        Err(StoreError::NotFound(_)) => Ok(()),
        result => result,
    }
}

async fn own(
    store: &impl Store,
    claimant: &Claimant,
    name: &str,
) -> Result<Option<IPBlock>, StoreError> {
    let block = store.block(name).await?;
    Ok(block.filter(|b| b.spec.node_name == claimant.node))
}

fn names(pools: &[Pool]) -> String {
    pools
        .iter()
        .map(|p| format!("pool {}", p.name))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
