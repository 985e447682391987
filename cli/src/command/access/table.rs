//! The answers as a table, as JSON and as CSV.

use std::borrow::Cow;
use std::fmt::Write;

use dsql_iam_core::access::{ANY_ROLE, Cell, Outcome, Survey};
use dsql_iam_core::visible;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::question::Question;

use crate::shared::error::Error;

/// The columns of CSV.
const COLUMNS: [&str; 8] = [
    "principal",
    "principal_type",
    "role",
    "access",
    "is_mapped",
    "check",
    "reason",
    "statements",
];

/// For people.
pub fn text(survey: &Survey) -> String {
    let head = ["PRINCIPAL", "ROLE", "ACCESS", "DECIDED BY"].map(str::to_owned);
    let rows = survey.cells().map(|cell| {
        [
            visible(cell.principal),
            visible(cell.role),
            cell.outcome.word().to_owned(),
            visible(&because(&cell)),
        ]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (principal, role, access) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [one, two, three, four] in &rows {
        let line = format!("{one:<principal$}  {two:<role$}  {three:<access$}  {four}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = write!(text, "\n{}", summary(survey));
    text
}

/// How many are let in.
pub fn summary(survey: &Survey) -> String {
    let mut counts = [0_usize; 3];
    for cell in survey.cells() {
        counts[match cell.outcome {
            Outcome::Allowed => 0,
            Outcome::IfMapped => 1,
            Outcome::Denied => 2,
        }] += 1;
    }
    let [allowed, if_mapped, denied] = counts;
    let hint = match survey.roles().contains(&ANY_ROLE) {
        true => " (give the mappings with --mappings)",
        false => "",
    };
    match if_mapped {
        0 => format!("{allowed} allowed, {denied} denied"),
        _ => format!("{allowed} allowed, {if_mapped} if mapped{hint}, {denied} denied"),
    }
}

/// The deciding reason, in a line.
pub fn because(cell: &Cell<'_>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !cell.reason.is_empty() {
        parts.push(&cell.reason);
    }
    parts.extend(cell.statements.iter().map(|one| one.text.as_str()));
    parts.join("; ")
}

/// The statements in words.
fn statements<'s>(cell: &Cell<'s>) -> Vec<&'s str> {
    cell.statements
        .iter()
        .map(|one| one.text.as_str())
        .collect()
}

/// For scripts.
pub fn json(survey: &Survey, question: &Question<'_>) -> Value {
    let cells: Vec<Value> = survey.cells().map(|cell| of_cell(&cell)).collect();
    json!({
        "cluster": question.cluster.arn(),
        "at": question.now.format(&Rfc3339).ok(),
        "source_ip": question.source_ip.map(|address| address.to_string()),
        "access": cells,
    })
}

/// One answer for scripts.
pub fn of_cell(cell: &Cell<'_>) -> Value {
    json!({
        "principal": cell.principal,
        "principal_type": cell.principal_type.word(),
        "role": cell.role,
        "access": cell.outcome.word(),
        "is_mapped": cell.is_mapped,
        "check": cell.check,
        "reason": (!cell.reason.is_empty()).then_some(&cell.reason),
        "statements": statements(cell),
        "missing_context": cell.missing_context,
    })
}

/// A cell that no spreadsheet takes for a formula: a role may have any name, and one that begins like a formula gets
/// an apostrophe in front.
fn cell_text(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

/// For spreadsheets; scripts have JSON.
///
/// # Errors
/// If it cannot be written, which in memory it can.
pub fn csv(survey: &Survey) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = (|| {
        writer.write_record(COLUMNS)?;
        for cell in survey.cells() {
            writer.write_record([
                cell.principal,
                cell.principal_type.word(),
                &cell_text(cell.role),
                cell.outcome.word(),
                cell.is_mapped
                    .map_or("", |is| if is { "true" } else { "false" }),
                cell.check.unwrap_or_default(),
                &cell.reason,
                &statements(&cell).join("; "),
            ])?;
        }
        Ok::<(), csv::Error>(())
    })();
    written.map_err(Error::of)?;
    writer.into_inner().map_err(Error::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for name in ["=1", "+1", "-1", "@a", "\t=1", "\r=1"] {
            assert_eq!(cell_text(name), format!("'{name}"));
        }
        for name in ["reader", "a=1", "'=1", "*", ""] {
            assert_eq!(cell_text(name), name);
        }
    }
}
