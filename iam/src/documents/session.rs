//! A session of a role, with what it was narrowed by, or of a user.

use super::document::{Document, MAX_ATTACHED, checked_key, distinct, tags};
use super::error::BadDocument;
use super::shapes::{AssumedRole, SessionCredentials, SessionOfCaller};
use crate::arn::{IamArn, IamKind, SessionArn};
use crate::identity::{AccessKey, Owner, Session, SessionPolicies};
use crate::time::parse_rfc3339;
use time::{Duration, UtcDateTime};

/// The shortest session, in seconds.
pub(crate) const MIN_SESSION: u32 = 15 * 60;
/// The longest session that `assume-role` gives, in seconds.
pub(crate) const MAX_SESSION: u32 = 12 * 60 * 60;
/// The longest session that `get-session-token` gives, in seconds.
pub(crate) const MAX_USER_SESSION: u32 = 36 * 60 * 60;
/// The session that `get-session-token` gives if no length is asked for, in seconds.
pub(crate) const USER_SESSION: u32 = 12 * 60 * 60;

pub(super) fn assumed_role(assumed: AssumedRole) -> Result<Document, BadDocument> {
    let expiration = expiration(&assumed.credentials)?;
    let user = assumed.assumed_role_user;
    let Some(arn) = SessionArn::parse(&user.arn) else {
        return Err(BadDocument::SessionArn);
    };
    let named = user.assumed_role_id.as_deref().map(|id| id.split_once(':'));
    if named.is_some_and(|parts| parts.is_none_or(|(_, name)| name != arn.session)) {
        return Err(BadDocument::OtherSessionId);
    }
    let has_packed = assumed.packed_policy_size.is_some_and(|size| size > 0);
    let mut session = Session {
        arn: user.arn.clone(),
        user_id: user.assumed_role_id,
        issued_at: expiration,
        has_mfa: false,
        source_identity: assumed.source_identity,
        tags: Vec::new(),
        transitive_tag_keys: Vec::new(),
        policies: None,
        has_hidden_policies: has_packed,
    };
    // Where it is not known when a session began, the earliest time that is possible is taken, so
    // that a policy against older sessions does not miss one.
    let mut duration = MAX_SESSION;
    if let Some(request) = assumed.request {
        let role = IamArn::parse(&request.role_arn);
        let is_of_this = role.is_ok_and(|role| {
            role.kind == IamKind::Role && role.account == arn.account && role.name == arn.role
        });
        if !is_of_this || request.role_session_name != arn.session {
            return Err(BadDocument::OtherRequest);
        }
        duration = request.duration_seconds.unwrap_or(60 * 60);
        if !(MIN_SESSION..=MAX_SESSION).contains(&duration) {
            return Err(BadDocument::DurationSeconds(MAX_SESSION));
        }
        let shows_something =
            request.policy.is_some() || !request.policy_arns.is_empty() || !request.tags.is_empty();
        session.has_hidden_policies = has_packed && !shows_something;
        if request.policy.is_some() || !request.policy_arns.is_empty() {
            let arns = request.policy_arns.into_iter().map(|p| p.arn).collect();
            let attached = distinct(&user.arn, "session policies", MAX_ATTACHED, arns);
            session.policies = Some(SessionPolicies {
                inline: request.policy,
                attached: attached?,
            });
        }
        session.tags = tags(request.tags)?;
        session.transitive_tag_keys = request.transitive_tag_keys;
        session.has_mfa = request.serial_number.is_some();
        session.source_identity = session.source_identity.or(request.source_identity);
    }
    key_of(session, assumed.credentials, expiration, duration)
}

/// A session of a user, which says that it is one by the members of `get-caller-identity`.
pub(super) fn user_session(given: SessionOfCaller) -> Result<Document, BadDocument> {
    let expiration = expiration(&given.credentials)?;
    if !IamArn::parse(&given.arn).is_ok_and(|arn| arn.kind == IamKind::User) {
        return Err(BadDocument::UserArn);
    }
    let mut session = Session::plain(given.arn, expiration);
    session.user_id = given.user_id;
    let mut duration = MAX_USER_SESSION;
    if let Some(request) = given.request {
        duration = request.duration_seconds.unwrap_or(USER_SESSION);
        if !(MIN_SESSION..=MAX_USER_SESSION).contains(&duration) {
            return Err(BadDocument::DurationSeconds(MAX_USER_SESSION));
        }
        session.has_mfa = request.serial_number.is_some();
    }
    key_of(session, given.credentials, expiration, duration)
}

fn expiration(credentials: &SessionCredentials) -> Result<UtcDateTime, BadDocument> {
    if credentials.session_token.is_empty() {
        return Err(BadDocument::Empty("SessionToken"));
    }
    parse_rfc3339(&credentials.expiration).ok_or(BadDocument::Expiration)
}

/// The access key of a session that lasts for `duration` seconds.
fn key_of(
    mut session: Session,
    credentials: SessionCredentials,
    expiration: UtcDateTime,
    duration: u32,
) -> Result<Document, BadDocument> {
    session.issued_at = expiration
        .checked_sub(Duration::seconds(duration.into()))
        .ok_or(BadDocument::Expiration)?;
    let key = AccessKey {
        secret: credentials.secret_access_key,
        session_token: Some(credentials.session_token),
        expiration: Some(expiration),
        is_active: true,
        owner: Owner::Session(Box::new(session)),
    };
    checked_key(credentials.access_key_id, key)
}
