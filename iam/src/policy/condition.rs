//! The Condition element: operators, and what they say about a request context.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>.
//!
//! | | key not in the context | several values in the policy |
//! |---|---|---|
//! | `StringEquals` and its like | no | one has to match |
//! | `StringNotEquals` and its like | yes | none may match |
//! | `…IfExists` | yes | as without |
//! | `ForAllValues:…` | yes | each value of the context is asked about |
//! | `ForAnyValue:…` | no | one value of the context has to do |
//!
//! A key of which all values are empty is a null data set: to `Null` it is not there, `ForAllValues:…` holds
//! of it, and `ForAnyValue:…` does not.
//!
//! A value that is not what the operator compares (a word where there should be a number) equals
//! nothing, and neither does a policy variable without a value; so the negated operators hold.

use super::budget::{Budget, Exhausted};
use super::context::{ConditionKey, Context, Evaluation};
use super::error::{ContextEntryError, PolicyError};
use super::pattern::{Token, matches_arn_within, matches_within, text};
use super::variable::Template;
use crate::time::parse_rfc3339;
use data_encoding::BASE64;
use ipnet::IpNet;
use std::cmp::Ordering;
use std::net::IpAddr;

/// One key under one operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) operator: Operator,
    pub(crate) key: ConditionKey,
    pub(crate) values: Vec<Literal>,
}

/// An operator with its prefix and suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) quantifier: Quantifier,
    pub(crate) comparison: Comparison,
    pub(crate) is_negated: bool,
    pub(crate) if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// Neither `ForAllValues:` nor `ForAnyValue:`.
    None,
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Order),
    Date(Order),
    Bool,
    Binary,
    IpAddress,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value in a policy, as far as it can be read before there is a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(Template),
    Number(f64),
    /// Nanoseconds since 1970.
    Date(i128),
    Bool(bool),
    Bytes(Vec<u8>),
    Network(IpNet),
    /// Holds a variable, where AWS fills in none.
    Nothing,
}

impl Operator {
    /// The operator of that name, in any case of letters; `None` if there is none.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use Comparison::*;
        let name = name.to_ascii_lowercase();
        let (quantifier, name) = match name.split_once(':') {
            Some(("forallvalues", rest)) => (Quantifier::ForAllValues, rest),
            Some(("foranyvalue", rest)) => (Quantifier::ForAnyValue, rest),
            Some(_) => return None,
            None => (Quantifier::None, name.as_str()),
        };
        let (base, if_exists) = match name.strip_suffix("ifexists") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let (comparison, is_negated) = match base {
            "stringequals" => (StringEquals, false),
            "stringnotequals" => (StringEquals, true),
            "stringequalsignorecase" => (StringEqualsIgnoreCase, false),
            "stringnotequalsignorecase" => (StringEqualsIgnoreCase, true),
            "stringlike" => (StringLike, false),
            "stringnotlike" => (StringLike, true),
            "numericequals" => (Numeric(Order::Equal), false),
            "numericnotequals" => (Numeric(Order::Equal), true),
            "numericlessthan" => (Numeric(Order::Less), false),
            "numericlessthanequals" => (Numeric(Order::LessOrEqual), false),
            "numericgreaterthan" => (Numeric(Order::Greater), false),
            "numericgreaterthanequals" => (Numeric(Order::GreaterOrEqual), false),
            "dateequals" => (Date(Order::Equal), false),
            "datenotequals" => (Date(Order::Equal), true),
            "datelessthan" => (Date(Order::Less), false),
            "datelessthanequals" => (Date(Order::LessOrEqual), false),
            "dategreaterthan" => (Date(Order::Greater), false),
            "dategreaterthanequals" => (Date(Order::GreaterOrEqual), false),
            "bool" => (Bool, false),
            "binaryequals" => (Binary, false),
            "ipaddress" => (IpAddress, false),
            "notipaddress" => (IpAddress, true),
            "arnequals" | "arnlike" => (Arn, false),
            "arnnotequals" | "arnnotlike" => (Arn, true),
            "null" if !if_exists && quantifier == Quantifier::None => (Null, false),
            _ => return None,
        };
        Some(Self {
            quantifier,
            comparison,
            is_negated,
            if_exists,
        })
    }
}

impl Condition {
    /// Reads the values of a key.
    ///
    /// # Errors
    /// [`PolicyError::EmptyKey`], or [`PolicyError::Value`] if the operator cannot compare with one.
    pub(crate) fn new(
        operator: Operator,
        key: &str,
        values: &[String],
        has_variables: bool,
    ) -> Result<Self, PolicyError> {
        if key.is_empty() {
            return Err(PolicyError::EmptyKey);
        }
        let literal = |value: &String| {
            Literal::read(operator.comparison, value, has_variables).map_err(|expected| {
                PolicyError::Value {
                    value: value.clone(),
                    key: key.to_owned(),
                    expected,
                }
            })
        };
        Ok(Self {
            operator,
            key: ConditionKey::new(key),
            values: values.iter().map(literal).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the condition holds. Notes the keys that it asked for in vain.
    pub(crate) fn holds(
        &self,
        context: &Context,
        evaluation: &mut Evaluation,
    ) -> Result<bool, Exhausted> {
        let Operator {
            quantifier,
            comparison,
            is_negated,
            if_exists,
        } = self.operator;
        let values = context.of(&self.key);
        // Each of them is looked at, whatever the condition compares them with.
        evaluation.budget.spend(1 + values.len())?;
        // To AWS a key whose values are all empty is a null data set.
        let is_null = values.iter().all(String::is_empty);
        if comparison == Comparison::Null {
            return Ok(self.values.contains(&Literal::Bool(is_null)));
        }
        if values.is_empty() {
            evaluation.miss(&self.key);
            // Nothing is filled in, but whoever asks what is missing wants to hear of all of it at once.
            for key in self.keys().skip(1) {
                evaluation.budget.spend(1)?;
                if context.of(key).is_empty() {
                    evaluation.miss(key);
                }
            }
            return Ok(match quantifier {
                _ if if_exists => true,
                Quantifier::ForAllValues => true,
                Quantifier::ForAnyValue => false,
                Quantifier::None => is_negated,
            });
        }
        let matched = self.matched(values, context, evaluation)?;
        Ok(match quantifier {
            Quantifier::None => matched.contains(&true) != is_negated,
            Quantifier::ForAnyValue => !is_null && matched.contains(&!is_negated),
            Quantifier::ForAllValues => is_null || !matched.contains(&is_negated),
        })
    }

    /// Of each of the values of the context, whether one of the policy's matches it. Variables are filled in
    /// for one of the policy's values at a time, so that they never take the room of all of them.
    fn matched(
        &self,
        values: &[String],
        context: &Context,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<bool>, Exhausted> {
        let comparison = self.operator.comparison;
        let mut matched = vec![false; values.len()];
        for literal in &self.values {
            // A value that has matched is not compared again, but passing over it takes a step too.
            evaluation.budget.spend(1 + values.len())?;
            let candidate = match literal {
                Literal::Text(template) => match template.fill_in(context, evaluation)? {
                    Some(pattern) => Candidate::Text(pattern),
                    // A variable without a value equals nothing.
                    None => continue,
                },
                literal => Candidate::Literal(literal),
            };
            for (value, matched) in values.iter().zip(&mut matched) {
                if !*matched {
                    *matched = candidate.matches(comparison, value, &mut evaluation.budget)?;
                }
            }
        }
        Ok(matched)
    }

    /// The condition keys that it asks for, variables included.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        let variables = self.values.iter().flat_map(|literal| match literal {
            Literal::Text(template) => Some(template.keys()),
            _ => None,
        });
        std::iter::once(&self.key).chain(variables.flatten())
    }

    /// The condition key that it is about.
    pub(crate) fn key(&self) -> &ConditionKey {
        &self.key
    }

    /// Whether it cannot hold where the key is not in the context.
    pub(crate) fn needs_its_key(&self) -> bool {
        let operator = self.operator;
        if operator.comparison == Comparison::Null {
            return !self.values.contains(&Literal::Bool(true));
        }
        !operator.if_exists
            && match operator.quantifier {
                Quantifier::None => !operator.is_negated,
                Quantifier::ForAnyValue => true,
                Quantifier::ForAllValues => false,
            }
    }

    /// Whether it cannot hold where the key is in the context.
    pub(crate) fn needs_its_key_absent(&self) -> bool {
        let is_null = self.operator.comparison == Comparison::Null;
        is_null && !self.values.contains(&Literal::Bool(false))
    }

    /// Whether it asks a key for one of no values.
    pub(crate) fn compares_with_nothing(&self) -> bool {
        let Operator {
            quantifier,
            is_negated,
            ..
        } = self.operator;
        self.values.is_empty() && !is_negated && quantifier != Quantifier::ForAllValues
    }

    /// Whether the value of its key alone decides, if there is one.
    pub(crate) fn is_about_one_value(&self) -> bool {
        let has_variables = self.keys().nth(1).is_some() || self.values.contains(&Literal::Nothing);
        let operator = self.operator;
        operator.quantifier == Quantifier::None
            && operator.comparison != Comparison::Null
            && !has_variables
    }
}

impl Literal {
    /// Reads a value as the operator needs it; the error is what it should have been.
    fn read(
        comparison: Comparison,
        value: &str,
        has_variables: bool,
    ) -> Result<Self, &'static str> {
        let template = |has_wildcards| {
            if has_variables {
                Template::parse(value, has_wildcards).map_err(|_| "text with well-formed variables")
            } else {
                Ok(Template::fixed(value, has_wildcards))
            }
        };
        let is_variable = has_variables && value.contains("${");
        Ok(match comparison {
            Comparison::StringEquals | Comparison::StringEqualsIgnoreCase => {
                Self::Text(template(false)?)
            }
            Comparison::StringLike | Comparison::Arn => Self::Text(template(true)?),
            Comparison::Null => Self::Bool(boolean(value).ok_or("true or false")?),
            Comparison::Bool if is_variable => Self::Text(template(false)?),
            Comparison::Bool => Self::Bool(boolean(value).ok_or("true or false")?),
            _ if is_variable => Self::Nothing,
            Comparison::Numeric(_) => Self::Number(number(value).ok_or("a number")?),
            Comparison::Date(_) => Self::Date(date(value).ok_or("a date")?),
            Comparison::Binary => {
                let bytes = BASE64.decode(value.as_bytes());
                Self::Bytes(bytes.map_err(|_| "base64")?)
            }
            Comparison::IpAddress => {
                Self::Network(network(value).ok_or("an address or CIDR range")?)
            }
        })
    }
}

/// A value of the policy for one request.
enum Candidate<'c> {
    Text(std::borrow::Cow<'c, [Token]>),
    Literal(&'c Literal),
}

impl Candidate<'_> {
    /// Whether a value of the context is matched.
    fn matches(
        &self,
        comparison: Comparison,
        value: &str,
        budget: &mut Budget,
    ) -> Result<bool, Exhausted> {
        budget.spend(1 + value.len())?;
        Ok(match self {
            Self::Text(pattern) => match comparison {
                Comparison::Arn => matches_arn_within(pattern, &chars(value), budget)?,
                Comparison::StringEqualsIgnoreCase => {
                    budget.spend(pattern.len())?;
                    text(pattern).to_lowercase() == value.to_lowercase()
                }
                Comparison::Bool => {
                    budget.spend(pattern.len())?;
                    let wanted = boolean(&text(pattern));
                    wanted.is_some() && wanted == boolean(value)
                }
                _ => matches_within(pattern, &chars(value), budget)?,
            },
            Self::Literal(literal) => match (literal, comparison) {
                (Literal::Number(wanted), Comparison::Numeric(order)) => {
                    number(value).is_some_and(|n| order.holds(n.partial_cmp(wanted)))
                }
                (Literal::Date(wanted), Comparison::Date(order)) => {
                    date(value).is_some_and(|d| order.holds(Some(d.cmp(wanted))))
                }
                (Literal::Bool(wanted), _) => boolean(value) == Some(*wanted),
                (Literal::Bytes(wanted), _) => {
                    BASE64.decode(value.as_bytes()).as_ref() == Ok(wanted)
                }
                (Literal::Network(network), _) => value
                    .parse::<IpAddr>()
                    .is_ok_and(|address| network.contains(&address)),
                _ => false,
            },
        })
    }
}

impl Order {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        let Some(ordering) = ordering else {
            return false;
        };
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// An integer or decimal number. `inf` and `nan`, which Rust would take, are none.
fn number(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = text.parse().ok().filter(|_| is_plain)?;
    number.is_finite().then_some(number)
}

/// An address, or a range in CIDR notation.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

/// Nanoseconds since 1970: from seconds since then, or from one of the forms of ISO 8601 in
/// <https://www.w3.org/TR/NOTE-datetime>. Four digits are a year; without a zone it is UTC.
fn date(text: &str) -> Option<i128> {
    if text.len() != 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse::<i64>().ok()?;
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    let (day, rest) = match text.split_once(['T', 't']) {
        Some((day, rest)) => (day, rest),
        None => (text, "00:00:00Z"),
    };
    let day = match day.len() {
        4 => format!("{day}-01-01"),
        7 => format!("{day}-01"),
        _ => day.to_owned(),
    };
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    let zone = match (zone.len(), zone.is_ascii()) {
        (0, _) => "Z".to_owned(),
        (5, true) => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => zone.to_owned(),
    };
    let parsed = parse_rfc3339(&format!("{day}T{clock}{seconds}{zone}"))?;
    Some(parsed.unix_timestamp_nanos())
}

/// Whether the values of a condition key are what its `ContextKeyType` says, as
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_ContextEntry.html> has them.
///
/// # Errors
/// [`ContextEntryError`], with the name of the key.
pub fn check_context_entry(
    name: &str,
    values: &[String],
    context_key_type: &str,
) -> Result<(), ContextEntryError> {
    if name.is_empty() {
        return Err(ContextEntryError::EmptyName);
    }
    let list_of = context_key_type.strip_suffix("List");
    let fits: fn(&str) -> bool = match list_of.unwrap_or(context_key_type) {
        "string" => |_| true,
        "numeric" => |text| number(text).is_some(),
        "boolean" => |text| boolean(text).is_some(),
        "date" => |text| date(text).is_some(),
        "ip" => |text| network(text).is_some(),
        "binary" => |text| BASE64.decode(text.as_bytes()).is_ok(),
        other => return Err(ContextEntryError::UnknownType(other.to_owned())),
    };
    if list_of.is_none() && values.len() != 1 {
        return Err(ContextEntryError::NotOneValue(name.to_owned()));
    }
    match values.iter().find(|value| !fits(value)) {
        None => Ok(()),
        Some(value) => Err(ContextEntryError::WrongType {
            value: value.clone(),
            name: name.to_owned(),
            context_key_type: context_key_type.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
