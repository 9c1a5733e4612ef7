//! `margayctl pool`.

mod create;
mod delete;
mod list;

use crate::options::Options;
use crate::report::Report;
use clap::{Args, Subcommand};

/// Pools: the addresses that pods may get
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl pool list
  margayctl pool create pods-v6 --cidr fd00:10:244::/56
  margayctl pool delete old --dry-run")]
pub(crate) struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(list::Command),
    Create(create::Command),
    Delete(delete::Command),
}

impl Group {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        options.refuse_socket()?;
        match self.command {
            Command::List(command) => command.run(options).await,
            Command::Create(command) => command.run(options).await,
            Command::Delete(command) => command.run(options).await,
        }
    }
}
