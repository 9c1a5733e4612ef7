//! The kernel's task: makes each plan true, and repairs what others break.
//!
//! ```text
//!  Plan (watch) ──► ┌──────────┐ ──► nftables, then routes
//!  rtnetlink    ──► │ actuate  │ ──► Snapshot (watch) ──► engine
//!  events           └──────────┘ ──► Applied  (watch) ──► CNI server, report
//! ```
//! Policy goes first: a route to a pod must not be there before its rules. What a kernel call refuses is retried with back-off; the rest is done.

use crate::{
    engine::{Event, Plan},
    health::{Heartbeat, Metrics},
    kernel::{
        events::{self, Batch, Events},
        nft::{NftSink, Watch},
        route::{RouteSet, RouteSink, Target},
        underlay::Underlay,
    },
};
use ipnetwork::IpNetwork;
use margay_bgp::Family;
use margay_proto::names;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What of the plans is in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The newest generation of which every part that was in sync has been tried.
    pub generation: u64,
    /// Whether a table has been loaded: pods may start.
    pub policy: bool,
    /// Whether routes have been written.
    pub routes: bool,
    /// Why nftables refused; none when it did not.
    pub policy_error: Option<String>,
    /// Prefixes that the kernel refused, and why.
    pub failed: BTreeMap<IpNetwork, String>,
}

/// Owns every kernel socket that writes.
pub struct Actuator {
    events: Events,
    underlay: Underlay,
    routes: RouteSink,
    adopted: RouteSet,
    nft: NftSink,
    /// Tells of foreign hands in the table; opened once there is one.
    nft_watch: Option<Watch>,
    damaged: bool,
    applied: watch::Sender<Applied>,
    /// Told which pod links may be damaged; what does not fit in is found by the next look at all of them.
    links: mpsc::Sender<String>,
    metrics: Arc<Metrics>,
    again: Option<Duration>,
}

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

impl Actuator {
    /// Opens the sockets and reads back what an earlier agent left.
    ///
    /// # Errors
    /// When the kernel refuses a socket or a dump: without NET_ADMIN, say.
    pub async fn open(
        metrics: Arc<Metrics>,
        links: mpsc::Sender<String>,
    ) -> anyhow::Result<(Self, watch::Receiver<Applied>)> {
        // Subscribed before the dumps, or a change between the two would be lost.
        let mut routes = RouteSink::open()?;
        let events = Events::subscribe(&[routes.port()])?;
        let underlay = Underlay::open()?;
        let adopted = routes.adopt().await?.routes;
        let nft = NftSink::open()?;
        let (applied, receiver) = watch::channel(Applied::default());
        Ok((
            Self {
                events,
                underlay,
                routes,
                adopted,
                nft,
                nft_watch: None,
                damaged: false,
                applied,
                links,
                metrics,
                again: None,
            },
            receiver,
        ))
    }

    /// Routes that an earlier agent left in the kernel.
    pub fn adopted(&self) -> &RouteSet {
        &self.adopted
    }

    /// Runs until cancelled. What is in the kernel stays there.
    ///
    /// # Errors
    /// When the netlink event socket is beyond use.
    pub async fn run(
        mut self,
        mut plans: watch::Receiver<Arc<Plan>>,
        engine: mpsc::Sender<Event>,
        heartbeat: Heartbeat,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        // The engine ending is the agent ending.
        let _ = engine.send(Event::Underlay(self.underlay.snapshot())).await;
        let mut beat = tokio::time::interval(Duration::from_secs(5));
        loop {
            let retry = self.again;
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = plans.changed() => {
                    if changed.is_err() { return Ok(()) }
                    let plan = plans.borrow_and_update().clone();
                    self.apply(&plan).await;
                }
                batch = self.events.next() => {
                    let plan = plans.borrow().clone();
                    self.observe(&batch?, &plan, &engine).await?;
                }
                damaged = async { match self.nft_watch.as_mut() { Some(watch) => watch.damaged().await, None => std::future::pending().await } } => {
                    if let Err(error) = damaged {
                        tracing::warn!(%error, "the watch of the nftables table broke, opening it again");
                        self.nft_watch = None;
                    }
                    self.damaged = true;
                    let plan = plans.borrow().clone();
                    self.apply(&plan).await;
                }
                () = tokio::time::sleep(retry.unwrap_or(LAST_RETRY)), if retry.is_some() => {
                    let plan = plans.borrow().clone();
                    self.apply(&plan).await;
                }
                _ = beat.tick() => heartbeat.beat(),
            }
        }
    }

    /// Takes in what the kernel tells: the engine learns of the underlay, who repairs links learns of them, and lost routes are written again.
    async fn observe(
        &mut self,
        batch: &Batch,
        plan: &Plan,
        engine: &mpsc::Sender<Event>,
    ) -> anyhow::Result<()> {
        if self.underlay.observe(batch)? {
            // The engine ending is the agent ending.
            let _ = engine.send(Event::Underlay(self.underlay.snapshot())).await;
        }
        let mut moved = false;
        for event in &batch.events {
            let link = match event {
                events::Event::Link(link) if !link.up => link,
                events::Event::LinkGone(link) => link,
                events::Event::Link(_) => {
                    moved = true;
                    continue;
                }
                _ => continue,
            };
            if link.name.starts_with(names::LINK_PREFIX) {
                // Full: the next look at all links finds it.
                let _ = self.links.try_send(link.name.clone());
            }
        }
        if moved && self.again.is_some() {
            // What failed for want of a link may work now.
            self.again = Some(FIRST_RETRY);
        }
        if self.routes.observe(batch) {
            self.apply(plan).await;
        }
        Ok(())
    }

    async fn apply(&mut self, plan: &Plan) {
        let mut applied = self.applied.borrow().clone();
        applied.policy_error = None;
        if let Some(table) = &plan.table {
            let started = std::time::Instant::now();
            let result = tokio::task::block_in_place(|| {
                if self.damaged {
                    self.nft.verify(table)
                } else {
                    self.nft.apply(table)
                }
            });
            match result {
                Ok(_) => {
                    self.metrics.policy_applied(started.elapsed());
                    applied.policy = true;
                    self.damaged = false;
                    self.watch_table();
                }
                Err(error) => {
                    self.metrics.policy_failed();
                    tracing::error!(%error, generation = plan.generation, "nftables refused the table; the one in the kernel stays in force");
                    applied.policy_error = Some(error.to_string());
                }
            }
        }
        if let Some(routes) = &plan.routes {
            self.write_routes(plan, routes, &mut applied).await;
        }
        self.again = match (&applied.policy_error, applied.failed.is_empty()) {
            (None, true) => None,
            _ => Some(self.again.map_or(FIRST_RETRY, |d| (d * 2).min(LAST_RETRY))),
        };
        applied.generation = plan.generation;
        self.applied.send_replace(applied);
    }

    fn watch_table(&mut self) {
        if self.nft_watch.is_none() {
            match self.nft.watch() {
                Ok(watch) => self.nft_watch = Some(watch),
                Err(error) => {
                    tracing::warn!(%error, "foreign changes of the nftables table will be seen late")
                }
            }
        }
    }

    async fn write_routes(&mut self, plan: &Plan, routes: &RouteSet, applied: &mut Applied) {
        let held;
        let wanted = if plan.keep_learned {
            held = with_learned(&self.adopted, routes);
            &held
        } else {
            routes
        };
        match self.routes.apply(wanted).await {
            Ok(done) => {
                applied.routes = true;
                let known = std::mem::take(&mut applied.failed);
                applied.failed = done
                    .failed
                    .into_iter()
                    .map(|f| (f.prefix, f.error.to_string()))
                    .collect();
                // Once a failure: retries that fail alike say nothing new.
                for (prefix, error) in applied
                    .failed
                    .iter()
                    .filter(|(p, e)| known.get(*p) != Some(*e))
                {
                    tracing::warn!(%prefix, error, "the kernel refused a route, trying again");
                }
                for family in Family::ALL {
                    self.metrics.kernel_routes(
                        family,
                        wanted.keys().filter(|p| Family::of(p) == family).count(),
                    );
                }
            }
            Err(error) => {
                tracing::error!(%error, "the route socket failed, trying again");
                applied.failed.insert(
                    IpNetwork::V4(ipnetwork::Ipv4Network::from(
                        std::net::Ipv4Addr::UNSPECIFIED,
                    )),
                    error.to_string(),
                );
            }
        }
    }
}

/// The wanted routes, and the learned ones of an earlier agent that nobody has announced again yet.
fn with_learned(adopted: &RouteSet, wanted: &RouteSet) -> RouteSet {
    let learned = adopted
        .iter()
        .filter(|(_, route)| matches!(route.target, Target::Via(_)));
    let mut all: RouteSet = learned
        .map(|(prefix, route)| (*prefix, route.clone()))
        .collect();
    all.extend(
        wanted
            .iter()
            .map(|(prefix, route)| (*prefix, route.clone())),
    );
    all
}
