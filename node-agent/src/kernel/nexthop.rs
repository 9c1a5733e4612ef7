//! Nexthop objects: which ones the kernel should have so that every route finds its group, with as few writes as possible.
//!
//! Every learned route points at a *group*, also with one member, and groups are changed in place where all their routes
//! agree on the change. So when a next hop is lost, one write moves however many routes use it, and none of them is touched:
//!
//! ```text
//!   10.1.0.0/24 ─┐                 ┌─ single 1: via 172.31.0.1 dev up0     lost: group 3 becomes {2}, one write
//!   10.2.0.0/24 ─┼─► group 3 {1,2} ┤
//!   10.3.0.0/24 ─┘                 └─ single 2: via 172.31.1.1 dev up1
//! ```
//!
//! This module decides and knows no socket. IPv6 routes refuse IPv4 objects while IPv4 routes take either, so singles are numbered
//! by the family of their gateway and groups by that of their routes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use margay_proto::names::{NEXTHOP_BASE_V4, NEXTHOP_BASE_V6, NEXTHOP_IDS, ROUTE_PROTOCOL};

use super::netlink::message::{INET, INET6, Message, family_of};
use super::netlink::object::{
    NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, NexthopEntry, RTM_DELNEXTHOP, RTM_NEWNEXTHOP,
    RTNH_F_ONLINK,
};

/// One way out: a router on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Address of the router.
    pub gateway: IpAddr,
    /// Interface it is on.
    pub ifindex: u32,
    /// Taken as being on the link even if no route says so.
    pub onlink: bool,
}

impl NextHop {
    /// A router that the node's own routes show to be on the link.
    pub const fn new(gateway: IpAddr, ifindex: u32) -> Self {
        Self {
            gateway,
            ifindex,
            onlink: false,
        }
    }
}

/// Next hops of equal worth.
pub type NextHops = BTreeSet<NextHop>;

/// The agent's nexthop objects, as believed to be in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) singles: BTreeMap<u32, NextHop>,
    pub(crate) groups: BTreeMap<u32, BTreeSet<u32>>,
    /// Ids in our ranges that somebody else uses.
    pub(crate) taken: BTreeSet<u32>,
}

/// What one prefix wants, and the group that its route points at now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) ipv4: bool,
    pub(crate) current: Option<u32>,
    pub(crate) hops: &'a NextHops,
}

/// Writes in order: `singles`, `groups`, then the routes, then `remove`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NexthopPlan {
    pub(crate) singles: Vec<(u32, NextHop)>,
    /// New groups, and groups whose members change in place.
    pub(crate) groups: Vec<(u32, BTreeSet<u32>)>,
    /// The group of each want, in the order of the wants.
    pub(crate) assigned: Vec<u32>,
    /// Groups first, then singles.
    pub(crate) remove: Vec<u32>,
}

impl Objects {
    /// Takes over one of the kernel's objects, if it is ours.
    pub(crate) fn adopt(&mut self, entry: &NexthopEntry) {
        if !is_in_range(entry.id) {
            return;
        }
        // Memberships stay: a dump lists groups before the singles in them, and a change of a single leaves its groups as they are.
        self.singles.remove(&entry.id);
        self.groups.remove(&entry.id);
        self.taken.remove(&entry.id);
        match (entry.gateway, entry.ifindex) {
            _ if entry.protocol != ROUTE_PROTOCOL => drop(self.taken.insert(entry.id)),
            _ if !entry.group.is_empty() => drop(
                self.groups
                    .insert(entry.id, entry.group.iter().copied().collect()),
            ),
            (Some(gateway), Some(ifindex)) => drop(self.singles.insert(
                entry.id,
                NextHop {
                    gateway,
                    ifindex,
                    onlink: entry.onlink,
                },
            )),
            // Of our protocol but of no shape we make: an empty group is one that no plan uses, so it goes.
            _ => drop(self.groups.insert(entry.id, BTreeSet::new())),
        }
    }

    /// Drops an object and its memberships, as the kernel does.
    pub(crate) fn forget(&mut self, id: u32) -> bool {
        let known = self.singles.remove(&id).is_some()
            | self.groups.remove(&id).is_some()
            | self.taken.remove(&id);
        for members in self.groups.values_mut() {
            members.remove(&id);
        }
        known
    }

    /// The next hops of a group.
    pub(crate) fn hops_of(&self, group: u32) -> NextHops {
        let members = self.groups.get(&group).into_iter().flatten();
        members
            .filter_map(|id| self.singles.get(id))
            .copied()
            .collect()
    }

    fn is_free(&self, id: u32) -> bool {
        !self.singles.contains_key(&id)
            && !self.groups.contains_key(&id)
            && !self.taken.contains(&id)
    }
}

/// The fewest writes that give every want a group with exactly its next hops.
pub(crate) fn plan(actual: &Objects, wants: &[Want<'_>]) -> NexthopPlan {
    let mut ids = Ids {
        actual,
        next: [NEXTHOP_BASE_V4, NEXTHOP_BASE_V6],
    };
    let (assigned, contents) = assign_groups(actual, wants, &mut ids);
    let mut plan = NexthopPlan {
        assigned,
        ..NexthopPlan::default()
    };
    let mut single_ids: BTreeMap<NextHop, u32> = actual
        .singles
        .iter()
        .rev()
        .map(|(id, hop)| (*hop, *id))
        .collect();
    let mut needed = BTreeSet::new();
    for (group, hops) in &contents {
        let mut members = BTreeSet::new();
        for hop in *hops {
            let id = *single_ids.entry(*hop).or_insert_with(|| {
                let id = ids.allocate(hop.gateway.is_ipv4());
                plan.singles.push((id, *hop));
                id
            });
            members.insert(id);
        }
        needed.extend(members.iter().copied());
        if actual.groups.get(group) != Some(&members) {
            plan.groups.push((*group, members));
        }
    }
    plan.remove
        .extend(actual.groups.keys().filter(|id| !contents.contains_key(id)));
    plan.remove
        .extend(actual.singles.keys().filter(|id| !needed.contains(id)));
    plan
}

/// Every want's group, and what the groups in use shall contain.
fn assign_groups<'a>(
    actual: &Objects,
    wants: &[Want<'a>],
    ids: &mut Ids<'_>,
) -> (Vec<u32>, BTreeMap<u32, &'a NextHops>) {
    // A group whose routes all want the same becomes that in place; where they differ it stays what it is.
    let mut unanimous: BTreeMap<u32, Option<&NextHops>> = BTreeMap::new();
    for want in wants {
        let Some(group) = want.current.filter(|id| actual.groups.contains_key(id)) else {
            continue;
        };
        let agreed = unanimous.entry(group).or_insert(Some(want.hops));
        if *agreed != Some(want.hops) {
            *agreed = None;
        }
    }
    let becomes: BTreeMap<u32, NextHops> = actual
        .groups
        .keys()
        .map(|&id| {
            (
                id,
                unanimous
                    .get(&id)
                    .copied()
                    .flatten()
                    .cloned()
                    .unwrap_or_else(|| actual.hops_of(id)),
            )
        })
        .collect();
    let mut by_content: HashMap<(bool, &NextHops), u32> = HashMap::new();
    for (id, hops) in becomes.iter().rev() {
        by_content.insert((*id < NEXTHOP_BASE_V6, hops), *id);
    }
    let mut contents = BTreeMap::new();
    let mut assigned = Vec::with_capacity(wants.len());
    for want in wants {
        let stays = want.current.filter(|id| becomes.get(id) == Some(want.hops));
        let id = stays.unwrap_or_else(|| {
            *by_content
                .entry((want.ipv4, want.hops))
                .or_insert_with(|| ids.allocate(want.ipv4))
        });
        contents.insert(id, want.hops);
        assigned.push(id);
    }
    (assigned, contents)
}

/// Hands out ids that neither the kernel nor this plan uses; what this plan frees is not used again before the next one.
struct Ids<'a> {
    actual: &'a Objects,
    next: [u32; 2],
}

impl Ids<'_> {
    fn allocate(&mut self, ipv4: bool) -> u32 {
        let next = &mut self.next[usize::from(!ipv4)];
        // A range has eight million ids and a group needs a route of its own: tables of that size do not fit a node.
        while !self.actual.is_free(*next) {
            *next += 1;
        }
        *next += 1;
        *next - 1
    }
}

fn is_in_range(id: u32) -> bool {
    [NEXTHOP_BASE_V4, NEXTHOP_BASE_V6]
        .iter()
        .any(|base| (*base..base + NEXTHOP_IDS).contains(&id))
}

/// Request that creates a single.
pub(crate) fn new_single(id: u32, hop: &NextHop) -> Message {
    let onlink = if hop.onlink { RTNH_F_ONLINK } else { 0 };
    header(
        RTM_NEWNEXTHOP,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        family_of(hop.gateway),
        onlink,
    )
    .u32(NHA_ID, id)
    .u32(NHA_OIF, hop.ifindex)
    .ip(NHA_GATEWAY, hop.gateway)
}

/// Request that creates a group, or changes its members in place.
pub(crate) fn set_group(id: u32, members: &BTreeSet<u32>) -> Message {
    // struct nexthop_grp { u32 id; u8 weight; u8 weight_high; u16 reserved; }, weight 0 meaning 1.
    let bytes: Vec<u8> = members
        .iter()
        .flat_map(|member| member.to_ne_bytes().into_iter().chain([0; 4]))
        .collect();
    header(
        RTM_NEWNEXTHOP,
        libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
        0,
        0,
    )
    .u32(NHA_ID, id)
    .attr(NHA_GROUP, &bytes)
}

/// Request that removes an object; the kernel would take its routes with it.
pub(crate) fn remove(id: u32) -> Message {
    Message::new(RTM_DELNEXTHOP, 0).raw(&[0; 8]).u32(NHA_ID, id)
}

/// `struct nhmsg`: family, scope, protocol, reserved, flags.
fn header(kind: u16, flags: i32, family: u8, nexthop_flags: u32) -> Message {
    debug_assert!(matches!(family, 0 | INET | INET6));
    let mut bytes = [family, 0, ROUTE_PROTOCOL, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&nexthop_flags.to_ne_bytes());
    Message::new(kind, flags).raw(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(n: u8) -> NextHop {
        NextHop::new(IpAddr::from([172, 31, 0, n]), 2)
    }

    fn hops(all: &[u8]) -> NextHops {
        all.iter().map(|n| hop(*n)).collect()
    }

    /// Applies a plan to the objects as the kernel would.
    fn done(actual: &Objects, plan: &NexthopPlan) -> Objects {
        let mut after = actual.clone();
        after.singles.extend(plan.singles.iter().copied());
        after.groups.extend(plan.groups.iter().cloned());
        for id in &plan.remove {
            after.forget(*id);
        }
        after
    }

    /// Plans wants of IPv4 prefixes, with the groups of the last plan as current, until nothing is left to write.
    fn step(actual: &mut Objects, current: &[Option<u32>], sets: &[&NextHops]) -> NexthopPlan {
        let wants: Vec<Want<'_>> = sets
            .iter()
            .enumerate()
            .map(|(n, &hops)| Want {
                ipv4: true,
                current: current.get(n).copied().flatten(),
                hops,
            })
            .collect();
        let plan = plan(actual, &wants);
        *actual = done(actual, &plan);
        for (want, id) in wants.iter().zip(&plan.assigned) {
            assert_eq!(&actual.hops_of(*id), want.hops);
        }
        plan
    }

    #[test]
    fn routes_with_equal_next_hops_share_a_group() {
        let mut objects = Objects::default();
        let (both, one) = (hops(&[1, 2]), hops(&[1]));
        let plan = step(&mut objects, &[], &[&both, &both, &one]);
        assert_eq!(
            (plan.singles.len(), plan.groups.len(), plan.remove.len()),
            (2, 2, 0)
        );
        assert_eq!(plan.assigned[0], plan.assigned[1]);
        let current: Vec<_> = plan.assigned.iter().copied().map(Some).collect();
        let again = step(&mut objects, &current, &[&both, &both, &one]);
        assert_eq!(
            again,
            NexthopPlan {
                assigned: plan.assigned,
                ..NexthopPlan::default()
            }
        );
    }

    #[test]
    fn losing_a_next_hop_is_one_write_and_moves_no_route() {
        let mut objects = Objects::default();
        let (both, one) = (hops(&[1, 2]), hops(&[1]));
        let before = step(&mut objects, &[], &[&both, &both, &one]);
        let current: Vec<_> = before.assigned.iter().copied().map(Some).collect();
        let after = step(&mut objects, &current, &[&one, &one, &one]);
        assert_eq!(
            after.assigned, before.assigned,
            "no route is written although another group has the same content"
        );
        assert_eq!((after.singles.len(), after.groups.len()), (0, 1));
        assert_eq!(after.remove.len(), 1, "the single that nobody uses");
    }

    #[test]
    fn routes_that_part_get_a_group_of_their_own() {
        let mut objects = Objects::default();
        let (both, two) = (hops(&[1, 2]), hops(&[2]));
        let before = step(&mut objects, &[], &[&both, &both]);
        let current: Vec<_> = before.assigned.iter().copied().map(Some).collect();
        let after = step(&mut objects, &current, &[&both, &two]);
        assert_eq!(after.assigned[0], before.assigned[0]);
        assert_ne!(after.assigned[1], before.assigned[1]);
        assert_eq!((after.groups.len(), after.remove.len()), (1, 0));
    }

    #[test]
    fn item_123_families_have_ranges_of_their_own_and_foreign_ids_are_left_alone() {
        let mut objects = Objects::default();
        let foreign = |id| NexthopEntry {
            id,
            protocol: 4,
            group: vec![],
            gateway: None,
            ifindex: Some(2),
            onlink: false,
        };
        objects.adopt(&foreign(NEXTHOP_BASE_V4));
        objects.adopt(&foreign(7));
        assert_eq!(objects.taken, BTreeSet::from([NEXTHOP_BASE_V4]));
        let v6 = NextHops::from([NextHop::new("fe80::7".parse().unwrap(), 3)]);
        let wants = [
            Want {
                ipv4: true,
                current: None,
                hops: &v6,
            },
            Want {
                ipv4: false,
                current: None,
                hops: &v6,
            },
        ];
        let plan = plan(&objects, &wants);
        assert_eq!(plan.singles.len(), 1, "an IPv4 route takes the IPv6 single");
        assert_eq!(
            plan.singles[0].0,
            NEXTHOP_BASE_V6 + 1,
            "groups are numbered first"
        );
        assert_eq!(plan.assigned, [NEXTHOP_BASE_V4 + 1, NEXTHOP_BASE_V6]);
    }

    #[test]
    fn item_123_what_the_kernel_took_is_made_again() {
        let mut objects = Objects::default();
        let both = hops(&[1, 2]);
        let before = step(&mut objects, &[], &[&both]);
        let (lost, _) = before.singles[0];
        objects.forget(lost);
        let after = step(&mut objects, &[Some(before.assigned[0])], &[&both]);
        assert_eq!((after.singles.len(), after.groups.len()), (1, 1));
        assert_eq!(after.assigned, before.assigned);
    }
}
