//! `dsql-iam simulate-custom-policy` and `simulate-principal-policy`: what IAM's policies say of a
//! request, in the same words as the AWS CLI's commands of these names, without AWS.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-custom-policy.html> and
//! <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-principal-policy.html>. One input
//! is an addition: session policies.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::arn::IamArn;
use dsql_iam_core::authorization::{
    Decision, DecisionKind, Policies, PolicyType, Request, Source, Sourced, authorize,
};
use dsql_iam_core::denial::Why;
use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::policy::{Caller, Context, Kind, Policy};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What both commands take.
#[derive(Args)]
pub struct Inputs {
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

    /// The resource-based policy of each of the resources
    #[arg(long, value_name = "POLICY")]
    resource_policy: Option<String>,

    /// The account that owns the resources, as a number or an ARN [default: the caller's]
    #[arg(long, value_name = "ACCOUNT")]
    resource_owner: Option<String>,

    /// Who asks; needed where there is a resource-based policy
    #[arg(long, value_name = "ARN")]
    caller_arn: Option<String>,

    /// Condition keys: `ContextKeyName=KEY,ContextKeyValues=A,B,ContextKeyType=string`, or JSON
    #[arg(long, num_args = 1.., value_name = "ENTRY")]
    context_entries: Option<Vec<String>>,
}

/// What `simulate-custom-policy` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam simulate-custom-policy --action-names dsql:DbConnect \\
    --policy-input-list file://policy.json")]
pub struct Custom {
    #[command(flatten)]
    inputs: Inputs,
}

/// What `simulate-principal-policy` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam simulate-principal-policy --action-names dsql:DbConnect \\
    --policy-source-arn arn:aws:iam::012345678912:role/example --iam-directory ./iam")]
pub struct Principal {
    #[command(flatten)]
    inputs: Inputs,

    /// The user or role whose policies count
    #[arg(long, value_name = "ARN")]
    policy_source_arn: Option<String>,

    /// The directory of the IAM documents
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    iam_directory: PathBuf,
}

/// The input, as `--cli-input-json` has it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase", default)]
struct Input {
    policy_source_arn: Option<String>,
    policy_input_list: Vec<String>,
    permissions_boundary_policy_input_list: Vec<String>,
    session_policy_input_list: Option<Vec<String>>,
    action_names: Vec<String>,
    resource_arns: Vec<String>,
    resource_policy: Option<String>,
    resource_owner: Option<String>,
    caller_arn: Option<String>,
    context_entries: Vec<ContextEntry>,
    #[serde(rename = "ResourceHandlingOption")]
    _resource_handling_option: Option<String>,
    #[serde(rename = "MaxItems")]
    _max_items: Option<u32>,
    #[serde(rename = "Marker")]
    _marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ContextEntry {
    context_key_name: String,
    context_key_values: Vec<String>,
    #[serde(rename = "ContextKeyType")]
    _context_key_type: Option<String>,
}

/// Why nothing was simulated: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

fn error(text: impl Into<String>) -> Error {
    Error(text.into())
}

/// Runs `simulate-custom-policy`, gives its answer.
pub fn custom(arguments: Custom) -> Result<Value, Error> {
    let input = arguments.inputs.read()?;
    if input.policy_input_list.is_empty() {
        return Err(error("--policy-input-list is needed"));
    }
    if input.resource_policy.is_some() && input.caller_arn.is_none() {
        return Err(error(
            "--caller-arn is needed with --resource-policy, whose Principal it is compared with",
        ));
    }
    let given = Given::read(&input)?;
    Ok(evaluate(&input, &given, given.policies(), None))
}

/// Runs `simulate-principal-policy`, gives its answer.
pub fn principal(arguments: Principal) -> Result<Value, Error> {
    let mut input = arguments.inputs.read()?;
    if arguments.policy_source_arn.is_some() {
        input.policy_source_arn = arguments.policy_source_arn;
    }
    let source = input
        .policy_source_arn
        .clone()
        .ok_or_else(|| error("--policy-source-arn is needed"))?;
    IamArn::parse(&source)
        .map_err(|_| error(format!("{source} is not the ARN of a user or role")))?;
    let directory = &arguments.iam_directory;
    let identities = Snapshot::read(directory)
        .and_then(|snapshot| snapshot.identities())
        .map_err(|fault| error(fault.to_string()))?;
    let principal = identities.principal(&source).ok_or_else(|| {
        error(format!(
            "{source} is in no document of {}",
            directory.display()
        ))
    })?;
    let mut policies = identities
        .policies(principal, None)
        .map_err(|why| match why {
            Why::Incomplete(missing) => error(format!("{source}: {missing} is in no document")),
            why => error(format!("{source}: {why:?}")),
        })?;
    let given = Given::read(&input)?;
    let more = given.policies();
    policies.identity.extend(more.identity);
    if more.boundary.is_some() {
        policies.boundary = more.boundary;
    }
    policies.session = more.session;
    policies.resource = more.resource;
    Ok(evaluate(&input, &given, policies, Some(&source)))
}

impl Inputs {
    /// The JSON, with what was given as options over it.
    fn read(self) -> Result<Input, Error> {
        let mut input = match self.cli_input_json {
            None => Input::default(),
            Some(text) => serde_json::from_str(&contents(text)?)
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
        if input.resource_arns.is_empty() {
            input.resource_arns.push("*".to_owned());
        }
        Ok(input)
    }
}

/// What an option holds: itself, or the file that it names.
fn contents(text: String) -> Result<String, Error> {
    match text.strip_prefix("file://") {
        None => Ok(text),
        Some(path) => fs::read_to_string(path).map_err(|fault| error(format!("{path}: {fault}"))),
    }
}

/// The entries in AWS's shorthand, or as JSON: one entry each, or all in one list.
fn context_entries(texts: Vec<String>) -> Result<Vec<ContextEntry>, Error> {
    let mut entries = Vec::new();
    for text in texts {
        let text = contents(text)?;
        let fault = |fault: serde_json::Error| error(format!("--context-entries: {fault}"));
        match text.trim_start().chars().next() {
            Some('[') => {
                entries.extend(serde_json::from_str::<Vec<ContextEntry>>(&text).map_err(fault)?);
            }
            Some('{') => entries.push(serde_json::from_str(&text).map_err(fault)?),
            _ => entries.push(shorthand(&text)?),
        }
    }
    Ok(entries)
}

/// `ContextKeyName=KEY,ContextKeyValues=A,B,ContextKeyType=string`: what has no `=` is one more
/// value of the list before it.
fn shorthand(text: &str) -> Result<ContextEntry, Error> {
    const FORM: &str = "--context-entries is written as \
        ContextKeyName=KEY,ContextKeyValues=VALUE,…,ContextKeyType=TYPE, or as JSON";
    let mut name = None;
    let mut values: Option<Vec<String>> = None;
    let mut is_values = false;
    for part in text.split(',') {
        let field = part.split_once('=');
        match field {
            Some(("ContextKeyName", value)) => name = Some(value.to_owned()),
            Some(("ContextKeyValues", value)) => values = Some(vec![value.to_owned()]),
            Some(("ContextKeyType", _)) => {}
            _ if is_values => {
                values.get_or_insert_default().push(part.to_owned());
                continue;
            }
            _ => return Err(error(FORM)),
        }
        is_values = matches!(field, Some(("ContextKeyValues", _)));
    }
    match (name, values) {
        (Some(context_key_name), Some(context_key_values)) => Ok(ContextEntry {
            context_key_name,
            context_key_values,
            _context_key_type: None,
        }),
        _ => Err(error(FORM)),
    }
}

/// A policy that was given, with the name that the answer has for it.
struct GivenPolicy {
    name: String,
    text: String,
    policy: Policy,
}

/// The policies that were given, by kind.
struct Given {
    identity: Vec<GivenPolicy>,
    boundary: Vec<GivenPolicy>,
    session: Option<Vec<GivenPolicy>>,
    resource: Option<GivenPolicy>,
}

impl Given {
    fn read(input: &Input) -> Result<Self, Error> {
        let list = |name: &str, texts: &[String]| {
            let numbered = texts.iter().enumerate();
            let read = numbered.map(|(index, text)| {
                GivenPolicy::read(format!("{name}.{}", index + 1), text, Kind::IdentityBased)
            });
            read.collect::<Result<Vec<_>, _>>()
        };
        let boundary = &input.permissions_boundary_policy_input_list;
        if boundary.len() > 1 {
            return Err(error("there can be one permissions boundary"));
        }
        let session = input.session_policy_input_list.as_deref();
        let resource = input.resource_policy.as_deref();
        Ok(Self {
            identity: list("PolicyInputList", &input.policy_input_list)?,
            boundary: list("PermissionsBoundaryPolicyInputList", boundary)?,
            session: session
                .map(|texts| list("SessionPolicyInputList", texts))
                .transpose()?,
            resource: resource
                .map(|text| GivenPolicy::read("ResourcePolicy".into(), text, Kind::ResourceBased))
                .transpose()?,
        })
    }

    fn policies(&self) -> Policies<'_> {
        Policies {
            identity: sourced(&self.identity),
            boundary: self.boundary.first().map(GivenPolicy::sourced),
            session: self.session.as_deref().map(sourced),
            resource: self.resource.as_ref().map(GivenPolicy::sourced),
            ..Policies::default()
        }
    }

    fn named(&self, name: &str) -> Option<&GivenPolicy> {
        let session = self.session.iter().flatten();
        let mut all = self
            .identity
            .iter()
            .chain(&self.boundary)
            .chain(session)
            .chain(&self.resource);
        all.find(|policy| policy.name == name)
    }
}

fn sourced(policies: &[GivenPolicy]) -> Vec<Sourced<'_>> {
    policies.iter().map(GivenPolicy::sourced).collect()
}

impl GivenPolicy {
    fn read(name: String, text: &str, kind: Kind) -> Result<Self, Error> {
        let text = contents(text.to_owned())?;
        let policy =
            Policy::parse(&text, kind).map_err(|fault| error(format!("{name}: {fault}")))?;
        Ok(Self { name, text, policy })
    }

    fn sourced(&self) -> Sourced<'_> {
        Sourced {
            source: Source::Other(&self.name),
            policy: &self.policy,
        }
    }

    /// Where the statement with that index stands: line and column of its start and of its end.
    fn position(&self, index: usize) -> Option<[(usize, usize); 2]> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document<'t> {
            #[serde(borrow)]
            statement: &'t RawValue,
        }
        let document: Document = serde_json::from_str(&self.text).ok()?;
        let text = document.statement.get();
        let statement = match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(list) => list.get(index)?.get(),
            Err(_) => text,
        };
        let start = statement.as_ptr() as usize - self.text.as_ptr() as usize;
        let at = |offset: usize| {
            let before = &self.text[..offset];
            let line = before.rsplit('\n').next().unwrap_or(before);
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        };
        Some([at(start), at(start + statement.len())])
    }
}

fn evaluate(input: &Input, given: &Given, policies: Policies<'_>, source: Option<&str>) -> Value {
    let mut context = Context::default();
    for entry in &input.context_entries {
        context.set_all(&entry.context_key_name, entry.context_key_values.clone());
    }
    let arn = input.caller_arn.as_deref().or(source).unwrap_or_default();
    let caller = Caller {
        arn,
        role_arn: None,
    };
    let owner = input.resource_owner.as_deref();
    let owner = owner.map(|owner| account_in(owner).unwrap_or(owner));
    let mut results = Vec::new();
    for action in &input.action_names {
        for resource in &input.resource_arns {
            let request = Request {
                action,
                resource,
                resource_account: match arn {
                    // Whoever is not named is of whatever account it takes.
                    "" => Some(""),
                    _ => account_in(resource).or(owner),
                },
                context: &context,
            };
            let decision = authorize(&policies, &caller, &request);
            results.push(result(&decision, &request, given));
        }
    }
    json!({"EvaluationResults": results, "IsTruncated": false})
}

/// The account in an ARN, if there is one in it.
fn account_in(arn: &str) -> Option<&str> {
    arn.split(':')
        .nth(4)
        .filter(|account| !account.is_empty() && *account != "*")
}

fn result(decision: &Decision<'_>, request: &Request<'_>, given: &Given) -> Value {
    let matched = decision.matched.iter().map(|statement| {
        let name = match statement.source {
            Source::Inline { name, .. } => name,
            Source::Managed(name) | Source::Other(name) => name,
        };
        let mut value = json!({"SourcePolicyId": name, "SourcePolicyType": "IAM Policy"});
        let position = given
            .named(name)
            .and_then(|policy| policy.position(statement.index));
        if let Some([start, end]) = position {
            let place = |(line, column)| json!({"Line": line, "Column": column});
            value["StartPosition"] = place(start);
            value["EndPosition"] = place(end);
        }
        value
    });
    let mut result = json!({
        "EvalActionName": request.action,
        "EvalResourceName": request.resource,
        "EvalDecision": match decision.kind {
            DecisionKind::Allowed => "allowed",
            DecisionKind::ExplicitDeny => "explicitDeny",
            DecisionKind::ImplicitDeny => "implicitDeny",
        },
        "MatchedStatements": matched.collect::<Vec<_>>(),
        "MissingContextValues": decision.missing_context,
    });
    if let Some(said) = decision.says(PolicyType::PermissionsBoundary) {
        let allowed = said == DecisionKind::Allowed;
        result["PermissionsBoundaryDecisionDetail"] =
            json!({"AllowedByPermissionsBoundary": allowed});
    }
    if let Some(said) = decision.says(PolicyType::ServiceControl) {
        let allowed = said == DecisionKind::Allowed;
        result["OrganizationsDecisionDetail"] = json!({"AllowedByOrganizations": allowed});
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
    const CALLER: &str = "arn:aws:iam::012345678912:user/alice";

    fn policy(effect: &str, more: Value) -> String {
        let mut statement = json!({"Effect": effect, "Action": "dsql:DbConnect", "Resource": "*"});
        for (name, value) in more.as_object().unwrap() {
            statement[name] = value.clone();
        }
        json!({"Version": "2012-10-17", "Statement": statement}).to_string()
    }

    fn simulate(input: Value) -> Result<Value, Error> {
        let inputs = Inputs {
            cli_input_json: Some(input.to_string()),
            policy_input_list: None,
            permissions_boundary_policy_input_list: None,
            session_policy_input_list: None,
            action_names: None,
            resource_arns: None,
            resource_policy: None,
            resource_owner: None,
            caller_arn: None,
            context_entries: None,
        };
        custom(Custom { inputs }).map(|answer| answer["EvaluationResults"].clone())
    }

    #[test]
    fn each_action_on_each_resource() {
        let results = simulate(json!({
            "PolicyInputList": [policy("Allow", json!({"Resource": CLUSTER}))],
            "ActionNames": ["dsql:DbConnect", "dsql:DbConnectAdmin"],
            "ResourceArns": [CLUSTER, "*"],
        }))
        .unwrap();
        let decisions: Vec<_> = results
            .as_array()
            .unwrap()
            .iter()
            .map(|r| &r["EvalDecision"])
            .collect();
        assert_eq!(
            decisions,
            ["allowed", "implicitDeny", "implicitDeny", "implicitDeny"]
        );
        assert_eq!(results[0]["EvalActionName"], "dsql:DbConnect");
        assert_eq!(results[0]["EvalResourceName"], CLUSTER);
        assert_eq!(
            results[0]["MatchedStatements"][0]["SourcePolicyId"],
            "PolicyInputList.1"
        );
        assert_eq!(results[1]["MatchedStatements"], json!([]));
    }

    #[test]
    fn the_statement_is_found_in_its_text() {
        let text = "{\n \"Version\": \"2012-10-17\", \"Statement\": [\n  \
            {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"},\n  \
            {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}]}";
        let results =
            simulate(json!({"PolicyInputList": [text], "ActionNames": ["s3:Get"]})).unwrap();
        assert_eq!(results[0]["EvalDecision"], "explicitDeny");
        let statement = &results[0]["MatchedStatements"][1];
        assert_eq!(statement["StartPosition"], json!({"Line": 4, "Column": 3}));
        assert_eq!(statement["EndPosition"], json!({"Line": 4, "Column": 48}));
    }

    #[test]
    fn conditions_boundary_and_session() {
        let condition = json!({"Condition": {"StringEquals": {"aws:PrincipalTag/team": "a"}}});
        let mut input = json!({
            "PolicyInputList": [policy("Allow", condition)],
            "ActionNames": ["dsql:DbConnect"],
        });
        let decide = |input: &Value| simulate(input.clone()).unwrap()[0].clone();
        let result = decide(&input);
        assert_eq!(result["EvalDecision"], "implicitDeny");
        assert_eq!(
            result["MissingContextValues"],
            json!(["aws:PrincipalTag/team"])
        );
        input["ContextEntries"] = json!([{"ContextKeyName": "aws:PrincipalTag/team",
            "ContextKeyValues": ["a"], "ContextKeyType": "string"}]);
        assert_eq!(decide(&input)["EvalDecision"], "allowed");
        input["SessionPolicyInputList"] = json!([]);
        assert_eq!(decide(&input)["EvalDecision"], "implicitDeny");
        input["SessionPolicyInputList"] = json!([policy("Allow", json!({}))]);
        input["PermissionsBoundaryPolicyInputList"] =
            json!([policy("Allow", json!({"Action": "s3:*"}))]);
        let result = decide(&input);
        assert_eq!(result["EvalDecision"], "implicitDeny");
        let detail = json!({"AllowedByPermissionsBoundary": false});
        assert_eq!(result["PermissionsBoundaryDecisionDetail"], detail);
    }

    #[test]
    fn a_resource_policy_in_this_account_and_in_another() {
        let resource = policy("Allow", json!({"Principal": {"AWS": CALLER}}));
        let mut input = json!({
            "PolicyInputList": [policy("Allow", json!({"Action": "s3:*"}))],
            "ResourcePolicy": resource, "CallerArn": CALLER, "ActionNames": ["dsql:DbConnect"],
        });
        let decide = |input: &Value| simulate(input.clone()).unwrap()[0]["EvalDecision"].clone();
        assert_eq!(decide(&input), "allowed");
        input["ResourceOwner"] = "999999999999".into();
        assert_eq!(decide(&input), "implicitDeny");
        input["PolicyInputList"] = json!([policy("Allow", json!({}))]);
        assert_eq!(decide(&input), "allowed");
        input["ResourceOwner"] = "arn:aws:iam::999999999999:root".into();
        input["ResourcePolicy"] =
            policy("Allow", json!({"Principal": {"AWS": "999999999999"}})).into();
        assert_eq!(decide(&input), "implicitDeny");
    }

    #[test]
    fn the_shorthand_of_context_entries() {
        let entry =
            shorthand("ContextKeyName=aws:TagKeys,ContextKeyValues=a,b,ContextKeyType=stringList")
                .unwrap();
        assert_eq!(entry.context_key_name, "aws:TagKeys");
        assert_eq!(entry.context_key_values, ["a", "b"]);
        for text in ["", "aws:x=y", "ContextKeyName=a", "ContextKeyValues=a"] {
            assert!(shorthand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (input, fault) in [
            (
                json!({"PolicyInputList": ["{}"], "ActionNames": ["a:b"]}),
                "PolicyInputList.1: ",
            ),
            (
                json!({"PolicyInputList": [policy("Allow", json!({}))]}),
                "--action-names is needed",
            ),
            (
                json!({"ActionNames": ["a:b"]}),
                "--policy-input-list is needed",
            ),
            (
                json!({"Nonsense": 1}),
                "--cli-input-json: unknown field `Nonsense`",
            ),
        ] {
            let said = simulate(input).unwrap_err().to_string();
            assert!(said.starts_with(fault), "{said}");
        }
    }
}
