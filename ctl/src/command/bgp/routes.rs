//! `margayctl bgp routes`.

use crate::fleet;
use crate::invalid;
use crate::options::Options;
use crate::report::Report;
use crate::table::{Column, Table, column, wide};
use clap::Args;
use margay_proto::rpc::agent::{Route, RoutesReply, RoutesRequest, View};
use serde::Serialize;

/// Shows the BGP table: every path, the best marked
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp routes --node n1
  margayctl bgp routes 10.244.0.64/26          # this prefix on every node
  margayctl bgp routes 10.244.0.7 --node n1    # the route that covers an address
  margayctl bgp routes --node n1 --best        # only paths in use
  margayctl bgp routes --node n1 --in tor1     # what a peer announced
  margayctl bgp routes --node n1 --out tor1    # what it is told
  margayctl bgp routes --node n1 -o wide       # with attributes, and why a path won or lost")]
pub(crate) struct Command {
    /// Exactly this prefix, or the longest that covers this address; all when left out
    #[arg(value_parser = invalid::lookup)]
    prefix: Option<String>,
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only paths in use
    #[arg(long, group = "view")]
    best: bool,
    /// What this peer announced, by its address or its BGPPeer
    #[arg(long = "in", value_name = "PEER", group = "view", value_parser = invalid::peer)]
    from: Option<String>,
    /// What this peer is told
    #[arg(long, value_name = "PEER", group = "view", value_parser = invalid::peer)]
    out: Option<String>,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        let request = self.request();
        let question = |mut client: fleet::Client| {
            let request = request.clone();
            async move { client.routes(request).await }
        };
        let answers = fleet::ask(options, self.node.as_deref(), question).await?;
        let report = Report::of(
            options.output,
            &Nodes {
                nodes: &answers.replies,
            },
            || table(&answers.replies),
        )?;
        let about = match request.prefix.as_str() {
            "" => String::new(),
            prefix => format!(" for {prefix}"),
        };
        let none = match request.view() {
            View::All if about.is_empty() => "no routes".to_owned(),
            View::All => format!("no route{about}"),
            View::Best => format!("no route in use{about}"),
            View::In => format!("no route{about} from a peer {}", request.peer),
            View::Out => format!("no route{about} to an established peer {}", request.peer),
        };
        Ok(report.failing(answers.failures).note_if_empty(&none))
    }

    fn request(&self) -> RoutesRequest {
        let (view, peer) = match (&self.from, &self.out, self.best) {
            (Some(peer), ..) => (View::In, peer.clone()),
            (_, Some(peer), _) => (View::Out, peer.clone()),
            (None, None, true) => (View::Best, String::new()),
            (None, None, false) => (View::All, String::new()),
        };
        RoutesRequest {
            prefix: self.prefix.clone().unwrap_or_default(),
            view: view.into(),
            peer,
        }
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    nodes: &'a [RoutesReply],
}

const COLUMNS: &[Column] = &[
    column("NODE"),
    column("PREFIX"),
    column("BEST"),
    column("NEXT-HOP"),
    column("FROM"),
    column("AS-PATH"),
    wide("ORIGIN"),
    wide("LOCAL-PREF"),
    wide("MED"),
    wide("COMMUNITIES"),
    wide("REASON"),
];

fn table(nodes: &[RoutesReply]) -> Table {
    let rows = nodes
        .iter()
        .flat_map(|node| node.routes.iter().map(|route| row(&node.node, route)));
    Table::new(COLUMNS, rows.collect())
}

fn row(node: &str, route: &Route) -> Vec<String> {
    let mark = match (route.best, route.stale) {
        (true, true) => "* stale",
        (true, false) => "*",
        (false, true) => "stale",
        (false, false) => "",
    };
    vec![
        node.to_owned(),
        route.prefix.clone(),
        mark.to_owned(),
        route.next_hops.join(","),
        route.from.clone(),
        route.as_path.clone(),
        route.origin.clone(),
        route.local_pref.to_string(),
        route.med.map(|med| med.to_string()).unwrap_or_default(),
        route.communities.join(" "),
        route.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    #[test]
    fn table_is_golden() {
        let local = Route {
            prefix: "10.244.0.0/26".into(),
            from: "local".into(),
            best: true,
            local_pref: 100,
            ..Route::default()
        };
        let learned = Route {
            prefix: "10.244.0.64/26".into(),
            next_hops: vec!["172.31.1.1".into()],
            from: "172.31.1.1".into(),
            as_path: "65101 65000 65102".into(),
            origin: "IGP".into(),
            local_pref: 100,
            med: Some(0),
            best: true,
            stale: true,
            reason: "only path".into(),
            communities: vec!["65101:1".into(), "65101:2".into()],
        };
        let nodes = [RoutesReply {
            node: "n1".into(),
            routes: vec![local, learned],
        }];
        let golden = "\
NODE   PREFIX           BEST      NEXT-HOP     FROM         AS-PATH
n1     10.244.0.0/26    *         -            local        -
n1     10.244.0.64/26   * stale   172.31.1.1   172.31.1.1   65101 65000 65102
";
        assert_eq!(table(&nodes).render(Format::Table), golden);
        let wide = table(&nodes).render(Format::Wide);
        assert!(
            wide.ends_with("IGP      100          0     65101:1 65101:2   only path\n"),
            "{wide}"
        );
    }
}
