//! Reads SQL by the rules of the server's lexer (`scan.l`), as far as the words that are looked for here
//! need it: white space, comments, words, identifiers; forwards, and a little backwards.

/// Reads the text by the lexer's rules.
pub(crate) struct Reader<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// Where it stands.
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Stands behind the first `len` bytes of `text`, a word that the lexer asks about. Nothing if what
    /// follows it at once does not leave it a word by itself.
    ///
    /// `hidden` is the byte behind the word, in whose place the lexer has put a NUL.
    pub(crate) fn behind(text: &'a [u8], len: usize, hidden: u8) -> Option<Self> {
        let mut reader = Self { text, at: len + 1 };
        match (hidden, text.get(len + 1)) {
            (b'-', Some(b'-')) => reader.skip_line_comment(),
            (b'/', Some(b'*')) => {
                reader.at += 1;
                reader.skip_block_comment();
            }
            (hidden, Some(_)) if is_space(hidden) => {}
            // An operator, a comma, a dot: whatever is behind it does not belong to the word.
            _ => return None,
        }
        Some(reader)
    }

    /// The byte `ahead` of where the reader stands; 0 at the end, as in the lexer's own buffer.
    pub(crate) fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(crate) fn skip_space(&mut self) {
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
    pub(crate) fn word(&mut self, word: &str) -> bool {
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
    pub(crate) fn skip_identifier(&mut self) -> bool {
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

/// How much of a line or a comment is gone through backwards.
const MAX_LOOK_BACK: usize = 4096;
/// And how many comments.
const MAX_COMMENTS: usize = 64;

/// `before` without the blanks and the comments at its end. Nothing if that cannot be told without reading
/// all from the start: a comment in a comment, one that is long, many.
pub(crate) fn without_comments_at_end(mut before: &[u8]) -> Option<&[u8]> {
    let is_end_of_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
    for _ in 0..MAX_COMMENTS {
        let end = before.iter().rposition(|byte| !is_space(*byte));
        let (text, blanks) = before.split_at(end.map_or(0, |last| last + 1));
        let tail = &text[text.len().saturating_sub(MAX_LOOK_BACK)..];
        // Only at the end of a line can what stands there be a comment to that end. A semicolon is none:
        // the line may be the last of a string, which cannot be told from here.
        if !text.ends_with(b";") && blanks.iter().any(is_end_of_line) {
            let start = tail.iter().rposition(is_end_of_line);
            if start.is_none() && tail.len() < text.len() {
                return None;
            }
            let line = &tail[start.map_or(0, |at| at + 1)..];
            if let Some(dashes) = line_comment(line)? {
                before = &text[..text.len() - line.len() + dashes];
                continue;
            }
        }
        let Some(comment) = tail.strip_suffix(b"*/") else {
            return Some(text);
        };
        let opening = comment.windows(2).rposition(|two| two == b"/*")?;
        let rest = &text[..text.len() - tail.len() + opening];
        // In `*/*` the `/` may be the end of a closing: `*/*/` closes two comments, of which one is in the other.
        if rest.ends_with(b"*") || has(&comment[opening + 2..], b"*/") {
            return None;
        }
        before = rest;
    }
    None
}

/// Where in a line its `--` comment starts, if it has one. Nothing if that cannot be told: what is in quotes or
/// in a comment may have begun in a line before.
fn line_comment(line: &[u8]) -> Option<Option<usize>> {
    if !has(line, b"--") {
        return Some(None);
    }
    let mut at = 0;
    loop {
        let rest = &line[at..];
        match rest {
            [] => return Some(None),
            [b'-', b'-', ..] => return (!has(rest, b"*/")).then_some(Some(at)),
            [b'/', b'*', inside @ ..] => {
                at += 4 + inside.windows(2).position(|two| two == b"*/")?;
            }
            [b'*', b'/', ..] | [b'\'' | b'"' | b'$', ..] => return None,
            _ => at += 1,
        }
    }
}

fn has(text: &[u8], two: &[u8; 2]) -> bool {
    text.windows(2).any(|bytes| bytes == two)
}

/// Whether the next word may be the first of a statement: nothing but blanks and comments is between it
/// and a semicolon or the start. Says yes if that cannot be told.
pub(crate) fn a_statement_may_follow(before: &[u8]) -> bool {
    without_comments_at_end(before).is_none_or(|text| text.is_empty() || text.ends_with(b";"))
}

/// `before` without the word at its end, if that is `word`, in any case.
pub(crate) fn without_word_at_end<'a>(before: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (rest, last) = before.split_at_checked(before.len().checked_sub(word.len())?)?;
    let is_whole = !rest.last().is_some_and(|byte| is_identifier_part(*byte));
    (is_whole && last.eq_ignore_ascii_case(word.as_bytes())).then_some(rest)
}

/// Whether a string constant starts at `text`: `'…'`, `E'…'`, `U&'…'`, `$$…$$`.
pub(crate) fn starts_string(text: &[u8]) -> bool {
    match text {
        [b'\'', ..] | [b'e' | b'E', b'\'', ..] | [b'u' | b'U', b'&', b'\'', ..] => true,
        [b'$', rest @ ..] => !rest.first().is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

pub(crate) fn is_identifier_part(byte: u8) -> bool {
    is_identifier_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_skipped_backwards_where_that_is_certain() {
        for (before, rest) in [
            ("", Some("")),
            ("a b \n", Some("a b")),
            ("a -- b\n", Some("a")),
            ("a; -- b\n\t-- c\r\n /* d */ ", Some("a;")),
            ("a /* -- b */", Some("a")),
            ("a -- b */\n", None),
            ("a-- b\n/* c */-- d\n", Some("a")),
            // On its own line it is no comment, since the lexer has come this far.
            ("a - -b", Some("a - -b")),
            ("a /* b /* c */ d */ ", None),
            ("a */ ", None),
            ("a /*/ ", None),
            ("*/", None),
            ("a('b--c'); -- d\n", None),
            ("a \"--\" -- d\n", None),
            ("a \"b\"\n", Some("a \"b\"")),
            ("a; -- don't\n", Some("a;")),
            ("'a\nb -- c';\n", Some("'a\nb -- c';")),
            ("'a\nb' -- c\n", None),
            ("$$--$$ -- c\n", None),
        ] {
            let found = without_comments_at_end(before.as_bytes());
            assert_eq!(found, rest.map(str::as_bytes), "{before}");
        }
        let long = format!("a /* {} */ ", "x".repeat(MAX_LOOK_BACK));
        assert_eq!(without_comments_at_end(long.as_bytes()), None);
        let long = format!("a {}\n", "x".repeat(MAX_LOOK_BACK));
        assert_eq!(without_comments_at_end(long.as_bytes()), None);
        let many = "/**/".repeat(MAX_COMMENTS);
        assert_eq!(without_comments_at_end(many.as_bytes()), None);
    }

    #[test]
    fn the_first_word_is_never_taken_for_a_later_one() {
        // Every text up to a length of the bytes that matter, as far as it is blanks and comments alone.
        const BYTES: &[u8] = b"/*-\n'; a";
        fn all(text: &mut Vec<u8>, left: usize, comments: &mut usize) {
            let mut reader = Reader::new(text);
            reader.skip_space();
            // The end is one only if what is put there is not in a comment.
            let len = text.len();
            let next = [text.as_slice(), b"x"].concat();
            let mut with_next = Reader::new(&next);
            with_next.skip_space();
            if reader.at == len && with_next.at == len {
                *comments += 1;
                let shown = String::from_utf8_lossy(text);
                assert!(a_statement_may_follow(text), "{shown:?}");
            }
            if left == 0 {
                return;
            }
            for byte in BYTES {
                text.push(*byte);
                all(text, left - 1, comments);
                text.pop();
            }
        }
        let mut comments = 0;
        all(&mut Vec::new(), 7, &mut comments);
        assert!(comments > 1000, "{comments}");
    }

    #[test]
    fn words_are_whole_backwards_too() {
        assert_eq!(without_word_at_end(b"x;CREATE", "create"), Some(&b"x;"[..]));
        assert_eq!(without_word_at_end(b"create", "create"), Some(&b""[..]));
        for other in [
            "recreate",
            "_create",
            "$create",
            "create ",
            "eate",
            "",
            "\u{e9}create",
        ] {
            assert_eq!(
                without_word_at_end(other.as_bytes(), "create"),
                None,
                "{other}"
            );
        }
    }
}
