//! `margayctl doctor`.
//!
//! ```text
//!  each agent ──Doctor──► findings of its node, its uplinks ─┐
//!  IPPools, BGPNodes, NodeStates, admission policy ──────────┴─► cluster::compare (pure) ──► findings ──► table, JSON, YAML
//! ```

mod compare;

use crate::cluster::Cluster;
use crate::fleet;
use crate::options::{Format, Options};
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use crate::text::plural;
use clap::Args;
use compare::{Objects, compare};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::api::ListParams;
use kube::{Api, Resource};
use margay_proto::names::AGENT_APP;
use margay_proto::rpc::agent::{DoctorReply, DoctorRequest, Finding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Looks for what keeps the network from working, and says what to do about it
#[derive(Args, Debug)]
#[command(
    long_about = "Looks for what keeps the network from working, and says what to do about it

Every node's agent looks at its own node: forwarding, rp_filter, the BGP port, foreign nftables chains, sessions, MTUs, full kernel tables, files of the
runtime. Then nodes are compared with each other, and pools and states are read. Nothing is changed.

Exit codes: 0 no errors (there may be warnings), 1 errors were found or not everything could be looked at, 2 wrong usage.",
    after_help = "Examples:
  margayctl doctor
  margayctl doctor --node n1 --all      # also what is well
  margayctl doctor -o json | jq -r '.findings[] | select(.severity == \"error\") | [.node, .object, .what, .remedy] | @tsv'
  margayctl doctor --socket /run/margay/agent.sock   # on a node, when the API server is away"
)]
pub(crate) struct Command {
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Also list the checks that found nothing
    #[arg(long)]
    all: bool,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let question =
            |mut client: fleet::Client| async move { client.doctor(DoctorRequest {}).await };
        let answers = fleet::ask(options, self.node.as_deref(), question).await?;
        let mut lines: Vec<Line> = answers.failures.iter().map(|f| unanswered(f)).collect();
        if options.socket.is_none() {
            let mut unread = Vec::new();
            let objects = objects(&Cluster::connect(options).await?, &mut unread).await?;
            lines.extend(unread.iter().map(|why| unreadable(why)));
            lines.extend(compare(&objects, &answers.replies, self.node.as_deref()));
        }
        lines.extend(answers.replies.into_iter().flat_map(of_node));
        Diagnosis::new(lines).report(options.output, self.all)
    }
}

/// A finding and the node that it is about; empty for the whole cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    node: String,
    #[serde(flatten)]
    finding: Finding,
}

impl Line {
    fn new(
        node: &str,
        [check, severity]: [&str; 2],
        object: &str,
        [what, remedy]: [&str; 2],
    ) -> Self {
        Self {
            node: node.to_owned(),
            finding: Finding {
                check: check.to_owned(),
                severity: severity.to_owned(),
                object: object.to_owned(),
                what: what.to_owned(),
                remedy: remedy.to_owned(),
            },
        }
    }

    fn is(&self, severity: &str) -> bool {
        self.finding.severity == severity
    }
}

fn of_node(reply: DoctorReply) -> impl Iterator<Item = Line> {
    let node = reply.node;
    reply.findings.into_iter().map(move |finding| Line {
        node: node.clone(),
        finding,
    })
}

/// `node n1: WHY`, as the fleet says it.
fn unanswered(failure: &str) -> Line {
    let (node, why) = failure
        .strip_prefix("node ")
        .and_then(|rest| rest.split_once(": "))
        .unwrap_or(("", failure));
    let remedy =
        "look at the DaemonSet margay-agent in margay-system, the node's agent pod and its log";
    Line::new(node, ["agent", "error"], "agent", [why, remedy])
}

/// What would have shown something and could not be read.
fn unreadable(why: &str) -> Line {
    let remedy =
        "use a kubeconfig that may read it, and a margayctl as new as the cluster's Margay";
    Line::new("", ["objects", "error"], "API server", [why, remedy])
}

/// Everything that is read. Of a kind that cannot be read it is said why, and what it would have shown is left out.
async fn objects(cluster: &Cluster, unread: &mut Vec<String>) -> anyhow::Result<Objects> {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client());
    let binding = cluster
        .find("get the admission policy", bindings.get(AGENT_APP))
        .await;
    Ok(Objects {
        pools: all(cluster, unread).await,
        nodes: all(cluster, unread).await,
        states: all(cluster, unread).await,
        bound: binding
            .map(|found| found.is_some())
            .unwrap_or_else(|error| {
                unread.push(format!("{error:#}"));
                true
            }),
    })
}

async fn all<K>(cluster: &Cluster, unread: &mut Vec<String>) -> Option<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let doing = format!("list {}", K::plural(&()));
    let listed = cluster
        .list(
            &doing,
            &Api::<K>::all(cluster.client()),
            ListParams::default(),
        )
        .await;
    listed
        .map_err(|error| unread.push(format!("{error:#}")))
        .ok()
}

/// Everything found, worst first.
#[derive(Serialize)]
struct Diagnosis {
    findings: Vec<Line>,
    ok: usize,
    warnings: usize,
    errors: usize,
}

impl Diagnosis {
    fn new(mut findings: Vec<Line>) -> Self {
        let rank = |line: &Line| {
            ["error", "warning"]
                .iter()
                .position(|s| line.is(s))
                .unwrap_or(2)
        };
        findings.sort_by(|a, b| (rank(a), &a.node).cmp(&(rank(b), &b.node)));
        let count = |severity| findings.iter().filter(|line| line.is(severity)).count();
        Self {
            ok: count("ok"),
            warnings: count("warning"),
            errors: count("error"),
            findings,
        }
    }

    fn report(&self, format: Format, all: bool) -> anyhow::Result<Report> {
        let shown = self.findings.iter().filter(|line| all || !line.is("ok"));
        let mut report = Report::of(format, self, || {
            Table::new(COLUMNS, shown.map(row).collect())
        })?;
        let summary = self.summary();
        if matches!(format, Format::Table | Format::Wide) {
            report.output.push_str(&format!("{summary}\n"));
        }
        if self.errors > 0 {
            report = report.failing(vec![format!("the network is not well: {summary}")]);
        }
        Ok(report)
    }

    fn summary(&self) -> String {
        let (warnings, errors) = (
            plural(self.warnings, "warning"),
            plural(self.errors, "error"),
        );
        format!("{} ok, {warnings}, {errors}", self.ok)
    }
}

const COLUMNS: &[Column] = &[
    column("SEVERITY"),
    column("NODE"),
    wide("CHECK"),
    column("OBJECT"),
    column("WHAT"),
    column("REMEDY"),
];

fn row(line: &Line) -> Vec<String> {
    let finding = &line.finding;
    vec![
        finding.severity.clone(),
        line.node.clone(),
        finding.check.clone(),
        finding.object.clone(),
        finding.what.clone(),
        finding.remedy.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        Diagnosis::new(vec![
            Line::new("n1", ["forwarding", "ok"], "sysctls", ["on", ""]),
            Line::new(
                "n2",
                ["mtu", "warning"],
                "link eth0",
                ["its MTU is 1400", "raise it"],
            ),
            unanswered("node n3: no agent pod"),
        ])
    }

    #[test]
    fn table_is_golden_and_errors_exit_with_1() {
        let golden = "\
SEVERITY   NODE   OBJECT      WHAT              REMEDY
error      n3     agent       no agent pod      look at the DaemonSet margay-agent in margay-system, the node's agent pod and its log
warning    n2     link eth0   its MTU is 1400   raise it
1 ok, 1 warning, 1 error
";
        let report = diagnosis().report(Format::Table, false).unwrap();
        assert_eq!(report.output, golden);
        assert_eq!(
            report.failures,
            ["the network is not well: 1 ok, 1 warning, 1 error"]
        );
        let all = diagnosis().report(Format::Table, true).unwrap();
        assert!(
            all.output.contains("ok         n1     sysctls"),
            "{}",
            all.output
        );
    }

    #[test]
    fn json_has_every_finding_and_the_counts() {
        let json = serde_json::to_value(diagnosis()).unwrap();
        assert_eq!(json["findings"].as_array().unwrap().len(), 3);
        assert_eq!(json["findings"][0]["node"], "n3");
        assert_eq!(json["findings"][0]["check"], "agent");
        assert_eq!(json["warnings"], 1);
    }

    #[test]
    fn without_findings_only_the_summary_is_left() {
        let report = Diagnosis::new(Vec::new())
            .report(Format::Table, false)
            .unwrap();
        assert_eq!(
            (report.output.as_str(), report.failures.len()),
            ("0 ok, 0 warnings, 0 errors\n", 0)
        );
    }
}
