//! `dsql-iam simulate-custom-policy` and `simulate-principal-policy`: what IAM's policies say of a
//! request, in the same words as the AWS CLI's commands of these names, without AWS.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-custom-policy.html> and
//! <https://docs.aws.amazon.com/cli/latest/reference/iam/simulate-principal-policy.html>. One input
//! is an addition: session policies. What comes out differently than on AWS is in
//! [fidelity.md](../../../docs/fidelity.md).

mod answer;
mod caller;
mod exclusion;
mod given;
mod input;
mod shorthand;

use std::path::PathBuf;

use clap::Args;
use dsql_iam_core::arn::{IamArn, is_account_id};
use dsql_iam_core::authorization::{Policies, Request, Source, Sourced, authorize};
use dsql_iam_core::denial::Why;
use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::identity::Identities;
use dsql_iam_core::policy::Context;
use dsql_iam_core::request_context::simulated_context;
use serde_json::{Value, json};

use answer::Outcome;
use caller::Asker;
use exclusion::Exclusions;
use given::Given;
use input::{Input, Options};

/// What `simulate-custom-policy` takes.
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

/// What `simulate-principal-policy` takes.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam simulate-principal-policy --action-names dsql:DbConnect \\
    --policy-source-arn arn:aws:iam::012345678912:role/example --iam-directory ./iam")]
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

/// Why nothing was simulated: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

fn error(text: impl Into<String>) -> Error {
    Error(text.into())
}

/// What AWS refuses before it looks at a policy, by its name for that.
fn invalid(text: impl std::fmt::Display) -> Error {
    Error(format!("InvalidInput: {text}"))
}

/// Runs `simulate-custom-policy`, gives its answer.
pub fn custom(arguments: Custom) -> Result<Value, Error> {
    let mut input = arguments.options.read()?;
    if let Some(levels) = arguments.ordered_organization_policy_input_list {
        input.ordered_organization_policy_input_list = input::levels(levels)?;
    }
    if !input.policy_exclusion_list.is_empty() {
        return Err(error(
            "--cli-input-json: PolicyExclusionList goes with simulate-principal-policy",
        ));
    }
    if input.policy_input_list.is_empty() {
        return Err(error("--policy-input-list is needed"));
    }
    let given = Given::read(&input)?;
    let asker = match &input.caller_arn {
        Some(arn) => Asker::named(arn, None, None)?,
        None => Asker::default(),
    };
    let simulation = Simulation {
        policies: given.policies(),
        input: &input,
        given: &given,
        asker: &asker,
        identities: None,
    };
    simulation.answer()
}

/// Runs `simulate-principal-policy`, gives its answer.
pub fn principal(arguments: Principal) -> Result<Value, Error> {
    let mut input = arguments.options.read()?;
    if arguments.policy_source_arn.is_some() {
        input.policy_source_arn = arguments.policy_source_arn;
    }
    if let Some(exclusions) = arguments.policy_exclusion_list {
        input.policy_exclusion_list = input::exclusions(exclusions)?;
    }
    if !input.ordered_organization_policy_input_list.is_empty() {
        return Err(error(
            "--cli-input-json: OrderedOrganizationPolicyInputList goes with simulate-custom-policy",
        ));
    }
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
    let directory = &arguments.iam_directory;
    let identities = Snapshot::read(directory)
        .and_then(|snapshot| snapshot.identities())
        .map_err(|fault| error(fault.to_string()))?;
    let unknown = || {
        let directory = directory.display();
        error(format!("{source} is in no document of {directory}"))
    };
    let policies = if is_principal {
        let principal = identities.principal(source).ok_or_else(unknown)?;
        identities.policies(principal, None)
    } else {
        identities.policies_of_group(identities.group(source).ok_or_else(unknown)?)
    };
    let mut policies = policies.map_err(|why| match why {
        Why::Incomplete(missing) => error(format!("{source}: {missing} is in no document")),
        why => error(format!("{source}: {why:?}")),
    })?;
    exclusions.apply(&mut policies);
    let given = Given::read(&input)?;
    let more = given.policies();
    policies.identity.extend(more.identity);
    if more.boundary.is_some() {
        policies.boundary = more.boundary;
    }
    policies.session = more.session;
    let arn = input.caller_arn.as_deref().unwrap_or(source);
    let asker = Asker::named(arn, Some(&identities), Some(source))?;
    let simulation = Simulation {
        policies,
        input: &input,
        given: &given,
        asker: &asker,
        identities: Some(&identities),
    };
    simulation.answer()
}

/// Whether it is the ARN of a group, path included.
fn is_group(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else {
        return false;
    };
    let name = resource.strip_prefix("group/").unwrap_or_default();
    let is_named = !name.is_empty() && !name.ends_with('/') && !name.contains(['*', '?']);
    !partition.is_empty() && is_account_id(account) && is_named
}

/// Whether a role's trust policy has a say in the action.
fn is_about_trust(action: &str) -> bool {
    let actions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
    actions.iter().any(|of| of.eq_ignore_ascii_case(action))
}

/// AWS: no permissions are required, and an explicit deny changes nothing.
fn needs_no_permission(action: &str) -> bool {
    action.eq_ignore_ascii_case("sts:GetCallerIdentity")
}

/// What is asked, and what it is judged by.
struct Simulation<'s> {
    /// Those of the policies that are not the resource's.
    policies: Policies<'s>,
    input: &'s Input,
    given: &'s Given,
    asker: &'s Asker,
    identities: Option<&'s Identities>,
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
        let mut context = simulated_context(self.identities, &self.asker.caller());
        for entry in &input.context_entries {
            context.set_all(&entry.context_key_name, entry.context_key_values.clone());
        }
        let mut results = Vec::new();
        for action in &input.action_names {
            let mut outcomes = Vec::new();
            for resource in &input.resource_arns {
                let outcome = self.outcome(action, resource, owner, &context)?;
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
    ) -> Result<Outcome, Error> {
        if needs_no_permission(action) {
            return Ok(Outcome::allowed());
        }
        let caller = self.asker.caller();
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
        let decision = authorize(&policies, &caller, &request);
        if decision.is_unfinished {
            return Err(error(format!(
                "{action} on {resource}: the policies take more work than one request may"
            )));
        }
        let is_cross_account = resource_account != caller.account();
        Ok(Outcome::of(&decision, is_cross_account, self.given))
    }

    /// The trust policy of a role, if it is known, and whether it has to allow the action: it is the
    /// given one, or else that in the documents.
    fn trust(&self, resource: &str) -> (Option<Sourced<'s>>, bool) {
        if let Some(given) = self.given.trust() {
            return (Some(given), true);
        }
        let role = self
            .identities
            .filter(|_| !self.asker.is_nobody())
            .and_then(|identities| identities.principal(resource));
        let Some(role) = role else {
            return (None, false);
        };
        let source = Source::Other("the role's trust policy");
        let policy = role.trust_policy.as_ref();
        (policy.map(|policy| Sourced { source, policy }), true)
    }
}

/// The account in an ARN, if there is one in it.
fn account_in(arn: &str) -> Option<&str> {
    arn.split(':')
        .nth(4)
        .filter(|account| !account.is_empty() && *account != "*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
    const CALLER: &str = "arn:aws:iam::012345678912:user/alice";
    const ROLE: &str = "arn:aws:iam::012345678912:role/x/App";
    const SESSION: &str = "arn:aws:sts::012345678912:assumed-role/App/web";
    const OTHER: &str = "999999999999";

    fn policy(effect: &str, more: Value) -> String {
        let mut statement = json!({"Effect": effect, "Action": "dsql:DbConnect", "Resource": "*"});
        for (name, value) in more.as_object().unwrap() {
            statement[name] = value.clone();
        }
        json!({"Version": "2012-10-17", "Statement": statement}).to_string()
    }

    #[derive(Parser)]
    struct CustomLine {
        #[command(flatten)]
        arguments: Custom,
    }

    #[derive(Parser)]
    struct PrincipalLine {
        #[command(flatten)]
        arguments: Principal,
    }

    fn simulate(input: Value) -> Result<Value, Error> {
        let line = CustomLine::parse_from(["x", "--cli-input-json", &input.to_string()]);
        custom(line.arguments).map(|answer| answer["EvaluationResults"].clone())
    }

    /// Asks for what is in the input, by the policies of `source` in an account of its own.
    fn simulate_of(source: &str, input: Value) -> Result<Value, Error> {
        let directory = tempfile::tempdir().unwrap();
        let inline = |effect: &str, action: &str| {
            json!([{"PolicyName": "own", "PolicyDocument": {"Statement":
                {"Effect": effect, "Action": action, "Resource": "*"}}}])
        };
        let trust = |principal: Value| {
            json!({"Statement":
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}})
        };
        let managed = |name: &str, action: &str| {
            json!({"Arn": format!("arn:aws:iam::012345678912:policy/{name}"),
                "DefaultVersionId": "v1", "PolicyVersionList": [{"VersionId": "v1", "Document":
                    {"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}}]})
        };
        let documents = json!({
            "UserDetailList": [
                {"UserName": "alice", "UserId": "AIDAALICE", "Arn": CALLER, "GroupList": ["staff"],
                 "Tags": [{"Key": "team", "Value": "blue"}],
                 "UserPolicyList": inline("Allow", "sts:AssumeRole")}],
            "GroupDetailList": [
                {"GroupName": "staff", "Arn": "arn:aws:iam::012345678912:group/staff",
                 "AttachedManagedPolicies": [{"PolicyName": "Connect",
                    "PolicyArn": "arn:aws:iam::012345678912:policy/Connect"}]}],
            "RoleDetailList": [
                {"RoleName": "App", "Arn": ROLE, "AssumeRolePolicyDocument":
                    trust(json!({"AWS": "012345678912"})),
                 "PermissionsBoundary": {"PermissionsBoundaryArn":
                    "arn:aws:iam::012345678912:policy/Boundary"}},
                {"RoleName": "Closed", "Arn": "arn:aws:iam::012345678912:role/Closed",
                 "AssumeRolePolicyDocument": trust(json!({"Service": "ec2.amazonaws.com"}))}],
            "Policies": [managed("Connect", "dsql:DbConnect"), managed("Boundary", "s3:*")],
        });
        std::fs::write(directory.path().join("a.json"), documents.to_string()).unwrap();
        let path = directory.path().to_str().unwrap();
        let line = PrincipalLine::parse_from([
            "x",
            "--policy-source-arn",
            source,
            "--iam-directory",
            path,
            "--cli-input-json",
            &input.to_string(),
        ]);
        principal(line.arguments).map(|answer| answer["EvaluationResults"].clone())
    }

    fn decision(results: Result<Value, Error>) -> Value {
        results.unwrap()[0]["EvalDecision"].clone()
    }

    #[test]
    fn one_result_for_each_action() {
        let deny = policy(
            "Deny",
            json!({"Action": "s3:*", "Resource": "arn:aws:s3:::b"}),
        );
        let results = simulate(json!({
            "PolicyInputList": [policy("Allow", json!({"Resource": CLUSTER,
                "Action": ["dsql:DbConnect", "s3:*"]})), deny],
            "ActionNames": ["dsql:DbConnect", "dsql:DbConnectAdmin", "s3:Get"],
            "ResourceArns": [CLUSTER, "arn:aws:s3:::b"],
        }))
        .unwrap();
        let results = results.as_array().unwrap();
        let all: Vec<_> = results
            .iter()
            .map(|result| {
                let specific = result["ResourceSpecificResults"].as_array().unwrap();
                let resources = specific.iter().map(|specific| {
                    assert!(specific["MissingContextValues"].is_array());
                    assert!(specific.get("EvalDecisionDetails").is_none());
                    json!([
                        specific["EvalResourceName"],
                        specific["EvalResourceDecision"],
                        specific["MatchedStatements"].as_array().unwrap().len()
                    ])
                });
                // Of one account, with resources: there, and empty.
                assert_eq!(result["EvalDecisionDetails"], json!({}));
                // The form of a resource where it is known, and never one of those asked for.
                let template = "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}";
                let is_known = result["EvalActionName"] != "s3:Get";
                let expected = is_known.then(|| json!(template));
                assert_eq!(result.get("EvalResourceName"), expected.as_ref());
                json!([
                    result["EvalActionName"],
                    result["EvalDecision"],
                    result["MatchedStatements"].as_array().unwrap().len(),
                    resources.collect::<Vec<_>>()
                ])
            })
            .collect();
        let bucket = "arn:aws:s3:::b";
        assert_eq!(
            json!(all),
            json!([
                [
                    "dsql:DbConnect",
                    "implicitDeny",
                    0,
                    [[CLUSTER, "allowed", 1], [bucket, "implicitDeny", 0]]
                ],
                [
                    "dsql:DbConnectAdmin",
                    "implicitDeny",
                    0,
                    [[CLUSTER, "implicitDeny", 0], [bucket, "implicitDeny", 0]]
                ],
                [
                    "s3:Get",
                    "explicitDeny",
                    1,
                    [[CLUSTER, "allowed", 1], [bucket, "explicitDeny", 1]]
                ],
            ])
        );
        assert_eq!(
            results[2]["MatchedStatements"][0]["SourcePolicyId"],
            "PolicyInputList.2"
        );
    }

    #[test]
    fn one_resource_and_all_of_them() {
        let mut input = json!({
            "PolicyInputList": [policy("Allow", json!({}))],
            "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
        });
        let one = simulate(input.clone()).unwrap()[0].clone();
        let template = "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}";
        assert_eq!(one["EvalResourceName"], template);
        let specific = &one["ResourceSpecificResults"][0];
        assert_eq!(specific["EvalResourceName"], CLUSTER);
        assert_eq!(one["EvalDecisionDetails"], json!({}));
        assert_eq!(one["ResourceSpecificResults"].as_array().unwrap().len(), 1);
        for resources in [json!(["*"]), json!([])] {
            input["ResourceArns"] = resources;
            let all = simulate(input.clone()).unwrap()[0].clone();
            assert_eq!(all["EvalResourceName"], template);
            assert!(all.get("EvalDecisionDetails").is_none());
            assert!(all.get("ResourceSpecificResults").is_none());
        }
        for (action, resource, expected) in [
            ("s3:GetObject", "*", json!("*")),
            ("s3:GetObject", "arn:aws:s3:::b/k", Value::Null),
            ("sts:GetCallerIdentity", ROLE, json!("*")),
            (
                "STS:assumerole",
                ROLE,
                json!("arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}"),
            ),
        ] {
            input["ActionNames"] = json!([action]);
            input["ResourceArns"] = json!([resource]);
            let result = simulate(input.clone()).unwrap()[0].clone();
            assert_eq!(result["EvalResourceName"], expected, "{action} {resource}");
        }
    }

    /// AWS: neither the statements nor the missing keys are those of service control policies.
    #[test]
    fn what_service_control_policies_say_is_not_told() {
        let key = |key: &str| json!({"Condition": {"StringEqualsIfExists": {key: "x"}}});
        let mut input = json!({
            "PolicyInputList": [policy("Allow", key("aws:a"))],
            "OrderedOrganizationPolicyInputList":
                [{"ServiceControlPolicyInputList": [policy("Allow", key("aws:b"))]}],
            "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER, "*"],
        });
        let result = simulate(input.clone()).unwrap()[0].clone();
        let of = |result: &Value| {
            let statements = result["MatchedStatements"].as_array().unwrap().iter();
            let ids: Vec<&Value> = statements.map(|one| &one["SourcePolicyId"]).collect();
            json!([ids, result["MissingContextValues"]])
        };
        let expected = json!([["PolicyInputList.1"], ["aws:a"]]);
        assert_eq!(of(&result), expected);
        for specific in result["ResourceSpecificResults"].as_array().unwrap() {
            assert_eq!(of(specific), expected);
        }
        let deny = policy("Deny", json!({}));
        input["OrderedOrganizationPolicyInputList"] =
            json!([{"ServiceControlPolicyInputList": [deny]}]);
        let result = simulate(input).unwrap()[0].clone();
        assert_eq!(result["EvalDecision"], "explicitDeny");
        assert_eq!(of(&result), json!([[], ["aws:a"]]));
        let detail = json!({"AllowedByOrganizations": false});
        assert_eq!(result["OrganizationsDecisionDetail"], detail);
    }

    #[test]
    fn what_is_known_of_the_caller_is_in_the_context() {
        let asked = |key: &str, value: &str| {
            let condition = json!({"Condition": {"StringEquals": {key: value}}});
            json!({"PolicyInputList": [policy("Allow", condition.clone())],
                "PolicyExclusionList": [{"PolicyType": "user-managed"},
                    {"PolicyType": "permission-boundary"}],
                "ActionNames": ["dsql:DbConnect"]})
        };
        for (source, key, value) in [
            (CALLER, "aws:username", "alice"),
            (CALLER, "aws:userid", "AIDAALICE"),
            (CALLER, "aws:PrincipalTag/team", "blue"),
            (CALLER, "aws:PrincipalType", "User"),
            (ROLE, "aws:PrincipalArn", ROLE),
            (ROLE, "aws:PrincipalType", "AssumedRole"),
            (ROLE, "aws:PrincipalAccount", "012345678912"),
        ] {
            let mut input = asked(key, value);
            let results = simulate_of(source, input.clone()).unwrap();
            assert_eq!(results[0]["EvalDecision"], "allowed", "{key}");
            assert_eq!(results[0]["MissingContextValues"], json!([]));
            // What is given counts instead.
            input["ContextEntries"] =
                json!([{"ContextKeyName": key, "ContextKeyValues": ["other"]}]);
            assert_eq!(
                decision(simulate_of(source, input)),
                "implicitDeny",
                "{key}"
            );
        }
        // Of a caller who is not the source, and of one whom no document has.
        let mut input = asked("aws:username", "bob");
        input["CallerArn"] = "arn:aws:iam::012345678912:user/bob".into();
        assert_eq!(decision(simulate_of(CALLER, input.clone())), "allowed");
        input.as_object_mut().unwrap().remove("PolicyExclusionList");
        assert_eq!(decision(simulate(input.clone())), "allowed");
        input.as_object_mut().unwrap().remove("CallerArn");
        let results = simulate(input).unwrap();
        assert_eq!(results[0]["MissingContextValues"], json!(["aws:username"]));
        // All that is missing is told at once.
        let results = simulate(json!({
            "PolicyInputList": [policy("Allow", json!({"Condition":
                {"StringEquals": {"aws:PrincipalTag/a": "${aws:username}"}}}))],
            "ActionNames": ["dsql:DbConnect"],
        }));
        let missing = json!(["aws:PrincipalTag/a", "aws:username"]);
        assert_eq!(results.unwrap()[0]["MissingContextValues"], missing);
        // A role is no user.
        let results = simulate_of(ROLE, asked("aws:username", "App")).unwrap();
        assert_eq!(results[0]["EvalDecision"], "implicitDeny");
        assert_eq!(results[0]["MissingContextValues"], json!(["aws:username"]));
    }

    #[test]
    fn the_statement_is_found_in_its_text() {
        let text = "{\n \"Version\": \"2012-10-17\", \"Statement\": [\n  \
            {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"},\n  \
            {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}]}";
        let results =
            simulate(json!({"PolicyInputList": [text], "ActionNames": ["s3:Get"]})).unwrap();
        assert_eq!(results[0]["EvalDecision"], "explicitDeny");
        // AWS: the deny statement is the only entry.
        let statements = results[0]["MatchedStatements"].as_array().unwrap();
        assert_eq!(statements.len(), 1);
        let statement = &statements[0];
        assert_eq!(statement["SourcePolicyType"], "IAM Policy");
        assert_eq!(statement["StartPosition"], json!({"Line": 4, "Column": 3}));
        assert_eq!(statement["EndPosition"], json!({"Line": 4, "Column": 48}));
    }

    #[test]
    fn conditions_boundary_and_session() {
        let condition = json!({"Condition": {"StringEquals": {"aws:PrincipalTag/team": "a"}}});
        let mut input = json!({
            "PolicyInputList": [policy("Allow", condition)],
            "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
        });
        let decide = |input: &Value| simulate(input.clone()).unwrap()[0].clone();
        let result = decide(&input);
        assert_eq!(result["EvalDecision"], "implicitDeny");
        let missing = json!(["aws:PrincipalTag/team"]);
        assert_eq!(result["MissingContextValues"], missing);
        let specific = &result["ResourceSpecificResults"][0];
        assert_eq!(specific["MissingContextValues"], missing);
        input["ContextEntries"] = json!([{"ContextKeyName": "aws:PrincipalTag/team",
            "ContextKeyValues": ["a"], "ContextKeyType": "string"}]);
        assert_eq!(decide(&input)["EvalDecision"], "allowed");
        input["SessionPolicyInputList"] = json!([]);
        assert_eq!(decide(&input)["EvalDecision"], "implicitDeny");
        input["SessionPolicyInputList"] = json!([policy("Allow", json!({}))]);
        for (boundary, decision, allowed) in [
            (
                policy("Allow", json!({"Action": "s3:*"})),
                "implicitDeny",
                false,
            ),
            (policy("Allow", json!({})), "allowed", true),
            (
                r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
                    {"Effect": "Deny", "Action": "dsql:*", "Resource": "*"}]}"#
                    .to_owned(),
                "explicitDeny",
                false,
            ),
        ] {
            input["PermissionsBoundaryPolicyInputList"] = json!([boundary]);
            let result = decide(&input);
            assert_eq!(result["EvalDecision"], decision);
            let detail = json!({"AllowedByPermissionsBoundary": allowed});
            assert_eq!(result["PermissionsBoundaryDecisionDetail"], detail);
            let specific = &result["ResourceSpecificResults"][0];
            assert_eq!(specific["PermissionsBoundaryDecisionDetail"], detail);
        }
    }

    #[test]
    fn a_resource_policy_in_this_account_and_in_another() {
        let resource = policy("Allow", json!({"Principal": {"AWS": CALLER}}));
        let mut input = json!({
            "PolicyInputList": [policy("Allow", json!({"Action": "s3:*"}))],
            "ResourcePolicy": resource, "CallerArn": CALLER, "ActionNames": ["dsql:DbConnect"],
        });
        let decide = |input: &Value| decision(simulate(input.clone()));
        assert_eq!(decide(&input), "allowed");
        input["ResourceOwner"] = OTHER.into();
        assert_eq!(decide(&input), "implicitDeny");
        input["PolicyInputList"] = json!([policy("Allow", json!({}))]);
        assert_eq!(decide(&input), "allowed");
        input["ResourceOwner"] = "arn:aws:iam::999999999999:root".into();
        input["ResourcePolicy"] = policy("Allow", json!({"Principal": {"AWS": OTHER}})).into();
        assert_eq!(decide(&input), "implicitDeny");
    }

    #[test]
    fn what_each_account_says_of_anothers_resource() {
        let theirs = CLUSTER.replace("012345678912", OTHER);
        let mut input = json!({
            "PolicyInputList": [policy("Allow", json!({}))], "CallerArn": CALLER,
            "PermissionsBoundaryPolicyInputList": [policy("Allow", json!({"Action": "s3:*"}))],
            "ResourcePolicy": policy("Deny", json!({"Principal": {"AWS": CALLER}})),
            "ActionNames": ["dsql:DbConnect"], "ResourceArns": [theirs],
        });
        let result = simulate(input.clone()).unwrap()[0].clone();
        let details = json!({"IAM Policy": "allowed", "Resource Policy": "explicitDeny",
            "Permissions Boundary Policy": "implicitDeny"});
        assert_eq!(result["EvalDecisionDetails"], details);
        let specific = &result["ResourceSpecificResults"][0];
        assert_eq!(specific["EvalDecisionDetails"], details);
        let statement = &result["MatchedStatements"][0];
        assert_eq!(statement["SourcePolicyType"], "Resource Policy");
        // Without a policy of the resource, nothing of the other account is known.
        let given = input.as_object_mut().unwrap();
        given.remove("ResourcePolicy");
        given.remove("PermissionsBoundaryPolicyInputList");
        let result = simulate(input).unwrap()[0].clone();
        assert_eq!(result["EvalDecision"], "allowed");
        assert_eq!(result["EvalDecisionDetails"], json!({}));
    }

    #[test]
    fn a_role_asks_in_a_session_of_it() {
        let input = |principal: &str, caller: Option<&str>| {
            let mut input = json!({"ActionNames": ["dsql:DbConnect"],
                "ResourcePolicy": policy("Allow", json!({"Principal": {"AWS": principal}}))});
            if let Some(caller) = caller {
                input["CallerArn"] = caller.into();
            }
            input
        };
        // The boundary (s3:*) limits what is granted to the role, and not what is to the session.
        for (principal, caller, expected) in [
            (ROLE, None, "implicitDeny"),
            (ROLE, Some(ROLE), "implicitDeny"),
            (ROLE, Some(SESSION), "implicitDeny"),
            (SESSION, Some(SESSION), "allowed"),
            (SESSION, None, "implicitDeny"),
            (CALLER, Some(CALLER), "allowed"),
        ] {
            let results = simulate_of(ROLE, input(principal, caller)).unwrap();
            assert_eq!(
                results[0]["EvalDecision"], expected,
                "{principal} {caller:?}"
            );
            let detail = &results[0]["PermissionsBoundaryDecisionDetail"];
            assert_eq!(detail["AllowedByPermissionsBoundary"], false);
        }
        // Without a boundary the role's ARN does, path included.
        let mut custom = input(ROLE, Some(SESSION));
        custom["PolicyInputList"] = json!([policy("Allow", json!({"Action": "s3:*"}))]);
        assert_eq!(decision(simulate(custom.clone())), "implicitDeny");
        custom["CallerArn"] = ROLE.into();
        assert_eq!(decision(simulate(custom)), "allowed");
        let mut wide = input(ROLE, Some(SESSION));
        wide["PermissionsBoundaryPolicyInputList"] = json!([policy("Allow", json!({}))]);
        assert_eq!(decision(simulate_of(ROLE, wide)), "allowed");
    }

    #[test]
    fn each_level_of_an_organization_has_to_allow() {
        let full = policy("Allow", json!({"Action": "*"}));
        let other = policy("Allow", json!({"Action": "s3:*"}));
        let deny = policy("Deny", json!({}));
        let asked = |levels: &[&[&String]]| {
            let level = |level: &&[&String]| json!({"ServiceControlPolicyInputList": level});
            let levels: Vec<Value> = levels.iter().map(level).collect();
            json!({"PolicyInputList": [policy("Allow", json!({}))],
                "OrderedOrganizationPolicyInputList": levels, "ActionNames": ["dsql:DbConnect"]})
        };
        for (levels, expected, allowed) in [
            (&[&[&other][..], &[&full]][..], "implicitDeny", json!(false)),
            (&[&[&full], &[&other]], "implicitDeny", json!(false)),
            (&[&[&full], &[]], "implicitDeny", json!(false)),
            (&[&[&full], &[&full, &deny]], "explicitDeny", json!(false)),
            (
                &[&[&full, &other], &[&other, &full], &[&full]],
                "allowed",
                json!(true),
            ),
            (&[], "allowed", Value::Null),
        ] {
            let result = simulate(asked(levels)).unwrap()[0].clone();
            assert_eq!(result["EvalDecision"], expected);
            let detail = &result["OrganizationsDecisionDetail"];
            assert_eq!(detail["AllowedByOrganizations"], allowed);
        }
        let fault = |input: Value| simulate(input).unwrap_err().to_string();
        assert_eq!(
            fault(asked(&[&[&full][..]; 8])),
            "InvalidInput: 'orderedOrganizationPolicyInputList' has more than 7 members"
        );
        let broken = "{}".to_owned();
        let said = fault(asked(&[&[&full], &[&full, &broken]]));
        let place = "OrderedOrganizationPolicyInputList.2.ServiceControlPolicyInputList.2: ";
        assert!(said.starts_with(place), "{said}");
        let said = simulate_of(CALLER, asked(&[&[&full]])).unwrap_err();
        assert_eq!(
            said.to_string(),
            "--cli-input-json: OrderedOrganizationPolicyInputList goes with simulate-custom-policy"
        );
        // As an option.
        let allow = policy("Allow", json!({}));
        let level = format!("ServiceControlPolicyInputList='{other}'");
        let line = CustomLine::parse_from([
            "x",
            "--policy-input-list",
            &allow,
            "--action-names",
            "dsql:DbConnect",
            "--ordered-organization-policy-input-list",
            &level,
        ]);
        let results = custom(line.arguments).unwrap()["EvaluationResults"].clone();
        assert_eq!(results[0]["EvalDecision"], "implicitDeny");
    }

    #[test]
    fn what_would_be_without_a_policy() {
        let by_arn = |arn: &str| json!([{"PolicyArn": arn}]);
        let inline = |kind: &str, name: &str| {
            json!([{"InlinePolicyIdentifier":
                {"PolicyName": "own", "AttachmentType": kind, "AttachmentName": name}}])
        };
        let connect = "arn:aws:iam::012345678912:policy/Conn*";
        for (source, excluded, expected) in [
            (CALLER, json!([]), ["allowed", "allowed"]),
            (CALLER, by_arn(connect), ["implicitDeny", "allowed"]),
            (CALLER, inline("user", "al*"), ["allowed", "implicitDeny"]),
            (CALLER, inline("group", "al*"), ["allowed", "allowed"]),
            (
                CALLER,
                json!([{"PolicyType": "user-managed"}, {"PolicyType": "inline"}]),
                ["implicitDeny", "implicitDeny"],
            ),
            // What is given stays, and is still limited by a boundary.
            (
                ROLE,
                json!([{"PolicyType": "inline"}]),
                ["implicitDeny", "implicitDeny"],
            ),
            (
                ROLE,
                json!([{"PolicyType": "permission-boundary"}]),
                ["implicitDeny", "allowed"],
            ),
        ] {
            let mut input = json!({"ActionNames": ["dsql:DbConnect", "sts:AssumeRole"],
                "PolicyExclusionList": excluded});
            if source == ROLE {
                input["PolicyInputList"] =
                    json!([policy("Allow", json!({"Action": "sts:AssumeRole"}))]);
            }
            let results = simulate_of(source, input).unwrap();
            let decided = [&results[0], &results[1]].map(|result| &result["EvalDecision"]);
            assert_eq!(decided, expected, "{source} {excluded}");
        }
        let refused = json!({"ActionNames": ["a:b"], "PolicyExclusionList": by_arn("Connect")});
        let said = simulate_of(CALLER, refused).unwrap_err().to_string();
        assert!(
            said.starts_with("InvalidInput: Connect is no ARN"),
            "{said}"
        );
        let said = simulate(json!({"PolicyInputList": [policy("Allow", json!({}))],
            "ActionNames": ["a:b"], "PolicyExclusionList": [{"PolicyType": "scp"}]}));
        assert_eq!(
            said.unwrap_err().to_string(),
            "--cli-input-json: PolicyExclusionList goes with simulate-principal-policy"
        );
    }

    #[test]
    fn the_policies_of_a_group() {
        let group = "arn:aws:iam::012345678912:group/staff";
        let mut input = json!({"ActionNames": ["dsql:DbConnect", "sts:AssumeRole"]});
        let results = simulate_of(group, input.clone()).unwrap();
        let decisions =
            |results: &Value| json!([results[0]["EvalDecision"], results[1]["EvalDecision"]]);
        assert_eq!(decisions(&results), json!(["allowed", "implicitDeny"]));
        let id = &results[0]["MatchedStatements"][0]["SourcePolicyId"];
        assert_eq!(id, "Connect");
        let results = simulate_of(CALLER, input.clone()).unwrap();
        assert_eq!(decisions(&results), json!(["allowed", "allowed"]));
        input["ResourcePolicy"] = policy("Allow", json!({"Principal": "*"})).into();
        input["ActionNames"] = json!(["dsql:DbConnect"]);
        // It is its own caller, whom a policy can name by its account or as everybody.
        assert_eq!(decision(simulate_of(group, input.clone())), "allowed");
        input["PolicyExclusionList"] = json!([{"PolicyType": "user-managed"}]);
        assert_eq!(decision(simulate_of(group, input.clone())), "allowed");
        let named = policy("Allow", json!({"Principal": {"AWS": CALLER}}));
        input["ResourcePolicy"] = named.into();
        assert_eq!(decision(simulate_of(group, input.clone())), "implicitDeny");
        input["CallerArn"] = CALLER.into();
        assert_eq!(decision(simulate_of(group, input)), "allowed");
    }

    #[test]
    fn assuming_a_role_takes_its_trust_policy() {
        let trust = |principal: &str| {
            json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"AWS": principal}}})
            .to_string()
        };
        let closed = "arn:aws:iam::012345678912:role/Closed";
        let theirs = "arn:aws:iam::999999999999:role/Theirs";
        for (source, role, policy, expected) in [
            (CALLER, ROLE, None, "allowed"),
            (CALLER, closed, None, "implicitDeny"),
            (CALLER, closed, Some(trust(CALLER)), "allowed"),
            (CALLER, ROLE, Some(trust(OTHER)), "implicitDeny"),
            // In no document: what its trust policy says is not known.
            (CALLER, theirs, None, "allowed"),
            (CALLER, theirs, Some(trust("012345678912")), "allowed"),
            (CALLER, theirs, Some(trust(OTHER)), "implicitDeny"),
            // It trusts a service and nobody else.
            (ROLE, closed, None, "implicitDeny"),
        ] {
            let mut input = json!({"ActionNames": ["sts:assumerole"], "ResourceArns": [role]});
            if let Some(policy) = &policy {
                input["ResourcePolicy"] = policy.clone().into();
            }
            let decided = decision(simulate_of(source, input));
            assert_eq!(decided, expected, "{source} {role} {policy:?}");
        }
        // Of a policy that is given alone, too.
        let mut input = json!({
            "PolicyInputList": [policy("Allow", json!({"Action": "sts:*"}))],
            "ActionNames": ["sts:AssumeRole"], "ResourceArns": [ROLE],
            "CallerArn": CALLER, "ResourcePolicy": trust(OTHER),
        });
        assert_eq!(decision(simulate(input.clone())), "implicitDeny");
        input["ResourcePolicy"] = policy("Allow", json!({"Principal": "*"})).into();
        let fault = simulate(input).unwrap_err().to_string();
        assert_eq!(
            fault,
            "ResourcePolicy: the trust policy of a role has no Resource"
        );
    }

    #[test]
    fn who_one_is_anybody_may_ask() {
        let results = simulate(json!({
            "PolicyInputList": [policy("Deny", json!({"Action": "*"}))],
            "ActionNames": ["sts:getcalleridentity", "sts:GetSessionToken"],
        }))
        .unwrap();
        assert_eq!(results[0]["EvalDecision"], "allowed");
        assert_eq!(results[0]["MatchedStatements"], json!([]));
        assert_eq!(results[1]["EvalDecision"], "explicitDeny");
    }

    #[test]
    fn options_of_the_aws_cli_that_make_no_difference() {
        let allow = policy("Allow", json!({}));
        let line = |more: &[&str]| {
            let start = ["x", "--action-names", "dsql:DbConnect"];
            let all = start.into_iter().chain(["--policy-input-list", &allow]);
            CustomLine::try_parse_from(all.chain(more.iter().copied()))
        };
        let plain = custom(line(&[]).unwrap().arguments).unwrap();
        let more = [
            "--resource-handling-option",
            "EC2-VPC-EBS",
            "--max-items",
            "1",
            "--page-size",
            "1",
            "--starting-token",
            "x",
            "--no-paginate",
            "--output",
            "json",
            "--region",
            "eu-west-1",
            "--profile",
            "nobody",
        ];
        assert_eq!(custom(line(&more).unwrap().arguments).unwrap(), plain);
        assert!(line(&["--output", "text"]).is_err());
        let others = [
            "--query",
            "--no-cli-pager",
            "--generate-cli-skeleton",
            "--cli-input-yaml",
        ];
        for other in others {
            let Err(refused) = line(&[other]) else {
                panic!("{other}")
            };
            assert_eq!(
                refused.kind(),
                clap::error::ErrorKind::UnknownArgument,
                "{other}"
            );
        }
    }

    #[test]
    fn what_takes_too_much_is_not_answered() {
        let condition = json!({"StringLike": {"v": vec![format!("*{}b", "a".repeat(1_900)); 30]}});
        let said = simulate(json!({
            "PolicyInputList": [policy("Allow", json!({"Condition": condition}))],
            "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
            "ContextEntries": [{"ContextKeyName": "v", "ContextKeyType": "string",
                "ContextKeyValues": ["a".repeat(12_000)]}],
        }));
        let fault = format!(
            "dsql:DbConnect on {CLUSTER}: the policies take more work than one request may"
        );
        assert_eq!(said.unwrap_err().to_string(), fault);
    }

    /// A misspelled action or resource would look like one that is denied.
    #[test]
    fn what_is_no_action_and_no_resource_is_refused() {
        let allow = policy("Allow", json!({}));
        let asked = |actions: Value, resources: Value| {
            let said = simulate(json!({"PolicyInputList": [allow], "ActionNames": actions,
                "ResourceArns": resources}));
            said.map_err(|fault| fault.to_string())
        };
        let long = format!("a:{}", "b".repeat(126));
        let too_long = format!("{long}b");
        let length = |list: &str| {
            format!(
                "ValidationError: 1 validation error detected: Value '[{list}]' at 'actionNames' \
                 failed to satisfy constraint: Member must satisfy constraint: [Member must have \
                 length less than or equal to 128, Member must have length greater than or equal to 3]"
            )
        };
        let no_service = |action: &str| {
            let example = "as in iam:CreateUser";
            format!("InvalidInput: {action} does not include the service identifier, {example}")
        };
        let wildcard = |action: &str| {
            format!(
                "InvalidInput: {action} has a wildcard, which an action to simulate cannot have"
            )
        };
        for (actions, fault) in [
            (json!(["DbConnect"]), no_service("DbConnect")),
            (
                json!(["dsql:DbConnect", ":DbConnect"]),
                no_service(":DbConnect"),
            ),
            (json!(["dsql:"]), no_service("dsql:")),
            (json!(["dsql:*"]), wildcard("dsql:*")),
            (json!(["dsql:DbConnec?"]), wildcard("dsql:DbConnec?")),
            (json!(["dsql:DbConnect", "*"]), length("dsql:DbConnect, *")),
            (json!([""]), length("")),
            (json!([too_long]), length(&too_long)),
        ] {
            assert_eq!(asked(actions, json!([])), Err(fault));
        }
        for resource in [
            "cluster/abc",
            "",
            "**",
            "arn:aws:dsql:us-east-1:012345678912",
            "arn:aws:dsql:us-east-1:012345678912:",
            "arn::dsql:us-east-1:012345678912:cluster/abc",
            "arn:aws::us-east-1:012345678912:cluster/abc",
            "ARN:aws:dsql:us-east-1:012345678912:cluster/abc",
        ] {
            let fault =
                format!("InvalidInput: ResourceNames are not in a valid ARN format: {resource}.");
            let said = asked(json!(["dsql:DbConnect"]), json!([CLUSTER, resource]));
            assert_eq!(said.unwrap_err(), fault);
            // Of a principal's policies too.
            let input = json!({"ActionNames": ["dsql:DbConnect"], "ResourceArns": [resource]});
            assert_eq!(simulate_of(CALLER, input).unwrap_err().to_string(), fault);
        }
        for resource in [
            "*",
            "arn:aws:s3:::bucket/*",
            "arn:aws:lambda:us-east-1:1:function:f:1",
        ] {
            assert!(
                asked(json!([long, "a:b"]), json!([resource])).is_ok(),
                "{resource}"
            );
        }
    }

    #[test]
    fn faults_are_named() {
        let asked = |more: Value| {
            let mut input = json!({"PolicyInputList": [policy("Allow", json!({}))],
                "ActionNames": ["a:b"]});
            for (name, value) in more.as_object().unwrap() {
                input[name] = value.clone();
            }
            input
        };
        let entry = |values: Value, kind: &str| {
            asked(json!({"ContextEntries": [{"ContextKeyName": "a:b",
                "ContextKeyValues": values, "ContextKeyType": kind}]}))
        };
        let resource = policy("Allow", json!({"Principal": "*"}));
        for (input, fault) in [
            (
                json!({"PolicyInputList": ["{}"], "ActionNames": ["a:b"]}),
                "PolicyInputList.1: missing field `Statement` at line 1 column 2",
            ),
            (
                json!({"PolicyInputList": ["p.json"], "ActionNames": ["a:b"]}),
                "PolicyInputList.1: expected value at line 1 column 1; a policy is JSON, or file://PATH",
            ),
            (
                json!({"PolicyInputList": ["\u{feff}{}"], "ActionNames": ["a:b"]}),
                "PolicyInputList.1: it starts with a byte order mark, which JSON does not have",
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
            (
                asked(json!({"CallerArn": "arn:aws:iam::012345678912:root"})),
                "--caller-arn: arn:aws:iam::012345678912:root is not the ARN of a user",
            ),
            (
                asked(json!({"ResourcePolicy": resource})),
                "--caller-arn is needed with --resource-policy",
            ),
            (
                asked(json!({"ResourceOwner": "me"})),
                "--resource-owner: me is not an account",
            ),
            (
                entry(json!(["x"]), "numeric"),
                "--context-entries: \"x\" for a:b is not of type numeric",
            ),
            (
                entry(json!(["x", "y"]), "string"),
                "--context-entries: a:b is no list and has not one value",
            ),
            (
                entry(json!(["x"]), "text"),
                "--context-entries: \"text\" is no ContextKeyType",
            ),
        ] {
            let said = simulate(input).unwrap_err().to_string();
            assert!(said.starts_with(fault), "{said}");
        }
        for (source, fault) in [
            (SESSION, "is not the ARN of a user, a group or a role"),
            (
                "arn:aws:iam::012345678912:group/none",
                "is in no document of",
            ),
            (
                "arn:aws:iam::012345678912:user/none",
                "is in no document of",
            ),
        ] {
            let asked = json!({"ActionNames": ["a:b"]});
            let said = simulate_of(source, asked).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{source} {fault}")), "{said}");
        }
    }
}
