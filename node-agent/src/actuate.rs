//! The kernel's task: makes each plan true, and repairs what others break.
//!
//! ```text
//!  Plan (watch) ──► ┌──────────┐ ──► nftables, then routes
//!  rtnetlink    ──► │ actuate  │ ──► Snapshot (watch) ──► engine
//!  events           └──────────┘ ──► Applied  (watch) ──► CNI server, report
//! ```
//! Policy goes first: a route to a pod must not be there before its rules. What a kernel call refuses is retried with back-off; the rest is done.

mod kept;
mod pods;
pub(crate) mod retry;

pub use kept::KeptTable;

use pods::hurt;
use retry::Retry;

use crate::{
    engine::{Event, Plan},
    fault,
    health::{Heartbeat, Metrics},
    kernel::{
        events::{self, Batch, Events},
        link,
        nft::{NftSink, Watch},
        route::{RouteSet, RouteSink, Target},
        underlay::Underlay,
    },
};
use ipnetwork::IpNetwork;
use margay_bgp::Family;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
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
    /// What an API server that is away cannot say again.
    kept: KeptTable,
    latest: watch::Sender<kept::Latest>,
    applied: watch::Sender<Applied>,
    /// Told which pod links may be damaged; what does not fit in is found by the next look at all of them.
    links: mpsc::Sender<String>,
    /// Pod links by index: a link that is renamed is told of by its new name only.
    pods: BTreeMap<u32, String>,
    metrics: Arc<Metrics>,
    again: Option<Retry>,
}

impl Actuator {
    /// Opens the sockets, puts the policy table back if it is gone, and reads back what an earlier agent left.
    ///
    /// # Errors
    /// When the kernel refuses a socket or a dump: without NET_ADMIN, say.
    pub async fn open(
        metrics: Arc<Metrics>,
        kept: KeptTable,
        links: mpsc::Sender<String>,
    ) -> anyhow::Result<(Self, watch::Receiver<Applied>)> {
        // The first write of an agent: without the table its pods are open.
        let mut nft = NftSink::open()?;
        let left = link::list().await?;
        kept.put_back(&mut nft, !left.is_empty());
        // Subscribed before the dumps, or a change between the two would be lost.
        let mut routes = RouteSink::open()?;
        let events = Events::subscribe(&[routes.port()])?;
        let underlay = Underlay::open()?;
        let adopted = routes.adopt().await?.routes;
        let pods = link::list().await?;
        let (applied, receiver) = watch::channel(Applied::default());
        let mut actuator = Self {
            events,
            underlay,
            routes,
            adopted,
            nft,
            nft_watch: None,
            damaged: false,
            kept,
            latest: watch::Sender::new(None),
            applied,
            links,
            pods: pods.into_iter().map(|l| (l.ifindex, l.name)).collect(),
            metrics,
            again: None,
        };
        actuator.watch_table();
        Ok((actuator, receiver))
    }

    /// The task that keeps what is applied for the next agent.
    pub fn keeper(
        &self,
        cancel: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        self.kept.clone().run(self.latest.subscribe(), cancel)
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
                () = async { match retry { Some(retry) => tokio::time::sleep_until(retry.at.into()).await, None => std::future::pending().await } } => {
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
            moved |= matches!(event, events::Event::Link(_) | events::Event::Address(_));
            if let Some(name) = hurt(&mut self.pods, event) {
                // Full: the next look at all links finds it.
                let _ = self.links.try_send(name);
            }
        }
        if moved {
            // What failed for want of a link or a source address may work now.
            self.again = self.again.map(|retry| retry.sooner(Instant::now()));
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
            let started = Instant::now();
            let result = tokio::task::block_in_place(|| {
                if self.damaged {
                    self.nft.verify(table)
                } else {
                    self.nft.apply(table)
                }
            });
            match result {
                Ok(written) => {
                    if !written.is_unchanged() {
                        fault::point("kernel: policy written");
                    }
                    self.metrics.policy_applied(started.elapsed());
                    applied.policy = true;
                    self.damaged = false;
                    self.watch_table();
                    let latest = (Arc::clone(table), self.nft.ownership());
                    self.latest.send_replace(Some(latest));
                }
                Err(error) => {
                    self.metrics.policy_failed();
                    tracing::error!(%error, generation = plan.generation, "nftables refused the table; the one in the kernel stays in force");
                    applied.policy_error = Some(error.to_string());
                }
            }
        }
        if plan.table.is_none() && self.damaged {
            // Nobody can say what it should be, but for what it was.
            tokio::task::block_in_place(|| self.kept.put_back(&mut self.nft, true));
            self.damaged = false;
        }
        if let Some(routes) = &plan.routes {
            self.write_routes(plan, routes, &mut applied).await;
        }
        self.again = match (&applied.policy_error, applied.failed.is_empty()) {
            (None, true) => None,
            _ => Some(Retry::after(self.again, Instant::now())),
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
            // They have been said again or are wrong: no later speaker may bring them back.
            self.adopted.clear();
            routes
        };
        match self.routes.apply(wanted).await {
            Ok(done) => {
                self.metrics.kernel_applied(&done);
                if !done.is_unchanged() {
                    fault::point("kernel: routes written");
                }
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
pub(crate) fn with_learned(adopted: &RouteSet, wanted: &RouteSet) -> RouteSet {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::route::{NextHop, Route};

    #[test]
    fn learned_routes_of_an_earlier_agent_stay_beside_what_is_wanted() {
        let route = |target| Route { target, src: None };
        let via = |gateway: &str| {
            let hop = NextHop::new(gateway.parse().unwrap(), 2);
            route(Target::Via([hop].into()))
        };
        let prefix = |text: &str| text.parse::<IpNetwork>().unwrap();
        let pod = || {
            route(Target::Pod {
                link: "mgy1".into(),
            })
        };
        let adopted = RouteSet::from([
            (prefix("10.0.1.0/26"), via("172.31.0.2")),
            (prefix("10.0.2.0/26"), via("172.31.0.2")),
            (prefix("10.0.0.0/26"), route(Target::Unreachable)),
            (prefix("10.0.0.9/32"), pod()),
        ]);
        let wanted = RouteSet::from([
            (prefix("10.0.0.1/32"), pod()),
            (prefix("10.0.2.0/26"), via("172.31.0.3")),
        ]);
        let all = with_learned(&adopted, &wanted);
        let expected = RouteSet::from([
            (prefix("10.0.0.1/32"), pod()),
            (prefix("10.0.1.0/26"), via("172.31.0.2")),
            (prefix("10.0.2.0/26"), via("172.31.0.3")),
        ]);
        assert_eq!(
            all, expected,
            "those of pods and blocks follow from records"
        );
    }
}
