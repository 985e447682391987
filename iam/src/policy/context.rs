//! The request context: what is known of a request, by condition key.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>.

use super::budget::Budget;
use std::collections::{BTreeMap, HashMap};

/// A condition key, as it was written and as it is compared: without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionKey {
    pub(crate) written: String,
    pub(crate) folded: String,
}

impl ConditionKey {
    pub(crate) fn new(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            folded: written.to_ascii_lowercase(),
        }
    }
}

/// The values of condition keys for one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: HashMap<String, Vec<String>>,
}

impl Context {
    /// Gives `key` (in any case) the one value `value`, whatever it had before.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Gives `key` (in any case) these values, whatever it had before. A key without any value is
    /// there, but empty.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        self.values.insert(key.to_ascii_lowercase(), values);
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) {
        self.values.remove(&key.to_ascii_lowercase());
    }

    /// Takes out every key that starts with `prefix`, which is in lower case.
    pub(crate) fn remove_prefix(&mut self, prefix: &str) {
        self.values.retain(|key, _| !key.starts_with(prefix));
    }

    /// The values of `key` (in any case); `None` if it is not in the context.
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.values
            .get(&key.to_ascii_lowercase())
            .map(Vec::as_slice)
    }

    /// The keys that are there, in lower case.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The values of a key; an absent key has none.
    pub(crate) fn of(&self, key: &ConditionKey) -> &[String] {
        self.values.get(&key.folded).map_or(&[], Vec::as_slice)
    }
}

/// The state of the evaluation of one request.
#[derive(Debug, Default)]
pub(crate) struct Evaluation {
    /// Condition keys that policies asked for and the context does not have.
    missing: BTreeMap<String, String>,
    /// The steps that it may still take.
    pub(crate) budget: Budget,
}

impl Evaluation {
    /// One that takes its steps off this budget.
    pub(crate) fn within(budget: Budget) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Notes a key that the context does not have.
    pub(crate) fn miss(&mut self, key: &ConditionKey) {
        let entry = self.missing.entry(key.folded.clone());
        entry.or_insert_with(|| key.written.clone());
    }

    /// The names of those keys, by the key in lower case; from then on there are none.
    pub(crate) fn take_missing(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.missing)
    }
}
