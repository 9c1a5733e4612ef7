//! The agent's routes: pods, own blocks and what was learned, as one desired set that a sink makes true by difference.
//!
//! All carry `ROUTE_PROTOCOL` and [`METRIC`] in the main table, so that an agent with no memory knows its own and a route of another
//! owner is never overwritten: it has another metric, or is reported as being in the way.

mod diff;
mod sink;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

pub use self::sink::{Adopted, Applied, Failure, RouteSink};
pub use super::nexthop::{NextHop, NextHops};

/// Metric of every route we write. Connected, static and autoconfigured routes of the node (0 to 1024 by custom) win over what was learned.
pub const METRIC: u32 = 2048;

/// Everything that the agent wants in the main table.
pub type RouteSet = BTreeMap<IpNetwork, Route>;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where packets go.
    pub target: Target,
    /// Source address of what the node itself sends there.
    pub src: Option<IpAddr>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A pod of this node.
    Pod {
        /// Host side name of its link.
        link: String,
    },
    /// Nowhere: an own block's addresses that no pod has.
    Unreachable,
    /// Other nodes or routers, all of equal worth.
    Via(NextHops),
}
