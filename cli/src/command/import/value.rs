//! A value of a plan or a template, of which parts may not be known yet.

use std::collections::BTreeMap;
use std::rc::Rc;

use dsql_iam_core::json::{self, JsonError, UniqueMembers};
use serde_json::Number;

/// A value; deliberately without `Debug`: states hold secrets.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// a number
    Number(Number),
    /// text
    Text(String),
    /// a list
    List(Vec<Value>),
    /// an object
    Object(BTreeMap<String, Value>),
    /// not known yet; the name of the expression that would tell
    Unknown(Rc<str>),
}

impl Value {
    /// Not known, because of `name`.
    pub fn unknown(name: impl Into<Rc<str>>) -> Self {
        Self::Unknown(name.into())
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object of these members.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// The member of that name, if it is an object that has it and it is not null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.get(name).filter(|member| **member != Self::Null),
            _ => None,
        }
    }

    /// The text of a scalar: numbers and booleans as JSON writes them.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bool(bool) => Some(bool.to_string()),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A boolean, or the text of one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Its elements: a list's, none of null, itself of anything else.
    pub fn elements(&self) -> &[Value] {
        match self {
            Self::List(list) => list,
            Self::Null => &[],
            one => std::slice::from_ref(one),
        }
    }

    /// The name of the first part of it that is not known.
    pub fn first_unknown(&self) -> Option<&Rc<str>> {
        match self {
            Self::Unknown(name) => Some(name),
            Self::List(list) => list.iter().find_map(Self::first_unknown),
            Self::Object(members) => members.values().find_map(Self::first_unknown),
            _ => None,
        }
    }

    /// Whether all of it is known.
    pub fn is_known(&self) -> bool {
        self.first_unknown().is_none()
    }

    /// As JSON; `None` if a part of it is not known.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(bool) => (*bool).into(),
            Self::Number(number) => number.clone().into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Self::to_json).collect::<Option<_>>()?,
            Self::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, value)| Some((name.clone(), value.to_json()?)));
                serde_json::Value::Object(members.collect::<Option<_>>()?)
            }
            Self::Unknown(_) => return None,
        })
    }

    /// How large it is: of how many values it is made, and how long its texts are.
    pub fn size(&self) -> usize {
        match self {
            Self::List(list) => 1 + list.iter().map(Self::size).sum::<usize>(),
            Self::Object(members) => 1 + members.values().map(Self::size).sum::<usize>(),
            Self::Text(text) => 1 + text.len() / 32,
            _ => 1,
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(bool) => Self::Bool(bool),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(list) => {
                Self::List(list.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(members) => Self::object(
                members
                    .into_iter()
                    .map(|(name, value)| (name, Self::from(value))),
            ),
        }
    }
}

/// Reads JSON, with or without a byte order mark. A duplicate member is an error.
///
/// # Errors
/// [`JsonError`], with line and column; it quotes no value.
pub fn from_json(text: &str) -> Result<Value, JsonError> {
    let UniqueMembers(json) = json::from_str(text.trim_start_matches('\u{feff}'))?;
    Ok(json.into())
}
