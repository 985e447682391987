//! The changes to the lexer's buffer: none unless the next tokens are `IAM GRANT` or `IAM REVOKE`,
//! and then only to these words, `AWS` and the preposition.
#![no_main]

use dsql_iam_server::async_index::{PROCEDURE, blank, find_async, find_wait_for_job, is_async, rename};
use dsql_iam_server::aws_iam::{close_gap, find, parse, rewrite};
use libfuzzer_sys::fuzz_target;

/// The tokens of `scan.l` that matter here, written a second time, in another way.
fn next_words(text: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while words.len() < 2 {
        rest = rest.trim_ascii_start();
        rest = match rest {
            [0x0b, tail @ ..] => tail,
            [b'-', b'-', ..] => {
                let end = rest.iter().position(|byte| b"\r\n".contains(byte));
                &rest[end.unwrap_or(rest.len())..]
            }
            [b'/', b'*', tail @ ..] => behind_comment(tail),
            [first, ..] if first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80 => {
                let is_part = |byte: &u8| {
                    byte.is_ascii_alphanumeric() || b"_$".contains(byte) || *byte >= 0x80
                };
                let end = rest.iter().position(|byte| !is_part(byte));
                let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
                words.push(String::from_utf8_lossy(word).to_ascii_lowercase());
                tail
            }
            _ => break,
        };
    }
    words
}

/// The text behind a comment whose opening was read.
fn behind_comment(text: &[u8]) -> &[u8] {
    let mut depth = 1;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return &text[at..];
            }
        } else if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    &[]
}

/// Where the words start that are `word`, as the lexer would ask about them.
fn words_at<'t>(text: &'t [u8], word: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    (0..text.len()).filter(move |at| {
        text[*at..]
            .get(..word.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
            && (*at == 0 || !is_part(text[at - 1]))
            && !text
                .get(at + word.len())
                .is_some_and(|byte| is_part(*byte) || *byte == b'$')
    })
}

/// `CREATE INDEX ASYNC` and `CALL sys.wait_for_job`: nothing but these words changes, and only behind these.
fn async_index(text: &[u8]) {
    for (word, next) in [("index", "async"), ("call", "sys")] {
        for at in words_at(text, word) {
            let mut buffer: Box<[u8]> = text.into();
            let behind = at + word.len();
            let hidden = text.get(behind).copied().unwrap_or_default();
            if let Some(byte) = buffer.get_mut(behind) {
                *byte = 0;
            }
            let found = match word {
                "index" => find_async(&buffer, at, hidden),
                _ => find_wait_for_job(&buffer, at, hidden),
            };
            let Some(found) = found else {
                continue;
            };
            assert_eq!(next_words(&text[behind..]).first().map(String::as_str), Some(next));
            let (old, new) = match word {
                "index" => ("async", String::new()),
                _ => ("wait_for_job", PROCEDURE.to_owned()),
            };
            assert!(text[found.clone()].eq_ignore_ascii_case(old.as_bytes()));
            match word {
                "index" => blank(&mut buffer, found.clone()),
                _ => rename(&mut buffer, found.clone()),
            }
            buffer[behind] = hidden;
            let now = String::from_utf8_lossy(&buffer[found.clone()]).into_owned();
            assert_eq!(now.trim_end(), new);
            assert_eq!(buffer[..found.start], text[..found.start]);
            assert_eq!(buffer[found.end..], text[found.end..]);
            if word == "index" {
                // The utility hook sees the same, from where its statement starts.
                let seen = words_at(&text[..at], "create").any(|start| is_async(&text[start..]));
                assert!(seen, "the lexer sees what the utility hook does not");
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    // A query has no NUL in it. The buffer ends where the query does.
    let text: Box<[u8]> = data.iter().copied().filter(|byte| *byte != 0).collect();
    async_index(&text);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    for aws in 0..text.len().saturating_sub(2) {
        let is_word = text[aws..aws + 3].eq_ignore_ascii_case(b"aws")
            && (aws == 0 || !is_part(text[aws - 1]))
            && !text
                .get(aws + 3)
                .is_some_and(|byte| is_part(*byte) || *byte == b'$');
        if !is_word {
            continue;
        }
        let mut buffer = text.clone();
        let hidden = text.get(aws + 3).copied().unwrap_or_default();
        if let Some(byte) = buffer.get_mut(aws + 3) {
            *byte = 0;
        }
        let expected = next_words(&text[aws + 3..]);
        let is_ours = matches!(&*expected, [iam, verb]
            if iam == "iam" && (verb == "grant" || verb == "revoke"));
        let Some(words) = find(&buffer, aws, hidden) else {
            // The only reasons to leave these words alone.
            let on = |text: &[u8]| text.windows(2).any(|two| two.eq_ignore_ascii_case(b"on"));
            let before = text[..aws]
                .iter()
                .rfind(|byte| !b" \t\n\r\x0b\x0c".contains(byte));
            let is_first = before.is_none_or(|byte| *byte == b';');
            assert!(!is_ours || !is_first || on(&text[aws..]), "not found");
            continue;
        };
        assert!(is_ours, "found {words:?}, but next are {expected:?}");
        let rewritten = rewrite(&mut buffer, aws, &words);
        if let Some(byte) = buffer.get_mut(aws + 3) {
            *byte = hidden;
        }
        if let Some(gap) = rewritten.gap {
            assert_eq!(buffer[gap.at], 0);
            close_gap(&mut buffer, gap, gap.next_word);
            assert_eq!(buffer[gap.at], b' ');
        }
        assert_eq!(buffer.len(), text.len());
        let may_change = |at: usize| {
            let within = |range: &std::ops::Range<usize>| at >= aws && range.contains(&(at - aws));
            within(&(0..3))
                || within(&words.iam_and_verb)
                || words.preposition.as_ref().is_some_and(within)
        };
        for at in 0..text.len() {
            assert!(may_change(at) || buffer[at] == text[at], "changed at {at}");
        }
        let now = next_words(&buffer[aws..]);
        match rewritten.gap {
            Some(_) => assert_eq!(now, ["do", "language"]),
            None => assert_eq!(now.first().map(String::as_str), Some("end")),
        }
        let seen_by_hook = parse(&text[aws..]).expect("what is rewritten is recognized");
        assert_eq!(seen_by_hook, words);
    }
});
