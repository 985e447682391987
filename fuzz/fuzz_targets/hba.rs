//! The user's lines in the library's hba file: nothing is lost, and a name that was made absolute stays as it
//! is.
#![no_main]

use dsql_iam_server::hba::{copied, own_lines};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

const USERS_FILE: &str = "/etc/my conf/pg_hba.conf";
const FOLDER: &[u8] = b"/etc/my conf/";

fuzz_target!(|lines: &[u8]| {
    let users_file = Path::new(USERS_FILE);
    let once = copied(lines, users_file).expect("the folder can be quoted");
    let once = once
        .strip_suffix(b"\n")
        .expect("a line break is put behind");
    let twice = copied(once, users_file).expect("the folder can be quoted");
    assert_eq!(twice.strip_suffix(b"\n"), Some(once));

    // Without what was put in, what is left are the bytes that were there.
    let mut rest = lines;
    let mut out = once;
    while let [byte, behind @ ..] = out {
        if rest.first() == Some(byte) {
            (rest, out) = (&rest[1..], behind);
            continue;
        }
        // `"FOLDER"` before a bare name; FOLDER alone behind the quote of a quoted one.
        let quoted = out.strip_prefix(b"\"").unwrap_or(out);
        let behind = quoted
            .strip_prefix(FOLDER)
            .expect("only the folder is put in");
        out = if quoted.len() == out.len() {
            behind
        } else {
            behind.strip_prefix(b"\"").expect("the quote is closed")
        };
    }
    assert!(rest.is_empty());

    // A role that is written is one line, which is for it and nobody else.
    let role = String::from_utf8_lossy(lines).into_owned();
    if let Ok(text) = own_lines(&[role.clone()], users_file) {
        let expected = format!("host all \"{role}\" all scram-sha-256");
        assert_eq!(text.lines().nth(2), Some(&*expected));
        assert_eq!(text.lines().count(), 5);
    }
});
