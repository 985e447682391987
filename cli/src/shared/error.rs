//! Why a command cannot do its work.

use std::fmt::Display;

/// Why a command cannot do its work: a sentence, which is printed after `dsql-iam: `, with exit status 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// The sentence of `fault`.
    pub fn of(fault: impl Display) -> Self {
        Self(fault.to_string())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
