//! Evaluates the functions of CloudFormation, as
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>
//! describes them. An unknown part makes a text unknown.

use std::collections::BTreeMap;
use std::rc::Rc;

use data_encoding::BASE64;

use super::stack::Stack;
use crate::command::import::account::partition;
use crate::command::import::facts::Facts;
use crate::command::import::progress::Progress;
use crate::command::import::value::Value;
use crate::shared::error::Error;

/// All stacks, and what is evaluated of them.
pub struct Stacks {
    /// the stacks, in the order of the command line
    pub stacks: Vec<Stack>,
    /// what the command was told
    pub facts: Facts,
    /// the account
    pub account: String,
    /// what was filled in
    pub filled_in: Vec<String>,
    progress: Progress,
}

impl Stacks {
    /// Of these stacks.
    pub fn new(stacks: Vec<Stack>, facts: Facts, account: &str) -> Self {
        Self {
            stacks,
            facts,
            account: account.to_owned(),
            filled_in: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// The value that `compute` gives, computed once. `name` names it in a cycle.
    ///
    /// # Errors
    /// A sentence, if it refers to itself, or is too large.
    pub fn once(
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

    /// The value of what a template of the stack `of` says. A member that is `AWS::NoValue` is not there.
    ///
    /// # Errors
    /// A sentence, if a value refers to itself, or a function is not given what it takes.
    pub fn evaluate(&mut self, value: &Value, of: usize) -> Result<Value, Error> {
        self.progress.spend()?;
        match value {
            Value::Text(text) if text.contains("{{resolve:") => {
                Ok(Value::unknown("a dynamic reference ({{resolve:…}})"))
            }
            Value::List(list) => {
                let mut evaluated = Vec::new();
                for one in list {
                    if !is_no_value(one) {
                        let one = self.evaluate(one, of)?;
                        evaluated.extend((!is_no_value(&one)).then_some(one));
                    }
                }
                Ok(Value::List(evaluated))
            }
            Value::Object(members) => {
                if let Some((name, argument)) = function(members) {
                    return self.function(name, argument, of);
                }
                let mut evaluated = BTreeMap::new();
                for (name, member) in members {
                    if name.starts_with("Fn::") {
                        let unknown = Value::unknown(format!("{name} among other members"));
                        return Ok(unknown);
                    }
                    let member = self.evaluate(member, of)?;
                    if !is_no_value(&member) {
                        evaluated.insert(name.clone(), member);
                    }
                }
                Ok(Value::Object(evaluated))
            }
            value => Ok(value.clone()),
        }
    }

    fn function(&mut self, name: &str, argument: &Value, of: usize) -> Result<Value, Error> {
        match name {
            "Ref" => {
                let id = argument
                    .as_text()
                    .ok_or("Ref is the name of a parameter or resource")?;
                return self.reference(&id, of);
            }
            "Fn::GetAtt" => return self.get_att(argument, of),
            "Fn::Sub" => return self.substitute(argument, of),
            "Fn::If" => return self.choose(argument, of),
            "Fn::FindInMap" => return self.find_in_map(argument, of),
            "Fn::Equals" | "Fn::And" | "Fn::Or" | "Fn::Not" | "Condition" => {
                let condition = Value::object([(name, argument.clone())]);
                let known = self.condition_value(&condition, of)?;
                return Ok(known.map_or_else(Value::Unknown, Value::Bool));
            }
            _ => {}
        }
        let argument = self.evaluate(argument, of)?;
        let unknown = || match argument.first_unknown() {
            Some(name) => Value::Unknown(name.clone()),
            None => Value::unknown(format!("{name} of what it does not take")),
        };
        let texts = |value: &Value| -> Option<Vec<String>> {
            value.elements().iter().map(Value::as_text).collect()
        };
        let elements = argument.elements();
        let result = match (name, elements) {
            ("Fn::Join", [separator, list]) => separator
                .as_text()
                .zip(texts(list))
                .map(|(separator, list)| Value::Text(list.join(&separator))),
            ("Fn::Split", [separator, text]) => {
                separator
                    .as_text()
                    .zip(text.as_text())
                    .map(|(separator, text)| {
                        Value::List(text.split(&separator).map(Value::text).collect())
                    })
            }
            ("Fn::Select", [index, list @ Value::List(_)]) => {
                let index = index
                    .as_text()
                    .and_then(|index| index.parse::<usize>().ok());
                index.and_then(|index| list.elements().get(index).cloned())
            }
            ("Fn::Base64", _) => argument
                .as_text()
                .map(|text| Value::Text(BASE64.encode(text.as_bytes()))),
            ("Fn::Length", _) => match &argument {
                Value::List(list) => Some(Value::Number(list.len().into())),
                _ => None,
            },
            ("Fn::ToJsonString", _) => argument.to_json().map(|json| Value::Text(json.to_string())),
            ("Fn::ImportValue", _) => match argument.as_text() {
                Some(export) => Some(self.import_value(&export)?),
                None => None,
            },
            ("Fn::Transform" | "Fn::GetAZs" | "Fn::Cidr", _) => Some(Value::unknown(name)),
            _ => None,
        };
        // A list of texts of which some are unknown is as good as its text, wherever a policy is wanted.
        Ok(match (name, result) {
            (_, Some(result)) => result,
            ("Fn::ToJsonString", None) => argument.clone(),
            _ => unknown(),
        })
    }

    /// The value of `Ref`.
    fn reference(&mut self, id: &str, of: usize) -> Result<Value, Error> {
        let region = self.facts.region.clone();
        let stack = &self.stacks[of];
        if let Some(value) = stack.parameters.get(id) {
            return Ok(value.clone());
        }
        let unknown = || Value::unknown(id);
        Ok(match id {
            "AWS::AccountId" => Value::text(&self.account),
            "AWS::Region" => region.map_or_else(unknown, Value::Text),
            "AWS::Partition" => Value::text(partition(region.as_deref())),
            "AWS::URLSuffix" => Value::text(match partition(region.as_deref()) {
                "aws-cn" => "amazonaws.com.cn",
                _ => "amazonaws.com",
            }),
            "AWS::StackName" => Value::text(&stack.name),
            "AWS::NoValue" => no_value(),
            id if id.starts_with("AWS::") => unknown(),
            id => {
                let name = format!("{}.{id}", stack.name);
                let id = id.to_owned();
                self.once(name, |stacks| stacks.resource_ref(&id, of))?
            }
        })
    }

    fn get_att(&mut self, argument: &Value, of: usize) -> Result<Value, Error> {
        let (id, attribute) = match argument {
            Value::Text(text) => match text.split_once('.') {
                Some((id, attribute)) => (id.to_owned(), attribute.to_owned()),
                None => return Err(format!("Fn::GetAtt of \"{text}\" names no attribute").into()),
            },
            Value::List(list) => match &list[..] {
                [id, attribute] => {
                    let attribute = self.evaluate(attribute, of)?;
                    match (id.as_text(), attribute.as_text()) {
                        (Some(id), Some(attribute)) => (id, attribute),
                        _ => return Ok(Value::unknown("Fn::GetAtt of an unknown attribute")),
                    }
                }
                _ => return Err("Fn::GetAtt takes a resource and an attribute".into()),
            },
            _ => return Err("Fn::GetAtt takes a resource and an attribute".into()),
        };
        let name = format!("{}.{id}.{attribute}", self.stacks[of].name);
        self.once(name, |stacks| {
            stacks.resource_attribute(&id, &attribute, of)
        })
    }

    /// `Fn::Sub`: a text with `${Name}` and `${Resource.Attribute}` in it.
    fn substitute(&mut self, argument: &Value, of: usize) -> Result<Value, Error> {
        let (text, own) = match argument {
            Value::Text(text) => (text.clone(), BTreeMap::new()),
            Value::List(list) => match &list[..] {
                [Value::Text(text), Value::Object(own)] => (text.clone(), own.clone()),
                _ => return Err("Fn::Sub takes a text, and an object of its variables".into()),
            },
            _ => return Err("Fn::Sub takes a text, and an object of its variables".into()),
        };
        if text.contains("{{resolve:") {
            return Ok(Value::unknown("a dynamic reference ({{resolve:…}})"));
        }
        let mut result = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err("Fn::Sub: unterminated ${".into());
            };
            rest = after;
            // `${!x}` is what `${x}` is written as.
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let name = name.trim();
            let value = match own.get(name) {
                Some(value) => self.evaluate(value, of)?,
                None => match name.split_once('.') {
                    Some((id, attribute)) => {
                        let pair = Value::List(vec![Value::text(id), Value::text(attribute)]);
                        self.get_att(&pair, of)?
                    }
                    None => self.reference(name, of)?,
                },
            };
            match value.as_text() {
                Some(text) => result.push_str(&text),
                None => {
                    let name = value.first_unknown().map_or(name, |name| name);
                    return Ok(Value::unknown(name));
                }
            }
        }
        result.push_str(rest);
        Ok(Value::Text(result))
    }

    fn choose(&mut self, argument: &Value, of: usize) -> Result<Value, Error> {
        let Value::List(list) = argument else {
            return Err("Fn::If takes a condition and two values".into());
        };
        let [condition, yes, no] = &list[..] else {
            return Err("Fn::If takes a condition and two values".into());
        };
        let name = condition
            .as_text()
            .ok_or("Fn::If takes the name of a condition")?;
        match self.condition(&name, of)? {
            Ok(true) => self.evaluate(yes, of),
            Ok(false) => self.evaluate(no, of),
            Err(name) => Ok(Value::Unknown(name)),
        }
    }

    fn find_in_map(&mut self, argument: &Value, of: usize) -> Result<Value, Error> {
        let argument = self.evaluate(argument, of)?;
        let elements = argument.elements();
        let (Some(map), Some(first), Some(second)) =
            (elements.first(), elements.get(1), elements.get(2))
        else {
            return Err("Fn::FindInMap takes a map and two keys".into());
        };
        let keys = (map.as_text(), first.as_text(), second.as_text());
        let (Some(map), Some(first), Some(second)) = keys else {
            let name = argument
                .first_unknown()
                .map_or("the key of a map", |name| name);
            return Ok(Value::unknown(name));
        };
        let found = self.stacks[of].member("Mappings", &map);
        let found = found.and_then(|map| map.get(&first)?.get(&second)).cloned();
        let default = elements
            .get(3)
            .and_then(|options| options.get("DefaultValue"))
            .cloned();
        found
            .or(default)
            .ok_or_else(|| format!("Fn::FindInMap: there is no {map}, {first}, {second}").into())
    }

    /// The value that another stack exports under this name.
    fn import_value(&mut self, export: &str) -> Result<Value, Error> {
        for of in 0..self.stacks.len() {
            let stack = &self.stacks[of];
            let name = stack.name.clone();
            for (id, output) in stack.section("Outputs") {
                let Some(exported) = output.get("Export").and_then(|export| export.get("Name"))
                else {
                    continue;
                };
                let exported = self.evaluate(exported, of)?;
                if exported.as_text().as_deref() == Some(export) {
                    let value = output.get("Value").cloned().unwrap_or(Value::Null);
                    let name = format!("output {id} of {name}");
                    return self.once(name, |stacks| stacks.evaluate(&value, of));
                }
            }
        }
        Ok(Value::unknown(format!(
            "export {export}, which no template here has"
        )))
    }

    /// Whether a condition holds; the name of what is unknown, if that cannot be told.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn condition(&mut self, name: &str, of: usize) -> Result<Result<bool, Rc<str>>, Error> {
        let Some(condition) = self.stacks[of].member("Conditions", name).cloned() else {
            return Err(format!("there is no condition \"{name}\"").into());
        };
        let key = format!("condition {name} of {}", self.stacks[of].name);
        let value = self.once(key, |stacks| {
            let known = stacks.condition_value(&condition, of)?;
            Ok(known.map_or_else(Value::Unknown, Value::Bool))
        })?;
        Ok(match value {
            Value::Bool(bool) => Ok(bool),
            other => Err(unknown_part(&other)),
        })
    }

    fn condition_value(
        &mut self,
        condition: &Value,
        of: usize,
    ) -> Result<Result<bool, Rc<str>>, Error> {
        let Value::Object(members) = condition else {
            let name = "a condition is a function";
            return Ok(condition.as_bool().ok_or_else(|| name.into()));
        };
        let Some((name, argument)) = members.iter().next().filter(|_| members.len() == 1) else {
            return Err("a condition is one function".into());
        };
        match name.as_str() {
            "Condition" => {
                let name = argument.as_text().ok_or("Condition takes a name")?;
                self.condition(&name, of)
            }
            "Fn::Equals" => {
                let argument = self.evaluate(argument, of)?;
                let [left, right] = argument.elements() else {
                    return Err("Fn::Equals takes two values".into());
                };
                Ok(match (left.as_text(), right.as_text()) {
                    (Some(left), Some(right)) => Ok(left == right),
                    _ => match argument.first_unknown() {
                        Some(name) => Err(name.clone()),
                        None => Ok(left == right),
                    },
                })
            }
            "Fn::Not" => {
                let [inner] = argument.elements() else {
                    return Err("Fn::Not takes one condition".into());
                };
                Ok(self.condition_value(inner, of)?.map(|bool| !bool))
            }
            "Fn::And" | "Fn::Or" => {
                // Of And one that does not hold decides, of Or one that does, whatever is unknown.
                let decides = name == "Fn::Or";
                let mut unknown = None;
                for inner in argument.elements() {
                    match self.condition_value(inner, of)? {
                        Ok(bool) if bool == decides => return Ok(Ok(decides)),
                        Ok(_) => {}
                        Err(name) => unknown = Some(name),
                    }
                }
                Ok(unknown.map_or(Ok(!decides), Err))
            }
            _ => {
                let value = self.evaluate(condition, of)?;
                Ok(value.as_bool().ok_or_else(|| unknown_part(&value)))
            }
        }
    }
}

/// The name of the part of a condition that is not known.
fn unknown_part(condition: &Value) -> Rc<str> {
    let unknown = condition.first_unknown().cloned();
    unknown.unwrap_or_else(|| "a condition".into())
}

/// The function that an object is, and what it is given.
fn function(members: &BTreeMap<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = members.iter().next().filter(|_| members.len() == 1)?;
    let is_function =
        name == "Ref" || name.starts_with("Fn::") || name == "Condition" && is_name(argument);
    is_function.then_some((name, argument))
}

/// `Condition` is a function where it names one, and a member of a statement where it is an object.
fn is_name(value: &Value) -> bool {
    matches!(value, Value::Text(_))
}

/// The value of `AWS::NoValue`, as long as it is in a list or an object.
fn no_value() -> Value {
    Value::object([("Ref", Value::text("AWS::NoValue"))])
}

/// Whether it is `AWS::NoValue`.
pub fn is_no_value(value: &Value) -> bool {
    *value == no_value()
}
