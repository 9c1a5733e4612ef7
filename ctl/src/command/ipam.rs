//! `margayctl ipam`.

mod show;

use crate::options::Options;
use crate::report::Report;
use clap::{Args, Subcommand};

/// Addresses: what is claimed and used of the pools
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl ipam show
  margayctl ipam show --node n1")]
pub(crate) struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(show::Command),
}

impl Group {
    pub(crate) async fn run(self, options: &Options) -> anyhow::Result<Report> {
        options.refuse_socket()?;
        match self.command {
            Command::Show(command) => command.run(options).await,
        }
    }
}
