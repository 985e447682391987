//! The cluster that is meant.

use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::{Arn, Cluster, ID_LEN, Identities, id_and_region};

use crate::shared::error::Error;

/// The options for the documents and for the cluster that they are judged for.
#[derive(Args)]
pub struct ClusterArguments {
    /// The directory of the IAM documents
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    pub iam_directory: PathBuf,

    /// The cluster: arn:aws:dsql:REGION:ACCOUNT:cluster/ID [default: the one that the documents, or the endpoint,
    /// tell]
    #[arg(long, value_name = "ARN", env = "DSQL_CLUSTER_ARN")]
    pub cluster_arn: Option<String>,

    /// The cluster's region, if it is not the one in its ARN
    #[arg(long)]
    pub region: Option<String>,
}

impl ClusterArguments {
    /// The cluster that is named, or else follows from its `endpoints` and the documents.
    ///
    /// # Errors
    /// A sentence that names the part that does not fit, or is missing.
    pub fn cluster(&self, endpoints: &str, identities: &Identities) -> Result<Cluster, Error> {
        let region = self.region.as_deref();
        match &self.cluster_arn {
            Some(arn) => with_arn(arn, region, endpoints),
            None => derived(region, endpoints, identities),
        }
    }
}

/// The cluster with this ARN, in `region` if that is another one than in the ARN, with further
/// `endpoints` separated by commas.
///
/// # Errors
/// A sentence that names the part that does not fit.
pub fn with_arn(arn: &str, region: Option<&str>, endpoints: &str) -> Result<Cluster, Error> {
    Cluster::with_arn(arn, region, endpoints)
        .ok_or_else(|| format!("{arn} is not the ARN of a cluster"))?
        .map_err(Error::of)
}

/// The cluster that is meant where nobody names it: by the name `ID.dsql.REGION.on.aws` among the
/// endpoints, by the one cluster that documents describe, and by the one account that they are of. Nothing
/// is taken from the token, which is to be compared with it.
///
/// # Errors
/// A sentence that says what is missing.
fn derived(
    region: Option<&str>,
    endpoints: &str,
    identities: &Identities,
) -> Result<Cluster, Error> {
    let own_name = endpoints.split(',').find_map(|host| {
        let name = id_and_region(host.trim().split(':').next()?);
        name.filter(|(id, _)| id.len() == ID_LEN)
    });
    let fits = |arn: &&str| {
        let arn = Arn::parse(arn);
        let is_id = |id: &str| arn.is_some_and(|arn| arn.resource == format!("cluster/{id}"));
        own_name.is_none_or(|(id, _)| is_id(id))
            && region
                .or(own_name.map(|(_, region)| region))
                .is_none_or(|region| arn.is_some_and(|arn| arn.region == region))
    };
    let mut described = identities.cluster_arns().filter(fits);
    if let (Some(arn), None) = (described.next(), described.next()) {
        return with_arn(arn, region, endpoints);
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
        ).into());
    };
    Cluster::new(account, region.unwrap_or(own_region), id, endpoints).map_err(Error::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::documents;
    use serde_json::{Value, json};

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
            let cluster = derived(region, endpoint, &identities(documents)).unwrap();
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
            let said = derived(None, endpoint, &identities(documents)).unwrap_err();
            let said = said.to_string();
            assert!(said.starts_with(fault), "{said}");
        }
    }
}
