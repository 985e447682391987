//! Wildcards: `*` is any run of characters, `?` any one of them.

use super::budget::{Budget, Exhausted};

/// One character of a pattern. The value of a policy variable becomes [`Token::Char`] only, so
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
pub(crate) fn matches(pattern: &[Token], text: &[char]) -> bool {
    matches_within(pattern, text, &mut Budget::unlimited()) == Ok(true)
}

/// The same, in so many steps as there are left.
///
/// Takes time proportional to the product of both lengths at the most.
pub(crate) fn matches_within(
    pattern: &[Token],
    text: &[char],
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    budget.spend(1)?;
    while t < text.len() {
        budget.spend(1)?;
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
                None => return Ok(false),
            },
        }
    }
    Ok(pattern[p..].iter().all(|token| *token == Token::AnyRun))
}

/// Whether the ARN `arn` is matched by `pattern` as condition operators match it: by stars alone, or part
/// by part, so that no wildcard reaches across one of the first five colons. In so many steps as there
/// are left.
pub(crate) fn matches_arn_within(
    pattern: &[Token],
    arn: &[char],
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    budget.spend(1)?;
    if is_anything(pattern) {
        return Ok(true);
    }
    let mut patterns = pattern.splitn(6, |token| *token == Token::Char(':'));
    let mut parts = arn.splitn(6, |c| *c == ':');
    let mut count = 0;
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return Ok(count == 6),
            (Some(pattern), Some(part)) if matches_within(pattern, part, budget)? => count += 1,
            _ => return Ok(false),
        }
    }
}

/// How many colons an ARN has at least. The text behind the last of these is one part.
pub(crate) const ARN_COLONS: usize = 5;

/// Whether the ARN `arn` is matched by `pattern` as Resource and NotResource match it.
///
/// Follows <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>:
/// wildcards stand for characters of one segment, but a `*` at the end of a segment may match beyond its
/// colon. The text behind the fifth colon of the pattern is one segment.
pub(crate) fn matches_resource(pattern: &[Token], arn: &[char]) -> bool {
    matches_resource_within(pattern, arn, &mut Budget::unlimited()) == Ok(true)
}

/// The same, in so many steps as there are left.
///
/// Takes time proportional to the product of both lengths at the most.
pub(crate) fn matches_resource_within(
    pattern: &[Token],
    arn: &[char],
    budget: &mut Budget,
) -> Result<bool, Exhausted> {
    budget.spend(1)?;
    if is_anything(pattern) {
        return Ok(true);
    }
    // Most patterns are of something else, and differ before there is a wildcard.
    let same = pattern.iter().zip(arn);
    let start = same.take_while(|(token, c)| **token == Token::Char(**c));
    let start = start.count();
    budget.spend(start)?;
    if let Some(Token::Char(_)) = pattern.get(start) {
        return Ok(false);
    }
    budget.spend(pattern.len())?;
    let last_segment_at = last_segment(pattern);
    // Whether the wildcard at this place matches a colon too.
    let ends = |at: usize| {
        pattern
            .get(at)
            .is_none_or(|token| *token == Token::Char(':'))
    };
    let crosses = |at: usize| at >= last_segment_at || pattern[at] == Token::AnyRun && ends(at + 1);
    // All the places of the pattern that what was read so far may have led to, in their order.
    let mut places = Vec::new();
    reach(pattern, start, &mut places);
    let mut next = Vec::new();
    for c in &arn[start..] {
        for place in places.drain(..) {
            budget.spend(1)?;
            let to = match pattern.get(place) {
                Some(Token::Char(wanted)) if wanted == c => place + 1,
                Some(Token::AnyOne) if *c != ':' || crosses(place) => place + 1,
                Some(Token::AnyRun) if *c != ':' || crosses(place) => place,
                _ => continue,
            };
            reach(pattern, to, &mut next);
        }
        std::mem::swap(&mut places, &mut next);
        if places.is_empty() {
            return Ok(false);
        }
    }
    let is_arn = arn.iter().filter(|c| **c == ':').count() >= ARN_COLONS;
    Ok(is_arn && places.last() == Some(&pattern.len()))
}

/// Adds a place of the pattern, and those behind it, since a `*` may stand for nothing. The places come in
/// their order, so those that are there already are the last ones.
fn reach(pattern: &[Token], place: usize, places: &mut Vec<usize>) {
    if places.last().is_some_and(|last| *last >= place) {
        return;
    }
    let stars = pattern[place..].iter();
    let stars = stars.take_while(|token| **token == Token::AnyRun).count();
    places.extend(place..=place + stars);
}

/// Where what follows the fifth colon of a pattern starts; its end, if it has fewer.
pub(crate) fn last_segment(pattern: &[Token]) -> usize {
    let colons = pattern.iter().enumerate();
    let mut colons = colons.filter(|(_, token)| **token == Token::Char(':'));
    let fifth = colons.nth(ARN_COLONS - 1);
    fifth.map_or(pattern.len(), |(at, _)| at + 1)
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
        let mut work = Budget::default();
        let text: Vec<char> = text.chars().collect();
        let _ = matches_within(&tokens(&pattern), &text, &mut work);
        assert!(work.spent() <= pattern.len() * text.len());
    }

    #[test]
    fn who_has_used_up_the_work_has_no_match() {
        let text: Vec<char> = "abc".chars().collect();
        let mut work = Budget::of(3);
        assert_eq!(
            matches_within(&tokens("abc"), &text, &mut work),
            Err(Exhausted)
        );
        let mut work = Budget::of(5);
        assert_eq!(matches_within(&tokens("abc"), &text, &mut work), Ok(true));
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
            assert!(matches_arn(pattern, &arn), "{pattern}");
        }
        for pattern in [
            "arn:aws:s3:*",
            "arn:aws:s3:*:c",
            "arn:*:a/b:c",
            "",
            "arn:aws:s3:*:*:a",
        ] {
            assert!(!matches_arn(pattern, &arn), "{pattern}");
        }
        assert!(!matches_arn("a", &['a']));
    }

    fn matches_arn(pattern: &str, arn: &[char]) -> bool {
        matches_arn_within(&tokens(pattern), arn, &mut Budget::default()) == Ok(true)
    }

    fn is_resource(pattern: &str, arn: &str) -> bool {
        matches_resource(&tokens(pattern), &arn.chars().collect::<Vec<_>>())
    }

    #[test]
    fn a_star_at_the_end_of_a_segment_crosses_colons_and_no_other_wildcard_does() {
        let arn = "arn:aws:s3:us-east-1:012345678912:a/b:c:d";
        for pattern in [
            "*",
            "**",
            arn,
            "arn:*",
            "arn:aws:s3:*",
            "arn:aws:s3:*:c:d",
            "arn:aws:s3:us-*:c:d",
            "arn:aws:s3:us-**:c:d",
            "arn:aws:*:012345678912:*",
            "arn:*:a/b:c:d",
            "*:d",
            "arn:aws:s3:us-east-?:0*2:a/?:c:?",
            "arn:aws:s3:*-1:*:a/b:c:d",
            // Behind the fifth colon any of them does.
            "arn:aws:s3:us-east-1:012345678912:a*d",
            "arn:aws:s3:us-east-1:012345678912:a/b?c?d",
        ] {
            assert!(is_resource(pattern, arn), "{pattern}");
        }
        for pattern in [
            "",
            "?",
            "arn:aws:s3:us-east-1:012345678912:a/b:c",
            "arn:aws:s3:us-east-1:012345678912:a/b:c:d:",
            // Not at the end of its segment.
            "arn:aws:s3:us*2:a/b:c:d",
            "arn:aws:s3:us*-1:a/b:c:d",
            "arn:a*3:us-east-1:012345678912:a/b:c:d",
            "arn:aws:s3?us-east-1:012345678912:a/b:c:d",
            "arn:aws:s3:us-east-1?:a/b:c:d",
            "arn:aws:s3:*:x:d",
            "arn:aws:s4:*",
        ] {
            assert!(!is_resource(pattern, arn), "{pattern}");
        }
        // A text that is not an ARN is matched by a star alone.
        for text in ["", "*", "arn:aws:s3:x:y", "::::"] {
            assert!(is_resource("*", text), "{text}");
            for pattern in ["arn:*", "*:*", "arn:aws:s3:x:y", ""] {
                assert!(!is_resource(pattern, text), "{pattern} {text}");
            }
        }
    }

    /// Against the definition itself: each wildcard tried with each run of characters.
    #[test]
    fn each_short_pattern_comes_out_as_if_all_were_tried() {
        fn tried(pattern: &[Token], from: usize, at: usize, arn: &[char]) -> bool {
            let Some(token) = pattern.get(at) else {
                return from == arn.len();
            };
            let colons = pattern[..at].iter().filter(|t| **t == Token::Char(':'));
            let is_last = colons.count() >= ARN_COLONS;
            let ends = pattern.get(at + 1).is_none_or(|t| *t == Token::Char(':'));
            let takes = |c: &char, may_cross: bool| *c != ':' || may_cross || is_last;
            let c = arn.get(from);
            match token {
                Token::Char(wanted) => c == Some(wanted) && tried(pattern, from + 1, at + 1, arn),
                Token::AnyOne => {
                    c.is_some_and(|c| takes(c, false)) && tried(pattern, from + 1, at + 1, arn)
                }
                Token::AnyRun => {
                    tried(pattern, from, at + 1, arn)
                        || c.is_some_and(|c| takes(c, ends)) && tried(pattern, from + 1, at, arn)
                }
            }
        }
        let arns = [":::::", "a:::b::", "a:a:a:a:a:a", "ab:::a:b:ba:a"];
        let mut matched = 0;
        for number in 0..5_usize.pow(6) {
            let letter = |place: u32| ['a', 'b', ':', '*', '?'][number / 5_usize.pow(place) % 5];
            let text: String = (0..6).map(letter).collect();
            // Stars and colons before and behind, so that many do match.
            for pattern in [format!("*:{text}*"), format!(":::{text}")] {
                let pattern = tokens(&pattern);
                for arn in arns {
                    let arn: Vec<char> = arn.chars().collect();
                    let expected = is_anything(&pattern) || tried(&pattern, 0, 0, &arn);
                    assert_eq!(matches_resource(&pattern, &arn), expected, "{text}");
                    matched += usize::from(expected);
                }
            }
        }
        assert!(matched > 1_000, "{matched}");
    }

    #[test]
    fn a_hostile_resource_costs_no_more_than_the_product_of_the_lengths() {
        let arn: Vec<char> = ":a".repeat(1_000).chars().collect();
        for pattern in [
            "*:".repeat(1_000),
            "*a".repeat(1_000) + "b",
            "*".repeat(1_999) + "b",
        ] {
            let mut work = Budget::default();
            let _ = matches_resource_within(&tokens(&pattern), &arn, &mut work);
            let most = (pattern.len() + 2) * (arn.len() + 2);
            assert!(work.spent() <= most, "{}", work.spent());
        }
        let mut work = Budget::of(1_000);
        let matched = matches_resource_within(&tokens("*:*:*:*:*:*"), &arn, &mut work);
        assert_eq!(matched, Err(Exhausted));
    }
}
