//! Policy variables: `${aws:username}`, `${aws:PrincipalTag/team, 'none'}`, `${*}`.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>.

use super::budget::Exhausted;
use super::context::{ConditionKey, Context, Evaluation};
use super::error::PolicyError;
use super::pattern::{Token, tokens};
use std::borrow::Cow;

/// The longest text that variables may make of a pattern. Beyond it the variable counts as one
/// without a value.
const MAX_EXPANDED: usize = 4096;

/// A text of a policy, which may have wildcards and variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    /// There is nothing to fill in.
    Fixed(Vec<Token>),
    /// There are variables.
    Variable(Vec<Part>),
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands in the policy.
    Fixed(Vec<Token>),
    /// The value of a condition key, or else the default.
    Variable(ConditionKey, Option<String>),
}

impl Template {
    /// A text without variables, where `*` and `?` are wildcards or characters as others.
    pub(crate) fn fixed(text: &str, has_wildcards: bool) -> Self {
        Self::Fixed(piece(text, has_wildcards))
    }

    /// A text that may have variables in it.
    ///
    /// # Errors
    /// [`PolicyError::Variable`] if one is malformed.
    pub(crate) fn parse(text: &str, has_wildcards: bool) -> Result<Self, PolicyError> {
        let mut parts = Vec::new();
        let mut fixed = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            fixed.extend(piece(&rest[..start], has_wildcards));
            let inside = &rest[start + 2..];
            let (variable, length) =
                variable(inside).ok_or_else(|| PolicyError::Variable(text.to_owned()))?;
            match variable {
                Variable::Literal(c) => fixed.push(Token::Char(c)),
                Variable::Key(key, default) => {
                    parts.push(Part::Fixed(std::mem::take(&mut fixed)));
                    parts.push(Part::Variable(key, default));
                }
            }
            rest = &inside[length..];
        }
        fixed.extend(piece(rest, has_wildcards));
        if parts.is_empty() {
            return Ok(Self::Fixed(fixed));
        }
        parts.push(Part::Fixed(fixed));
        Ok(Self::Variable(parts))
    }

    /// The pattern with its variables filled in; `None` if one has no value and no default.
    pub(crate) fn fill_in(
        &self,
        context: &Context,
        evaluation: &mut Evaluation,
    ) -> Result<Option<Cow<'_, [Token]>>, Exhausted> {
        let parts = match self {
            Self::Fixed(tokens) => return Ok(Some(Cow::Borrowed(tokens))),
            Self::Variable(parts) => parts,
        };
        let mut filled: Vec<Token> = Vec::new();
        let mut is_whole = true;
        for part in parts {
            match part {
                Part::Fixed(tokens) => filled.extend(tokens),
                Part::Variable(key, default) => {
                    evaluation.budget.spend(1)?;
                    let values = context.of(key);
                    if values.is_empty() {
                        evaluation.miss(key);
                    }
                    // A key with several values is no variable's value.
                    let value = match values {
                        [one] => Some(one),
                        _ => default.as_ref(),
                    };
                    match value {
                        Some(text) if filled.len() + text.len() <= MAX_EXPANDED => {
                            filled.extend(text.chars().map(Token::Char));
                        }
                        _ => is_whole = false,
                    }
                }
            }
        }
        evaluation.budget.spend(filled.len())?;
        Ok(is_whole.then_some(Cow::Owned(filled)))
    }

    /// How many colons it has outside of its variables.
    pub(crate) fn colons(&self) -> usize {
        let count = |tokens: &[Token]| tokens.iter().filter(|t| **t == Token::Char(':')).count();
        match self {
            Self::Fixed(tokens) => count(tokens),
            Self::Variable(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Fixed(tokens) => count(tokens),
                    Part::Variable(..) => 0,
                })
                .sum(),
        }
    }

    /// The condition keys of its variables.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        let parts: &[Part] = match self {
            Self::Fixed(_) => &[],
            Self::Variable(parts) => parts,
        };
        parts.iter().filter_map(|part| match part {
            Part::Variable(key, _) => Some(key),
            Part::Fixed(_) => None,
        })
    }
}

/// Refuses a text with a variable of a template, CloudFormation's `${AWS::Region}` or Terraform's
/// `${aws_dsql_cluster.main.arn}`: it was to be filled in before AWS sees it, which takes no policy with the former.
/// No condition key is written like either, whatever the version of the policy.
///
/// # Errors
/// [`PolicyError::TemplateVariable`]; `element` names the text.
pub(crate) fn refuse_template_variable(
    element: &'static str,
    text: &str,
) -> Result<(), PolicyError> {
    let variables = text.match_indices("${").filter_map(|(at, _)| {
        let length = text[at..].find('}')?;
        Some(&text[at..=at + length])
    });
    let mut of_templates = variables.filter(|variable| {
        let key = variable.split(',').next().unwrap_or_default();
        key.contains("::") || !key.contains(':') && key.contains(['.', '(', '['])
    });
    match of_templates.next() {
        None => Ok(()),
        Some(variable) => Err(PolicyError::TemplateVariable {
            element,
            text: text.to_owned(),
            variable: variable.to_owned(),
        }),
    }
}

fn piece(text: &str, has_wildcards: bool) -> Vec<Token> {
    if has_wildcards {
        tokens(text)
    } else {
        text.chars().map(Token::Char).collect()
    }
}

/// The text between `${` and `}`.
enum Variable {
    /// `${*}`, `${?}` and `${$}`
    Literal(char),
    Key(ConditionKey, Option<String>),
}

/// The variable at the start of `inside`, and how many bytes it takes with its `}`.
fn variable(inside: &str) -> Option<(Variable, usize)> {
    for c in ['*', '?', '$'] {
        if inside.starts_with(c) && inside[1..].starts_with('}') {
            return Some((Variable::Literal(c), 2));
        }
    }
    let key_end = inside.find([',', '}'])?;
    let key = inside[..key_end].trim();
    if key.is_empty() || key.contains(['{', '\'', '$', '*', '?']) {
        return None;
    }
    let key = ConditionKey::new(key);
    if inside[key_end..].starts_with('}') {
        return Some((Variable::Key(key, None), key_end + 1));
    }
    let quoted = inside[key_end + 1..].trim_start().strip_prefix('\'')?;
    let (default, after) = quoted.split_once('\'')?;
    let after = after.trim_start().strip_prefix('}')?;
    let length = inside.len() - after.len();
    Some((Variable::Key(key, Some(default.to_owned())), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Option<String> {
        let mut context = Context::default();
        context.set("aws:username", "al*ce");
        context.set("aws:PrincipalTag/cost center", "7");
        context.set_all("aws:TagKeys", vec!["a".into(), "b".into()]);
        let template = Template::parse(text, true).unwrap();
        let tokens = template
            .fill_in(&context, &mut Evaluation::default())
            .ok()??;
        let shown = tokens.iter().map(|token| match token {
            Token::Char('*') => "\\*".to_owned(),
            Token::Char(c) => c.to_string(),
            Token::AnyOne => "?".to_owned(),
            Token::AnyRun => "*".to_owned(),
        });
        Some(shown.collect())
    }

    #[test]
    fn variables_are_filled_in_and_hold_no_wildcards() {
        for (text, expected) in [
            ("home/${AWS:UserName}/*", "home/al\\*ce/*"),
            ("${aws:PrincipalTag/cost center}", "7"),
            ("${aws:PrincipalTag/x, 'a*b'}-", "a\\*b-"),
            ("${aws:PrincipalTag/x,''}", ""),
            ("${aws:username, 'x'}${aws:username}", "al\\*ceal\\*ce"),
            ("${*}${?}${$}{x}", "\\*?${x}"),
            ("$x$", "$x$"),
        ] {
            let expected = expected.to_owned();
            assert_eq!(filled(text), Some(expected), "{text}");
        }
        for text in [
            "${aws:PrincipalTag/x}",
            "a${aws:TagKeys}",
            "${x}${aws:username}",
        ] {
            assert_eq!(filled(text), None, "{text}");
        }
        assert_eq!(filled("${aws:TagKeys, 'd'}").unwrap(), "d");
    }

    #[test]
    fn a_malformed_variable_is_an_error() {
        for text in [
            "${",
            "${}",
            "${ }",
            "${aws:x",
            "${aws:x, }",
            "${aws:x, 'a}",
            "${aws:x, 'a' b}",
            "${a${b}}",
            "${**}",
        ] {
            assert!(Template::parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_of_templates_are_told_from_those_of_policies() {
        for text in [
            "${aws:username}",
            "${aws:PrincipalTag/a.b, 'x::y'}",
            "${saml:sub}${accounts.google.com:aud}",
            "${oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:sub}",
            "${*}${$}{AWS::Region}",
            "${Cluster}",
            "AWS::Region}",
            "${",
        ] {
            assert_eq!(refuse_template_variable("Resource", text), Ok(()), "{text}");
        }
        for text in [
            "${aws:username}${AWS::Region}",
            "${ AWS::Region }",
            "${aws_dsql_cluster.main[0].arn}",
            "${var.cluster}",
            "${Cluster.Identifier}",
            "${element(split(\"/\", 1), 2)}",
        ] {
            assert!(
                refuse_template_variable("Resource", text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_becomes_too_long_has_no_value() {
        let mut context = Context::default();
        context.set("k", "x".repeat(MAX_EXPANDED));
        let fill_in = |text: &str| {
            let template = Template::parse(text, true).unwrap();
            template
                .fill_in(&context, &mut Evaluation::default())
                .is_ok_and(|filled| filled.is_some())
        };
        assert!(fill_in("${k}"));
        assert!(!fill_in("${k}${k}"));
    }
}
