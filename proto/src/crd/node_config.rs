//! `NodeConfig`: what holds for some nodes only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Overrides for the nodes that the selector names, such as a rack's AS number. Of several that set a field for one node, the first by name wins and the node says so.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "margay.dev",
    version = "v1alpha1",
    kind = "NodeConfig",
    plural = "nodeconfigs",
    singular = "nodeconfig",
    derive = "PartialEq",
    printcolumn(name = "AS", type_ = "integer", json_path = ".spec.asNumber"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(validation = ("!has(self.routerID) || (isIP(self.routerID) && ip(self.routerID).family() == 4 && self.routerID != '0.0.0.0')", "routerID must be an IPv4 address other than 0.0.0.0 (given: {self.routerID})"))]
#[x_kube(validation = ("!has(self.asNumber) || (self.asNumber != 23456 && self.asNumber != 65535)", "asNumber may not be reserved (given: {self.asNumber == 23456 ? '23456' : '65535'}): 23456 is AS_TRANS (RFC 6793), 65535 is reserved by RFC 7300; private ones are 64512 to 65534 and 4200000000 to 4294967294 (RFC 6996)"))]
#[serde(rename_all = "camelCase")]
pub struct NodeConfigSpec {
    /// Nodes that this is for; all when left out.
    #[schemars(schema_with = "super::selector::schema")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Their AS number.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_number: Option<u32>,
    /// BGP identifier; only sensible with a selector for one node. Else the node's IPv4 address, else a hash of its name.
    #[schemars(length(max = 15))]
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,
    /// How the node's own address of each family is chosen: what it speaks BGP from, announces as next hop, and sends from towards its pods. A family that is left out takes the first InternalIP of the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<NodeAddresses>,
    /// Where the speaker listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
    /// MTU of pod links; the uplink's when left out.
    #[schemars(range(min = 1280, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// One choice for each family.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("has(self.ipv4) || has(self.ipv6)", "addresses must choose for a family: give ipv4, ipv6 or both"))]
#[x_kube(validation = ("!has(self.ipv4) || ((!has(self.ipv4.cidr) || !isCIDR(self.ipv4.cidr) || cidr(self.ipv4.cidr).ip().family() == 4) && (!has(self.ipv4.canReach) || !isIP(self.ipv4.canReach) || ip(self.ipv4.canReach).family() == 4) && (!has(self.ipv4.address) || !isIP(self.ipv4.address) || ip(self.ipv4.address).family() == 4))", "addresses.ipv4 must be given as IPv4 (given: {has(self.ipv4.cidr) ? self.ipv4.cidr : has(self.ipv4.canReach) ? self.ipv4.canReach : self.ipv4.address}): cidr, canReach and address of that family"))]
#[x_kube(validation = ("!has(self.ipv6) || ((!has(self.ipv6.cidr) || !isCIDR(self.ipv6.cidr) || cidr(self.ipv6.cidr).ip().family() == 6) && (!has(self.ipv6.canReach) || !isIP(self.ipv6.canReach) || ip(self.ipv6.canReach).family() == 6) && (!has(self.ipv6.address) || !isIP(self.ipv6.address) || ip(self.ipv6.address).family() == 6))", "addresses.ipv6 must be given as IPv6 (given: {has(self.ipv6.cidr) ? self.ipv6.cidr : has(self.ipv6.canReach) ? self.ipv6.canReach : self.ipv6.address}): cidr, canReach and address of that family"))]
#[serde(rename_all = "camelCase")]
pub struct NodeAddresses {
    /// For IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<AddressChoice>,
    /// For IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<AddressChoice>,
}

/// How an address is chosen: by exactly one of these. Of several that fit, lasting ones go before temporary and secondary ones, then the lowest is taken; loopback (127.0.0.0/8, ::1) and link-local ones never. While none fits, the node has no address of the family and says why: it never falls back to another rule.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("(has(self.interface) ? 1 : 0) + (has(self.cidr) ? 1 : 0) + (has(self.canReach) ? 1 : 0) + (has(self.address) ? 1 : 0) == 1", "give exactly one of interface, cidr, canReach and address"))]
#[x_kube(validation = ("!has(self.cidr) || (isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked())", "cidr must be a network in CIDR notation without host bits, such as 192.0.2.0/24 (given: {self.cidr})"))]
#[x_kube(validation = ("!has(self.canReach) || (isIP(self.canReach) && ip(self.canReach).isGlobalUnicast())", "canReach must be a unicast IP address, such as that of a router (given: {self.canReach})"))]
#[x_kube(validation = ("!has(self.address) || (isIP(self.address) && ip(self.address).isGlobalUnicast())", "address must be a unicast IP address of the node (given: {self.address})"))]
#[serde(rename_all = "camelCase")]
pub struct AddressChoice {
    /// An address of the interface with this name, as in `lo` or `bond0`.
    #[schemars(length(max = 15), regex(pattern = "^[^/\\s]+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// An address in this network, on whichever interface.
    #[schemars(length(max = 43))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The address from which the node's own routes (not those that it learned for pods) would send to this one.
    #[schemars(length(max = 39))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_reach: Option<String>,
    /// This address; only sensible with a selector for one node.
    #[schemars(length(max = 39))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Where a speaker listens. The sessions that it opens itself do not depend on it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.addresses) || self.addresses.all(a, isIP(a) || (isCIDR(a) && cidr(a) == cidr(a).masked()))", "listen.addresses must hold IP addresses or networks in CIDR notation without host bits, such as 192.0.2.0/24 (given: {self.addresses.filter(a, !isIP(a) && !(isCIDR(a) && cidr(a) == cidr(a).masked()))[0]})"))]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// Which of the node's addresses take connections: addresses, or networks that they lie in. All when left out.
    #[schemars(length(min = 1, max = 16), inner(length(max = 43)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// TCP port; the BGPConfiguration's listenPort when left out.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
