//! The signature itself: canonical request, string to sign, signing key.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use super::{ALGORITHM, CredentialScope};
use crate::time::format_amz_date;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::UtcDateTime;

/// The bytes written as `%XX`: all but `A-Za-z0-9-._~`.
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

/// The values that a signer and its verifier must agree on.
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

/// The signature of `canonical_request`: 64 lower-case hexadecimal digits.
///
/// The date of the signing key is that of `signed_at`, so a caller that did not make `scope`
/// itself has to compare the two; see [`crate::login`].
pub fn signature(
    canonical_request: &str,
    signed_at: UtcDateTime,
    scope: &CredentialScope<'_>,
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
