//! `file://PATH`, as the AWS CLI's options take it.

use std::fs;

use crate::shared::error::Error;

/// The prefix of an argument that names a file.
pub const PREFIX: &str = "file://";

/// The content of an argument: the argument itself, or the file that it names.
///
/// # Errors
/// A clause, if the file cannot be read.
pub fn contents(argument: String) -> Result<String, Error> {
    match argument.strip_prefix(PREFIX) {
        None => Ok(argument),
        Some(path) => fs::read_to_string(path).map_err(|fault| format!("{path}: {fault}").into()),
    }
}
