//! Ten thousand pods and two thousand policies: an event costs what it touches, not everything.
//!
//! Wall time is not asserted: how much of the table an event makes anew is, by the pointers that stay the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;

use std::sync::Arc;

use fixtures::{World, namespace, pod, policy};
use margay_policy::{Change, Table, diff};
use serde_json::json;

const NAMESPACES: usize = 100;
const PODS: usize = 10_000;
const POLICIES: usize = 2_000;
const LOCAL: usize = 250;

fn cluster() -> World {
    let space = |number: usize| format!("ns-{}", number % NAMESPACES);
    let app = |number: usize| format!("app-{}", number / NAMESPACES % 20);
    let pods = (0..PODS).map(|number| {
        let v4 = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
        pod(
            &space(number),
            &format!("pod-{number}"),
            &[("app", &app(number))],
            &[&v4, &format!("fd00::{number:x}")],
        )
    });
    let policies = (0..POLICIES).map(|number| {
        let spec = json!({
            "podSelector": { "matchLabels": { "app": app(number) } },
            "ingress": [{
                "from": [
                    { "podSelector": { "matchLabels": { "app": app(number + NAMESPACES) } } },
                    { "namespaceSelector": { "matchLabels": { "team": format!("team-{}", number % 10) } } },
                ],
                "ports": [{ "port": 80 }, { "port": 443 }],
            }],
        });
        policy(&space(number), &format!("policy-{number}"), spec)
    });
    World {
        pods: pods.collect(),
        namespaces: (0..NAMESPACES)
            .map(|number| {
                namespace(
                    &space(number),
                    &[("team", &format!("team-{}", number % 10))],
                )
            })
            .collect(),
        policies: policies.collect(),
        local: (0..LOCAL)
            .map(|number| (format!("mgy{number}"), number * 37))
            .collect(),
    }
}

/// How many sets and chains of two tables are not one and the same in memory.
fn made_anew(before: &Table, after: &Table) -> usize {
    let sets = after.sets.iter().filter(|(name, set)| {
        let dispatch = matches!(
            name.as_str(),
            "self"
                | "src4"
                | "src6"
                | "pods4"
                | "pods6"
                | "nat4"
                | "nat6"
                | "pools4"
                | "pools6"
                | "nodes4"
                | "nodes6"
        );
        !dispatch
            && before
                .sets
                .get(*name)
                .is_none_or(|old| !Arc::ptr_eq(&old.elements, &set.elements))
    });
    let fixed = ["forward", "from", "input", "postrouting", "source", "to"];
    let chains = after.chains.iter().filter(|(name, chain)| {
        !fixed.contains(&name.as_str())
            && before
                .chains
                .get(*name)
                .is_none_or(|old| !Arc::ptr_eq(old, chain))
    });
    sets.count() + chains.count()
}

fn elements_changed(before: &Table, after: &Table) -> usize {
    let changes = diff(before, after)
        .into_iter()
        .flat_map(|batch| batch.changes);
    let sizes = changes.map(|change| match change {
        Change::AddElements { elements, .. } | Change::DeleteElements { elements, .. } => {
            elements.len()
        }
        other => panic!("only elements change: {other:?}"),
    });
    sizes.sum()
}

#[test]
fn an_event_costs_what_it_touches() {
    let mut world = cluster();
    let mut index = world.index();
    let first = index.table();
    assert_eq!(first.check(), Ok(()));

    let noise = world.pods[5_001]
        .clone()
        .tap(|pod| pod.metadata.resource_version = Some("2".to_owned()));
    index.apply_pod(&noise);
    let same = index.table();
    assert_eq!((made_anew(&first, &same), diff(&first, &same)), (0, vec![]));

    world.pods[5_001].status.pod_ips[0].ip = "10.200.0.1".to_owned();
    index.apply_pod(&world.pods[5_001]);
    let moved = index.table();
    let touched = made_anew(&same, &moved);
    assert!(
        (1..20).contains(&touched),
        "{touched} sets were made anew for one pod"
    );
    assert_eq!(elements_changed(&same, &moved), 2 * touched);

    let stranger = policy(
        "ns-3",
        "stranger",
        json!({ "podSelector": { "matchLabels": { "app": "none" } } }),
    );
    index.apply_policy(&stranger);
    assert_eq!(diff(&moved, &index.table()), vec![]);

    assert_eq!(index.table(), world.table());
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl<T> Tap for T {}
