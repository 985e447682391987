//! The commands of a contributor: `cargo xtask up`, `down`, `test`, `bare`, `bench`, `fuzz`, `deny`,
//! `reproducible`, `package`, `release` and `lint`.
//!
//! `up` gives a running PostgreSQL with the extension, certificates and sample identities, without
//! touching the PostgreSQL that the system has. The end-to-end tests start their servers with it too.

#![forbid(unsafe_code)]

mod account;
mod apt;
mod arm64;
mod bare;
mod bench;
mod certificates;
mod cluster;
mod core;
mod debian;
mod deny;
mod directory;
mod environment;
mod fetched;
mod fuzz;
mod hosts;
mod image;
mod in_server;
mod lint;
mod mirror;
mod package;
mod pages;
mod ports;
mod postgres;
mod postmaster;
mod prerequisites;
mod random;
mod release;
mod reproducible;
mod run;
mod samples;
mod server;
mod settings;
mod sts;
mod test;
mod tool;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};

/// Builds, runs and tests dsql_iam.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The tasks.
#[derive(Subcommand)]
enum Command {
    /// Start a PostgreSQL that authenticates like Aurora DSQL, with sample identities
    Up(up::Arguments),
    /// Stop the server that `up` started
    Down(up::DownArguments),
    /// Run all tests, or some of them
    Test(test::Arguments),
    /// Run README's two commands on a machine that has nothing but Rust
    Bare(bare::Arguments),
    /// Measure what authenticating costs, and print a table
    Bench(bench::Arguments),
    /// Fuzz the code that reads input of others
    Fuzz(fuzz::Arguments),
    /// Check licences, sources and advisories of the crates that this is built from
    Deny(deny::Arguments),
    /// Check that the library is the same wherever it is built, and uses no network
    Reproducible(reproducible::Arguments),
    /// Make a Debian package for one major version of PostgreSQL
    Package(package::Arguments),
    /// Make every file that a release has
    Release(release::Arguments),
    /// Check the formatting and run clippy on everything
    Lint(lint::Arguments),
}

fn main() -> ExitCode {
    // Files that are not private are for the server's user too, whatever the invoking shell's umask.
    umask(Mode::from_bits_truncate(0o022));
    // `./x` goes to the checkout first, for cargo.
    if let Some(folder) = std::env::var_os("XTASK_CALLED_FROM")
        && let Err(error) = std::env::set_current_dir(&folder)
    {
        eprintln!(
            "error: the folder {} cannot be entered: {error}",
            folder.display()
        );
        return ExitCode::FAILURE;
    }
    let result = match Cli::parse().command {
        Command::Up(arguments) => up::up(&arguments),
        Command::Down(arguments) => up::down(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bare(arguments) => bare::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Deny(arguments) => deny::run(&arguments),
        Command::Reproducible(arguments) => reproducible::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
        Command::Release(arguments) => release::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
