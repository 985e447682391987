//! Lets `AWS IAM GRANT` and `AWS IAM REVOKE` through the grammar of an unpatched server.
//!
//! **Why is this needed?** The grammar refuses `AWS` before any hook runs, and PostgreSQL has no
//! hook for its parser. What it has is `ScanKeywords`, the lexer's table of keywords, in which the
//! hash function is a pointer. The lexer calls it for every word it reads.
//!
//! **What is changed?** That one pointer, once, in the postmaster, before it serves anybody; the
//! page is writable just for that moment. No code is touched. Processes inherit it.
//!
//! **What does the replacement do?** Nothing, for every word but the three letters `aws`. For
//! those it looks whether `IAM` and `GRANT` or `REVOKE` follow. The lexer works on a copy of the
//! query that is its own and writable; in that copy the words that the grammar does not know are
//! overwritten by words that it does, byte for byte, so that every position stays what it was:
//!
//! ```text
//! AWS IAM GRANT  example TO   'arn:aws:iam::012345678912:role/example'
//! DO  LANGUAGE   example      'arn:aws:iam::012345678912:role/example'
//! ```
//!
//! The server's own grammar then reads the role and the ARN, in every notation it has, and finds
//! the errors, at their places, in its own words. The utility hook (`statement.rs`) sees `DO`,
//! finds `AWS IAM` in the query's text, which was never changed, and carries it out.
//!
//! **Can it meet valid SQL?** No: none has the words `AWS IAM GRANT` or `AWS IAM REVOKE` in a row.
//!
//! **Why may it read behind the word?** The lexer puts a NUL at the word's end and keeps the byte
//! that was there. Behind it the query goes on up to two NULs, so one byte after the word's NUL is
//! always there to be read. Others that ask for keywords (`quote_identifier`, say) hand over short
//! strings: reading stops at the first byte that does not fit, which is that one.
//!
//! **And the NUL that `DO` leaves where `aws` had a third letter?** It would end the text for
//! whoever counts its characters, to say where an error is. The lexer's next word is `LANGUAGE`;
//! with that call it is overwritten by a blank.
//!
//! **If it does not work?** The table is tried at load with a sample; if the sample does not come
//! out as it should, the pointer is put back, the log says so, and `sys.iam_grant` and
//! `sys.iam_revoke` are the way.

use crate::port::{KeywordHash, keyword_hash_slot};
use dsql_iam_core::statement::{Found, Words, after_aws};
use pgrx::{PgTryBuilder, pg_sys};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The server's own hash function.
static ORIGINAL: OnceLock<KeywordHash> = OnceLock::new();
/// Where the lexer reads on after a rewrite: the `LANGUAGE` of its buffer. Null most of the time.
static EXPECTED: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// The NUL to be overwritten when it gets there.
static GAP: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

const SAMPLE: &CStr = c"AWS IAM GRANT example TO 'arn'";

/// Installs the syntax and tries it. Called once, while the server starts.
///
/// # Errors
/// Why it cannot be had on this server; everything is then as it was.
pub fn install() -> Result<(), String> {
    let slot = keyword_hash_slot();
    // SAFETY: the server's table, read before anybody changes it.
    let original = *ORIGINAL.get_or_init(|| unsafe { *slot });
    set(slot, hash)?;
    if is_understood() {
        return Ok(());
    }
    set(slot, original)?;
    Err("the server's parser did not take a sample of it".into())
}

fn set(slot: *mut KeywordHash, function: KeywordHash) -> Result<(), String> {
    // SAFETY: one aligned pointer in the server's data, while it has one thread. The guard gives
    // the page back the protection that it had.
    unsafe {
        let _guard = region::protect_with_handle(
            slot,
            size_of::<KeywordHash>(),
            region::Protection::READ_WRITE,
        )
        .map_err(|error| format!("the keyword table cannot be made writable: {error}"))?;
        ptr::write_volatile(slot, function);
    }
    Ok(())
}

/// Whether the parser takes [`SAMPLE`] for the `DO` that it should become.
pub fn is_understood() -> bool {
    PgTryBuilder::new(|| {
        // SAFETY: parses a constant; the nodes are looked at and left to the memory context.
        unsafe {
            let list = pg_sys::raw_parser(SAMPLE.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
            let statements = pgrx::PgList::<pg_sys::RawStmt>::from_pg(list);
            let statement = statements.get_ptr(0).map(|raw| (*raw).stmt);
            statement.is_some_and(|node| {
                (*node).type_ == pg_sys::NodeTag::T_DoStmt
                    && crate::statement::role_and_arn(node.cast())
                        .is_some_and(|(role, arn)| role == c"example" && arn == c"arn")
            })
        }
    })
    .catch_others(|_| false)
    .execute()
}

/// Stands in for the server's own hash function.
unsafe extern "C-unwind" fn hash(word: *const c_void, len: usize) -> c_int {
    // Filled before this function can be called.
    let Some(original) = ORIGINAL.get() else {
        return -1;
    };
    let expected = EXPECTED.load(Ordering::Relaxed);
    if !expected.is_null() {
        EXPECTED.store(ptr::null_mut(), Ordering::Relaxed);
        let is_next_word = ptr::eq(expected.cast(), word) && len == LANGUAGE.len();
        // SAFETY: the same buffer, which the lexer is still reading.
        if is_next_word && unsafe { is(word.cast(), LANGUAGE) } {
            // SAFETY: as above; `GAP` is a few bytes before `word`.
            unsafe { *GAP.load(Ordering::Relaxed) = b' ' };
        }
    }
    // SAFETY: the string has `len` bytes.
    if len == AWS.len() && unsafe { is(word.cast(), AWS) } {
        // SAFETY: see the top of this file.
        let rewritten = catch_unwind(|| unsafe { rewrite(word.cast_mut().cast()) });
        if let Ok(Some(len)) = rewritten {
            // SAFETY: the server's own function; the word is `do` or `end` now.
            return unsafe { original(word, len) };
        }
    }
    // SAFETY: the server's own function with its own arguments.
    unsafe { original(word, len) }
}

const AWS: &[u8] = b"aws";
const DO: &[u8] = b"do";
const END: &[u8] = b"end";
const LANGUAGE: &[u8] = b"language";

/// Whether the bytes at `text` are `word`, in any case.
///
/// # Safety
/// `text` must have at least the length of `word`.
unsafe fn is(text: *const u8, word: &[u8]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(text, word.len()) }.eq_ignore_ascii_case(word)
}

/// Overwrites the statement that starts at `aws` if it is one of ours, and gives the length of the
/// keyword that it starts with now.
///
/// # Safety
/// `aws` must be the lexer's current word, or a string that ends after these three letters.
unsafe fn rewrite(aws: *mut u8) -> Option<usize> {
    // SAFETY: see the top of this file for why these bytes are there, and who owns them.
    unsafe {
        let text = aws.add(AWS.len() + 1);
        // Most often this is the end of it: the table or column somebody called aws.
        if !matches!(
            *text,
            b' ' | b'\t'..=b'\r' | b'-' | b'*' | b'/' | b'i' | b'I'
        ) {
            return None;
        }
        // A query can be very long, and hold very many such statements: so look at no more of it
        // than it takes.
        let mut limit = 256;
        let words = loop {
            let len = length_up_to(text.cast(), limit);
            match after_aws(std::slice::from_raw_parts(text, len), len < limit) {
                Found::Statement(words) => break words,
                Found::Other => return None,
                Found::NeedsMore => limit *= 2,
            }
        };
        let Words {
            iam_and_verb,
            role,
            preposition,
            stopped_at,
            ..
        } = words;
        if role.is_none() && starts_string(text.add(stopped_at)) {
            // A string where the role should be, which `LANGUAGE` would take. `END` does not, and
            // so the error is found where it is.
            ptr::copy_nonoverlapping(END.as_ptr(), aws, END.len());
            ptr::write_bytes(text.add(iam_and_verb.start), b' ', iam_and_verb.len());
            return Some(END.len());
        }
        let gap = aws.add(DO.len());
        ptr::copy_nonoverlapping(DO.as_ptr(), aws, DO.len());
        *gap = 0;
        let language = text.add(iam_and_verb.start);
        ptr::write_bytes(language, b' ', iam_and_verb.len());
        ptr::copy_nonoverlapping(LANGUAGE.as_ptr(), language, LANGUAGE.len());
        if let Some(preposition) = preposition {
            ptr::write_bytes(text.add(preposition.start), b' ', preposition.len());
        }
        GAP.store(gap, Ordering::Relaxed);
        EXPECTED.store(language, Ordering::Relaxed);
        Some(DO.len())
    }
}

/// Whether a string constant starts at `text`: `'…'`, `E'…'`, `U&'…'`, `$$…$$`.
///
/// # Safety
/// `text` must be a C string.
unsafe fn starts_string(text: *const u8) -> bool {
    // SAFETY: each byte is read only if the one before it is not the NUL.
    unsafe {
        match (*text).to_ascii_lowercase() {
            b'\'' => true,
            b'$' => !(*text.add(1)).is_ascii_digit(),
            b'e' => *text.add(1) == b'\'',
            b'u' => *text.add(1) == b'&' && *text.add(2) == b'\'',
            _ => false,
        }
    }
}

/// The length of the string at `text`, of which no more than `limit` bytes are looked at.
///
/// # Safety
/// `text` must be a C string.
unsafe fn length_up_to(text: *const c_char, limit: usize) -> usize {
    // SAFETY: stops at the string's NUL.
    unsafe { (0..limit).take_while(|at| *text.add(*at) != 0).count() }
}
