//! The cluster that a client names: by Server Name Indication, and in the `options` of its connection string.

use dsql_iam_core::{Cluster, printable};

/// The name of another cluster, or of one that differs from the one named before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherCluster {
    /// Of Server Name Indication.
    #[error("server name {}", printable(.0))]
    ServerName(String),
    /// The option `amzn-cluster-id`.
    #[error("amzn-cluster-id {}", printable(.0))]
    Id(String),
}

/// The cluster that a client names, of `cluster` and those linked with it; `None` if it names none.
///
/// `server_name` is that of Server Name Indication, empty if there is none; a name that is not one of Aurora
/// DSQL's names nobody. `options` is that of the connection string.
///
/// # Errors
/// The first that is another cluster's: the name, or an id in `options`, which has to agree with those before.
pub fn named_cluster<'c>(
    cluster: &'c Cluster,
    server_name: &str,
    options: &str,
) -> Result<Option<&'c Cluster>, OtherCluster> {
    if cluster.is_anothers(server_name) {
        return Err(OtherCluster::ServerName(server_name.to_owned()));
    }
    let mut named = cluster.of_name(server_name);
    for id in cluster_ids(options) {
        let of_id = cluster.of_id(id);
        if of_id.is_none() || named.is_some_and(|named| Some(named) != of_id) {
            return Err(OtherCluster::Id(id.to_owned()));
        }
        named = of_id;
    }
    Ok(named)
}

/// The cluster ids that a client without Server Name Indication sends in the `options` of its
/// connection string: `-c amzn-cluster-id=ID`, in each notation that PostgreSQL takes.
fn cluster_ids(options: &str) -> impl Iterator<Item = &str> {
    options.split_ascii_whitespace().filter_map(|word| {
        let word = word.strip_prefix("--").unwrap_or(word);
        let word = word.strip_prefix("-c").unwrap_or(word);
        let (name, id) = word.split_once('=')?;
        let name = name.replace('-', "_");
        name.eq_ignore_ascii_case("amzn_cluster_id").then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_that_is_named() {
        let (own, peer, third) = ("a".repeat(26), "b".repeat(26), "c".repeat(26));
        let cluster = Cluster::new("012345678912", "us-east-1", &own, "").unwrap();
        let cluster = cluster.with_linked(&format!("{peer}@us-west-2")).unwrap();
        let name = |id: &str, region: &str| format!("{id}.dsql.{region}.on.aws");
        let option = |id: &str| format!("-c amzn-cluster-id={id}");
        for (server_name, options, expected) in [
            ("", String::new(), Ok(None)),
            ("db.test", String::new(), Ok(None)),
            (
                &*name(&own, "us-east-1"),
                String::new(),
                Ok(Some("us-east-1")),
            ),
            (
                &name(&peer, "us-west-2"),
                String::new(),
                Ok(Some("us-west-2")),
            ),
            (
                &name(&peer, "us-west-2"),
                option(&peer),
                Ok(Some("us-west-2")),
            ),
            ("db.test", option(&peer), Ok(Some("us-west-2"))),
            ("", option(&own), Ok(Some("us-east-1"))),
            // Each other's region, another's name, another's id, and two that do not agree.
            (
                &name(&peer, "us-east-1"),
                String::new(),
                Err("server name b"),
            ),
            (
                &name(&third, "us-west-2"),
                option(&peer),
                Err("server name c"),
            ),
            ("", option(&third), Err("amzn-cluster-id c")),
            ("", option(""), Err("amzn-cluster-id ")),
            (
                &name(&own, "us-east-1"),
                option(&peer),
                Err("amzn-cluster-id b"),
            ),
            (
                "",
                format!("{} {}", option(&own), option(&peer)),
                Err("amzn-cluster-id b"),
            ),
        ] {
            match (named_cluster(&cluster, server_name, &options), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.map(Cluster::region), expected),
                (Err(found), Err(expected)) => {
                    assert!(found.to_string().starts_with(expected), "{found}");
                }
                (found, _) => panic!("{server_name} {options}: {found:?}"),
            }
        }
    }

    #[test]
    fn cluster_ids_are_found_in_options() {
        for (options, ids) in [
            ("", vec![]),
            ("-c amzn-cluster-id=abc", vec!["abc"]),
            ("-camzn-cluster-id=abc", vec!["abc"]),
            ("--amzn-cluster-id=abc", vec!["abc"]),
            ("-c AMZN_CLUSTER_ID=abc -c a=b", vec!["abc"]),
            (
                "-c a=b --amzn-cluster-id=a -c amzn_cluster_id=",
                vec!["a", ""],
            ),
            ("-c search_path=amzn-cluster-id", vec![]),
        ] {
            let found: Vec<&str> = cluster_ids(options).collect();
            assert_eq!(found, ids, "{options}");
        }
    }
}
