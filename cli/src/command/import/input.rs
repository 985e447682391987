//! The files that are imported, each read to a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::shared::error::Error;

/// The longest file that is read, in bytes.
pub const MAX_INPUT: u64 = 64 * 1024 * 1024;
/// The text of a file, or of standard input.
pub fn read(path: &Path) -> Result<String, Error> {
    if path == Path::new("-") {
        return bounded(std::io::stdin().lock(), "standard input", MAX_INPUT);
    }
    read_bounded(path, MAX_INPUT)
}

/// The text of a file of at most so many bytes.
///
/// # Errors
/// A sentence, if it is larger, cannot be read, or is not UTF-8.
pub fn read_bounded(path: &Path, most: u64) -> Result<String, Error> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|fault| format!("could not read {name}: {fault}"))?;
    bounded(file, &name, most)
}

fn bounded(reader: impl Read, name: &str, most: u64) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut reader = reader.take(most + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|fault| format!("could not read {name}: {fault}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("{name} is longer than {} MiB", most / (1024 * 1024)).into());
    }
    String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8").into())
}
