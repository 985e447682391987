//! Decides as AWS's Security Token Service does: who the caller is, whether it may assume a role, and which
//! session comes of it.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html> and
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>; the files beside this one name
//! what they follow. The new access key and the time are arguments; the caller stores the session.
//!
//! A session is allowed if the role's trust policy allows it and, unless that names the caller
//! itself, the caller's own policies do; an explicit deny, a permissions boundary and session
//! policies count as for any other action. The rest of a request needs actions of its own:
//! `sts:TagSession` for session tags, `sts:SetSourceIdentity` for a source identity.

mod grant;
mod mfa;
mod permission;
mod refusal;
mod request;
mod session_token;
mod token;
mod web_identity;

pub use grant::{Grant, NewKey, SessionOf};
pub use mfa::{MfaCode, UsedCode};
pub use permission::check_permission;
pub use refusal::{Code, StsError};
pub use request::AssumeRole;
pub use session_token::{GetSessionToken, get_session_token};
pub use web_identity::{AssumeRoleWithWebIdentity, FederatedGrant, assume_role_with_web_identity};

use crate::actions::{ASSUME_ROLE, SET_SOURCE_IDENTITY, TAG_SESSION};
use crate::arn::{SessionArn, account_of};
use crate::authorization::{Decision, Request, Source, Sourced, authorize};
use crate::credentials::{
    self, Authenticated, Fault, KnownKeys, PresentedCredentials, is_same_secret,
};
use crate::denial::{DenyReason, trust_reason};
use crate::identity::{Identities, Principal, Tag};
use crate::policy::Context;
use crate::request_context::{ConnectionFacts, add_principal, request_facts};
use crate::session_store::StoredSession;
use grant::effective_request;
use refusal::invalid;
use request::{SessionAttributes, check_form, check_session_policies, duration};
use time::{Duration, UtcDateTime};

/// The facts that a request is judged by, besides its own.
#[derive(Clone, Copy)]
pub struct StsEnvironment<'c> {
    /// The time.
    pub now: UtcDateTime,
    /// The identities in the documents.
    pub identities: &'c Identities,
    /// The session of the caller's access key, if one is stored apart from the documents.
    pub stored: Option<&'c StoredSession>,
    /// The region that was asked.
    pub region: &'c str,
    /// The connection.
    pub connection: ConnectionFacts,
}

/// The caller who has `secret`. Compares in constant time.
///
/// # Errors
/// [`Code::InvalidClientTokenId`], [`Code::ExpiredToken`] or [`Code::SignatureDoesNotMatch`].
pub fn caller_with_secret<'i>(
    presented: PresentedCredentials<'_>,
    secret: &str,
    environment: &StsEnvironment<'i>,
) -> Result<Authenticated<'i>, StsError> {
    authenticate(presented, environment, |wanted| {
        is_same_secret(secret, wanted)
    })
}

/// The caller whose secret `is_proven` accepts.
pub(crate) fn authenticate<'i>(
    presented: PresentedCredentials<'_>,
    environment: &StsEnvironment<'i>,
    is_proven: impl FnOnce(&str) -> bool,
) -> Result<Authenticated<'i>, StsError> {
    let StsEnvironment {
        now,
        identities,
        stored,
        ..
    } = *environment;
    let keys = KnownKeys { identities, stored };
    credentials::authenticate(presented, keys, now, is_proven).map_err(refusal)
}

fn refusal(fault: Fault) -> StsError {
    match fault {
        Fault::SessionOver { .. } => StsError::new(Code::ExpiredToken, credentials::EXPIRED),
        Fault::WrongSignature => {
            StsError::new(Code::SignatureDoesNotMatch, credentials::WRONG_SIGNATURE)
        }
        fault => StsError::new(Code::InvalidClientTokenId, credentials::INVALID)
            .because(fault.to_string()),
    }
}

/// Whether `caller` may assume the role; the session if so.
///
/// # Errors
/// [`Code::ValidationError`], [`Code::MalformedPolicyDocument`], [`Code::PackedPolicyTooLarge`] or
/// [`Code::AccessDenied`].
pub fn assume_role(
    caller: &Authenticated<'_>,
    request: &AssumeRole,
    environment: &StsEnvironment<'_>,
) -> Result<Grant, StsError> {
    let arn = check_form(request)?;
    let identities = environment.identities;
    let packed_policy_size = check_session_policies(request, identities)?;
    let attributes = SessionAttributes::of(caller.session, request)?;
    let used_code = request.mfa.verify(caller, identities, environment.now)?;
    let Some(role) = identities.principal(&request.role_arn) else {
        // AWS: whether there is such a role is told to nobody.
        let message = not_allowed(caller, ASSUME_ROLE, &request.role_arn);
        return Err(StsError::new(Code::AccessDenied, message)
            .because(format!("because {} is in no document", request.role_arn)));
    };
    let mut context = context(caller, role, request, &attributes, environment);
    if used_code.is_some() {
        context.set("aws:MultiFactorAuthPresent", "true");
        context.set("aws:MultiFactorAuthAge", "0");
    }
    let asked = RoleRequest {
        caller,
        role,
        context: &context,
        identities,
    };
    asked.check_allowed(ASSUME_ROLE)?;
    if !attributes.tags.is_empty() {
        asked.check_allowed(TAG_SESSION)?;
    }
    if attributes.source_identity.is_some() {
        asked.check_allowed(SET_SOURCE_IDENTITY)?;
    }
    // A caller who may not assume the role does not hear how long its sessions last.
    let duration = duration(caller.role_session().is_some(), role, request)?;
    let expiration = end(environment.now, duration)?;
    let name = &request.role_session_name;
    Ok(Grant {
        arn: SessionArn::of(&arn, name).to_string(),
        session_of: SessionOf::Role {
            assumed_role_id: role.unique_id.as_ref().map(|id| format!("{id}:{name}")),
        },
        expiration,
        packed_policy_size,
        source_identity: attributes.source_identity.map(str::to_owned),
        request: effective_request(request, duration, &attributes, used_code.as_ref()),
        used_code,
    })
}

/// When a session ends that begins now and lasts so many seconds.
fn end(now: UtcDateTime, duration: u32) -> Result<UtcDateTime, StsError> {
    let now = now.replace_nanosecond(0).ok();
    now.and_then(|now| now.checked_add(Duration::seconds(duration.into())))
        .ok_or_else(|| invalid("the time is out of range"))
}

/// The context of a request for a session of `role`, without the caller.
fn role_context(
    role: &Principal,
    request: &AssumeRole,
    environment: &StsEnvironment<'_>,
) -> Context {
    let account = Some(account_of(&role.arn));
    let mut context = resource_context(account, &role.tags, environment);
    context.set("sts:RoleSessionName", &request.role_session_name);
    context
}

/// The context of a request about a user or role with these tags, or about anything else of the account, without the
/// caller.
fn resource_context(
    account: Option<&str>,
    tags: &[Tag],
    environment: &StsEnvironment<'_>,
) -> Context {
    let StsEnvironment {
        now,
        identities,
        region,
        connection,
        ..
    } = *environment;
    let mut context = request_facts(now, identities, connection, region);
    // Known here, so no document has a say in them, whether they are there or not.
    for prefix in [
        "sts:",
        "aws:requesttag/",
        "aws:tagkeys",
        "aws:resourcetag/",
        "iam:resourcetag/",
    ] {
        context.remove_prefix(prefix);
    }
    context.remove("aws:ResourceAccount");
    if let Some(account) = account {
        context.set("aws:ResourceAccount", account);
    }
    for (key, value) in tags {
        context.set(&format!("aws:ResourceTag/{key}"), value);
        context.set(&format!("iam:ResourceTag/{key}"), value);
    }
    context
}

/// The context of the request.
fn context(
    caller: &Authenticated<'_>,
    role: &Principal,
    request: &AssumeRole,
    attributes: &SessionAttributes<'_>,
    environment: &StsEnvironment<'_>,
) -> Context {
    let mut context = role_context(role, request, environment);
    add_attributes(&mut context, attributes);
    add_principal(
        &mut context,
        environment.now,
        caller.principal,
        caller.session,
    );
    if let Some(id) = &request.external_id {
        context.set("sts:ExternalId", id);
    }
    context
}

/// Adds what a session is asked for with besides.
fn add_attributes(context: &mut Context, attributes: &SessionAttributes<'_>) {
    let SessionAttributes {
        tags,
        transitive_tag_keys,
        source_identity,
    } = attributes;
    if let Some(identity) = *source_identity {
        context.set("sts:SourceIdentity", identity);
    }
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), value);
    }
    if !tags.is_empty() {
        let keys = tags.iter().map(|(key, _)| key.clone()).collect();
        context.set_all("aws:TagKeys", keys);
    }
    if !transitive_tag_keys.is_empty() {
        context.set_all("sts:TransitiveTagKeys", transitive_tag_keys.clone());
    }
}

fn not_allowed(caller: &Authenticated<'_>, action: &str, role: &str) -> String {
    let arn = caller.arn();
    format!("User: {arn} is not authorized to perform: {action} on resource: {role}")
}

/// A request about a role, which may need several actions.
struct RoleRequest<'r> {
    caller: &'r Authenticated<'r>,
    role: &'r Principal,
    context: &'r Context,
    identities: &'r Identities,
}

impl RoleRequest<'_> {
    /// Checks that all policies together allow `action` on the role.
    fn check_allowed(&self, action: &str) -> Result<(), StsError> {
        let Self { caller, role, .. } = self;
        let refused = |reason: String| {
            let message = not_allowed(caller, action, &role.arn);
            StsError::new(Code::AccessDenied, message).because(reason)
        };
        let mut policies = self
            .identities
            .policies(caller.principal, caller.session)
            .map_err(|why| refused(trust_reason(action, &why)))?;
        policies.resource = trust_policy(role);
        policies.resource_must_allow = true;
        let caller = caller.request_principal();
        let asked = Request {
            action,
            resource: &role.arn,
            resource_account: None,
            context: self.context,
        };
        let decision = authorize(&policies, &caller, &asked);
        deny_reason(action, &decision).map_or(Ok(()), |reason| Err(refused(reason)))
    }
}

/// The trust policy of a role, as a policy of the resource.
fn trust_policy(role: &Principal) -> Option<Sourced<'_>> {
    let source = Source::Other("the role's trust policy");
    let trust = role.trust_policy.as_ref();
    trust.map(|policy| Sourced { source, policy })
}

/// The reason of a refusal and the statements behind it; `None` if the action is allowed.
fn deny_reason(action: &str, decision: &Decision) -> Option<String> {
    let reason = DenyReason::of(decision)?;
    let mut text = trust_reason(action, &reason);
    for statement in &decision.matched {
        text.push_str(&format!("; {statement}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests;
