//! The answer, in the form of AWS's `EvaluationResults`.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html> and
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ResourceSpecificResult.html>: one result
//! for each action, which is that of the most restrictive resource, with that of each resource in it.

use std::collections::BTreeMap;

use dsql_iam_core::{Decision, DecisionKind, Matched, PolicyType, Source, resource_template};
use serde_json::{Value, json};

use super::given::InputPolicies;

/// The kinds of policies that `EvalDecisionDetails` tells of, by names of our own: AWS documents
/// none.
const DETAILS: [(PolicyType, &str); 3] = [
    (PolicyType::IdentityBased, "IAM Policy"),
    (PolicyType::ResourceBased, "Resource Policy"),
    (
        PolicyType::PermissionsBoundary,
        "Permissions Boundary Policy",
    ),
];

/// The outcome of one action on one resource.
pub struct Outcome {
    kind: DecisionKind,
    matched: Vec<Value>,
    missing: Vec<String>,
    boundary: Option<bool>,
    organizations: Option<bool>,
    /// Of another account's resource: what the policies of each kind say.
    details: Option<BTreeMap<&'static str, DecisionKind>>,
}

impl Outcome {
    /// Of a request that needs no permission.
    pub fn allowed() -> Self {
        Self {
            kind: DecisionKind::Allowed,
            matched: Vec::new(),
            missing: Vec::new(),
            boundary: None,
            organizations: None,
            details: None,
        }
    }

    /// Of a decision; `missing` are the keys that the policies name and the request does not have,
    /// `is_cross_account` if the resource is another account's.
    pub fn of(
        decision: &Decision<'_>,
        missing: Vec<String>,
        is_cross_account: bool,
        given: &InputPolicies,
    ) -> Self {
        let allows = |policy_type| {
            decision
                .says(policy_type)
                .map(|said| said == DecisionKind::Allowed)
        };
        let organizations = allows(PolicyType::ServiceControl);
        let details = DETAILS
            .iter()
            .filter_map(|(policy_type, name)| Some((*name, decision.says(*policy_type)?)));
        // AWS: where an organization's policies say no, the simulation ends.
        let has_details = is_cross_account && organizations != Some(false);
        Self {
            kind: decision.kind,
            // AWS: neither of these tells of service control policies.
            matched: decision
                .deciding()
                .filter(|matched| matched.policy_type != PolicyType::ServiceControl)
                .map(|matched| statement(matched, given))
                .collect(),
            missing,
            boundary: allows(PolicyType::PermissionsBoundary),
            organizations,
            details: has_details.then(|| details.collect()),
        }
    }

    /// One member of `ResourceSpecificResults`.
    fn of_resource(&self, resource: &str) -> Value {
        let mut result = json!({
            "EvalResourceName": resource,
            "EvalResourceDecision": name(self.kind),
            "MatchedStatements": self.matched,
            "MissingContextValues": self.missing,
        });
        if let Some(details) = &self.details {
            result["EvalDecisionDetails"] = details_of(details);
        }
        if let Some(allowed) = self.boundary {
            result["PermissionsBoundaryDecisionDetail"] =
                json!({"AllowedByPermissionsBoundary": allowed});
        }
        result
    }

    /// Both as one: the more restrictive counts.
    fn and(mut self, other: Self) -> Self {
        if severity(other.kind) > severity(self.kind) {
            (self.kind, self.matched) = (other.kind, other.matched);
        } else if other.kind == self.kind {
            for statement in other.matched {
                if !self.matched.contains(&statement) {
                    self.matched.push(statement);
                }
            }
        }
        // Most often they are the same, since the policies are.
        if self.missing != other.missing {
            for key in other.missing {
                if !self.missing.contains(&key) {
                    self.missing.push(key);
                }
            }
        }
        let both = |one: Option<bool>, other: Option<bool>| match (one, other) {
            (Some(one), Some(other)) => Some(one && other),
            (one, other) => one.or(other),
        };
        self.boundary = both(self.boundary, other.boundary);
        self.organizations = both(self.organizations, other.organizations);
        for (name, kind) in other.details.into_iter().flatten() {
            let details = self.details.get_or_insert_default();
            let known = details.entry(name).or_insert(kind);
            if severity(kind) > severity(*known) {
                *known = kind;
            }
        }
        self
    }
}

/// One member of `EvaluationResults`: an action on resources, at least one of them.
pub fn result(action: &str, outcomes: Vec<(&str, Outcome)>) -> Value {
    let specific: Vec<Value> = outcomes
        .iter()
        .map(|(resource, outcome)| outcome.of_resource(resource))
        .collect();
    let mut resources = outcomes.iter().map(|(resource, _)| *resource);
    let only = resources.next().filter(|_| resources.next().is_none());
    let is_everything = only == Some("*");
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome);
    let all = outcomes.reduce(Outcome::and).unwrap_or_else(|| Outcome {
        kind: DecisionKind::ImplicitDeny,
        ..Outcome::allowed()
    });
    let mut result = json!({
        "EvalActionName": action,
        "EvalDecision": name(all.kind),
        "MatchedStatements": all.matched,
        "MissingContextValues": all.missing,
    });
    // AWS: the form of the resource, and not a resource. Of other services' actions it is not known.
    let template = resource_template(action);
    if let Some(template) = template.or(only.filter(|_| is_everything)) {
        result["EvalResourceName"] = json!(template);
    }
    if let Some(allowed) = all.boundary {
        result["PermissionsBoundaryDecisionDetail"] =
            json!({"AllowedByPermissionsBoundary": allowed});
    }
    if let Some(allowed) = all.organizations {
        result["OrganizationsDecisionDetail"] = json!({"AllowedByOrganizations": allowed});
    }
    if !is_everything {
        if all.organizations != Some(false) {
            result["EvalDecisionDetails"] = details_of(&all.details.unwrap_or_default());
        }
        result["ResourceSpecificResults"] = json!(specific);
    }
    result
}

fn name(kind: DecisionKind) -> &'static str {
    match kind {
        DecisionKind::Allowed => "allowed",
        DecisionKind::ExplicitDeny => "explicitDeny",
        DecisionKind::ImplicitDeny => "implicitDeny",
    }
}

fn severity(kind: DecisionKind) -> u8 {
    match kind {
        DecisionKind::Allowed => 0,
        DecisionKind::ImplicitDeny => 1,
        DecisionKind::ExplicitDeny => 2,
    }
}

fn details_of(details: &BTreeMap<&'static str, DecisionKind>) -> Value {
    let details = details.iter();
    details.map(|(of, kind)| (*of, name(*kind))).collect()
}

/// One member of `MatchedStatements`.
fn statement(statement: &Matched<'_>, given: &InputPolicies) -> Value {
    let (id, position) = match statement.source {
        Source::Inline { name, .. } => (name, None),
        // The policy's name, as AWS has it.
        Source::Managed(arn) => (arn.rsplit('/').next().unwrap_or(arn), None),
        Source::Other(name) => (name, given.position(name, statement.index)),
    };
    let policy_type = match statement.policy_type {
        PolicyType::ResourceBased => "Resource Policy",
        _ => "IAM Policy",
    };
    let mut value = json!({"SourcePolicyId": id, "SourcePolicyType": policy_type});
    if let Some([start, end]) = position {
        let place = |(line, column)| json!({"Line": line, "Column": column});
        value["StartPosition"] = place(start);
        value["EndPosition"] = place(end);
    }
    value
}
