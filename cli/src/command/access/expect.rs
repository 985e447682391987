//! Expectations: a test of IAM for CI.

use std::net::IpAddr;

use aws_smithy_xml::encode::XmlWriter;
use dsql_iam_core::access::Outcome;
use dsql_iam_core::{Identities, visible};
use serde::Deserialize;

use super::question::Question;
use super::table;
use crate::command::{Report, explain, import};
use crate::shared::error::Error;

/// One entry of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    principal: String,
    role: String,
    access: Expected,
    source_ip: Option<IpAddr>,
    at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allowed,
    Denied,
}

impl Expected {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// The outcome of an expectation.
pub struct Compared {
    principal: String,
    /// the role, what is expected, and under which circumstances
    name: String,
    /// why it is not met
    mismatch: Option<String>,
}

/// Compares the answers with each entry.
///
/// # Errors
/// A clause: what is wrong with the list.
pub fn compare(
    text: &str,
    question: &Question<'_>,
    identities: &Identities,
) -> Result<Vec<Compared>, Error> {
    if text.trim().is_empty() {
        return Err("the list is empty".into());
    }
    let list = import::read_yaml(text)?;
    let serde_json::Value::Array(list) = list else {
        return Err("it is not a list".into());
    };
    if list.is_empty() {
        return Err("the list is empty".into());
    }
    let compared = list.into_iter().enumerate().map(|(at, entry)| {
        let failed = |fault: Error| Error::of(format_args!("entry {}: {fault}", at + 1));
        let entry = serde_json::from_value(entry).map_err(|fault| failed(Error::of(fault)))?;
        one(entry, question, identities).map_err(failed)
    });
    compared.collect()
}

fn one(
    expectation: Expectation,
    question: &Question<'_>,
    identities: &Identities,
) -> Result<Compared, Error> {
    let Expectation {
        principal,
        role,
        access,
        source_ip,
        at,
    } = expectation;
    let now = at.as_deref().map(explain::time).transpose()?;
    let question = Question {
        now: now.unwrap_or(question.now),
        source_ip: source_ip.or(question.source_ip),
        ..*question
    };
    let survey = question.survey(identities, Some(&principal));
    let mismatch = match survey.answer(&principal, &role) {
        None => Some(format!("{principal} is in no document")),
        Some(cell) => {
            let is_met = (cell.outcome == Outcome::Denied) == (access == Expected::Denied);
            (!is_met).then(|| {
                let because = table::because(&cell);
                format!(
                    "expected {}, and it is {}: {because}",
                    access.word(),
                    cell.outcome.word()
                )
            })
        }
    };
    let from = source_ip.map(|address| format!(" from {address}"));
    let at = at.map(|at| format!(" at {at}"));
    Ok(Compared {
        name: format!(
            "{role}: {}{}{}",
            access.word(),
            from.unwrap_or_default(),
            at.unwrap_or_default()
        ),
        principal,
        mismatch,
    })
}

/// For people, with the exit status.
pub fn report(compared: &[Compared]) -> Report {
    let mut lines = Vec::new();
    for one in compared {
        let Compared {
            principal, name, ..
        } = one;
        let line = match &one.mismatch {
            None => format!("ok        {principal}  {name}"),
            Some(why) => format!("MISMATCH  {principal}  {name}: {why}"),
        };
        lines.push(visible(&line));
    }
    let mismatches = compared.iter().filter(|one| one.mismatch.is_some()).count();
    lines.push(format!(
        "{} met, {mismatches} not met",
        compared.len() - mismatches
    ));
    Report {
        text: lines.join("\n"),
        is_well: mismatches == 0,
        ..Report::default()
    }
}

/// As JUnit XML: a test case for each.
pub fn junit(compared: &[Compared]) -> String {
    let failures = compared.iter().filter(|one| one.mismatch.is_some()).count();
    let mut text = String::new();
    let mut document = XmlWriter::new(&mut text);
    let mut suite = document.start_el("testsuite");
    let (tests, failures) = (compared.len().to_string(), failures.to_string());
    suite.write_attribute("name", "dsql-iam access");
    suite.write_attribute("tests", &tests);
    suite.write_attribute("failures", &failures);
    let mut suite = suite.finish();
    for one in compared {
        let mut case = suite.start_el("testcase");
        case.write_attribute("classname", &visible(&one.principal));
        case.write_attribute("name", &visible(&one.name));
        let mut case = case.finish();
        if let Some(why) = &one.mismatch {
            let mut failure = case.start_el("failure");
            failure.write_attribute("message", &visible(why));
            failure.finish().finish();
        }
        case.finish();
    }
    suite.finish();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}\n")
}
