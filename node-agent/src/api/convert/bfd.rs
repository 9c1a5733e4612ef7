//! BFD's types as messages.

use std::time::Duration;

use margay_bgp::bfd::{Path, State};
use margay_proto::rpc::agent;

use crate::bfd::{self, Snapshot};
use crate::speaker::Session;

/// Every session, with the name of the object that the BGP session beside it has.
pub(in crate::api) fn bfd(
    node: String,
    snapshot: &Snapshot,
    sessions: &[Session],
) -> agent::BfdReply {
    let name = |session: &bfd::Session| {
        let beside = sessions.iter().find(|s| s.address == session.status.peer);
        beside.map(|s| s.name.clone()).unwrap_or_default()
    };
    let discarded = snapshot.discarded.iter();
    agent::BfdReply {
        node,
        sessions: snapshot
            .sessions
            .iter()
            .map(|s| session(name(s), s))
            .collect(),
        scheduling: snapshot.scheduling.to_string(),
        troubles: snapshot.troubles.clone(),
        discarded: discarded
            .map(|(reason, packets)| agent::BfdDiscarded {
                reason: reason.clone(),
                packets: *packets,
            })
            .collect(),
    }
}

fn session(name: String, session: &bfd::Session) -> agent::BfdSession {
    let status = &session.status;
    agent::BfdSession {
        name,
        address: status.peer.to_string(),
        local_address: status.source.map(|a| a.to_string()).unwrap_or_default(),
        multihop: matches!(status.path, Path::Multihop { .. }),
        state: status.state.to_string(),
        since_seconds: status.since.as_secs(),
        reason: reason(session),
        remote_state: status.remote_state.to_string(),
        remote_diagnostic: status.remote_diagnostic.to_string(),
        remote_control_plane_independent: status.remote_independent,
        local_discriminator: status.local_discriminator,
        remote_discriminator: status.remote_discriminator,
        transmit_interval_milliseconds: milliseconds(status.transmit_interval),
        detection_time_milliseconds: milliseconds(status.detection_time),
        ups: status.ups,
        losses: status.losses,
        last_loss: status
            .last_loss
            .map(|l| l.diagnostic.to_string())
            .unwrap_or_default(),
        packets_received: status.received,
        packets_sent: status.sent,
    }
}

/// Why it is not up.
fn reason(session: &bfd::Session) -> String {
    let status = &session.status;
    match (&session.trouble, status.state) {
        (Some(trouble), _) => trouble.clone(),
        (None, State::Up) => String::new(),
        (None, _) if status.detection_time.is_none() && status.ups == 0 => {
            "the peer's BFD has not been heard yet".to_owned()
        }
        (None, _) if status.remote_state == State::AdminDown => {
            "the peer has switched BFD off".to_owned()
        }
        (None, State::Init) => "the peer does not say that it hears us".to_owned(),
        (None, _) => status.diagnostic.to_string(),
    }
}

fn milliseconds(interval: Option<Duration>) -> u32 {
    let interval = interval.unwrap_or_default();
    u32::try_from(interval.as_millis()).unwrap_or(u32::MAX)
}
