//! What the table is made of: shared classes, translation.

use margay_policy::Masquerade;
use margay_policy::table::{Element, Hook, Outcome, Packet};
use serde_json::json;

use crate::fixtures::{address, link};
use crate::small::{A, A6, C, NODE, OUTSIDE, seen, world};

#[test]
fn equal_policies_share_a_class_and_its_sets() {
    let from_b = json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }]);
    let world = world([json!({ "podSelector": {}, "ingress": from_b })]);
    let table = world.table();
    let classes: Vec<_> = table
        .maps
        .values()
        .flat_map(|map| map.elements.iter())
        .filter_map(|(key, verdict)| {
            matches!(key, Element::Ifname(_))
                .then(|| verdict.target())
                .flatten()
        })
        .collect();
    assert_eq!(classes.len(), 2);
    assert_eq!(classes[0], classes[1]);
    assert_eq!(
        table
            .sets
            .keys()
            .filter(|name| name.as_str().starts_with("p4_"))
            .count(),
        1
    );
}

#[test]
fn pods_leave_the_cluster_with_the_nodes_address_and_nothing_else_does() {
    let mut index = world([]).index();
    index.set_masquerade(Masquerade {
        sources: ["10.0.0.0/24".parse().unwrap()].into(),
        exempt: ["10.0.0.0/16", "198.51.100.0/24"]
            .map(|network| network.parse().unwrap())
            .into(),
        nodes: ["172.16.0.1", "172.16.0.2"].map(address).into(),
        v4: Some("172.16.0.1".parse().unwrap()),
        v6: Some("fd01::1".parse().unwrap()),
    });
    let table = index.table();
    assert_eq!(table.check(), Ok(()));
    let at = |input: Option<&str>, source, destination| {
        let packet = Packet {
            input: input.map(link),
            ..seen("eth0", Some("eth0"), source, destination)
        };
        table.evaluate(Hook::Postrouting, &packet)
    };
    assert_eq!(at(Some("mgya"), A, OUTSIDE), Outcome::Snat(address(NODE)));
    assert_eq!(
        at(Some("mgya"), A6, "2001:db8::1"),
        Outcome::Accept,
        "no IPv6 pool asks for it"
    );
    for (input, source, destination) in [
        (Some("mgya"), A, C),
        (Some("mgya"), A, "172.16.0.2"),
        (Some("mgya"), A, "198.51.100.7"),
        (Some("mgyc"), C, OUTSIDE),
        (Some("eth0"), A, OUTSIDE),
        (None, NODE, OUTSIDE),
    ] {
        assert_eq!(
            at(input, source, destination),
            Outcome::Accept,
            "{source} to {destination}"
        );
    }
}
