//! Parsed policies by namespace and name.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::policy::{Policy, Problem};
use crate::selector::{Labels, Selector};

#[derive(Debug, Default)]
pub(super) struct Policies {
    by_namespace: BTreeMap<String, BTreeMap<String, (Policy, Vec<Problem>)>>,
}

/// Whose policies changed: pods of the namespace that any of the selectors matches.
pub(super) struct Touched {
    pub(super) namespace: String,
    subjects: Vec<Selector>,
}

impl Touched {
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        self.subjects
            .iter()
            .any(|selector| selector.matches(labels))
    }
}

impl Policies {
    /// Takes a policy; pods that it selected, or selects now, are touched unless it says the same as before.
    pub(super) fn apply(&mut self, object: &NetworkPolicy) -> Touched {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let (policy, problems) = Policy::parse(object);
        let policies = self.by_namespace.entry(namespace.clone()).or_default();
        let mut subjects = vec![policy.subjects.clone()];
        match policies.insert(name, (policy.clone(), problems)) {
            Some((old, _)) if old == policy => subjects.clear(),
            Some((old, _)) => subjects.push(old.subjects),
            None => {}
        }
        Touched {
            namespace,
            subjects,
        }
    }

    pub(super) fn delete(&mut self, namespace: &str, name: &str) -> Touched {
        let policies = self.by_namespace.get_mut(namespace);
        let gone = policies.and_then(|policies| policies.remove(name));
        self.by_namespace.retain(|_, policies| !policies.is_empty());
        let subjects = gone
            .map(|(policy, _)| policy.subjects)
            .into_iter()
            .collect();
        Touched {
            namespace: namespace.to_owned(),
            subjects,
        }
    }

    /// Namespace and name of each.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, String)> {
        self.by_namespace.iter().flat_map(|(namespace, policies)| {
            policies
                .keys()
                .map(move |name| (namespace.clone(), name.clone()))
        })
    }

    /// The policies that select a pod, in the order of their names.
    pub(super) fn selecting(&self, namespace: &str, labels: &Labels) -> Vec<&Policy> {
        let policies = self
            .by_namespace
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values);
        policies
            .map(|(policy, _)| policy)
            .filter(|policy| policy.subjects.matches(labels))
            .collect()
    }

    /// What cannot be obeyed in the policies that `wanted` picks by namespace and subjects.
    pub(super) fn problems(&self, wanted: impl Fn(&str, &Selector) -> bool) -> Vec<Problem> {
        let policies = self
            .by_namespace
            .iter()
            .flat_map(|(namespace, policies)| policies.values().map(move |its| (namespace, its)));
        policies
            .filter(|(_, (_, problems))| !problems.is_empty())
            .filter(|(namespace, (policy, _))| wanted(namespace, &policy.subjects))
            .flat_map(|(_, (_, problems))| problems)
            .cloned()
            .collect()
    }
}
