//! The functions of Terraform that policies are written with. A value that is not known stays so in a list or
//! an object; in a text it makes all of it unknown.

use std::collections::BTreeMap;

use crate::command::import::value::{Value, from_json};

/// Calls a function. One that is not known here gives an unknown value.
pub fn call(name: &str, arguments: Vec<Value>) -> Value {
    if let Some(value) = structural(name, &arguments) {
        return value;
    }
    if let Some(unknown) = arguments.iter().find_map(Value::first_unknown) {
        return Value::Unknown(unknown.clone());
    }
    textual(name, &arguments).unwrap_or_else(|| Value::unknown(format!("{name}(…)")))
}

/// Those that take lists and objects as they are, unknown elements included; `None` if it is none of them,
/// or the arguments do not fit.
fn structural(name: &str, arguments: &[Value]) -> Option<Value> {
    let first = arguments.first()?;
    Some(match (name, first) {
        ("jsonencode", value) => match value.to_json() {
            Some(json) => Value::Text(json.to_string()),
            // As good as its text, wherever a policy is wanted.
            None => value.clone(),
        },
        ("jsondecode", Value::Text(text)) => from_json(text).ok()?,
        ("jsondecode", Value::Object(_)) => first.clone(),
        ("concat", _) => {
            let mut all = Vec::new();
            for argument in arguments {
                let Value::List(list) = argument else {
                    return None;
                };
                all.extend(list.iter().cloned());
            }
            Value::List(all)
        }
        ("merge", _) => {
            let mut all = BTreeMap::new();
            for argument in arguments {
                match argument {
                    Value::Object(members) => all.extend(members.clone()),
                    Value::Null => {}
                    _ => return None,
                }
            }
            Value::Object(all)
        }
        ("flatten", Value::List(list)) => Value::List(flat(list)),
        ("toset" | "distinct", Value::List(list)) => {
            let mut distinct: Vec<Value> = Vec::new();
            for element in list {
                if !distinct.contains(element) {
                    distinct.push(element.clone());
                }
            }
            Value::List(distinct)
        }
        ("tolist" | "tomap" | "sensitive" | "nonsensitive" | "ephemeralasnull", value) => {
            value.clone()
        }
        ("values", Value::Object(members)) => Value::List(members.values().cloned().collect()),
        ("keys", Value::Object(members)) => Value::List(members.keys().map(Value::text).collect()),
        ("length", Value::List(list)) => Value::Number(list.len().into()),
        ("length", Value::Object(members)) => Value::Number(members.len().into()),
        ("length", Value::Text(text)) => Value::Number(text.chars().count().into()),
        ("one", Value::List(list)) => match &list[..] {
            [] => Value::Null,
            [one] => one.clone(),
            _ => return None,
        },
        ("element", Value::List(list)) => {
            let index: usize = arguments.get(1)?.as_text()?.parse().ok()?;
            list.get(index.checked_rem(list.len())?)?.clone()
        }
        ("lookup", Value::Object(members)) => {
            let key = arguments.get(1)?.as_text()?;
            members.get(&key).or(arguments.get(2))?.clone()
        }
        // Only a list whose texts are all known can be said to lack empty ones.
        ("compact", Value::List(list)) => {
            let mut list = list.clone();
            list.retain(|element| !matches!(element, Value::Null) && *element != Value::text(""));
            Value::List(list)
        }
        _ => return None,
    })
}

fn flat(list: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for element in list {
        match element {
            Value::List(inner) => all.extend(flat(inner)),
            element => all.push(element.clone()),
        }
    }
    all
}

/// Those of values that are all known.
fn textual(name: &str, arguments: &[Value]) -> Option<Value> {
    let text = |index: usize| arguments.get(index).and_then(Value::as_text);
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.elements().iter().map(Value::as_text).collect()
    };
    Some(match name {
        "tostring" => Value::Text(text(0)?),
        "tonumber" => Value::Number(text(0)?.parse().ok()?),
        "tobool" => Value::Bool(arguments.first()?.as_bool()?),
        "join" => {
            let lists: Option<Vec<_>> = arguments[1..].iter().map(texts).collect();
            Value::Text(lists?.concat().join(&text(0)?))
        }
        "split" => {
            let (separator, text) = (text(0)?, text(1)?);
            Value::List(text.split(&separator).map(Value::text).collect())
        }
        "format" => Value::Text(format(&text(0)?, &arguments[1..])?),
        "lower" => Value::Text(text(0)?.to_lowercase()),
        "upper" => Value::Text(text(0)?.to_uppercase()),
        "trimspace" => Value::text(text(0)?.trim()),
        "trimprefix" => {
            let (text, prefix) = (text(0)?, text(1)?);
            Value::text(text.strip_prefix(&prefix).unwrap_or(&text))
        }
        "trimsuffix" => {
            let (text, suffix) = (text(0)?, text(1)?);
            Value::text(text.strip_suffix(&suffix).unwrap_or(&text))
        }
        "startswith" => Value::Bool(text(0)?.starts_with(&text(1)?)),
        "endswith" => Value::Bool(text(0)?.ends_with(&text(1)?)),
        "replace" => {
            let pattern = text(1)?;
            // Between slashes it is a regular expression.
            if pattern.len() > 1 && pattern.starts_with('/') && pattern.ends_with('/') {
                return None;
            }
            Value::Text(text(0)?.replace(&pattern, &text(2)?))
        }
        "substr" => {
            let (text, from, length) = (text(0)?, text(1)?, text(2)?);
            let (from, length): (usize, usize) = (from.parse().ok()?, length.parse().ok()?);
            Value::Text(text.chars().skip(from).take(length).collect())
        }
        "contains" => Value::Bool(arguments.first()?.elements().contains(arguments.get(1)?)),
        "coalesce" => {
            let mut given = arguments.iter();
            given
                .find(|one| **one != Value::Null && **one != Value::text(""))?
                .clone()
        }
        "coalescelist" => arguments
            .iter()
            .find(|one| !one.elements().is_empty())?
            .clone(),
        "sort" => {
            let mut sorted = texts(arguments.first()?)?;
            sorted.sort();
            Value::List(sorted.into_iter().map(Value::Text).collect())
        }
        "setunion" => {
            let all = arguments
                .iter()
                .flat_map(Value::elements)
                .cloned()
                .collect();
            call("distinct", vec![Value::List(all)])
        }
        "zipmap" => {
            let keys = texts(arguments.first()?)?;
            Value::object(
                keys.into_iter()
                    .zip(arguments.get(1)?.elements().iter().cloned()),
            )
        }
        _ => return None,
    })
}

/// `format` with the verbs `%s`, `%d`, `%v` and `%%`; `None` for any other.
fn format(spec: &str, arguments: &[Value]) -> Option<String> {
    let mut arguments = arguments.iter();
    let mut text = String::new();
    let mut chars = spec.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        match chars.next()? {
            '%' => text.push('%'),
            's' | 'd' | 'v' => text.push_str(&arguments.next()?.as_text()?),
            _ => return None,
        }
    }
    arguments.next().is_none().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Value {
        Value::List(texts.iter().copied().map(Value::text).collect())
    }

    #[test]
    fn what_they_give() {
        let text = Value::text;
        for (name, arguments, expected) in [
            ("join", vec![text(":"), list(&["a", "b"])], text("a:b")),
            ("split", vec![text(","), text("a,b")], list(&["a", "b"])),
            (
                "format",
                vec![text("%s-%d%%"), text("a"), Value::Number(1.into())],
                text("a-1%"),
            ),
            (
                "concat",
                vec![list(&["a"]), list(&["b"])],
                list(&["a", "b"]),
            ),
            (
                "trimprefix",
                vec![text("https://x"), text("https://")],
                text("x"),
            ),
            ("jsondecode", vec![text("[\"a\"]")], list(&["a"])),
            ("jsonencode", vec![list(&["a"])], text("[\"a\"]")),
            (
                "element",
                vec![list(&["a", "b"]), Value::Number(3.into())],
                text("b"),
            ),
            (
                "coalesce",
                vec![Value::Null, text(""), text("x")],
                text("x"),
            ),
        ] {
            assert!(call(name, arguments) == expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let unknown = Value::unknown("x");
        assert!(
            call(
                "join",
                vec![Value::text(","), Value::List(vec![unknown.clone()])]
            ) == unknown
        );
        assert!(
            call("filesha256", vec![Value::text("x")])
                .first_unknown()
                .is_some()
        );
        assert!(
            call(
                "replace",
                vec![Value::text("a"), Value::text("/./"), Value::text("")]
            )
            .first_unknown()
            .is_some()
        );
        let encoded = call("jsonencode", vec![Value::List(vec![unknown])]);
        assert_eq!(encoded.first_unknown().map(|name| &**name), Some("x"));
    }
}
