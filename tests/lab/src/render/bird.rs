//! BIRD 2 on ToRs and on the spine.
//!
//! Every session carries all families of the lab. On the IPv4 sessions of a dual-stack lab, IPv6 routes have the global
//! address of the same interface as next hop (RFC 4760), not an IPv4 one (RFC 8950).

use crate::plan::{FABRIC, Plan, Rack, SPINE_ASN};

/// Seconds; the ToRs' sessions with nodes notice a dead node by these.
pub(crate) const HOLD_TIME: u16 = 9;
/// Seconds, a third of the hold time (RFC 4271 §4.4).
pub(crate) const KEEPALIVE_TIME: u16 = 3;
/// Seconds that a router asks its neighbours to keep its routes while it restarts (RFC 4724).
pub(crate) const RESTART_TIME: u16 = 120;

/// The ToR of a rack.
pub(crate) fn tor(plan: &Plan, rack: &Rack) -> String {
    let mut text = base(plan, &format!("10.255.{}.{}", rack.plane, rack.number));
    let local = format!("{} ", rack.gateway.primary());
    let local = if plan.is_dual_homed() { "" } else { &local };
    text += &template(plan, "node", local, rack.asn, "to_nodes");
    let local = format!("{} ", rack.uplink.primary());
    text += &template(plan, "fabric", &local, rack.asn, "to_fabric");
    text += &format!(
        "protocol bgp spine from fabric {{ neighbor {} as {SPINE_ASN}; }}\n",
        rack.spine.primary()
    );
    for node in plan.nodes_of(rack.number) {
        let address = node.uplinks[rack.plane].node.primary();
        text += &format!(
            "protocol bgp {} from node {{ neighbor {address} as {}; }}\n",
            node.name, rack.node_asn
        );
    }
    text
}

/// The spine: a session per ToR, and a default route to the outside host.
pub(crate) fn spine(plan: &Plan) -> String {
    let mut text = base(plan, "10.255.255.1");
    for (family, outside) in families(plan).into_iter().zip(plan.outside().iter()) {
        let Family {
            channel, default, ..
        } = family;
        text += &format!(
            "protocol static default_{channel} {{ {channel}; route {default} via {outside}; }}\n"
        );
    }
    if plan.pods_in_fabric {
        // The fabric's range as a whole: whoever has a part of it must be more specific.
        for (family, whole) in families(plan).iter().zip(plan.choose(FABRIC[0], FABRIC[1])) {
            let channel = family.channel;
            text += &format!(
                "protocol static fabric_{channel} {{ {channel}; route {whole} unreachable; }}\n"
            );
        }
    }
    for rack in plan.tors() {
        let name = rack.tor_place();
        let local = format!("{} ", rack.spine.primary());
        text += &template(plan, &format!("to_{name}"), &local, SPINE_ASN, "to_fabric");
        text += &format!(
            "protocol bgp {name} from to_{name} {{ neighbor {} as {}; }}\n",
            rack.uplink.primary(),
            rack.asn
        );
    }
    text
}

struct Family {
    channel: &'static str,
    default: &'static str,
}

fn families(plan: &Plan) -> Vec<Family> {
    plan.choose(
        Family {
            channel: "ipv4",
            default: "0.0.0.0/0",
        },
        Family {
            channel: "ipv6",
            default: "::/0",
        },
    )
}

fn base(plan: &Plan, router_id: &str) -> String {
    let channels: String = families(plan)
        .iter()
        .map(|family| format!(" {};", family.channel))
        .collect();
    let mut text = format!(
        "log stderr all;\n\
         router id {router_id};\n\
         timeformat protocol iso short ms;\n\
         protocol device {{ scan time 5; }}\n\
         protocol direct {{{channels} interface \"-lo\", \"*\"; }}\n\
         filter to_fabric {{ if source ~ [RTS_BGP, RTS_DEVICE, RTS_STATIC] then accept; reject; }}\n"
    );
    // Nodes have a static default route; the subnet they are on is theirs already.
    let defaults: Vec<&str> = families(plan).iter().map(|family| family.default).collect();
    let is_default: Vec<String> = defaults
        .iter()
        .map(|default| format!("net = {default}"))
        .collect();
    text += &format!(
        "filter to_nodes {{ if {} then reject; if source = RTS_BGP then accept; reject; }}\n",
        is_default.join(" || ")
    );
    for Family { channel, .. } in families(plan) {
        text += &format!(
            "protocol kernel kernel_{channel} {{ {channel} {{ import none; export where source ~ [RTS_BGP, RTS_STATIC]; }}; \
             merge paths on limit 16; persist; graceful restart; }}\n"
        );
    }
    text
}

/// `local` is an address and a space, or nothing where each session has its own link.
fn template(plan: &Plan, name: &str, local: &str, asn: u32, export: &str) -> String {
    let channels: String = families(plan)
        .iter()
        .map(|family| {
            format!(
                "  {} {{ import all; export filter {export}; }};\n",
                family.channel
            )
        })
        .collect();
    format!(
        "template bgp {name} {{\n  local {local}as {asn};\n  direct;\n  \
         hold time {HOLD_TIME}; keepalive time {KEEPALIVE_TIME};\n  \
         graceful restart on; graceful restart time {RESTART_TIME};\n  \
         connect delay time 1; connect retry time 3; error wait time 1, 5;\n{channels}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Family as Families, Spec};

    fn plan(family: Families) -> Plan {
        Plan::new(&Spec {
            family,
            ..Spec::default()
        })
        .unwrap()
    }

    #[test]
    fn a_tor_has_a_session_per_node_of_its_rack_and_one_to_the_spine() {
        let plan = plan(Families::Dual);
        let text = tor(&plan, &plan.racks[0]);
        assert!(text.contains("protocol bgp n1 from node { neighbor 172.31.1.11 as 4200000001; }"));
        assert!(text.contains("protocol bgp n2 from node { neighbor 172.31.1.12 as 4200000001; }"));
        assert!(!text.contains("protocol bgp n3"));
        assert!(text.contains("protocol bgp spine from fabric { neighbor 172.30.1.1 as 65000; }"));
    }

    #[test]
    fn with_two_uplinks_each_tor_has_a_session_over_its_own_link() {
        let plan = Plan::new(&Spec {
            uplinks: 2,
            ..Spec::default()
        });
        let plan = plan.unwrap();
        let text = tor(&plan, &plan.twins[1]);
        assert!(text.contains("  local as 65202;"));
        assert!(text.contains("protocol bgp n3 from node { neighbor 172.29.2.27 as 4200000002; }"));
        assert!(spine(&plan).contains("neighbor 172.28.2.2 as 65202"));
    }

    #[test]
    fn an_ipv6_lab_has_no_ipv4_channel() {
        let plan = plan(Families::V6);
        let text = tor(&plan, &plan.racks[0]) + &spine(&plan);
        assert!(!text.contains("ipv4") && !text.contains("0.0.0.0/0"));
        assert!(text.contains("neighbor fd31:1::11 as 4200000001"));
    }
}
