//! Do the random clusters prove anything? They must deny and allow, and notice a table that is wrong in one place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use fixtures::{World, packet};
use margay_policy::Table;
use margay_policy::table::{Chain, ChainName, Hook, Ifname, Outcome, Packet};
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
            let judged_wrongly =
                |flow: &Flow| world.forwarded(&wrong, flow) != world.expected(flow);
            noticed += usize::from(
                flows.iter().any(judged_wrongly) || strays_pass(&world, &wrong, &flows),
            );
        }
    }
    println!("{noticed} of {total} wrong tables noticed");
    // The rest is truly redundant: rules that allow what another allows too, elements of sets that a wider rule covers.
    assert!(noticed * 2 > total, "{noticed} of {total}");
}

#[test]
fn a_pod_keeps_its_rules_when_its_link_is_renamed() {
    for world in worlds(48) {
        let flows = random::flows(&world);
        assert!(!strays_pass(&world, &world.table(), &flows));
    }
}

/// Whether new flows from or to a pod here pass by a link that is in no map.
fn strays_pass(world: &World, table: &Table, flows: &[Flow]) -> bool {
    let link = |name: &str| Some(Ifname::try_from(name).unwrap());
    let here = |address| world.endpoints().any(|e| e.addresses.contains(&address));
    let passes = |packet| table.evaluate(Hook::Forward, &packet) != Outcome::Drop;
    flows.iter().any(|flow| {
        let stray = Packet {
            input: link("stray0"),
            output: link("stray1"),
            ..packet(flow)
        };
        (here(flow.source) || here(flow.destination)) && passes(stray)
    })
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
