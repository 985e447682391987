//! The answers as one page for people who review them: a matrix, and the reason behind each cell.
//!
//! The page needs nothing beside it, and its content no script: the script is the filter alone. The
//! policy in its head lets that one script run, and nothing else.

use std::fmt::Write;

use data_encoding::BASE64;
use dsql_iam_core::access::{Cell, Outcome, Survey};
use dsql_iam_core::visible;
use sha2::{Digest, Sha256};

use super::question::Question;
use super::source::Sources;
use super::table;

const STYLE: &str = include_str!("html.css");
const SCRIPT: &str = include_str!("html.js");

/// The page.
pub fn html(survey: &Survey, question: &Question<'_>, sources: &Sources) -> String {
    let hash = BASE64.encode(&Sha256::digest(SCRIPT));
    let cluster = escaped(&question.cluster.arn());
    let at = escaped(&dsql_iam_core::format_amz_date(question.now));
    let from = question.source_ip.map_or_else(
        || "no address".to_owned(),
        |address| escaped(&address.to_string()),
    );
    let summary = escaped(&table::summary(survey));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'sha256-{hash}'\">\n\
         <title>Who may connect to {cluster}</title>\n<style>{STYLE}</style>\n\
         <h1>Who may connect as whom</h1>\n\
         <p>Cluster {cluster}, as of {at}, from {from}: {summary}.</p>\n\
         <p id=\"filter\" hidden><label>Filter <input type=\"search\"></label> <output></output></p>\n"
    );
    let roles = survey.roles();
    let head = roles
        .iter()
        .map(|role| format!("<th scope=\"col\">{}", escaped(role)));
    let head: String = head.collect();
    let _ = write!(
        page,
        "<h2>Matrix</h2>\n<table>\n<caption>Each answer leads to its reason.</caption>\n\
         <thead><tr><th scope=\"col\">Principal{head}</thead>\n<tbody>\n"
    );
    let cells: Vec<Cell<'_>> = survey.cells().collect();
    let rows = || cells.chunks(roles.len().max(1)).enumerate();
    for (number, row) in rows() {
        let _ = write!(
            page,
            "<tr data-row=\"{number}\"><th scope=\"row\">{} <small>{}</small>",
            escaped(row[0].principal),
            row[0].principal_type.word()
        );
        for (at, cell) in row.iter().enumerate() {
            let (class, word) = (class(cell.outcome), cell.outcome.word());
            let _ = write!(
                page,
                "<td class=\"{class}\"><a href=\"#r{number}-{at}\">{word}</a>"
            );
        }
        page.push('\n');
    }
    page.push_str("</tbody>\n</table>\n<h2>Reasons</h2>\n");
    for (number, row) in rows() {
        let _ = writeln!(
            page,
            "<section data-row=\"{number}\"><h3>{}</h3>\n<dl>",
            escaped(row[0].principal)
        );
        for (at, cell) in row.iter().enumerate() {
            reason(&mut page, &format!("r{number}-{at}"), cell, sources);
        }
        page.push_str("</dl></section>\n");
    }
    let _ = writeln!(page, "<script>{SCRIPT}</script>");
    page
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::IfMapped => "mapped",
        Outcome::Denied => "denied",
    }
}

/// The reason and the statements behind one cell.
fn reason(page: &mut String, id: &str, cell: &Cell<'_>, sources: &Sources) {
    let _ = write!(
        page,
        "<dt id=\"{id}\">{}: <b class=\"{}\">{}</b>\n<dd>",
        escaped(cell.role),
        class(cell.outcome),
        cell.outcome.word()
    );
    if !cell.reason.is_empty() {
        let _ = write!(page, "<p>{}", escaped(&cell.reason));
    }
    for statement in cell.statements {
        let _ = write!(page, "<p>{}", escaped(&statement.text));
        if let Some(text) = sources.text(statement) {
            let lines: Vec<String> = text.lines().map(escaped).collect();
            let _ = write!(page, "<pre>{}</pre>", lines.join("\n"));
        }
    }
    for key in cell.missing_context {
        let _ = write!(page, "<p>Condition key not known here: {}", escaped(key));
    }
    page.push('\n');
}

/// A text as HTML takes it, in elements and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in visible(text).chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        assert_eq!(
            escaped("<script>'\"&\u{1b}\n\u{202e}\u{ffff}"),
            "&lt;script&gt;&#39;&quot;&amp;\\u{1b}\\u{a}\\u{202e}\\u{ffff}"
        );
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && text.len() < 2_000);
        }
    }
}
