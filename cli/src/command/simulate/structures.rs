//! The structures of the input, in the AWS CLI's shorthand or as JSON.

use dsql_iam_core::json::{self, JsonError, not_null};
use dsql_iam_core::objects_only;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Error, error};
use crate::shared::file_argument;
use crate::shared::shorthand::Fields;

/// A condition key of the simulated request, with its values.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
pub struct ContextEntry {
    pub context_key_name: String,
    pub context_key_values: Vec<String>,
    #[serde(default, deserialize_with = "not_null")]
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
    #[serde(deserialize_with = "not_null")]
    pub policy_type: Option<String>,
    #[serde(deserialize_with = "not_null")]
    pub policy_arn: Option<String>,
    #[serde(deserialize_with = "not_null")]
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
    ContextEntry => "an entry of ContextEntries",
    OrganizationLevel => "the policies of a level of an organization",
    PolicyIdentifier => "what says which policies to leave out",
    InlinePolicyIdentifier => "an InlinePolicyIdentifier",
}

/// A list of structures, each in AWS's shorthand or as JSON: one structure each, or all in one list.
fn structures<T: DeserializeOwned>(
    option: &str,
    texts: Vec<String>,
    shorthand: impl Fn(&str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    for text in texts {
        let text = file_argument::contents(text)?;
        let fault = |fault: String| error(format!("{option}: {fault}"));
        let not_json = |found: JsonError| fault(found.to_string());
        match text.trim_start().chars().next() {
            Some('[') => all.extend(json::from_str::<Vec<T>>(&text).map_err(not_json)?),
            Some('{') => all.push(json::from_str(&text).map_err(not_json)?),
            _ => {
                let or_json = |said| fault(format!("{said}, or as JSON"));
                all.push(shorthand(&text).map_err(or_json)?);
            }
        }
    }
    Ok(all)
}

/// The condition keys of `--context-entries`.
pub fn context_entries(texts: Vec<String>) -> Result<Vec<ContextEntry>, Error> {
    let form = "ContextKeyName=KEY,ContextKeyValues=VALUE,…,ContextKeyType=TYPE";
    let names = ["ContextKeyName", "ContextKeyValues", "ContextKeyType"];
    structures("--context-entries", texts, |text| {
        let mut fields = Fields::read(form, &names, text)?;
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
        let mut fields = Fields::read(form, &names, text)?;
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
            let mut fields = Fields::read(form, &names, inline)?;
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
        let mut fields = Fields::read(form, &names, text)?;
        let identifier = PolicyIdentifier {
            policy_type: fields.one("PolicyType")?,
            policy_arn: fields.one("PolicyArn")?,
            inline_policy_identifier: None,
        };
        Ok(identifier)
    })
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
            ("", "\"\" is not of the form NAME=VALUE"),
            ("aws:x=y", "unknown field aws:x"),
            ("ContextKeyName=a", "ContextKeyValues is missing"),
            ("ContextKeyValues=a", "ContextKeyName is missing"),
            (
                "ContextKeyName=a,b,ContextKeyValues=a",
                "ContextKeyName takes one value",
            ),
            (
                "ContextKeyName=a,ContextKeyName=b,ContextKeyValues=a",
                "duplicate field ContextKeyName",
            ),
            (
                "ContextKeyName='a,ContextKeyValues=b",
                "unterminated quote (')",
            ),
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
                "unknown field InlinePolicyIdentifier",
            ),
            ("PolicyName=p", "unknown field PolicyName"),
            ("PolicyType=a,PolicyType=b", "duplicate field PolicyType"),
            ("PolicyType=a,b", "PolicyType takes one value"),
            (r#"{"PolicyName": "p"}"#, "unknown field `PolicyName`"),
        ] {
            let said = exclusions(owned(&[text])).unwrap_err().to_string();
            let start = format!("--policy-exclusion-list: {fault}");
            assert!(said.starts_with(&start), "{said}");
        }
        let said = levels(owned(&["Policies=a"])).unwrap_err().to_string();
        assert!(
            said.contains("unknown field Policies; it is written as Service"),
            "{said}"
        );
    }
}
