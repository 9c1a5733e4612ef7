//! Peers and routes as a person sees them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnetwork::IpNetwork;

use super::Speaker;
use super::peer::Peer;
use crate::family::{Family, PerFamily};
use crate::policy::AnyCommunity;
use crate::rib::decision::Reason;
use crate::rib::export::DEFAULT_LOCAL_PREF;
use crate::rib::path::Path;
use crate::rib::{PeerId, Source};
use crate::session::fsm::State;
use crate::status::{
    LastError, Lookup, PathStatus, PeerStatus, PrefixCounts, RouteFilter, RouteStatus, TableSize,
    View,
};
use crate::wire::{Attributes, Open};

impl Speaker {
    /// Every peer, in order of address.
    pub fn peers(&self, now: Instant) -> Vec<PeerStatus> {
        let counts = self.prefix_counts();
        let mut peers: Vec<_> = self
            .peers
            .values()
            .map(|peer| self.peer_status(peer, &counts, now))
            .collect();
        peers.sort_by_key(|peer| peer.address);
        peers
    }

    /// Routes, in order of prefix; paths with the best one first.
    pub fn routes(&self, filter: &RouteFilter) -> Vec<RouteStatus> {
        let mut routes = match filter.view {
            View::All => self.paths(|_| true),
            View::Best => self.paths(Path::forwards),
            View::In(address) => match self.by_address.get(&address) {
                Some(id) => self.paths(|path| path.source == Source::Peer(*id)),
                None => Vec::new(),
            },
            View::Out(address) => self.told(address),
        };
        match filter.lookup {
            None => {}
            Some(Lookup::Exactly(prefix)) => routes.retain(|route| route.prefix == prefix),
            Some(Lookup::Covering(address)) => {
                let covering = routes.iter().filter(|r| r.prefix.contains(address));
                let longest = covering.map(|r| r.prefix).max_by_key(|p| p.prefix());
                routes.retain(|route| Some(route.prefix) == longest);
            }
        }
        routes.sort_by_key(|route| route.prefix);
        routes
    }

    /// How much there is, by a walk over all routes.
    pub fn table_size(&self) -> TableSize {
        let mut size = TableSize {
            attribute_sets: self.table.interner.len(),
            update_groups: self.groups.len(),
            ..TableSize::default()
        };
        for (prefix, route) in self.table.routes() {
            let family = Family::of(prefix);
            size.prefixes[family] += 1;
            size.paths[family] += route.paths.len();
        }
        size
    }

    fn paths(&self, wanted: impl Fn(&Path) -> bool) -> Vec<RouteStatus> {
        let mut routes = Vec::new();
        for (prefix, route) in self.table.routes() {
            let paths = route.paths.iter().filter(|path| wanted(path));
            let paths: Vec<_> = paths.map(|path| self.path_status(path)).collect();
            if !paths.is_empty() {
                routes.push(RouteStatus {
                    prefix: *prefix,
                    paths,
                });
            }
        }
        routes
    }

    pub(super) fn path_status(&self, path: &Path) -> PathStatus {
        let attributes = path.imported.as_ref().unwrap_or(&path.received);
        let peer = match path.source {
            Source::Local => None,
            Source::Peer(peer) => self
                .table
                .neighbour(peer)
                .map(|neighbour| neighbour.address),
        };
        let metric = attributes
            .next_hop
            .and_then(|next_hop| self.table.next_hops.metric(next_hop.address));
        let local_pref = Some(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
        PathStatus {
            peer,
            best: path.reason == Reason::Best,
            multipath: path.forwards() && path.source != Source::Local,
            stale: path.stale,
            reason: path.reason.to_string(),
            metric,
            local_pref,
            ..described(attributes)
        }
    }

    fn told(&self, address: IpAddr) -> Vec<RouteStatus> {
        let Some(id) = self.by_address.get(&address) else {
            return Vec::new();
        };
        let Some(group) = self
            .member_of
            .get(id)
            .and_then(|group| self.groups.get(group))
        else {
            return Vec::new();
        };
        let route = |(prefix, attributes): (&IpNetwork, &std::sync::Arc<Attributes>)| RouteStatus {
            prefix: *prefix,
            paths: vec![described(attributes)],
        };
        group.told(*id).map(route).collect()
    }

    /// Accepted and stale prefixes of every peer, in one walk.
    fn prefix_counts(&self) -> HashMap<PeerId, PerFamily<PrefixCounts>> {
        let mut counts: HashMap<PeerId, PerFamily<PrefixCounts>> = HashMap::new();
        for (prefix, route) in self.table.routes() {
            for path in &route.paths {
                let Source::Peer(peer) = path.source else {
                    continue;
                };
                let count = &mut counts.entry(peer).or_default()[Family::of(prefix)];
                count.received += 1;
                count.accepted += u32::from(path.imported.is_ok());
                count.stale += u32::from(path.stale);
            }
        }
        counts
    }

    fn peer_status(
        &self,
        peer: &Peer,
        counts: &HashMap<PeerId, PerFamily<PrefixCounts>>,
        now: Instant,
    ) -> PeerStatus {
        let furthest = peer.furthest();
        let negotiated = furthest.negotiated.as_ref();
        let remaining = |deadline: Option<Instant>| {
            deadline.map(|at| at.saturating_duration_since(now).as_secs())
        };
        let last = |entry: &Option<(String, Instant)>| last_error(entry, now);
        let remote = negotiated.map(|negotiated| &negotiated.remote);
        let configured_hold = u64::from(peer.config.hold_time);
        let hold_time =
            negotiated.map_or(configured_hold, |negotiated| negotiated.hold_time.as_secs());
        let by_configuration = peer.config.held_down.clone();
        let held_down = by_configuration
            .or_else(|| peer.held_down.clone())
            .map(|reason| LastError {
                reason,
                seconds_ago: 0,
            });
        PeerStatus {
            address: peer.config.address,
            description: peer.config.description.clone(),
            configured_as: peer.config.remote_as.to_string(),
            remote_as: remote.map(|open| open.asn),
            local_as: peer.local_as(self.config.local_as),
            router_id: remote.map(|open| open.router_id),
            state: if peer.is_wanted() {
                furthest.state
            } else {
                State::Idle
            },
            enabled: peer.config.held_down.is_none(),
            uptime_seconds: peer
                .established_since
                .map(|since| now.saturating_duration_since(since).as_secs()),
            established_count: peer.established_count,
            local_address: furthest.local_address,
            capabilities_sent: furthest
                .sent_open
                .as_ref()
                .map(capabilities)
                .unwrap_or_default(),
            capabilities_received: remote.map(capabilities).unwrap_or_default(),
            families: negotiated
                .map(|agreed| agreed.context.families.iter().collect())
                .unwrap_or_default(),
            hold_time_seconds: hold_time,
            keepalive_seconds: hold_time / 3,
            hold_remaining_seconds: remaining(furthest.timers.hold),
            connect_retry_seconds: remaining(peer.outgoing.timers.connect_retry),
            stale_remaining_seconds: remaining(peer.stale.map(|(_, until)| until)),
            last_sent: last(&peer.last_sent),
            last_received: last(&peer.last_received),
            last_error: held_down.or_else(|| last(&peer.last_error)),
            last_fault: last(&peer.last_fault),
            counters: peer.counters,
            prefixes: self.prefixes(peer, counts),
        }
    }

    fn prefixes(
        &self,
        peer: &Peer,
        counts: &HashMap<PeerId, PerFamily<PrefixCounts>>,
    ) -> PerFamily<PrefixCounts> {
        let mut prefixes = counts.get(&peer.id).copied().unwrap_or_default();
        let group = self
            .member_of
            .get(&peer.id)
            .and_then(|group| self.groups.get(group));
        let advertised = group
            .map(crate::rib::group::Group::advertised)
            .unwrap_or_default();
        for family in Family::ALL {
            prefixes[family].advertised = advertised[family];
            prefixes[family].maximum = peer.config.maximum_prefixes[family];
        }
        prefixes
    }
}

fn capabilities(open: &Open) -> Vec<String> {
    open.capabilities.iter().map(ToString::to_string).collect()
}

fn last_error(entry: &Option<(String, Instant)>, now: Instant) -> Option<LastError> {
    let (reason, at) = entry.as_ref()?;
    Some(LastError {
        reason: reason.clone(),
        seconds_ago: now.saturating_duration_since(*at).as_secs(),
    })
}

/// What attributes alone say.
pub(super) fn described(attributes: &Attributes) -> PathStatus {
    PathStatus {
        peer: None,
        best: false,
        multipath: false,
        stale: false,
        reason: String::new(),
        next_hop: attributes.next_hop.map(|next_hop| next_hop.to_string()),
        metric: None,
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin,
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: attributes
            .communities
            .iter()
            .map(ToString::to_string)
            .collect(),
        large_communities: attributes
            .large_communities
            .iter()
            .map(ToString::to_string)
            .collect(),
        extended_communities: attributes
            .extended_communities
            .iter()
            .map(|octets| AnyCommunity::Extended(*octets).to_string())
            .collect(),
    }
}
