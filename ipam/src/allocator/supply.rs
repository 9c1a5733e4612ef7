//! Which blocks a node keeps: some ahead of need, none for long without use.
//!
//! Blocks are claimed ahead for pods of no particular namespace, from the best rank that has any, and from a pool with a `namespaceSelector`
//! while pods here have its addresses. Every other block is claimed when the first pod asks.

use super::choice::Rank;
use super::{Allocator, ClaimRequest, Own};
use crate::slots::QUARANTINE;
use crate::{Block, Family, Pool};
use ipnetwork::IpNetwork;
use std::time::Duration;

impl Allocator {
    /// The block to claim ahead of need: of a family less than an eighth of a block (at least one address) is free, or there is no block.
    pub fn wants_block(&mut self, now: Duration) -> Option<ClaimRequest> {
        self.wake(now);
        let general = Family::ALL
            .into_iter()
            .find_map(|f| self.general_need(f, now));
        general.or_else(|| self.special_need(now))
    }

    fn general_need(&self, family: Family, now: Duration) -> Option<ClaimRequest> {
        let mut free = 0;
        for rank in self.general(family) {
            free += self.free(&rank, None);
            let enough = rank.first().map(|p| low_water(block_len(p)))?;
            if free >= enough {
                return None;
            }
            let request = self.claim_request(family, &rank, now);
            if request.is_some() {
                return request;
            }
        }
        None
    }

    fn special_need(&self, now: Duration) -> Option<ClaimRequest> {
        let mut special = self.pools.values().filter(|p| !p.is_general());
        special.find_map(|pool| {
            let rank = vec![pool];
            let low = self.free(&rank, None) < low_water(block_len(pool));
            (low && self.has_pods(&rank)).then(|| self.claim_request(pool.family(), &rank, now))?
        })
    }

    /// A block to give back: no address of it is used or resting, and its pool hands out no more here, or there is
    /// twice the low-water mark free without it, or it was claimed for a pod that is gone.
    pub fn surplus(&mut self, now: Duration) -> Option<Block> {
        self.wake(now);
        let idle = self
            .blocks
            .values()
            .filter(|own| !own.releasing && own.slots.is_idle());
        let spare = |own: &&Own| {
            self.pool_of(own)
                .is_none_or(|pool| self.is_spare(own, pool, now))
        };
        // From the top, because allocation prefers the lowest.
        idle.rev().find(spare).map(|own| own.block.clone())
    }

    fn is_spare(&self, own: &Own, pool: &Pool, now: Duration) -> bool {
        let (cidr, enough) = (own.block.cidr, 2 * low_water(own.slots.len() as usize));
        // One that was claimed for a pod which gave up is there when the pod is tried again.
        let rested = own
            .idle_since
            .is_some_and(|since| since + QUARANTINE <= now);
        if !pool.is_general() {
            let rank = vec![pool];
            return self.free(&rank, Some(cidr)) >= enough || (rested && !self.has_pods(&rank));
        }
        let mut better = 0;
        for rank in self.general(pool.family()) {
            let free = self.free(&rank, Some(cidr));
            if rank.iter().any(|p| p.name == pool.name) {
                return free >= enough || (rested && better > 0 && better + free >= enough);
            }
            better += free;
        }
        false
    }

    /// Stops handing out addresses of a block, so that it can be deleted in the API; `false` when an address is in use or resting, or it is
    /// not ours. Then comes [`Self::remove_block`], or [`Self::cancel_release`] when it could not be deleted.
    pub fn begin_release(&mut self, cidr: IpNetwork, now: Duration) -> bool {
        self.wake(now);
        let idle = self.blocks.get_mut(&cidr).filter(|own| own.slots.is_idle());
        idle.map(|own| own.releasing = true).is_some()
    }

    /// Hands out addresses of the block again.
    pub fn cancel_release(&mut self, cidr: IpNetwork) {
        if let Some(own) = self.blocks.get_mut(&cidr) {
            own.releasing = false;
        }
    }

    /// Whether addresses of these pools are in use or resting here.
    fn has_pods(&self, rank: &Rank<'_>) -> bool {
        self.usable(rank, None).any(|(own, _)| !own.slots.is_idle())
    }

    pub(super) fn free(&self, rank: &Rank<'_>, without: Option<IpNetwork>) -> usize {
        let free = |(own, pool): (&Own, &Pool)| {
            own.slots
                .count_free(|o| !pool.is_edge(o.address(own.block.cidr)))
        };
        self.usable(rank, without).map(free).sum()
    }

    /// Ends the rest of addresses, and notes which blocks are idle.
    pub(super) fn wake(&mut self, now: Duration) {
        for own in self.blocks.values_mut() {
            own.slots.wake(now);
            own.idle_since = match own.idle_since {
                _ if !own.slots.is_idle() => None,
                None => Some(now),
                since => since,
            };
        }
    }
}

fn block_len(pool: &Pool) -> usize {
    1 << (pool.family().width() - pool.block_size)
}

fn low_water(block_len: usize) -> usize {
    (block_len / 8).max(1)
}
