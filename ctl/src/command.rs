//! The grammar. One command a file; a group's file holds only the group.

mod bgp;
mod completion;
mod doctor;
mod ipam;
mod pool;
mod version;

use crate::options::Options;
use crate::report::Report;
use clap::{Parser, Subcommand};

/// Looks at and changes a cluster's Margay network
#[derive(Parser, Debug)]
#[command(
    name = "margayctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  margayctl pool create pods --cidr 10.244.0.0/16   # addresses for pods
  margayctl ipam show                               # how many are left
  margayctl bgp peers                               # sessions of every node
  margayctl doctor                                  # what is wrong, and what to do
  margayctl bgp routes 10.244.0.7 --node n1         # how n1 reaches an address

Exit codes: 0 done, 1 something could not be done or asked, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Pool(pool::Group),
    Ipam(ipam::Group),
    Bgp(bgp::Group),
    Doctor(doctor::Command),
    Version(version::Command),
    Completion(completion::Command),
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// What kept all of it from being done; [`crate::invalid::Usage`] for arguments that cannot be meant.
    pub(crate) async fn run(self) -> anyhow::Result<Report> {
        let options = &self.options;
        match self.command {
            Command::Pool(group) => group.run(options).await,
            Command::Ipam(group) => group.run(options).await,
            Command::Bgp(group) => group.run(options).await,
            Command::Doctor(command) => command.run(options).await,
            Command::Version(command) => command.run(options).await,
            Command::Completion(command) => Ok(command.run()),
        }
    }
}
