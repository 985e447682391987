//! Signature Version 4 of a presigned GET request, as far as a token needs it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use crate::token::{ALGORITHM, Token};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::time::SystemTime;
use subtle::ConstantTimeEq;

/// The SHA-256 of the empty string: a token's request has no body.
const EMPTY_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The canonical request that the token's signer made: GET, path `/`, the one header `host`.
pub fn canonical_request(token: &Token<'_>) -> String {
    let query = token.canonical_query();
    let host = token.host;
    format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{EMPTY_PAYLOAD}")
}

/// The string to sign that belongs to `canonical_request`.
pub fn string_to_sign(token: &Token<'_>, canonical_request: &str) -> String {
    let scope = token.scope();
    let hash = HEXLOWER.encode(&Sha256::digest(canonical_request));
    format!(
        "{ALGORITHM}\n{date}\n{}/{}/{}/{}\n{hash}",
        scope.date,
        scope.region,
        scope.service,
        scope.terminator,
        date = token.date
    )
}

/// Whether the token was signed with `secret_access_key`. Compares in constant time.
pub fn is_signed_with(token: &Token<'_>, secret_access_key: &str) -> bool {
    let scope = token.scope();
    // The scope's date was compared with the token's before this is asked.
    let key = generate_signing_key(
        secret_access_key,
        SystemTime::from(token.signed_at),
        scope.region,
        scope.service,
    );
    let expected = calculate_signature(
        key,
        string_to_sign(token, &canonical_request(token)).as_bytes(),
    );
    expected
        .as_bytes()
        .ct_eq(token.signature().as_bytes())
        .into()
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
