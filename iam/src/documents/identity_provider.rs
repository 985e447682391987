//! An OpenID Connect provider, and the keys that its tokens are signed with.
//!
//! The keys are a JSON Web Key Set by RFC 7517, as the provider's `jwks_uri` gives it. It does not say whose it is: a
//! member `issuer`, added by hand, does.

use super::document::Document;
use super::error::{BadDocument, KeyFault, MAX_CLIENT_IDS, MAX_KEYS};
use crate::arn::is_account_id;
use crate::identity_provider::{Algorithm, KeySet, OidcProvider, PublicKey, VerificationKey};
use crate::json::not_null;
use crate::objects_only;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// The longest URL of a provider that AWS takes.
const MAX_URL: usize = 255;

/// Output of `aws iam get-open-id-connect-provider`.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct GetOidcProvider {
    url: String,
    #[serde(rename = "ClientIDList")]
    client_ids: Vec<String>,
    /// Not AWS's: where the documents are of several accounts.
    #[serde(default, deserialize_with = "not_null")]
    account_id: Option<String>,
}

/// A JSON Web Key Set.
#[derive(Deserialize)]
#[serde(remote = "Self")]
pub(super) struct RawKeySet {
    /// Not the provider's.
    #[serde(default, deserialize_with = "not_null")]
    issuer: Option<String>,
    keys: Vec<RawKey>,
}

/// A key, by RFC 7518.
#[derive(Deserialize)]
#[serde(remote = "Self")]
struct RawKey {
    kty: String,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "not_null")]
    purpose: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    n: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    e: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    x: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    y: Option<String>,
    /// The secret of a private key.
    d: Option<IgnoredAny>,
    /// The secret of a symmetric key.
    k: Option<IgnoredAny>,
}

objects_only! {
    GetOidcProvider => "an OpenID Connect provider",
    RawKeySet => "a set of keys",
    RawKey => "a key",
}

pub(super) fn provider(raw: GetOidcProvider) -> Result<Document, BadDocument> {
    let GetOidcProvider {
        url,
        client_ids,
        account_id,
    } = raw;
    if url.contains("://") {
        return Err(BadDocument::UrlScheme);
    }
    check_url(&url)?;
    if client_ids.len() > MAX_CLIENT_IDS || client_ids.iter().any(String::is_empty) {
        return Err(BadDocument::ClientIds);
    }
    if account_id.as_deref().is_some_and(|id| !is_account_id(id)) {
        return Err(BadDocument::AccountId);
    }
    Ok(Document::OidcProvider(OidcProvider {
        url,
        account: account_id,
        client_ids,
    }))
}

/// Checks the part of a URL behind `https://`. It begins the names of condition keys, which `aws` or `sts` must not.
fn check_url(url: &str) -> Result<(), BadDocument> {
    let is_possible =
        url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#', '@']);
    let has_host = url.contains(['.', ':', '/']) && !url.starts_with('/');
    if !is_possible || !has_host || url.len() > MAX_URL {
        return Err(BadDocument::ProviderUrl);
    }
    Ok(())
}

pub(super) fn key_set(raw: RawKeySet) -> Result<Document, BadDocument> {
    let Some(issuer) = raw.issuer else {
        return Err(BadDocument::NoIssuer);
    };
    let Some(url) = issuer.strip_prefix("https://") else {
        return Err(BadDocument::IssuerScheme);
    };
    check_url(url)?;
    if raw.keys.len() > MAX_KEYS {
        return Err(BadDocument::TooManyKeys);
    }
    let mut ids = HashSet::new();
    let mut keys = Vec::new();
    for (index, raw) in raw.keys.into_iter().enumerate() {
        let place = |fault| BadDocument::Key {
            number: index + 1,
            fault,
        };
        if raw.d.is_some() || raw.k.is_some() || raw.kty == "oct" {
            return Err(place(KeyFault::NotPublic));
        }
        if let Some(id) = &raw.kid
            && !ids.insert(id.clone())
        {
            return Err(place(KeyFault::DuplicateId));
        }
        if let Some(key) = verification_key(raw).map_err(place)? {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(BadDocument::NoUsableKey);
    }
    Ok(Document::KeySet(KeySet { issuer, keys }))
}

/// The key; `None` if it is for something else, or of a kind that is not known here, as RFC 7517 (5) has it.
fn verification_key(raw: RawKey) -> Result<Option<VerificationKey>, KeyFault> {
    let is_for = |wanted: &str| {
        raw.purpose
            .as_deref()
            .is_none_or(|purpose| purpose == wanted)
    };
    let mut operations = raw.key_ops.iter().flatten();
    let may_verify = raw.key_ops.is_none() || operations.any(|operation| operation == "verify");
    if !is_for("sig") || !may_verify {
        return Ok(None);
    }
    let algorithm = match &raw.alg {
        None => None,
        Some(name) => match Algorithm::named(name) {
            None => return Ok(None),
            known => known,
        },
    };
    let bytes = |name, text: &Option<String>| {
        let text = text.as_ref().ok_or(KeyFault::Missing(name))?;
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| KeyFault::NotBase64(name))
    };
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => rsa(&bytes("n", &raw.n)?, &bytes("e", &raw.e)?)?,
        ("EC", Some("P-256")) => {
            PublicKey::P256(point(&bytes("x", &raw.x)?, &bytes("y", &raw.y)?, 32)?)
        }
        ("EC", Some("P-384")) => {
            PublicKey::P384(point(&bytes("x", &raw.x)?, &bytes("y", &raw.y)?, 48)?)
        }
        _ => return Ok(None),
    };
    let key = VerificationKey {
        id: raw.kid,
        algorithm,
        key,
    };
    match algorithm {
        Some(only) if !key.fits(only) => Err(KeyFault::Algorithm),
        _ => Ok(Some(key)),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, KeyFault> {
    let without_zeros = |bytes: &[u8]| {
        let mut bytes = bytes;
        while let [0, rest @ ..] = bytes {
            bytes = rest;
        }
        bytes.to_vec()
    };
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    let bits = |bytes: &[u8]| {
        let first = bytes
            .first()
            .map_or(8, |first| first.leading_zeros() as usize);
        (bytes.len() * 8).saturating_sub(first)
    };
    if !(2048..=8192).contains(&bits(&modulus)) || !is_odd(&modulus) {
        return Err(KeyFault::Modulus);
    }
    if !(2..=32).contains(&bits(&exponent)) || !is_odd(&exponent) {
        return Err(KeyFault::Exponent);
    }
    Ok(PublicKey::Rsa { modulus, exponent })
}

/// Whether the point is on the curve is the verifier's to see.
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, KeyFault> {
    if x.len() != length || y.len() != length {
        return Err(KeyFault::Point);
    }
    Ok([&[4], x, y].concat())
}
