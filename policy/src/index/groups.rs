//! Sets whose elements follow the pods: held while a class needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::pods::{PodId, Pods, Record};
use crate::group::Group;
use crate::policy::Namespaces;
use crate::selector::Labels;
use crate::table::{Element, Family, Set, SetName, Table};

/// Elements and the groups that hold them.
pub(super) type Memberships = BTreeSet<(Arc<Group>, Element)>;

/// The groups in use. Those confined to a namespace are found by it, so that a pod meets only those that could hold it.
#[derive(Debug, Default)]
pub(super) struct Groups {
    confined: BTreeMap<String, BTreeMap<Arc<Group>, Members>>,
    everywhere: BTreeMap<Arc<Group>, Members>,
}

#[derive(Debug)]
struct Members {
    users: usize,
    v4: (SetName, Set),
    v6: (SetName, Set),
}

impl Groups {
    /// What a pod contributes to the groups in use.
    pub(super) fn memberships(
        &self,
        id: &PodId,
        pods: &Pods,
        namespaces: &BTreeMap<String, Labels>,
    ) -> Memberships {
        let mut memberships = Memberships::new();
        let Some(record) = pods.get(id) else {
            return memberships;
        };
        let addresses: Vec<_> = pods.owned(id).collect();
        if addresses.is_empty() {
            return memberships;
        }
        let confined = self
            .confined
            .get(&id.namespace)
            .into_iter()
            .flat_map(BTreeMap::keys);
        for group in confined.chain(self.everywhere.keys()) {
            if selects(group, id, record, namespaces) {
                memberships.extend(
                    elements(group, record, &addresses)
                        .into_iter()
                        .map(|element| (group.clone(), element)),
                );
            }
        }
        memberships
    }

    /// Moves the sets from what was to what is.
    pub(super) fn update(&mut self, before: Memberships, after: Memberships) {
        for (group, element) in before.difference(&after) {
            if let Some(elements) = self.elements_of(group, *element) {
                elements.remove(element);
            }
        }
        for (group, element) in after.difference(&before) {
            if let Some(elements) = self.elements_of(group, *element) {
                elements.insert(*element);
            }
        }
    }

    /// Counts one more class that needs the group; the first one fills its sets.
    pub(super) fn hold(
        &mut self,
        group: &Group,
        pods: &Pods,
        namespaces: &BTreeMap<String, Labels>,
    ) {
        let space = match group.namespace() {
            Some(namespace) => self.confined.entry(namespace.to_owned()).or_default(),
            None => &mut self.everywhere,
        };
        if let Some(members) = space.get_mut(group) {
            members.users += 1;
            return;
        }
        let (v4, v6): (Vec<_>, Vec<_>) = members(group, pods, namespaces)
            .into_iter()
            .partition(|element| family(*element) == Family::V4);
        let set =
            |family, elements: Vec<_>| (group.set_name(family), group.set(family).with(elements));
        let members = Members {
            users: 1,
            v4: set(Family::V4, v4),
            v6: set(Family::V6, v6),
        };
        space.insert(Arc::new(group.clone()), members);
    }

    /// Counts one class less; with the last one its sets go.
    pub(super) fn release(&mut self, group: &Group) {
        let space = match group.namespace() {
            Some(namespace) => self.confined.get_mut(namespace),
            None => Some(&mut self.everywhere),
        };
        let Some(space) = space else { return };
        let Some(members) = space.get_mut(group) else {
            return;
        };
        members.users -= 1;
        if members.users == 0 {
            space.remove(group);
        }
        self.confined.retain(|_, space| !space.is_empty());
    }

    /// Declares all sets.
    pub(super) fn add_sets(&self, table: &mut Table) {
        let members = self
            .confined
            .values()
            .flat_map(BTreeMap::values)
            .chain(self.everywhere.values());
        for (name, set) in members.flat_map(|members| [&members.v4, &members.v6]) {
            table.add_set(name.clone(), set.clone());
        }
    }

    fn elements_of(
        &mut self,
        group: &Arc<Group>,
        element: Element,
    ) -> Option<&mut BTreeSet<Element>> {
        let space = match group.namespace() {
            Some(namespace) => self.confined.get_mut(namespace)?,
            None => &mut self.everywhere,
        };
        let members = space.get_mut(group)?;
        let (_, set) = match family(element) {
            Family::V4 => &mut members.v4,
            Family::V6 => &mut members.v6,
        };
        // Tables that were handed out keep the old elements.
        Some(Arc::make_mut(&mut set.elements))
    }
}

fn selects(
    group: &Group,
    id: &PodId,
    record: &Record,
    namespaces: &BTreeMap<String, Labels>,
) -> bool {
    let selector = group.selector();
    let in_namespace = match &selector.namespaces {
        Namespaces::Any => true,
        Namespaces::Named(name) => *name == id.namespace,
        // A namespace that is not known is not selected, not even by the selector that matches all: fail closed.
        Namespaces::Selected(selector) => namespaces
            .get(&id.namespace)
            .is_some_and(|labels| selector.matches(labels)),
    };
    in_namespace && selector.pods.matches(&record.labels)
}

fn members(group: &Group, pods: &Pods, namespaces: &BTreeMap<String, Labels>) -> Vec<Element> {
    let candidates: Vec<&str> = match &group.selector().namespaces {
        Namespaces::Any => pods.namespaces().collect(),
        Namespaces::Named(name) => vec![name],
        Namespaces::Selected(selector) => namespaces
            .iter()
            .filter(|(_, labels)| selector.matches(labels))
            .map(|(name, _)| name.as_str())
            .collect(),
    };
    let mut found = Vec::new();
    for namespace in candidates {
        for (name, record) in pods.in_namespace(namespace) {
            if group.selector().pods.matches(&record.labels) {
                let addresses: Vec<_> = pods.owned(&PodId::new(namespace, name)).collect();
                found.extend(elements(group, record, &addresses));
            }
        }
    }
    found
}

fn elements(group: &Group, record: &Record, addresses: &[IpAddr]) -> Vec<Element> {
    match group {
        Group::Pods(_) => addresses
            .iter()
            .map(|address| Element::from(*address))
            .collect(),
        Group::Service(_, protocol, name) => {
            let numbers = record.numbers(*protocol, name);
            let at = |address: &IpAddr| {
                let address = *address;
                numbers
                    .clone()
                    .into_iter()
                    .map(move |number| match address {
                        IpAddr::V4(address) => Element::Ipv4ProtoPort(address, *protocol, number),
                        IpAddr::V6(address) => Element::Ipv6ProtoPort(address, *protocol, number),
                    })
            };
            addresses.iter().flat_map(at).collect()
        }
    }
}

fn family(element: Element) -> Family {
    match element {
        Element::Ipv6(_) | Element::Ipv6ProtoPort(..) => Family::V6,
        _ => Family::V4,
    }
}
