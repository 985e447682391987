//! How JSON is read where what is passed over could let somebody in.
//!
//! What serde derives takes more than AWS does: a list for an object, its members by their position, and
//! null for a member that need not be there. To AWS each of them is malformed. A condition that is null
//! would otherwise be none, and a statement without a condition allows more than whoever wrote it meant.

use serde::de::{self, Deserialize, Deserializer};

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
                        // What serde derived, which is not this trait's.
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
pub fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let null = || de::Error::custom("a member is null; it has a value, or is not there");
    Option::deserialize(deserializer)?
        .map(Some)
        .ok_or_else(null)
}

/// Reads JSON.
///
/// # Errors
/// A sentence, with line and column.
pub fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    if text.starts_with('\u{feff}') {
        return Err(
            "it starts with a byte order mark, which JSON does not have; save it as UTF-8 without one"
                .into(),
        );
    }
    serde_json::from_str(text).map_err(|fault| {
        // serde's word for what JSON calls an array.
        fault
            .to_string()
            .replace("invalid type: sequence", "invalid type: array")
    })
}
