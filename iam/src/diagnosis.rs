//! Runs every check of a login but the signature's, for people whom AWS refused.
//!
//! AWS says as little as it can, and the account's export has no secret. So the principal is an argument, and each check
//! runs even if one before it failed: people mend all that is wrong at once.
//! The checks are those of [`crate::login`], by the same functions.

mod remedy;

use crate::arn::{IamArn, IamKind, SessionArn};
use crate::authorization::{Decision, DenyReason};
use crate::check::near_miss;
use crate::cluster::Cluster;
use crate::credentials::is_same_secret;
use crate::denial::Denial;
use crate::explain::{CheckOutcome, Explanation, signed};
use crate::identity::{AccessKey, Identities, Owner, Principal, Session};
use crate::login::{action_for, claims, decide, is_of, redacted_key_id};
use crate::request_context::LoginEnvironment;
use crate::sigv4::token::{Malformed, Token, with_a_signature};
use crate::time::format_amz_date;
use remedy::{malformed_remedy, policy_remedy, remedy};
use std::borrow::Cow;
use std::fmt;

/// The checks in the order in which they are most often at fault, by the names of [`Denial::check`].
const ORDER: [&str; 10] = [
    "token",
    "action",
    "credential_scope",
    "host",
    "time",
    "access_key",
    "account",
    "policy",
    "session",
    "signature",
];

/// The name of a session whose own name is not known.
const SOME_SESSION: &str = "SESSION";

/// A login that was refused elsewhere.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The token, if it is at hand; its signature may be cut off.
    pub token: Option<&'a str>,
    /// The database role.
    pub role: &'a str,
    /// The ARN of the user, the role or the role session that asked.
    pub principal: &'a str,
}

/// One check, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosed {
    /// Its name.
    pub check: &'static str,
    /// Its outcome.
    pub outcome: CheckOutcome,
    /// One line that mends it, if it failed.
    pub remedy: Option<String>,
}

/// The diagnosis of a login. One check may be there several times, with a fault each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The checks, in the order of likelihood.
    pub checks: Vec<Diagnosed>,
    /// The rest of what [`crate::explain()`] tells.
    pub explanation: Explanation,
}

impl Diagnosis {
    /// Whether nothing was found that refuses the login.
    pub fn is_admitted(&self) -> bool {
        let mut outcomes = self.checks.iter().map(|one| &one.outcome);
        !outcomes.any(|outcome| matches!(outcome, CheckOutcome::Failed(_)))
    }
}

/// Looks for everything that is wrong with the login, as far as the documents and the token tell it.
pub fn diagnose(attempt: Attempt<'_>, environment: &LoginEnvironment<'_>) -> Diagnosis {
    let mut found = Findings::default();
    // The signature is not checked, and people cut it off.
    let whole = attempt.token.map(|token| match with_a_signature(token) {
        Some(completed) => Cow::Owned(completed),
        None => Cow::Borrowed(token),
    });
    let token = whole.as_deref().map(Token::parse);
    let token = found.form(attempt.token, token);
    let token = token.as_ref();
    let cluster = token.map_or(environment.cluster, |token| {
        environment.cluster.signed_for(token.host)
    });
    let environment = &LoginEnvironment {
        cluster,
        ..*environment
    };
    found.claims(attempt, token, environment);
    let who = Who::of(attempt.principal, token, environment);
    found.access_key(&who, token, environment);
    let (decision, is_told) = found.policies(&who, attempt.role, environment);
    let mut checks = found.0;
    let place = |check: &str| ORDER.iter().position(|name| *name == check);
    checks.sort_by_key(|one| place(one.check));
    let matched = decision.iter().flat_map(|decision| &decision.matched);
    let explanation = Explanation {
        signed: token.map_or_else(Vec::new, |token| signed(token, environment)),
        checks: Vec::new(),
        principal: is_told.then(|| who.arn.clone().into_owned()),
        mapped_arn: who.principal.map(|principal| principal.arn.clone()),
        statements: matched.map(ToString::to_string).collect(),
        missing_context: decision
            .as_ref()
            .map_or_else(Vec::new, |decision| decision.missing_context.clone()),
    };
    Diagnosis {
        checks,
        explanation,
    }
}

/// The principal as far as it is known.
struct Who<'a> {
    /// The ARN of the user or the session.
    arn: Cow<'a, str>,
    /// The user, or the session's role, if a document has it.
    principal: Option<&'a Principal>,
    /// The session, made up if no document has it.
    session: Option<Cow<'a, Session>>,
    /// The access key that signed, if a document has it.
    key: Option<&'a AccessKey>,
}

impl<'a> Who<'a> {
    fn of(given: &'a str, token: Option<&Token<'_>>, environment: &LoginEnvironment<'a>) -> Self {
        let identities: &'a Identities = environment.identities;
        let key = token.and_then(|token| identities.access_key(&token.credential.access_key_id));
        let made_up = |arn: String| Session::plain(arn, environment.now);
        if let Some(session) = SessionArn::parse(given) {
            let is_it =
                |key: &&AccessKey| matches!(&key.owner, Owner::Session(one) if one.arn == given);
            let known = key
                .filter(is_it)
                .or_else(|| identities.access_keys().find(is_it));
            return Self {
                arn: given.into(),
                principal: identities.role(session.account, session.role),
                session: Some(match known.map(|key| &key.owner) {
                    Some(Owner::Session(session)) => Cow::Borrowed(&**session),
                    _ => Cow::Owned(made_up(given.to_owned())),
                }),
                key,
            };
        }
        let principal = identities.principal(given);
        match IamArn::parse(given) {
            Ok(arn) if arn.kind == IamKind::Role => {
                let session = SessionArn::of(&arn, SOME_SESSION).to_string();
                Self {
                    arn: session.clone().into(),
                    principal,
                    session: Some(Cow::Owned(made_up(session))),
                    key,
                }
            }
            _ => Self {
                arn: given.into(),
                principal,
                session: match key.map(|key| &key.owner) {
                    Some(Owner::Session(session)) if session.arn == given => {
                        Some(Cow::Borrowed(&**session))
                    }
                    _ => None,
                },
                key,
            },
        }
    }
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<Diagnosed>);

impl Findings {
    fn passed(&mut self, check: &'static str) {
        self.add(check, CheckOutcome::Passed, None);
    }

    fn not_checked(&mut self, check: &'static str, why: impl Into<String>) {
        self.add(check, CheckOutcome::NotChecked(why.into()), None);
    }

    fn failed(&mut self, check: &'static str, why: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into());
        self.add(check, CheckOutcome::Failed(why.into()), remedy);
    }

    fn denied(&mut self, denial: &Denial, cluster: &Cluster) {
        self.failed(denial.check(), denial.to_string(), remedy(denial, cluster));
    }

    fn add(&mut self, check: &'static str, outcome: CheckOutcome, remedy: Option<String>) {
        self.0.push(Diagnosed {
            check,
            outcome,
            remedy,
        });
    }

    /// Whether the token is one.
    fn form<'t>(
        &mut self,
        given: Option<&str>,
        parsed: Option<Result<Token<'t>, Malformed>>,
    ) -> Option<Token<'t>> {
        match parsed {
            None => self.not_checked("token", NO_TOKEN),
            Some(Err(fault)) => {
                let denial = Denial::Malformed(fault);
                let remedy = malformed_remedy(&denial, given.unwrap_or_default());
                self.failed("token", denial.to_string(), remedy);
            }
            Some(Ok(token)) => {
                self.passed("token");
                return Some(token);
            }
        }
        None
    }

    /// The token's own claims.
    fn claims(
        &mut self,
        attempt: Attempt<'_>,
        token: Option<&Token<'_>>,
        environment: &LoginEnvironment<'_>,
    ) {
        let why = match attempt.token {
            None => NO_TOKEN,
            Some(_) => "the token is malformed",
        };
        const CLAIMS: [&str; 4] = ["action", "credential_scope", "host", "time"];
        let Some(token) = token else {
            for check in CLAIMS {
                self.not_checked(check, why);
            }
            return self.not_checked("signature", why);
        };
        let LoginEnvironment { now, cluster, .. } = *environment;
        let denials: Vec<Denial> = claims(token, attempt.role, cluster, now).collect();
        for check in CLAIMS {
            let mut of_check = denials
                .iter()
                .filter(|denial| denial.check() == check)
                .peekable();
            if of_check.peek().is_none() {
                self.passed(check);
            }
            of_check.for_each(|denial| self.denied(denial, cluster));
        }
        self.not_checked(
            "signature",
            match token.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => {
                    "the secret is not here; the host is in capitals, and botocore signs it in lower case: \
                     give the signer the host in lower case"
                }
                false => {
                    "the secret is not here; if all else is right, compare the secret access key that \
                     signed with the one that AWS gave out"
                }
            },
        );
    }

    /// The signer, as far as that can be told: whether the access key can be the principal's, and the session's end.
    fn access_key(
        &mut self,
        who: &Who<'_>,
        token: Option<&Token<'_>>,
        environment: &LoginEnvironment<'_>,
    ) {
        let cluster = environment.cluster;
        let Some(principal) = who.principal else {
            let given = &who.arn;
            let (why, remedy) = match IamArn::parse(given).is_ok()
                || SessionArn::parse(given).is_some()
            {
                true => (
                    format!("{given} is in no document"),
                    "export the principal's account with aws iam get-account-authorization-details, and \
                     compare the ARN with aws sts get-caller-identity",
                ),
                false => (
                    format!("{given} is not a user, a role or a session of a role"),
                    "sign as a user or a role: nobody else can be mapped to a database role",
                ),
            };
            return self.failed("access_key", why, remedy);
        };
        if !is_of(principal, cluster.account()) {
            self.denied(&Denial::OtherAccount(who.arn.clone().into_owned()), cluster);
        } else {
            self.passed("account");
        }
        let Some(token) = token else {
            self.not_checked("access_key", "there is no token that names one");
            return match who.session {
                Some(Cow::Owned(_)) => self.not_checked("session", SESSION),
                _ => self.passed("session"),
            };
        };
        self.key(who, token, environment);
        self.session(who, token, environment);
    }

    fn key(&mut self, who: &Who<'_>, token: &Token<'_>, environment: &LoginEnvironment<'_>) {
        let id = id_of(who, token);
        let cluster = environment.cluster;
        let is_permanent = id.starts_with("AKIA");
        match who.key {
            Some(key) if !key.is_active => {
                self.denied(&Denial::InactiveAccessKey(id.to_owned()), cluster);
            }
            Some(AccessKey {
                owner: Owner::User { name, account: None },
                ..
            }) if environment.identities.is_of_several_accounts(name) => {
                let denial = Denial::AmbiguousPrincipal {
                    access_key: id.to_owned(),
                    owner: format!("user {name}"),
                };
                self.denied(&denial, cluster);
            }
            Some(key) if !is_holder(key, who, environment.identities) => self.failed(
                "access_key",
                format!("access key {id} is not one of {}", who.arn),
                "give the ARN that aws sts get-caller-identity prints with the credentials that signed",
            ),
            Some(_) => self.passed("access_key"),
            None if is_permanent && who.session.is_some() => self.failed(
                "access_key",
                format!("access key {id} is a user's, and {} is a role's session", who.arn),
                "sign with the credentials of the role, all three of them, or give the user's ARN",
            ),
            None => {
                let why = match is_permanent {
                    true => "it was deleted or made inactive: aws iam list-access-keys",
                    false => "its session has expired, or is another account's or partition's",
                };
                self.not_checked(
                    "access_key",
                    format!(
                        "access key {id} is not known here; if AWS says that the security token is invalid, {why}"
                    ),
                );
            }
        }
    }

    fn session(&mut self, who: &Who<'_>, token: &Token<'_>, environment: &LoginEnvironment<'_>) {
        let id = id_of(who, token);
        let over = who.key.and_then(|key| key.expiration);
        let over = over.filter(|end| environment.now >= *end);
        let sent = token.session_token().unwrap_or_default();
        let is_wrong = match (who.key, id.get(..4)) {
            (Some(key), _) => {
                !is_same_secret(sent, key.session_token.as_deref().unwrap_or_default())
            }
            (None, Some("AKIA")) => !sent.is_empty(),
            (None, Some("ASIA")) => sent.is_empty(),
            (None, _) => false,
        };
        let denial = if is_wrong {
            Denial::WrongSessionToken(id.to_owned())
        } else if let Some(ended) = over {
            Denial::SessionOver {
                access_key: id.to_owned(),
                ended: format_amz_date(ended),
            }
        } else if matches!(who.session, Some(Cow::Owned(_))) {
            return self.not_checked("session", SESSION);
        } else {
            return self.passed("session");
        };
        self.denied(&denial, environment.cluster);
    }

    /// Evaluates the policies. Gives the decision, and whether the principal is known.
    fn policies<'a>(
        &mut self,
        who: &'a Who<'a>,
        role: &str,
        environment: &LoginEnvironment<'a>,
    ) -> (Option<Decision<'a>>, bool) {
        let Some(principal) = who.principal else {
            self.not_checked("policy", "the principal is in no document");
            self.not_checked("account", "the principal is in no document");
            return (None, false);
        };
        let action = action_for(role);
        let cluster = environment.cluster;
        let denied = |why| Denial::NotAuthorized {
            principal: who.arn.clone().into_owned(),
            action,
            resource: cluster.arn(),
            why,
        };
        let decision = match decide(principal, who.session.as_deref(), action, environment) {
            Ok(decision) => decision,
            Err(why) => {
                self.denied(&denied(why), cluster);
                return (None, true);
            }
        };
        for why in DenyReason::all_of(&decision) {
            let denial = denied(why);
            let near = near_miss(principal, action, environment);
            let remedy = policy_remedy(&denial, &decision, (&principal.arn, near), cluster);
            self.failed("policy", denial.to_string(), remedy);
        }
        if DenyReason::of(&decision).is_none() {
            self.passed("policy");
        }
        (Some(decision), true)
    }
}

const NO_TOKEN: &str = "there is no token";
const SESSION: &str = "what the session was narrowed by (session policies, tags), and when it ends, only its own document \
                       tells: put the output of aws sts assume-role into the directory";

/// The access key id, as it may be shown: all of it if a document has it.
fn id_of<'t>(who: &Who<'_>, token: &'t Token<'_>) -> &'t str {
    let id = &token.credential.access_key_id;
    match who.key {
        Some(_) => id,
        None => redacted_key_id(id),
    }
}

/// Whether an access key of the documents is the principal's.
fn is_holder(key: &AccessKey, who: &Who<'_>, identities: &Identities) -> bool {
    let holder = crate::credentials::owner(key, identities);
    let same = holder.map(|holder| holder.principal.arn.as_str());
    same.is_some() && same == who.principal.map(|principal| principal.arn.as_str())
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation.write_head(f)?;
        for Diagnosed {
            check,
            outcome,
            remedy,
        } in &self.checks
        {
            match outcome {
                CheckOutcome::Failed(reason) => writeln!(f, "{check:<18} FAILED: {reason}")?,
                CheckOutcome::NotChecked(why) => writeln!(f, "{check:<18} not checked: {why}")?,
                outcome => writeln!(f, "{check:<18} {}", outcome.word())?,
            }
            if let Some(remedy) = remedy {
                writeln!(f, "{:<18} -> {remedy}", "")?;
            }
        }
        self.explanation.write_statements(f)
    }
}
