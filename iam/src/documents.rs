//! The JSON that AWS's command line prints, turned into [`Identities`].
//!
//! | command | what is taken |
//! |---|---|
//! | `aws iam get-account-authorization-details` | users, groups, roles, policies |
//! | `aws iam create-access-key` | an access key of a user |
//! | `aws sts assume-role` | a role session with its access key |
//! | `aws dsql get-cluster-policy` | the resource-based policy of the cluster |
//! | `aws dsql get-cluster` | the tags of a cluster |
//! | `aws organizations describe-policy` | a service control policy |
//!
//! Two things no command prints. The output of `assume-role` does not show what the session was
//! narrowed by; a member `Request`, in the form of the command's own `--cli-input-json`, does. And
//! `{"ContextEntries": […]}`, in the form of `aws iam simulate-custom-policy --context-entries`,
//! holds condition keys that cannot be known here.
//!
//! `MaxSessionDuration`, which `aws iam get-role` prints and the export does not, may be added to a role.
//!
//! Further fields are AWS's to add and are passed over; what a policy may hold is checked
//! strictly, in [`crate::policy`]. What is read is null nowhere but in `NextToken` and `Marker`, which say
//! then what their absence says: AWS prints no other null, and one could hide a limit.

use crate::arn::{Arn, IamArn, IamKind, SessionArn, account_of, is_account_id};
use crate::cluster::SERVICE;
use crate::identity::{
    AccessKey, ClusterDescription, Group, Identities, InlinePolicy, Owner, Principal, RoleSession,
    SessionPolicies, Tag,
};
use crate::json::{self, given};
use crate::objects_only;
use crate::policy::{Entries, Kind, Policy, boolean, date, network, number};
use crate::time::parse_rfc3339;
use data_encoding::BASE64;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use time::Duration;

/// One parsed document.
pub enum Document {
    /// The account's users, groups, roles and policies.
    Account(Box<AccountDetails>),
    /// An access key, with its id.
    Key(String, Box<AccessKey>),
    /// The resource-based policy of the cluster.
    ClusterPolicy(Box<Policy>),
    /// A cluster, with its ARN.
    Cluster(String, ClusterDescription),
    /// A service control policy, with its ARN.
    ServiceControlPolicy(String, Box<Policy>),
    /// Condition keys for the request context, with their values.
    ContextEntries(Vec<(String, Vec<String>)>),
}

/// The ARNs of what an account's export brings.
pub(crate) struct Contents<'d> {
    pub(crate) users: Vec<&'d str>,
    pub(crate) groups: Vec<&'d str>,
    pub(crate) roles: Vec<&'d str>,
    pub(crate) policies: Vec<&'d str>,
}

impl AccountDetails {
    /// What it brings.
    pub(crate) fn contents(&self) -> Contents<'_> {
        let users = self.user_detail_list.iter();
        let groups = self.group_detail_list.iter();
        let roles = self.role_detail_list.iter();
        let policies = self.policies.iter();
        Contents {
            users: users.map(|user| user.arn.as_str()).collect(),
            groups: groups.map(|group| group.arn.as_str()).collect(),
            roles: roles.map(|role| role.arn.as_str()).collect(),
            policies: policies.map(|policy| policy.arn.as_str()).collect(),
        }
    }
}

impl Document {
    /// Whether the file holds a secret, and so must be private.
    pub fn has_secret(&self) -> bool {
        matches!(self, Self::Key(..))
    }
}

/// Why a document was refused: a sentence, with line and column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDocument(String);

impl BadDocument {
    /// The document is not in UTF-8: only its first `valid` bytes are.
    pub(crate) fn not_utf8(valid: &[u8]) -> Self {
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = valid
            .iter()
            .rev()
            .take_while(|byte| **byte != b'\n')
            .count()
            + 1;
        Self(format!("not in UTF-8 at line {line} column {column}"))
    }
}

/// Output of `aws iam get-account-authorization-details`.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub struct AccountDetails {
    #[serde(default)]
    user_detail_list: Vec<UserDetail>,
    #[serde(default)]
    group_detail_list: Vec<GroupDetail>,
    #[serde(default)]
    role_detail_list: Vec<RoleDetail>,
    #[serde(default)]
    policies: Vec<ManagedPolicy>,
    #[serde(default)]
    is_truncated: bool,
    /// What the AWS CLI's `--max-items` leaves in the place of `IsTruncated`.
    next_token: Option<IgnoredAny>,
    marker: Option<IgnoredAny>,
}

impl AccountDetails {
    /// What says that there is more, if anything does.
    fn truncated_by(&self) -> Option<&'static str> {
        let signs = [
            (self.is_truncated, "IsTruncated is true"),
            (self.next_token.is_some(), "there is a NextToken"),
            (self.marker.is_some(), "there is a Marker"),
        ];
        let mut signs = signs.into_iter();
        signs.find(|(is_there, _)| *is_there).map(|(_, sign)| sign)
    }
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct UserDetail {
    user_name: String,
    arn: String,
    #[serde(default, deserialize_with = "given")]
    user_id: Option<String>,
    #[serde(default)]
    tags: Vec<RawTag>,
    #[serde(default)]
    user_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    group_list: Vec<String>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
    #[serde(default, deserialize_with = "given")]
    permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct GroupDetail {
    group_name: String,
    arn: String,
    #[serde(default)]
    group_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct RoleDetail {
    role_name: String,
    arn: String,
    #[serde(default, deserialize_with = "given")]
    assume_role_policy_document: Option<TrustPolicy>,
    #[serde(default, deserialize_with = "given")]
    role_id: Option<String>,
    /// Printed by `aws iam get-role` alone.
    #[serde(default, deserialize_with = "given")]
    max_session_duration: Option<u32>,
    #[serde(default)]
    tags: Vec<RawTag>,
    #[serde(default)]
    role_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
    #[serde(default, deserialize_with = "given")]
    permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct RawInlinePolicy {
    #[serde(default)]
    policy_name: String,
    policy_document: Policy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct RawTag {
    key: String,
    value: String,
}

struct TrustPolicy(Policy);

impl<'de> Deserialize<'de> for TrustPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Policy::deserialize_as(deserializer, Kind::Trust).map(Self)
    }
}

struct ResourceBasedPolicy(Policy);

impl<'de> Deserialize<'de> for ResourceBasedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Policy::deserialize_as(deserializer, Kind::ResourceBased).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct AttachedPolicy {
    policy_arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct Boundary {
    permissions_boundary_arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct ManagedPolicy {
    arn: String,
    default_version_id: String,
    policy_version_list: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct PolicyVersion {
    version_id: String,
    document: Policy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct CreatedKey {
    access_key: CreatedKeyBody,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct CreatedKeyBody {
    user_name: String,
    access_key_id: String,
    status: String,
    /// Absent in what `aws iam list-access-keys` prints of a key.
    #[serde(default)]
    secret_access_key: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct AssumedRole {
    credentials: SessionCredentials,
    assumed_role_user: AssumedRoleUser,
    #[serde(default, deserialize_with = "given")]
    packed_policy_size: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    source_identity: Option<String>,
    #[serde(default, deserialize_with = "given")]
    request: Option<AssumeRoleRequest>,
}

/// What `--cli-input-json` may hold. Nothing else may stand there: a misspelled `Policy` would
/// otherwise be a session that nothing limits.
#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct AssumeRoleRequest {
    role_arn: String,
    role_session_name: String,
    #[serde(default, deserialize_with = "given")]
    policy: Option<Policy>,
    #[serde(default)]
    policy_arns: Vec<SessionPolicyArn>,
    #[serde(default)]
    tags: Vec<RawTag>,
    #[serde(default, deserialize_with = "given")]
    duration_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    serial_number: Option<String>,
    #[serde(default, deserialize_with = "given")]
    source_identity: Option<String>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
    #[serde(rename = "ExternalId")]
    _external_id: Option<IgnoredAny>,
    #[serde(rename = "TokenCode")]
    _token_code: Option<IgnoredAny>,
    #[serde(rename = "ProvidedContexts")]
    _provided_contexts: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct SessionPolicyArn {
    arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct SessionCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct AssumedRoleUser {
    arn: String,
    #[serde(default, deserialize_with = "given")]
    assumed_role_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct GetClusterPolicy {
    policy: ResourceBasedPolicy,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct GetCluster {
    arn: String,
    #[serde(default)]
    tags: Entries<String>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct DescribePolicy {
    policy: OrganizationsPolicy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct OrganizationsPolicy {
    policy_summary: PolicySummary,
    /// Read once its type is known: other types are not in IAM's language.
    content: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct PolicySummary {
    arn: String,
    #[serde(rename = "Type")]
    policy_type: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct ContextEntries {
    context_entries: Vec<ContextEntry>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct ContextEntry {
    context_key_name: String,
    context_key_values: Vec<String>,
    context_key_type: String,
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct Shape {
    #[serde(default, deserialize_with = "given")]
    user_detail_list: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    role_detail_list: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    access_key: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    assumed_role_user: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    context_entries: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given", rename = "Policy")]
    organizations_policy: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given", rename = "policy")]
    cluster_policy: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given", rename = "identifier")]
    cluster_identifier: Option<IgnoredAny>,
}

objects_only! {
    AccountDetails => "an account's users, groups, roles and policies",
    UserDetail => "a user",
    GroupDetail => "a group",
    RoleDetail => "a role",
    RawInlinePolicy => "an inline policy",
    RawTag => "a tag",
    AttachedPolicy => "an attached policy",
    Boundary => "a permissions boundary",
    ManagedPolicy => "a managed policy",
    PolicyVersion => "a version of a policy",
    CreatedKey => "an access key",
    CreatedKeyBody => "an access key",
    AssumedRole => "a role session",
    AssumeRoleRequest => "the request of a role session",
    SessionPolicyArn => "a session policy",
    SessionCredentials => "credentials",
    AssumedRoleUser => "an AssumedRoleUser",
    GetClusterPolicy => "the policy of a cluster",
    GetCluster => "a cluster",
    DescribePolicy => "a policy of an organization",
    OrganizationsPolicy => "a policy of an organization",
    PolicySummary => "a PolicySummary",
    ContextEntries => "ContextEntries",
    ContextEntry => "an entry of ContextEntries",
    Shape => "what a command of the AWS CLI printed",
}

impl Shape {
    fn is_export(&self) -> bool {
        self.user_detail_list.is_some() || self.role_detail_list.is_some()
    }

    /// How many kinds of documents it is at once.
    fn count(&self) -> usize {
        let kinds = [
            self.is_export(),
            self.access_key.is_some(),
            self.assumed_role_user.is_some(),
            self.context_entries.is_some(),
            self.organizations_policy.is_some(),
            self.cluster_policy.is_some(),
            self.cluster_identifier.is_some(),
        ];
        kinds.into_iter().filter(|is_there| *is_there).count()
    }
}

/// Parses one document, as the AWS CLI printed it.
///
/// # Errors
/// [`BadDocument`] with line and column, or with what the document lacks. Never holds a value
/// of the document that could be a secret.
pub fn parse(text: &str) -> Result<Document, BadDocument> {
    let shape: Shape = from_json(text)?;
    // Only one of them would be read, and the others could deny.
    if shape.count() > 1 {
        return Err(BadDocument(
            "holds the output of more than one command; each needs a file of its own".into(),
        ));
    }
    if shape.is_export() {
        let details: AccountDetails = from_json(text)?;
        if let Some(sign) = details.truncated_by() {
            return Err(BadDocument(format!(
                "{sign}: the export is incomplete, and what is missing could deny"
            )));
        }
        return Ok(Document::Account(Box::new(details)));
    }
    if shape.access_key.is_some() {
        let CreatedKey { access_key } = from_json(text)?;
        let key = AccessKey {
            secret: access_key.secret_access_key,
            session_token: None,
            expiration: None,
            is_active: access_key.status == "Active",
            owner: Owner::User(access_key.user_name),
        };
        return checked_key(access_key.access_key_id, key);
    }
    let parsed = if shape.assumed_role_user.is_some() {
        return assumed_role(from_json(text)?);
    } else if shape.cluster_policy.is_some() {
        let GetClusterPolicy { policy } = from_json(text)?;
        Ok(Document::ClusterPolicy(Box::new(policy.0)))
    } else if shape.cluster_identifier.is_some() {
        cluster(from_json(text)?)
    } else if shape.organizations_policy.is_some() {
        service_control_policy(from_json(text)?)
    } else if shape.context_entries.is_some() {
        context_entries(from_json(text)?)
    } else {
        Err(
            "not the output of get-account-authorization-details, create-access-key, \
             assume-role, get-cluster-policy, get-cluster or describe-policy, nor ContextEntries"
                .into(),
        )
    };
    parsed.map_err(BadDocument)
}

/// The most managed policies of one user, group, role or session; AWS allows up to 25.
const MAX_ATTACHED: usize = 100;
/// The most groups that one user is in; AWS allows 10.
const MAX_GROUPS: usize = 50;
/// The most inline policies of one user, group or role. AWS limits their characters, to 10,240 at the most.
const MAX_INLINE: usize = 500;

/// Whether a document is an account's export; nothing else in it is looked at.
pub(crate) fn is_export(text: &str) -> bool {
    from_json::<Shape>(text).is_ok_and(|shape| shape.is_export())
}

/// The longest session that `assume-role` gives.
pub(crate) const MAX_SESSION: u32 = 12 * 60 * 60;

fn assumed_role(assumed: AssumedRole) -> Result<Document, BadDocument> {
    let bad = |message: &str| BadDocument(message.to_owned());
    let expiration = parse_rfc3339(&assumed.credentials.expiration)
        .ok_or_else(|| bad("Expiration is no time (2026-01-31T12:00:00Z)"))?;
    let user = assumed.assumed_role_user;
    let Some(arn) = SessionArn::parse(&user.arn) else {
        return Err(bad("AssumedRoleUser.Arn is no ARN of a role session"));
    };
    if assumed.credentials.session_token.is_empty() {
        return Err(bad("SessionToken is empty"));
    }
    let has_packed = assumed.packed_policy_size.is_some_and(|size| size > 0);
    let mut session = RoleSession {
        arn: user.arn.clone(),
        assumed_role_id: user.assumed_role_id,
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
            return Err(bad("Request is that of another session"));
        }
        duration = request.duration_seconds.unwrap_or(60 * 60);
        if !(15 * 60..=MAX_SESSION).contains(&duration) {
            return Err(bad("DurationSeconds is not between 900 and 43200"));
        }
        let shows_something =
            request.policy.is_some() || !request.policy_arns.is_empty() || !request.tags.is_empty();
        session.has_hidden_policies = has_packed && !shows_something;
        if request.policy.is_some() || !request.policy_arns.is_empty() {
            let arns = request.policy_arns.into_iter().map(|p| p.arn).collect();
            let attached = distinct(&user.arn, "session policies", MAX_ATTACHED, arns);
            session.policies = Some(SessionPolicies {
                inline: request.policy,
                attached: attached.map_err(BadDocument)?,
            });
        }
        session.tags = tags(request.tags).map_err(BadDocument)?;
        session.transitive_tag_keys = request.transitive_tag_keys;
        session.has_mfa = request.serial_number.is_some();
        session.source_identity = session.source_identity.or(request.source_identity);
    }
    session.issued_at = expiration
        .checked_sub(Duration::seconds(duration.into()))
        .ok_or_else(|| bad("Expiration is no time (2026-01-31T12:00:00Z)"))?;
    let key = AccessKey {
        secret: assumed.credentials.secret_access_key,
        session_token: Some(assumed.credentials.session_token),
        expiration: Some(expiration),
        is_active: true,
        owner: Owner::Session(Box::new(session)),
    };
    checked_key(assumed.credentials.access_key_id, key)
}

fn cluster(raw: GetCluster) -> Result<Document, String> {
    if Arn::parse(&raw.arn).is_none_or(|arn| arn.service != SERVICE) {
        return Err(format!("\"{}\" is no ARN of a cluster", raw.arn));
    }
    let list = raw.tags.0.into_iter();
    let tags = tags(list.map(|(key, value)| RawTag { key, value }).collect())?;
    Ok(Document::Cluster(raw.arn, ClusterDescription { tags }))
}

fn service_control_policy(raw: DescribePolicy) -> Result<Document, String> {
    let summary = raw.policy.policy_summary;
    if summary.policy_type != "SERVICE_CONTROL_POLICY" {
        let policy_type = summary.policy_type;
        return Err(format!(
            "Type is \"{policy_type}\"; of an organization's policies only \
             SERVICE_CONTROL_POLICY is understood"
        ));
    }
    let policy = Policy::parse(&raw.policy.content, Kind::ServiceControl)
        .map_err(|fault| format!("in the policy document: {fault}"))?;
    Ok(Document::ServiceControlPolicy(
        summary.arn,
        Box::new(policy),
    ))
}

/// The most characters of all keys and values that documents may add to the request context. Each
/// login copies them, and conditions may be asked about all of them.
const MAX_CONTEXT: usize = 16 * 1024;

fn context_entries(raw: ContextEntries) -> Result<Document, String> {
    let mut entries = Vec::new();
    for entry in raw.context_entries {
        let (name, values) = (entry.context_key_name, entry.context_key_values);
        check_context_entry(&name, &values, &entry.context_key_type)?;
        entries.push((name, values));
    }
    Ok(Document::ContextEntries(entries))
}

/// Whether the values of a condition key are what its `ContextKeyType` says, as
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ContextEntry.html> has them.
///
/// # Errors
/// A sentence: what does not fit.
pub fn check_context_entry(
    name: &str,
    values: &[String],
    context_key_type: &str,
) -> Result<(), String> {
    if name.is_empty() {
        return Err("a ContextKeyName is empty".into());
    }
    let list_of = context_key_type.strip_suffix("List");
    let fits: fn(&str) -> bool = match list_of.unwrap_or(context_key_type) {
        "string" => |_| true,
        "numeric" => |text| number(text).is_some(),
        "boolean" => |text| boolean(text).is_some(),
        "date" => |text| date(text).is_some(),
        "ip" => |text| network(text).is_some(),
        "binary" => |text| BASE64.decode(text.as_bytes()).is_ok(),
        other => return Err(format!("\"{other}\" is no ContextKeyType")),
    };
    if list_of.is_none() && values.len() != 1 {
        return Err(format!("{name} is no list and has not one value"));
    }
    match values.iter().find(|value| !fits(value)) {
        None => Ok(()),
        Some(value) => Err(format!(
            "\"{value}\" for {name} is not of type {context_key_type}"
        )),
    }
}

/// Tags as IAM has them: no key twice, whatever the case of its letters.
fn tags(list: Vec<RawTag>) -> Result<Vec<Tag>, String> {
    let mut keys = HashSet::new();
    let mut tags = Vec::with_capacity(list.len());
    for RawTag { key, value } in list {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(format!("tag \"{key}\" is empty or longer than AWS allows"));
        }
        if !keys.insert(key.to_lowercase()) {
            return Err(format!("tag \"{key}\" is there twice"));
        }
        tags.push((key, value));
    }
    Ok(tags)
}

fn checked_key(id: String, key: AccessKey) -> Result<Document, BadDocument> {
    if id.is_empty() {
        return Err(BadDocument("AccessKeyId is empty".into()));
    }
    if key.secret.is_empty() {
        return Err(BadDocument(
            "SecretAccessKey is missing or empty; AWS prints it once, when a key is made".into(),
        ));
    }
    Ok(Document::Key(id, Box::new(key)))
}

/// serde_json quotes the offending value in some of its errors; that value could be a secret.
/// So only its kind of error and its position are kept where a value was quoted.
fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadDocument> {
    json::from_str(text).map_err(
        |message| match message.strip_prefix("invalid type: string ") {
            Some(rest) => {
                let expected = rest.rfind("expected").map_or("", |at| &rest[at..]);
                BadDocument(format!("invalid type: string, {expected}"))
            }
            None => BadDocument(message),
        },
    )
}

/// Merges documents into identities. Each comes with the name of its file, for the errors and for
/// whoever asks where a policy stands.
///
/// # Errors
/// The name of the file and a sentence: whatever is defined twice, or fits nothing.
pub fn merge<'n>(
    documents: impl IntoIterator<Item = (&'n str, Document)>,
) -> Result<Identities, (&'n str, BadDocument)> {
    let mut all = Identities::default();
    for (name, document) in documents {
        add(&mut all, name, document).map_err(|fault| (name, fault))?;
    }
    Ok(all)
}

/// The name of a file without its folder.
pub(crate) fn file_name(path: &str) -> &str {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path)
}

impl Document {
    /// Tells its policies which file they came from.
    fn comes_from(&mut self, file: &Arc<str>) {
        let inline = |list: &mut Vec<RawInlinePolicy>| {
            for policy in list {
                policy.policy_document.comes_from(file);
            }
        };
        match self {
            Self::Account(details) => {
                for user in &mut details.user_detail_list {
                    inline(&mut user.user_policy_list);
                }
                for group in &mut details.group_detail_list {
                    inline(&mut group.group_policy_list);
                }
                for role in &mut details.role_detail_list {
                    inline(&mut role.role_policy_list);
                    if let Some(trust) = &mut role.assume_role_policy_document {
                        trust.0.comes_from(file);
                    }
                }
                let versions = details.policies.iter_mut();
                for version in versions.flat_map(|policy| &mut policy.policy_version_list) {
                    version.document.comes_from(file);
                }
            }
            Self::Key(_, key) => {
                if let Owner::Session(session) = &mut key.owner
                    && let Some(policies) = &mut session.policies
                    && let Some(policy) = &mut policies.inline
                {
                    policy.comes_from(file);
                }
            }
            Self::ClusterPolicy(policy) | Self::ServiceControlPolicy(_, policy) => {
                policy.comes_from(file);
            }
            Self::Cluster(..) | Self::ContextEntries(_) => {}
        }
    }
}

/// Adds what the document of this file brings. After a fault some of it may be there and some not.
///
/// # Errors
/// A sentence: whatever is defined twice, or fits nothing.
pub(crate) fn add(
    all: &mut Identities,
    file: &str,
    mut document: Document,
) -> Result<(), BadDocument> {
    document.comes_from(&file_name(file).into());
    let added = match document {
        Document::Account(details) => add_account(all, *details),
        Document::Key(id, key) => match all.access_keys.insert(id.clone(), *key) {
            Some(_) => Err(format!("access key {id} is there twice")),
            None => Ok(()),
        },
        Document::ClusterPolicy(policy) => match all.cluster_policy.replace(*policy) {
            Some(_) => Err("the cluster's policy is there twice".into()),
            None => Ok(()),
        },
        Document::Cluster(arn, cluster) => match all.clusters.insert(arn.clone(), cluster) {
            Some(_) => Err(format!("{arn} is there twice")),
            None => Ok(()),
        },
        Document::ServiceControlPolicy(arn, policy) => {
            add_service_control_policy(all, arn, *policy)
        }
        Document::ContextEntries(entries) => add_context_entries(all, entries),
    };
    added.map_err(BadDocument)
}

fn add_service_control_policy(
    all: &mut Identities,
    arn: String,
    policy: Policy,
) -> Result<(), String> {
    if all.service_control.iter().any(|(known, _)| *known == arn) {
        return Err(format!("{arn} is there twice"));
    }
    all.service_control.push((arn, policy));
    Ok(())
}

fn add_context_entries(
    all: &mut Identities,
    entries: Vec<(String, Vec<String>)>,
) -> Result<(), String> {
    // Each value takes room, the empty one too.
    let size = |(key, values): &(String, Vec<String>)| {
        let texts = std::iter::once(key).chain(values);
        texts.map(|text| text.len() + 1).sum::<usize>()
    };
    let both = all.context_entries.iter().chain(&entries);
    if both.map(size).sum::<usize>() > MAX_CONTEXT {
        return Err(format!(
            "ContextEntries hold more than {MAX_CONTEXT} characters"
        ));
    }
    for (key, values) in entries {
        let mut known = all.context_entries.iter();
        if known.any(|(k, _)| k.eq_ignore_ascii_case(&key)) {
            return Err(format!("{key} is there twice"));
        }
        all.context_entries.push((key, values));
    }
    Ok(())
}

fn add_account(all: &mut Identities, details: AccountDetails) -> Result<(), String> {
    for user in details.user_detail_list {
        check_name(&user.arn, &user.user_name)?;
        all.add_principal(Principal {
            unique_id: user.user_id,
            tags: tags(user.tags)?,
            inline: documents(&user.arn, user.user_policy_list)?,
            attached: arns(&user.arn, user.attached_managed_policies)?,
            groups: distinct(&user.arn, "groups it is in", MAX_GROUPS, user.group_list)?,
            arn: user.arn,
            trust_policy: None,
            max_session_duration: None,
            boundary: user
                .permissions_boundary
                .map(|b| b.permissions_boundary_arn),
        })?;
    }
    for role in details.role_detail_list {
        check_name(&role.arn, &role.role_name)?;
        let duration = role.max_session_duration;
        if duration.is_some_and(|seconds| !(60 * 60..=MAX_SESSION).contains(&seconds)) {
            return Err(format!(
                "MaxSessionDuration of {} is not between 3600 and 43200",
                role.arn
            ));
        }
        all.add_principal(Principal {
            unique_id: role.role_id,
            tags: tags(role.tags)?,
            inline: documents(&role.arn, role.role_policy_list)?,
            attached: arns(&role.arn, role.attached_managed_policies)?,
            arn: role.arn,
            groups: Vec::new(),
            trust_policy: role.assume_role_policy_document.map(|trust| trust.0),
            max_session_duration: duration,
            boundary: role
                .permissions_boundary
                .map(|b| b.permissions_boundary_arn),
        })?;
    }
    for group in details.group_detail_list {
        let account = account_of(&group.arn);
        if !is_account_id(account) {
            return Err(format!("\"{}\" is no ARN of a group", group.arn));
        }
        let key = (account.to_owned(), group.group_name);
        let value = Group {
            arn: group.arn.clone(),
            inline: documents(&group.arn, group.group_policy_list)?,
            attached: arns(&group.arn, group.attached_managed_policies)?,
        };
        if all.groups.insert(key, value).is_some() {
            return Err(format!("{} is there twice", group.arn));
        }
    }
    for policy in details.policies {
        let ManagedPolicy {
            arn,
            default_version_id,
            policy_version_list,
        } = policy;
        let mut defaults = policy_version_list
            .into_iter()
            .filter(|version| version.version_id == default_version_id);
        let default = defaults.next();
        let Some(default) = default.filter(|_| defaults.next().is_none()) else {
            return Err(format!(
                "{arn} does not hold its version {default_version_id} once"
            ));
        };
        // Exports of several accounts each bring the policies of AWS itself.
        match all.policies.get(&arn) {
            Some(known) if *known != default.document => {
                return Err(format!("{arn} is there twice, with different documents"));
            }
            _ => all.policies.insert(arn, default.document),
        };
    }
    Ok(())
}

fn check_name(arn: &str, name: &str) -> Result<(), String> {
    match IamArn::parse(arn) {
        Ok(parsed) if parsed.name == name => Ok(()),
        Ok(_) => Err(format!("{arn} is called {name}")),
        Err(_) => Err(format!("\"{arn}\" is no ARN of a user or role")),
    }
}

fn documents(owner: &str, list: Vec<RawInlinePolicy>) -> Result<Vec<InlinePolicy>, String> {
    check_count(owner, "inline policies", MAX_INLINE, list.len())?;
    let inline = list.into_iter().map(|raw| InlinePolicy {
        name: raw.policy_name,
        policy: raw.policy_document,
    });
    Ok(inline.collect())
}

fn arns(owner: &str, list: Vec<AttachedPolicy>) -> Result<Vec<String>, String> {
    let arns = list.into_iter().map(|policy| policy.policy_arn).collect();
    distinct(owner, "attached policies", MAX_ATTACHED, arns)
}

/// The list without what is there again.
fn distinct(
    owner: &str,
    what: &str,
    most: usize,
    mut list: Vec<String>,
) -> Result<Vec<String>, String> {
    let mut known = HashSet::new();
    list.retain(|one| known.insert(one.clone()));
    check_count(owner, what, most, list.len())?;
    Ok(list)
}

fn check_count(owner: &str, what: &str, most: usize, count: usize) -> Result<(), String> {
    if count > most {
        return Err(format!(
            "{owner} has more {what} than {most}, which is several times as many as AWS allows"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(document: serde_json::Value) -> String {
        let text = serde_json::to_string_pretty(&document).unwrap();
        match parse(&text) {
            Err(error) => error.to_string(),
            Ok(document) => match merge([("x.json", document)]) {
                Err((_, error)) => error.to_string(),
                Ok(_) => panic!("accepted: {text}"),
            },
        }
    }

    #[test]
    fn the_position_of_a_fault_is_named() {
        let error = parse("{\n  \"AccessKey\": {\n    \"UserName\" \"x\"\n  }\n}")
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "expected `:` at line 3 column 16");
    }

    #[test]
    fn a_secret_is_never_quoted() {
        for text in [
            "{\"AccessKey\": \"hunter2\"}",
            "{\"AccessKey\": {\"SecretAccessKey\": {\"hunter2\": 1}}}",
            "{\"AssumedRoleUser\": {}, \"Credentials\": \"hunter2\"}",
            "{\"AssumedRoleUser\": \"a\", \"Credentials\": {\"Expiration\": \"hunter2\", \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"b\", \"SessionToken\": \"c\"}}",
            "\"hunter2\"",
        ] {
            let error = parse(text).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn faults_are_named() {
        let user = json!({"UserName": "a", "Arn": "arn:aws:iam::012345678912:user/a"});
        let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let version = |id: &str| json!({"VersionId": id, "Document": {"Statement": statement}});
        let policy = json!({"Arn": "arn:aws:iam::aws:policy/P", "DefaultVersionId": "v2",
            "PolicyVersionList": [version("v1")]});
        for (document, expected) in [
            (json!({}), "not the output of"),
            (
                json!({"UserDetailList": [], "IsTruncated": true}),
                "IsTruncated is true: the export is incomplete",
            ),
            (
                json!({"UserDetailList": [], "NextToken": "eyJNYXJrZXIiOiBudWxsfQ=="}),
                "there is a NextToken: the export is incomplete",
            ),
            (
                json!({"RoleDetailList": [], "IsTruncated": false, "Marker": "m"}),
                "there is a Marker: the export is incomplete",
            ),
            (json!({"UserDetailList": [user, user]}), "is there twice"),
            (
                json!({"UserDetailList": [{"UserName": "b", "Arn": "arn:aws:iam::012345678912:user/a"}]}),
                "user/a is called b",
            ),
            (
                json!({"UserDetailList": [{"UserName": "b", "Arn": "nonsense"}]}),
                "\"nonsense\" is no ARN of a user or role",
            ),
            (
                json!({"UserDetailList": [], "Policies": [policy]}),
                "does not hold its version v2 once",
            ),
            (
                json!({"AccessKey": {"UserName": "a", "AccessKeyId": "", "Status": "Active",
                    "SecretAccessKey": "s", "CreateDate": "2026-01-01T00:00:00Z"}}),
                "AccessKeyId is empty",
            ),
            (
                json!({"AccessKey": {"UserName": "a", "AccessKeyId": "AKIA", "Status": "Active"}}),
                "SecretAccessKey is missing or empty",
            ),
        ] {
            let message = fault(document);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn who_no_document_can_describe() {
        let account = "arn:aws:iam::012345678912:root";
        let user = json!({"UserDetailList": [{"UserName": "root", "Arn": account}]});
        let mut federated = session(0, json!(null));
        federated["AssumedRoleUser"]["Arn"] =
            json!("arn:aws:sts::012345678912:federated-user/alice");
        let mut root = session(0, json!(null));
        root["AssumedRoleUser"]["Arn"] = json!(account);
        for (document, expected) in [
            (user, "is no ARN of a user or role"),
            (federated, "AssumedRoleUser.Arn is no ARN of a role session"),
            (root, "AssumedRoleUser.Arn is no ARN of a role session"),
        ] {
            let message = fault(document);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn more_than_an_account_can_have_is_refused() {
        let arn = "arn:aws:iam::012345678912:user/a";
        let attached = |count: usize, distinct: usize| -> Vec<serde_json::Value> {
            let policy = |number| format!("arn:aws:iam::aws:policy/P{}", number % distinct);
            (0..count)
                .map(|number| json!({ "PolicyArn": policy(number) }))
                .collect()
        };
        let user = |more: serde_json::Value| {
            let mut user = json!({"UserName": "a", "Arn": arn});
            user.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json!({ "UserDetailList": [user] })
        };
        let groups = |count: usize| (0..count).map(|n| format!("g{n}")).collect::<Vec<_>>();
        let inline = json!({"PolicyName": "p", "PolicyDocument": {"Statement": []}});
        for (more, expected) in [
            (
                json!({"AttachedManagedPolicies": attached(101, 101)}),
                "attached policies than 100",
            ),
            (
                json!({ "GroupList": groups(51) }),
                "groups it is in than 50",
            ),
            (
                json!({"UserPolicyList": vec![inline.clone(); 501]}),
                "inline policies than 500",
            ),
        ] {
            let said = fault(user(more));
            assert!(
                said.starts_with(&format!("{arn} has more {expected}")),
                "{said}"
            );
        }
        let group = json!({"UserDetailList": [], "GroupDetailList": [{"GroupName": "g",
            "Arn": "arn:aws:iam::012345678912:group/g",
            "AttachedManagedPolicies": attached(101, 101)}]});
        assert!(fault(group).contains("group/g has more attached policies than 100"));
        let policies: Vec<_> = (0..101)
            .map(|n| json!({"arn": format!("arn:p{n}")}))
            .collect();
        let session = session(6, request(json!({ "PolicyArns": policies })));
        assert!(fault(session).contains("has more session policies than 100"));

        // As often as one likes is as good as once; here and by way of a group.
        let mut document = user(json!({"AttachedManagedPolicies": attached(2_000, 2),
            "GroupList": ["g", "g"]}));
        document["GroupDetailList"] = json!([{"GroupName": "g",
            "Arn": "arn:aws:iam::012345678912:group/g",
            "AttachedManagedPolicies": attached(2_000, 3)}]);
        let policy = |number: usize| {
            json!({"Arn": format!("arn:aws:iam::aws:policy/P{number}"), "DefaultVersionId": "v1",
                "PolicyVersionList": [{"VersionId": "v1", "Document": {"Statement": []}}]})
        };
        document["Policies"] = json!([policy(0), policy(1), policy(2)]);
        let parsed = parse(&document.to_string()).ok().unwrap();
        let all = merge([("a.json", parsed)]).ok().unwrap();
        let policies = all.policies(all.principal(arn).unwrap(), None).unwrap();
        assert_eq!(policies.identity.len(), 3);
    }

    fn session(packed: u32, request: serde_json::Value) -> serde_json::Value {
        let mut session = json!({
            "Credentials": {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
                "Expiration": "2024-11-25T12:00:00+00:00"},
            "AssumedRoleUser": {"AssumedRoleId": "AROA:web",
                "Arn": "arn:aws:sts::012345678912:assumed-role/App/web"},
            "PackedPolicySize": packed,
        });
        if !request.is_null() {
            session["Request"] = request;
        }
        session
    }

    /// Whether the text is refused, and with what words.
    fn refused(text: &str) -> String {
        let Err(fault) = parse(text) else {
            panic!("accepted: {text}")
        };
        fault.to_string()
    }

    #[test]
    fn a_null_that_could_hide_a_limit_is_refused() {
        let user = json!({"UserDetailList": [{"UserName": "a",
            "Arn": "arn:aws:iam::012345678912:user/a"}]});
        let role = json!({"RoleDetailList": [{"RoleName": "App",
            "Arn": "arn:aws:iam::012345678912:role/App"}]});
        let cluster =
            json!({"identifier": "a", "arn": "arn:aws:dsql:us-east-1:012345678912:cluster/a"});
        let user_is = "/UserDetailList/0";
        let role_is = "/RoleDetailList/0";
        let asked = session(0, request(json!({})));
        for (document, place, members) in [
            (
                &user,
                user_is,
                &[
                    "PermissionsBoundary",
                    "UserId",
                    "Tags",
                    "UserPolicyList",
                    "GroupList",
                    "AttachedManagedPolicies",
                ][..],
            ),
            (
                &role,
                role_is,
                &[
                    "PermissionsBoundary",
                    "RoleId",
                    "Tags",
                    "RolePolicyList",
                    "MaxSessionDuration",
                    "AssumeRolePolicyDocument",
                    "AttachedManagedPolicies",
                ],
            ),
            (
                &asked,
                "",
                &["PackedPolicySize", "SourceIdentity", "Request"],
            ),
            (&asked, "/AssumedRoleUser", &["AssumedRoleId"]),
            (&asked, "/Credentials", &["Expiration", "SessionToken"]),
            (
                &asked,
                "/Request",
                &[
                    "Policy",
                    "PolicyArns",
                    "Tags",
                    "DurationSeconds",
                    "SerialNumber",
                    "SourceIdentity",
                    "TransitiveTagKeys",
                ],
            ),
            (
                &user,
                "",
                &[
                    "RoleDetailList",
                    "GroupDetailList",
                    "IsTruncated",
                    "policy",
                    "AccessKey",
                ],
            ),
            (&cluster, "", &["tags", "Policy"]),
        ] {
            for member in members {
                let mut document = document.clone();
                parse(&document.to_string()).unwrap_or_else(|fault| panic!("{document}: {fault}"));
                document.pointer_mut(place).unwrap()[*member] = json!(null);
                let said = refused(&document.to_string());
                let is_null = said.starts_with("a member is null; it has a value, or is not there")
                    || said.starts_with("invalid type: null");
                assert!(is_null, "{place}/{member}: {said}");
                assert!(!said.contains("struct "), "{said}");
            }
        }
        // What the AWS CLI's pages end with says nothing that its absence would not say.
        let mut whole = user;
        whole["NextToken"] = json!(null);
        whole["Marker"] = json!(null);
        assert!(parse(&whole.to_string()).is_ok());
    }

    #[test]
    fn only_objects_are_documents_and_nothing_is_there_twice() {
        let printed =
            "invalid type: array, expected an object: what a command of the AWS CLI printed";
        for (text, fault) in [
            ("[]", printed),
            ("[[], [], [], [], [], [], [], []]", printed),
            (
                "null",
                "invalid type: null, expected an object: what a command of the AWS CLI printed",
            ),
            (
                r#"{"UserDetailList": [["a", "arn:aws:iam::012345678912:user/a"]]}"#,
                "invalid type: array, expected an object: a user",
            ),
            (
                r#"{"AccessKey": ["a", "AKIA", "Active", "secret"]}"#,
                "invalid type: array, expected an object: an access key",
            ),
            (
                r#"{"RoleDetailList": [{"RoleName": "App", "Arn": "a",
                    "PermissionsBoundary": ["arn:aws:iam::aws:policy/P"]}]}"#,
                "invalid type: array, expected an object: a permissions boundary",
            ),
            (
                r#"{"UserDetailList": [{"UserName": "a", "Arn": "a",
                    "PermissionsBoundary": {"PermissionsBoundaryArn": "a"},
                    "PermissionsBoundary": {"PermissionsBoundaryArn": "b"}}]}"#,
                "duplicate field `PermissionsBoundary`",
            ),
            (
                r#"{"identifier": "a", "arn": "arn:aws:dsql:us-east-1:012345678912:cluster/a",
                    "tags": {"team": "a", "team": "b"}}"#,
                "tag \"team\" is there twice",
            ),
            (
                "\u{feff}{\"UserDetailList\": []}",
                "it starts with a byte order mark, which JSON does not have; save it as UTF-8 without one",
            ),
        ] {
            let said = refused(text);
            assert!(said.starts_with(fault), "{text}: {said}");
        }
    }

    fn request(more: serde_json::Value) -> serde_json::Value {
        let mut request = json!({"RoleArn": "arn:aws:iam::012345678912:role/x/App",
            "RoleSessionName": "web"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request
    }

    #[test]
    fn what_a_session_was_narrowed_by() {
        let policy = json!({"Version": "2012-10-17", "Statement": []}).to_string();
        let parsed = |packed, request| {
            let Ok(Document::Key(_, key)) = parse(&session(packed, request).to_string()) else {
                panic!("a key")
            };
            match key.owner {
                Owner::Session(session) => session,
                Owner::User(_) => panic!("a session"),
            }
        };
        // The earliest time that is possible, the usual one, and the one that was asked for.
        let hour = |hour| time::macros::utc_datetime!(2024-11-25 00:00:00) + Duration::hours(hour);
        assert_eq!(parsed(0, json!(null)).issued_at, hour(0));
        assert_eq!(parsed(0, request(json!({}))).issued_at, hour(11));
        let asked_for = request(json!({"DurationSeconds": 7200}));
        assert_eq!(parsed(0, asked_for).issued_at, hour(10));

        assert!(parsed(6, json!(null)).has_hidden_policies);
        assert!(parsed(6, request(json!({}))).has_hidden_policies);
        assert!(parsed(0, json!(null)).policies.is_none());
        let tagged = parsed(6, request(json!({"Tags": [{"Key": "a", "Value": "b"}]})));
        assert!(!tagged.has_hidden_policies && tagged.policies.is_none());
        let narrowed = parsed(
            6,
            request(json!({"Policy": policy,
            "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/P"}]})),
        );
        assert!(!narrowed.has_hidden_policies);
        let policies = narrowed.policies.unwrap();
        assert!(policies.inline.is_some());
        assert_eq!(policies.attached, ["arn:aws:iam::aws:policy/P"]);
    }

    #[test]
    fn faults_of_the_other_documents_are_named() {
        let entry = |name: &str, values: serde_json::Value, kind: &str| {
            json!({"ContextEntries": [{"ContextKeyName": name, "ContextKeyValues": values,
                "ContextKeyType": kind}]})
        };
        let organization = |kind: &str, content: &str| {
            json!({"Policy": {"PolicySummary": {"Arn": "arn:aws:organizations::1:policy/p", "Type": kind},
                "Content": content}})
        };
        let role = |trust: serde_json::Value| {
            json!({"RoleDetailList": [{"RoleName": "App", "AssumeRolePolicyDocument": trust,
                "Arn": "arn:aws:iam::012345678912:role/App"}]})
        };
        let user = |tags: serde_json::Value| {
            json!({"UserDetailList": [{"UserName": "a", "Tags": tags,
                "Arn": "arn:aws:iam::012345678912:user/a"}]})
        };
        let cluster = "arn:aws:dsql:us-east-1:012345678912:cluster/abc";
        for (document, expected) in [
            (
                json!({"UserDetailList": [], "policy": "{}"}),
                "more than one command",
            ),
            (
                session(0, request(json!({"Polcy": "{}"}))),
                "unknown field `Polcy`",
            ),
            (
                session(0, request(json!({"Policy": "{}"}))),
                "missing field `Statement`",
            ),
            (
                session(0, request(json!({"DurationSeconds": 60}))),
                "DurationSeconds",
            ),
            (
                session(0, request(json!({"RoleSessionName": "other"}))),
                "another session",
            ),
            (
                session(
                    0,
                    request(json!({"RoleArn": "arn:aws:iam::012345678912:role/Other"})),
                ),
                "another session",
            ),
            (
                json!({"policy": "{}", "policyVersion": "1"}),
                "missing field `Statement`",
            ),
            (
                json!({"policy": "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}"}),
                "a statement has no Principal",
            ),
            (
                json!({"identifier": "a", "arn": "arn:aws:s3:::a"}),
                "no ARN of a cluster",
            ),
            (
                json!({"identifier": "a", "arn": cluster, "tags": {"a": "1", "A": "2"}}),
                "is there twice",
            ),
            (
                organization("TAG_POLICY", "{}"),
                "only SERVICE_CONTROL_POLICY",
            ),
            (
                organization("SERVICE_CONTROL_POLICY", "{}"),
                "missing field `Statement`",
            ),
            (entry("", json!(["a"]), "string"), "ContextKeyName is empty"),
            (
                entry("a:b", json!(["a", "b"]), "string"),
                "has not one value",
            ),
            (
                entry("a:b", json!(["x"]), "numeric"),
                "\"x\" for a:b is not of type numeric",
            ),
            (
                entry("a:b", json!(["true", "x"]), "booleanList"),
                "not of type booleanList",
            ),
            (
                entry("a:b", json!(["x"]), "dateList"),
                "not of type dateList",
            ),
            (entry("a:b", json!(["x"]), "ip"), "not of type ip"),
            (entry("a:b", json!(["x"]), "binary"), "not of type binary"),
            (entry("a:b", json!(["x"]), "text"), "no ContextKeyType"),
            (
                entry("a:b", json!(vec!["x"; 9000]), "stringList"),
                "ContextEntries hold more than",
            ),
            (
                role(json!({"Statement": {"Effect": "Allow"}})),
                "a statement has neither Action",
            ),
            (
                role(json!(
                    "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D"
                )),
                "a statement has no Principal",
            ),
            (
                user(json!([{"Key": "Team", "Value": "a"}, {"Key": "team", "Value": "b"}])),
                "tag \"team\" is there twice",
            ),
        ] {
            let message = fault(document.clone());
            assert!(message.contains(expected), "{document}: {message}");
        }
    }

    #[test]
    fn what_can_be_there_once_only() {
        let policy = json!({"policy": "{\"Statement\": []}"}).to_string();
        let entries = json!({"ContextEntries": [{"ContextKeyName": "a:B", "ContextKeyType": "string",
            "ContextKeyValues": ["x"]}]});
        let cluster = json!({"identifier": "a", "arn": "arn:aws:dsql:us-east-1:1:cluster/a"});
        let organization = json!({"Policy": {"Content": "{\"Statement\": []}",
            "PolicySummary": {"Arn": "arn:p", "Type": "SERVICE_CONTROL_POLICY"}}});
        for text in [
            policy,
            entries.to_string(),
            cluster.to_string(),
            organization.to_string(),
        ] {
            let twice = ["a.json", "b.json"].map(|name| (name, parse(&text).ok().unwrap()));
            let (name, error) = merge(twice).err().unwrap();
            assert_eq!(name, "b.json");
            assert!(error.to_string().ends_with("is there twice"), "{error}");
        }
    }

    #[test]
    fn the_default_version_counts_wherever_it_stands() {
        let statement =
            |effect: &str| json!({"Statement": {"Effect": effect, "Action": "*", "Resource": "*"}});
        let details = json!({"UserDetailList": [], "Policies": [{
        "Arn": "arn:aws:iam::aws:policy/P", "DefaultVersionId": "v2",
        "PolicyVersionList": [
            {"VersionId": "v3", "Document": statement("Deny")},
            {"VersionId": "v2", "Document": statement("Allow")},
            {"VersionId": "v1", "Document": statement("Deny")},
        ]}]});
        let document = parse(&details.to_string()).ok().unwrap();
        let all = merge([("a.json", document)]).ok().unwrap();
        let policy = &all.policies["arn:aws:iam::aws:policy/P"];
        assert_eq!(
            policy.statements()[0].effect(),
            crate::policy::Effect::Allow
        );
    }

    #[test]
    fn a_key_whose_user_is_in_several_other_accounts_is_nobodys() {
        let account = |number: &str| {
            let arn = format!("arn:aws:iam::{number}:user/x/alice");
            let document = json!({"UserDetailList": [{"UserName": "alice", "Arn": arn}]});
            ("a document", parse(&document.to_string()).ok().unwrap())
        };
        let (one, two) = ("111111111111", "222222222222");
        let all = merge([account(one)]).ok().unwrap();
        let found =
            |all: &Identities, own: &str| all.user(own, "alice").map(|user| user.arn.clone());
        let arn_of_one = Some("arn:aws:iam::111111111111:user/x/alice".to_owned());
        assert_eq!(found(&all, "333333333333"), arn_of_one);
        let all = merge([account(one), account(two)]).ok().unwrap();
        assert_eq!(found(&all, "333333333333"), None);
        assert_eq!(found(&all, one), arn_of_one);
    }
}
