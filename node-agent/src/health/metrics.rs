//! The agent's metrics, all prefixed `margay_`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use margay_bgp::{Family, State, bfd};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::live;
use crate::kernel::route::Applied;
use crate::speaker::Handle;

/// Everything that is counted. Updates are atomic and cheap; label values are few and known, except for peers,
/// whose series end with the peer.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    bgp_peers: Labelled<StateLabel, Gauge>,
    bgp_session_transitions: Labelled<TransitionLabels, Counter>,
    bgp_routes: Labelled<RouteLabels, Gauge>,
    bfd_sessions: Labelled<StateLabel, Gauge>,
    bfd_session_transitions: Labelled<TransitionLabels, Counter>,
    cni_calls: Labelled<CallLabels, Counter>,
    cni_call_duration: Labelled<VerbLabel, Histogram, fn() -> Histogram>,
    policy_apply_duration: Histogram,
    policy_apply_failures: Counter,
    kernel_routes: Labelled<FamilyLabel, Gauge>,
    kernel_writes: Labelled<WriteLabels, Counter>,
    kernel_failures: Counter,
    allocated_addresses: Labelled<FamilyLabel, Gauge>,
    /// Who is asked for what is not counted here.
    speaker: OnceLock<Handle>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    peer: String,
    to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    family: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabel {
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    object: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    family: &'static str,
}

impl Metrics {
    /// All series at zero, under the name of this build.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("margay"),
            bgp_peers: Labelled::default(),
            bgp_session_transitions: Labelled::default(),
            bgp_routes: Labelled::default(),
            bfd_sessions: Labelled::default(),
            bfd_session_transitions: Labelled::default(),
            cni_calls: Labelled::default(),
            cni_call_duration: Labelled::new_with_constructor(call_buckets),
            // 50 microseconds (one set element) to 3.3 seconds.
            policy_apply_duration: Histogram::new(exponential_buckets(0.000_05, 4.0, 9)),
            policy_apply_failures: Counter::default(),
            kernel_routes: Labelled::default(),
            kernel_writes: Labelled::default(),
            kernel_failures: Counter::default(),
            allocated_addresses: Labelled::default(),
            speaker: OnceLock::new(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "build",
            "Version of the agent",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "bgp_peers",
            "BGP peers by state of their session",
            self.bgp_peers.clone(),
        );
        let help = "BGP sessions that came up or went down";
        registry.register(
            "bgp_session_transitions",
            help,
            self.bgp_session_transitions.clone(),
        );
        registry.register(
            "bgp_routes",
            "Routes learned from peers, and originated by this node",
            self.bgp_routes.clone(),
        );
        registry.register(
            "bfd_sessions",
            "BFD sessions by state",
            self.bfd_sessions.clone(),
        );
        let help = "BFD sessions that came up, or lost their path; switching off is no loss";
        registry.register(
            "bfd_session_transitions",
            help,
            self.bfd_session_transitions.clone(),
        );
        registry.register("cni_calls", "CNI calls answered", self.cni_calls.clone());
        let help = "Time from a CNI call to its answer";
        registry.register_with_unit(
            "cni_call_duration",
            help,
            Unit::Seconds,
            self.cni_call_duration.clone(),
        );
        let help = "Time of one policy transaction";
        registry.register_with_unit(
            "policy_apply_duration",
            help,
            Unit::Seconds,
            self.policy_apply_duration.clone(),
        );
        let help = "Policy transactions that the kernel refused";
        registry.register(
            "policy_apply_failures",
            help,
            self.policy_apply_failures.clone(),
        );
        registry.register(
            "kernel_routes",
            "Routes of the agent in the kernel",
            self.kernel_routes.clone(),
        );
        let help = "Routes and nexthop objects written to the kernel or removed from it";
        registry.register("kernel_writes", help, self.kernel_writes.clone());
        let help = "Routes that the kernel refused, each time that it was tried";
        registry.register("kernel_failures", help, self.kernel_failures.clone());
        let help = "Addresses held by pods of this node";
        registry.register(
            "allocated_addresses",
            help,
            self.allocated_addresses.clone(),
        );
    }

    /// One state a peer.
    pub fn bgp_peers(&self, states: impl IntoIterator<Item = State>) {
        use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
        let mut counts = BTreeMap::from(
            [Idle, Connect, Active, OpenSent, OpenConfirm, Established].map(|state| (state, 0)),
        );
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        for (state, count) in counts {
            self.bgp_peers
                .get_or_create(&StateLabel {
                    state: state.to_string(),
                })
                .set(count);
        }
    }

    /// A session is established.
    pub fn bgp_session_up(&self, peer: IpAddr) {
        self.bgp_session_transitions
            .get_or_create(&TransitionLabels {
                peer: peer.to_string(),
                to: "up",
            })
            .inc();
    }

    /// An established session ended.
    pub fn bgp_session_down(&self, peer: IpAddr) {
        self.bgp_session_transitions
            .get_or_create(&TransitionLabels {
                peer: peer.to_string(),
                to: "down",
            })
            .inc();
    }

    /// One state a BFD session.
    pub fn bfd_sessions(&self, states: impl IntoIterator<Item = bfd::State>) {
        use bfd::State::{AdminDown, Down, Init, Up};
        let mut counts = BTreeMap::from([AdminDown, Down, Init, Up].map(|state| (state, 0)));
        for state in states {
            *counts.entry(state).or_default() += 1;
        }
        for (state, count) in counts {
            let state = state.to_string();
            self.bfd_sessions
                .get_or_create(&StateLabel { state })
                .set(count);
        }
    }

    /// A BFD session came up and was lost this often since the last call.
    pub fn bfd_transitions(&self, peer: IpAddr, ups: u64, losses: u64) {
        for (to, count) in [("up", ups), ("down", losses)] {
            let peer = peer.to_string();
            self.bfd_session_transitions
                .get_or_create(&TransitionLabels { peer, to })
                .inc_by(count);
        }
    }

    /// The peer is configured no more: its series end.
    pub fn bgp_peer_removed(&self, peer: IpAddr) {
        for to in ["up", "down"] {
            let labels = TransitionLabels {
                peer: peer.to_string(),
                to,
            };
            self.bgp_session_transitions.remove(&labels);
            self.bfd_session_transitions.remove(&labels);
        }
    }

    /// Prefixes of a family in use from peers.
    pub fn bgp_routes_learned(&self, family: Family, count: usize) {
        set(
            &self.bgp_routes,
            RouteLabels {
                family: name(family),
                direction: "learned",
            },
            count,
        );
    }

    /// Prefixes of a family that this node originates.
    pub fn bgp_routes_announced(&self, family: Family, count: usize) {
        set(
            &self.bgp_routes,
            RouteLabels {
                family: name(family),
                direction: "announced",
            },
            count,
        );
    }

    /// A CNI call was answered; `result` is `ok` or the CNI error code.
    pub fn cni_call(&self, verb: &'static str, result: impl Into<String>, duration: Duration) {
        self.cni_calls
            .get_or_create(&CallLabels {
                verb,
                result: result.into(),
            })
            .inc();
        self.cni_call_duration
            .get_or_create(&VerbLabel { verb })
            .observe(duration.as_secs_f64());
    }

    /// A policy transaction is in the kernel.
    pub fn policy_applied(&self, duration: Duration) {
        self.policy_apply_duration.observe(duration.as_secs_f64());
    }

    /// The kernel refused a policy transaction.
    pub fn policy_failed(&self) {
        self.policy_apply_failures.inc();
    }

    /// Routes of ours in the kernel.
    pub fn kernel_routes(&self, family: Family, count: usize) {
        set(
            &self.kernel_routes,
            FamilyLabel {
                family: name(family),
            },
            count,
        );
    }

    /// What a turn of the route sink did.
    pub fn kernel_applied(&self, done: &Applied) {
        for (object, action, count) in [
            ("route", "written", done.routes_written),
            ("route", "removed", done.routes_removed),
            ("nexthop", "written", done.nexthops_written),
            ("nexthop", "removed", done.nexthops_removed),
        ] {
            let labels = WriteLabels { object, action };
            self.kernel_writes
                .get_or_create(&labels)
                .inc_by(count as u64);
        }
        self.kernel_failures.inc_by(done.failed.len() as u64);
    }

    /// Addresses held by pods of this node.
    pub fn allocated_addresses(&self, family: Family, count: usize) {
        set(
            &self.allocated_addresses,
            FamilyLabel {
                family: name(family),
            },
            count,
        );
    }

    /// From now on the series of its peers are this speaker's; one that came before stays.
    pub(crate) fn follow(&self, speaker: Handle) {
        let _ = self.speaker.set(speaker);
    }

    /// The OpenMetrics text, with what only the speaker knows.
    pub async fn text(&self) -> String {
        match self.speaker.get() {
            None => self.encode(None),
            Some(speaker) => self.encode(live::registry(speaker).await.as_ref()),
        }
    }

    fn encode(&self, live: Option<&Registry>) -> String {
        let mut text = String::new();
        let written = [Some(&self.registry), live]
            .into_iter()
            .flatten()
            .try_for_each(|registry| text::encode_registry(&mut text, registry))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("a String takes every write");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// 1 millisecond to 8 seconds: a runtime gives up after minutes, a person worries after seconds.
fn call_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "ipv4",
        Family::Ipv6Unicast => "ipv6",
    }
}

fn set<S: Clone + std::hash::Hash + Eq>(metric: &Labelled<S, Gauge>, labels: S, count: usize) {
    metric
        .get_or_create(&labels)
        .set(i64::try_from(count).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests;
