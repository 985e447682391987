//! Why a document is refused. No variant holds a value of a document that could be a secret.

use crate::identity::IdentityError;
use crate::json::JsonError;
use crate::policy::{ContextEntryError, PolicyError};

/// The most characters of all keys and values that documents may add to the request context. Each
/// login copies them, and conditions may be asked about all of them.
pub(super) const MAX_CONTEXT: usize = 16 * 1024;
/// The most client ids of a provider; AWS allows 100.
pub(super) const MAX_CLIENT_IDS: usize = 1000;
/// The most keys of an issuer.
pub(super) const MAX_KEYS: usize = 1000;
/// The shortest secret of a device for multi-factor authentication, in bytes, by RFC 4226.
pub(super) const MIN_SEED: usize = 16;
/// The longest one: more than twice as long as those that AWS gives.
pub(super) const MAX_SEED: usize = 128;

/// Why a document is refused, with line and column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// PowerShell 5 redirects like that.
    #[error("it is in UTF-16, as > of Windows PowerShell writes it; save it as UTF-8")]
    Utf16,
    /// The place of the first byte that is not in UTF-8.
    #[error("not in UTF-8 at line {line} column {column}")]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        column: usize,
    },
    /// YAML, a table or text, as a profile can have it.
    #[error(
        "it is not JSON; run the AWS CLI's command with --output json, whatever the profile has as output"
    )]
    NotJson,
    /// Malformed, or not of the form that the command prints.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Only one output would be read, and the others could deny.
    #[error("holds the output of more than one command; each needs a file of its own")]
    SeveralCommands,
    /// The sign that there are more pages.
    #[error("{0}: the export is incomplete, and what is missing could deny")]
    Truncated(&'static str),
    /// It is not one of the documents that are read.
    #[error(
        "not the output of get-account-authorization-details, create-access-key, \
         assume-role, get-session-token, get-cluster-policy, get-cluster, describe-policy, \
         get-open-id-connect-provider, create-virtual-mfa-device, list-virtual-mfa-devices or \
         list-mfa-devices, nor ContextEntries, nor the keys of an identity provider"
    )]
    UnknownCommand,
    /// Credentials as other commands print them, which do not name their owner.
    #[error(
        "credentials without their owner: add the output of aws sts get-caller-identity to a session of a user; \
         write one of a role as aws sts assume-role prints it, with that Arn in AssumedRoleUser"
    )]
    CredentialsWithoutOwner,
    /// Of an access key or an identity provider.
    #[error("AccountId must be twelve digits")]
    AccountId,
    /// The name of a member of an access key.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// `aws iam list-access-keys` prints keys without it.
    #[error("SecretAccessKey is missing or empty; AWS prints it once, when a key is made")]
    NoSecret,
    /// A text where a cluster's ARN has to be.
    #[error("\"{0}\" is not the ARN of a cluster")]
    ClusterArn(String),
    /// The type of an organization's policy.
    #[error(
        "Type is \"{0}\"; of an organization's policies only SERVICE_CONTROL_POLICY is understood"
    )]
    PolicyType(String),
    /// The text of a service control policy.
    #[error("in the policy document: {0}")]
    Policy(#[from] PolicyError),
    /// A key for the request context.
    #[error(transparent)]
    ContextEntry(#[from] ContextEntryError),
    /// The keys of all documents together.
    #[error("ContextEntries hold more than {MAX_CONTEXT} characters")]
    TooManyContextEntries,
    /// The key of a tag.
    #[error("tag \"{0}\" is empty or longer than AWS allows")]
    Tag(String),
    /// More than AWS has by far.
    #[error("{owner} has more {what} than {most}, which is several times as many as AWS allows")]
    TooMany {
        /// The ARN of the user, group, role or session.
        owner: String,
        /// The things that are counted, in words.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The end of a session.
    #[error("Expiration is not a time (2026-01-31T12:00:00Z)")]
    Expiration,
    /// The ARN of a session.
    #[error("AssumedRoleUser.Arn is not the ARN of a role session")]
    SessionArn,
    /// The ARN of whoever has a session.
    #[error("Arn has to be a user's ARN; write a role session's into AssumedRoleUser")]
    UserArn,
    /// A session of a federated user.
    #[error("a session of aws sts get-federation-token, which is not supported: use one of a role")]
    FederatedSession,
    /// The serial number of a device for multi-factor authentication.
    #[error("SerialNumber is not the ARN of a device (arn:aws:iam::ACCOUNT:mfa/NAME)")]
    SerialNumber,
    /// The serial number of a device.
    #[error("the User of {0} has an Arn that is not a user's")]
    DeviceUser(String),
    /// The serial number of a device. Nothing is told of its secret.
    #[error(
        "Base32StringSeed of {0} is not base32 of {MIN_SEED} to {MAX_SEED} bytes, as create-virtual-mfa-device \
         writes it with --bootstrap-method Base32StringSeed"
    )]
    Seed(String),
    /// The serial number of a device that two users have.
    #[error("duplicate {0}, with different users")]
    DifferentUsers(String),
    /// The session's id, whose name is not that of its ARN.
    #[error("AssumedRoleId is that of another session than Arn")]
    OtherSessionId,
    /// The member `Request`, whose role or session name is not the session's.
    #[error("Request is that of another session")]
    OtherRequest,
    /// The length of a session.
    #[error("DurationSeconds is not between 900 and {0}")]
    DurationSeconds(u32),
    /// The ARN of a role.
    #[error("MaxSessionDuration of {0} is not between 3600 and 43200")]
    MaxSessionDuration(String),
    /// A user, role or group that cannot be added to the others.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A thing that two documents have, or one has twice; in words, with its name.
    #[error("duplicate {0}")]
    Duplicate(String),
    /// A managed policy's ARN.
    #[error("duplicate {0}, with different documents")]
    DifferentDocuments(String),
    /// The URL of an identity provider.
    #[error(
        "duplicate identity provider {0}; where two accounts have it, add \"AccountId\" to each"
    )]
    DuplicateProvider(String),
    /// An ARN whose last part is not the name beside it.
    #[error("{arn} is called {name}")]
    OtherName {
        /// The ARN of a user or role.
        arn: String,
        /// Its name.
        name: String,
    },
    /// A group or a managed policy.
    #[error("\"{arn}\" is not the ARN of a {kind} {name}")]
    OtherArn {
        /// Its ARN.
        arn: String,
        /// `group` or `policy`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A managed policy whose default version is missing, or there again.
    #[error("{arn} does not hold its version {version} once")]
    DefaultVersion {
        /// Its ARN.
        arn: String,
        /// The id of the version.
        version: String,
    },
    /// The URL of an identity provider, in the form of its tokens.
    #[error("Url has a scheme; AWS prints it without https://")]
    UrlScheme,
    /// The URL of an identity provider.
    #[error("invalid URL of the identity provider")]
    ProviderUrl,
    /// The audiences of an identity provider.
    #[error("ClientIDList has an empty entry, or more than {MAX_CLIENT_IDS}")]
    ClientIds,
    /// Keys as the provider gives them.
    #[error(
        "keys of an identity provider without its issuer: add the member \"issuer\", as its tokens \
         have it in iss (\"issuer\": \"https://token.actions.githubusercontent.com\")"
    )]
    NoIssuer,
    /// The member `issuer`.
    #[error("issuer has to start with https://")]
    IssuerScheme,
    /// The keys of an identity provider.
    #[error("there are more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// All keys are for other algorithms or other uses.
    #[error("there is no key for RS256, RS384, RS512, ES256 or ES384 among the keys")]
    NoUsableKey,
    /// One key of an identity provider.
    #[error("key {number} of keys {fault}")]
    Key {
        /// Its place in the list, from 1.
        number: usize,
        /// The fault.
        fault: KeyFault,
    },
}

/// Why a key of an identity provider is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It has the secret that tokens are signed with.
    #[error("is not a public key: whoever can read it could sign tokens")]
    NotPublic,
    /// Tokens choose their key by it.
    #[error("has the kid of another one")]
    DuplicateId,
    /// The name of a member.
    #[error("has no {0}")]
    Missing(&'static str),
    /// The name of a member.
    #[error("has an {0} that is not in base64url without padding")]
    NotBase64(&'static str),
    /// The modulus of an RSA key.
    #[error("has no n of 2,048 to 8,192 bits")]
    Modulus,
    /// The exponent of an RSA key.
    #[error("has an invalid e")]
    Exponent,
    /// A point on an elliptic curve.
    #[error("has an x or y of another length than its curve's")]
    Point,
    /// The algorithm.
    #[error("has an alg that its kty or crv does not fit")]
    Algorithm,
}

impl BadDocument {
    /// The fault of bytes of which only the first `valid` are in UTF-8.
    pub(crate) fn not_utf8(bytes: &[u8], valid: usize) -> Self {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Self::Utf16;
        }
        let valid = &bytes[..valid];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last_line = valid.iter().rev().take_while(|byte| **byte != b'\n');
        Self::NotUtf8 {
            line,
            column: last_line.count() + 1,
        }
    }
}
