//! What people are told by events on their objects.

use crate::warnings::{About, Warning};
use margay_policy::Problem;
use std::collections::{BTreeMap, BTreeSet};

/// More events of one policy would not help its author: the last one says how many fields are left.
const PER_POLICY: usize = 5;

/// An event for each field that cannot be read.
pub(super) fn of_policies(problems: Vec<Problem>) -> BTreeSet<Warning> {
    let mut by_policy: BTreeMap<_, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        let key = (problem.namespace.clone(), problem.policy.clone());
        by_policy.entry(key).or_default().push(problem);
    }
    by_policy.into_values().flat_map(of_policy).collect()
}

fn of_policy(problems: Vec<Problem>) -> Vec<Warning> {
    let left = problems.len().saturating_sub(PER_POLICY);
    let mut warnings: Vec<_> = problems.iter().take(PER_POLICY).map(of_problem).collect();
    if let Some(last) = warnings.last_mut().filter(|_| left > 0) {
        last.message = format!("{}; and {left} more fields", last.message);
    }
    warnings
}

fn of_problem(problem: &Problem) -> Warning {
    Warning {
        about: About {
            api_version: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            namespace: problem.namespace.clone(),
            name: problem.policy.clone(),
            uid: problem.uid.clone(),
            generation: problem.generation,
        },
        reason: "InvalidNetworkPolicy",
        message: problem.to_string(),
    }
}
