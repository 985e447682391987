//! The policies that are given with the request.

use std::collections::HashMap;

use dsql_iam_core::policy::{Kind, Policy};
use dsql_iam_core::{Policies, Source, Sourced};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Error, error, invalid};
use super::options::Input;
use dsql_iam_core::is_about_trust;

/// The most levels of an organization that AWS takes.
const MAX_LEVELS: usize = 7;

/// The end of the sentence about a policy that cannot be JSON.
pub const NO_JSON: &str = "; a policy is JSON";

/// A policy that was given, with the name that the answer has for it.
struct GivenPolicy {
    name: String,
    policy: Policy,
    positions: Vec<Position>,
}

/// The line and the column of a start and of an end, from 1.
type Position = [(usize, usize); 2];

/// The policies that were given, by kind.
pub struct InputPolicies {
    identity: Vec<GivenPolicy>,
    boundary: Vec<GivenPolicy>,
    session: Option<Vec<GivenPolicy>>,
    /// By level of the organization.
    service_control: Vec<Vec<GivenPolicy>>,
    /// The resource-based policy, as that of any resource.
    resource: Option<GivenPolicy>,
    /// The same as the trust policy of a role.
    trust: Option<GivenPolicy>,
    /// Of the statements of each policy, by its name.
    positions: HashMap<String, Vec<Position>>,
}

impl InputPolicies {
    /// Reads the policies of the input.
    ///
    /// # Errors
    /// A sentence: which of them is wrong, and how.
    pub fn read(input: &Input) -> Result<Self, Error> {
        let list_of = |kind: Kind, name: &str, texts: &[String]| {
            let numbered = texts.iter().enumerate();
            let read = numbered.map(|(index, text)| {
                GivenPolicy::read(format!("{name}.{}", index + 1), text, kind)
            });
            read.collect::<Result<Vec<_>, _>>()
        };
        let list = |name: &str, texts: &[String]| list_of(Kind::IdentityBased, name, texts);
        let levels = &input.ordered_organization_policy_input_list;
        if levels.len() > MAX_LEVELS {
            return Err(invalid(format!(
                "'orderedOrganizationPolicyInputList' has more than {MAX_LEVELS} members"
            )));
        }
        let levels = levels.iter().enumerate().map(|(index, level)| {
            let name = format!(
                "OrderedOrganizationPolicyInputList.{}.ServiceControlPolicyInputList",
                index + 1
            );
            let texts = &level.service_control_policy_input_list;
            list_of(Kind::ServiceControl, &name, texts)
        });
        let boundary = &input.permissions_boundary_policy_input_list;
        if boundary.len() > 1 {
            return Err(error("there can be one permissions boundary"));
        }
        let session = input.session_policy_input_list.as_deref();
        // As what the actions need it: a trust policy has no Resource, all others have one.
        let resource = |kind, is_wanted: bool| {
            let text = input.resource_policy.as_deref().filter(|_| is_wanted);
            text.map(|text| GivenPolicy::read("ResourcePolicy".into(), text, kind))
                .transpose()
        };
        let mut actions = input.action_names.iter();
        let has_others = actions.any(|action| !is_about_trust(action));
        let mut actions = input.action_names.iter();
        let has_trust = actions.any(|action| is_about_trust(action));
        let mut all = Self {
            identity: list("PolicyInputList", &input.policy_input_list)?,
            boundary: list("PermissionsBoundaryPolicyInputList", boundary)?,
            session: session
                .map(|texts| list("SessionPolicyInputList", texts))
                .transpose()?,
            service_control: levels.collect::<Result<_, _>>()?,
            resource: resource(Kind::ResourceBased, has_others)?,
            trust: resource(Kind::Trust, has_trust)?,
            positions: HashMap::new(),
        };
        let of_session = all.session.iter_mut().flatten();
        let policies = all.identity.iter_mut().chain(&mut all.boundary);
        let policies = policies.chain(of_session).chain(&mut all.resource);
        let policies = policies.chain(&mut all.trust);
        all.positions = policies
            .map(|given| (given.name.clone(), std::mem::take(&mut given.positions)))
            .collect();
        Ok(all)
    }

    /// All but the resource-based policy.
    pub fn policies(&self) -> Policies<'_> {
        Policies {
            identity: sourced(&self.identity),
            boundary: self.boundary.first().map(GivenPolicy::sourced),
            session: self.session.as_deref().map(sourced),
            service_control: self.service_control.iter().map(|l| sourced(l)).collect(),
            ..Policies::default()
        }
    }

    /// The resource-based policy.
    pub fn resource(&self) -> Option<Sourced<'_>> {
        self.resource.as_ref().map(GivenPolicy::sourced)
    }

    /// The trust policy.
    pub fn trust(&self) -> Option<Sourced<'_>> {
        self.trust.as_ref().map(GivenPolicy::sourced)
    }

    /// Where a statement of the policy of this name stands in its text: line and column of its start
    /// and of its end.
    pub fn position(&self, name: &str, index: usize) -> Option<Position> {
        self.positions.get(name)?.get(index).copied()
    }
}

fn sourced(policies: &[GivenPolicy]) -> Vec<Sourced<'_>> {
    policies.iter().map(GivenPolicy::sourced).collect()
}

impl GivenPolicy {
    fn read(name: String, text: &str, kind: Kind) -> Result<Self, Error> {
        let policy = Policy::parse(text, kind).map_err(|fault| {
            // Most often the name of a file.
            let is_no_json = !text.trim_start().starts_with(['{', '[', '\u{feff}']);
            let form = if is_no_json { NO_JSON } else { "" };
            error(format!("{name}: {fault}{form}"))
        })?;
        Ok(Self {
            name,
            policy,
            positions: positions(text).unwrap_or_default(),
        })
    }

    fn sourced(&self) -> Sourced<'_> {
        Sourced {
            source: Source::Other(&self.name),
            policy: &self.policy,
        }
    }
}

/// Where the statements of a policy stand in its text.
fn positions(text: &str) -> Option<Vec<Position>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document<'t> {
        #[serde(borrow)]
        statement: &'t RawValue,
    }
    let document: Document = serde_json::from_str(text).ok()?;
    let one = document.statement;
    let statements = serde_json::from_str(one.get()).unwrap_or_else(|_| vec![one]);
    let (mut read, mut line, mut column) = (0, 1, 1);
    let mut place = |offset: usize| {
        for char in text[read..offset].chars() {
            (line, column) = match char {
                '\n' => (line + 1, 1),
                _ => (line, column + 1),
            };
        }
        read = offset;
        (line, column)
    };
    let positions = statements.into_iter().map(|statement: &RawValue| {
        let statement = statement.get();
        let start = statement.as_ptr() as usize - text.as_ptr() as usize;
        [place(start), place(start + statement.len())]
    });
    Some(positions.collect())
}
