//! IAM's simulations in AWS's query protocol, as SDKs ask for them through `AWS_ENDPOINT_URL_IAM`.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html> and
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulateCustomPolicy.html>. The decision is that of the
//! commands `dsql-iam simulate-…`; no file of this machine is read for it. Of the documents a caller learns nothing but of
//! the users, groups and roles that it may simulate: the trust policies of others have no part.

use std::collections::BTreeMap;

use aws_smithy_xml::encode::ScopeWriter;
use dsql_iam_core::json;
use dsql_iam_core::sigv4::ReceivedRequest;
use dsql_iam_core::sts::{StsEnvironment, StsError, check_permission};
use dsql_iam_core::{Authenticated, IamArn, IamKind, Identities};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::query::{self, Parameters};
use crate::command::simulate::{Asked, Error, Input, simulate_custom, simulate_principal};

/// The service that requests are signed for.
pub const SERVICE: &str = "iam";
/// The version of the interface, which requests name.
const VERSION: &str = "2010-05-08";
/// The namespace of the answers.
const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// How many results a page has by itself.
const PAGE: usize = 100;
/// The largest page that may be asked for.
const MAX_PAGE: usize = 1000;
/// The most pairs of an action and a resource in one request; AWS documents no number.
const MAX_PAIRS: usize = 10_000;
/// AWS's words for a policy that cannot be evaluated.
const NOT_EVALUATED: &str =
    "The request failed because a provided policy could not be successfully evaluated.";
/// AWS's words for a caller that is anything but a user.
const NO_USER: &str = "Invalid caller - Caller must be an IAM user in this context.";
/// The most parts that the name of a parameter has.
const MAX_DEPTH: usize = 8;

/// Whether a request is for IAM: by the version of the interface that it names.
pub fn is_asked(received: &ReceivedRequest<'_>) -> bool {
    form_urlencoded::parse(received.body).any(|(name, value)| name == "Version" && value == VERSION)
}

/// The answer to an authorized request.
pub struct Performed {
    /// The answer.
    pub answer: Answer,
    /// Why nothing was simulated, for the log.
    pub refusal: Option<String>,
}

/// Answers a request that `caller` has signed.
///
/// # Errors
/// If it is not one, or if the caller's policies do not allow it.
pub fn perform(
    received: &ReceivedRequest<'_>,
    caller: &Authenticated<'_>,
    environment: &StsEnvironment<'_>,
) -> Result<Performed, StsError> {
    let mut parameters = Parameters::of(received)?;
    let (action, version) = parameters.action();
    let source = match action.as_str() {
        "SimulatePrincipalPolicy" => parameters.needed("PolicySourceArn")?,
        "SimulateCustomPolicy" => "*".to_owned(),
        _ => return Err(query::no_operation(&action, &version)),
    };
    let permission = format!("iam:{action}");
    check_permission(caller, &permission, &source, environment)?;
    let is_user = match parameters.get("CallerArn") {
        // Their tags and ids come into it as well.
        Some(simulated) if action == "SimulatePrincipalPolicy" && simulated != source => {
            let is_user = is_user(simulated);
            if is_user {
                check_permission(caller, &permission, simulated, environment)?;
            }
            is_user
        }
        _ => true,
    };
    let page = page(&mut parameters);
    let simulated = page.and_then(|page| {
        if !is_user {
            return Err(invalid(NO_USER.to_owned()));
        }
        let answer = simulate(&action, &source, parameters.rest(), environment.identities)?;
        page.of(answer)
    });
    Ok(match simulated {
        Ok(result) => Performed {
            answer: query::answer(NAMESPACE, &action, |scope| members(scope, &result)),
            refusal: None,
        },
        Err(fault) => {
            let (code, status, text) = fault.parts();
            let (arn, text) = (caller.arn(), with_parameters(text));
            let message = without_documents(&fault, &source).unwrap_or_else(|| text.clone());
            Performed {
                answer: query::error(NAMESPACE, status, code, &message),
                refusal: Some(format!(
                    "{code}: {permission} on {source}, by {arn}: {text}"
                )),
            }
        }
    })
}

/// The answer to what is refused, in IAM's namespace.
pub fn fault(status: u16, code: &str, message: &str) -> Answer {
    query::error(NAMESPACE, status, code, message)
}

/// AWS's words in place of those that tell of documents.
fn without_documents(fault: &Error, source: &str) -> Option<String> {
    match fault {
        Error::NoSuchEntity(_) => {
            let resource = source.rsplit(':').next().unwrap_or_default();
            let (kind, name) = resource.split_once('/').unwrap_or_default();
            let name = name.rsplit('/').next().unwrap_or_default();
            Some(format!("The {kind} with name {name} cannot be found."))
        }
        Error::Incomplete(_) => Some(NOT_EVALUATED.to_owned()),
        _ => None,
    }
}

/// The results of all pages.
fn simulate(
    action: &str,
    source: &str,
    parameters: BTreeMap<String, String>,
    identities: &Identities,
) -> Result<Value, Error> {
    let is_principals = action == "SimulatePrincipalPolicy";
    let of_other_operation: &[&str] = match is_principals {
        true => &["OrderedOrganizationPolicyInputList"],
        false => &["PolicyExclusionList", "PolicySourceArn"],
    };
    let is_unknown = |name: &&String| of_other_operation.iter().any(|of| name.starts_with(of));
    if let Some(name) = parameters.keys().find(is_unknown) {
        return Err(invalid(format!("Parameter {name} is not known.")));
    }
    let text = structure(parameters)?.to_string();
    let mut input: Input = json::from_str(&text).map_err(|fault| invalid(fault.to_string()))?;
    if input.action_names.is_empty() {
        return Err(missing("actionNames"));
    }
    if !is_principals && input.policy_input_list.is_empty() {
        return Err(missing("policyInputList"));
    }
    input.check()?;
    if input.action_names.len() * input.resource_arns.len() > MAX_PAIRS {
        return Err(invalid(format!(
            "There are more than {MAX_PAIRS} pairs of an action and a resource."
        )));
    }
    if is_principals {
        input.policy_source_arn = Some(source.to_owned());
        simulate_principal(&input, identities, Asked::OverHttp)
    } else {
        simulate_custom(&input, Asked::OverHttp)
    }
}

fn is_user(arn: &str) -> bool {
    IamArn::parse(arn).is_ok_and(|arn| arn.kind == IamKind::User)
}

fn invalid(text: String) -> Error {
    Error::InvalidInput(text)
}

fn missing(name: &str) -> Error {
    Error::Validation(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    ))
}

/// A sentence with the names of parameters for those of the command's options.
fn with_parameters(text: &str) -> String {
    let word = |word: &str| match word.strip_prefix("--") {
        None => word.to_owned(),
        Some(option) => option
            .split('-')
            .map(|part| {
                let (first, rest) = part.split_at(part.len().min(1));
                format!("{}{rest}", first.to_uppercase())
            })
            .collect(),
    };
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

/// Which part of the results is asked for.
struct Page {
    start: usize,
    len: usize,
}

fn page(parameters: &mut Parameters) -> Result<Page, Error> {
    let len = match parameters.take("MaxItems") {
        None => PAGE,
        Some(text) => {
            let len = text.parse().ok().filter(|len| (1..=MAX_PAGE).contains(len));
            len.ok_or_else(|| {
                Error::Validation(format!(
                    "1 validation error detected: Value '{text}' at 'maxItems' failed to satisfy constraint: \
                     Member must have value between 1 and {MAX_PAGE}"
                ))
            })?
        }
    };
    let start = match parameters.take("Marker") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| invalid(format!("Invalid Marker: {text}")))?,
    };
    Ok(Page { start, len })
}

impl Page {
    /// The part of an answer with all results.
    fn of(&self, mut answer: Value) -> Result<Value, Error> {
        let Some(Value::Array(results)) = answer.get_mut("EvaluationResults") else {
            return Ok(answer);
        };
        if self.start > results.len() {
            return Err(invalid(format!("Invalid Marker: {}", self.start)));
        }
        results.drain(..self.start);
        let is_truncated = results.len() > self.len;
        results.truncate(self.len);
        answer["IsTruncated"] = json!(is_truncated);
        if is_truncated {
            answer["Marker"] = json!((self.start + self.len).to_string());
        }
        Ok(answer)
    }
}

/// A node of the structure that the names of parameters make.
#[derive(Default)]
struct Node {
    value: Option<String>,
    parts: BTreeMap<String, Node>,
}

/// The structure that dotted names make, as `ContextEntries.member.1.ContextKeyName`.
fn structure(parameters: BTreeMap<String, String>) -> Result<Value, Error> {
    let mut root = Node::default();
    for (name, value) in parameters {
        // Some clients write an empty list so.
        if value.is_empty() && !name.contains('.') {
            continue;
        }
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() > MAX_DEPTH {
            return Err(invalid(format!("Parameter {name} is not known.")));
        }
        let mut node = &mut root;
        for part in parts {
            node = node.parts.entry(part.to_owned()).or_default();
        }
        node.value = Some(value);
    }
    root.structure("")
}

impl Node {
    fn structure(mut self, name: &str) -> Result<Value, Error> {
        let malformed = || invalid(format!("The parameters of {name} are malformed."));
        match (self.value, self.parts.remove("member")) {
            (Some(value), None) if self.parts.is_empty() => Ok(Value::String(value)),
            (None, Some(list)) if self.parts.is_empty() && list.value.is_none() => {
                let mut members = BTreeMap::new();
                for (number, member) in list.parts {
                    let place: usize = number.parse().map_err(|_| malformed())?;
                    if members.insert(place, member.structure(name)?).is_some() {
                        return Err(malformed());
                    }
                }
                // From 1 on, and none left out: it could have been meant to narrow something.
                let is_complete = members.keys().copied().eq(1..=members.len());
                let members = members.into_values().collect();
                is_complete
                    .then_some(Value::Array(members))
                    .ok_or_else(malformed)
            }
            (None, None) => {
                let parts = self.parts.into_iter();
                let members = parts.map(|(name, part)| Ok((name.clone(), part.structure(&name)?)));
                Ok(Value::Object(
                    members.collect::<Result<Map<_, _>, Error>>()?,
                ))
            }
            _ => Err(malformed()),
        }
    }
}

/// The members of a structure as elements.
fn members(scope: &mut ScopeWriter<'_, '_>, structure: &Value) {
    let members = structure.as_object().into_iter().flatten();
    for (name, value) in members {
        match value {
            Value::Array(list) => {
                let mut scope = scope.start_el(name).finish();
                for value in list {
                    element(&mut scope, "member", value);
                }
                scope.finish();
            }
            // The one map that there is.
            Value::Object(map) if name == "EvalDecisionDetails" => {
                let mut scope = scope.start_el(name).finish();
                for (key, value) in map {
                    let entry = json!({"key": key, "value": value});
                    element(&mut scope, "entry", &entry);
                }
                scope.finish();
            }
            value => element(scope, name, value),
        }
    }
}

fn element(scope: &mut ScopeWriter<'_, '_>, name: &str, value: &Value) {
    match value {
        Value::Object(_) => {
            let mut scope = scope.start_el(name).finish();
            members(&mut scope, value);
            scope.finish();
        }
        Value::String(text) => query::element(scope, name, text),
        other => query::element(scope, name, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Value, String> {
        let parameters = form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        structure(parameters).map_err(|fault| fault.to_string())
    }

    #[test]
    fn dotted_names_make_a_structure() {
        let found = read(
            "ActionNames.member.1=a:b&ActionNames.member.2=a:c&ResourceArns=&CallerArn=x\
             &ContextEntries.member.1.ContextKeyName=k&ContextEntries.member.1.ContextKeyValues.member.1=v",
        );
        let expected = json!({
            "ActionNames": ["a:b", "a:c"],
            "CallerArn": "x",
            "ContextEntries": [{"ContextKeyName": "k", "ContextKeyValues": ["v"]}],
        });
        assert_eq!(found.unwrap(), expected);
        for body in [
            "ActionNames.member.2=a",
            "ActionNames.member.0=a",
            "ActionNames.member.1=a&ActionNames.member.3=b",
            "ActionNames.member.1=a&ActionNames.member.01=b",
            "ActionNames.member.x=a",
            "ActionNames.member=a",
            "ActionNames=a&ActionNames.member.1=b",
            "ActionNames.1=a&ActionNames.member.1=b",
        ] {
            let fault = read(body).unwrap_err();
            assert_eq!(
                fault, "InvalidInput: The parameters of ActionNames are malformed.",
                "{body}"
            );
        }
        let deep = format!("a{}=x", ".a".repeat(MAX_DEPTH));
        assert!(read(&deep).unwrap_err().ends_with(" is not known."));
    }

    #[test]
    fn sentences_name_parameters() {
        let said =
            "--caller-arn is needed with --resource-policy, whose Principal it is compared with";
        let expected =
            "CallerArn is needed with ResourcePolicy, whose Principal it is compared with";
        assert_eq!(with_parameters(said), expected);
        assert_eq!(with_parameters("-- a  b"), " a  b");
    }

    #[test]
    fn pages_follow_each_other() {
        let all = json!({"EvaluationResults": [1, 2, 3], "IsTruncated": false});
        for (start, len, expected) in [
            (
                0,
                2,
                json!({"EvaluationResults": [1, 2], "IsTruncated": true, "Marker": "2"}),
            ),
            (
                2,
                2,
                json!({"EvaluationResults": [3], "IsTruncated": false}),
            ),
            (3, 2, json!({"EvaluationResults": [], "IsTruncated": false})),
            (
                0,
                3,
                json!({"EvaluationResults": [1, 2, 3], "IsTruncated": false}),
            ),
        ] {
            assert_eq!(Page { start, len }.of(all.clone()).unwrap(), expected);
        }
        assert!(Page { start: 4, len: 1 }.of(all).is_err());
    }
}
