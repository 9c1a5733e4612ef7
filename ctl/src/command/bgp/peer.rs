//! `margayctl bgp peer`.

use crate::fleet;
use crate::options::{Format, Options};
use crate::report::Report;
use crate::table::{Column, Table, cell, column};
use crate::text;
use clap::Args;
use margay_proto::rpc::agent::{
    FamilyDetails, Peer, PeerDetails, PeerDetailsReply, PeerDetailsRequest, Said, Timers,
};
use serde::Serialize;

/// Shows all there is to know about a session
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp peer tor1 --node n1
  margayctl bgp peer 172.31.1.1          # on every node that has it
  margayctl bgp peer tor1 --node n1 -o json | jq '.nodes[].peers[].lastReceived'")]
pub(crate) struct Command {
    /// Address of the peer, or the BGPPeer that asked for the session
    #[arg(value_parser = crate::invalid::peer)]
    peer: String,
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let peer = self.peer.clone();
        let question = |mut client: fleet::Client| {
            let peer = peer.clone();
            async move { client.peer_details(PeerDetailsRequest { peer }).await }
        };
        let mut answers = fleet::ask(options, self.node.as_deref(), question).await?;
        answers.replies.retain(|node| !node.peers.is_empty());
        if answers.replies.is_empty() && answers.failures.is_empty() {
            answers.failures.push(super::nobody(&peer));
        }
        let nodes = Nodes {
            nodes: &answers.replies,
        };
        let report = Report::written(options.output, &nodes, || cards(&answers.replies))?;
        Ok(report.failing(answers.failures))
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [PeerDetailsReply],
}

fn cards(nodes: &[PeerDetailsReply]) -> String {
    let cards = nodes.iter().flat_map(|node| {
        let of_node = node.peers.iter();
        of_node.map(|peer| card(&node.node, peer))
    });
    cards.collect::<Vec<_>>().join("\n")
}

fn card(node: &str, peer: &PeerDetails) -> String {
    let nobody = Peer::default();
    let summary = peer.summary.as_ref().unwrap_or(&nobody);
    let title = format!("{node}: peer {} {}", summary.address, summary.name);
    let mut text = format!("{}\n", cell(title.trim_end()));
    for (name, value) in lines(summary, peer) {
        text.push_str(&format!("  {name:14} {}\n", cell(&value)));
    }
    let families = Table::new(COLUMNS, peer.families.iter().map(row).collect());
    for line in families.render(Format::Table).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn lines(summary: &Peer, peer: &PeerDetails) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("state", state(summary, peer)),
        ("AS", systems(summary)),
        ("router ID", peer.router_id.clone()),
        ("local address", peer.local_address.clone()),
        ("timers", timers(&peer.timers.unwrap_or_default())),
        ("we offered", peer.capabilities_sent.join(", ")),
        ("it offered", peer.capabilities_received.join(", ")),
    ];
    // What never happened is left out.
    let said = [
        ("last error", &peer.last_error),
        ("last sent", &peer.last_sent),
        ("last received", &peer.last_received),
        ("last fault", &peer.last_fault),
    ];
    lines.extend(
        said.into_iter()
            .filter_map(|(name, said)| Some((name, ago(said.as_ref()?)))),
    );
    let count = peer.counters.unwrap_or_default();
    lines.extend([
        (
            "received",
            counted(
                count.messages_received,
                count.updates_received,
                count.octets_received,
            ),
        ),
        (
            "sent",
            counted(count.messages_sent, count.updates_sent, count.octets_sent),
        ),
        ("malformed", count.faults.to_string()),
    ]);
    lines
}

fn state(summary: &Peer, peer: &PeerDetails) -> String {
    let span = text::span(peer.uptime_seconds.unwrap_or(summary.since_seconds));
    let mut text = format!("{} for {span}", summary.state);
    if !summary.reason.is_empty() {
        text.push_str(&format!(": {}", summary.reason));
    }
    let times = match peer.established_count {
        0 => "never established".to_owned(),
        1 => "established once".to_owned(),
        times => format!("established {times} times"),
    };
    format!("{text} ({times})")
}

fn systems(summary: &Peer) -> String {
    let remote = match summary.remote_as {
        0 => summary.configured_as.clone(),
        number => number.to_string(),
    };
    let asked = match summary.configured_as == remote {
        true => String::new(),
        false => format!(" (configured: {})", summary.configured_as),
    };
    format!("{remote}{asked}, ours {}", summary.local_as)
}

fn timers(timers: &Timers) -> String {
    let mut text = match timers.hold {
        0 => "no hold time".to_owned(),
        hold => format!("hold {hold}s, keepalive {}s", timers.keepalive),
    };
    let running = [
        ("hold expires in", timers.hold_remaining),
        ("next attempt in", timers.connect_retry_remaining),
        ("stale routes are dropped in", timers.stale_remaining),
    ];
    for (name, seconds) in running {
        if let Some(seconds) = seconds {
            text.push_str(&format!(", {name} {}", text::span(seconds)));
        }
    }
    text
}

fn ago(said: &Said) -> String {
    format!("{}, {} ago", said.text, text::span(said.seconds_ago))
}

fn counted(messages: u64, updates: u64, octets: u64) -> String {
    format!("{messages} messages, {updates} of them UPDATEs, {octets} octets")
}

const COLUMNS: &[Column] = &[
    column("FAMILY"),
    column("AGREED"),
    column("RECEIVED"),
    column("ACCEPTED"),
    column("REJECTED"),
    column("ADVERTISED"),
    column("STALE"),
    column("LIMIT"),
];

fn row(family: &FamilyDetails) -> Vec<String> {
    vec![
        family.family.clone(),
        if family.agreed { "yes" } else { "no" }.to_owned(),
        family.received.to_string(),
        family.accepted.to_string(),
        family.rejected.to_string(),
        family.advertised.to_string(),
        family.stale.to_string(),
        family
            .limit
            .map(|limit| limit.to_string())
            .unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use margay_proto::rpc::agent::Counters;

    fn said(text: &str) -> Option<Said> {
        Some(Said {
            text: text.into(),
            seconds_ago: 3600,
        })
    }

    fn tor() -> PeerDetails {
        let summary = Peer {
            name: "BGPPeer/tor1".into(),
            address: "172.31.1.1".into(),
            remote_as: 65101,
            configured_as: "external".into(),
            local_as: 4_200_000_001,
            state: "Established".into(),
            ..Peer::default()
        };
        let family = |family: &str, limit| FamilyDetails {
            family: family.into(),
            agreed: true,
            received: 4,
            accepted: 3,
            rejected: 1,
            advertised: 1,
            stale: 0,
            limit,
        };
        PeerDetails {
            summary: Some(summary),
            router_id: "172.31.1.1".into(),
            local_address: "172.31.1.11".into(),
            uptime_seconds: Some(125),
            established_count: 2,
            capabilities_sent: vec!["route-refresh".into(), "4-octet AS 4200000001".into()],
            capabilities_received: vec!["route-refresh".into()],
            timers: Some(Timers {
                hold: 9,
                keepalive: 3,
                hold_remaining: Some(7),
                ..Timers::default()
            }),
            last_received: said("administrative shutdown (6/2): \"lunch\x1b[2J\""),
            counters: Some(Counters {
                messages_received: 40,
                updates_received: 3,
                octets_received: 900,
                ..Counters::default()
            }),
            families: vec![
                family("ipv4-unicast", Some(1000)),
                family("ipv6-unicast", None),
            ],
            ..PeerDetails::default()
        }
    }

    #[test]
    fn the_card_is_golden() {
        let golden = "\
n1: peer 172.31.1.1 BGPPeer/tor1
  state          Established for 2m5s (established 2 times)
  AS             65101 (configured: external), ours 4200000001
  router ID      172.31.1.1
  local address  172.31.1.11
  timers         hold 9s, keepalive 3s, hold expires in 7s
  we offered     route-refresh, 4-octet AS 4200000001
  it offered     route-refresh
  last received  administrative shutdown (6/2): \"lunch [2J\", 1h0m ago
  received       40 messages, 3 of them UPDATEs, 900 octets
  sent           0 messages, 0 of them UPDATEs, 0 octets
  malformed      0
  FAMILY         AGREED   RECEIVED   ACCEPTED   REJECTED   ADVERTISED   STALE   LIMIT
  ipv4-unicast   yes      4          3          1          1            0       1000
  ipv6-unicast   yes      4          3          1          1            0       -
";
        assert_eq!(card("n1", &tor()), golden);
    }

    #[test]
    fn a_session_that_is_down_says_why_first() {
        let down = PeerDetails {
            summary: Some(Peer {
                address: "172.31.1.1".into(),
                configured_as: "internal".into(),
                state: "Active".into(),
                since_seconds: 5,
                reason: "Connection refused".into(),
                ..Peer::default()
            }),
            ..PeerDetails::default()
        };
        let card = card("n1", &down);
        let state = "  state          Active for 5s: Connection refused (never established)\n";
        assert!(card.contains(state), "{card}");
        assert!(
            card.contains("  AS             internal, ours 0\n"),
            "{card}"
        );
        assert!(card.contains("no hold time"), "{card}");
    }
}
