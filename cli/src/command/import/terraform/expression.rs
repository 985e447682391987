//! Evaluates expressions of a configuration's source, with what a plan knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use hcl::expr::{
    BinaryOperator, Conditional, Expression, ForExpr, FuncCall, ObjectKey, Operation, TemplateExpr,
    Traversal, TraversalOperator, UnaryOperator,
};
use hcl::template::{Element, Strip, Template};
use hcl::{Block, Body, Structure};

use super::address::{Step, apply};
use super::functions;
use super::hcl::attribute;
use super::resolve::{Program, Scope};
use crate::command::import::input::read_bounded;
use crate::command::import::value::{Value, from_json};
use crate::shared::error::Error;

/// The most elements of a list that is made, and the most blocks of one name.
const MAX_ELEMENTS: usize = 10_000;
/// The longest template file, in bytes.
const MAX_TEMPLATE: u64 = 1024 * 1024;

impl Program {
    /// The value of an expression.
    ///
    /// # Errors
    /// A sentence, if values refer to themselves, or to evaluate it takes too much.
    pub fn evaluate(&mut self, expression: &Expression, scope: &Scope) -> Result<Value, Error> {
        self.spend()?;
        Ok(match expression {
            Expression::Null => Value::Null,
            Expression::Bool(bool) => Value::Bool(*bool),
            Expression::Number(number) => from_json(&number.to_string()).unwrap_or(Value::Null),
            Expression::String(text) => Value::text(text),
            Expression::Array(array) => {
                let list: Result<_, _> =
                    array.iter().map(|one| self.evaluate(one, scope)).collect();
                Value::List(list?)
            }
            Expression::Object(object) => {
                let mut members = BTreeMap::new();
                for (key, value) in object {
                    let key = match key {
                        ObjectKey::Identifier(name) => Value::text(name.as_str()),
                        ObjectKey::Expression(key) => self.evaluate(key, scope)?,
                        _ => return Ok(Value::unknown("the key of an object")),
                    };
                    let Some(key) = key.as_text() else {
                        return Ok(unknown_or(&key, "the key of an object"));
                    };
                    members.insert(key, self.evaluate(value, scope)?);
                }
                Value::Object(members)
            }
            Expression::TemplateExpr(template) => self.template(template, scope)?,
            Expression::Variable(name) => {
                self.lookup(&[Step::Name(name.as_str().to_owned())], scope)?
            }
            Expression::Traversal(traversal) => self.traversal(traversal, scope)?,
            Expression::FuncCall(call) => self.function(call, scope)?,
            Expression::Parenthesis(inner) => self.evaluate(inner, scope)?,
            Expression::Conditional(conditional) => self.conditional(conditional, scope)?,
            Expression::Operation(operation) => self.operation(operation, scope)?,
            Expression::ForExpr(each) => self.for_each(each, scope)?,
            _ => Value::unknown("an expression that is not understood"),
        })
    }

    fn template(&mut self, expression: &TemplateExpr, scope: &Scope) -> Result<Value, Error> {
        let Ok(template) = Template::from_expr(expression) else {
            return Ok(Value::unknown("a template that is not understood"));
        };
        self.elements(template.elements(), scope)
    }

    fn elements(&mut self, elements: &[Element], scope: &Scope) -> Result<Value, Error> {
        if let [Element::Interpolation(only)] = elements {
            return self.evaluate(&only.expr, scope);
        }
        let mut text = String::new();
        let mut strips_next = false;
        for element in elements {
            match element {
                Element::Literal(literal) if strips_next => text.push_str(literal.trim_start()),
                Element::Literal(literal) => text.push_str(literal),
                Element::Interpolation(part) => {
                    if matches!(part.strip, Strip::Start | Strip::Both) {
                        text.truncate(text.trim_end().len());
                    }
                    strips_next = matches!(part.strip, Strip::End | Strip::Both);
                    let value = self.evaluate(&part.expr, scope)?;
                    match value.as_text() {
                        Some(part) => text.push_str(&part),
                        None => return Ok(unknown_or(&value, "a template")),
                    }
                    continue;
                }
                Element::Directive(_) => return Ok(Value::unknown("a template with a directive")),
            }
            strips_next = false;
        }
        Ok(Value::Text(text))
    }

    fn traversal(&mut self, traversal: &Traversal, scope: &Scope) -> Result<Value, Error> {
        let mut steps = Vec::new();
        for operator in &traversal.operators {
            steps.push(match operator {
                TraversalOperator::GetAttr(name) => Step::Name(name.as_str().to_owned()),
                TraversalOperator::Index(index) => Step::Key(self.evaluate(index, scope)?),
                TraversalOperator::LegacyIndex(index) => Step::Key(Value::Number((*index).into())),
                TraversalOperator::AttrSplat | TraversalOperator::FullSplat => Step::Splat,
            });
        }
        match &traversal.expr {
            Expression::Variable(name) => {
                steps.insert(0, Step::Name(name.as_str().to_owned()));
                self.lookup(&steps, scope)
            }
            inner => Ok(apply(self.evaluate(inner, scope)?, &steps)),
        }
    }

    fn function(&mut self, call: &FuncCall, scope: &Scope) -> Result<Value, Error> {
        let name = call.name.name.as_str();
        if !call.name.namespace.is_empty() {
            return Ok(Value::unknown(format!("a provider's function {name}(…)")));
        }
        let mut arguments = Vec::new();
        for argument in &call.args {
            arguments.push(self.evaluate(argument, scope)?);
        }
        if call.expand_final {
            match arguments.pop() {
                Some(Value::List(last)) => arguments.extend(last),
                last => {
                    return Ok(unknown_or(
                        &last.unwrap_or(Value::Null),
                        "the last argument",
                    ));
                }
            }
        }
        match name {
            "templatefile" => self.template_file(&arguments, scope),
            name => Ok(functions::call(name, arguments)),
        }
    }

    /// `templatefile`: the text of a file, with these variables and no others.
    fn template_file(&mut self, arguments: &[Value], scope: &Scope) -> Result<Value, Error> {
        let [Value::Text(path), Value::Object(variables)] = arguments else {
            return Ok(Value::unknown("templatefile(…)"));
        };
        let text = read_bounded(Path::new(path), MAX_TEMPLATE)?;
        let Ok(template) = Template::from_str(&text) else {
            return Ok(Value::unknown(format!("the template {path}")));
        };
        let locals = variables.clone().into_iter().collect();
        let inner = Scope {
            locals,
            ..scope.clone()
        };
        self.elements(template.elements(), &inner)
    }

    fn conditional(&mut self, conditional: &Conditional, scope: &Scope) -> Result<Value, Error> {
        let condition = self.evaluate(&conditional.cond_expr, scope)?;
        match condition.as_bool() {
            Some(true) => self.evaluate(&conditional.true_expr, scope),
            Some(false) => self.evaluate(&conditional.false_expr, scope),
            None => Ok(unknown_or(&condition, "a condition")),
        }
    }

    fn operation(&mut self, operation: &Operation, scope: &Scope) -> Result<Value, Error> {
        let (operator, left, right) = match operation {
            Operation::Unary(unary) => {
                let value = self.evaluate(&unary.expr, scope)?;
                return Ok(match (unary.operator, value.as_bool()) {
                    (UnaryOperator::Not, Some(bool)) => Value::Bool(!bool),
                    _ => unknown_or(&value, "an operation"),
                });
            }
            Operation::Binary(binary) => (
                binary.operator,
                self.evaluate(&binary.lhs_expr, scope)?,
                self.evaluate(&binary.rhs_expr, scope)?,
            ),
        };
        if let Some(name) = left.first_unknown().or(right.first_unknown()) {
            return Ok(Value::Unknown(name.clone()));
        }
        let number = |value: &Value| value.as_text().and_then(|text| text.parse::<f64>().ok());
        let bools = left.as_bool().zip(right.as_bool());
        let numbers = number(&left).zip(number(&right));
        let result = match (operator, bools, numbers) {
            (BinaryOperator::Eq, ..) => Some(left == right),
            (BinaryOperator::NotEq, ..) => Some(left != right),
            (BinaryOperator::And, Some((left, right)), _) => Some(left && right),
            (BinaryOperator::Or, Some((left, right)), _) => Some(left || right),
            (BinaryOperator::Less, _, Some((left, right))) => Some(left < right),
            (BinaryOperator::LessEq, _, Some((left, right))) => Some(left <= right),
            (BinaryOperator::Greater, _, Some((left, right))) => Some(left > right),
            (BinaryOperator::GreaterEq, _, Some((left, right))) => Some(left >= right),
            _ => None,
        };
        Ok(result.map_or_else(|| Value::unknown("an operation with numbers"), Value::Bool))
    }

    fn for_each(&mut self, each: &ForExpr, scope: &Scope) -> Result<Value, Error> {
        let collection = self.evaluate(&each.collection_expr, scope)?;
        let Some(pairs) = pairs(&collection) else {
            return Ok(unknown_or(
                &collection,
                "what a for expression goes through",
            ));
        };
        let mut list = Vec::new();
        let mut members = BTreeMap::new();
        for (key, value) in pairs {
            let mut inner = scope.clone();
            if let Some(name) = &each.key_var {
                inner.locals.push((name.as_str().to_owned(), key));
            }
            inner
                .locals
                .push((each.value_var.as_str().to_owned(), value));
            if let Some(condition) = &each.cond_expr {
                let condition = self.evaluate(condition, &inner)?;
                match condition.as_bool() {
                    Some(true) => {}
                    Some(false) => continue,
                    None => return Ok(unknown_or(&condition, "the condition of a for expression")),
                }
            }
            let value = self.evaluate(&each.value_expr, &inner)?;
            match &each.key_expr {
                None => list.push(value),
                Some(key) => {
                    let key = self.evaluate(key, &inner)?;
                    let Some(key) = key.as_text().filter(|_| !each.grouping) else {
                        return Ok(unknown_or(&key, "the key of a for expression"));
                    };
                    members.insert(key, value);
                }
            }
        }
        Ok(match each.key_expr {
            None => Value::List(list),
            Some(_) => Value::Object(members),
        })
    }

    /// The value of an attribute in a body, or of all its blocks of that name, as a list; `None` if there is none.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn member(
        &mut self,
        body: &Body,
        name: &str,
        scope: &Scope,
    ) -> Result<Option<Value>, Error> {
        if let Some(expression) = attribute(body, name) {
            return self.evaluate(expression, scope).map(Some);
        }
        let mut list = Vec::new();
        for block in body.blocks() {
            if block.identifier.as_str() == name {
                list.push(self.block(&block.body, scope)?);
            } else if is_dynamic(block, name) {
                list.extend(self.dynamic(block, scope)?);
            }
            if list.len() > MAX_ELEMENTS {
                return Err(format!("there are more than {MAX_ELEMENTS} blocks {name}").into());
            }
        }
        Ok((!list.is_empty()).then_some(Value::List(list)))
    }

    /// A block as an object: blocks in it are lists.
    fn block(&mut self, body: &Body, scope: &Scope) -> Result<Value, Error> {
        let mut names: Vec<&str> = Vec::new();
        for structure in body.iter() {
            names.push(match structure {
                Structure::Attribute(attribute) => attribute.key.as_str(),
                Structure::Block(block) if block.identifier.as_str() == "dynamic" => {
                    block.labels.first().map_or("", |label| label.as_str())
                }
                Structure::Block(block) => block.identifier.as_str(),
            });
        }
        let mut members = BTreeMap::new();
        for name in names {
            if !members.contains_key(name)
                && let Some(value) = self.member(body, name, scope)?
            {
                members.insert(name.to_owned(), value);
            }
        }
        Ok(Value::Object(members))
    }

    /// The blocks that a `dynamic` block makes; one that is unknown, if it is not known how many.
    fn dynamic(&mut self, block: &Block, scope: &Scope) -> Result<Vec<Value>, Error> {
        let label = block.labels.first().map_or("", |label| label.as_str());
        let collection = match attribute(&block.body, "for_each") {
            Some(expression) => self.evaluate(expression, scope)?,
            None => Value::unknown("a dynamic block without for_each"),
        };
        let Some(pairs) = pairs(&collection) else {
            return Ok(vec![unknown_or(
                &collection,
                "the for_each of a dynamic block",
            )]);
        };
        let iterator = match attribute(&block.body, "iterator") {
            Some(Expression::Variable(name)) => name.as_str(),
            _ => label,
        };
        let mut content = block
            .body
            .blocks()
            .filter(|inner| inner.identifier.as_str() == "content");
        let Some(content) = content.next() else {
            return Ok(Vec::new());
        };
        let mut list = Vec::new();
        for (key, value) in pairs {
            let mut inner = scope.clone();
            let each = Value::object([("key", key), ("value", value)]);
            inner.locals.push((iterator.to_owned(), each));
            list.push(self.block(&content.body, &inner)?);
        }
        Ok(list)
    }
}

fn is_dynamic(block: &Block, name: &str) -> bool {
    block.identifier.as_str() == "dynamic"
        && block
            .labels
            .first()
            .is_some_and(|label| label.as_str() == name)
}

/// Keys and values of a list or an object; `None` of anything else, and of what is too long.
fn pairs(collection: &Value) -> Option<Vec<(Value, Value)>> {
    let pairs: Vec<_> = match collection {
        Value::List(list) => {
            // Of a set it is the element, of a list its place, and which of them it is cannot be told.
            let key = || Value::unknown("the place in a list or a set");
            list.iter().map(|value| (key(), value.clone())).collect()
        }
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (Value::text(key), value.clone()))
            .collect(),
        _ => return None,
    };
    (pairs.len() <= MAX_ELEMENTS).then_some(pairs)
}

/// The unknown part of the value, or the value itself by this name.
fn unknown_or(value: &Value, name: &str) -> Value {
    match value.first_unknown() {
        Some(unknown) => Value::Unknown(unknown.clone()),
        None => Value::unknown(name),
    }
}
