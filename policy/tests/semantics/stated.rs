//! Rules that carry their own truth: each piece is the JSON that users write, and beside it a predicate that says what it means.
//! What they mean together is a few lines here, so that generated cases have a truth that neither the compiler nor the oracle made.

use serde_json::{Value, json};

use crate::cluster::{Place, Probe, Probes, cluster, prove_by};

pub(crate) type Fits<T> = Box<dyn Fn(&T) -> bool>;

/// One peer of a rule. An ipBlock is a list of two, one of each family.
pub(crate) struct Peer {
    pub(crate) json: Value,
    pub(crate) fits: Fits<Place>,
}

impl Peer {
    fn parts(&self) -> Vec<Value> {
        match &self.json {
            Value::Array(families) => families.clone(),
            one => vec![one.clone()],
        }
    }
}

/// One port of a rule.
pub(crate) struct Port {
    pub(crate) json: Value,
    pub(crate) fits: Fits<Probe>,
}

/// One rule; empty lists mean anybody and any port.
#[derive(Default)]
pub(crate) struct Rule<'a> {
    pub(crate) peers: Vec<&'a Peer>,
    pub(crate) ports: Vec<&'a Port>,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Ingress,
    Egress,
}

pub(crate) const WAYS: [Way; 2] = [Way::Ingress, Way::Egress];

/// One policy of namespace x or another.
pub(crate) struct Stated<'a> {
    pub(crate) namespace: &'static str,
    /// The selector and what it means in that namespace.
    pub(crate) subjects: (Value, Fits<Place>),
    pub(crate) way: Way,
    pub(crate) rules: Vec<Rule<'a>>,
}

/// Selects the pod a of namespace x.
pub(crate) fn on_a(way: Way, rules: Vec<Rule<'_>>) -> Stated<'_> {
    let selector = json!({ "matchLabels": { "pod": "a" } });
    Stated {
        namespace: "x",
        subjects: (selector, Box::new(|at| at.pod == "a")),
        way,
        rules,
    }
}

impl Rule<'_> {
    fn json(&self, side: &str) -> Value {
        let mut rule = json!({});
        if !self.peers.is_empty() {
            rule[side] = self.peers.iter().flat_map(|peer| peer.parts()).collect();
        }
        if !self.ports.is_empty() {
            rule["ports"] = self.ports.iter().map(|port| port.json.clone()).collect();
        }
        rule
    }

    fn allows(&self, peer: Place, probe: &Probe) -> bool {
        (self.peers.is_empty() || self.peers.iter().any(|wanted| (wanted.fits)(&peer)))
            && (self.ports.is_empty() || self.ports.iter().any(|wanted| (wanted.fits)(probe)))
    }
}

impl Stated<'_> {
    fn spec(&self) -> (&'static str, Value) {
        let (kind, list, side) = match self.way {
            Way::Ingress => ("Ingress", "ingress", "from"),
            Way::Egress => ("Egress", "egress", "to"),
        };
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.json(side)).collect();
        let spec = json!({ "podSelector": self.subjects.0, "policyTypes": [kind], list: rules });
        (self.namespace, spec)
    }

    /// Whether it says anything about the subject of this probe its way.
    fn isolates(&self, subject: Place) -> bool {
        subject.namespace == self.namespace && (self.subjects.1)(&subject)
    }
}

/// What the policies mean together: each way, some policy that isolates the pod allows it, or none isolates it.
fn truth(policies: &[Stated<'_>], probe: &Probe) -> bool {
    WAYS.into_iter().all(|way| {
        let (subject, peer) = match way {
            Way::Ingress => (probe.to, probe.from),
            Way::Egress => (probe.from, probe.to),
        };
        let isolating: Vec<_> = policies
            .iter()
            .filter(|policy| policy.way == way && policy.isolates(subject))
            .collect();
        let allows =
            |policy: &&Stated<'_>| policy.rules.iter().any(|rule| rule.allows(peer, probe));
        isolating.is_empty() || isolating.iter().any(allows)
    })
}

/// All probes, against what the policies say of themselves.
pub(crate) fn prove_stated(policies: &[Stated<'_>]) {
    prove_stated_by(&Probes::default(), policies);
}

pub(crate) fn prove_stated_by(probes: &Probes, policies: &[Stated<'_>]) {
    let world = cluster(policies.iter().map(Stated::spec));
    prove_by(probes, &world, |probe| truth(policies, probe));
}
