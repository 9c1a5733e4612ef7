//! What happens to sessions and routes, as a stream of messages.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{Stream, stream};
use ipnetwork::IpNetwork;
use margay_bgp::wire::Attributes;
use margay_bgp::{AnyCommunity, Family, Heard, LearnedRoute, Told};
use margay_proto::rpc::agent::{MonitorEvent, MonitorRequest, Route};
use tonic::Status;

use crate::speaker::{Entry, News, Peer, Reader, SessionChange, What};

/// What a reader is sent.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<MonitorEvent, Status>> + Send>>;

/// What a reader wants to see.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    peers: Option<Vec<IpAddr>>,
    family: Option<Family>,
    sessions_only: bool,
}

impl Filter {
    /// `meant`: the peers that the request names, if it names any.
    pub(super) fn of(request: &MonitorRequest, meant: Option<Vec<Peer>>) -> Result<Self, Status> {
        let addresses =
            |peers: Vec<Peer>| -> Vec<_> { peers.iter().map(|peer| peer.status.address).collect() };
        let peers = meant.map(addresses);
        if peers.as_ref().is_some_and(Vec::is_empty) {
            return Err(Status::not_found(format!("no peer {}", request.peer)));
        }
        let family = match request.family.as_str() {
            "" => None,
            "ipv4" => Some(Family::Ipv4Unicast),
            "ipv6" => Some(Family::Ipv6Unicast),
            other => {
                let why = format!("family {other:?} is neither ipv4 nor ipv6");
                return Err(Status::invalid_argument(why));
            }
        };
        Ok(Self {
            peers,
            family,
            sessions_only: request.sessions_only,
        })
    }

    fn passes(&self, what: &What) -> bool {
        match what {
            What::Session { peer, .. } => self.wants(&[*peer]),
            What::Heard(heard) => self.wants_route(&heard.prefix) && self.wants(&[heard.peer]),
            What::Ways {
                prefix,
                before,
                route,
            } => {
                let now: Vec<_> = route.iter().flat_map(|route| peers(route)).collect();
                self.wants_route(prefix) && (self.wants(before) || self.wants(&now))
            }
        }
    }

    fn wants(&self, concerned: &[IpAddr]) -> bool {
        let wanted = |peers: &Vec<IpAddr>| concerned.iter().any(|peer| peers.contains(peer));
        self.peers.as_ref().is_none_or(wanted)
    }

    fn wants_route(&self, prefix: &IpNetwork) -> bool {
        let family = self.family.is_none_or(|f| f == Family::of(prefix));
        !self.sessions_only && family
    }
}

/// Every entry that passes, until the speaker ends or the reader leaves. Nothing is queued here: the ring is the only queue.
pub(super) fn events(node: String, news: Reader, filter: Filter) -> Events {
    let next = async |(node, mut news, filter): (String, Reader, Filter)| loop {
        let event = match news.next().await? {
            Entry::News(news) if filter.passes(&news.what) => event(&node, &news),
            Entry::News(_) => continue,
            Entry::Missed(missed) => missing(&node, SystemTime::now(), missed),
        };
        return Some((Ok(event), (node, news, filter)));
    };
    Box::pin(stream::unfold((node, news, filter), next))
}

fn event(node: &str, news: &Arc<News>) -> MonitorEvent {
    match &news.what {
        What::Session { peer, name, change } => MonitorEvent {
            peers: vec![peer.to_string()],
            name: name.clone(),
            ..session(node, news.at, change)
        },
        What::Heard(heard) => told(node, news.at, heard),
        What::Ways { prefix, route, .. } => ways(node, news.at, prefix, route.as_deref()),
    }
}

fn blank(node: &str, at: SystemTime, event: &str) -> MonitorEvent {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    MonitorEvent {
        node: node.to_owned(),
        at_milliseconds: u64::try_from(since.as_millis()).unwrap_or_default(),
        event: event.to_owned(),
        ..MonitorEvent::default()
    }
}

fn missing(node: &str, at: SystemTime, missed: u64) -> MonitorEvent {
    MonitorEvent {
        missed,
        ..blank(node, at, "missed")
    }
}

fn session(node: &str, at: SystemTime, change: &SessionChange) -> MonitorEvent {
    match change {
        SessionChange::Established => blank(node, at, "established"),
        SessionChange::Ended {
            reason,
            routes_kept,
        } => MonitorEvent {
            reason: reason.clone(),
            routes_kept: *routes_kept,
            ..blank(node, at, "ended")
        },
        SessionChange::Failed { reason } => MonitorEvent {
            reason: reason.clone(),
            ..blank(node, at, "failed")
        },
    }
}

fn told(node: &str, at: SystemTime, heard: &Heard) -> MonitorEvent {
    let about = |event: &str| MonitorEvent {
        peers: vec![heard.peer.to_string()],
        ..blank(node, at, event)
    };
    let from = heard.peer.to_string();
    match &heard.change {
        Told::Withdrawn => MonitorEvent {
            route: Some(bare(&heard.prefix, from)),
            ..about("withdrawn")
        },
        Told::Announced {
            attributes,
            refused,
        } => {
            let route = bare(&heard.prefix, from);
            let route = match attributes {
                Some(attributes) => described(route, attributes),
                None => Route {
                    reason: "its attributes are too long to be shown here".to_owned(),
                    ..route
                },
            };
            MonitorEvent {
                reason: refused.clone().unwrap_or_default(),
                route: Some(route),
                ..about("announced")
            }
        }
    }
}

fn ways(
    node: &str,
    at: SystemTime,
    prefix: &IpNetwork,
    route: Option<&LearnedRoute>,
) -> MonitorEvent {
    let Some((route, best)) = route.and_then(|route| Some((route, route.paths.first()?))) else {
        return MonitorEvent {
            route: Some(bare(prefix, String::new())),
            ..blank(node, at, "unreachable")
        };
    };
    let hops = route.paths.iter().map(|path| path.next_hop.to_string());
    let described = described(bare(prefix, best.peer.to_string()), &best.attributes);
    MonitorEvent {
        peers: peers(route).map(|peer| peer.to_string()).collect(),
        route: Some(Route {
            next_hops: hops.collect(),
            best: true,
            stale: best.stale,
            ..described
        }),
        ..blank(node, at, "best")
    }
}

fn peers(route: &LearnedRoute) -> impl Iterator<Item = IpAddr> {
    route.paths.iter().map(|path| path.peer)
}

fn bare(prefix: &IpNetwork, from: String) -> Route {
    Route {
        prefix: prefix.to_string(),
        from,
        ..Route::default()
    }
}

fn described(route: Route, attributes: &Attributes) -> Route {
    let standard = attributes.communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter();
    let extended = extended.map(|octets| AnyCommunity::Extended(*octets).to_string());
    let next_hop = attributes.next_hop.map(|next_hop| next_hop.to_string());
    Route {
        next_hops: next_hop.into_iter().collect(),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        local_pref: attributes.local_pref.unwrap_or_default(),
        med: attributes.med,
        communities: standard.chain(large).chain(extended).collect(),
        ..route
    }
}

#[cfg(test)]
mod tests;
