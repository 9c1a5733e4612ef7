//! `margayctl bgp peers --watch`: the whole table once, then the rows that change.

use super::{COLUMNS, Command, row};
use crate::invalid::Usage;
use crate::options::{Format, Options};
use crate::report::Report;
use crate::table::Table;
use margay_proto::rpc::agent::{Peer, PeersReply};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

impl Command {
    pub(super) async fn watch(&self, options: &Options) -> anyhow::Result<Report> {
        let format = options.output;
        if !matches!(format, Format::Table | Format::Wide) {
            return Err(Usage("--watch goes with the outputs table and wide".to_owned()).into());
        }
        let (mut seen, mut failures) = (Seen::default(), Vec::new());
        loop {
            let first = seen.first();
            let (replies, now) = match self.ask(options).await {
                Ok(answers) => (answers.replies, answers.failures),
                // An agent that restarts is what people watch for.
                Err(error) if !first => (Vec::new(), vec![format!("{error:#}")]),
                Err(error) => return Err(error),
            };
            let rows = match now.is_empty() {
                true => seen.changes(&replies),
                // Whoever did not answer is not gone.
                false => seen.additions(&replies),
            };
            let report = Report {
                output: text(rows, format, first),
                ..Report::default()
            };
            let report = if now == failures {
                report
            } else {
                report.failing(now.clone())
            };
            failures = now;
            match crate::write(&report) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Report::default()),
                written => written?,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn text(rows: Vec<Vec<String>>, format: Format, titles: bool) -> String {
    let text = Table::new(COLUMNS, rows).render(format);
    match titles {
        true => text,
        false => text
            .split_once('\n')
            .map(|(_, rows)| rows.to_owned())
            .unwrap_or_default(),
    }
}

/// What was last shown of each session, by node and address.
#[derive(Debug, Default)]
struct Seen(Option<BTreeMap<(String, String), Peer>>);

impl Seen {
    const fn first(&self) -> bool {
        self.0.is_none()
    }

    /// Rows of the sessions that are new, other or gone.
    fn changes(&mut self, nodes: &[PeersReply]) -> Vec<Vec<String>> {
        let mut rows = self.additions(nodes);
        let is_there = |(node, address): &(String, String)| {
            let mut of_node = nodes.iter().filter(|reply| reply.node == *node);
            of_node.any(|reply| reply.peers.iter().any(|peer| peer.address == *address))
        };
        let known = self.0.get_or_insert_default();
        let gone: Vec<_> = known.keys().filter(|key| !is_there(key)).cloned().collect();
        for key in gone {
            let Some(peer) = known.remove(&key) else {
                continue;
            };
            let last = Peer {
                state: "gone".to_owned(),
                since_seconds: 0,
                reason: String::new(),
                ..peer
            };
            let of_node = PeersReply {
                node: key.0,
                ..PeersReply::default()
            };
            rows.push(row(&of_node, &last));
        }
        rows
    }

    /// Rows of the sessions that are new or other.
    fn additions(&mut self, nodes: &[PeersReply]) -> Vec<Vec<String>> {
        let known = self.0.get_or_insert_default();
        let mut rows = Vec::new();
        for node in nodes {
            for peer in &node.peers {
                let key = (node.node.clone(), peer.address.clone());
                let old = known.insert(key, peer.clone());
                if old.is_none_or(|old| facts(&old) != facts(peer)) {
                    rows.push(row(node, peer));
                }
            }
        }
        rows
    }
}

/// What is news about a session: time and keepalives pass in all of them.
fn facts(peer: &Peer) -> Peer {
    Peer {
        since_seconds: 0,
        messages_received: 0,
        messages_sent: 0,
        ..peer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(peers: &[(&str, &str)]) -> Vec<PeersReply> {
        let peer = |(address, state): &(&str, &str)| Peer {
            address: (*address).into(),
            state: (*state).into(),
            ..Peer::default()
        };
        vec![PeersReply {
            node: "n1".into(),
            peers: peers.iter().map(peer).collect(),
            ..PeersReply::default()
        }]
    }

    #[test]
    fn only_changes_are_shown_after_the_first_look() {
        let mut seen = Seen::default();
        assert!(seen.first());
        let both = node(&[("10.0.0.1", "Active"), ("10.0.0.2", "Established")]);
        assert_eq!(seen.changes(&both).len(), 2);
        assert!(!seen.first());
        let mut later = both.clone();
        later[0].peers[0].since_seconds = 2;
        later[0].peers[1].messages_received = 9;
        assert!(seen.changes(&later).is_empty());
        later[0].peers[0].state = "Established".into();
        let rows = seen.changes(&later);
        assert_eq!(rows.len(), 1);
        let line = text(rows, Format::Table, false);
        assert!(
            line.starts_with("n1     -      10.0.0.1") && line.lines().count() == 1,
            "{line}"
        );
        assert!(
            seen.additions(&[]).is_empty(),
            "who does not answer is not gone"
        );
        let rows = seen.changes(&node(&[("10.0.0.2", "Established")]));
        assert_eq!((rows.len(), rows[0][4].as_str()), (1, "gone"));
    }
}
