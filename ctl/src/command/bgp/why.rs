//! `margayctl bgp why`.

use crate::fleet;
use crate::invalid;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use clap::Args;
use margay_proto::rpc::agent::{Judgement, WhyPath, WhyPeer, WhyReply, WhyRequest};
use serde::Serialize;

/// Explains a route: the filter rule or the step of the best-path decision behind each path, and who is told of it and why
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp why 10.244.0.64/26 --node n1
  margayctl bgp why 10.244.0.7                            # the route that covers an address, on every node
  margayctl bgp why 10.244.0.64/26 --peer tor1            # what this peer told, and is told
  margayctl bgp why 10.244.0.64/26 --node n1 -o wide      # with every rule that was tried")]
pub(crate) struct Command {
    /// Exactly this prefix, or the longest that covers this address
    #[arg(value_parser = invalid::lookup)]
    prefix: String,
    /// Only this peer's part, beside the best path
    #[arg(long, value_name = "PEER", value_parser = invalid::peer)]
    peer: Option<String>,
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let request = WhyRequest {
            prefix: self.prefix.clone(),
            peer: self.peer.clone().unwrap_or_default(),
        };
        let question = |mut client: fleet::Client| {
            let request = request.clone();
            async move { client.why(request).await }
        };
        let mut answers = fleet::ask(options, self.node.as_deref(), question).await?;
        answers.replies.retain(|node| !node.prefix.is_empty());
        let report = Report::of(
            options.output,
            &Nodes {
                nodes: &answers.replies,
            },
            || table(&answers.replies),
        )?;
        let none = match &self.peer {
            None => format!("no route for {}", self.prefix),
            Some(peer) => format!("no route for {}, or {}", self.prefix, super::nobody(peer)),
        };
        Ok(report.failing(answers.failures).note_if_empty(&none))
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [WhyReply],
}

const COLUMNS: &[Column] = &[
    column("NODE"),
    column("PREFIX"),
    column("WAY"),
    column("PEER"),
    column("RESULT"),
    column("WHY"),
    wide("RULES"),
];

fn table(nodes: &[WhyReply]) -> Table {
    let mut rows = Vec::new();
    for node in nodes {
        let head = || vec![node.node.clone(), node.prefix.clone()];
        for path in &node.paths {
            rows.push([head(), heard(path)].concat());
        }
        for peer in &node.peers {
            rows.push([head(), told(peer)].concat());
        }
    }
    Table::new(COLUMNS, rows)
}

fn heard(path: &WhyPath) -> Vec<String> {
    let route = path.route.clone().unwrap_or_default();
    let result = match (route.best, path.used) {
        (true, _) => "best",
        (false, true) => "used",
        (false, false) => "not used",
    };
    vec![
        "from".to_owned(),
        route.from,
        result.to_owned(),
        why(&route.reason, path.import.as_ref()),
        rules(path.import.as_ref()),
    ]
}

fn told(peer: &WhyPeer) -> Vec<String> {
    let result = if peer.route.is_some() {
        "told"
    } else {
        "not told"
    };
    vec![
        "to".to_owned(),
        peer.peer.clone(),
        result.to_owned(),
        why(&peer.reason, peer.export.as_ref()),
        rules(peer.export.as_ref()),
    ]
}

fn why(reason: &str, judgement: Option<&Judgement>) -> String {
    match judgement {
        None => reason.to_owned(),
        // Both would say the same.
        Some(judgement) if reason == "told" || !judgement.accepted => judgement.decided.clone(),
        Some(judgement) => format!("{reason}; {}", judgement.decided),
    }
}

fn rules(judgement: Option<&Judgement>) -> String {
    let steps = judgement.map(|judgement| &judgement.steps[..]);
    let steps = steps.unwrap_or_default().iter();
    let text = |step: &margay_proto::rpc::agent::Step| format!("{} {}", step.rule, step.outcome);
    steps.map(text).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;
    use margay_proto::rpc::agent::{Route, Step};

    fn judgement(accepted: bool, decided: &str) -> Judgement {
        let step = Step {
            rule: "rule 1 of filter in".into(),
            outcome: "does not match: prefix".into(),
        };
        Judgement {
            accepted,
            decided: decided.into(),
            steps: vec![step],
        }
    }

    #[test]
    fn table_is_golden() {
        let path = |from: &str, best, reason: &str, import| WhyPath {
            route: Some(Route {
                from: from.into(),
                best,
                reason: reason.into(),
                ..Route::default()
            }),
            used: best,
            import,
        };
        let peer = |address: &str, route: Option<Route>, reason: &str, export| WhyPeer {
            peer: address.into(),
            route,
            reason: reason.into(),
            export,
        };
        let kept = judgement(true, "accepted by rule 2 (spine) of filter in");
        let lost = judgement(true, "no rule decides: every route passes");
        let out = judgement(false, "rejected by rule 1 of filter in");
        let nodes = [WhyReply {
            node: "n1".into(),
            prefix: "10.244.0.64/26".into(),
            paths: vec![
                path("172.31.1.1", true, "best", Some(kept)),
                path("172.31.1.2", false, "longer AS path", Some(lost.clone())),
                path(
                    "172.31.1.3",
                    false,
                    "rejected by import policy",
                    Some(out.clone()),
                ),
                path("172.31.1.4", false, "our AS is in the path", None),
            ],
            peers: vec![
                peer("172.31.1.1", None, "it is the peer's own route", None),
                peer("172.31.1.2", Some(Route::default()), "told", Some(lost)),
                peer("172.31.1.3", None, "rejected by export policy", Some(out)),
            ],
        }];
        let golden = "\
NODE   PREFIX           WAY    PEER         RESULT     WHY
n1     10.244.0.64/26   from   172.31.1.1   best       best; accepted by rule 2 (spine) of filter in
n1     10.244.0.64/26   from   172.31.1.2   not used   longer AS path; no rule decides: every route passes
n1     10.244.0.64/26   from   172.31.1.3   not used   rejected by rule 1 of filter in
n1     10.244.0.64/26   from   172.31.1.4   not used   our AS is in the path
n1     10.244.0.64/26   to     172.31.1.1   not told   it is the peer's own route
n1     10.244.0.64/26   to     172.31.1.2   told       no rule decides: every route passes
n1     10.244.0.64/26   to     172.31.1.3   not told   rejected by rule 1 of filter in
";
        assert_eq!(table(&nodes).render(Format::Table), golden);
        let wide = table(&nodes).render(Format::Wide);
        assert!(
            wide.contains("rule 1 of filter in does not match: prefix"),
            "{wide}"
        );
    }
}
