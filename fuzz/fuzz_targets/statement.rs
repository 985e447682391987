//! The grammar: the words are where they are said to be, and the lexer's side and the utility hook's
//! agree.
#![no_main]

use dsql_iam_server::aws_iam::{find, parse, token_at};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let token = token_at(text);
    assert!(text.starts_with(token));
    assert_eq!(token.is_empty(), text.is_empty());

    let Some(words) = parse(text) else {
        return;
    };
    let is = |range: &std::ops::Range<usize>, word: &str| {
        text[range.clone()].eq_ignore_ascii_case(word.as_bytes())
    };
    let start = words.iam_and_verb.start;
    assert!(is(&(start..start + 3), "iam"));
    assert!(words.stopped_at <= text.len());
    assert!(words.stopped_at >= words.iam_and_verb.end);
    match (&words.role, &words.preposition) {
        (Some(role), Some(preposition)) => {
            assert!(is(preposition, words.verb.preposition()));
            assert!(words.iam_and_verb.end <= role.start && !role.is_empty());
            assert!(role.end <= preposition.start && preposition.end <= words.stopped_at);
        }
        (Some(role), None) => assert!(role.end <= words.stopped_at),
        (None, preposition) => assert_eq!(*preposition, None),
    }
    // The lexer comes by the same statement: at the one `aws` from which it is found.
    let found = (0..start).any(|aws| {
        let hidden = text[aws..].get(3).copied().unwrap_or_default();
        find(text, aws, hidden).is_some_and(|found| {
            found.verb == words.verb
                && found.iam_and_verb.start + aws == start
                && found.stopped_at + aws == words.stopped_at
        })
    });
    assert!(found, "the lexer does not see what the utility hook sees");
});
