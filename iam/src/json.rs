//! Reads JSON strictly: a text that a lenient reader accepts could let somebody in.
//!
//! Readers that serde derives accept more than AWS does: a list for an object, its members by their position, and
//! null for a member that need not be there. To AWS each of them is malformed. A condition that is null
//! would otherwise be none, and a statement without a condition allows more than its author meant.

use serde::de::{self, Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Why a member is refused that is null.
const NULL: &str = "a member is null; it has a value, or is not there";

/// Why a text is not JSON, or not of the form that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It starts with U+FEFF.
    #[error(
        "it starts with a byte order mark, which JSON does not have; save it as UTF-8 without one"
    )]
    ByteOrderMark,
    /// The parser's sentence, in the words of JSON, with line and column.
    #[error("{0}")]
    Invalid(String),
}

/// Lets structs be read from JSON objects only. Each has `#[serde(remote = "Self")]`, and is named in words
/// that whoever wrote the JSON knows.
#[macro_export]
macro_rules! objects_only {
    ($($name:ty => $called:literal),+ $(,)?) => {$(
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                struct Visitor;
                impl<'de> ::serde::de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(
                        &self,
                        f: &mut ::std::fmt::Formatter<'_>,
                    ) -> ::std::fmt::Result {
                        f.write_str(concat!("an object: ", $called))
                    }
                    fn visit_map<A: ::serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> ::std::result::Result<$name, A::Error> {
                        // The function that serde derived, which is not this trait's.
                        <$name>::deserialize(::serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    )+};
}

/// Reads a member that need not be there, and is not null if it is. For
/// `#[serde(default, deserialize_with)]`.
///
/// # Errors
/// If it is null, or not what it has to be.
pub fn not_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let null = || de::Error::custom(NULL);
    Option::deserialize(deserializer)?
        .map(Some)
        .ok_or_else(null)
}

/// AWS writes a list of one as the one itself.
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one element or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                one(de::value::StrDeserializer::new(text))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                one(de::value::BoolDeserializer::new(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                one(de::value::I64Deserializer::new(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                one(de::value::U64Deserializer::new(value))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                one(de::value::F64Deserializer::new(value))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                one(de::value::MapAccessDeserializer::new(map))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(element) = seq.next_element()? {
                    many.push(element);
                }
                Ok(OneOrMany(many))
            }
        }
        fn one<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<OneOrMany<T>, D::Error> {
            Ok(OneOrMany(vec![T::deserialize(deserializer)?]))
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A text of a policy.
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                Err(not_text(map, &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Why an object cannot stand where a policy has a text; a template's function is called by its name.
fn not_text<'de, A: de::MapAccess<'de>>(mut map: A, expected: &dyn de::Expected) -> A::Error {
    match map.next_key::<String>() {
        Ok(Some(name)) if name == "Ref" || name.starts_with("Fn::") => {
            de::Error::custom(format_args!(
                "\"{name}\" is a function of a template, which was not evaluated; dsql-iam import \
                 reads templates"
            ))
        }
        Ok(_) => de::Error::invalid_type(de::Unexpected::Map, expected),
        Err(fault) => fault,
    }
}

/// A value in a condition. AWS takes numbers and booleans without quotation marks too.
pub(crate) struct Scalar(pub(crate) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a number or a boolean")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
                Err(not_text(map, &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// An object, in its order, and with entries of the same name still there to be found.
#[derive(Default)]
pub(crate) struct Entries<T>(pub(crate) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// A value of which no object has a duplicate member: of two, other readers would take another one.
pub struct UniqueMembers(
    /// The value.
    pub Value,
);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = UniqueMembers;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(value.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(number.into()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(number.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<UniqueMembers, E> {
                Ok(UniqueMembers(text.into()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<UniqueMembers, A::Error> {
                let mut list = Vec::new();
                while let Some(UniqueMembers(element)) = seq.next_element()? {
                    list.push(element);
                }
                Ok(UniqueMembers(Value::Array(list)))
            }
            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<UniqueMembers, A::Error> {
                let mut members = Map::new();
                while let Some((name, UniqueMembers(value))) = map.next_entry::<String, _>()? {
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate member {name:?}")));
                    }
                    members.insert(name, value);
                }
                Ok(UniqueMembers(Value::Object(members)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads JSON.
///
/// # Errors
/// [`JsonError`], with line and column.
pub fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    if text.starts_with('\u{feff}') {
        return Err(JsonError::ByteOrderMark);
    }
    serde_json::from_str(text).map_err(|fault| {
        // serde's words for what JSON calls an array and an object.
        let words = [
            ("invalid type: null, expected a sequence", NULL),
            ("invalid type: sequence", "invalid type: array"),
            ("invalid type: map", "invalid type: object"),
            ("expected a sequence", "expected an array"),
        ];
        let replace = |text: String, (word, json): (&str, &str)| text.replace(word, json);
        JsonError::Invalid(words.into_iter().fold(fault.to_string(), replace))
    })
}
