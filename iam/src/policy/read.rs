//! Policy documents as JSON, and what they may hold.

use super::condition::{Condition, Operator};
use super::error::{MAX_PATTERN, MAX_STATEMENTS, PolicyError};
use super::pattern::{ARN_COLONS, is_anything, tokens};
use super::principal::{Principals, RawPrincipals};
use super::variable::{Template, refuse_template_variable};
use super::{ActionPattern, Effect, Elements, Kind, Policy, Statement};
use crate::json::{self, Entries, OneOrMany, Scalar, Text, not_null};
use crate::objects_only;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::collections::BTreeSet;

/// The most characters of all actions and resources of a document together. A user's policy may
/// have 10,240; of the policies that AWS itself publishes the largest has some 120,000, and grows.
const MAX_ELEMENTS: usize = 1024 * 1024;
/// The most characters of all condition keys and values of a document together.
const MAX_CONDITIONS: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct RawPolicy {
    #[serde(default, deserialize_with = "not_null")]
    version: Option<String>,
    #[serde(default, rename = "Id", deserialize_with = "not_null")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    #[serde(default, deserialize_with = "not_null")]
    sid: Option<String>,
    effect: Effect,
    #[serde(default, deserialize_with = "not_null")]
    principal: Option<RawPrincipals>,
    #[serde(default, deserialize_with = "not_null")]
    not_principal: Option<RawPrincipals>,
    #[serde(default, deserialize_with = "not_null")]
    action: Option<OneOrMany<Text>>,
    #[serde(default, deserialize_with = "not_null")]
    not_action: Option<OneOrMany<Text>>,
    #[serde(default, deserialize_with = "not_null")]
    resource: Option<OneOrMany<Text>>,
    #[serde(default, deserialize_with = "not_null")]
    not_resource: Option<OneOrMany<Text>>,
    #[serde(default, deserialize_with = "not_null")]
    condition: Option<Entries<Entries<OneOrMany<Scalar>>>>,
}

objects_only! {
    RawPolicy => "a policy document",
    RawStatement => "a statement",
}

/// From text alone: what serde derives takes an object with the one member `Allow` too.
impl<'de> Deserialize<'de> for Effect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "Allow" => Ok(Self::Allow),
            "Deny" => Ok(Self::Deny),
            other => Err(de::Error::custom(format_args!(
                "Effect is \"{other}\", neither Allow nor Deny"
            ))),
        }
    }
}

/// Reads a document from an object or from text.
struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = RawPolicy;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a policy document")
    }
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        RawPolicy::deserialize(de::value::MapAccessDeserializer::new(map))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let decoded = if text.trim_start().starts_with('{') {
            text.into()
        } else {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| E::custom("the policy document is not UTF-8"))?
        };
        json::from_str(&decoded).map_err(|e| E::custom(format_args!("in the policy document: {e}")))
    }
}

/// Reads an identity-based policy; the others are read with [`Policy::deserialize_as`].
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_as(deserializer, Kind::IdentityBased)
    }
}

/// The elements of a document are checked here, so that a misspelled one is an error and not a
/// statement that silently never matches.
impl Policy {
    /// Reads a document from JSON.
    ///
    /// # Errors
    /// [`PolicyError`], with line and column where there is one.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, PolicyError> {
        Self::from_raw(json::from_str(text)?, kind)
    }

    /// Reads a document as AWS's command line prints it, an object, or as the API sends it, text
    /// that may be URL-encoded. Errors of an object carry the position in the file.
    ///
    /// # Errors
    /// Whatever is wrong with the document.
    pub(crate) fn deserialize_as<'de, D: Deserializer<'de>>(
        deserializer: D,
        kind: Kind,
    ) -> Result<Self, D::Error> {
        let raw = deserializer.deserialize_any(RawVisitor)?;
        Self::from_raw(raw, kind).map_err(de::Error::custom)
    }

    fn from_raw(raw: RawPolicy, kind: Kind) -> Result<Self, PolicyError> {
        // Version 2012-10-17 knows policy variables, 2008-10-17 (the default) does not.
        let has_variables = match raw.version.as_deref() {
            Some("2012-10-17") => true,
            Some("2008-10-17") | None => false,
            Some(other) => return Err(PolicyError::Version(other.to_owned())),
        };
        let raw_statements = raw.statement.0;
        if raw_statements.len() > MAX_STATEMENTS {
            return Err(PolicyError::TooManyStatements);
        }
        let mut budget = CharacterBudget {
            elements: MAX_ELEMENTS,
            conditions: MAX_CONDITIONS,
        };
        let mut sids = BTreeSet::new();
        let mut statements = Vec::with_capacity(raw_statements.len());
        for raw in raw_statements {
            let statement = Statement::from_raw(raw, kind, has_variables, &mut budget)?;
            let sid = statement.sid.clone().unwrap_or_default();
            let is_alphanumeric = sid.bytes().all(|b| b.is_ascii_alphanumeric());
            if kind == Kind::IdentityBased && !is_alphanumeric {
                return Err(PolicyError::Sid(sid));
            }
            if !sid.is_empty() && !sids.insert(sid.clone()) {
                return Err(PolicyError::DuplicateSid(sid));
            }
            statements.push(statement);
        }
        Ok(Self {
            statements,
            file: None,
        })
    }
}

/// How many characters a document may still have.
struct CharacterBudget {
    elements: usize,
    conditions: usize,
}

/// Takes the characters of `text` off what is `left`.
fn spend(left: &mut usize, name: &'static str, text: &str) -> Result<(), PolicyError> {
    if text.len() > MAX_PATTERN {
        return Err(PolicyError::TooLong(name));
    }
    let rest = left.checked_sub(text.len());
    *left = rest.ok_or(PolicyError::TooManyCharacters)?;
    Ok(())
}

impl Statement {
    fn from_raw(
        raw: RawStatement,
        kind: Kind,
        has_variables: bool,
        budget: &mut CharacterBudget,
    ) -> Result<Self, PolicyError> {
        let resources = if kind == Kind::Trust {
            if raw.resource.is_some() || raw.not_resource.is_some() {
                return Err(not_allowed("Resource", TRUST));
            }
            None
        } else {
            let lists = one_of("Resource", raw.resource, "NotResource", raw.not_resource)?;
            Some(lists.read(|text| {
                spend(&mut budget.elements, "Resource", text)?;
                resource(text, has_variables)
            })?)
        };
        let actions = one_of("Action", raw.action, "NotAction", raw.not_action)?;
        Ok(Self {
            principals: principals(raw.principal, raw.not_principal, raw.effect, kind)?,
            sid: raw.sid,
            effect: raw.effect,
            actions: actions.read(|text| {
                spend(&mut budget.elements, "Action", text)?;
                Ok([action(text)?])
            })?,
            resources,
            conditions: conditions(raw.condition, has_variables, budget)?,
        })
    }
}

/// The kind of policy whose resource is the role that it belongs to.
const TRUST: &str = "the trust policy of a role";

fn not_allowed(element: &'static str, policy: &'static str) -> PolicyError {
    PolicyError::NotAllowed { element, policy }
}

fn principals(
    plain: Option<RawPrincipals>,
    not: Option<RawPrincipals>,
    effect: Effect,
    kind: Kind,
) -> Result<Option<Principals>, PolicyError> {
    let has_none = matches!(kind, Kind::IdentityBased | Kind::ServiceControl);
    let (raw, is_negated) = match (plain, not) {
        (None, None) if has_none => return Ok(None),
        _ if has_none => return Err(not_allowed("Principal", "a policy of this kind")),
        (None, None) => return Err(PolicyError::NoPrincipal),
        (Some(_), Some(_)) => return Err(PolicyError::Both("Principal", "NotPrincipal")),
        (Some(plain), None) => (plain, false),
        (None, Some(not)) => (not, true),
    };
    if is_negated && kind == Kind::Trust {
        return Err(not_allowed("NotPrincipal", TRUST));
    }
    // AWS does not support it; it would let in everybody whom nobody thought of.
    if is_negated && effect == Effect::Allow {
        return Err(PolicyError::NotPrincipalAllows);
    }
    Ok(Some(Principals {
        listed: raw.0,
        is_negated,
    }))
}

fn action(text: &str) -> Result<ActionPattern, PolicyError> {
    let is_action = text == "*"
        || text
            .split_once(':')
            .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
    if !is_action {
        return Err(PolicyError::Action(text.to_owned()));
    }
    Ok(ActionPattern {
        folded: tokens(&text.to_ascii_lowercase()),
        written: text.into(),
    })
}

/// AWS completes an ARN of fewer than six parts by wildcards. The missing parts may also be where a `*` at
/// the end of a segment stands, so one with a `*` counts as it is written too.
fn resource(text: &str, has_variables: bool) -> Result<Vec<Template>, PolicyError> {
    if is_anything(&tokens(text)) {
        return Ok(vec![Template::fixed(text, true)]);
    }
    refuse_template_variable("Resource", text)?;
    if !text.starts_with("arn:") {
        return Err(PolicyError::Resource(text.to_owned()));
    }
    let parse = |text: &str| {
        if has_variables {
            Template::parse(text, true)
        } else {
            Ok(Template::fixed(text, true))
        }
    };
    let template = parse(text)?;
    let missing = ARN_COLONS.saturating_sub(template.colons());
    if missing == 0 {
        return Ok(vec![template]);
    }
    let completed = parse(&format!("{text}{}", ":*".repeat(missing)))?;
    Ok(if text.contains('*') {
        vec![completed, template]
    } else {
        vec![completed]
    })
}

fn conditions(
    raw: Option<Entries<Entries<OneOrMany<Scalar>>>>,
    has_variables: bool,
    budget: &mut CharacterBudget,
) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    let mut operators = BTreeSet::new();
    for (name, keys) in raw.into_iter().flat_map(|entries| entries.0) {
        let operator =
            Operator::named(&name).ok_or_else(|| PolicyError::UnknownOperator(name.clone()))?;
        if !operators.insert(name.to_ascii_lowercase()) {
            return Err(PolicyError::DuplicateOperator(name));
        }
        let mut known = BTreeSet::new();
        for (key, values) in keys.0 {
            if !known.insert(key.to_ascii_lowercase()) {
                return Err(PolicyError::DuplicateKey {
                    key,
                    operator: name,
                });
            }
            spend(&mut budget.conditions, "a condition key", &key)?;
            let mut texts = Vec::with_capacity(values.0.len());
            for Scalar(text) in values.0 {
                spend(&mut budget.conditions, "a condition", &text)?;
                refuse_template_variable("a condition", &text)?;
                // An empty one takes room, and a step, as well.
                budget.conditions = budget.conditions.saturating_sub(1);
                texts.push(text);
            }
            conditions.push(Condition::new(operator, &key, &texts, has_variables)?);
        }
    }
    Ok(conditions)
}

fn one_of(
    name: &'static str,
    plain: Option<OneOrMany<Text>>,
    not_name: &'static str,
    not: Option<OneOrMany<Text>>,
) -> Result<Elements<Text>, PolicyError> {
    let (any_of, is_negated) = match (plain, not) {
        (Some(plain), None) => (plain.0, false),
        (None, Some(not)) => (not.0, true),
        (Some(_), Some(_)) => return Err(PolicyError::Both(name, not_name)),
        (None, None) => return Err(PolicyError::Neither(name, not_name)),
    };
    if any_of.is_empty() {
        return Err(PolicyError::EmptyList(name));
    }
    Ok(Elements { any_of, is_negated })
}

impl Elements<Text> {
    /// Reads each of them, as one pattern or several.
    fn read<T, L: IntoIterator<Item = T>>(
        self,
        mut read: impl FnMut(&str) -> Result<L, PolicyError>,
    ) -> Result<Elements<T>, PolicyError> {
        let mut any_of = Vec::with_capacity(self.any_of.len());
        for Text(text) in &self.any_of {
            any_of.extend(read(text)?);
        }
        Ok(Elements {
            any_of,
            is_negated: self.is_negated,
        })
    }
}
