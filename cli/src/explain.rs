//! `dsql-iam explain`: why a token is let in or not, check by check.

use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::cluster::{Cluster, ID_LEN, id_and_region};
use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::explain::{Explanation, explain};
use dsql_iam_core::identity::Identities;
use dsql_iam_core::request_context::{Circumstances, ConnectionFacts};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

/// The longest token, and a line break.
const MAX_INPUT: u64 = 65_536 + 2;

/// What `dsql-iam explain` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam token --hostname localhost | dsql-iam explain --role example

Without --cluster-arn the cluster is that of the endpoint ID.dsql.REGION.on.aws, in the account that the
documents are of.

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

    /// The client's address, for policies that ask for aws:SourceIp
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<IpAddr>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What is to be printed.
pub struct Answer {
    /// the text to print
    pub text: String,
    /// whether the token is let in
    pub is_admitted: bool,
}

/// Takes the token from standard input.
///
/// # Errors
/// A sentence, if the documents cannot be read, or it is not known which cluster is meant.
pub fn run(arguments: &Arguments) -> Result<Answer, String> {
    let mut token = String::new();
    let mut input = std::io::stdin().take(MAX_INPUT);
    input
        .read_to_string(&mut token)
        .map_err(|fault| format!("the token could not be read: {fault}"))?;
    let identities = Snapshot::read(&arguments.iam_directory)
        .and_then(|snapshot| snapshot.identities())
        .map_err(|fault| fault.to_string())?;
    let (region, endpoints) = (arguments.region.as_deref(), &arguments.endpoint);
    let cluster = match &arguments.cluster_arn {
        Some(arn) => cluster(arn, region, endpoints)?,
        None => derived_cluster(region, endpoints, &identities)?,
    };
    let circumstances = Circumstances {
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
        &circumstances,
    );
    Ok(Answer {
        is_admitted: explanation.is_admitted(),
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
    let signed = explanation.signed.iter().map(|(name, signed, expected)| {
        let expected = (!expected.is_empty()).then_some(expected);
        json!({"name": name, "signed": signed, "expected": expected})
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

/// The cluster with this ARN, in `region` if that is another one than in the ARN, with further
/// `endpoints` separated by commas.
///
/// # Errors
/// A sentence that names the part that does not fit.
pub fn cluster(arn: &str, region: Option<&str>, endpoints: &str) -> Result<Cluster, String> {
    Cluster::with_arn(arn, region, endpoints)
        .ok_or_else(|| format!("{arn} is not the ARN of a cluster"))?
        .map_err(|fault| fault.to_string())
}

/// The cluster that is meant where nobody names it: by the name `ID.dsql.REGION.on.aws` among the
/// endpoints, by the one cluster that documents describe, and by the one account that they are of. Nothing
/// is taken from the token, which is to be compared with it.
///
/// # Errors
/// A sentence that says what is missing.
fn derived_cluster(
    region: Option<&str>,
    endpoints: &str,
    identities: &Identities,
) -> Result<Cluster, String> {
    let own_name = endpoints.split(',').find_map(|host| {
        let name = id_and_region(host.trim().split(':').next()?);
        name.filter(|(id, _)| id.len() == ID_LEN)
    });
    let fits = |arn: &&str| {
        let parts: Vec<&str> = arn.split(':').collect();
        let is_id = |id: &str| parts.last() == Some(&format!("cluster/{id}").as_str());
        own_name.is_none_or(|(id, _)| is_id(id))
            && region
                .or(own_name.map(|(_, region)| region))
                .is_none_or(|region| parts.get(3) == Some(&region))
    };
    let mut described = identities.cluster_arns().filter(fits);
    if let (Some(arn), None) = (described.next(), described.next()) {
        return cluster(arn, region, endpoints);
    }
    let Some((id, own_region)) = own_name else {
        return Err(
            "which cluster it is, is not known: name it with --cluster-arn or DSQL_CLUSTER_ARN, or \
             its host name (ID.dsql.REGION.on.aws) with --endpoint"
                .into(),
        );
    };
    let accounts: Vec<&str> = identities.accounts().into_iter().collect();
    let [account] = accounts[..] else {
        return Err(format!(
            "which account the cluster belongs to is not known, since the documents are of {}: name \
             it with --cluster-arn or DSQL_CLUSTER_ARN",
            match accounts.len() {
                0 => "none".to_owned(),
                _ => accounts.join(", "),
            }
        ));
    };
    Cluster::new(account, region.unwrap_or(own_region), id, endpoints)
        .map_err(|fault| fault.to_string())
}

fn time(text: &str) -> Result<UtcDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::to_utc)
        .map_err(|fault| format!("it is not a time such as 2024-11-25T00:15:00Z: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::documents;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz";
    const ACCOUNT: &str = "012345678912";

    fn identities(documents: &[Value]) -> Identities {
        let parsed = documents.iter().map(|document| {
            let parsed = documents::parse(&document.to_string());
            ("a.json", parsed.unwrap_or_else(|fault| panic!("{fault}")))
        });
        documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
    }

    fn user(account: &str) -> Value {
        json!({"UserDetailList": [{"UserName": "alice",
            "Arn": format!("arn:aws:iam::{account}:user/alice")}]})
    }

    fn described(region: &str, id: &str) -> Value {
        json!({"identifier": id, "arn": format!("arn:aws:dsql:{region}:{ACCOUNT}:cluster/{id}")})
    }

    #[test]
    fn the_cluster_that_is_meant() {
        let own = format!("{ID}.dsql.eu-west-1.on.aws");
        let private = format!("{ID}.dsql-fnh4.eu-west-1.on.aws:5432");
        let listed = format!("db.test, {own}");
        let arn = |region: &str| format!("arn:aws:dsql:{region}:{ACCOUNT}:cluster/{ID}");
        let other = "zzzzzzzzzzzzzzzzzzzzzzzzzz";
        let (eu, us) = (Some("eu-west-1"), Some("us-east-1"));
        let two = [
            user("999999999999"),
            described("eu-west-1", ID),
            described("us-east-1", other),
        ];
        for (documents, region, endpoint, expected) in [
            (&[user(ACCOUNT)][..], None, own.as_str(), arn("eu-west-1")),
            (&[user(ACCOUNT)], us, &own, arn("us-east-1")),
            (&[user(ACCOUNT)], None, &private, arn("eu-west-1")),
            (&[user(ACCOUNT)], None, &listed, arn("eu-west-1")),
            // The one that is described, whoever else is in the documents.
            (&two, None, &own, arn("eu-west-1")),
            (&two, eu, "localhost", arn("eu-west-1")),
        ] {
            let cluster = derived_cluster(region, endpoint, &identities(documents)).unwrap();
            assert_eq!(cluster.arn(), expected, "{endpoint}");
            assert!(cluster.answers_to(endpoint.split(", ").next().unwrap()));
        }
        let nobody = json!({ "UserDetailList": [] });
        for (documents, endpoint, fault) in [
            (
                &[user(ACCOUNT)][..],
                "",
                "which cluster it is, is not known",
            ),
            (
                &[user(ACCOUNT)],
                "localhost",
                "which cluster it is, is not known",
            ),
            (&two, "localhost", "which cluster it is, is not known"),
            (
                &[nobody],
                &own,
                "which account the cluster belongs to is not known, since the \
                documents are of none",
            ),
            (
                &[user(ACCOUNT), user("999999999999")],
                &own,
                "which account the cluster belongs to is not known, since the documents are of \
                 012345678912, 999999999999",
            ),
        ] {
            let said = derived_cluster(None, endpoint, &identities(documents)).unwrap_err();
            assert!(said.starts_with(fault), "{said}");
        }
    }
}
