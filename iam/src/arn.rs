//! ARNs: of any resource, and those of the principals that can be mapped to a database role.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html>.

use std::fmt;

/// The longest path that IAM accepts, slashes included.
const MAX_PATH: usize = 512;
/// The longest user or role name that IAM accepts.
const MAX_NAME: usize = 64;

/// The six parts of an ARN, `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`, unchecked but for their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'a str,
    /// `iam`, `dsql`, …
    pub service: &'a str,
    /// Empty where a service has no regions.
    pub region: &'a str,
    /// Twelve digits, or whatever else a service puts there.
    pub account: &'a str,
    /// All that follows the fifth colon.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Takes an ARN apart; `None` if it does not begin with `arn:` or has fewer than six parts.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
        Some(Self {
            partition: parts.next()?,
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        })
    }
}

/// The account in an ARN; empty if there is none.
pub fn account_of(arn: &str) -> &str {
    Arn::parse(arn).map_or("", |arn| arn.account)
}

/// The one account that an ARN names; `None` if it has none, or a `*` in its place.
pub fn account_in(arn: &str) -> Option<&str> {
    Some(account_of(arn)).filter(|account| !account.is_empty() && *account != "*")
}

/// Whether it is the ARN of a managed policy of AWS's own, which every account has.
pub(crate) fn is_aws_managed(arn: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| {
        arn.service == "iam" && arn.account == "aws" && arn.resource.starts_with("policy/")
    })
}

/// The kind of IAM resource that an [`IamArn`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IamKind {
    /// `arn:aws:iam::ACCOUNT:user/…`
    User,
    /// `arn:aws:iam::ACCOUNT:role/…`
    Role,
}

/// The ARN of an IAM user or an IAM role, borrowed from the text it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IamArn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// User or role.
    pub kind: IamKind,
    /// The path, `/` where there is none, otherwise with a slash at both ends.
    pub path: &'a str,
    /// The name without its path.
    pub name: &'a str,
}

/// Text that is not the ARN of an IAM user or an IAM role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("IAM role must look like an IAM ARN")]
pub struct NotAnIamArn;

impl<'a> IamArn<'a> {
    /// Parses `arn:PARTITION:iam::ACCOUNT:user/PATH/NAME` or `…:role/PATH/NAME`.
    ///
    /// # Errors
    /// [`NotAnIamArn`] for anything else: other services, regions, wildcards, role sessions, the
    /// account's root, characters that IAM does not allow.
    pub fn parse(text: &'a str) -> Result<Self, NotAnIamArn> {
        let Arn {
            partition,
            service,
            region,
            account,
            resource,
        } = Arn::parse(text).ok_or(NotAnIamArn)?;
        if service != "iam" || !region.is_empty() {
            return Err(NotAnIamArn);
        }
        if !is_partition(partition) || !is_account_id(account) {
            return Err(NotAnIamArn);
        }
        let (kind, rest) = if let Some(rest) = resource.strip_prefix("user/") {
            (IamKind::User, rest)
        } else if let Some(rest) = resource.strip_prefix("role/") {
            (IamKind::Role, rest)
        } else {
            return Err(NotAnIamArn);
        };
        let (path, name) = match rest.rfind('/') {
            // The slash after `user` or `role` is the first one of the path.
            Some(last) => (&resource[4..5 + last + 1], &rest[last + 1..]),
            None => ("/", rest),
        };
        let path_fits = path.len() <= MAX_PATH && path.bytes().all(|b| b.is_ascii_graphic());
        if !path_fits || path.contains("//") || !is_name(name) {
            return Err(NotAnIamArn);
        }
        Ok(Self {
            partition,
            account,
            kind,
            path,
            name,
        })
    }
}

impl fmt::Display for IamArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            IamKind::User => "user",
            IamKind::Role => "role",
        };
        let (partition, account) = (self.partition, self.account);
        write!(
            f,
            "arn:{partition}:iam::{account}:{kind}{}{}",
            self.path, self.name
        )
    }
}

/// The ARN of a role session, `arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionArn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// The role's name; a session's ARN does not show the role's path.
    pub role: &'a str,
    /// The session's name.
    pub session: &'a str,
}

impl<'a> SessionArn<'a> {
    /// The ARN of the session of this name of a role, as text by [`fmt::Display`].
    pub fn of(role: &IamArn<'a>, session: &'a str) -> Self {
        Self {
            partition: role.partition,
            account: role.account,
            role: role.name,
            session,
        }
    }

    /// Parses the ARN that `aws sts assume-role` prints as `AssumedRoleUser.Arn`.
    ///
    /// Gives `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let arn = Arn::parse(text)?;
        let (partition, account) = (arn.partition, arn.account);
        let (role, session) = arn
            .resource
            .strip_prefix("assumed-role/")?
            .split_once('/')?;
        let fits = arn.service == "sts"
            && arn.region.is_empty()
            && is_partition(partition)
            && is_account_id(account)
            && is_name(role)
            && is_name(session);
        fits.then_some(Self {
            partition,
            account,
            role,
            session,
        })
    }
}

impl fmt::Display for SessionArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            account,
            role,
            session,
        } = self;
        write!(
            f,
            "arn:{partition}:sts::{account}:assumed-role/{role}/{session}"
        )
    }
}

/// Whether an ARN is that of an IAM resource of this kind (`group`, `policy`) and name, path or not, in an
/// account, or in AWS's own, `aws`.
pub(crate) fn is_iam_resource(arn: &str, kind: &str, name: &str) -> bool {
    let is_named = |resource: &str| {
        let rest = resource.strip_prefix(kind);
        let rest = rest.and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| rest.rsplit('/').next() == Some(name))
    };
    Arn::parse(arn).is_some_and(|arn| {
        arn.service == "iam"
            && arn.region.is_empty()
            && (is_account_id(arn.account) || arn.account == "aws")
            && !name.is_empty()
            && is_named(arn.resource)
    })
}

/// Whether it has the form of the unique id of a user or role, `AIDA…` or `AROA…`. IAM gives each out once.
pub(crate) fn is_unique_id(text: &str) -> bool {
    text.len() >= 16
        && (text.starts_with("AIDA") || text.starts_with("AROA"))
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether `text` is an AWS account id: twelve digits.
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_partition(text: &str) -> bool {
    let tail = text.strip_prefix("aws");
    tail.is_some_and(|tail| {
        tail.is_empty()
            || tail.starts_with('-')
                && tail.len() > 1
                && tail.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    })
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_parts_of_which_the_last_may_hold_colons() {
        let arn = Arn::parse("arn:aws:s3:::bucket:a/b:c").unwrap();
        assert_eq!((arn.partition, arn.service), ("aws", "s3"));
        assert_eq!(
            (arn.region, arn.account, arn.resource),
            ("", "", "bucket:a/b:c")
        );
        for text in [
            "",
            "*",
            "arn",
            "arn:aws:iam::012345678912",
            "urn:aws:iam::1:user/a",
        ] {
            assert_eq!((Arn::parse(text), account_of(text)), (None, ""), "{text}");
        }
        assert_eq!(account_of("arn:aws:iam::012345678912:root"), "012345678912");
    }

    #[test]
    fn users_and_roles_with_and_without_a_path() {
        for (text, kind, path, name) in [
            (
                "arn:aws:iam::012345678912:role/example",
                IamKind::Role,
                "/",
                "example",
            ),
            (
                "arn:aws:iam::012345678912:user/dba",
                IamKind::User,
                "/",
                "dba",
            ),
            (
                "arn:aws-cn:iam::012345678912:role/a/b/c",
                IamKind::Role,
                "/a/b/",
                "c",
            ),
        ] {
            let arn = IamArn::parse(text).expect(text);
            assert_eq!((arn.kind, arn.path, arn.name), (kind, path, name), "{text}");
            assert_eq!(arn.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_user_and_no_role_is_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:iam::012345678912",
            "arn:aws:iam::012345678912:root",
            "arn:aws:iam::012345678912:role/",
            "arn:aws:iam::012345678912:role/a//b",
            "arn:aws:iam::012345678912:role//b",
            "arn:aws:iam::012345678912:role/a/",
            "arn:aws:iam::012345678912:role/*",
            "arn:aws:iam::01234567891:role/a",
            "arn:aws:iam::01234567891x:role/a",
            "arn:aws:iam:us-east-1:012345678912:role/a",
            "arn:aws:sts::012345678912:assumed-role/a/b",
            "arn:aws:iam::012345678912:group/a",
            "arn:aws:iam::012345678912:role/a b",
            "arn:aws:iam::012345678912:role/é",
            "arn:awsx:iam::012345678912:role/a",
            "arn:aws-:iam::012345678912:role/a",
            "ARN:aws:iam::012345678912:role/a",
            " arn:aws:iam::012345678912:role/a",
            "arn:aws:iam::012345678912:role/a\n",
        ] {
            assert_eq!(IamArn::parse(text), Err(NotAnIamArn), "{text:?}");
        }
        let long = format!("arn:aws:iam::012345678912:role/{}", "a".repeat(65));
        assert_eq!(IamArn::parse(&long), Err(NotAnIamArn));
    }

    #[test]
    fn sessions() {
        let text = "arn:aws:sts::012345678912:assumed-role/example/local";
        let arn = SessionArn::parse(text).expect("a session");
        assert_eq!((arn.role, arn.session), ("example", "local"));
        assert_eq!(arn.to_string(), text);
        let role = IamArn::parse("arn:aws-cn:iam::012345678912:role/path/example").unwrap();
        assert_eq!(
            SessionArn::of(&role, "s").to_string(),
            "arn:aws-cn:sts::012345678912:assumed-role/example/s"
        );
        for text in [
            "arn:aws:sts::012345678912:assumed-role/example",
            "arn:aws:sts::012345678912:assumed-role/example/a/b",
            "arn:aws:sts::012345678912:federated-user/example",
            "arn:aws:iam::012345678912:role/example",
        ] {
            assert_eq!(SessionArn::parse(text), None, "{text}");
        }
    }
}
