//! The token parser: whatever is taken is the only text that says the same.
#![no_main]

use dsql_iam_core::{Cluster, ConnectionFacts, Identities, LoginEnvironment, format_amz_date, judge};
use dsql_iam_core::sigv4::Token;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use time::UtcDateTime;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::new(
        "012345678912",
        "us-east-1",
        "abcdefghijklmnopqrstuvwxyz",
        "",
    )
    .expect("a cluster as any other")
});

/// As Signature Version 4 writes a value.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fuzz_target!(|text: &str| {
    let nobody = Identities::default();
    let environment = LoginEnvironment {
        now: UtcDateTime::from_unix_timestamp(1_731_001_200).expect("November 2024"),
        cluster: &CLUSTER,
        identities: &nobody,
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    };
    for role in ["admin", "example"] {
        let outcome = judge(text, role, &environment).outcome;
        let refused = outcome.expect_err("nobody has an access key");
        assert!(refused.caller.is_none());
        let reason = refused.denial.to_string();
        assert!(!reason.contains(&"x".repeat(4096)));
    }

    let Ok(token) = Token::parse(text) else {
        return;
    };
    assert_eq!(format_amz_date(token.signed_at), token.date);
    assert!(!token.credential.access_key_id.is_empty());
    assert!(!token.credential.scope.terminator.is_empty());
    // The text can be made again from what was read, but for the order and the slash.
    let mut again: Vec<String> = token
        .signed_parameters()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    again.push(format!("X-Amz-Signature={}", token.signature()));
    let (before, query) = text.split_once('?').expect("a token has a query");
    let mut written: Vec<&str> = query.split('&').collect();
    again.sort_unstable();
    written.sort_unstable();
    assert_eq!(again, written);
    assert_eq!(before.strip_suffix('/').unwrap_or(before), token.host);
});
