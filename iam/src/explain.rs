//! Every check of one login in its order, with its outcome: for people who ask why.
//!
//! Tells what no client may hear (which access keys and policies there are), and no secret.

use crate::cluster::{Cluster, SERVICE};
use crate::login::{Verdict, judge, judge_without_signature};
use crate::request_context::LoginEnvironment;
use crate::sigv4::token::{Token, with_a_signature};
use std::fmt;

/// The checks that [`judge`] makes, by the names of [`crate::denial::Denial::check`].
pub(crate) const CHECKS: [&str; 10] = [
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

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It was passed.
    Passed,
    /// It failed, for this reason; nothing behind it was looked at.
    Failed(String),
    /// An earlier one failed.
    NotReached,
    /// It was left out, since the token was given without its signature.
    NotLookedAt,
    /// It cannot be made here, for this reason.
    NotChecked(String),
}

/// The sentence for a signature that is not there.
const NO_SIGNATURE: &str = "the token was given without its signature; a login needs it";

impl CheckOutcome {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::NotReached => "not reached",
            Self::NotLookedAt => "not looked at",
            Self::NotChecked(_) => "not checked",
        }
    }

    /// Why it failed, was left out or cannot be made, if so.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) | Self::NotChecked(reason) => Some(reason),
            Self::NotLookedAt => Some(NO_SIGNATURE),
            Self::Passed | Self::NotReached => None,
        }
    }
}

/// A value that a token was signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedValue {
    /// Its name, for people.
    pub name: &'static str,
    /// The value.
    pub signed: String,
    /// The value that the cluster expects; empty if any value will do.
    pub expected: String,
}

impl fmt::Display for SignedValue {
    /// The signed values, and the cluster's own where they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut expected = self.expected.split(", ");
        if self.expected.is_empty() || expected.any(|one| one == self.signed) {
            return f.write_str(&self.signed);
        }
        write!(f, "{}   (the cluster's: {})", self.signed, self.expected)
    }
}

/// The explanation of one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The signed values, and those that the cluster expects. Empty for a password that is not a token.
    pub signed: Vec<SignedValue>,
    /// Each of [`CHECKS`].
    pub checks: Vec<(&'static str, CheckOutcome)>,
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
    /// Whether no check has failed: the database would be asked, if the signature were looked at and right.
    pub fn has_no_fault(&self) -> bool {
        let mut checks = self.checks.iter();
        !checks.any(|(_, outcome)| matches!(outcome, CheckOutcome::Failed(_)))
    }

    /// Whether every check was passed.
    pub fn is_admitted(&self) -> bool {
        let mut checks = self.checks.iter();
        checks.all(|(_, outcome)| *outcome == CheckOutcome::Passed)
    }
}

/// Explains the login that [`judge`] would judge. A token may be given without its signature, so that nobody can log
/// in with what was given: then all other checks are made.
pub fn explain(password: &str, role: &str, environment: &LoginEnvironment<'_>) -> Explanation {
    let completed = with_a_signature(password);
    let password = completed.as_deref().unwrap_or(password);
    let Verdict { outcome, decision } = match (&completed, Token::parse(password)) {
        (Some(_), Ok(token)) => judge_without_signature(&token, role, environment),
        _ => judge(password, role, environment),
    };
    let (caller, denial) = match outcome {
        Ok(admission) => (Some(admission.caller), None),
        Err(refused) => (refused.caller, Some(refused.denial)),
    };
    let failed_at = denial.as_ref().map(|denial| {
        let check = denial.check();
        CHECKS.iter().position(|name| *name == check).unwrap_or(0)
    });
    let outcome = |at: usize| match (&denial, failed_at) {
        (Some(denial), Some(failed_at)) if at == failed_at => {
            CheckOutcome::Failed(denial.to_string())
        }
        (Some(_), Some(failed_at)) if at > failed_at => CheckOutcome::NotReached,
        _ if completed.is_some() && CHECKS[at] == "signature" => CheckOutcome::NotLookedAt,
        _ => CheckOutcome::Passed,
    };
    let checks = CHECKS.iter().enumerate();
    let checks = checks.map(|(at, name)| (*name, outcome(at))).collect();
    let token = Token::parse(password).ok();
    let matched = decision.iter().flat_map(|decision| &decision.matched);
    let statements = matched.map(ToString::to_string).collect();
    Explanation {
        signed: token.map_or_else(Vec::new, |token| signed(&token, environment)),
        checks,
        principal: caller.as_ref().map(|caller| caller.arn.clone()),
        mapped_arn: caller.map(|caller| caller.mapped_arn),
        statements,
        missing_context: decision.map_or_else(Vec::new, |decision| decision.missing_context),
    }
}

pub(crate) fn signed(token: &Token<'_>, environment: &LoginEnvironment<'_>) -> Vec<SignedValue> {
    let scope = &token.credential.scope;
    let cluster = environment.cluster.signed_for(token.host);
    let date = token.date.get(..8).unwrap_or_default();
    let life = format!("{} s", token.expires.whole_seconds());
    let mut endpoints = environment.cluster.endpoints().to_vec();
    for name in environment
        .cluster
        .linked()
        .iter()
        .flat_map(Cluster::endpoints)
    {
        if !endpoints.contains(name) {
            endpoints.push(name.clone());
        }
    }
    // With a port, in capitals or by PrivateLink's name, it is not written like one of these.
    if cluster.answers_to(token.host) && !endpoints.iter().any(|name| name == token.host) {
        endpoints.push(token.host.to_owned());
    }
    let endpoints = endpoints.join(", ");
    let values = [
        ("host", token.host, endpoints.as_str()),
        ("region", &scope.region, cluster.region()),
        ("service", &scope.service, SERVICE),
        ("date of the scope", &scope.date, date),
        ("action", token.action.name(), ""),
        ("signed at", token.date, ""),
        ("good for", &life, ""),
    ];
    values
        .map(|(name, signed, expected)| SignedValue {
            name,
            signed: signed.to_owned(),
            expected: expected.to_owned(),
        })
        .into()
}

impl Explanation {
    /// The signed values, and the signer.
    pub(crate) fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for signed in &self.signed {
            writeln!(f, "{:<18} {signed}", signed.name)?;
        }
        if let Some(principal) = &self.principal {
            writeln!(f, "{:<18} {principal}", "principal")?;
        }
        writeln!(f)
    }

    /// The statements that the decision rests on.
    pub(crate) fn write_statements(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for statement in &self.statements {
            writeln!(f, "{:<18} {statement}", "statement")?;
        }
        for key in &self.missing_context {
            writeln!(f, "{:<18} {key}", "not known here")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        for (name, outcome) in &self.checks {
            match outcome {
                CheckOutcome::Failed(reason) => writeln!(f, "{name:<18} FAILED: {reason}")?,
                outcome => match outcome.reason() {
                    Some(why) => writeln!(f, "{name:<18} {}: {why}", outcome.word())?,
                    None => writeln!(f, "{name:<18} {}", outcome.word())?,
                },
            }
        }
        self.write_statements(f)
    }
}
