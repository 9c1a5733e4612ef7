//! One pass of the sink: from a desired set to netlink messages, and from their answers to the mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use super::{Applied, RouteSink};
use crate::kernel::error::Error;
use crate::kernel::netlink::Refusal;
use crate::kernel::netlink::message::Message;
use crate::kernel::nexthop::{self, NextHop, NextHops, Want};
use crate::kernel::route::diff::{Diff, Installed, Place, diff, new_route, remove_route};
use crate::kernel::route::{METRIC, RouteSet, Target};

/// Requests between two chances for other tasks to run (about half a millisecond of kernel time).
const SLICE: usize = 128;

impl RouteSink {
    /// One difference, written.
    pub(super) async fn pass(&mut self, desired: &RouteSet) -> Result<Applied, Error> {
        let mut applied = Applied::default();
        let (mut wanted, learned) = self.local_routes(desired, &mut applied);
        let remove = self
            .write_nexthops(&learned, &mut wanted, &mut applied)
            .await?;
        let diff = diff(&self.routes, &wanted);
        self.write_routes(&diff, &mut applied).await?;
        self.remove_routes(&diff.remove, &mut applied).await?;
        self.remove_nexthops(&remove, &mut applied).await?;
        Ok(applied)
    }

    /// Splits the set: what needs no nexthop object in the kernel's terms, and the rest.
    fn local_routes<'a>(
        &mut self,
        desired: &'a RouteSet,
        applied: &mut Applied,
    ) -> (BTreeMap<IpNetwork, Installed>, Vec<Learned<'a>>) {
        let (mut wanted, mut learned) = (BTreeMap::new(), Vec::new());
        for (&prefix, route) in desired {
            let target = match &route.target {
                Target::Unreachable => Ok(Place::Unreachable),
                Target::Pod { link } => {
                    if_nametoindex(link.as_str())
                        .map(Place::Link)
                        .map_err(|errno| {
                            Refusal {
                                errno,
                                reason: None,
                            }
                            .of(format!("route {prefix}: link {link}"))
                        })
                }
                Target::Via(hops)
                    if prefix.is_ipv6() && hops.iter().any(|hop| hop.gateway.is_ipv4()) =>
                {
                    Err(Error::Mismatch(vec![format!(
                        "route {prefix}: an IPv6 route cannot use an IPv4 next hop"
                    )]))
                }
                Target::Via(hops) if hops.is_empty() => Err(Error::Mismatch(vec![format!(
                    "route {prefix}: no next hop"
                )])),
                Target::Via(hops) => {
                    learned.push(Learned {
                        prefix,
                        hops,
                        src: route.src,
                    });
                    continue;
                }
            };
            match target {
                Ok(target) => drop(wanted.insert(
                    prefix,
                    Installed {
                        target,
                        src: route.src,
                    },
                )),
                Err(error) => applied.fail(prefix, error),
            }
        }
        (wanted, learned)
    }

    /// Writes singles and groups and adds the learned routes to the wanted ones; what to remove when no route needs it any more.
    ///
    /// A next hop that the kernel refuses (its link went down a moment ago) is left out, and its routes keep the others.
    async fn write_nexthops(
        &mut self,
        learned: &[Learned<'_>],
        wanted: &mut BTreeMap<IpNetwork, Installed>,
        applied: &mut Applied,
    ) -> Result<Vec<u32>, Error> {
        let mut broken: BTreeMap<NextHop, Refusal> = BTreeMap::new();
        loop {
            let usable: Vec<(&Learned<'_>, NextHops)> = learned
                .iter()
                .map(|l| {
                    (
                        l,
                        l.hops
                            .iter()
                            .filter(|hop| !broken.contains_key(hop))
                            .copied()
                            .collect::<NextHops>(),
                    )
                })
                .filter(|(_, hops)| !hops.is_empty())
                .collect();
            let wants: Vec<Want<'_>> = usable
                .iter()
                .map(|(l, hops)| Want {
                    ipv4: l.prefix.is_ipv4(),
                    current: self.group_of(l.prefix),
                    hops,
                })
                .collect();
            let plan = nexthop::plan(&self.objects, &wants);
            let known_broken = broken.len();
            self.write_singles(&plan.singles, &mut broken, applied)
                .await?;
            if broken.len() > known_broken {
                continue;
            }
            let refused = self.write_groups(&plan.groups, applied).await?;
            for ((learned, _), group) in usable.iter().zip(&plan.assigned) {
                match refused.get(group) {
                    Some(refusal) => applied.fail(
                        learned.prefix,
                        refusal
                            .clone()
                            .of(format!("route {}: next hops", learned.prefix)),
                    ),
                    None => drop(wanted.insert(
                        learned.prefix,
                        Installed {
                            target: Place::Group(*group),
                            src: learned.src,
                        },
                    )),
                }
            }
            report_broken(learned, &broken, applied);
            return Ok(plan.remove);
        }
    }

    fn group_of(&self, prefix: IpNetwork) -> Option<u32> {
        match self.routes.get(&prefix)?.target {
            Place::Group(id) => Some(id),
            Place::Link(_) | Place::Unreachable | Place::Other => None,
        }
    }

    async fn write_singles(
        &mut self,
        singles: &[(u32, NextHop)],
        broken: &mut BTreeMap<NextHop, Refusal>,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let refusals = self
            .send("nexthops", singles, |(id, hop)| {
                nexthop::new_single(*id, hop)
            })
            .await?;
        for (&(id, hop), refusal) in singles.iter().zip(refusals) {
            match refusal {
                None => {
                    self.objects.singles.insert(id, hop);
                    applied.nexthops_written += 1;
                }
                Some(refusal) => {
                    self.stale |= refusal.errno == Errno::EEXIST;
                    broken.insert(hop, refusal);
                }
            }
        }
        Ok(())
    }

    async fn write_groups(
        &mut self,
        groups: &[(u32, BTreeSet<u32>)],
        applied: &mut Applied,
    ) -> Result<BTreeMap<u32, Refusal>, Error> {
        let refusals = self
            .send("nexthop groups", groups, |(id, members)| {
                nexthop::set_group(*id, members)
            })
            .await?;
        let mut refused = BTreeMap::new();
        for ((id, members), refusal) in groups.iter().zip(refusals) {
            match refusal {
                None => {
                    self.objects.groups.insert(*id, members.clone());
                    applied.nexthops_written += 1;
                }
                Some(refusal) => {
                    // A member is gone that was believed to be there.
                    self.stale = true;
                    refused.insert(*id, refusal);
                }
            }
        }
        Ok(refused)
    }

    async fn write_routes(&mut self, diff: &Diff, applied: &mut Applied) -> Result<(), Error> {
        for (routes, flag) in [
            (&diff.add, libc::NLM_F_EXCL),
            (&diff.replace, libc::NLM_F_REPLACE),
        ] {
            let refusals = self
                .send("routes", routes, |(prefix, route)| {
                    new_route(*prefix, *route, flag)
                })
                .await?;
            for (&(prefix, route), refusal) in routes.iter().zip(refusals) {
                match refusal {
                    None => {
                        self.routes.insert(prefix, route);
                        self.contested.remove(&prefix);
                        applied.routes_written += 1;
                    }
                    Some(refusal) => {
                        self.stale |= self.contested.insert(prefix);
                        applied.fail(prefix, refusal.of(format!("route {prefix}")));
                    }
                }
            }
        }
        Ok(())
    }

    async fn remove_routes(
        &mut self,
        prefixes: &[IpNetwork],
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let strays = std::mem::take(&mut self.strays);
        let all: Vec<(IpNetwork, u32)> = strays
            .into_iter()
            .chain(prefixes.iter().map(|prefix| (*prefix, METRIC)))
            .collect();
        let refusals = self
            .send("routes", &all, |(prefix, metric)| {
                remove_route(*prefix, *metric)
            })
            .await?;
        for ((prefix, metric), refusal) in all.into_iter().zip(refusals) {
            match refusal.filter(|r| !matches!(r.errno, Errno::ESRCH | Errno::ENOENT)) {
                None => {
                    if metric == METRIC {
                        self.routes.remove(&prefix);
                    }
                    applied.routes_removed += 1;
                }
                Some(refusal) => applied.fail(prefix, refusal.of(format!("route {prefix}"))),
            }
        }
        Ok(())
    }

    async fn remove_nexthops(&mut self, ids: &[u32], applied: &mut Applied) -> Result<(), Error> {
        let refusals = self
            .send("nexthops", ids, |id| nexthop::remove(*id))
            .await?;
        for (id, refusal) in ids.iter().zip(refusals) {
            // An object that stays because of a refusal stays in the mirror, so the next apply tries again.
            if refusal.is_none_or(|r| r.errno == Errno::ENOENT) {
                self.objects.forget(*id);
                applied.nexthops_removed += 1;
            }
        }
        Ok(())
    }

    async fn send<T>(
        &mut self,
        object: &str,
        items: &[T],
        message: impl Fn(&T) -> Message,
    ) -> Result<Vec<Option<Refusal>>, Error> {
        let mut refusals = Vec::with_capacity(items.len());
        for slice in items.chunks(SLICE) {
            let messages: Vec<Message> = slice.iter().map(&message).collect();
            refusals.extend(
                self.socket
                    .batch(&messages)
                    .map_err(|e| Error::io(object, e))?,
            );
            tokio::task::yield_now().await;
        }
        Ok(refusals)
    }
}

/// A route that needs a nexthop group.
struct Learned<'a> {
    prefix: IpNetwork,
    hops: &'a NextHops,
    src: Option<IpAddr>,
}

fn report_broken(
    learned: &[Learned<'_>],
    broken: &BTreeMap<NextHop, Refusal>,
    applied: &mut Applied,
) {
    if broken.is_empty() {
        return;
    }
    for route in learned {
        if let Some((hop, refusal)) = route
            .hops
            .iter()
            .find_map(|hop| Some((hop, broken.get(hop)?)))
        {
            let object = format!(
                "route {}: next hop {} on interface {}",
                route.prefix, hop.gateway, hop.ifindex
            );
            applied.fail(route.prefix, refusal.clone().of(object));
        }
    }
}
