//! Speakers in memory: octets and time are moved by hand.

mod communities;
mod filters;
mod heard;
mod hostile;
mod net;
mod path;
mod refresh;
mod restart;
mod routes;
mod sessions;

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::config::{Config, LocalAddresses, Origination, PeerConfig, RemoteAs, SpeakerConfig};
use crate::family::{Asn, Families, Family, PerFamily};
use crate::policy::{Policy, PrefixRange};
use crate::session::State;
use crate::status::{Lookup, RouteFilter, View};
use crate::wire::NextHop;
use net::Net;

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// Node n has router id and transport address 192.0.2.n, and 2001:db8::n for IPv6 next hops.
fn speaker(number: u8, asn: u32) -> SpeakerConfig {
    SpeakerConfig::new(Asn(asn), [192, 0, 2, number].into())
}

/// How node `own` sees node `number` of AS `asn`: everything passes both ways.
fn peer(own: u8, number: u8, asn: u32) -> PeerConfig {
    PeerConfig {
        local_addresses: LocalAddresses {
            v4: Some([192, 0, 2, own].into()),
            v6: Some(format!("2001:db8::{own}").parse().unwrap()),
        },
        import: Policy::accept_all(),
        export: Policy::accept_all(),
        ..PeerConfig::new(
            IpAddr::from([192, 0, 2, number]),
            RemoteAs::Number(Asn(asn)),
        )
    }
}

/// Two nodes, each the other's only peer.
fn pair(left_as: u32, right_as: u32) -> Net {
    let mut net = Net::new(vec![speaker(1, left_as), speaker(2, right_as)]);
    net.apply(0, vec![peer(1, 2, right_as)]);
    net.apply(1, vec![peer(2, 1, left_as)]);
    net
}

fn own(prefixes: &[&str]) -> Vec<Origination> {
    prefixes
        .iter()
        .map(|text| Origination::new(prefix(text)))
        .collect()
}
