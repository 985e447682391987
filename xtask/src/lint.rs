//! `cargo xtask lint`: formatting and clippy, on every crate of the workspace.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::{prerequisites, run, workspace};

/// The arguments of `lint`.
#[derive(Args)]
pub struct Arguments {
    /// The pg_config of the PostgreSQL to check against [default: PGRX_PG_CONFIG_PATH, else one that
    /// is found]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,
}

/// Runs `lint`.
pub fn run(arguments: &Arguments) -> Result<()> {
    run::run(workspace::cargo().args(["fmt", "--all", "--check"]))
        .context("the code is not formatted: run cargo fmt --all")?;
    let postgres = prerequisites::postgres(arguments.pg_config.as_deref())?;
    let feature = format!("dsql_iam/{}", postgres.feature());
    let mut clippy = workspace::cargo_for(&postgres, "clippy", &workspace::target_directory()?);
    clippy
        .args(["--workspace", "--all-targets", "--no-default-features"])
        .args(["--features", &feature, "--", "-D", "warnings"]);
    run::run(&mut clippy).context("clippy has warnings, above")
}
