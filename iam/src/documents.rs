//! The JSON that AWS's command line prints, turned into [`Identities`].
//!
//! | command | what is taken |
//! |---|---|
//! | `aws iam get-account-authorization-details` | users, groups, roles, policies |
//! | `aws iam create-access-key` | an access key of a user |
//! | `aws sts assume-role` | a role session with its access key |
//!
//! Further fields are AWS's to add and are passed over; what a policy may hold is checked
//! strictly, in [`crate::policy`].

use crate::arn::{IamArn, SessionArn, is_account_id};
use crate::identity::{AccessKey, Group, Identities, Owner, Principal};
use crate::policy::Policy;
use serde::Deserialize;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;

/// One parsed document.
pub enum Document {
    /// The account's users, groups, roles and policies.
    Account(Box<AccountDetails>),
    /// An access key, with its id.
    Key(String, Box<AccessKey>),
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

/// Output of `aws iam get-account-authorization-details`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
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
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UserDetail {
    user_name: String,
    arn: String,
    #[serde(default)]
    user_policy_list: Vec<InlinePolicy>,
    #[serde(default)]
    group_list: Vec<String>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
    permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GroupDetail {
    group_name: String,
    arn: String,
    #[serde(default)]
    group_policy_list: Vec<InlinePolicy>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleDetail {
    role_name: String,
    arn: String,
    #[serde(default)]
    role_policy_list: Vec<InlinePolicy>,
    #[serde(default)]
    attached_managed_policies: Vec<AttachedPolicy>,
    permissions_boundary: Option<Boundary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InlinePolicy {
    policy_document: Policy,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttachedPolicy {
    policy_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Boundary {
    permissions_boundary_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManagedPolicy {
    arn: String,
    default_version_id: String,
    policy_version_list: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyVersion {
    version_id: String,
    document: Policy,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreatedKey {
    access_key: CreatedKeyBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreatedKeyBody {
    user_name: String,
    access_key_id: String,
    status: String,
    secret_access_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRole {
    credentials: SessionCredentials,
    assumed_role_user: AssumedRoleUser,
    packed_policy_size: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRoleUser {
    arn: String,
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shape {
    user_detail_list: Option<serde::de::IgnoredAny>,
    role_detail_list: Option<serde::de::IgnoredAny>,
    access_key: Option<serde::de::IgnoredAny>,
    assumed_role_user: Option<serde::de::IgnoredAny>,
}

/// Parses one document, as the AWS CLI printed it.
///
/// # Errors
/// [`BadDocument`] with line and column, or with what the document lacks. Never holds a value
/// of the document that could be a secret.
pub fn parse(text: &str) -> Result<Document, BadDocument> {
    let shape: Shape = from_json(text)?;
    if shape.user_detail_list.is_some() || shape.role_detail_list.is_some() {
        let details: AccountDetails = from_json(text)?;
        if details.is_truncated {
            return Err(BadDocument(
                "IsTruncated is true: the export is incomplete, and what is missing could deny"
                    .into(),
            ));
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
            has_hidden_policies: false,
        };
        return checked_key(access_key.access_key_id, key);
    }
    if shape.assumed_role_user.is_some() {
        let assumed: AssumedRole = from_json(text)?;
        let expiration = UtcDateTime::parse(&assumed.credentials.expiration, &Rfc3339)
            .map_err(|_| BadDocument("Expiration is no time (2026-01-31T12:00:00Z)".into()))?;
        if SessionArn::parse(&assumed.assumed_role_user.arn).is_none() {
            return Err(BadDocument(
                "AssumedRoleUser.Arn is no ARN of a role session".into(),
            ));
        }
        if assumed.credentials.session_token.is_empty() {
            return Err(BadDocument("SessionToken is empty".into()));
        }
        let key = AccessKey {
            secret: assumed.credentials.secret_access_key,
            session_token: Some(assumed.credentials.session_token),
            expiration: Some(expiration),
            is_active: true,
            owner: Owner::Session(assumed.assumed_role_user.arn),
            has_hidden_policies: assumed.packed_policy_size.is_some_and(|size| size > 0),
        };
        return checked_key(assumed.credentials.access_key_id, key);
    }
    Err(BadDocument(
        "not the output of get-account-authorization-details, create-access-key or assume-role"
            .into(),
    ))
}

fn checked_key(id: String, key: AccessKey) -> Result<Document, BadDocument> {
    if id.is_empty() || key.secret.is_empty() {
        return Err(BadDocument(
            "AccessKeyId or SecretAccessKey is empty".into(),
        ));
    }
    Ok(Document::Key(id, Box::new(key)))
}

/// serde_json quotes the offending value in some of its errors; that value could be a secret.
/// So only its kind of error and its position are kept where a value was quoted.
fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadDocument> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        match message.strip_prefix("invalid type: string ") {
            Some(rest) => {
                let expected = rest.rfind("expected").map_or("", |at| &rest[at..]);
                BadDocument(format!("invalid type: string, {expected}"))
            }
            None => BadDocument(message),
        }
    })
}

/// Merges documents into identities. Each comes with the name of its file, for the errors.
///
/// # Errors
/// The name of the file and a sentence: whatever is defined twice, or fits nothing.
pub fn merge<'n>(
    documents: impl IntoIterator<Item = (&'n str, Document)>,
) -> Result<Identities, (&'n str, BadDocument)> {
    let mut all = Identities::default();
    for (name, document) in documents {
        let merged = match document {
            Document::Account(details) => add_account(&mut all, *details),
            Document::Key(id, key) => match all.access_keys.insert(id.clone(), *key) {
                Some(_) => Err(format!("access key {id} is there twice")),
                None => Ok(()),
            },
        };
        merged.map_err(|message| (name, BadDocument(message)))?;
    }
    Ok(all)
}

fn add_account(all: &mut Identities, details: AccountDetails) -> Result<(), String> {
    for user in details.user_detail_list {
        check_name(&user.arn, &user.user_name)?;
        all.add_principal(Principal {
            arn: user.arn,
            inline: documents(user.user_policy_list),
            attached: arns(user.attached_managed_policies),
            groups: user.group_list,
            boundary: user
                .permissions_boundary
                .map(|b| b.permissions_boundary_arn),
        })?;
    }
    for role in details.role_detail_list {
        check_name(&role.arn, &role.role_name)?;
        all.add_principal(Principal {
            arn: role.arn,
            inline: documents(role.role_policy_list),
            attached: arns(role.attached_managed_policies),
            groups: Vec::new(),
            boundary: role
                .permissions_boundary
                .map(|b| b.permissions_boundary_arn),
        })?;
    }
    for group in details.group_detail_list {
        let account = group.arn.split(':').nth(4).unwrap_or("");
        if !is_account_id(account) {
            return Err(format!("\"{}\" is no ARN of a group", group.arn));
        }
        let key = (account.to_owned(), group.group_name);
        let value = Group {
            inline: documents(group.group_policy_list),
            attached: arns(group.attached_managed_policies),
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

fn documents(list: Vec<InlinePolicy>) -> Vec<Policy> {
    list.into_iter()
        .map(|policy| policy.policy_document)
        .collect()
}

fn arns(list: Vec<AttachedPolicy>) -> Vec<String> {
    list.into_iter().map(|policy| policy.policy_arn).collect()
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
                "IsTruncated is true",
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
                "AccessKeyId or SecretAccessKey is empty",
            ),
        ] {
            let message = fault(document);
            assert!(message.contains(expected), "{message}");
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
        assert_eq!(policy.decide("a:b", "x"), crate::policy::Decision::Allow);
    }
}
