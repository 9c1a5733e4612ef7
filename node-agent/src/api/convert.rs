//! The speaker's types as messages.

mod bfd;

use margay_bgp::{
    Explanation, Family, Judgement, PathExplanation, PathStatus, PeerExplanation, RouteStatus,
    State,
};
use margay_proto::rpc::agent;

use crate::speaker::{Peer, Peers};

pub(super) use bfd::bfd;

pub(super) fn peers(node: String, Peers { identity, peers }: Peers) -> agent::PeersReply {
    let (local_as, router_id) = identity
        .map(|(asn, id)| (asn.0, id.to_string()))
        .unwrap_or_default();
    agent::PeersReply {
        node,
        local_as,
        router_id,
        peers: peers.into_iter().map(peer).collect(),
    }
}

pub(super) fn peer(Peer { status, since }: Peer) -> agent::Peer {
    let reason = match (status.state, status.last_error) {
        (State::Established, _) => String::new(),
        (_, Some(error)) => error.reason,
        (_, None) if !status.enabled => "held down by configuration".to_owned(),
        (_, None) => "not connected yet".to_owned(),
    };
    let restarts = |side: &[String]| {
        side.iter()
            .any(|capability| capability.starts_with("graceful-restart"))
    };
    let graceful_restart =
        restarts(&status.capabilities_sent) && restarts(&status.capabilities_received);
    let families = Family::ALL.into_iter().map(|family| {
        let counts = status.prefixes[family];
        agent::FamilyCount {
            family: family.to_string(),
            received: counts.received.into(),
            accepted: counts.accepted.into(),
            advertised: counts.advertised.into(),
        }
    });
    agent::Peer {
        name: status.description,
        address: status.address.to_string(),
        remote_as: match (status.remote_as, status.configured_as.as_str()) {
            (Some(asn), _) => asn.0,
            (None, "internal") => status.local_as.0,
            // 0 for `external`: which one is not known before the peer has said it.
            (None, configured) => configured.parse().unwrap_or_default(),
        },
        configured_as: status.configured_as,
        local_as: status.local_as.0,
        state: status.state.to_string(),
        since_seconds: since.as_secs(),
        reason,
        families: families.collect(),
        graceful_restart,
        messages_received: status.counters.messages_received,
        messages_sent: status.counters.messages_sent,
    }
}

pub(super) fn routes(routes: Vec<RouteStatus>) -> Vec<agent::Route> {
    routes
        .into_iter()
        .flat_map(|RouteStatus { prefix, paths }| {
            paths
                .into_iter()
                .map(move |path| route(prefix.to_string(), path))
        })
        .collect()
}

fn route(prefix: String, path: PathStatus) -> agent::Route {
    let standard = path.communities.into_iter();
    let others = path
        .large_communities
        .into_iter()
        .chain(path.extended_communities);
    agent::Route {
        prefix,
        next_hops: path.next_hop.into_iter().collect(),
        from: path
            .peer
            .map_or_else(|| "local".to_owned(), |peer| peer.to_string()),
        as_path: path.as_path,
        origin: path.origin.to_string(),
        local_pref: path.local_pref.unwrap_or_default(),
        med: path.med,
        best: path.best,
        stale: path.stale,
        reason: path.reason,
        communities: standard.chain(others).collect(),
    }
}

/// Nothing but the node where there is no such route.
pub(super) fn why(node: String, explanation: Option<Explanation>) -> agent::WhyReply {
    let Some(Explanation {
        prefix,
        paths,
        peers,
    }) = explanation
    else {
        return agent::WhyReply {
            node,
            ..agent::WhyReply::default()
        };
    };
    let prefix = prefix.to_string();
    let path = |PathExplanation { path, import }: PathExplanation| agent::WhyPath {
        used: path.best || path.multipath,
        route: Some(route(prefix.clone(), path)),
        import: import.map(judgement),
    };
    let peer = |explained: PeerExplanation| agent::WhyPeer {
        peer: explained.peer.to_string(),
        route: explained.told.map(|path| route(prefix.clone(), path)),
        reason: explained.reason,
        export: explained.export.map(judgement),
    };
    agent::WhyReply {
        node,
        paths: paths.into_iter().map(path).collect(),
        peers: peers.into_iter().map(peer).collect(),
        prefix,
    }
}

fn judgement(judgement: Judgement) -> agent::Judgement {
    let step = |step: margay_bgp::Step| agent::Step {
        rule: step.rule,
        outcome: step.outcome,
    };
    agent::Judgement {
        accepted: judgement.accepted,
        decided: judgement.decided,
        steps: judgement.steps.into_iter().map(step).collect(),
    }
}
