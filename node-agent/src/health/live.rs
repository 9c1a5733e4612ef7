//! Metrics of each BGP peer, each BFD session and the tables: asked for at every scrape. They cost nothing in between, and end with the peer.

use std::net::IpAddr;
use std::time::Duration;

use margay_bgp::{Family, LastError, PeerStatus, State, TableSize, bfd as protocol};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::name;
use crate::bfd;
use crate::speaker::{Handle, Survey};

type Labels = Vec<(&'static str, String)>;
type Gauges = Labelled<Labels, Gauge>;
type Counters = Labelled<Labels, Counter>;

/// How long a scrape waits for a speaker that has much to do; its series are then missing in this one.
const PATIENCE: Duration = Duration::from_secs(3);

/// The series of this moment; none when the speaker has ended or does not answer in time.
pub(super) async fn registry(speaker: &Handle) -> Option<Registry> {
    let survey = tokio::time::timeout(PATIENCE, speaker.survey()).await;
    let survey = survey.ok()?.ok()?;
    let bfd = speaker.bfd.borrow().clone();
    Some(of(&survey, &bfd))
}

fn of(survey: &Survey, bfd: &bfd::Snapshot) -> Registry {
    let mut series = Series(Registry::with_prefix("margay"));
    let peers = || survey.peers.iter().map(|peer| &peer.status);
    series.sessions(peers());
    series.traffic(peers());
    series.prefixes(peers());
    series.notifications(peers());
    series.tables(&survey.tables);
    series.bfd(bfd);
    series.0
}

struct Series(Registry);

impl Series {
    fn gauge(&mut self, name: &str, help: &str) -> Gauges {
        let gauges = Gauges::default();
        self.0.register(name, help, gauges.clone());
        gauges
    }

    /// A gauge without labels.
    fn one(&mut self, name: &str, help: &str, value: usize) {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str) -> Gauges {
        let gauges = Gauges::default();
        self.0
            .register_with_unit(name, help, Unit::Seconds, gauges.clone());
        gauges
    }

    fn counter(&mut self, name: &str, help: &str) -> Counters {
        let counters = Counters::default();
        self.0.register(name, help, counters.clone());
        counters
    }

    fn sessions<'a>(&mut self, peers: impl Iterator<Item = &'a PeerStatus>) {
        let state = self.gauge(
            "bgp_peer_state",
            "State of the session by the numbers of RFC 4273: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established",
        );
        let uptime = self.seconds("bgp_peer_uptime", "Time in Established");
        let about = self.gauge("bgp_peer_configured", "1, with what the peer is");
        for peer in peers {
            set(&state, of_peer(peer.address), number(peer.state));
            if let Some(seconds) = peer.uptime_seconds {
                set(&uptime, of_peer(peer.address), seconds);
            }
            let mut labels = of_peer(peer.address);
            labels.push(("name", peer.description.clone()));
            let remote = peer.remote_as.map(|asn| asn.to_string());
            let configured = || peer.configured_as.clone();
            labels.push(("remote_as", remote.unwrap_or_else(configured)));
            labels.push(("local_as", peer.local_as.to_string()));
            set(&about, labels, 1_u8);
        }
    }

    fn traffic<'a>(&mut self, peers: impl Iterator<Item = &'a PeerStatus>) {
        let messages = self.counter("bgp_peer_messages", "Messages of every kind");
        let updates = self.counter("bgp_peer_updates", "UPDATE messages");
        let octets = self.counter("bgp_peer_octets", "Octets of messages");
        let help = "Malformed attributes that did not end the session (RFC 7606)";
        let faults = self.counter("bgp_peer_faults", help);
        for peer in peers {
            let counters = peer.counters;
            for (metric, received, sent) in [
                (
                    &messages,
                    counters.messages_received,
                    counters.messages_sent,
                ),
                (&updates, counters.updates_received, counters.updates_sent),
                (&octets, counters.octets_received, counters.octets_sent),
            ] {
                for (direction, count) in [("received", received), ("sent", sent)] {
                    let labels = with(of_peer(peer.address), "direction", direction);
                    metric.get_or_create(&labels).inc_by(count);
                }
            }
            let labels = of_peer(peer.address);
            faults.get_or_create(&labels).inc_by(counters.faults);
        }
    }

    fn prefixes<'a>(&mut self, peers: impl Iterator<Item = &'a PeerStatus>) {
        let prefixes = self.gauge("bgp_peer_prefixes", "Prefixes of the session");
        let help = "More received prefixes than this end the session";
        let limits = self.gauge("bgp_peer_prefix_limit", help);
        for peer in peers {
            for family in Family::ALL {
                let counts = peer.prefixes[family];
                let labels = || with(of_peer(peer.address), "family", name(family));
                for (kind, count) in [
                    ("received", counts.received),
                    ("accepted", counts.accepted),
                    ("rejected", counts.received.saturating_sub(counts.accepted)),
                    ("advertised", counts.advertised),
                    ("stale", counts.stale),
                ] {
                    set(&prefixes, with(labels(), "kind", kind), count);
                }
                if let Some(limit) = counts.maximum {
                    set(&limits, labels(), limit);
                }
            }
        }
    }

    fn notifications<'a>(&mut self, peers: impl Iterator<Item = &'a PeerStatus>) {
        let ages = self.seconds(
            "bgp_peer_last_notification_age",
            "Time since the last NOTIFICATION each way, by its registered name",
        );
        for peer in peers {
            for (direction, last) in [("sent", &peer.last_sent), ("received", &peer.last_received)]
            {
                let Some(last) = last else { continue };
                let labels = with(of_peer(peer.address), "direction", direction);
                let labels = with(labels, "reason", registered(last));
                set(&ages, labels, last.seconds_ago);
            }
        }
    }

    fn tables(&mut self, size: &TableSize) {
        let prefixes = self.gauge("bgp_table_prefixes", "Prefixes in the tables");
        let paths = self.gauge("bgp_table_paths", "Paths in the tables, unused ones too");
        for family in Family::ALL {
            let labels = || vec![("family", name(family).to_owned())];
            set(&prefixes, labels(), count(size.prefixes[family]));
            set(&paths, labels(), count(size.paths[family]));
        }
        let help = "Distinct sets of path attributes";
        self.one("bgp_attribute_sets", help, size.attribute_sets);
        let help = "Groups of peers that are told the same, each encoded once";
        self.one("bgp_update_groups", help, size.update_groups);
    }

    fn bfd(&mut self, snapshot: &bfd::Snapshot) {
        let state = self.gauge(
            "bfd_session_state",
            "State of the session by the numbers of RFC 7331: 1 AdminDown, 2 Down, 3 Init, 4 Up",
        );
        let packets = self.counter("bfd_session_packets", "Packets taken and sent");
        let help = "Time without a packet after which the path counts as lost";
        let detection = Labelled::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        self.0.register_with_unit(
            "bfd_session_detection",
            help,
            Unit::Seconds,
            detection.clone(),
        );
        for session in &snapshot.sessions {
            let status = &session.status;
            set(&state, of_peer(status.peer), bfd_number(status.state));
            if let Some(time) = status.detection_time {
                let labels = of_peer(status.peer);
                detection.get_or_create(&labels).set(time.as_secs_f64());
            }
            for (direction, count) in [("received", status.received), ("sent", status.sent)] {
                let labels = with(of_peer(status.peer), "direction", direction);
                packets.get_or_create(&labels).inc_by(count);
            }
        }
    }
}

fn of_peer(peer: IpAddr) -> Labels {
    vec![("peer", peer.to_string())]
}

fn with(mut labels: Labels, label: &'static str, value: impl Into<String>) -> Labels {
    labels.push((label, value.into()));
    labels
}

fn set(gauges: &Gauges, labels: Labels, value: impl Into<u64>) {
    let value = i64::try_from(value.into()).unwrap_or(i64::MAX);
    gauges.get_or_create(&labels).set(value);
}

fn count(number: usize) -> u64 {
    number as u64
}

const fn number(state: State) -> u8 {
    match state {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}

const fn bfd_number(state: protocol::State) -> u8 {
    match state {
        protocol::State::AdminDown => 1,
        protocol::State::Down => 2,
        protocol::State::Init => 3,
        protocol::State::Up => 4,
    }
}

/// The registered name of a NOTIFICATION's code and subcode, which stands before them. What follows is the peer's own text: whoever
/// writes it must not be able to make as many series as there are texts.
fn registered(notification: &LastError) -> &str {
    let reason = notification.reason.as_str();
    reason.split(" (").next().unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speaker::Peer;
    use margay_bgp::{Config, PeerConfig, RemoteAs, Speaker, SpeakerConfig};
    use std::time::Instant;

    fn survey() -> Survey {
        let now = Instant::now();
        let config = SpeakerConfig::new(margay_bgp::Asn(65000), [192, 0, 2, 1].into());
        let mut speaker = Speaker::new(config, now);
        let mut peer = PeerConfig::new([192, 0, 2, 2].into(), RemoteAs::External);
        peer.description = "BGPPeer/tor".to_owned();
        peer.maximum_prefixes.v4 = Some(1000);
        speaker.apply(Config { peers: vec![peer] }, now);
        let mut statuses = speaker.peers(now);
        let status = statuses.remove(0);
        let last_sent = LastError {
            reason: "administrative shutdown (6/2): \"see (6/2) you\"".to_owned(),
            seconds_ago: 7,
        };
        let mut status = PeerStatus {
            state: State::Established,
            uptime_seconds: Some(61),
            last_sent: Some(last_sent),
            ..status
        };
        status.counters.updates_received = 5;
        status.prefixes.v6.received = 3;
        status.prefixes.v6.accepted = 1;
        let since = Duration::ZERO;
        Survey {
            peers: vec![Peer { status, since }],
            tables: speaker.table_size(),
        }
    }

    #[test]
    fn every_series_of_a_peer_has_its_openmetrics_name() {
        let session = bfd::Session {
            status: protocol_status(),
            trouble: None,
        };
        let bfd = bfd::Snapshot {
            sessions: vec![session],
            ..bfd::Snapshot::default()
        };
        let mut text = String::new();
        let registry = of(&survey(), &bfd);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "margay_bgp_peer_state{peer=\"192.0.2.2\"} 6",
            "margay_bgp_peer_uptime_seconds{peer=\"192.0.2.2\"} 61",
            "margay_bgp_peer_configured{peer=\"192.0.2.2\",name=\"BGPPeer/tor\",remote_as=\"external\",local_as=\"65000\"} 1",
            "margay_bgp_peer_messages_total{peer=\"192.0.2.2\",direction=\"sent\"} 0",
            "margay_bgp_peer_updates_total{peer=\"192.0.2.2\",direction=\"received\"} 5",
            "margay_bgp_peer_octets_total{peer=\"192.0.2.2\",direction=\"received\"} 0",
            "margay_bgp_peer_faults_total{peer=\"192.0.2.2\"} 0",
            "margay_bgp_peer_prefixes{peer=\"192.0.2.2\",family=\"ipv6\",kind=\"rejected\"} 2",
            "margay_bgp_peer_prefixes{peer=\"192.0.2.2\",family=\"ipv4\",kind=\"advertised\"} 0",
            "margay_bgp_peer_prefix_limit{peer=\"192.0.2.2\",family=\"ipv4\"} 1000",
            "margay_bgp_peer_last_notification_age_seconds{peer=\"192.0.2.2\",direction=\"sent\",reason=\"administrative shutdown\"} 7",
            "margay_bgp_table_prefixes{family=\"ipv4\"} 0",
            "margay_bgp_table_paths{family=\"ipv6\"} 0",
            "margay_bgp_attribute_sets 0",
            "margay_bgp_update_groups 0",
            "margay_bfd_session_state{peer=\"192.0.2.2\"} 2",
            "margay_bfd_session_packets_total{peer=\"192.0.2.2\",direction=\"sent\"} 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
        assert!(!text.contains("you"), "a peer's own text is a label");
    }

    /// A session that has just begun.
    fn protocol_status() -> protocol::SessionStatus {
        let mut sessions = protocol::Sessions::new(1);
        let config = protocol::SessionConfig {
            peer: [192, 0, 2, 2].into(),
            source: None,
            parameters: protocol::Parameters::default(),
        };
        sessions.apply(vec![config], Instant::now());
        sessions.statuses(Instant::now()).remove(0)
    }
}
