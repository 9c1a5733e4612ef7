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
    fault,
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
    applied: watch::Sender<Applied>,
    /// Told which pod links may be damaged; what does not fit in is found by the next look at all of them.
    links: mpsc::Sender<String>,
    metrics: Arc<Metrics>,
    again: Option<Retry>,
}

/// When to try again what the kernel refused. A moment and no pause: whatever else happens meanwhile must not put it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Retry {
    at: Instant,
    /// After the failure before.
    pause: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LAST: Duration = Duration::from_secs(5);

    /// After a failure at `now`, the first one or one more.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let pause = before.map_or(Self::FIRST, |b| (b.pause * 2).min(Self::LAST));
        Self {
            at: now + pause,
            pause,
        }
    }

    /// Something moved that may help: soon, if not sooner.
    fn sooner(self, now: Instant) -> Self {
        let soon = Self::after(None, now);
        if self.at <= soon.at { self } else { soon }
    }
}

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
        if moved {
            // What failed for want of a link may work now.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::route::{NextHop, Route};

    #[test]
    fn retries_come_less_and_less_often_and_never_later_than_that() {
        let start = Instant::now();
        let (mut now, mut retry) = (start, Retry::after(None, start));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pauses.push((retry.at - now).as_millis());
            now = retry.at;
            retry = Retry::after(Some(retry), now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let sooner = retry.sooner(now);
        assert_eq!(sooner.at - now, Retry::FIRST);
        let later = now + Retry::FIRST / 2;
        assert_eq!(sooner.sooner(later), sooner, "many events put nothing off");
    }

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
