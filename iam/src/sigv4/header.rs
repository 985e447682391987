//! A request whose Signature Version 4 stands in its `Authorization` header, as SDKs send it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! The body is always part of what is verified: there is no unsigned payload here. All that can change
//! the meaning of a request has to be signed: `host`, the content type and every `x-amz-…` header.

use super::scope::{Credential, ScopeFault};
use super::signature::{CanonicalRequest, payload_hash, signature};
use super::{ALGORITHM, expired, not_yet_current, wrong_service};
use crate::credentials::{Authenticated, PresentedCredentials, is_same_secret};
use crate::sts::{Code, StsEnvironment, StsError, authenticate};
use crate::time::{CLOCK_SKEW, format_amz_date, parse_amz_date};
use std::borrow::Cow;
use time::UtcDateTime;

/// A request as it was received.
///
/// Deliberately without `Debug`: it can hold a session token.
#[derive(Clone, Copy)]
pub struct ReceivedRequest<'r> {
    /// `POST`, …
    pub method: &'r str,
    /// The absolute path as the request line has it. There is no query behind it.
    pub path: &'r str,
    /// Names and values of all headers, in their order.
    pub headers: &'r [(&'r str, &'r str)],
    /// The body.
    pub body: &'r [u8],
}

impl<'r> ReceivedRequest<'r> {
    /// The one value of a header; `None` if it is not there, or more than once.
    fn header(&self, name: &str) -> Option<&'r str> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'r str> {
        let headers = self.headers.iter();
        headers
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// A request whose authorization is well formed; nothing is verified yet.
///
/// Deliberately without `Debug`: it can hold a session token.
pub struct SignedRequest<'r> {
    received: ReceivedRequest<'r>,
    credential: Credential<'r>,
    signed_headers: Vec<&'r str>,
    signature: &'r str,
    date: &'r str,
    signed_at: UtcDateTime,
}

fn incomplete(message: impl Into<String>) -> StsError {
    StsError::new(Code::IncompleteSignature, message)
}

impl<'r> SignedRequest<'r> {
    /// Reads the authorization of a request.
    ///
    /// # Errors
    /// [`Code::MissingAuthenticationToken`] or [`Code::IncompleteSignature`].
    pub fn parse(received: ReceivedRequest<'r>) -> Result<Self, StsError> {
        let mut authorizations = received.values("authorization");
        let Some(authorization) = authorizations.next() else {
            return Err(StsError::new(
                Code::MissingAuthenticationToken,
                "Request is missing Authentication Token",
            ));
        };
        if authorizations.next().is_some() {
            return Err(incomplete("There is more than one Authorization header."));
        }
        let parameters = authorization
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| incomplete(format!("Authorization is not of type {ALGORITHM}.")))?;
        let [credential, signed_headers, signature] = authorization_parameters(parameters)?;
        let parts = credential.split('/').map(Cow::from);
        let credential = Credential::from_parts(parts).ok_or_else(|| {
            incomplete("Credential must have at least 5 slash-separated elements.")
        })?;
        let date = received.header("x-amz-date").ok_or_else(|| {
            incomplete("Authorization header requires existence of one 'X-Amz-Date' header.")
        })?;
        let signed_at = parse_amz_date(date)
            .ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format'."))?;
        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        let is_in_order = signed_headers.is_sorted_by(|one, next| one < next);
        let is_lower = |name: &&str| !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_in_order || !signed_headers.iter().all(is_lower) {
            return Err(incomplete(
                "SignedHeaders must be in lower case, in order, and without duplicates.",
            ));
        }
        if received.header("host").is_none() || !signed_headers.contains(&"host") {
            return Err(incomplete("'Host' must be a signed header."));
        }
        for (name, _) in received.headers {
            let name = name.to_ascii_lowercase();
            let has_to_be = name == "content-type" || name.starts_with("x-amz-");
            if has_to_be && !signed_headers.contains(&name.as_str()) {
                return Err(incomplete(format!("'{name}' must be a signed header.")));
            }
            if has_to_be && received.header(&name).is_none() {
                return Err(incomplete(format!("'{name}' occurs more than once.")));
            }
        }
        let hash = received.header("x-amz-content-sha256");
        if hash.is_some_and(|hash| hash != payload_hash(received.body)) {
            return Err(incomplete(
                "'x-amz-content-sha256' is not the hash of the body.",
            ));
        }
        Ok(Self {
            received,
            credential,
            signed_headers,
            signature,
            date,
            signed_at,
        })
    }

    /// The region that the request is signed for.
    pub fn region(&self) -> &str {
        &self.credential.scope.region
    }

    /// The id of the access key that it says it is signed with.
    pub fn access_key_id(&self) -> &str {
        &self.credential.access_key_id
    }

    /// The caller who signed the request, if it was signed for `service` by somebody who is known. Compares in
    /// constant time.
    ///
    /// # Errors
    /// [`Code::SignatureDoesNotMatch`], [`Code::InvalidClientTokenId`] or [`Code::ExpiredToken`].
    pub fn caller<'i>(
        &self,
        service: &str,
        environment: &StsEnvironment<'i>,
    ) -> Result<Authenticated<'i>, StsError> {
        self.check_scope(service)?;
        self.check_time(environment.now)?;
        let presented = PresentedCredentials {
            access_key_id: &self.credential.access_key_id,
            session_token: self.received.header("x-amz-security-token"),
        };
        authenticate(presented, environment, |secret| {
            let expected = signature(
                &self.canonical_request(),
                self.signed_at,
                &self.credential.scope,
                secret,
            );
            is_same_secret(&expected, self.signature)
        })
    }

    fn check_scope(&self, service: &str) -> Result<(), StsError> {
        let wrong = |message: String| Err(StsError::new(Code::SignatureDoesNotMatch, message));
        match self.credential.scope.check(self.date, None, service) {
            Ok(()) => Ok(()),
            // The signing key is made from the date of the signature.
            Err(ScopeFault::Date) => wrong(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                     from HTTP: '{}' != '{}'.",
                self.credential.scope.date,
                self.date.get(..8).unwrap_or_default()
            )),
            Err(ScopeFault::Region | ScopeFault::Service) => wrong(wrong_service(service)),
            Err(ScopeFault::Terminator) => wrong(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.",
                self.credential.scope.terminator
            )),
        }
    }

    fn check_time(&self, now: UtcDateTime) -> Result<(), StsError> {
        let age = now - self.signed_at;
        let (date, now_text) = (self.date, format_amz_date(now));
        let at = |time: Option<UtcDateTime>| time.map_or_else(String::new, format_amz_date);
        let message = if age > CLOCK_SKEW {
            let earliest = at(now.checked_sub(CLOCK_SKEW));
            expired(date, &earliest, &now_text, "5 min.")
        } else if age < -CLOCK_SKEW {
            let latest = at(now.checked_add(CLOCK_SKEW));
            not_yet_current(date, &latest, &now_text)
        } else {
            return Ok(());
        };
        Err(StsError::new(Code::SignatureDoesNotMatch, message))
    }

    fn canonical_request(&self) -> String {
        let headers = self.received.headers.iter().copied();
        let is_signed = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.signed_headers.contains(&name.as_str())
        };
        CanonicalRequest {
            method: self.received.method,
            path: self.received.path,
            normalize_path: true,
            query: Vec::new(),
            headers: headers.filter(|(name, _)| is_signed(name)).collect(),
            payload_hash: &payload_hash(self.received.body),
        }
        .text()
    }
}

/// `Credential`, `SignedHeaders` and `Signature`: each once, in any order, and nothing else.
fn authorization_parameters(text: &str) -> Result<[&str; 3], StsError> {
    const NAMES: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];
    let mut found: [Option<&str>; 3] = [None; 3];
    for part in text.split(',') {
        let (name, value) = part.trim().split_once('=').unwrap_or((part.trim(), ""));
        let at = NAMES.iter().position(|known| *known == name);
        match at {
            Some(at) if found[at].is_none() && !value.is_empty() => found[at] = Some(value),
            _ => return Err(incomplete("Authorization header is not in valid form.")),
        }
    }
    let mut values = [""; 3];
    for (at, value) in found.into_iter().enumerate() {
        values[at] = value.ok_or_else(|| {
            incomplete(format!(
                "Authorization header requires '{}' parameter.",
                NAMES[at]
            ))
        })?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
