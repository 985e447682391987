//! The JSON that AWS's command line prints, turned into [`Identities`].
//!
//! | command | what is taken |
//! |---|---|
//! | `aws iam get-account-authorization-details` | users, groups, roles, policies |
//! | `aws iam create-access-key` | an access key of a user |
//! | `aws sts assume-role` | a role session with its access key |
//! | `aws dsql get-cluster-policy` | the resource-based policy of the cluster |
//! | `aws dsql get-cluster` | the status and the tags of a cluster |
//! | `aws organizations describe-policy` | a service control policy |
//! | `aws iam get-open-id-connect-provider` | a provider of tokens that begin sessions |
//! | `aws iam list-virtual-mfa-devices`, `create-virtual-mfa-device`, `list-mfa-devices` | devices for multi-factor authentication |
//! | `aws sts get-session-token`, with the members of `aws sts get-caller-identity` | a session of a user |
//!
//! No command prints these:
//!
//! | member | holds |
//! |---|---|
//! | `Request`, in the output of `assume-role` | the session's request, in the form of `--cli-input-json` |
//! | `ContextEntries` | condition keys, in the form of `aws iam simulate-custom-policy --context-entries` |
//! | `issuer`, beside the `keys` of an identity provider's `jwks_uri` | the provider |
//! | `MaxSessionDuration`, in a role of the export | that of `aws iam get-role` |
//!
//! Further members are AWS's to add and are ignored; those of a policy are checked strictly, in
//! [`crate::policy`]. Null is invalid, but in `NextToken` and `Marker`, where it means that they
//! are absent: AWS prints no other null, and one could hide a limit.

mod document;
mod error;
mod identity_provider;
mod merge;
mod mfa;
mod session;
mod shapes;

pub use document::Document;
pub use error::{BadDocument, KeyFault};
pub use merge::merge;
pub use shapes::AccountDetails;

pub(crate) use merge::{add, file_name, is_newer};
pub(crate) use session::{MAX_SESSION, MAX_USER_SESSION, MIN_SESSION, USER_SESSION};

use crate::arn::{Arn, is_account_id};
use crate::cluster::SERVICE;
use crate::identity::{AccessKey, ClusterDescription, Owner};
use crate::json::{self, JsonError};
use crate::policy::{Kind, Policy, check_context_entry};
use document::{checked_key, tags};
use serde::Deserialize;
use session::{assumed_role, user_session};
use shapes::{
    ContextEntries, CreatedKey, DescribePolicy, GetCluster, GetClusterPolicy, RawTag, Shape,
};

/// The fault of a text that is not JSON at all; [`None`] if it may be JSON that has a fault.
fn why_not_json(text: &str) -> Option<BadDocument> {
    if text.contains('\0') {
        return Some(BadDocument::Utf16);
    }
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let is_other = !start.is_empty() && !start.starts_with(['{', '[']);
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    (is_other && !is_json()).then_some(BadDocument::NotJson)
}

/// Parses one document, as the AWS CLI printed it.
///
/// # Errors
/// [`BadDocument`] with line and column, or with what the document lacks. Never holds a value
/// of the document that could be a secret.
pub fn parse(text: &str) -> Result<Document, BadDocument> {
    recognize(text)?.parse()
}

/// Recognizes the command whose output a document is, by its members.
///
/// # Errors
/// [`BadDocument`], if it is not JSON, or the output of several commands.
pub(crate) fn recognize(text: &str) -> Result<Recognized<'_>, BadDocument> {
    if let Some(fault) = why_not_json(text) {
        return Err(fault);
    }
    let shape: Shape = from_json(text)?;
    // Only one of them would be read, and the others could deny.
    if shape.count() > 1 {
        return Err(BadDocument::SeveralCommands);
    }
    Ok(Recognized { text, shape })
}

/// A document of which the kind is known, and the rest is not read yet.
pub(crate) struct Recognized<'t> {
    text: &'t str,
    shape: Shape,
}

impl Recognized<'_> {
    /// Whether it is an account's export.
    pub(crate) fn is_export(&self) -> bool {
        self.shape.is_export()
    }

    /// Parses the document.
    pub(crate) fn parse(self) -> Result<Document, BadDocument> {
        let Self { text, shape } = self;
        if shape.is_export() {
            let details: AccountDetails = from_json(text)?;
            if let Some(sign) = details.truncated_by() {
                return Err(BadDocument::Truncated(sign));
            }
            return Ok(Document::Account(Box::new(details)));
        }
        if shape.access_key.is_some() {
            let CreatedKey { access_key } = from_json(text)?;
            let account = access_key.account_id;
            if account.as_deref().is_some_and(|id| !is_account_id(id)) {
                return Err(BadDocument::AccountId);
            }
            let key = AccessKey {
                secret: access_key.secret_access_key,
                session_token: None,
                expiration: None,
                is_active: access_key.status == "Active",
                owner: Owner::User {
                    name: access_key.user_name,
                    account,
                },
            };
            return checked_key(access_key.access_key_id, key);
        }
        if shape.assumed_role_user.is_some() {
            assumed_role(from_json(text)?)
        } else if shape.federated_user.is_some() {
            // Its user may more than it, so it must not count as the user's own session.
            Err(BadDocument::FederatedSession)
        } else if shape.is_session_of_caller() {
            user_session(from_json(text)?)
        } else if shape.cluster_policy.is_some() {
            let GetClusterPolicy { policy } = from_json(text)?;
            Ok(Document::ClusterPolicy(Box::new(policy.0)))
        } else if shape.cluster_identifier.is_some() {
            cluster(from_json(text)?)
        } else if shape.organizations_policy.is_some() {
            service_control_policy(from_json(text)?)
        } else if shape.context_entries.is_some() {
            context_entries(from_json(text)?)
        } else if shape.client_ids.is_some() {
            identity_provider::provider(from_json(text)?)
        } else if shape.keys.is_some() {
            identity_provider::key_set(from_json(text)?)
        } else if shape.is_mfa_devices() {
            mfa::devices(from_json(text)?)
        } else if shape.is_credentials() {
            Err(BadDocument::CredentialsWithoutOwner)
        } else {
            Err(BadDocument::UnknownCommand)
        }
    }
}

fn cluster(raw: GetCluster) -> Result<Document, BadDocument> {
    if Arn::parse(&raw.arn).is_none_or(|arn| arn.service != SERVICE) {
        return Err(BadDocument::ClusterArn(raw.arn));
    }
    let list = raw.tags.0.into_iter();
    let tags = tags(list.map(|(key, value)| RawTag { key, value }).collect())?;
    let status = raw.status;
    Ok(Document::Cluster(
        raw.arn,
        ClusterDescription { status, tags },
    ))
}

fn service_control_policy(raw: DescribePolicy) -> Result<Document, BadDocument> {
    let summary = raw.policy.policy_summary;
    if summary.policy_type != "SERVICE_CONTROL_POLICY" {
        return Err(BadDocument::PolicyType(summary.policy_type));
    }
    let policy = Policy::parse(&raw.policy.content, Kind::ServiceControl)?;
    Ok(Document::ServiceControlPolicy(
        summary.arn,
        Box::new(policy),
    ))
}

fn context_entries(raw: ContextEntries) -> Result<Document, BadDocument> {
    let mut entries = Vec::new();
    for entry in raw.context_entries {
        let (name, values) = (entry.context_key_name, entry.context_key_values);
        check_context_entry(&name, &values, &entry.context_key_type)?;
        entries.push((name, values));
    }
    Ok(Document::ContextEntries(entries))
}

/// serde_json quotes the offending value in some of its errors; that value could be a secret.
/// So only its kind of error and its position are kept where a value was quoted.
fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadDocument> {
    let without_value = |fault: &str| {
        let rest = fault.strip_prefix("invalid type: string ")?;
        let expected = rest.rfind("expected").map_or("", |at| &rest[at..]);
        Some(format!("invalid type: string, {expected}"))
    };
    json::from_str(text).map_err(|fault| match fault {
        JsonError::Invalid(fault) => {
            JsonError::Invalid(without_value(&fault).unwrap_or(fault)).into()
        }
        other => other.into(),
    })
}

#[cfg(test)]
mod tests;
