//! Judges one login: a token, a role and the time in; an admission or a denial out.
//!
//! The first check that fails decides. The first five need no identities, and can be made alone
//! ([`check_claims`]); the checks of database, role and mapping come after these, in the server.
//!
//! 1. the token is well formed
//! 2. its credential scope is the cluster's
//! 3. its action fits the role: `admin` with `DbConnectAdmin`, any other with `DbConnect`
//! 4. its host is one of the cluster's endpoints
//! 5. it has not expired and is not from the future
//! 6. its access key is known and active, its session token right, its session not expired
//! 7. its signature is right
//! 8. the principal is of the cluster's account, and the policies allow the action
//!
//! A token for the endpoint of a linked cluster ([`Cluster::linked`]) is judged by that one: its region, its ARN.

use crate::actions::Action;
use crate::arn::IamArn;
use crate::authorization::{Decision, DecisionKind, Request, authorize};
use crate::cluster::{Cluster, SERVICE, is_loopback};
use crate::credentials::{self, Authenticated, Fault, PresentedCredentials};
use crate::denial::{Denial, DenyReason};
use crate::identity::{AccessKey, Identities, Principal, Session};
use crate::policy::RequestPrincipal;
use crate::request_context::{LoginEnvironment, request_context};
use crate::sigv4::ScopeFault;
use crate::sigv4::token::Token;
use crate::time::{CLOCK_SKEW, format_amz_date};
use time::UtcDateTime;

/// The role that is there from the start and needs no mapping.
pub const ADMIN: &str = "admin";

/// The caller of a login, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The ARN of the user, or of the role session.
    pub arn: String,
    /// The ARN that a mapping names: of the user, or of the session's role, path included.
    pub mapped_arn: String,
}

/// A login that IAM allows. A custom role still needs a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The caller.
    pub caller: Caller,
    /// The action that was asked for.
    pub action: Action,
}

/// A login that IAM refuses, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub denial: Denial,
    /// The caller, if the signature was right.
    pub caller: Option<Caller>,
    /// The token's action, if it was well formed.
    pub action: Option<Action>,
}

/// The outcome of a login, and what it rests on.
#[derive(Debug)]
pub struct Verdict<'i> {
    /// Yes, or why not.
    pub outcome: Result<Admission, Refused>,
    /// The decision of the policies; `None` if they were not asked, or if one that counts is in no document.
    pub decision: Option<Decision<'i>>,
}

/// Judges one login.
///
/// `password` is what the client sent; `role` the database role it asks for.
pub fn judge<'i>(password: &str, role: &str, environment: &LoginEnvironment<'i>) -> Verdict<'i> {
    match Token::parse(password) {
        Ok(token) => judge_token(&token, role, environment),
        Err(fault) => Verdict::refused(fault.into(), None, None),
    }
}

/// Judges one login with what has been found to be a token.
pub fn judge_token<'i>(
    token: &Token<'_>,
    role: &str,
    environment: &LoginEnvironment<'i>,
) -> Verdict<'i> {
    judge_with(token, role, environment, |secret| {
        token.is_signed_with(secret)
    })
}

/// The outcome of a token if its signature were right, to be explained: it admits nobody.
pub(crate) fn judge_without_signature<'i>(
    token: &Token<'_>,
    role: &str,
    environment: &LoginEnvironment<'i>,
) -> Verdict<'i> {
    judge_with(token, role, environment, |_| true)
}

fn judge_with<'i>(
    token: &Token<'_>,
    role: &str,
    environment: &LoginEnvironment<'i>,
    is_proven: impl FnOnce(&str) -> bool,
) -> Verdict<'i> {
    let cluster = environment.cluster.signed_for(token.host);
    let environment = &LoginEnvironment {
        cluster,
        ..*environment
    };
    let now = environment.now;
    let action = token.action;
    let proven = check_claims(token, role, cluster, now)
        .and_then(|()| authenticate(token, environment, is_proven));
    let authenticated = match proven {
        Ok(authenticated) => authenticated,
        Err(denial) => return Verdict::refused(denial, None, Some(action)),
    };
    let caller = Caller {
        arn: authenticated.arn().to_owned(),
        mapped_arn: authenticated.principal.arn.clone(),
    };
    let Access { outcome, decision } = may_connect(&authenticated, action, environment);
    match outcome {
        Ok(()) => Verdict {
            outcome: Ok(Admission { caller, action }),
            decision,
        },
        Err(denial) => Verdict {
            decision,
            ..Verdict::refused(denial, Some(caller), Some(action))
        },
    }
}

/// IAM's decision on a caller who wants to connect, and its statements.
#[derive(Debug)]
pub struct Access<'i> {
    /// Yes, or why not.
    pub outcome: Result<(), Denial>,
    /// The decision of the policies; `None` if they were not asked, or if one that counts is in no document.
    pub decision: Option<Decision<'i>>,
}

/// Whether a caller may connect to the cluster, now and from there, as `admin` or as a role that it is mapped
/// to: all that a login is judged by once its token has been found to be the caller's.
pub fn may_connect<'i>(
    caller: &Authenticated<'i>,
    action: Action,
    environment: &LoginEnvironment<'i>,
) -> Access<'i> {
    let cluster = environment.cluster;
    if !is_of(caller.principal, cluster.account()) {
        return Access {
            outcome: Err(Denial::OtherAccount(caller.arn().to_owned())),
            decision: None,
        };
    }
    let (reason, decision) = match decide(caller.principal, caller.session, action, environment) {
        Ok(decision) => (DenyReason::of(&decision), Some(decision)),
        Err(reason) => (Some(reason), None),
    };
    let not_authorized = |why| Denial::NotAuthorized {
        principal: caller.arn().to_owned(),
        action,
        resource: cluster.arn(),
        why,
    };
    Access {
        outcome: reason.map_or(Ok(()), |why| Err(not_authorized(why))),
        decision,
    }
}

impl Verdict<'_> {
    /// A no before the policies are asked.
    fn refused(denial: Denial, caller: Option<Caller>, action: Option<Action>) -> Self {
        Self {
            outcome: Err(Refused {
                denial,
                caller,
                action,
            }),
            decision: None,
        }
    }
}

/// The checks of what a token says of itself, from its credential scope to its time. They need no
/// identities, so whoever fails them need not make the server look for any. [`judge_token`] makes them too.
///
/// # Errors
/// The denial of the first that fails.
pub fn check_claims(
    token: &Token<'_>,
    role: &str,
    cluster: &Cluster,
    now: UtcDateTime,
) -> Result<(), Denial> {
    let cluster = cluster.signed_for(token.host);
    claims(token, role, cluster, now).next().map_or(Ok(()), Err)
}

/// Each of these checks that fails, in their order.
pub(crate) fn claims<'t>(
    token: &'t Token<'t>,
    role: &'t str,
    cluster: &'t Cluster,
    now: UtcDateTime,
) -> impl Iterator<Item = Denial> + 't {
    let host = move || {
        let host = token.host.to_owned();
        (!cluster.answers_to(token.host)).then(|| match is_loopback(token.host) {
            true => Denial::LoopbackHost(host),
            false => Denial::WrongHost(host),
        })
    };
    scope_faults(token, cluster)
        .chain(std::iter::once_with(move || check_action(token, role).err()).flatten())
        .chain(std::iter::once_with(host).flatten())
        .chain(std::iter::once_with(move || check_time(token, now).err()).flatten())
}

fn scope_faults<'t>(
    token: &'t Token<'t>,
    cluster: &'t Cluster,
) -> impl Iterator<Item = Denial> + 't {
    let scope = &token.credential.scope;
    let faults = scope.faults(token.date, Some(cluster.region()), SERVICE);
    faults.map(move |fault| match fault {
        ScopeFault::Date => Denial::ScopeDate {
            scope: scope.date.to_string(),
            date: token.date.to_owned(),
        },
        ScopeFault::Region => Denial::ScopeRegion {
            signed: scope.region.to_string(),
            cluster: cluster.region().to_owned(),
        },
        ScopeFault::Service => Denial::ScopeService(scope.service.to_string()),
        ScopeFault::Terminator => Denial::ScopeTerminator(scope.terminator.to_string()),
    })
}

/// The action that a login as this role has to ask for.
pub(crate) fn action_for(role: &str) -> Action {
    match role {
        ADMIN => Action::DbConnectAdmin,
        _ => Action::DbConnect,
    }
}

fn check_action(token: &Token<'_>, role: &str) -> Result<(), Denial> {
    if token.action == action_for(role) {
        return Ok(());
    }
    Err(Denial::WrongAction {
        role: role.to_owned(),
        action: token.action,
    })
}

fn check_time(token: &Token<'_>, now: UtcDateTime) -> Result<(), Denial> {
    let age = now - token.signed_at;
    if age > token.expires {
        return Err(Denial::Expired {
            signed: token.date.to_owned(),
            earliest: now
                .checked_sub(token.expires)
                .map_or_else(String::new, format_amz_date),
            now: format_amz_date(now),
            seconds: token.expires.whole_seconds(),
        });
    }
    if token.signed_at - now > CLOCK_SKEW {
        return Err(Denial::NotYetValid {
            signed: token.date.to_owned(),
            latest: now
                .checked_add(CLOCK_SKEW)
                .map_or_else(String::new, format_amz_date),
            now: format_amz_date(now),
        });
    }
    Ok(())
}

/// An unknown access key id as it may be written into a log: not at all if it could be a secret
/// access key that was put in the wrong place.
pub(crate) fn redacted_key_id(id: &str) -> &str {
    let looks_like_an_id = (16..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if looks_like_an_id {
        id
    } else {
        "(which does not look like an access key id)"
    }
}

/// The caller who proved to have signed the token.
fn authenticate<'i>(
    token: &Token<'_>,
    environment: &LoginEnvironment<'i>,
    is_proven: impl FnOnce(&str) -> bool,
) -> Result<Authenticated<'i>, Denial> {
    let id = &*token.credential.access_key_id;
    let presented = PresentedCredentials {
        access_key_id: id,
        session_token: token.session_token(),
    };
    let LoginEnvironment {
        now, identities, ..
    } = *environment;
    credentials::authenticate(presented, identities, now, is_proven).map_err(|fault| {
        let key = identities.access_key(id);
        let is_in_lower_case = |key: &AccessKey| token.is_signed_in_lower_case_with(&key.secret);
        match fault {
            Fault::WrongSignature if key.is_some_and(is_in_lower_case) => {
                Denial::HostInCapitals(id.to_owned())
            }
            fault => denial(fault, id),
        }
    })
}

fn denial(fault: Fault, access_key_id: &str) -> Denial {
    let access_key = access_key_id.to_owned();
    match fault {
        Fault::UnknownAccessKey => {
            Denial::UnknownAccessKey(redacted_key_id(access_key_id).to_owned())
        }
        Fault::Inactive => Denial::InactiveAccessKey(access_key),
        Fault::WrongSessionToken => Denial::WrongSessionToken(access_key),
        Fault::SessionOver { ended } => Denial::SessionOver {
            access_key,
            ended: format_amz_date(ended),
        },
        Fault::WrongSignature => Denial::WrongSignature(access_key),
        Fault::UnknownOwner { owner } => Denial::UnknownPrincipal { access_key, owner },
        Fault::AmbiguousOwner { owner } => Denial::AmbiguousPrincipal { access_key, owner },
    }
}

pub(crate) fn is_of(principal: &Principal, account: &str) -> bool {
    IamArn::parse(&principal.arn).is_ok_and(|arn| arn.account == account)
}

/// How many access keys there are, by what a login with a token that they sign comes to. Policies are not
/// looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Those with which a login gets as far as the policies.
    pub usable: usize,
    /// Those whose status is not `Active`.
    pub inactive: usize,
    /// Those of sessions that are over.
    pub over: usize,
    /// Those of a user or role that is in no document.
    pub ownerless: usize,
    /// Those of another account than the cluster's.
    pub other_account: usize,
}

/// Counts the access keys as of `now`, for the logins to a cluster of `account`; as long as that is `None`,
/// no account is another one.
pub fn count_keys(identities: &Identities, account: Option<&str>, now: UtcDateTime) -> KeyCounts {
    let mut counts = KeyCounts::default();
    for key in identities.access_keys() {
        let owner = credentials::owner(key, identities);
        let is_over = key.expiration.is_some_and(|end| now >= end);
        let count = match owner {
            _ if !key.is_active => &mut counts.inactive,
            _ if is_over => &mut counts.over,
            None => &mut counts.ownerless,
            Some(owner) if account.is_some_and(|account| !is_of(owner.principal, account)) => {
                &mut counts.other_account
            }
            Some(_) => &mut counts.usable,
        };
        *count += 1;
    }
    counts
}

/// Decides by the policies about a login as `principal`, or as a session of it, and gives all that the
/// decision rests on.
///
/// # Errors
/// [`DenyReason::Incomplete`] if a policy that counts is in no document.
pub(crate) fn decide<'i>(
    principal: &'i Principal,
    session: Option<&'i Session>,
    action: Action,
    environment: &LoginEnvironment<'i>,
) -> Result<Decision<'i>, DenyReason> {
    let mut policies = environment.identities.policies(principal, session)?;
    policies.resource = environment.identities.cluster_policy();
    // The documents have the cluster's own policy: what that allows, a linked one's need not.
    policies.resource_only_denies = environment.cluster.is_peer();
    let caller = Authenticated { principal, session }.request_principal();
    let request = Request {
        action: action.iam_name(),
        resource: &environment.cluster.arn(),
        resource_account: None,
        context: &request_context(environment, principal, session),
    };
    let decision = authorize(&policies, &caller, &request);
    if decision.kind == DecisionKind::ExplicitDeny && caller.unique_id.is_none() {
        // With an id that nobody has: does a Deny decide that names the caller?
        let other = RequestPrincipal {
            unique_id: Some(""),
            ..caller
        };
        if authorize(&policies, &other, &request).kind != DecisionKind::ExplicitDeny {
            let member = caller.role_arn.map_or("UserId", |_| "RoleId");
            let missing = format!("the {member} of {}, which a Deny may name,", principal.arn);
            return Err(DenyReason::Incomplete(missing));
        }
    }
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use super::redacted_key_id;

    #[test]
    fn a_secret_in_the_place_of_an_id_is_not_shown() {
        assert_eq!(
            redacted_key_id("AKIAIOSFODNN7EXAMPLE"),
            "AKIAIOSFODNN7EXAMPLE"
        );
        for text in ["wJalrXUtnFEMIXK7MDENGXbPxRfiCYEXAMPLEKEY", "AKIA", ""] {
            assert_eq!(
                redacted_key_id(text),
                "(which does not look like an access key id)"
            );
        }
    }
}
