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

/// What [`rewrite`] has made of a statement.
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
    let (word, rest) = text.split_at_checked(AWS.len())?;
    if !word.eq_ignore_ascii_case(AWS) {
        return None;
    }
    let mut reader = Reader::new(text);
    reader.at = AWS.len() + 1;
    match (hidden, rest.get(1)) {
        (b'-', Some(b'-')) => reader.skip_line_comment(),
        (b'/', Some(b'*')) => {
            reader.at += 1;
            reader.skip_block_comment();
        }
        (hidden, Some(_)) if is_space(hidden) => {}
        // An operator, a comma, a dot: whatever is behind it does not belong to `AWS`.
        _ => return None,
    }
    // Looks back last, for a line may be long and hold many words `aws`.
    reader
        .statement()
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

/// Reads the text by the lexer's rules.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
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
        if words.preposition.is_none() && verb == Verb::Grant && self.is_privileges_on(start) {
            return None;
        }
        Some(words)
    }

    /// Whether `IAM GRANT`, at `start`, is followed by privileges and `ON`.
    ///
    /// This is the one place where these words follow `AWS` in valid SQL: `CREATE SCHEMA s CREATE
    /// VIEW v AS SELECT * FROM aws iam GRANT SELECT ON v TO public`.
    fn is_privileges_on(&self, start: usize) -> bool {
        let mut reader = Self {
            text: self.text,
            at: start + "iam".len(),
        };
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
            } else if !(may_be_name && reader.skip_identifier()) {
                return false;
            }
            may_be_name = is_punctuation;
        }
    }

    /// The byte `ahead` of where the reader stands; 0 at the end, as in the lexer's own buffer.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn skip_space(&mut self) {
        loop {
            match self.peek(0) {
                byte if is_space(byte) => self.at += 1,
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

    /// Skips `UESCAPE 'c'`, which belongs to the identifier `U&"…"` before it.
    fn skip_escape_character(&mut self) {
        let start = self.at;
        self.skip_space();
        if self.word("uescape") {
            self.skip_space();
            let constant = match &self.text[self.at.min(self.text.len())..] {
                [b'\'', _, b'\'', ..] => 3,
                [b'e' | b'E', b'\'', _, b'\'', ..] => 4,
                [b'$', b'$', _, b'$', b'$', ..] => 5,
                _ => 0,
            };
            if constant > 0 {
                self.at += constant;
                return;
            }
        }
        self.at = start;
    }

    /// Skips an identifier, bare or quoted; false if there is none, or if it does not end.
    fn skip_identifier(&mut self) -> bool {
        let start = self.at;
        let is_u = self.peek(0).eq_ignore_ascii_case(&b'u')
            && self.peek(1) == b'&'
            && self.peek(2) == b'"';
        if is_u {
            self.at += 2;
        }
        if self.peek(0) == b'"' {
            self.at += 1;
            while !self.is_at_end() {
                match (self.peek(0), self.peek(1)) {
                    (b'"', b'"') => self.at += 2,
                    (b'"', _) => {
                        self.at += 1;
                        if is_u {
                            self.skip_escape_character();
                        }
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

/// Whether the next word may be the first of a statement: nothing but blanks and comments is between it
/// and a semicolon or the start. Says yes if it cannot be told without reading all from the start, since
/// there is a comment.
fn a_statement_may_follow(before: &[u8]) -> bool {
    let Some(last) = before.iter().rposition(|byte| !is_space(*byte)) else {
        return true;
    };
    let before = &before[..=last];
    // A line may hold many statements, so it is not gone through for each of them.
    if before.ends_with(b";") || before.ends_with(b"*/") {
        return true;
    }
    let is_end_of_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let line = before.rsplit(is_end_of_line).next().unwrap_or_default();
    line.windows(2).any(|two| two == b"--")
}

/// Whether a string constant starts at `text`: `'…'`, `E'…'`, `U&'…'`, `$$…$$`.
fn starts_string(text: &[u8]) -> bool {
    match text {
        [b'\'', ..] | [b'e' | b'E', b'\'', ..] | [b'u' | b'U', b'&', b'\'', ..] => true,
        [b'$', rest @ ..] => !rest.first().is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
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

    /// What the lexer's buffer and word become: `AWS` stands at the mark `«`, the byte behind it is
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
        ] {
            assert_eq!(rewritten(&format!("{before}{words}")).1, None, "{before}");
        }
        // Where a comment is before it, the server's grammar has to tell.
        for before in [
            "",
            " \n",
            ";",
            "SELECT 1; \n ",
            "-- c\n",
            "SELECT 1; -- c\r\n\n",
            "--\n",
            "/* c */",
            "EXPLAIN /* c */ ",
            "EXPLAIN -- c\n",
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
