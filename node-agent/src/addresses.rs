//! The addresses' task: owns the allocator, answers ADD and DEL from memory, and keeps the node's blocks at the API server.
//!
//! ```text
//!  CNI server ──Request (mpsc)──► ┌───────────┐ ──Blocks──► engine
//!  IPBlock watch ──Change (mpsc)► │ addresses │ ──Vec<Address> (watch)──► margayctl
//!  Plan (watch: pools, UID)  ───► └─────┬─────┘
//!                                  one Job at a time: claim, publish, release ──► API server
//! ```
//! An ADD waits for the API server only while this node owns no free address of the pools that go first for it; the next block is claimed before the last one is full.

mod exhausted;
mod handle;
mod job;
mod next;
mod objects;
#[cfg(test)]
mod tests;

pub use handle::{Handle, NoAddress};

use crate::{
    engine::{Change, Event, Plan},
    health::{Heartbeat, Metrics},
};
use handle::{Answer, Request};
use ipnetwork::IpNetwork;
use job::{Done, Job};
use kube::ResourceExt;
use margay_bgp::Family;
use margay_ipam::{Allocator, Attachment, Block, ClaimRequest, Claimant, Refusal, Wish};
use margay_proto::{crd::IPBlock, rpc::agent::Address};
use objects::Objects;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What the task starts from and works with.
pub struct Start {
    /// This node.
    pub node: String,
    /// Blocks kept on disk.
    pub blocks: Vec<Block>,
    /// Attachments recorded in /run.
    pub attachments: Vec<Attachment>,
    /// Pools, labels, node UID.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// Own `IPBlock`s.
    pub watched: mpsc::Receiver<Change<IPBlock>>,
    /// For the API server.
    pub store: crate::blocks::KubeStore,
    /// Told of block changes.
    pub engine: mpsc::Sender<Event>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the API server refuses to do with this node's blocks: forbidden or invalid, which trying again does not change.
    pub refused: watch::Sender<Vec<String>>,
}

type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The task's state.
pub struct Addresses {
    start: Start,
    requests: mpsc::Receiver<Request>,
    shown: watch::Sender<Arc<Vec<Address>>>,
    allocator: Allocator,
    epoch: Instant,
    synced: bool,
    /// Before the pools are listed every block looks like one that its pool does not want any more.
    pools_listed: bool,
    waiting: VecDeque<Waiting>,
    dirty: BTreeSet<IpNetwork>,
    /// Dirty blocks whose turn it is: one after the other, and each once in a while.
    publishing: BTreeSet<IpNetwork>,
    lost: VecDeque<Block>,
    /// Its deletion was asked for and not answered: it may be another node's by now, so nothing is handed out until that is known.
    doubtful: Option<IpNetwork>,
    objects: Objects,
    /// After an error of the API server.
    not_before: Instant,
    /// After the last blocks' turn began.
    publish_after: Instant,
    last_error: String,
    /// By job, the refusal that it met last; it goes when the same kind of job succeeds.
    refusals: BTreeMap<&'static str, String>,
}

/// An ADD that no block of this node can serve yet.
struct Waiting {
    attachment: Box<Attachment>,
    wish: Wish,
    reply: Answer,
    /// The block that would help; none before it was looked for.
    need: Option<ClaimRequest>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses")
            .field("allocator", &self.allocator)
            .finish_non_exhaustive()
    }
}

impl Addresses {
    /// The task, its handle, and the addresses in use for who shows them.
    pub fn new(start: Start) -> (Self, Handle, watch::Receiver<Arc<Vec<Address>>>) {
        let (requests, receiver) = mpsc::channel(256);
        let (shown, show) = watch::channel(Arc::default());
        let mut allocator = Allocator::new();
        start
            .blocks
            .iter()
            .for_each(|block| allocator.add_block(block.clone()));
        let adoption = allocator.adopt(start.attachments.iter().cloned());
        for conflict in &adoption.conflicts {
            tracing::error!(pod = %conflict.pod, namespace = %conflict.namespace, addresses = ?conflict.addresses, "two attachments hold one address; the second is not served");
        }
        let now = Instant::now();
        let this = Self {
            start,
            requests: receiver,
            shown,
            allocator,
            epoch: now,
            synced: false,
            pools_listed: false,
            waiting: VecDeque::new(),
            dirty: BTreeSet::new(),
            publishing: BTreeSet::new(),
            lost: VecDeque::new(),
            doubtful: None,
            objects: Objects::default(),
            not_before: now,
            publish_after: now,
            last_error: String::new(),
            refusals: BTreeMap::new(),
        };
        (this, Handle { requests }, show)
    }

    /// Serves until cancelled.
    ///
    /// # Errors
    /// None today; the signature is that of every task.
    pub async fn run(
        mut self,
        heartbeat: Heartbeat,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut running: Option<Running> = None;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        self.show();
        loop {
            if running.is_none() {
                running = self.next_job().map(|job| -> Running {
                    Box::pin(job.run(self.start.store.clone(), self.claimant()))
                });
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(request) = self.requests.recv() => self.serve(request),
                Some(change) = self.start.watched.recv() => self.observe(change).await,
                Ok(()) = self.start.plans.changed() => self.pools(),
                done = async { match running.as_mut() { Some(job) => job.await, None => std::future::pending().await } } => {
                    running = None;
                    self.finish(done).await;
                }
                _ = tick.tick() => heartbeat.beat(),
            }
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn claimant(&self) -> Claimant {
        let plan = self.start.plans.borrow();
        Claimant {
            node: self.start.node.clone(),
            uid: plan
                .identity
                .as_ref()
                .map(|i| i.node_uid.clone())
                .unwrap_or_default(),
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Allocate(attachment, wish, reply) => {
                self.waiting.push_back(Waiting {
                    attachment,
                    wish,
                    reply,
                    need: None,
                });
                // Whoever tells the caller that pods can start here had a look at the newest plan; this task may not have had its turn.
                if self.start.plans.has_changed().unwrap_or(false) {
                    self.pools();
                } else {
                    self.answer();
                }
            }
            Request::Release(key, reply) => {
                let now = self.now();
                if let Some(freed) = self.allocator.release(&key, now) {
                    self.touch(&freed);
                }
                // The caller may have gone: the release stands all the same.
                let _ = reply.send(());
            }
        }
    }

    /// Answers every waiting ADD that can be; the others keep waiting for a block.
    fn answer(&mut self) {
        for mut asked in std::mem::take(&mut self.waiting) {
            if asked.reply.is_closed() {
                continue;
            }
            let now = self.now();
            let wanted = (*asked.attachment).clone();
            let held_before = self.allocator.attachment(&wanted.key).is_some();
            let answer = match self.allocator.allocate(wanted, &asked.wish, now) {
                Ok(held) => Ok(held.clone()),
                Err(Refusal::NeedBlock(need)) => {
                    asked.need = Some(need);
                    self.waiting.push_back(asked);
                    continue;
                }
                Err(refusal) => Err(self.no_address(refusal)),
            };
            if let Ok(held) = &answer {
                self.touch(held);
            }
            if let Err(Ok(unclaimed)) = asked.reply.send(answer)
                && !held_before
            {
                // The caller gave up between the two lines: nobody holds this address.
                self.allocator.release(&unclaimed.key, now);
                self.touch(&unclaimed);
            }
        }
    }

    fn no_address(&self, refusal: Refusal) -> NoAddress {
        let Refusal::Exhausted { pools: names, .. } = &refusal else {
            return refusal.into();
        };
        let plan = self.start.plans.borrow();
        let pools = plan.pools.as_deref().map_or(&[][..], Vec::as_slice);
        let numbers = exhausted::in_numbers(names, pools, &self.allocator);
        NoAddress::Exhausted { refusal, numbers }
    }

    /// Notes that the blocks of these addresses have something to publish.
    fn touch(&mut self, attachment: &Attachment) {
        let blocks = attachment
            .addresses
            .iter()
            .filter_map(|a| self.allocator.block_of(*a))
            .map(|b| b.cidr);
        self.dirty.extend(blocks);
        self.show();
    }

    fn pools(&mut self) {
        let plan = self.start.plans.borrow_and_update().clone();
        if let Some(pools) = &plan.pools {
            self.pools_listed = true;
            let parsed = pools
                .iter()
                .filter_map(|p| margay_ipam::Pool::try_from(p).ok());
            self.allocator.set_pools(parsed, &plan.labels);
        }
        self.answer();
    }

    async fn observe(&mut self, change: Change<IPBlock>) {
        match change {
            Change::Reset(all) => {
                let uids: Vec<String> = all.iter().filter_map(ResourceExt::uid).collect();
                self.objects
                    .listed(&uids.iter().map(String::as_str).collect());
                let listed: Vec<Block> = all.iter().filter_map(|b| self.own(b)).collect();
                let gone: Vec<Block> = self
                    .allocator
                    .blocks()
                    .filter(|b| listed.iter().all(|l| l.cidr != b.cidr))
                    .cloned()
                    .collect();
                gone.into_iter().for_each(|b| self.removed(b));
                // Re-stamps the node's UID and clears what a crash left unpublished.
                self.dirty.extend(listed.iter().map(|b| b.cidr));
                listed.into_iter().for_each(|b| self.allocator.add_block(b));
                self.synced = true;
            }
            Change::Apply(block) => {
                if let Some(block) = self.own(&block) {
                    self.allocator.add_block(block);
                }
            }
            Change::Delete(block) => {
                let uid = block.uid().unwrap_or_default();
                if let Ok(block) = Block::try_from(&block)
                    && self.objects.gone(block.cidr, &uid)
                {
                    self.removed(block);
                }
            }
        }
        self.answer();
        self.tell_engine().await;
    }

    /// A block that the watch brought, unless it cannot be read or was given back since.
    fn own(&mut self, object: &IPBlock) -> Option<Block> {
        let block = Block::try_from(object).ok()?;
        let uid = object.uid().unwrap_or_default();
        self.objects.seen(block.cidr, &uid).then_some(block)
    }

    /// A block of ours was deleted by somebody. With pods in it, it is claimed back before anybody else may.
    fn removed(&mut self, block: Block) {
        self.doubtful.take_if(|cidr| *cidr == block.cidr);
        if self.allocator.remove_block(block.cidr).is_empty() {
            return;
        }
        tracing::warn!(block = %block.cidr, "this IPBlock was deleted while pods hold addresses of it; claiming it back");
        self.lost.push_back(block);
    }

    async fn tell_engine(&self) {
        let blocks = self.allocator.blocks().cloned().collect();
        // The engine ending is the agent ending.
        let _ = self.start.engine.send(Event::Blocks(blocks)).await;
    }

    fn show(&self) {
        let row = |attachment: &Attachment| -> Vec<Address> {
            let one = |address: &std::net::IpAddr| Address {
                address: address.to_string(),
                block: self
                    .allocator
                    .block_of(*address)
                    .map(|b| b.cidr.to_string())
                    .unwrap_or_default(),
                namespace: attachment.namespace.clone(),
                pod: attachment.pod.clone(),
                container_id: attachment.key.container_id.clone(),
                ifname: attachment.key.ifname.clone(),
            };
            attachment.addresses.iter().map(one).collect()
        };
        let all: Vec<Address> = self.allocator.attachments().flat_map(row).collect();
        for (family, v4) in [(Family::Ipv4Unicast, true), (Family::Ipv6Unicast, false)] {
            let held = self.allocator.attachments().flat_map(|a| &a.addresses);
            self.start
                .metrics
                .allocated_addresses(family, held.filter(|a| a.is_ipv4() == v4).count());
        }
        self.shown.send_replace(Arc::new(all));
    }
}
