//! The namespaces and pods of the proof, and how a case is judged.

use super::{
    ask::Ask,
    pods::{NAMESPACES, PODS, PORTS},
};
use crate::{
    api::Api,
    cluster::{Cluster, FAMILIES},
    matrix::{Fate, Matrix, Place, Protocol, Shape, Shot},
    report::Report,
};
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use margay_lab::{Seen, wait_until};
use margay_policy::verdict;
use margay_proto::slim::{Namespace, Pod};
use std::{
    collections::BTreeSet,
    fmt::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a change may take to be seen.
pub(super) const TURN_LIMIT: Duration = Duration::from_secs(5);
/// How long an open path may take to answer while a change is awaited, and in the pass that judges.
pub(super) const TURN_WAIT: Duration = Duration::from_millis(150);
pub(super) const JUDGE_WAIT: Duration = Duration::from_secs(2);

/// The pods, the API, and the last table of truth.
pub(super) struct Arena<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) api: Api,
    pub(super) matrix: Matrix,
    shots: Vec<Shot>,
    truth: Vec<bool>,
    policies: BTreeSet<(String, String)>,
}

/// A policy: its namespace, and its spec in YAML. `@x/a:v4` in it is an address.
pub(super) type Policy = (String, String);

/// A table of truth: whether a path is open.
pub(super) type Truth<'t> = &'t dyn Fn(&Ask<'_>) -> bool;

impl<'a> Arena<'a> {
    /// An arena without anything in it.
    pub(super) fn new(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self {
            cluster,
            api: Api::open(&cluster.lab)?,
            matrix: Matrix::default(),
            shots: Vec::new(),
            truth: Vec::new(),
            policies: BTreeSet::new(),
        })
    }

    /// Makes namespaces and pods, and opens the sockets of every place.
    pub(super) fn fill(&mut self, report: &mut Report) -> Result<()> {
        let made = report.check("9 pods of 3 namespaces on 3 nodes", || self.populate());
        ensure!(made, "nothing else can work without the pods");
        self.aim();
        self.case(report, "without policies all is open", &[], Some(&|_| true));
        Ok(())
    }

    /// Removes every object.
    pub(super) fn down(&self) -> Result<()> {
        for namespace in NAMESPACES {
            self.api
                .delete(&format!("/api/v1/namespaces/{namespace}"))?;
        }
        wait_until("our namespaces are gone", Duration::from_secs(60), || {
            let list = self.api.get("/api/v1/namespaces?labelSelector=netpol")?;
            let left = list["items"].as_array().map_or(0, Vec::len);
            Ok(if left == 0 {
                Seen::Holds(())
            } else {
                Seen::NotYet(format!("{left} namespaces"))
            })
        })
    }

    /// Applies a case's policies instead of those of the last, and judges it.
    pub(super) fn case(
        &mut self,
        report: &mut Report,
        what: &str,
        policies: &[Policy],
        truth: Option<Truth<'_>>,
    ) {
        report.check(what, || {
            let begin = Instant::now();
            self.set(policies)?;
            self.holds(begin, truth)
        });
    }

    /// Makes these the only policies.
    pub(super) fn set(&mut self, policies: &[Policy]) -> Result<()> {
        let mut wanted = BTreeSet::new();
        for (number, (namespace, spec)) in policies.iter().enumerate() {
            let name = format!("p{number}");
            let manifest = format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}}}, spec: {}}}",
                self.resolve(spec)
            );
            self.api.replace(&collection(namespace), &name, &manifest)?;
            wanted.insert((namespace.clone(), name));
        }
        for (namespace, name) in self.policies.difference(&wanted) {
            let path = format!("{}/{name}", collection(namespace));
            self.api.delete(&path)?;
        }
        self.policies = wanted;
        Ok(())
    }

    /// Waits until the paths that turn have turned, then asks all of them once, and every answer must be right.
    pub(super) fn holds(&mut self, begin: Instant, truth: Option<Truth<'_>>) -> Result<String> {
        let wanted = self.truth(truth)?;
        let turned = self.wait_for_turn(&wanted)?;
        let in_force = begin.elapsed();
        // Where nothing turned, one pass more gives a wrong change the time to take effect.
        for _ in 0..if turned == 0 { 2 } else { 1 } {
            self.judge(&wanted)?;
        }
        let open = wanted.iter().filter(|open| **open).count();
        let closed = wanted.len() - open;
        self.truth = wanted;
        let when = format!("{turned} turned, seen after {} ms", in_force.as_millis());
        Ok(format!("{open} paths open, {closed} closed; {when}"))
    }

    /// The paths are not known any more: other things were tried meanwhile.
    pub(super) fn forget(&mut self) {
        self.truth.clear();
    }

    /// The table by hand, which must be the oracle's; or the oracle's.
    fn truth(&self, by_hand: Option<Truth<'_>>) -> Result<Vec<bool>> {
        let oracle = self.oracle()?;
        let Some(by_hand) = by_hand else {
            return Ok(oracle);
        };
        let wanted: Vec<bool> = self
            .shots
            .iter()
            .map(|shot| self.is_own_node(shot) || by_hand(&self.ask(shot)))
            .collect();
        let differ: Vec<_> = (0..wanted.len())
            .filter(|at| wanted[*at] != oracle[*at])
            .map(|at| {
                format!(
                    "{}: {} by hand",
                    self.ask(&self.shots[at]),
                    word(wanted[at])
                )
            })
            .collect();
        ensure!(
            differ.is_empty(),
            "the oracle disagrees with the table written by hand: {}",
            listed(&differ)
        );
        Ok(wanted)
    }

    fn oracle(&self) -> Result<Vec<bool>> {
        let pods: Vec<Pod> = self.list("/api/v1/pods")?;
        let namespaces: Vec<Namespace> = self.list("/api/v1/namespaces")?;
        let policies: Vec<NetworkPolicy> =
            self.list("/apis/networking.k8s.io/v1/networkpolicies")?;
        let cluster = verdict::Cluster {
            pods: &pods,
            namespaces: &namespaces,
            policies: &policies,
        };
        let judged = self.shots.iter().map(|shot| {
            let source = self.matrix.places()[shot.from].address(shot.to.is_ipv4());
            let flow = verdict::Flow {
                source: source.context("a place has both families")?,
                destination: shot.to.ip(),
                protocol: shot.protocol.number(),
                port: shot.to.port(),
            };
            Ok(self.is_own_node(shot) || cluster.judge(&flow) == verdict::Judgement::Allow)
        });
        judged.collect()
    }

    fn list<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let list = self.api.get(path)?;
        serde_json::from_value(list["items"].clone()).with_context(|| path.to_owned())
    }

    /// How many paths turn, once they have.
    fn wait_for_turn(&mut self, wanted: &[bool]) -> Result<usize> {
        let turns: Vec<usize> = (0..wanted.len())
            .filter(|at| self.truth.get(*at) != Some(&wanted[*at]))
            .collect();
        let shots: Vec<Shot> = turns.iter().map(|at| self.shots[*at]).collect();
        let begin = Instant::now();
        loop {
            let settled = |matrix: &Matrix, at: usize, fate: &Fate| {
                !wanted[turns[at]] || matrix.is_open(&shots[at], fate)
            };
            let (_, fates) = self.matrix.pass(&shots, TURN_WAIT, settled)?;
            let wrong: Vec<_> = (0..shots.len())
                .filter(|at| self.is_wrong(&shots[*at], &fates[*at], wanted[turns[*at]]))
                .map(|at| self.told(&shots[at], &fates[at]))
                .collect();
            if wrong.is_empty() {
                return Ok(shots.len());
            }
            if begin.elapsed() > TURN_LIMIT {
                // Whatever is true now is not what the next case may build on.
                self.truth.clear();
                bail!("{} paths did not turn: {}", wrong.len(), listed(&wrong));
            }
        }
    }

    /// One pass over everything.
    fn judge(&mut self, wanted: &[bool]) -> Result<()> {
        let shots = self.shots.clone();
        let settled = |matrix: &Matrix, at: usize, fate: &Fate| {
            !wanted[at] || matrix.is_open(&shots[at], fate)
        };
        let (pass, fates) = self.matrix.pass(&shots, JUDGE_WAIT, settled)?;
        self.matrix.judge_closed(&pass, |at| !wanted[at]);
        let wrong: Vec<_> = (0..shots.len())
            .filter(|at| self.is_wrong(&shots[*at], &fates[*at], wanted[*at]))
            .map(|at| self.told(&shots[at], &fates[at]))
            .collect();
        if !wrong.is_empty() {
            self.truth.clear();
            bail!("{} paths are wrong: {}", wrong.len(), listed(&wrong));
        }
        Ok(())
    }

    fn is_wrong(&self, shot: &Shot, fate: &Fate, open: bool) -> bool {
        if open {
            !self.matrix.is_open(shot, fate)
        } else {
            fate.arrived.is_some() || fate.answered
        }
    }

    fn told(&self, shot: &Shot, fate: &Fate) -> String {
        let what = match fate.arrived {
            None => "did not arrive".to_owned(),
            Some((place, source, port)) => {
                let place = self.matrix.places()[place].name();
                let answer = if fate.answered { "" } else { ", no answer" };
                format!("arrived at {place} port {port} from {source}{answer}")
            }
        };
        format!("{} {what}", self.ask(shot))
    }

    fn ask(&self, shot: &Shot) -> Ask<'_> {
        let places = self.matrix.places();
        let owner = places
            .iter()
            .find(|place| place.addresses().contains(&shot.to.ip()));
        let to = owner.map_or("?", Place::name);
        let from = places[shot.from].name();
        Ask::new(from, to, shot.to.port(), shot.protocol, shot.to.is_ipv4())
    }

    /// Whether a node asks its own pod, which no policy can forbid.
    fn is_own_node(&self, shot: &Shot) -> bool {
        let ask = self.ask(shot);
        PODS.iter().any(|(pod, node)| ask.to(pod) && ask.from(node))
    }

    /// A spec with its addresses.
    pub(super) fn resolve(&self, spec: &str) -> String {
        let mut resolved = spec.to_owned();
        for place in self.matrix.places() {
            for address in place.addresses() {
                let family = if address.is_ipv4() { "v4" } else { "v6" };
                let mark = format!("@{}:{family}", place.name());
                resolved = resolved.replace(&mark, &address.to_string());
            }
        }
        resolved
    }

    /// Every pair with a pod in it, on every port, in every protocol and family. No place asks itself.
    fn aim(&mut self) {
        let places = self.matrix.places();
        let is_pod = |at: usize| at < PODS.len();
        for v4 in FAMILIES {
            for (from, to) in (0..places.len()).flat_map(|f| (0..places.len()).map(move |t| (f, t)))
            {
                let Some(address) = places[to].address(v4) else {
                    continue;
                };
                if from == to || !(is_pod(from) || is_pod(to)) {
                    continue;
                }
                for port in PORTS {
                    let to = SocketAddr::new(address, port);
                    self.shots.extend(Protocol::ALL.map(|protocol| Shot {
                        from,
                        to,
                        protocol,
                        shape: Shape::Plain,
                    }));
                }
            }
        }
    }
}

fn collection(namespace: &str) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies")
}

fn word(open: bool) -> &'static str {
    if open { "open" } else { "closed" }
}

/// The first of them.
fn listed(paths: &[String]) -> String {
    let mut text = paths.iter().take(8).cloned().collect::<Vec<_>>().join("; ");
    if paths.len() > 8 {
        let _ = write!(text, "; and {} more", paths.len() - 8);
    }
    text
}
