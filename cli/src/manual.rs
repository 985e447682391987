//! `dsql-iam completions` and `dsql-iam man`: what a package lays out beside the command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

/// What `dsql-iam completions` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam completions bash > /etc/bash_completion.d/dsql-iam")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// What `dsql-iam man` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam man | man --local-file -")]
pub struct Man {
    /// Write dsql-iam.1, and a page for each subcommand, into this folder
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// The completions as text.
///
/// # Errors
/// None; all of the command's subcommands have the same form.
pub fn completions(arguments: &Completions, mut command: Command) -> Result<String, String> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "dsql-iam", &mut text);
    into_text(text)
}

/// The manual page as text, or what was written.
///
/// # Errors
/// A sentence, if a file cannot be written.
pub fn man(arguments: &Man, command: Command) -> Result<String, String> {
    if let Some(folder) = &arguments.into {
        let written =
            fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
        return Ok(format!("written into {}", folder.display()));
    }
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut text);
    rendered.map_err(|error| error.to_string())?;
    into_text(text)
}

fn into_text(text: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    Ok(text.trim_end().to_owned())
}
