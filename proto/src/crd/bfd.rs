//! BFD beside a BGP session.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Bidirectional Forwarding Detection (RFC 5880) with the peer: the BGP session ends as soon as the path is lost, not after the hold time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.minTTL) || (has(self.multihop) && self.multihop)", "minTTL goes with multihop: true only; over one link every packet must arrive with 255 (RFC 5881)"))]
#[serde(rename_all = "camelCase")]
pub struct BFD {
    /// Whether it runs.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Least time between packets that the node can receive, in milliseconds; 300 when left out.
    #[schemars(range(min = 10, max = 60_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rx_milliseconds: Option<u16>,
    /// Least time between packets that the node sends, in milliseconds; 300 when left out. Both ends agree on the slower wish.
    #[schemars(range(min = 10, max = 60_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tx_milliseconds: Option<u16>,
    /// How many packets may be missing before the path is lost; 3 when left out. Then 300 ms are a loss within 0.9 s.
    #[schemars(range(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_multiplier: Option<u8>,
    /// Whether routers lie between (RFC 5883, UDP port 4784), or one link (RFC 5881, UDP port 3784). Left out: one link if the peer is in a subnet of the node's links, or else routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multihop: Option<bool>,
    /// With multihop: packets that arrive with a lower TTL or hop limit are discarded; 1 when left out.
    #[schemars(range(min = 1, max = 255))]
    #[serde(default, rename = "minTTL", skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<u8>,
}

const fn enabled() -> bool {
    true
}
