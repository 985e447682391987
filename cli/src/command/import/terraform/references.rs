//! The expressions of a plan's `configuration`: constants, and what an expression refers to, but not the
//! expression itself.
//!
//! Where an expression refers to one value and to nothing else, it is taken to be that value: the plan does
//! not tell `X.arn` from `"${X.arn}/y"`. The summary names each that was read so; `--source` reads the
//! expression itself.

use super::address::{self, Step};
use super::resolve::{Program, Scope};
use crate::command::import::value::Value;
use crate::shared::error::Error;

impl Program {
    /// Fills in what is unknown in a value, from the expression for it. `attribute` is what it is the value of.
    ///
    /// # Errors
    /// Those of [`attribute`](Self::attribute).
    pub fn fill(
        &mut self,
        value: Value,
        expression: &Value,
        attribute: &str,
        scope: &Scope,
    ) -> Result<Value, Error> {
        self.spend()?;
        if value.is_known() {
            return Ok(value);
        }
        if let Value::Object(members) = expression
            && let Some(constant) = members.get("constant_value")
        {
            return Ok(constant.clone());
        }
        if let Some(references) = expression.get("references") {
            return self.refer(value, references, attribute, scope);
        }
        match (value, expression) {
            (Value::Object(members), Value::Object(expressions)) => {
                let mut filled = members;
                for (name, member) in &mut filled {
                    if let Some(expression) = expressions.get(name) {
                        let value = std::mem::replace(member, Value::Null);
                        *member = self.fill(value, expression, name, scope)?;
                    }
                }
                Ok(Value::Object(filled))
            }
            (Value::List(list), Value::List(expressions)) if list.len() == expressions.len() => {
                let pairs = list.into_iter().zip(expressions);
                let filled =
                    pairs.map(|(one, expression)| self.fill(one, expression, attribute, scope));
                filled.collect::<Result<_, _>>().map(Value::List)
            }
            // A block of which there can be one is a list of one.
            (Value::List(mut list), expression @ Value::Object(_)) if list.len() == 1 => {
                let only = list.pop().unwrap_or(Value::Null);
                Ok(Value::List(vec![
                    self.fill(only, expression, attribute, scope)?,
                ]))
            }
            (value, _) => Ok(value),
        }
    }

    /// Puts what is referred to in the place of what is unknown.
    fn refer(
        &mut self,
        value: Value,
        references: &Value,
        attribute: &str,
        scope: &Scope,
    ) -> Result<Value, Error> {
        let texts: Vec<String> = references
            .elements()
            .iter()
            .filter_map(Value::as_text)
            .collect();
        // `X.arn` comes with `X`.
        let is_part = |text: &str| {
            texts.iter().any(|other| {
                other
                    .strip_prefix(text)
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
            })
        };
        let whole: Vec<&String> = texts.iter().filter(|text| !is_part(text)).collect();
        let mut found = Vec::new();
        match whole[..] {
            [one] => found.push(self.referred(one, attribute, scope)?),
            [resource, key] if is_key(key) => {
                found.push(self.keyed(resource, key, attribute, scope)?)
            }
            [key, resource] if is_key(key) => {
                found.push(self.keyed(resource, key, attribute, scope)?)
            }
            _ => {
                for one in &whole {
                    found.push(self.referred(one, attribute, scope)?);
                }
            }
        }
        let name = match value.first_unknown() {
            Some(name) => name.to_string(),
            None => attribute.to_owned(),
        };
        let several = || Value::unknown(format!("{name}, made of {}", texts.join(", ")));
        let filled = match (value, &found[..]) {
            (Value::Unknown(_), [only]) => only.clone(),
            (Value::List(list), found) => {
                let unknown = list.iter().filter(|one| !one.is_known()).count();
                let is_whole = list
                    .iter()
                    .all(|one| one.is_known() || matches!(one, Value::Unknown(_)));
                match found {
                    [Value::List(only)] if unknown == list.len() => Value::List(only.clone()),
                    found if is_whole && unknown == found.len() => {
                        let mut found = found.iter();
                        let next = |one: Value| match one.is_known() {
                            true => Some(one),
                            false => found.next().cloned(),
                        };
                        Value::List(list.into_iter().filter_map(next).collect())
                    }
                    _ => several(),
                }
            }
            _ => several(),
        };
        if filled.is_known() {
            let whole: Vec<&str> = whole.into_iter().map(String::as_str).collect();
            let line = format!(
                "{name}: {}, all that its expression refers to",
                whole.join(", ")
            );
            self.filled_in.push(line);
        }
        Ok(filled)
    }

    /// The target of a reference of the configuration.
    fn referred(&mut self, text: &str, attribute: &str, scope: &Scope) -> Result<Value, Error> {
        let Some(mut steps) = address::steps(text) else {
            return Ok(Value::unknown(text));
        };
        // The target behind a splat, or a key that is not a constant, is not told.
        if names_no_attribute(&steps)
            && let Some(expected) = expected(attribute)
        {
            let is_data = steps.first().and_then(Step::name) == Some("data");
            let names: Vec<&str> = steps.iter().filter_map(Step::name).collect();
            let (resource_type, name) = match (is_data, &names[..]) {
                (false, [resource_type, name]) | (true, [_, resource_type, name]) => {
                    (*resource_type, *name)
                }
                _ => return Ok(Value::unknown(text)),
            };
            let all = self.instances(&scope.module, (is_data, resource_type, name));
            if all
                .iter()
                .any(|index| self.plan.instances[*index].key.is_some())
            {
                // One of several, and which is not told.
                return Ok(Value::unknown(text));
            }
            steps.push(Step::Name(expected.into()));
        }
        self.lookup(&steps, scope)
    }

    /// The target of `X[each.key]`, of which the attribute is not told.
    fn keyed(
        &mut self,
        resource: &str,
        key: &str,
        attribute: &str,
        scope: &Scope,
    ) -> Result<Value, Error> {
        let steps = address::steps(resource).zip(address::steps(key));
        let (Some((mut steps, key)), Some(expected)) = (steps, expected(attribute)) else {
            return Ok(Value::unknown(format!("{resource}[{key}]")));
        };
        if !names_no_attribute(&steps) {
            return Ok(Value::unknown(format!("an instance of {resource}")));
        }
        steps.push(Step::Key(self.lookup(&key, scope)?));
        steps.push(Step::Name(expected.into()));
        self.lookup(&steps, scope)
    }
}

fn is_key(reference: &str) -> bool {
    ["each.key", "each.value", "count.index"].contains(&reference)
}

/// Whether the steps are a resource's alone.
fn names_no_attribute(steps: &[Step]) -> bool {
    let names = steps.iter().filter(|step| step.name().is_some()).count();
    match steps.first().and_then(Step::name) {
        Some("data") => names == 3,
        Some("var" | "local" | "module" | "each" | "count" | "path" | "terraform") | None => false,
        Some(_) => names == 2,
    }
}

/// The attribute of a resource that another one's attribute of this name is meant to hold.
fn expected(attribute: &str) -> Option<&'static str> {
    Some(match attribute {
        "role" | "roles" | "user" | "users" | "group" | "groups" => "name",
        "policy_arn" | "permissions_boundary" | "managed_policy_arns" => "arn",
        "identifier" => "identifier",
        _ => return None,
    })
}
