//! `dsql-iam import cloudformation`: templates of CloudFormation, CDK and SAM, as documents.
//!
//! | part | holds |
//! |---|---|
//! | `yaml` | YAML with CloudFormation's tags |
//! | `stack` | a template and its parameters |
//! | `intrinsics` | the functions |
//! | `resources` | which resources become what |
//! | `sam` | the roles that SAM makes |

mod intrinsics;
mod resources;
mod sam;
mod stack;
pub mod yaml;

use std::path::Path;

use super::account::Account;
use super::facts::{Facts, NO_ACCOUNT};
use super::value::Value;
use intrinsics::Stacks;
use stack::Stack;

use crate::shared::error::Error;

/// How the values that are unknown can be had.
pub const WAY_PAST: &str =
    "give --cluster-id, --region or --parameter, or the template of the stack that exports it";

/// The name of the stack of a template's file: the file's, without what tells that it is a template.
pub fn stack_name(file: &Path) -> String {
    let name = file
        .file_name()
        .map_or("stack".into(), |name| name.to_string_lossy());
    let mut name = name.as_ref();
    for suffix in [".json", ".yaml", ".yml", ".template"] {
        name = name.strip_suffix(suffix).unwrap_or(name);
    }
    let fit = |char: char| {
        if char.is_ascii_alphanumeric() {
            char
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(fit).collect();
    match name.trim_matches('-') {
        "" => "stack".into(),
        name => name.into(),
    }
}

/// Makes an account of templates, each with the name of its stack.
///
/// # Errors
/// A sentence: what cannot be read, and where.
pub fn import(
    texts: &[(String, String)],
    parameters: &[String],
    facts: Facts,
) -> Result<Account, Error> {
    let id = facts.account.clone().ok_or(NO_ACCOUNT)?;
    let mut account = Account::new(&id, facts.region.as_deref());
    let parameters = given(parameters)?;
    let mut stacks = Vec::new();
    for (name, text) in texts {
        if stacks.iter().any(|stack: &Stack| stack.name == *name) {
            return Err(format!("duplicate stack {name}").into());
        }
        let mut stack = Stack::read(name, text).map_err(|fault| format!("{name}: {fault}"))?;
        for name in stack.unknown_macros() {
            let place = &stack.name;
            account.refuse_everybody(&format!(
                "{place}: the macro {name}, and its effect on policies,"
            ));
        }
        sam::expand(&mut stack);
        stacks.push(stack);
    }
    nest(&mut stacks);
    for stack in &mut stacks {
        stack.set_parameters(&parameters);
    }
    let known = |key: &str| {
        stacks
            .iter()
            .any(|stack| stack.member("Parameters", key).is_some())
    };
    if let Some((_, key, _)) = parameters.iter().find(|(_, key, _)| !known(key)) {
        return Err(format!("--parameter: no template has a parameter \"{key}\"").into());
    }
    Stacks::new(stacks, facts, &id).put(&mut account)?;
    Ok(account)
}

/// Parameters: the stack, if one is named, the key and the value.
fn given(parameters: &[String]) -> Result<Vec<(Option<String>, String, String)>, Error> {
    let parse = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("--parameter: \"{text}\" is not KEY=VALUE"))?;
        Ok(match key.split_once(':') {
            Some((stack, key)) => (Some(stack.to_owned()), key.to_owned(), value.to_owned()),
            None => (None, key.to_owned(), value.to_owned()),
        })
    };
    parameters.iter().map(parse).collect()
}

/// Finds the stacks that are nested in others, by the file of their template.
fn nest(stacks: &mut [Stack]) {
    let mut nested = Vec::new();
    for (parent, stack) in stacks.iter().enumerate() {
        for resource in stack.resources() {
            if resource.resource_type != "AWS::CloudFormation::Stack" {
                continue;
            }
            let metadata = stack
                .member("Resources", &resource.id)
                .and_then(|one| one.get("Metadata"));
            let asset = metadata.and_then(|metadata| metadata.get("aws:asset:path"));
            let file = asset
                .or_else(|| resource.properties.get("TemplateURL"))
                .and_then(Value::as_text);
            let name = file.map(|file| stack_name(Path::new(&file)));
            let child = stacks
                .iter()
                .position(|stack| Some(&stack.name) == name.as_ref());
            let given = resource.properties.get("Parameters").cloned();
            nested.extend(child.map(|child| (child, parent, resource.id, given)));
        }
    }
    for (child, parent, id, given) in nested {
        stacks[child].parent = Some((parent, id, given.unwrap_or(Value::Null)));
    }
}
