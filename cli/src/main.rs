//! The command `dsql-iam`: what a person types to log in.
//!
//! It reads the same environment variables and profile files as AWS's own tools, so that a shell
//! set up for one is set up for the other.

#![forbid(unsafe_code)]

mod offline;
mod region;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tools for Aurora DSQL authentication, on AWS or on a PostgreSQL with dsql_iam.
#[derive(Parser)]
#[command(name = "dsql-iam", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What `dsql-iam` can do.
#[derive(Subcommand)]
enum Command {
    /// Print an authentication token: the password for one role on one cluster
    Token(token::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Command::Token(arguments) = Cli::parse().command;
    match token::generate(arguments).await {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dsql-iam: {error}");
            ExitCode::FAILURE
        }
    }
}
