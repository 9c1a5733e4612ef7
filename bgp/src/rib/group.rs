//! Update groups: peers with equal export share one adj-out, one change log and one encoding.
//!
//! ```text
//!  decisions ─► set(prefix) ─► entries ──version──► log ─── batch(from) ──► octets, shared
//!                                                    ▲  ▲
//!                                      cursor of peer A  cursor of peer B (slow: catches up in its own time)
//! ```
//! A prefix stands in the log once, at its latest change, so a slow member is told only the latest state and no
//! queue grows with time: a member costs its cursor and the batch it is being sent. Withdrawn prefixes stay as
//! tombstones until every cursor has passed them.

mod owed;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::export::ExportKey;
use super::{PeerId, Source};
use crate::family::{Family, PerFamily};
use crate::wire::{Attributes, Nlri};
pub(crate) use owed::Owed;
use writer::{Bucket, Chunk, Writer};

/// Changes taken into one batch at most; bounds what a batch costs in memory.
const BATCH: usize = 16 * 1024;

/// One adj-out and its members.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: ExportKey,
    entries: HashMap<IpNetwork, Entry>,
    log: BTreeMap<u64, IpNetwork>,
    head: u64,
    advertised: PerFamily<u32>,
    members: HashMap<PeerId, Member>,
    latest: Option<Arc<Batch>>,
}

#[derive(Debug)]
struct Entry {
    /// `None`: withdrawn.
    attributes: Option<Arc<Attributes>>,
    source: Source,
    version: u64,
    /// The present source may have been told another source's route before, and has to hear that it is gone.
    replaced: bool,
}

/// A peer's place in the log.
#[derive(Debug)]
struct Member {
    cursor: u64,
    sending: Option<(Arc<Batch>, usize)>,
    owed: Owed,
}

/// Encoded changes from one version to another.
#[derive(Debug)]
struct Batch {
    from: u64,
    to: u64,
    chunks: Vec<Chunk>,
}

impl Group {
    pub(crate) fn new(key: ExportKey) -> Self {
        Self {
            key,
            entries: HashMap::new(),
            log: BTreeMap::new(),
            head: 0,
            advertised: PerFamily::default(),
            members: HashMap::new(),
            latest: None,
        }
    }

    /// What the group is to be told about a prefix from now on.
    pub(crate) fn set(
        &mut self,
        prefix: IpNetwork,
        attributes: Option<Arc<Attributes>>,
        source: Source,
    ) {
        let family = Family::of(&prefix);
        let mut replaced = false;
        match self.entries.get_mut(&prefix) {
            None if attributes.is_none() => return,
            None => self.advertised[family] += 1,
            Some(entry) => {
                let unchanged = match (&entry.attributes, &attributes) {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new) && entry.source == source,
                    (None, None) => true,
                    _ => false,
                };
                if unchanged {
                    return;
                }
                match (&entry.attributes, &attributes) {
                    (Some(_), None) => self.advertised[family] -= 1,
                    (None, Some(_)) => self.advertised[family] += 1,
                    _ => {}
                }
                replaced = entry.replaced || entry.source != source;
                self.log.remove(&entry.version);
            }
        }
        self.head += 1;
        self.log.insert(self.head, prefix);
        self.entries.insert(
            prefix,
            Entry {
                attributes,
                source,
                version: self.head,
                replaced,
            },
        );
    }

    /// A peer joins with nothing told yet; `told` is what another group told it, withdrawn where not told here.
    pub(crate) fn join(&mut self, peer: PeerId, end_of_rib: bool, told: &[IpNetwork]) {
        let here = |entry: &Entry| entry.attributes.is_some() && entry.source != Source::Peer(peer);
        let gone = |prefix: &&IpNetwork| !self.entries.get(prefix).is_some_and(here);
        let mut withdrawn: PerFamily<Vec<Nlri>> = PerFamily::default();
        for prefix in told.iter().filter(gone) {
            withdrawn[Family::of(prefix)].push(Nlri::from(*prefix));
        }
        let mut writer = Writer::new(self.key.encoding);
        writer.withdrawals(&withdrawn);
        let mut chunks = writer.finish();
        let owed = Owed::end_of_rib(end_of_rib);
        let member = Member {
            cursor: 0,
            sending: None,
            owed,
        };
        self.members.insert(peer, member);
        if told.is_empty() {
            return;
        }
        // Batched now: who knows routes has to hear also of those that go before its turn comes.
        let all = self.batch(0);
        chunks.extend(all.chunks.iter().cloned());
        let batch = Batch {
            chunks,
            from: 0,
            to: all.to,
        };
        if let Some(member) = self.members.get_mut(&peer) {
            member.sending = Some((Arc::new(batch), 0));
        }
    }

    /// A peer leaves; returns what it may have been told.
    pub(crate) fn leave(&mut self, peer: PeerId) -> Vec<IpNetwork> {
        if self.members.remove(&peer).is_none() {
            return Vec::new();
        }
        self.entries.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn advertised(&self) -> PerFamily<u32> {
        self.advertised
    }

    /// Adds to what a member is to hear once it has been told everything.
    pub(crate) fn owe(&mut self, peer: PeerId, owed: Owed) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.owed.add(owed);
        }
    }

    /// What a member is still to hear.
    pub(crate) fn owed(&self, peer: PeerId) -> Option<Owed> {
        self.members.get(&peer).map(|member| member.owed)
    }

    /// What the peer is told, tombstones and its own routes left out.
    pub(crate) fn told(
        &self,
        peer: PeerId,
    ) -> impl Iterator<Item = (&IpNetwork, &Arc<Attributes>)> {
        let entries = self
            .entries
            .iter()
            .filter(move |(_, entry)| entry.source != Source::Peer(peer));
        entries.filter_map(|(prefix, entry)| Some((prefix, entry.attributes.as_ref()?)))
    }

    /// The next octets for a peer; `None` when it has everything.
    pub(crate) fn next_octets(&mut self, peer: PeerId) -> Option<Arc<[u8]>> {
        loop {
            let member = self.members.get_mut(&peer)?;
            if let Some((batch, position)) = &mut member.sending {
                let Some(chunk) = batch.chunks.get(*position) else {
                    member.cursor = batch.to;
                    member.sending = None;
                    self.bury();
                    continue;
                };
                *position += 1;
                let octets = match &chunk.split_horizon {
                    Some((source, withdrawal)) if *source == peer => withdrawal,
                    _ => &chunk.octets,
                };
                if octets.is_empty() {
                    continue;
                }
                return Some(Arc::clone(octets));
            }
            if member.cursor < self.head {
                let from = member.cursor;
                let batch = self.batch(from);
                self.members.get_mut(&peer)?.sending = Some((batch, 0));
                continue;
            }
            let (octets, again) = member.owed.next(self.key.families)?;
            if again {
                // Batched now, before anything changes: who stands at 0 is not told what was withdrawn.
                let batch = self.batch(0);
                self.members.get_mut(&peer)?.sending = Some((batch, 0));
            }
            if !octets.is_empty() {
                return Some(octets);
            }
        }
    }

    /// Changes after `from`, grouped by attribute set, encoded once for all members that stand there.
    fn batch(&mut self, from: u64) -> Arc<Batch> {
        if let Some(latest) = self
            .latest
            .as_ref()
            .filter(|latest| latest.from == from && latest.to == self.head)
        {
            return Arc::clone(latest);
        }
        // A buried tombstone may have been the latest change: without a full batch there is nothing up to the head.
        let (mut to, mut taken) = (self.head, 0);
        let mut withdrawn: PerFamily<Vec<Nlri>> = PerFamily::default();
        let mut order: Vec<Bucket<'_>> = Vec::new();
        let mut positions: HashMap<(*const Attributes, Source, Family), usize> = HashMap::new();
        for (version, prefix) in self.log.range(from + 1..).take(BATCH) {
            taken += 1;
            if taken == BATCH {
                to = *version;
            }
            let Some(entry) = self.entries.get(prefix) else {
                continue;
            };
            let family = Family::of(prefix);
            match &entry.attributes {
                Some(attributes) => {
                    let source = match entry.source {
                        Source::Peer(peer) if self.members.contains_key(&peer) => entry.source,
                        _ => Source::Local,
                    };
                    let position = *positions
                        .entry((Arc::as_ptr(attributes), source, family))
                        .or_insert_with(|| {
                            order.push(Bucket {
                                family,
                                attributes,
                                source,
                                prefixes: Vec::new(),
                                replaced: Vec::new(),
                            });
                            order.len() - 1
                        });
                    order[position].prefixes.push(Nlri::from(*prefix));
                    if entry.replaced {
                        order[position].replaced.push(Nlri::from(*prefix));
                    }
                }
                // Who stands at 0 has been told nothing that could be withdrawn.
                None if from > 0 => withdrawn[family].push(Nlri::from(*prefix)),
                None => {}
            }
        }
        let mut writer = Writer::new(self.key.encoding);
        writer.withdrawals(&withdrawn);
        order.iter().for_each(|bucket| bucket.encode(&mut writer));
        let batch = Arc::new(Batch {
            from,
            to,
            chunks: writer.finish(),
        });
        self.latest = Some(Arc::clone(&batch));
        batch
    }

    /// Forgets tombstones that every member has passed.
    fn bury(&mut self) {
        let Some(passed) = self.members.values().map(|member| member.cursor).min() else {
            return;
        };
        let Some((&first, _)) = self.log.first_key_value() else {
            return;
        };
        if first > passed || passed < self.head {
            // Only when the last member has caught up: a walk for each step of each member would be quadratic.
            return;
        }
        let entries = &mut self.entries;
        self.log.retain(|_, prefix| {
            let alive = entries
                .get(prefix)
                .is_some_and(|entry| entry.attributes.is_some());
            if !alive {
                entries.remove(prefix);
            }
            alive
        });
        self.latest = None;
    }
}

#[cfg(test)]
mod tests;
