//! What Margay does on a real cluster, checked from outside with the real tools.
//!
//! `scenario demo` brings a cluster up, shows it and leaves it; `scenario run [NAME...]` proves the scenarios and takes their clusters down.
//! Every line is a check that can fail; the last is `N passed, N failed`.
#![allow(
    clippy::print_stdout,
    reason = "a test runner speaks on standard output"
)]

mod access;
mod add_stress;
mod agent_absent;
mod api;
mod churn;
mod cluster;
mod connectivity;
mod dns;
mod doctor;
mod faults;
mod faults_add;
mod heal;
mod http;
mod install;
mod kill;
mod matrix;
mod monitor;
mod netpol;
mod objects;
mod peering;
mod policy;
mod probe;
mod report;
mod rest;
mod routing;
mod runtime;
mod services;
mod settle;
mod shapes;
mod sockets;

use anyhow::Result;
use clap::{Parser, Subcommand};
use cluster::Cluster;
use report::Report;
use std::process::ExitCode;

/// Shows and proves Margay on real clusters.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a dual-stack cluster of 3 nodes in 2 racks, install Margay, show it, and leave it up.
    Demo,
    /// Prove scenarios on a cluster of their own, and shapes each on one of that shape; all are taken down afterwards.
    Run {
        /// Which; all when left out.
        names: Vec<String>,
        /// The name of their lab, so that several runs go side by side.
        #[arg(long, default_value = "test")]
        lab: String,
        /// Leave the cluster up.
        #[arg(long)]
        keep: bool,
    },
    /// List the scenarios and shapes.
    List,
}

/// A scenario: its name, what it proves, and how.
type Scenario = (
    &'static str,
    &'static str,
    fn(&Cluster, &mut Report) -> Result<()>,
);

/// In order: later ones use the apps of the first.
const SCENARIOS: &[Scenario] = &[
    (
        "connectivity",
        "pods, nodes and the outside host reach each other without NAT, both families",
        connectivity::prove,
    ),
    (
        "routing",
        "the physical routers hold one route a block, the kernel follows",
        routing::prove,
    ),
    (
        "services",
        "ClusterIP, hairpin, NodePort, and DNS by CoreDNS pods",
        services::prove,
    ),
    (
        "services-whole",
        "all kinds of Services and host ports, what policy sees of them, DNS under load, backends that go",
        services::whole,
    ),
    (
        "policy",
        "default-deny cuts, allow opens, both directions, ipBlock and ports",
        policy::prove,
    ),
    (
        "netpol",
        "all of NetworkPolicy by numbered cases: TCP, UDP and SCTP between all pods, nodes and the outside",
        netpol::prove,
    ),
    (
        "objects",
        "margayctl; wrong AS and overlapping pool show their reasons",
        objects::prove,
    ),
    (
        "doctor",
        "margayctl doctor finds nothing on a healthy cluster and names each of nine faults",
        doctor::prove,
    ),
    (
        "access",
        "an agent's stolen token is good for its own node's objects only",
        access::prove,
    ),
    (
        "settle",
        "pools by annotation, selector, priority; chosen node addresses; router ids; what is refused",
        settle::prove,
    ),
    (
        "kill",
        "the agent killed with -9 under traffic both ways loses nothing",
        kill::prove,
    ),
    (
        "heal",
        "what others delete, flush or turn off comes back",
        heal::prove,
    ),
    (
        "restart",
        "the agent killed, ended, upgraded; rules flushed: nothing lost, nothing denied let through",
        faults::restart,
    ),
    (
        "api-away",
        "without API server and etcd: restarts, kernel damage, routers, sandboxes",
        faults::api_away,
    ),
    (
        "token-refused",
        "agents whose token is not valid any more say so, forward on, and serve again with a new one",
        faults::token_refused,
    ),
    (
        "agent-absent",
        "without an agent pods fail with a clear event, and recover",
        agent_absent::prove,
    ),
    (
        "faults-add",
        "ADD before the watch, DEL late, twice or never, the agent killed under both, sandboxes killed, static pods",
        faults_add::prove,
    ),
    (
        "add-stress",
        "200 ADDs at once exhaust a tiny pool: no address twice, an event that says so, recovery",
        add_stress::prove,
    ),
    (
        "churn",
        "50 pods made and deleted leave everything as before",
        churn::prove,
    ),
    // Last: the pods of the node come back with other addresses.
    (
        "node-loss",
        "a node deleted, deleted while it runs, rebooted: its routes leave and come back",
        faults::node_loss,
    ),
];

/// What the demo shows: quick, and whole on every shape.
const DEMO: [&str; 6] = [
    "connectivity",
    "routing",
    "services",
    "policy",
    "objects",
    "kill",
];

fn main() -> ExitCode {
    let mut report = Report::default();
    let result = match Arguments::parse().command {
        Command::List => {
            SCENARIOS
                .iter()
                .for_each(|(name, what, _)| println!("{name:14} {what}"));
            shapes::list();
            return ExitCode::SUCCESS;
        }
        Command::Demo => demo(&mut report),
        Command::Run { names, lab, keep } => run(&names, &lab, keep, &mut report),
    };
    if let Err(error) = result {
        report.fail("the run", &error);
    }
    report.close()
}

fn demo(report: &mut Report) -> Result<()> {
    let cluster = Cluster::up("margay", report)?;
    prove(&cluster, |name| DEMO.contains(&name), report);
    println!("{}", cluster::WHAT_TO_TRY);
    Ok(())
}

fn run(names: &[String], lab: &str, keep: bool, report: &mut Report) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|n| SCENARIOS.iter().all(|(name, ..)| name != n) && !shapes::is_one(n))
    {
        anyhow::bail!("there is no scenario `{unknown}`; `scenario list` names them");
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    if SCENARIOS.iter().any(|(name, ..)| wanted(name)) {
        let cluster = Cluster::up(lab, report)?;
        prove(&cluster, wanted, report);
        if !keep {
            cluster.down()?;
        }
    }
    shapes::run(wanted, lab, keep, report);
    Ok(())
}

fn prove(cluster: &Cluster, wanted: impl Fn(&str) -> bool, report: &mut Report) {
    for (name, what, prove) in SCENARIOS.iter().filter(|(name, ..)| wanted(name)) {
        report.title(name, what);
        if let Err(error) = prove(cluster, report) {
            report.fail(name, &error);
        }
    }
}
