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

use super::context::{ConditionKey, Context, Evaluation};
use super::pattern::{Token, Work, matches_arn_within, matches_within, text};
use super::variable::Template;
use crate::time::{parse_rfc3339, rfc3339};
use data_encoding::BASE64;
use ipnet::IpNet;
use std::cmp::Ordering;
use std::net::IpAddr;
use time::UtcDateTime;

/// One key under one operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    operator: Operator,
    key: ConditionKey,
    values: Vec<Literal>,
}

/// An operator with its prefix and suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operator {
    quantifier: Quantifier,
    comparison: Comparison,
    is_negated: bool,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// Neither `ForAllValues:` nor `ForAnyValue:`.
    None,
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
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
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value in a policy, as far as it can be read before there is a request.
#[derive(Debug, Clone, PartialEq)]
enum Literal {
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
    /// A sentence, if a value is not what the operator compares with.
    pub(crate) fn new(
        operator: Operator,
        key: &str,
        values: &[String],
        has_variables: bool,
    ) -> Result<Self, String> {
        if key.is_empty() {
            return Err("a condition key is empty".into());
        }
        let literal = |value: &String| {
            Literal::read(operator.comparison, value, has_variables)
                .map_err(|expected| format!("\"{value}\" for {key} is no {expected}"))
        };
        Ok(Self {
            operator,
            key: ConditionKey::new(key),
            values: values.iter().map(literal).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the condition holds. Notes the keys that it asked for in vain.
    pub(crate) fn holds(&self, context: &Context, evaluation: &mut Evaluation) -> bool {
        let Operator {
            quantifier,
            comparison,
            is_negated,
            if_exists,
        } = self.operator;
        let values = context.of(&self.key);
        // Each of them is looked at, whatever the condition compares them with.
        evaluation.work.spend(1 + values.len());
        if evaluation.work.is_used_up() {
            return false;
        }
        // To AWS a key whose values are all empty is a null data set.
        let is_null = values.iter().all(String::is_empty);
        if comparison == Comparison::Null {
            return self.values.contains(&Literal::Bool(is_null));
        }
        if values.is_empty() {
            evaluation.miss(&self.key);
            // Nothing is filled in, but whoever asks what is missing wants to hear of all of it at once.
            for key in self.keys().skip(1) {
                evaluation.work.spend(1);
                if context.of(key).is_empty() {
                    evaluation.miss(key);
                }
            }
            return match quantifier {
                _ if if_exists => true,
                Quantifier::ForAllValues => true,
                Quantifier::ForAnyValue => false,
                Quantifier::None => is_negated,
            };
        }
        let matched = self.matched(values, context, evaluation);
        match quantifier {
            Quantifier::None => matched.contains(&true) != is_negated,
            Quantifier::ForAnyValue => !is_null && matched.contains(&!is_negated),
            Quantifier::ForAllValues => is_null || !matched.contains(&is_negated),
        }
    }

    /// Of each of the values of the context, whether one of the policy's matches it. Variables are filled in
    /// for one of the policy's values at a time, so that they never take the room of all of them.
    fn matched(
        &self,
        values: &[String],
        context: &Context,
        evaluation: &mut Evaluation,
    ) -> Vec<bool> {
        let comparison = self.operator.comparison;
        let mut matched = vec![false; values.len()];
        for literal in &self.values {
            // What has matched already is not compared again, and is passed over all the same.
            evaluation.work.spend(1 + values.len());
            if evaluation.work.is_used_up() {
                return Vec::new();
            }
            let candidate = match literal {
                Literal::Text(template) => match template.fill_in(context, evaluation) {
                    Some(pattern) => Candidate::Text(pattern),
                    // What cannot be filled in equals nothing.
                    None => continue,
                },
                literal => Candidate::Literal(literal),
            };
            for (value, matched) in values.iter().zip(&mut matched) {
                if !*matched {
                    *matched = candidate.matches(comparison, value, &mut evaluation.work);
                }
                if evaluation.work.is_used_up() {
                    return Vec::new();
                }
            }
        }
        matched
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
    fn is_about_one_value(&self) -> bool {
        let has_variables = self.keys().nth(1).is_some() || self.values.contains(&Literal::Nothing);
        let operator = self.operator;
        operator.quantifier == Quantifier::None
            && operator.comparison != Comparison::Null
            && !has_variables
    }
}

/// Values of one key among which there is one that fulfils conditions on it, if any value does.
pub(crate) enum Candidates {
    /// All that come into question.
    Texts(Vec<String>),
    /// Numbers; between two neighbours all are alike.
    Numbers(Vec<f64>),
    /// Times in nanoseconds since 1970, in the same way.
    Dates(Vec<i128>),
}

impl Candidates {
    /// Of conditions on a key that has one value; `None` if they do not tell.
    pub(crate) fn of(conditions: &[&Condition]) -> Option<Self> {
        let conditions = conditions.iter().filter(|c| c.is_about_one_value());
        let conditions: Vec<_> = conditions.collect();
        if !conditions.iter().any(|c| c.needs_its_key()) {
            return None;
        }
        let equals = |c: &&&&Condition| {
            c.operator.comparison == Comparison::StringEquals && c.needs_its_key()
        };
        if let Some(condition) = conditions.iter().find(equals) {
            let texts = condition.values.iter().map(|value| match value {
                Literal::Text(Template::Fixed(tokens)) => Some(text(tokens)),
                _ => None,
            });
            return texts.collect::<Option<_>>().map(Self::Texts);
        }
        let is_all = |wanted: fn(Comparison) -> bool| {
            conditions.iter().all(|c| wanted(c.operator.comparison))
        };
        let values = || conditions.iter().flat_map(|c| &c.values);
        if is_all(|c| c == Comparison::Bool) {
            return Some(Self::Texts(vec!["true".into(), "false".into()]));
        }
        if is_all(|c| matches!(c, Comparison::Numeric(_))) {
            let mut numbers: Vec<f64> = values()
                .filter_map(|value| match value {
                    Literal::Number(number) => Some(*number),
                    _ => None,
                })
                .collect();
            numbers.sort_by(f64::total_cmp);
            let between = numbers.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0);
            let more: Vec<f64> = between.chain([f64::MIN, f64::MAX]).collect();
            numbers.extend(more);
            return Some(Self::Numbers(numbers));
        }
        if is_all(|c| matches!(c, Comparison::Date(_))) {
            let mut dates: Vec<i128> = values()
                .filter_map(|value| match value {
                    Literal::Date(date) => Some(*date),
                    _ => None,
                })
                .collect();
            dates.sort_unstable();
            let (first, last) = (*dates.first()?, *dates.last()?);
            let between = dates.windows(2).map(|pair| (pair[0] + pair[1]) / 2);
            let more: Vec<i128> = between.chain([first - 1, last + 1]).collect();
            dates.extend(more);
            // Seconds since 1970 may be further away than a date can be.
            let is_date = |date: &i128| written_date(*date).is_some();
            return dates.iter().all(is_date).then_some(Self::Dates(dates));
        }
        None
    }

    /// Whether one of the values fulfils all conditions; where there is a time, which the key then
    /// holds, one that is not before it.
    pub(crate) fn any_holds(
        &self,
        conditions: &[&Condition],
        not_before: Option<UtcDateTime>,
    ) -> bool {
        let texts: Vec<String> = match self {
            Self::Texts(texts) => texts.clone(),
            Self::Numbers(numbers) => {
                let start = not_before.map(|time| time.unix_timestamp() as f64);
                let is_late = |number: &f64| start.is_none_or(|start| *number >= start);
                let late = numbers.iter().copied().filter(is_late);
                late.chain(start).map(|number| number.to_string()).collect()
            }
            Self::Dates(dates) => {
                let start = not_before.map(UtcDateTime::unix_timestamp_nanos);
                let is_late = |date: &i128| start.is_none_or(|start| *date >= start);
                let late = dates.iter().copied().filter(is_late);
                late.chain(start).filter_map(written_date).collect()
            }
        };
        let of_one_value = || conditions.iter().filter(|c| c.is_about_one_value());
        texts.into_iter().any(|text| {
            let mut context = Context::default();
            context.set(&conditions[0].key.written, text);
            of_one_value().all(|condition| condition.holds(&context, &mut Evaluation::default()))
        })
    }
}

/// The reverse of [`date`].
fn written_date(nanoseconds: i128) -> Option<String> {
    let time = UtcDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    Some(rfc3339(time))
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
            Comparison::Numeric(_) => Self::Number(number(value).ok_or("number")?),
            Comparison::Date(_) => Self::Date(date(value).ok_or("date")?),
            Comparison::Binary => {
                let bytes = BASE64.decode(value.as_bytes());
                Self::Bytes(bytes.map_err(|_| "base64")?)
            }
            Comparison::IpAddress => Self::Network(network(value).ok_or("address or CIDR range")?),
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
    fn matches(&self, comparison: Comparison, value: &str, work: &mut Work) -> bool {
        work.spend(1 + value.len());
        match self {
            Self::Text(pattern) => match comparison {
                Comparison::Arn => matches_arn_within(pattern, &chars(value), work),
                Comparison::StringEqualsIgnoreCase => {
                    work.spend(pattern.len());
                    text(pattern).to_lowercase() == value.to_lowercase()
                }
                Comparison::Bool => {
                    work.spend(pattern.len());
                    let wanted = boolean(&text(pattern));
                    wanted.is_some() && wanted == boolean(value)
                }
                _ => matches_within(pattern, &chars(value), work),
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
        }
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

pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// An integer or decimal number. `inf` and `nan`, which Rust would take, are none.
pub(crate) fn number(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = text.parse().ok().filter(|_| is_plain)?;
    number.is_finite().then_some(number)
}

/// An address, or a range in CIDR notation.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

/// Nanoseconds since 1970: from seconds since then, or from one of the forms of ISO 8601 in
/// <https://www.w3.org/TR/NOTE-datetime>. Four digits are a year; without a zone it is UTC.
pub(crate) fn date(text: &str) -> Option<i128> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let mut context = Context::default();
        for (key, value) in [
            ("s", "Abc"),
            ("n", "10"),
            ("d", "2024-06-01T12:00:00Z"),
            ("e", "1717243200"),
            ("b", "true"),
            ("x", "aGk="),
            ("ip", "10.1.2.3"),
            ("ip6", "2001:db8::1"),
            ("arn", "arn:aws:iam::012345678912:role/a/B"),
            ("empty", ""),
            ("tag", "abc*"),
        ] {
            context.set(key, value);
        }
        context.set_all("many", vec!["a".into(), "b".into()]);
        context.set_all("none", Vec::new());
        context
    }

    fn holds(operator: &str, key: &str, values: &[&str]) -> bool {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        let operator = Operator::named(operator).unwrap_or_else(|| panic!("{operator}"));
        let condition = Condition::new(operator, key, &values, true).unwrap();
        condition.holds(&context(), &mut Evaluation::default())
    }

    #[test]
    fn each_comparison() {
        for (operator, key, value) in [
            ("StringEquals", "S", "Abc"),
            ("stringequals", "s", "Abc"),
            ("StringNotEquals", "s", "abc"),
            ("StringEqualsIgnoreCase", "s", "aBC"),
            ("StringNotEqualsIgnoreCase", "s", "abd"),
            ("StringLike", "s", "A*"),
            ("StringNotLike", "s", "a*"),
            ("StringLike", "tag", "abc${*}"),
            ("StringNotLike", "s", "Ab${*}"),
            ("StringEquals", "tag", "abc*"),
            ("StringNotEquals", "s", "A*"),
            ("StringLike", "tag", "${tag}"),
            ("NumericEquals", "n", "10.0"),
            ("NumericNotEquals", "n", "11"),
            ("NumericLessThan", "n", "10.5"),
            ("NumericLessThanEquals", "n", "10"),
            ("NumericGreaterThan", "n", "-3"),
            ("NumericGreaterThanEquals", "n", "10"),
            ("DateEquals", "d", "2024-06-01T14:00:00+02:00"),
            ("DateEquals", "d", "1717243200"),
            ("DateEquals", "e", "2024-06-01T12:00Z"),
            ("DateNotEquals", "d", "2024-06-01"),
            ("DateLessThan", "d", "2025"),
            ("DateLessThanEquals", "d", "2024-06-01T12:00:00.000Z"),
            ("DateGreaterThan", "d", "2024-06"),
            ("DateGreaterThanEquals", "d", "2024-06-01T12:00:00"),
            ("Bool", "b", "True"),
            ("BinaryEquals", "x", "aGk="),
            ("IpAddress", "ip", "10.0.0.0/8"),
            ("IpAddress", "ip", "10.1.2.3"),
            ("IpAddress", "ip", "10.9.9.9/8"),
            ("IpAddress", "ip6", "2001:DB8::/32"),
            ("NotIpAddress", "ip", "10.2.0.0/16"),
            ("NotIpAddress", "ip6", "0.0.0.0/0"),
            ("ArnEquals", "arn", "arn:aws:iam::*:role/a/*"),
            ("ArnLike", "arn", "arn:*:iam::012345678912:role/a/?"),
            ("ArnNotEquals", "arn", "arn:aws:iam::*:role/b"),
            ("ArnNotLike", "arn", "arn:*:role/a/B"),
            ("Null", "nothing", "true"),
            ("Null", "s", "false"),
        ] {
            assert!(holds(operator, key, &[value]), "{operator} {key} {value}");
        }
        for (operator, key, value) in [
            ("StringEquals", "s", "abc"),
            ("StringEquals", "s", "A*"),
            ("StringLike", "s", "${tag}"),
            ("NumericEquals", "s", "10"),
            ("NumericLessThan", "n", "10"),
            ("DateLessThan", "s", "2025"),
            ("Bool", "s", "false"),
            ("BinaryEquals", "x", "aGo="),
            ("IpAddress", "s", "0.0.0.0/0"),
            ("IpAddress", "ip", "11.0.0.0/8"),
            ("ArnLike", "arn", "arn:aws:*:role/a/B"),
            ("ArnLike", "s", "arn:*:*:*:*:*"),
            ("Null", "s", "true"),
            ("Null", "nothing", "false"),
            ("NumericEquals", "n", "${n}"),
        ] {
            assert!(!holds(operator, key, &[value]), "{operator} {key} {value}");
        }
        // A variable in a Bool, as AWS has it.
        assert!(holds("Bool", "b", &["${b}"]));
    }

    #[test]
    fn a_key_that_is_not_there() {
        for (operator, expected) in [
            ("StringEquals", false),
            ("StringNotEquals", true),
            ("StringNotLike", true),
            ("NumericNotEquals", true),
            ("NumericLessThan", false),
            ("DateNotEquals", true),
            ("DateGreaterThan", false),
            ("Bool", false),
            ("BinaryEquals", false),
            ("IpAddress", false),
            ("NotIpAddress", true),
            ("ArnLike", false),
            ("ArnNotLike", true),
            ("StringEqualsIfExists", true),
            ("StringNotEqualsIfExists", true),
            ("BoolIfExists", true),
            ("ForAllValues:StringEquals", true),
            ("ForAllValues:StringNotEquals", true),
            ("ForAnyValue:StringEquals", false),
            ("ForAnyValue:StringNotEquals", false),
            ("ForAnyValue:StringEqualsIfExists", true),
        ] {
            let value = match operator {
                o if o.starts_with("Num") => "1",
                o if o.starts_with("Date") => "2024",
                o if o.starts_with("Bool") => "true",
                o if o.contains("Ip") => "10.0.0.1",
                _ => "abcd",
            };
            for key in ["nothing", "none"] {
                assert_eq!(holds(operator, key, &[value]), expected, "{operator} {key}");
            }
        }
    }

    #[test]
    fn several_values_on_either_side() {
        for (operator, key, values, expected) in [
            ("StringEquals", "s", &["x", "Abc"][..], true),
            ("StringNotEquals", "s", &["x", "Abc"], false),
            ("StringNotEquals", "s", &["x", "y"], true),
            ("StringEquals", "s", &[], false),
            ("StringNotEquals", "s", &[], true),
            ("ForAllValues:StringEquals", "many", &["a", "b", "c"], true),
            ("ForAllValues:StringEquals", "many", &["a"], false),
            ("ForAllValues:StringEquals", "empty", &["a"], true),
            ("ForAnyValue:StringEquals", "empty", &[""], false),
            ("ForAnyValue:StringNotEquals", "empty", &["a"], false),
            ("ForAllValues:StringNotEquals", "many", &["a"], false),
            ("ForAllValues:StringNotEquals", "many", &["c"], true),
            ("ForAnyValue:StringEquals", "many", &["b", "c"], true),
            ("ForAnyValue:StringEquals", "many", &["c"], false),
            ("ForAnyValue:StringNotEquals", "many", &["a"], true),
            ("ForAnyValue:StringNotEquals", "many", &["a", "b"], false),
            ("ForAllValues:StringLike", "many", &["?"], true),
            ("Null", "empty", &["true"], true),
            ("Null", "s", &["true", "false"], true),
        ] {
            assert_eq!(
                holds(operator, key, values),
                expected,
                "{operator} {values:?}"
            );
        }
    }

    /// AWS does not say what these do. Here one of the values has to match, and none for what is negated.
    #[test]
    fn an_operator_without_a_quantifier_on_several_values() {
        for (operator, key, value, expected) in [
            ("StringEquals", "many", "a", true),
            ("StringEquals", "many", "b", true),
            ("StringEquals", "many", "c", false),
            ("StringNotEquals", "many", "a", false),
            ("StringNotEquals", "many", "b", false),
            ("StringNotEquals", "many", "c", true),
            ("StringLike", "many", "?", true),
            ("StringNotLike", "many", "b*", false),
            ("StringEqualsIfExists", "many", "c", false),
            ("Null", "many", "false", true),
        ] {
            let held = holds(operator, key, &[value]);
            assert_eq!(held, expected, "{operator} {value}");
        }
    }

    #[test]
    fn a_variable_without_a_value_equals_nothing() {
        assert!(!holds("StringEquals", "s", &["${nothing}"]));
        assert!(!holds("StringLike", "s", &["*${nothing}"]));
        assert!(holds("StringNotEquals", "s", &["${nothing}"]));
        assert!(!holds("StringNotEquals", "s", &["${nothing}", "Abc"]));
        assert!(holds("StringEquals", "s", &["${nothing, 'Abc'}"]));
    }

    /// AWS lists the keys that are needed and not there: all of them, and not the first.
    #[test]
    fn what_a_variable_needs_is_missed_even_without_the_key_itself() {
        let missed = |operator: &str, key: &str, value: &str| {
            let operator = Operator::named(operator).unwrap();
            let condition = Condition::new(operator, key, &[value.to_owned()], true).unwrap();
            let mut evaluation = Evaluation::default();
            condition.holds(&context(), &mut evaluation);
            let missed = evaluation.take_missing().into_values();
            missed.collect::<Vec<_>>()
        };
        let variables = "${aws:username}${s}${aws:userid, 'x'}";
        let both = ["aws:userid", "aws:username"];
        for operator in [
            "StringEquals",
            "StringNotLike",
            "StringEqualsIfExists",
            "ArnLike",
        ] {
            assert_eq!(missed(operator, "s", variables), both, "{operator}");
            let all = ["aws:userid", "aws:username", "nothing"];
            assert_eq!(missed(operator, "nothing", variables), all, "{operator}");
        }
        assert_eq!(missed("StringEquals", "nothing", "${s}"), ["nothing"]);
        assert_eq!(missed("StringEquals", "s", "${s}"), [""; 0]);
    }

    #[test]
    fn each_value_is_a_step_and_so_is_what_is_not_there() {
        let spent = |operator: &str, key: &str, values: &[&str]| {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            let operator = Operator::named(operator).unwrap();
            let condition = Condition::new(operator, key, &values, true).unwrap();
            let mut evaluation = Evaluation::default();
            condition.holds(&context(), &mut evaluation);
            evaluation.work.spent()
        };
        assert_eq!(spent("StringEquals", "nothing", &[]), 1);
        assert_eq!(spent("StringEquals", "nothing", &["${s}${no one}"]), 3);
        assert_eq!(spent("Null", "nothing", &["true"]), 1);
        assert_eq!(spent("Null", "many", &["true"]), 3);
        assert_eq!(spent("StringEquals", "many", &[]), 3);
        // Two values, the policy's one beside them, and two variables without a value.
        assert_eq!(spent("StringLike", "many", &["${nothing}${no one}"]), 8);
    }

    #[test]
    fn what_is_no_operator() {
        for name in [
            "",
            "StringEqual",
            "NullIfExists",
            "ForAllValues:Null",
            "ForSomeValues:StringEquals",
            "StringEqualsIfExistsIfExists",
            "ForAllValues:",
            "IfExists",
            "DateLike",
            "StringEquals ",
        ] {
            assert_eq!(Operator::named(name), None, "{name}");
        }
    }

    #[test]
    fn what_an_operator_cannot_compare_with_is_an_error() {
        for (operator, value) in [
            ("NumericEquals", "ten"),
            ("NumericEquals", "inf"),
            ("NumericEquals", "NaN"),
            ("NumericEquals", ""),
            ("DateEquals", "tomorrow"),
            ("DateEquals", "2024-13-01"),
            ("DateEquals", "2024-01-01T"),
            ("DateEquals", ""),
            ("DateEquals", "2024-01-01T00:00:00+é:00"),
            ("Bool", "yes"),
            ("Null", "maybe"),
            ("Null", "${b}"),
            ("BinaryEquals", "not base64!"),
            ("IpAddress", "10.0.0.0/33"),
            ("IpAddress", "10.0.0"),
            ("IpAddress", "10.0.0.*"),
            ("StringEquals", "${"),
        ] {
            let named = Operator::named(operator).unwrap();
            let result = Condition::new(named, "k", &[value.to_owned()], true);
            assert!(result.is_err(), "{operator} {value}");
        }
        // Where there are no variables, a dollar is a dollar.
        let named = Operator::named("StringEquals").unwrap();
        assert!(Condition::new(named, "k", &["${".to_owned()], false).is_ok());
    }
}
