//! One path of a prefix, and what the decision sees of it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::decision::{Candidate, Reason};
use super::export::DEFAULT_LOCAL_PREF;
use super::next_hops::NextHops;
use super::table::Neighbour;
use super::{PeerId, Source};
use crate::wire::Attributes;

/// One path.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) source: Source,
    pub(crate) path_id: u32,
    pub(crate) received: Arc<Attributes>,
    /// After import policy, or why it may not take part.
    pub(crate) imported: Result<Arc<Attributes>, Reason>,
    pub(crate) stale: bool,
    /// Not told again since the peer began to tell everything again (RFC 7313).
    pub(crate) awaited: bool,
    pub(crate) reason: Reason,
}

impl Path {
    pub(super) fn is(&self, source: Source, path_id: u32) -> bool {
        self.source == source && self.path_id == path_id
    }

    /// The attributes that count: after import policy, or as they came where there are none after it.
    pub(crate) fn effective(&self) -> &Arc<Attributes> {
        self.imported.as_ref().unwrap_or(&self.received)
    }

    /// Whether packets go this way.
    pub(crate) fn forwards(&self) -> bool {
        matches!(self.reason, Reason::Best | Reason::Multipath)
    }
}

/// Whether two imports come to the same.
pub(super) fn same(
    a: &Result<Arc<Attributes>, Reason>,
    b: &Result<Arc<Attributes>, Reason>,
) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => Arc::ptr_eq(a, b),
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

pub(super) fn candidate(
    path: &Path,
    neighbours: &HashMap<PeerId, Neighbour>,
    next_hops: &NextHops,
) -> Candidate {
    let neighbour = match path.source {
        Source::Local => None,
        Source::Peer(peer) => neighbours.get(&peer),
    };
    let attributes = path.effective();
    let metric = attributes
        .next_hop
        .and_then(|next_hop| next_hops.metric(next_hop.address));
    let usable = match &path.imported {
        Err(reason) => Err(*reason),
        // A route of our own holds whatever its next hop is: the node has the addresses.
        Ok(_) if neighbour.is_some() && metric.is_none() => Err(Reason::NextHopUnresolved),
        Ok(_) => Ok(()),
    };
    let router_id = neighbour.map_or(Ipv4Addr::UNSPECIFIED, |neighbour| neighbour.router_id);
    Candidate {
        usable,
        local: path.source == Source::Local,
        external: neighbour.is_some_and(|neighbour| neighbour.external),
        local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
        as_path_length: attributes.as_path.len(),
        origin: attributes.origin,
        neighbour: attributes.as_path.neighbour(),
        med: attributes.med.unwrap_or(0),
        metric: metric.unwrap_or(0),
        router_id: u32::from(attributes.originator_id.unwrap_or(router_id)),
        cluster_list_length: attributes.cluster_list.len(),
        peer: neighbour.map(|neighbour| neighbour.address),
        path_id: path.path_id,
    }
}
