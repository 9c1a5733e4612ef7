//! `margayctl bgp`.

mod bfd;
mod monitor;
mod peer;
mod peers;
mod reset;
mod routes;
mod why;

use crate::options::Options;
use crate::report::Report;
use clap::{Args, Subcommand};

/// BGP: sessions and routes as the nodes' agents see them now
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl bgp peers
  margayctl bgp bfd
  margayctl bgp peer tor1 --node n1
  margayctl bgp routes --node n1
  margayctl bgp why 10.244.0.7 --node n1
  margayctl bgp monitor --peer tor1
  margayctl bgp reset tor1 --node n1 --soft")]
pub(crate) struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Bfd(bfd::Command),
    Peers(peers::Command),
    Peer(peer::Command),
    Routes(routes::Command),
    Why(why::Command),
    Monitor(monitor::Command),
    Reset(reset::Command),
}

impl Group {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        match self.command {
            Command::Bfd(command) => command.run(options).await,
            Command::Peers(command) => command.run(options).await,
            Command::Peer(command) => command.run(options).await,
            Command::Routes(command) => command.run(options).await,
            Command::Why(command) => command.run(options).await,
            Command::Monitor(command) => command.run(options).await,
            Command::Reset(command) => command.run(options).await,
        }
    }
}

/// No node that was asked has the peer.
fn nobody(peer: &str) -> String {
    format!("no peer {peer}: `margayctl bgp peers` lists them by name and address")
}
