//! Learned routes with their next hops resolved.

use crate::{
    kernel::{
        route::{NextHop, Route, RouteSet, Target},
        underlay::Snapshot,
    },
    speaker::Learned,
};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

/// Every learned prefix with a way to it; a next hop is resolved once, however many prefixes share it.
///
/// A prefix whose next hops all fail to resolve is left out: the speaker is told the same and withdraws it.
///
/// What the node itself sends there comes from the address that others know it by, when that is on no link: the kernel would take
/// the link's, to which perhaps nobody has a route. `own` are the addresses that others know it by.
pub(crate) fn routes(learned: &Learned, underlay: &Snapshot, own: Vec<IpAddr>) -> RouteSet {
    let apart = |own: &IpAddr| underlay.is_apart(*own);
    let sources: Vec<IpAddr> = own.into_iter().filter(apart).collect();
    let mut ways: HashMap<IpAddr, BTreeSet<NextHop>> = HashMap::new();
    let mut routes = RouteSet::new();
    for route in learned.iter() {
        let mut hops = BTreeSet::new();
        for path in &route.paths {
            let address = path.next_hop.address;
            let way = ways.entry(address).or_insert_with(|| {
                underlay
                    .resolve(address)
                    .map(|r| r.next_hops(address))
                    .unwrap_or_default()
            });
            hops.extend(way.iter().cloned());
        }
        if !hops.is_empty() {
            routes.insert(
                route.prefix,
                Route {
                    target: Target::Via(hops),
                    src: sources
                        .iter()
                        .copied()
                        .find(|own| own.is_ipv4() == route.prefix.is_ipv4()),
                },
            );
        }
    }
    routes
}
