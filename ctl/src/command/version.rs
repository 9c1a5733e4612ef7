//! `margayctl version`.

use crate::fleet;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column};
use clap::Args;
use margay_proto::rpc::agent::{VersionReply, VersionRequest};
use serde::Serialize;

/// Shows the version of margayctl and of every node's agent
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl version
  margayctl version --client")]
pub(crate) struct Command {
    /// Only margayctl's own; asks no cluster
    #[arg(long)]
    client: bool,
    /// Only this node's agent; all when left out
    #[arg(long, value_name = "NAME", conflicts_with = "client")]
    node: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let mut versions = Versions {
            client: env!("CARGO_PKG_VERSION"),
            nodes: Vec::new(),
        };
        let mut failures = Vec::new();
        if !self.client {
            let question =
                |mut client: fleet::Client| async move { client.version(VersionRequest {}).await };
            // One's own version is worth showing also when the cluster is away.
            match fleet::ask(options, self.node.as_deref(), question).await {
                Ok(answers) => (versions.nodes, failures) = (answers.replies, answers.failures),
                Err(error) if error.is::<crate::invalid::Usage>() => return Err(error),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        Ok(Report::of(options.output, &versions, || table(&versions))?.failing(failures))
    }
}

#[derive(Clone, Debug, Serialize)]
struct Versions {
    client: &'static str,
    nodes: Vec<VersionReply>,
}

const COLUMNS: &[Column] = &[column("COMPONENT"), column("NODE"), column("VERSION")];

fn table(versions: &Versions) -> Table {
    let client = vec![
        "margayctl".to_owned(),
        String::new(),
        versions.client.to_owned(),
    ];
    let agent = |agent: &VersionReply| {
        vec![
            "margay-agent".to_owned(),
            agent.node.clone(),
            agent.version.clone(),
        ]
    };
    Table::new(
        COLUMNS,
        std::iter::once(client)
            .chain(versions.nodes.iter().map(agent))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    #[test]
    fn table_is_golden() {
        let agent = VersionReply {
            version: "0.1.0".into(),
            node: "n1".into(),
        };
        let versions = Versions {
            client: "0.2.0",
            nodes: vec![agent],
        };
        let golden = "\
COMPONENT      NODE   VERSION
margayctl      -      0.2.0
margay-agent   n1     0.1.0
";
        assert_eq!(table(&versions).render(Format::Table), golden);
        let json = serde_json::to_string(&versions).unwrap();
        assert_eq!(
            json,
            r#"{"client":"0.2.0","nodes":[{"version":"0.1.0","node":"n1"}]}"#
        );
    }
}
