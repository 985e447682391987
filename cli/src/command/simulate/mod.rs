//! `dsql-iam simulate-custom-policy` and `simulate-principal-policy`: IAM's decisions on simulated
//! requests, in the same words as the AWS CLI's commands of these names, without AWS.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-custom-policy.html> and
//! <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-principal-policy.html>. One input
//! is an addition: session policies. Differences from AWS are in
//! [fidelity.md](../../../../docs/fidelity.md).

mod answer;
mod caller;
mod error;
mod exclusion;
mod given;
mod options;
mod structures;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::policy::budget::Budget;
use dsql_iam_core::policy::{Context, Policy};
use dsql_iam_core::{
    DenyReason, IamArn, Identities, Policies, Request, Source, Sourced, account_in,
    authorize_within, is_about_trust, is_account_id, simulated_context,
};
use serde_json::{Value, json};

use super::Report;
use crate::shared::error::Error as CommandError;

use answer::Outcome;
use caller::{SimulatedCaller, is_group};
pub use error::Error;
use error::error;
use exclusion::Exclusions;
use given::{InputPolicies, NO_JSON};
pub use options::Input;
use options::Options;

/// The arguments of `dsql-iam simulate-custom-policy`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam simulate-custom-policy --action-names dsql:DbConnect \\
    --policy-input-list file://policy.json")]
pub struct Custom {
    /// The service control policies, by level from the organization's root to the account:
    /// `ServiceControlPolicyInputList=POLICY,POLICY`, or JSON
    #[arg(long, num_args = 1.., value_name = "LEVEL")]
    ordered_organization_policy_input_list: Option<Vec<String>>,

    // The last of its headings would count for what follows.
    #[command(flatten)]
    options: Options,
}

/// The arguments of `dsql-iam simulate-principal-policy`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam simulate-principal-policy --action-names dsql:DbConnect \\
    --policy-source-arn arn:aws:iam::012345678912:role/example --iam-directory ./iam \\
    --resource-arns arn:aws:dsql:us-east-1:012345678912:cluster/ID

Without --resource-arns the request is for every resource (*), which a policy for one cluster does not allow.")]
pub struct Principal {
    /// The user, group or role whose policies count
    #[arg(long, value_name = "ARN")]
    policy_source_arn: Option<String>,

    /// The directory of the IAM documents
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    iam_directory: PathBuf,

    /// Policies to leave out: `PolicyType=TYPE`, `PolicyArn=ARN`, or
    /// `InlinePolicyIdentifier={PolicyName=NAME,AttachmentType=TYPE,AttachmentName=NAME}`, or JSON
    #[arg(long, num_args = 1.., value_name = "POLICY")]
    policy_exclusion_list: Option<Vec<String>>,

    // The last of its headings would count for what follows.
    #[command(flatten)]
    options: Options,
}

/// Runs `simulate-custom-policy`.
///
/// # Errors
/// The sentence of an [`Error`].
pub fn run_custom(arguments: Custom) -> Result<Report, CommandError> {
    report(custom(arguments))
}

/// Runs `simulate-principal-policy`.
///
/// # Errors
/// The sentence of an [`Error`].
pub fn run_principal(arguments: Principal) -> Result<Report, CommandError> {
    report(principal(arguments))
}

/// An answer as the AWS CLI prints it.
fn report(answer: Result<Value, Error>) -> Result<Report, CommandError> {
    let answer = answer.map_err(CommandError::of)?;
    Ok(format!("{answer:#}").into())
}

/// The answer of `simulate-custom-policy`.
fn custom(arguments: Custom) -> Result<Value, Error> {
    let mut input = arguments.options.read()?;
    if let Some(levels) = arguments.ordered_organization_policy_input_list {
        input.ordered_organization_policy_input_list = structures::levels(levels)?;
    }
    let has_source = input.policy_source_arn.is_some();
    let has_exclusions = !input.policy_exclusion_list.is_empty();
    for (is_there, name) in [
        (has_exclusions, "PolicyExclusionList"),
        (has_source, "PolicySourceArn"),
    ] {
        if is_there {
            return Err(error(format!(
                "--cli-input-json: {name} goes with simulate-principal-policy"
            )));
        }
    }
    input.read_files()?;
    simulate_custom(&input, Asked::ByCommand).map_err(or_a_file)
}

/// A policy may come from a file on the command line, and nowhere else.
fn or_a_file(fault: Error) -> Error {
    match fault {
        Error::Own(text) if text.ends_with(NO_JSON) => {
            Error::Own(format!("{text}, or file://PATH"))
        }
        other => other,
    }
}

/// The way that a simulation was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// By a command, which reads all documents itself and takes its own time.
    ByCommand,
    /// Over HTTP, by a caller who need not know more of the documents than the policies of the source, and whose
    /// requests have one budget each.
    OverHttp,
}

/// Decides by the policies of an input that is [checked](Input::check), and by no others.
///
/// # Errors
/// Why nothing is simulated; the sentence names an option of the command.
pub fn simulate_custom(input: &Input, asked: Asked) -> Result<Value, Error> {
    if input.policy_input_list.is_empty() {
        return Err(error("--policy-input-list is needed"));
    }
    let given = InputPolicies::read(input)?;
    let asker = match &input.caller_arn {
        Some(arn) => SimulatedCaller::named(arn, None, None)?,
        None => SimulatedCaller::default(),
    };
    let simulation = Simulation {
        policies: given.policies(),
        input,
        given: &given,
        asker: &asker,
        identities: None,
        trusting: Trusting::All,
        asked,
    };
    simulation.answer()
}

/// The answer of `simulate-principal-policy`.
fn principal(arguments: Principal) -> Result<Value, Error> {
    let mut input = arguments.options.read()?;
    if arguments.policy_source_arn.is_some() {
        input.policy_source_arn = arguments.policy_source_arn;
    }
    if let Some(exclusions) = arguments.policy_exclusion_list {
        input.policy_exclusion_list = structures::exclusions(exclusions)?;
    }
    if !input.ordered_organization_policy_input_list.is_empty() {
        return Err(error(
            "--cli-input-json: OrderedOrganizationPolicyInputList goes with simulate-custom-policy",
        ));
    }
    input.read_files()?;
    let directory = &arguments.iam_directory;
    let identities = Identities::load(directory).map_err(|fault| error(fault.to_string()))?;
    simulate_principal(&input, &identities, Asked::ByCommand).map_err(|fault| match fault {
        Error::NoSuchEntity(text) => {
            Error::NoSuchEntity(format!("{text} of {}", directory.display()))
        }
        other => or_a_file(other),
    })
}

/// Decides by the policies of a user, group or role of the documents, and those of an input that is
/// [checked](Input::check).
///
/// # Errors
/// As [`simulate_custom`].
pub fn simulate_principal(
    input: &Input,
    identities: &Identities,
    asked: Asked,
) -> Result<Value, Error> {
    let exclusions = Exclusions::read(&input.policy_exclusion_list)?;
    let source = input
        .policy_source_arn
        .as_deref()
        .ok_or_else(|| error("--policy-source-arn is needed"))?;
    let is_principal = IamArn::parse(source).is_ok();
    if !is_principal && !is_group(source) {
        return Err(error(format!(
            "{source} is not the ARN of a user, a group or a role"
        )));
    }
    let unknown = || Error::NoSuchEntity(format!("{source} is in no document"));
    let policies = if is_principal {
        let principal = identities.principal(source).ok_or_else(unknown)?;
        identities.policies(principal, None)
    } else {
        identities.policies_of_group(identities.group(source).ok_or_else(unknown)?)
    };
    let mut policies = policies.map_err(|why| match why {
        DenyReason::Incomplete(missing) => {
            Error::Incomplete(format!("{source}: {missing} is in no document"))
        }
        why => error(format!("{source}: {why:?}")),
    })?;
    exclusions.apply(&mut policies);
    let given = InputPolicies::read(input)?;
    let more = given.policies();
    policies.identity.extend(more.identity);
    if more.boundary.is_some() {
        policies.boundary = more.boundary;
    }
    policies.session = more.session;
    let arn = input.caller_arn.as_deref().unwrap_or(source);
    let asker = SimulatedCaller::named(arn, Some(identities), Some(source))?;
    let simulation = Simulation {
        policies,
        input,
        given: &given,
        asker: &asker,
        identities: Some(identities),
        trusting: match asked {
            Asked::ByCommand => Trusting::All,
            Asked::OverHttp => Trusting::Only(source),
        },
        asked,
    };
    simulation.answer()
}

/// AWS: no permissions are required, and an explicit deny changes nothing.
fn needs_no_permission(action: &str) -> bool {
    action.eq_ignore_ascii_case("sts:GetCallerIdentity")
}

/// The simulated requests, and the policies that they are judged by.
struct Simulation<'s> {
    /// Those of the policies that are not the resource's.
    policies: Policies<'s>,
    input: &'s Input,
    given: &'s InputPolicies,
    asker: &'s SimulatedCaller,
    identities: Option<&'s Identities>,
    trusting: Trusting<'s>,
    asked: Asked,
}

/// How many steps a statement in the answer counts for, and a missing key: they take memory.
const STATEMENT_STEPS: usize = 200;
const KEY_STEPS: usize = 64;

/// The work that all results of one input share.
#[derive(Default)]
struct Shared {
    budget: Budget,
    /// The missing keys, by the resource's policy: the other policies stay the same.
    missing: HashMap<Option<*const Policy>, Vec<String>>,
}

/// The roles of the documents whose trust policies count.
enum Trusting<'s> {
    All,
    Only(&'s str),
}

impl Trusting<'_> {
    fn has(&self, role: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => *only == role,
        }
    }
}

impl<'s> Simulation<'s> {
    fn answer(&self) -> Result<Value, Error> {
        let input = self.input;
        if input.resource_policy.is_some() && self.asker.is_nobody() {
            return Err(error(
                "--caller-arn is needed with --resource-policy, whose Principal it is compared with",
            ));
        }
        let owner = match input.resource_owner.as_deref() {
            None => None,
            Some(owner) => {
                let account = account_in(owner).unwrap_or(owner);
                let account = Some(account).filter(|account| is_account_id(account));
                Some(account.ok_or_else(|| {
                    error(format!(
                        "--resource-owner: {owner} is not an account: twelve digits, or an ARN"
                    ))
                })?)
            }
        };
        let mut context = simulated_context(self.identities, &self.asker.caller(self.identities));
        for entry in &input.context_entries {
            context.set_all(&entry.context_key_name, entry.context_key_values.clone());
        }
        let mut results = Vec::new();
        let mut shared = Shared::default();
        for action in &input.action_names {
            let mut outcomes = Vec::new();
            for resource in &input.resource_arns {
                if self.asked == Asked::ByCommand {
                    shared.budget = Budget::default();
                }
                let outcome = self.outcome(action, resource, owner, &context, &mut shared)?;
                outcomes.push((resource.as_str(), outcome));
            }
            results.push(answer::result(action, outcomes));
        }
        Ok(json!({"EvaluationResults": results, "IsTruncated": false}))
    }

    fn outcome(
        &self,
        action: &str,
        resource: &str,
        owner: Option<&str>,
        context: &Context,
        shared: &mut Shared,
    ) -> Result<Outcome, Error> {
        if needs_no_permission(action) {
            return Ok(Outcome::allowed());
        }
        let caller = self.asker.caller(self.identities);
        let mut policies = self.policies.clone();
        if is_about_trust(action) {
            (policies.resource, policies.resource_must_allow) = self.trust(resource);
        } else {
            policies.resource = self.given.resource();
        }
        // Without a policy of the resource there is nothing that its account could say: the caller's
        // policies decide, as in AWS's simulator, whosever the resource is.
        let is_judged_twice = policies.resource.is_some() || policies.resource_must_allow;
        let resource_account = account_in(resource)
            .or(owner)
            .filter(|_| is_judged_twice)
            .unwrap_or(caller.account());
        let request = Request {
            action,
            resource,
            resource_account: Some(resource_account),
            context,
        };
        let Shared { budget, missing } = shared;
        let decision = authorize_within(&policies, &caller, &request, budget);
        let by = policies.resource.map(|of| std::ptr::from_ref(of.policy));
        let missing = missing
            .entry(by)
            .or_insert_with(|| policies.missing_keys(context));
        let statements = decision.deciding().count();
        let steps = statements * (STATEMENT_STEPS + statements) + missing.len() * KEY_STEPS;
        if decision.is_unfinished || budget.spend(steps).is_err() {
            return Err(Error::PolicyEvaluation(format!(
                "{action} on {resource}: the policies take more work than one request may"
            )));
        }
        let is_cross_account = resource_account != caller.account();
        Ok(Outcome::of(
            &decision,
            missing.clone(),
            is_cross_account,
            self.given,
        ))
    }

    /// The trust policy of a role, if it is known, and whether it has to allow the action: it is the
    /// given one, or else that in the documents.
    fn trust(&self, resource: &str) -> (Option<Sourced<'s>>, bool) {
        if let Some(given) = self.given.trust() {
            return (Some(given), true);
        }
        let role = self
            .identities
            .filter(|_| !self.asker.is_nobody() && self.trusting.has(resource))
            .and_then(|identities| identities.principal(resource));
        let Some(role) = role else {
            return (None, false);
        };
        let source = Source::Other("the role's trust policy");
        let policy = role.trust_policy.as_ref();
        (policy.map(|policy| Sourced { source, policy }), true)
    }
}
