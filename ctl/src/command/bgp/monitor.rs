//! `margayctl bgp monitor`.

use crate::fleet::Client;
use crate::fleet::follow::{Following, Heard, follow};
use crate::invalid::{self, Usage};
use crate::options::{Format, Options};
use crate::report::Report;
use crate::table::cell;
use crate::text::plural;
use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;
use margay_proto::rpc::agent::{MonitorEvent, MonitorRequest, Route};
use std::io::ErrorKind;

/// Shows changes of sessions and routes as they happen, until it is interrupted
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp monitor
  margayctl bgp monitor --peer tor1 --family ipv6 --node n1
  margayctl bgp monitor --sessions
  margayctl bgp monitor -o json | jq 'select(.event == \"ended\")'")]
pub(crate) struct Command {
    /// Only what is about this peer
    #[arg(long, value_name = "PEER", value_parser = invalid::peer)]
    peer: Option<String>,
    /// Only routes of this family
    #[arg(long)]
    family: Option<Family>,
    /// No routes
    #[arg(long, conflicts_with = "family")]
    sessions: bool,
    /// Only this node; all nodes when left out
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Command {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        if options.output == Format::Yaml {
            let why =
                "monitor goes with the outputs table, wide and json, which is an object a line";
            return Err(Usage(why.to_owned()).into());
        }
        let family = |family| match family {
            Family::Ipv4 => "ipv4".to_owned(),
            Family::Ipv6 => "ipv6".to_owned(),
        };
        let request = MonitorRequest {
            peer: self.peer.clone().unwrap_or_default(),
            family: self.family.map(family).unwrap_or_default(),
            sessions_only: self.sessions,
        };
        let question = move |mut client: Client| {
            let request = request.clone();
            async move { client.monitor(request).await }
        };
        let following = follow(options, self.node.as_deref(), question).await?;
        let printed = print(following, options.output).await;
        match printed {
            // A reader that has seen enough (`| head`) is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Report::default()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                let peer = self.peer.as_deref().unwrap_or_default();
                Ok(Report::default().failing(vec![super::nobody(peer)]))
            }
        }
    }
}

/// Prints what is heard. Ends when no agent has anything to tell.
async fn print(mut following: Following<MonitorEvent>, format: Format) -> std::io::Result<()> {
    crate::write(&Report::default().failing(following.failures))?;
    let (mut silent, mut titled) = (0, false);
    while let Some(heard) = following.heard.recv().await {
        match heard {
            Heard::Said(event) => crate::write(&Report {
                output: text(&event, format),
                ..Report::default()
            })?,
            Heard::Away(why) => crate::write(&Report::default().failing(vec![why]))?,
            // Whoever reads this line misses nothing of the first agent that comes after it.
            Heard::Open if !std::mem::replace(&mut titled, true) => crate::write(&titles(format))?,
            Heard::Open => {}
            Heard::Nothing => silent += 1,
        }
        if silent == following.agents {
            break;
        }
    }
    Ok(())
}

fn titles(format: Format) -> Report {
    if format == Format::Json {
        return Report::default();
    }
    Report::line(line("TIME", "NODE", "EVENT", "PEER", "PREFIX", "DETAIL"))
}

fn text(event: &MonitorEvent, format: Format) -> String {
    if format == Format::Json {
        // Messages have no maps with keys other than strings, the one thing that JSON refuses.
        let object = serde_json::to_string(event).unwrap_or_default();
        return object + "\n";
    }
    let prefix = event.route.as_ref().map(|route| route.prefix.as_str());
    let text = line(
        &time(event.at_milliseconds),
        &event.node,
        &event.event,
        &event.peers.join(","),
        prefix.unwrap_or_default(),
        &detail(event, format == Format::Wide),
    );
    text + "\n"
}

fn time(milliseconds: u64) -> String {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(milliseconds);
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// Columns that do not depend on what comes later.
fn line(time: &str, node: &str, event: &str, peer: &str, prefix: &str, detail: &str) -> String {
    let [time, node, event, peer, prefix, detail] =
        [time, node, event, peer, prefix, detail].map(cell);
    let text = format!("{time:24} {node:12} {event:11} {peer:15} {prefix:18} {detail}");
    text.trim_end().to_owned()
}

fn detail(event: &MonitorEvent, wide: bool) -> String {
    match (event.event.as_str(), &event.route) {
        ("missed", _) => format!(
            "{} came faster than they could be shown",
            plural(
                usize::try_from(event.missed).unwrap_or(usize::MAX),
                "change"
            )
        ),
        ("established", _) => event.name.clone(),
        ("ended", _) if event.routes_kept => format!("{}; its routes are kept", event.reason),
        ("announced" | "best", Some(route)) => way(route, &event.reason, wide),
        _ => event.reason.clone(),
    }
}

fn way(route: &Route, refused: &str, wide: bool) -> String {
    let mut parts = Vec::new();
    if !route.next_hops.is_empty() {
        parts.push(format!("via {}", route.next_hops.join(", ")));
    }
    if !route.as_path.is_empty() {
        parts.push(format!("path {}", route.as_path));
    }
    if route.stale {
        parts.push("stale".to_owned());
    }
    if !route.reason.is_empty() {
        parts.push(route.reason.clone());
    }
    if wide {
        parts.extend(route.med.map(|med| format!("med {med}")));
        let preference = Some(route.local_pref).filter(|preference| *preference > 0);
        parts.extend(preference.map(|preference| format!("local-pref {preference}")));
        if !route.communities.is_empty() {
            parts.push(format!("communities {}", route.communities.join(" ")));
        }
    }
    let text = parts.join("; ");
    match refused {
        "" => text,
        why => format!("{text} (not used: {why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str) -> MonitorEvent {
        MonitorEvent {
            node: "n1".into(),
            at_milliseconds: 1_795_314_245_006,
            event: event.into(),
            peers: vec!["172.31.1.1".into()],
            ..MonitorEvent::default()
        }
    }

    fn routed(name: &str, refused: &str) -> MonitorEvent {
        MonitorEvent {
            route: Some(Route {
                prefix: "fd00::/64".into(),
                next_hops: vec!["fd31::1".into(), "fd31::2".into()],
                as_path: "65101 65000".into(),
                communities: vec!["65000:7".into()],
                ..Route::default()
            }),
            reason: refused.into(),
            ..event(name)
        }
    }

    #[test]
    fn every_event_is_a_line() {
        let table = |event: &MonitorEvent| text(event, Format::Table);
        let ended = MonitorEvent {
            reason: "hold timer\nexpired".into(),
            routes_kept: true,
            ..event("ended")
        };
        assert_eq!(
            table(&ended),
            "2026-11-22T02:24:05.006Z n1           ended       172.31.1.1      -                  hold timer expired; its routes are kept\n"
        );
        assert_eq!(
            table(&routed("announced", "our AS is in the path")),
            "2026-11-22T02:24:05.006Z n1           announced   172.31.1.1      fd00::/64          via fd31::1, fd31::2; path 65101 65000 (not used: our AS is in the path)\n"
        );
        let wide = text(&routed("best", ""), Format::Wide);
        assert!(wide.ends_with("; communities 65000:7\n"), "{wide}");
        let missed = MonitorEvent {
            missed: 2,
            peers: Vec::new(),
            ..event("missed")
        };
        assert!(
            table(&missed).ends_with("2 changes came faster than they could be shown\n"),
            "{}",
            table(&missed)
        );
        let json = text(&ended, Format::Json);
        assert_eq!(json.lines().count(), 1);
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["routesKept"], true);
    }
}
