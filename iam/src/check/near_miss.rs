//! The policy that was meant to allow a login.

use super::lint::LoginFacts;
use crate::actions::Action;
use crate::identity::Principal;
use crate::policy::Effect;
use crate::request_context::{LoginEnvironment, possible_keys};

/// Why an identity-based policy of the principal that is about the action does not allow it: the first fault that makes
/// one of its statements apply to no login to this cluster.
pub(crate) fn near_miss(
    principal: &Principal,
    action: Action,
    environment: &LoginEnvironment<'_>,
) -> Option<String> {
    let LoginEnvironment {
        now,
        cluster,
        identities,
        ..
    } = *environment;
    let (keys, lists) = possible_keys(identities, Some(cluster));
    let facts = LoginFacts {
        clusters: vec![cluster.arn()],
        keys,
        lists,
        // Of no interest for a policy without a Principal.
        without_id: (0, 0),
        now,
    };
    let policies = identities.policies(principal, None).ok()?;
    let facts = &facts;
    let mut faults = policies.identity.iter().flat_map(|sourced| {
        let statements = sourced.policy.statements().iter().enumerate();
        let allowing = statements.filter(|(_, statement)| {
            statement.effect() == Effect::Allow && statement.has_action(action.iam_name())
        });
        allowing.flat_map(move |(index, statement)| {
            let faults = statement.faults(facts).into_iter();
            faults.map(move |fault| (sourced.source, index + 1, fault))
        })
    });
    let (source, number, fault) = faults.next()?;
    Some(format!(
        "{source}, statement {number}: {}: {}",
        fault.found, fault.remedy
    ))
}
