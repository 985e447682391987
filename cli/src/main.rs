//! The command `dsql-iam`: what a person types to log in.
//!
//! It reads the same environment variables and profile files as AWS's own tools, so that a shell
//! set up for one is set up for the other.

#![forbid(unsafe_code)]

mod assume_role;
mod explain;
mod offline;
mod region;
mod sessions;
mod simulate;
mod sts;
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
    /// Tell why the token on standard input is let in or not, check by check
    Explain(explain::Arguments),
    /// Begin a session of a role, as `aws sts assume-role` does
    AssumeRole(assume_role::Arguments),
    /// Be a Security Token Service for this machine, which SDKs assume roles with
    Sts(sts::Arguments),
    /// Say what policies given here allow, as `aws iam simulate-custom-policy` does
    SimulateCustomPolicy(simulate::Custom),
    /// Say what the policies of a user or role allow, as `aws iam simulate-principal-policy` does
    SimulatePrincipalPolicy(simulate::Principal),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let printed = match Cli::parse().command {
        Command::Explain(arguments) => match explain::run(&arguments) {
            Ok(explanation) if !explanation.is_admitted() => {
                print!("{explanation}");
                return ExitCode::FAILURE;
            }
            explained => explained.map(|explanation| explanation.to_string().trim_end().to_owned()),
        },
        Command::Token(arguments) => token::generate(arguments)
            .await
            .map(|token| token.as_str().to_owned())
            .map_err(|error| error.to_string()),
        Command::AssumeRole(arguments) => assume_role::run(arguments).await,
        Command::Sts(arguments) => match sts::run(arguments).await {
            Err(error) => Err(error),
        },
        Command::SimulateCustomPolicy(arguments) => answer(simulate::custom(arguments)),
        Command::SimulatePrincipalPolicy(arguments) => answer(simulate::principal(arguments)),
    };
    match printed {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dsql-iam: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An answer as AWS's command line prints it.
fn answer(answer: Result<serde_json::Value, simulate::Error>) -> Result<String, String> {
    answer
        .map(|value| format!("{value:#}"))
        .map_err(|error| error.to_string())
}
