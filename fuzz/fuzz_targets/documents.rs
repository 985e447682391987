//! The loader of IAM documents: several of them, a NUL in between, and what was loaded last.
#![no_main]

use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::documents::{merge, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(snapshot) = Snapshot::from_bytes(data) {
        let _ = snapshot.identities();
        let bytes = snapshot.to_bytes();
        let again = Snapshot::from_bytes(&bytes).expect("what was written can be read");
        assert_eq!(again.to_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut documents = Vec::new();
    for part in text.split('\0') {
        match parse(part) {
            Ok(document) => documents.push(("name.json", document)),
            // A message can quote a name; it does not quote a whole document.
            Err(fault) => {
                let _ = fault.to_string();
            }
        }
    }
    let Ok(identities) = merge(documents) else {
        return;
    };
    let (users, roles, keys) = identities.counts();
    assert!(users + roles + keys <= text.len());
    for arn in text.split('"').filter(|part| part.starts_with("arn:")) {
        if let Some(principal) = identities.principal(arn) {
            assert_eq!(principal.arn, arn);
            let _ = identities.policies(principal, None);
        }
    }
});
