//! AWS's codes and words for a refusal.

/// AWS's code for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The policies do not allow it.
    AccessDenied,
    /// The session of the access key has expired.
    ExpiredToken,
    /// The token of an identity provider has expired.
    ExpiredTokenException,
    /// The request's authorization is not complete, or not in valid form.
    IncompleteSignature,
    /// There is no such action.
    InvalidAction,
    /// The access key or its session token is unknown.
    InvalidClientTokenId,
    /// The token of an identity provider is invalid.
    InvalidIdentityToken,
    /// A session policy is malformed.
    MalformedPolicyDocument,
    /// The request has no authorization.
    MissingAuthenticationToken,
    /// Session policies and tags are too large together.
    PackedPolicyTooLarge,
    /// The signature is not the one that the secret access key makes, or is too old.
    SignatureDoesNotMatch,
    /// There is no room for another session now, or for another try of a device's code.
    Throttling,
    /// A parameter is invalid.
    ValidationError,
}

impl Code {
    /// The code as AWS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDenied",
            Self::ExpiredToken => "ExpiredToken",
            Self::ExpiredTokenException => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignature",
            Self::InvalidAction => "InvalidAction",
            Self::InvalidClientTokenId => "InvalidClientTokenId",
            Self::InvalidIdentityToken => "InvalidIdentityToken",
            Self::MalformedPolicyDocument => "MalformedPolicyDocument",
            Self::MissingAuthenticationToken => "MissingAuthenticationToken",
            Self::PackedPolicyTooLarge => "PackedPolicyTooLarge",
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::Throttling => "Throttling",
            Self::ValidationError => "ValidationError",
        }
    }

    /// The status of an HTTP answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::AccessDenied
            | Self::ExpiredToken
            | Self::InvalidClientTokenId
            | Self::MissingAuthenticationToken
            | Self::SignatureDoesNotMatch => 403,
            Self::ExpiredTokenException
            | Self::IncompleteSignature
            | Self::InvalidAction
            | Self::InvalidIdentityToken
            | Self::MalformedPolicyDocument
            | Self::PackedPolicyTooLarge
            | Self::Throttling
            | Self::ValidationError => 400,
        }
    }
}

/// Why there is no session, or no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .code.name(), .message)]
pub struct StsError {
    /// AWS's code.
    pub code: Code,
    /// AWS's message to the caller, as far as known.
    pub message: String,
    /// The reason, for those alone who can read the documents.
    pub reason: Option<String>,
    /// Whether it is for the device or the code of multi-factor authentication.
    pub is_wrong_code: bool,
}

impl StsError {
    /// A refusal with AWS's words alone.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            is_wrong_code: false,
        }
    }

    /// The same, with a reason for whoever can read the documents.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

pub(super) fn invalid(message: impl Into<String>) -> StsError {
    StsError::new(Code::ValidationError, message)
}

/// AWS's words for a parameter that is not as it has to be.
pub(super) fn constraint(value: &str, name: &str, text: &str) -> StsError {
    invalid(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: \
         Member must {text}"
    ))
}
