//! Which pool a pod's address comes from.
//!
//! For each family, in this order: the pools that the pod's annotation names, as listed, and no others; else those that its namespace's
//! annotation names; else every pool that selects the namespace: those with a `namespaceSelector` first, then by priority, highest first, then
//! by name. Pools that differ in nothing but the name are one rank, of which a free address goes before a new block, so that an ADD rarely
//! waits for the API server; between ranks the order is kept even if that takes a claim.

use super::{Allocator, ClaimRequest, NotFor, Own, Refusal};
use crate::{Family, Named, Pool, Wish};
use ipnetwork::IpNetwork;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Pools that are equally good, by name.
pub(super) type Rank<'a> = Vec<&'a Pool>;

impl Allocator {
    /// The families of which a pod with this wish gets an address: those with a pool for it, and those for which it names pools. IPv4 first.
    pub fn families(&self, wish: &Wish) -> Vec<Family> {
        let wanted = |family: &Family| {
            let mut pools = self.pools.values().filter(|p| p.family() == *family);
            wish.named(*family).is_some() || pools.any(|p| p.selects_namespace(&wish.labels))
        };
        Family::ALL.into_iter().filter(wanted).collect()
    }

    pub(super) fn take(&mut self, wish: &Wish, now: Duration) -> Result<Vec<IpAddr>, Refusal> {
        self.wake(now);
        let families = self.families(wish);
        if families.is_empty() {
            let namespace = wish.namespace.clone();
            return Err(Refusal::NoActivePool {
                namespace: (!self.pools.is_empty()).then_some(namespace),
            });
        }
        // All are found before the first is taken: a pod never has half of its addresses.
        let found: Vec<IpAddr> = families
            .iter()
            .map(|f| self.find(*f, wish, now))
            .collect::<Result<_, _>>()?;
        for address in &found {
            self.occupy(*address);
        }
        Ok(found)
    }

    fn find(&self, family: Family, wish: &Wish, now: Duration) -> Result<IpAddr, Refusal> {
        let ranks = self.ranks(family, wish)?;
        for rank in &ranks {
            if let Some(address) = self.free_address(rank) {
                return Ok(address);
            }
            if let Some(request) = self.claim_request(family, rank, now) {
                return Err(Refusal::NeedBlock(request));
            }
        }
        // Nothing else is left anywhere: a short rest beats a pod that cannot start.
        let rested = ranks.iter().find_map(|rank| self.rested_address(rank));
        rested.ok_or_else(|| Refusal::Exhausted {
            family,
            pools: ranks.iter().flatten().map(|p| p.name.clone()).collect(),
            named: wish.named(family).cloned().map(Box::new),
        })
    }

    fn ranks(&self, family: Family, wish: &Wish) -> Result<Vec<Rank<'_>>, Refusal> {
        if let Some(named) = wish.named(family) {
            return self.named(family, named, wish);
        }
        let fits = |p: &&Pool| p.family() == family && p.selects_namespace(&wish.labels);
        Ok(ranked(self.pools.values().filter(fits)))
    }

    /// The ranks of pods of no particular namespace: what blocks are kept ready for.
    pub(super) fn general(&self, family: Family) -> Vec<Rank<'_>> {
        let fits = |p: &&Pool| p.family() == family && p.is_general();
        ranked(self.pools.values().filter(fits))
    }

    /// The pools that an annotation names, each a rank of its own. One that cannot serve this pod here is passed over while another can.
    fn named(&self, family: Family, named: &Named, wish: &Wish) -> Result<Vec<Rank<'_>>, Refusal> {
        let refused = |why: NotFor| Refusal::Named {
            named: Box::new(named.clone()),
            why,
        };
        let mut ranks = Vec::new();
        let mut passed_over = None;
        for name in &named.pools {
            match self.usable_by(name, family, wish) {
                Ok(pool) => ranks.push(vec![pool]),
                Err(why) if why.is_mistake() => return Err(refused(why)),
                Err(why) => passed_over = passed_over.or(Some(why)),
            }
        }
        match passed_over {
            _ if !ranks.is_empty() => Ok(ranks),
            Some(why) => Err(refused(why)),
            None => Err(refused(NotFor::Nothing)),
        }
    }

    fn usable_by(&self, name: &str, family: Family, wish: &Wish) -> Result<&Pool, NotFor> {
        let owned = || name.to_owned();
        let other = |found| {
            Err(NotFor::OtherFamily {
                pool: owned(),
                family: found,
            })
        };
        match (self.pools.get(name), self.others.get(name)) {
            (Some(pool), _) if pool.family() != family => other(pool.family()),
            (Some(pool), _) if !pool.selects_namespace(&wish.labels) => Err(NotFor::Namespace {
                pool: owned(),
                namespace: wish.namespace.clone(),
            }),
            (Some(pool), _) => Ok(pool),
            (None, Some((found, _))) if *found != family => other(*found),
            (None, Some((_, why))) => Err(why.clone()),
            (None, None) => Err(NotFor::Missing { pool: owned() }),
        }
    }

    /// The block to claim for a rank: from those of its pools that may have a free one.
    pub(super) fn claim_request(
        &self,
        family: Family,
        rank: &Rank<'_>,
        now: Duration,
    ) -> Option<ClaimRequest> {
        let worth = |p: &&&Pool| {
            let until = self.exhausted.get(&p.name);
            until.is_none_or(|until| *until <= now)
        };
        let pools: Vec<Pool> = rank.iter().filter(worth).map(|p| (*p).clone()).collect();
        (!pools.is_empty()).then_some(ClaimRequest { family, pools })
    }

    fn free_address(&self, rank: &Rank<'_>) -> Option<IpAddr> {
        self.usable(rank, None).find_map(|(own, pool)| {
            let cidr = own.block.cidr;
            let found = own.slots.next_free(|o| !pool.is_edge(o.address(cidr)));
            found.map(|o| o.address(cidr))
        })
    }

    fn rested_address(&self, rank: &Rank<'_>) -> Option<IpAddr> {
        let rested = self.usable(rank, None).filter_map(|(own, pool)| {
            let cidr = own.block.cidr;
            let found = own.slots.oldest_resting(|o| !pool.is_edge(o.address(cidr)));
            found.map(|(freed, o)| (freed, o.address(cidr)))
        });
        rested.min().map(|(_, address)| address)
    }

    /// Blocks of a rank of which addresses may be handed out, in order, but for `without`.
    pub(super) fn usable<'a>(
        &'a self,
        rank: &Rank<'_>,
        without: Option<IpNetwork>,
    ) -> impl Iterator<Item = (&'a Own, &'a Pool)> {
        let names: BTreeSet<String> = rank.iter().map(|p| p.name.clone()).collect();
        let blocks = self.blocks.values().filter(move |own| {
            !own.releasing && Some(own.block.cidr) != without && names.contains(&own.block.pool)
        });
        blocks.filter_map(|own| self.pool_of(own).map(|pool| (own, pool)))
    }
}

fn ranked<'a>(pools: impl Iterator<Item = &'a Pool>) -> Vec<Rank<'a>> {
    let key = |p: &Pool| (p.is_general(), Reverse(p.priority));
    let mut pools: Vec<&Pool> = pools.collect();
    pools.sort_by_key(|p| (key(p), p.name.clone()));
    pools
        .chunk_by(|one, other| key(one) == key(other))
        .map(<[&Pool]>::to_vec)
        .collect()
}
