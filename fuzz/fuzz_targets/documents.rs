//! The loader of IAM documents: several of them, a NUL in between, and what is left of them for others.
#![no_main]

use dsql_iam_core::{Identities, excerpts};
use dsql_iam_core::documents::{merge, parse};
use libfuzzer_sys::fuzz_target;
use std::io;

fuzz_target!(|data: &[u8]| {
    // As bytes of what one process leaves for the others.
    let _ = excerpt(data, "AKIAIOSFODNN7EXAMPLE");
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for part in text.split('\0') {
        match parse(part) {
            Ok(document) => {
                documents.push(("name.json", document));
                texts.push(("name.json", part));
            }
            // A message can quote a name; it does not quote a whole document.
            Err(fault) => {
                let _ = fault.to_string();
            }
        }
    }
    let Ok(identities) = merge(documents) else {
        return;
    };
    let counts = identities.counts();
    assert!(counts.users + counts.roles + counts.access_keys <= text.len());
    for arn in text.split('"').filter(|part| part.starts_with("arn:")) {
        if let Some(principal) = identities.principal(arn) {
            assert_eq!(principal.arn, arn);
            let _ = identities.policies(principal, None);
        }
    }
    let bytes = excerpts::write(texts, &identities).expect("what was merged can be written");
    for id in text.split('"').take(200) {
        let part = excerpt(&bytes, id).expect("what was written can be read");
        match (identities.access_key(id), part.access_key(id)) {
            (Some(whole), Some(part)) => assert!(whole == part),
            (None, None) => {}
            _ => panic!("an access key is not in both"),
        }
    }
});

fn excerpt(bytes: &[u8], id: &str) -> io::Result<Identities> {
    excerpts::read(id, |offset, len| {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(part.to_vec())
    })
}
