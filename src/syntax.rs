//! Lets `AWS IAM GRANT` and `AWS IAM REVOKE` through the grammar of an unpatched server.
//!
//! **Why is this needed?** The grammar refuses `AWS` before any hook runs, and PostgreSQL has no
//! hook for its parser. It has `ScanKeywords`, the lexer's table of keywords, in which the
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
//! **Can it meet valid SQL?** In one place the words `AWS IAM GRANT` follow each other in it, in
//! `CREATE SCHEMA … FROM aws iam GRANT SELECT ON …`; there they are left alone, since `ON` follows.
//! `dsql_iam_server::aws_iam` decides, in safe code, on the lexer's buffer as a slice.
//!
//! **And `CREATE INDEX ASYNC`?** Where `dsql_iam.async_indexes` is on, the same is done at the words `INDEX`
//! and `CALL`: `ASYNC` becomes blanks, and `CALL sys.wait_for_job` gets the procedure's name
//! (`dsql_iam_server::async_index`). `async_indexes.rs` makes the row that the statement returns.
//!
//! **Whose word is it?** The hash function is told the word and nothing else, and not only the lexer
//! calls it: `quote_identifier` asks about strings behind which anything may be left over. And the
//! lexer has put a NUL over the byte behind the word, by which `aws iam` and `aws, iam` differ. So
//! the lexer's own struct is looked up on the stack (`lexer.c`): it tells the buffer, its length, and
//! the byte. A caller without one is answered by the server's own function.
//!
//! **And the NUL that `DO` leaves where `aws` had a third letter?** It would end the text
//! where the server counts its characters, to say where an error is. The lexer's next word is `LANGUAGE`;
//! with that call it is overwritten by a blank.
//!
//! **If it does not work?** The table is tried at load with a sample; if the sample does not come
//! out as it should, the pointer is put back, the log says so, and `sys.iam_grant` and
//! `sys.iam_revoke` are the way.

use crate::port::{KeywordHash, Lexer, keyword_hash_slot};
use crate::{async_indexes, port};
use dsql_iam_server::async_index;
use dsql_iam_server::aws_iam::{Gap, close_gap, find, rewrite};
use pgrx::pg_sys;
use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The server's own hash function.
static ORIGINAL: OnceLock<KeywordHash> = OnceLock::new();
/// Where the lexer reads on after a rewrite: the `LANGUAGE` of its buffer. Null most of the time.
static EXPECTED: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The [`Gap`] to be closed when it gets there.
static GAP_AT: AtomicUsize = AtomicUsize::new(0);
static GAP_NEXT_WORD: AtomicUsize = AtomicUsize::new(0);

const SAMPLE: &CStr = c"AWS IAM GRANT example TO 'arn'";

/// Installs the syntax and tries it. Called once, while the server starts.
///
/// # Errors
/// Why it cannot be had on this server; everything is then as it was.
pub fn install() -> Result<(), String> {
    if !Lexer::prepare() {
        return Err("this system does not say which memory is readable".into());
    }
    let slot = keyword_hash_slot();
    // SAFETY: the server's table, read before anybody changes it.
    let original = *ORIGINAL.get_or_init(|| unsafe { *slot });
    set(slot, hash)?;
    if is_understood() {
        return Ok(());
    }
    set(slot, original)?;
    Err("the server's parser refused a sample statement".into())
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
    port::parses(SAMPLE, |node| {
        // SAFETY: a statement, as its tag tells.
        unsafe {
            (*node).type_ == pg_sys::NodeTag::T_DoStmt
                && crate::statement::role_and_arn(node.cast())
                    .is_some_and(|(role, arn)| role == c"example" && arn == c"arn")
        }
    })
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
        // After an error that ended the parse another buffer can be in the same place; so it is
        // looked at before it is written to.
        if ptr::eq(expected, word) {
            let _ = catch_unwind(|| close_last_gap(word, len));
        }
    }
    let len = match len {
        AWS_LEN => catch_unwind(|| rewrite_at(word)).ok().flatten(),
        INDEX_LEN | CALL_LEN if async_indexes::is_on() => {
            let _ = catch_unwind(|| overwrite_next(word, len));
            None
        }
        _ => None,
    }
    .unwrap_or(len);
    // SAFETY: the server's own function with its own word, or with `do` or `end` in its place.
    unsafe { original(word, len) }
}

/// The length of `AWS`.
const AWS_LEN: usize = 3;

/// The length of `INDEX`.
const INDEX_LEN: usize = 5;
/// The length of `CALL`.
const CALL_LEN: usize = 4;

/// Overwrites what follows the `INDEX` of a `CREATE INDEX ASYNC`, or the `CALL` of a
/// `CALL sys.wait_for_job`.
fn overwrite_next(word: *const c_void, len: usize) {
    let (keyword, next): (&[u8], _) = match len {
        INDEX_LEN => (b"index", b"as"),
        _ => (b"call", b"sy"),
    };
    // SAFETY: the hash function's own argument, a string of this length.
    let bytes = unsafe { std::slice::from_raw_parts(word.cast::<u8>(), len) };
    // SAFETY: the hash function's own argument.
    if !bytes.eq_ignore_ascii_case(keyword) || !unsafe { Lexer::may_find(word, len, next) } {
        return;
    }
    // SAFETY: the hash function's own arguments, within its call.
    let Some(mut lexer) = (unsafe { Lexer::at(word, len) }) else {
        return;
    };
    let (at, hidden) = (lexer.word, lexer.hidden);
    let find = match len {
        INDEX_LEN => async_index::find_async,
        _ => async_index::find_wait_for_job,
    };
    let Some(found) = find(lexer.buffer(), at, hidden).filter(|_| lexer.is_live()) else {
        return;
    };
    match len {
        INDEX_LEN => async_index::blank(lexer.buffer(), found),
        _ => async_index::rename(lexer.buffer(), found),
    }
}

/// Overwrites the statement that starts at a word of [`AWS_LEN`] if it is one of ours, and gives the
/// length of the keyword that it starts with now.
fn rewrite_at(word: *const c_void) -> Option<usize> {
    // SAFETY: the hash function's own argument, a string of this length.
    let bytes = unsafe { std::slice::from_raw_parts(word.cast::<u8>(), AWS_LEN) };
    // SAFETY: the hash function's own argument.
    if !bytes.eq_ignore_ascii_case(b"aws") || !unsafe { Lexer::may_find(word, AWS_LEN, b"ia") } {
        return None;
    }
    // SAFETY: the hash function's own arguments, within its call.
    let mut lexer = unsafe { Lexer::at(word, AWS_LEN) }?;
    let (aws, hidden) = (lexer.word, lexer.hidden);
    let words = find(lexer.buffer(), aws, hidden)?;
    if !lexer.is_live() {
        return None;
    }
    let rewritten = rewrite(lexer.buffer(), aws, &words);
    if let Some(gap) = rewritten.gap {
        GAP_AT.store(gap.at, Ordering::Relaxed);
        GAP_NEXT_WORD.store(gap.next_word, Ordering::Relaxed);
        let next_word = ptr::from_mut(&mut lexer.buffer()[gap.next_word]);
        EXPECTED.store(next_word.cast(), Ordering::Relaxed);
    }
    Some(rewritten.keyword_len)
}

/// Closes the gap that [`rewrite_at`] left, if the lexer is where it has to be.
fn close_last_gap(word: *const c_void, len: usize) {
    // SAFETY: the hash function's own arguments, within its call.
    if let Some(mut lexer) = unsafe { Lexer::at(word, len) } {
        let gap = Gap {
            at: GAP_AT.load(Ordering::Relaxed),
            next_word: GAP_NEXT_WORD.load(Ordering::Relaxed),
        };
        let word = lexer.word;
        close_gap(lexer.buffer(), gap, word);
    }
}
