//! The Margay command line; also found by kubectl, as `kubectl margay`, when it is installed as `kubectl-margay`.
//!
//! ```text
//!  pool, ipam ─────────► API server: IPPool, IPBlock
//!  bgp, version ──────► API server ──pods/exec──► `margay-agent bridge` ──unix socket──► agent of each node
//!                └─────────────────────── --socket ──────────────────────────────────►
//! ```
//!
//! One command a file under `command`. A command asks, then calls pure functions that turn the answers into a [`report::Report`]; only `main`
//! prints, and a command that watches. Kubernetes RBAC decides who may ask: objects by their verbs, live state by `pods/exec` in the agents' namespace. There is no port.

mod bridge;
mod cluster;
mod command;
mod fleet;
mod invalid;
mod options;
mod report;
mod table;
mod text;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use command::Cli;
use invalid::Usage;
use report::Report;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        // clap prints help to standard output with 0 and usage errors to standard error with 2.
        Err(error) => error.exit(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.run()));
    match outcome {
        Ok(report) => print(&report),
        Err(error) => match error.downcast::<Usage>() {
            Ok(usage) => command().error(ErrorKind::ValueValidation, usage).exit(),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn parse() -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches()?)
}

/// The grammar, under the name by which it was called.
fn command() -> clap::Command {
    let called = std::env::args_os().next().unwrap_or_default();
    let plugin = std::path::Path::new(&called)
        .file_name()
        .is_some_and(|name| name == "kubectl-margay");
    let command = Cli::command();
    if plugin {
        command.bin_name("kubectl margay")
    } else {
        command
    }
}

/// Prints; 1 when something could not be asked, although the rest is shown.
fn print(report: &Report) -> ExitCode {
    match write(report) {
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ if report.failures.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn write(report: &Report) -> std::io::Result<()> {
    for note in &report.notes {
        eprintln!("{note}");
    }
    for failure in &report.failures {
        eprintln!("error: {failure}");
    }
    std::io::stdout().write_all(report.output.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let after = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(after.contains("Examples:\n  margayctl"), "{path}");
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for arguments in [
            &["margayctl"][..],
            &["margayctl", "pool", "create", "p"],
            &["margayctl", "pool", "create", "p", "--cidr", "10.0.0.1/16"],
            &["margayctl", "bgp", "routes", "10.0.0.1/16"],
            &["margayctl", "-o", "xml", "version"],
        ] {
            let error = Cli::command().try_get_matches_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
