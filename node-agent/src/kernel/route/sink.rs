//! The sink that makes a [`RouteSet`] true: one socket, batches, a mirror of what the kernel has of ours.
//!
//! References before referents: singles, groups, routes, then removals of routes, groups and singles. One refused item stops
//! nothing but itself. Where the kernel turns out to be other than believed, the mirror is read again and the difference taken once more.

mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use margay_proto::names::ROUTE_PROTOCOL;

use super::diff::{Installed, Place, is_in_place, is_ours};
use super::{Route, RouteSet, Target};
use crate::kernel::error::Error;
use crate::kernel::events::{Batch, Event};
use crate::kernel::netlink::Socket;
use crate::kernel::netlink::message::{INET, INET6};
use crate::kernel::netlink::object::{NexthopEntry, RouteEntry, get_nexthops, get_routes};
use crate::kernel::nexthop::Objects;

/// Owner of the agent's routes and nexthop objects.
pub struct RouteSink {
    socket: Socket,
    routes: BTreeMap<IpNetwork, Installed>,
    /// Of our protocol, but with another metric: left by another version, and removed.
    strays: BTreeSet<(IpNetwork, u32)>,
    objects: Objects,
    /// The mirror may be wrong: read it back before anything is decided by it.
    stale: bool,
    /// Prefixes refused even by a fresh mirror (another owner's route stands there, the link is down): no reason to distrust it again.
    contested: BTreeSet<IpNetwork>,
}

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Our routes, as they would be desired.
    pub routes: RouteSet,
    /// How many nexthop objects are ours.
    pub nexthops: usize,
}

/// What an apply did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Routes added or changed.
    pub routes_written: usize,
    /// Routes removed.
    pub routes_removed: usize,
    /// Nexthop objects added or changed.
    pub nexthops_written: usize,
    /// Nexthop objects removed.
    pub nexthops_removed: usize,
    /// What could not be done; the next apply tries again.
    pub failed: Vec<Failure>,
}

/// One prefix that is not in the kernel as desired.
#[derive(Debug)]
pub struct Failure {
    /// Its destination.
    pub prefix: IpNetwork,
    /// Why.
    pub error: Error,
}

impl Applied {
    /// Whether nothing was written.
    pub const fn is_unchanged(&self) -> bool {
        self.routes_written + self.routes_removed + self.nexthops_written + self.nexthops_removed
            == 0
    }

    fn fail(&mut self, prefix: IpNetwork, error: Error) {
        self.failed.push(Failure { prefix, error });
    }
}

impl RouteSink {
    /// Opens the sink in the calling thread's network namespace. Nothing is read or written yet.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            socket: Socket::open()?,
            routes: BTreeMap::new(),
            strays: BTreeSet::new(),
            objects: Objects::default(),
            stale: true,
            contested: BTreeSet::new(),
        })
    }

    /// The sink's netlink port: what to leave out of [`crate::kernel::events::Events::subscribe`].
    pub const fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Reads our own state back. The first apply would do so too; this tells what was there.
    ///
    /// # Errors
    /// What the kernel says.
    #[expect(
        clippy::unused_async,
        reason = "the sink's interface is asynchronous; this part happens not to wait"
    )]
    pub async fn adopt(&mut self) -> Result<Adopted, Error> {
        self.read_back()?;
        let routes = self
            .routes
            .iter()
            .filter_map(|(prefix, route)| Some((*prefix, self.as_desired(route)?)))
            .collect();
        Ok(Adopted {
            routes,
            nexthops: self.objects.singles.len() + self.objects.groups.len(),
        })
    }

    /// Makes the kernel's routes of ours exactly these.
    ///
    /// # Errors
    /// Only when the socket does not work; single refusals are in [`Applied::failed`].
    pub async fn apply(&mut self, desired: &RouteSet) -> Result<Applied, Error> {
        if self.stale {
            self.read_back()?;
        }
        let mut applied = self.pass(desired).await?;
        if self.stale {
            self.read_back()?;
            let again = self.pass(desired).await?;
            applied.routes_written += again.routes_written;
            applied.routes_removed += again.routes_removed;
            applied.nexthops_written += again.nexthops_written;
            applied.nexthops_removed += again.nexthops_removed;
            applied.failed = again.failed;
            self.stale = false;
        }
        Ok(applied)
    }

    /// Takes note of what happened in the kernel; `true` when our state is no longer what was written.
    pub fn observe(&mut self, batch: &Batch) -> bool {
        let mut hurt = batch.overrun;
        self.stale |= batch.overrun;
        for event in &batch.events {
            hurt |= self.note(event);
        }
        hurt
    }

    fn note(&mut self, event: &Event) -> bool {
        match event {
            Event::Link(link) if !link.up => self.link_lost(link.ifindex),
            Event::LinkGone(link) => self.link_lost(link.ifindex),
            Event::AddressGone(address) => self.address_lost(address.ip),
            Event::Route { entry, replaces } => self.route_seen(entry, *replaces),
            Event::RouteGone(entry) => {
                let ours = is_ours(entry) && is_in_place(entry);
                // Another owner's route has left the place where ours should be.
                let freed = is_in_place(entry) && self.contested.remove(&entry.prefix);
                (ours && self.routes.remove(&entry.prefix).is_some()) || freed
            }
            Event::Nexthop(entry) => {
                let before = self.objects.clone();
                self.objects.adopt(entry);
                self.objects != before
            }
            Event::NexthopGone(entry) => {
                let known = self.objects.forget(entry.id);
                // Its routes went with it, and for IPv4 nobody said so.
                self.stale |= known;
                known
            }
            Event::Link(_) | Event::Address(_) => false,
        }
    }

    /// The kernel drops routes and nexthops of a dead link, partly in silence.
    fn link_lost(&mut self, ifindex: u32) -> bool {
        let before = self.routes.len();
        self.routes
            .retain(|_, route| route.target != Place::Link(ifindex));
        let objects = self
            .objects
            .singles
            .values()
            .any(|hop| hop.ifindex == ifindex);
        self.stale |= objects;
        objects || self.routes.len() != before
    }

    fn address_lost(&mut self, ip: IpAddr) -> bool {
        let used = self.routes.values().any(|route| route.src == Some(ip));
        self.stale |= used;
        used
    }

    fn route_seen(&mut self, entry: &RouteEntry, replaces: bool) -> bool {
        if is_ours(entry) && !is_in_place(entry) {
            return entry.tos == 0 && self.strays.insert((entry.prefix, entry.metric));
        }
        if !is_in_place(entry) {
            return false;
        }
        if !is_ours(entry) {
            return replaces && self.routes.remove(&entry.prefix).is_some();
        }
        let found = Installed::of(entry);
        self.routes.insert(entry.prefix, found) != Some(found)
    }

    fn read_back(&mut self) -> Result<(), Error> {
        let mut objects = Objects::default();
        for entry in self
            .socket
            .dump("nexthops", &get_nexthops(), |_, payload| {
                NexthopEntry::decode(payload)
            })?
        {
            objects.adopt(&entry);
        }
        let (mut routes, mut strays) = (BTreeMap::new(), BTreeSet::new());
        for family in [INET, INET6] {
            let entries = self.socket.dump(
                "routes",
                &get_routes(family, ROUTE_PROTOCOL),
                |_, payload| RouteEntry::decode(payload),
            )?;
            for entry in entries.iter().filter(|entry| is_ours(entry)) {
                if is_in_place(entry) {
                    routes.insert(entry.prefix, Installed::of(entry));
                } else if entry.tos == 0 {
                    strays.insert((entry.prefix, entry.metric));
                }
            }
        }
        self.contested.retain(|prefix| !routes.contains_key(prefix));
        (self.objects, self.routes, self.strays, self.stale) = (objects, routes, strays, false);
        Ok(())
    }

    fn as_desired(&self, route: &Installed) -> Option<Route> {
        let target = match route.target {
            Place::Link(ifindex) => Target::Pod {
                link: nix::net::if_::if_indextoname(ifindex)
                    .ok()?
                    .into_string()
                    .ok()?,
            },
            Place::Unreachable => Target::Unreachable,
            Place::Group(id) => Target::Via(self.objects.hops_of(id)),
            Place::Other => return None,
        };
        Some(Route {
            target,
            src: route.src,
        })
    }
}
