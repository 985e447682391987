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

/// How much one evaluation may still do: in steps of which each looks at a character or two.
///
/// Whoever uses it up has no answer, whatever was returned on the way.
#[derive(Debug)]
pub(crate) struct Work {
    left: usize,
}

impl Work {
    /// What one request may take. The policies of the largest account that AWS's quotas allow, with its
    /// own largest policies among them, take less than a tenth; it takes a fraction of a second.
    pub(crate) const MOST: usize = 50_000_000;

    /// Takes this many steps off.
    pub(crate) fn spend(&mut self, steps: usize) {
        self.left = self.left.saturating_sub(steps);
    }

    /// Whether there is nothing left.
    pub(crate) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// How many steps were taken.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> usize {
        Self::MOST - self.left
    }
}

impl Default for Work {
    fn default() -> Self {
        Self { left: Self::MOST }
    }
}

/// Whether all of `text` is matched by `pattern`.
pub(crate) fn matches(pattern: &[Token], text: &[char]) -> bool {
    matches_within(pattern, text, &mut Work::default())
}

/// The same, in so many steps as there are left.
///
/// Takes time proportional to the product of both lengths at the most.
pub(crate) fn matches_within(pattern: &[Token], text: &[char], work: &mut Work) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    work.spend(1);
    while t < text.len() {
        work.spend(1);
        if work.is_used_up() {
            return false;
        }
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
    matches_arn_within(pattern, arn, &mut Work::default())
}

/// The same, in so many steps as there are left.
pub(crate) fn matches_arn_within(pattern: &[Token], arn: &[char], work: &mut Work) -> bool {
    work.spend(1);
    if is_anything(pattern) {
        return true;
    }
    let mut patterns = pattern.splitn(6, |token| *token == Token::Char(':'));
    let mut parts = arn.splitn(6, |c| *c == ':');
    let mut count = 0;
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return count == 6,
            (Some(pattern), Some(part)) if matches_within(pattern, part, work) => count += 1,
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
        let (pattern, text) = ("*a".repeat(1000) + "b", "a".repeat(2000));
        assert!(!fits(&pattern, &text));
        assert!(fits(&"*".repeat(2000), "x"));
        let mut work = Work::default();
        let text: Vec<char> = text.chars().collect();
        matches_within(&tokens(&pattern), &text, &mut work);
        assert!(work.spent() <= pattern.len() * text.len());
    }

    #[test]
    fn who_has_used_up_the_work_has_no_match() {
        let text: Vec<char> = "abc".chars().collect();
        let mut work = Work { left: 3 };
        assert!(!matches_within(&tokens("abc"), &text, &mut work));
        assert!(work.is_used_up());
        let mut work = Work { left: 5 };
        assert!(matches_within(&tokens("abc"), &text, &mut work));
        assert!(!work.is_used_up());
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
