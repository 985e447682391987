//! What AWS's Security Token Service decides: who asks, whether a role may be assumed, and what
//! the session is then.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html> and
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>. The new
//! access key and the time are arguments; where the session is kept is the caller's to do.
//!
//! A session is allowed if the role's trust policy allows it and, unless that names the caller
//! itself, the caller's own policies do; an explicit deny, a permissions boundary and session
//! policies count as for any other action. What is asked for besides needs an action of its own:
//! `sts:TagSession` for session tags, `sts:SetSourceIdentity` for a source identity.

use crate::actions::{ASSUME_ROLE, SET_SOURCE_IDENTITY, TAG_SESSION};
use crate::arn::{IamArn, IamKind, account_of, is_account_id};
use crate::authorization::{Request, Source, Sourced, authorize};
use crate::credentials::{self, Authenticated, Fault, PresentedCredentials, is_same_secret};
use crate::denial::{Why, trust_reason};
use crate::documents::MAX_SESSION;
use crate::identity::{Identities, Principal, Tag};
use crate::policy::{self, Context, Kind, Policy};
use crate::request_context::{ConnectionFacts, add_principal, request_facts};
use crate::time::with_offset;
use serde_json::{Value, json};
use std::collections::HashSet;
use time::{Duration, UtcDateTime};

/// The shortest session, in seconds.
const MIN_SESSION: u32 = 15 * 60;
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

/// AWS's code for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The policies do not allow it.
    AccessDenied,
    /// The session of the access key is over.
    ExpiredToken,
    /// The request's authorization is not complete, or not in valid form.
    IncompleteSignature,
    /// There is no such action.
    InvalidAction,
    /// The access key or its session token is not known.
    InvalidClientTokenId,
    /// A session policy is none.
    MalformedPolicyDocument,
    /// The request has no authorization.
    MissingAuthenticationToken,
    /// Session policies and tags are too large together.
    PackedPolicyTooLarge,
    /// The signature is not the one that the secret access key makes, or is too old.
    SignatureDoesNotMatch,
    /// There is no room for another session now.
    Throttling,
    /// A parameter has no possible value.
    ValidationError,
}

impl Code {
    /// The code as AWS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDenied",
            Self::ExpiredToken => "ExpiredToken",
            Self::IncompleteSignature => "IncompleteSignature",
            Self::InvalidAction => "InvalidAction",
            Self::InvalidClientTokenId => "InvalidClientTokenId",
            Self::MalformedPolicyDocument => "MalformedPolicyDocument",
            Self::MissingAuthenticationToken => "MissingAuthenticationToken",
            Self::PackedPolicyTooLarge => "PackedPolicyTooLarge",
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::Throttling => "Throttling",
            Self::ValidationError => "ValidationError",
        }
    }

    /// The status of an HTTP answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::AccessDenied
            | Self::ExpiredToken
            | Self::InvalidClientTokenId
            | Self::MissingAuthenticationToken
            | Self::SignatureDoesNotMatch => 403,
            Self::IncompleteSignature
            | Self::InvalidAction
            | Self::MalformedPolicyDocument
            | Self::PackedPolicyTooLarge
            | Self::Throttling
            | Self::ValidationError => 400,
        }
    }
}

/// Why there is no session, or no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .code.name(), .message)]
pub struct Refusal {
    /// AWS's code.
    pub code: Code,
    /// What AWS tells whoever asked, as far as that is known.
    pub message: String,
    /// What is told only to those who can read the documents.
    pub reason: Option<String>,
}

impl Refusal {
    /// A refusal with AWS's words alone.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
        }
    }

    /// The same, with a reason for whoever can read the documents.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::ValidationError, message)
}

/// What a request is judged by, but for what is in it.
#[derive(Clone, Copy)]
pub struct Surroundings<'c> {
    /// The time.
    pub now: UtcDateTime,
    /// What the documents say.
    pub identities: &'c Identities,
    /// The account whose user it is if several have one of the name that a key's document gives.
    pub account: Option<&'c str>,
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
    surroundings: &Surroundings<'i>,
) -> Result<Authenticated<'i>, Refusal> {
    authenticate(presented, surroundings, |wanted| {
        is_same_secret(secret, wanted)
    })
}

/// The caller whose secret `is_proven` accepts.
pub(crate) fn authenticate<'i>(
    presented: PresentedCredentials<'_>,
    surroundings: &Surroundings<'i>,
    is_proven: impl FnOnce(&str) -> bool,
) -> Result<Authenticated<'i>, Refusal> {
    let Surroundings {
        now,
        identities,
        account,
        ..
    } = *surroundings;
    let account = account.unwrap_or_default();
    credentials::authenticate(presented, identities, account, now, is_proven).map_err(refusal)
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::SessionOver { .. } => Refusal::new(Code::ExpiredToken, credentials::EXPIRED),
        Fault::WrongSignature => {
            Refusal::new(Code::SignatureDoesNotMatch, credentials::WRONG_SIGNATURE)
        }
        fault => Refusal::new(Code::InvalidClientTokenId, credentials::INVALID)
            .because(fault.to_string()),
    }
}

/// What a caller asks for with `AssumeRole`.
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
    /// What the role's trust policy may ask for as `sts:ExternalId`.
    pub external_id: Option<String>,
    /// Who is behind the session, for its whole life and that of sessions begun by it.
    pub source_identity: Option<String>,
}

/// The access key of a session that begins.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
#[derive(Clone)]
pub struct NewKey {
    /// Its id, which starts with `ASIA`.
    pub id: String,
    /// The secret access key.
    pub secret: String,
    /// The session token.
    pub session_token: String,
}

/// A session that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The ARN of the session.
    pub arn: String,
    /// The role's id, a colon, and the session's name, if a document has the role's id.
    pub assumed_role_id: Option<String>,
    /// When it ends.
    pub expiration: UtcDateTime,
    /// Session policies and tags in hundredths of what is possible, if there are any.
    pub packed_policy_size: Option<usize>,
    /// The source identity, given now or by the session that asked.
    pub source_identity: Option<String>,
    /// What the session was begun with: what was asked for, and what is passed on to it.
    request: Value,
}

impl Grant {
    /// The end as AWS's command line prints it.
    pub fn expiration_text(&self) -> String {
        with_offset(self.expiration)
    }

    /// The session as `aws sts assume-role` prints it.
    pub fn response(&self, key: &NewKey) -> Value {
        let mut user = json!({ "Arn": self.arn });
        if let Some(id) = &self.assumed_role_id {
            user["AssumedRoleId"] = json!(id);
        }
        let mut response = json!({
            "Credentials": {
                "AccessKeyId": key.id,
                "SecretAccessKey": key.secret,
                "SessionToken": key.session_token,
                "Expiration": self.expiration_text(),
            },
            "AssumedRoleUser": user,
        });
        if let Some(size) = self.packed_policy_size {
            response["PackedPolicySize"] = json!(size);
        }
        if let Some(identity) = &self.source_identity {
            response["SourceIdentity"] = json!(identity);
        }
        response
    }

    /// The session as a document for the IAM directory: the response with its request beside it.
    pub fn document(&self, key: &NewKey) -> Value {
        let mut document = self.response(key);
        document["Request"] = self.request.clone();
        document
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
    surroundings: &Surroundings<'_>,
) -> Result<Grant, Refusal> {
    let arn = check_form(request)?;
    let identities = surroundings.identities;
    let packed_policy_size = check_session_policies(request, identities)?;
    let (tags, transitive_tag_keys) = all_tags(caller, request)?;
    let source_identity = source_identity(caller, request)?;
    let Some(role) = identities.principal(&request.role_arn) else {
        // AWS: whether there is such a role is told to nobody.
        let message = not_allowed(caller, ASSUME_ROLE, request);
        return Err(Refusal::new(Code::AccessDenied, message)
            .because(format!("because {} is in no document", request.role_arn)));
    };
    let context = context(
        caller,
        role,
        request,
        (&tags, &transitive_tag_keys, source_identity),
        surroundings,
    );
    check_allowed(caller, role, ASSUME_ROLE, &context, request, identities)?;
    if !tags.is_empty() {
        check_allowed(caller, role, TAG_SESSION, &context, request, identities)?;
    }
    if source_identity.is_some() {
        check_allowed(
            caller,
            role,
            SET_SOURCE_IDENTITY,
            &context,
            request,
            identities,
        )?;
    }
    // Who may not assume the role does not hear how long its sessions last.
    let duration = duration(caller, role, request)?;
    let expiration = surroundings
        .now
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.checked_add(Duration::seconds(duration.into())))
        .ok_or_else(|| invalid("the time is out of range"))?;
    let name = &request.role_session_name;
    let (partition, account) = (arn.partition, arn.account);
    Ok(Grant {
        arn: format!(
            "arn:{partition}:sts::{account}:assumed-role/{}/{name}",
            arn.name
        ),
        assumed_role_id: role.unique_id.as_ref().map(|id| format!("{id}:{name}")),
        expiration,
        packed_policy_size,
        source_identity: source_identity.map(str::to_owned),
        request: effective_request(
            request,
            duration,
            &tags,
            &transitive_tag_keys,
            source_identity,
        ),
    })
}

/// AWS's words for a parameter that is not as it has to be.
fn constraint(value: &str, name: &str, text: &str) -> Refusal {
    invalid(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: \
         Member must {text}"
    ))
}

/// Checks what can be judged without the documents; gives the role's ARN.
fn check_form(request: &AssumeRole) -> Result<IamArn<'_>, Refusal> {
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
        && (!(2..=64).contains(&identity.len())
            || !is_word(identity, b"")
            || identity.starts_with("aws:"))
    {
        let text = "have 2 to 64 letters, digits or characters of _+=,.@-";
        return Err(constraint(identity, "sourceIdentity", text));
    }
    if let Some(seconds) = request.duration_seconds {
        let value = seconds.to_string();
        if seconds < MIN_SESSION {
            let text = format!("have value greater than or equal to {MIN_SESSION}");
            return Err(constraint(&value, "durationSeconds", &text));
        }
        if seconds > MAX_SESSION {
            let text = format!("have value less than or equal to {MAX_SESSION}");
            return Err(constraint(&value, "durationSeconds", &text));
        }
    }
    match IamArn::parse(&request.role_arn) {
        Ok(arn) if arn.kind == IamKind::Role && is_account_id(arn.account) => Ok(arn),
        _ => Err(invalid(format!("{} is invalid", request.role_arn))),
    }
}

/// Checks session policies and tags as far as they need no permission; gives their size in
/// hundredths, if there are any.
fn check_session_policies(
    request: &AssumeRole,
    identities: &Identities,
) -> Result<Option<usize>, Refusal> {
    if let Some(text) = &request.policy {
        if text.is_empty() || text.chars().count() > MAX_POLICY {
            let text = format!("have 1 to {MAX_POLICY} characters");
            return Err(constraint("…", "policy", &text));
        }
        Policy::parse(text, Kind::IdentityBased).map_err(|fault| {
            let message = format!("The policy is not in the valid JSON format: {fault}");
            Refusal::new(Code::MalformedPolicyDocument, message)
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
        return Err(Refusal::new(
            Code::PackedPolicyTooLarge,
            format!("Packed size of session policies and tags consumes {size}% of allotted space."),
        ));
    }
    Ok(Some(size))
}

/// The session's tags: those that were asked for, and those that the session that asks passes on.
/// With them the keys of those that are passed on further.
fn all_tags(
    caller: &Authenticated<'_>,
    request: &AssumeRole,
) -> Result<(Vec<Tag>, Vec<String>), Refusal> {
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
    if let Some(session) = caller.session {
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
    caller: &Authenticated<'r>,
    request: &'r AssumeRole,
) -> Result<Option<&'r str>, Refusal> {
    let asked_for = request.source_identity.as_deref();
    let has = caller
        .session
        .and_then(|session| session.source_identity.as_deref());
    match (has, asked_for) {
        (Some(has), Some(asked_for)) if has != asked_for => Err(Refusal::new(
            Code::AccessDenied,
            "The source identity of a session cannot be changed",
        )),
        (has, asked_for) => Ok(has.or(asked_for)),
    }
}

fn duration(
    caller: &Authenticated<'_>,
    role: &Principal,
    request: &AssumeRole,
) -> Result<u32, Refusal> {
    let asked_for = request.duration_seconds.unwrap_or(HOUR);
    if asked_for > role.max_session_duration.unwrap_or(HOUR) {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    if caller.session.is_some() && asked_for > HOUR {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining.",
        ));
    }
    Ok(asked_for)
}

/// What policies can ask about the request.
fn context(
    caller: &Authenticated<'_>,
    role: &Principal,
    request: &AssumeRole,
    (tags, transitive_tag_keys, source_identity): (&[Tag], &[String], Option<&str>),
    surroundings: &Surroundings<'_>,
) -> Context {
    let Surroundings {
        now,
        identities,
        region,
        connection,
        ..
    } = *surroundings;
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
    add_principal(&mut context, now, caller.principal, caller.session);
    let account = account_of(&role.arn);
    context.set("aws:ResourceAccount", account);
    for (key, value) in &role.tags {
        context.set(&format!("aws:ResourceTag/{key}"), value);
        context.set(&format!("iam:ResourceTag/{key}"), value);
    }
    context.set("sts:RoleSessionName", &request.role_session_name);
    if let Some(id) = &request.external_id {
        context.set("sts:ExternalId", id);
    }
    if let Some(identity) = source_identity {
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
        context.set_all("sts:TransitiveTagKeys", transitive_tag_keys.to_vec());
    }
    context
}

fn not_allowed(caller: &Authenticated<'_>, action: &str, request: &AssumeRole) -> String {
    let (arn, role) = (caller.arn(), &request.role_arn);
    format!("User: {arn} is not authorized to perform: {action} on resource: {role}")
}

/// Checks that all policies together allow `action` on the role.
fn check_allowed(
    caller: &Authenticated<'_>,
    role: &Principal,
    action: &str,
    context: &Context,
    request: &AssumeRole,
    identities: &Identities,
) -> Result<(), Refusal> {
    let refused = |reason: String| {
        let message = not_allowed(caller, action, request);
        Refusal::new(Code::AccessDenied, message).because(reason)
    };
    let mut policies = identities
        .policies(caller.principal, caller.session)
        .map_err(|why| refused(trust_reason(action, &why)))?;
    let source = Source::Other("the role's trust policy");
    let trust = role.trust_policy.as_ref();
    policies.resource = trust.map(|policy| Sourced { source, policy });
    policies.resource_must_allow = true;
    let asker = policy::Caller {
        arn: caller.arn(),
        role_arn: caller.session.map(|_| caller.principal.arn.as_str()),
    };
    let asked = Request {
        action,
        resource: &role.arn,
        resource_account: None,
        context,
    };
    let decision = authorize(&policies, &asker, &asked);
    match Why::of(&decision) {
        None => Ok(()),
        Some(why) => {
            let mut text = trust_reason(action, &why);
            for statement in &decision.matched {
                text.push_str(&format!("; {statement}"));
            }
            Err(refused(text))
        }
    }
}

/// The request in the form of the command's `--cli-input-json`, as documents have it.
fn effective_request(
    request: &AssumeRole,
    duration: u32,
    tags: &[Tag],
    transitive_tag_keys: &[String],
    source_identity: Option<&str>,
) -> Value {
    let mut effective = json!({
        "RoleArn": request.role_arn,
        "RoleSessionName": request.role_session_name,
        "DurationSeconds": duration,
    });
    if let Some(policy) = &request.policy {
        effective["Policy"] = json!(policy);
    }
    if !request.policy_arns.is_empty() {
        let arns = request.policy_arns.iter();
        effective["PolicyArns"] = arns.map(|arn| json!({ "arn": arn })).collect();
    }
    if !tags.is_empty() {
        let tags = tags.iter();
        effective["Tags"] = tags
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
    }
    if !transitive_tag_keys.is_empty() {
        effective["TransitiveTagKeys"] = json!(transitive_tag_keys);
    }
    if let Some(identity) = source_identity {
        effective["SourceIdentity"] = json!(identity);
    }
    effective
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents;
    use crate::identity::Owner;
    use time::macros::utc_datetime;

    const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:00:00.5);
    const ROLE: &str = "arn:aws:iam::012345678912:role/x/App";

    /// The letters of trust policy, the user's own policy, boundary and service control policy: `+`
    /// allows, `-` denies, `0` says nothing, a space is none. The trust policy names `principal`.
    fn identities(letters: &str, principal: &str) -> Identities {
        let statement = |letter: char| {
            let (effect, action) = match letter {
                '+' => ("Allow", "sts:*"),
                '-' => ("Deny", "sts:AssumeRole"),
                _ => ("Allow", "s3:*"),
            };
            json!({"Effect": effect, "Action": action})
        };
        let letters: Vec<char> = letters.chars().collect();
        let plain = |letter: char| {
            let mut statement = statement(letter);
            statement["Resource"] = json!("*");
            json!({"Version": "2012-10-17", "Statement": [statement]})
        };
        let mut trust = statement(letters[0]);
        trust["Principal"] = json!({ "AWS": principal });
        let boundary = "arn:aws:iam::012345678912:policy/Boundary";
        let mut user = json!({"UserName": "alice", "Arn": "arn:aws:iam::012345678912:user/alice",
            "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": plain(letters[1])}]});
        if letters[2] != ' ' {
            user["PermissionsBoundary"] = json!({ "PermissionsBoundaryArn": boundary });
        }
        let mut documents = vec![
            json!({
                "UserDetailList": [user],
                "RoleDetailList": [{"RoleName": "App", "RoleId": "AROAAPP", "Arn": ROLE,
                    "MaxSessionDuration": 43200,
                    "AssumeRolePolicyDocument": {"Statement": [trust]}}],
                "Policies": [{"Arn": boundary, "DefaultVersionId": "v1", "PolicyVersionList": [
                    {"VersionId": "v1", "Document": plain(letters[2])}]}],
            }),
            json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA", "Status": "Active",
                "SecretAccessKey": "the secret"}}),
        ];
        if letters[3] != ' ' {
            documents.push(json!({"Policy": {"Content": plain(letters[3]).to_string(),
                "PolicySummary": {"Arn": "arn:p", "Type": "SERVICE_CONTROL_POLICY"}}}));
        }
        load(&documents)
    }

    fn load(documents: &[Value]) -> Identities {
        let parsed = documents.iter().map(|document| {
            let parsed = documents::parse(&document.to_string());
            (
                "a document",
                parsed.unwrap_or_else(|fault| panic!("{fault}")),
            )
        });
        documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
    }

    /// A user, its key, and a role whose trust policy has this statement.
    fn with_trust(statement: Value) -> Identities {
        load(&[
            json!({
                "UserDetailList": [{"UserName": "alice",
                    "Arn": "arn:aws:iam::012345678912:user/alice"}],
                "RoleDetailList": [{"RoleName": "App", "Arn": ROLE,
                    "AssumeRolePolicyDocument": {"Statement": [statement]}}],
            }),
            json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA",
                "Status": "Active", "SecretAccessKey": "the secret"}}),
        ])
    }

    fn surroundings(identities: &Identities) -> Surroundings<'_> {
        Surroundings {
            now: NOW,
            identities,
            account: Some("012345678912"),
            region: "us-east-1",
            connection: ConnectionFacts {
                source_ip: None,
                is_tls: true,
            },
        }
    }

    fn asked() -> AssumeRole {
        AssumeRole {
            role_arn: ROLE.into(),
            role_session_name: "web".into(),
            ..AssumeRole::default()
        }
    }

    const PRESENTED: PresentedCredentials<'_> = PresentedCredentials {
        access_key_id: "AKIA",
        session_token: None,
    };

    #[test]
    fn every_policy_has_its_say() {
        let (user, root) = ("arn:aws:iam::012345678912:user/alice", "012345678912");
        let denied = |policy: &str| Some(format!("with an explicit deny in {policy}"));
        let lacking = |policy: &str| {
            Some(format!(
                "because no {policy} allows the sts:AssumeRole action"
            ))
        };
        for (letters, principal, refused) in [
            ("++  ", root, None),
            ("++++", root, None),
            ("+0  ", root, lacking("identity-based policy")),
            ("+0  ", user, None),
            ("0+  ", user, lacking("role trust policy")),
            ("++  ", "210987654321", lacking("role trust policy")),
            ("++0 ", root, lacking("permissions boundary")),
            ("++ 0", root, lacking("service control policy")),
            ("-+  ", root, denied("the role trust policy")),
            ("+-  ", user, denied("an identity-based policy")),
            ("++- ", user, denied("a permissions boundary")),
            ("++ -", user, denied("a service control policy")),
        ] {
            let identities = identities(letters, principal);
            let surroundings = surroundings(&identities);
            let caller = caller_with_secret(PRESENTED, "the secret", &surroundings).unwrap();
            let outcome = assume_role(&caller, &asked(), &surroundings);
            let said = outcome.err().map(|refusal| {
                assert_eq!(refusal.code, Code::AccessDenied);
                let reason = refusal.reason.unwrap();
                reason.split(';').next().unwrap().to_owned()
            });
            assert_eq!(said, refused, "{letters} {principal}");
        }
    }

    /// The action that is refused is named, and it is the trust policy that lacks it.
    #[test]
    fn the_reason_names_the_action_that_the_trust_policy_lacks() {
        let principal = json!({"AWS": "arn:aws:iam::012345678912:user/alice"});
        let trust = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal});
        let identities = with_trust(trust);
        let surroundings = surroundings(&identities);
        let caller = caller_with_secret(PRESENTED, "the secret", &surroundings).unwrap();
        let mut tagged = asked();
        tagged.tags = vec![("team".into(), "blue".into())];
        let mut named = asked();
        named.source_identity = Some("bob".into());
        for (request, action) in [(tagged, "sts:TagSession"), (named, "sts:SetSourceIdentity")] {
            let refusal = assume_role(&caller, &request, &surroundings).err().unwrap();
            let expected = format!("because no role trust policy allows the {action} action");
            assert_eq!(refusal.reason, Some(expected));
            let name = "arn:aws:iam::012345678912:user/alice is not authorized to perform";
            let said = format!("User: {name}: {action} on resource: {ROLE}");
            assert_eq!((refusal.code, refusal.message), (Code::AccessDenied, said));
        }
    }

    #[test]
    fn what_is_known_of_the_request() {
        let cases = [
            (
                "StringEquals",
                "aws:RequestedRegion",
                "us-east-1",
                "eu-west-1",
            ),
            ("Bool", "aws:SecureTransport", "false", "true"),
            ("IpAddress", "aws:SourceIp", "10.1.2.0/24", "10.1.3.0/24"),
        ];
        for (operator, key, fits, other) in cases {
            for (value, is_allowed) in [(fits, true), (other, false)] {
                let mut trust = json!({"Effect": "Allow", "Action": "sts:*", "Principal": "*"});
                trust["Condition"] = json!({operator: {key: value}});
                let identities = with_trust(trust);
                let surroundings = Surroundings {
                    connection: ConnectionFacts {
                        source_ip: Some([10, 1, 2, 3].into()),
                        is_tls: false,
                    },
                    ..surroundings(&identities)
                };
                let caller = caller_with_secret(PRESENTED, "the secret", &surroundings).unwrap();
                let outcome = assume_role(&caller, &asked(), &surroundings);
                assert_eq!(outcome.is_ok(), is_allowed, "{key} {value}");
            }
        }
    }

    #[test]
    fn only_the_secret_proves_who_asks() {
        let identities = identities("++  ", "*");
        let surroundings = surroundings(&identities);
        for (presented, secret, code) in [
            (PRESENTED, "another secret", Code::SignatureDoesNotMatch),
            (PRESENTED, "", Code::SignatureDoesNotMatch),
            (
                PresentedCredentials {
                    access_key_id: "AKIB",
                    ..PRESENTED
                },
                "the secret",
                Code::InvalidClientTokenId,
            ),
            (
                PresentedCredentials {
                    session_token: Some("t"),
                    ..PRESENTED
                },
                "the secret",
                Code::InvalidClientTokenId,
            ),
        ] {
            let refusal = caller_with_secret(presented, secret, &surroundings).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(!format!("{refusal:?}").contains("the secret"));
        }
    }

    #[test]
    fn the_document_of_a_session_says_what_it_was_begun_with() {
        let identities = identities("++  ", "*");
        let surroundings = surroundings(&identities);
        let caller = caller_with_secret(PRESENTED, "the secret", &surroundings).unwrap();
        let request = AssumeRole {
            duration_seconds: Some(7200),
            policy: Some(r#" {"Statement": []}"#.into()),
            policy_arns: vec!["arn:aws:iam::012345678912:policy/Boundary".into()],
            tags: vec![("team".into(), "blue".into()), ("a".into(), String::new())],
            transitive_tag_keys: vec!["team".into()],
            external_id: Some("id".into()),
            source_identity: Some("bob".into()),
            ..asked()
        };
        let grant = assume_role(&caller, &request, &surroundings).unwrap();
        assert_eq!(grant.expiration, utc_datetime!(2026-01-01 14:00:00));
        let key = NewKey {
            id: "ASIA".into(),
            secret: "s".into(),
            session_token: "t".into(),
        };
        assert!(grant.response(&key).get("Request").is_none());
        let session = load(&[grant.document(&key)]);
        let key = session.access_key("ASIA").unwrap();
        assert_eq!(key.expiration, Some(grant.expiration));
        let Owner::Session(session) = &key.owner else {
            panic!("a session")
        };
        assert_eq!(
            session.arn,
            "arn:aws:sts::012345678912:assumed-role/App/web"
        );
        assert_eq!(session.issued_at, utc_datetime!(2026-01-01 12:00:00));
        assert_eq!(session.tags, request.tags);
        assert_eq!(session.transitive_tag_keys, ["team"]);
        assert_eq!(session.source_identity.as_deref(), Some("bob"));
        assert!(!session.has_hidden_policies);
        let policies = session.policies.as_ref().unwrap();
        assert!(policies.inline.is_some() && policies.attached == request.policy_arns);
    }

    #[test]
    fn no_document_says_what_a_request_does_not() {
        let keys = [
            "sts:ExternalId",
            "sts:SourceIdentity",
            "aws:RequestTag/team",
            "aws:ResourceTag/team",
            "aws:PrincipalTag/team",
            "aws:MultiFactorAuthPresent",
            "aws:MultiFactorAuthAge",
            "aws:SourceIdentity",
            "aws:TokenIssueTime",
            "aws:userid",
        ];
        for key in keys {
            let mut trust = json!({"Effect": "Allow", "Action": "sts:*", "Principal": "*"});
            trust["Condition"] = json!({"StringEquals": {key: "yes"}});
            let mut identities = with_trust(trust);
            let entry = (key.to_owned(), vec!["yes".to_owned()]);
            identities.context_entries.push(entry);
            let surroundings = surroundings(&identities);
            let caller = caller_with_secret(PRESENTED, "the secret", &surroundings).unwrap();
            let refusal = assume_role(&caller, &asked(), &surroundings).unwrap_err();
            assert_eq!(refusal.code, Code::AccessDenied, "{key}");
        }
    }
}
