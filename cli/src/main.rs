//! The command `dsql-iam`: tokens for clients, checks and simulations of IAM documents, and the setup of
//! servers.
//!
//! It reads the same environment variables and profile files as AWS's own tools, so that a shell
//! set up for one is set up for the other.

#![forbid(unsafe_code)]

mod command;
mod shared;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::shared::error::Error;
use command::{
    Report, access, assume_role, check, completions, create_access_key, doctor, explain, import,
    install, man, mappings, sample_identities, setup, simulate, sts, token,
};

/// Tools for Aurora DSQL authentication, on AWS or on a PostgreSQL with dsql_iam.
#[derive(Parser)]
#[command(name = "dsql-iam", version)]
#[command(after_help = "\
Example, with the server of cargo xtask up:
  export PGSSLMODE=require
  export PGPASSWORD=$(dsql-iam token --admin --hostname localhost)
  psql --host localhost --username admin --dbname postgres

dsql-iam COMMAND --help has an example of each command.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands of `dsql-iam`.
#[derive(Subcommand)]
enum Command {
    /// Print an authentication token: the password for one role on one cluster
    Token(token::Arguments),
    /// Begin a role session, like `aws sts assume-role`
    AssumeRole(assume_role::Arguments),
    /// Run a local STS, for SDKs that assume roles
    Sts(sts::Arguments),
    /// Write sample IAM documents: users, a role and access keys
    SampleIdentities(sample_identities::Arguments),
    /// Make up an access key of a user, like `aws iam create-access-key`
    CreateAccessKey(create_access_key::Arguments),
    /// Import IAM documents from Terraform or CloudFormation
    Import(import::Arguments),
    /// Check IAM documents for errors
    Check(check::Arguments),
    /// Explain why the token on standard input is accepted or refused
    Explain(explain::Arguments),
    /// Show who may connect as whom, and what decides
    Access(access::Arguments),
    /// Print the statements that make a local server's mappings those of a real cluster
    Mappings(mappings::Arguments),
    /// Simulate requests against given policies, like `aws iam simulate-custom-policy`
    SimulateCustomPolicy(simulate::Custom),
    /// Simulate requests of a user or role, like `aws iam simulate-principal-policy`
    SimulatePrincipalPolicy(simulate::Principal),
    /// Install the extension's files into a PostgreSQL
    Install(install::Arguments),
    /// Configure a server to load the extension, or undo that
    Setup(setup::Arguments),
    /// Diagnose a server
    Doctor(doctor::Arguments),
    /// Print the completions for a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write one for each command
    Man(man::Arguments),
}

/// The commands as `--help` groups them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Clients", &["token", "assume-role", "sts"]),
    (
        "IAM documents",
        &[
            "sample-identities",
            "create-access-key",
            "import",
            "check",
            "explain",
            "access",
            "mappings",
            "simulate-custom-policy",
            "simulate-principal-policy",
        ],
    ),
    ("Servers", &["install", "setup", "doctor"]),
    ("Other", &["completions", "man", "help"]),
];

/// The definition of the command, with its commands in groups, which clap has for options only.
fn definition() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    let mut list = String::new();
    for (heading, names) in GROUPS {
        list += &format!("{heading}:\n");
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about);
            list += &format!("  {name:<27}{}\n", about.cloned().unwrap_or_default());
        }
        list.push('\n');
    }
    Cli::command().help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}"
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = definition().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli.command).await {
        Ok(report) => {
            anstream::println!("{}", report.text);
            if let Some(work) = report.afterwards {
                work();
            }
            match report.is_well {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            // A document's Sid, for one, is in it as it is.
            let text = error.to_string();
            let lines: Vec<String> = text.split('\n').map(dsql_iam_core::visible).collect();
            eprintln!("dsql-iam: {}", lines.join("\n"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<Report, Error> {
    match command {
        Command::Token(arguments) => token::run(arguments).await,
        Command::AssumeRole(arguments) => assume_role::run(arguments).await,
        Command::Sts(arguments) => sts::run(arguments).await,
        Command::SampleIdentities(arguments) => sample_identities::run(&arguments),
        Command::CreateAccessKey(arguments) => create_access_key::run(&arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Access(arguments) => access::run(&arguments),
        Command::Mappings(arguments) => mappings::run(&arguments),
        Command::SimulateCustomPolicy(arguments) => simulate::run_custom(arguments),
        Command::SimulatePrincipalPolicy(arguments) => simulate::run_principal(arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
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
                    // The environment has it.
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
    fn each_command_is_in_one_group() {
        let mut command = Cli::command();
        command.build();
        let mut names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        names.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(names, grouped);
    }

    #[test]
    fn the_definition_of_the_command_is_sound() {
        Cli::command().debug_assert();
    }
}
