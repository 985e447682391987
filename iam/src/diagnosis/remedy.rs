//! The line that mends each fault of a login.

use crate::authorization::{Decision, DenyReason, Matched, PolicyType};
use crate::cluster::Cluster;
use crate::denial::Denial;
use crate::login::ADMIN;
use crate::policy::Effect;
use crate::sigv4::token::Malformed;

/// One line that mends what is denied.
pub(super) fn remedy(denial: &Denial, cluster: &Cluster) -> String {
    let host = cluster.own_name();
    match denial {
        Denial::Malformed(_) => malformed_remedy(denial, ""),
        Denial::ScopeDate { .. } | Denial::ScopeTerminator(_) => {
            "use one of AWS's signers: no other makes such a scope".into()
        }
        Denial::ScopeRegion { cluster, .. } => {
            format!("sign for the cluster's region: --region {cluster}, or AWS_REGION={cluster}")
        }
        Denial::ScopeService(_) => OTHER_SERVICE.into(),
        Denial::WrongAction { role, .. } if role == ADMIN => {
            "sign for admin: aws dsql generate-db-connect-admin-auth-token, or dsql-iam token --admin".into()
        }
        Denial::WrongAction { .. } => {
            "sign for a custom role: aws dsql generate-db-connect-auth-token, or dsql-iam token; only \
             admin takes DbConnectAdmin"
                .into()
        }
        Denial::WrongHost(_) | Denial::LoopbackHost(_) => {
            format!("sign for the cluster's own name, {host}, or name a further one with --endpoint")
        }
        Denial::Expired { .. } => {
            "sign a new token for each connection, or one with a longer life (--expires-in); if it is new, set the \
             clock of the machine that signs"
                .into()
        }
        Denial::NotYetValid { .. } => "set the clock of the machine that signs: it is ahead".into(),
        Denial::UnknownAccessKey(_) | Denial::InactiveAccessKey(_) => {
            "sign with a key that is active: aws iam list-access-keys".into()
        }
        Denial::AmbiguousPrincipal { .. } => {
            "name the account of the key: \"AccountId\": \"NUMBER\" in its document".into()
        }
        Denial::UnknownPrincipal { .. } => {
            "export the account again: the key is younger than the export".into()
        }
        Denial::WrongSessionToken(_) => {
            "sign with all the credentials of one session; a user's own key (AKIA…) has no session \
             token: unset AWS_SESSION_TOKEN"
                .into()
        }
        Denial::SessionOver { .. } => "assume the role again, and sign with the new credentials".into(),
        Denial::WrongSignature(_) => "compare the secret access key with the one that AWS gave out".into(),
        Denial::HostInCapitals(_) => "give the signer the host in lower case".into(),
        Denial::OtherAccount(_) => format!(
            "sign as a user or a role of the cluster's account, {}: assume a role there",
            cluster.account()
        ),
        Denial::NotAuthorized { why, .. } => match why {
            DenyReason::Incomplete(missing) => {
                format!("add what brings {missing}: export the account again, with its groups and policies")
            }
            DenyReason::TooMuchWork => "take out the policy with far more conditions than AWS allows".into(),
            DenyReason::DeniedBy(policy) | DenyReason::NotAllowedBy(policy) => {
                format!("look at the {policy}")
            }
        },
    }
}

const OTHER_SERVICE: &str = "use the signer for Aurora DSQL (aws dsql generate-db-connect-auth-token), not the one \
                             for RDS or another service";

/// The same for a password that is no token.
pub(super) fn malformed_remedy(denial: &Denial, password: &str) -> String {
    let Denial::Malformed(fault) = denial else {
        return String::new();
    };
    let text = match fault {
        Malformed::NoUrl => "give the token that a signer makes, whole: HOST/?Action=…",
        Malformed::TooLong | Malformed::Unknown => {
            "give the token as the signer made it, and nothing else"
        }
        Malformed::Host if password.contains("://") => "take the scheme (https://) off the token",
        Malformed::Host => "give the token from its host on, without anything before it",
        Malformed::OtherService(_) => OTHER_SERVICE,
        Malformed::LifeTooLong => "sign for a week at the most: --expires-in 604800",
        Malformed::Twice(_) | Malformed::Missing(_) | Malformed::Value(_) => {
            "take the token over whole: in quotes in a shell, percent-encoded in a connection URI, and \
             without a line break"
        }
    };
    text.into()
}

/// The same for what the policies refuse: with the statement that denies, or the one that comes close.
pub(super) fn policy_remedy(
    denial: &Denial,
    decision: &Decision<'_>,
    who: (&str, Option<String>),
    cluster: &Cluster,
) -> String {
    let (principal, near) = who;
    let Denial::NotAuthorized { action, why, .. } = denial else {
        return remedy(denial, cluster);
    };
    let (action, arn) = (action.iam_name(), cluster.arn());
    match why {
        DenyReason::DeniedBy(policy) => {
            let is_it =
                |one: &&Matched<'_>| one.policy_type == *policy && one.effect == Effect::Deny;
            match decision.matched.iter().find(is_it) {
                Some(one) => format!("take {action} out of the {one}"),
                None => remedy(denial, cluster),
            }
        }
        DenyReason::NotAllowedBy(PolicyType::IdentityBased) => match near {
            Some(near) => near,
            None if decision.missing_context.is_empty() => {
                format!("attach a policy to {principal} that allows {action} on {arn}")
            }
            None => format!(
                "attach a policy to {principal} that allows {action} on {arn}, or meet its conditions: {} \
                 had no value here (ContextEntries give one)",
                decision.missing_context.join(", ")
            ),
        },
        DenyReason::NotAllowedBy(PolicyType::PermissionsBoundary) => {
            format!("let the permissions boundary of {principal} allow {action}, too")
        }
        DenyReason::NotAllowedBy(PolicyType::ServiceControl) => {
            format!("let a service control policy on each level of the organization allow {action}")
        }
        DenyReason::NotAllowedBy(PolicyType::Session) => format!(
            "assume the role without session policies, or with one that allows {action} on {arn}"
        ),
        DenyReason::NotAllowedBy(PolicyType::ResourceBased) => {
            format!("let the cluster's policy allow {action} to {principal}")
        }
        DenyReason::Incomplete(_) | DenyReason::TooMuchWork => remedy(denial, cluster),
    }
}
