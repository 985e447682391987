//! Policies against what AWS's documentation says of them.
//!
//! Each file in `data/policy_conformance/` holds cases with the page that each comes from: a
//! caller, an action on a resource, the policies that have a say, and what has to come out.

use dsql_iam_core::authorization::{
    Decision, DecisionKind, Policies, Request, Source, Sourced, authorize,
};
use dsql_iam_core::policy::{Caller, Context, Kind, Policy};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

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
    #[serde(default)]
    service_control: Vec<Value>,
    expected: Expected,
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
    service_control: Vec<Policy>,
}

impl Case {
    /// The ARN of the session's role, without a path.
    fn role_arn(&self) -> Option<String> {
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

    fn documents(&self) -> Result<Documents, String> {
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
            resource: optional(&self.resource_policy, Kind::ResourceBased)?,
            service_control: list(&self.service_control, Kind::ServiceControl)?,
        })
    }

    /// What comes out, and what it rests on.
    fn outcome(&self) -> (Expected, String) {
        let documents = match self.documents() {
            Ok(documents) => documents,
            Err(fault) => return (Expected::Invalid, fault),
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
            resource_must_allow: false,
            service_control: documents
                .service_control
                .iter()
                .map(sourced("serviceControl"))
                .collect(),
        };
        let role_arn = self.role_arn();
        let caller = Caller {
            arn: &self.principal,
            role_arn: role_arn.as_deref(),
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
        (kind, reasons(&decision))
    }
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
            let (outcome, why) = case.outcome();
            let divergence = DIVERGENCES.iter().find(|(name, _)| *name == case.name);
            match (outcome == case.expected, divergence) {
                (true, None) | (false, Some(_)) => {}
                (true, Some((_, reason))) => {
                    faults.push(format!("{place}: agrees, although {reason}"));
                }
                (false, None) => {
                    let expected = case.expected;
                    faults.push(format!("{place}: {outcome:?}, not {expected:?}; {why}"));
                }
            }
        }
    }
    for (name, _) in DIVERGENCES {
        if !names.contains(*name) {
            faults.push(format!("{name}: listed, but there is no such case"));
        }
    }
    println!("{} cases", names.len());
    assert!(!names.is_empty(), "there are no cases");
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}
