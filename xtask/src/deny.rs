//! `cargo xtask deny`: what the crates that this is built from may be; `deny.toml` says it.
//!
//! Advisories come from a database on GitHub. Where that cannot be reached, all else is checked, and
//! what was not is said.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{run, tool, workspace};

/// The version of cargo-deny that is installed if there is none.
const CARGO_DENY: &str = "0.20.2";

/// The arguments of `deny`.
#[derive(Args)]
pub struct Arguments {
    /// Fail, rather than skip them, if the advisories cannot be fetched
    #[arg(long)]
    advisories: bool,
}

/// Runs `deny` for each workspace of the tree.
pub fn run(arguments: &Arguments) -> Result<()> {
    let program = tool::installed("deny", CARGO_DENY, &workspace::target_directory()?)?;
    let has_advisories = run::succeeds(deny(&program, "Cargo.toml").args(["fetch", "db"]));
    if arguments.advisories && !has_advisories {
        bail!("the database of advisories could not be fetched from GitHub");
    }
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = deny(&program, manifest);
        check.args(["check", "bans", "licenses", "sources"]);
        if has_advisories {
            check.arg("advisories");
        }
        run::run(&mut check)
            .with_context(|| format!("{manifest} brings what deny.toml does not allow, above"))?;
    }
    if !has_advisories {
        println!("skipped: advisories, since their database could not be fetched");
    }
    Ok(())
}

fn deny(program: &Path, manifest: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(workspace::root())
        .args(["--all-features", "--manifest-path", manifest])
        // Of whole sentences about what is allowed, none is of use.
        .args(["--log-level", "error"]);
    command
}
