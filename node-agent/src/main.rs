//! The Margay node agent: `run` is the DaemonSet's program, `bridge` is how `margayctl` reaches it through `pods/exec`, `speaker` is its BGP
//! speaker alone.

use clap::{Parser, Subcommand};
use margay_agent::{bridge, run, standalone};
use margay_proto::names;
use std::path::PathBuf;

/// The Margay node agent.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve this node until told to end.
    Run(run::Options),
    /// Speak BGP without Kubernetes, as a file says, until told to end.
    Speaker(standalone::Options),
    /// Copy standard input and output to the running agent's socket.
    Bridge {
        /// The socket.
        #[arg(long, default_value = names::AGENT_SOCKET)]
        socket: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(options) => run::main(options),
        Command::Speaker(options) => standalone::main(options),
        Command::Bridge { socket } => bridge::main(&socket),
    }
}
