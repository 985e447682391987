//! `dsql-iam explain`: why a token is accepted or refused, check by check.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use dsql_iam_core::session_store;
use dsql_iam_core::sigv4::access_key_id;
use dsql_iam_core::{
    ADMIN, Attempt, CheckOutcome, ConnectionFacts, Diagnosed, Diagnosis, Explanation, Identities,
    LoginEnvironment, diagnose, explain,
};
use dsql_iam_server::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

use super::Report;
use super::mappings::grant;
use crate::shared::cluster::ClusterArguments;
use crate::shared::error::Error;
use crate::shared::mappings;

/// The longest token, and a line break.
const MAX_INPUT: u64 = 65_536 + 2;

/// The arguments of `dsql-iam explain`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam token --hostname localhost | dsql-iam explain --role example --loopback-endpoints

A login that AWS refused, with the account's export in the directory and no secret:
  aws sts get-caller-identity > me.json
  dsql-iam explain --role example --caller-identity me.json --iam-directory ./export

Without --cluster-arn the cluster is that of the endpoint ID.dsql.REGION.on.aws, in the account that the
documents are of.

A token may be given without its signature, so that nobody can log in with it; then the signature is not
checked. The exit status is 0 if IAM accepts the token, and 1 if not, or if the signature is missing. The
database decides after IAM: the role has to exist, and the principal has to be mapped to it.")]
pub struct Arguments {
    /// The database role that the token is for
    #[arg(long)]
    role: String,

    /// The user, role or session that asked, for a login that AWS refused: the signature is not checked, and all
    /// else is. A token on standard input is looked at if there is one
    #[arg(
        long,
        value_name = "ARN",
        conflicts_with = "caller_identity",
        help_heading = "Without a secret"
    )]
    principal: Option<String>,

    /// The same, as aws sts get-caller-identity printed it; - for standard input
    #[arg(long, value_name = "FILE", help_heading = "Without a secret")]
    caller_identity: Option<PathBuf>,

    /// The cluster's mappings, as any client printed SELECT * FROM sys.iam_pg_role_mappings; - for standard input
    #[arg(long, value_name = "FILE", help_heading = "Without a secret")]
    mappings: Option<PathBuf>,

    /// The time to judge as of, such as 2024-11-25T00:15:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UtcDateTime>,

    #[command(flatten)]
    of: ClusterArguments,

    /// Further host names that tokens may be signed for, separated by commas
    #[arg(long, value_name = "HOSTS", default_value = "")]
    endpoint: String,

    /// The clusters that are linked with it, ID@REGION, separated by commas, as in dsql_iam.linked_clusters
    #[arg(long, value_name = "CLUSTERS", default_value = "")]
    linked: String,

    /// Accept tokens for localhost and loopback addresses, as with dsql_iam.loopback_endpoints = on
    #[arg(long, env = "DSQL_LOOPBACK_ENDPOINTS", value_parser = BoolishValueParser::new())]
    loopback_endpoints: bool,

    /// The client's address, for policies that ask for aws:SourceIp
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<IpAddr>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Takes the token from standard input, where it is needed.
///
/// # Errors
/// A sentence, if the documents cannot be read, or it is not known which cluster is meant.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let principal = arguments.principal()?;
    let token = match arguments.takes_token() {
        true => token()?,
        false => String::new(),
    };
    let token = token.trim_end_matches(['\r', '\n']);
    let directory = &arguments.of.iam_directory;
    let mut identities = Identities::load(directory).map_err(Error::of)?;
    let now = arguments.at.unwrap_or_else(UtcDateTime::now);
    let stored = session_store::find(directory, &access_key_id(token), now).map_err(Error::of)?;
    if let Some(session) = stored {
        identities.add_stored(session).map_err(Error::of)?;
    }
    let cluster = arguments.of.cluster(&arguments.endpoint, &identities)?;
    let cluster = cluster.with_linked(&arguments.linked).map_err(Error::of)?;
    let cluster = match arguments.loopback_endpoints {
        true => cluster.with_loopback_endpoints(),
        false => cluster,
    };
    let environment = LoginEnvironment {
        now,
        cluster: &cluster,
        identities: &identities,
        connection: ConnectionFacts {
            source_ip: arguments.source_ip,
            is_tls: true,
        },
    };
    let Some(principal) = principal else {
        let explanation = explain(token, &arguments.role, &environment);
        return Ok(arguments.report(&explanation));
    };
    let attempt = Attempt {
        token: Some(token).filter(|token| !token.is_empty()),
        role: &arguments.role,
        principal: &principal,
    };
    let mut diagnosis = diagnose(attempt, &environment);
    let mapped = arguments.mappings.as_deref().map(mappings::from_file);
    let behind_iam = behind_iam(&arguments.role, &diagnosis, mapped.transpose()?.as_deref());
    diagnosis.checks.extend(behind_iam);
    // A token says which of the linked clusters it is for.
    let host = token.split(['/', '?']).next().unwrap_or_default();
    let meant = cluster.signed_for(host).arn();
    let status = identities.cluster(&meant).map(|cluster| &*cluster.status);
    diagnosis.checks.push(cluster_check(status));
    Ok(arguments.report_of(&diagnosis))
}

/// The token on standard input.
fn token() -> Result<String, Error> {
    let mut token = String::new();
    let mut input = std::io::stdin().take(MAX_INPUT);
    input
        .read_to_string(&mut token)
        .map_err(|fault| format!("the token could not be read: {fault}"))?;
    Ok(token)
}

/// The output of `aws sts get-caller-identity`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    arn: String,
}

impl Arguments {
    /// The caller, if the login is to be judged without a secret.
    fn principal(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.caller_identity else {
            if self.mappings.is_some() && self.principal.is_none() {
                return Err("--mappings goes with --principal or --caller-identity".into());
            }
            return Ok(self.principal.clone());
        };
        if path == Path::new("-") && self.mappings.as_deref() == Some(path) {
            return Err("--caller-identity and --mappings cannot both be standard input".into());
        }
        let name = path.display();
        let text = match path.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin().take(MAX_INPUT)),
            _ => File::open(path).and_then(|file| std::io::read_to_string(file.take(MAX_INPUT))),
        };
        let text = text.map_err(|fault| format!("{name}: {fault}"))?;
        let caller: CallerIdentity = serde_json::from_str(&text).map_err(|fault| {
            format!("{name}: not the output of aws sts get-caller-identity --output json: {fault}")
        })?;
        Ok(Some(caller.arn))
    }

    /// Whether standard input is there for the token.
    fn takes_token(&self) -> bool {
        let is_stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        if is_stdin(&self.caller_identity) || is_stdin(&self.mappings) {
            return false;
        }
        let needs_none = self.principal.is_some() || self.caller_identity.is_some();
        !(needs_none && std::io::stdin().is_terminal())
    }

    fn report_of(&self, diagnosis: &Diagnosis) -> Report {
        let mut report = Report {
            is_well: diagnosis.is_admitted(),
            text: diagnosis.to_string().trim_end().to_owned(),
            ..Report::default()
        };
        if self.json {
            let checks = diagnosis.checks.iter().map(|one| {
                let (outcome, reason) = (one.outcome.word(), one.outcome.reason());
                json!({"check_name": one.check, "outcome": outcome, "reason": reason,
                    "remedy": one.remedy})
            });
            let mut value = json(&diagnosis.explanation);
            value["is_admitted"] = diagnosis.is_admitted().into();
            value["checks"] = checks.collect();
            report.text = format!("{value:#}");
        }
        report
    }

    fn report(&self, explanation: &Explanation) -> Report {
        Report {
            is_well: explanation.is_admitted(),
            text: if self.json {
                format!("{:#}", json(explanation))
            } else {
                explanation.to_string().trim_end().to_owned()
            },
            ..Report::default()
        }
    }
}

/// The checks that the database makes after IAM, and those that neither of the two is asked about.
fn behind_iam(
    role: &str,
    diagnosis: &Diagnosis,
    mapped: Option<&[mappings::Mapping]>,
) -> Vec<Diagnosed> {
    let arn = diagnosis.explanation.mapped_arn.as_deref();
    let not_checked = |why: &str| (CheckOutcome::NotChecked(why.to_owned()), None);
    let (outcome, remedy) = match (mapped, arn) {
        _ if role == ADMIN => (CheckOutcome::Passed, None),
        (None, _) => {
            not_checked("--mappings is not given: SELECT * FROM sys.iam_pg_role_mappings, as admin")
        }
        (_, None) => not_checked("the principal is in no document"),
        (Some(all), Some(arn)) if all.iter().any(|one| one.role == role && one.arn == arn) => {
            (CheckOutcome::Passed, None)
        }
        (Some(all), Some(arn)) => {
            let refusal = Refusal::Mapping {
                role: role.to_owned(),
                arn: arn.to_owned(),
            };
            let grant = format!("as admin: {}", grant(role, arn));
            (
                CheckOutcome::Failed(refusal.to_string()),
                Some(near(all, role, arn, grant)),
            )
        }
    };
    let mut checks = vec![Diagnosed {
        check: "mapping",
        outcome,
        remedy,
    }];
    for (check, why) in [
        (
            "role",
            "the database role has to exist, with LOGIN (SQLSTATE 28000 if not)",
        ),
        ("database", "the database is postgres; there is no other"),
        (
            "parameter",
            "the client sets only parameters that Aurora DSQL takes (SQLSTATE 0A000 if not)",
        ),
        (
            "tls",
            "the connection is encrypted: sslmode=require, or verify-full",
        ),
        (
            "limit",
            "10,000 connections, and 100 new ones a second (SQLSTATE 53300, 53400)",
        ),
    ] {
        checks.push(Diagnosed {
            check,
            outcome: CheckOutcome::NotChecked(why.to_owned()),
            remedy: None,
        });
    }
    checks
}

/// Whether the cluster takes connections, by the status in its document, if there is one.
fn cluster_check(status: Option<&str>) -> Diagnosed {
    let (outcome, remedy) = match status.and_then(Refusal::of_status) {
        Some(refusal) => (
            CheckOutcome::Failed(refusal.to_string()),
            Some(
                "connect again later; if the cluster is ACTIVE, export aws dsql get-cluster anew"
                    .into(),
            ),
        ),
        None => (
            CheckOutcome::NotChecked(
                "the client sends the cluster's name (SNI), or options=-c amzn-cluster-id=ID"
                    .into(),
            ),
            None,
        ),
    };
    Diagnosed {
        check: "cluster",
        outcome,
        remedy,
    }
}

/// The statement that maps, with what is mapped nearly the same.
fn near(all: &[mappings::Mapping], role: &str, arn: &str, grant: String) -> String {
    let name = |arn: &str| arn.rsplit('/').next().map(str::to_owned);
    let same_name = all
        .iter()
        .find(|one| one.role == role && name(&one.arn) == name(arn));
    let same_arn = all.iter().find(|one| one.arn == arn);
    match (same_name, same_arn) {
        (Some(one), _) => format!("{grant}; mapped is {}, which is another ARN", one.arn),
        (None, Some(one)) => format!("{grant}; the ARN is mapped to {}", one.role),
        (None, None) => grant,
    }
}

/// The explanation for scripts: checks by the names and words of `sys.explain_token`, and null for what
/// is not known.
fn json(explanation: &Explanation) -> Value {
    let checks = explanation.checks.iter().map(|(name, outcome)| {
        json!({"check_name": name, "outcome": outcome.word(), "reason": outcome.reason()})
    });
    let signed = explanation.signed.iter().map(|value| {
        let expected = (!value.expected.is_empty()).then_some(&value.expected);
        json!({"name": value.name, "signed": value.signed, "expected": expected})
    });
    json!({
        "is_admitted": explanation.is_admitted(),
        "principal": explanation.principal,
        "mapped_arn": explanation.mapped_arn,
        "checks": checks.collect::<Vec<_>>(),
        "signed": signed.collect::<Vec<_>>(),
        "statements": explanation.statements,
        "missing_context": explanation.missing_context,
    })
}

/// A time as an option takes it.
///
/// # Errors
/// A clause, if it is none.
pub fn time(text: &str) -> Result<UtcDateTime, Error> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::to_utc)
        .map_err(|fault| format!("it is not a time such as 2024-11-25T00:15:00Z: {fault}").into())
}
