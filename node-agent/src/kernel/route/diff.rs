//! Pure half of the route sink: what the kernel has, what it should have, and the writes between.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use margay_proto::names::ROUTE_PROTOCOL;

use super::METRIC;
use crate::kernel::netlink::message::{INET, INET6, Message};
use crate::kernel::netlink::object::{
    RT_TABLE_MAIN, RTA_NH_ID, RTN_UNICAST, RTN_UNREACHABLE, RouteEntry,
};

/// A route in the kernel's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) target: Place,
    pub(super) src: Option<IpAddr>,
}

/// A target in the kernel's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Out of a pod's link.
    Link(u32),
    Unreachable,
    /// Through a nexthop group.
    Group(u32),
    /// Of our protocol, but of no shape that we write (any more).
    Other,
}

/// Whether a route is written as ours: owner and table.
pub(super) fn is_ours(entry: &RouteEntry) -> bool {
    entry.protocol == ROUTE_PROTOCOL && entry.table == RT_TABLE_MAIN
}

/// Whether a route stands where ours for this prefix would.
pub(super) fn is_in_place(entry: &RouteEntry) -> bool {
    entry.table == RT_TABLE_MAIN && entry.metric == METRIC && entry.tos == 0
}

impl Installed {
    pub(super) fn of(entry: &RouteEntry) -> Self {
        let target = match (entry.kind, entry.nexthop, entry.hops.as_slice()) {
            (RTN_UNREACHABLE, ..) => Place::Unreachable,
            (RTN_UNICAST, Some(id), _) => Place::Group(id),
            (RTN_UNICAST, None, [hop]) if hop.gateway.is_none() => Place::Link(hop.ifindex),
            _ => Place::Other,
        };
        Self {
            target,
            src: entry.src,
        }
    }
}

/// The writes between two sets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) add: Vec<(IpNetwork, Installed)>,
    pub(super) replace: Vec<(IpNetwork, Installed)>,
    pub(super) remove: Vec<IpNetwork>,
}

pub(super) fn diff(
    actual: &BTreeMap<IpNetwork, Installed>,
    desired: &BTreeMap<IpNetwork, Installed>,
) -> Diff {
    let mut diff = Diff::default();
    for (prefix, wanted) in desired {
        match actual.get(prefix) {
            None => diff.add.push((*prefix, *wanted)),
            Some(found) if found != wanted => diff.replace.push((*prefix, *wanted)),
            Some(_) => {}
        }
    }
    diff.remove
        .extend(actual.keys().filter(|prefix| !desired.contains_key(prefix)));
    diff
}

/// Request for a route. A new one is refused where another owner's stands in its place (`NLM_F_EXCL`); only our own is replaced.
pub(super) fn new_route(prefix: IpNetwork, route: Installed, flags: i32) -> Message {
    let (kind, scope) = match route.target {
        Place::Link(_) => (RTN_UNICAST, libc::RT_SCOPE_LINK),
        Place::Unreachable => (RTN_UNREACHABLE, libc::RT_SCOPE_UNIVERSE),
        Place::Group(_) | Place::Other => (RTN_UNICAST, libc::RT_SCOPE_UNIVERSE),
    };
    // IPv6 has no scopes.
    let scope = if prefix.is_ipv6() {
        libc::RT_SCOPE_UNIVERSE
    } else {
        scope
    };
    let message = header(
        libc::RTM_NEWROUTE,
        libc::NLM_F_CREATE | flags,
        prefix,
        kind,
        scope,
        METRIC,
    );
    let message = match route.target {
        Place::Link(ifindex) => message.u32(libc::RTA_OIF, ifindex),
        Place::Group(id) => message.u32(RTA_NH_ID, id),
        Place::Unreachable | Place::Other => message,
    };
    match route.src {
        Some(src) => message.ip(libc::RTA_PREFSRC, src),
        None => message,
    }
}

/// Request that removes our route of this prefix and metric, whatever its shape.
pub(super) fn remove_route(prefix: IpNetwork, metric: u32) -> Message {
    let scope = if prefix.is_ipv6() {
        libc::RT_SCOPE_UNIVERSE
    } else {
        libc::RT_SCOPE_NOWHERE
    };
    header(libc::RTM_DELROUTE, 0, prefix, 0, scope, metric)
}

fn header(
    message: u16,
    flags: i32,
    prefix: IpNetwork,
    kind: u8,
    scope: u8,
    metric: u32,
) -> Message {
    let family = if prefix.is_ipv4() { INET } else { INET6 };
    Message::new(message, flags)
        .raw(&[
            family,
            prefix.prefix(),
            0,
            0,
            RT_TABLE_MAIN as u8,
            ROUTE_PROTOCOL,
            scope,
            kind,
            0,
            0,
            0,
            0,
        ])
        .ip(libc::RTA_DST, prefix.network())
        .u32(libc::RTA_PRIORITY, metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[(&str, Place)]) -> BTreeMap<IpNetwork, Installed> {
        all.iter()
            .map(|(prefix, target)| {
                (
                    prefix.parse().unwrap(),
                    Installed {
                        target: *target,
                        src: None,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn equal_sets_need_no_write() {
        let both = set(&[
            ("10.0.0.0/26", Place::Unreachable),
            ("fd00::5/128", Place::Link(7)),
        ]);
        assert_eq!(diff(&both, &both), Diff::default());
    }

    #[test]
    fn each_difference_is_one_write() {
        let actual = set(&[
            ("10.0.0.0/26", Place::Unreachable),
            ("10.0.0.5/32", Place::Link(7)),
            ("10.9.0.0/26", Place::Group(1)),
        ]);
        let desired = set(&[
            ("10.0.0.0/26", Place::Unreachable),
            ("10.0.0.5/32", Place::Link(8)),
            ("10.0.0.6/32", Place::Link(9)),
        ]);
        let diff = diff(&actual, &desired);
        assert_eq!(
            diff.add
                .iter()
                .map(|(p, _)| p.to_string())
                .collect::<Vec<_>>(),
            ["10.0.0.6/32"]
        );
        assert_eq!(
            diff.replace
                .iter()
                .map(|(p, _)| p.to_string())
                .collect::<Vec<_>>(),
            ["10.0.0.5/32"]
        );
        assert_eq!(
            diff.remove
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["10.9.0.0/26"]
        );
    }

    #[test]
    fn odd_shapes_of_our_protocol_are_never_taken_for_right() {
        let mut entry = RouteEntry {
            prefix: "10.0.0.0/24".parse().unwrap(),
            table: RT_TABLE_MAIN,
            protocol: ROUTE_PROTOCOL,
            kind: 6,
            tos: 0,
            metric: METRIC,
            src: None,
            nexthop: None,
            hops: vec![],
        };
        assert_eq!(Installed::of(&entry).target, Place::Other);
        entry.kind = RTN_UNICAST;
        assert_eq!(Installed::of(&entry).target, Place::Other);
        assert!(is_ours(&entry) && is_in_place(&entry));
        entry.metric = 0;
        assert!(!is_in_place(&entry));
    }
}
