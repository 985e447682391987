//! One document, why one is refused, and the limits of what is in it.

use super::shapes::{AccountDetails, RawTag};
use crate::identity::{AccessKey, ClusterDescription, Tag};
use crate::identity_provider::{KeySet, OidcProvider};
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
}

impl Document {
    /// Whether the file holds a secret, and so must be private.
    pub(crate) fn has_secret(&self) -> bool {
        matches!(self, Self::Key(..))
    }

    /// Whether it has a say only in who begins a session, and none in a login.
    pub(crate) fn is_for_sessions_alone(&self) -> bool {
        matches!(self, Self::OidcProvider(_) | Self::KeySet(_))
    }
}

/// Why a document was refused: a sentence, with line and column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDocument(pub(super) String);

impl BadDocument {
    /// The document is not in UTF-8: only its first `valid` bytes are.
    pub(crate) fn not_utf8(bytes: &[u8], valid: usize) -> Self {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Self(UTF_16.into());
        }
        let valid = &bytes[..valid];
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

/// Why a document in UTF-16 is refused.
pub(super) const UTF_16: &str =
    "it is in UTF-16, as > of Windows PowerShell writes it; save it as UTF-8";

/// The most managed policies of one user, group, role or session; AWS allows up to 25.
pub(super) const MAX_ATTACHED: usize = 100;
/// The most groups that one user is in; AWS allows 10.
pub(super) const MAX_GROUPS: usize = 50;
/// The most inline policies of one user, group or role. AWS limits their characters, to 10,240 at the most.
pub(super) const MAX_INLINE: usize = 500;

/// The most characters of all keys and values that documents may add to the request context. Each
/// login copies them, and conditions may be asked about all of them.
pub(super) const MAX_CONTEXT: usize = 16 * 1024;

/// Tags as IAM has them: no key twice, whatever the case of its letters.
pub(super) fn tags(list: Vec<RawTag>) -> Result<Vec<Tag>, String> {
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

/// A key that can be signed with.
pub(super) fn checked_key(id: String, key: AccessKey) -> Result<Document, BadDocument> {
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

/// The list without what is there again.
pub(super) fn distinct(
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

/// A limit that AWS keeps by far.
pub(super) fn check_count(
    owner: &str,
    what: &str,
    most: usize,
    count: usize,
) -> Result<(), String> {
    if count > most {
        return Err(format!(
            "{owner} has more {what} than {most}, which is several times as many as AWS allows"
        ));
    }
    Ok(())
}
