//! One stack: its template, and what it is deployed with.

use std::collections::BTreeMap;

use super::yaml;
use crate::command::import::value::{Value, from_json};
use crate::shared::error::Error;

/// The most resources of a stack; CloudFormation takes 500.
const MAX_RESOURCES: usize = 5000;
/// The macro that makes a template of SAM one of CloudFormation.
pub const SAM: &str = "AWS::Serverless-2016-10-31";
/// The macro for further functions.
const LANGUAGE_EXTENSIONS: &str = "AWS::LanguageExtensions";

/// A stack.
pub struct Stack {
    /// its name
    pub name: String,
    /// its template
    pub template: Value,
    /// the values of its parameters
    pub parameters: BTreeMap<String, Value>,
    /// the stack that it is nested in, the resource that it is there, and what that gives its parameters
    pub parent: Option<(usize, String, Value)>,
}

/// A resource of a stack.
#[derive(Clone)]
pub struct Resource {
    /// its name in the template
    pub id: String,
    /// such as `AWS::IAM::Role`
    pub resource_type: String,
    /// what the template says of it
    pub properties: Value,
    /// the condition for it to be there
    pub condition: Option<String>,
}

impl Stack {
    /// Reads a template, JSON or YAML.
    ///
    /// # Errors
    /// A sentence, with the line.
    pub fn read(name: &str, text: &str) -> Result<Self, Error> {
        let text = text.trim_start_matches('\u{feff}');
        let template = match text.trim_start().starts_with('{') {
            true => from_json(text).map_err(Error::of)?,
            false => yaml::read(text)?,
        };
        let Some(Value::Object(resources)) = template.get("Resources") else {
            return Err("not a template: there are no Resources".into());
        };
        if resources.len() > MAX_RESOURCES {
            return Err(format!("there are more than {MAX_RESOURCES} resources").into());
        }
        if let Some(id) = resources.keys().find(|id| id.starts_with("Fn::")) {
            return Err(format!(
                "{id} makes resources, and is not evaluated: import the template as the stack has it \
                 (aws cloudformation get-template --template-stage Processed)"
            ).into());
        }
        Ok(Self {
            name: name.to_owned(),
            template,
            parameters: BTreeMap::new(),
            parent: None,
        })
    }

    /// Gives the parameters their values: those in `given` that the template has, and the defaults.
    pub fn set_parameters(&mut self, given: &[(Option<String>, String, String)]) {
        let Some(Value::Object(declared)) = self.template.get("Parameters").cloned() else {
            return;
        };
        for (name, parameter) in &declared {
            if self.given_by_parent(name).is_some() {
                continue;
            }
            let of_any = |of: &Option<String>| of.as_ref().is_none_or(|of| *of == self.name);
            let mut given = given.iter().rev();
            let given = given.find(|(of, known, _)| of_any(of) && known == name);
            let kind = parameter
                .get("Type")
                .and_then(Value::as_text)
                .unwrap_or_default();
            let value = match given {
                Some((_, _, value)) => Some(Value::text(value)),
                // The name of what holds the value.
                None if kind.starts_with("AWS::SSM::Parameter::Value<") => None,
                None => parameter.get("Default").cloned(),
            };
            let unknown = || Value::unknown(format!("parameter {name} of {}", self.name));
            let value = match (value, kind.contains("List")) {
                (Some(Value::Text(text)), true) => {
                    let texts = text.split(',').map(|one| Value::text(one.trim()));
                    Value::List(texts.collect())
                }
                (Some(value), _) => value,
                (None, _) => unknown(),
            };
            self.parameters.insert(name.clone(), value);
        }
    }

    /// The value that the stack around it gives a parameter, and that stack.
    pub fn given_by_parent(&self, parameter: &str) -> Option<(usize, &Value)> {
        let (parent, _, given) = self.parent.as_ref()?;
        Some((*parent, given.get(parameter)?))
    }

    /// Whether it is nested in the stack `parent`, as the resource `id` there.
    pub fn is_nested_as(&self, parent: usize, id: &str) -> bool {
        self.parent
            .as_ref()
            .is_some_and(|(of, known, _)| *of == parent && known == id)
    }

    /// A section of the template, as an object.
    pub fn section(&self, name: &str) -> BTreeMap<String, Value> {
        match self.template.get(name) {
            Some(Value::Object(members)) => members.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// A member of a section.
    pub fn member(&self, section: &str, name: &str) -> Option<&Value> {
        self.template.get(section)?.get(name)
    }

    /// The resource of that name.
    pub fn resource(&self, id: &str) -> Option<Resource> {
        let resource = self.member("Resources", id)?;
        Some(Resource {
            id: id.to_owned(),
            resource_type: resource
                .get("Type")
                .and_then(Value::as_text)
                .unwrap_or_default(),
            properties: resource
                .get("Properties")
                .cloned()
                .unwrap_or(Value::object::<String>([])),
            condition: resource.get("Condition").and_then(Value::as_text),
        })
    }

    /// All resources.
    pub fn resources(&self) -> Vec<Resource> {
        let ids = self.section("Resources").into_keys();
        ids.filter_map(|id| self.resource(&id)).collect()
    }

    /// The macros that the template goes through and that are not known here.
    pub fn unknown_macros(&self) -> Vec<String> {
        let transform = self
            .template
            .get("Transform")
            .cloned()
            .unwrap_or(Value::Null);
        let names = transform.elements().iter().map(|one| match one {
            Value::Object(members) => members.get("Name").and_then(Value::as_text),
            one => one.as_text(),
        });
        let names = names.map(|name| name.unwrap_or_else(|| "a macro".into()));
        names
            .filter(|name| name != SAM && name != LANGUAGE_EXTENSIONS)
            .collect()
    }
}
