//! An OpenID Connect provider, and the keys that its tokens are signed with.
//!
//! The keys are a JSON Web Key Set by RFC 7517, as the provider's `jwks_uri` gives it. It does not say whose it is: a
//! member `issuer`, added by hand, does.

use super::document::Document;
use crate::arn::is_account_id;
use crate::identity_provider::{Algorithm, KeySet, OidcProvider, PublicKey, VerificationKey};
use crate::json::given;
use crate::objects_only;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// The longest URL of a provider that AWS takes.
const MAX_URL: usize = 255;
/// The most client ids of a provider; AWS allows 100.
const MAX_CLIENT_IDS: usize = 1000;
/// The most keys of an issuer.
const MAX_KEYS: usize = 1000;

/// Output of `aws iam get-open-id-connect-provider`.
#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
pub(super) struct GetOidcProvider {
    url: String,
    #[serde(rename = "ClientIDList")]
    client_ids: Vec<String>,
    /// Not AWS's: where the documents are of several accounts.
    #[serde(default, deserialize_with = "given")]
    account_id: Option<String>,
}

/// A JSON Web Key Set.
#[derive(Deserialize)]
#[serde(remote = "Self")]
pub(super) struct RawKeySet {
    /// Not the provider's.
    #[serde(default, deserialize_with = "given")]
    issuer: Option<String>,
    keys: Vec<RawKey>,
}

/// A key, by RFC 7518.
#[derive(Deserialize)]
#[serde(remote = "Self")]
struct RawKey {
    kty: String,
    #[serde(default, deserialize_with = "given")]
    kid: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "given")]
    purpose: Option<String>,
    #[serde(default, deserialize_with = "given")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "given")]
    n: Option<String>,
    #[serde(default, deserialize_with = "given")]
    e: Option<String>,
    #[serde(default, deserialize_with = "given")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "given")]
    x: Option<String>,
    #[serde(default, deserialize_with = "given")]
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

pub(super) fn provider(raw: GetOidcProvider) -> Result<Document, String> {
    let GetOidcProvider {
        url,
        client_ids,
        account_id,
    } = raw;
    if url.contains("://") {
        return Err("Url has a scheme; AWS prints it without https://".into());
    }
    check_url(&url)?;
    if client_ids.len() > MAX_CLIENT_IDS || client_ids.iter().any(String::is_empty) {
        return Err(format!(
            "ClientIDList has an empty entry, or more than {MAX_CLIENT_IDS}"
        ));
    }
    if account_id.as_deref().is_some_and(|id| !is_account_id(id)) {
        return Err("AccountId must be twelve digits".into());
    }
    Ok(Document::OidcProvider(OidcProvider {
        url,
        account: account_id,
        client_ids,
    }))
}

/// Checks the part of a URL behind `https://`. It begins the names of condition keys, which `aws` or `sts` must not.
fn check_url(url: &str) -> Result<(), String> {
    let is_possible =
        url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#', '@']);
    let has_host = url.contains(['.', ':', '/']) && !url.starts_with('/');
    if !is_possible || !has_host || url.len() > MAX_URL {
        return Err("the URL of the identity provider is none".into());
    }
    Ok(())
}

pub(super) fn key_set(raw: RawKeySet) -> Result<Document, String> {
    let Some(issuer) = raw.issuer else {
        return Err(
            "keys of an identity provider, without whose they are: add the member \"issuer\", as its tokens \
             have it in iss (\"issuer\": \"https://token.actions.githubusercontent.com\")"
                .into(),
        );
    };
    let Some(url) = issuer.strip_prefix("https://") else {
        return Err("issuer has to start with https://".into());
    };
    check_url(url)?;
    if raw.keys.len() > MAX_KEYS {
        return Err(format!("there are more than {MAX_KEYS} keys"));
    }
    let mut ids = HashSet::new();
    let mut keys = Vec::new();
    for (index, raw) in raw.keys.into_iter().enumerate() {
        let place = |fault: &str| format!("key {} of keys {fault}", index + 1);
        if raw.d.is_some() || raw.k.is_some() || raw.kty == "oct" {
            return Err(place(
                "is no public key: whoever can read it could sign tokens",
            ));
        }
        if let Some(id) = &raw.kid
            && !ids.insert(id.clone())
        {
            return Err(place("has the kid of another one"));
        }
        if let Some(key) = verification_key(raw).map_err(|fault| place(&fault))? {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(
            "there is no key for RS256, RS384, RS512, ES256 or ES384 among the keys".into(),
        );
    }
    Ok(Document::KeySet(KeySet { issuer, keys }))
}

/// The key; `None` if it is for something else, or of a kind that is not known here, as RFC 7517 (5) has it.
fn verification_key(raw: RawKey) -> Result<Option<VerificationKey>, String> {
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
    let bytes = |name: &str, text: &Option<String>| {
        let text = text.as_ref().ok_or_else(|| format!("has no {name}"))?;
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| format!("has an {name} that is not in base64url without padding"))
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
        Some(only) if !key.fits(only) => Err("has an alg that its kty or crv does not fit".into()),
        _ => Ok(Some(key)),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, String> {
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
        return Err("has no n of 2,048 to 8,192 bits".into());
    }
    if !(2..=32).contains(&bits(&exponent)) || !is_odd(&exponent) {
        return Err("has no e that is possible".into());
    }
    Ok(PublicKey::Rsa { modulus, exponent })
}

/// Whether the point is on the curve is the verifier's to see.
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, String> {
    if x.len() != length || y.len() != length {
        return Err("has an x or y of another length than its curve's".into());
    }
    Ok([&[4], x, y].concat())
}
