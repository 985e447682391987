//! The doctor's finding on one check.

use serde::{Deserialize, Serialize};

/// The status of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// as it should be
    Ok,
    /// it works, but somebody should know
    Warning,
    /// it has to be mended
    Fault,
    /// it could not be looked at
    #[serde(other)]
    Unknown,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that has to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// its name
    pub check: &'static str,
    /// how well it is
    pub status: Status,
    /// what was found
    pub found: String,
    /// the line that mends it, unless it is fine
    pub remedy: Option<String>,
}

/// A thing that is as it should be.
pub(super) fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding {
        check,
        status: Status::Ok,
        found: found.into(),
        remedy: None,
    }
}

/// A thing that is not, and what mends it.
pub(super) fn bad(
    check: &'static str,
    status: Status,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        check,
        status,
        found: found.into(),
        remedy: Some(remedy.into()),
    }
}
