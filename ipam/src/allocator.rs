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
//!
//! Which pool a pod's address comes from is in `choice`, which blocks are claimed and given back in `supply`.

mod choice;
mod refusal;
mod supply;

pub use refusal::{NotFor, Refusal};

use crate::attachment::{Attachment, AttachmentKey};
use crate::slots::Slots;
use crate::{Block, Family, Ordinal, Pool, Wish};
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
    /// The other pools, and why not.
    others: BTreeMap<String, (Family, NotFor)>,
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
    /// Since when no address of it is used or resting, as far as was looked.
    idle_since: Option<Duration>,
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
        let (claimable, others): (Vec<_>, Vec<_>) =
            pools.into_iter().partition(|p| p.claimable(node_labels));
        let pools: BTreeMap<_, _> = claimable.into_iter().map(|p| (p.name.clone(), p)).collect();
        let why = |p: Pool| (p.name.clone(), (p.family(), NotFor::node(&p)));
        self.others = others.into_iter().map(why).collect();
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
                idle_since: None,
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

    /// Gives the attachment one address of every family of [`Self::families`], or none at all and says why.
    ///
    /// Asked again for a key that has addresses, it returns those, whatever `wish` says now, with the new pod and network namespace
    /// recorded. Returns the attachment to record on disk.
    ///
    /// # Errors
    /// [`Refusal`]: by what the caller does next.
    pub fn allocate(
        &mut self,
        mut request: Attachment,
        wish: &Wish,
        now: Duration,
    ) -> Result<&Attachment, Refusal> {
        let key = request.key.clone();
        request.addresses = match self.attachments.get(&key) {
            Some(known) => known.addresses.clone(),
            None => self.take(wish, now)?,
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

    /// The pool of a block, if it hands out addresses here and still holds the block.
    fn pool_of(&self, own: &Own) -> Option<&Pool> {
        self.pools
            .get(&own.block.pool)
            .filter(|p| p.has_block(own.block.cidr))
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
    /// Equally good ones, in order of name.
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

#[cfg(test)]
mod tests;
