//! Why nothing is simulated.

/// Why nothing was simulated: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// An error that is this sentence.
pub fn error(text: impl Into<String>) -> Error {
    Error(text.into())
}

/// What AWS refuses before it looks at a policy, by its name for that.
pub fn invalid(text: impl std::fmt::Display) -> Error {
    Error(format!("InvalidInput: {text}"))
}
