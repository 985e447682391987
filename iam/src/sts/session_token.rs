//! A session of a user's own, who may all that the user may.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html>: whoever has a long-term key
//! needs no permission, and a session cannot begin one.

use super::grant::{Grant, SessionOf};
use super::mfa::MfaCode;
use super::refusal::{Code, StsError};
use super::request::check_duration;
use super::{StsEnvironment, end};
use crate::credentials::Authenticated;
use crate::documents::{MAX_USER_SESSION, USER_SESSION};
use serde_json::json;

/// A user's request of `GetSessionToken`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetSessionToken {
    /// How long the session shall last, in seconds; twelve hours if nothing is said.
    pub duration_seconds: Option<u32>,
    /// A device of the user, and its code.
    pub mfa: MfaCode,
}

/// The session of a user.
///
/// # Errors
/// [`Code::ValidationError`], or [`Code::AccessDenied`] for a caller that is a session, or whose device or code is not
/// right.
pub fn get_session_token(
    caller: &Authenticated<'_>,
    request: &GetSessionToken,
    environment: &StsEnvironment<'_>,
) -> Result<Grant, StsError> {
    request.mfa.check_form()?;
    let duration = request.duration_seconds.unwrap_or(USER_SESSION);
    check_duration(duration, MAX_USER_SESSION)?;
    if caller.session.is_some() {
        return Err(StsError::new(
            Code::AccessDenied,
            "Cannot call GetSessionToken with session credentials",
        ));
    }
    let used_code = request
        .mfa
        .verify(caller, environment.identities, environment.now)?;
    let mut effective = json!({ "DurationSeconds": duration });
    if let Some(used) = &used_code {
        effective["SerialNumber"] = json!(used.serial_number);
    }
    Ok(Grant {
        arn: caller.arn().to_owned(),
        session_of: SessionOf::User {
            user_id: caller.principal.unique_id.clone(),
        },
        expiration: end(environment.now, duration)?,
        packed_policy_size: None,
        source_identity: None,
        used_code,
        request: effective,
    })
}

#[cfg(test)]
mod tests;
