//! The request to simulate: the options, or `--cli-input-json`.

use clap::Args;
use dsql_iam_core::json::{self, not_null};
use dsql_iam_core::policy::check_context_entry;
use dsql_iam_core::{Arn, objects_only};
use serde::Deserialize;

use super::error::{Error, error, invalid};
use super::structures::{ContextEntry, OrganizationLevel, PolicyIdentifier, context_entries};
use crate::shared::file_argument;

/// The options of both commands.
#[derive(Args)]
pub struct Options {
    /// The input as JSON, as `file://PATH` or inline; options given beside it count instead
    #[arg(long, value_name = "JSON")]
    cli_input_json: Option<String>,

    /// Policies, each as JSON or as `file://PATH`
    #[arg(long, num_args = 1.., value_name = "POLICY")]
    policy_input_list: Option<Vec<String>>,

    /// The permissions boundary: at most one policy
    #[arg(long, num_args = 1.., value_name = "POLICY")]
    permissions_boundary_policy_input_list: Option<Vec<String>>,

    /// Session policies, which AWS's command has no option for
    #[arg(long, num_args = 1.., value_name = "POLICY")]
    session_policy_input_list: Option<Vec<String>>,

    /// Actions, as `service:Name`
    #[arg(long, num_args = 1.., value_name = "ACTION")]
    action_names: Option<Vec<String>>,

    /// ARNs of resources [default: *]
    #[arg(long, num_args = 1.., value_name = "ARN")]
    resource_arns: Option<Vec<String>>,

    /// The resource-based policy of each of the resources; of a role, its trust policy
    #[arg(long, value_name = "POLICY")]
    resource_policy: Option<String>,

    /// The account that owns the resources, as a number or an ARN [default: the caller's]
    #[arg(long, value_name = "ACCOUNT")]
    resource_owner: Option<String>,

    /// The caller: a user, a group, a role (that is, a session of it) or a role session; needed where there
    /// is a resource-based policy [default: the one whose policies count]
    #[arg(long, value_name = "ARN")]
    caller_arn: Option<String>,

    /// Condition keys: `ContextKeyName=KEY,ContextKeyValues=A,B,ContextKeyType=stringList`, with
    /// quotes and brackets as in the AWS CLI, or JSON
    #[arg(long, num_args = 1.., value_name = "ENTRY")]
    context_entries: Option<Vec<String>>,

    #[command(flatten)]
    ignored: Ignored,
}

/// Options of the AWS CLI that make no difference here.
#[derive(Args)]
#[command(next_help_heading = "Taken as the AWS CLI has them, and ignored")]
struct Ignored {
    /// The resources of EC2 are checked for nothing: each is simulated for itself
    #[arg(long, value_name = "SCENARIO")]
    resource_handling_option: Option<String>,

    /// There is one page, with all results
    #[arg(long, value_name = "NUMBER")]
    max_items: Option<u32>,

    /// There is one page, with all results
    #[arg(long, value_name = "NUMBER")]
    page_size: Option<u32>,

    /// There is one page, with all results
    #[arg(long, value_name = "TOKEN")]
    starting_token: Option<String>,

    /// There is one page, with all results
    #[arg(long)]
    no_paginate: bool,

    /// The answer is JSON always
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    output: Option<String>,

    /// Nothing is asked of AWS
    #[arg(long, value_name = "REGION")]
    region: Option<String>,

    /// Nothing is asked of AWS
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

/// The input, as `--cli-input-json` has it.
#[derive(Default, Deserialize)]
#[serde(
    remote = "Self",
    deny_unknown_fields,
    rename_all = "PascalCase",
    default
)]
pub struct Input {
    #[serde(deserialize_with = "not_null")]
    pub policy_source_arn: Option<String>,
    pub policy_input_list: Vec<String>,
    pub permissions_boundary_policy_input_list: Vec<String>,
    #[serde(deserialize_with = "not_null")]
    pub session_policy_input_list: Option<Vec<String>>,
    pub action_names: Vec<String>,
    pub resource_arns: Vec<String>,
    #[serde(deserialize_with = "not_null")]
    pub resource_policy: Option<String>,
    #[serde(deserialize_with = "not_null")]
    pub resource_owner: Option<String>,
    #[serde(deserialize_with = "not_null")]
    pub caller_arn: Option<String>,
    pub context_entries: Vec<ContextEntry>,
    /// Of `simulate-custom-policy` alone.
    pub ordered_organization_policy_input_list: Vec<OrganizationLevel>,
    /// Of `simulate-principal-policy` alone.
    pub policy_exclusion_list: Vec<PolicyIdentifier>,
    #[serde(rename = "ResourceHandlingOption", deserialize_with = "not_null")]
    _resource_handling_option: Option<String>,
    #[serde(rename = "MaxItems", deserialize_with = "not_null")]
    _max_items: Option<u32>,
    #[serde(rename = "Marker", deserialize_with = "not_null")]
    _marker: Option<String>,
}

objects_only! {
    Input => "the input of the command",
}

impl Options {
    /// The JSON, with what was given as options over it.
    pub fn read(self) -> Result<Input, Error> {
        let mut input = match self.cli_input_json {
            None => Input::default(),
            Some(text) => json::from_str(&file_argument::contents(text)?)
                .map_err(|fault| error(format!("--cli-input-json: {fault}")))?,
        };
        fn set<T>(into: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *into = given;
            }
        }
        set(&mut input.policy_input_list, self.policy_input_list);
        set(
            &mut input.permissions_boundary_policy_input_list,
            self.permissions_boundary_policy_input_list,
        );
        set(&mut input.action_names, self.action_names);
        set(&mut input.resource_arns, self.resource_arns);
        input.session_policy_input_list = self
            .session_policy_input_list
            .or(input.session_policy_input_list);
        input.resource_policy = self.resource_policy.or(input.resource_policy);
        input.resource_owner = self.resource_owner.or(input.resource_owner);
        input.caller_arn = self.caller_arn.or(input.caller_arn);
        if let Some(entries) = self.context_entries {
            input.context_entries = context_entries(entries)?;
        }
        input.check()?;
        Ok(input)
    }
}

impl Input {
    /// Checks all but the policies; without a resource, all of them are meant.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn check(&mut self) -> Result<(), Error> {
        if self.action_names.is_empty() {
            return Err(error("--action-names is needed"));
        }
        check_actions(&self.action_names)?;
        if self.resource_arns.is_empty() {
            self.resource_arns.push("*".to_owned());
        }
        check_resources(&self.resource_arns)?;
        for entry in &self.context_entries {
            // Without a type AWS compares the values as what the operator asks for.
            let list = if entry.context_key_values.len() == 1 {
                "string"
            } else {
                "stringList"
            };
            let context_key_type = entry.context_key_type.as_deref().unwrap_or(list);
            check_context_entry(
                &entry.context_key_name,
                &entry.context_key_values,
                context_key_type,
            )
            .map_err(|fault| error(format!("--context-entries: {fault}")))?;
        }
        Ok(())
    }

    /// Puts the content of a file in the place of each policy that is `file://PATH`.
    ///
    /// # Errors
    /// A clause, if one cannot be read.
    pub fn read_files(&mut self) -> Result<(), Error> {
        let levels = self.ordered_organization_policy_input_list.iter_mut();
        let texts = self
            .policy_input_list
            .iter_mut()
            .chain(&mut self.permissions_boundary_policy_input_list)
            .chain(self.session_policy_input_list.iter_mut().flatten())
            .chain(levels.flat_map(|level| &mut level.service_control_policy_input_list))
            .chain(&mut self.resource_policy);
        for text in texts {
            *text = file_argument::contents(std::mem::take(text))?;
        }
        Ok(())
    }
}

/// Checks that each is one action of one service: anything else would be denied as if policies did it.
fn check_actions(actions: &[String]) -> Result<(), Error> {
    if actions
        .iter()
        .any(|action| !(3..=128).contains(&action.len()))
    {
        return Err(Error::Validation(format!(
            "1 validation error detected: Value '[{}]' at 'actionNames' failed to satisfy constraint: \
             Member must satisfy constraint: [Member must have length less than or equal to 128, Member \
             must have length greater than or equal to 3]",
            actions.join(", ")
        )));
    }
    for action in actions {
        let has_service = action
            .split_once(':')
            .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
        if !has_service {
            return Err(invalid(format!(
                "{action} does not include the service identifier, as in iam:CreateUser"
            )));
        }
        if action.contains(['*', '?']) {
            return Err(invalid(format!(
                "{action} has a wildcard, which an action to simulate cannot have"
            )));
        }
    }
    Ok(())
}

/// Checks that each is an ARN, or all resources.
fn check_resources(resources: &[String]) -> Result<(), Error> {
    for resource in resources {
        let is_arn = Arn::parse(resource).is_some_and(|arn| {
            !arn.partition.is_empty() && !arn.service.is_empty() && !arn.resource.is_empty()
        });
        if resource != "*" && !is_arn {
            return Err(invalid(format!(
                "ResourceNames are not in a valid ARN format: {resource}."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_no_null_and_no_list_for_an_object() {
        let options = |text: &str| Options {
            cli_input_json: Some(text.to_owned()),
            policy_input_list: None,
            permissions_boundary_policy_input_list: None,
            session_policy_input_list: None,
            action_names: Some(vec!["dsql:DbConnect".into()]),
            resource_arns: None,
            resource_policy: None,
            resource_owner: None,
            caller_arn: None,
            context_entries: None,
            ignored: Ignored {
                resource_handling_option: None,
                max_items: None,
                page_size: None,
                starting_token: None,
                no_paginate: false,
                output: None,
                region: None,
                profile: None,
            },
        };
        assert!(options("{}").read().is_ok());
        let null = "a member is null; it has a value, or is not there";
        for (text, fault) in [
            (r#"{"SessionPolicyInputList": null}"#, null),
            (r#"{"ResourcePolicy": null}"#, null),
            (r#"{"ResourceOwner": null}"#, null),
            (r#"{"CallerArn": null}"#, null),
            (r#"{"PolicySourceArn": null}"#, null),
            (r#"{"PermissionsBoundaryPolicyInputList": null}"#, null),
            (
                "[]",
                "invalid type: array, expected an object: the input of the command",
            ),
            (
                r#"{"ContextEntries": [["a:b", ["c"], "string"]]}"#,
                "invalid type: array, expected an object: an entry of ContextEntries",
            ),
            (
                r#"{"OrderedOrganizationPolicyInputList": [[[]]]}"#,
                "invalid type: array, expected an object: the policies of a level of an organization",
            ),
        ] {
            let said = options(text).read().err().expect(text).to_string();
            let start = format!("--cli-input-json: {fault}");
            assert!(said.starts_with(&start), "{text}: {said}");
        }
    }
}
