//! The request of `AssumeRole`, and its validation.

use super::mfa::MfaCode;
use super::refusal::{Code, StsError, constraint, invalid};
use crate::arn::{IamArn, IamKind, is_account_id};
use crate::documents::{MAX_SESSION, MIN_SESSION};
use crate::identity::{Identities, Principal, Session, Tag};
use crate::policy::{Kind, Policy};
use std::collections::HashSet;

/// The longest session of a role that says nothing else, of a caller that is a session itself, and
/// the one that is given if none is asked for; in seconds.
const HOUR: u32 = 60 * 60;
/// The most characters of a session policy that is written into the request.
const MAX_POLICY: usize = 2048;
/// The most policies by ARN.
const MAX_POLICY_ARNS: usize = 10;
/// The most session tags.
const MAX_TAGS: usize = 50;
/// How many characters session policies and tags may have together. AWS packs them into a format of
/// its own whose limit it does not publish.
const MAX_PACKED: usize = 8 * 1024;

/// A request of `AssumeRole`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssumeRole {
    /// The ARN of the role, path included.
    pub role_arn: String,
    /// The name of the session.
    pub role_session_name: String,
    /// How long it shall last, in seconds; an hour if nothing is said.
    pub duration_seconds: Option<u32>,
    /// A session policy, as JSON.
    pub policy: Option<String>,
    /// ARNs of managed policies that are session policies too.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<Tag>,
    /// Keys of tags that sessions begun by this one get too.
    pub transitive_tag_keys: Vec<String>,
    /// The external id, `sts:ExternalId` in the role's trust policy.
    pub external_id: Option<String>,
    /// The source identity, which stays for the session's life and that of sessions begun by it.
    pub source_identity: Option<String>,
    /// A device of the user who asks, and its code.
    pub mfa: MfaCode,
}

/// The tags and the source identity of a new session: asked for, or passed on by the caller's own session.
#[derive(Default)]
pub(super) struct SessionAttributes<'r> {
    pub(super) tags: Vec<Tag>,
    /// The keys of the tags that sessions begun by the new one get too.
    pub(super) transitive_tag_keys: Vec<String>,
    pub(super) source_identity: Option<&'r str>,
}

impl<'r> SessionAttributes<'r> {
    /// Checks what is asked for, and adds what the session that asks passes on.
    pub(super) fn of(
        session: Option<&'r Session>,
        request: &'r AssumeRole,
    ) -> Result<Self, StsError> {
        let (tags, transitive_tag_keys) = all_tags(session, request)?;
        let source_identity = source_identity(session, request)?;
        Ok(Self {
            tags,
            transitive_tag_keys,
            source_identity,
        })
    }
}

/// Checks what can be judged without the documents; gives the role's ARN.
pub(super) fn check_form(request: &AssumeRole) -> Result<IamArn<'_>, StsError> {
    let is_word = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte) || more.contains(&byte)
        })
    };
    let name = &request.role_session_name;
    if !(2..=64).contains(&name.len()) || !is_word(name, b"") {
        let text = "have 2 to 64 letters, digits or characters of _+=,.@-";
        return Err(constraint(name, "roleSessionName", text));
    }
    if let Some(id) = &request.external_id
        && (!(2..=1224).contains(&id.len()) || !is_word(id, b":/"))
    {
        let text = "have 2 to 1224 letters, digits or characters of _+=,.@:/-";
        return Err(constraint(id, "externalId", text));
    }
    if let Some(identity) = &request.source_identity
        && (!(2..=64).contains(&identity.len()) || !is_word(identity, b""))
    {
        let text = "have 2 to 64 letters, digits or characters of _+=,.@-";
        return Err(constraint(identity, "sourceIdentity", text));
    }
    if let Some(seconds) = request.duration_seconds {
        check_duration(seconds, MAX_SESSION)?;
    }
    request.mfa.check_form()?;
    match IamArn::parse(&request.role_arn) {
        Ok(arn) if arn.kind == IamKind::Role && is_account_id(arn.account) => Ok(arn),
        _ => Err(invalid(format!("{} is invalid", request.role_arn))),
    }
}

/// Checks how long a session shall last, in seconds.
pub(super) fn check_duration(seconds: u32, most: u32) -> Result<(), StsError> {
    let value = seconds.to_string();
    if seconds < MIN_SESSION {
        let text = format!("have value greater than or equal to {MIN_SESSION}");
        return Err(constraint(&value, "durationSeconds", &text));
    }
    if seconds > most {
        let text = format!("have value less than or equal to {most}");
        return Err(constraint(&value, "durationSeconds", &text));
    }
    Ok(())
}

/// Checks session policies and tags as far as they need no permission; gives their size in
/// hundredths, if there are any.
pub(super) fn check_session_policies(
    request: &AssumeRole,
    identities: &Identities,
) -> Result<Option<usize>, StsError> {
    if let Some(text) = &request.policy {
        if text.is_empty() || text.chars().count() > MAX_POLICY {
            let text = format!("have 1 to {MAX_POLICY} characters");
            return Err(constraint("…", "policy", &text));
        }
        Policy::parse(text, Kind::IdentityBased).map_err(|fault| {
            let message = format!("The policy is not in the valid JSON format: {fault}");
            StsError::new(Code::MalformedPolicyDocument, message)
        })?;
    }
    if request.policy_arns.len() > MAX_POLICY_ARNS {
        let text = format!("have length less than or equal to {MAX_POLICY_ARNS}");
        return Err(constraint("…", "policyArns", &text));
    }
    for arn in &request.policy_arns {
        if !identities.has_managed(arn) {
            return Err(invalid(format!("policy {arn} is in no document")));
        }
    }
    let policy = request.policy.iter();
    let tags = request.tags.iter().flat_map(|(key, value)| [key, value]);
    let texts: Vec<&String> = policy.chain(&request.policy_arns).chain(tags).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let size = (characters * 100).div_ceil(MAX_PACKED).max(1);
    if size > 100 {
        return Err(StsError::new(
            Code::PackedPolicyTooLarge,
            format!("Packed size of session policies and tags consumes {size}% of allotted space."),
        ));
    }
    Ok(Some(size))
}

/// The session's tags: those that were asked for, and those that the session that asks passes on.
/// With them the keys of those that are passed on further.
fn all_tags(
    session: Option<&Session>,
    request: &AssumeRole,
) -> Result<(Vec<Tag>, Vec<String>), StsError> {
    let mut keys = HashSet::new();
    for (key, value) in &request.tags {
        let length = key.chars().count();
        if !(1..=128).contains(&length) || value.chars().count() > 256 {
            let text = "have a key of 1 to 128 characters and a value of at most 256";
            return Err(constraint(key, "tags", text));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(constraint(key, "tags", "not start with aws:"));
        }
        if !keys.insert(key.to_lowercase()) {
            return Err(invalid(format!(
                "Duplicate tag keys found: {key}. Please note that Tag keys are case insensitive."
            )));
        }
    }
    let mut transitive = Vec::new();
    for key in &request.transitive_tag_keys {
        if !keys.contains(&key.to_lowercase()) {
            return Err(invalid(format!(
                "The specified transitive tag key must be included in the requested tags: {key}"
            )));
        }
        transitive.push(key.clone());
    }
    let mut tags = request.tags.clone();
    if let Some(session) = session {
        for inherited in &session.transitive_tag_keys {
            let mut of_session = session.tags.iter();
            let Some(tag) = of_session.find(|(key, _)| key.eq_ignore_ascii_case(inherited)) else {
                continue;
            };
            if keys.contains(&tag.0.to_lowercase()) {
                return Err(invalid(format!(
                    "The session tag {} is transitive and cannot be given again",
                    tag.0
                )));
            }
            transitive.push(tag.0.clone());
            tags.push(tag.clone());
        }
    }
    if tags.len() > MAX_TAGS {
        let text = format!("have length less than or equal to {MAX_TAGS}");
        return Err(constraint("…", "tags", &text));
    }
    Ok((tags, transitive))
}

/// The source identity of the new session. One that the caller's session has stays.
fn source_identity<'r>(
    session: Option<&'r Session>,
    request: &'r AssumeRole,
) -> Result<Option<&'r str>, StsError> {
    let asked_for = request.source_identity.as_deref();
    let has = session.and_then(|session| session.source_identity.as_deref());
    match (has, asked_for) {
        (Some(has), Some(asked_for)) if has != asked_for => Err(StsError::new(
            Code::AccessDenied,
            "The source identity of a session cannot be changed",
        )),
        (has, asked_for) => Ok(has.or(asked_for)),
    }
}

/// How long the session lasts, in seconds. A role session that asks (`by_role`) gets an hour at the most.
pub(super) fn duration(
    by_role: bool,
    role: &Principal,
    request: &AssumeRole,
) -> Result<u32, StsError> {
    let asked_for = request.duration_seconds.unwrap_or(HOUR);
    if asked_for > role.max_session_duration.unwrap_or(HOUR) {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    if by_role && asked_for > HOUR {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining.",
        ));
    }
    Ok(asked_for)
}
