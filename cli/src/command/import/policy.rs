//! Policy documents of which parts are not known, made so that an unknown value opens no door.
//!
//! | statement | becomes |
//! |---|---|
//! | Allow with an unknown value | nothing: it is left out |
//! | Deny with an unknown action, resource or principal | a Deny of all of them |
//! | Deny with an unknown condition | a Deny without that condition |
//! | of unknown effect | a Deny |
//! | wholly unknown, and each in a document that is | a Deny of everything |

use std::collections::BTreeMap;

use dsql_iam_core::policy::{Kind, Policy};

use super::summary::Summary;
use super::value::{Value, from_json};

use crate::shared::error::Error;

/// The elements of a statement that hold patterns, each with its opposite.
const PATTERNS: [(&str, &str); 3] = [
    ("Action", "NotAction"),
    ("Resource", "NotResource"),
    ("Principal", "NotPrincipal"),
];

/// The document without its unknown parts, as the loader takes it. `place` names it in the summary.
///
/// # Errors
/// A sentence, if what is known of it is not a policy document of this kind.
pub fn closed(
    document: &Value,
    kind: Kind,
    place: &str,
    summary: &mut Summary,
) -> Result<serde_json::Value, Error> {
    let fault = |fault: &dyn std::fmt::Display| Error::of(format_args!("{place}: {fault}"));
    let parsed;
    let document = match document {
        Value::Text(text) => {
            // Of the text itself: what is there twice is lost in a value.
            Policy::parse(text, kind).map_err(|found| fault(&found))?;
            parsed = from_json(text).map_err(|found| fault(&found))?;
            &parsed
        }
        document => document,
    };
    let statements = match document {
        Value::Object(members) => statements(members, kind, place, summary),
        Value::Unknown(name) => {
            summary.unknown(format!(
                "{place}: {name} is unknown, so the whole policy denies everything"
            ));
            vec![everything_denied(kind)]
        }
        _ => return Err(fault(&"a policy document is an object or its JSON")),
    };
    let mut closed = BTreeMap::from([("Statement".to_owned(), Value::List(statements))]);
    if let Value::Object(members) = document {
        for (name, value) in members {
            match (name.as_str(), value.first_unknown()) {
                ("Statement", _) => {}
                // Without a Version it would have no policy variables.
                ("Version", Some(name)) => {
                    let line = format!("{place}: Version {name} is unknown, so all is denied");
                    summary.unknown(line);
                    let denied = Value::List(vec![everything_denied(kind)]);
                    closed.insert("Statement".into(), denied);
                }
                (_, Some(_)) => {}
                (_, None) => {
                    closed.insert(name.clone(), value.clone());
                }
            }
        }
    }
    let closed = Value::Object(closed);
    let json = closed
        .to_json()
        .ok_or_else(|| fault(&"internal error: a value is unknown"))?;
    Policy::parse(&json.to_string(), kind).map_err(|found| fault(&found))?;
    Ok(json)
}

/// The document with its Allow statements taken out, for one of which it is not known whether it counts.
pub fn denials(document: &serde_json::Value) -> serde_json::Value {
    let mut document = document.clone();
    if let Some(serde_json::Value::Array(statements)) = document.get_mut("Statement") {
        statements.retain(|statement| statement["Effect"] != "Allow");
    }
    document
}

/// A statement that denies everything, to everybody.
fn everything_denied(kind: Kind) -> Value {
    let mut statement = BTreeMap::from([
        ("Effect".to_owned(), Value::text("Deny")),
        ("Action".to_owned(), Value::text("*")),
    ]);
    if kind != Kind::Trust {
        statement.insert("Resource".into(), Value::text("*"));
    }
    if has_principal(kind) {
        statement.insert("Principal".into(), Value::text("*"));
    }
    Value::Object(statement)
}

fn has_principal(kind: Kind) -> bool {
    matches!(kind, Kind::ResourceBased | Kind::Trust)
}

fn statements(
    document: &BTreeMap<String, Value>,
    kind: Kind,
    place: &str,
    summary: &mut Summary,
) -> Vec<Value> {
    // The name of a member may be unknown itself, which makes it no member at all.
    let Some(list) = document.get("Statement") else {
        return Vec::new();
    };
    let mut closed = Vec::new();
    for (index, statement) in list.elements().iter().enumerate() {
        let Some(name) = statement.first_unknown() else {
            closed.push(statement.clone());
            continue;
        };
        let place = format!("{place}: statement {}", index + 1);
        let Value::Object(members) = statement else {
            summary.unknown(format!(
                "{place}: {name} is unknown, so it denies everything"
            ));
            closed.push(everything_denied(kind));
            continue;
        };
        let effect = members.get("Effect");
        if only_the_sid_is_unknown(members) {
            let mut members = members.clone();
            members.remove("Sid");
            closed.push(Value::Object(members));
        } else if is_of_another_service(members) {
            // It has no say in a login, and there are many of them.
            summary.unknown_elsewhere();
            if effect != Some(&Value::text("Allow")) {
                closed.push(Value::Object(broader(members, kind)));
            }
        } else if effect == Some(&Value::text("Allow")) {
            summary.unknown(format!(
                "{place} (Allow): {name} is unknown, so it is left out"
            ));
        } else {
            summary.unknown(format!(
                "{place} (Deny): {name} is unknown, so it denies more"
            ));
            closed.push(Value::Object(broader(members, kind)));
        }
    }
    closed
}

fn only_the_sid_is_unknown(members: &BTreeMap<String, Value>) -> bool {
    members
        .iter()
        .all(|(name, value)| name == "Sid" || value.is_known())
}

/// Whether a statement is about services only that have no say in a login: neither `dsql:` nor, for who may begin a
/// session, `sts:`.
fn is_of_another_service(statement: &BTreeMap<String, Value>) -> bool {
    let Some(actions) = statement.get("Action").filter(|actions| actions.is_known()) else {
        return false;
    };
    let mut services = actions.elements().iter().map(|action| {
        let action = action.as_text()?.to_ascii_lowercase();
        let (service, _) = action.split_once(':')?;
        Some(service.to_owned())
    });
    let is_another =
        |service: &str| !["dsql", "sts"].contains(&service) && !service.contains(['*', '?']);
    services.all(|service| service.as_deref().is_some_and(is_another))
}

/// A Deny that denies all that the given one could.
fn broader(statement: &BTreeMap<String, Value>, kind: Kind) -> BTreeMap<String, Value> {
    let mut broader: BTreeMap<String, Value> = statement
        .iter()
        .filter(|(_, value)| value.is_known())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    broader.insert("Effect".into(), Value::text("Deny"));
    for (plain, not) in PATTERNS {
        let is_wanted = match plain {
            "Principal" => has_principal(kind),
            "Resource" => kind != Kind::Trust,
            _ => true,
        };
        // An element that had an unknown part is gone by now.
        if is_wanted && !broader.contains_key(plain) && !broader.contains_key(not) {
            broader.insert(plain.into(), Value::text("*"));
        }
    }
    let Some(Value::Object(operators)) = statement.get("Condition") else {
        return broader;
    };
    let mut conditions = BTreeMap::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else { continue };
        let mut known = keys.clone();
        known.retain(|_, values| values.is_known());
        if !known.is_empty() {
            conditions.insert(operator.clone(), Value::Object(known));
        }
    }
    if conditions.is_empty() {
        broader.remove("Condition");
    } else {
        broader.insert("Condition".into(), Value::Object(conditions));
    }
    broader
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements of an identity-based policy afterwards, and the summary.
    fn statements(text: &str) -> (serde_json::Value, String) {
        let mut document = from_json(text).unwrap();
        put_unknown(&mut document);
        let mut summary = Summary::default();
        let closed = closed(&document, Kind::IdentityBased, "p", &mut summary).unwrap();
        (closed["Statement"].clone(), summary.text("way past"))
    }

    /// Takes the text `?` for an unknown value.
    fn put_unknown(value: &mut Value) {
        match value {
            Value::Text(text) if text == "?" => *value = Value::unknown("x"),
            Value::List(list) => list.iter_mut().for_each(put_unknown),
            Value::Object(members) => members.values_mut().for_each(put_unknown),
            _ => {}
        }
    }

    #[test]
    fn statements_are_closed() {
        let denied = r#"{"Effect": "Deny", "Action": "*", "Resource": "*"}"#;
        for (statement, expected) in [
            (
                r#"{"Effect": "Allow", "Action": "dsql:*", "Resource": ["*", "?"]}"#,
                "",
            ),
            (
                r#"{"Effect": "Allow", "Action": "dsql:*", "Resource": "*", "Condition": {"StringEquals": {"a": "?"}}}"#,
                "",
            ),
            (
                r#"{"Effect": "Allow", "Action": "dsql:*", "Resource": "*", "Sid": "?"}"#,
                r#"{"Effect": "Allow", "Action": "dsql:*", "Resource": "*"}"#,
            ),
            (r#""?""#, denied),
            (
                r#"{"Effect": "?", "Action": "dsql:*", "Resource": "*"}"#,
                r#"{"Effect": "Deny", "Action": "dsql:*", "Resource": "*"}"#,
            ),
            (
                r#"{"Effect": "Deny", "NotAction": ["?"], "NotResource": "?"}"#,
                denied,
            ),
            (
                r#"{"Effect": "Deny", "Action": "dsql:*", "Resource": "*",
                "Condition": {"StringEquals": {"a": "?", "b": "c"}, "StringLike": {"a": ["d", "?"]}}}"#,
                r#"{"Effect": "Deny", "Action": "dsql:*", "Resource": "*", "Condition": {"StringEquals": {"b": "c"}}}"#,
            ),
            (
                r#"{"Effect": "Deny", "Action": "dsql:*", "Resource": "*", "Condition": "?"}"#,
                r#"{"Effect": "Deny", "Action": "dsql:*", "Resource": "*"}"#,
            ),
        ] {
            let (closed, _) = statements(&format!(
                r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#
            ));
            let expected: serde_json::Value =
                serde_json::from_str(&format!("[{expected}]")).unwrap();
            assert_eq!(closed, expected, "{statement}");
        }
        let allow = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        for document in [
            r#""?""#.to_owned(),
            r#"{"Version": "2012-10-17", "Statement": "?"}"#.to_owned(),
            format!(r#"{{"Version": "?", "Statement": [{allow}]}}"#),
        ] {
            assert_eq!(
                statements(&document).0.to_string(),
                format!(
                    "[{}]",
                    denied.replace(' ', "").replace(
                        "\"Effect\":\"Deny\",\"Action\":\"*\"",
                        "\"Action\":\"*\",\"Effect\":\"Deny\""
                    )
                ),
                "{document}"
            );
        }
    }

    #[test]
    fn only_what_has_a_say_in_a_login_is_named() {
        let of = |action: &str| {
            let statement =
                format!(r#"{{"Effect": "Allow", "Action": {action}, "Resource": "?"}}"#);
            statements(&format!(r#"{{"Statement": {statement}}}"#)).1
        };
        for action in [r#""s3:*""#, r#"["s3:*", "sqs:SendMessage"]"#] {
            let summary = of(action);
            assert!(
                summary.ends_with("Unknown, in statements that have no say in a login: 1"),
                "{summary}"
            );
        }
        for action in [
            r#""DSQL:DbConnect""#,
            r#"["s3:*", "ds*:*"]"#,
            r#""*""#,
            r#""?""#,
            r#""sts:AssumeRole""#,
        ] {
            let summary = of(action);
            assert!(
                summary.contains("p: statement 1 (Allow): x is unknown, so it is left out"),
                "{summary}"
            );
        }
    }
}
