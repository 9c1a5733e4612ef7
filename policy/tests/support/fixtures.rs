//! Builders of objects with defaults.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use margay_policy::table::{CtState, Hook, Ifname, Outcome, Packet};
use margay_policy::verdict::{Cluster, Flow, Judgement};
use margay_policy::{Endpoint, Index, Table};
use margay_proto::slim::{Container, ContainerPort, Namespace, Pod, PodIp};
use serde_json::{Value, json};

/// A link that is no pod's.
pub(crate) const UPLINK: &str = "eth0";

pub(crate) fn link(name: &str) -> Ifname {
    Ifname::try_from(name).unwrap()
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn namespace(name: &str, extra: &[(&str, &str)]) -> Namespace {
    let mut all = labels(extra);
    all.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(all),
            ..ObjectMeta::default()
        },
    }
}

/// A running pod whose UID is `namespace-name`.
pub(crate) fn pod(namespace: &str, name: &str, pairs: &[(&str, &str)], addresses: &[&str]) -> Pod {
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(format!("{namespace}-{name}")),
        labels: Some(labels(pairs)),
        ..ObjectMeta::default()
    };
    let mut pod = Pod {
        metadata,
        ..Pod::default()
    };
    pod.status.phase = Some("Running".to_owned());
    pod.status.pod_ips = addresses
        .iter()
        .map(|address| PodIp {
            ip: (*address).to_owned(),
        })
        .collect();
    pod
}

pub(crate) trait PodExt {
    fn serving(self, protocol: &str, name: &str, number: i32) -> Self;
    fn created(self, seconds: i64) -> Self;
    fn uid(self, uid: &str) -> Self;
    fn phase(self, phase: &str) -> Self;
    /// Somebody deleted it, and it is still there.
    fn ending(self) -> Self;
}

impl PodExt for Pod {
    fn serving(mut self, protocol: &str, name: &str, number: i32) -> Self {
        let port = ContainerPort {
            name: Some(name.to_owned()),
            container_port: number,
            protocol: Some(protocol.to_owned()),
        };
        self.spec.containers.push(Container { ports: vec![port] });
        self
    }

    fn created(mut self, seconds: i64) -> Self {
        let time = k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap();
        self.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        self
    }

    fn uid(mut self, uid: &str) -> Self {
        self.metadata.uid = Some(uid.to_owned());
        self
    }

    fn phase(mut self, phase: &str) -> Self {
        self.status.phase = Some(phase.to_owned());
        self
    }

    fn ending(mut self) -> Self {
        let time = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        self.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        self
    }
}

pub(crate) fn policy(namespace: &str, name: &str, spec: Value) -> NetworkPolicy {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": spec,
    }))
    .unwrap()
}

pub(crate) fn endpoint(link_name: &str, pod: &Pod) -> Endpoint {
    Endpoint {
        link: link(link_name),
        namespace: pod.metadata.namespace.clone().unwrap(),
        name: pod.metadata.name.clone().unwrap(),
        uid: pod.metadata.uid.clone().unwrap(),
        addresses: pod
            .status
            .pod_ips
            .iter()
            .map(|its| address(&its.ip))
            .collect(),
    }
}

/// A cluster seen from a node with some of its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) pods: Vec<Pod>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) policies: Vec<NetworkPolicy>,
    /// Link and index of the pod at its end.
    pub(crate) local: Vec<(String, usize)>,
}

impl World {
    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            pods: &self.pods,
            namespaces: &self.namespaces,
            policies: &self.policies,
        }
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.local
            .iter()
            .map(|(link, pod)| endpoint(link, &self.pods[*pod]))
    }

    pub(crate) fn index(&self) -> Index {
        let mut index = Index::new();
        index.replace_namespaces(&self.namespaces);
        index.replace_pods(&self.pods);
        index.replace_policies(&self.policies);
        self.endpoints()
            .for_each(|endpoint| index.set_endpoint(endpoint));
        index
    }

    pub(crate) fn table(&self) -> Table {
        let table = self.index().table();
        assert_eq!(table.check(), Ok(()));
        table
    }

    fn link_of(&self, address: IpAddr) -> Option<Ifname> {
        let found = self
            .endpoints()
            .find(|endpoint| endpoint.addresses.contains(&address));
        found.map(|endpoint| endpoint.link)
    }

    /// What the compiled table does with the first packet of a flow between any two addresses.
    pub(crate) fn forwarded(&self, table: &Table, flow: &Flow) -> bool {
        let packet = Packet {
            input: Some(self.link_of(flow.source).unwrap_or_else(|| link(UPLINK))),
            output: Some(
                self.link_of(flow.destination)
                    .unwrap_or_else(|| link(UPLINK)),
            ),
            ..packet(flow)
        };
        table.evaluate(Hook::Forward, &packet) != Outcome::Drop
    }

    /// What Kubernetes says about the same flow; policies of remote pods are enforced elsewhere.
    pub(crate) fn expected(&self, flow: &Flow) -> bool {
        let cluster = self.cluster();
        let egress =
            self.link_of(flow.source).is_none() || cluster.egress(flow) == Judgement::Allow;
        let ingress =
            self.link_of(flow.destination).is_none() || cluster.ingress(flow) == Judgement::Allow;
        egress && ingress
    }

    /// Whether a flow passes, by both the table and the oracle, which must agree.
    pub(crate) fn passes(&self, source: &str, destination: &str, protocol: u8, port: u16) -> bool {
        let flow = Flow {
            source: address(source),
            destination: address(destination),
            protocol,
            port,
        };
        let passes = self.forwarded(&self.table(), &flow);
        assert_eq!(
            passes,
            self.expected(&flow),
            "{flow:?}\n{}",
            self.table().render()
        );
        passes
    }
}

/// A packet that begins a flow, its links still open.
pub(crate) fn packet(flow: &Flow) -> Packet {
    Packet {
        input: None,
        output: None,
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        port: flow.port,
        icmp_type: 128,
        state: CtState::NEW,
    }
}
