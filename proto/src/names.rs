//! Every name and number by which Margay's objects are recognised: on disk, in the kernel, in the API.
//!
//! An agent that starts with no memory finds its own objects by these alone, so they are in one place and never reused for something else.

/// Unix socket of the agent, for the plugin and for `margayctl` (root only).
pub const AGENT_SOCKET: &str = "/run/margay/agent.sock";
/// One file an attachment (container and interface), in /run so that a reboot clears it.
pub const ATTACHMENTS: &str = "/run/margay/attachments";
/// The last applied nftables table, mode 0600, in /run so that a reboot clears it together with the pods.
pub const KEPT_TABLE: &str = "/run/margay/table.nft";
/// The last applied BGP configuration and the own blocks, mode 0600; survives a reboot.
pub const STATE: &str = "/var/lib/margay";
/// Where the runtime looks for network configuration, and our file in it.
pub const CONFLIST: &str = "/etc/cni/net.d/10-margay.conflist";
/// Where the runtime looks for plugins.
pub const CNI_BIN: &str = "/opt/cni/bin";
/// The name of the CNI network, and of the plugin binary.
pub const CNI_NAME: &str = "margay";

/// `rtm_protocol` of every route and nexthop object that the agent writes (not one that iproute2's rt_protos names).
pub const ROUTE_PROTOCOL: u8 = 83;
/// First nexthop object id of the agent's range for IPv4; the range is `NEXTHOP_IDS` long.
pub const NEXTHOP_BASE_V4: u32 = 0x4d00_0000;
/// First nexthop object id of the agent's range for IPv6 (IPv6 routes refuse IPv4 objects, so the spaces are apart).
pub const NEXTHOP_BASE_V6: u32 = 0x4d80_0000;
/// How many ids each nexthop range has.
pub const NEXTHOP_IDS: u32 = 0x0080_0000;
/// The one nftables table, family `inet`.
pub const NFT_TABLE: &str = "margay";
/// Host side of every pod link begins with this.
pub const LINK_PREFIX: &str = "mgy";
/// Link-local gateway of every pod, IPv4.
pub const GATEWAY_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 1, 1);
/// Link-local gateway of every pod, IPv6.
pub const GATEWAY_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// API group of the custom resources.
pub const GROUP: &str = "margay.dev";
/// Annotation of a Pod or Namespace: names of the IPPools, in order of preference and separated by commas, that IPv4 addresses may come from.
pub const IPV4_POOLS: &str = "margay.dev/ipv4-pools";
/// The same for IPv6.
pub const IPV6_POOLS: &str = "margay.dev/ipv6-pools";
/// Field manager of the operator's server-side applies.
pub const OPERATOR_MANAGER: &str = "margay-operator";
/// Field manager of an agent's writes.
pub const AGENT_MANAGER: &str = "margay-agent";
/// Namespace in which operator and agents run.
pub const NAMESPACE: &str = "margay-system";
/// `app.kubernetes.io/name` of the agent's pods.
pub const AGENT_APP: &str = "margay-agent";
/// TCP port of the agent's and operator's `/healthz`, `/readyz` and `/metrics`.
pub const AGENT_HEALTH_PORT: u16 = 9179;
/// TCP port of the operator's `/healthz`, `/readyz` and `/metrics`.
pub const OPERATOR_HEALTH_PORT: u16 = 9180;

/// The host side link name of an attachment: the prefix and 48 bits of a hash (FNV-1a, 64 bits) of container id and interface.
///
/// 15 characters at most (IFNAMSIZ - 1).
pub fn link_name(container_id: &str, ifname: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in container_id.bytes().chain([0]).chain(ifname.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{LINK_PREFIX}{:012x}", hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_differ_by_container_and_interface() {
        let name = link_name("0123abcd", "eth0");
        assert_eq!(name.len(), 15);
        assert!(name.starts_with(LINK_PREFIX));
        assert_ne!(name, link_name("0123abcd", "net1"));
        assert_ne!(name, link_name("0123abc", "deth0"));
    }
}
