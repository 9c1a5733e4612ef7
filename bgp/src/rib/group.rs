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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::export::ExportKey;
use super::{PeerId, Source};
use crate::family::{Families, Family, PerFamily};
use crate::wire::{self, Attributes, Nlri};

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
    /// End-of-RIB is due once the member has caught up.
    end_of_rib: bool,
    /// The peer asked for everything again.
    refresh: bool,
}

/// Encoded changes from one version to another.
#[derive(Debug)]
struct Batch {
    from: u64,
    to: u64,
    chunks: Vec<Chunk>,
}

/// UPDATEs that share their fate.
#[derive(Debug)]
struct Chunk {
    octets: Arc<[u8]>,
    /// The member these routes came from, and the withdrawal that it gets in their place.
    split_horizon: Option<(PeerId, Arc<[u8]>)>,
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
        let mut writer = Writer::default();
        writer.withdrawals(&withdrawn);
        let chunks = writer.finish();
        let sending = (!chunks.is_empty()).then(|| {
            (
                Arc::new(Batch {
                    from: 0,
                    to: 0,
                    chunks,
                }),
                0,
            )
        });
        self.members.insert(
            peer,
            Member {
                cursor: 0,
                sending,
                end_of_rib,
                refresh: false,
            },
        );
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

    /// The peer is to hear that it has been told everything, once it has (RFC 4724 §2).
    pub(crate) fn end_of_rib(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.end_of_rib = true;
        }
    }

    /// The peer asked for everything again (RFC 2918).
    pub(crate) fn refresh(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.refresh = true;
        }
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
            } else if std::mem::take(&mut member.end_of_rib) {
                return Some(ends_of_rib(self.key.families));
            } else if std::mem::take(&mut member.refresh) {
                member.cursor = 0;
            } else {
                return None;
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
        let mut to = from;
        let mut withdrawn: PerFamily<Vec<Nlri>> = PerFamily::default();
        let mut order: Vec<Bucket<'_>> = Vec::new();
        let mut positions: HashMap<(*const Attributes, Source, Family), usize> = HashMap::new();
        for (version, prefix) in self.log.range(from + 1..).take(BATCH) {
            to = *version;
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
        let mut writer = Writer::default();
        writer.withdrawals(&withdrawn);
        order
            .iter()
            .for_each(|bucket| bucket.encode(self.key.four_octet_as, &mut writer));
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

/// Prefixes of one family with one attribute set, from one member or from elsewhere.
struct Bucket<'a> {
    family: Family,
    attributes: &'a Arc<Attributes>,
    source: Source,
    prefixes: Vec<Nlri>,
    /// Those that the source itself has to hear withdrawn.
    replaced: Vec<Nlri>,
}

impl Bucket<'_> {
    fn encode(&self, four_octet_as: bool, writer: &mut Writer) {
        let (family, prefixes) = (self.family, &self.prefixes[..]);
        let announce = |out: &mut Vec<u8>| {
            // RFC 8654 §4 in spirit: what cannot be said must not stay believed.
            wire::announce(family, self.attributes, prefixes, four_octet_as, out)
                .unwrap_or_else(|_| wire::withdraw(family, prefixes, out));
        };
        match self.source {
            Source::Local => writer.shared(announce),
            Source::Peer(peer) => {
                let (mut octets, mut withdrawal) = (Vec::new(), Vec::new());
                announce(&mut octets);
                wire::withdraw(family, &self.replaced, &mut withdrawal);
                writer.split(octets, peer, withdrawal);
            }
        }
    }
}

/// Octets of a chunk that is not yet full.
const CHUNK: usize = 32 * 1024;

/// Collects messages into chunks.
#[derive(Debug, Default)]
struct Writer {
    chunks: Vec<Chunk>,
    open: Vec<u8>,
}

impl Writer {
    /// Runs `write` where messages for everybody go.
    fn shared(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.open.len() >= CHUNK {
            self.close();
        }
        write(&mut self.open);
    }

    fn split(&mut self, octets: Vec<u8>, source: PeerId, withdrawal: Vec<u8>) {
        self.close();
        let split_horizon = Some((source, withdrawal.into()));
        self.chunks.push(Chunk {
            octets: octets.into(),
            split_horizon,
        });
    }

    fn withdrawals(&mut self, withdrawn: &PerFamily<Vec<Nlri>>) {
        for family in Family::ALL {
            self.shared(|out| wire::withdraw(family, &withdrawn[family], out));
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let octets = std::mem::take(&mut self.open).into();
            self.chunks.push(Chunk {
                octets,
                split_horizon: None,
            });
        }
    }

    fn finish(mut self) -> Vec<Chunk> {
        self.close();
        self.chunks
    }
}

fn ends_of_rib(families: Families) -> Arc<[u8]> {
    let mut octets = Vec::new();
    families
        .iter()
        .for_each(|family| wire::end_of_rib(family, &mut octets));
    octets.into()
}

#[cfg(test)]
mod tests;
