//! Numbered pings that must arrive, and a flood that must not.

use crate::cluster::Cluster;
use anyhow::{Context, Result, anyhow, ensure};
use margay_lab::{Echo, Pinging, Seen, Sink, wait_until};
use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    thread,
    time::{Duration, SystemTime},
};

const RATE: u32 = 1000;
const PORT: u16 = 7777;
/// Of each of eight flows.
pub(crate) const DENIED_RATE: u32 = 100;
const DENIED_PORT: u16 = 7900;
const LIMIT: Duration = Duration::from_secs(20);

/// Network namespaces, opened while the API server is there to say where pods are.
#[derive(Debug)]
pub(crate) struct Places(BTreeMap<String, File>);

impl Places {
    /// Of these pods, and of the outside host.
    pub(crate) fn open(cluster: &Cluster, apps: &[&str]) -> Result<Self> {
        let mut all = BTreeMap::new();
        for app in apps {
            let place = cluster.app(app).place();
            all.insert((*app).to_owned(), cluster.lab.netns(&place)?);
        }
        all.insert("outside".to_owned(), cluster.lab.netns("outside")?);
        Ok(Self(all))
    }

    pub(crate) fn net(&self, name: &str) -> Result<File> {
        let net = self
            .0
            .get(name)
            .with_context(|| format!("{name} was not opened"))?;
        Ok(net.try_clone()?)
    }
}

/// Four streams at 1 kHz between a1 and c, which are in different racks: both ways, both families.
#[derive(Debug)]
pub(crate) struct Streams {
    all: Vec<(String, Pinging)>,
    echoes: Vec<Echo>,
}

/// What became of them.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) largest_gap: Duration,
    /// Of each stream that lost some.
    pub(crate) losses: Vec<String>,
}

impl Streams {
    /// Starts them and waits until each is answered.
    pub(crate) fn start(cluster: &Cluster, places: &Places) -> Result<Self> {
        let mut streams = Self {
            all: Vec::new(),
            echoes: Vec::new(),
        };
        for v4 in cluster.families() {
            for (from, to) in [("a1", "c"), ("c", "a1")] {
                let address = SocketAddr::new(cluster.app(to).address(v4)?, PORT);
                streams.echoes.push(Echo::start(places.net(to)?, address)?);
                let pinging = Pinging::start(places.net(from)?, address, RATE)?;
                streams.all.push((format!("{from} -> {address}"), pinging));
            }
        }
        wait_until("every stream is answered", LIMIT, || {
            let silent = streams.echoes.iter().filter(|e| e.answered() < 50).count();
            Ok(if silent == 0 {
                Seen::Holds(())
            } else {
                Seen::NotYet(format!("{silent} are not"))
            })
        })?;
        Ok(streams)
    }

    /// Waits until each has sent this many more.
    pub(crate) fn more(&self, count: u64) -> Result<()> {
        let goals: Vec<u64> = self.all.iter().map(|(_, p)| p.sent() + count).collect();
        wait_until("the streams go on", LIMIT, || {
            let behind = self
                .all
                .iter()
                .zip(&goals)
                .any(|((_, p), goal)| p.sent() < *goal);
            Ok(if behind {
                Seen::NotYet("behind".to_owned())
            } else {
                Seen::Holds(())
            })
        })
    }

    /// Ends them.
    pub(crate) fn stop(self) -> Result<Counted> {
        let mut counted = Counted {
            sent: 0,
            lost: 0,
            largest_gap: Duration::ZERO,
            losses: Vec::new(),
        };
        // At once: each waits a second for what is lost.
        let ends: Vec<_> = self
            .all
            .into_iter()
            .map(|(what, stream)| (what, thread::spawn(move || stream.stop())))
            .collect();
        for (what, end) in ends {
            let result = end.join().map_err(|_| anyhow!("a thread panicked"))??;
            counted.sent += result.sent;
            counted.lost += result.lost;
            let gap = Duration::from_secs_f64(result.largest_gap_ms / 1000.0);
            counted.largest_gap = counted.largest_gap.max(gap);
            if result.lost > 0 {
                let (lost, sent) = (result.lost, result.sent);
                counted.losses.push(format!(
                    "{what} {lost} of {sent} (gap {} ms)",
                    gap.as_millis()
                ));
            }
        }
        Ok(counted)
    }
}

/// The policy under which b and the outside host may not send to anybody, and a and c may.
pub(crate) const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: faults, namespace: demo}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: a}}}, {podSelector: {matchLabels: {app: c}}}]
";

/// Datagrams that the policy denies, sent all the time; nobody answers, so each is a new flow to connection tracking.
#[derive(Debug)]
pub(crate) struct Denied {
    flows: Vec<(String, Pinging, Sink)>,
}

/// Sent and arrived until some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaks {
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
}

impl Denied {
    /// Shows that such datagrams arrive without the policy, applies it, and starts the flood.
    ///
    /// # Errors
    /// When nothing arrives before, or something after.
    pub(crate) fn start(cluster: &Cluster, places: &Places) -> Result<Self> {
        let mut sinks = Vec::new();
        for (to, port) in [("a1", DENIED_PORT), ("c", DENIED_PORT)] {
            for v4 in cluster.families() {
                for (step, from) in ["b", "outside"].into_iter().enumerate() {
                    let port = port + u16::try_from(step)?;
                    let address = SocketAddr::new(cluster.app(to).address(v4)?, port);
                    sinks.push((from, address, Sink::start(places.net(to)?, address)?));
                }
            }
        }
        for (from, to, sink) in &sinks {
            let control = Pinging::start(places.net(from)?, *to, DENIED_RATE)?;
            let arrived = wait_until(
                &format!("{from} reaches {to} without policy"),
                LIMIT,
                || {
                    let arrived = sink.received() > 0;
                    Ok(if arrived {
                        Seen::Holds(())
                    } else {
                        Seen::NotYet("nothing".to_owned())
                    })
                },
            );
            control.stop()?;
            arrived?;
        }
        cluster.lab.apply(POLICY)?;
        let mut denied = Self { flows: Vec::new() };
        for (from, to, sink) in sinks {
            let flood = Pinging::start(places.net(from)?, to, DENIED_RATE)?;
            denied.flows.push((format!("{from} -> {to}"), flood, sink));
        }
        denied.quiet(LIMIT)?;
        Ok(denied)
    }

    /// Until now.
    pub(crate) fn count(&self) -> Leaks {
        Leaks {
            sent: self.flows.iter().map(|(_, flood, _)| flood.sent()).sum(),
            arrived: self.flows.iter().map(|(.., sink)| sink.received()).sum(),
        }
    }

    /// Waits until fifty of each flow have been sent of which none arrived; when the last one arrived before.
    pub(crate) fn quiet(&self, limit: Duration) -> Result<Option<SystemTime>> {
        let mut since: Vec<(u64, u64)> = self.now();
        wait_until("the policy denies the flood", limit, || {
            let now = self.now();
            if now.iter().zip(&since).any(|(now, then)| now.1 != then.1) {
                since = now;
                return Ok(Seen::NotYet("some still arrive".to_owned()));
            }
            let enough = now
                .iter()
                .zip(&since)
                .all(|(now, then)| now.0 >= then.0 + 50);
            Ok(if enough {
                Seen::Holds(())
            } else {
                Seen::NotYet("none arrive".to_owned())
            })
        })?;
        Ok(self
            .flows
            .iter()
            .filter_map(|(.., sink)| sink.latest())
            .max())
    }

    fn now(&self) -> Vec<(u64, u64)> {
        let count = |(_, flood, sink): &(String, Pinging, Sink)| (flood.sent(), sink.received());
        self.flows.iter().map(count).collect()
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Leaks> {
        let leaks = self.count();
        let stop = |(_, flood, _): (String, Pinging, Sink)| thread::spawn(move || flood.stop());
        for end in self.flows.into_iter().map(stop).collect::<Vec<_>>() {
            end.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(leaks)
    }
}

impl Leaks {
    /// Since an earlier moment.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            arrived: self.arrived - before.arrived,
        }
    }

    /// An error when something arrived, or nothing was sent.
    pub(crate) fn none(self) -> Result<String> {
        let Self { sent, arrived } = self;
        ensure!(sent > 0, "the denied flood has stopped");
        ensure!(arrived == 0, "{arrived} of {sent} denied datagrams arrived");
        Ok(format!("denied {sent} sent, {arrived} arrived"))
    }
}
