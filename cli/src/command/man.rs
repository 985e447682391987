//! `dsql-iam man`: the manual pages, which a package lays out beside the command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};

use super::Report;

use crate::shared::error::Error;

/// The arguments of `dsql-iam man`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam man | man --local-file -")]
pub struct Arguments {
    /// Write dsql-iam.1, and a page for each subcommand, into this folder
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// The manual page as text, or what was written.
///
/// # Errors
/// A sentence, if a file cannot be written.
pub fn run(arguments: &Arguments, command: Command) -> Result<Report, Error> {
    if let Some(folder) = &arguments.into {
        let written =
            fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
        return Ok(format!("written into {}", folder.display()).into());
    }
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut text);
    rendered.map_err(Error::of)?;
    Report::of_bytes(text)
}
