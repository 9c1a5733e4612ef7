//! What peers tell, for a person who listens: nothing is kept while nobody does, and never more than so many changes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::Speaker;
use crate::wire::Attributes;

/// A change that a peer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The peer.
    pub peer: IpAddr,
    /// The prefix.
    pub prefix: IpNetwork,
    /// What it told of it.
    pub change: Told,
}

/// What was told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// There is a way.
    Announced {
        /// As it came; none where they are too long to keep for whoever reads slowly.
        attributes: Option<Arc<Attributes>>,
        /// Why it is not used, when loop checks or import policy refuse it.
        refused: Option<String>,
    },
    /// There is none any more.
    Withdrawn,
}

/// Changes since they were last taken; the oldest go when there are too many.
#[derive(Debug, Default)]
pub(super) struct Ear {
    most: usize,
    changes: VecDeque<Heard>,
    missed: u64,
}

/// AS numbers and communities that are kept of one announcement.
const LONGEST: usize = 128;

impl Speaker {
    /// From now on keeps up to `most` changes that peers tell, until they are taken; 0: nobody listens.
    pub fn listen(&mut self, most: usize) {
        if most == 0 && self.ear.most > 0 {
            self.ear = Ear::default();
        }
        self.ear.most = most;
    }

    /// What peers told since this was last asked, oldest first, and how many changes before these were dropped.
    pub fn heard(&mut self) -> (Vec<Heard>, u64) {
        let missed = std::mem::take(&mut self.ear.missed);
        (self.ear.changes.drain(..).collect(), missed)
    }
}

impl Ear {
    pub(super) fn is_open(&self) -> bool {
        self.most > 0
    }

    pub(super) fn note(&mut self, heard: Heard) {
        while self.changes.len() >= self.most.max(1) {
            self.changes.pop_front();
            self.missed += 1;
        }
        self.changes.push_back(heard);
    }
}

/// The attributes, if they may be kept.
pub(super) fn bounded(attributes: &Arc<Attributes>) -> Option<Arc<Attributes>> {
    let length = attributes.as_path.len()
        + attributes.communities.len()
        + attributes.large_communities.len()
        + attributes.extended_communities.len();
    (length <= LONGEST).then(|| Arc::clone(attributes))
}
