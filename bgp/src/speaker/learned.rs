//! The routes that the kernel should have: best paths of prefixes that peers told us.

use ipnetwork::IpNetwork;

use super::{LearnedChange, LearnedPath, LearnedRoute, Speaker};
use crate::rib::Source;
use crate::rib::path::Path;
use crate::rib::table::Route;

impl Speaker {
    /// All learned routes, in order of prefix; empty while best path is deferred.
    pub fn learned(&mut self) -> Vec<LearnedRoute> {
        self.decide_dirty();
        let routes = self.table.routes();
        let mut routes: Vec<_> = routes
            .filter_map(|(prefix, route)| self.learned_route(prefix, route))
            .collect();
        routes.sort_by_key(|route| route.prefix);
        routes
    }

    /// What changed since this was last asked, each prefix once, in order of prefix.
    pub fn learned_changes(&mut self) -> Vec<LearnedChange> {
        self.decide_dirty();
        self.learned_told = false;
        let changed = std::mem::take(&mut self.learned);
        let change = |prefix: IpNetwork| {
            let route = self
                .table
                .route(&prefix)
                .and_then(|route| self.learned_route(&prefix, route));
            LearnedChange { prefix, route }
        };
        changed.into_iter().map(change).collect()
    }

    fn learned_route(&self, prefix: &IpNetwork, route: &Route) -> Option<LearnedRoute> {
        let mut paths: Vec<LearnedPath> = Vec::new();
        for path in route.paths.iter().filter(|path| path.forwards()) {
            if let Some(path) = self.learned_path(path)
                && !paths.iter().any(|other| other.next_hop == path.next_hop)
            {
                paths.push(path);
            }
        }
        (!paths.is_empty()).then_some(LearnedRoute {
            prefix: *prefix,
            paths,
        })
    }

    fn learned_path(&self, path: &Path) -> Option<LearnedPath> {
        let Source::Peer(peer) = path.source else {
            return None;
        };
        let attributes = path.imported.as_ref().ok()?;
        let next_hop = attributes.next_hop?;
        Some(LearnedPath {
            peer: self.table.neighbour(peer)?.address,
            next_hop,
            metric: self.table.next_hops.metric(next_hop.address)?,
            attributes: attributes.clone(),
            stale: path.stale,
        })
    }
}
