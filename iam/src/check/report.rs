//! The report of a check: what a directory brings, and the findings.

use serde::Serialize;

/// The report on a directory.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The directory.
    pub directory: String,
    /// The ARN of the cluster that it was checked for, if that is known.
    pub cluster: Option<String>,
    /// Each file that counts.
    pub documents: Vec<DocumentReport>,
    /// Each user, by ARN.
    pub users: Vec<IdentityReport>,
    /// Each group, by ARN.
    pub groups: Vec<IdentityReport>,
    /// Each role, by ARN.
    pub roles: Vec<IdentityReport>,
    /// Each access key of a user.
    pub access_keys: Vec<KeyReport>,
    /// Each role session.
    pub sessions: Vec<SessionReport>,
    /// Each policy that is no part of an identity: managed, of the cluster, of the organization.
    pub policies: Vec<PolicyReport>,
    /// The findings: errors first, then warnings, then notes.
    pub findings: Vec<Finding>,
    /// The checks that could not be made, a sentence each.
    pub not_checked: Vec<String>,
}

/// A document.
#[derive(Debug, Serialize)]
pub struct DocumentReport {
    /// The file's name.
    pub file: String,
    /// Its permission bits, in octal, if it can be read.
    pub mode: Option<String>,
    /// The command that prints such a document, or `ContextEntries`; `None` if it is broken.
    pub kind: Option<&'static str>,
    /// Its contents, for people.
    pub brings: String,
}

/// A user, group or role.
#[derive(Debug, Serialize)]
pub struct IdentityReport {
    /// The ARN.
    pub arn: String,
    /// The document that brings it.
    pub file: String,
    /// The names of its inline policies.
    pub inline: Vec<String>,
    /// The ARNs of its managed policies.
    pub attached: Vec<String>,
    /// The names of a user's groups.
    pub groups: Vec<String>,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
}

/// An access key of a user, without its secret.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// The access key id.
    pub id: String,
    /// The document that brings it.
    pub file: String,
    /// The user's name.
    pub user: String,
    /// Whether its status is `Active`.
    pub is_active: bool,
}

/// A role session, without its secrets.
#[derive(Debug, Serialize)]
pub struct SessionReport {
    /// The session's ARN.
    pub arn: String,
    /// The document that brings it.
    pub file: String,
    /// The access key id.
    pub access_key_id: String,
    /// When it ends, such as `2026-01-31T12:00:00Z`.
    pub expiration: String,
    /// Whether it has ended.
    pub is_over: bool,
}

/// A policy.
#[derive(Debug, Serialize)]
pub struct PolicyReport {
    /// Its ARN, or `the cluster's policy`.
    pub name: String,
    /// The document that brings it.
    pub file: String,
    /// How many statements it has.
    pub statements: usize,
    /// How many users, groups, roles and sessions it is attached to, boundaries included.
    pub attachments: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The server does not load the directory.
    Error,
    /// It does, but something in it does not do what it seems to.
    Warning,
    /// It is as it should be, and worth to know.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name; `None` if it is about the directory.
    pub file: Option<String>,
    /// Its subject within the file: an ARN, a policy, a statement.
    pub subject: Option<String>,
    /// The name of the check.
    pub check: &'static str,
    /// The fault.
    pub found: String,
    /// The remedy.
    pub remedy: Option<String>,
}

impl Report {
    /// How many findings are errors, and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let count = |severity| {
            let findings = self.findings.iter();
            findings.filter(|one| one.severity == severity).count()
        };
        (count(Severity::Error), count(Severity::Warning))
    }
}
