//! AWS's Signature Version 4, as it is verified here: in a presigned URL ([`token`]) and in the
//! `Authorization` header of a request ([`header`]).
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

pub(crate) mod header;
mod scope;
pub(crate) mod signature;
pub(crate) mod token;

pub use header::{ReceivedRequest, SignedRequest};
pub use scope::{Credential, CredentialScope, ScopeFault};
pub use signature::{CanonicalRequest, payload_hash, signature};
pub use token::{MAX_TOKEN, Malformed, Token, access_key_id};

/// The one signing algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// AWS's sentence for a signature that is too old. `earliest` is `allowed` before `now`.
pub(crate) fn expired(signed: &str, earliest: &str, now: &str, allowed: &str) -> String {
    format!("Signature expired: {signed} is now earlier than {earliest} ({now} - {allowed})")
}

/// AWS's sentence for a signature from the future. `latest` is five minutes from `now`.
pub(crate) fn not_yet_current(signed: &str, latest: &str, now: &str) -> String {
    format!("Signature not yet current: {signed} is still later than {latest} ({now} + 5 min.)")
}

/// AWS's sentence for a credential scope of another service than `service`.
pub(crate) fn wrong_service(service: &str) -> String {
    format!("Credential should be scoped to correct service: '{service}'.")
}
