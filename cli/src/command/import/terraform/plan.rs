//! The JSON of `terraform show -json`: a plan or a state, as
//! <https://developer.hashicorp.com/terraform/internals/json-format> describes it.

use std::collections::{BTreeMap, HashMap};

use crate::command::import::value::Value;
use crate::shared::error::Error;

/// The most instances of resources that are read.
const MAX_INSTANCES: usize = 100_000;
/// How deep modules may be in modules.
const MAX_DEPTH: usize = 64;

/// One instance of a resource, or of a data source.
pub struct Instance {
    /// its address, with the keys of it and of its modules
    pub address: String,
    /// the address of the instance of the module that it is in; empty for the root
    pub module: String,
    /// whether it is a data source
    pub is_data: bool,
    /// such as `aws_iam_role`
    pub resource_type: String,
    /// its name in the module
    pub name: String,
    /// its key, if it has `count` or `for_each`
    pub key: Option<Value>,
    /// an object of its attributes, of which some may be unknown
    pub values: Value,
}

/// The plan as it was read.
pub struct Plan {
    /// all instances, in the order of the input
    pub instances: Vec<Instance>,
    /// the place of each instance, by its address
    pub by_address: HashMap<String, usize>,
    /// the values of the root module's variables
    pub variables: BTreeMap<String, Value>,
    /// the configuration, in a plan
    pub configuration: Option<Value>,
}

/// Reads a plan or a state.
///
/// # Errors
/// A sentence, if it is neither.
pub fn read(json: &Value) -> Result<Plan, Error> {
    let version = json.get("format_version").and_then(Value::as_text);
    match version
        .as_deref()
        .and_then(|version| version.split('.').next())
    {
        Some("0" | "1") => {}
        Some(_) => return Err("its format_version is not 1".into()),
        None => {
            return Err(
                "not the output of terraform show -json: there is no format_version".into(),
            );
        }
    }
    if json.get("errored").and_then(Value::as_bool) == Some(true) {
        return Err("the plan is incomplete: Terraform could not finish it (errored)".into());
    }
    if json.get("complete").and_then(Value::as_bool) == Some(false) {
        return Err(
            "the plan is incomplete: changes were deferred or targeted (complete is false)".into(),
        );
    }
    let mut plan = Plan {
        instances: Vec::new(),
        by_address: HashMap::new(),
        variables: variables(json),
        configuration: json.get("configuration").cloned(),
    };
    let planned = json.get("planned_values");
    let state = json.get("values");
    if planned.is_none() && state.is_none() {
        return Err("neither a plan nor a state: there are no planned_values and no values".into());
    }
    for values in [planned, state].into_iter().flatten() {
        if let Some(root) = values.get("root_module") {
            plan.module(root, "", false, 0)?;
        }
    }
    plan.changes(json)?;
    let before = json
        .get("prior_state")
        .and_then(|state| state.get("values"));
    if let Some(root) = before.and_then(|values| values.get("root_module")) {
        plan.module(root, "", true, 0)?;
    }
    Ok(plan)
}

fn variables(json: &Value) -> BTreeMap<String, Value> {
    let Some(Value::Object(variables)) = json.get("variables") else {
        return BTreeMap::new();
    };
    let variables = variables.iter();
    variables
        .map(|(name, variable)| {
            let value = variable.get("value").cloned().unwrap_or(Value::Null);
            (name.clone(), value)
        })
        .collect()
}

impl Plan {
    /// Reads the resources of a module and of those in it; only data sources of `before`, the state that the
    /// plan began with: what else is in there may be about to change.
    fn module(
        &mut self,
        module: &Value,
        address: &str,
        before: bool,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(format!("modules are nested deeper than {MAX_DEPTH}").into());
        }
        for resource in module.get("resources").map_or(&[][..], Value::elements) {
            let instance = instance(resource, address)?;
            if !before || instance.is_data {
                self.add(instance)?;
            }
        }
        for child in module.get("child_modules").map_or(&[][..], Value::elements) {
            let address = text(child, "address")?;
            self.module(child, &address, before, depth + 1)?;
        }
        Ok(())
    }

    /// Adds an instance, unless it is there.
    fn add(&mut self, instance: Instance) -> Result<(), Error> {
        if self.instances.len() >= MAX_INSTANCES {
            return Err(
                format!("there are more than {MAX_INSTANCES} instances of resources").into(),
            );
        }
        if !self.by_address.contains_key(&instance.address) {
            let place = self.instances.len();
            self.by_address.insert(instance.address.clone(), place);
            self.instances.push(instance);
        }
        Ok(())
    }

    /// Marks what a plan does not know, and adds the data sources that are read only when it is carried out.
    fn changes(&mut self, json: &Value) -> Result<(), Error> {
        for change in json
            .get("resource_changes")
            .map_or(&[][..], Value::elements)
        {
            // A deposed instance is one that is to be destroyed.
            if change.get("deposed").is_some() {
                continue;
            }
            let Some(body) = change.get("change") else {
                continue;
            };
            let after = body.get("after");
            let module = change.get("module_address").and_then(Value::as_text);
            let address = text(change, "address")?;
            if !self.by_address.contains_key(&address) && after.is_some() {
                let mut added = instance(change, module.as_deref().unwrap_or(""))?;
                added.values = after.cloned().unwrap_or(Value::Null);
                self.add(added)?;
            }
            let unknown = body.get("after_unknown");
            if let (Some(place), Some(unknown)) = (self.by_address.get(&address), unknown) {
                let values = &mut self.instances[*place].values;
                *values = mark(std::mem::replace(values, Value::Null), unknown, &address);
            }
        }
        Ok(())
    }
}

fn text(json: &Value, name: &str) -> Result<String, Error> {
    let text = json.get(name).and_then(Value::as_text);
    text.ok_or_else(|| format!("a resource or module has no {name}").into())
}

fn instance(resource: &Value, module: &str) -> Result<Instance, Error> {
    Ok(Instance {
        address: text(resource, "address")?,
        module: module.to_owned(),
        is_data: text(resource, "mode")? == "data",
        resource_type: text(resource, "type")?,
        name: text(resource, "name")?,
        key: resource.get("index").cloned(),
        values: resource.get("values").cloned().unwrap_or(Value::Null),
    })
}

/// The value with the parts that are `unknown` taken for that; `name` is what it is called.
fn mark(value: Value, unknown: &Value, name: &str) -> Value {
    match unknown {
        Value::Bool(true) => Value::unknown(name),
        Value::Object(parts) if !parts.is_empty() => {
            let mut members = match value {
                Value::Object(members) => members,
                _ => BTreeMap::new(),
            };
            for (member, part) in parts {
                let before = members.remove(member).unwrap_or(Value::Null);
                let marked = mark(before, part, &format!("{name}.{member}"));
                if marked != Value::Null {
                    members.insert(member.clone(), marked);
                }
            }
            Value::Object(members)
        }
        Value::List(parts) => {
            let mut list = match value {
                Value::List(list) => list,
                // An empty list says that nothing in it is unknown.
                other if parts.is_empty() => return other,
                _ => Vec::new(),
            };
            for (index, part) in parts.iter().enumerate() {
                let name = format!("{name}[{index}]");
                match list.get_mut(index) {
                    Some(element) => {
                        *element = mark(std::mem::replace(element, Value::Null), part, &name);
                    }
                    None => list.push(mark(Value::Null, part, &name)),
                }
            }
            Value::List(list)
        }
        _ => value,
    }
}
