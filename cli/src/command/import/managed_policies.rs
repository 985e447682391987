//! The managed policies of AWS that come with the command, as they were on the date that each has.

use std::sync::LazyLock;

use serde::Deserialize;

/// Those that name `dsql:`, the plain ones, and those that nearly every role of a program has.
static ALL: LazyLock<Vec<ManagedPolicy>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("managed_policies.json")).expect("a test reads it")
});

/// A managed policy of AWS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedPolicy {
    /// what its ARN has behind `arn:PARTITION:iam::aws:policy/`
    name: String,
    version: String,
    /// when AWS edited it last
    edited: String,
    /// whether it is only what could have a say in a login
    #[serde(default)]
    reduced: bool,
    /// what it says
    pub document: serde_json::Value,
}

impl ManagedPolicy {
    /// A line for the summary.
    pub fn line(&self) -> String {
        let Self {
            name,
            version,
            edited,
            ..
        } = self;
        let reduced = match self.reduced {
            true => ", reduced to what names dsql: (a simulation of other services is denied)",
            false => "",
        };
        format!("AWS-managed policy {name}: {version}, of {edited}{reduced}")
    }
}

/// The policy with this ARN.
pub fn find(arn: &str) -> Option<&'static ManagedPolicy> {
    let name = name(arn)?;
    ALL.iter().find(|policy| policy.name == name)
}

/// The name and path in the ARN of a managed policy of AWS.
fn name(arn: &str) -> Option<&str> {
    let (partition, rest) = arn.strip_prefix("arn:")?.split_once(':')?;
    let name = rest.strip_prefix("iam::aws:policy/")?;
    ["aws", "aws-cn", "aws-us-gov"]
        .contains(&partition)
        .then_some(name)
}

/// The name and path of the policy that SAM means by this name: it may leave the path out.
pub fn named(name: &str) -> Option<&'static str> {
    let is = |full: &str| full == name || full.rsplit('/').next() == Some(name);
    ALL.iter()
        .map(|policy| policy.name.as_str())
        .find(|full| is(full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::policy::{Kind, Policy};

    #[test]
    fn each_is_a_policy() {
        for policy in ALL.iter() {
            let text = policy.document.to_string();
            let parsed = Policy::parse(&text, Kind::IdentityBased);
            assert!(parsed.is_ok(), "{}: {:?}", policy.name, parsed.err());
        }
    }

    #[test]
    fn it_is_found_in_every_partition_and_nowhere_else() {
        let version = |arn: &str| find(arn).map(|policy| policy.version.as_str());
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let arn = format!("arn:{partition}:iam::aws:policy/AdministratorAccess");
            assert_eq!(version(&arn), Some("v1"));
        }
        assert!(find("arn:aws:iam::012345678912:policy/AdministratorAccess").is_none());
        assert!(find("arn:aws:iam::aws:policy/administratoraccess").is_none());
        assert_eq!(
            named("AWSLambdaBasicExecutionRole"),
            Some("service-role/AWSLambdaBasicExecutionRole")
        );
    }
}
