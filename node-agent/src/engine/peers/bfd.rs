//! Whether BFD runs beside a session, and how.

use crate::kernel::underlay::Snapshot;
use ipnetwork::IpNetwork;
use margay_bgp::bfd::{Parameters, Path};
use margay_proto::crd::BFD;
use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

/// As the schema has it: an object from before the schema is no reason to flood a peer.
const MILLISECONDS: RangeInclusive<u16> = 10..=60_000;
const MILLISECONDS_WHEN_LEFT_OUT: u16 = 300;

/// What cannot be done, in words.
pub(super) fn fault(name: &str, bfd: Option<&BFD>) -> Option<String> {
    let bfd = bfd.filter(|bfd| bfd.enabled)?;
    let interval = |field: &str, value: Option<u16>| {
        let value = value.filter(|value| !MILLISECONDS.contains(value))?;
        Some(format!(
            "{name}: spec.bfd.{field} {value} is not in 10 to 60000; the session is held down"
        ))
    };
    let multiplier = || {
        (bfd.detect_multiplier == Some(0)).then(|| {
            format!(
                "{name}: spec.bfd.detectMultiplier 0 is not in 1 to 255; the session is held down"
            )
        })
    };
    interval("minRxMilliseconds", bfd.min_rx_milliseconds)
        .or_else(|| interval("minTxMilliseconds", bfd.min_tx_milliseconds))
        .or_else(multiplier)
}

/// The session with `peer`, if there is to be one.
pub(super) fn parameters(
    bfd: Option<&BFD>,
    kernel: Option<&Snapshot>,
    peer: IpAddr,
) -> Option<Parameters> {
    let bfd = bfd.filter(|bfd| bfd.enabled)?;
    let interval = |value: Option<u16>| {
        Duration::from_millis(value.unwrap_or(MILLISECONDS_WHEN_LEFT_OUT).into())
    };
    let multihop = bfd
        .multihop
        .unwrap_or_else(|| kernel.is_some_and(|k| !is_near(k, peer)));
    Some(Parameters {
        min_tx: interval(bfd.min_tx_milliseconds),
        min_rx: interval(bfd.min_rx_milliseconds),
        multiplier: bfd.detect_multiplier.unwrap_or(3),
        path: if multihop {
            Path::Multihop {
                minimum_ttl: bfd.min_ttl.unwrap_or(1),
            }
        } else {
            Path::SingleHop
        },
    })
}

/// Whether the peer is in a subnet of a link: by addresses and not by routes, which go with a link's carrier, and with them the answer.
fn is_near(kernel: &Snapshot, peer: IpAddr) -> bool {
    let link_local = match peer {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    link_local
        || kernel.addresses().any(|address| {
            let subnet = IpNetwork::new(address.ip, address.prefix_len);
            subnet.is_ok_and(|subnet| subnet.contains(peer))
        })
}
