//! Why nothing is simulated.

use crate::shared::error;

/// Why nothing was simulated: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In words of our own.
    #[error("{0}")]
    Own(String),
    /// AWS refuses it before it looks at a policy, by its name for that.
    #[error("InvalidInput: {0}")]
    InvalidInput(String),
    /// AWS refuses it for the form of a parameter.
    #[error("ValidationError: {0}")]
    Validation(String),
    /// There is no such user, group or role.
    #[error("{0}")]
    NoSuchEntity(String),
    /// A policy of the source is in no document.
    #[error("{0}")]
    Incomplete(String),
    /// The policies cannot be evaluated.
    #[error("{0}")]
    PolicyEvaluation(String),
}

impl Error {
    /// AWS's code for it, the HTTP status that goes with that, and the sentence.
    ///
    /// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>.
    pub fn parts(&self) -> (&'static str, u16, &str) {
        match self {
            Self::Own(text) | Self::InvalidInput(text) => ("InvalidInput", 400, text),
            Self::Validation(text) => ("ValidationError", 400, text),
            Self::NoSuchEntity(text) => ("NoSuchEntity", 404, text),
            Self::Incomplete(text) | Self::PolicyEvaluation(text) => {
                ("PolicyEvaluation", 500, text)
            }
        }
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Own(text)
    }
}

impl From<error::Error> for Error {
    fn from(fault: error::Error) -> Self {
        Self::Own(fault.to_string())
    }
}

/// An error that is this sentence.
pub fn error(text: impl Into<String>) -> Error {
    Error::Own(text.into())
}

/// An invalid input.
pub fn invalid(text: impl std::fmt::Display) -> Error {
    Error::InvalidInput(text.to_string())
}
