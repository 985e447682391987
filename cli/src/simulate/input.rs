//! What is to be simulated: the options, or `--cli-input-json`.

use std::collections::HashSet;
use std::fs;

use clap::Args;
use dsql_iam_core::documents::check_context_entry;
use dsql_iam_core::json::{self, given};
use dsql_iam_core::objects_only;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::shorthand;
use super::{Error, error, invalid};

/// What both commands take.
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

    /// Who asks: a user, a group, a role (that is, a session of it) or a role session; needed where there
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

/// What the AWS CLI takes besides, and what makes no difference here.
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
    #[serde(deserialize_with = "given")]
    pub policy_source_arn: Option<String>,
    pub policy_input_list: Vec<String>,
    pub permissions_boundary_policy_input_list: Vec<String>,
    #[serde(deserialize_with = "given")]
    pub session_policy_input_list: Option<Vec<String>>,
    pub action_names: Vec<String>,
    pub resource_arns: Vec<String>,
    #[serde(deserialize_with = "given")]
    pub resource_policy: Option<String>,
    #[serde(deserialize_with = "given")]
    pub resource_owner: Option<String>,
    #[serde(deserialize_with = "given")]
    pub caller_arn: Option<String>,
    pub context_entries: Vec<ContextEntry>,
    /// Of `simulate-custom-policy` alone.
    pub ordered_organization_policy_input_list: Vec<OrganizationLevel>,
    /// Of `simulate-principal-policy` alone.
    pub policy_exclusion_list: Vec<PolicyIdentifier>,
    #[serde(rename = "ResourceHandlingOption", deserialize_with = "given")]
    _resource_handling_option: Option<String>,
    #[serde(rename = "MaxItems", deserialize_with = "given")]
    _max_items: Option<u32>,
    #[serde(rename = "Marker", deserialize_with = "given")]
    _marker: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub struct ContextEntry {
    pub context_key_name: String,
    pub context_key_values: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub context_key_type: Option<String>,
}

/// The service control policies of one level of an organization.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(
    remote = "Self",
    deny_unknown_fields,
    rename_all = "PascalCase",
    default
)]
pub struct OrganizationLevel {
    pub service_control_policy_input_list: Vec<String>,
}

/// Which policies to leave out: one of the three.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(
    remote = "Self",
    deny_unknown_fields,
    rename_all = "PascalCase",
    default
)]
pub struct PolicyIdentifier {
    #[serde(deserialize_with = "given")]
    pub policy_type: Option<String>,
    #[serde(deserialize_with = "given")]
    pub policy_arn: Option<String>,
    #[serde(deserialize_with = "given")]
    pub inline_policy_identifier: Option<InlinePolicyIdentifier>,
}

/// An inline policy, by its name and whose it is.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub struct InlinePolicyIdentifier {
    pub policy_name: String,
    pub attachment_type: String,
    pub attachment_name: String,
}

objects_only! {
    Input => "the input of the command",
    ContextEntry => "an entry of ContextEntries",
    OrganizationLevel => "the policies of a level of an organization",
    PolicyIdentifier => "what says which policies to leave out",
    InlinePolicyIdentifier => "an InlinePolicyIdentifier",
}

impl Options {
    /// The JSON, with what was given as options over it.
    pub fn read(self) -> Result<Input, Error> {
        let mut input = match self.cli_input_json {
            None => Input::default(),
            Some(text) => json::from_str(&contents(text)?)
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
        if input.action_names.is_empty() {
            return Err(error("--action-names is needed"));
        }
        check_actions(&input.action_names)?;
        if input.resource_arns.is_empty() {
            input.resource_arns.push("*".to_owned());
        }
        check_resources(&input.resource_arns)?;
        for entry in &input.context_entries {
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
        Ok(input)
    }
}

/// Checks that each is one action of one service: anything else would be denied as if policies did it.
fn check_actions(actions: &[String]) -> Result<(), Error> {
    if actions
        .iter()
        .any(|action| !(3..=128).contains(&action.len()))
    {
        return Err(error(format!(
            "ValidationError: 1 validation error detected: Value '[{}]' at 'actionNames' failed to \
             satisfy constraint: Member must satisfy constraint: [Member must have length less than or \
             equal to 128, Member must have length greater than or equal to 3]",
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
        let parts: Vec<&str> = resource.splitn(6, ':').collect();
        let is_arn = matches!(parts[..], ["arn", partition, service, _, _, name]
            if !partition.is_empty() && !service.is_empty() && !name.is_empty());
        if resource != "*" && !is_arn {
            return Err(invalid(format!(
                "ResourceNames are not in a valid ARN format: {resource}."
            )));
        }
    }
    Ok(())
}

/// What an option holds: itself, or the file that it names.
pub fn contents(text: String) -> Result<String, Error> {
    match text.strip_prefix("file://") {
        None => Ok(text),
        Some(path) => fs::read_to_string(path).map_err(|fault| error(format!("{path}: {fault}"))),
    }
}

/// A list of structures, each in AWS's shorthand or as JSON: one structure each, or all in one list.
fn structures<T: DeserializeOwned>(
    option: &str,
    texts: Vec<String>,
    shorthand: impl Fn(&str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    for text in texts {
        let text = contents(text)?;
        let fault = |fault: String| error(format!("{option}: {fault}"));
        match text.trim_start().chars().next() {
            Some('[') => all.extend(json::from_str::<Vec<T>>(&text).map_err(fault)?),
            Some('{') => all.push(json::from_str(&text).map_err(fault)?),
            _ => all.push(shorthand(&text)?),
        }
    }
    Ok(all)
}

/// The condition keys of `--context-entries`.
fn context_entries(texts: Vec<String>) -> Result<Vec<ContextEntry>, Error> {
    let form = "ContextKeyName=KEY,ContextKeyValues=VALUE,…,ContextKeyType=TYPE";
    let names = ["ContextKeyName", "ContextKeyValues", "ContextKeyType"];
    structures("--context-entries", texts, |text| {
        let mut fields = Fields::read("--context-entries", form, &names, text)?;
        let entry = ContextEntry {
            context_key_name: fields.needed("ContextKeyName")?,
            context_key_values: fields
                .list("ContextKeyValues")
                .ok_or_else(|| fields.fault("ContextKeyValues is missing"))?,
            context_key_type: fields.one("ContextKeyType")?,
        };
        Ok(entry)
    })
}

/// The levels of `--ordered-organization-policy-input-list`.
pub fn levels(texts: Vec<String>) -> Result<Vec<OrganizationLevel>, Error> {
    let option = "--ordered-organization-policy-input-list";
    structures(option, texts, |text| {
        let form = "ServiceControlPolicyInputList=POLICY,…";
        let names = ["ServiceControlPolicyInputList"];
        let mut fields = Fields::read(option, form, &names, text)?;
        let policies = fields.list("ServiceControlPolicyInputList");
        Ok(OrganizationLevel {
            service_control_policy_input_list: policies.unwrap_or_default(),
        })
    })
}

/// The policies of `--policy-exclusion-list`.
pub fn exclusions(texts: Vec<String>) -> Result<Vec<PolicyIdentifier>, Error> {
    let option = "--policy-exclusion-list";
    structures(option, texts, |text| {
        let inline = text
            .trim()
            .strip_prefix("InlinePolicyIdentifier={")
            .and_then(|rest| rest.strip_suffix('}'));
        if let Some(inline) = inline {
            let form = "InlinePolicyIdentifier={PolicyName=NAME,AttachmentType=TYPE,\
                AttachmentName=NAME}";
            let names = ["PolicyName", "AttachmentType", "AttachmentName"];
            let mut fields = Fields::read(option, form, &names, inline)?;
            let identifier = InlinePolicyIdentifier {
                policy_name: fields.needed("PolicyName")?,
                attachment_type: fields.needed("AttachmentType")?,
                attachment_name: fields.needed("AttachmentName")?,
            };
            return Ok(PolicyIdentifier {
                inline_policy_identifier: Some(identifier),
                ..PolicyIdentifier::default()
            });
        }
        let form = "PolicyType=TYPE, PolicyArn=ARN or InlinePolicyIdentifier={…}";
        let names = ["PolicyType", "PolicyArn"];
        let mut fields = Fields::read(option, form, &names, text)?;
        let identifier = PolicyIdentifier {
            policy_type: fields.one("PolicyType")?,
            policy_arn: fields.one("PolicyArn")?,
            inline_policy_identifier: None,
        };
        Ok(identifier)
    })
}

/// The fields of a structure in AWS's shorthand.
struct Fields<'o> {
    option: &'o str,
    form: &'o str,
    fields: Vec<(String, Vec<String>)>,
}

impl<'o> Fields<'o> {
    /// `form` is how it is written, for whoever wrote it otherwise.
    fn read(option: &'o str, form: &'o str, names: &[&str], text: &str) -> Result<Self, Error> {
        let mut read = Self {
            option,
            form,
            fields: Vec::new(),
        };
        read.fields = shorthand::parse(text).map_err(|found| read.fault(&found))?;
        let mut known = HashSet::new();
        for (name, _) in &read.fields {
            if !names.contains(&name.as_str()) {
                return Err(read.fault(&format!("there is no {name}")));
            }
            if !known.insert(name) {
                return Err(read.fault(&format!("{name} is there twice")));
            }
        }
        Ok(read)
    }

    fn fault(&self, found: &str) -> Error {
        let Self { option, form, .. } = self;
        error(format!(
            "{option}: {found}; it is written as {form}, or as JSON"
        ))
    }

    /// Takes the values of a field.
    fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(at).1)
    }

    /// Takes the one value of a field, if it is there.
    fn one(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(mut values) = self.list(name) else {
            return Ok(None);
        };
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(Some(value)),
            _ => Err(self.fault(&format!("{name} has not one value"))),
        }
    }

    /// Takes the one value of a field that has to be there.
    fn needed(&mut self, name: &str) -> Result<String, Error> {
        self.one(name)?
            .ok_or_else(|| self.fault(&format!("{name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorthand_of_context_entries() {
        for (text, name, values, kind) in [
            (
                "ContextKeyName=aws:TagKeys,ContextKeyValues=a,b,ContextKeyType=stringList",
                "aws:TagKeys",
                &["a", "b"][..],
                Some("stringList"),
            ),
            // From AWS's documentation of the command.
            (
                "ContextKeyName='aws:CurrentTime',ContextKeyValues='2019-04-25T11:00:00Z',\
                 ContextKeyType=date",
                "aws:CurrentTime",
                &["2019-04-25T11:00:00Z"],
                Some("date"),
            ),
            (
                "ContextKeyType=numericList, ContextKeyValues=[1,\"2\", '3'],ContextKeyName=a:b",
                "a:b",
                &["1", "2", "3"],
                Some("numericList"),
            ),
            ("ContextKeyName=a:b,ContextKeyValues=x", "a:b", &["x"], None),
        ] {
            let entries = context_entries(vec![text.to_owned()]).unwrap();
            let [entry] = entries.as_slice() else {
                panic!("{text}")
            };
            assert_eq!(entry.context_key_name, name, "{text}");
            assert_eq!(entry.context_key_values, values, "{text}");
            assert_eq!(entry.context_key_type.as_deref(), kind, "{text}");
        }
        for (text, fault) in [
            ("", "\"\" is no NAME=VALUE"),
            ("aws:x=y", "there is no aws:x"),
            ("ContextKeyName=a", "ContextKeyValues is missing"),
            ("ContextKeyValues=a", "ContextKeyName is missing"),
            (
                "ContextKeyName=a,b,ContextKeyValues=a",
                "ContextKeyName has not one value",
            ),
            (
                "ContextKeyName=a,ContextKeyName=b,ContextKeyValues=a",
                "ContextKeyName is there twice",
            ),
            ("ContextKeyName='a,ContextKeyValues=b", "a ' has no other"),
        ] {
            let said = context_entries(vec![text.to_owned()]).unwrap_err();
            let form = "ContextKeyName=KEY,ContextKeyValues=VALUE,…,ContextKeyType=TYPE";
            assert_eq!(
                said.to_string(),
                format!("--context-entries: {fault}; it is written as {form}, or as JSON")
            );
        }
    }

    #[test]
    fn levels_and_exclusions() {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let list = |texts: &[&str]| OrganizationLevel {
            service_control_policy_input_list: owned(texts),
        };
        for (texts, expected) in [
            (
                &[
                    "ServiceControlPolicyInputList=a,b",
                    "ServiceControlPolicyInputList=[]",
                ][..],
                vec![list(&["a", "b"]), list(&[])],
            ),
            (
                &[r#"{"ServiceControlPolicyInputList": ["{}"]}"#, "{}"],
                vec![list(&["{}"]), list(&[])],
            ),
            (
                &[r#"[{"ServiceControlPolicyInputList": ["a"]}, {}]"#],
                vec![list(&["a"]), list(&[])],
            ),
        ] {
            assert_eq!(levels(owned(texts)).unwrap(), expected);
        }
        let by_type = PolicyIdentifier {
            policy_type: Some("scp".into()),
            ..PolicyIdentifier::default()
        };
        let by_name = PolicyIdentifier {
            inline_policy_identifier: Some(InlinePolicyIdentifier {
                policy_name: "p".into(),
                attachment_type: "user".into(),
                attachment_name: "a*".into(),
            }),
            ..PolicyIdentifier::default()
        };
        let shorthand =
            "InlinePolicyIdentifier={PolicyName=p,AttachmentType=user,AttachmentName=a*}";
        let texts = owned(&["PolicyType=scp", shorthand]);
        assert_eq!(exclusions(texts).unwrap(), [by_type, by_name]);
        for (text, fault) in [
            (
                "InlinePolicyIdentifier={PolicyName=p}",
                "AttachmentType is missing",
            ),
            (
                "InlinePolicyIdentifier={PolicyName=p",
                "there is no InlinePolicyIdentifier",
            ),
            ("PolicyName=p", "there is no PolicyName"),
            ("PolicyType=a,PolicyType=b", "PolicyType is there twice"),
            ("PolicyType=a,b", "PolicyType has not one value"),
            (r#"{"PolicyName": "p"}"#, "unknown field `PolicyName`"),
        ] {
            let said = exclusions(owned(&[text])).unwrap_err().to_string();
            let start = format!("--policy-exclusion-list: {fault}");
            assert!(said.starts_with(&start), "{said}");
        }
        let said = levels(owned(&["Policies=a"])).unwrap_err().to_string();
        assert!(
            said.contains("there is no Policies; it is written as Service"),
            "{said}"
        );
    }

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
            (
                r#"{"PermissionsBoundaryPolicyInputList": null}"#,
                "invalid type: null",
            ),
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
