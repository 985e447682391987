//! `dsql-iam explain`: why a token is let in or not, check by check.

use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::cluster::Cluster;
use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::explain::{Explanation, explain};
use dsql_iam_core::request_context::{Circumstances, ConnectionFacts};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

/// The longest token, and a line break.
const MAX_INPUT: u64 = 65_536 + 2;

/// What `dsql-iam explain` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam token --hostname localhost | dsql-iam explain --role example

The exit status is 0 if IAM lets the token in, and 1 if not. The database has its say after IAM: the
role has to exist, and the principal has to be mapped to it.")]
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

    /// The cluster: arn:aws:dsql:REGION:ACCOUNT:cluster/ID
    #[arg(long, value_name = "ARN", env = "DSQL_CLUSTER_ARN")]
    cluster_arn: String,

    /// The cluster's region, if it is not the one in its ARN
    #[arg(long)]
    region: Option<String>,

    /// Further host names that tokens may be signed for, separated by commas
    #[arg(long, value_name = "HOSTS", default_value = "")]
    endpoint: String,

    /// The client's address, for policies that ask for aws:SourceIp
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<IpAddr>,
}

/// Takes the token from standard input.
pub fn run(arguments: &Arguments) -> Result<Explanation, String> {
    let mut token = String::new();
    let mut input = std::io::stdin().take(MAX_INPUT);
    input
        .read_to_string(&mut token)
        .map_err(|fault| format!("the token could not be read: {fault}"))?;
    let cluster = cluster(
        &arguments.cluster_arn,
        arguments.region.as_deref(),
        &arguments.endpoint,
    )?;
    let identities = Snapshot::read(&arguments.iam_directory)
        .and_then(|snapshot| snapshot.identities())
        .map_err(|fault| fault.to_string())?;
    let circumstances = Circumstances {
        now: arguments.at.unwrap_or_else(UtcDateTime::now),
        cluster: &cluster,
        identities: &identities,
        connection: ConnectionFacts {
            source_ip: arguments.source_ip,
            is_tls: true,
        },
    };
    Ok(explain(
        token.trim_end_matches(['\r', '\n']),
        &arguments.role,
        &circumstances,
    ))
}

/// The cluster with this ARN, in `region` if that is another one than in the ARN, with further
/// `endpoints` separated by commas.
///
/// # Errors
/// A sentence that names the part that does not fit.
pub fn cluster(arn: &str, region: Option<&str>, endpoints: &str) -> Result<Cluster, String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", _, "dsql", own_region, account, resource] = parts[..] else {
        return Err(format!("{arn} is not the ARN of a cluster"));
    };
    let id = resource.strip_prefix("cluster/").unwrap_or_default();
    let region = region.unwrap_or(own_region);
    Cluster::new(account, region, id, endpoints).map_err(|fault| fault.to_string())
}

fn time(text: &str) -> Result<UtcDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::to_utc)
        .map_err(|fault| format!("it is not a time such as 2024-11-25T00:15:00Z: {fault}"))
}
