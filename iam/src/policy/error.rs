//! Why a policy document, or a value for the request context, is refused.

use crate::json::JsonError;

/// The longest pattern or value that is accepted; IAM's own limits are far below.
pub(super) const MAX_PATTERN: usize = 2048;
/// The most statements in a document.
pub(super) const MAX_STATEMENTS: usize = 1000;

/// Why a policy document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not JSON, or not JSON of the form of a policy.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Its version, which AWS does not know.
    #[error("Version is \"{0}\", neither 2012-10-17 nor 2008-10-17")]
    Version(String),
    /// It is too long.
    #[error("there are more than {MAX_STATEMENTS} statements")]
    TooManyStatements,
    /// It is too long.
    #[error("the policy document holds too many characters")]
    TooManyCharacters,
    /// The name of the element that a text is too long for.
    #[error("{0} holds more than {MAX_PATTERN} characters")]
    TooLong(&'static str),
    /// A Sid of an identity-based policy.
    #[error("Sid \"{0}\" is not of letters and digits alone")]
    Sid(String),
    /// Two statements have this Sid.
    #[error("duplicate Sid \"{0}\"")]
    DuplicateSid(String),
    /// An element that policies of this kind must not have.
    #[error("{element} is not allowed in {policy}")]
    NotAllowed {
        /// Its name.
        element: &'static str,
        /// The kind of policy, in words.
        policy: &'static str,
    },
    /// A statement of a policy that needs a Principal in each.
    #[error("a statement has no Principal")]
    NoPrincipal,
    /// AWS supports it with Deny alone.
    #[error("NotPrincipal is allowed with Deny only")]
    NotPrincipalAllows,
    /// An element and its negation.
    #[error("a statement has both {0} and {1}")]
    Both(&'static str, &'static str),
    /// An element or its negation has to be there.
    #[error("a statement has neither {0} nor {1}")]
    Neither(&'static str, &'static str),
    /// The name of a list without elements.
    #[error("{0} is an empty list")]
    EmptyList(&'static str),
    /// A malformed action.
    #[error("Action \"{0}\" is neither SERVICE:NAME nor *")]
    Action(String),
    /// A malformed resource.
    #[error("Resource \"{0}\" is neither an ARN nor *")]
    Resource(String),
    /// A condition operator that AWS does not have.
    #[error("unknown condition operator \"{0}\"")]
    UnknownOperator(String),
    /// A condition operator, a second time in one Condition.
    #[error("duplicate condition operator {0}")]
    DuplicateOperator(String),
    /// A condition key, a second time under one operator.
    #[error("duplicate condition key {key} under {operator}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// A condition key without a name.
    #[error("a condition key is empty")]
    EmptyKey,
    /// A value that the operator cannot compare with.
    #[error("\"{value}\" for {key} is not {expected}")]
    Value {
        /// The value.
        value: String,
        /// The condition key.
        key: String,
        /// The type of values that the operator takes, in words.
        expected: &'static str,
    },
    /// A text with a malformed policy variable.
    #[error("malformed variable in \"{0}\"")]
    Variable(String),
    /// A variable of CloudFormation or Terraform, which AWS never sees.
    #[error(
        "{element} \"{text}\" holds {variable}, a variable of a template, which was not filled in; \
         dsql-iam import reads templates"
    )]
    TemplateVariable {
        /// The name of the element.
        element: &'static str,
        /// Its text.
        text: String,
        /// The variable.
        variable: String,
    },
}

/// Why a condition key for the request context is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextEntryError {
    /// The key has no name.
    #[error("a ContextKeyName is empty")]
    EmptyName,
    /// The type of the key is none of AWS's.
    #[error("unknown ContextKeyType \"{0}\"")]
    UnknownType(String),
    /// The key is of a single-valued type.
    #[error("{0} must have exactly one value: its ContextKeyType is not a list")]
    NotOneValue(String),
    /// A value is not of the type.
    #[error("\"{value}\" for {name} is not of type {context_key_type}")]
    WrongType {
        /// The value.
        value: String,
        /// The key.
        name: String,
        /// Its type.
        context_key_type: String,
    },
}
