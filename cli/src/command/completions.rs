//! `dsql-iam completions`: the completions for a shell, which a package lays out beside the command.

use clap::{Args, Command};
use clap_complete::Shell;

use super::Report;

use crate::shared::error::Error;

/// The arguments of `dsql-iam completions`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam completions bash > /etc/bash_completion.d/dsql-iam")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// The completions as text.
///
/// # Errors
/// None; all of the command's subcommands have the same form.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<Report, Error> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "dsql-iam", &mut text);
    Report::of_bytes(text)
}
