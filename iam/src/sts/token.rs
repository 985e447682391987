//! The token of an identity provider: a JSON Web Token, by RFC 7519, signed as in RFC 7515.
//!
//! It comes from whoever can reach the service, so it is read strictly and within bounds, and nothing in it counts
//! before its signature is verified, but for the name of its issuer and of its key.

use crate::identity::Tag;
use crate::identity_provider::Algorithm;
use crate::json::UniqueMembers;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// The longest token that AWS takes, in characters.
const MAX_TOKEN: usize = 20_000;
/// The longest text of a claim that is looked at, in bytes.
const MAX_CLAIM: usize = 2048;
/// How claims begin that tell AWS of tags and of a source identity.
const OF_AWS: &str = "https://aws.amazon.com/";
/// Session tags, and the keys of those that are passed on.
const TAGS: &str = "https://aws.amazon.com/tags";
/// How a claim begins that is one session tag, for providers whose claims hold no objects.
const TAG: &str = "https://aws.amazon.com/tags/principal_tags/";
/// The keys of the tags that are passed on, for these providers.
const TRANSITIVE_TAG_KEYS: &str = "https://aws.amazon.com/tags/transitive_tag_keys";
/// The source identity.
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

/// Why a token cannot be accepted, whoever signed it. Nothing of the token is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("it has more than {MAX_TOKEN} characters")]
    TooLong,
    #[error("it does not have three parts")]
    Parts,
    #[error("a part of it is not in base64url without padding")]
    NotBase64,
    #[error("its signature is not in base64url without padding")]
    SignatureNotBase64,
    #[error("a part of it is not a JSON object, or has a duplicate member")]
    NotAnObject,
    #[error("its header has crit, and no extension is supported")]
    Critical,
    #[error("its alg is none of RS256, RS384, RS512, ES256 and ES384")]
    Algorithm,
    /// The name of a claim.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// The name of a member of the header, or of a claim.
    #[error("its {0} is invalid")]
    Invalid(&'static str),
    #[error(
        "it has a claim {OF_AWS}… that is neither tags nor source_identity: without it the session could do more"
    )]
    OfAws,
}

/// The members of the header or of the claims.
struct Members(Map<String, Value>);

impl Members {
    /// Reads a part of a token. serde_json itself bounds how deep it goes.
    fn read(part: &str) -> Result<Self, TokenFault> {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
        let bytes = bytes.map_err(|_| TokenFault::NotBase64)?;
        match serde_json::from_slice(&bytes) {
            Ok(UniqueMembers(Value::Object(members))) => Ok(Self(members)),
            _ => Err(TokenFault::NotAnObject),
        }
    }

    /// A text that need not be there, and is not empty if it is.
    fn text(&self, name: &'static str) -> Result<Option<String>, TokenFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => text(value).map(Some).ok_or(TokenFault::Invalid(name)),
        }
    }

    /// A time in seconds since 1970, rounded down.
    fn seconds(&self, name: &'static str) -> Result<Option<i64>, TokenFault> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| (0.0..1e12).contains(number));
        // Within the range that is checked.
        #[allow(clippy::cast_possible_truncation)]
        let seconds = number.map(|number| number as i64);
        seconds.map(Some).ok_or(TokenFault::Invalid(name))
    }

    /// A text or a list of texts, as a list.
    fn texts(&self, name: &'static str) -> Result<Vec<String>, TokenFault> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(value) => texts(value).ok_or(TokenFault::Invalid(name)),
        }
    }

    /// The session tags, and the keys of those that are passed on.
    fn tags(&self) -> Result<(Vec<Tag>, Vec<String>), TokenFault> {
        let (mut tags, mut transitive) = (Vec::new(), self.texts(TRANSITIVE_TAG_KEYS)?);
        let invalid = || TokenFault::Invalid(TAGS);
        for (name, value) in &self.0 {
            if let Some(key) = name.strip_prefix(TAG) {
                tags.push((key.to_owned(), tag_value(value).ok_or_else(invalid)?));
            } else if name == TAGS {
                for (member, value) in value.as_object().ok_or_else(invalid)? {
                    match (member.as_str(), value) {
                        ("principal_tags", Value::Object(list)) => {
                            for (key, value) in list {
                                tags.push((key.clone(), tag_value(value).ok_or_else(invalid)?));
                            }
                        }
                        ("transitive_tag_keys", value) => {
                            transitive.extend(texts(value).ok_or_else(invalid)?);
                        }
                        _ => return Err(invalid()),
                    }
                }
            } else if name.starts_with(OF_AWS)
                && ![TRANSITIVE_TAG_KEYS, SOURCE_IDENTITY].contains(&name.as_str())
            {
                return Err(TokenFault::OfAws);
            }
        }
        Ok((tags, transitive))
    }
}

/// The value of a tag: a text, or a list of one.
fn tag_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.len() <= MAX_CLAIM => Some(text.clone()),
        Value::Array(list) => match &list[..] {
            [Value::String(text)] if text.len() <= MAX_CLAIM => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        value => text(value).map(|only| vec![only]),
    }
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= MAX_CLAIM).then(|| text.to_owned())
}

/// The claims of a token. None counts before the signature is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// `aud`.
    pub(super) audiences: Vec<String>,
    /// `azp`.
    pub(super) authorized_party: Option<String>,
    /// `exp`, in seconds since 1970.
    pub(super) expires: i64,
    /// `iat`.
    pub(super) issued: i64,
    /// `nbf`.
    pub(super) not_before: Option<i64>,
    /// `amr`.
    pub(super) methods: Vec<String>,
    pub(super) email: Option<String>,
    /// The session tags.
    pub(super) tags: Vec<Tag>,
    /// The keys of the tags that are passed on.
    pub(super) transitive_tag_keys: Vec<String>,
    pub(super) source_identity: Option<String>,
}

/// A token that was read, and not verified.
///
/// Deliberately without `Debug`, so that none can be printed by mistake.
pub(super) struct UnverifiedToken<'t> {
    pub(super) algorithm: Algorithm,
    /// `kid`: which key it says that it is signed with.
    pub(super) key_id: Option<String>,
    pub(super) claims: Claims,
    /// The signed bytes.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

/// Reads a token.
///
/// # Errors
/// [`TokenFault`].
pub(super) fn read(token: &str) -> Result<UnverifiedToken<'_>, TokenFault> {
    if token.len() > MAX_TOKEN {
        return Err(TokenFault::TooLong);
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(TokenFault::Parts);
    };
    let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
    let header = Members::read(header)?;
    if header.0.contains_key("crit") {
        return Err(TokenFault::Critical);
    }
    let algorithm = header.text("alg")?.as_deref().and_then(Algorithm::named);
    let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
    let key_id = header.text("kid")?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
    let signature = signature.map_err(|_| TokenFault::SignatureNotBase64)?;
    let claims = read_claims(&Members::read(claims)?)?;
    Ok(UnverifiedToken {
        algorithm,
        key_id,
        claims,
        signed,
        signature,
    })
}

fn read_claims(members: &Members) -> Result<Claims, TokenFault> {
    let (tags, transitive_tag_keys) = members.tags()?;
    let audiences = members.texts("aud")?;
    if audiences.is_empty() {
        return Err(TokenFault::Missing("aud"));
    }
    let text = |name| members.text(name)?.ok_or(TokenFault::Missing(name));
    let seconds = |name| members.seconds(name)?.ok_or(TokenFault::Missing(name));
    Ok(Claims {
        issuer: text("iss")?,
        subject: text("sub")?,
        audiences,
        authorized_party: members.text("azp")?,
        expires: seconds("exp")?,
        issued: seconds("iat")?,
        not_before: members.seconds("nbf")?,
        methods: members.texts("amr")?,
        email: members.text("email")?,
        tags,
        transitive_tag_keys,
        source_identity: members.text(SOURCE_IDENTITY)?,
    })
}
