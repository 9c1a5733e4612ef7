//! Who has an address: 83 to 85.

use margay_policy::Index;
use serde_json::json;

use crate::cluster::TCP;
use crate::fixtures::{PodExt, endpoint, link, pod};
use crate::small::{A, A6, B, B6, C, C6, OUTSIDE, OUTSIDE6, check, ingress, world};

#[test]
fn case_83_an_address_belongs_to_the_latest_living_pod() {
    let from_b =
        ingress(json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]));
    let mut world = world([from_b]);
    // x/job had y/c's address before; it ended, but nobody has deleted it.
    world.pods.push(
        pod("x", "job", &[("app", "b")], &[C])
            .phase("Succeeded")
            .created(1),
    );
    check(&world, &[(C, A, TCP, 80, false)]);
    // It has not ended either, but y/c came later.
    world.pods[2] = world.pods[2].clone().created(2);
    let last = world.pods.len() - 1;
    world.pods[last] = world.pods[last].clone().phase("Running");
    check(&world, &[(C, A, TCP, 80, false)]);
    let mut index = world.index();
    index.delete_pod("y", "c", "y-c");
    world.pods.remove(2);
    assert_eq!(index.table(), world.table());
    check(&world, &[(C, A, TCP, 80, true)]);
}

#[test]
fn case_83_a_late_delete_of_an_old_pod_is_ignored() {
    let mut world = world([ingress(
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    world.local.pop();
    let mut index = world.index();
    world.pods[1] = pod("x", "b", &[("app", "b")], &["10.0.0.22"])
        .uid("later")
        .created(5);
    index.apply_pod(&world.pods[1]);
    index.delete_pod("x", "b", "x-b");
    index.apply_pod(&pod("x", "b", &[("app", "b")], &[B]));
    assert_eq!(index.table(), world.table());
    check(
        &world,
        &[("10.0.0.22", A, TCP, 80, true), (B, A, TCP, 80, false)],
    );
}

#[test]
fn case_84_a_deleted_pod_leaves_nothing() {
    let from_all = json!([{ "from": [{ "podSelector": {} }, { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"] } }], "ports": [{ "port": 80 }] }]);
    let world = world([ingress(from_all)]);
    let mut index = world.index();
    assert!(index.table().sets.len() > Index::new().table().sets.len());
    world
        .endpoints()
        .for_each(|endpoint| index.remove_endpoint(endpoint.link));
    assert_eq!(index.table(), Index::new().table());
    index.set_endpoint(endpoint("mgya", &world.pods[1]));
    assert!(index.endpoint_ready(link("mgya")));
}

#[test]
fn a_new_pods_address_is_a_member_before_its_status_says_so() {
    let mut world = world([ingress(
        json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]),
    )]);
    let mut index = world.index();
    let with_status = index.table();
    let mut fresh = world.pods[1].clone();
    fresh.status.pod_ips.clear();
    index.apply_pod(&fresh);
    assert_eq!(index.table(), with_status);
    let endpoint = world.endpoints().nth(1).unwrap();
    index.remove_endpoint(endpoint.link);
    world.pods[1] = fresh;
    world.local.pop();
    assert_eq!(index.table(), world.table());
    index.set_endpoint(endpoint);
    assert_eq!(index.table(), with_status);
}

#[test]
fn a_static_pod_is_known_by_its_configuration_hash() {
    let mut mirror = pod("kube-system", "proxy", &[], &[A]);
    mirror.metadata.annotations = Some(
        [(
            "kubernetes.io/config.mirror".to_owned(),
            "0123abcd".to_owned(),
        )]
        .into(),
    );
    let mut index = Index::new();
    index.apply_pod(&mirror);
    assert!(index.knows_pod("kube-system", "proxy", "0123abcd"));
    assert!(index.knows_pod("kube-system", "proxy", "kube-system-proxy"));
    assert!(!index.knows_pod("kube-system", "proxy", "else"));
}

fn from_b() -> serde_json::Value {
    ingress(json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]))
}

#[test]
fn case_83_an_ended_pod_leaves_the_sets_at_once() {
    for phase in ["Succeeded", "Failed"] {
        let mut world = world([from_b()]);
        let mut index = world.index();
        check(&world, &[(B, A, TCP, 80, true), (B6, A6, TCP, 80, true)]);
        world.pods[1] = world.pods[1].clone().phase(phase);
        index.apply_pod(&world.pods[1]);
        assert_eq!(index.table(), world.table());
        check(&world, &[(B, A, TCP, 80, false), (B6, A6, TCP, 80, false)]);
    }
}

/// A Job's pod ended, its address went to a pod with other labels, and only then its deletion is heard of.
#[test]
fn case_83_the_deletion_of_the_old_owner_comes_after_the_new_one() {
    for phase in ["Running", "Succeeded"] {
        let mut world = world([from_b()]);
        world.pods.push(
            pod("x", "job", &[("app", "b")], &[C])
                .created(1)
                .phase(phase),
        );
        world.pods[2] = world.pods[2].clone().created(2);
        let mut index = world.index();
        check(&world, &[(C, A, TCP, 80, false)]);
        world.pods.pop();
        index.delete_pod("x", "job", "x-job");
        assert_eq!(index.table(), world.table());
        check(&world, &[(C, A, TCP, 80, false)]);
    }
}

/// A pod that waited long for a node can be older than the one whose address it got: that one is being deleted.
#[test]
fn case_83_a_pod_that_is_being_deleted_yields_to_an_older_one() {
    let mut world = world([from_b()]);
    world.pods[2] = world.pods[2].clone().created(1);
    world
        .pods
        .push(pod("x", "late", &[("app", "b")], &[C, C6]).created(2));
    let mut index = world.index();
    check(&world, &[(C, A, TCP, 80, true), (C6, A6, TCP, 80, true)]);
    world.pods[3] = world.pods[3].clone().ending();
    index.apply_pod(&world.pods[3]);
    assert_eq!(index.table(), world.table());
    check(&world, &[(C, A, TCP, 80, false), (C6, A6, TCP, 80, false)]);
    // As long as nobody else has its address it keeps it: its containers may still run.
    world.pods.remove(2);
    index.delete_pod("y", "c", "y-c");
    assert_eq!(index.table(), world.table());
    check(&world, &[(C, A, TCP, 80, true)]);
}

#[test]
fn case_83_an_address_moves_from_this_node_to_another() {
    let mut world = world([from_b()]);
    let mut index = world.index();
    let gone = world.pods.remove(1);
    world.local.pop();
    index.remove_endpoint(link("mgyb"));
    index.delete_pod("x", "b", "x-b");
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, TCP, 80, false)]);
    let elsewhere = gone.uid("x-b-again").created(9);
    index.apply_pod(&elsewhere);
    world.pods.push(elsewhere);
    assert_eq!(index.table(), world.table());
    check(&world, &[(B, A, TCP, 80, true)]);
}

#[test]
fn case_84_a_link_name_is_used_again_by_another_pod() {
    let mut world = world([from_b()]);
    let mut index = world.index();
    // x/a went; y/c came, which no policy selects, and got the same link name.
    index.set_endpoint(endpoint("mgya", &world.pods[2]));
    index.delete_pod("x", "a", "x-a");
    world.local[0].1 = 1;
    world.pods.remove(0);
    world.local[1].1 = 0;
    assert_eq!(index.table(), world.table());
    check(
        &world,
        &[(OUTSIDE, C, TCP, 80, true), (OUTSIDE, A, TCP, 80, true)],
    );
}

#[test]
fn case_85_a_policy_about_one_family_closes_the_other() {
    let block = json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/24" } }] }]);
    check(
        &world([ingress(block)]),
        &[
            (B, A, TCP, 80, true),
            (B6, A6, TCP, 80, false),
            (OUTSIDE6, A6, TCP, 80, false),
        ],
    );
}

#[test]
fn case_85_a_pod_comes_again_with_one_family() {
    let mut world = world([from_b()]);
    let mut index = world.index();
    for (addresses, four, six) in [
        (&[B][..], true, false),
        (&[B6], false, true),
        (&[B, B6], true, true),
    ] {
        let again = pod("x", "b", &[("app", "b")], addresses)
            .uid(&format!("x-b-{}", addresses.join("-")))
            .created(i64::from(four) + 2 * i64::from(six) + 5);
        index.set_endpoint(endpoint("mgyb", &again));
        index.apply_pod(&again);
        world.pods[1] = again;
        assert_eq!(index.table(), world.table());
        check(&world, &[(B, A, TCP, 80, four), (B6, A6, TCP, 80, six)]);
    }
}
