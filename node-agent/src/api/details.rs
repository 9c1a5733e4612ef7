//! One peer in full as a message, and which peers a person means.

use std::net::IpAddr;

use margay_bgp::{Family, LastError, PeerStatus, SoftReset};
use margay_proto::rpc::agent;

use super::convert;
use crate::speaker::Peer;

/// Whether `text` names the peer: by its address, or by the object that asked for it, with or without its kind.
pub(super) fn is_meant(peer: &Peer, text: &str) -> bool {
    let name = peer.status.description.as_str();
    let short = name.split_once('/').map_or(name, |(_, short)| short);
    match text.parse::<IpAddr>() {
        Ok(address) => peer.status.address == address.to_canonical(),
        Err(_) => name == text || short == text,
    }
}

pub(super) fn details(peer: Peer) -> agent::PeerDetails {
    let status = peer.status.clone();
    let counters = status.counters;
    agent::PeerDetails {
        families: families(&status),
        summary: Some(convert::peer(peer)),
        router_id: text(status.router_id),
        local_address: text(status.local_address),
        uptime_seconds: status.uptime_seconds,
        established_count: status.established_count,
        capabilities_sent: status.capabilities_sent,
        capabilities_received: status.capabilities_received,
        timers: Some(agent::Timers {
            hold: status.hold_time_seconds,
            keepalive: status.keepalive_seconds,
            hold_remaining: status.hold_remaining_seconds,
            connect_retry_remaining: status.connect_retry_seconds,
            stale_remaining: status.stale_remaining_seconds,
        }),
        last_sent: status.last_sent.map(said),
        last_received: status.last_received.map(said),
        last_error: status.last_error.map(said),
        last_fault: status.last_fault.map(said),
        counters: Some(agent::Counters {
            messages_received: counters.messages_received,
            messages_sent: counters.messages_sent,
            updates_received: counters.updates_received,
            updates_sent: counters.updates_sent,
            octets_received: counters.octets_received,
            octets_sent: counters.octets_sent,
            faults: counters.faults,
        }),
    }
}

fn families(status: &PeerStatus) -> Vec<agent::FamilyDetails> {
    let details = |family: Family| {
        let counts = status.prefixes[family];
        agent::FamilyDetails {
            family: family.to_string(),
            agreed: status.families.contains(&family),
            received: counts.received.into(),
            accepted: counts.accepted.into(),
            rejected: counts.received.saturating_sub(counts.accepted).into(),
            advertised: counts.advertised.into(),
            stale: counts.stale.into(),
            limit: counts.maximum.map(Into::into),
        }
    };
    Family::ALL.map(details).to_vec()
}

/// What a reset did, or why it did nothing.
pub(super) fn reset(known: bool) -> Result<&'static str, &'static str> {
    match known {
        true => Ok("session ended, it starts anew"),
        false => Err(GONE),
    }
}

/// What a soft reset did, or why it did nothing.
pub(super) fn refreshed(refresh: SoftReset) -> Result<&'static str, &'static str> {
    match refresh {
        SoftReset::BothWays => Ok("routes asked for and told again"),
        SoftReset::OutOnly => Ok(
            "routes told again; the peer does not know ROUTE-REFRESH, so what it sent before was judged again",
        ),
        SoftReset::NotEstablished => {
            Err("the session is not established; reset it without --soft, or see why in bgp peer")
        }
        SoftReset::UnknownPeer => Err(GONE),
    }
}

const GONE: &str = "the peer is no longer configured";

fn said(error: LastError) -> agent::Said {
    agent::Said {
        text: error.reason,
        seconds_ago: error.seconds_ago,
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_that_does_nothing_says_why() {
        assert!(reset(true).is_ok() && reset(false).unwrap_err().contains("no longer"));
        assert!(refreshed(SoftReset::BothWays).is_ok() && refreshed(SoftReset::OutOnly).is_ok());
        assert!(
            refreshed(SoftReset::NotEstablished)
                .unwrap_err()
                .contains("without --soft")
        );
    }
}
