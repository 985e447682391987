//! Policy documents, and what they say about one request.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>. What is
//! not evaluated yet (`Condition`, policy variables) errs on the closed side: an Allow that
//! depends on it does not apply, a Deny does.

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
    /// Version 2012-10-17 knows policy variables, 2008-10-17 (the default) does not.
    has_variables: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    allows: bool,
    actions: Patterns,
    resources: Patterns,
    is_conditional: bool,
}

/// A list of patterns: one of them must match, or, negated, none may.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Patterns {
    any_of: Vec<String>,
    negated: bool,
}

/// What a set of policies says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement denies it; nothing else counts.
    ExplicitDeny,
    /// A statement allows it and none denies it.
    Allow,
    /// No statement speaks of it.
    ImplicitDeny,
}

impl Policy {
    /// What this policy says about `action` (`service:Name`) on the resource with ARN `resource`.
    pub fn decide(&self, action: &str, resource: &str) -> Decision {
        let mut decision = Decision::ImplicitDeny;
        for statement in &self.statements {
            match statement.decide(action, resource, self.has_variables) {
                Decision::ExplicitDeny => return Decision::ExplicitDeny,
                Decision::Allow => decision = Decision::Allow,
                Decision::ImplicitDeny => {}
            }
        }
        decision
    }
}

/// What several policies of one kind say together: an explicit deny in any, else an allow in any.
pub fn decide_all<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    action: &str,
    resource: &str,
) -> Decision {
    let mut together = Decision::ImplicitDeny;
    for policy in policies {
        match policy.decide(action, resource) {
            Decision::ExplicitDeny => return Decision::ExplicitDeny,
            Decision::Allow => together = Decision::Allow,
            Decision::ImplicitDeny => {}
        }
    }
    together
}

impl Statement {
    fn decide(&self, action: &str, resource: &str, has_variables: bool) -> Decision {
        let action_fits = self.actions.apply(|pattern| {
            Some(
                pattern == "*" || glob(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase()),
            )
        });
        let resource_fits = self.resources.apply(|pattern| {
            let is_unknown = has_variables && pattern.contains("${");
            (!is_unknown).then(|| matches_arn(pattern, resource))
        });
        // `None` is "cannot be told": it must not help an Allow and must not weaken a Deny.
        let unknown_is = !self.allows;
        let condition_fits = if self.is_conditional {
            None
        } else {
            Some(true)
        };
        let applies = [action_fits, resource_fits, condition_fits]
            .into_iter()
            .all(|fits| fits.unwrap_or(unknown_is));
        match (applies, self.allows) {
            (false, _) => Decision::ImplicitDeny,
            (true, true) => Decision::Allow,
            (true, false) => Decision::ExplicitDeny,
        }
    }
}

impl Patterns {
    /// Whether the element applies; `matches` tells for one pattern, `None` if it cannot.
    fn apply(&self, matches: impl Fn(&str) -> Option<bool>) -> Option<bool> {
        let mut found = Some(false);
        for pattern in &self.any_of {
            match matches(pattern) {
                Some(true) => return Some(!self.negated),
                Some(false) => {}
                None => found = None,
            }
        }
        found.map(|found| found != self.negated)
    }
}

/// Whether the ARN `resource` is matched by `pattern`: `*`, or six parts of which each matches
/// its own part, so that no wildcard reaches across a colon of the first five.
fn matches_arn(pattern: &str, resource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (mut patterns, mut parts) = (pattern.splitn(6, ':'), resource.splitn(6, ':'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if glob(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Whether `text` matches `pattern`, where `*` is any run of characters and `?` any one of them.
///
/// Takes time proportional to the product of both lengths at the most.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match last_star {
                // Let the last star swallow one character more.
                Some((star, from)) => {
                    last_star = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The longest pattern that is accepted; IAM's own limits are far below.
const MAX_PATTERN: usize = 2048;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawPolicy {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    condition: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
enum Effect {
    Allow,
    Deny,
}

/// AWS writes a list of one as the one itself.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one element or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let one = T::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(OneOrMany(vec![one]))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany(vec![one]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(element) = seq.next_element()? {
                    many.push(element);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// Reads an identity-based policy. AWS's command line prints it as an object; the API sends it
/// as text, URL-encoded, and that is accepted as well.
///
/// Errors of an object carry the position in the file; what a document may hold is checked here,
/// so that a misspelled element is an error and not a statement that silently never matches.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
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
                serde_json::from_str(&decoded)
                    .map_err(|e| E::custom(format_args!("in the policy document: {e}")))
            }
        }
        let raw = deserializer.deserialize_any(Visitor)?;
        Policy::try_from(raw).map_err(de::Error::custom)
    }
}

impl TryFrom<RawPolicy> for Policy {
    type Error = String;

    fn try_from(raw: RawPolicy) -> Result<Self, String> {
        let has_variables = match raw.version.as_deref() {
            Some("2012-10-17") => true,
            Some("2008-10-17") | None => false,
            Some(other) => {
                return Err(format!(
                    "Version is \"{other}\", neither 2012-10-17 nor 2008-10-17"
                ));
            }
        };
        let statements = raw.statement.0.into_iter().map(Statement::try_from);
        Ok(Self {
            statements: statements.collect::<Result<_, _>>()?,
            has_variables,
        })
    }
}

impl TryFrom<RawStatement> for Statement {
    type Error = String;

    fn try_from(raw: RawStatement) -> Result<Self, String> {
        let actions = Patterns::one_of("Action", raw.action, "NotAction", raw.not_action)?;
        let resources =
            Patterns::one_of("Resource", raw.resource, "NotResource", raw.not_resource)?;
        for action in &actions.any_of {
            let is_action = action == "*"
                || action
                    .split_once(':')
                    .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
            if !is_action {
                return Err(format!("Action \"{action}\" is neither SERVICE:NAME nor *"));
            }
        }
        for resource in &resources.any_of {
            if resource != "*"
                && (resource.splitn(6, ':').count() != 6 || !resource.starts_with("arn:"))
            {
                return Err(format!("Resource \"{resource}\" is neither an ARN nor *"));
            }
        }
        Ok(Self {
            allows: matches!(raw.effect, Effect::Allow),
            actions,
            resources,
            is_conditional: raw.condition.is_some_and(|condition| !condition.is_empty()),
        })
    }
}

impl Patterns {
    fn one_of(
        name: &str,
        plain: Option<OneOrMany<String>>,
        not_name: &str,
        not: Option<OneOrMany<String>>,
    ) -> Result<Self, String> {
        let (any_of, negated) = match (plain, not) {
            (Some(plain), None) => (plain.0, false),
            (None, Some(not)) => (not.0, true),
            (Some(_), Some(_)) => {
                return Err(format!("a statement has both {name} and {not_name}"));
            }
            (None, None) => return Err(format!("a statement has neither {name} nor {not_name}")),
        };
        if any_of.is_empty() {
            return Err(format!("{name} is an empty list"));
        }
        if any_of.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(format!("{name} holds more than {MAX_PATTERN} characters"));
        }
        Ok(Self { any_of, negated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";

    fn policy(statement: serde_json::Value) -> Policy {
        serde_json::from_value(json!({"Version": "2012-10-17", "Statement": statement})).unwrap()
    }

    fn decide(statement: serde_json::Value) -> Decision {
        policy(statement).decide("dsql:DbConnect", CLUSTER)
    }

    #[test]
    fn actions_match_without_case_and_with_wildcards() {
        for (action, decision) in [
            ("dsql:DbConnect", Decision::Allow),
            ("DSQL:dbconnect", Decision::Allow),
            ("dsql:*", Decision::Allow),
            ("dsql:Db?onnect", Decision::Allow),
            ("*", Decision::Allow),
            ("dsql:DbConnectAdmin", Decision::ImplicitDeny),
            ("dsql:DbConnect?", Decision::ImplicitDeny),
            ("rds-db:connect", Decision::ImplicitDeny),
        ] {
            let statement = json!({"Effect": "Allow", "Action": action, "Resource": "*"});
            assert_eq!(decide(statement), decision, "{action}");
        }
    }

    #[test]
    fn resources_match_with_case_and_part_by_part() {
        for (resource, decision) in [
            (CLUSTER, Decision::Allow),
            ("*", Decision::Allow),
            (
                "arn:aws:dsql:us-east-1:012345678912:cluster/*",
                Decision::Allow,
            ),
            ("arn:aws:dsql:*:*:cluster/*", Decision::Allow),
            ("arn:*:dsql:*:*:*", Decision::Allow),
            (
                "arn:aws:dsql:us-east-1:012345678912:CLUSTER/*",
                Decision::ImplicitDeny,
            ),
            (
                "arn:aws:dsql:us-west-2:012345678912:cluster/*",
                Decision::ImplicitDeny,
            ),
            (
                "arn:aws:dsql:us-east-1:*/abcdefghijklmnopqrstuvwxyz:x",
                Decision::ImplicitDeny,
            ),
        ] {
            let statement = json!({"Effect": "Allow", "Action": "dsql:*", "Resource": resource});
            assert_eq!(decide(statement), decision, "{resource}");
        }
    }

    #[test]
    fn negated_elements() {
        let statement =
            json!({"Effect": "Allow", "NotAction": "dsql:DbConnectAdmin", "Resource": "*"});
        assert_eq!(decide(statement), Decision::Allow);
        let statement =
            json!({"Effect": "Allow", "NotAction": ["s3:*", "dsql:*"], "Resource": "*"});
        assert_eq!(decide(statement), Decision::ImplicitDeny);
        let statement = json!({"Effect": "Deny", "Action": "*", "NotResource": CLUSTER});
        assert_eq!(decide(statement), Decision::ImplicitDeny);
        let statement = json!({"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::x"});
        assert_eq!(decide(statement), Decision::ExplicitDeny);
    }

    #[test]
    fn a_deny_beats_every_allow_in_either_order() {
        let allow = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let deny = json!({"Effect": "Deny", "Action": "dsql:DbConnect", "Resource": "*"});
        assert_eq!(decide(json!([allow, deny])), Decision::ExplicitDeny);
        assert_eq!(decide(json!([deny, allow])), Decision::ExplicitDeny);
        let (a, b) = (policy(allow), policy(deny));
        assert_eq!(
            decide_all([&a, &b], "dsql:DbConnect", CLUSTER),
            Decision::ExplicitDeny
        );
        assert_eq!(decide_all([&a], "dsql:DbConnect", CLUSTER), Decision::Allow);
        assert_eq!(
            decide_all([], "dsql:DbConnect", CLUSTER),
            Decision::ImplicitDeny
        );
    }

    #[test]
    fn what_cannot_be_evaluated_lets_nobody_in() {
        let condition = json!({"Bool": {"aws:SecureTransport": "true"}});
        let statement = |effect: &str| json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition});
        assert_eq!(decide(statement("Allow")), Decision::ImplicitDeny);
        assert_eq!(decide(statement("Deny")), Decision::ExplicitDeny);
        let variable = "arn:aws:dsql:*:*:cluster/${aws:PrincipalTag/cluster}";
        for (effect, element, decision) in [
            ("Allow", "Resource", Decision::ImplicitDeny),
            ("Deny", "Resource", Decision::ExplicitDeny),
            ("Allow", "NotResource", Decision::ImplicitDeny),
            ("Deny", "NotResource", Decision::ExplicitDeny),
        ] {
            let statement = json!({"Effect": effect, "Action": "*", element: variable});
            assert_eq!(decide(statement), decision, "{effect} {element}");
        }
    }

    #[test]
    fn a_document_with_a_fault_is_refused_and_the_fault_named() {
        let ok = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let with = |key: &str, value: serde_json::Value| {
            let mut statement = ok.clone();
            statement[key] = value;
            json!({"Version": "2012-10-17", "Statement": statement})
        };
        for (document, fault) in [
            (
                json!({"Version": "2020-01-01", "Statement": ok}),
                "Version is \"2020-01-01\"",
            ),
            (
                json!({"Version": "2012-10-17"}),
                "missing field `Statement`",
            ),
            (with("Efect", json!("Allow")), "unknown field `Efect`"),
            (with("Effect", json!("allow")), "unknown variant `allow`"),
            (with("NotAction", json!("*")), "both Action and NotAction"),
            (with("Action", json!([])), "Action is an empty list"),
            (
                with("Action", json!("DbConnect")),
                "Action \"DbConnect\" is neither",
            ),
            (
                with("Resource", json!("cluster/x")),
                "Resource \"cluster/x\" is neither",
            ),
            (
                with("Resource", json!("arn:aws:dsql:*")),
                "neither an ARN nor *",
            ),
            (
                with("Resource", json!("a".repeat(3000))),
                "more than 2048 characters",
            ),
            (with("Principal", json!("*")), "unknown field `Principal`"),
            (with("Condition", json!("x")), "invalid type"),
        ] {
            let error = serde_json::from_value::<Policy>(document.clone()).unwrap_err();
            assert!(error.to_string().contains(fault), "{document}: {error}");
        }
    }

    #[test]
    fn a_document_as_the_api_sends_it() {
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22dsql%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        let policy: Policy = serde_json::from_value(json!(encoded)).unwrap();
        assert_eq!(policy.decide("dsql:DbConnect", CLUSTER), Decision::Allow);
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product_of_the_lengths() {
        let pattern = "*a".repeat(1000) + "b";
        assert!(!glob(&pattern, &"a".repeat(2000)));
        assert!(glob(&"*".repeat(2000), "x"));
        assert!(glob("", "") && !glob("", "x") && !glob("?", ""));
    }
}
