//! The values of attributes: known from the plan, following from what is known, or from the expression that the
//! source or the configuration has for them.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::address::{self, Step, apply};
use super::hcl::{Module, Source};
use super::plan::Plan;
use crate::command::import::facts::Facts;
use crate::command::import::progress::Progress;
use crate::command::import::value::Value;
use crate::shared::error::Error;

/// The attributes that another resource is referred to by.
const REFERRED_TO: [&str; 6] = ["arn", "id", "name", "identifier", "account_id", "json"];

/// Where an expression stands.
#[derive(Clone)]
pub struct Scope {
    /// the address of the module
    pub module: String,
    /// the instance, if the expression is a resource's
    pub instance: Option<usize>,
    /// the key of the instance of the module that is called, if it is the expression of a call
    pub call: Option<(String, Option<Value>)>,
    /// the variables of `for` and `dynamic` around it
    pub locals: Vec<(String, Value)>,
}

impl Scope {
    /// Of a module.
    pub fn module(address: &str) -> Self {
        Self {
            module: address.to_owned(),
            instance: None,
            call: None,
            locals: Vec::new(),
        }
    }
}

/// A plan or a state, and what can be found out about it.
pub struct Program {
    /// what was read
    pub plan: Plan,
    /// the source, if it was given
    pub source: Option<Rc<Source>>,
    /// what the command was told
    pub facts: Facts,
    /// the account of the import
    pub account: String,
    /// what was filled in
    pub filled_in: Vec<String>,
    configuration: Option<Rc<Value>>,
    by_name: HashMap<(String, bool, String, String), Vec<usize>>,
    progress: Progress,
}

impl Program {
    /// Of a plan, and its source.
    pub fn new(mut plan: Plan, source: Option<Source>, facts: Facts) -> Self {
        let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, instance) in plan.instances.iter().enumerate() {
            let (resource_type, name) = (instance.resource_type.clone(), instance.name.clone());
            let key = (
                instance.module.clone(),
                instance.is_data,
                resource_type,
                name,
            );
            by_name.entry(key).or_default().push(index);
        }
        Self {
            configuration: plan.configuration.take().map(Rc::new),
            plan,
            source: source.map(Rc::new),
            facts,
            account: String::new(),
            filled_in: Vec::new(),
            by_name,
            progress: Progress::default(),
        }
    }

    /// Counts a step.
    pub fn spend(&mut self) -> Result<(), Error> {
        self.progress.spend()
    }

    /// The value that `compute` gives, computed once. `name` names it in a cycle.
    fn once(
        &mut self,
        name: String,
        compute: impl FnOnce(&mut Self) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        if let Some(known) = self.progress.begin(&name)? {
            return Ok(known);
        }
        let value = compute(self)?;
        self.progress.finish(name, value)
    }

    /// The module as the configuration of a plan has it.
    fn configured(&self, module: &str) -> Option<&Value> {
        let mut found = self.configuration.as_deref()?.get("root_module")?;
        for name in address::module_names(module) {
            found = found.get("module_calls")?.get(&name)?.get("module")?;
        }
        Some(found)
    }

    /// Whether a provider may have tags for all that it makes.
    pub fn has_default_tags(&self) -> bool {
        let Some(configuration) = self.configuration.as_deref() else {
            return true;
        };
        match configuration.get("provider_config") {
            Some(Value::Object(providers)) => providers.values().any(|provider| {
                let expressions = provider.get("expressions");
                expressions.is_some_and(|expressions| expressions.get("default_tags").is_some())
            }),
            _ => false,
        }
    }

    /// The module as its source has it.
    fn sourced<'s>(source: Option<&'s Rc<Source>>, module: &str) -> Option<&'s Module> {
        source?.module(&address::module_names(module))
    }

    /// The expressions that the configuration of a plan has for a resource.
    pub fn expressions(&self, index: usize) -> Option<Value> {
        let instance = &self.plan.instances[index];
        let mode = if instance.is_data { "data" } else { "managed" };
        let resources = self.configured(&instance.module)?.get("resources")?;
        let mut resources = resources.elements().iter();
        let is = |resource: &&Value, name: &str, expected: &str| {
            resource.get(name).and_then(Value::as_text).as_deref() == Some(expected)
        };
        let found = resources.find(|resource| {
            is(resource, "mode", mode)
                && is(resource, "type", &instance.resource_type)
                && is(resource, "name", &instance.name)
        })?;
        Some(
            found
                .get("expressions")
                .cloned()
                .unwrap_or(Value::object::<String>([])),
        )
    }

    /// Whether the source has a resource, so that its expressions are known as they are.
    pub fn has_source(&self, index: usize) -> bool {
        let instance = &self.plan.instances[index];
        let module = Self::sourced(self.source.as_ref(), &instance.module);
        let (resource_type, name) = (instance.resource_type.clone(), instance.name.clone());
        let key = (instance.is_data, resource_type, name);
        module.is_some_and(|module| module.resources.contains_key(&key))
    }

    /// Whether the configuration or the source has an expression for an attribute; `None` if there is neither.
    pub fn is_configured(&self, index: usize, attribute: &str) -> Option<bool> {
        let instance = &self.plan.instances[index];
        if let Some(expressions) = self.expressions(index) {
            return Some(expressions.get(attribute).is_some());
        }
        let module = Self::sourced(self.source.as_ref(), &instance.module)?;
        let key = (
            instance.is_data,
            instance.resource_type.clone(),
            instance.name.clone(),
        );
        let body = module.resources.get(&key)?;
        Some(super::hcl::attribute(body, attribute).is_some())
    }

    /// The attribute of an instance: null if it has none.
    ///
    /// # Errors
    /// A sentence, if values refer to themselves, or to find it takes too much.
    pub fn attribute(&mut self, index: usize, attribute: &str) -> Result<Value, Error> {
        let name = format!("{}.{attribute}", self.plan.instances[index].address);
        self.once(name, |program| program.found(index, attribute))
    }

    fn found(&mut self, index: usize, attribute: &str) -> Result<Value, Error> {
        let planned = match &self.plan.instances[index].values {
            Value::Object(members) => members.get(attribute).cloned().unwrap_or(Value::Null),
            unknown @ Value::Unknown(_) => unknown.clone(),
            _ => Value::Null,
        };
        if planned != Value::Null && planned.is_known() {
            return Ok(planned);
        }
        if let Some(follows) = self.follows(index, attribute)? {
            return Ok(follows);
        }
        if planned == Value::Null {
            return Ok(planned);
        }
        self.expressed(index, attribute, planned)
    }

    /// The value of the expression for an attribute, of which the plan has some or nothing.
    pub fn expressed(
        &mut self,
        index: usize,
        attribute: &str,
        planned: Value,
    ) -> Result<Value, Error> {
        let instance = &self.plan.instances[index];
        let address = instance.address.clone();
        let key = (
            instance.is_data,
            instance.resource_type.clone(),
            instance.name.clone(),
        );
        let mut scope = Scope::module(&instance.module);
        scope.instance = Some(index);
        let source = self.source.clone();
        if let Some(body) = Self::sourced(source.as_ref(), &scope.module)
            .and_then(|module| module.resources.get(&key))
            && let Some(value) = self.member(body, attribute, &scope)?
        {
            if value.is_known() {
                self.filled_in
                    .push(format!("{address}.{attribute}: from its source"));
            }
            return Ok(value);
        }
        let expressions = self.expressions(index);
        match expressions
            .as_ref()
            .and_then(|expressions| expressions.get(attribute))
        {
            Some(expression) => self.fill(planned, expression, attribute, &scope),
            None => Ok(planned),
        }
    }

    /// The value that a reference leads to; an unknown one, if to nothing that is known.
    ///
    /// # Errors
    /// Those of [`attribute`](Self::attribute).
    pub fn lookup(&mut self, steps: &[Step], scope: &Scope) -> Result<Value, Error> {
        self.spend()?;
        let unknown = || Value::unknown(address::written(steps));
        let Some(first) = steps.first().and_then(Step::name) else {
            return Ok(unknown());
        };
        if let Some((_, value)) = scope.locals.iter().rev().find(|(name, _)| name == first) {
            return Ok(apply(value.clone(), &steps[1..]));
        }
        let second = steps.get(1).and_then(Step::name).unwrap_or_default();
        let rest = steps.get(2..).unwrap_or_default();
        Ok(match first {
            "var" => apply(self.variable(second, &scope.module)?, rest),
            "local" => apply(self.local(second, &scope.module)?, rest),
            "module" => self
                .output(second, rest, &scope.module)?
                .unwrap_or_else(unknown),
            "each" if second == "key" => self.own_key(scope).unwrap_or_else(unknown),
            "each" => apply(self.each_value(scope)?, rest),
            "count" => self.own_key(scope).unwrap_or_else(unknown),
            "data" => {
                let Some(name) = rest.first().and_then(Step::name) else {
                    return Ok(unknown());
                };
                self.resource((true, second, name), &rest[1..], scope)?
                    .unwrap_or_else(unknown)
            }
            "path" if second != "cwd" => self.directory(second, scope).unwrap_or_else(unknown),
            "path" | "terraform" | "self" | "ephemeral" => unknown(),
            resource_type => self
                .resource((false, resource_type, second), rest, scope)?
                .unwrap_or_else(unknown),
        })
    }

    /// `path.module`, and `path.root`.
    fn directory(&self, name: &str, scope: &Scope) -> Option<Value> {
        let module = if name == "root" { "" } else { &scope.module };
        let module = Self::sourced(self.source.as_ref(), module)?;
        Some(Value::text(module.directory.to_str()?))
    }

    /// The key of the instance that the expression is of.
    fn own_key(&self, scope: &Scope) -> Option<Value> {
        match (&scope.call, scope.instance) {
            (Some((_, key)), _) => key.clone(),
            (None, Some(index)) => self.plan.instances[index].key.clone(),
            (None, None) => None,
        }
    }

    /// `each.value`: what `for_each` has under the key.
    fn each_value(&mut self, scope: &Scope) -> Result<Value, Error> {
        let Some(key) = self.own_key(scope).and_then(|key| key.as_text()) else {
            return Ok(Value::unknown("each.value"));
        };
        let inner = Scope {
            locals: Vec::new(),
            ..scope.clone()
        };
        let source = self.source.clone();
        let module = Self::sourced(source.as_ref(), &scope.module);
        let (body, expression) = match (&scope.call, scope.instance) {
            (Some((name, _)), _) => {
                let call = self
                    .configured(&scope.module)
                    .and_then(|module| module.get("module_calls"));
                let call = call.and_then(|calls| calls.get(name));
                let expression = call
                    .and_then(|call| call.get("for_each_expression"))
                    .cloned();
                (module.and_then(|module| module.calls.get(name)), expression)
            }
            (None, Some(index)) => {
                let instance = &self.plan.instances[index];
                let key = (
                    instance.is_data,
                    instance.resource_type.clone(),
                    instance.name.clone(),
                );
                let expression = self.resource_member(index, "for_each_expression");
                (
                    module.and_then(|module| module.resources.get(&key)),
                    expression,
                )
            }
            (None, None) => (None, None),
        };
        let collection = match (
            body.and_then(|body| super::hcl::attribute(body, "for_each")),
            expression,
        ) {
            (Some(expression), _) => self.evaluate(expression, &inner)?,
            (None, Some(expression)) => self.fill(
                Value::unknown("each.value"),
                &expression,
                "for_each",
                &inner,
            )?,
            (None, None) => Value::unknown("each.value"),
        };
        Ok(match collection {
            Value::Object(mut members) => members
                .remove(&key)
                .unwrap_or_else(|| Value::unknown("each.value")),
            // A set, of which each element is its own key.
            Value::List(list) if list.contains(&Value::text(&key)) => Value::Text(key),
            other => Value::unknown(other.first_unknown().map_or("each.value", |name| name)),
        })
    }

    /// A member of the configuration of a resource.
    fn resource_member(&self, index: usize, member: &str) -> Option<Value> {
        let instance = &self.plan.instances[index];
        let resources = self.configured(&instance.module)?.get("resources")?;
        let found = resources.elements().iter().find(|resource| {
            let text = |name: &str| resource.get(name).and_then(Value::as_text);
            text("type").as_deref() == Some(&instance.resource_type)
                && text("name").as_deref() == Some(&instance.name)
                && (text("mode").as_deref() == Some("data")) == instance.is_data
        })?;
        found.get(member).cloned()
    }

    fn variable(&mut self, name: &str, module: &str) -> Result<Value, Error> {
        let key = format!("{}var.{name}", prefix(module));
        self.once(key.clone(), |program| {
            let Some((above, call_key)) = address::parent(module) else {
                let given = program.plan.variables.get(name).cloned();
                return match given {
                    Some(given) => Ok(given),
                    None => program.default_of(name, module, &key),
                };
            };
            let call = address::module_names(module).pop().unwrap_or_default();
            let scope = Scope {
                call: Some((call.clone(), call_key)),
                ..Scope::module(&above)
            };
            let source = program.source.clone();
            if let Some(body) =
                Self::sourced(source.as_ref(), &above).and_then(|module| module.calls.get(&call))
                && let Some(value) = program.member(body, name, &scope)?
            {
                return Ok(value);
            }
            let call = program
                .configured(&above)
                .and_then(|module| module.get("module_calls"));
            let expressions =
                call.and_then(|calls| calls.get(&scope.call.as_ref()?.0)?.get("expressions"));
            match expressions
                .and_then(|expressions| expressions.get(name))
                .cloned()
            {
                Some(expression) => program.fill(Value::unknown(&*key), &expression, name, &scope),
                None => program.default_of(name, module, &key),
            }
        })
    }

    fn default_of(&mut self, name: &str, module: &str, key: &str) -> Result<Value, Error> {
        let source = self.source.clone();
        if let Some(default) =
            Self::sourced(source.as_ref(), module).and_then(|module| module.defaults.get(name))
        {
            return self.evaluate(default, &Scope::module(module));
        }
        let variables = self
            .configured(module)
            .and_then(|module| module.get("variables"));
        let variable = variables.and_then(|variables| variables.get(name));
        let default = variable
            .and_then(|variable| variable.get("default"))
            .cloned();
        Ok(default.unwrap_or_else(|| Value::unknown(key)))
    }

    fn local(&mut self, name: &str, module: &str) -> Result<Value, Error> {
        let key = format!("{}local.{name}", prefix(module));
        self.once(key.clone(), |program| {
            let source = program.source.clone();
            let local =
                Self::sourced(source.as_ref(), module).and_then(|module| module.locals.get(name));
            match local {
                Some(expression) => program.evaluate(expression, &Scope::module(module)),
                None => Ok(Value::unknown(key)),
            }
        })
    }

    /// The output of a module that is called here: `steps` are what follows its name.
    fn output(&mut self, name: &str, steps: &[Step], module: &str) -> Result<Option<Value>, Error> {
        let (key, rest) = match steps {
            [Step::Key(key), rest @ ..] => (Some(key), rest),
            rest => (None, rest),
        };
        let [Step::Name(output), rest @ ..] = rest else {
            return Ok(None);
        };
        let child = address::child(module, name, key);
        let key = format!("{child}.{output}");
        let value = self.once(key.clone(), |program| {
            let scope = Scope::module(&child);
            let source = program.source.clone();
            let sourced = Self::sourced(source.as_ref(), &child)
                .and_then(|module| module.outputs.get(output));
            if let Some(expression) = sourced {
                return program.evaluate(expression, &scope);
            }
            let outputs = program
                .configured(&child)
                .and_then(|module| module.get("outputs"));
            let configured = outputs.and_then(|outputs| outputs.get(output)?.get("expression"));
            match configured.cloned() {
                Some(expression) => {
                    program.fill(Value::unknown(&*key), &expression, output, &scope)
                }
                None => Ok(Value::unknown(&*key)),
            }
        })?;
        Ok(Some(apply(value, rest)))
    }

    /// The instances of a resource in a module.
    pub fn instances(
        &self,
        module: &str,
        (is_data, resource_type, name): (bool, &str, &str),
    ) -> Vec<usize> {
        let key = (
            module.to_owned(),
            is_data,
            resource_type.to_owned(),
            name.to_owned(),
        );
        self.by_name.get(&key).cloned().unwrap_or_default()
    }

    /// The value that the steps behind a resource's name lead to; `None` if there is no such resource.
    fn resource(
        &mut self,
        named: (bool, &str, &str),
        steps: &[Step],
        scope: &Scope,
    ) -> Result<Option<Value>, Error> {
        let found = self.instances(&scope.module, named);
        let (index, rest) = match (&found[..], steps) {
            (all, [Step::Key(key), rest @ ..]) => {
                let instances = &self.plan.instances;
                let is_key = |index: &&usize| {
                    let own = instances[**index].key.as_ref().and_then(Value::as_text);
                    own.is_some() && own == key.as_text()
                };
                match all.iter().find(is_key) {
                    Some(index) => (*index, rest),
                    None => return Ok(None),
                }
            }
            ([], _) => return Ok(None),
            ([only], rest) if self.plan.instances[*only].key.is_none() => (*only, rest),
            (all, [Step::Splat, Step::Name(attribute), rest @ ..]) => {
                let all = all.to_owned();
                let values = all
                    .into_iter()
                    .map(|index| self.attribute(index, attribute));
                let values: Result<Vec<_>, _> = values.collect();
                let values = values?.into_iter().map(|value| apply(value, rest));
                return Ok(Some(Value::List(values.collect())));
            }
            (all, rest) => {
                let all = all.to_owned();
                return Ok(Some(apply(self.all_of(&all)?, rest)));
            }
        };
        Ok(Some(match rest {
            [Step::Name(attribute), rest @ ..] => apply(self.attribute(index, attribute)?, rest),
            rest => apply(self.whole(index)?, rest),
        }))
    }

    /// An instance as an object: its attributes as the plan has them, but for those that others refer to it by.
    fn whole(&mut self, index: usize) -> Result<Value, Error> {
        let mut members = match &self.plan.instances[index].values {
            Value::Object(members) => members.clone(),
            _ => BTreeMap::new(),
        };
        for attribute in REFERRED_TO {
            if members
                .get(attribute)
                .is_some_and(|value| !value.is_known())
            {
                members.insert(attribute.into(), self.attribute(index, attribute)?);
            }
        }
        Ok(Value::Object(members))
    }

    /// All instances of a resource: a list by number, or an object by key.
    fn all_of(&mut self, all: &[usize]) -> Result<Value, Error> {
        let mut list = Vec::new();
        let mut members = BTreeMap::new();
        for index in all {
            let whole = self.whole(*index)?;
            match &self.plan.instances[*index].key {
                Some(Value::Text(key)) => {
                    members.insert(key.clone(), whole);
                }
                _ => list.push(whole),
            }
        }
        Ok(if members.is_empty() {
            Value::List(list)
        } else {
            Value::Object(members)
        })
    }
}

/// The address of a module in front of what is in it.
fn prefix(module: &str) -> String {
    match module {
        "" => String::new(),
        module => format!("{module}."),
    }
}
