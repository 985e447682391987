//! Wildcards: `*` is any run of characters, `?` any one of them.

/// One character of a pattern. What a policy variable stands for becomes [`Token::Char`] only, so
/// that nobody gets a wildcard into a policy by the name of a user or the value of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Char(char),
    /// `?`
    AnyOne,
    /// `*`
    AnyRun,
}

/// The tokens of a text in which `*` and `?` are wildcards.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let token = |c| match c {
        '*' => Token::AnyRun,
        '?' => Token::AnyOne,
        c => Token::Char(c),
    };
    text.chars().map(token).collect()
}

/// The text of a pattern, the reverse of [`tokens`].
pub(crate) fn text(pattern: &[Token]) -> String {
    let character = |token: &Token| match token {
        Token::Char(c) => *c,
        Token::AnyOne => '?',
        Token::AnyRun => '*',
    };
    pattern.iter().map(character).collect()
}

/// Whether all of `text` is matched by `pattern`.
///
/// Takes time proportional to the product of both lengths at the most.
pub(crate) fn matches(pattern: &[Token], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::AnyRun) => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(token) if *token == Token::AnyOne || *token == Token::Char(text[t]) => {
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
    pattern[p..].iter().all(|token| *token == Token::AnyRun)
}

/// Whether the ARN `arn` is matched by `pattern`: by stars alone, or part by part, so that no
/// wildcard reaches across one of the first five colons.
pub(crate) fn matches_arn(pattern: &[Token], arn: &[char]) -> bool {
    if is_anything(pattern) {
        return true;
    }
    let mut patterns = pattern.splitn(6, |token| *token == Token::Char(':'));
    let mut parts = arn.splitn(6, |c| *c == ':');
    let mut count = 0;
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return count == 6,
            (Some(pattern), Some(part)) if matches(pattern, part) => count += 1,
            _ => return false,
        }
    }
}

/// Whether the pattern is `*`.
pub(crate) fn is_anything(pattern: &[Token]) -> bool {
    !pattern.is_empty() && pattern.iter().all(|token| *token == Token::AnyRun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        matches(&tokens(pattern), &text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*c", "abbc"),
            ("a*b*c", "axbxbxc"),
            ("?", "é"),
            ("**", "x"),
            ("a?c*", "abc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "x"),
            ("?", ""),
            ("a*c", "abb"),
            ("a", "A"),
            ("??", "é"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product_of_the_lengths() {
        assert!(!fits(&("*a".repeat(1000) + "b"), &"a".repeat(2000)));
        assert!(fits(&"*".repeat(2000), "x"));
    }

    #[test]
    fn an_arn_is_matched_part_by_part() {
        let arn: Vec<char> = "arn:aws:s3:us-east-1:012345678912:a/b:c".chars().collect();
        for pattern in [
            "*",
            "arn:*:*:*:*:*",
            "arn:aws:s3:*:*:a/*",
            "arn:aws:s3:us-*:*:*c",
        ] {
            assert!(matches_arn(&tokens(pattern), &arn), "{pattern}");
        }
        for pattern in [
            "arn:aws:s3:*",
            "arn:aws:s3:*:c",
            "arn:*:a/b:c",
            "",
            "arn:aws:s3:*:*:a",
        ] {
            assert!(!matches_arn(&tokens(pattern), &arn), "{pattern}");
        }
        assert!(!matches_arn(&tokens("a"), &['a']));
    }
}
