//! One document, and the limits of its content.

use super::error::BadDocument;
use super::shapes::{AccountDetails, RawTag};
use crate::identity::{AccessKey, ClusterDescription, Tag};
use crate::identity_provider::{KeySet, OidcProvider};
use crate::mfa::MfaDevice;
use crate::policy::Policy;
use std::collections::HashSet;

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
    /// A provider of tokens that begin sessions.
    OidcProvider(OidcProvider),
    /// The keys that verify such tokens.
    KeySet(KeySet),
    /// Devices for multi-factor authentication.
    MfaDevices {
        /// Those of users, by serial number.
        list: Vec<(String, MfaDevice)>,
        /// Whether there is a secret of any device, in whatever form: also of one that is not in the list.
        has_secret: bool,
    },
}

impl Document {
    /// Whether the file holds a secret, and so must be private.
    pub(crate) fn has_secret(&self) -> bool {
        match self {
            Self::Key(..) => true,
            Self::MfaDevices { has_secret, .. } => *has_secret,
            _ => false,
        }
    }

    /// Whether it has a say only in who begins a session, and none in a login.
    pub(crate) fn is_for_sessions_alone(&self) -> bool {
        matches!(
            self,
            Self::OidcProvider(_) | Self::KeySet(_) | Self::MfaDevices { .. }
        )
    }
}

/// The most managed policies of one user, group, role or session; AWS allows up to 25.
pub(super) const MAX_ATTACHED: usize = 100;
/// The most groups that one user is in; AWS allows 10.
pub(super) const MAX_GROUPS: usize = 50;
/// The most inline policies of one user, group or role. AWS limits their characters, to 10,240 at the most.
pub(super) const MAX_INLINE: usize = 500;

/// Tags as IAM has them: no key twice, whatever the case of its letters.
pub(super) fn tags(list: Vec<RawTag>) -> Result<Vec<Tag>, BadDocument> {
    let mut keys = HashSet::new();
    let mut tags = Vec::with_capacity(list.len());
    for RawTag { key, value } in list {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(BadDocument::Tag(key));
        }
        if !keys.insert(key.to_lowercase()) {
            return Err(BadDocument::Duplicate(format!("tag \"{key}\"")));
        }
        tags.push((key, value));
    }
    Ok(tags)
}

/// A key that can be signed with.
pub(super) fn checked_key(id: String, key: AccessKey) -> Result<Document, BadDocument> {
    if id.is_empty() {
        return Err(BadDocument::Empty("AccessKeyId"));
    }
    if key.secret.is_empty() {
        return Err(BadDocument::NoSecret);
    }
    Ok(Document::Key(id, Box::new(key)))
}

/// The list without duplicates.
pub(super) fn distinct(
    owner: &str,
    what: &'static str,
    most: usize,
    mut list: Vec<String>,
) -> Result<Vec<String>, BadDocument> {
    let mut known = HashSet::new();
    list.retain(|one| known.insert(one.clone()));
    check_count(owner, what, most, list.len())?;
    Ok(list)
}

/// A limit that AWS keeps by far.
pub(super) fn check_count(
    owner: &str,
    what: &'static str,
    most: usize,
    count: usize,
) -> Result<(), BadDocument> {
    if count > most {
        return Err(BadDocument::TooMany {
            owner: owner.to_owned(),
            what,
            most,
        });
    }
    Ok(())
}
