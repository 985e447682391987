//! A session that may begin, as AWS's command line prints it and as a document.

use super::mfa::UsedCode;
use super::request::{AssumeRole, SessionAttributes};
use crate::time::with_offset;
use serde_json::{Value, json};
use time::UtcDateTime;

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

/// Whose session one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOf {
    /// A role's.
    Role {
        /// The role's id, a colon, and the session's name, if a document has the role's id.
        assumed_role_id: Option<String>,
    },
    /// A user's.
    User {
        /// The user's id, if a document has it.
        user_id: Option<String>,
    },
}

/// A session that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The ARN of the role session, or of the user.
    pub arn: String,
    /// Whose it is.
    pub session_of: SessionOf,
    /// When it ends.
    pub expiration: UtcDateTime,
    /// Session policies and tags in hundredths of what is possible, if there are any.
    pub packed_policy_size: Option<usize>,
    /// The source identity, given now or by the session that asked.
    pub source_identity: Option<String>,
    /// The code that it was asked for with, if it was.
    pub used_code: Option<UsedCode>,
    /// The request in effect: as asked for, with the tags and the source identity that are passed on.
    pub(super) request: Value,
}

impl Grant {
    /// The end as AWS's command line prints it.
    pub fn expiration_text(&self) -> String {
        with_offset(self.expiration)
    }

    /// The session as `aws sts assume-role` prints it, or `get-session-token` and `get-caller-identity` together.
    pub fn response(&self, key: &NewKey) -> Value {
        let mut response = json!({
            "Credentials": {
                "AccessKeyId": key.id,
                "SecretAccessKey": key.secret,
                "SessionToken": key.session_token,
                "Expiration": self.expiration_text(),
            },
        });
        match &self.session_of {
            SessionOf::Role { assumed_role_id } => {
                response["AssumedRoleUser"] = json!({ "Arn": self.arn });
                if let Some(id) = assumed_role_id {
                    response["AssumedRoleUser"]["AssumedRoleId"] = json!(id);
                }
            }
            SessionOf::User { user_id } => {
                response["Arn"] = json!(self.arn);
                if let Some(id) = user_id {
                    response["UserId"] = json!(id);
                }
            }
        }
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

/// The request in the form of the command's `--cli-input-json`, as documents have it.
pub(super) fn effective_request(
    request: &AssumeRole,
    duration: u32,
    attributes: &SessionAttributes<'_>,
    used_code: Option<&UsedCode>,
) -> Value {
    let SessionAttributes {
        tags,
        transitive_tag_keys,
        source_identity,
    } = attributes;
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
    if let Some(used) = used_code {
        effective["SerialNumber"] = json!(used.serial_number);
    }
    effective
}
