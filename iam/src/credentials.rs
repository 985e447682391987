//! Authentication by access key: finds the key's principal, and verifies session token and signature.
//! Logins and AWS's Security Token Service authenticate here alone.

use crate::arn::account_of;
use crate::identity::{AccessKey, Identities, Owner, Principal, Session};
use crate::policy::RequestPrincipal;
use crate::session_store::StoredSession;
use subtle::ConstantTimeEq;
use time::UtcDateTime;

/// AWS's sentence for an access key or a session token that it does not accept.
pub(crate) const INVALID: &str = "The security token included in the request is invalid.";
/// AWS's sentence for the access key of a session that is over.
pub(crate) const EXPIRED: &str = "The security token included in the request is expired";
/// AWS's sentence for a signature that the secret access key does not make.
pub(crate) const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature you provided. \
     Check your AWS Secret Access Key and signing method. Consult the service \
     documentation for details.";

/// The credentials that a request presents, but for the proof of the secret.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
#[derive(Clone, Copy)]
pub struct PresentedCredentials<'c> {
    /// The access key's id.
    pub access_key_id: &'c str,
    /// The session token, if there is one.
    pub session_token: Option<&'c str>,
}

/// A caller that has proven to know the secret of its access key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Authenticated<'i> {
    /// The user, or the role that the session is one of.
    pub principal: &'i Principal,
    /// The session, if the key is one's.
    pub session: Option<&'i Session>,
}

impl<'i> Authenticated<'i> {
    /// The ARN of the user or role session.
    pub fn arn(&self) -> &'i str {
        self.session
            .map_or(&self.principal.arn, |session| &session.arn)
    }

    /// The session, if it is one of a role.
    pub(crate) fn role_session(&self) -> Option<&'i Session> {
        self.session.filter(|session| !session.is_of_user())
    }

    /// The caller as policies name it.
    pub(crate) fn request_principal(&self) -> RequestPrincipal<'i> {
        let role_arn = self.role_session().map(|_| self.principal.arn.as_str());
        RequestPrincipal {
            arn: self.arn(),
            role_arn,
            unique_id: self.principal.unique_id.as_deref(),
        }
    }

    /// The account that the caller belongs to.
    pub fn account(&self) -> &'i str {
        account_of(self.arn())
    }

    /// The `UserId` of `aws sts get-caller-identity`: empty if no document has it.
    pub fn user_id(&self) -> String {
        self.known_user_id().unwrap_or_default()
    }

    /// `aws:userid`: that of the session's document, else made of the unique id of the user or role; `None` if neither
    /// is known.
    pub(crate) fn known_user_id(&self) -> Option<String> {
        if let Some(id) = self.session.and_then(|session| session.user_id.as_ref()) {
            return Some(id.clone());
        }
        let id = self.principal.unique_id.as_ref()?;
        Some(match self.role_session() {
            Some(session) => {
                let name = session.arn.rsplit('/').next().unwrap_or("");
                format!("{id}:{name}")
            }
            None => id.clone(),
        })
    }
}

/// Why credentials are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// No document holds the access key.
    #[error("the access key is in no document")]
    UnknownAccessKey,
    /// The access key's status is not `Active`.
    #[error("the access key is not active")]
    Inactive,
    /// The session token is missing, wrong, or sent with a key that has none.
    #[error("the session token is not the one that belongs to the access key")]
    WrongSessionToken,
    /// The session is over.
    #[error("the session of the access key is over")]
    SessionOver {
        /// When it ended.
        ended: UtcDateTime,
    },
    /// The secret was not proven.
    #[error("the signature does not verify with the secret of the access key")]
    WrongSignature,
    /// The access key's user or role is in no document.
    #[error("the access key's user or role is in no document")]
    UnknownOwner {
        /// `user NAME`, or the session's ARN.
        owner: String,
    },
    /// Several accounts have a user of the name, and the document does not say whose it is.
    #[error("several accounts have the access key's user, and its document does not say which")]
    AmbiguousOwner {
        /// `user NAME`
        owner: String,
    },
}

/// The access keys that there are.
#[derive(Clone, Copy)]
pub(crate) struct KnownKeys<'i> {
    /// Those in the documents, with whose they are.
    pub(crate) identities: &'i Identities,
    /// A session that is stored apart from them.
    pub(crate) stored: Option<&'i StoredSession>,
}

impl<'i> KnownKeys<'i> {
    /// The key with this id; none if both have one, since it is not known then which is meant.
    fn get(self, id: &str) -> Option<&'i AccessKey> {
        let stored = self.stored.filter(|stored| stored.access_key_id == id);
        match (self.identities.access_key(id), stored) {
            (Some(key), None) => Some(key),
            (None, Some(stored)) => Some(&stored.key),
            _ => None,
        }
    }
}

impl<'i> From<&'i Identities> for KnownKeys<'i> {
    fn from(identities: &'i Identities) -> Self {
        Self {
            identities,
            stored: None,
        }
    }
}

/// Authenticates a caller.
///
/// `is_proven` says whether the caller knows the secret access key that it is given; it is
/// called exactly once, also for an unknown access key, so that the time taken does not tell which
/// access keys exist.
///
/// # Errors
/// The first [`Fault`], in the order in which they are declared.
pub(crate) fn authenticate<'i>(
    presented: PresentedCredentials<'_>,
    keys: impl Into<KnownKeys<'i>>,
    now: UtcDateTime,
    is_proven: impl FnOnce(&str) -> bool,
) -> Result<Authenticated<'i>, Fault> {
    let keys = keys.into();
    let Some(key) = keys.get(presented.access_key_id) else {
        let _ = is_proven("no secret access key is this one");
        return Err(Fault::UnknownAccessKey);
    };
    let is_proven = is_proven(&key.secret);
    if !key.is_active {
        return Err(Fault::Inactive);
    }
    let sent = presented.session_token.unwrap_or("");
    let wanted = key.session_token.as_deref().unwrap_or("");
    if !is_same_secret(sent, wanted) {
        return Err(Fault::WrongSessionToken);
    }
    if let Some(ended) = key.expiration.filter(|end| now >= *end) {
        return Err(Fault::SessionOver { ended });
    }
    if !is_proven {
        return Err(Fault::WrongSignature);
    }
    owner(key, keys.identities).ok_or_else(|| match &key.owner {
        Owner::User { name, account } => {
            let owner = format!("user {name}");
            match account.is_none() && keys.identities.is_of_several_accounts(name) {
                true => Fault::AmbiguousOwner { owner },
                false => Fault::UnknownOwner { owner },
            }
        }
        Owner::Session(session) => Fault::UnknownOwner {
            owner: match session.principal_id() {
                Some(id) if session.is_of_user() => {
                    format!("{} with the id {id}", session.arn)
                }
                Some(id) => format!("{} of the role with the id {id}", session.arn),
                None => session.arn.clone(),
            },
        },
    })
}

/// Whether two secrets are the same. Compares in constant time.
pub fn is_same_secret(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The holder of an access key, proven or not; `None` if no document has it.
pub(crate) fn owner<'i>(
    key: &'i AccessKey,
    identities: &'i Identities,
) -> Option<Authenticated<'i>> {
    let (principal, session) = match &key.owner {
        Owner::User { name, account } => (identities.user(account.as_deref(), name)?, None),
        Owner::Session(session) => (identities.principal_of(session)?, Some(&**session)),
    };
    Some(Authenticated { principal, session })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents;
    use std::cell::RefCell;
    use time::macros::utc_datetime;

    const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:00);

    fn identities() -> Identities {
        let documents = [
            r#"{"UserDetailList": [{"UserName": "alice", "UserId": "AIDAALICE",
                "Arn": "arn:aws:iam::012345678912:user/x/alice"}],
                "RoleDetailList": [{"RoleName": "app", "RoleId": "AROAAPP",
                "Arn": "arn:aws:iam::012345678912:role/app"}]}"#,
            r#"{"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIAALICE",
                "Status": "Active", "SecretAccessKey": "alice's"}}"#,
            r#"{"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIAOLD",
                "Status": "Inactive", "SecretAccessKey": "old"}}"#,
            r#"{"AccessKey": {"UserName": "nobody", "AccessKeyId": "AKIANOBODY",
                "Status": "Active", "SecretAccessKey": "nobody's"}}"#,
            r#"{"Credentials": {"AccessKeyId": "ASIAAPP", "SecretAccessKey": "app's",
                "SessionToken": "token", "Expiration": "2026-01-01T12:00:01Z"},
                "AssumedRoleUser": {"AssumedRoleId": "AROAAPP:s",
                "Arn": "arn:aws:sts::012345678912:assumed-role/app/s"}}"#,
        ];
        let parsed = documents.map(|text| {
            let document = documents::parse(text).unwrap_or_else(|fault| panic!("{fault}"));
            ("a document", document)
        });
        documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
    }

    /// The outcome, and the secrets that were to be proven.
    fn outcome(
        id: &str,
        session_token: Option<&str>,
        secret: &str,
        now: UtcDateTime,
    ) -> (Result<(String, String), Fault>, usize) {
        let asked = RefCell::new(0);
        let presented = PresentedCredentials {
            access_key_id: id,
            session_token,
        };
        let identities = identities();
        let is_proven = |known: &str| {
            *asked.borrow_mut() += 1;
            known == secret
        };
        let outcome = authenticate(presented, &identities, now, is_proven);
        let outcome = outcome.map(|caller| (caller.arn().to_owned(), caller.user_id()));
        (outcome, asked.into_inner())
    }

    #[test]
    fn each_fault_with_one_proof_each() {
        let over = utc_datetime!(2026-01-01 12:00:01);
        let alice = ("arn:aws:iam::012345678912:user/x/alice", "AIDAALICE");
        let session = ("arn:aws:sts::012345678912:assumed-role/app/s", "AROAAPP:s");
        let owner = "user nobody".to_owned();
        for (id, token, secret, now, expected) in [
            ("AKIAALICE", None, "alice's", NOW, Ok(alice)),
            ("AKIAALICE", Some(""), "alice's", NOW, Ok(alice)),
            ("ASIAAPP", Some("token"), "app's", NOW, Ok(session)),
            ("AKIANONE", None, "", NOW, Err(Fault::UnknownAccessKey)),
            ("AKIAOLD", None, "old", NOW, Err(Fault::Inactive)),
            (
                "AKIAALICE",
                Some("t"),
                "alice's",
                NOW,
                Err(Fault::WrongSessionToken),
            ),
            ("ASIAAPP", None, "app's", NOW, Err(Fault::WrongSessionToken)),
            (
                "ASIAAPP",
                Some("tokem"),
                "app's",
                NOW,
                Err(Fault::WrongSessionToken),
            ),
            (
                "ASIAAPP",
                Some("token"),
                "app's",
                over,
                Err(Fault::SessionOver { ended: over }),
            ),
            ("AKIAALICE", None, "app's", NOW, Err(Fault::WrongSignature)),
            (
                "AKIANOBODY",
                None,
                "nobody's",
                NOW,
                Err(Fault::UnknownOwner { owner }),
            ),
        ] {
            let expected = expected.map(|(arn, id)| (arn.to_owned(), id.to_owned()));
            assert_eq!(outcome(id, token, secret, now), (expected, 1), "{id}");
        }
    }
}
