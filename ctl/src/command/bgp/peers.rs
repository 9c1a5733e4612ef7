//! `margayctl bgp peers`.

mod watch;

use crate::fleet::{self, Answers};
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use crate::text;
use clap::Args;
use margay_proto::rpc::agent::{FamilyCount, Peer, PeersReply, PeersRequest};
use serde::Serialize;

/// Shows every session, its state, and why it is not established
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp peers
  margayctl bgp peers --node n1 -o wide
  margayctl bgp peers --node n1 --watch      # each change as it comes
  margayctl bgp peers -o json | jq -r '.nodes[] | .node as $n | .peers[] | select(.state != \"Established\") | [$n, .address, .reason] | @tsv'")]
pub(crate) struct Command {
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Then show each session that changes, until interrupted; the nodes are asked every 2 s
    #[arg(short, long)]
    watch: bool,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        if self.watch {
            return self.watch(options).await;
        }
        let answers = self.ask(options).await?;
        let report = Report::of(
            options.output,
            &Nodes {
                nodes: &answers.replies,
            },
            || table(&answers.replies),
        )?;
        Ok(report
            .failing(answers.failures)
            .note_if_empty("no sessions: BGPPeer and BGPConfiguration say with whom nodes peer; `margayctl doctor` says what holds one down"))
    }

    async fn ask(&self, options: &Options) -> anyhow::Result<Answers<PeersReply>> {
        let question =
            |mut client: fleet::Client| async move { client.peers(PeersRequest {}).await };
        fleet::ask(options, self.node.as_deref(), question).await
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [PeersReply],
}

const COLUMNS: &[Column] = &[
    column("NODE"),
    column("PEER"),
    column("ADDRESS"),
    column("AS"),
    column("STATE"),
    column("SINCE"),
    column("RECEIVED"),
    column("ADVERTISED"),
    wide("LOCAL-AS"),
    wide("ROUTER-ID"),
    wide("RESTART"),
    wide("MESSAGES"),
    wide("FAMILIES"),
    column("REASON"),
];

fn table(nodes: &[PeersReply]) -> Table {
    let rows = nodes
        .iter()
        .flat_map(|node| node.peers.iter().map(|peer| row(node, peer)));
    Table::new(COLUMNS, rows.collect())
}

fn row(node: &PeersReply, peer: &Peer) -> Vec<String> {
    let sum =
        |part: fn(&FamilyCount) -> u64| peer.families.iter().map(part).sum::<u64>().to_string();
    let families: Vec<String> = peer
        .families
        .iter()
        .map(|f| {
            format!(
                "{} {}/{}/{}",
                f.family, f.received, f.accepted, f.advertised
            )
        })
        .collect();
    vec![
        node.node.clone(),
        peer.name.clone(),
        peer.address.clone(),
        if peer.remote_as == 0 {
            peer.configured_as.clone()
        } else {
            peer.remote_as.to_string()
        },
        peer.state.clone(),
        text::span(peer.since_seconds),
        sum(|family| family.received),
        sum(|family| family.advertised),
        peer.local_as.to_string(),
        node.router_id.clone(),
        if peer.graceful_restart {
            "graceful"
        } else {
            ""
        }
        .to_owned(),
        format!("{}/{}", peer.messages_received, peer.messages_sent),
        families.join(", "),
        peer.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    fn nodes() -> Vec<PeersReply> {
        let tor = Peer {
            name: "tor1".into(),
            address: "172.31.1.1".into(),
            remote_as: 65101,
            local_as: 4_200_000_001,
            state: "Established".into(),
            since_seconds: 125,
            families: ["ipv4", "ipv6"]
                .map(|family| FamilyCount {
                    family: family.into(),
                    received: 4,
                    accepted: 3,
                    advertised: 1,
                })
                .to_vec(),
            graceful_restart: true,
            messages_received: 40,
            messages_sent: 38,
            ..Peer::default()
        };
        let n2 = Peer {
            name: "mesh".into(),
            address: "172.31.1.12".into(),
            remote_as: 4_200_000_001,
            local_as: 4_200_000_001,
            state: "Idle".into(),
            reason: "OPEN refused: bad peer AS, expected 4200000002".into(),
            ..Peer::default()
        };
        let any = Peer {
            name: "tor2".into(),
            address: "172.31.2.1".into(),
            configured_as: "external".into(),
            state: "Active".into(),
            ..Peer::default()
        };
        vec![PeersReply {
            node: "n1".into(),
            local_as: 4_200_000_001,
            router_id: "172.31.1.11".into(),
            peers: vec![tor, n2, any],
        }]
    }

    #[test]
    fn table_is_golden() {
        let golden = "\
NODE   PEER   ADDRESS       AS           STATE         SINCE   RECEIVED   ADVERTISED   REASON
n1     tor1   172.31.1.1    65101        Established   2m5s    8          2            -
n1     mesh   172.31.1.12   4200000001   Idle          0s      0          0            OPEN refused: bad peer AS, expected 4200000002
n1     tor2   172.31.2.1    external     Active        0s      0          0            -
";
        assert_eq!(table(&nodes()).render(Format::Table), golden);
        let wide = table(&nodes()).render(Format::Wide);
        assert!(
            wide.contains(
                "4200000001   172.31.1.11   graceful   40/38      ipv4 4/3/1, ipv6 4/3/1   -\n"
            ),
            "{wide}"
        );
    }

    #[test]
    fn json_keeps_the_agent_s_fields() {
        let json = serde_json::to_value(Nodes { nodes: &nodes() }).unwrap();
        assert_eq!(json["nodes"][0]["routerId"], "172.31.1.11");
        assert_eq!(json["nodes"][0]["peers"][0]["remoteAs"], 65101);
        assert_eq!(json["nodes"][0]["peers"][0]["families"][1]["accepted"], 3);
    }
}
