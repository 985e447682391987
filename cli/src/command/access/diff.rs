//! The cells that a change of the documents opens and closes.

use std::collections::BTreeMap;

use dsql_iam_core::access::{Cell, Outcome, Survey};
use dsql_iam_core::visible;
use serde_json::{Value, json};

use super::table;

/// A principal and a role whose answer changes; `None` is a principal that no document names.
pub struct Change<'s> {
    before: Option<Cell<'s>>,
    after: Option<Cell<'s>>,
}

impl Change<'_> {
    fn is_opened(&self) -> bool {
        is_open(self.after.as_ref())
    }
}

fn is_open(cell: Option<&Cell<'_>>) -> bool {
    cell.is_some_and(|cell| cell.outcome != Outcome::Denied)
}

/// The answers by principal and role. Of sessions with one ARN, one that gets in counts.
fn by_key(survey: &Survey) -> BTreeMap<(&str, &str), Cell<'_>> {
    let mut all = BTreeMap::new();
    for cell in survey.cells() {
        let key = (cell.principal, cell.role);
        let is_closer = |there: &Cell<'_>| there.outcome <= cell.outcome;
        if !all.get(&key).is_some_and(is_closer) {
            all.insert(key, cell);
        }
    }
    all
}

/// The changes, sorted by principal and role.
pub fn changes<'s>(before: &'s Survey, after: &'s Survey) -> Vec<Change<'s>> {
    let (mut before, mut after) = (by_key(before), by_key(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().map(|key| Change {
        before: before.remove(&key),
        after: after.remove(&key),
    });
    let differs = |change: &Change<'_>| is_open(change.before.as_ref()) != change.is_opened();
    changes.filter(differs).collect()
}

/// The changes, for people or as JSON.
pub fn text(changes: &[Change<'_>], is_json: bool) -> String {
    if is_json {
        let answer = |cell: &Option<Cell<'_>>| cell.as_ref().map(table::of_cell);
        let list = changes.iter().map(|change| {
            json!({
                "change": if change.is_opened() { "opened" } else { "closed" },
                "before": answer(&change.before),
                "after": answer(&change.after),
            })
        });
        return format!("{:#}", Value::from_iter(list));
    }
    let mut lines = Vec::new();
    for change in changes {
        let Some(cell) = change.after.as_ref().or(change.before.as_ref()) else {
            continue;
        };
        let (word, because) = match (change.is_opened(), &change.after) {
            (true, _) => ("opened", table::because(cell)),
            (false, Some(_)) => ("closed", table::because(cell)),
            (false, None) => ("closed", "it is in no document any more".to_owned()),
        };
        let line = format!("{word}  {}  {}  {because}", cell.principal, cell.role);
        lines.push(visible(&line));
    }
    let opened = changes.iter().filter(|change| change.is_opened()).count();
    lines.push(format!(
        "{opened} opened, {} closed",
        changes.len() - opened
    ));
    lines.join("\n")
}
