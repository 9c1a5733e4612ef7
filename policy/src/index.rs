//! What the watches said, kept so that the table follows at little cost.
//!
//! ```text
//! Pods ───────┬─► claims: address → pods that say they have it ── owner = the latest
//! Namespaces ─┤
//!             └─► groups: one pair of sets for each selector that a class needs (counted) ──┐
//! Policies ──► parsed ─┐                                                                    ├─► Table
//! Endpoints ───────────┴─► classes: distinct rules of local pods (counted) ─────────────────┘
//! ```
//! A remote pod costs one look at the groups that could hold it; a policy costs the local pods it selects; nothing costs
//! pods times policies. The table is a function of the current objects, never of the order in which they came.
//!
//! One task owns the index. Feed it everything the watches listed before the first [`Index::table`].

mod classes;
mod groups;
mod pods;
mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use margay_proto::slim;

use crate::layout::{self, Masquerade};
use crate::policy::Problem;
use crate::selector::Labels;
use crate::table::{ChainName, Ifname, Table, Verdict};
use classes::{Attached, Counted};
use groups::Groups;
use pods::{PodId, Pods};
use policies::Policies;

/// A local pod's link. The pod may be unknown yet; until it is known its link drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host side of the link.
    pub link: Ifname,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The UID that the runtime gave: the pod's, or the configuration hash of a static pod.
    pub uid: String,
    /// Addresses it may send from.
    pub addresses: BTreeSet<IpAddr>,
}

/// Pods, namespaces, policies and local endpoints, and the table that follows from them.
#[derive(Debug, Default)]
pub struct Index {
    namespaces: BTreeMap<String, Labels>,
    pods: Pods,
    policies: Policies,
    endpoints: BTreeMap<Ifname, Endpoint>,
    links: BTreeMap<PodId, BTreeSet<Ifname>>,
    attached: BTreeMap<Ifname, Attached>,
    classes: BTreeMap<ChainName, Counted>,
    groups: Groups,
    masquerade: Masquerade,
    /// Endpoints whose classes must be compiled again.
    stale: BTreeSet<Ifname>,
}

impl Index {
    /// An empty index: its table drops whatever passes a pod link.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a pod as the watch shows it now. An older pod of the same name never replaces a later one.
    pub fn apply_pod(&mut self, pod: &slim::Pod) {
        let id = PodId::of(pod);
        let record = pods::Record::from(pod);
        if !self.pods.would_change(&id, &record) {
            return;
        }
        self.change_pod(&id, |index| index.pods.insert(id.clone(), record));
    }

    /// Forgets a pod, if it still is the one with this UID.
    pub fn delete_pod(&mut self, namespace: &str, name: &str, uid: &str) {
        let id = PodId::new(namespace, name);
        if self.pods.get(&id).is_some_and(|record| record.uid == uid) {
            self.change_pod(&id, |index| index.pods.remove(&id));
        }
    }

    /// Takes a complete list of pods: those not in it are gone.
    pub fn replace_pods<'a>(&mut self, pods: impl IntoIterator<Item = &'a slim::Pod>) {
        let pods: Vec<_> = pods.into_iter().collect();
        let listed: BTreeSet<_> = pods
            .iter()
            .map(|pod| {
                (
                    PodId::of(pod),
                    pod.metadata.uid.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        let known = self
            .pods
            .iter()
            .map(|(id, record)| (id, record.uid.clone()));
        let gone: Vec<_> = known
            .filter(|(id, uid)| !listed.contains(&(id.clone(), uid.as_str())))
            .collect();
        for (id, uid) in gone {
            self.delete_pod(&id.namespace, &id.name, &uid);
        }
        pods.into_iter().for_each(|pod| self.apply_pod(pod));
    }

    /// Takes a namespace as the watch shows it now.
    pub fn apply_namespace(&mut self, namespace: &slim::Namespace) {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let labels: Labels = namespace.metadata.labels.clone().unwrap_or_default();
        if self.namespaces.get(&name) != Some(&labels) {
            self.change_namespace(&name, Some(labels));
        }
    }

    /// Forgets a namespace: no selector matches it any more.
    pub fn delete_namespace(&mut self, name: &str) {
        if self.namespaces.contains_key(name) {
            self.change_namespace(name, None);
        }
    }

    /// Takes a complete list of namespaces: those not in it are gone.
    pub fn replace_namespaces<'a>(
        &mut self,
        namespaces: impl IntoIterator<Item = &'a slim::Namespace>,
    ) {
        let namespaces: Vec<_> = namespaces.into_iter().collect();
        let listed: BTreeSet<_> = namespaces
            .iter()
            .filter_map(|namespace| namespace.metadata.name.clone())
            .collect();
        let gone: Vec<_> = self
            .namespaces
            .keys()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.delete_namespace(name));
        namespaces
            .into_iter()
            .for_each(|namespace| self.apply_namespace(namespace));
    }

    /// Takes a policy as the watch shows it now.
    pub fn apply_policy(&mut self, policy: &NetworkPolicy) {
        let touched = self.policies.apply(policy);
        self.policy_changed(&touched);
    }

    /// Forgets a policy.
    pub fn delete_policy(&mut self, namespace: &str, name: &str) {
        let touched = self.policies.delete(namespace, name);
        self.policy_changed(&touched);
    }

    /// Takes a complete list of policies: those not in it are gone.
    pub fn replace_policies<'a>(&mut self, policies: impl IntoIterator<Item = &'a NetworkPolicy>) {
        let policies: Vec<_> = policies.into_iter().collect();
        let key = |policy: &&NetworkPolicy| {
            (
                policy.metadata.namespace.clone().unwrap_or_default(),
                policy.metadata.name.clone().unwrap_or_default(),
            )
        };
        let listed: BTreeSet<_> = policies.iter().map(key).collect();
        let gone: Vec<_> = self
            .policies
            .keys()
            .filter(|key| !listed.contains(key))
            .collect();
        gone.iter()
            .for_each(|(namespace, name)| self.delete_policy(namespace, name));
        policies
            .into_iter()
            .for_each(|policy| self.apply_policy(policy));
    }

    /// Attaches a local pod's link, or changes what is attached there.
    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        let link = endpoint.link;
        if self.endpoints.get(&link) == Some(&endpoint) {
            return;
        }
        self.remove_endpoint(link);
        let id = PodId::new(&endpoint.namespace, &endpoint.name);
        self.change_pod(&id, |index| {
            index.links.entry(id.clone()).or_default().insert(link);
            index.endpoints.insert(link, endpoint);
        });
        self.stale.insert(link);
    }

    /// Detaches a link.
    pub fn remove_endpoint(&mut self, link: Ifname) {
        let Some(endpoint) = self.endpoints.get(&link) else {
            return;
        };
        let id = PodId::new(&endpoint.namespace, &endpoint.name);
        self.change_pod(&id, |index| {
            index.endpoints.remove(&link);
            if let Some(links) = index.links.get_mut(&id) {
                links.remove(&link);
            }
            index.links.retain(|_, links| !links.is_empty());
        });
        self.stale.insert(link);
    }

    /// Declares whose packets leave the cluster with the node's address.
    pub fn set_masquerade(&mut self, masquerade: Masquerade) {
        self.masquerade = masquerade;
    }

    /// Whether the pod that a runtime speaks of is known: then its endpoint gets its policies.
    pub fn knows_pod(&self, namespace: &str, name: &str, uid: &str) -> bool {
        self.pods
            .get(&PodId::new(namespace, name))
            .is_some_and(|record| record.is(uid))
    }

    /// Whether this link is attached and its pod known, so that the next [`Index::table`] lets its permitted packets pass.
    pub fn endpoint_ready(&self, link: Ifname) -> bool {
        let ready = |endpoint: &Endpoint| {
            self.knows_pod(&endpoint.namespace, &endpoint.name, &endpoint.uid)
        };
        self.endpoints.get(&link).is_some_and(ready)
    }

    /// Everything in the policies that cannot be obeyed, by namespace and policy.
    pub fn problems(&self) -> Vec<Problem> {
        self.policies.problems(|_, _| true)
    }

    /// The same of those policies only that select a pod attached here.
    pub fn local_problems(&self) -> Vec<Problem> {
        self.policies.problems(|namespace, subjects| {
            let here = self
                .endpoints
                .values()
                .filter(|endpoint| endpoint.namespace == namespace);
            here.filter_map(|endpoint| self.record(endpoint))
                .any(|record| subjects.matches(&record.labels))
        })
    }

    /// The table as it should be now.
    pub fn table(&mut self) -> Table {
        self.recompile();
        let none = BTreeSet::new();
        let ports = self.attached.iter().map(|(link, attached)| layout::Port {
            link: *link,
            addresses: self
                .endpoints
                .get(link)
                .map_or(&none, |endpoint| &endpoint.addresses),
            from: attached
                .egress
                .clone()
                .map_or(Verdict::Return, Verdict::Goto),
            to: attached
                .ingress
                .clone()
                .map_or(Verdict::Accept, Verdict::Goto),
        });
        let mut table = layout::table(ports, &self.masquerade);
        for Counted { class, .. } in self.classes.values() {
            table.chains.extend(
                class
                    .chains
                    .iter()
                    .map(|(name, chain)| (name.clone(), chain.clone())),
            );
            table.maps.extend(
                class
                    .maps
                    .iter()
                    .map(|(name, map)| (name.clone(), map.clone())),
            );
            table.sets.extend(
                class
                    .blocks
                    .iter()
                    .map(|(name, set)| (name.clone(), set.clone())),
            );
        }
        self.groups.add_sets(&mut table);
        table
    }

    /// Changes something about a pod or its link, and lets the sets and its endpoint follow.
    ///
    /// Claims are kept apart from records, so that the pods which win or lose an address by this are known before it happens.
    fn change_pod(&mut self, id: &PodId, change: impl FnOnce(&mut Self)) {
        let mut affected = self.pods.claimants(&self.pods.claimed(id));
        affected.insert(id.clone());
        let mut before = self.memberships(&affected);
        change(self);
        let addresses = self.addresses(id);
        let rivals: BTreeSet<_> = self
            .pods
            .claimants(&addresses)
            .difference(&affected)
            .cloned()
            .collect();
        before.extend(self.memberships(&rivals));
        affected.extend(rivals);
        self.pods.claim(id, addresses);
        self.groups.update(before, self.memberships(&affected));
        self.stale.extend(self.links.get(id).into_iter().flatten());
    }

    fn change_namespace(&mut self, name: &str, labels: Option<Labels>) {
        let affected = self
            .pods
            .in_namespace(name)
            .map(|(pod, _)| PodId::new(name, pod))
            .collect();
        let before = self.memberships(&affected);
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        self.groups.update(before, self.memberships(&affected));
    }

    fn policy_changed(&mut self, touched: &policies::Touched) {
        for (name, record) in self.pods.in_namespace(&touched.namespace) {
            if touched.selects(&record.labels) {
                let links = self.links.get(&PodId::new(&touched.namespace, name));
                self.stale.extend(links.into_iter().flatten());
            }
        }
    }

    /// Addresses that a pod has a right to claim: those in its status, and those of its link, which the status shows later.
    fn addresses(&self, id: &PodId) -> BTreeSet<IpAddr> {
        let Some(record) = self.pods.get(id).filter(|record| record.owns_addresses()) else {
            return BTreeSet::new();
        };
        let links = self.links.get(id).into_iter().flatten();
        let endpoints = links
            .filter_map(|link| self.endpoints.get(link))
            .filter(|endpoint| record.is(&endpoint.uid));
        endpoints
            .flat_map(|endpoint| &endpoint.addresses)
            .chain(&record.addresses)
            .copied()
            .collect()
    }

    /// The pod at the end of a link, if it is known.
    fn record(&self, endpoint: &Endpoint) -> Option<&pods::Record> {
        let id = PodId::new(&endpoint.namespace, &endpoint.name);
        self.pods.get(&id).filter(|record| record.is(&endpoint.uid))
    }

    fn memberships(&self, pods: &BTreeSet<PodId>) -> groups::Memberships {
        pods.iter()
            .flat_map(|id| self.groups.memberships(id, &self.pods, &self.namespaces))
            .collect()
    }
}
