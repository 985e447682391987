//! The shapes of the JSON that AWS's command line prints.

use crate::json::{Entries, not_null};
use crate::objects_only;
use crate::policy::{Kind, Policy};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

/// Output of `aws iam get-account-authorization-details`.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub struct AccountDetails {
    #[serde(default)]
    pub(super) user_detail_list: Vec<UserDetail>,
    #[serde(default)]
    pub(super) group_detail_list: Vec<GroupDetail>,
    #[serde(default)]
    pub(super) role_detail_list: Vec<RoleDetail>,
    #[serde(default)]
    pub(super) policies: Vec<ManagedPolicy>,
    #[serde(default)]
    pub(super) is_truncated: bool,
    /// The AWS CLI's `--max-items` leaves it in the place of `IsTruncated`.
    pub(super) next_token: Option<IgnoredAny>,
    pub(super) marker: Option<IgnoredAny>,
}

impl AccountDetails {
    /// The sign that there is more, if there is one.
    pub(super) fn truncated_by(&self) -> Option<&'static str> {
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
pub(super) struct UserDetail {
    pub(super) user_name: String,
    pub(super) arn: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) user_id: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<RawTag>,
    #[serde(default)]
    pub(super) user_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    pub(super) group_list: Vec<String>,
    #[serde(default)]
    pub(super) attached_managed_policies: Vec<AttachedPolicy>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct GroupDetail {
    pub(super) group_name: String,
    pub(super) arn: String,
    #[serde(default)]
    pub(super) group_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    pub(super) attached_managed_policies: Vec<AttachedPolicy>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct RoleDetail {
    pub(super) role_name: String,
    pub(super) arn: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) assume_role_policy_document: Option<TrustPolicy>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) role_id: Option<String>,
    /// Printed by `aws iam get-role` alone.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) max_session_duration: Option<u32>,
    #[serde(default)]
    pub(super) tags: Vec<RawTag>,
    #[serde(default)]
    pub(super) role_policy_list: Vec<RawInlinePolicy>,
    #[serde(default)]
    pub(super) attached_managed_policies: Vec<AttachedPolicy>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct RawInlinePolicy {
    #[serde(default)]
    pub(super) policy_name: String,
    pub(super) policy_document: Policy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RawTag {
    pub(super) key: String,
    pub(super) value: String,
}

pub(super) struct TrustPolicy(pub(super) Policy);

impl<'de> Deserialize<'de> for TrustPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Policy::deserialize_as(deserializer, Kind::Trust).map(Self)
    }
}

pub(super) struct ResourceBasedPolicy(pub(super) Policy);

impl<'de> Deserialize<'de> for ResourceBasedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Policy::deserialize_as(deserializer, Kind::ResourceBased).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct AttachedPolicy {
    pub(super) policy_arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct Boundary {
    pub(super) permissions_boundary_arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct ManagedPolicy {
    pub(super) arn: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) policy_name: Option<String>,
    pub(super) default_version_id: String,
    pub(super) policy_version_list: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct PolicyVersion {
    pub(super) version_id: String,
    pub(super) document: Policy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct CreatedKey {
    pub(super) access_key: CreatedKeyBody,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct CreatedKeyBody {
    pub(super) user_name: String,
    /// Not AWS's: for a user whose name several accounts have.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) account_id: Option<String>,
    pub(super) access_key_id: String,
    pub(super) status: String,
    /// Absent in what `aws iam list-access-keys` prints of a key.
    #[serde(default)]
    pub(super) secret_access_key: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct AssumedRole {
    pub(super) credentials: SessionCredentials,
    pub(super) assumed_role_user: AssumedRoleUser,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) packed_policy_size: Option<u32>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) source_identity: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) request: Option<AssumeRoleRequest>,
}

/// The members of `--cli-input-json`. Nothing else may stand there: a misspelled `Policy` would
/// otherwise be a session that nothing limits.
#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssumeRoleRequest {
    pub(super) role_arn: String,
    pub(super) role_session_name: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) policy: Option<Policy>,
    #[serde(default)]
    pub(super) policy_arns: Vec<SessionPolicyArn>,
    #[serde(default)]
    pub(super) tags: Vec<RawTag>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) duration_seconds: Option<u32>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) serial_number: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) source_identity: Option<String>,
    #[serde(default)]
    pub(super) transitive_tag_keys: Vec<String>,
    #[serde(default, deserialize_with = "not_null", rename = "ExternalId")]
    pub(super) _external_id: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "TokenCode")]
    pub(super) _token_code: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "ProvidedContexts")]
    pub(super) _provided_contexts: Option<IgnoredAny>,
}

/// Output of `aws sts get-session-token`, with that of `aws sts get-caller-identity` in it.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct SessionOfCaller {
    pub(super) credentials: SessionCredentials,
    pub(super) arn: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) user_id: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) request: Option<GetSessionTokenRequest>,
}

/// The members of `--cli-input-json`; no others are taken.
#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetSessionTokenRequest {
    #[serde(default, deserialize_with = "not_null")]
    pub(super) duration_seconds: Option<u32>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) serial_number: Option<String>,
    #[serde(default, deserialize_with = "not_null", rename = "TokenCode")]
    pub(super) _token_code: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(super) struct SessionPolicyArn {
    pub(super) arn: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct SessionCredentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: String,
    pub(super) expiration: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct AssumedRoleUser {
    pub(super) arn: String,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) assumed_role_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub(super) struct GetClusterPolicy {
    pub(super) policy: ResourceBasedPolicy,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub(super) struct GetCluster {
    pub(super) arn: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) tags: Entries<String>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct DescribePolicy {
    pub(super) policy: OrganizationsPolicy,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct OrganizationsPolicy {
    pub(super) policy_summary: PolicySummary,
    /// Read once its type is known: other types are not in IAM's language.
    pub(super) content: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct PolicySummary {
    pub(super) arn: String,
    #[serde(rename = "Type")]
    pub(super) policy_type: String,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ContextEntries {
    pub(super) context_entries: Vec<ContextEntry>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ContextEntry {
    pub(super) context_key_name: String,
    pub(super) context_key_values: Vec<String>,
    pub(super) context_key_type: String,
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct Shape {
    #[serde(default, deserialize_with = "not_null")]
    pub(super) user_detail_list: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) role_detail_list: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) access_key: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) assumed_role_user: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null")]
    pub(super) context_entries: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "Policy")]
    pub(super) organizations_policy: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "policy")]
    pub(super) cluster_policy: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "identifier")]
    pub(super) cluster_identifier: Option<IgnoredAny>,
    /// `aws iam get-open-id-connect-provider`
    #[serde(default, deserialize_with = "not_null", rename = "ClientIDList")]
    pub(super) client_ids: Option<IgnoredAny>,
    /// `aws iam create-virtual-mfa-device`
    #[serde(default, deserialize_with = "not_null", rename = "VirtualMFADevice")]
    pub(super) virtual_mfa_device: Option<IgnoredAny>,
    /// `aws iam list-virtual-mfa-devices`
    #[serde(default, deserialize_with = "not_null", rename = "VirtualMFADevices")]
    pub(super) virtual_mfa_devices: Option<IgnoredAny>,
    /// `aws iam list-mfa-devices`
    #[serde(default, deserialize_with = "not_null", rename = "MFADevices")]
    pub(super) mfa_devices: Option<IgnoredAny>,
    /// The keys behind an identity provider's `jwks_uri`.
    #[serde(default, deserialize_with = "not_null", rename = "keys")]
    pub(super) keys: Option<IgnoredAny>,
    /// `aws sts get-session-token`, `get-federation-token`, and the AWS CLI's cache.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) credentials: Option<IgnoredAny>,
    /// `aws sts get-federation-token`
    #[serde(default, deserialize_with = "not_null")]
    pub(super) federated_user: Option<IgnoredAny>,
    /// `aws sts get-caller-identity`
    #[serde(default, deserialize_with = "not_null")]
    pub(super) arn: Option<IgnoredAny>,
    /// `aws sso get-role-credentials`
    #[serde(default, deserialize_with = "not_null", rename = "roleCredentials")]
    pub(super) role_credentials: Option<IgnoredAny>,
    /// `aws configure export-credentials`, and what containers and instances are given.
    #[serde(default, deserialize_with = "not_null")]
    pub(super) access_key_id: Option<IgnoredAny>,
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
    SessionOfCaller => "a session of a user",
    GetSessionTokenRequest => "the request of a session of a user",
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
    pub(super) fn is_export(&self) -> bool {
        self.user_detail_list.is_some() || self.role_detail_list.is_some()
    }

    /// Whether it is a session with the ARN of whoever has it.
    pub(super) fn is_session_of_caller(&self) -> bool {
        self.credentials.is_some() && self.arn.is_some()
    }

    pub(super) fn is_mfa_devices(&self) -> bool {
        let forms = [
            &self.virtual_mfa_device,
            &self.virtual_mfa_devices,
            &self.mfa_devices,
        ];
        forms.into_iter().any(Option::is_some)
    }

    /// Whether it is credentials that do not say whose they are.
    pub(super) fn is_credentials(&self) -> bool {
        let forms = [
            &self.credentials,
            &self.role_credentials,
            &self.access_key_id,
        ];
        forms.into_iter().any(Option::is_some)
    }

    /// How many kinds of documents it is at once.
    pub(super) fn count(&self) -> usize {
        let (is_of_role, is_of_caller) = (
            self.assumed_role_user.is_some(),
            self.is_session_of_caller(),
        );
        let is_without_owner = self.is_credentials() && !is_of_role && !is_of_caller;
        let kinds = [
            self.is_export(),
            self.access_key.is_some(),
            is_of_role,
            is_of_caller,
            is_without_owner,
            self.context_entries.is_some(),
            self.organizations_policy.is_some(),
            self.cluster_policy.is_some(),
            self.cluster_identifier.is_some(),
            self.client_ids.is_some(),
            self.keys.is_some(),
            self.is_mfa_devices(),
        ];
        kinds.into_iter().filter(|is_there| *is_there).count()
    }
}

/// The ARNs of what an account's export brings.
pub(crate) struct Contents<'d> {
    pub(crate) users: Vec<&'d str>,
    pub(crate) groups: Vec<&'d str>,
    pub(crate) roles: Vec<&'d str>,
    pub(crate) policies: Vec<&'d str>,
}

impl AccountDetails {
    /// The ARN and the default version of each of its managed policies.
    pub(crate) fn managed(&self) -> impl Iterator<Item = (&str, &str)> {
        let policies = self.policies.iter();
        policies.map(|policy| (policy.arn.as_str(), policy.default_version_id.as_str()))
    }

    /// The identities that it brings.
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
