use super::*;
use crate::documents;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use time::macros::utc_datetime;

const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:00:00);
const URL: &str = "oidc.example.com/id/A";
const ROLE: &str = "arn:aws:iam::012345678912:role/x/App";
const PROVIDER: &str = "arn:aws:iam::012345678912:oidc-provider/oidc.example.com/id/A";
const SIGNATURE: &[u8] = b"a signature";

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn claims() -> Value {
    let now = NOW.unix_timestamp();
    json!({"iss": format!("https://{URL}"), "sub": "me", "aud": "sts.amazonaws.com", "iat": now, "exp": now + 60})
}

fn token(claims: &Value) -> String {
    let header = json!({"alg": "RS256", "kid": "one"}).to_string();
    let claims = encoded(claims.to_string().as_bytes());
    let signature = encoded(SIGNATURE);
    format!("{}.{claims}.{signature}", encoded(header.as_bytes()))
}

fn rsa_key(id: &str) -> Value {
    let modulus = [&[0xc1][..], &[0x5a; 255]].concat();
    let modulus = encoded(&[&modulus[..255], &[1]].concat());
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": modulus, "e": "AQAB", "x5c": ["x"]})
}

fn keys(keys: &[Value]) -> Value {
    json!({"issuer": format!("https://{URL}"), "keys": keys})
}

fn provider() -> Value {
    json!({"Url": URL, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": [], "CreateDate": "x"})
}

fn account(number: &str, statements: &Value) -> Value {
    json!({"RoleDetailList": [{"RoleName": "App", "RoleId": "AROAAPP",
        "Arn": format!("arn:aws:iam::{number}:role/x/App"),
        "AssumeRolePolicyDocument": {"Statement": statements}}]})
}

fn allowing() -> Value {
    json!({"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRoleWithWebIdentity"})
}

fn load(all: &[Value]) -> Identities {
    let parsed = all.iter().map(|document| {
        let parsed = documents::parse(&document.to_string());
        ("d", parsed.unwrap_or_else(|fault| panic!("{fault}")))
    });
    documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

fn with_trust(statements: &Value) -> Identities {
    let account = account("012345678912", statements);
    load(&[account, provider(), keys(&[rsa_key("one"), rsa_key("two")])])
}

fn ask(identities: &Identities, token: String) -> Result<FederatedGrant, StsError> {
    let environment = StsEnvironment {
        now: NOW,
        identities,
        stored: None,
        region: "",
        connection: crate::ConnectionFacts {
            source_ip: None,
            is_tls: false,
        },
    };
    let request = AssumeRoleWithWebIdentity {
        role: AssumeRole {
            role_arn: ROLE.into(),
            role_session_name: "me".into(),
            ..AssumeRole::default()
        },
        token,
    };
    let signed = request
        .token
        .rsplit_once('.')
        .map(|(signed, _)| signed.to_owned());
    assume_role_with_web_identity(
        &request,
        &environment,
        |algorithm, key, bytes, signature| {
            assert_eq!(algorithm, Algorithm::Rs256);
            assert!(matches!(key, PublicKey::Rsa { exponent, .. } if exponent == &[1, 0, 1]));
            assert_eq!(bytes, signed.as_ref().unwrap().as_bytes());
            signature == SIGNATURE
        },
    )
}

fn outcome(identities: &Identities, token: String) -> String {
    match ask(identities, token) {
        Ok(granted) => granted.grant.arn,
        Err(fault) => format!("{fault}: {}", fault.reason.clone().unwrap_or_default()),
    }
}

const SESSION: &str = "arn:aws:sts::012345678912:assumed-role/App/me";

#[test]
fn a_session_with_what_is_known_of_it() {
    let identities = with_trust(&allowing());
    let granted = ask(&identities, token(&claims())).unwrap();
    assert_eq!(granted.provider, PROVIDER);
    assert_eq!(
        (granted.subject.as_str(), granted.audience.as_str()),
        ("me", "sts.amazonaws.com")
    );
    assert_eq!(granted.grant.arn, SESSION);
    assert_eq!(
        granted.grant.session_of,
        SessionOf::Role {
            assumed_role_id: Some("AROAAPP:me".into())
        }
    );
    assert_eq!(granted.grant.expiration, utc_datetime!(2026-01-01 13:00:00));
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    let identities = with_trust(&allowing());
    let now = NOW.unix_timestamp();
    for (name, value, is_accepted) in [
        ("exp", json!(now - 299), true),
        ("exp", json!(now - 300), false),
        ("exp", json!(now as f64 + 0.5), true),
        ("exp", json!(1e30), false),
        ("exp", json!(-1), false),
        ("exp", json!((now + 60).to_string()), false),
        ("exp", json!(null), false),
        ("iat", json!(now + 300), true),
        ("iat", json!(now + 301), false),
        ("nbf", json!(now + 300), true),
        ("nbf", json!(now + 301), false),
        ("nbf", json!(null), false),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let said = ask(&identities, token(&claims));
        assert_eq!(said.is_ok(), is_accepted, "{name} {value}");
    }
}

#[test]
fn the_audience_is_one_of_the_providers() {
    let identities = with_trust(&allowing());
    let ours = "sts.amazonaws.com";
    for (audience, party, is_accepted) in [
        (json!(ours), json!(ours), true),
        (json!([ours]), json!("-"), true),
        (json!("other"), json!(ours), true),
        (json!(["other", "more"]), json!(ours), true),
        (json!(ours), json!("other"), false),
        (json!([ours, "other"]), json!("-"), false),
        (json!([]), json!(ours), false),
        (json!(""), json!("-"), false),
        (json!("STS.amazonaws.com"), json!("-"), false),
        (json!({"a": ours}), json!("-"), false),
        (json!([ours, 1]), json!(ours), false),
        (json!(ours), json!([ours]), false),
        (json!(ours), json!(null), false),
    ] {
        let mut claims = claims();
        claims["aud"] = audience.clone();
        if party != json!("-") {
            claims["azp"] = party.clone();
        }
        let said = ask(&identities, token(&claims));
        assert_eq!(said.is_ok(), is_accepted, "{audience} {party}");
    }
}

#[test]
fn an_allow_names_the_provider_and_every_deny_counts() {
    let with = |name: &str, value: Value| {
        let mut statement = allowing();
        statement[name] = value;
        statement
    };
    let deny = |principal: Value| json!([allowing(), {"Effect": "Deny", "Action": "sts:*", "Principal": principal}]);
    let about = |key: &str, value: &str| {
        with(
            "Condition",
            json!({"StringEquals": {format!("{URL}:{key}"): value}}),
        )
    };
    for (trust, is_allowed) in [
        (allowing(), true),
        (with("Action", json!("sts:*")), true),
        (with("Action", json!("sts:AssumeRole")), false),
        (with("Principal", json!("*")), false),
        (with("Principal", json!({"AWS": "*"})), false),
        (with("Principal", json!({"AWS": "012345678912"})), false),
        (with("Principal", json!({"AWS": PROVIDER})), false),
        (with("Principal", json!({"Service": URL})), false),
        (with("Principal", json!({"Federated": "*"})), false),
        (with("Principal", json!({"Federated": URL})), false),
        (
            with("Principal", json!({"Federated": PROVIDER.to_uppercase()})),
            false,
        ),
        (
            with("Principal", json!({"Federated": format!("{PROVIDER}/")})),
            false,
        ),
        (deny(json!({"Federated": PROVIDER})), false),
        (deny(json!("*")), false),
        (deny(json!({"AWS": "*"})), false),
        (deny(json!({"AWS": "012345678912"})), false),
        (
            deny(json!({"AWS": "arn:aws:iam::012345678912:user/alice"})),
            true,
        ),
        (deny(json!({"Federated": "accounts.google.com"})), true),
        (about("aud", "sts.amazonaws.com"), true),
        (about("AUD", "sts.amazonaws.com"), true),
        (about("sub", "me"), true),
        (about("sub", "you"), false),
        (about("email", "me"), false),
        // A claim without a condition key here could be the one that it denies by.
        (
            with(
                "Condition",
                json!({"StringNotEquals": {format!("{URL}:team"): "x"}}),
            ),
            false,
        ),
        // No user or session asks, and no region is named.
        (
            with(
                "Condition",
                json!({"StringEquals": {"aws:PrincipalAccount": "012345678912"}}),
            ),
            false,
        ),
        (
            with(
                "Condition",
                json!({"StringEquals": {"aws:RequestedRegion": ""}}),
            ),
            false,
        ),
        (
            with(
                "Condition",
                json!({"StringEquals": {"sts:RoleSessionName": "me"}}),
            ),
            true,
        ),
        (
            with("Condition", json!({"StringEquals": {"aws:username": "me"}})),
            false,
        ),
    ] {
        let identities = with_trust(&trust);
        let said = outcome(&identities, token(&claims()));
        let expected = match is_allowed {
            true => said == SESSION,
            false => said.starts_with(
                "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity: me of ",
            ),
        };
        assert!(expected, "{trust}: {said}");
    }
}

#[test]
fn no_document_says_what_a_token_does_not() {
    let mut trust = allowing();
    trust["Condition"] = json!({"StringEquals": {format!("{URL}:email"): "me@example.com"}});
    let entries = json!({"ContextEntries": [{"ContextKeyName": format!("{URL}:email"),
        "ContextKeyValues": ["me@example.com"], "ContextKeyType": "string"}]});
    let account = account("012345678912", &trust);
    let identities = load(&[account, provider(), keys(&[rsa_key("one")]), entries]);
    assert!(outcome(&identities, token(&claims())).starts_with("AccessDenied"));
    let mut with_email = claims();
    with_email["email"] = json!("me@example.com");
    assert_eq!(outcome(&identities, token(&with_email)), SESSION);
}

#[test]
fn a_provider_is_one_of_the_roles_account() {
    let ours = account("012345678912", &allowing());
    let theirs = account("210987654321", &allowing());
    let keys = keys(&[rsa_key("one")]);
    let of = |number: &str| {
        let mut provider = provider();
        provider["AccountId"] = json!(number);
        provider
    };
    for (documents, is_found) in [
        (vec![ours.clone(), provider(), keys.clone()], true),
        (vec![ours.clone(), of("012345678912"), keys.clone()], true),
        (vec![ours.clone(), of("210987654321"), keys.clone()], false),
        // Whose it is cannot be told.
        (
            vec![ours.clone(), theirs.clone(), provider(), keys.clone()],
            false,
        ),
        (
            vec![
                ours.clone(),
                theirs.clone(),
                of("012345678912"),
                keys.clone(),
            ],
            true,
        ),
        (
            vec![
                ours.clone(),
                theirs.clone(),
                of("210987654321"),
                of("012345678912"),
                keys.clone(),
            ],
            true,
        ),
        (vec![ours.clone(), keys.clone()], false),
        (vec![ours.clone(), provider()], false),
    ] {
        let said = outcome(&load(&documents), token(&claims()));
        let expected = if is_found {
            SESSION
        } else {
            "InvalidIdentityToken: "
        };
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn which_key_verifies() {
    let identities = with_trust(&allowing());
    let with = |header: Value, signature: &[u8]| {
        let claims = encoded(claims().to_string().as_bytes());
        let header = encoded(header.to_string().as_bytes());
        outcome(
            &identities,
            format!("{header}.{claims}.{}", encoded(signature)),
        )
    };
    for (header, expected) in [
        (json!({"alg": "RS256", "kid": "two"}), SESSION),
        (
            json!({"alg": "RS256", "kid": "three"}),
            "has no key with the kid three",
        ),
        (json!({"alg": "RS256"}), "has no kid"),
        (json!({"alg": "RS256", "kid": ""}), "its kid is invalid"),
        (
            json!({"alg": "RS256", "kid": ["one"]}),
            "its kid is invalid",
        ),
        (json!({"alg": "RS256", "kid": null}), "its kid is invalid"),
        (json!({"alg": "RS384", "kid": "one"}), "not that of the key"),
        (json!({"alg": "ES256", "kid": "one"}), "not that of the key"),
        (json!({"alg": "none", "kid": "one"}), "its alg is none of"),
        (json!({"alg": "None"}), "its alg is none of"),
        (json!({"alg": "HS256", "kid": "one"}), "its alg is none of"),
        (json!({"alg": "rs256", "kid": "one"}), "its alg is none of"),
        (json!({"alg": "PS256", "kid": "one"}), "its alg is none of"),
        (json!({"alg": ["RS256"]}), "its alg is invalid"),
        (json!({"kid": "one"}), "its alg is none of"),
        (json!({"alg": "RS256", "kid": "one", "crit": []}), "crit"),
    ] {
        let said = with(header.clone(), SIGNATURE);
        assert!(said.contains(expected), "{header}: {said}");
    }
    assert!(with(json!({"alg": "RS256", "kid": "one"}), b"").contains("the signature is not one"));
    // The only key needs no name; another name is not its.
    let account = account("012345678912", &allowing());
    let identities = load(&[account, provider(), keys(&[rsa_key("one")])]);
    let claims = encoded(claims().to_string().as_bytes());
    let header = encoded(br#"{"alg":"RS256"}"#);
    let said = outcome(
        &identities,
        format!("{header}.{claims}.{}", encoded(SIGNATURE)),
    );
    assert_eq!(said, SESSION);
}

#[test]
fn what_is_no_token() {
    let identities = with_trust(&allowing());
    let good = token(&claims());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let json = |text: &str| encoded(text.as_bytes());
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for bad in [
        String::new(),
        "..".into(),
        format!("{header}.{body}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}.{body}=.{signature}"),
        format!("{header}.{}+.{signature}", &body[1..]),
        format!("{}.{body}.{signature}", json("[]")),
        format!("{}.{body}.{signature}", json("{}")),
        format!(
            "{}.{body}.{signature}",
            json(r#"{"alg":"RS256","kid":"one","kid":"one"}"#)
        ),
        format!(
            "{}.{body}.{signature}",
            json(r#"{"alg":"RS256","kid":"one","alg":"RS256"}"#)
        ),
        format!(
            "{}.{body}.{signature}",
            json(r#"{"alg":"RS256","kid":"one"} {}"#)
        ),
        format!("{header}.{}.{signature}", json(&deep)),
        format!("{header}.{}.{signature}", json("null")),
        format!("{header}.{}.{signature}", encoded(b"{\"iss\": \"\xff\"}")),
        "é.é.é".into(),
        "a".repeat(20_001),
    ] {
        let said = outcome(&identities, bad.clone());
        let words = "InvalidIdentityToken: The ID Token provided is not a valid JWT.";
        assert!(said.starts_with(words), "{bad}: {said}");
        assert!(bad.len() < 20 || !said.contains(&bad));
    }
    for (name, value) in [
        ("iss", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("s".repeat(3000))),
        ("amr", json!([["a"]])),
        ("email", json!(true)),
        ("https://aws.amazon.com/tags", json!("a")),
        ("https://aws.amazon.com/tags", json!({"principal_tag": {}})),
        (
            "https://aws.amazon.com/tags",
            json!({"principal_tags": {"a": ["b", "c"]}}),
        ),
        ("https://aws.amazon.com/tags/principal_tags/a", json!(7)),
        ("https://aws.amazon.com/tags/transitive_tag_keys", json!({})),
        ("https://aws.amazon.com/source_identity", json!("")),
        ("https://aws.amazon.com/roles", json!("x")),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert!(
            outcome(&identities, token(&claims)).contains("not a valid JWT"),
            "{name}"
        );
    }
    // Twice, at whatever depth, and written in another way.
    for twice in [
        r#""sub":"you""#,
        r#""s\u0075b":"you""#,
        r#""more":{"a":1,"b":[{"c":1,"c":2}]}"#,
    ] {
        let text = claims().to_string();
        let text = format!("{},{twice}}}", &text[..text.len() - 1]);
        let bad = format!("{header}.{}.{signature}", json(&text));
        assert!(
            outcome(&identities, bad).contains("has a duplicate member"),
            "{twice}"
        );
    }
}

#[test]
fn documents_that_are_none() {
    let with = |name: &str, value: Value| {
        let mut key = rsa_key("one");
        key[name] = value;
        keys(&[key])
    };
    let without_issuer = json!({"keys": [rsa_key("one")]});
    let zeros = |length: usize| json!(encoded(&vec![0; length]));
    let point = |x: usize, y: usize| {
        keys(&[json!({"kty": "EC", "crv": "P-256", "x": zeros(x), "y": zeros(y)})])
    };
    for (document, fault) in [
        (
            without_issuer,
            "without its issuer: add the member \"issuer\"",
        ),
        (
            json!({"issuer": "http://a", "keys": [rsa_key("one")]}),
            "has to start with https://",
        ),
        (
            json!({"issuer": "https://", "keys": [rsa_key("one")]}),
            "invalid URL of the identity provider",
        ),
        (
            json!({"issuer": "https://a b", "keys": []}),
            "invalid URL of the identity provider",
        ),
        (keys(&[]), "there is no key for RS256"),
        (
            keys(&[rsa_key("one"), rsa_key("one")]),
            "key 2 of keys has the kid of another one",
        ),
        (
            with("d", json!("AQAB")),
            "key 1 of keys is not a public key",
        ),
        (
            keys(&[json!({"kty": "oct", "k": "c2VjcmV0"})]),
            "key 1 of keys is not a public key",
        ),
        (with("n", json!("AQAB")), "has no n of 2,048 to 8,192 bits"),
        (with("n", zeros(256)), "has no n of 2,048 to 8,192 bits"),
        (with("n", json!("!")), "has an n that is not in base64url"),
        (with("e", json!("AQ")), "has an invalid e"),
        (with("e", json!("BA")), "has an invalid e"),
        (
            with("alg", json!("ES256")),
            "has an alg that its kty or crv does not fit",
        ),
        (with("alg", json!("HS256")), "there is no key for RS256"),
        (with("use", json!("enc")), "there is no key for RS256"),
        (
            with("key_ops", json!(["encrypt"])),
            "there is no key for RS256",
        ),
        (with("kty", json!("OKP")), "there is no key for RS256"),
        (with("kid", json!(null)), "a member is null"),
        (point(31, 32), "another length than its curve's"),
        (point(32, 33), "another length than its curve's"),
        (
            json!({"keys": [], "ClientIDList": []}),
            "more than one command",
        ),
        (
            json!({"Url": "https://a", "ClientIDList": []}),
            "Url has a scheme",
        ),
        (
            json!({"Url": "", "ClientIDList": []}),
            "invalid URL of the identity provider",
        ),
        (
            json!({"Url": "aws", "ClientIDList": []}),
            "invalid URL of the identity provider",
        ),
        (
            json!({"Url": "a.b?c", "ClientIDList": []}),
            "invalid URL of the identity provider",
        ),
        (
            json!({"Url": "a.b", "ClientIDList": [""]}),
            "ClientIDList has an empty entry",
        ),
        (
            json!({"Url": "a.b", "ClientIDList": "x"}),
            "invalid type: string",
        ),
        (json!({"ClientIDList": []}), "missing field `Url`"),
        (
            json!({"Url": "a.b", "ClientIDList": [], "AccountId": "1"}),
            "AccountId must be twelve digits",
        ),
    ] {
        let said = documents::parse(&document.to_string()).err();
        let said = said.unwrap_or_else(|| panic!("{document}")).to_string();
        assert!(said.contains(fault), "{document}: {said}");
    }
    for (both, fault) in [
        (
            [keys(&[rsa_key("one")]), keys(&[rsa_key("two")])],
            "duplicate keys of https://oidc.example.com/id/A",
        ),
        (
            [provider(), provider()],
            "duplicate identity provider oidc.example.com/id/A",
        ),
    ] {
        let parsed = both
            .iter()
            .map(|one| ("d", documents::parse(&one.to_string()).unwrap()));
        let Err((_, said)) = documents::merge(parsed) else {
            panic!("{fault}")
        };
        assert!(said.to_string().starts_with(fault), "{said}");
    }
}

#[test]
fn tags_and_a_source_identity_need_actions_of_their_own() {
    let allowing = |actions: &[&str], condition: Value| {
        let mut statement = allowing();
        statement["Action"] = json!(actions);
        statement["Condition"] = condition;
        with_trust(&json!([statement]))
    };
    let all = [
        "sts:AssumeRoleWithWebIdentity",
        "sts:TagSession",
        "sts:SetSourceIdentity",
    ];
    let tags = [
        json!({"https://aws.amazon.com/tags": {"principal_tags": {"team": ["blue"], "empty": [""]},
            "transitive_tag_keys": ["team"]}}),
        json!({"https://aws.amazon.com/tags/principal_tags/team": "blue",
            "https://aws.amazon.com/tags/principal_tags/empty": [""],
            "https://aws.amazon.com/tags/transitive_tag_keys": ["team"]}),
    ];
    let with = |more: &[&Value]| {
        let mut claims = claims();
        for (name, value) in more.iter().flat_map(|one| one.as_object().unwrap()) {
            claims[name] = value.clone();
        }
        token(&claims)
    };
    let identity = json!({"https://aws.amazon.com/source_identity": "me@example.com"});
    let condition = json!({"StringEquals": {"aws:RequestTag/team": "blue", "sts:SourceIdentity": "me@example.com"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "empty"], "sts:TransitiveTagKeys": "team"}});
    for tags in &tags {
        let granted = ask(&allowing(&all, condition.clone()), with(&[tags, &identity]))
            .unwrap()
            .grant;
        assert_eq!(granted.source_identity.as_deref(), Some("me@example.com"));
        let request = &granted.request;
        let mut stored: Vec<&Value> = request["Tags"].as_array().unwrap().iter().collect();
        stored.sort_by_key(|tag| tag["Key"].to_string());
        let expected = [
            json!({"Key": "empty", "Value": ""}),
            json!({"Key": "team", "Value": "blue"}),
        ];
        assert_eq!(stored, expected.iter().collect::<Vec<_>>());
        assert_eq!(request["TransitiveTagKeys"], json!(["team"]));
        assert_eq!(request["SourceIdentity"], json!("me@example.com"));
        assert!(granted.packed_policy_size.is_some());
        // A tag that is not the one that the policy wants.
        let other = json!({"https://aws.amazon.com/tags": {"principal_tags": {"team": "red"}}});
        let said = outcome(
            &allowing(&all, condition.clone()),
            with(&[&other, &identity]),
        );
        assert!(said.contains("AccessDenied"), "{said}");
        for (actions, more, lacking) in [
            (&all[..1], tags, "sts:TagSession"),
            (&all[..2], &identity, "sts:SetSourceIdentity"),
        ] {
            let said = outcome(&allowing(actions, json!({})), with(&[more]));
            let words = format!("AccessDenied: Not authorized to perform {lacking}");
            assert!(said.starts_with(&words), "{said}");
        }
    }
    // What AssumeRole would not take either.
    for (more, words) in [
        (
            json!({"https://aws.amazon.com/tags": {"principal_tags": {"aws:a": "b"}}}),
            "not start with aws:",
        ),
        (
            json!({"https://aws.amazon.com/tags": {"principal_tags": {"a": "b", "A": "c"}}}),
            "Duplicate tag keys",
        ),
        (
            json!({"https://aws.amazon.com/tags": {"transitive_tag_keys": ["a"]}}),
            "must be included",
        ),
        (
            json!({"https://aws.amazon.com/source_identity": "aws:me"}),
            "sourceIdentity",
        ),
    ] {
        let said = outcome(&allowing(&all, json!({})), with(&[&more]));
        assert!(
            said.starts_with("ValidationError") && said.contains(words),
            "{said}"
        );
    }
}
