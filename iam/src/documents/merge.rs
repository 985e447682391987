//! Several documents, as one set of identities.

use super::document::{
    Document, MAX_ATTACHED, MAX_GROUPS, MAX_INLINE, check_count, distinct, tags,
};
use super::error::{BadDocument, MAX_CONTEXT};
use super::session::MAX_SESSION;
use super::shapes::{AccountDetails, AttachedPolicy, ManagedPolicy, RawInlinePolicy};
use crate::arn::{IamArn, account_of, is_account_id, is_aws_managed, is_iam_resource};
use crate::identity::{Group, Identities, IdentityError, InlinePolicy, Owner, Principal};
use crate::identity_provider::OidcProvider;
use crate::mfa::MfaDevice;
use crate::policy::Policy;
use std::path::Path;
use std::sync::Arc;

/// Merges documents into identities. Each comes with the name of its file, for the errors and for
/// whoever asks where a policy stands.
///
/// # Errors
/// The name of the file, and [`BadDocument`], if something is a duplicate, or does not fit the others.
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
            Self::Cluster(..)
            | Self::ContextEntries(_)
            | Self::OidcProvider(_)
            | Self::KeySet(_)
            | Self::MfaDevices { .. } => {}
        }
    }
}

/// Adds what the document of this file brings. After a fault some of it may be there and some not.
///
/// # Errors
/// [`BadDocument`], if something is a duplicate, or does not fit the others.
pub(crate) fn add(
    all: &mut Identities,
    file: &str,
    mut document: Document,
) -> Result<(), BadDocument> {
    document.comes_from(&file_name(file).into());
    let duplicate = |name: String| Err(BadDocument::Duplicate(name));
    match document {
        Document::Account(details) => add_account(all, *details),
        Document::Key(id, key) => match all.access_keys.insert(id.clone(), *key) {
            Some(_) => duplicate(format!("access key {id}")),
            None => Ok(()),
        },
        Document::ClusterPolicy(policy) => match all.cluster_policy.replace(*policy) {
            Some(_) => duplicate("policy of the cluster".into()),
            None => Ok(()),
        },
        Document::Cluster(arn, cluster) => match all.clusters.insert(arn.clone(), cluster) {
            Some(_) => duplicate(arn),
            None => Ok(()),
        },
        Document::ServiceControlPolicy(arn, policy) => {
            add_service_control_policy(all, arn, *policy)
        }
        Document::ContextEntries(entries) => add_context_entries(all, entries),
        Document::OidcProvider(provider) => add_oidc_provider(all, provider),
        Document::KeySet(keys) => {
            let issuer = keys.issuer.clone();
            match all.key_sets.insert(issuer.clone(), keys) {
                Some(_) => duplicate(format!("keys of {issuer}")),
                None => Ok(()),
            }
        }
        Document::MfaDevices { list, .. } => list
            .into_iter()
            .try_for_each(|(serial, device)| add_mfa_device(all, serial, device)),
    }
}

/// Adds what a document tells of a device. One may have its secret and another its user.
fn add_mfa_device(
    all: &mut Identities,
    serial: String,
    device: MfaDevice,
) -> Result<(), BadDocument> {
    let known = all.mfa_devices.entry(serial.clone()).or_default();
    if known.seed.is_some() && device.seed.is_some() {
        return Err(BadDocument::Duplicate(format!(
            "Base32StringSeed of {serial}"
        )));
    }
    let is_of_another = known.user.is_some() && device.user.is_some() && known.user != device.user;
    if is_of_another || known.is_of_another(device.user_id.as_deref()) {
        return Err(BadDocument::DifferentUsers(serial));
    }
    known.seed = known.seed.take().or(device.seed);
    known.user = known.user.take().or(device.user);
    known.user_id = known.user_id.take().or(device.user_id);
    Ok(())
}

/// Adds an identity provider. An account has one of a URL; two that do not say whose they are could be the same.
fn add_oidc_provider(all: &mut Identities, provider: OidcProvider) -> Result<(), BadDocument> {
    let is_same = |known: &&OidcProvider| {
        let accounts = known.account.as_ref().zip(provider.account.as_ref());
        known.url == provider.url && accounts.is_none_or(|(known, other)| known == other)
    };
    if all.oidc_providers.iter().any(|known| is_same(&known)) {
        return Err(BadDocument::DuplicateProvider(provider.url));
    }
    all.oidc_providers.push(provider);
    Ok(())
}

fn add_service_control_policy(
    all: &mut Identities,
    arn: String,
    policy: Policy,
) -> Result<(), BadDocument> {
    if all.service_control.iter().any(|(known, _)| *known == arn) {
        return Err(BadDocument::Duplicate(arn));
    }
    all.service_control.push((arn, policy));
    Ok(())
}

fn add_context_entries(
    all: &mut Identities,
    entries: Vec<(String, Vec<String>)>,
) -> Result<(), BadDocument> {
    // Each value takes room, the empty one too.
    let size = |(key, values): &(String, Vec<String>)| {
        let texts = std::iter::once(key).chain(values);
        texts.map(|text| text.len() + 1).sum::<usize>()
    };
    let both = all.context_entries.iter().chain(&entries);
    if both.map(size).sum::<usize>() > MAX_CONTEXT {
        return Err(BadDocument::TooManyContextEntries);
    }
    for (key, values) in entries {
        let mut known = all.context_entries.iter();
        if known.any(|(k, _)| k.eq_ignore_ascii_case(&key)) {
            return Err(BadDocument::Duplicate(key));
        }
        all.context_entries.push((key, values));
    }
    Ok(())
}

fn add_account(all: &mut Identities, details: AccountDetails) -> Result<(), BadDocument> {
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
            return Err(BadDocument::MaxSessionDuration(role.arn));
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
        if !is_account_id(account) || !is_iam_resource(&group.arn, "group", &group.group_name) {
            return Err(BadDocument::OtherArn {
                arn: group.arn,
                kind: "group",
                name: group.group_name,
            });
        }
        all.add_name("group", account, &group.group_name, &group.arn)?;
        let key = (account.to_owned(), group.group_name);
        let value = Group {
            arn: group.arn.clone(),
            inline: documents(&group.arn, group.group_policy_list)?,
            attached: arns(&group.arn, group.attached_managed_policies)?,
        };
        all.groups.insert(key, value);
    }
    for policy in details.policies {
        let ManagedPolicy {
            arn,
            policy_name,
            default_version_id,
            policy_version_list,
        } = policy;
        let name = policy_name.as_deref();
        let name = name.or_else(|| arn.rsplit('/').next()).unwrap_or_default();
        if !is_iam_resource(&arn, "policy", name) {
            let name = name.to_owned();
            return Err(BadDocument::OtherArn {
                arn,
                kind: "policy",
                name,
            });
        }
        let mut defaults = policy_version_list
            .into_iter()
            .filter(|version| version.version_id == default_version_id);
        let default = defaults.next();
        let Some(default) = default.filter(|_| defaults.next().is_none()) else {
            return Err(BadDocument::DefaultVersion {
                arn,
                version: default_version_id,
            });
        };
        add_managed(all, arn, default.version_id, default.document)?;
    }
    Ok(())
}

/// Adds the default version of a managed policy. Exports of several accounts each bring the policies of AWS itself,
/// which may have changed from one export to the next: AWS has one version in force, the newest.
fn add_managed(
    all: &mut Identities,
    arn: String,
    version: String,
    policy: Policy,
) -> Result<(), BadDocument> {
    if let Some(known) = all.policies.get(&arn) {
        let known_version = all.policy_versions.get(&arn).map_or("", String::as_str);
        let is_newer = match is_aws_managed(&arn) {
            true => is_newer(&version, known_version),
            false => None,
        };
        match is_newer {
            Some(false) => return Ok(()),
            None if *known != policy => {
                return Err(BadDocument::DifferentDocuments(arn));
            }
            Some(true) | None => {}
        }
    }
    all.policy_versions.insert(arn.clone(), version);
    all.policies.insert(arn, policy);
    Ok(())
}

/// Whether a version of a policy is newer than another one, by their ids; `None` if neither is: they are equal, or
/// not written as AWS writes them.
pub(crate) fn is_newer(version: &str, other: &str) -> Option<bool> {
    let number = |id: &str| id.strip_prefix('v')?.parse::<u32>().ok();
    let (version, other) = (number(version)?, number(other)?);
    (version != other).then_some(version > other)
}

fn check_name(arn: &str, name: &str) -> Result<(), BadDocument> {
    match IamArn::parse(arn) {
        Ok(parsed) if parsed.name == name => Ok(()),
        Ok(_) => Err(BadDocument::OtherName {
            arn: arn.to_owned(),
            name: name.to_owned(),
        }),
        Err(_) => Err(IdentityError::Arn(arn.to_owned()).into()),
    }
}

fn documents(owner: &str, list: Vec<RawInlinePolicy>) -> Result<Vec<InlinePolicy>, BadDocument> {
    check_count(owner, "inline policies", MAX_INLINE, list.len())?;
    let inline = list.into_iter().map(|raw| InlinePolicy {
        name: raw.policy_name,
        policy: raw.policy_document,
    });
    Ok(inline.collect())
}

fn arns(owner: &str, list: Vec<AttachedPolicy>) -> Result<Vec<String>, BadDocument> {
    let arns = list.into_iter().map(|policy| policy.policy_arn).collect();
    distinct(owner, "attached policies", MAX_ATTACHED, arns)
}
