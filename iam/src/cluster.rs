//! The cluster that a login is for.

use crate::arn::{Arn, is_account_id};
use std::net::Ipv6Addr;

/// The service name in a credential scope and in a cluster's ARN.
pub const SERVICE: &str = "dsql";

/// How many characters the id of a cluster has.
pub const ID_LEN: usize = 26;

/// The names of the machine that one is on. Each machine has them, so a token for one of them is for no cluster
/// in particular.
const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "[::1]", "::1"];

/// The cluster: what its ARN is made of, the host names a token may be signed for, and the clusters of other
/// regions that are linked with it, as those of a multi-Region cluster are: one database with an endpoint in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    account: String,
    region: String,
    id: String,
    endpoints: Vec<String>,
    linked: Vec<Self>,
    is_peer: bool,
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
    /// A linked cluster is none, or its id or region stands there already.
    #[error(
        "linked_clusters must be a list of ID@REGION, each of another id and region than the cluster's and the \
         others', not \"{0}\""
    )]
    Linked(String),
}

impl BadCluster {
    /// The name of the wrong part: `account_id`, `region` and so on.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Account(_) => "account_id",
            Self::Region(_) => "region",
            Self::Id(_) => "cluster_id",
            Self::Endpoint(_) => "endpoints",
            Self::Linked(_) => "linked_clusters",
        }
    }
}

impl Cluster {
    /// Describes a cluster.
    ///
    /// Takes its account (twelve digits), region, id (26 characters) and `further_endpoints`, a
    /// list separated by commas; a port behind a name is passed over, since a name counts with any. The
    /// cluster's own name `ID.dsql.REGION.on.aws` is an endpoint without being listed.
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
        if !is_id(id) {
            return Err(BadCluster::Id(id.to_owned()));
        }
        let mut endpoints = vec![endpoint(id, region)];
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
            linked: Vec::new(),
            is_peer: false,
        })
    }

    /// The cluster with those linked with it: `list` has them as `ID@REGION`, separated by commas. They belong to
    /// the same account. Of the further endpoints, the names of Aurora DSQL's that hold a linked cluster's id
    /// and region, which PrivateLink's do, become that one's.
    ///
    /// # Errors
    /// [`BadCluster::Linked`] with the first entry that is malformed, or whose id or region is the cluster's or
    /// another entry's: which of two is meant, could not be told.
    pub fn with_linked(mut self, list: &str) -> Result<Self, BadCluster> {
        for (id, region) in parse_linked(list)? {
            if id == self.id || region == self.region {
                return Err(BadCluster::Linked(format!("{id}@{region}")));
            }
            let is_its = |name: &str| id_and_region(name) == Some((id, region));
            let mut peer = self.clone();
            let own = self.endpoints.iter().filter(|name| is_its(name)).cloned();
            peer.endpoints = own.collect();
            peer.endpoints.push(endpoint(id, region));
            self.endpoints.retain(|name| !is_its(name));
            (peer.id, peer.region) = (id.to_owned(), region.to_owned());
            (peer.linked, peer.is_peer) = (Vec::new(), true);
            self.linked.push(peer);
        }
        Ok(self)
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

    /// The same cluster, which takes tokens for `localhost`, `127.0.0.1` and `::1` too, and so do those that are
    /// linked with it by now. Every other cluster that does takes the same tokens.
    #[must_use]
    pub fn with_loopback_endpoints(mut self) -> Self {
        self.endpoints.extend(LOOPBACK.map(str::to_owned));
        for peer in &mut self.linked {
            peer.endpoints.extend(LOOPBACK.map(str::to_owned));
        }
        self
    }

    /// The account that owns the cluster.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Its own name, `ID.dsql.REGION.on.aws`.
    pub fn own_name(&self) -> String {
        endpoint(&self.id, &self.region)
    }

    /// The host names that tokens may be signed for, but for those of linked clusters.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The clusters that are linked with this one.
    pub fn linked(&self) -> &[Self] {
        &self.linked
    }

    /// Whether this is one of another cluster's [`linked`](Self::linked): no document has its policy.
    pub(crate) fn is_peer(&self) -> bool {
        self.is_peer
    }

    /// This cluster without those linked with it, so that only tokens for itself are good.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            linked: Vec::new(),
            ..self.clone()
        }
    }

    /// The one that a token signed for `host` is to be judged by: the linked cluster whose name that is,
    /// else this one, whether it answers to the name or not.
    pub fn signed_for(&self, host: &str) -> &Self {
        let mut linked = self.linked.iter();
        let found = linked.find(|peer| !self.answers_to(host) && peer.answers_to(host));
        found.unwrap_or(self)
    }

    /// The cluster, this one or a linked one, whose id and region are in a host name of Aurora DSQL's.
    pub fn of_name(&self, host: &str) -> Option<&Self> {
        let host = host.to_ascii_lowercase();
        let (id, region) = id_and_region(&host)?;
        self.all().find(|one| one.id == id && one.region == region)
    }

    /// The cluster, this one or a linked one, with this id.
    pub fn of_id(&self, id: &str) -> Option<&Self> {
        self.all().find(|one| one.id == id)
    }

    /// This one, then those linked with it.
    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.linked)
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

    /// Whether a host name is one of Aurora DSQL's (`ID.dsql.REGION.on.aws`, or a PrivateLink name
    /// `ID.dsql-….REGION.on.aws`), and that of a cluster that is neither this one nor linked with it. Any
    /// other name is nobody's.
    pub fn is_anothers(&self, host: &str) -> bool {
        id_and_region(&host.to_ascii_lowercase()).is_some() && self.of_name(host).is_none()
    }

    /// Whether a token signed for `host` (with or without a port) is meant for this cluster: it is one of the
    /// endpoints, or has the cluster's id and region in a name of PrivateLink, `ID.dsql-….REGION.on.aws`.
    pub fn answers_to(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        is_one_of(&self.endpoints, host) || id_and_region(&name) == Some((&self.id, &self.region))
    }
}

/// Whether a host (with or without a port) is `localhost` or a loopback address, as clusters may take them.
pub(crate) fn is_loopback(host: &str) -> bool {
    is_one_of(&LOOPBACK, host)
}

fn is_one_of(names: &[impl AsRef<str>], host: &str) -> bool {
    let is = |name: &str| {
        let mut names = names.iter();
        names.any(|known| known.as_ref().eq_ignore_ascii_case(name))
    };
    is(host)
        || host
            .rsplit_once(':')
            .is_some_and(|(name, port)| is_port(port) && is(name))
}

/// The id and the region in one of Aurora DSQL's host names, in lower case: `ID.dsql.REGION.on.aws`, or a
/// PrivateLink name, `ID.dsql-….REGION.on.aws`.
pub fn id_and_region(host: &str) -> Option<(&str, &str)> {
    let labels: Vec<&str> = host.split('.').collect();
    let is_service = |label: &str| {
        let rest = label.strip_prefix(SERVICE);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    match labels[..] {
        [id, service, region, "on", "aws"] if is_service(service) => Some((id, region)),
        _ => None,
    }
}

/// The entries of a list of linked clusters, id and region.
///
/// # Errors
/// [`BadCluster::Linked`] with the first entry that is malformed, or whose id or region is an earlier one's.
pub fn parse_linked(list: &str) -> Result<Vec<(&str, &str)>, BadCluster> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let entries = list.split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let parts = entry.split_once('@');
        let parts = parts.filter(|(id, region)| is_id(id) && is_region(region));
        let is_new = |(id, region): &(&str, &str)| {
            found
                .iter()
                .all(|(other, taken)| id != other && region != taken)
        };
        let new = parts.filter(is_new);
        found.push(new.ok_or_else(|| BadCluster::Linked(entry.to_owned()))?);
    }
    Ok(found)
}

/// The public name of a cluster.
fn endpoint(id: &str, region: &str) -> String {
    format!("{id}.{SERVICE}.{region}.on.aws")
}

fn is_id(text: &str) -> bool {
    let is_id_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() == ID_LEN && text.bytes().all(is_id_char)
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The host without its port, if it has one. An IPv6 address has one only behind brackets.
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
        let cluster = Cluster::new("012345678912", "us-east-1", ID, "db.test, Other.Test")
            .unwrap()
            .with_loopback_endpoints();
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost:5432",
            "127.0.0.1:5432",
            "[::1]:5432",
            "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
            "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ.dsql-fnh4.us-east-1.on.aws:5432",
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
            "bbcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws",
            "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-west-2.on.aws",
            "abcdefghijklmnopqrstuvwxyz.dsqlx.us-east-1.on.aws",
            "abcdefghijklmnopqrstuvwxyz.dsql-fnh4.us-east-1.on.aws.test",
        ] {
            assert!(!cluster.answers_to(host), "{host}");
        }
    }

    /// A token for such a name is good on every cluster that takes it.
    #[test]
    fn a_token_is_for_one_cluster_loopback_names_count_only_where_they_are_to() {
        let closed = Cluster::new("012345678912", "us-east-1", ID, "").unwrap();
        let open = closed.clone().with_loopback_endpoints();
        let listed = Cluster::new("012345678912", "us-east-1", ID, "127.0.0.1").unwrap();
        for (host, is_listed) in [
            ("localhost", false),
            ("LocalHost:5432", false),
            ("127.0.0.1", true),
            ("127.0.0.1:5432", true),
            ("::1", false),
            ("[::1]:5432", false),
        ] {
            assert!(is_loopback(host), "{host}");
            assert!(open.answers_to(host), "{host}");
            assert!(!closed.answers_to(host), "{host}");
            assert_eq!(listed.answers_to(host), is_listed, "{host}");
        }
        for host in ["", "localhost:", "localhost.test", "127.0.0.2", "db.test"] {
            assert!(!is_loopback(host) && !open.answers_to(host), "{host}");
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
    fn linked_clusters_have_names_ids_and_regions_of_their_own() {
        let peer = "b".repeat(ID_LEN);
        let further = format!("db.test, {peer}.dsql-fnh4.us-west-2.on.aws");
        let cluster = Cluster::new("012345678912", "us-east-1", ID, &further).unwrap();
        let cluster = cluster.with_linked(&format!(" {peer}@us-west-2,")).unwrap();
        let closed = cluster.of_id(&peer).unwrap();
        assert!(!closed.answers_to("localhost"));
        let cluster = cluster.with_loopback_endpoints();
        let own_arn = format!("arn:aws:dsql:us-east-1:012345678912:cluster/{ID}");
        let peers_arn = format!("arn:aws:dsql:us-west-2:012345678912:cluster/{peer}");
        for (host, arn, is_peer, answers) in [
            ("localhost", &own_arn, false, true),
            ("db.test:5432", &own_arn, false, true),
            (
                &format!("{ID}.dsql.us-east-1.on.aws"),
                &own_arn,
                false,
                true,
            ),
            (
                &format!("{peer}.dsql.us-west-2.on.aws"),
                &peers_arn,
                true,
                true,
            ),
            (
                &format!("{peer}.dsql.us-west-2.on.aws:5432"),
                &peers_arn,
                true,
                true,
            ),
            (
                &format!("{peer}.dsql-fnh4.us-west-2.on.aws"),
                &peers_arn,
                true,
                true,
            ),
            // PrivateLink's.
            (
                &format!("{peer}.dsql-abcd.us-west-2.on.aws"),
                &peers_arn,
                true,
                true,
            ),
            // Each other's region and id, and a service that is another one.
            (
                &format!("{ID}.dsql.us-west-2.on.aws"),
                &own_arn,
                false,
                false,
            ),
            (
                &format!("{peer}.dsql.us-east-1.on.aws"),
                &own_arn,
                false,
                false,
            ),
            (
                &format!("{peer}.rds.us-west-2.on.aws"),
                &own_arn,
                false,
                false,
            ),
        ] {
            let one = cluster.signed_for(host);
            assert_eq!((&one.arn(), one.is_peer()), (arn, is_peer), "{host}");
            assert_eq!(one.answers_to(host), answers, "{host}");
        }
        let peers = cluster.of_id(&peer).unwrap();
        assert_eq!(
            (peers.region(), peers.account()),
            ("us-west-2", "012345678912")
        );
        assert!(!peers.answers_to("db.test") && peers.answers_to("localhost"));
        for name in [
            format!("{peer}.dsql.us-west-2.on.aws"),
            format!("{peer}.DSQL-x.us-west-2.on.aws"),
        ] {
            assert_eq!(cluster.of_name(&name), Some(peers), "{name}");
            assert!(!cluster.is_anothers(&name) && cluster.alone().is_anothers(&name));
        }
        for name in [
            format!("{peer}.dsql.us-east-1.on.aws"),
            format!("{ID}.dsql.us-west-2.on.aws"),
        ] {
            assert!(cluster.is_anothers(&name), "{name}");
        }
        assert_eq!(cluster.of_name("localhost"), None);
        assert_eq!(cluster.of_id(""), None);
    }

    #[test]
    fn a_malformed_or_ambiguous_list_of_linked_clusters_is_refused() {
        let (peer, third) = ("b".repeat(ID_LEN), "c".repeat(ID_LEN));
        for entry in [
            "us-west-2",
            &peer,
            &format!("{peer}@"),
            &format!("@{}", "us-west-2"),
            &format!("{peer}@moon"),
            &format!("{peer}@us-west-2@us-east-2"),
            &format!("{peer} us-west-2"),
            &format!("{}@us-west-2", &peer[1..]),
            &format!("{}@us-west-2", peer.to_uppercase()),
            // The cluster's own id or region, and those of an entry before.
            &format!("{ID}@us-west-2"),
            &format!("{peer}@us-east-1"),
            &format!("{third}@us-west-2"),
            &format!("{third}@eu-west-1"),
        ] {
            let list = format!("{third}@us-west-2, {entry}");
            let cluster = Cluster::new("012345678912", "us-east-1", ID, "").unwrap();
            let fault = cluster.with_linked(&list).unwrap_err().to_string();
            let expected = format!(
                "linked_clusters must be a list of ID@REGION, each of another id and region than the cluster's \
                 and the others', not \"{entry}\""
            );
            assert_eq!(fault, expected, "{list}");
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
