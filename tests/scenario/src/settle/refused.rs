//! Objects that the API server refuses: each refusal names field, value and remedy.

use super::all_in;
use crate::{cluster::Cluster, report::Report};
use anyhow::bail;

/// Kind, spec, and what the refusal says.
const REFUSED: &[(&str, &str, &[&str])] = &[
    // Larger than the agents' own numbers: accepted, the whole kind would be unreadable to them.
    (
        "IPPool",
        "{cidr: 10.50.0.0/16, priority: 2147483648}",
        &["spec.priority", "2147483648", "less than or equal to"],
    ),
    (
        "BGPPeer",
        "{address: 192.0.2.1, remoteAS: 65009, maxPrefixes: 4294967296}",
        &["spec.maxPrefixes", "4294967296", "less than or equal to"],
    ),
    (
        "IPPool",
        "{cidr: 127.9.0.0/24}",
        &["cidr must be of unicast addresses", "given: 127.9.0.0/24"],
    ),
    (
        "IPPool",
        "{cidr: 'ff02::/64'}",
        &["cidr must be of unicast addresses", "given: ff02::/64"],
    ),
    // Networks that hold more than the address they are written with.
    (
        "IPPool",
        "{cidr: 126.0.0.0/7}",
        &["cidr must be of unicast addresses", "given: 126.0.0.0/7"],
    ),
    (
        "IPPool",
        "{cidr: 'fc00::/6'}",
        &["cidr must be of unicast addresses", "given: fc00::/6"],
    ),
    (
        "IPPool",
        "{cidr: 240.0.0.0/16}",
        &["cidr must be of unicast addresses", "reserved"],
    ),
    (
        "NodeConfig",
        "{asNumber: 23456}",
        &[
            "asNumber may not be reserved",
            "given: 23456",
            "64512 to 65534",
        ],
    ),
    (
        "NodeConfig",
        "{asNumber: 4294967295}",
        &[
            "spec.asNumber",
            "4294967295",
            "less than or equal to 4294967294",
        ],
    ),
    (
        "NodeConfig",
        "{routerID: 0.0.0.0}",
        &[
            "routerID must be an IPv4 address other than 0.0.0.0",
            "given: 0.0.0.0",
        ],
    ),
    (
        "NodeConfig",
        "{mtu: 1279}",
        &["spec.mtu", "1279", "greater than or equal to 1280"],
    ),
    (
        "NodeConfig",
        "{addresses: {}}",
        &["spec.addresses", "give ipv4, ipv6 or both"],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {}}}",
        &[
            "spec.addresses.ipv4",
            "give exactly one of interface, cidr, canReach and address",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {interface: lo, cidr: 192.0.2.0/24}}}",
        &["spec.addresses.ipv4", "give exactly one of"],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {cidr: 192.0.2.1/24}}}",
        &[
            "spec.addresses.ipv4",
            "without host bits, such as 192.0.2.0/24",
            "given: 192.0.2.1/24",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv6: {cidr: 192.0.2.0/24}}}",
        &[
            "spec.addresses",
            "addresses.ipv6 must be given as IPv6",
            "given: 192.0.2.0/24",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {address: 'fd00::1'}}}",
        &[
            "spec.addresses",
            "addresses.ipv4 must be given as IPv4",
            "given: fd00::1",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {canReach: tor}}}",
        &[
            "spec.addresses.ipv4",
            "canReach must be a unicast IP address",
            "given: tor",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {address: 224.0.0.1}}}",
        &[
            "spec.addresses.ipv4",
            "address must be a unicast IP address of the node",
            "given: 224.0.0.1",
        ],
    ),
    (
        "NodeConfig",
        "{addresses: {ipv4: {interface: 'a/b'}}}",
        &["spec.addresses.ipv4.interface", "a/b"],
    ),
    (
        "NodeConfig",
        "{listen: {addresses: [192.0.2.0/24, 192.0.2.1/24]}}",
        &["spec.listen", "without host bits", "given: 192.0.2.1/24"],
    ),
    (
        "NodeConfig",
        "{listen: {addresses: []}}",
        &["spec.listen.addresses", "at least 1"],
    ),
    (
        "NodeConfig",
        "{listen: {port: 0}}",
        &["spec.listen.port", "greater than or equal to 1"],
    ),
    (
        "BGPPeer",
        "{address: 172.31.1.1, remoteAS: ours}",
        &["spec.remoteAS", "`internal` or `external`"],
    ),
    (
        "BGPPeer",
        "{address: 172.31.1.1, remoteAS: '65000'}",
        &["spec.remoteAS", "without quotes"],
    ),
    (
        "BGPPeer",
        "{address: 172.31.1.1, remoteAS: 65535}",
        &["spec.remoteAS", "reserved"],
    ),
    (
        "BGPPeer",
        "{address: 172.31.1.1, remoteAS: 0}",
        &["spec.remoteAS", "a number from 1 to 4294967294"],
    ),
    (
        "BGPPeer",
        "{address: 172.31.1.1}",
        &["remoteAS is required with address"],
    ),
    (
        "BGPPeer",
        "{peerSelector: {}, remoteAS: internal}",
        &["remoteAS and port go with address only"],
    ),
    (
        "BGPPeer",
        "{peerSelector: {}, address: 172.31.1.1, remoteAS: 1}",
        &["either address (a router) or peerSelector (nodes)"],
    ),
    (
        "BGPPeer",
        "{address: 127.0.0.1, remoteAS: 1}",
        &[
            "address must be the IP address of a router",
            "given: 127.0.0.1",
        ],
    ),
    (
        "BGPConfiguration",
        "{asNumber: 64512}",
        &["its name is `default`"],
    ),
    (
        "BGPPeer",
        "{peerSelector: {matchLabels: {rack 1: a}}}",
        &["spec.peerSelector.matchLabels", "must hold label keys"],
    ),
    (
        "BGPPeer",
        "{peerSelector: {matchLabels: {rack: one and two}}}",
        &["spec.peerSelector.matchLabels.rack", "one and two"],
    ),
    (
        "NodeConfig",
        "{mtu: 1400, nodeSelector: {matchExpressions: [{key: rack, operator: Exists, values: [a]}]}}",
        &[
            "spec.nodeSelector.matchExpressions[0]",
            "values must be given with",
            "operator Exists",
        ],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/16, namespaceSelector: {matchExpressions: [{key: team, operator: In}]}}",
        &["spec.namespaceSelector.matchExpressions[0]", "operator In"],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/16, nodeSelector: {matchExpressions: [{key: team, operator: Has}]}}",
        &[
            "spec.nodeSelector.matchExpressions[0].operator",
            "Has",
            "DoesNotExist",
        ],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.1/16}",
        &[
            "without host bits, such as 10.244.0.0/16",
            "given: 10.99.0.1/16",
        ],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/16, blockSize: 120}",
        &[
            "blockSize must be 20 to 32 for IPv4",
            "given: cidr 10.99.0.0/16",
        ],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/16, blockSize: 40}",
        &["spec.blockSize", "40", "less than or equal to 32"],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/28}",
        &["cidr must hold at least one block", "given: 10.99.0.0/28"],
    ),
    (
        "IPPool",
        "{cidr: 10.99.0.0/16, priority: high}",
        &["spec.priority", "expected numeric"],
    ),
];

pub(super) fn prove(cluster: &Cluster, report: &mut Report) {
    for (kind, spec, parts) in REFUSED {
        report.check(&format!("{kind} {spec} is refused"), || {
            let object = format!(
                "apiVersion: margay.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: settle-refused}}\nspec: {spec}\n"
            );
            match cluster.lab.apply(&object) {
                Ok(_) => {
                    let name = format!("{kind}/settle-refused");
                    cluster.lab.kubectl(&["delete", &name, "--wait"])?;
                    bail!("it was accepted")
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    all_in(&text, parts)?;
                    Ok(parts.join("; "))
                }
            }
        });
    }
    report.check("a pool's cidr only grows and its blockSize stays", || {
        let lab = &cluster.lab;
        for (patch, part) in [
            (
                "{\"spec\":{\"cidr\":\"10.244.0.0/17\"}}",
                "cidr may only grow (given: 10.244.0.0/17 for 10.244.0.0/16)",
            ),
            ("{\"spec\":{\"blockSize\":27}}", "blockSize is immutable"),
        ] {
            let patch = ["patch", "ippool/pods-v4", "--type=merge", "-p", patch];
            match lab.kubectl(&patch) {
                Ok(_) => bail!("{patch:?} was accepted"),
                Err(error) => all_in(
                    &format!("{error:#}"),
                    &[part, "create another pool instead"],
                )?,
            }
        }
        Ok("create another pool instead".to_owned())
    });
}
