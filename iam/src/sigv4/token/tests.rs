use super::*;

const TOKEN: &str = "test.dsql.us-east-1.on.aws/?Action=DbConnect\
    &X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request\
    &X-Amz-Date=20241107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
    &X-Amz-Security-Token=SESSION_TOKEN\
    &X-Amz-Signature=57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4";

fn refused(text: &str) -> Malformed {
    Token::parse(text)
        .err()
        .unwrap_or_else(|| panic!("accepted: {text}"))
}

#[test]
fn a_token_of_botocore() {
    let token = Token::parse(TOKEN).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(token.host, "test.dsql.us-east-1.on.aws");
    assert_eq!(token.action, Action::DbConnect);
    assert_eq!(token.credential.access_key_id, "ACCESS_KEY");
    assert_eq!(token.credential.scope.region, "us-east-1");
    assert_eq!(token.session_token(), Some("SESSION_TOKEN"));
    assert_eq!(token.expires, Duration::seconds(900));
    assert_eq!(crate::time::format_amz_date(token.signed_at), token.date);
}

#[test]
fn the_order_and_the_slash_do_not_matter() {
    let (host, query) = TOKEN.split_once("/?").unwrap();
    let mut pairs: Vec<&str> = query.split('&').collect();
    let expected = Token::parse(TOKEN).ok().unwrap().signed;
    for _ in 0..pairs.len() {
        pairs.rotate_left(1);
        let text = format!("{host}?{}", pairs.join("&"));
        let token = Token::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(token.signed, expected);
    }
}

#[test]
fn each_parameter_exactly_once_and_nothing_else() {
    let (host, query) = TOKEN.split_once("/?").unwrap();
    for pair in query.split('&') {
        let name = pair.split_once('=').unwrap().0;
        let name = PARAMETERS.iter().find(|known| **known == name).unwrap();
        let twice = format!("{TOKEN}&{pair}");
        assert_eq!(refused(&twice), Malformed::Twice(name));
        if *name != "X-Amz-Security-Token" {
            let rest: Vec<&str> = query.split('&').filter(|p| *p != pair).collect();
            let without = format!("{host}/?{}", rest.join("&"));
            assert_eq!(refused(&without), Malformed::Missing(name));
        }
    }
    for more in [
        "&",
        "&x=y",
        "&X-Amz-Date",
        "&x-amz-date=20241107T173933Z",
        "#x",
        " ",
    ] {
        assert!(Token::parse(&format!("{TOKEN}{more}")).is_err(), "{more}");
    }
}

#[test]
fn values_that_cannot_be() {
    for (from, to, fault) in [
        ("DbConnect&", "dbconnect&", Malformed::Value("Action")),
        ("DbConnect&", "&", Malformed::Value("Action")),
        ("SHA256", "SHA1", Malformed::Value("X-Amz-Algorithm")),
        ("%2Faws4_request", "", Malformed::Value("X-Amz-Credential")),
        (
            "%2Faws4",
            "%2F%2Faws4",
            Malformed::Value("X-Amz-Credential"),
        ),
        ("ACCESS_KEY%2F", "%2F", Malformed::Value("X-Amz-Credential")),
        (
            "ACCESS_KEY%2F",
            "ACCESS_KEY%2f",
            Malformed::Value("X-Amz-Credential"),
        ),
        (
            "ACCESS_KEY",
            "%41CCESS_KEY",
            Malformed::Value("X-Amz-Credential"),
        ),
        ("ACCESS_KEY", "%FF", Malformed::Value("X-Amz-Credential")),
        (
            "20241107T173933Z",
            "20241307T173933Z",
            Malformed::Value("X-Amz-Date"),
        ),
        (
            "20241107T173933Z",
            "20241107T173933",
            Malformed::Value("X-Amz-Date"),
        ),
        (
            "20241107T173933Z",
            "2024-11-07T17:39Z",
            Malformed::Value("X-Amz-Date"),
        ),
        (
            "Expires=900",
            "Expires=0",
            Malformed::Value("X-Amz-Expires"),
        ),
        ("Expires=900", "Expires=604801", Malformed::LifeTooLong),
        (
            "Expires=900",
            "Expires=-1",
            Malformed::Value("X-Amz-Expires"),
        ),
        (
            "Expires=900",
            "Expires=+900",
            Malformed::Value("X-Amz-Expires"),
        ),
        (
            "Expires=900",
            "Expires=0900",
            Malformed::Value("X-Amz-Expires"),
        ),
        ("Expires=900", "Expires=", Malformed::Value("X-Amz-Expires")),
        (
            "Headers=host",
            "Headers=host%3Bx",
            Malformed::Value("X-Amz-SignedHeaders"),
        ),
        ("=57fe", "=57FE", Malformed::Value("X-Amz-Signature")),
        ("=57fe", "=57f", Malformed::Value("X-Amz-Signature")),
        (
            "=SESSION_TOKEN",
            "=",
            Malformed::Value("X-Amz-Security-Token"),
        ),
        (
            "=SESSION_TOKEN",
            "=a+b",
            Malformed::Value("X-Amz-Security-Token"),
        ),
        (
            "=SESSION_TOKEN",
            "=%",
            Malformed::Value("X-Amz-Security-Token"),
        ),
        ("test.dsql", "te st", Malformed::Host),
        ("test.dsql.us-east-1.on.aws/", "/", Malformed::Host),
        ("on.aws/", "on.aws/x/", Malformed::Host),
    ] {
        assert!(TOKEN.contains(from), "{from}");
        assert_eq!(
            refused(&TOKEN.replacen(from, to, 1)),
            fault,
            "{from} -> {to}"
        );
    }
}

/// They are written into the log and into a HINT before it is known who signed.
#[test]
fn a_scope_and_a_host_are_short_and_printable() {
    let scope = "20241107%2Fus-east-1%2Fdsql%2Faws4_request";
    let parts: Vec<&str> = scope.split("%2F").collect();
    let with = |at: usize, part: &str| {
        let mut parts = parts.clone();
        parts[at] = part;
        TOKEN.replacen(scope, &parts.join("%2F"), 1)
    };
    for at in 0..parts.len() {
        assert!(Token::parse(&with(at, &"a".repeat(64))).is_ok());
        for part in [
            &"a".repeat(65),
            &"a".repeat(60_000),
            "%1B%5B2J",
            "us%20east",
            "a%0Ab",
            "a%00",
            "a%7F",
            "%C2%9B2J",
            "%C3%A9",
        ] {
            let fault = Malformed::Value("X-Amz-Credential");
            assert_eq!(refused(&with(at, part)), fault, "{at} {part}");
        }
    }
    let host = "test.dsql.us-east-1.on.aws";
    let with = |host_of: &str| TOKEN.replacen(host, host_of, 1);
    assert!(Token::parse(&with(&"a".repeat(255))).is_ok());
    for host in [
        &"a".repeat(256),
        &"a".repeat(60_000),
        "a%1B",
        "a\u{1b}[2J",
        "é",
    ] {
        assert_eq!(refused(&with(host)), Malformed::Host, "{host}");
    }
}

#[test]
fn no_token_at_all() {
    assert_eq!(refused(""), Malformed::NoUrl);
    assert_eq!(refused("secret"), Malformed::NoUrl);
    assert_eq!(refused("?"), Malformed::Host);
    assert_eq!(refused(&"a".repeat(MAX_TOKEN + 1)), Malformed::TooLong);
}

#[test]
fn the_longest_life_is_a_week() {
    assert!(Token::parse(&TOKEN.replace("=900", "=604800")).is_ok());
    assert!(Token::parse(&TOKEN.replace("=900", "=1")).is_ok());
}

/// Published by botocore (`tests/unit/test_signers.py`) and smithy-rs (`dsql_auth_token.rs`).
const VECTORS: [(&str, &str, &str); 4] = [
    (
        "SECRET_KEY",
        "test.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=SESSION_TOKEN&X-Amz-Signature=",
        "57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4",
    ),
    (
        "SECRET_KEY",
        "test.dsql.us-east-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241107T173933Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=SESSION_TOKEN&X-Amz-Signature=",
        "5ac084bc7cabccc19a52a5d1b5c24b50d3ce143f43b659bd484c91aaf555e190",
    ),
    (
        "secret",
        "peccy.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=",
        "f5f2ad764ca5df44045d4ab6ccecba0eef941b0007e5765885a0b6ed3702a3f8",
    ),
    (
        "secret",
        "peccy.dsql.us-east-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20240827T000000Z&X-Amz-Expires=450&X-Amz-SignedHeaders=host&X-Amz-Signature=",
        "267cf8d04d84444f7a62d5bdb40c44bfc6cb13dd6c64fa7f772df6bbaa90fff1",
    ),
];

#[test]
fn the_published_vectors() {
    for (secret, url, signature) in VECTORS {
        let text = format!("{url}{signature}");
        let token = Token::parse(&text).unwrap_or_else(|e| panic!("{e}: {url}"));
        assert!(token.is_signed_with(secret), "{url}");
        assert!(!token.is_signed_with("another"), "{url}");
    }
}

#[test]
fn no_other_byte_anywhere_makes_a_valid_token() {
    let (secret, url, signature) = VECTORS[0];
    let text = format!("{url}{signature}");
    let mut tried = 0;
    for at in 0..text.len() {
        for byte in 0..=255u8 {
            let mut changed = text.clone().into_bytes();
            if changed[at] == byte {
                continue;
            }
            changed[at] = byte;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let accepted = Token::parse(&changed).is_ok_and(|token| {
                // The scope's date is the caller's to compare; see `login`.
                token.credential.scope.date == token.date[..8] && token.is_signed_with(secret)
            });
            assert!(!accepted, "byte {at} as {byte}: {changed}");
            tried += 1;
        }
    }
    assert!(tried > text.len() * 100);
}

#[test]
fn secrets_in_passing_a_signature_that_was_cut_off_is_replaced_and_no_other() {
    let head = "db.test/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
        AKIAIOSFODNN7EXAMPLE%2F20241125%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241125T000000Z&X-Amz-Expires=900";
    let (headers, name) = ("&X-Amz-SignedHeaders=host", "&X-Amz-Signature");
    let nobodys = "0".repeat(64);
    let whole = format!("{head}{headers}{name}={nobodys}");
    for cut in [
        format!("{head}{headers}"),
        format!("{head}{headers}&"),
        format!("{head}{headers}{name}"),
        format!("{head}{headers}{name}="),
        format!("{head}{headers}{name}=0123abc"),
        format!("{head}{headers}{name}={}", "f".repeat(63)),
    ] {
        assert_eq!(with_a_signature(&cut).as_ref(), Some(&whole), "{cut}");
        assert_eq!(access_key_id(&cut), "AKIAIOSFODNN7EXAMPLE", "{cut}");
    }
    let in_between = format!("{head}{name}={nobodys}{headers}");
    let cut = format!("{head}{name}={headers}");
    assert_eq!(with_a_signature(&cut), Some(in_between.clone()));
    for other in [
        whole,
        in_between,
        format!("{head}{headers}{name}={}", "f".repeat(65)),
        format!("{head}{headers}{name}=secret"),
        format!("{head}{name}=0123abc{headers}"),
        format!("{head}{headers}{name}={name}="),
        head.to_owned(),
        "hunter2".to_owned(),
        "?".to_owned(),
        String::new(),
    ] {
        assert_eq!(with_a_signature(&other), None, "{other}");
    }
}
