//! The addresses of one node.
//!
//! One task of the agent owns the [`Allocator`]. It learns pools and own blocks from watches (or, at a start without the API server, from
//! disk), adopts the attachments that are on record, and then answers from memory:
//!
//! ```text
//!  ADD ─► allocate ─┬─ Ok: record the attachment, make the links, reply
//!                   └─ NeedBlock ─► claim ─┬─ Claimed ─► add_block ──────┐
//!                                          └─ Exhausted ─► set_exhausted ┴─► allocate again
//!  after every change: wants_block ─► claim ahead of need;  surplus ─► begin_release ─► delete ─► remove_block
//! ```
//!
//! An address of a block whose pool is inactive, disabled, gone or no longer for this node stays with its pod; new pods get none from it.

use crate::attachment::{Attachment, AttachmentKey};
use crate::slots::Slots;
use crate::{Block, Family, Ordinal, Pool};
use ipnetwork::IpNetwork;
use margay_proto::crd::Allocation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// How long a pool without a free block is not asked again: other nodes give blocks back.
pub const EXHAUSTED_RETRY: Duration = Duration::from_secs(10);

/// Own blocks, and who holds which of their addresses.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    /// Pools from which this node may hand out addresses.
    pools: BTreeMap<String, Pool>,
    blocks: BTreeMap<IpNetwork, Own>,
    attachments: BTreeMap<AttachmentKey, Attachment>,
    /// Pools without a free block, and until when that is believed.
    exhausted: BTreeMap<String, Duration>,
}

#[derive(Clone, Debug)]
struct Own {
    block: Block,
    slots: Slots,
    /// On its way back to the pool: nothing is handed out any more.
    releasing: bool,
}

impl Allocator {
    /// Without pools, blocks and attachments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the whole set of pools, of which those count that `node_labels` may claim from. Only for a set that is in sync.
    pub fn set_pools(
        &mut self,
        pools: impl IntoIterator<Item = Pool>,
        node_labels: &BTreeMap<String, String>,
    ) {
        let claimable = pools.into_iter().filter(|p| p.claimable(node_labels));
        let pools: BTreeMap<_, _> = claimable.map(|p| (p.name.clone(), p)).collect();
        // A pool that came, went or grew may have blocks again.
        self.exhausted
            .retain(|name, _| self.pools.get(name) == pools.get(name));
        self.pools = pools;
    }

    /// Takes an own block: claimed, seen by the watch, or read from disk. Addresses of adopted attachments in it are in use from here on.
    /// A block that is known already changes nothing, but for one on its way back, which stays.
    pub fn add_block(&mut self, block: Block) {
        let cidr = block.cidr;
        if let Some(own) = self.blocks.get_mut(&cidr) {
            own.block = block;
            return;
        }
        let mut slots = Slots::new(crate::address::host_bits(cidr));
        for address in self.attachments.values().flat_map(|a| &a.addresses) {
            if let Some(ordinal) = Ordinal::of(*address, cidr) {
                slots.occupy(ordinal);
            }
        }
        self.blocks.insert(
            cidr,
            Own {
                block,
                slots,
                releasing: false,
            },
        );
    }

    /// Forgets a block that is no longer ours and returns the attachments that still hold an address of it: their addresses are now orphans
    /// (see [`Self::orphans`]). Claim exactly that block again before another node does.
    pub fn remove_block(&mut self, cidr: IpNetwork) -> Vec<AttachmentKey> {
        self.blocks.remove(&cidr);
        let holds = |a: &&Attachment| a.addresses.iter().any(|address| cidr.contains(*address));
        self.attachments
            .values()
            .filter(holds)
            .map(|a| a.key.clone())
            .collect()
    }

    /// Takes the attachments on record at start, in the order given, before the first [`Self::allocate`].
    pub fn adopt(&mut self, attachments: impl IntoIterator<Item = Attachment>) -> Adoption {
        let mut adoption = Adoption::default();
        let mut holders: BTreeSet<IpAddr> = self
            .attachments
            .values()
            .flat_map(|a| a.addresses.clone())
            .collect();
        for attachment in attachments {
            if self.attachments.contains_key(&attachment.key)
                || attachment.addresses.iter().any(|a| holders.contains(a))
            {
                adoption.conflicts.push(attachment);
                continue;
            }
            holders.extend(&attachment.addresses);
            for address in &attachment.addresses {
                self.occupy(*address);
            }
            self.attachments.insert(attachment.key.clone(), attachment);
        }
        adoption.orphans = self.orphans();
        adoption
    }

    /// Gives the attachment one address of every one of `families` (usually [`Self::families`]), or none at all and says why.
    ///
    /// Asked again for a key that has addresses, it returns those, whatever `families` says now, with the new pod and network namespace
    /// recorded. Returns the attachment to record on disk.
    ///
    /// # Errors
    /// [`Refusal`]: by what the caller does next.
    pub fn allocate(
        &mut self,
        mut request: Attachment,
        families: &[Family],
        now: Duration,
    ) -> Result<&Attachment, Refusal> {
        let key = request.key.clone();
        request.addresses = match self.attachments.get(&key) {
            Some(known) => known.addresses.clone(),
            None => self.take(families, now)?,
        };
        Ok(self.attachments.entry(key).insert_entry(request).into_mut())
    }

    /// Ends an attachment and lets its addresses rest; `None` when there is none, which is what a repeated DEL finds.
    pub fn release(&mut self, key: &AttachmentKey, now: Duration) -> Option<Attachment> {
        let attachment = self.attachments.remove(key)?;
        for address in &attachment.addresses {
            if let Some((ordinal, own)) = self.own_mut(*address) {
                own.slots.free(ordinal, now);
            }
        }
        Some(attachment)
    }

    /// Believes for [`EXHAUSTED_RETRY`] that these pools have no free block: [`Self::allocate`] then takes the address that has rested longest,
    /// or says `Exhausted`.
    pub fn set_exhausted(&mut self, pools: impl IntoIterator<Item = String>, now: Duration) {
        self.exhausted
            .extend(pools.into_iter().map(|name| (name, now + EXHAUSTED_RETRY)));
    }

    /// The block to claim ahead of need: a family of which less than an eighth of a block (at least one address) is free, or that has no block.
    pub fn wants_block(&mut self, now: Duration) -> Option<ClaimRequest> {
        self.wake(now);
        self.families().into_iter().find_map(|family| {
            let request = self.claim_request(family, now);
            let size = request.pools.first().map(block_len)?;
            (self.free(family, None) < low_water(size)).then_some(request)
        })
    }

    /// A block to give back: no address of it is used or resting, and its pool hands out no more here, or the family has twice
    /// the low-water mark free without it.
    pub fn surplus(&mut self, now: Duration) -> Option<Block> {
        self.wake(now);
        let idle = self
            .blocks
            .values()
            .filter(|own| !own.releasing && own.slots.is_idle());
        let spare = |own: &&Own| {
            let family = Family::of(own.block.cidr);
            self.pool_of(own).is_none()
                || self.free(family, Some(own.block.cidr))
                    >= 2 * low_water(own.slots.len() as usize)
        };
        // From the top, because allocation prefers the lowest.
        idle.rev().find(spare).map(|own| own.block.clone())
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

    /// The families of which a pod gets an address: those with an active pool for this node, IPv4 first.
    pub fn families(&self) -> Vec<Family> {
        Family::ALL
            .into_iter()
            .filter(|family| self.pools.values().any(|p| p.family() == *family))
            .collect()
    }

    /// What the block's owner publishes, in order of address.
    pub fn published(&self, cidr: IpNetwork) -> Vec<Allocation> {
        let mut held: Vec<(IpAddr, &Attachment)> = Vec::new();
        for attachment in self.attachments.values() {
            held.extend(
                attachment
                    .addresses
                    .iter()
                    .filter(|a| cidr.contains(**a))
                    .map(|a| (*a, attachment)),
            );
        }
        held.sort_unstable_by_key(|(address, _)| *address);
        let allocation = |(address, attachment): (IpAddr, &Attachment)| Allocation {
            address: address.to_string(),
            namespace: attachment.namespace.clone(),
            pod: attachment.pod.clone(),
            attachment: attachment.key.to_string(),
        };
        held.into_iter().map(allocation).collect()
    }

    /// Own blocks, in order, those on their way back included.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values().map(|own| &own.block)
    }

    /// All attachments, by key.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values()
    }

    /// The attachment of `key`.
    pub fn attachment(&self, key: &AttachmentKey) -> Option<&Attachment> {
        self.attachments.get(key)
    }

    /// The own block that holds `address`.
    pub fn block_of(&self, address: IpAddr) -> Option<&Block> {
        self.blocks
            .values()
            .map(|own| &own.block)
            .find(|b| b.cidr.contains(address))
    }

    /// Addresses that attachments hold although no own block has them: a block that was lost, or is not known yet.
    pub fn orphans(&self) -> Vec<(AttachmentKey, IpAddr)> {
        let held = self
            .attachments
            .values()
            .flat_map(|a| a.addresses.iter().map(|address| (a.key.clone(), *address)));
        held.filter(|(_, address)| self.block_of(*address).is_none())
            .collect()
    }

    /// Attachments that the runtime does not know any more (CNI GC): [`Self::release`] them.
    pub fn unknown_to(&self, valid: &BTreeSet<AttachmentKey>) -> Vec<AttachmentKey> {
        self.attachments
            .keys()
            .filter(|key| !valid.contains(key))
            .cloned()
            .collect()
    }

    fn take(&mut self, families: &[Family], now: Duration) -> Result<Vec<IpAddr>, Refusal> {
        self.wake(now);
        if families.is_empty() {
            return Err(Refusal::NoActivePool { family: None });
        }
        let mut families = families.to_vec();
        families.sort_unstable();
        families.dedup();
        // All are found before the first is taken: a pod never has half of its addresses.
        let found: Vec<IpAddr> = families
            .iter()
            .map(|f| self.find(*f, now))
            .collect::<Result<_, _>>()?;
        for address in &found {
            self.occupy(*address);
        }
        Ok(found)
    }

    fn find(&self, family: Family, now: Duration) -> Result<IpAddr, Refusal> {
        let request = self.claim_request(family, now);
        let pools: Vec<String> = self
            .pools
            .values()
            .filter(|p| p.family() == family)
            .map(|p| p.name.clone())
            .collect();
        if pools.is_empty() {
            return Err(Refusal::NoActivePool {
                family: Some(family),
            });
        }
        let usable: Vec<(&Own, &Pool)> = self.usable(family, None).collect();
        let free = usable.iter().find_map(|(own, pool)| {
            let cidr = own.block.cidr;
            own.slots
                .next_free(|o| !pool.is_edge(o.address(cidr)))
                .map(|o| o.address(cidr))
        });
        if let Some(address) = free {
            return Ok(address);
        }
        if !request.pools.is_empty() {
            return Err(Refusal::NeedBlock(request));
        }
        // Nothing else is left anywhere: a short rest beats a pod that cannot start.
        let rested = usable.iter().filter_map(|(own, pool)| {
            let cidr = own.block.cidr;
            own.slots
                .oldest_resting(|o| !pool.is_edge(o.address(cidr)))
                .map(|(freed, o)| (freed, o.address(cidr)))
        });
        rested
            .min()
            .map(|(_, address)| address)
            .ok_or(Refusal::Exhausted { family, pools })
    }

    fn claim_request(&self, family: Family, now: Duration) -> ClaimRequest {
        let worth = |p: &&Pool| {
            p.family() == family
                && self
                    .exhausted
                    .get(&p.name)
                    .is_none_or(|until| *until <= now)
        };
        ClaimRequest {
            family,
            pools: self.pools.values().filter(worth).cloned().collect(),
        }
    }

    /// Blocks of which addresses may be handed out, but for `without`.
    fn usable(
        &self,
        family: Family,
        without: Option<IpNetwork>,
    ) -> impl Iterator<Item = (&Own, &Pool)> {
        let blocks = self.blocks.values().filter(move |own| {
            !own.releasing
                && Family::of(own.block.cidr) == family
                && Some(own.block.cidr) != without
        });
        blocks.filter_map(|own| self.pool_of(own).map(|pool| (own, pool)))
    }

    /// The pool of a block, if it hands out addresses here and still holds the block.
    fn pool_of(&self, own: &Own) -> Option<&Pool> {
        self.pools
            .get(&own.block.pool)
            .filter(|p| p.has_block(own.block.cidr))
    }

    fn free(&self, family: Family, without: Option<IpNetwork>) -> usize {
        let free = |(own, pool): (&Own, &Pool)| {
            own.slots
                .count_free(|o| !pool.is_edge(o.address(own.block.cidr)))
        };
        self.usable(family, without).map(free).sum()
    }

    fn wake(&mut self, now: Duration) {
        self.blocks.values_mut().for_each(|own| own.slots.wake(now));
    }

    fn occupy(&mut self, address: IpAddr) {
        if let Some((ordinal, own)) = self.own_mut(address) {
            own.slots.occupy(ordinal);
        }
    }

    fn own_mut(&mut self, address: IpAddr) -> Option<(Ordinal, &mut Own)> {
        self.blocks
            .iter_mut()
            .find_map(|(cidr, own)| Some((Ordinal::of(address, *cidr)?, own)))
    }
}

/// A block is wanted from the first of these pools that has one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRequest {
    /// Of which family.
    pub family: Family,
    /// In order of name.
    pub pools: Vec<Pool>,
}

/// What [`Allocator::adopt`] found wrong; nothing of it stops a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Records that were not taken: their key or an address is that of an earlier one.
    pub conflicts: Vec<Attachment>,
    /// Held addresses that are in no own block so far.
    pub orphans: Vec<(AttachmentKey, IpAddr)>,
}

/// Why there is no address, by what to do next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Claim a block and ask again.
    #[error("no free {} address in this node's blocks", .0.family)]
    NeedBlock(ClaimRequest),
    /// Only the user can help: no address and no block is free.
    #[error("no free {family} address: pool {} has no free block; enlarge its cidr or add a pool", .pools.join(" and pool "))]
    Exhausted {
        /// The family that is missing.
        family: Family,
        /// Its pools for this node.
        pools: Vec<String>,
    },
    /// No pool is active for this node.
    #[error("no active {}pool selects this node; see `kubectl get ippools`", .family.map(|f| format!("{f} ")).unwrap_or_default())]
    NoActivePool {
        /// The family that was asked for, if one was.
        family: Option<Family>,
    },
}

fn block_len(pool: &Pool) -> usize {
    1 << (pool.family().width() - pool.block_size)
}

fn low_water(block_len: usize) -> usize {
    (block_len / 8).max(1)
}

#[cfg(test)]
mod tests;
