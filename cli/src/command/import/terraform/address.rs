//! Addresses and references of Terraform: `module.a["x"].aws_iam_role.r[0].name`.

use crate::command::import::value::Value;

/// The longest address or reference that is read.
const MAX_LENGTH: usize = 4096;

/// One part of a reference.
#[derive(Clone, PartialEq)]
pub enum Step {
    /// `.name`, and the first name
    Name(String),
    /// `["key"]` or `[0]`
    Key(Value),
    /// `[*]` or `.*`
    Splat,
}

impl Step {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Takes an address or reference apart; `None` if it is none.
pub fn steps(text: &str) -> Option<Vec<Step>> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(bracketed) = rest.strip_prefix('[') {
            let (step, after) = key(bracketed)?;
            steps.push(step);
            rest = after;
        } else {
            let named = match steps.is_empty() {
                true => rest,
                false => rest.strip_prefix('.')?,
            };
            let end = named.find(['.', '[']).unwrap_or(named.len());
            if end == 0 {
                return None;
            }
            steps.push(match &named[..end] {
                "*" => Step::Splat,
                name => Step::Name(name.to_owned()),
            });
            rest = &named[end..];
        }
    }
    Some(steps)
}

/// The text in brackets, and the text behind them.
fn key(text: &str) -> Option<(Step, &str)> {
    if !text.starts_with('"') {
        let (number, rest) = text.split_once(']')?;
        return match number {
            "*" => Some((Step::Splat, rest)),
            number => Some((Step::Key(Value::Number(number.parse().ok()?)), rest)),
        };
    }
    // A text as JSON has it: the first that ends with a quote that closes it.
    let mut quoted = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let key = quoted.next()?.ok()?;
    let rest = text[quoted.byte_offset()..].strip_prefix(']')?;
    Some((Step::Key(Value::Text(key)), rest))
}

/// The names of the modules that an instance of a module is in, from the root on.
pub fn module_names(address: &str) -> Vec<String> {
    let steps = steps(address).unwrap_or_default();
    let names = steps.into_iter().filter_map(|step| match step {
        Step::Name(name) => Some(name),
        _ => None,
    });
    // Every other is the word `module`.
    names.skip(1).step_by(2).collect()
}

/// The address of the module that a module is called in, and the key of its own instance.
pub fn parent(address: &str) -> Option<(String, Option<Value>)> {
    let mut steps = steps(address)?;
    let key = match steps.last() {
        Some(Step::Key(_)) => match steps.pop() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        },
        _ => None,
    };
    steps.pop()?;
    steps.pop()?;
    Some((written(&steps), key))
}

/// The address of a module in another.
pub fn child(parent: &str, name: &str, key: Option<&Value>) -> String {
    let key = match key {
        Some(Value::Text(key)) => format!("[{}]", serde_json::Value::from(key.as_str())),
        Some(key) => format!("[{}]", key.as_text().unwrap_or_default()),
        None => String::new(),
    };
    let dot = if parent.is_empty() { "" } else { "." };
    format!("{parent}{dot}module.{name}{key}")
}

/// The text of steps.
pub fn written(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Name(name) if text.is_empty() => text.push_str(name),
            Step::Name(name) => text.push_str(&format!(".{name}")),
            Step::Key(Value::Text(key)) => {
                text.push_str(&format!("[{}]", serde_json::Value::from(key.as_str())));
            }
            Step::Key(key) => {
                let key = key.as_text().unwrap_or_else(|| "?".into());
                text.push_str(&format!("[{key}]"));
            }
            Step::Splat => text.push_str("[*]"),
        }
    }
    text
}

/// The value that steps lead to from another one; an unknown one, if to nothing.
pub fn apply(value: Value, steps: &[Step]) -> Value {
    let [step, rest @ ..] = steps else {
        return value;
    };
    if let Value::Unknown(_) = value {
        return value;
    }
    let missing = || Value::unknown(format!("…{}", written(steps)));
    let next = match (step, value) {
        (Step::Name(name), Value::Object(mut members)) => members.remove(name),
        (Step::Name(name), Value::List(list)) => {
            let index: Option<usize> = name.parse().ok();
            index.and_then(|index| list.into_iter().nth(index))
        }
        (Step::Key(key), Value::Object(mut members)) => {
            key.as_text().and_then(|key| members.remove(&key))
        }
        (Step::Key(key), Value::List(list)) => {
            let index = key.as_text().and_then(|key| key.parse::<usize>().ok());
            index.and_then(|index| list.into_iter().nth(index))
        }
        (Step::Splat, Value::List(list)) => {
            return Value::List(list.into_iter().map(|one| apply(one, rest)).collect());
        }
        (Step::Splat, Value::Object(members)) => {
            return Value::List(vec![apply(Value::Object(members), rest)]);
        }
        _ => None,
    };
    next.map_or_else(missing, |next| apply(next, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        for text in [
            "aws_iam_role.app",
            "module.a[\"x.y]\"].module.b.aws_iam_role.app[0].arn",
            "aws_iam_role.app[*].name",
            "each.key",
        ] {
            assert_eq!(written(&steps(text).unwrap()), text);
        }
        for text in ["", "a..b", "a[", "a[\"x]", "a]b[", ".a", "a[x]"] {
            assert!(steps(text).is_none(), "{text}");
        }
    }

    #[test]
    fn modules_are_in_modules() {
        let address = "module.a[\"x\"].module.b[1]";
        assert_eq!(module_names(address), ["a", "b"]);
        let (above, key) = parent(address).unwrap();
        assert_eq!(above, "module.a[\"x\"]");
        assert_eq!(child(&above, "b", key.as_ref()), address);
        let (root, _) = parent(&above).unwrap();
        assert_eq!(root, "");
        assert!(parent("").is_none());
    }
}
