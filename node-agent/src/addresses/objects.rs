//! Which `IPBlock` objects are this node's now: the watch lags, and may still bring one that was given back.
//!
//! Taken for ours again, its addresses would go to pods here while another node claims the block.

use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};

/// By UID, which no two objects of one name share.
#[derive(Debug, Default)]
pub(super) struct Objects {
    seen: BTreeMap<IpNetwork, String>,
    /// Deleted by us; the watch has not said so yet.
    given_back: BTreeSet<String>,
}

impl Objects {
    /// Notes an object that the watch brought; `false` when it is one that was given back.
    pub(super) fn seen(&mut self, cidr: IpNetwork, uid: &str) -> bool {
        if self.given_back.contains(uid) {
            return false;
        }
        self.seen.insert(cidr, uid.to_owned());
        true
    }

    /// Notes a deletion that the watch brought; `false` when the object was given back, which is known, and may be claimed anew.
    pub(super) fn gone(&mut self, cidr: IpNetwork, uid: &str) -> bool {
        if self.given_back.remove(uid) {
            return false;
        }
        self.seen.remove(&cidr);
        true
    }

    /// Forgets what a complete list does not have: the watch will not speak of it again.
    pub(super) fn listed(&mut self, uids: &BTreeSet<&str>) {
        self.given_back.retain(|uid| uids.contains(uid.as_str()));
        self.seen.retain(|_, uid| uids.contains(uid.as_str()));
    }

    /// Notes that the block was deleted by us.
    pub(super) fn give_back(&mut self, cidr: IpNetwork) {
        self.given_back.extend(self.seen.remove(&cidr));
    }
}
