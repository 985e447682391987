//! The command `dsql-iam`: tokens for clients, checks and simulations of IAM documents, and the setup of
//! servers.
//!
//! It reads the same environment variables and profile files as AWS's own tools, so that a shell
//! set up for one is set up for the other.

#![forbid(unsafe_code)]

mod command;
mod shared;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use command::{
    Report, assume_role, check, completions, doctor, explain, install, man, setup, simulate, sts,
    token,
};

/// Tools for Aurora DSQL authentication, on AWS or on a PostgreSQL with dsql_iam.
#[derive(Parser)]
#[command(name = "dsql-iam", version)]
#[command(after_help = "\
Example, with the server of cargo xtask up:
  export PGPASSWORD=$(dsql-iam token --admin --hostname localhost)
  psql --host localhost --username admin --dbname postgres

dsql-iam COMMAND --help has an example of each command.")]
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
    /// Tell what a directory of IAM documents brings, and what in it cannot be meant so
    Check(check::Arguments),
    /// Begin a session of a role, as `aws sts assume-role` does
    AssumeRole(assume_role::Arguments),
    /// Be a Security Token Service for this machine, which SDKs assume roles with
    Sts(sts::Arguments),
    /// Say what policies given here allow, as `aws iam simulate-custom-policy` does
    SimulateCustomPolicy(simulate::Custom),
    /// Say what the policies of a user or role allow, as `aws iam simulate-principal-policy` does
    SimulatePrincipalPolicy(simulate::Principal),
    /// Tell what of a server is not as it should be, and what mends it
    Doctor(doctor::Arguments),
    /// Put the extension's files into a PostgreSQL that is there
    Install(install::Arguments),
    /// Have a server load the extension, or take that back
    Setup(setup::Arguments),
    /// Print the completions for a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write one for each subcommand
    Man(man::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(report) => {
            anstream::println!("{}", report.text);
            match report.is_well {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("dsql-iam: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<Report, String> {
    match command {
        Command::Token(arguments) => token::run(arguments).await,
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::AssumeRole(arguments) => assume_role::run(arguments).await,
        Command::Sts(arguments) => sts::run(arguments).await,
        Command::SimulateCustomPolicy(arguments) => simulate::run_custom(arguments),
        Command::SimulatePrincipalPolicy(arguments) => simulate::run_principal(arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, Cli::command()),
        Command::Man(arguments) => man::run(&arguments, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    /// The words of each `dsql-iam …` in a text of help, as a shell would hand them over: up to a
    /// pipe, a redirection or the end of a substitution, with quotes taken away.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let help = help
            .replace("\\\n", " ")
            .replace("\"$PGHOST\"", "localhost");
        let lines = help.lines().filter(|line| line.starts_with("  "));
        lines
            .flat_map(|line| line.match_indices("dsql-iam ").map(|(at, _)| &line[at..]))
            .map(|command| {
                let end = command.find(['|', '>', '&', ')']).unwrap_or(command.len());
                let parts = command[..end].split('\'').enumerate();
                parts
                    .flat_map(|(number, part)| match number % 2 {
                        0 => part.split_whitespace().map(str::to_owned).collect(),
                        _ => vec![part.to_owned()],
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn each_help_has_an_example_that_the_command_takes() {
        let command = Cli::command();
        for part in std::iter::once(&command).chain(command.get_subcommands()) {
            let name = part.get_name();
            let help = part.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(help.starts_with("Example"), "{name}");
            let examples = examples(&help);
            assert!(
                examples
                    .iter()
                    .any(|words| name == "dsql-iam" || words[1] == name),
                "{name}: {examples:?}"
            );
            for words in examples {
                if let Err(error) = Cli::try_parse_from(&words) {
                    // What the environment has.
                    assert_eq!(
                        error.kind(),
                        ErrorKind::MissingRequiredArgument,
                        "{words:?}: {error}"
                    );
                    assert!(error.to_string().contains("--iam-directory"), "{words:?}");
                }
            }
        }
    }

    #[test]
    fn the_definition_of_the_command_is_sound() {
        Cli::command().debug_assert();
    }
}
