//! `dsql-iam access`: who may connect as whom, and what decides.
//!
//! The answers are those of [`dsql_iam_core::access`], which asks the function that each login asks.

mod diff;
mod expect;
mod html;
mod question;
mod source;
mod table;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use dsql_iam_core::Identities;
use time::UtcDateTime;

use self::source::Sources;
use super::{Report, explain};
use crate::shared::cluster::ClusterArguments;
use crate::shared::error::Error;
use crate::shared::mappings;
use question::Question;

/// The arguments of `dsql-iam access`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dsql-iam access --iam-directory ./iam --cluster-arn arn:aws:dsql:us-east-1:012345678912:cluster/ID
  dsql-iam access --mappings mappings.txt --expect expected.yaml --junit report.xml
  dsql-iam access --mappings mappings.txt --diff ./changed-iam

A role's row is what a session of it may that no session policy narrows, and a group's what a user in it may by
the group alone. Access keys count for sessions alone. The exit status is 1 if an expectation
is not met.")]
pub struct Arguments {
    #[command(flatten)]
    of: ClusterArguments,

    /// The cluster's host name, ID.dsql.REGION.on.aws, instead of --cluster-arn
    #[arg(long, value_name = "HOST", default_value = "")]
    endpoint: String,

    /// The mappings, as a client printed SELECT * FROM sys.iam_pg_role_mappings; - is standard input
    #[arg(long, value_name = "FILE")]
    mappings: Option<PathBuf>,

    /// The time to judge as of, such as 2024-11-25T00:15:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = explain::time)]
    at: Option<UtcDateTime>,

    /// The client's address, for policies that ask for aws:SourceIp
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<IpAddr>,

    /// List the sessions too that dsql-iam began and that are not over
    #[arg(long)]
    sessions: bool,

    /// Print a JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print CSV
    #[arg(long)]
    csv: bool,

    /// Print what the documents of another directory would open and close instead
    #[arg(long, value_name = "DIR", conflicts_with_all = ["csv", "html", "expect"])]
    diff: Option<PathBuf>,

    /// Compare with a YAML or JSON list of principal, role, access (allowed or denied), and if need be
    /// source_ip and at; exit with 1 on a mismatch
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv", "html"])]
    expect: Option<PathBuf>,

    /// Write what came of --expect as JUnit XML
    #[arg(long, value_name = "FILE", requires = "expect")]
    junit: Option<PathBuf>,

    /// Write a page for people instead, with the reason behind each answer
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv"])]
    html: Option<PathBuf>,
}

/// Answers for everybody.
///
/// # Errors
/// A sentence, if documents, mappings or expectations cannot be read, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let now = arguments.at.unwrap_or_else(UtcDateTime::now);
    let load = |directory: &Path| match arguments.sessions {
        true => Identities::load_with_sessions(directory, now).map_err(Error::of),
        false => Identities::load(directory).map_err(Error::of),
    };
    let identities = load(&arguments.of.iam_directory)?;
    let cluster = arguments.of.cluster(&arguments.endpoint, &identities)?;
    let mappings = arguments.mappings.as_deref().map(mappings::from_file);
    let mappings = mappings.transpose()?;
    let question = Question {
        cluster: &cluster,
        mappings: mappings.as_deref(),
        now,
        source_ip: arguments.source_ip,
    };
    if let Some(path) = &arguments.expect {
        let outcomes = expect::compare(&read(path)?, &question, &identities)
            .map_err(|fault| format!("{}: {fault}", path.display()))?;
        if let Some(junit) = &arguments.junit {
            write(junit, &expect::junit(&outcomes))?;
        }
        return Ok(expect::report(&outcomes));
    }
    let survey = question.survey(&identities, None);
    if let Some(directory) = &arguments.diff {
        let changed = question.survey(&load(directory)?, None);
        let changes = diff::changes(&survey, &changed);
        return Ok(diff::text(&changes, arguments.json).into());
    }
    if let Some(path) = &arguments.html {
        write(
            path,
            &html::html(
                &survey,
                &question,
                &Sources::read(&arguments.of.iam_directory),
            ),
        )?;
        let summary = table::summary(&survey);
        return Ok(format!("{summary}: written to {}", path.display()).into());
    }
    if arguments.json {
        Ok(format!("{:#}", table::json(&survey, &question)).into())
    } else if arguments.csv {
        Report::of_bytes(table::csv(&survey)?)
    } else {
        Ok(table::text(&survey).into())
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|fault| format!("{}: {fault}", path.display()).into())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|fault| format!("{}: {fault}", path.display()).into())
}
