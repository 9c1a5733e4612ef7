//! `margayctl bgp bfd`.

use crate::fleet;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use crate::text;
use clap::Args;
use margay_proto::rpc::agent::{BfdReply, BfdRequest, BfdSession};
use serde::Serialize;

/// Shows every BFD session, its state, and why it is not up
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp bfd
  margayctl bgp bfd --node n1 -o wide
  margayctl bgp bfd -o json | jq -r '.nodes[] | .node as $n | .sessions[] | select(.state != \"Up\") | [$n, .address, .reason] | @tsv'")]
pub(crate) struct Command {
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let question = |mut client: fleet::Client| async move { client.bfd(BfdRequest {}).await };
        let answers = fleet::ask(options, self.node.as_deref(), question).await?;
        let report = Report::of(
            options.output,
            &Nodes {
                nodes: &answers.replies,
            },
            || table(&answers.replies),
        )?;
        Ok(report
            .failing(answers.failures)
            .note_if_empty("no BFD sessions: `bfd` in a BGPPeer asks for them"))
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [BfdReply],
}

const COLUMNS: &[Column] = &[
    column("NODE"),
    column("PEER"),
    column("ADDRESS"),
    column("HOPS"),
    column("STATE"),
    column("SINCE"),
    column("INTERVAL"),
    column("DETECTION"),
    column("LOSSES"),
    wide("REMOTE"),
    wide("C-BIT"),
    wide("DISCRIMINATORS"),
    wide("PACKETS"),
    wide("LAST-LOSS"),
    wide("SCHEDULING"),
    column("REASON"),
];

fn table(nodes: &[BfdReply]) -> Table {
    let rows = nodes
        .iter()
        .flat_map(|node| node.sessions.iter().map(|session| row(node, session)));
    Table::new(COLUMNS, rows.collect())
}

fn row(node: &BfdReply, session: &BfdSession) -> Vec<String> {
    // Of the node's sessions each says what keeps all of them down.
    let reason = match (session.reason.as_str(), node.troubles.as_slice()) {
        (reason, []) => reason.to_owned(),
        (_, troubles) => troubles.join("; "),
    };
    vec![
        node.node.clone(),
        session.name.clone(),
        session.address.clone(),
        if session.multihop { "multi" } else { "single" }.to_owned(),
        session.state.clone(),
        text::span(session.since_seconds),
        milliseconds(session.transmit_interval_milliseconds),
        milliseconds(session.detection_time_milliseconds),
        session.losses.to_string(),
        session.remote_state.clone(),
        if session.remote_control_plane_independent {
            "set"
        } else {
            "clear"
        }
        .to_owned(),
        format!(
            "{}/{}",
            session.local_discriminator, session.remote_discriminator
        ),
        format!("{}/{}", session.packets_received, session.packets_sent),
        session.last_loss.clone(),
        node.scheduling.clone(),
        reason,
    ]
}

fn milliseconds(number: u32) -> String {
    match number {
        0 => String::new(),
        number => format!("{number}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    fn nodes() -> Vec<BfdReply> {
        let tor = BfdSession {
            name: "BGPPeer/tor1".into(),
            address: "172.31.1.1".into(),
            state: "Up".into(),
            since_seconds: 125,
            remote_state: "Up".into(),
            local_discriminator: 7,
            remote_discriminator: 9,
            transmit_interval_milliseconds: 300,
            detection_time_milliseconds: 900,
            ups: 2,
            losses: 1,
            last_loss: "control detection time expired".into(),
            packets_received: 40,
            packets_sent: 38,
            ..BfdSession::default()
        };
        let far = BfdSession {
            name: "BGPPeer/far".into(),
            address: "2001:db8::1".into(),
            multihop: true,
            state: "Down".into(),
            remote_state: "Down".into(),
            transmit_interval_milliseconds: 1000,
            reason: "the peer's BFD has not been heard yet".into(),
            ..BfdSession::default()
        };
        vec![BfdReply {
            node: "n1".into(),
            sessions: vec![tor, far],
            scheduling: "SCHED_FIFO".into(),
            ..BfdReply::default()
        }]
    }

    #[test]
    fn table_is_golden() {
        let golden = "\
NODE   PEER           ADDRESS       HOPS     STATE   SINCE   INTERVAL   DETECTION   LOSSES   REASON
n1     BGPPeer/tor1   172.31.1.1    single   Up      2m5s    300ms      900ms       1        -
n1     BGPPeer/far    2001:db8::1   multi    Down    0s      1000ms     -           0        the peer's BFD has not been heard yet
";
        assert_eq!(table(&nodes()).render(Format::Table), golden);
        let wide = table(&nodes()).render(Format::Wide);
        assert!(
            wide.contains("Up       clear   7/9              40/38     control detection time expired   SCHED_FIFO   -\n"),
            "{wide}"
        );
    }

    #[test]
    fn what_keeps_a_node_from_receiving_is_each_session_s_reason() {
        let mut nodes = nodes();
        nodes[0].troubles = vec!["UDP port 3784 is in use".into()];
        let text = table(&nodes).render(Format::Table);
        assert_eq!(text.matches("UDP port 3784 is in use").count(), 2);
    }

    #[test]
    fn json_keeps_the_agent_s_fields() {
        let json = serde_json::to_value(Nodes { nodes: &nodes() }).unwrap();
        let session = &json["nodes"][0]["sessions"][0];
        assert_eq!(session["detectionTimeMilliseconds"], 900);
        assert_eq!(session["remoteControlPlaneIndependent"], false);
    }
}
