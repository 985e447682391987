//! Random text from the system, in the alphabets that AWS uses.

use data_encoding::{BASE32_NOPAD, BASE64};

use crate::shared::error::Error;

/// Random characters of `A-Z2-7`: access key ids and unique ids. In lower case, ids of clusters.
///
/// # Errors
/// A sentence, if the system has no randomness.
pub fn capitals_and_digits(length: usize) -> Result<String, Error> {
    let mut text = BASE32_NOPAD.encode(&bytes(length)?);
    text.truncate(length);
    Ok(text)
}

/// `length` random bytes in base64: secret keys (30 bytes) and session tokens.
///
/// # Errors
/// A sentence, if the system has no randomness.
pub fn base64(length: usize) -> Result<String, Error> {
    Ok(BASE64.encode(&bytes(length)?))
}

fn bytes(length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(|fault| format!("the system gave no random bytes: {fault}"))?;
    Ok(bytes)
}
