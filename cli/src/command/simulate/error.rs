//! Why nothing is simulated.

pub use crate::shared::error::Error;

/// An error that is this sentence.
pub fn error(text: impl Into<String>) -> Error {
    text.into().into()
}

/// A request that AWS refuses before it looks at a policy, by AWS's name for that.
pub fn invalid(text: impl std::fmt::Display) -> Error {
    format!("InvalidInput: {text}").into()
}
