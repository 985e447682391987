//! Random text, in the alphabet of AWS's ids.

use anyhow::{Result, anyhow};
use data_encoding::BASE32_NOPAD;

/// Random characters of `A-Z2-7`: the alphabet of AWS's access key ids and unique ids.
pub fn capitals_and_digits(length: usize) -> Result<String> {
    let mut text = BASE32_NOPAD.encode(&bytes(length)?);
    text.truncate(length);
    Ok(text)
}

fn bytes(length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the system gave no random bytes: {error}"))?;
    Ok(bytes)
}
