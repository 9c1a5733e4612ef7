//! Do the random clusters prove anything? They must deny and allow, and notice a table that is wrong in one place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use fixtures::World;
use margay_policy::Table;
use margay_policy::table::{Chain, ChainName};
use margay_policy::verdict::Flow;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

fn worlds(count: usize) -> Vec<World> {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .map(|_| random::world().new_tree(&mut runner).unwrap().current())
        .collect()
}

fn is_class(name: &ChainName) -> bool {
    name.as_str().starts_with("i_") || name.as_str().starts_with("e_")
}

/// Flows whose fate a class decided: they are denied, or pass only because a class lets them.
fn policed(world: &World, table: &Table) -> Vec<Flow> {
    let mut open = table.clone();
    for map in open.maps.values_mut() {
        map.elements.retain(|_, verdict| verdict.target().is_none());
    }
    random::flows(world)
        .into_iter()
        .filter(|flow| {
            world.forwarded(table, flow) != world.forwarded(&open, flow) || !world.expected(flow)
        })
        .collect()
}

#[test]
fn random_clusters_deny_and_allow() {
    let (mut allowed, mut denied) = (0, 0);
    for world in worlds(64) {
        for flow in policed(&world, &world.table()) {
            match world.expected(&flow) {
                true => allowed += 1,
                false => denied += 1,
            }
        }
    }
    println!("{allowed} policed flows pass, {denied} do not");
    assert!(allowed > 500 && denied > 500, "{allowed} {denied}");
}

#[test]
fn a_missing_rule_or_element_is_noticed() {
    let (mut noticed, mut total) = (0, 0);
    for world in worlds(48) {
        let table = world.table();
        let flows = random::flows(&world);
        for wrong in rules_missing(&table)
            .into_iter()
            .chain(elements_missing(&table))
        {
            total += 1;
            noticed += usize::from(
                flows
                    .iter()
                    .any(|flow| world.forwarded(&wrong, flow) != world.expected(flow)),
            );
        }
    }
    println!("{noticed} of {total} wrong tables noticed");
    // The rest is truly redundant: rules that allow what another allows too, elements of sets that a wider rule covers.
    assert!(noticed * 2 > total, "{noticed} of {total}");
}

fn rules_missing(table: &Table) -> Vec<Table> {
    let classes = table.chains.iter().filter(|(name, _)| is_class(name));
    let places =
        classes.flat_map(|(name, chain)| (0..chain.rules.len()).map(move |at| (name, chain, at)));
    let without = |(name, chain, at): (&ChainName, &Arc<Chain>, usize)| {
        let mut wrong = table.clone();
        let mut rules = chain.rules.clone();
        rules.remove(at);
        wrong.add_chain(name.clone(), Chain { base: None, rules });
        wrong
    };
    places.map(without).collect()
}

fn elements_missing(table: &Table) -> Vec<Table> {
    let places = table
        .sets
        .iter()
        .flat_map(|(name, set)| set.elements.iter().map(move |element| (name, element)));
    let without = |(name, element)| {
        let mut wrong = table.clone();
        Arc::make_mut(&mut wrong.sets.get_mut(name).unwrap().elements).remove(element);
        wrong
    };
    places.map(without).collect()
}
