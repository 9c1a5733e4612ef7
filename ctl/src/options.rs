//! Options that every command takes.

use crate::invalid::Usage;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where to ask and how to print.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// Kubeconfig file; $KUBECONFIG, ~/.kube/config or the pod's service account when left out
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when left out
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Ask the agent behind this unix socket instead of going through the cluster; for use on a node
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// A form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Options {
    /// Refuses `--socket` for a command that reads objects, which no agent can answer for.
    ///
    /// # Errors
    /// [`Usage`].
    pub(crate) fn refuse_socket(&self) -> Result<(), Usage> {
        match &self.socket {
            None => Ok(()),
            Some(path) => Err(Usage(format!(
                "--socket {}: this command reads objects from the API server, which an agent cannot answer for: leave it out",
                path.display()
            ))),
        }
    }
}
