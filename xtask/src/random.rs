//! Random text, in the alphabets that AWS uses.

use anyhow::{Result, anyhow};
use data_encoding::{BASE32_NOPAD, BASE64};

/// Random characters of `A-Z2-7`: the alphabet of AWS's access key ids and unique ids.
pub fn capitals_and_digits(length: usize) -> Result<String> {
    let mut text = BASE32_NOPAD.encode(&bytes(length)?);
    text.truncate(length);
    Ok(text)
}

/// Random characters of base64, from `length` random bytes: how secrets and session tokens look.
pub fn base64(length: usize) -> Result<String> {
    Ok(BASE64.encode(&bytes(length)?))
}

fn bytes(length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the system gave no random bytes: {error}"))?;
    Ok(bytes)
}
