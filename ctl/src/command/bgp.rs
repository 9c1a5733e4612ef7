//! `margayctl bgp`.

mod bfd;
mod peers;
mod routes;

use crate::options::Options;
use crate::report::Report;
use clap::{Args, Subcommand};

/// BGP: sessions and routes as the nodes' agents see them now
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp peers
  margayctl bgp bfd
  margayctl bgp routes --node n1")]
pub(crate) struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Bfd(bfd::Command),
    Peers(peers::Command),
    Routes(routes::Command),
}

impl Group {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        match self.command {
            Command::Bfd(command) => command.run(options).await,
            Command::Peers(command) => command.run(options).await,
            Command::Routes(command) => command.run(options).await,
        }
    }
}
