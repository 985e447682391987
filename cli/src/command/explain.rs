//! `dsql-iam explain`: why a token is accepted or refused, check by check.

use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use dsql_iam_core::session_store;
use dsql_iam_core::sigv4::access_key_id;
use dsql_iam_core::{ConnectionFacts, Explanation, Identities, LoginEnvironment, explain};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

use super::Report;
use crate::shared::cluster;

/// The longest token, and a line break.
const MAX_INPUT: u64 = 65_536 + 2;

/// The arguments of `dsql-iam explain`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam token --hostname localhost | dsql-iam explain --role example --loopback-endpoints

Without --cluster-arn the cluster is that of the endpoint ID.dsql.REGION.on.aws, in the account that the
documents are of.

A token may be given without its signature, so that nobody can log in with what was given; then the signature
is not looked at. The exit status is 0 if IAM accepts the token, and 1 if not, or if the signature is not there. The database decides after IAM: the role has
to exist, and the principal has to be mapped to it.")]
pub struct Arguments {
    /// The database role that the token is for
    #[arg(long)]
    role: String,

    /// The time to judge as of, such as 2024-11-25T00:15:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UtcDateTime>,

    /// The directory of the IAM documents
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    iam_directory: PathBuf,

    /// The cluster: arn:aws:dsql:REGION:ACCOUNT:cluster/ID [default: what the endpoint and the documents
    /// tell]
    #[arg(long, value_name = "ARN", env = "DSQL_CLUSTER_ARN")]
    cluster_arn: Option<String>,

    /// The cluster's region, if it is not the one in its ARN
    #[arg(long)]
    region: Option<String>,

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

/// Takes the token from standard input.
///
/// # Errors
/// A sentence, if the documents cannot be read, or it is not known which cluster is meant.
pub fn run(arguments: &Arguments) -> Result<Report, String> {
    let mut token = String::new();
    let mut input = std::io::stdin().take(MAX_INPUT);
    input
        .read_to_string(&mut token)
        .map_err(|fault| format!("the token could not be read: {fault}"))?;
    let directory = &arguments.iam_directory;
    let mut identities = Identities::load(directory).map_err(|fault| fault.to_string())?;
    let stored = session_store::find(directory, &access_key_id(&token))
        .map_err(|fault| fault.to_string())?;
    if let Some(session) = stored {
        identities
            .add_stored(session)
            .map_err(|fault| fault.to_string())?;
    }
    let (region, endpoints) = (arguments.region.as_deref(), &arguments.endpoint);
    let cluster = match &arguments.cluster_arn {
        Some(arn) => cluster::with_arn(arn, region, endpoints)?,
        None => cluster::derived(region, endpoints, &identities)?,
    };
    let cluster = cluster
        .with_linked(&arguments.linked)
        .map_err(|fault| fault.to_string())?;
    let cluster = match arguments.loopback_endpoints {
        true => cluster.with_loopback_endpoints(),
        false => cluster,
    };
    let environment = LoginEnvironment {
        now: arguments.at.unwrap_or_else(UtcDateTime::now),
        cluster: &cluster,
        identities: &identities,
        connection: ConnectionFacts {
            source_ip: arguments.source_ip,
            is_tls: true,
        },
    };
    let explanation = explain(
        token.trim_end_matches(['\r', '\n']),
        &arguments.role,
        &environment,
    );
    Ok(Report {
        is_well: explanation.is_admitted(),
        text: if arguments.json {
            format!("{:#}", json(&explanation))
        } else {
            explanation.to_string().trim_end().to_owned()
        },
    })
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
pub fn time(text: &str) -> Result<UtcDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::to_utc)
        .map_err(|fault| format!("it is not a time such as 2024-11-25T00:15:00Z: {fault}"))
}
