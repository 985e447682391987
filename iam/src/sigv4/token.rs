//! The authentication token: a presigned URL without its scheme, sent as the password.
//!
//! The parameters that signers send are listed in
//! <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/authentication-token.html>; the
//! order of the parameters, the slash and the place of the signature differ between them, so
//! nothing here depends on those.

use super::ALGORITHM;
use super::scope::Credential;
use super::signature::{CanonicalRequest, payload_hash, signature};
use crate::cluster::SERVICE;
use crate::credentials::is_same_secret;
use crate::time::parse_amz_date;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use time::{Duration, UtcDateTime};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 64 * 1024;
/// The longest host that a token may be signed for, in bytes; no name in DNS is longer.
const MAX_HOST: usize = 255;
/// The longest life a token may ask for, in seconds: one week, as documented.
pub(crate) const MAX_EXPIRES: u32 = 604_800;
use crate::actions::Action;

/// A well-formed token.
///
/// Deliberately without `Debug`: it holds a signature and perhaps a session token.
pub struct Token<'a> {
    /// The host that was signed, with its port if it was written with one.
    pub host: &'a str,
    /// The action that is asked for.
    pub action: Action,
    /// The access key id and its scope.
    pub credential: Credential<'a>,
    /// When the token was signed, as written: `YYYYMMDDTHHMMSSZ`.
    pub date: &'a str,
    /// When the token was signed.
    pub signed_at: UtcDateTime,
    /// How long the token is good for.
    pub expires: Duration,
    /// 64 lower-case hexadecimal digits.
    signature: &'a str,
    /// Every parameter but the signature, name and decoded value.
    signed: Vec<(&'static str, Cow<'a, str>)>,
}

/// Why a text is not a token. Never holds any of the text's secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than 65536 bytes")]
    TooLong,
    /// Not a presigned URL at all; most often an ordinary password.
    #[error("the password is not an authentication token (HOST/?Action=…)")]
    NoUrl,
    /// The part before the query.
    #[error(
        "the token's host is empty, longer than 255 bytes or holds characters that no host name has"
    )]
    Host,
    /// A parameter that is there twice.
    #[error("{0} occurs more than once in the token")]
    Twice(&'static str),
    /// A parameter that is missing.
    #[error("{0} is missing from the token")]
    Missing(&'static str),
    /// A parameter that no token has.
    #[error("unknown query parameter in the token")]
    Unknown,
    /// A presigned request for another service, with parameters that no token has.
    #[error("the password is a presigned request for the service {0}, not a token for dsql")]
    OtherService(String),
    /// A life of more than [`MAX_EXPIRES`].
    #[error("X-Amz-Expires is more than 604800 seconds")]
    LifeTooLong,
    /// A value that is not what this parameter takes.
    #[error("{0} is invalid")]
    Value(&'static str),
}

/// The parameters in the order in which they are stored.
const PARAMETERS: [&str; 8] = [
    "Action",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];
const ACTION: usize = 0;
const SIGNING_ALGORITHM: usize = 1;
const CREDENTIAL: usize = 2;
const DATE: usize = 3;
const EXPIRES: usize = 4;
const SECURITY_TOKEN: usize = 5;
const SIGNATURE: usize = 6;
const SIGNED_HEADERS: usize = 7;

/// A token whose signature was taken out, or cut off together with all that stood behind it, with one that nobody
/// makes in its place: to be explained, and never to be let in. `None` for anything else.
pub(crate) fn with_a_signature(password: &str) -> Option<String> {
    const NAME: &str = "X-Amz-Signature";
    if password.len() > MAX_TOKEN {
        return None;
    }
    let nobodys = "0".repeat(64);
    let (_, query) = password.split_once('?')?;
    let mut pairs = query.split('&').map(|pair| pair.split_once('='));
    let signature = pairs.find_map(|pair| pair.filter(|(name, _)| *name == NAME));
    let completed = match signature {
        None => {
            let cut = password.trim_end_matches('&');
            let cut = cut.strip_suffix(NAME).unwrap_or(cut).trim_end_matches('&');
            format!("{cut}&{NAME}={nobodys}")
        }
        Some((_, "")) => password.replacen(&format!("{NAME}="), &format!("{NAME}={nobodys}"), 1),
        Some((_, some)) if some.len() < 64 => {
            let before = password.strip_suffix(some)?;
            let is_hex = some.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex.then(|| format!("{before}{nobodys}"))?
        }
        Some(_) => return None,
    };
    // Otherwise it is no token either way, and why is said of what was given.
    Token::parse(&completed).is_ok().then_some(completed)
}

/// The access key id that a password names, with a signature or without; empty if the password is no token.
pub fn access_key_id(password: &str) -> String {
    let completed = with_a_signature(password);
    let token = completed.as_deref().unwrap_or(password);
    Token::parse(token).map_or_else(
        |_| String::new(),
        |token| token.credential.access_key_id.into_owned(),
    )
}

impl<'a> Token<'a> {
    /// Takes the password apart.
    ///
    /// Each parameter must be there exactly once (`X-Amz-Security-Token` at most once), in the
    /// one encoding that signers produce, with nothing left over, so that no two texts are the
    /// same token.
    ///
    /// # Errors
    /// [`Malformed`] names the first thing that does not fit.
    pub fn parse(password: &'a str) -> Result<Self, Malformed> {
        if password.len() > MAX_TOKEN {
            return Err(Malformed::TooLong);
        }
        let (before, query) = password.split_once('?').ok_or(Malformed::NoUrl)?;
        let host = before.strip_suffix('/').unwrap_or(before);
        let is_host_char = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_host_char) {
            return Err(Malformed::Host);
        }

        let mut raw: [Option<&'a str>; PARAMETERS.len()] = [None; PARAMETERS.len()];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(Malformed::Unknown)?;
            let at = PARAMETERS
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| unknown_parameter(query))?;
            if raw[at].replace(value).is_some() {
                return Err(Malformed::Twice(PARAMETERS[at]));
            }
        }
        let raw_value = |at: usize| raw[at].ok_or(Malformed::Missing(PARAMETERS[at]));
        let value =
            |at: usize| decode_canonical(raw_value(at)?).ok_or(Malformed::Value(PARAMETERS[at]));

        if value(SIGNING_ALGORITHM)? != ALGORITHM {
            return Err(Malformed::Value(PARAMETERS[SIGNING_ALGORITHM]));
        }
        if value(SIGNED_HEADERS)? != "host" {
            return Err(Malformed::Value(PARAMETERS[SIGNED_HEADERS]));
        }
        let action = Action::named(&value(ACTION)?).ok_or(Malformed::Value(PARAMETERS[ACTION]))?;
        let credential = credential(raw_value(CREDENTIAL)?)
            .filter(|credential| credential.scope.is_printable())
            .ok_or(Malformed::Value(PARAMETERS[CREDENTIAL]))?;
        let date = raw_value(DATE)?;
        let signed_at = parse_amz_date(date).ok_or(Malformed::Value(PARAMETERS[DATE]))?;
        let expires = raw_value(EXPIRES)?;
        let is_digit = |b: u8| b.is_ascii_digit();
        if expires.is_empty() || !expires.bytes().all(is_digit) || expires.starts_with('0') {
            return Err(Malformed::Value(PARAMETERS[EXPIRES]));
        }
        // A number that is not a u32 is longer still.
        let expires = expires.parse::<u32>().ok();
        let expires = expires
            .filter(|seconds| *seconds <= MAX_EXPIRES)
            .ok_or(Malformed::LifeTooLong)?;
        let signature = raw_value(SIGNATURE)?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if signature.len() != 64 || !signature.bytes().all(is_hex) {
            return Err(Malformed::Value(PARAMETERS[SIGNATURE]));
        }
        if raw[SECURITY_TOKEN] == Some("") {
            return Err(Malformed::Value(PARAMETERS[SECURITY_TOKEN]));
        }
        let mut signed = Vec::new();
        for at in (0..PARAMETERS.len()).filter(|at| *at != SIGNATURE) {
            if raw[at].is_some() {
                signed.push((PARAMETERS[at], value(at)?));
            }
        }
        Ok(Self {
            host,
            action,
            credential,
            date,
            signed_at,
            expires: Duration::seconds(i64::from(expires)),
            signature,
            signed,
        })
    }

    /// `X-Amz-Security-Token`, decoded; `None` if the token has none.
    pub fn session_token(&self) -> Option<&str> {
        self.parameter(SECURITY_TOKEN)
    }

    /// `X-Amz-Signature`: 64 hexadecimal digits.
    pub fn signature(&self) -> &str {
        self.signature
    }

    /// Every parameter but the signature: name and decoded value.
    pub fn signed_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.signed.iter().map(|(name, value)| (*name, &**value))
    }

    /// The canonical request that the token's signer made: GET, path `/`, the one header `host`.
    pub fn canonical_request(&self) -> String {
        self.canonical_request_for(self.host)
    }

    fn canonical_request_for(&self, host: &str) -> String {
        CanonicalRequest {
            method: "GET",
            path: "/",
            normalize_path: true,
            query: self.signed_parameters().collect(),
            headers: vec![("host", host)],
            payload_hash: &payload_hash(b""),
        }
        .text()
    }

    /// Whether the token was signed with `secret_access_key`. Compares in constant time.
    pub fn is_signed_with(&self, secret_access_key: &str) -> bool {
        self.is_signature_of(&self.canonical_request(), secret_access_key)
    }

    /// Whether the token has a host in capitals, and was signed for the same in lower case: botocore signs it so, and
    /// writes it as it was given. It is no good token all the same, but whoever made it looks for another fault.
    /// Compares in constant time.
    pub(crate) fn is_signed_in_lower_case_with(&self, secret_access_key: &str) -> bool {
        let host = self.host.to_ascii_lowercase();
        host != self.host
            && self.is_signature_of(&self.canonical_request_for(&host), secret_access_key)
    }

    fn is_signature_of(&self, request: &str, secret_access_key: &str) -> bool {
        let scope = &self.credential.scope;
        let expected = signature(request, self.signed_at, scope, secret_access_key);
        is_same_secret(&expected, self.signature)
    }

    fn parameter(&self, at: usize) -> Option<&str> {
        let mut parameters = self.signed_parameters();
        let found = parameters.find(|(name, _)| *name == PARAMETERS[at]);
        found.map(|(_, value)| value)
    }
}

/// The fault of a query with a parameter that no token has: most often it is of a signer for another service, such as
/// `aws rds generate-db-auth-token` with its `DBUser`.
fn unknown_parameter(query: &str) -> Malformed {
    let prefix = format!("{}=", PARAMETERS[CREDENTIAL]);
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix(&prefix));
    let scope = value
        .and_then(credential)
        .map(|credential| credential.scope);
    match scope.filter(|scope| scope.is_printable() && scope.service != SERVICE) {
        Some(scope) => Malformed::OtherService(scope.service.into_owned()),
        None => Malformed::Unknown,
    }
}

/// The parts of `X-Amz-Credential`, whose slashes are written as `%2F`.
fn credential(raw: &str) -> Option<Credential<'_>> {
    let parts: Option<Vec<_>> = raw.split("%2F").map(decode_canonical).collect();
    Credential::from_parts(parts?)
}

/// Decodes a value if it is written as Signature Version 4 writes it: `A-Za-z0-9-._~` as they
/// are, every other byte as `%XX` with upper-case digits.
fn decode_canonical(raw: &str) -> Option<Cow<'_, str>> {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_upper_hex = |b: &u8| b.is_ascii_digit() || (b'A'..=b'F').contains(b);
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3)?;
                if !digits.iter().all(is_upper_hex) {
                    return None;
                }
                let text = std::str::from_utf8(digits).ok()?;
                if is_unreserved(u8::from_str_radix(text, 16).ok()?) {
                    return None;
                }
                at += 3;
            }
            byte if is_unreserved(byte) => at += 1,
            _ => return None,
        }
    }
    percent_decode_str(raw).decode_utf8().ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests;
