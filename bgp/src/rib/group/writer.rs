//! Changes to octets: as few messages as the session allows, cut into chunks that members share.

use std::sync::Arc;

use crate::family::{Family, PerFamily};
use crate::rib::{PeerId, Source};
use crate::wire::{self, Attributes, Encoding, Nlri};

/// UPDATEs that share their fate.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) octets: Arc<[u8]>,
    /// The member these routes came from, and the withdrawal that it gets in their place.
    pub(super) split_horizon: Option<(PeerId, Arc<[u8]>)>,
}

/// Prefixes of one family with one attribute set, from one member or from elsewhere.
pub(super) struct Bucket<'a> {
    pub(super) family: Family,
    pub(super) attributes: &'a Arc<Attributes>,
    pub(super) source: Source,
    pub(super) prefixes: Vec<Nlri>,
    /// Those that the source itself has to hear withdrawn.
    pub(super) replaced: Vec<Nlri>,
}

impl Bucket<'_> {
    pub(super) fn encode(&self, writer: &mut Writer) {
        let (family, prefixes, encoding) = (self.family, &self.prefixes[..], writer.encoding);
        let announce = |out: &mut Vec<u8>| {
            // RFC 8654 §4: what cannot be said must not stay believed.
            wire::announce(family, self.attributes, prefixes, encoding, out)
                .unwrap_or_else(|_| wire::withdraw(family, prefixes, encoding, out));
        };
        match self.source {
            Source::Local => writer.shared(announce),
            Source::Peer(peer) => {
                let (mut octets, mut withdrawal) = (Vec::new(), Vec::new());
                announce(&mut octets);
                wire::withdraw(family, &self.replaced, encoding, &mut withdrawal);
                writer.split(octets, peer, withdrawal);
            }
        }
    }
}

/// Octets of a chunk that is not yet full.
const CHUNK: usize = 32 * 1024;

/// Collects messages into chunks.
#[derive(Debug)]
pub(super) struct Writer {
    encoding: Encoding,
    chunks: Vec<Chunk>,
    open: Vec<u8>,
}

impl Writer {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            chunks: Vec::new(),
            open: Vec::new(),
        }
    }

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

    pub(super) fn withdrawals(&mut self, withdrawn: &PerFamily<Vec<Nlri>>) {
        for family in Family::ALL {
            let (prefixes, encoding) = (&withdrawn[family], self.encoding);
            self.shared(|out| wire::withdraw(family, prefixes, encoding, out));
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

    pub(super) fn finish(mut self) -> Vec<Chunk> {
        self.close();
        self.chunks
    }
}
