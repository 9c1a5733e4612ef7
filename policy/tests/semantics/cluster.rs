//! The cluster of the upstream tests: namespaces x, y, z with pods a, b, c each, all of which serve ports 80 and 81 on TCP, UDP
//! and SCTP under names. Beside it an address outside and another node.
//!
//! [`prove`] puts every probe between any two of these, in both families, to the compiled table and to the oracle, and compares
//! both with a truth that the test writes down itself.

use margay_policy::table::Table;
use margay_policy::verdict::{Flow, Judgement};
use margay_policy::{Index, diff};
use margay_proto::slim::Pod;
use serde_json::{Value, json};

use crate::fixtures::{PodExt, World, address, endpoint, namespace, pod, policy};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;
pub(crate) const PROTOCOLS: [(u8, &str); 3] = [(TCP, "TCP"), (UDP, "UDP"), (SCTP, "SCTP")];

pub(crate) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
pub(crate) const PODS: [&str; 3] = ["a", "b", "c"];

/// Where a probe begins or ends: `x/a`, or something that is no pod, whose namespace is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: &'static str,
    pub(crate) pod: &'static str,
}

/// A host outside of the cluster.
pub(crate) const OUTSIDE: Place = place("", "outside");
/// A node that is not the pods' own.
pub(crate) const OTHER_NODE: Place = place("", "node");

pub(crate) const fn place(namespace: &'static str, pod: &'static str) -> Place {
    Place { namespace, pod }
}

impl Place {
    /// Whether it is this pod, as in `x/a`.
    pub(crate) fn is(self, name: &str) -> bool {
        name.split_once('/') == Some((self.namespace, self.pod))
    }

    pub(crate) fn is_pod(self) -> bool {
        !self.namespace.is_empty()
    }

    pub(crate) fn addresses(self) -> [String; 2] {
        let of = |all: [&str; 3], one| all.iter().position(|it| *it == one).unwrap() + 1;
        match self {
            OUTSIDE => ["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
            OTHER_NODE => ["172.16.0.2".to_owned(), "fd01::2".to_owned()],
            Self { namespace, pod } => {
                let (net, host) = (of(NAMESPACES, namespace), of(PODS, pod));
                [
                    format!("10.0.{net}.{host}"),
                    format!("fd00:0:0:{net}::{host}"),
                ]
            }
        }
    }
}

/// The nine pods.
pub(crate) fn all_pods() -> impl Iterator<Item = Place> {
    NAMESPACES
        .into_iter()
        .flat_map(|namespace| PODS.map(|pod| place(namespace, pod)))
}

/// The nine pods and what is no pod.
pub(crate) fn everywhere() -> Vec<Place> {
    all_pods().chain([OUTSIDE, OTHER_NODE]).collect()
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
}

impl Probe {
    pub(crate) fn is(&self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol && self.port == port
    }
}

/// What to try: between any two of these places, these ports of the three protocols, and an echo.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    pub(crate) places: Vec<Place>,
    pub(crate) ports: Vec<u16>,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            places: everywhere(),
            ports: vec![80, 81],
        }
    }
}

impl Probes {
    fn all(&self) -> impl Iterator<Item = (Probe, usize)> {
        let pairs = self
            .places
            .iter()
            .flat_map(|from| self.places.iter().map(|to| (*from, *to)));
        pairs.flat_map(|(from, to)| {
            let ports = self.ports.iter().flat_map(move |port| {
                PROTOCOLS.map(|(protocol, _)| Probe {
                    from,
                    to,
                    protocol,
                    port: *port,
                })
            });
            ports.flat_map(|probe| [(probe, 0), (probe, 1)])
        })
    }
}

pub(crate) fn serving_pod(at: Place, addresses: &[&str]) -> Pod {
    let mut made = pod(at.namespace, at.pod, &[("pod", at.pod)], addresses);
    for (_, protocol) in PROTOCOLS {
        for port in [80, 81] {
            let name = format!("serve-{port}-{}", protocol.to_lowercase());
            made = made.serving(protocol, &name, port);
        }
    }
    made
}

fn link_name(at: Place) -> String {
    format!("mgy{}{}", at.namespace, at.pod)
}

/// All pods on this node, under these policies: namespace and spec.
pub(crate) fn cluster(policies: impl IntoIterator<Item = (&'static str, Value)>) -> World {
    let numbered = policies.into_iter().enumerate();
    World {
        pods: all_pods()
            .map(|at| serving_pod(at, &at.addresses().each_ref().map(String::as_str)))
            .collect(),
        namespaces: NAMESPACES
            .map(|name| namespace(name, &[("ns", name)]))
            .to_vec(),
        policies: numbered
            .map(|(number, (namespace, spec))| policy(namespace, &format!("p{number}"), spec))
            .collect(),
        local: all_pods().map(link_name).zip(0..).collect(),
    }
}

/// All probes against the truth; a pod always reaches itself.
pub(crate) fn prove(world: &World, truth: impl Fn(&Probe) -> bool) {
    prove_by(&Probes::default(), world, truth);
    prove_as_one_node_of_many(&Probes::default(), world);
}

/// These probes against the truth.
pub(crate) fn prove_by(probes: &Probes, world: &World, truth: impl Fn(&Probe) -> bool) {
    let table = world.table();
    for (probe, family) in probes.all() {
        let wanted = (probe.from == probe.to && probe.from.is_pod()) || truth(&probe);
        let flow = flow(&probe, family);
        assert_eq!(
            world.cluster().judge(&flow) == Judgement::Allow,
            wanted,
            "the oracle: {probe:?}, family {family}"
        );
        assert_eq!(
            world.forwarded(&table, &flow),
            wanted,
            "the table: {probe:?}, family {family}\n{}",
            table.render()
        );
    }
}

/// The same cluster with only x/a on this node: the table polices that pod as the oracle says, and nothing else.
fn prove_as_one_node_of_many(probes: &Probes, world: &World) {
    let mut alone = world.clone();
    alone.local.truncate(1);
    let table = alone.table();
    for (probe, family) in probes.all() {
        let flow = flow(&probe, family);
        assert_eq!(
            alone.forwarded(&table, &flow),
            alone.expected(&flow),
            "only x/a is here: {probe:?}, family {family}\n{}",
            table.render()
        );
    }
}

fn flow(probe: &Probe, family: usize) -> Flow {
    Flow {
        source: address(&probe.from.addresses()[family]),
        destination: address(&probe.to.addresses()[family]),
        protocol: probe.protocol,
        port: probe.port,
    }
}

/// A cluster that lives: an index that is told of changes one by one, and a kernel that follows by differences.
pub(crate) struct Live {
    pub(crate) world: World,
    pub(crate) index: Index,
    kernel: Table,
}

impl Live {
    pub(crate) fn new(world: World) -> Self {
        let index = world.index();
        Self {
            world,
            index,
            kernel: Table::default(),
        }
    }

    /// Creates a policy, or changes it.
    pub(crate) fn policy(&mut self, namespace: &str, name: &str, spec: Value) {
        let object = policy(namespace, name, spec);
        self.index.apply_policy(&object);
        self.world
            .policies
            .retain(|old| old.metadata.name != object.metadata.name);
        self.world.policies.push(object);
    }

    pub(crate) fn delete_policy(&mut self, namespace: &str, name: &str) {
        self.index.delete_policy(namespace, name);
        self.world
            .policies
            .retain(|old| old.metadata.name.as_deref() != Some(name));
    }

    /// Creates a namespace, or changes its labels.
    pub(crate) fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let object = namespace(name, labels);
        self.index.apply_namespace(&object);
        self.world
            .namespaces
            .retain(|old| old.metadata.name != object.metadata.name);
        self.world.namespaces.push(object);
    }

    pub(crate) fn delete_namespace(&mut self, name: &str) {
        self.index.delete_namespace(name);
        self.world
            .namespaces
            .retain(|old| old.metadata.name.as_deref() != Some(name));
    }

    /// Creates a pod, with a link on this node, or changes it.
    pub(crate) fn pod(&mut self, at: Place, object: Pod) {
        self.index.apply_pod(&object);
        let link = link_name(at);
        self.index.set_endpoint(endpoint(&link, &object));
        let number = self.world.local.iter().find(|(name, _)| *name == link);
        if let Some((_, number)) = number {
            self.world.pods[*number] = object;
        } else {
            self.world.pods.push(object);
            self.world.local.push((link, self.world.pods.len() - 1));
        }
    }

    /// Changes a pod where it is.
    pub(crate) fn change_pod(&mut self, at: Place, change: impl FnOnce(&mut Pod)) {
        let link = link_name(at);
        let number = self.world.local.iter().find(|(name, _)| *name == link);
        let pod = &mut self.world.pods[number.unwrap().1];
        change(pod);
        self.index.apply_pod(pod);
    }

    pub(crate) fn delete_pod(&mut self, at: Place) {
        let link = link_name(at);
        let position = self.world.local.iter().position(|(name, _)| *name == link);
        let (_, number) = self.world.local.remove(position.unwrap());
        let gone = self.world.pods.remove(number);
        for (_, other) in &mut self.world.local {
            *other -= usize::from(*other > number);
        }
        let uid = gone.metadata.uid.as_deref().unwrap();
        self.index.delete_pod(at.namespace, at.pod, uid);
        self.index.remove_endpoint(endpoint(&link, &gone).link);
    }

    /// The truth holds, as far as x/a is not alone; what was before left no trace, in the index or in the kernel.
    pub(crate) fn prove(&mut self, truth: impl Fn(&Probe) -> bool) {
        let table = self.index.table();
        assert_eq!(table, self.world.table());
        for batch in diff(&self.kernel, &table) {
            for change in &batch.changes {
                self.kernel.apply(change).unwrap();
            }
        }
        assert_eq!(self.kernel, table);
        prove(&self.world, truth);
    }
}

/// Labels of one pod.
pub(crate) fn with_label(key: &str, value: &str) -> Value {
    json!({ "matchLabels": { key: value } })
}

/// One requirement.
pub(crate) fn with_expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
}

/// A policy on ingress to the pods of this label.
pub(crate) fn ingress_to(pod: &str, rules: &Value) -> Value {
    json!({ "podSelector": with_label("pod", pod), "policyTypes": ["Ingress"], "ingress": rules })
}

/// A policy on egress of the pods of this label.
pub(crate) fn egress_of(pod: &str, rules: &Value) -> Value {
    json!({ "podSelector": with_label("pod", pod), "policyTypes": ["Egress"], "egress": rules })
}
