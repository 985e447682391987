//! Policies against what AWS's documentation says of them.
//!
//! Each file in `data/policy_conformance/` holds cases with the page that each comes from: a
//! caller, an action on a resource, the policies that have a say, and what has to come out; where it
//! matters, also the kind of policy that refuses it, and the end of the sentence that a client hears.

use dsql_iam_core::policy::{Context, Kind, Policy, PolicyError, RequestPrincipal};
use dsql_iam_core::{
    Action, Decision, DecisionKind, Denial, DenyReason, Policies, PolicyType, Request, Source,
    Sourced, authorize,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// There are more; fewer would mean that files were lost, or not found.
const LEAST_CASES: usize = 1_000;

/// Cases that come out differently here, by name, each with the reason why. One that has come to
/// agree is a failure too.
const DIVERGENCES: &[(&str, &str)] = &[];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    page: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    name: String,
    page: Option<String>,
    #[serde(default = "principal")]
    principal: String,
    /// The ARN of the session's role, if that has a path.
    role: Option<String>,
    #[serde(default = "action")]
    action: String,
    #[serde(default = "resource")]
    resource: String,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    identity: Vec<Value>,
    boundary: Option<Value>,
    session: Option<Vec<Value>>,
    resource_policy: Option<Value>,
    /// The trust policy of the role that is the resource: it has to allow the action too.
    trust_policy: Option<Value>,
    /// Each a policy, and then all of them are one level, or the list of those of a level.
    #[serde(default)]
    service_control: Vec<Value>,
    expected: Expected,
    /// The kind of policy that denies it or does not allow it.
    refused_by: Option<RefusedBy>,
    /// How the sentence for a client ends.
    sentence: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RefusedBy {
    ServiceControl,
    ResourceBased,
    IdentityBased,
    PermissionsBoundary,
    Session,
}

impl From<PolicyType> for RefusedBy {
    fn from(policy_type: PolicyType) -> Self {
        match policy_type {
            PolicyType::ServiceControl => Self::ServiceControl,
            PolicyType::ResourceBased => Self::ResourceBased,
            PolicyType::IdentityBased => Self::IdentityBased,
            PolicyType::PermissionsBoundary => Self::PermissionsBoundary,
            PolicyType::Session => Self::Session,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Expected {
    Allowed,
    ExplicitDeny,
    ImplicitDeny,
    /// A document is refused when it is read.
    Invalid,
}

fn principal() -> String {
    "arn:aws:iam::012345678912:user/alice".into()
}

fn action() -> String {
    "dsql:DbConnect".into()
}

fn resource() -> String {
    "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz".into()
}

/// The documents of a case, read.
struct Documents {
    identity: Vec<Policy>,
    boundary: Option<Policy>,
    session: Option<Vec<Policy>>,
    resource: Option<Policy>,
    service_control: Vec<Vec<Policy>>,
}

impl Case {
    /// The ARN of the session's role; without a path, unless the case names it.
    fn role_arn(&self) -> Option<String> {
        if self.role.is_some() {
            return self.role.clone();
        }
        let (before, after) = self.principal.split_once(":assumed-role/")?;
        let role = after.split('/').next()?;
        Some(format!(
            "{}:role/{role}",
            before.replacen(":sts:", ":iam:", 1)
        ))
    }

    fn context(&self) -> Context {
        let mut context = Context::default();
        let role_arn = self.role_arn();
        let account = self.principal.split(':').nth(4).unwrap();
        context.set(
            "aws:PrincipalArn",
            role_arn.as_deref().unwrap_or(&self.principal),
        );
        context.set("aws:PrincipalAccount", account);
        if role_arn.is_none() {
            context.set("aws:username", self.principal.rsplit('/').next().unwrap());
        }
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        for (key, value) in &self.context {
            match value {
                Value::Null => context.remove(key),
                Value::Array(values) => context.set_all(key, values.iter().map(text).collect()),
                value => context.set(key, text(value)),
            }
        }
        context
    }

    /// The service control policies, by level.
    fn levels(&self) -> Vec<Vec<Value>> {
        let all = &self.service_control;
        let levels = all.iter().map(|level| level.as_array().cloned());
        match levels.collect() {
            Some(levels) => levels,
            None => vec![all.clone()],
        }
    }

    fn documents(&self) -> Result<Documents, PolicyError> {
        let one = |value: &Value, kind| Policy::parse(&value.to_string(), kind);
        let list = |values: &[Value], kind| {
            let read = values.iter().map(|value| one(value, kind));
            read.collect::<Result<Vec<_>, _>>()
        };
        let optional = |value: &Option<Value>, kind| {
            let read = value.as_ref().map(|value| one(value, kind));
            read.transpose()
        };
        let session = self.session.as_ref();
        Ok(Documents {
            identity: list(&self.identity, Kind::IdentityBased)?,
            boundary: optional(&self.boundary, Kind::IdentityBased)?,
            session: session
                .map(|values| list(values, Kind::IdentityBased))
                .transpose()?,
            resource: match &self.trust_policy {
                None => optional(&self.resource_policy, Kind::ResourceBased)?,
                trust => optional(trust, Kind::Trust)?,
            },
            service_control: self
                .levels()
                .iter()
                .map(|level| list(level, Kind::ServiceControl))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The outcome.
    fn outcome(&self) -> Outcome {
        let documents = match self.documents() {
            Ok(documents) => documents,
            Err(fault) => {
                return Outcome {
                    kind: Expected::Invalid,
                    refused_by: None,
                    sentence: None,
                    why: fault.to_string(),
                };
            }
        };
        let sourced = |source| {
            move |policy| Sourced {
                source: Source::Other(source),
                policy,
            }
        };
        let session = documents.session.as_ref();
        let policies = Policies {
            identity: documents.identity.iter().map(sourced("identity")).collect(),
            boundary: documents.boundary.as_ref().map(sourced("boundary")),
            session: session.map(|list| list.iter().map(sourced("session")).collect()),
            resource: documents.resource.as_ref().map(sourced("resourcePolicy")),
            resource_must_allow: self.trust_policy.is_some(),
            resource_only_denies: false,
            service_control: documents
                .service_control
                .iter()
                .map(|level| level.iter().map(sourced("serviceControl")).collect())
                .collect(),
        };
        let role_arn = self.role_arn();
        let caller = RequestPrincipal {
            arn: &self.principal,
            role_arn: role_arn.as_deref(),
            unique_id: None,
        };
        let request = Request {
            action: &self.action,
            resource: &self.resource,
            resource_account: None,
            context: &self.context(),
        };
        let decision = authorize(&policies, &caller, &request);
        let kind = match decision.kind {
            DecisionKind::Allowed => Expected::Allowed,
            DecisionKind::ExplicitDeny => Expected::ExplicitDeny,
            DecisionKind::ImplicitDeny => Expected::ImplicitDeny,
        };
        let sentence = DenyReason::of(&decision).and_then(|why| {
            let denial = Denial::NotAuthorized {
                principal: self.principal.clone(),
                action: Action::DbConnect,
                resource: self.resource.clone(),
                why,
            };
            denial.hint()
        });
        Outcome {
            kind,
            refused_by: decision.refused_by.map(RefusedBy::from),
            sentence,
            why: reasons(&decision),
        }
    }

    /// The difference between outcome and expectation; `None` if there is none.
    fn fault(&self, outcome: &Outcome) -> Option<String> {
        let (expected, why) = (self.expected, &outcome.why);
        if outcome.kind != expected {
            return Some(format!("{:?}, not {expected:?}; {why}", outcome.kind));
        }
        if self.refused_by.is_some() && self.refused_by != outcome.refused_by {
            let (found, expected) = (outcome.refused_by, self.refused_by);
            return Some(format!("refused by {found:?}, not by {expected:?}; {why}"));
        }
        let sentence = outcome.sentence.as_deref().unwrap_or_default();
        match &self.sentence {
            // The action of the sentence is this one.
            Some(_) if self.action != action() => Some("a sentence for another action".into()),
            Some(end) if !sentence.ends_with(&format!(" {} {end}", self.resource)) => {
                Some(format!("\"{sentence}\" does not end in \"{end}\"; {why}"))
            }
            _ => None,
        }
    }
}

/// The outcome of a case.
struct Outcome {
    kind: Expected,
    refused_by: Option<RefusedBy>,
    /// The message to the client.
    sentence: Option<String>,
    /// The statements that it rests on.
    why: String,
}

fn reasons(decision: &Decision<'_>) -> String {
    let matched = decision.matched.iter().map(|matched| {
        let sid = matched.sid.unwrap_or("");
        format!(
            "{:?} by {}[{}] {sid}",
            matched.effect, matched.source, matched.index
        )
    });
    let matched = matched.collect::<Vec<_>>().join(", ");
    let by = decision
        .refused_by
        .map_or(String::new(), |by| format!("refused by {by}; "));
    let missing = decision.missing_context.join(", ");
    format!("{by}matched: {matched}; not in the context: {missing}")
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/policy_conformance");
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    files
}

#[test]
fn every_case_comes_out_as_documented() {
    let mut names = HashSet::new();
    let mut faults = Vec::new();
    for path in files() {
        let shown = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        for case in &file.cases {
            let page = case.page.as_ref().unwrap_or(&file.page);
            let place = format!("{shown}: {} ({page})", case.name);
            if !names.insert(case.name.clone()) {
                faults.push(format!("{place}: the name is there twice"));
            }
            if !page.starts_with("https://") {
                faults.push(format!("{place}: no page"));
            }
            let fault = case.fault(&case.outcome());
            let divergence = DIVERGENCES.iter().find(|(name, _)| *name == case.name);
            match (fault, divergence) {
                (None, None) | (Some(_), Some(_)) => {}
                (None, Some((_, reason))) => {
                    faults.push(format!("{place}: agrees, although {reason}"));
                }
                (Some(fault), None) => faults.push(format!("{place}: {fault}")),
            }
        }
    }
    for (name, _) in DIVERGENCES {
        if !names.contains(*name) {
            faults.push(format!("{name}: listed, but there is no such case"));
        }
    }
    println!("{} cases", names.len());
    assert!(names.len() >= LEAST_CASES, "cases are missing");
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}
