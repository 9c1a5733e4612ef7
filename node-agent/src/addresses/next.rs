//! Which job is next, and what follows from how it ended.

use super::{Addresses, Done, Job};
use margay_ipam::StoreError;
use std::time::{Duration, Instant};

/// Published writes of a block's allocations are this far apart at least, so that a burst of pods is one write a block.
const PUBLISH_EVERY: Duration = Duration::from_secs(2);

impl Addresses {
    /// What is to be asked next, when nothing is under way: what pods wait for before what nobody waits for.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        let now = self.now();
        let listed = self.synced && self.pools_listed;
        if !listed || self.claimant().uid.is_empty() || Instant::now() < self.not_before {
            return None;
        }
        if let Some(block) = self.lost.pop_front() {
            return Some(Job::Reclaim(block));
        }
        // Whoever waits goes first; what nobody waits for any more is not claimed.
        let asked = self.waiting.iter().filter(|w| !w.reply.is_closed());
        let need = asked.filter_map(|w| w.need.clone()).next();
        if let Some(request) = need.or_else(|| self.allocator.wants_block(now)) {
            return Some(Job::Claim(request));
        }
        if let Some(cidr) = self.doubtful {
            return Some(Job::Release(cidr));
        }
        if let Some(block) = self.allocator.surplus(now)
            && self.allocator.begin_release(block.cidr, now)
        {
            return Some(Job::Release(block.cidr));
        }
        if self.publishing.is_empty() && Instant::now() >= self.publish_after {
            self.publishing = std::mem::take(&mut self.dirty);
            self.publish_after = Instant::now() + PUBLISH_EVERY;
        }
        let cidr = self.publishing.pop_first()?;
        Some(Job::Publish(cidr, self.allocator.published(cidr)))
    }

    /// Takes in how a job ended.
    pub(super) async fn finish(&mut self, done: Done) {
        let mut pause = Duration::ZERO;
        self.note(&done);
        match done {
            Done::Claimed(Ok(Some(block)), _) => {
                tracing::info!(block = %block.cidr, pool = %block.pool, "claimed a block");
                self.allocator.add_block(block);
            }
            Done::Claimed(Ok(None), pools) => {
                let now = self.now();
                self.allocator.set_exhausted(pools, now);
            }
            Done::Claimed(Err(_), _) => {
                pause = Duration::from_secs(1);
            }
            Done::Reclaimed(Ok(true), block) => {
                // Made anew, it says of nobody that he holds an address of it.
                self.dirty.insert(block.cidr);
                self.allocator.add_block(block);
            }
            Done::Reclaimed(Ok(false), block) => {
                tracing::error!(block = %block.cidr, "another node claimed this block while pods of this node hold addresses of it")
            }
            Done::Reclaimed(Err(_), block) => {
                pause = Duration::from_secs(1);
                self.lost.push_back(block);
            }
            Done::Released(Ok(()), cidr) => {
                tracing::info!(block = %cidr, "released an idle block");
                self.doubtful = None;
                self.objects.give_back(cidr);
                self.dirty.remove(&cidr);
                self.publishing.remove(&cidr);
                self.allocator.remove_block(cidr);
            }
            Done::Released(Err(error), cidr) => {
                pause = Duration::from_secs(5);
                let known = self.allocator.blocks().any(|b| b.cidr == cidr);
                if matches!(error, StoreError::Unavailable(_)) {
                    self.doubtful = known.then_some(cidr);
                } else {
                    self.doubtful = None;
                    self.allocator.cancel_release(cidr);
                }
            }
            Done::Published(Ok(true), _) => {}
            Done::Published(Ok(false), cidr) => {
                tracing::warn!(block = %cidr, "this IPBlock belongs to another node now")
            }
            Done::Published(Err(_), cidr) => {
                self.dirty.insert(cidr);
            }
        }
        self.not_before = Instant::now() + pause;
        self.answer();
        self.tell_engine().await;
    }

    /// Logs an error once, and shows a refusal until a job of its kind succeeds.
    fn note(&mut self, done: &Done) {
        let (job, error) = done.outcome();
        match error {
            Some(StoreError::Refused(why)) => self.refusals.insert(job, format!("{job}: {why}")),
            Some(_) => None,
            None => self.refusals.remove(job),
        };
        let error = error.map(ToString::to_string).unwrap_or_default();
        if self.last_error != error && !error.is_empty() {
            tracing::warn!(
                error,
                "the API server did not take a change of this node's blocks, trying again"
            );
        }
        self.last_error = error;
        let refused: Vec<String> = self.refusals.values().cloned().collect();
        self.start.refused.send_if_modified(|old| {
            let differs = *old != refused;
            *old = refused;
            differs
        });
    }
}
