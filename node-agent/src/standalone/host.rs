//! The host under a standalone speaker: its links and routes say how next hops are reached, its main table gets what was learned.
//!
//! ```text
//!  Settings (watch) ──┐         ┌─ desired() ─► Desired (watch) ─► speaker
//!  kernel events ─────┼─► Host ─┤
//!  Learned, next hops ┘         └─ routes()  ─► RouteSink (with `fib = true`)
//! ```
//! What is decided is a function of the settings, the kernel and what was learned; the task only waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use margay_bgp::{Families, Family, LocalAddresses, PeerConfig, SpeakerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::actuate::retry::Retry;
use crate::actuate::with_learned;
use crate::engine::learned::routes;
use crate::health::{Heartbeat, Metrics};
use crate::kernel::events::{Batch, Events};
use crate::kernel::route::{RouteSet, RouteSink};
use crate::kernel::underlay::{Snapshot, Underlay};
use crate::speaker::{Desired, Handle, Learned};

/// Owns every kernel socket of the program.
pub(super) struct Host {
    events: Events,
    underlay: Underlay,
    sink: RouteSink,
    /// Routes of an earlier run that nobody has announced again yet.
    adopted: RouteSet,
    restart: Restart,
    settings: watch::Receiver<Arc<Settings>>,
    desired: watch::Sender<Arc<Desired>>,
    /// Routes are in the kernel, or were when `fib` was last true.
    writing: bool,
    failed: BTreeMap<IpNetwork, String>,
    again: Option<Retry>,
    metrics: Arc<Metrics>,
}

/// What an earlier run has left: the R and F bits of RFC 4724.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restart {
    restarting: bool,
    preserved: Families,
}

impl Restart {
    /// `left`: an earlier run left its socket; `adopted`: it left these routes.
    fn of(settings: &Settings, left: bool, adopted: &RouteSet) -> Self {
        let has = |v4: bool| adopted.keys().any(|prefix| prefix.is_ipv4() == v4);
        let restarting = left || !adopted.is_empty();
        // Only what passes through the routes of our table can be lost with them; who is no transit has nothing there that peers use.
        let preserved = match (restarting, settings.fib && settings.transit) {
            (false, _) => Families::NONE,
            (true, false) => Families::BOTH,
            (true, true) => Families {
                v4: has(true),
                v6: has(false),
            },
        };
        Self {
            restarting,
            preserved,
        }
    }
}

impl Host {
    /// Reads the kernel. `left`: an earlier run was here.
    ///
    /// # Errors
    /// When the kernel refuses a socket or a dump.
    pub(super) async fn open(
        settings: watch::Receiver<Arc<Settings>>,
        left: bool,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, watch::Receiver<Arc<Desired>>)> {
        // Subscribed before the dumps, or a change between the two would be lost.
        let mut sink = RouteSink::open()?;
        let events = Events::subscribe(&[sink.port()])?;
        let underlay = Underlay::open()?;
        let now = Arc::clone(&settings.borrow());
        let adopted = match now.fib {
            true => sink.adopt().await?.routes,
            false => RouteSet::new(),
        };
        let restart = Restart::of(&now, left, &adopted);
        let first = desired(&now, restart, &underlay.snapshot(), &BTreeSet::new());
        let (desired, follow) = watch::channel(Arc::new(first));
        let host = Self {
            events,
            underlay,
            sink,
            adopted,
            restart,
            settings,
            desired,
            writing: now.fib,
            failed: BTreeMap::new(),
            again: None,
            metrics,
        };
        Ok((host, follow))
    }

    /// Runs until cancelled. What is in the kernel stays there.
    ///
    /// # Errors
    /// When a kernel socket is beyond use.
    pub(super) async fn run(
        mut self,
        mut speaker: Handle,
        heartbeat: Heartbeat,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut beat = tokio::time::interval(BEAT);
        let mut due = Due::EVERYTHING;
        loop {
            if due.tell {
                let tracked = speaker.next_hops.borrow_and_update().clone();
                self.tell(&tracked);
            }
            if due.write {
                let learned = speaker.learned.borrow_and_update().clone();
                self.write(&learned).await?;
            }
            let again = self.again;
            due = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = self.settings.changed() => when(changed.is_ok(), Due::EVERYTHING, &cancel)?,
                changed = speaker.learned.changed() => when(changed.is_ok(), Due::WRITE, &cancel)?,
                changed = speaker.next_hops.changed() => when(changed.is_ok(), Due::TELL, &cancel)?,
                batch = self.events.next() => self.observe(&batch?)?,
                () = retry(again) => Due::WRITE,
                _ = beat.tick() => {
                    heartbeat.beat();
                    Due::NOTHING
                }
            };
        }
    }

    fn observe(&mut self, batch: &Batch) -> anyhow::Result<Due> {
        let moved = self.underlay.observe(batch)?;
        let hurt = self.sink.observe(batch);
        // What failed for want of a link or an address may work now.
        self.again = self.again.map(|retry| retry.sooner(Instant::now()));
        Ok(Due {
            tell: moved,
            write: moved || hurt,
        })
    }

    /// The speaker's part.
    fn tell(&mut self, tracked: &BTreeSet<IpAddr>) {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        let new = desired(&settings, self.restart, &self.underlay.snapshot(), tracked);
        self.desired.send_if_modified(|old| {
            let changed = **old != new;
            if changed {
                *old = Arc::new(new);
            }
            changed
        });
    }

    /// The kernel's part.
    async fn write(&mut self, learned: &Learned) -> anyhow::Result<()> {
        let settings = Arc::clone(&self.settings.borrow());
        if !settings.fib && !self.writing {
            return Ok(());
        }
        let wanted = match settings.fib {
            false => RouteSet::new(),
            true => self.wanted(&settings, learned),
        };
        let done = self.sink.apply(&wanted).await?;
        self.metrics.kernel_applied(&done);
        let failed: BTreeMap<_, _> = done
            .failed
            .into_iter()
            .map(|failure| (failure.prefix, failure.error.to_string()))
            .collect();
        for (prefix, error) in &failed {
            if self.failed.get(prefix) != Some(error) {
                tracing::warn!(%prefix, error, "the kernel refused a route, trying again");
            }
        }
        self.again = match failed.is_empty() {
            true => None,
            false => Some(Retry::after(self.again, Instant::now())),
        };
        self.writing = settings.fib || !failed.is_empty();
        self.failed = failed;
        for family in Family::ALL {
            let count = wanted.keys().filter(|prefix| Family::of(prefix) == family);
            self.metrics.kernel_routes(family, count.count());
        }
        Ok(())
    }

    fn wanted(&mut self, settings: &Settings, learned: &Learned) -> RouteSet {
        let own = settings.routes.iter().map(|route| route.prefix);
        let own = own.filter(|prefix| prefix.prefix() == if prefix.is_ipv4() { 32 } else { 128 });
        let own = own.map(|prefix| prefix.network()).collect();
        let wanted = routes(learned, &self.underlay.snapshot(), own);
        if learned.deferral_ended {
            // They have been said again or are wrong: no later speaker may bring them back.
            self.adopted.clear();
            return wanted;
        }
        with_learned(&self.adopted, &wanted)
    }
}

/// What the speaker is told.
fn desired(
    settings: &Settings,
    restart: Restart,
    kernel: &Snapshot,
    tracked: &BTreeSet<IpAddr>,
) -> Desired {
    let resolved = |address: &IpAddr| kernel.resolve(*address).map(|way| way.metric);
    let peer = |peer: &PeerConfig| PeerConfig {
        local_addresses: local_addresses(kernel, peer),
        link: kernel
            .link_shared_with(peer.address)
            .map(|link| link.name.clone()),
        ..peer.clone()
    };
    Desired {
        identity: Some(SpeakerConfig {
            restarting: restart.restarting,
            forwarding_preserved: restart.preserved,
            ..settings.speaker.clone()
        }),
        listen_port: settings.listen_port,
        listen_addresses: settings.listen_addresses.clone(),
        peers: settings.peers.iter().map(peer).collect(),
        originations: settings.routes.clone(),
        next_hops: tracked.iter().map(|hop| (*hop, resolved(hop))).collect(),
    }
}

/// Our addresses as next hops towards a peer: those that the file gives, else those of the link that leads there.
fn local_addresses(kernel: &Snapshot, peer: &PeerConfig) -> LocalAddresses {
    let mut local = peer.local_addresses;
    let source = peer.source.or_else(|| kernel.source_towards(peer.address));
    let Some(link) = source.and_then(|source| kernel.link_of_address(source)) else {
        return local;
    };
    let other = |v4: bool| {
        let of_link = kernel.addresses().filter(|own| own.ifindex == link.ifindex);
        let fit = of_link.filter(|own| {
            own.ip.is_ipv4() == v4 && !own.is_unusable() && has_meaning_elsewhere(own.ip)
        });
        fit.min_by_key(|own| (own.is_passing(), own.ip))
            .map(|own| own.ip)
    };
    let of = |v4: bool| source.filter(|ip| ip.is_ipv4() == v4).or_else(|| other(v4));
    if let (None, Some(IpAddr::V4(ip))) = (local.v4, of(true)) {
        local.v4 = Some(ip);
    }
    if let (None, Some(IpAddr::V6(ip))) = (local.v6, of(false)) {
        local.v6 = Some(ip);
    }
    local
}

fn has_meaning_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    }
}

/// What follows from something that happened.
#[derive(Clone, Copy, Debug)]
struct Due {
    tell: bool,
    write: bool,
}

impl Due {
    const NOTHING: Self = Self::new(false, false);
    const TELL: Self = Self::new(true, false);
    const WRITE: Self = Self::new(false, true);
    const EVERYTHING: Self = Self::new(true, true);

    const fn new(tell: bool, write: bool) -> Self {
        Self { tell, write }
    }
}

/// `due` while who told of it lives; its end is an error unless everything ends.
fn when(alive: bool, due: Due, cancel: &CancellationToken) -> anyhow::Result<Due> {
    match alive || cancel.is_cancelled() {
        true => Ok(due),
        false => Err(anyhow::anyhow!("the speaker has ended")),
    }
}

async fn retry(again: Option<Retry>) {
    match again {
        Some(retry) => tokio::time::sleep_until(retry.at.into()).await,
        None => std::future::pending().await,
    }
}

/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
