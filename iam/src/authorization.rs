//! Decides whether a request is allowed, by all policies that apply to it.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>:
//!
//! 1. a Deny that applies, in whatever policy, decides
//! 2. if there are service control policies, one of them has to allow it, on each level of the
//!    organization
//! 3. a resource-based policy that names the caller itself (the user, the role session, or
//!    everybody) and allows it, decides
//! 4. an identity-based policy has to allow it, or a resource-based policy that names the
//!    session's role
//! 5. if there is a permissions boundary, it has to allow it
//! 6. if there are session policies, one of them has to allow it
//!
//! Rule 3 does not hold for another account's resource: its resource-based policy and the caller's own
//! policies both have to allow the request. A Deny with NotPrincipal hits every caller with a permissions
//! boundary (`policy::principal`).
//!
//! A resource-based policy that names the account leaves the decision to the account's
//! identity-based policies. Nothing here belongs to one service: the policies are
//! arguments ([`crate::identity::Identities::policies`] collects those of a user or role).

use crate::arn::account_in;
use crate::policy::budget::{Budget, Exhausted};
use crate::policy::{
    Context, Effect, Evaluation, EvaluationRequest, Policy, PrincipalMatch, RequestPrincipal,
};
use std::collections::BTreeMap;
use std::fmt;

/// The kinds of policies that have a say, as IAM calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyType {
    /// Limits what an account may do.
    ServiceControl,
    /// Attached to the resource.
    ResourceBased,
    /// Attached to the user, its groups, or the role.
    IdentityBased,
    /// Limits what a user or role may be allowed.
    PermissionsBoundary,
    /// Limits what a role session may do.
    Session,
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceControl => "service control policy",
            Self::ResourceBased => "resource-based policy",
            Self::IdentityBased => "identity-based policy",
            Self::PermissionsBoundary => "permissions boundary",
            Self::Session => "session policy",
        })
    }
}

/// Where a policy comes from, for those who ask which one decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'p> {
    /// Written into a user, group or role.
    Inline {
        /// The ARN of the user, group or role.
        owner: &'p str,
        /// The policy's name.
        name: &'p str,
    },
    /// A managed policy, by its ARN.
    Managed(&'p str),
    /// Any other, by a name that says enough.
    Other(&'p str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { owner, name } => write!(f, "inline policy {name} of {owner}"),
            Self::Managed(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

/// A policy with the place it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sourced<'p> {
    /// Where it comes from.
    pub source: Source<'p>,
    /// The policy.
    pub policy: &'p Policy,
}

/// All policies that have a say in a request.
#[derive(Debug, Clone, Default)]
pub struct Policies<'p> {
    /// Of the user and its groups, or of the role.
    pub identity: Vec<Sourced<'p>>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<Sourced<'p>>,
    /// The policies of the session, if it was given any: an empty list allows nothing.
    pub session: Option<Vec<Sourced<'p>>>,
    /// Attached to the resource.
    pub resource: Option<Sourced<'p>>,
    /// Whether the resource-based policy has to allow it too, as a role's trust policy has to.
    pub resource_must_allow: bool,
    /// Whether what the resource-based policy allows does not count, but only what it denies.
    pub resource_only_denies: bool,
    /// Service control policies, by level of the organization, from its root to the account: on each of
    /// them one has to allow it. No level at all limits nothing. They do not count for service-linked roles.
    pub service_control: Vec<Vec<Sourced<'p>>>,
}

impl Policies<'_> {
    /// The condition keys that the policies name, but for service control policies, and of which the context has no
    /// value: whatever their statements are about, as AWS's simulator tells it.
    pub fn missing_keys(&self, context: &Context) -> Vec<String> {
        let session = self.session.iter().flatten();
        let all = self.identity.iter().chain(&self.boundary).chain(session);
        let policies = all.chain(&self.resource).map(|sourced| sourced.policy);
        let keys = policies.flat_map(Policy::context_keys);
        let missing = keys.filter(|key| context.values(key).is_none_or(<[String]>::is_empty));
        // By name; where it is written in several ways, in any one of them.
        let missing: BTreeMap<String, &str> =
            missing.map(|key| (key.to_ascii_lowercase(), key)).collect();
        missing.into_values().map(str::to_owned).collect()
    }
}

/// A request to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// `service:Name`
    pub action: &'r str,
    /// The ARN of the resource, or `*`.
    pub resource: &'r str,
    /// The account that owns the resource; `None` if it is the one in the ARN, or, where there is
    /// none in it, the caller's.
    pub resource_account: Option<&'r str>,
    /// The request context.
    pub context: &'r Context,
}

impl<'r> Request<'r> {
    fn resource_account(&self, caller: &RequestPrincipal<'r>) -> &'r str {
        self.resource_account
            .or_else(|| account_in(self.resource))
            .unwrap_or_else(|| caller.account())
    }
}

/// Yes, or one of the two kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionKind {
    /// Allowed.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// A policy that would have to allow it does not.
    ImplicitDeny,
}

/// How many statements of one effect in policies of one kind, or on one level of the organization, a
/// decision names.
pub(crate) const MAX_MATCHED: usize = 100;

/// A statement that applies to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched<'p> {
    /// The kind of its policy.
    pub policy_type: PolicyType,
    /// Where that policy comes from.
    pub source: Source<'p>,
    /// The name of the file that the policy is in, if it came from one.
    pub file: Option<&'p str>,
    /// The statement's Sid.
    pub sid: Option<&'p str>,
    /// Its place in the policy, from 0.
    pub index: usize,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whether the decision rests on it: as one of those that deny, or, where the request is allowed,
    /// as one of those in the policies that had to allow it. Nothing decides what nothing allows.
    pub decides: bool,
    /// How closely it names the caller.
    principal_match: PrincipalMatch,
}

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        };
        write!(
            f,
            "{effect}: {} {}, statement {}",
            self.policy_type,
            self.source,
            self.index + 1
        )?;
        if let Some(sid) = self.sid {
            write!(f, " ({sid})")?;
        }
        if let Some(file) = self.file {
            write!(f, ", in {file}")?;
        }
        f.write_str(if self.decides { ": decides" } else { "" })
    }
}

/// The outcome, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Yes or no.
    pub kind: DecisionKind,
    /// The kind of policy that denies it or does not allow it; `None` if it is allowed.
    pub refused_by: Option<PolicyType>,
    /// Whether it was given up, since to look at all the policies would take too much: a no.
    pub is_unfinished: bool,
    /// Every statement that applies, in the order of [`PolicyType`]; of more than [`MAX_MATCHED`] that
    /// allow, or that deny, in policies of one kind (or on one level), the first.
    pub matched: Vec<Matched<'p>>,
    /// Condition keys that were asked for and are not in the context.
    pub missing_context: Vec<String>,
    /// Every reason why it is a no, as if each were the only one; none if it is a yes.
    refused_for: Vec<DenyReason>,
    /// The decision of the policies of each kind by themselves; a kind of which there are none is not in it,
    /// but for the identity-based ones.
    said: Vec<(PolicyType, DecisionKind)>,
}

impl<'p> Decision<'p> {
    /// The decision of the policies of this kind by themselves; `None` if there are none.
    pub fn says(&self, policy_type: PolicyType) -> Option<DecisionKind> {
        let mut said = self.said.iter();
        said.find(|(of, _)| *of == policy_type)
            .map(|(_, kind)| *kind)
    }

    /// The statements that the decision rests on.
    pub fn deciding(&self) -> impl Iterator<Item = &Matched<'p>> {
        self.matched.iter().filter(|statement| statement.decides)
    }
}

/// The reason in IAM that an action is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// A policy of this type has to allow it, and none does.
    NotAllowedBy(PolicyType),
    /// A policy of this type denies it.
    DeniedBy(PolicyType),
    /// A policy or group that counts is in no document, so it has to be taken for a deny.
    Incomplete(String),
    /// The policies take more work than one request may.
    TooMuchWork,
}

impl DenyReason {
    /// Every reason why a decision is a no: also those that do not decide, since another kind of policies is asked
    /// before. None if it is a yes.
    pub(crate) fn all_of(decision: &Decision<'_>) -> Vec<Self> {
        match Self::of(decision) {
            None => Vec::new(),
            Some(only) if decision.refused_for.is_empty() => vec![only],
            Some(_) => decision.refused_for.clone(),
        }
    }

    /// Why a decision is a no; `None` if it is a yes.
    pub fn of(decision: &Decision<'_>) -> Option<Self> {
        if decision.is_unfinished {
            return Some(Self::TooMuchWork);
        }
        // A no without a reason does not happen; it stays a no all the same.
        let policy_type = decision.refused_by.unwrap_or(PolicyType::IdentityBased);
        match decision.kind {
            DecisionKind::Allowed => None,
            DecisionKind::ExplicitDeny => Some(Self::DeniedBy(policy_type)),
            DecisionKind::ImplicitDeny => Some(Self::NotAllowedBy(policy_type)),
        }
    }
}

/// Decides one request of a caller.
pub fn authorize<'p, 'r>(
    policies: &Policies<'p>,
    caller: &RequestPrincipal<'r>,
    request: &Request<'r>,
) -> Decision<'p> {
    authorize_within(policies, caller, request, &mut Budget::default())
}

/// Decides one request of a caller with what others have left of a budget.
pub fn authorize_within<'p, 'r>(
    policies: &Policies<'p>,
    caller: &RequestPrincipal<'r>,
    request: &Request<'r>,
    budget: &mut Budget,
) -> Decision<'p> {
    let mut evaluator = Evaluator {
        request: EvaluationRequest::new(
            request.action,
            request.resource,
            request.context,
            *caller,
            policies.boundary.is_some(),
        ),
        evaluation: Evaluation::within(std::mem::take(budget)),
        matched: Vec::new(),
    };
    let decided = evaluator.decide(policies, caller, request);
    *budget = std::mem::take(&mut evaluator.evaluation.budget);
    match decided {
        Ok(decision) => decision,
        // A policy that was not evaluated could have denied it.
        Err(Exhausted) => Decision {
            kind: DecisionKind::ImplicitDeny,
            refused_by: None,
            is_unfinished: true,
            missing_context: evaluator.missing_context(),
            matched: evaluator.matched,
            refused_for: Vec::new(),
            said: Vec::new(),
        },
    }
}

impl<'p> Evaluator<'_, 'p> {
    fn decide(
        &mut self,
        policies: &Policies<'p>,
        caller: &RequestPrincipal<'_>,
        request: &Request<'_>,
    ) -> Result<Decision<'p>, Exhausted> {
        use PolicyType::{
            IdentityBased, PermissionsBoundary, ResourceBased, ServiceControl, Session,
        };
        // AWS: they affect no service-linked role.
        let service_control: &[Vec<Sourced<'p>>] = match caller.is_service_linked() {
            true => &[],
            false => &policies.service_control,
        };
        let is_controlled = !service_control.is_empty();
        let mut levels = Vec::new();
        for level in service_control {
            levels.push(self.ask(ServiceControl, level)?);
        }
        let service_control = levels.into_iter().reduce(PolicyResult::and);
        let service_control = service_control.unwrap_or(PolicyResult::NOTHING);
        let mut resource = self.ask(ResourceBased, policies.resource.as_slice())?;
        if policies.resource_only_denies {
            resource.allowed = PrincipalMatch::None;
        }
        let identity = self.ask(IdentityBased, &policies.identity)?;
        let boundary = self.ask(PermissionsBoundary, policies.boundary.as_slice())?;
        let session = self.ask(Session, policies.session.as_deref().unwrap_or(&[]))?;
        // In the order in which it is told who denies, and who does not allow.
        let all = [
            (ServiceControl, is_controlled, service_control),
            (ResourceBased, policies.resource.is_some(), resource),
            (IdentityBased, true, identity),
            (PermissionsBoundary, policies.boundary.is_some(), boundary),
            (Session, policies.session.is_some(), session),
        ];

        // Another account's resource takes both: its own policy, and those of the caller.
        let is_anothers = request.resource_account(caller) != caller.account();
        // Granted to the caller itself: what the others do not say is no limit.
        let grants_itself = resource.allowed == PrincipalMatch::RequestPrincipal && !is_anothers;
        let grants_role =
            resource.allowed == PrincipalMatch::Role && !is_anothers && !identity.allows();
        let has_to_allow = |policy_type: PolicyType, is_there: bool| match policy_type {
            ServiceControl => is_there,
            ResourceBased => {
                policies.resource_must_allow || is_anothers || grants_itself || grants_role
            }
            IdentityBased => !grants_itself && !grants_role,
            PermissionsBoundary | Session => is_there && !grants_itself,
        };
        let denying = all.iter().find(|(_, _, said)| said.is_denied);
        let lacking = all.iter().find(|(policy_type, is_there, said)| {
            has_to_allow(*policy_type, *is_there) && !said.allows()
        });
        let (kind, refused_by) = match (denying, lacking) {
            (Some((denied_by, ..)), _) => (DecisionKind::ExplicitDeny, Some(*denied_by)),
            (None, Some((lacking, ..))) => (DecisionKind::ImplicitDeny, Some(*lacking)),
            (None, None) => (DecisionKind::Allowed, None),
        };
        for statement in &mut self.matched {
            statement.decides = match kind {
                DecisionKind::ExplicitDeny => statement.effect == Effect::Deny,
                DecisionKind::ImplicitDeny => false,
                DecisionKind::Allowed => {
                    has_to_allow(statement.policy_type, true)
                        && (statement.policy_type != ResourceBased
                            || statement.principal_match == resource.allowed)
                }
            };
        }
        let denied = all.iter().filter(|(_, _, said)| said.is_denied);
        let denied = denied.map(|(policy_type, ..)| DenyReason::DeniedBy(*policy_type));
        let lacking = all.iter().filter(|(policy_type, is_there, said)| {
            has_to_allow(*policy_type, *is_there) && !said.allows()
        });
        let lacking = lacking.map(|(policy_type, ..)| DenyReason::NotAllowedBy(*policy_type));
        let refused_for = denied.chain(lacking).collect();
        let are_there = all.into_iter().filter(|(_, is_there, _)| *is_there);
        Ok(Decision {
            kind,
            refused_by,
            is_unfinished: false,
            matched: std::mem::take(&mut self.matched),
            missing_context: self.missing_context(),
            refused_for,
            said: are_there
                .map(|(policy_type, _, said)| (policy_type, said.kind()))
                .collect(),
        })
    }
}

/// The result of the policies of one kind.
#[derive(Clone, Copy)]
struct PolicyResult {
    /// How closely they allow it to the caller; [`PrincipalMatch::None`] if they do not.
    allowed: PrincipalMatch,
    /// Whether one of them denies it.
    is_denied: bool,
}

impl PolicyResult {
    /// They neither allow nor deny it.
    const NOTHING: Self = Self {
        allowed: PrincipalMatch::None,
        is_denied: false,
    };

    /// Of two levels, both of which have to allow it.
    fn and(self, other: Self) -> Self {
        Self {
            allowed: self.allowed.min(other.allowed),
            is_denied: self.is_denied || other.is_denied,
        }
    }

    fn allows(self) -> bool {
        self.allowed != PrincipalMatch::None
    }

    fn kind(self) -> DecisionKind {
        if self.is_denied {
            DecisionKind::ExplicitDeny
        } else if self.allows() {
            DecisionKind::Allowed
        } else {
            DecisionKind::ImplicitDeny
        }
    }
}

/// Asks one policy after the other, and notes what applies.
struct Evaluator<'q, 'p> {
    request: EvaluationRequest<'q>,
    evaluation: Evaluation,
    matched: Vec<Matched<'p>>,
}

impl<'p> Evaluator<'_, 'p> {
    /// The keys that are missing by now, whoever asked for them.
    fn missing_context(&mut self) -> Vec<String> {
        self.evaluation.take_missing().into_values().collect()
    }

    fn ask(
        &mut self,
        policy_type: PolicyType,
        policies: &[Sourced<'p>],
    ) -> Result<PolicyResult, Exhausted> {
        let mut said = PolicyResult::NOTHING;
        // Of those that allow, and of those that deny.
        let mut counts = [0; 2];
        for Sourced { source, policy } in policies {
            for (index, statement) in policy.statements().iter().enumerate() {
                let principal_match = statement.apply(&self.request, &mut self.evaluation)?;
                if principal_match == PrincipalMatch::None {
                    continue;
                }
                let count = match statement.effect() {
                    Effect::Allow => {
                        said.allowed = said.allowed.max(principal_match);
                        &mut counts[0]
                    }
                    Effect::Deny => {
                        said.is_denied = true;
                        &mut counts[1]
                    }
                };
                *count += 1;
                if *count > MAX_MATCHED {
                    continue;
                }
                self.matched.push(Matched {
                    policy_type,
                    source: *source,
                    file: policy.file(),
                    sid: statement.sid(),
                    index,
                    effect: statement.effect(),
                    decides: false,
                    principal_match,
                });
            }
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests;
