//! Values that a condition key would have to have, for conditions that contradict each other.

use crate::policy::condition::{Comparison, Condition, Literal};
use crate::policy::pattern::text;
use crate::policy::variable::Template;
use crate::policy::{Context, Evaluation};
use crate::time::rfc3339;
use time::UtcDateTime;

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
            context.set(&conditions[0].key().written, text);
            of_one_value()
                .all(|condition| condition.holds(&context, &mut Evaluation::default()) == Ok(true))
        })
    }
}

/// A date as a condition writes it.
fn written_date(nanoseconds: i128) -> Option<String> {
    let time = UtcDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    Some(rfc3339(time))
}
