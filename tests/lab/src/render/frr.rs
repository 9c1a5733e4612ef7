//! FRR (zebra and bgpd) on ToRs.

use crate::plan::{Plan, Rack, SPINE_ASN};
use crate::render::bird::{HOLD_TIME, KEEPALIVE_TIME, RESTART_TIME};

/// zebra's configuration: it only installs what bgpd tells it.
pub(crate) fn zebra(rack: &Rack) -> String {
    format!(
        "frr defaults datacenter\nhostname {}\nlog stdout\n",
        rack.tor_place()
    )
}

/// bgpd's configuration: the same neighbours and filters as [`bird::tor`](super::bird::tor).
pub(crate) fn bgpd(plan: &Plan, rack: &Rack) -> String {
    let timers = format!("timers {KEEPALIVE_TIME} {HOLD_TIME}");
    let mut text = format!(
        "frr defaults datacenter\nhostname {place}\nlog stdout\n!\n\
         router bgp {asn}\n bgp router-id 10.255.{plane}.{number}\n no bgp default ipv4-unicast\n \
         no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n bgp graceful-restart\n \
         bgp graceful-restart restart-time {RESTART_TIME}\n bgp graceful-restart preserve-fw-state\n \
         neighbor nodes peer-group\n neighbor nodes remote-as {node_asn}\n neighbor nodes {timers}\n \
         neighbor nodes timers connect 3\n neighbor nodes advertisement-interval 0\n \
         neighbor {spine} remote-as {SPINE_ASN}\n neighbor {spine} description spine\n neighbor {spine} {timers}\n \
         neighbor {spine} timers connect 3\n neighbor {spine} advertisement-interval 0\n",
        place = rack.tor_place(),
        plane = rack.plane,
        number = rack.number,
        asn = rack.asn,
        node_asn = rack.node_asn,
        spine = rack.spine.primary(),
    );
    for node in plan.nodes_of(rack.number) {
        let address = node.uplinks[rack.plane].node.primary();
        text += &format!(
            " neighbor {address} peer-group nodes\n neighbor {address} description {}\n",
            node.name
        );
    }
    for family in families(plan, rack) {
        text += &format!(
            " address-family {name} unicast\n  redistribute connected\n  maximum-paths 16\n  neighbor nodes activate\n  \
             neighbor nodes route-map to-nodes-{name} out\n  neighbor {spine} activate\n exit-address-family\n",
            name = family.name,
            spine = rack.spine.primary(),
        );
    }
    text += "!\n";
    for family in families(plan, rack) {
        text += &filters(&family);
    }
    text
}

struct Family {
    name: &'static str,
    /// What its prefix lists and matches are called in FRR.
    command: &'static str,
    default: &'static str,
    /// What nodes need not hear: the rack's own subnet and the uplink's.
    own: [String; 2],
}

fn families(plan: &Plan, rack: &Rack) -> Vec<Family> {
    let number = rack.number;
    let networks = [["31", "30"], ["29", "28"]][rack.plane];
    // With links of their own, the subnets of all of them.
    let longer = |length| match plan.is_dual_homed() {
        true => format!(" le {length}"),
        false => String::new(),
    };
    plan.choose(
        Family {
            name: "ipv4",
            command: "ip",
            default: "0.0.0.0/0",
            own: networks.map(|second| format!("172.{second}.{number}.0/24{}", longer(32))),
        },
        Family {
            name: "ipv6",
            command: "ipv6",
            default: "::/0",
            own: networks.map(|first| match plan.is_dual_homed() {
                true => format!("fd{first}:{number}::/32{}", longer(128)),
                false => format!("fd{first}:{number}::/64"),
            }),
        },
    )
}

/// Nodes are told what was learned by BGP only, and no default route: they have a static one.
fn filters(family: &Family) -> String {
    let Family {
        name,
        command,
        default,
        own: [subnet, uplink],
    } = family;
    format!(
        "{command} prefix-list not-to-nodes-{name} seq 5 permit {subnet}\n\
         {command} prefix-list not-to-nodes-{name} seq 10 permit {uplink}\n\
         {command} prefix-list not-to-nodes-{name} seq 15 permit {default}\n\
         route-map to-nodes-{name} deny 10\n match {command} address prefix-list not-to-nodes-{name}\nexit\n\
         route-map to-nodes-{name} permit 20\nexit\n!\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Spec;

    #[test]
    fn a_tor_has_its_nodes_in_one_group_and_both_families_active() {
        let plan = Plan::new(&Spec::default()).unwrap();
        let text = bgpd(&plan, &plan.racks[1]);
        assert!(text.contains(" neighbor nodes remote-as 4200000002\n"));
        assert!(text.contains(" neighbor 172.31.2.13 peer-group nodes\n"));
        assert!(text.contains(" neighbor 172.30.2.1 remote-as 65000\n"));
        assert_eq!(text.matches("neighbor nodes activate").count(), 2);
        assert!(text.contains("ipv6 prefix-list not-to-nodes-ipv6 seq 5 permit fd31:2::/64\n"));
    }
}
