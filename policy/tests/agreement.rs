//! The compiled table and the oracle judge random clusters alike, and the table does not depend on how it came about.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/random.rs"]
mod random;

use fixtures::{World, link, packet};
use margay_policy::table::{Hook, Outcome};
use margay_policy::verdict::Judgement;
use margay_policy::{Endpoint, Index, Table, diff};
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Pod(usize),
    Namespace(usize),
    Policy(usize),
    Endpoint(usize),
}

fn events(world: &World) -> Vec<Event> {
    let pods = (0..world.pods.len()).map(Event::Pod);
    let namespaces = (0..world.namespaces.len()).map(Event::Namespace);
    let policies = (0..world.policies.len()).map(Event::Policy);
    pods.chain(namespaces)
        .chain(policies)
        .chain((0..world.local.len()).map(Event::Endpoint))
        .collect()
}

fn apply(index: &mut Index, world: &World, event: &Event) {
    match event {
        Event::Pod(number) => index.apply_pod(&world.pods[*number]),
        Event::Namespace(number) => index.apply_namespace(&world.namespaces[*number]),
        Event::Policy(number) => index.apply_policy(&world.policies[*number]),
        Event::Endpoint(number) => {
            let endpoint: Option<Endpoint> = world.endpoints().nth(*number);
            index.set_endpoint(endpoint.unwrap());
        }
    }
}

fn worlds_in_random_order() -> impl Strategy<Value = (World, Vec<Event>)> {
    random::world().prop_flat_map(|world| {
        let events = events(&world);
        (Just(world), Just(events).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_and_oracle_agree(world in random::world()) {
        let table = world.table();
        for flow in random::flows(&world) {
            prop_assert_eq!(
                world.forwarded(&table, &flow), world.expected(&flow),
                "{:?}\n{}\n{}", flow, serde_json::to_string_pretty(&world.policies).unwrap(), table.render()
            );
        }
    }

    #[test]
    fn own_node_is_a_destination_like_others(world in random::world()) {
        let table = world.table();
        for flow in random::flows(&world) {
            let Some(sender) = world.endpoints().find(|endpoint| endpoint.addresses.contains(&flow.source)) else { continue };
            let to_node = margay_policy::table::Packet { input: Some(sender.link), ..packet(&flow) };
            // Only addresses that no local pod has can be the node's.
            if world.endpoints().any(|endpoint| endpoint.addresses.contains(&flow.destination)) {
                continue;
            }
            let passes = table.evaluate(Hook::Input, &to_node) != Outcome::Drop;
            prop_assert_eq!(passes, world.cluster().egress(&flow) == Judgement::Allow, "{:?}\n{}", flow, table.render());
        }
    }

    #[test]
    fn order_of_events_leaves_no_trace((world, order) in worlds_in_random_order(), tables_between in any::<u32>()) {
        let mut index = Index::new();
        for (number, event) in order.iter().enumerate() {
            apply(&mut index, &world, event);
            if tables_between >> (number % 32) & 1 == 1 {
                index.table();
                apply(&mut index, &world, event);
            }
        }
        prop_assert_eq!(index.table(), world.table());
    }

    #[test]
    fn what_was_before_leaves_no_trace(before in random::world(), (world, order) in worlds_in_random_order(), whole in any::<bool>()) {
        let mut index = before.index();
        let mut kernel = Table::default();
        let old = index.table();
        follow(&mut kernel, &old);
        for endpoint in before.endpoints() {
            index.remove_endpoint(endpoint.link);
        }
        if whole {
            index.replace_pods(&world.pods);
            index.replace_policies(&world.policies);
            index.replace_namespaces(&world.namespaces);
        } else {
            for pod in &before.pods {
                let metadata = &pod.metadata;
                index.delete_pod(metadata.namespace.as_deref().unwrap(), metadata.name.as_deref().unwrap(), metadata.uid.as_deref().unwrap());
            }
            before.policies.iter().for_each(|policy| {
                index.delete_policy(policy.metadata.namespace.as_deref().unwrap(), policy.metadata.name.as_deref().unwrap());
            });
            before.namespaces.iter().for_each(|namespace| index.delete_namespace(namespace.metadata.name.as_deref().unwrap()));
        }
        for event in &order {
            apply(&mut index, &world, event);
            follow(&mut kernel, &index.table());
        }
        prop_assert_eq!(&kernel, &world.table());
        prop_assert_eq!(diff(&kernel, &index.table()), vec![]);
    }
}

/// Brings a model of the kernel up to date, as strictly as the kernel would take it.
fn follow(kernel: &mut Table, wanted: &Table) {
    assert_eq!(wanted.check(), Ok(()));
    for batch in diff(kernel, wanted) {
        for change in &batch.changes {
            kernel.apply(change).unwrap();
        }
    }
    assert_eq!(kernel, wanted);
}

#[test]
fn an_empty_index_drops_what_passes_a_pod_link() {
    let table = Index::new().table();
    let flow = margay_policy::verdict::Flow {
        source: fixtures::address("10.0.0.1"),
        destination: fixtures::address("10.0.0.2"),
        protocol: 6,
        port: 80,
    };
    for (input, output, passes) in [
        ("eth0", "eth1", true),
        ("mgyx", "eth0", false),
        ("eth0", "mgyx", false),
    ] {
        let packet = margay_policy::table::Packet {
            input: Some(link(input)),
            output: Some(link(output)),
            ..packet(&flow)
        };
        assert_eq!(
            table.evaluate(Hook::Forward, &packet) != Outcome::Drop,
            passes,
            "{input} to {output}"
        );
    }
}
