//! Every check of one login in its order, with its outcome: for people who ask why.
//!
//! Tells what no client may hear (which access keys and policies there are), and no secret.

use crate::login::{authenticate, decide, judge};
use crate::request_context::Circumstances;
use crate::sigv4::token::Token;
use std::fmt;

/// The checks that [`judge`] makes, by the names of [`crate::denial::Denial::check`].
pub const CHECKS: [&str; 10] = [
    "token",
    "credential_scope",
    "action",
    "host",
    "time",
    "access_key",
    "session",
    "signature",
    "account",
    "policy",
];

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was passed.
    Passed,
    /// It failed, for this reason; nothing behind it was looked at.
    Failed(String),
    /// An earlier one failed.
    NotReached,
}

impl Outcome {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::NotReached => "not reached",
        }
    }

    /// Why it failed, if it did.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Passed | Self::NotReached => None,
        }
    }
}

/// What is to be said about one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What was signed and what the cluster expects: name, signed, expected. Empty for what is no
    /// token.
    pub signed: Vec<(&'static str, String, String)>,
    /// Each of [`CHECKS`].
    pub checks: Vec<(&'static str, Outcome)>,
    /// The principal's ARN, if the signature verifies.
    pub principal: Option<String>,
    /// The ARN that a mapping names, if the signature verifies.
    pub mapped_arn: Option<String>,
    /// Every statement that applies, if it came to that.
    pub statements: Vec<String>,
    /// Condition keys that policies asked for and that nobody knows here.
    pub missing_context: Vec<String>,
}

impl Explanation {
    /// Whether every check was passed.
    pub fn is_admitted(&self) -> bool {
        let mut checks = self.checks.iter();
        checks.all(|(_, outcome)| *outcome == Outcome::Passed)
    }
}

/// Explains the login that [`judge`] would judge.
pub fn explain(password: &str, role: &str, circumstances: &Circumstances<'_>) -> Explanation {
    let verdict = judge(password, role, circumstances);
    let failed = verdict.outcome.as_ref().err();
    let failed_at = failed.map(|denial| {
        let check = denial.check();
        CHECKS.iter().position(|name| *name == check).unwrap_or(0)
    });
    let outcome = |at: usize| match (failed, failed_at) {
        (Some(denial), Some(failed_at)) if at == failed_at => Outcome::Failed(denial.to_string()),
        (Some(_), Some(failed_at)) if at > failed_at => Outcome::NotReached,
        _ => Outcome::Passed,
    };
    let checks = CHECKS.iter().enumerate();
    let checks = checks.map(|(at, name)| (*name, outcome(at))).collect();
    let mut explanation = Explanation {
        signed: Vec::new(),
        checks,
        principal: verdict.caller.as_ref().map(|caller| caller.arn.clone()),
        mapped_arn: verdict.caller.map(|caller| caller.mapped_arn),
        statements: Vec::new(),
        missing_context: Vec::new(),
    };
    let Ok(token) = Token::parse(password) else {
        return explanation;
    };
    explanation.signed = signed(&token, circumstances);
    if let Ok(caller) = authenticate(&token, circumstances)
        && let Ok(decision) = decide(
            caller.principal,
            caller.session,
            token.action,
            circumstances,
        )
    {
        let statements = decision.matched.iter();
        explanation.statements = statements.map(ToString::to_string).collect();
        explanation.missing_context = decision.missing_context;
    }
    explanation
}

fn signed(
    token: &Token<'_>,
    circumstances: &Circumstances<'_>,
) -> Vec<(&'static str, String, String)> {
    let scope = &token.credential.scope;
    let cluster = circumstances.cluster;
    let date = token.date.get(..8).unwrap_or_default();
    vec![
        (
            "host",
            token.host.to_owned(),
            cluster.endpoints().join(", "),
        ),
        (
            "region",
            scope.region.to_string(),
            cluster.region().to_owned(),
        ),
        ("service", scope.service.to_string(), "dsql".to_owned()),
        ("date of the scope", scope.date.to_string(), date.to_owned()),
        ("action", token.action.name().to_owned(), String::new()),
        ("signed at", token.date.to_owned(), String::new()),
        (
            "good for",
            format!("{} s", token.expires.whole_seconds()),
            String::new(),
        ),
    ]
}

/// What was signed, and what the cluster expects if that is something else.
pub fn compared((_, signed, expected): &(&str, String, String)) -> String {
    let mut expected_names = expected.split(", ");
    if expected.is_empty() || expected_names.any(|name| name == signed) {
        return signed.clone();
    }
    format!("{signed}   (the cluster's: {expected})")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for signed in &self.signed {
            writeln!(f, "{:<18} {}", signed.0, compared(signed))?;
        }
        if let Some(principal) = &self.principal {
            writeln!(f, "{:<18} {principal}", "principal")?;
        }
        writeln!(f)?;
        for (name, outcome) in &self.checks {
            match outcome {
                Outcome::Failed(reason) => writeln!(f, "{name:<18} FAILED: {reason}")?,
                outcome => writeln!(f, "{name:<18} {}", outcome.word())?,
            }
        }
        for statement in &self.statements {
            writeln!(f, "{:<18} {statement}", "statement")?;
        }
        for key in &self.missing_context {
            writeln!(f, "{:<18} {key}", "not known here")?;
        }
        Ok(())
    }
}
