//! The IPBlocks of the cluster, as claims need them. The form that speaks to the API server lives in the agent; the one in memory is here.

use ipnetwork::IpNetwork;
use margay_proto::crd::IPBlock;
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where IPBlocks are kept. Every write is a compare-and-swap: create fails if the name exists, publish and delete if the object changed.
pub trait Store {
    /// Creates the block; its name is the claim.
    fn create_block(
        &self,
        block: IPBlock,
    ) -> impl Future<Output = Result<IPBlock, StoreError>> + Send;
    /// Reads one block, not from a cache.
    fn block(&self, name: &str)
    -> impl Future<Output = Result<Option<IPBlock>, StoreError>> + Send;
    /// The cidrs of all blocks of the cluster: a listing of metadata, read through [`crate::cidr_of_name`].
    fn list_blocks(&self) -> impl Future<Output = Result<Vec<IpNetwork>, StoreError>> + Send;
    /// Replaces the block, if its `metadata.resourceVersion` is still the one given.
    fn publish(&self, block: IPBlock) -> impl Future<Output = Result<IPBlock, StoreError>> + Send;
    /// Deletes the block, if its UID and resourceVersion are still those given.
    fn delete_block(&self, block: &IPBlock) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a call of the store failed, by what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Create: someone has the name (409 AlreadyExists).
    #[error("block {0} exists")]
    AlreadyExists(String),
    /// Publish, delete: it changed since it was read (409 Conflict).
    #[error("block {0} was changed meanwhile")]
    Conflict(String),
    /// Publish, delete: it is gone (404).
    #[error("block {0} is gone")]
    NotFound(String),
    /// Try again later; the call may have taken effect all the same.
    #[error("API server: {0}")]
    Unavailable(String),
    /// Forbidden or invalid: trying again is of no use.
    #[error("API server refused: {0}")]
    Refused(String),
}

/// A store in memory, with faults on order. For tests and simulations: clones of a reference share it, hence the lock, which is never held
/// across an await.
#[derive(Debug, Default)]
pub struct MemStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<String, IPBlock>,
    calls: usize,
    version: u64,
    faults: BTreeMap<usize, Fault>,
}

#[derive(Clone, Debug)]
enum Fault {
    Before(StoreError),
    After(StoreError),
}

impl MemStore {
    /// Without blocks or faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `n`-th call from now (0: the next) fails with `error` and does nothing.
    pub fn fail_at(&self, n: usize, error: StoreError) {
        let mut state = self.lock();
        let at = state.calls + n;
        state.faults.insert(at, Fault::Before(error));
    }

    /// The `n`-th call from now takes effect, but its answer is lost.
    pub fn lose_reply_at(&self, n: usize) {
        let mut state = self.lock();
        let at = state.calls + n;
        state.faults.insert(
            at,
            Fault::After(StoreError::Unavailable("reply lost".into())),
        );
    }

    /// Every block, by name, without a call or fault.
    pub fn blocks(&self) -> Vec<IPBlock> {
        self.lock().blocks.values().cloned().collect()
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.lock();
        let number = state.calls;
        state.calls += 1;
        match state.faults.remove(&number) {
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => act(&mut state).and(Err(error)),
            None => act(&mut state),
        }
    }
}

impl State {
    fn store(&mut self, mut block: IPBlock) -> IPBlock {
        self.version += 1;
        block.metadata.resource_version = Some(self.version.to_string());
        block
            .metadata
            .uid
            .get_or_insert_with(|| format!("uid-{}", self.version));
        self.blocks.insert(name(&block), block.clone());
        block
    }

    fn check(&self, block: &IPBlock) -> Result<(), StoreError> {
        match self.blocks.get(&name(block)) {
            None => Err(StoreError::NotFound(name(block))),
            Some(stored) if stored.metadata.resource_version != block.metadata.resource_version => {
                Err(StoreError::Conflict(name(block)))
            }
            Some(_) => Ok(()),
        }
    }
}

fn name(block: &IPBlock) -> String {
    block.metadata.name.clone().unwrap_or_default()
}

impl Store for MemStore {
    fn create_block(
        &self,
        block: IPBlock,
    ) -> impl Future<Output = Result<IPBlock, StoreError>> + Send {
        ready(self.call(|state| {
            if state.blocks.contains_key(&name(&block)) {
                return Err(StoreError::AlreadyExists(name(&block)));
            }
            Ok(state.store(block))
        }))
    }

    fn block(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<IPBlock>, StoreError>> + Send {
        ready(self.call(|state| Ok(state.blocks.get(name).cloned())))
    }

    fn list_blocks(&self) -> impl Future<Output = Result<Vec<IpNetwork>, StoreError>> + Send {
        ready(self.call(|state| {
            Ok(state
                .blocks
                .keys()
                .filter_map(|name| crate::cidr_of_name(name))
                .collect())
        }))
    }

    fn publish(&self, block: IPBlock) -> impl Future<Output = Result<IPBlock, StoreError>> + Send {
        ready(self.call(|state| {
            state.check(&block)?;
            Ok(state.store(block))
        }))
    }

    fn delete_block(&self, block: &IPBlock) -> impl Future<Output = Result<(), StoreError>> + Send {
        ready(self.call(|state| {
            state.check(block)?;
            state.blocks.remove(&name(block));
            Ok(())
        }))
    }
}
