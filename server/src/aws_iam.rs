//! The grammar of `AWS IAM GRANT role TO 'arn'` and `AWS IAM REVOKE role FROM 'arn'`, as far as
//! PostgreSQL's own parser cannot see it.
//!
//! The server's grammar reads the role and the ARN itself (see `src/syntax.rs`); what is left is
//! to find where the words stand that it does not know. So this reads white space, comments, the
//! words, and one identifier, by the rules of the server's lexer (`scan.l`). Positions are byte
//! offsets. Text is in the server's encoding, in which every byte of a multi-byte character has
//! its high bit set.

use crate::scan::{Reader, a_statement_may_follow, is_identifier_part, starts_string};
use std::ops::Range;

/// `GRANT` or `REVOKE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `AWS IAM GRANT role TO 'arn'`
    Grant,
    /// `AWS IAM REVOKE role FROM 'arn'`
    Revoke,
}

impl Verb {
    /// The preposition before the ARN.
    pub fn preposition(self) -> &'static str {
        match self {
            Self::Grant => "TO",
            Self::Revoke => "FROM",
        }
    }
}

/// Where the words of an AWS IAM statement stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The statement's verb.
    pub verb: Verb,
    /// From the `I` of `IAM` to the end of the verb.
    pub iam_and_verb: Range<usize>,
    /// The identifier that names the role, if one stands there.
    pub role: Option<Range<usize>>,
    /// `TO` or `FROM`, if it follows an identifier, as it must.
    pub preposition: Option<Range<usize>>,
    /// Where reading stopped: at the token that should have been the role or the preposition, or,
    /// if there is a preposition, at the token behind it.
    pub stopped_at: usize,
}

/// The statement that [`rewrite`] has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// The length of the keyword that stands where `AWS` stood.
    pub keyword_len: usize,
    /// The NUL behind the keyword, if it is shorter than `AWS`: for [`close_gap`].
    pub gap: Option<Gap>,
}

/// A NUL in the lexer's buffer, to be overwritten when the lexer has read beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its place.
    pub at: usize,
    /// The place of the word that the lexer reads next.
    pub next_word: usize,
}

const AWS: &[u8] = b"aws";
const DO: &[u8] = b"do";
const END: &[u8] = b"end";
const LANGUAGE: &[u8] = b"language";

/// Looks for an AWS IAM statement at byte `aws` of the lexer's buffer. Positions in the answer count
/// from there.
///
/// `buffer` is the whole query. `hidden` is the byte behind `aws`, in whose place the lexer has put a
/// NUL.
pub fn find(buffer: &[u8], aws: usize, hidden: u8) -> Option<Words> {
    let (before, text) = buffer.split_at_checked(aws)?;
    if !text.get(..AWS.len())?.eq_ignore_ascii_case(AWS) {
        return None;
    }
    // Looks back last, for a line may be long and hold many words `aws`.
    statement(&mut Reader::behind(text, AWS.len(), hidden)?)
        .filter(|_| a_statement_may_follow(before))
}

/// Overwrites the AWS IAM statement that [`find`] found at byte `aws` of the lexer's buffer, so that the
/// server's grammar takes it.
pub fn rewrite(buffer: &mut [u8], aws: usize, words: &Words) -> Rewritten {
    let text = &mut buffer[aws..];
    if words.role.is_none() && starts_string(&text[words.stopped_at..]) {
        // A string where the role should be, which `LANGUAGE` would take. `END` does not, and so the
        // error is found where it is.
        text[..END.len()].copy_from_slice(END);
        text[words.iam_and_verb.clone()].fill(b' ');
        return Rewritten {
            keyword_len: END.len(),
            gap: None,
        };
    }
    text[..DO.len()].copy_from_slice(DO);
    text[DO.len()] = 0;
    let language = &mut text[words.iam_and_verb.clone()];
    language.fill(b' ');
    language[..LANGUAGE.len()].copy_from_slice(LANGUAGE);
    if let Some(preposition) = &words.preposition {
        text[preposition.clone()].fill(b' ');
    }
    Rewritten {
        keyword_len: DO.len(),
        gap: Some(Gap {
            at: aws + DO.len(),
            next_word: aws + words.iam_and_verb.start,
        }),
    }
}

/// Overwrites the NUL that [`rewrite`] left by a blank, now that the lexer is at `word`.
///
/// It would end the text for whoever counts its characters, to say where an error is. Nothing is
/// done unless it is this very NUL: an error can end a parse before this is called, and the next
/// query can stand in the same memory.
pub fn close_gap(buffer: &mut [u8], gap: Gap, word: usize) {
    let is_rewritten = gap.next_word == word
        && gap.at < word
        && buffer[word..].get(..LANGUAGE.len()) == Some(LANGUAGE)
        && buffer[..gap.at].ends_with(DO)
        && buffer[gap.at] == 0;
    if is_rewritten {
        buffer[gap.at] = b' ';
    }
}

/// Looks for an AWS IAM statement at the start of `text`, after white space and comments.
///
/// Gives the words with their offsets in `text`.
pub fn parse(text: &[u8]) -> Option<Words> {
    let mut reader = Reader::new(text);
    reader.skip_space();
    if !reader.word("aws") {
        return None;
    }
    statement(&mut reader)
}

/// The token that starts at `text`'s first byte, as far as an error message quotes it.
///
/// Empty at the end of the text.
pub fn token_at(text: &[u8]) -> &[u8] {
    let word = text
        .iter()
        .take_while(|byte| is_identifier_part(**byte))
        .count();
    let end = match text.get(word) {
        // A string, with or without a prefix such as `E`.
        Some(quote @ (b'\'' | b'"')) if word <= 1 => {
            let body = &text[word + 1..];
            let closing = body.iter().position(|byte| byte == quote);
            closing.map_or(text.len(), |at| word + at + 2)
        }
        Some(_) if word == 0 => 1,
        _ => word,
    };
    &text[..end]
}

/// Reads the statement behind `AWS`.
fn statement(reader: &mut Reader) -> Option<Words> {
    reader.skip_space();
    let start = reader.at;
    if !reader.word("iam") {
        return None;
    }
    reader.skip_space();
    let verb = if reader.word("grant") {
        Verb::Grant
    } else if reader.word("revoke") {
        Verb::Revoke
    } else {
        return None;
    };
    let mut words = Words {
        verb,
        iam_and_verb: start..reader.at,
        role: None,
        preposition: None,
        stopped_at: reader.at,
    };
    reader.skip_space();
    words.stopped_at = reader.at;
    if reader.skip_identifier() {
        words.role = Some(words.stopped_at..reader.at);
        reader.skip_space();
        words.stopped_at = reader.at;
        if reader.word(verb.preposition()) {
            words.preposition = Some(words.stopped_at..reader.at);
            reader.skip_space();
            words.stopped_at = reader.at;
        }
    }
    if words.preposition.is_none() && verb == Verb::Grant && is_privileges_on(reader.text, start) {
        return None;
    }
    Some(words)
}

/// Whether `IAM GRANT`, at `start`, is followed by privileges and `ON`.
///
/// This is the one place where these words follow `AWS` in valid SQL: `CREATE SCHEMA s CREATE
/// VIEW v AS SELECT * FROM aws iam GRANT SELECT ON v TO public`.
fn is_privileges_on(text: &[u8], start: usize) -> bool {
    let mut reader = Reader::new(text);
    reader.at = start + "iam".len();
    reader.skip_space();
    reader.at += "grant".len();
    reader.skip_space();
    if reader.word("all") {
        reader.skip_space();
    }
    // Names next to each other are no list; names behind a comma or a parenthesis are.
    let mut may_be_name = true;
    loop {
        reader.skip_space();
        if reader.word("on") {
            return true;
        }
        let is_punctuation = matches!(reader.peek(0), b',' | b'(' | b')');
        if is_punctuation {
            reader.at += 1;
        } else if may_be_name && reader.word("alter") {
            reader.skip_space();
            if !reader.word("system") {
                return false;
            }
        } else if !(may_be_name && reader.skip_identifier()) {
            return false;
        }
        may_be_name = is_punctuation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `text`, which starts with `AWS`, as text.
    fn words(text: &str) -> Option<(Verb, &str, Option<&str>, &str)> {
        let words = parse(text.as_bytes())?;
        Some((
            words.verb,
            &text[words.iam_and_verb],
            words.preposition.map(|at| &text[at]),
            &text[words.stopped_at..],
        ))
    }

    #[test]
    fn the_words_are_found_wherever_they_stand() {
        for text in [
            "AWS IAM GRANT example TO 'arn'",
            "aws iam grant \"ex\"\"am;ple\" to 'arn'",
            " \n-- a 'comment'\n/* and /* another */ */ AWS--x\nIAM/**/GRANT/**/a/**/TO/**/'arn'",
            "AWS IAM GRANT U&\"\\0061\" TO 'arn'",
            "AWS IAM GRANT u&\"!0061\" /**/ uescape '!' TO 'arn'",
            "AWS IAM GRANT u&\"!0061\" UESCAPE E'!' TO 'arn'",
            "AWS IAM GRANT u&\"!0061\" UESCAPE $$!$$TO 'arn'",
            "AWS IAM GRANT\"a\"TO''",
            "AWS IAM GRANT r\u{f6}le TO $$arn$$",
            "AWS IAM GRANT e TO E'arn'",
        ] {
            let (verb, head, preposition, _) = words(text).expect(text);
            assert_eq!(verb, Verb::Grant, "{text}");
            assert!(head.to_ascii_lowercase().ends_with("grant"), "{text}");
            assert!(
                preposition.is_some_and(|p| p.eq_ignore_ascii_case("to")),
                "{text}"
            );
        }
        let found = words("AWS IAM REVOKE a FROM /* x */ 'x' y").unwrap();
        assert_eq!(found, (Verb::Revoke, "IAM REVOKE", Some("FROM"), "'x' y"));
    }

    #[test]
    fn a_statement_with_a_fault_is_one_up_to_the_fault() {
        for (text, rest) in [
            ("AWS IAM GRANT", ""),
            ("AWS IAM GRANT ;", ";"),
            ("AWS IAM GRANT 'a' TO 'arn'", "'a' TO 'arn'"),
            ("AWS IAM GRANT E'a' TO 'arn'", "E'a' TO 'arn'"),
            ("AWS IAM GRANT U&'a' TO 'arn'", "U&'a' TO 'arn'"),
            ("AWS IAM GRANT $1 TO 'arn'", "$1 TO 'arn'"),
            ("AWS IAM GRANT a FROM 'arn'", "FROM 'arn'"),
            ("AWS IAM REVOKE a TO 'arn'", "TO 'arn'"),
            ("AWS IAM GRANT a, b TO 'arn'", ", b TO 'arn'"),
            ("AWS IAM GRANT a TOO 'arn'", "TOO 'arn'"),
            ("AWS IAM GRANT \"a\" UESCAPE '!' TO ''", "UESCAPE '!' TO ''"),
            ("AWS IAM GRANT U&\"a\" UESCAPE TO ''", "UESCAPE TO ''"),
            ("AWS IAM GRANT \"a TO 'arn'", "\"a TO 'arn'"),
        ] {
            let (_, _, preposition, stopped) = words(text).expect(text);
            assert_eq!((preposition, stopped), (None, rest), "{text}");
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for text in [
            "",
            "AWS",
            "AWS ",
            "AWS IAM",
            "AWS IAM ",
            "AWS IAM GRAN",
            "AWS IAM GRANTS a TO 'b'",
            "AWSIAM GRANT a TO 'b'",
            "AWS IAMGRANT a TO 'b'",
            "AWS \"iam\" GRANT a TO 'b'",
            "AWS.IAM GRANT a TO 'b'",
            "SELECT AWS IAM GRANT",
            "-- AWS IAM GRANT a TO 'b'",
            "/* AWS IAM GRANT a TO 'b'",
            "'AWS IAM GRANT a TO b'",
        ] {
            assert_eq!(words(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_as_messages_quote_them() {
        for (text, token) in [
            ("word x", "word"),
            ("'a b' c", "'a b'"),
            ("E'a b' c", "E'a b'"),
            ("\"a b\" c", "\"a b\""),
            ("'open", "'open"),
            ("$1", "$1"),
            (", x", ","),
            (";", ";"),
            ("", ""),
        ] {
            assert_eq!(token_at(text.as_bytes()), token.as_bytes(), "{text}");
        }
    }

    /// The lexer's buffer and word afterwards: `AWS` stands at the mark `«`, the byte behind it is
    /// hidden.
    fn rewritten(marked: &str) -> (String, Option<Rewritten>) {
        let aws = marked.find('«').expect(marked);
        let mut buffer = marked.replace('«', "").into_bytes();
        let hidden = buffer.get(aws + 3).copied().unwrap_or_default();
        if let Some(byte) = buffer.get_mut(aws + 3) {
            *byte = 0;
        }
        let words = find(&buffer, aws, hidden);
        let rewritten = words.map(|words| rewrite(&mut buffer, aws, &words));
        if let Some(byte) = buffer.get_mut(aws + 3) {
            *byte = hidden;
        }
        (String::from_utf8(buffer).unwrap(), rewritten)
    }

    #[test]
    fn a_statement_becomes_one_that_the_grammar_takes() {
        for (marked, expected) in [
            (
                "; «aws iam GRANT a TO 'arn';",
                "; do\0 language  a    'arn';",
            ),
            (
                "«AWS IAM REVOKE \"a\" FROM 'arn'",
                "do\0 language   \"a\"      'arn'",
            ),
            ("«AWS--c\nIAM GRANT a", "do\0--c\nlanguage  a"),
            ("«AWS/*c*/IAM GRANT a", "do\0/*c*/language  a"),
            ("«AWS -- c\n IAM GRANT a", "do\0 -- c\n language  a"),
            ("«AWS IAM GRANT 'a' TO 'b'", "end           'a' TO 'b'"),
            ("«AWS IAM GRANT $$a$$", "end           $$a$$"),
            ("«AWS IAM GRANT $1", "do\0 language  $1"),
        ] {
            let (buffer, rewritten) = rewritten(marked);
            assert_eq!(buffer, expected, "{marked}");
            assert!(rewritten.is_some(), "{marked}");
        }
    }

    /// Each of these was broken once, or could be: it is valid SQL, or part of it.
    #[test]
    fn the_byte_behind_aws_decides() {
        for marked in [
            "SELECT «aws, iam revoke FROM t",
            "SELECT «aws,iam revoke FROM t",
            "SELECT «aws.iam revoke FROM aws",
            "SELECT «aws+ iam revoke FROM t",
            "SELECT «aws -\niam revoke FROM t",
            "SELECT «aws-\niam revoke FROM t",
            "SELECT «aws+-\niam revoke FROM t",
            "SELECT «aws** c */ iam revoke FROM t",
            "SELECT * FROM (SELECT 1 «aws) iam revoke",
            "ALTER DEFAULT PRIVILEGES FOR ROLE «aws, iam GRANT SELECT ON TABLES TO a",
            "ALTER DEFAULT PRIVILEGES FOR ROLE \"«aws\" iam REVOKE SELECT ON TABLES FROM a",
            "«aws",
            "«aws ",
        ] {
            assert_eq!(rewritten(marked).1, None, "{marked}");
        }
    }

    #[test]
    fn in_the_middle_of_a_statement_it_is_none() {
        let words = "«AWS IAM GRANT a TO 'b'";
        for before in [
            "EXPLAIN ",
            "EXPLAIN\n\t",
            "PREPARE p AS\r\n",
            "SELECT 1 ",
            "-- c\nSELECT 1\n",
            "AWS IAM GRANT a TO 'b' ",
            "SELECT ';' ",
            "(",
            "é ",
            "EXPLAIN /* c */ ",
            "EXPLAIN -- c\n",
            "EXPLAIN -- c; d\n",
            "SELECT 1 /*x*/ ",
            "CREATE SCHEMA s CREATE VIEW v AS SELECT 1 FROM /* c */ -- d\n",
        ] {
            assert_eq!(rewritten(&format!("{before}{words}")).1, None, "{before}");
        }
        // A comment of which the start cannot be told from here: the server's grammar has to tell.
        for before in [
            "",
            " \n",
            ";",
            "SELECT 1; \n ",
            "-- c\n",
            "SELECT 1; -- c\r\n\n",
            "--\n",
            "/* c */",
            "SELECT 1; /* c */ /* d; */ -- e\n",
            "/* a /* b */ c */ ",
            "/* a /* b */*/ ",
            "EXPLAIN /* a /* b */ c */ ",
        ] {
            assert!(
                rewritten(&format!("{before}{words}")).1.is_some(),
                "{before}"
            );
        }
    }

    #[test]
    fn grants_inside_create_schema_are_left_alone() {
        let view = "CREATE SCHEMA s CREATE VIEW v AS SELECT * FROM /* c */ «aws iam";
        for grant in [
            "GRANT SELECT ON v TO public",
            "GRANT select, UPDATE/**/ON v TO public",
            "GRANT ALL ON v TO public",
            "GRANT ALL PRIVILEGES ON v TO public",
            "GRANT ALL (a, \"b c\") ON v TO public",
            "GRANT SELECT (a, b), UPDATE (on_) ON v TO public",
            "GRANT ALTER SYSTEM ON PARAMETER work_mem TO public",
            "GRANT SET, ALTER /* c */ SYSTEM ON PARAMETER work_mem TO public",
        ] {
            assert_eq!(rewritten(&format!("{view} {grant}")).1, None, "{grant}");
        }
        for ours in [
            "«AWS IAM GRANT a, b TO 'arn'",
            "«AWS IAM GRANT a(b) TO 'arn'",
            "«AWS IAM GRANT a b ON c",
            "«AWS IAM GRANT",
            "«AWS IAM GRANT ;",
            "«AWS IAM GRANT \"on\" TO 'arn'",
        ] {
            assert!(rewritten(ours).1.is_some(), "{ours}");
        }
    }

    #[test]
    fn the_gap_is_closed_by_the_statement_that_left_it_only() {
        let mut buffer = *b"AWS\0IAM GRANT a TO ''";
        let words = find(&buffer, 0, b' ').unwrap();
        let gap = rewrite(&mut buffer, 0, &words).gap.unwrap();
        assert_eq!((gap.at, gap.next_word), (2, 4));
        let mut closed = buffer;
        close_gap(&mut closed, gap, 4);
        assert_eq!(&closed, b"do \0language  a    ''");
        // The next query in the same memory, after an error.
        for (other, word) in [
            (&b"do+ language  x      "[..], 4),
            (b"xx\0 language  x      ", 4),
            (b"do\0 languages        ", 5),
            (b"do\0 languag_         ", 4),
            (b"do\0 l", 4),
            (b"language", 0),
            (b"", 0),
        ] {
            let mut buffer = other.to_vec();
            close_gap(&mut buffer, gap, word);
            assert_eq!(buffer, other);
        }
    }

    #[test]
    fn nothing_behind_the_end_is_looked_at() {
        for text in [
            "AWS IAM GRANT example TO 'arn'; SELECT 1",
            "AWS IAM /* c */ REVOKE \"a b\" FROM 'arn'",
            "AWS-- c\n IAM GRANT a TO 'arn'",
            "AWS/* c */ IAM GRANT ALL (a) ON 'arn'",
            "AWS IAM GRANT U&'",
        ] {
            for end in 0..=text.len() {
                let mut part = text.as_bytes()[..end].to_vec();
                let hidden = part.get(3).copied().unwrap_or_default();
                if let Some(words) = find(&part, 0, hidden) {
                    rewrite(&mut part, 0, &words);
                }
                assert_eq!(part.len(), end);
                assert_eq!(find(&part, end + 1, b' '), None);
            }
        }
    }
}
