//! Signature Version 4 of a presigned request, as far as a token needs it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use crate::credentials::is_same_secret;
use crate::time::format_amz_date;
use crate::token::{ALGORITHM, CredentialScope, Token};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::UtcDateTime;

/// What is written as `%XX`: every byte but `A-Za-z0-9-._~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same but for the slash, which separates the segments of a path.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The SHA-256 of `payload` as a canonical request ends with it.
pub fn payload_hash(payload: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(payload))
}

/// What a signer and its verifier must agree on before they sign.
///
/// Deliberately without `Debug`: its query can hold a session token.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The absolute path as the request line has it.
    pub path: &'a str,
    /// Whether `.`, `..` and empty segments are taken out of the path; all services but S3 do.
    pub normalize_path: bool,
    /// Names and values of the query, decoded, in any order, without the signature.
    pub query: Vec<(&'a str, &'a str)>,
    /// Names and values of the headers that are signed, in the order in which they are sent.
    pub headers: Vec<(&'a str, &'a str)>,
    /// See [`payload_hash`].
    pub payload_hash: &'a str,
}

impl CanonicalRequest<'_> {
    /// The canonical request as text.
    pub fn text(&self) -> String {
        let (method, hash) = (self.method, self.payload_hash);
        let (path, query) = (self.canonical_path(), self.canonical_query());
        let headers = self.canonical_headers();
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let names: Vec<String> = headers.into_keys().collect();
        let names = names.join(";");
        format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}")
    }

    fn canonical_path(&self) -> String {
        if !self.normalize_path {
            return utf8_percent_encode(self.path, ENCODED_IN_PATH).to_string();
        }
        let mut kept = Vec::new();
        let mut ends_in_slash = false;
        for segment in self.path.split('/') {
            ends_in_slash = matches!(segment, "" | "." | "..");
            match segment {
                "" | "." => {}
                ".." => {
                    kept.pop();
                }
                segment => kept.push(utf8_percent_encode(segment, ENCODED).to_string()),
            }
        }
        let slash = if ends_in_slash && !kept.is_empty() {
            "/"
        } else {
            ""
        };
        format!("/{}{slash}", kept.join("/"))
    }

    fn canonical_query(&self) -> String {
        let encoded = |text| utf8_percent_encode(text, ENCODED).to_string();
        let query = self.query.iter();
        let mut pairs: Vec<(String, String)> =
            query.map(|(n, v)| (encoded(n), encoded(v))).collect();
        pairs.sort();
        let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join("&")
    }

    /// By name; the values of one name joined by commas, their white space by single spaces.
    fn canonical_headers(&self) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &self.headers {
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|values| {
                    values.push(',');
                    values.push_str(&value);
                })
                .or_insert(value);
        }
        headers
    }
}

/// The canonical request that the token's signer made: GET, path `/`, the one header `host`.
pub fn canonical_request(token: &Token<'_>) -> String {
    CanonicalRequest {
        method: "GET",
        path: "/",
        normalize_path: true,
        query: token.signed_parameters().collect(),
        headers: vec![("host", token.host)],
        payload_hash: &payload_hash(b""),
    }
    .text()
}

/// The signature of `canonical_request`: 64 lower-case hexadecimal digits.
///
/// The date of the signing key is that of `signed_at`, so a caller that did not make `scope`
/// itself has to compare the two; see [`crate::login`].
pub fn signature(
    canonical_request: &str,
    signed_at: UtcDateTime,
    scope: CredentialScope<'_>,
    secret_access_key: &str,
) -> String {
    let CredentialScope {
        date,
        region,
        service,
        terminator,
    } = scope;
    let hash = HEXLOWER.encode(&Sha256::digest(canonical_request));
    let signed_at_text = format_amz_date(signed_at);
    let string_to_sign =
        format!("{ALGORITHM}\n{signed_at_text}\n{date}/{region}/{service}/{terminator}\n{hash}");
    let time = SystemTime::from(signed_at);
    let key = generate_signing_key(secret_access_key, time, region, service);
    calculate_signature(key, string_to_sign.as_bytes())
}

/// Whether the token was signed with `secret_access_key`. Compares in constant time.
pub fn is_signed_with(token: &Token<'_>, secret_access_key: &str) -> bool {
    let expected = signature(
        &canonical_request(token),
        token.signed_at,
        token.scope(),
        secret_access_key,
    );
    is_same_secret(&expected, token.signature())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published by botocore (`tests/unit/test_signers.py`) and smithy-rs (`dsql_auth_token.rs`).
    const VECTORS: [(&str, &str, &str); 4] = [
        (
            "SECRET_KEY",
            "test.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=SESSION_TOKEN&X-Amz-Signature=",
            "57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4",
        ),
        (
            "SECRET_KEY",
            "test.dsql.us-east-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=SESSION_TOKEN&X-Amz-Signature=",
            "5ac084bc7cabccc19a52a5d1b5c24b50d3ce143f43b659bd484c91aaf555e190",
        ),
        (
            "secret",
            "peccy.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=",
            "f5f2ad764ca5df44045d4ab6ccecba0eef941b0007e5765885a0b6ed3702a3f8",
        ),
        (
            "secret",
            "peccy.dsql.us-east-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=",
            "267cf8d04d84444f7a62d5bdb40c44bfc6cb13dd6c64fa7f772df6bbaa90fff1",
        ),
    ];

    #[test]
    fn the_published_vectors() {
        for (secret, url, signature) in VECTORS {
            let text = format!("{url}{signature}");
            let token = Token::parse(&text).unwrap_or_else(|e| panic!("{e}: {url}"));
            assert!(is_signed_with(&token, secret), "{url}");
            assert!(!is_signed_with(&token, "another"), "{url}");
        }
    }

    #[test]
    fn no_other_byte_anywhere_makes_a_valid_token() {
        let (secret, url, signature) = VECTORS[0];
        let text = format!("{url}{signature}");
        let mut tried = 0;
        for at in 0..text.len() {
            for byte in 0..=255u8 {
                let mut changed = text.clone().into_bytes();
                if changed[at] == byte {
                    continue;
                }
                changed[at] = byte;
                let Ok(changed) = String::from_utf8(changed) else {
                    continue;
                };
                let accepted = Token::parse(&changed).is_ok_and(|token| {
                    // The scope's date is the caller's to compare; see `login`.
                    token.scope().date == &token.date[..8] && is_signed_with(&token, secret)
                });
                assert!(!accepted, "byte {at} as {byte}: {changed}");
                tried += 1;
            }
        }
        assert!(tried > text.len() * 100);
    }
}
