//! The token of an identity provider: a JSON Web Token, by RFC 7519, signed as in RFC 7515.
//!
//! It comes from whoever can reach the service, so it is read strictly and within bounds, and nothing in it counts
//! before its signature is verified, but for the name of its issuer and of its key.

use crate::identity_provider::Algorithm;
use data_encoding::BASE64URL_NOPAD;
use serde::de::{self, Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;

/// The longest token that AWS takes, in characters.
const MAX_TOKEN: usize = 20_000;
/// The longest text of a claim that is looked at, in bytes.
const MAX_CLAIM: usize = 2048;
/// How claims begin that tell AWS of tags and of a source identity.
const OF_AWS: &str = "https://aws.amazon.com/";

/// A value in a token: no object in it has a member twice.
enum Value {
    Text(String),
    Number(f64),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// True, false or null, which nothing here asks for.
    Other,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Other)
            }
            // To a second, whole numbers are exact for longer than there are times.
            #[allow(clippy::cast_precision_loss)]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }
            #[allow(clippy::cast_precision_loss)]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut names = HashSet::new();
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(de::Error::custom("a member is there twice"));
                    }
                    members.push((name, value));
                }
                Ok(Value::Object(members))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The members of the header or of the claims.
struct Members(Vec<(String, Value)>);

impl Members {
    /// Reads a part of a token. serde_json itself bounds how deep it goes.
    fn read(part: &str) -> Result<Self, &'static str> {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
        let bytes = bytes.map_err(|_| "a part of it is not in base64url without padding")?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            _ => Err("a part of it is no JSON object, or has a member twice"),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let mut members = self.0.iter();
        members.find(|(of, _)| of == name).map(|(_, value)| value)
    }

    /// A text that need not be there, and is not empty if it is.
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => text(value).map(Some).ok_or_else(|| wrong(name)),
        }
    }

    /// A time in seconds since 1970.
    fn seconds(&self, name: &str) -> Result<Option<i64>, String> {
        match self.get(name) {
            None => Ok(None),
            // Within the range that is checked, and rounded down.
            #[allow(clippy::cast_possible_truncation)]
            Some(Value::Number(number)) if (0.0..1e12).contains(number) => Ok(Some(*number as i64)),
            Some(_) => Err(wrong(name)),
        }
    }

    /// A text or a list of texts, as a list.
    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let values = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::List(list)) => list.iter().map(text).collect(),
            Some(value) => text(value).map(|only| vec![only]),
        };
        values.ok_or_else(|| wrong(name))
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if !text.is_empty() && text.len() <= MAX_CLAIM => Some(text.clone()),
        _ => None,
    }
}

fn wrong(name: &str) -> String {
    format!("its {name} has no possible value")
}

/// What a token claims. Nothing of it counts before the signature is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// `aud`.
    pub(super) audiences: Vec<String>,
    /// `azp`.
    pub(super) authorized_party: Option<String>,
    /// `exp`, in seconds since 1970.
    pub(super) expires: i64,
    /// `iat`.
    pub(super) issued: i64,
    /// `nbf`.
    pub(super) not_before: Option<i64>,
    /// `amr`.
    pub(super) methods: Vec<String>,
    pub(super) email: Option<String>,
}

/// A token that was read, and not verified.
///
/// Deliberately without `Debug`, so that none can be printed by mistake.
pub(super) struct UnverifiedToken<'t> {
    pub(super) algorithm: Algorithm,
    /// `kid`: which key it says that it is signed with.
    pub(super) key_id: Option<String>,
    pub(super) claims: Claims,
    /// What is signed.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

/// Reads a token.
///
/// # Errors
/// Why it is none that could be accepted. Nothing of the token is in it.
pub(super) fn read(token: &str) -> Result<UnverifiedToken<'_>, String> {
    if token.len() > MAX_TOKEN {
        return Err(format!("it has more than {MAX_TOKEN} characters"));
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err("it has not three parts".into());
    };
    let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
    let header = Members::read(header)?;
    if header.get("crit").is_some() {
        return Err("its header has crit, of which nothing is understood here".into());
    }
    let algorithm = header.text("alg")?.as_deref().and_then(Algorithm::named);
    let algorithm = algorithm.ok_or("its alg is none of RS256, RS384, RS512, ES256 and ES384")?;
    let key_id = header.text("kid")?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
    let signature = signature.map_err(|_| "its signature is not in base64url without padding")?;
    let claims = read_claims(&Members::read(claims)?)?;
    Ok(UnverifiedToken {
        algorithm,
        key_id,
        claims,
        signed,
        signature,
    })
}

fn read_claims(members: &Members) -> Result<Claims, String> {
    let missing = |name: &str| format!("it has no {name}");
    if members.0.iter().any(|(name, _)| name.starts_with(OF_AWS)) {
        return Err(format!(
            "it has a claim {OF_AWS}…: tags and source identities of tokens are not supported, and without them the \
             session could do more"
        ));
    }
    let audiences = members.texts("aud")?;
    if audiences.is_empty() {
        return Err(missing("aud"));
    }
    Ok(Claims {
        issuer: members.text("iss")?.ok_or_else(|| missing("iss"))?,
        subject: members.text("sub")?.ok_or_else(|| missing("sub"))?,
        audiences,
        authorized_party: members.text("azp")?,
        expires: members.seconds("exp")?.ok_or_else(|| missing("exp"))?,
        issued: members.seconds("iat")?.ok_or_else(|| missing("iat"))?,
        not_before: members.seconds("nbf")?,
        methods: members.texts("amr")?,
        email: members.text("email")?,
    })
}
