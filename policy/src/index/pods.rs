//! Pods and who owns which address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use margay_proto::slim;

use crate::selector::Labels;
use crate::table::Protocol;

/// A pod's place; over time several pods may have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodId {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl PodId {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn of(pod: &slim::Pod) -> Self {
        let metadata = &pod.metadata;
        Self::new(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

/// What policy needs of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) uid: String,
    created: Option<Time>,
    /// Of a mirror pod: the configuration hash, which is the UID that the runtime knows the static pod by.
    static_uid: Option<String>,
    pub(super) labels: Labels,
    pub(super) addresses: BTreeSet<IpAddr>,
    host_network: bool,
    ended: bool,
    /// Somebody deleted it; its containers may still run.
    ending: bool,
    ports: BTreeSet<(Protocol, String, u16)>,
}

impl From<&slim::Pod> for Record {
    fn from(pod: &slim::Pod) -> Self {
        let metadata = &pod.metadata;
        let annotation = |key: &str| {
            metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(key).cloned())
        };
        let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.clone(),
            static_uid: annotation("kubernetes.io/config.mirror"),
            labels: metadata.labels.clone().unwrap_or_default(),
            addresses: pod
                .status
                .pod_ips
                .iter()
                .filter_map(|address| address.ip.parse().ok())
                .collect(),
            host_network: pod.spec.host_network,
            ending: metadata.deletion_timestamp.is_some(),
            ended: matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ports: containers
                .flat_map(|container| &container.ports)
                .filter_map(named_port)
                .collect(),
        }
    }
}

fn named_port(port: &slim::ContainerPort) -> Option<(Protocol, String, u16)> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(_) => return None,
    };
    let number = u16::try_from(port.container_port).ok()?;
    Some((protocol, port.name.clone()?, number))
}

impl Record {
    /// Whether a runtime that says this UID means this pod.
    pub(super) fn is(&self, uid: &str) -> bool {
        self.uid == uid || self.static_uid.as_deref() == Some(uid)
    }

    /// A pod that ended has given its addresses back; one on its node's network never had any of its own.
    pub(super) fn owns_addresses(&self) -> bool {
        !self.ended && !self.host_network
    }

    /// Numbers of its ports of this name and protocol.
    pub(super) fn numbers(&self, protocol: Protocol, name: &str) -> BTreeSet<u16> {
        let named = |(its_protocol, its_name, _): &&(Protocol, String, u16)| {
            *its_protocol == protocol && its_name == name
        };
        self.ports
            .iter()
            .filter(named)
            .map(|(.., number)| *number)
            .collect()
    }

    /// Of two pods that had a name the later one has it.
    fn age(&self) -> (&Option<Time>, &str) {
        (&self.created, &self.uid)
    }

    fn rank(&self) -> Rank {
        (!self.ending, self.created.clone(), self.uid.clone())
    }
}

/// Of two pods that claim an address the one has it that is not being deleted, else the later one. A pod can be older than the one
/// whose address it got: it waited for a node.
type Rank = (bool, Option<Time>, String);

#[derive(Debug, Default)]
pub(super) struct Pods {
    records: BTreeMap<String, BTreeMap<String, Record>>,
    claims: BTreeMap<IpAddr, BTreeMap<Rank, PodId>>,
    claimed: BTreeMap<PodId, (Rank, BTreeSet<IpAddr>)>,
}

impl Pods {
    pub(super) fn get(&self, id: &PodId) -> Option<&Record> {
        self.records.get(&id.namespace)?.get(&id.name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PodId, &Record)> {
        self.records.iter().flat_map(|(namespace, pods)| {
            pods.iter()
                .map(move |(name, record)| (PodId::new(namespace, name), record))
        })
    }

    /// Namespaces that have pods.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&String, &Record)> {
        self.records.get(namespace).into_iter().flatten()
    }

    /// Whether this is news: not the same again, and not an older pod of a name that a later one has.
    pub(super) fn would_change(&self, id: &PodId, record: &Record) -> bool {
        self.get(id).is_none_or(|known| {
            let older = known.uid != record.uid && known.age() > record.age();
            !older && known != record
        })
    }

    pub(super) fn insert(&mut self, id: PodId, record: Record) {
        self.records
            .entry(id.namespace)
            .or_default()
            .insert(id.name, record);
    }

    pub(super) fn remove(&mut self, id: &PodId) {
        if let Some(pods) = self.records.get_mut(&id.namespace) {
            pods.remove(&id.name);
            if pods.is_empty() {
                self.records.remove(&id.namespace);
            }
        }
    }

    /// What a pod claims now.
    pub(super) fn claimed(&self, id: &PodId) -> BTreeSet<IpAddr> {
        self.claimed
            .get(id)
            .map(|(_, addresses)| addresses.clone())
            .unwrap_or_default()
    }

    /// All pods that claim any of these addresses, owners or not.
    pub(super) fn claimants(&self, addresses: &BTreeSet<IpAddr>) -> BTreeSet<PodId> {
        addresses
            .iter()
            .filter_map(|address| self.claims.get(address))
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// Replaces what a pod claims.
    pub(super) fn claim(&mut self, id: &PodId, addresses: BTreeSet<IpAddr>) {
        if let Some((rank, old)) = self.claimed.remove(id) {
            for address in old {
                if let Some(claims) = self.claims.get_mut(&address) {
                    claims.remove(&rank);
                    if claims.is_empty() {
                        self.claims.remove(&address);
                    }
                }
            }
        }
        let Some(rank) = self.get(id).map(Record::rank) else {
            return;
        };
        for address in &addresses {
            self.claims
                .entry(*address)
                .or_default()
                .insert(rank.clone(), id.clone());
        }
        if !addresses.is_empty() {
            self.claimed.insert(id.clone(), (rank, addresses));
        }
    }

    /// The addresses that are a pod's own.
    pub(super) fn owned(&self, id: &PodId) -> impl Iterator<Item = IpAddr> {
        let claimed = self
            .claimed
            .get(id)
            .into_iter()
            .flat_map(|(_, addresses)| addresses.iter().copied());
        claimed.filter(move |address| {
            self.claims
                .get(address)
                .and_then(|claims| claims.last_key_value())
                .is_some_and(|(_, owner)| owner == id)
        })
    }
}
