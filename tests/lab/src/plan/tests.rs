use super::*;

fn plan(nodes: u16, racks: u16, family: Family) -> Plan {
    Plan::new(&Spec {
        nodes,
        racks,
        family,
        ..Spec::default()
    })
    .unwrap()
}

#[test]
fn nodes_fill_racks_in_order() {
    let racks = |nodes, racks| {
        plan(nodes, racks, Family::Dual)
            .nodes
            .iter()
            .map(|node| node.rack)
            .collect::<Vec<_>>()
    };
    assert_eq!(racks(3, 2), [1, 1, 2]);
    assert_eq!(racks(4, 2), [1, 1, 2, 2]);
    assert_eq!(racks(5, 3), [1, 1, 2, 2, 3]);
    assert_eq!(racks(3, 3), [1, 2, 3]);
}

#[test]
fn addresses_read_alike_in_both_families() {
    let plan = plan(3, 2, Family::Dual);
    assert_eq!(plan.nodes[2].fabric.joined(), "172.31.2.13,fd31:2::13");
    assert_eq!(plan.nodes[0].mgmt.joined(), "192.168.77.101,fd77::101");
    assert_eq!(plan.racks[0].gateway.joined(), "172.31.1.1,fd31:1::1");
    assert_eq!(plan.outside().joined(), "203.0.113.10,2001:db8:113::10");
    assert_eq!(plan.api_server().joined(), "192.168.77.10,fd77::10");
}

#[test]
fn single_stack_labs_have_one_family_everywhere() {
    for (family, separator) in [(Family::V4, '.'), (Family::V6, ':')] {
        for link in plan(3, 2, family).links() {
            for address in link.left.addresses.iter().chain(&link.right.addresses) {
                assert!(
                    address.contains(separator),
                    "{address} in a {} lab",
                    family.as_str()
                );
            }
        }
    }
}

#[test]
fn the_largest_lab_has_distinct_addresses_and_ports() {
    let plan = plan(MAX_NODES, MAX_RACKS, Family::Dual);
    let ports: Vec<Port> = plan
        .links()
        .into_iter()
        .flat_map(|link| [link.left, link.right])
        .collect();
    let mut addresses: Vec<&String> = ports.iter().flat_map(|port| &port.addresses).collect();
    let mut devices: Vec<_> = ports
        .iter()
        .map(|port| (&port.place, &port.device))
        .collect();
    let (total, total_devices) = (addresses.len(), devices.len());
    addresses.sort();
    addresses.dedup();
    devices.sort();
    devices.dedup();
    assert_eq!((addresses.len(), devices.len()), (total, total_devices));
    assert!(ports.iter().all(|port| port.device.len() < 16), "IFNAMSIZ");
}

#[test]
fn tors_alternate_and_as_numbers_need_four_octets() {
    let plan = plan(3, 3, Family::Dual);
    assert_eq!(
        plan.racks.iter().map(|rack| rack.tor).collect::<Vec<_>>(),
        [Tor::Bird, Tor::Frr, Tor::Bird]
    );
    assert_eq!(plan.racks[1].asn, 65102);
    assert!(plan.racks[1].node_asn > u32::from(u16::MAX));
}

#[test]
fn bad_specs_are_refused() {
    let refused = |spec: Spec| Plan::new(&spec).is_err();
    assert!(refused(Spec {
        nodes: 0,
        ..Spec::default()
    }));
    assert!(refused(Spec {
        nodes: 2,
        racks: 3,
        ..Spec::default()
    }));
    assert!(refused(Spec {
        name: "../x".into(),
        ..Spec::default()
    }));
    assert!(refused(Spec {
        name: "1a".into(),
        ..Spec::default()
    }));
    assert!(refused(Spec {
        tors: Vec::new(),
        ..Spec::default()
    }));
    assert!(!refused(Spec {
        name: "demo-v6".into(),
        ..Spec::default()
    }));
}
