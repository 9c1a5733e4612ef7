//! Every path of every prefix, and which of them are used.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::decision::{self, Multipath, Reason};
use super::interner::Interner;
use super::next_hops::NextHops;
use super::path::{Path, candidate, same};
use super::{PeerId, Source};
use crate::family::{Families, Family, PerFamily};
use crate::wire::{Attributes, Nlri};

/// The loc-RIB with all adj-ins in it.
#[derive(Debug)]
pub(crate) struct Table {
    routes: HashMap<IpNetwork, Route>,
    dirty: Vec<IpNetwork>,
    pub(crate) interner: Interner,
    pub(crate) next_hops: NextHops,
    neighbours: HashMap<PeerId, Neighbour>,
    multipath: Multipath,
}

/// What the decision asks about the peer of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) address: IpAddr,
    pub(crate) external: bool,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) received: PerFamily<u32>,
}

/// The paths of one prefix; after a decision in order of merit.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) paths: Vec<Path>,
    dirty: bool,
    /// Digest of the next hops last handed to the kernel's side; 0 for none.
    forwarded: u64,
}

/// The best path as exporters see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BestPath<'a> {
    pub(crate) source: Source,
    pub(crate) external: bool,
    pub(crate) attributes: &'a Attributes,
}

impl Table {
    pub(crate) fn new(multipath: Multipath) -> Self {
        Self {
            routes: HashMap::new(),
            dirty: Vec::new(),
            interner: Interner::default(),
            next_hops: NextHops::default(),
            neighbours: HashMap::new(),
            multipath,
        }
    }

    /// A peer's session is up; paths it left from before keep their place.
    pub(crate) fn meet(
        &mut self,
        peer: PeerId,
        address: IpAddr,
        external: bool,
        router_id: Ipv4Addr,
    ) {
        let received = self
            .neighbours
            .get(&peer)
            .map_or_else(PerFamily::default, |neighbour| neighbour.received);
        self.neighbours.insert(
            peer,
            Neighbour {
                address,
                external,
                router_id,
                received,
            },
        );
    }

    pub(crate) fn neighbour(&self, peer: PeerId) -> Option<&Neighbour> {
        self.neighbours.get(&peer)
    }

    /// Puts a path in or replaces it.
    pub(crate) fn announce(
        &mut self,
        source: Source,
        nlri: Nlri,
        received: Arc<Attributes>,
        imported: Result<Arc<Attributes>, Reason>,
    ) {
        let route = self.routes.entry(nlri.prefix).or_default();
        if let Some(path) = route
            .paths
            .iter_mut()
            .find(|path| path.is(source, nlri.path_id))
        {
            (path.stale, path.awaited) = (false, false);
            if Arc::ptr_eq(&path.received, &received) && same(&path.imported, &imported) {
                return;
            }
            let old = Arc::clone(path.effective());
            (path.received, path.imported) = (received, imported);
            replace_next_hop(&mut self.next_hops, Some(&old), Some(path.effective()));
        } else {
            let path = Path {
                source,
                path_id: nlri.path_id,
                received,
                imported,
                stale: false,
                awaited: false,
                reason: Reason::Pending,
            };
            replace_next_hop(&mut self.next_hops, None, Some(path.effective()));
            route.paths.push(path);
            count(&mut self.neighbours, source, &nlri.prefix, 1);
        }
        mark(&mut self.dirty, route, nlri.prefix);
    }

    /// Takes a path out; one that is not there is ignored.
    pub(crate) fn withdraw(&mut self, source: Source, nlri: Nlri) {
        let Some(route) = self.routes.get_mut(&nlri.prefix) else {
            return;
        };
        let Some(position) = route
            .paths
            .iter()
            .position(|path| path.is(source, nlri.path_id))
        else {
            return;
        };
        let path = route.paths.remove(position);
        replace_next_hop(&mut self.next_hops, Some(path.effective()), None);
        count(&mut self.neighbours, source, &nlri.prefix, -1);
        mark(&mut self.dirty, route, nlri.prefix);
    }

    /// Takes every path of `source` out for which `doomed` holds.
    pub(crate) fn withdraw_where(
        &mut self,
        source: Source,
        doomed: impl Fn(&IpNetwork, &Path) -> bool,
    ) {
        for (prefix, route) in &mut self.routes {
            let before = route.paths.len();
            route.paths.retain(|path| {
                let goes = path.source == source && doomed(prefix, path);
                if goes {
                    replace_next_hop(&mut self.next_hops, Some(path.effective()), None);
                    count(&mut self.neighbours, source, prefix, -1);
                }
                !goes
            });
            if route.paths.len() != before {
                mark(&mut self.dirty, route, *prefix);
            }
        }
    }

    /// The peer is away: its paths of `families` are kept, those of others go.
    pub(crate) fn mark_stale(&mut self, peer: PeerId, families: Families) {
        // RFC 4724 §4.2: what was stale before and has not come again is not kept a second time.
        self.withdraw_where(Source::Peer(peer), |prefix, path| {
            path.stale || !families[Family::of(prefix)]
        });
        for (_, path) in self.paths_of(peer) {
            // Of a refresh that was under way nothing follows any more: these routes are as good as the others.
            (path.stale, path.awaited) = (true, false);
        }
    }

    /// The peer has said all it has to say about `family`, or its time is over.
    pub(crate) fn sweep_stale(&mut self, peer: PeerId, family: Family) {
        self.withdraw_where(Source::Peer(peer), |prefix, path| {
            path.stale && Family::of(prefix) == family
        });
    }

    /// The peer begins to tell everything of `family` again; a second beginning starts over (RFC 7313 §4).
    pub(crate) fn begin_refresh(&mut self, peer: PeerId, family: Family) {
        for (prefix, path) in self.paths_of(peer) {
            path.awaited |= Family::of(prefix) == family;
        }
    }

    /// The peer has told everything again: what did not come is gone.
    pub(crate) fn end_refresh(&mut self, peer: PeerId, family: Family) {
        self.withdraw_where(Source::Peer(peer), |prefix, path| {
            path.awaited && Family::of(prefix) == family
        });
    }

    /// Judges all paths of a peer again, with what it announced.
    pub(crate) fn reimport(
        &mut self,
        peer: PeerId,
        import: impl Fn(&IpNetwork, &Arc<Attributes>, &mut Interner) -> Result<Arc<Attributes>, Reason>,
    ) {
        for (prefix, route) in &mut self.routes {
            let mut changed = false;
            for path in route
                .paths
                .iter_mut()
                .filter(|path| path.source == Source::Peer(peer))
            {
                let imported = import(prefix, &path.received, &mut self.interner);
                changed |= !same(&path.imported, &imported);
                let old = Arc::clone(path.effective());
                path.imported = imported;
                replace_next_hop(&mut self.next_hops, Some(&old), Some(path.effective()));
            }
            if changed {
                mark(&mut self.dirty, route, *prefix);
            }
        }
    }

    /// Something that only exporters see has changed about a prefix.
    pub(crate) fn touch(&mut self, prefix: &IpNetwork) {
        if let Some(route) = self.routes.get_mut(prefix) {
            mark(&mut self.dirty, route, *prefix);
        }
    }

    /// The way to these next hops is another one: their prefixes are decided again.
    pub(crate) fn next_hops_moved(&mut self, moved: &HashSet<IpAddr>) {
        let uses = |path: &Path| {
            path.effective()
                .next_hop
                .is_some_and(|next_hop| moved.contains(&next_hop.address))
        };
        for (prefix, route) in &mut self.routes {
            if route.paths.iter().any(uses) {
                mark(&mut self.dirty, route, *prefix);
            }
        }
    }

    /// The prefixes to decide for which `due` holds, in the order in which they first changed; the others stay.
    pub(crate) fn take_dirty(&mut self, due: impl Fn(&IpNetwork) -> bool) -> Vec<IpNetwork> {
        self.dirty.extract_if(.., |prefix| due(prefix)).collect()
    }

    /// Decides one prefix; says whether the kernel's side has to know. Forgets the prefix if no path is left.
    pub(crate) fn decide(&mut self, prefix: IpNetwork) -> bool {
        let Entry::Occupied(mut entry) = self.routes.entry(prefix) else {
            return false;
        };
        let route = entry.get_mut();
        route.dirty = false;
        let candidates: Vec<_> = route
            .paths
            .iter()
            .map(|path| candidate(path, &self.neighbours, &self.next_hops))
            .collect();
        let reasons = decision::decide(&candidates, self.multipath);
        for (path, reason) in route.paths.iter_mut().zip(reasons) {
            path.reason = reason;
        }
        route
            .paths
            .sort_by_key(|path| (path.reason, path.source, path.path_id));
        let forwarded = digest(route, &self.next_hops);
        let changed = std::mem::replace(&mut route.forwarded, forwarded) != forwarded;
        if route.paths.is_empty() {
            entry.remove();
        }
        changed
    }

    pub(crate) fn route(&self, prefix: &IpNetwork) -> Option<&Route> {
        self.routes.get(prefix)
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = (&IpNetwork, &Route)> {
        self.routes.iter()
    }

    pub(crate) fn best(&self, prefix: &IpNetwork) -> Option<BestPath<'_>> {
        let path = self
            .routes
            .get(prefix)?
            .paths
            .first()
            .filter(|path| path.reason == Reason::Best)?;
        let external = match path.source {
            Source::Local => false,
            Source::Peer(peer) => self
                .neighbours
                .get(&peer)
                .is_some_and(|neighbour| neighbour.external),
        };
        Some(BestPath {
            source: path.source,
            external,
            attributes: path.imported.as_deref().ok()?,
        })
    }

    fn paths_of(&mut self, peer: PeerId) -> impl Iterator<Item = (&IpNetwork, &mut Path)> {
        let routes = self.routes.iter_mut();
        let paths = routes
            .flat_map(|(prefix, route)| route.paths.iter_mut().map(move |path| (prefix, path)));
        paths.filter(move |(_, path)| path.source == Source::Peer(peer))
    }
}

fn mark(dirty: &mut Vec<IpNetwork>, route: &mut Route, prefix: IpNetwork) {
    if !std::mem::replace(&mut route.dirty, true) {
        dirty.push(prefix);
    }
}

fn replace_next_hop(
    next_hops: &mut NextHops,
    old: Option<&Arc<Attributes>>,
    new: Option<&Arc<Attributes>>,
) {
    let address = |set: &Arc<Attributes>| set.next_hop.map(|next_hop| next_hop.address);
    let (old, new) = (old.and_then(address), new.and_then(address));
    if old != new {
        new.into_iter()
            .for_each(|address| next_hops.acquire(address));
        old.into_iter()
            .for_each(|address| next_hops.release(address));
    }
}

fn count(neighbours: &mut HashMap<PeerId, Neighbour>, source: Source, prefix: &IpNetwork, by: i32) {
    if let Source::Peer(peer) = source
        && let Some(neighbour) = neighbours.get_mut(&peer)
    {
        let received = &mut neighbour.received[Family::of(prefix)];
        *received = received.saturating_add_signed(by);
    }
}

/// 0 when nothing is forwarded by this route.
fn digest(route: &Route, next_hops: &NextHops) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut any = false;
    for path in route
        .paths
        .iter()
        .filter(|path| path.forwards() && path.source != Source::Local)
    {
        any = true;
        let next_hop = path
            .imported
            .as_ref()
            .ok()
            .and_then(|attributes| attributes.next_hop);
        next_hop.hash(&mut hasher);
        next_hop
            .and_then(|next_hop| next_hops.metric(next_hop.address))
            .hash(&mut hasher);
        path.source.hash(&mut hasher);
    }
    if any { hasher.finish() | 1 } else { 0 }
}
