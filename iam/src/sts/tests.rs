use super::*;
use crate::documents;
use crate::identity::Owner;
use serde_json::{Value, json};
use time::macros::utc_datetime;

const NOW: UtcDateTime = utc_datetime!(2026-01-01 12:00:00.5);
const ROLE: &str = "arn:aws:iam::012345678912:role/x/App";

/// The letters of trust policy, the user's own policy, boundary and service control policy: `+`
/// allows, `-` denies, `0` says nothing, a space is none. The trust policy names `principal`.
fn identities(letters: &str, principal: &str) -> Identities {
    let statement = |letter: char| {
        let (effect, action) = match letter {
            '+' => ("Allow", "sts:*"),
            '-' => ("Deny", "sts:AssumeRole"),
            _ => ("Allow", "s3:*"),
        };
        json!({"Effect": effect, "Action": action})
    };
    let letters: Vec<char> = letters.chars().collect();
    let plain = |letter: char| {
        let mut statement = statement(letter);
        statement["Resource"] = json!("*");
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let mut trust = statement(letters[0]);
    trust["Principal"] = json!({ "AWS": principal });
    let boundary = "arn:aws:iam::012345678912:policy/Boundary";
    let mut user = json!({"UserName": "alice", "Arn": "arn:aws:iam::012345678912:user/alice",
        "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": plain(letters[1])}]});
    if letters[2] != ' ' {
        user["PermissionsBoundary"] = json!({ "PermissionsBoundaryArn": boundary });
    }
    let mut documents = vec![
        json!({
            "UserDetailList": [user],
            "RoleDetailList": [{"RoleName": "App", "RoleId": "AROAAPP", "Arn": ROLE,
                "MaxSessionDuration": 43200,
                "AssumeRolePolicyDocument": {"Statement": [trust]}}],
            "Policies": [{"Arn": boundary, "DefaultVersionId": "v1", "PolicyVersionList": [
                {"VersionId": "v1", "Document": plain(letters[2])}]}],
        }),
        json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA", "Status": "Active",
            "SecretAccessKey": "the secret"}}),
    ];
    if letters[3] != ' ' {
        documents.push(json!({"Policy": {"Content": plain(letters[3]).to_string(),
            "PolicySummary": {"Arn": "arn:p", "Type": "SERVICE_CONTROL_POLICY"}}}));
    }
    load(&documents)
}

fn load(documents: &[Value]) -> Identities {
    let parsed = documents.iter().map(|document| {
        let parsed = documents::parse(&document.to_string());
        (
            "a document",
            parsed.unwrap_or_else(|fault| panic!("{fault}")),
        )
    });
    documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

/// A user, its key, and a role whose trust policy has this statement.
fn with_trust(statement: Value) -> Identities {
    load(&[
        json!({
            "UserDetailList": [{"UserName": "alice",
                "Arn": "arn:aws:iam::012345678912:user/alice"}],
            "RoleDetailList": [{"RoleName": "App", "Arn": ROLE,
                "AssumeRolePolicyDocument": {"Statement": [statement]}}],
        }),
        json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA",
            "Status": "Active", "SecretAccessKey": "the secret"}}),
    ])
}

fn environment(identities: &Identities) -> StsEnvironment<'_> {
    StsEnvironment {
        now: NOW,
        identities,
        stored: None,
        region: "us-east-1",
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    }
}

fn asked() -> AssumeRole {
    AssumeRole {
        role_arn: ROLE.into(),
        role_session_name: "web".into(),
        ..AssumeRole::default()
    }
}

const PRESENTED: PresentedCredentials<'_> = PresentedCredentials {
    access_key_id: "AKIA",
    session_token: None,
};

#[test]
fn every_policy_has_its_say() {
    let (user, root) = ("arn:aws:iam::012345678912:user/alice", "012345678912");
    let denied = |policy: &str| Some(format!("with an explicit deny in {policy}"));
    let lacking = |policy: &str| {
        Some(format!(
            "because no {policy} allows the sts:AssumeRole action"
        ))
    };
    for (letters, principal, refused) in [
        ("++  ", root, None),
        ("++++", root, None),
        ("+0  ", root, lacking("identity-based policy")),
        ("+0  ", user, None),
        ("0+  ", user, lacking("role trust policy")),
        ("++  ", "210987654321", lacking("role trust policy")),
        ("++0 ", root, lacking("permissions boundary")),
        ("++ 0", root, lacking("service control policy")),
        ("-+  ", root, denied("the role trust policy")),
        ("+-  ", user, denied("an identity-based policy")),
        ("++- ", user, denied("a permissions boundary")),
        ("++ -", user, denied("a service control policy")),
    ] {
        let identities = identities(letters, principal);
        let environment = environment(&identities);
        let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
        let outcome = assume_role(&caller, &asked(), &environment);
        let said = outcome.err().map(|refusal| {
            assert_eq!(refusal.code, Code::AccessDenied);
            let reason = refusal.reason.unwrap();
            reason.split(';').next().unwrap().to_owned()
        });
        assert_eq!(said, refused, "{letters} {principal}");
    }
}

/// The action that is refused is named, and it is the trust policy that lacks it.
#[test]
fn the_reason_names_the_action_that_the_trust_policy_lacks() {
    let principal = json!({"AWS": "arn:aws:iam::012345678912:user/alice"});
    let trust = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal});
    let identities = with_trust(trust);
    let environment = environment(&identities);
    let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
    let mut tagged = asked();
    tagged.tags = vec![("team".into(), "blue".into())];
    let mut named = asked();
    named.source_identity = Some("bob".into());
    for (request, action) in [(tagged, "sts:TagSession"), (named, "sts:SetSourceIdentity")] {
        let refusal = assume_role(&caller, &request, &environment).err().unwrap();
        let expected = format!("because no role trust policy allows the {action} action");
        assert_eq!(refusal.reason, Some(expected));
        let name = "arn:aws:iam::012345678912:user/alice is not authorized to perform";
        let said = format!("User: {name}: {action} on resource: {ROLE}");
        assert_eq!((refusal.code, refusal.message), (Code::AccessDenied, said));
    }
}

#[test]
fn what_is_known_of_the_request() {
    let cases = [
        (
            "StringEquals",
            "aws:RequestedRegion",
            "us-east-1",
            "eu-west-1",
        ),
        ("Bool", "aws:SecureTransport", "false", "true"),
        ("IpAddress", "aws:SourceIp", "10.1.2.0/24", "10.1.3.0/24"),
    ];
    for (operator, key, fits, other) in cases {
        for (value, is_allowed) in [(fits, true), (other, false)] {
            let mut trust = json!({"Effect": "Allow", "Action": "sts:*", "Principal": "*"});
            trust["Condition"] = json!({operator: {key: value}});
            let identities = with_trust(trust);
            let environment = StsEnvironment {
                connection: ConnectionFacts {
                    source_ip: Some([10, 1, 2, 3].into()),
                    is_tls: false,
                },
                ..environment(&identities)
            };
            let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
            let outcome = assume_role(&caller, &asked(), &environment);
            assert_eq!(outcome.is_ok(), is_allowed, "{key} {value}");
        }
    }
}

#[test]
fn only_the_secret_proves_who_asks() {
    let identities = identities("++  ", "*");
    let environment = environment(&identities);
    for (presented, secret, code) in [
        (PRESENTED, "another secret", Code::SignatureDoesNotMatch),
        (PRESENTED, "", Code::SignatureDoesNotMatch),
        (
            PresentedCredentials {
                access_key_id: "AKIB",
                ..PRESENTED
            },
            "the secret",
            Code::InvalidClientTokenId,
        ),
        (
            PresentedCredentials {
                session_token: Some("t"),
                ..PRESENTED
            },
            "the secret",
            Code::InvalidClientTokenId,
        ),
    ] {
        let refusal = caller_with_secret(presented, secret, &environment).unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(!format!("{refusal:?}").contains("the secret"));
    }
}

#[test]
fn the_document_of_a_session_says_what_it_was_begun_with() {
    let identities = identities("++  ", "*");
    let environment = environment(&identities);
    let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
    let request = AssumeRole {
        duration_seconds: Some(7200),
        policy: Some(r#" {"Statement": []}"#.into()),
        policy_arns: vec!["arn:aws:iam::012345678912:policy/Boundary".into()],
        tags: vec![("team".into(), "blue".into()), ("a".into(), String::new())],
        transitive_tag_keys: vec!["team".into()],
        external_id: Some("id".into()),
        source_identity: Some("bob".into()),
        ..asked()
    };
    let grant = assume_role(&caller, &request, &environment).unwrap();
    assert_eq!(grant.expiration, utc_datetime!(2026-01-01 14:00:00));
    let key = NewKey {
        id: "ASIA".into(),
        secret: "s".into(),
        session_token: "t".into(),
    };
    assert!(grant.response(&key).get("Request").is_none());
    let session = load(&[grant.document(&key)]);
    let key = session.access_key("ASIA").unwrap();
    assert_eq!(key.expiration, Some(grant.expiration));
    let Owner::Session(session) = &key.owner else {
        panic!("a session")
    };
    assert_eq!(
        session.arn,
        "arn:aws:sts::012345678912:assumed-role/App/web"
    );
    assert_eq!(session.issued_at, utc_datetime!(2026-01-01 12:00:00));
    assert_eq!(session.tags, request.tags);
    assert_eq!(session.transitive_tag_keys, ["team"]);
    assert_eq!(session.source_identity.as_deref(), Some("bob"));
    assert!(!session.has_hidden_policies);
    let policies = session.policies.as_ref().unwrap();
    assert!(policies.inline.is_some() && policies.attached == request.policy_arns);
}

#[test]
fn no_document_says_what_a_request_does_not() {
    let keys = [
        "sts:ExternalId",
        "sts:SourceIdentity",
        "aws:RequestTag/team",
        "aws:ResourceTag/team",
        "aws:PrincipalTag/team",
        "aws:MultiFactorAuthPresent",
        "aws:MultiFactorAuthAge",
        "aws:SourceIdentity",
        "aws:TokenIssueTime",
        "aws:userid",
    ];
    for key in keys {
        let mut trust = json!({"Effect": "Allow", "Action": "sts:*", "Principal": "*"});
        trust["Condition"] = json!({"StringEquals": {key: "yes"}});
        let mut identities = with_trust(trust);
        let entry = (key.to_owned(), vec!["yes".to_owned()]);
        identities.context_entries.push(entry);
        let environment = environment(&identities);
        let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
        let refusal = assume_role(&caller, &asked(), &environment).unwrap_err();
        assert_eq!(refusal.code, Code::AccessDenied, "{key}");
    }
}

#[test]
fn the_tags_of_a_simulated_user_count_and_no_document_has_a_say_in_them() {
    let user = |name: &str| format!("arn:aws:iam::012345678912:user/{name}");
    let may = |condition: Value| {
        json!({"PolicyName": "p", "PolicyDocument": {"Statement": {"Effect": "Allow",
            "Action": "iam:Simulate*", "Resource": "*", "Condition": {"StringEquals": condition}}}})
    };
    let tagged = |key: &str, value: &str| json!({"Key": key, "Value": value});
    for (condition, resource, is_allowed) in [
        (json!({"aws:ResourceTag/team": "red"}), user("bob"), true),
        (json!({"iam:ResourceTag/team": "red"}), user("bob"), true),
        (json!({"aws:ResourceTag/team": "red"}), user("carol"), false),
        (json!({"aws:ResourceTag/of": "cluster"}), user("bob"), false),
        (json!({"aws:ResourceTag/of": "cluster"}), "*".into(), false),
        (json!({"aws:RequestTag/of": "cluster"}), user("bob"), false),
        (json!({"aws:PrincipalOrgID": "o-1"}), user("bob"), true),
        (
            json!({"aws:ResourceAccount": "012345678912"}),
            user("bob"),
            true,
        ),
        (
            json!({"aws:ResourceAccount": "999999999999"}),
            "*".into(),
            false,
        ),
    ] {
        let added = [
            "aws:ResourceTag/of",
            "aws:RequestTag/of",
            "aws:PrincipalOrgID",
            "aws:ResourceAccount",
        ]
        .into_iter()
        .zip(["cluster", "cluster", "o-1", "999999999999"]);
        let added = added.map(|(key, value)| {
            json!({"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"})
        });
        let identities = load(&[
            json!({"UserDetailList": [
                {"UserName": "alice", "Arn": user("alice"), "UserPolicyList": [may(condition.clone())]},
                {"UserName": "bob", "Arn": user("bob"), "Tags": [tagged("team", "red")]},
                {"UserName": "carol", "Arn": user("carol"), "Tags": [tagged("team", "blue")]}]}),
            json!({"AccessKey": {"UserName": "alice", "AccessKeyId": "AKIA", "Status": "Active",
                "SecretAccessKey": "the secret"}}),
            json!({"ContextEntries": added.collect::<Vec<_>>()}),
        ]);
        let environment = environment(&identities);
        let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
        let said = check_permission(
            &caller,
            "iam:SimulatePrincipalPolicy",
            &resource,
            &environment,
        );
        assert_eq!(said.is_ok(), is_allowed, "{condition} {resource}: {said:?}");
    }
}

#[test]
fn a_code_in_the_place_of_the_serial_number_is_not_shown() {
    let request = AssumeRole {
        mfa: MfaCode {
            serial_number: Some("123456".into()),
            token_code: Some("arn:aws:iam::012345678912:mfa/alice".into()),
        },
        ..asked()
    };
    let identities = identities("++  ", "*");
    let environment = environment(&identities);
    let caller = caller_with_secret(PRESENTED, "the secret", &environment).unwrap();
    let refusal = assume_role(&caller, &request, &environment).err().unwrap();
    assert_eq!(refusal.code, Code::ValidationError);
    assert!(
        refusal.message.contains("Value '…' at 'serialNumber'"),
        "{refusal}"
    );
    assert!(!format!("{refusal:?}").contains("123456"), "{refusal:?}");
}
