//! The grammar of `CREATE INDEX ASYNC`, and of `CALL sys.wait_for_job`, as far as PostgreSQL's own parser
//! cannot see it.
//!
//! In the lexer's buffer `ASYNC` is overwritten by blanks, and the rest is PostgreSQL's `CREATE INDEX`.
//! `wait_for_job` is Aurora DSQL's name for a procedure, and programs call it as a function as well;
//! PostgreSQL cannot have both of one name. So the function has the name, and behind `CALL` it is
//! overwritten by the name of the procedure. Positions are byte offsets, as in [`crate::aws_iam`].

use crate::scan::{Reader, a_statement_may_follow, without_comments_at_end, without_word_at_end};
use std::ops::Range;

const INDEX: &str = "index";
const ASYNC: &str = "async";
const CALL: &str = "call";
const WAIT_FOR_JOB: &str = "wait_for_job";
/// The procedure in `sys` that `CALL sys.wait_for_job` calls: no longer than that name.
pub const PROCEDURE: &str = "await_job";

/// Looks for `ASYNC` behind the `INDEX` at byte `index` of the lexer's buffer, where that is the one of
/// `CREATE INDEX ASYNC` or `CREATE UNIQUE INDEX ASYNC`.
///
/// `buffer` is the whole query. `hidden` is the byte behind `INDEX`, in whose place the lexer has put a
/// NUL. Without an index's name, `ON` or `IF` behind `ASYNC` there is nothing: the server's grammar says
/// what is wrong.
pub fn find_async(buffer: &[u8], index: usize, hidden: u8) -> Option<Range<usize>> {
    let (before, text) = word_at(buffer, index, INDEX)?;
    let mut reader = Reader::behind(text, INDEX.len(), hidden)?;
    let found = read_async(&mut reader)?;
    let before = without_comments_at_end(before)?;
    let before = match without_word_at_end(before, "unique") {
        Some(before) => without_comments_at_end(before)?,
        None => before,
    };
    let before = without_word_at_end(before, "create")?;
    a_statement_may_follow(before).then_some(index + found.start..index + found.end)
}

/// Whether `text` starts, after white space and comments, with a `CREATE INDEX ASYNC` that
/// [`find_async`] finds.
pub fn is_async(text: &[u8]) -> bool {
    let mut reader = Reader::new(text);
    reader.skip_space();
    if !reader.word("create") {
        return false;
    }
    reader.skip_space();
    if reader.word("unique") {
        reader.skip_space();
    }
    let index = reader.at;
    let hidden = text.get(index + INDEX.len()).copied().unwrap_or_default();
    find_async(text, index, hidden).is_some()
}

/// Looks for `wait_for_job` behind the `CALL` at byte `call` of the lexer's buffer, where that is the one of
/// `CALL sys.wait_for_job(`.
pub fn find_wait_for_job(buffer: &[u8], call: usize, hidden: u8) -> Option<Range<usize>> {
    let (before, text) = word_at(buffer, call, CALL)?;
    let mut reader = Reader::behind(text, CALL.len(), hidden)?;
    reader.skip_space();
    if !reader.word("sys") {
        return None;
    }
    reader.skip_space();
    if reader.peek(0) != b'.' {
        return None;
    }
    reader.at += 1;
    reader.skip_space();
    let start = reader.at;
    if !reader.word(WAIT_FOR_JOB) {
        return None;
    }
    let end = reader.at;
    reader.skip_space();
    let is_call = reader.peek(0) == b'(' && a_statement_may_follow(before);
    is_call.then_some(call + start..call + end)
}

/// Overwrites what [`find_async`] found.
pub fn blank(buffer: &mut [u8], found: Range<usize>) {
    buffer[found].fill(b' ');
}

/// Overwrites what [`find_wait_for_job`] found.
pub fn rename(buffer: &mut [u8], found: Range<usize>) {
    let name = &mut buffer[found];
    name.fill(b' ');
    name[..PROCEDURE.len()].copy_from_slice(PROCEDURE.as_bytes());
}

/// The text before byte `at`, and from there, if `word` stands there.
fn word_at<'b>(buffer: &'b [u8], at: usize, word: &str) -> Option<(&'b [u8], &'b [u8])> {
    let (before, text) = buffer.split_at_checked(at)?;
    let found = text.get(..word.len())?;
    found
        .eq_ignore_ascii_case(word.as_bytes())
        .then_some((before, text))
}

/// Reads `ASYNC` and looks at what is behind it.
fn read_async(reader: &mut Reader) -> Option<Range<usize>> {
    reader.skip_space();
    let start = reader.at;
    if !reader.word(ASYNC) {
        return None;
    }
    let end = reader.at;
    reader.skip_space();
    let goes_on = !reader.word("concurrently") && reader.skip_identifier();
    goes_on.then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lexer's buffer afterwards: the word that it asks about stands behind the mark `«`.
    fn overwritten(marked: &str) -> Option<String> {
        let at = marked.find('«').expect(marked);
        let mut buffer = marked.replace('«', "").into_bytes();
        let len = buffer[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let hidden = buffer.get(at + len).copied().unwrap_or_default();
        if let Some(byte) = buffer.get_mut(at + len) {
            *byte = 0;
        }
        let found = if len == CALL.len() {
            let found = find_wait_for_job(&buffer, at, hidden)?;
            rename(&mut buffer, found);
            buffer
        } else {
            let found = find_async(&buffer, at, hidden)?;
            blank(&mut buffer, found);
            buffer
        };
        let mut buffer = found;
        buffer[at + len] = hidden;
        Some(String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn async_becomes_blanks() {
        for (marked, expected) in [
            (
                "CREATE «INDEX ASYNC i ON t (a)",
                "CREATE INDEX       i ON t (a)",
            ),
            (
                "create unique «index async on t (a)",
                "create unique index       on t (a)",
            ),
            (
                "; CREATE «INDEX ASYNC IF NOT EXISTS \"ASYNC\" ON t (a)",
                "; CREATE INDEX       IF NOT EXISTS \"ASYNC\" ON t (a)",
            ),
            (
                "-- c\nCREATE /* c */ UNIQUE--c\n«INDEX/*c*/ASYNC--d\n\"i\" ON t (a)",
                "-- c\nCREATE /* c */ UNIQUE--c\nINDEX/*c*/     --d\n\"i\" ON t (a)",
            ),
            (
                "CREATE «INDEX ASYNC\"i\"ON t (a)",
                "CREATE INDEX      \"i\"ON t (a)",
            ),
            (
                "CREATE «INDEX ASYNC async ON t (a)",
                "CREATE INDEX       async ON t (a)",
            ),
            (
                "CREATE «INDEX ASYNC U&\"i\" ON t (a)",
                "CREATE INDEX       U&\"i\" ON t (a)",
            ),
            (
                "CREATE «INDEX ASYNC concurrently_ ON t",
                "CREATE INDEX       concurrently_ ON t",
            ),
        ] {
            assert_eq!(overwritten(marked).as_deref(), Some(expected), "{marked}");
            let statement = marked.replace('«', "");
            let statement = statement.trim_start_matches("; ");
            assert!(is_async(statement.as_bytes()), "{marked}");
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for marked in [
            "CREATE «INDEX async",
            "CREATE «INDEX async ",
            "CREATE «INDEX async;",
            "CREATE «INDEX async.i ON t (a)",
            "CREATE «INDEX asynchronous ON t (a)",
            "CREATE «INDEX \"async\" ON t (a)",
            "CREATE «INDEX, async i",
            "CREATE «INDEX-async i",
            "CREATE «INDEX CONCURRENTLY async ON t (a)",
            "CREATE «INDEX ASYNC CONCURRENTLY i ON t (a)",
            "CREATE «INDEX IF NOT EXISTS async ON t (a)",
            "CREATE «INDEX i ON async (a)",
            "DROP «INDEX async CASCADE",
            "ALTER «INDEX async RENAME TO b",
            "REINDEX «INDEX async",
            "COMMENT ON «INDEX async IS 'x'",
            "SELECT «index async FROM t",
            "SELECT 1 FROM «index async WHERE true",
            "UNIQUE «INDEX ASYNC i ON t (a)",
            "RECREATE «INDEX ASYNC i ON t (a)",
            "EXPLAIN CREATE «INDEX ASYNC i ON t (a)",
            "EXPLAIN /* c */ CREATE «INDEX ASYNC i ON t (a)",
            "CREATE SCHEMA s CREATE TABLE t (a int) CREATE «INDEX async ON t (a)",
            "CREATE SCHEMA s CREATE TABLE t (a int) -- c\n CREATE «INDEX async ON t (a)",
            "CREATE /* a /* b */ c */ «INDEX ASYNC i ON t (a)",
            "«index",
            "CALL «index async x",
        ] {
            assert_eq!(overwritten(marked), None, "{marked}");
        }
        for text in [
            "",
            "CREATE",
            "CREATE INDEX i ON t (a)",
            "CREATE INDEX async",
            "DROP INDEX async b",
        ] {
            assert!(!is_async(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn behind_call_the_procedure_is_called() {
        assert!(PROCEDURE.len() <= WAIT_FOR_JOB.len());
        for (marked, expected) in [
            ("«CALL sys.wait_for_job('j')", "CALL sys.await_job   ('j')"),
            (
                ";«call SYS . Wait_For_Job ($1)",
                ";call SYS . await_job    ($1)",
            ),
            (
                "/*c*/«CALL--c\nsys.wait_for_job(a)",
                "/*c*/CALL--c\nsys.await_job   (a)",
            ),
        ] {
            assert_eq!(overwritten(marked).as_deref(), Some(expected), "{marked}");
        }
        for marked in [
            "«CALL sys.wait_for_job",
            "«CALL wait_for_job('j')",
            "«CALL sys.wait_for_jobs('j')",
            "«CALL sys.\"wait_for_job\"('j')",
            "«CALL a.sys.wait_for_job('j')",
            "«CALL sys('j')",
            "SELECT «call sys.wait_for_job(1)",
            "SELECT «call, sys.wait_for_job(1)",
            "«call",
            "«call ",
        ] {
            assert_eq!(overwritten(marked), None, "{marked}");
        }
    }

    #[test]
    fn nothing_behind_the_end_is_looked_at() {
        for (text, word, len) in [
            ("CREATE INDEX ASYNC i ON t", 7, 5),
            ("CREATE INDEX/* c */ASYNC U&\"i\" ON t", 7, 5),
            ("CALL sys.wait_for_job('j')", 0, 4),
        ] {
            for end in 0..=text.len() {
                let part = &text.as_bytes()[..end];
                let hidden = part.get(word + len).copied().unwrap_or_default();
                let _ = (
                    find_async(part, word, hidden),
                    find_wait_for_job(part, word, hidden),
                );
                assert_eq!(find_async(part, end + 1, b' '), None);
                assert_eq!(find_wait_for_job(part, end + 1, b' '), None);
            }
        }
    }
}
