//! Every reason that IAM has to refuse a login, and the sentence that goes with it.
//!
//! A denial has two faces. The *hint* is what Aurora DSQL tells the client, and is as opaque as
//! the service is. The *reason* ([`Display`](std::fmt::Display)) is for the server's log, and
//! holds all that helps to find the fault, but never a secret.

pub(crate) use crate::authorization::DenyReason;

use crate::actions::Action;
use crate::authorization::PolicyType;
use crate::cluster::SERVICE;
use crate::credentials;
use crate::sigv4::token::Malformed;
use crate::sigv4::{expired, not_yet_current, wrong_service};
use crate::visible::printable;

/// Why a login is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The password is not a well-formed token.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The credential scope's date is not the token's.
    #[error("the credential scope's date {scope} is not the date of X-Amz-Date, {date}")]
    ScopeDate {
        /// `YYYYMMDD` of the scope
        scope: String,
        /// the token's `X-Amz-Date`
        date: String,
    },
    /// The token was signed for another region.
    #[error("the token was signed for region {signed}, the cluster is in {cluster}")]
    ScopeRegion {
        /// the scope's region
        signed: String,
        /// the cluster's region
        cluster: String,
    },
    /// The token was signed for another service.
    #[error("the token was signed for service {0}, not dsql")]
    ScopeService(String),
    /// The credential scope does not end in `aws4_request`.
    #[error("the credential scope ends in {0}, not in aws4_request")]
    ScopeTerminator(String),
    /// `admin` with `DbConnect`, or another role with `DbConnectAdmin`.
    #[error("role {} cannot be used with action {}", printable(.role), action.name())]
    WrongAction {
        /// the role asked for
        role: String,
        /// the token's action
        action: Action,
    },
    /// The token was signed for a host that is not one of the cluster's endpoints.
    #[error("the token was signed for host {0}, which is not an endpoint of the cluster")]
    WrongHost(String),
    /// The token was signed for a loopback name, and those are not endpoints of the cluster.
    #[error(
        "the token was signed for host {0}, a loopback name, which is not an endpoint of the cluster: loopback_endpoints is off"
    )]
    LoopbackHost(String),
    /// The token is older than it asked to become.
    #[error("the token expired: signed {signed}, good for {seconds} s, now {now}")]
    Expired {
        /// the token's `X-Amz-Date`
        signed: String,
        /// the time that is `seconds` before now
        earliest: String,
        /// the time
        now: String,
        /// the token's `X-Amz-Expires`
        seconds: i64,
    },
    /// The token is from the future, by more than clocks differ.
    #[error("the token is not yet valid: signed {signed}, now {now}")]
    NotYetValid {
        /// the token's `X-Amz-Date`
        signed: String,
        /// the time five minutes from now
        latest: String,
        /// the time
        now: String,
    },
    /// No document holds the access key.
    #[error("access key {0} is not known")]
    UnknownAccessKey(String),
    /// The access key's status is not `Active`.
    #[error("access key {0} is not active")]
    InactiveAccessKey(String),
    /// The access key's user or role is in no document.
    #[error("access key {access_key} belongs to {owner}, which is in no document")]
    UnknownPrincipal {
        /// the access key id
        access_key: String,
        /// the user's name or the session's ARN
        owner: String,
    },
    /// Several accounts have a user of the access key's name.
    #[error(
        "access key {access_key} belongs to {owner}, and several accounts have one: its document has to say \
         which, with AccountId"
    )]
    AmbiguousPrincipal {
        /// the access key id
        access_key: String,
        /// `user NAME`
        owner: String,
    },
    /// The session token is missing, wrong, or there where there should be none.
    #[error("the session token is not the one that belongs to access key {0}")]
    WrongSessionToken(String),
    /// The role session is over.
    #[error("the session of access key {access_key} ended at {ended}")]
    SessionOver {
        /// the access key id
        access_key: String,
        /// when it ended
        ended: String,
    },
    /// The signature is not the one that the secret access key makes.
    #[error("the signature does not verify with the secret of access key {0}")]
    WrongSignature(String),
    /// The signature is right for the host in lower case, and the token has it in capitals.
    #[error(
        "the signature of access key {0} is for the host in lower case, and the token has it in capitals"
    )]
    HostInCapitals(String),
    /// The principal belongs to another account than the cluster.
    #[error("{0} belongs to another account than the cluster")]
    OtherAccount(String),
    /// IAM does not allow the action.
    #[error("{}", not_authorized(.principal, .action.iam_name(), .resource, .why))]
    NotAuthorized {
        /// the principal's ARN; for a role, the session's
        principal: String,
        /// the action
        action: Action,
        /// the cluster's ARN
        resource: String,
        /// what forbids it
        why: DenyReason,
    },
}

/// AWS's sentence for whoever is not allowed an action.
fn not_authorized(principal: &str, action: &str, resource: &str, why: &DenyReason) -> String {
    let reason = reason(action, why);
    format!(
        "User: {principal} is not authorized to perform: {action} on resource: {resource} {reason}"
    )
}

/// The end of that sentence.
pub(crate) fn reason(action: &str, why: &DenyReason) -> String {
    match why {
        DenyReason::NotAllowedBy(policy) => {
            format!("because no {policy} allows the {action} action")
        }
        DenyReason::DeniedBy(policy @ PolicyType::IdentityBased) => {
            format!("with an explicit deny in an {policy}")
        }
        DenyReason::DeniedBy(policy) => format!("with an explicit deny in a {policy}"),
        DenyReason::Incomplete(missing) => format!("because {missing} is in no document"),
        DenyReason::TooMuchWork => {
            "because its policies take more work than one request may: no decision".to_owned()
        }
    }
}

/// The same for whoever may not assume a role: there the resource's policy is the role's trust policy, which
/// AWS calls so.
pub(crate) fn trust_reason(action: &str, why: &DenyReason) -> String {
    match why {
        DenyReason::NotAllowedBy(PolicyType::ResourceBased) => {
            format!("because no role trust policy allows the {action} action")
        }
        DenyReason::DeniedBy(PolicyType::ResourceBased) => {
            "with an explicit deny in the role trust policy".to_owned()
        }
        why => reason(action, why),
    }
}

impl Denial {
    /// Aurora DSQL's HINT for the client; `None` where it has none.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed(Malformed::NoUrl) => "Request is missing Authentication Token".into(),
            Self::Malformed(Malformed::LifeTooLong) => {
                "X-Amz-Expires must be less than a week (in \
                seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
                    .into()
            }
            Self::Malformed(Malformed::OtherService(_)) => wrong_service(SERVICE),
            Self::Malformed(_) => "AWS query-string parameters must include 'X-Amz-Algorithm', \
                'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date' \
                in valid form."
                .into(),
            Self::ScopeDate { scope, date } => format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: \
                 '{scope}' != '{}', from '{date}'.",
                date.get(..8).unwrap_or(date)
            ),
            Self::ScopeRegion { signed, .. } => {
                format!("Credential should be scoped to a valid region, not '{signed}'.")
            }
            Self::ScopeService(_) => wrong_service(SERVICE),
            Self::ScopeTerminator(_) => {
                "Credential should be scoped with a valid terminator: 'aws4_request'.".into()
            }
            Self::WrongAction { role, action } => format!(
                "Wrong user to action mapping. user: {}, action: {}",
                printable(role),
                action.name()
            ),
            Self::Expired {
                signed,
                earliest,
                now,
                seconds,
            } => expired(signed, earliest, now, &minutes(*seconds)),
            Self::NotYetValid {
                signed,
                latest,
                now,
            } => not_yet_current(signed, latest, now),
            Self::UnknownAccessKey(_)
            | Self::InactiveAccessKey(_)
            | Self::UnknownPrincipal { .. }
            | Self::AmbiguousPrincipal { .. }
            | Self::WrongSessionToken(_) => credentials::INVALID.into(),
            Self::SessionOver { .. } => credentials::EXPIRED.into(),
            Self::WrongHost(_)
            | Self::LoopbackHost(_)
            | Self::WrongSignature(_)
            | Self::HostInCapitals(_) => credentials::WRONG_SIGNATURE.into(),
            Self::OtherAccount(principal) => {
                format!("User: {principal} is not authorized to access this resource")
            }
            // These are faults of the local documents: AWS would not say it so.
            Self::NotAuthorized {
                principal,
                action,
                resource,
                why: DenyReason::Incomplete(_) | DenyReason::TooMuchWork,
            } => not_authorized(
                principal,
                action.iam_name(),
                resource,
                &DenyReason::NotAllowedBy(PolicyType::IdentityBased),
            ),
            Self::NotAuthorized { .. } => self.to_string(),
        })
    }

    /// A short name of the check that failed, the same in every release, for machines.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "token",
            Self::ScopeDate { .. }
            | Self::ScopeRegion { .. }
            | Self::ScopeService(_)
            | Self::ScopeTerminator(_) => "credential_scope",
            Self::WrongAction { .. } => "action",
            Self::WrongHost(_) | Self::LoopbackHost(_) => "host",
            Self::Expired { .. } | Self::NotYetValid { .. } => "time",
            Self::UnknownAccessKey(_)
            | Self::InactiveAccessKey(_)
            | Self::UnknownPrincipal { .. }
            | Self::AmbiguousPrincipal { .. } => "access_key",
            Self::WrongSessionToken(_) | Self::SessionOver { .. } => "session",
            Self::WrongSignature(_) | Self::HostInCapitals(_) => "signature",
            Self::OtherAccount(_) => "account",
            Self::NotAuthorized { .. } => "policy",
        }
    }
}

fn minutes(seconds: i64) -> String {
    if seconds % 60 == 0 {
        format!("{} min.", seconds / 60)
    } else {
        format!("{seconds} sec.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_is_shown_short_and_without_control_characters() {
        for (text, shown) in [
            ("admin", "admin"),
            ("Größe \"x\"", "Größe \"x\""),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\r\nb\0", "a\\u{d}\\u{a}b\\u{0}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            (&"é".repeat(255), &"é".repeat(255)),
            (&"é".repeat(256), &format!("{}…", "é".repeat(255))),
        ] {
            assert_eq!(printable(text), shown);
        }
        let denial = Denial::WrongAction {
            role: "a\u{1b}[2J".into(),
            action: Action::DbConnect,
        };
        for text in [denial.to_string(), denial.hint().unwrap_or_default()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
