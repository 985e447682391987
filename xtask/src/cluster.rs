//! Which cluster a server stands for.

use serde::{Deserialize, Serialize};

/// The account if none is named.
pub const ACCOUNT_ID: &str = "012345678912";

/// The region if none is named.
pub const REGION: &str = "us-east-1";

/// The infix of PrivateLink's names in AWS's documents; that of a real cluster is its service's.
const PRIVATE_LINK: &str = "dsql-fnh4";

/// Account, region and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The account, twelve digits.
    #[serde(default = "account_id")]
    pub account_id: String,
    /// The region.
    #[serde(default = "region")]
    pub region: String,
    /// The cluster's id, 26 characters of a-z and 0-9.
    #[serde(rename = "cluster_id")]
    pub id: String,
}

impl Cluster {
    /// The public endpoint.
    pub fn endpoint(&self) -> String {
        format!("{}.dsql.{}.on.aws", self.id, self.region)
    }

    /// A name of PrivateLink's.
    pub fn private_link(&self) -> String {
        format!("{}.{PRIVATE_LINK}.{}.on.aws", self.id, self.region)
    }

    /// The ARN.
    pub fn arn(&self) -> String {
        let Self {
            account_id,
            region,
            id,
        } = self;
        format!("arn:aws:dsql:{region}:{account_id}:cluster/{id}")
    }

    /// The names and addresses that the server's certificate is for, if it stands for the linked clusters as
    /// well. Of other clusters too, as the service's is: a client that asks for one hears that this is another.
    pub fn host_names(&self, linked: &[Linked]) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        let linked = linked.iter().map(|linked| self.at(linked));
        for cluster in std::iter::once(self.clone()).chain(linked) {
            names.push(format!("*.dsql.{}.on.aws", cluster.region));
            names.push(cluster.private_link());
        }
        names
    }

    /// The linked cluster, of the same account.
    pub fn at(&self, linked: &Linked) -> Self {
        Self {
            account_id: self.account_id.clone(),
            region: linked.region.clone(),
            id: linked.id.clone(),
        }
    }

    /// One for tests.
    #[cfg(test)]
    pub fn sample() -> Self {
        Self {
            account_id: account_id(),
            region: region(),
            id: "abcdefghijklmnopqrstuvwxyz".into(),
        }
    }
}

/// A cluster of another region that is the same database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// Its id.
    #[serde(rename = "cluster_id")]
    pub id: String,
    /// Its region.
    pub region: String,
}

impl std::fmt::Display for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.region)
    }
}

impl std::str::FromStr for Linked {
    type Err = String;

    /// Takes `ID@REGION`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('@');
        let (id, region) = parts.ok_or("a linked cluster looks like ID@REGION")?;
        Ok(Self {
            id: parse_cluster_id(id)?,
            region: parse_region(region)?,
        })
    }
}

fn account_id() -> String {
    ACCOUNT_ID.into()
}

fn region() -> String {
    REGION.into()
}

/// Takes an account's id.
pub fn parse_account_id(text: &str) -> Result<String, String> {
    let is_one = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let fault = || "an account id has twelve digits".to_owned();
    is_one.then(|| text.to_owned()).ok_or_else(fault)
}

/// Takes a region's name.
pub fn parse_region(text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split('-').collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_one = match words.as_slice() {
        [words @ .., number] => {
            words.len() >= 2
                && words.iter().all(is_word)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        [] => false,
    };
    let fault = || format!("a region looks like {REGION}");
    is_one.then(|| text.to_owned()).ok_or_else(fault)
}

/// Takes a cluster's id.
pub fn parse_cluster_id(text: &str) -> Result<String, String> {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fault = || "a cluster id has 26 characters of a-z and 0-9".to_owned();
    (text.len() == 26 && text.bytes().all(is_known))
        .then(|| text.to_owned())
        .ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_at() {
        for region in ["us-east-1", "us-gov-west-1", "ap-southeast-10"] {
            assert!(parse_region(region).is_ok(), "{region}");
        }
        for region in [
            "",
            "us",
            "us-east",
            "us-east-",
            "US-EAST-1",
            "us--1",
            "us-east-1 ",
            "1",
        ] {
            assert!(parse_region(region).is_err(), "{region}");
        }
        assert!(parse_account_id("012345678912").is_ok());
        assert!(parse_account_id("01234567891").is_err());
        assert!(parse_account_id("01234567891x").is_err());
        assert!(parse_cluster_id("abcdefghijklmnopqrstuvwx12").is_ok());
        assert!(parse_cluster_id("abcdefghijklmnopqrstuvwx1").is_err());
        assert!(parse_cluster_id("Abcdefghijklmnopqrstuvwx12").is_err());
    }
}
