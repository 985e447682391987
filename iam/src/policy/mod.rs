//! Policy documents, and what their statements say about one request.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>. How
//! several policies decide together is in [`crate::authorization`].
//!
//! | part | holds |
//! |---|---|
//! | this file | the document, and when a statement applies |
//! | `pattern` | wildcards, and how they match an ARN |
//! | `budget` | how many steps an evaluation may take |
//! | `variable` | policy variables |
//! | `condition` | condition operators |
//! | `principal` | Principal and NotPrincipal |
//! | `context` | the request context |
//! | `read` | the document as JSON, and what it may hold |
//! | `error` | why a document is refused |
//!
//! No document makes a login expensive: reading bounds statements, characters and the length of a pattern, and
//! each request has a budget of steps (`Budget`). These take a step: each statement, principal, action, resource
//! and variable, and, in a condition, each value of its key, present or absent.

pub mod budget;
pub(crate) mod condition;
pub(crate) mod context;
mod effect;
mod error;
pub(crate) mod pattern;
pub(crate) mod principal;
mod read;
pub(crate) mod variable;

pub use condition::check_context_entry;
pub use context::Context;
pub use effect::Effect;
pub use error::{ContextEntryError, PolicyError};
pub use principal::RequestPrincipal;

pub(crate) use context::Evaluation;
pub(crate) use principal::PrincipalMatch;

use budget::{Budget, Exhausted};
use condition::Condition;
use pattern::{Token, matches, matches_resource_within, matches_within, tokens};
use principal::Principals;
use std::collections::BTreeSet;
use std::sync::Arc;
use variable::Template;

/// A policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) statements: Vec<Statement>,
    file: Option<Arc<str>>,
}

/// Two policies are equal if their statements are; the file does not count.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.statements == other.statements
    }
}

/// The kind of a document, which decides the elements that it has to have and must not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a user, group, role or session: no Principal, and only letters and digits in a Sid.
    IdentityBased,
    /// Of an organization or account: no Principal.
    ServiceControl,
    /// Attached to a resource: a Principal in each statement.
    ResourceBased,
    /// The trust policy of a role: a Principal in each statement, and no Resource.
    Trust,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) principals: Option<Principals>,
    pub(crate) actions: Elements<ActionPattern>,
    /// Not there in a trust policy.
    pub(crate) resources: Option<Elements<Template>>,
    pub(crate) conditions: Vec<Condition>,
}

/// An action, which may have wildcards.
#[derive(Debug, Clone)]
pub(crate) struct ActionPattern {
    /// In lower case: actions are compared without it.
    pub(crate) folded: Vec<Token>,
    /// As it is written, for people.
    pub(crate) written: Box<str>,
}

impl PartialEq for ActionPattern {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for ActionPattern {}

/// A list of patterns: one of them must match, or, negated, none may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elements<T> {
    pub(crate) any_of: Vec<T>,
    pub(crate) is_negated: bool,
}

/// A request, in the form that patterns are matched with.
pub(crate) struct EvaluationRequest<'q> {
    action: Vec<char>,
    resource: Vec<char>,
    context: &'q Context,
    caller: RequestPrincipal<'q>,
    has_boundary: bool,
}

impl<'q> EvaluationRequest<'q> {
    pub(crate) fn new(
        action: &str,
        resource: &str,
        context: &'q Context,
        caller: RequestPrincipal<'q>,
        has_boundary: bool,
    ) -> Self {
        Self {
            action: action.to_ascii_lowercase().chars().collect(),
            resource: resource.chars().collect(),
            context,
            caller,
            has_boundary,
        }
    }
}

/// Whether all of `text` is matched by `pattern`, in which `*` stands for any run of characters and `?` for
/// one, as in an Action.
pub fn fits_wildcards(pattern: &str, text: &str) -> bool {
    matches(&tokens(pattern), &text.chars().collect::<Vec<_>>())
}

impl Policy {
    /// The name of the file that it came from, if it came from one.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Remembers the file that it came from. All policies of a file share its name.
    pub(crate) fn comes_from(&mut self, file: &Arc<str>) {
        self.file = Some(Arc::clone(file));
    }

    /// Its statements, in their order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The condition keys that its conditions and variables ask for, as they are written.
    pub fn context_keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        for statement in &self.statements {
            let conditions = statement.conditions.iter().flat_map(Condition::keys);
            let resources = statement.resources.iter().flat_map(|list| &list.any_of);
            keys.extend(
                conditions
                    .chain(resources.flat_map(Template::keys))
                    .map(|key| key.written.as_str()),
            );
        }
        keys
    }
}

impl Statement {
    /// The Sid, if it has one.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// Whether it allows or denies.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// How closely the statement names the caller, if it applies to the request, otherwise
    /// [`PrincipalMatch::None`]. One without a Principal is the caller's own, and so names it.
    ///
    /// # Errors
    /// If the budget is used up.
    pub(crate) fn apply(
        &self,
        request: &EvaluationRequest<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<PrincipalMatch, Exhausted> {
        let listed = self.principals.as_ref().map_or(0, |list| list.listed.len());
        evaluation.budget.spend(1 + listed)?;
        let principal_match = match &self.principals {
            Some(principals) => {
                principals.apply(&request.caller, request.has_boundary, self.effect)
            }
            None => PrincipalMatch::RequestPrincipal,
        };
        let applies = principal_match != PrincipalMatch::None
            && self.fits_action(&request.action, &mut evaluation.budget)?
            && self.fits_resource(request, evaluation)?
            && self.conditions_hold(request, evaluation)?;
        Ok(if applies {
            principal_match
        } else {
            PrincipalMatch::None
        })
    }

    pub(crate) fn fits_action(
        &self,
        action: &[char],
        budget: &mut Budget,
    ) -> Result<bool, Exhausted> {
        for pattern in &self.actions.any_of {
            if matches_within(&pattern.folded, action, budget)? {
                return Ok(!self.actions.is_negated);
            }
        }
        Ok(self.actions.is_negated)
    }

    fn fits_resource(
        &self,
        request: &EvaluationRequest<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<bool, Exhausted> {
        let Some(resources) = &self.resources else {
            return Ok(true);
        };
        let mut is_whole = true;
        for template in &resources.any_of {
            match template.fill_in(request.context, evaluation)? {
                Some(pattern) => {
                    let budget = &mut evaluation.budget;
                    if matches_resource_within(&pattern, &request.resource, budget)? {
                        return Ok(!resources.is_negated);
                    }
                }
                // AWS: it matches no resource.
                None => is_whole = false,
            }
        }
        // "All but a resource that cannot be named" allows nothing here, and denies all.
        Ok(resources.is_negated && (is_whole || self.effect == Effect::Deny))
    }

    /// All of them are asked, so that all missing keys are noted.
    fn conditions_hold(
        &self,
        request: &EvaluationRequest<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<bool, Exhausted> {
        let mut all_hold = true;
        for condition in &self.conditions {
            all_hold &= condition.holds(request.context, evaluation)?;
        }
        Ok(all_hold)
    }
}

#[cfg(test)]
mod tests;
