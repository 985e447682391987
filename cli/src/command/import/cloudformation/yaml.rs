//! YAML as CloudFormation has it: the short forms of its functions are tags (`!Ref x`, `!GetAtt a.b`).
//!
//! saphyr-parser gives the events; the values are made here, so that depth and aliases are bounded. Numbers and
//! booleans stay the text that they are written as: an account id keeps its leading zero.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::command::import::value::Value;
use crate::shared::error::Error;

/// How deep a value may be.
const MAX_DEPTH: usize = 100;
/// How large a template may become by its aliases.
const MAX_SIZE: usize = 2_000_000;

/// A list or an object that is being read.
struct Open {
    anchor: usize,
    tag: Option<String>,
    /// an object's members, `None` for a list
    members: Option<BTreeMap<String, Value>>,
    list: Vec<Value>,
    /// the member whose value comes next
    name: Option<String>,
    line: usize,
}

/// Reads one document.
///
/// # Errors
/// A sentence, with the line.
pub fn read(text: &str) -> Result<Value, Error> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Value> = HashMap::new();
    let mut size = 0;
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(Error::of)?;
        let line = line(span);
        let (value, anchor) = match event {
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(value) => (value.clone(), 0),
                None => {
                    return Err(format!("line {line}: an alias is part of its own anchor").into());
                }
            },
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), line)?, anchor)
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if open.len() >= MAX_DEPTH =>
            {
                let _ = (anchor, tag);
                return Err(format!("line {line}: nested deeper than {MAX_DEPTH}").into());
            }
            Event::SequenceStart(anchor, tag) => {
                open.push(opened(anchor, tag.as_deref(), None, line));
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                open.push(opened(anchor, tag.as_deref(), Some(BTreeMap::new()), line));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                let value = match closed.members {
                    Some(members) => Value::Object(members),
                    None => Value::List(closed.list),
                };
                let value = match &closed.tag {
                    Some(tag) => function(tag, value, closed.line)?,
                    None => value,
                };
                (value, closed.anchor)
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err(format!("line {line}: there is a second document").into());
            }
            _ => continue,
        };
        size += value.size();
        if size > MAX_SIZE.max(text.len() * MAX_DEPTH) {
            return Err(format!("line {line}: its aliases make it too large").into());
        }
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        match open.last_mut() {
            Some(outer) => put(outer, value, line)?,
            None => root = Some(value),
        }
    }
    root.ok_or_else(|| "the template is empty".into())
}

fn line(span: Span) -> usize {
    span.start.line()
}

fn opened(
    anchor: usize,
    tag: Option<&Tag>,
    members: Option<BTreeMap<String, Value>>,
    line: usize,
) -> Open {
    let tag = tag.and_then(own_tag);
    Open {
        anchor,
        tag,
        members,
        list: Vec::new(),
        name: None,
        line,
    }
}

/// The name of a tag that is not one of YAML's own.
fn own_tag(tag: &Tag) -> Option<String> {
    (!tag.is_yaml_core_schema()).then(|| tag.suffix.clone())
}

fn put(outer: &mut Open, value: Value, line: usize) -> Result<(), Error> {
    let Some(members) = &mut outer.members else {
        outer.list.push(value);
        return Ok(());
    };
    let Some(name) = outer.name.take() else {
        let Some(name) = value.as_text() else {
            return Err(format!("line {line}: the name of a member is not text").into());
        };
        if name == "<<" {
            return Err(format!("line {line}: merge keys (<<) are not CloudFormation's").into());
        }
        if members.contains_key(&name) {
            return Err(format!("line {line}: duplicate member \"{name}\"").into());
        }
        outer.name = Some(name);
        return Ok(());
    };
    members.insert(name, value);
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, Error> {
    let is_null = style == ScalarStyle::Plain && ["", "~", "null", "Null", "NULL"].contains(&text);
    let value = if is_null {
        Value::Null
    } else {
        Value::text(text)
    };
    match tag.and_then(own_tag) {
        Some(tag) => function(&tag, value, line),
        None => Ok(value),
    }
}

/// The long form of a function that is written as a tag.
fn function(tag: &str, value: Value, line: usize) -> Result<Value, Error> {
    if tag.is_empty()
        || !tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b':')
    {
        return Err(format!("line {line}: \"!{tag}\" is not a function").into());
    }
    let name = match tag {
        "Ref" | "Condition" => tag.to_owned(),
        tag => format!("Fn::{tag}"),
    };
    let value = match (tag, value) {
        // The resource, and the attribute, which may have dots in it.
        ("GetAtt", Value::Text(text)) => match text.split_once('.') {
            Some((resource, attribute)) => {
                Value::List(vec![Value::text(resource), Value::text(attribute)])
            }
            None => return Err(format!("line {line}: !GetAtt is RESOURCE.ATTRIBUTE").into()),
        },
        (_, value) => value,
    };
    Ok(Value::object([(name, value)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::import::value::from_json;

    #[test]
    fn short_forms_are_the_long_ones() {
        let yaml = "a: !Ref X\nb: !GetAtt X.Outputs.Y\nc: !Sub\n  - '${a}'\n  - a: 1\nd: !If [C, 012, !Ref AWS::NoValue]\ne: 2012-10-17\nf: ~\n";
        let json = r#"{"a": {"Ref": "X"}, "b": {"Fn::GetAtt": ["X", "Outputs.Y"]},
            "c": {"Fn::Sub": ["${a}", {"a": "1"}]},
            "d": {"Fn::If": ["C", "012", {"Ref": "AWS::NoValue"}]}, "e": "2012-10-17", "f": null}"#;
        assert!(read(yaml).ok() == from_json(json).ok());
    }

    #[test]
    fn faults_are_named() {
        for (yaml, expected) in [
            ("", "the template is empty"),
            ("a: 1\na: 2", "line 2: duplicate member \"a\""),
            ("a: &x [*x]", "line 1: an alias is part of its own anchor"),
            ("a: !GetAtt X", "line 1: !GetAtt is RESOURCE.ATTRIBUTE"),
            ("a: 1\n---\nb: 1", "there is a second document"),
            ("? [a]\n: 1", "line 1: the name of a member is not text"),
            (&"[".repeat(200), "line 1: nested deeper than 100"),
        ] {
            let fault = read(yaml).err().expect("a fault").to_string();
            assert!(fault.contains(expected), "{yaml}: {fault}");
        }
    }

    #[test]
    fn aliases_make_no_bomb() {
        let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for number in 1..20 {
            let last = number - 1;
            yaml += &format!(
                "a{number}: &a{number} [{}]\n",
                vec![format!("*a{last}"); 10].join(", ")
            );
        }
        let fault = read(&yaml).err().expect("a fault").to_string();
        assert!(fault.contains("its aliases make it too large"), "{fault}");
    }
}
