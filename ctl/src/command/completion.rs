//! `margayctl completion`.

use super::Cli;
use crate::report::Report;
use clap::{Args, CommandFactory, ValueEnum};

/// Prints a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  margayctl completion bash > /etc/bash_completion.d/margayctl
  margayctl completion zsh > \"${fpath[1]}/_margayctl\"
  margayctl completion fish > ~/.config/fish/completions/margayctl.fish")]
pub(crate) struct Command {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Command {
    pub(crate) fn run(self) -> Report {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "margayctl", &mut script);
        Report {
            output: String::from_utf8_lossy(&script).into_owned(),
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = Command { shell }.run().output;
            assert!(
                script.contains("margayctl") && script.contains("routes"),
                "{shell:?}"
            );
        }
    }
}
