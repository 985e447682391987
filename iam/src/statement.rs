//! The grammar of `AWS IAM GRANT role TO 'arn'` and `AWS IAM REVOKE role FROM 'arn'`, as far as
//! PostgreSQL's own parser cannot see it.
//!
//! The server's grammar reads the role and the ARN itself (see `src/syntax.rs`); what is left is
//! to find where the words stand that it does not know. So this reads white space, comments, the
//! words, and one identifier, by the rules of the server's lexer (`scan.l`). Positions are byte
//! offsets. Text is in the server's encoding, in which every byte of a multi-byte character has
//! its high bit set.

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

    /// The whole statement's name, as in messages.
    pub fn statement(self) -> &'static str {
        match self {
            Self::Grant => "AWS IAM GRANT",
            Self::Revoke => "AWS IAM REVOKE",
        }
    }
}

/// Where the words of an AWS IAM statement stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What is asked for.
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

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An AWS IAM statement, complete as far as this looks, or with a fault that the server's
    /// grammar will find.
    Statement(Words),
    /// Something else.
    Other,
    /// It cannot be told without more of the text than was given.
    NeedsMore,
}

/// The longest comment that may follow `AWS` without a blank in between.
///
/// What looks like one is most often a minus or an asterisk. Without this limit a query with many
/// of them would be read to its end for each.
const MAX_COMMENT_WITHOUT_BLANK: usize = 1024;

/// Looks for `IAM GRANT|REVOKE identifier TO|FROM` after the word `AWS`.
///
/// `text` starts one byte after `AWS`: the server's lexer hides that byte under a NUL, so that it
/// can be the first one of a comment's opening. `is_whole` tells whether `text` reaches to the end
/// of the query; if not, [`Found::NeedsMore`] is a possible answer.
pub fn after_aws(text: &[u8], is_whole: bool) -> Found {
    let start = &text[..text.len().min(MAX_COMMENT_WITHOUT_BLANK)];
    let mut comment = Reader::new(start);
    match text.first() {
        Some(b'-') => comment.skip_line_comment(),
        Some(b'*') => {
            comment.at = 1;
            comment.skip_block_comment();
        }
        _ => {}
    }
    if comment.has_seen_end && start.len() == MAX_COMMENT_WITHOUT_BLANK {
        return Found::Other;
    }
    let mut reader = Reader::new(text);
    reader.at = comment.at;
    let found = reader.statement();
    if reader.has_seen_end && !is_whole {
        return Found::NeedsMore;
    }
    found.map_or(Found::Other, Found::Statement)
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
    reader.statement()
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

/// Reads the text by the lexer's rules, and remembers whether it looked past the end.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    has_seen_end: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            has_seen_end: false,
        }
    }

    fn statement(&mut self) -> Option<Words> {
        self.skip_space();
        let start = self.at;
        if !self.word("iam") {
            return None;
        }
        self.skip_space();
        let verb = if self.word("grant") {
            Verb::Grant
        } else if self.word("revoke") {
            Verb::Revoke
        } else {
            return None;
        };
        let mut words = Words {
            verb,
            iam_and_verb: start..self.at,
            role: None,
            preposition: None,
            stopped_at: self.at,
        };
        self.skip_space();
        words.stopped_at = self.at;
        if self.skip_identifier() {
            words.role = Some(words.stopped_at..self.at);
            self.skip_space();
            words.stopped_at = self.at;
            if self.word(verb.preposition()) {
                words.preposition = Some(words.stopped_at..self.at);
                self.skip_space();
                words.stopped_at = self.at;
            }
        }
        Some(words)
    }

    /// The byte `ahead` of where the reader stands; 0 at the end, as in the lexer's own buffer.
    fn peek(&mut self, ahead: usize) -> u8 {
        match self.text.get(self.at + ahead) {
            Some(byte) => *byte,
            None => {
                self.has_seen_end = true;
                0
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.peek(0) == 0 && self.at >= self.text.len()
    }

    fn skip_space(&mut self) {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.skip_line_comment(),
                b'/' if self.peek(1) == b'*' => {
                    self.at += 2;
                    self.skip_block_comment();
                }
                _ => return,
            }
        }
    }

    fn skip_line_comment(&mut self) {
        while !self.is_at_end() && !matches!(self.peek(0), b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Skips the rest of a comment whose opening was read. Comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 1;
        while depth > 0 && !self.is_at_end() {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Reads `word` in any case, if that is the whole next word.
    fn word(&mut self, word: &str) -> bool {
        for (ahead, expected) in word.bytes().enumerate() {
            if !self.peek(ahead).eq_ignore_ascii_case(&expected) {
                return false;
            }
        }
        if is_identifier_part(self.peek(word.len())) {
            return false;
        }
        self.at += word.len();
        true
    }

    /// Skips an identifier, bare or quoted; false if there is none, or if it does not end.
    fn skip_identifier(&mut self) -> bool {
        let start = self.at;
        let is_u = self.peek(0).eq_ignore_ascii_case(&b'u');
        if is_u && self.peek(1) == b'&' && self.peek(2) == b'"' {
            self.at += 2;
        }
        if self.peek(0) == b'"' {
            self.at += 1;
            while !self.is_at_end() {
                match (self.peek(0), self.peek(1)) {
                    (b'"', b'"') => self.at += 2,
                    (b'"', _) => {
                        self.at += 1;
                        return true;
                    }
                    _ => self.at += 1,
                }
            }
            return false;
        }
        if !is_identifier_start(self.peek(0)) {
            return false;
        }
        while is_identifier_part(self.peek(0)) {
            self.at += 1;
        }
        // `E'…'`, `N'…'`, `B'…'`, `X'…'` and `U&'…'` are strings, not identifiers.
        let next = self.peek(0);
        let is_prefix = self.at - start == 1
            && match self.text[start].to_ascii_lowercase() {
                b'e' | b'n' | b'b' | b'x' => next == b'\'',
                b'u' => next == b'&' && self.peek(1) == b'\'',
                _ => false,
            };
        if is_prefix {
            self.at = start;
        }
        !is_prefix
    }
}

fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_identifier_part(byte: u8) -> bool {
    is_identifier_start(byte) || byte.is_ascii_digit() || byte == b'$'
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

    /// However little of the text is given, the answer is the same or that more is needed.
    #[test]
    fn a_part_of_the_text_never_gives_another_answer() {
        for text in [
            " IAM GRANT example TO 'arn'; SELECT 1",
            " IAM /* c */ REVOKE \"a b\" FROM 'arn'",
            "- c\n IAM GRANT a TO 'arn'",
            "* c */ IAM GRANT a TO 'arn'",
            " IAM GRANT a",
            " IAM",
            " x",
        ] {
            let whole = after_aws(text.as_bytes(), true);
            assert_ne!(whole, Found::NeedsMore);
            for end in 0..text.len() {
                let part = after_aws(&text.as_bytes()[..end], false);
                assert!(
                    part == Found::NeedsMore || part == whole,
                    "{end} of {text}: {part:?}"
                );
            }
        }
        assert!(matches!(
            after_aws(b"- c\nIAM GRANT a TO ''", true),
            Found::Statement(_)
        ));
        assert!(matches!(
            after_aws(b"* c */IAM GRANT a TO ''", true),
            Found::Statement(_)
        ));
    }
}
