//! `margayctl bgp reset`.

use crate::fleet;
use crate::invalid::Usage;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column};
use clap::Args;
use margay_proto::rpc::agent::{ResetPeer, ResetReply, ResetRequest};
use serde::Serialize;

/// Ends a session so that it starts anew, or exchanges its routes again
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp reset tor1 --node n1           # Cease; the peer forgets the node's routes until it is back
  margayctl bgp reset 172.31.1.1 --node n1 --soft   # both sides send all routes again, the session stays
  margayctl bgp reset tor1 --all-nodes --soft")]
pub(crate) struct Command {
    /// Address of the peer, or the BGPPeer that asked for the session
    #[arg(value_parser = crate::invalid::peer)]
    peer: String,
    /// On this node
    #[arg(long, value_name = "NAME", conflicts_with = "all_nodes")]
    node: Option<String>,
    /// On every node that has such a session
    #[arg(long)]
    all_nodes: bool,
    /// Ask for the peer's routes (ROUTE-REFRESH) and send ours again; the session stays up
    #[arg(long)]
    soft: bool,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        if self.node.is_none() && !self.all_nodes && options.socket.is_none() {
            return Err(Usage(
                "which node's session? give --node NAME, or --all-nodes for all that have one"
                    .to_owned(),
            )
            .into());
        }
        let request = ResetRequest {
            peer: self.peer.clone(),
            soft: self.soft,
        };
        let question = |mut client: fleet::Client| {
            let request = request.clone();
            async move { client.reset(request).await }
        };
        let answers = fleet::ask(options, self.node.as_deref(), question).await?;
        let nodes = Nodes {
            nodes: &answers.replies,
        };
        let mut failures = answers.failures;
        failures.extend(refusals(&answers.replies));
        if failures.is_empty() && answers.replies.iter().all(|node| node.peers.is_empty()) {
            failures.push(super::nobody(&self.peer));
        }
        Ok(Report::of(options.output, &nodes, || table(&answers.replies))?.failing(failures))
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [ResetReply],
}

const COLUMNS: &[Column] = &[
    column("NODE"),
    column("PEER"),
    column("ADDRESS"),
    column("DONE"),
];

fn table(nodes: &[ResetReply]) -> Table {
    let row = |node: &str, peer: &ResetPeer| {
        [node, &peer.name, &peer.address, &peer.done]
            .map(str::to_owned)
            .to_vec()
    };
    let done = nodes.iter().flat_map(|node| {
        let done = node.peers.iter().filter(|peer| peer.failure.is_empty());
        done.map(move |peer| row(&node.node, peer))
    });
    Table::new(COLUMNS, done.collect())
}

fn refusals(nodes: &[ResetReply]) -> impl Iterator<Item = String> {
    nodes.iter().flat_map(|node| {
        let failed = node.peers.iter().filter(|peer| !peer.failure.is_empty());
        failed.map(move |peer| {
            format!(
                "node {}: peer {}: {}",
                node.node, peer.address, peer.failure
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    #[test]
    fn what_was_done_is_shown_and_what_was_not_fails() {
        let peer = |address: &str, done: &str, failure: &str| ResetPeer {
            name: "tor1".into(),
            address: address.into(),
            done: done.into(),
            failure: failure.into(),
        };
        let nodes = [ResetReply {
            node: "n1".into(),
            peers: vec![
                peer("172.31.1.1", "routes asked for and told again", ""),
                peer("fd31:1::1", "", "the session is not established"),
            ],
        }];
        let golden = "\
NODE   PEER   ADDRESS      DONE
n1     tor1   172.31.1.1   routes asked for and told again
";
        assert_eq!(table(&nodes).render(Format::Table), golden);
        let refused: Vec<_> = refusals(&nodes).collect();
        assert_eq!(
            refused,
            ["node n1: peer fd31:1::1: the session is not established"]
        );
    }
}
