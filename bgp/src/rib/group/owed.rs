//! What a member is to hear once it has been told everything: markers, and everything again.

use std::sync::Arc;

use crate::family::{Families, Family};
use crate::wire::{self, Refresh};

/// What is due. It outlives the membership: a peer that moves to another group is owed the same there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    /// End-of-RIB (RFC 4724 §2).
    end_of_rib: bool,
    /// Everything again (RFC 2918).
    again: bool,
    /// Families of which everything again has a beginning and an end (RFC 7313).
    marked: Families,
    /// Families of which the beginning was said, and the end is due.
    begun: Families,
}

impl Owed {
    /// End-of-RIB, if it is due.
    pub(crate) fn end_of_rib(due: bool) -> Self {
        Self {
            end_of_rib: due,
            ..Self::default()
        }
    }

    /// Everything again, because the peer asked for `family`.
    pub(crate) fn refresh(family: Family, marked: bool) -> Self {
        let mut owed = Self {
            again: true,
            ..Self::default()
        };
        owed.marked[family] = marked;
        owed
    }

    pub(super) fn add(&mut self, other: Self) {
        self.end_of_rib |= other.end_of_rib;
        self.again |= other.again;
        for family in Family::ALL {
            self.marked[family] |= other.marked[family];
            self.begun[family] |= other.begun[family];
        }
    }

    /// What comes next, and whether everything follows again. RFC 7313 §4: no beginning before End-of-RIB.
    pub(super) fn next(&mut self, families: Families) -> Option<(Arc<[u8]>, bool)> {
        if std::mem::take(&mut self.end_of_rib) {
            let mut octets = Vec::new();
            families
                .iter()
                .for_each(|family| wire::end_of_rib(family, &mut octets));
            return Some((octets.into(), false));
        }
        if !self.begun.is_empty() {
            let begun = std::mem::take(&mut self.begun);
            return Some((markers(begun, Refresh::End), false));
        }
        if !std::mem::take(&mut self.again) {
            return None;
        }
        self.begun = std::mem::take(&mut self.marked);
        Some((markers(self.begun, Refresh::Begin), true))
    }
}

fn markers(families: Families, refresh: Refresh) -> Arc<[u8]> {
    let octets = families
        .iter()
        .flat_map(|family| wire::encode_route_refresh(family, refresh));
    octets.collect()
}
