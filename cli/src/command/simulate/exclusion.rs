//! `--policy-exclusion-list`: what would be if policies were taken off the principal.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/APIReference/API_PolicyIdentifier.html>. An identifier that is not
//! well formed is refused; one that fits no policy is passed over, and so are resource control policies. Only what is
//! attached can be left out, not what is given with the request.

use dsql_iam_core::policy::fits_wildcards;
use dsql_iam_core::{Arn, Policies, Source, account_of, is_account_id};

use super::error::{Error, error, invalid};
use super::structures::{InlinePolicyIdentifier, PolicyIdentifier};

/// The most that AWS takes.
const MAX_EXCLUSIONS: usize = 256;

const TYPES: [&str; 6] = [
    "inline",
    "aws-managed",
    "user-managed",
    "permission-boundary",
    "scp",
    "rcp",
];

const ATTACHMENTS: [&str; 3] = ["user", "group", "role"];

/// The policies to leave out.
pub struct Exclusions<'e>(Vec<Excluded<'e>>);

enum Excluded<'e> {
    /// All of a type.
    Type(&'e str),
    /// The managed ones with these ARNs.
    Managed(&'e str),
    /// The inline ones of these users, groups or roles.
    Inline(&'e InlinePolicyIdentifier),
}

impl<'e> Exclusions<'e> {
    /// Checks a list.
    ///
    /// # Errors
    /// An identifier that is not well formed.
    pub fn read(list: &'e [PolicyIdentifier]) -> Result<Self, Error> {
        if list.len() > MAX_EXCLUSIONS {
            return Err(invalid(format!(
                "'policyExclusionList' has more than {MAX_EXCLUSIONS} members"
            )));
        }
        let read = list.iter().enumerate();
        let read = read.map(|(index, identifier)| excluded(identifier, index));
        Ok(Self(read.collect::<Result<_, _>>()?))
    }

    /// Takes them out of what is attached.
    pub fn apply(&self, policies: &mut Policies<'_>) {
        let is_excluded = |source: &Source<'_>| self.0.iter().any(|one| one.fits(source));
        policies
            .identity
            .retain(|policy| !is_excluded(&policy.source));
        let has_type = |wanted: &str| {
            let mut all = self.0.iter();
            all.any(|one| matches!(one, Excluded::Type(name) if *name == wanted))
        };
        if has_type("permission-boundary") {
            policies.boundary = None;
        }
        if has_type("scp") {
            policies.service_control.clear();
        }
    }
}

impl Excluded<'_> {
    /// Whether it is about this identity-based policy.
    fn fits(&self, source: &Source<'_>) -> bool {
        match (self, source) {
            (Self::Type("inline"), Source::Inline { .. }) => true,
            (Self::Type("aws-managed"), Source::Managed(arn)) => is_of_aws(arn),
            (Self::Type("user-managed"), Source::Managed(arn)) => !is_of_aws(arn),
            (Self::Managed(pattern), Source::Managed(arn)) => fits_wildcards(pattern, arn),
            (Self::Inline(wanted), Source::Inline { owner, name }) => {
                let resource = owner.rsplit(':').next().unwrap_or_default();
                let kind = resource.split('/').next().unwrap_or_default();
                let owner = resource.rsplit('/').next().unwrap_or_default();
                wanted.policy_name == *name
                    && wanted.attachment_type == kind
                    && fits_wildcards(&wanted.attachment_name, owner)
            }
            _ => false,
        }
    }
}

fn excluded(identifier: &PolicyIdentifier, index: usize) -> Result<Excluded<'_>, Error> {
    let PolicyIdentifier {
        policy_type,
        policy_arn,
        inline_policy_identifier,
    } = identifier;
    match (policy_type, policy_arn, inline_policy_identifier) {
        (Some(name), None, None) => one_of(name, &TYPES, "policyType").map(Excluded::Type),
        (None, Some(arn), None) => managed(arn).map(Excluded::Managed),
        (None, None, Some(inline)) => {
            one_of(&inline.attachment_type, &ATTACHMENTS, "attachmentType")?;
            if !is_name(&inline.policy_name, "") {
                let name = &inline.policy_name;
                return Err(invalid(format!(
                    "{name} is not the name of an inline policy"
                )));
            }
            let name = &inline.attachment_name;
            if !is_name(name, "*?") || name.matches('*').count() > 1 {
                let of = &inline.attachment_type;
                return Err(invalid(format!(
                    "{name} is not the name of a {of}, with at most one *"
                )));
            }
            Ok(Excluded::Inline(inline))
        }
        _ => Err(error(format!(
            "Parameter validation failed: Invalid number of parameters set for tagged union structure \
             PolicyExclusionList[{index}]. Can only set one of the following keys: PolicyType, \
             PolicyArn, InlinePolicyIdentifier."
        ))),
    }
}

fn one_of<'v>(value: &'v str, all: &[&str], name: &str) -> Result<&'v str, Error> {
    if all.contains(&value) {
        return Ok(value);
    }
    Err(Error::Validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy \
         constraint: Member must satisfy enum value set: [{}]",
        all.join(", ")
    )))
}

/// The ARN of a managed policy, with wildcards in its name alone.
fn managed(arn: &str) -> Result<&str, Error> {
    let is_policy = |parts: Arn<'_>| {
        let resource = parts.resource;
        let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
        let fixed = &arn[..arn.len() - name.len()];
        !parts.partition.is_empty()
            && !kind.is_empty()
            && !name.is_empty()
            && !fixed.contains(['*', '?'])
            && name.matches('*').count() <= 1
            && is_account_or_aws(parts.account)
    };
    if Arn::parse(arn).is_some_and(is_policy) {
        Ok(arn)
    } else {
        Err(invalid(format!(
            "{arn} is not the ARN of a policy, with wildcards in its name alone and at most one *"
        )))
    }
}

fn is_account_or_aws(account: &str) -> bool {
    account == "aws" || is_account_id(account)
}

fn is_of_aws(arn: &str) -> bool {
    account_of(arn) == "aws"
}

fn is_name(name: &str, more: &str) -> bool {
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) || more.contains(c);
    (1..=128).contains(&name.len()) && name.chars().all(is_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::Sourced;
    use dsql_iam_core::policy::{Kind, Policy};
    use serde_json::{Value, json};

    const ALICE: &str = "arn:aws:iam::012345678912:user/x/alice";
    const STAFF: &str = "arn:aws:iam::012345678912:group/alice";
    const OWN: &str = "arn:aws:iam::012345678912:policy/x/Read";
    const AWS: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

    fn list(identifiers: &[Value]) -> Vec<PolicyIdentifier> {
        serde_json::from_value(json!(identifiers)).unwrap()
    }

    /// Which of the policies are left, by a letter each: two inline ones, one of AWS, one of the account,
    /// the boundary, and a service control policy.
    fn left(identifiers: &[Value]) -> String {
        let policy = Policy::parse(
            r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
            Kind::IdentityBased,
        );
        let policy = &policy.unwrap();
        let sourced = |source| Sourced { source, policy };
        let inline = |owner| Source::Inline { owner, name: "p" };
        let all = [
            ('u', inline(ALICE)),
            ('g', inline(STAFF)),
            ('a', Source::Managed(AWS)),
            ('o', Source::Managed(OWN)),
        ];
        let mut policies = Policies {
            identity: all.iter().map(|(_, source)| sourced(*source)).collect(),
            boundary: Some(sourced(Source::Managed(OWN))),
            service_control: vec![vec![sourced(Source::Other("scp"))]],
            ..Policies::default()
        };
        let identifiers = list(identifiers);
        let exclusions = Exclusions::read(&identifiers).unwrap();
        exclusions.apply(&mut policies);
        let is_left = |source: &Source<'_>| policies.identity.iter().any(|p| p.source == *source);
        let identity = all.iter().filter(|(_, source)| is_left(source));
        let mut left: String = identity.map(|(letter, _)| *letter).collect();
        left.extend(policies.boundary.map(|_| 'b'));
        left.extend(policies.service_control.first().map(|_| 's'));
        left
    }

    fn inline(name: &str, kind: &str, owner: &str) -> Value {
        json!({"InlinePolicyIdentifier":
            {"PolicyName": name, "AttachmentType": kind, "AttachmentName": owner}})
    }

    #[test]
    fn what_is_left() {
        let by_type = |name: &str| json!({"PolicyType": name});
        let by_arn = |arn: &str| json!({"PolicyArn": arn});
        for (identifiers, expected) in [
            (vec![], "ugaobs"),
            (vec![by_type("inline")], "aobs"),
            (vec![by_type("aws-managed")], "ugobs"),
            (vec![by_type("user-managed")], "ugabs"),
            (vec![by_type("permission-boundary")], "ugaos"),
            (vec![by_type("scp")], "ugaob"),
            (vec![by_type("rcp")], "ugaobs"),
            (vec![by_type("inline"), by_type("scp")], "aob"),
            // A boundary is not attached, and stays.
            (vec![by_arn(OWN)], "ugabs"),
            (vec![by_arn("arn:aws:iam::012345678912:policy/*")], "ugabs"),
            (
                vec![by_arn("arn:aws:iam::012345678912:policy/x/R??d")],
                "ugabs",
            ),
            (
                vec![by_arn("arn:aws:iam::012345678912:policy/x/R?d")],
                "ugaobs",
            ),
            (
                vec![by_arn("arn:aws:iam::012345678912:policy/Read")],
                "ugaobs",
            ),
            (vec![by_arn("arn:aws:iam::aws:policy/*Access")], "ugobs"),
            (vec![by_arn("arn:aws:iam::aws:policy/*access")], "ugaobs"),
            (
                vec![by_arn("arn:aws:iam::999999999999:policy/x/Read")],
                "ugaobs",
            ),
            (vec![inline("p", "user", "alice")], "gaobs"),
            (vec![inline("p", "group", "al*")], "uaobs"),
            (
                vec![inline("p", "group", "?lice"), inline("p", "user", "*e")],
                "aobs",
            ),
            (vec![inline("p", "role", "alice")], "ugaobs"),
            (vec![inline("q", "user", "alice")], "ugaobs"),
            (vec![inline("p", "user", "alicealice")], "ugaobs"),
        ] {
            assert_eq!(left(&identifiers), expected, "{identifiers:?}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let arn = |arn: &str| {
            let found =
                "is not the ARN of a policy, with wildcards in its name alone and at most one *";
            (
                json!({"PolicyArn": arn}),
                format!("InvalidInput: {arn} {found}"),
            )
        };
        let union = "Parameter validation failed: Invalid number of parameters set for tagged union \
            structure PolicyExclusionList[0]. Can only set one of the following keys: PolicyType, \
            PolicyArn, InlinePolicyIdentifier.";
        let value = |value: &str, name: &str, all: &str| {
            format!(
                "ValidationError: 1 validation error detected: Value '{value}' at '{name}' failed to \
                 satisfy constraint: Member must satisfy enum value set: [{all}]"
            )
        };
        let types = "inline, aws-managed, user-managed, permission-boundary, scp, rcp";
        for (identifier, fault) in [
            (json!({}), union.to_owned()),
            (
                json!({"PolicyType": "scp", "PolicyArn": OWN}),
                union.to_owned(),
            ),
            (
                json!({"PolicyType": "SCP"}),
                value("SCP", "policyType", types),
            ),
            arn("ReadOnlyAccess"),
            arn("arn:aws:iam::*:policy/Read"),
            arn("arn:*:iam::012345678912:policy/Read"),
            arn("arn:aws:iam::012345678912:p*/Read"),
            arn("arn:aws:iam::012345678912:policy"),
            arn("arn:aws:iam::012345678912:policy/"),
            arn("arn:aws:iam::012345678912:policy/*a*"),
            arn("arn:aws:iam::01234567891:policy/Read"),
            (
                inline("p", "users", "a"),
                value("users", "attachmentType", "user, group, role"),
            ),
            (
                inline("p*", "user", "a"),
                "InvalidInput: p* is not the name of an inline policy".into(),
            ),
            (
                inline("p", "user", "*a*"),
                "InvalidInput: *a* is not the name of a user, with at most one *".into(),
            ),
            (
                inline("p", "role", "a/b"),
                "InvalidInput: a/b is not the name of a role, with at most one *".into(),
            ),
        ] {
            let said = Exclusions::read(&list(&[identifier])).err().unwrap();
            assert_eq!(said.to_string(), fault);
        }
        let many = vec![json!({"PolicyType": "scp"}); MAX_EXCLUSIONS + 1];
        let said = Exclusions::read(&list(&many)).err().unwrap().to_string();
        assert_eq!(
            said,
            "InvalidInput: 'policyExclusionList' has more than 256 members"
        );
        assert!(Exclusions::read(&list(&many[1..])).is_ok());
    }
}
