//! The commands, one file or folder each. Each has its `Arguments` and a `run` that gives a [`Report`];
//! parts that several of them need are in [`crate::shared`].

use crate::shared::error::Error;

pub mod access;
pub mod assume_role;
pub mod check;
pub mod completions;
pub mod create_access_key;
pub mod doctor;
pub mod explain;
pub mod import;
pub mod install;
pub mod man;
pub mod mappings;
pub mod sample_identities;
pub mod setup;
pub mod simulate;
pub mod sts;
pub mod token;

/// The outcome of a command that could do its work.
#[derive(Default)]
pub struct Report {
    /// the text to print, without a line break at its end
    pub text: String,
    /// whether the exit status is 0: no fault was found, and the token is let in
    pub is_well: bool,
    /// work that need not be done before the text is printed
    pub afterwards: Option<Box<dyn FnOnce() + Send>>,
}

impl Report {
    /// Printed text, without the line breaks at its end.
    fn of_bytes(text: Vec<u8>) -> Result<Self, Error> {
        let text = String::from_utf8(text).map_err(Error::of)?;
        Ok(text.trim_end().to_owned().into())
    }
}

impl From<String> for Report {
    fn from(text: String) -> Self {
        Self {
            text,
            is_well: true,
            ..Self::default()
        }
    }
}
