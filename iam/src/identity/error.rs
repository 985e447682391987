//! Why users, roles and groups do not fit together.

/// Why a user, role or group cannot be added to the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A text where the ARN of a user or role has to be.
    #[error("\"{0}\" is not the ARN of a user or role")]
    Arn(String),
    /// An ARN, or a name in another path, that another one has.
    #[error("duplicate {0}")]
    Duplicate(String),
    /// Names that are one name to IAM.
    #[error(
        "{arn} and {other} differ by upper and lower case, and IAM has one {kind} of such a name"
    )]
    DifferByCase {
        /// The ARN of the one that is added.
        arn: String,
        /// The ARN of the one that is there.
        other: String,
        /// `user`, `role` or `group`.
        kind: &'static str,
    },
    /// A unique id, which IAM never gives twice.
    #[error("{arn} has the unique id {id}, which is {other}'s")]
    UniqueId {
        /// The ARN of the one that is added.
        arn: String,
        /// The id.
        id: String,
        /// The ARN of the one that has it.
        other: String,
    },
}
