//! The cluster that a login is for.

use crate::arn::{Arn, is_account_id};
use std::net::Ipv6Addr;

/// The service name in a credential scope and in a cluster's ARN.
pub const SERVICE: &str = "dsql";

/// How many characters the id of a cluster has.
pub const ID_LEN: usize = 26;

/// The cluster: what its ARN is made of, and the host names a token may be signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    account: String,
    region: String,
    id: String,
    endpoints: Vec<String>,
}

/// A cluster that is not, or wrongly, described. Nobody can log in to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCluster {
    /// The account id is no account id.
    #[error("account_id must be twelve digits, not \"{0}\"")]
    Account(String),
    /// The region is no region.
    #[error("region must look like \"us-east-1\", not \"{0}\"")]
    Region(String),
    /// The cluster id is no cluster id.
    #[error("cluster_id must be 26 characters of a-z and 0-9, not \"{0}\"")]
    Id(String),
    /// A further endpoint is no host name.
    #[error("endpoints must be a list of host names, not \"{0}\"")]
    Endpoint(String),
}

impl Cluster {
    /// Describes a cluster.
    ///
    /// Takes its account (twelve digits), region, id (26 characters) and `further_endpoints`, a
    /// list separated by commas; a port behind a name is passed over, since a name counts with any. The
    /// cluster's own name `ID.dsql.REGION.on.aws`, `localhost` and the loopback addresses are endpoints
    /// without being listed.
    ///
    /// # Errors
    /// [`BadCluster`] names the part that does not fit.
    pub fn new(
        account: &str,
        region: &str,
        id: &str,
        further_endpoints: &str,
    ) -> Result<Self, BadCluster> {
        if !is_account_id(account) {
            return Err(BadCluster::Account(account.to_owned()));
        }
        if !is_region(region) {
            return Err(BadCluster::Region(region.to_owned()));
        }
        let is_id_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if id.len() != ID_LEN || !id.bytes().all(is_id_char) {
            return Err(BadCluster::Id(id.to_owned()));
        }
        let mut endpoints: Vec<String> = ["localhost", "127.0.0.1", "[::1]", "::1"]
            .map(str::to_owned)
            .to_vec();
        endpoints.push(format!("{id}.{SERVICE}.{region}.on.aws"));
        for endpoint in further_endpoints.split(',').map(str::trim) {
            if endpoint.is_empty() {
                continue;
            }
            let name = without_port(endpoint);
            if !is_host(name) {
                return Err(BadCluster::Endpoint(endpoint.to_owned()));
            }
            endpoints.push(name.to_ascii_lowercase());
        }
        Ok(Self {
            account: account.to_owned(),
            region: region.to_owned(),
            id: id.to_owned(),
            endpoints,
        })
    }

    /// Describes the cluster with this ARN, in `region` if that is another one than in the ARN; `None` if it
    /// is not the ARN of a cluster. See [`new`](Self::new) for `further_endpoints`.
    ///
    /// # Errors
    /// [`BadCluster`] names the part that does not fit.
    pub fn with_arn(
        arn: &str,
        region: Option<&str>,
        further_endpoints: &str,
    ) -> Option<Result<Self, BadCluster>> {
        let arn =
            Arn::parse(arn).filter(|arn| arn.service == SERVICE && !arn.resource.contains(':'))?;
        let id = arn.resource.strip_prefix("cluster/").unwrap_or_default();
        let region = region.unwrap_or(arn.region);
        Some(Self::new(arn.account, region, id, further_endpoints))
    }

    /// The account that owns the cluster.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The host names that tokens may be signed for.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The cluster's region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// `arn:PARTITION:dsql:REGION:ACCOUNT:cluster/ID`
    pub fn arn(&self) -> String {
        let partition = match self.region.as_str() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let (region, account, id) = (&self.region, &self.account, &self.id);
        format!("arn:{partition}:{SERVICE}:{region}:{account}:cluster/{id}")
    }

    /// Whether the id of a cluster is this one's.
    pub fn has_id(&self, id: &str) -> bool {
        self.id == id
    }

    /// Whether a host name is one of Aurora DSQL's (`ID.dsql.REGION.on.aws`, or a PrivateLink name
    /// `ID.dsql-….REGION.on.aws`), and another cluster's. Any other name is nobody's.
    pub fn is_anothers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        id_and_region(&host).is_some_and(|(id, region)| id != self.id || region != self.region)
    }

    /// Whether a token signed for `host` (with or without a port) is meant for this cluster.
    pub fn answers_to(&self, host: &str) -> bool {
        let is = |name: &str| self.endpoints.iter().any(|e| e.eq_ignore_ascii_case(name));
        is(host)
            || host
                .rsplit_once(':')
                .is_some_and(|(name, port)| is_port(port) && is(name))
    }
}

/// The id and the region in one of Aurora DSQL's host names, in lower case: `ID.dsql.REGION.on.aws`, or a
/// PrivateLink name, `ID.dsql-….REGION.on.aws`.
pub fn id_and_region(host: &str) -> Option<(&str, &str)> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels[..] {
        [id, service, region, "on", "aws"] if service.starts_with(SERVICE) => Some((id, region)),
        _ => None,
    }
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What stands before the port of a host, if it has one. An IPv6 address has one only behind brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

/// Whether it is a host name or an address, without a port.
fn is_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if bracketed.is_some() || text.contains(':') {
        return bracketed.unwrap_or(text).parse::<Ipv6Addr>().is_ok();
    }
    let is_host_char = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !text.is_empty() && text.bytes().all(is_host_char)
}

fn is_region(text: &str) -> bool {
    let labels: Vec<&str> = text.split('-').collect();
    labels.len() >= 3
        && labels.iter().all(|l| {
            !l.is_empty()
                && l.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz";

    #[test]
    fn endpoints_with_and_without_a_port() {
        let cluster = Cluster::new("012345678912", "us-east-1", ID, "db.test, Other.Test").unwrap();
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost:5432",
            "127.0.0.1:5432",
            "[::1]:5432",
            "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
            "db.test",
            "other.test:1",
        ] {
            assert!(cluster.answers_to(host), "{host}");
        }
        for host in [
            "",
            ":5432",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+1x",
            "xlocalhost",
            "bbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
            "abcdefghijklmnopqrstuvwxyz.dsql.us-west-2.on.aws",
        ] {
            assert!(!cluster.answers_to(host), "{host}");
        }
    }

    #[test]
    fn another_clusters_names() {
        let cluster = Cluster::new("012345678912", "us-east-1", ID, "").unwrap();
        for (host, is_anothers) in [
            ("abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws", false),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZ.DSQL.US-EAST-1.ON.AWS", false),
            (
                "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws",
                false,
            ),
            ("bbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws", true),
            (
                "bbcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws",
                true,
            ),
            ("abcdefghijklmnopqrstuvwxyz.dsql.us-west-2.on.aws", true),
            ("", false),
            ("localhost", false),
            ("db.test.us-east-1.on.aws", false),
        ] {
            assert_eq!(cluster.is_anothers(host), is_anothers, "{host}");
        }
    }

    #[test]
    fn partitions_follow_the_region() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
        ] {
            let cluster = Cluster::new("012345678912", region, ID, "").unwrap();
            let arn = format!("arn:{partition}:dsql:{region}:012345678912:cluster/{ID}");
            assert_eq!(cluster.arn(), arn);
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let text = |account: &str, region: &str, id: &str, endpoints: &str| {
            Cluster::new(account, region, id, endpoints)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text("", "us-east-1", ID, ""),
            "account_id must be twelve digits, not \"\""
        );
        assert_eq!(
            text("012345678912", "moon", ID, ""),
            "region must look like \"us-east-1\", not \"moon\""
        );
        assert_eq!(
            text("012345678912", "us-east-1", "short", ""),
            "cluster_id must be 26 characters of a-z and 0-9, not \"short\""
        );
        for endpoint in [
            "a b",
            "https://db.test",
            "db.test:",
            ":5432",
            "db.test:0",
            "db.test:65536",
            "db.test:5432:5432",
            "[db.test]",
            "[::1",
            "::1]",
            "db[1].test",
        ] {
            let list = format!("x.test, {endpoint}");
            assert_eq!(
                text("012345678912", "us-east-1", ID, &list),
                format!("endpoints must be a list of host names, not \"{endpoint}\"")
            );
        }
    }

    /// With it a name would fit only tokens that were signed with that port.
    #[test]
    fn a_port_in_the_list_of_endpoints_is_passed_over() {
        for (endpoint, name) in [
            ("db.test", "db.test"),
            ("Db.Test:5432", "db.test"),
            ("my_db:1", "my_db"),
            ("10.0.0.1:65535", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:5432", "[2001:db8::1]"),
        ] {
            let cluster = Cluster::new("012345678912", "us-east-1", ID, endpoint).unwrap();
            assert!(cluster.answers_to(name), "{endpoint}");
            for port in [1, 5432, 6543] {
                assert!(cluster.answers_to(&format!("{name}:{port}")), "{endpoint}");
            }
        }
    }
}
