//! Whole logins: documents as AWS prints them, tokens as AWS's own presigner makes them.
//!
//! `data/account.json` and `data/other_account.json` have the shape of
//! `aws iam get-account-authorization-details`.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use dsql_iam_core::sigv4::{Malformed, Token};
use dsql_iam_core::{
    Action, Attempt, Cluster, ConnectionFacts, Denial, DenyReason, Diagnosis, Identities,
    LoginEnvironment, PolicyType, Refused, Verdict, check_claims, diagnose, documents, judge,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration as StdDuration, SystemTime};
use time::macros::utc_datetime;
use time::{Duration, UtcDateTime};

const ACCOUNT: &str = "012345678912";
const OTHER_ACCOUNT: &str = "210987654321";
const ID: &str = "abcdefghijklmnopqrstuvwxyz";
const HOST: &str = "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws";
const SIGNED: UtcDateTime = utc_datetime!(2024-11-25 00:00:00);
const NOW: UtcDateTime = utc_datetime!(2024-11-25 00:05:00);
const SESSION_END: &str = "2024-11-25T01:00:00+00:00";

/// Users of `data/account.json`, of `data/other_account.json`, and of none.
const USERS: [&str; 20] = [
    "alice", "bob", "carol", "dave", "dora", "erin", "frank", "gina", "hugo", "ivan", "judy",
    "eve", "mallory", "near", "far", "otto", "paul", "quinn", "rita", "twin",
];
/// Sessions: account, role, name, end, and `PackedPolicySize` (0: not printed).
const SESSIONS: [(&str, &str, &str, &str, u32); 10] = [
    (ACCOUNT, "App", "web", SESSION_END, 0),
    (ACCOUNT, "App", "over", "2024-11-25T00:04:00+00:00", 0),
    (ACCOUNT, "App", "packed", SESSION_END, 6),
    (ACCOUNT, "App", "narrowed", SESSION_END, 6),
    (ACCOUNT, "App", "forbidden", SESSION_END, 6),
    (ACCOUNT, "Bounded", "bounded", SESSION_END, 0),
    (ACCOUNT, "Idle", "idle", SESSION_END, 0),
    (ACCOUNT, "Nowhere", "lost", SESSION_END, 0),
    (ACCOUNT, "App", "outlived", SESSION_END, 0),
    (OTHER_ACCOUNT, "Guest", "guest", SESSION_END, 0),
];

const MALFORMED: &str = "AWS query-string parameters must include 'X-Amz-Algorithm', \
    'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date' in valid form.";
const INVALID: &str = "The security token included in the request is invalid.";
const MISMATCH: &str = "The request signature we calculated does not match the signature you \
    provided. Check your AWS Secret Access Key and signing method. Consult the service \
    documentation for details.";

fn key_of(name: &str) -> String {
    format!("AKIA{}", name.to_uppercase())
}

/// With characters that have to be encoded, as real ones have them.
fn secret_of(name: &str) -> String {
    format!("{name}/wJalrXUtnFEMI/K7MDENG+secret")
}

fn session_token_of(name: &str) -> String {
    format!("FwoGZXIvYXdzEB//{name}+session/token==")
}

/// As the documents have it.
fn role_id_of(role: &str) -> String {
    format!("{:X<21}", format!("AROA{}", role.to_uppercase()))
}

/// Output of `aws iam create-access-key`.
fn access_key(user: &str, key: &str, status: &str) -> Value {
    json!({"AccessKey": {
        "UserName": user,
        "AccessKeyId": key_of(key),
        "Status": status,
        "SecretAccessKey": secret_of(key),
        "CreateDate": "2024-01-01T00:00:00+00:00"
    }})
}

/// Output of `aws sts assume-role`.
fn session(account: &str, role: &str, name: &str, end: &str, packed: u32) -> Value {
    let mut document = json!({
        "Credentials": {
            "AccessKeyId": key_of(name),
            "SecretAccessKey": secret_of(name),
            "SessionToken": session_token_of(name),
            "Expiration": end
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{}:{name}", role_id_of(role)),
            "Arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
        }
    });
    if packed > 0 {
        document["PackedPolicySize"] = packed.into();
    }
    document
}

/// The same, with the request for it: a session policy with these statements.
fn narrowed_session(name: &str, statement: Value) -> Value {
    let mut document = session(ACCOUNT, "App", name, SESSION_END, 6);
    document["Request"] = json!({
        "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/service/team/App"),
        "RoleSessionName": name,
        "Policy": json!({"Version": "2012-10-17", "Statement": statement}).to_string(),
    });
    document
}

fn statement(effect: &str, condition: Value) -> Value {
    json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition})
}

/// Users whom conditions, the cluster's policy or a service control policy concern.
fn conditional_account() -> Value {
    let user = |name: &str, condition: Value| {
        json!({
            "UserName": name,
            "Arn": user_arn(name),
            "UserPolicyList": [{"PolicyName": "connect", "PolicyDocument":
                {"Version": "2012-10-17", "Statement": statement("Allow", condition)}}]
        })
    };
    // Each within what one policy may have, and together more work than one request may be.
    let hostile = json!({"Version": "2012-10-17", "Statement": statement("Deny",
        json!({"StringLike": {"aws:PrincipalTag/long":
            vec![format!("*{}b", "a".repeat(126)); 500]}}))});
    let hostile = json!({"PolicyName": "hostile", "PolicyDocument": hostile});
    let mut rita = user("rita", json!({}));
    rita["Tags"] = json!([{"Key": "long", "Value": "a".repeat(256)}]);
    let policies = rita["UserPolicyList"].as_array_mut().unwrap();
    policies.extend(vec![hostile; 10]);
    json!({"UserDetailList": [
        rita,
        user("near", json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"},
            "DateLessThan": {"aws:CurrentTime": "2024-11-25T00:20:00Z"}})),
        user("far", json!({"IpAddress": {"aws:SourceIp": "192.168.0.0/16"}})),
        user("otto", json!({})),
        user("paul", json!({})),
        user("quinn", json!({}))
    ]})
}

/// Output of `aws dsql get-cluster-policy`: keeps out one user, lets in another.
fn cluster_policy() -> Value {
    let principal = |name: &str, effect: &str| {
        let mut statement = statement(effect, json!({}));
        statement["Principal"] = json!({"AWS": user_arn(name)});
        statement
    };
    let statements = [principal("otto", "Deny"), principal("gina", "Allow")];
    json!({"policy": json!({"Version": "2012-10-17", "Statement": statements}).to_string(),
        "policyVersion": "1"})
}

/// Output of `aws organizations describe-policy`: denies one user, and does not allow another.
fn service_control_policy() -> Value {
    let names = |name: &str| json!({"aws:PrincipalArn": user_arn(name)});
    let statements = [
        statement("Deny", json!({"ArnEquals": names("paul")})),
        statement("Allow", json!({"ArnNotEquals": names("quinn")})),
    ];
    json!({"Policy": {
        "PolicySummary": {"Id": "p-1", "Arn": "arn:aws:organizations::1:policy/p-1",
            "Type": "SERVICE_CONTROL_POLICY", "AwsManaged": false},
        "Content": json!({"Version": "2012-10-17", "Statement": statements}).to_string()
    }})
}

/// A user whose name two accounts have.
fn users_of_two_accounts() -> Value {
    let arn = |account: &str| format!("arn:aws:iam::{account}:user/twin");
    let user = |account| json!({"UserName": "twin", "Arn": arn(account)});
    json!({"UserDetailList": [user(ACCOUNT), user(OTHER_ACCOUNT)]})
}

fn merged(texts: &[String]) -> Identities {
    let parsed = texts.iter().map(|text| {
        let document = documents::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        ("a document", document)
    });
    documents::merge(parsed).unwrap_or_else(|(_, error)| panic!("{error}"))
}

/// Everybody, with their keys.
fn everybody() -> Identities {
    let mut texts = vec![
        include_str!("data/account.json").to_owned(),
        include_str!("data/other_account.json").to_owned(),
        access_key("alice", "retired", "Inactive").to_string(),
        users_of_two_accounts().to_string(),
    ];
    texts.extend(USERS.map(|user| access_key(user, user, "Active").to_string()));
    texts.extend(SESSIONS.map(|(a, r, n, e, p)| {
        let document = match n {
            "narrowed" => narrowed_session(
                n,
                json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}),
            ),
            "forbidden" => narrowed_session(n, statement("Deny", json!({}))),
            "outlived" => {
                let mut document = session(a, r, n, e, p);
                document["AssumedRoleUser"]["AssumedRoleId"] =
                    format!("{}:{n}", role_id_of("Before")).into();
                document
            }
            _ => session(a, r, n, e, p),
        };
        document.to_string()
    }));
    let further = [
        conditional_account(),
        cluster_policy(),
        service_control_policy(),
    ];
    texts.extend(further.map(|document| document.to_string()));
    merged(&texts)
}

fn cluster() -> Cluster {
    Cluster::new(ACCOUNT, "us-east-1", ID, "db.test").unwrap()
}

/// One attempt: how the token is made, and what it is presented for.
#[derive(Clone)]
struct Login {
    key: String,
    secret: String,
    session_token: Option<String>,
    host: &'static str,
    action: &'static str,
    region: &'static str,
    service: &'static str,
    signed: UtcDateTime,
    expires: u64,
    /// Changes to the signed token.
    edits: Vec<(&'static str, &'static str)>,
    /// Sent instead of a token.
    password: Option<String>,
    role: &'static str,
    now: UtcDateTime,
}

impl Login {
    fn user(name: &str) -> Self {
        Self {
            key: key_of(name),
            secret: secret_of(name),
            session_token: None,
            host: HOST,
            action: "DbConnect",
            region: "us-east-1",
            service: "dsql",
            signed: SIGNED,
            expires: 900,
            edits: Vec::new(),
            password: None,
            role: "webapp",
            now: NOW,
        }
    }

    fn session(name: &str) -> Self {
        Self {
            session_token: Some(session_token_of(name)),
            ..Self::user(name)
        }
    }

    fn admin(self) -> Self {
        Self {
            action: "DbConnectAdmin",
            role: "admin",
            ..self
        }
    }

    fn with_admin_as_role(self) -> Self {
        Self {
            role: "admin",
            ..self
        }
    }

    fn edited(from: &'static str, to: &'static str) -> Self {
        Self {
            edits: vec![(from, to)],
            ..Self::user("alice")
        }
    }

    fn sending(password: &str) -> Self {
        Self {
            password: Some(password.to_owned()),
            ..Self::user("alice")
        }
    }

    fn at(self, now: UtcDateTime) -> Self {
        Self { now, ..self }
    }

    /// Signs as `auth_token.rs` of aws-sdk-dsql does.
    fn signed_token(&self) -> String {
        let credentials = Credentials::new(
            &self.key,
            &self.secret,
            self.session_token.clone(),
            None,
            "test",
        );
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(StdDuration::from_secs(self.expires));
        settings.signature_location = SignatureLocation::QueryParams;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(self.signed))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let mut url = format!("https://{}/?Action={}", self.host, self.action);
        let body = SignableBody::Bytes(&[]);
        let request = SignableRequest::new("GET", &url, std::iter::empty(), body).unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        for (name, value) in instructions.params() {
            url += &format!("&{name}={}", encoded(value));
        }
        url.split_off("https://".len())
    }

    fn password(&self) -> String {
        if let Some(password) = &self.password {
            return password.clone();
        }
        let mut token = self.signed_token();
        for (from, to) in &self.edits {
            assert!(token.contains(from), "{from}: {token}");
            token = token.replacen(from, to, 1);
        }
        token
    }

    fn verdict<'i>(&self, identities: &'i Identities) -> Verdict<'i> {
        static CLUSTER: LazyLock<Cluster> = LazyLock::new(cluster);
        let environment = LoginEnvironment {
            now: self.now,
            cluster: &CLUSTER,
            identities,
            connection: ConnectionFacts {
                source_ip: Some("10.1.2.3".parse().unwrap()),
                is_tls: true,
            },
        };
        judge(&self.password(), self.role, &environment)
    }
}

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn user_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

fn session_arn(account: &str, role: &str, name: &str) -> String {
    format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
}

#[test]
fn users_are_admitted() {
    let identities = everybody();
    for (login, arn) in [
        // By an inline policy of a group.
        (Login::user("alice"), user_arn("alice")),
        // By the default version of an attached policy, within a boundary; with a path.
        (Login::user("bob"), user_arn("staff/db/bob")),
        (Login::user("bob").admin(), user_arn("staff/db/bob")),
        // By an inline policy that a deny of the other action does not touch.
        (Login::user("carol"), user_arn("carol")),
        // Within a boundary that denies the other action.
        (Login::user("dora"), user_arn("dora")),
        // By a condition on the address and the time.
        (Login::user("near"), user_arn("near")),
        // By the cluster's policy alone.
        (Login::user("gina"), user_arn("gina")),
        (
            Login {
                host: "db.test:5432",
                ..Login::user("alice")
            },
            user_arn("alice"),
        ),
        (
            Login {
                host: "db.test",
                ..Login::user("alice")
            },
            user_arn("alice"),
        ),
    ] {
        let verdict = login.verdict(&identities);
        let admission = verdict.outcome.unwrap_or_else(|e| panic!("{}", e.denial));
        assert!(
            verdict
                .decision
                .is_some_and(|decision| DenyReason::of(&decision).is_none())
        );
        assert_eq!(admission.caller.arn, arn);
        assert_eq!(admission.caller.mapped_arn, arn);
        assert_eq!(admission.action.name(), login.action);
    }
}

#[test]
fn sessions_are_admitted_and_mapped_by_their_role() {
    let identities = everybody();
    // By an inline policy of the role, and by an attached one.
    for login in [Login::session("web"), Login::session("web").admin()] {
        let verdict = login.verdict(&identities);
        let admission = verdict.outcome.unwrap_or_else(|e| panic!("{}", e.denial));
        assert!(
            verdict
                .decision
                .is_some_and(|decision| DenyReason::of(&decision).is_none())
        );
        assert_eq!(
            admission.caller.arn,
            "arn:aws:sts::012345678912:assumed-role/App/web"
        );
        assert_eq!(
            admission.caller.mapped_arn,
            "arn:aws:iam::012345678912:role/service/team/App"
        );
        assert_eq!(admission.action.name(), login.action);
    }
}

/// A login, why it is refused, what the client hears, and the name of the check.
type Case = (Login, Denial, String, &'static str);

fn cases() -> Vec<Case> {
    let mut cases = malformed_cases();
    cases.extend(scope_and_time_cases());
    cases.extend(key_cases());
    cases.extend(policy_cases());
    cases
}

fn malformed_cases() -> Vec<Case> {
    let long = format!("{HOST}/?Action={}", "x".repeat(64 * 1024));
    let malformed = |login, fault| (login, fault, MALFORMED.to_owned(), "token");
    vec![
        (
            Login::sending("hunter2"),
            Denial::Malformed(Malformed::NoUrl),
            "Request is missing Authentication Token".to_owned(),
            "token",
        ),
        (
            Login {
                expires: 604_801,
                ..Login::user("alice")
            },
            Denial::Malformed(Malformed::LifeTooLong),
            "X-Amz-Expires must be less than a week (in seconds); that is, the given \
             X-Amz-Expires must be less than 604800 seconds"
                .to_owned(),
            "token",
        ),
        malformed(Login::sending(&long), Malformed::TooLong.into()),
        malformed(Login::edited(HOST, ""), Malformed::Host.into()),
        malformed(
            Login::edited("&X-Amz-Date", "&Action=DbConnect&X-Amz-Date"),
            Malformed::Twice("Action").into(),
        ),
        malformed(
            Login::edited("&X-Amz-SignedHeaders=host", ""),
            Malformed::Missing("X-Amz-SignedHeaders").into(),
        ),
        malformed(
            Login::edited("&X-Amz-Date", "&X-Amz-Nonsense=hunter2&X-Amz-Date"),
            Malformed::Unknown.into(),
        ),
        (
            Login {
                service: "rds-db",
                ..Login::edited("&X-Amz-Date", "&DBUser=hunter2&X-Amz-Date")
            },
            Malformed::OtherService("rds-db".into()).into(),
            "Credential should be scoped to correct service: 'dsql'.".to_owned(),
            "token",
        ),
        malformed(
            Login::edited("&X-Amz-Signature=", "&X-Amz-Signature=hunter2"),
            Malformed::Value("X-Amz-Signature").into(),
        ),
    ]
}

fn scope_and_time_cases() -> Vec<Case> {
    vec![
        (
            Login::edited("%2F20241125%2F", "%2F20241124%2F"),
            Denial::ScopeDate {
                scope: "20241124".into(),
                date: "20241125T000000Z".into(),
            },
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: \
             '20241124' != '20241125', from '20241125T000000Z'."
                .into(),
            "credential_scope",
        ),
        (
            Login {
                region: "eu-west-1",
                ..Login::user("alice")
            },
            Denial::ScopeRegion {
                signed: "eu-west-1".into(),
                cluster: "us-east-1".into(),
            },
            "Credential should be scoped to a valid region, not 'eu-west-1'.".into(),
            "credential_scope",
        ),
        (
            Login {
                service: "rds-db",
                ..Login::user("alice")
            },
            Denial::ScopeService("rds-db".into()),
            "Credential should be scoped to correct service: 'dsql'.".into(),
            "credential_scope",
        ),
        (
            Login::edited("aws4_request", "aws5_request"),
            Denial::ScopeTerminator("aws5_request".into()),
            "Credential should be scoped with a valid terminator: 'aws4_request'.".into(),
            "credential_scope",
        ),
        (
            Login {
                role: "admin",
                ..Login::user("bob")
            },
            Denial::WrongAction {
                role: "admin".into(),
                action: Action::DbConnect,
            },
            "Wrong user to action mapping. user: admin, action: DbConnect".into(),
            "action",
        ),
        (
            Login {
                role: "webapp",
                ..Login::user("bob").admin()
            },
            Denial::WrongAction {
                role: "webapp".into(),
                action: Action::DbConnectAdmin,
            },
            "Wrong user to action mapping. user: webapp, action: DbConnectAdmin".into(),
            "action",
        ),
        (
            Login {
                host: "zbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
                ..Login::user("alice")
            },
            Denial::WrongHost("zbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".into()),
            MISMATCH.into(),
            "host",
        ),
        (
            Login {
                host: "localhost:5432",
                ..Login::user("alice")
            },
            Denial::LoopbackHost("localhost:5432".into()),
            MISMATCH.into(),
            "host",
        ),
        (
            Login {
                expires: 300,
                ..Login::user("alice").at(utc_datetime!(2024-11-25 00:20:00))
            },
            Denial::Expired {
                signed: "20241125T000000Z".into(),
                earliest: "20241125T001500Z".into(),
                now: "20241125T002000Z".into(),
                seconds: 300,
            },
            "Signature expired: 20241125T000000Z is now earlier than 20241125T001500Z \
             (20241125T002000Z - 5 min.)"
                .into(),
            "time",
        ),
        (
            Login::user("alice").at(utc_datetime!(2024-11-24 23:50:00)),
            Denial::NotYetValid {
                signed: "20241125T000000Z".into(),
                latest: "20241124T235500Z".into(),
                now: "20241124T235000Z".into(),
            },
            "Signature not yet current: 20241125T000000Z is still later than 20241124T235500Z \
             (20241124T235000Z + 5 min.)"
                .into(),
            "time",
        ),
    ]
}

fn key_cases() -> Vec<Case> {
    let wrong_token = |login, key| {
        let denial = Denial::WrongSessionToken(key_of(key));
        (login, denial, INVALID.to_owned(), "session")
    };
    vec![
        (
            Login::user("strangerwithakey"),
            Denial::UnknownAccessKey("AKIASTRANGERWITHAKEY".into()),
            INVALID.into(),
            "access_key",
        ),
        (
            Login::user("retired"),
            Denial::InactiveAccessKey("AKIARETIRED".into()),
            INVALID.into(),
            "access_key",
        ),
        (
            Login::user("mallory"),
            Denial::UnknownPrincipal {
                access_key: "AKIAMALLORY".into(),
                owner: "user mallory".into(),
            },
            INVALID.into(),
            "access_key",
        ),
        (
            Login::user("twin"),
            Denial::AmbiguousPrincipal {
                access_key: "AKIATWIN".into(),
                owner: "user twin".into(),
            },
            INVALID.into(),
            "access_key",
        ),
        (
            Login::session("lost"),
            Denial::UnknownPrincipal {
                access_key: "AKIALOST".into(),
                owner: format!(
                    "{} of the role with the id AROANOWHEREXXXXXXXXXX",
                    session_arn(ACCOUNT, "Nowhere", "lost")
                ),
            },
            INVALID.into(),
            "access_key",
        ),
        // Missing, another session's, and there where there should be none.
        wrong_token(Login::user("web"), "web"),
        wrong_token(
            Login {
                session_token: Some(session_token_of("idle")),
                ..Login::session("web")
            },
            "web",
        ),
        wrong_token(Login::session("alice"), "alice"),
        (
            Login::session("over"),
            Denial::SessionOver {
                access_key: "AKIAOVER".into(),
                ended: "20241125T000400Z".into(),
            },
            "The security token included in the request is expired".into(),
            "session",
        ),
        (
            Login {
                secret: secret_of("bob"),
                ..Login::user("alice")
            },
            Denial::WrongSignature("AKIAALICE".into()),
            MISMATCH.into(),
            "signature",
        ),
        // As botocore makes it of a host in capitals.
        (
            Login::edited(".on.aws", ".ON.AWS"),
            Denial::HostInCapitals("AKIAALICE".into()),
            MISMATCH.into(),
            "signature",
        ),
        (
            Login::edited("Action=DbConnect", "Action=DbConnectAdmin").with_admin_as_role(),
            Denial::WrongSignature("AKIAALICE".into()),
            MISMATCH.into(),
            "signature",
        ),
    ]
}

fn policy_cases() -> Vec<Case> {
    let resource = format!("arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/{ID}");
    let other = |login, arn: String| {
        let hint = format!("User: {arn} is not authorized to access this resource");
        (login, Denial::OtherAccount(arn), hint, "account")
    };
    let refused = |login: Login, principal: String, why, because: &str| {
        let (action, name) = match login.action {
            "DbConnect" => (Action::DbConnect, "dsql:DbConnect"),
            _ => (Action::DbConnectAdmin, "dsql:DbConnectAdmin"),
        };
        let hint = format!(
            "User: {principal} is not authorized to perform: {name} on resource: {resource} \
             {because}"
        );
        let denial = Denial::NotAuthorized {
            principal,
            action,
            resource: resource.clone(),
            why,
        };
        (login, denial, hint, "policy")
    };
    let no_policy = "because no identity-based policy allows the dsql:DbConnect action";
    let no_policy_admin = "because no identity-based policy allows the dsql:DbConnectAdmin action";
    let denied = "with an explicit deny in an identity-based policy";
    let no_boundary = "because no permissions boundary allows the dsql:DbConnect action";
    let denied_by_boundary = "with an explicit deny in a permissions boundary";
    let web = |name| session_arn(ACCOUNT, "App", name);
    let missing = |what: &str| DenyReason::Incomplete(what.to_owned());
    let gone = "policy arn:aws:iam::012345678912:policy/Gone";
    vec![
        other(
            Login::user("eve"),
            format!("arn:aws:iam::{OTHER_ACCOUNT}:user/eve"),
        ),
        other(
            Login::session("guest"),
            session_arn(OTHER_ACCOUNT, "Guest", "guest"),
        ),
        // A condition that does not hold.
        refused(
            Login::user("far"),
            user_arn("far"),
            DenyReason::NotAllowedBy(PolicyType::IdentityBased),
            no_policy,
        ),
        refused(
            Login::user("otto"),
            user_arn("otto"),
            DenyReason::DeniedBy(PolicyType::ResourceBased),
            "with an explicit deny in a resource-based policy",
        ),
        refused(
            Login::user("paul"),
            user_arn("paul"),
            DenyReason::DeniedBy(PolicyType::ServiceControl),
            "with an explicit deny in a service control policy",
        ),
        refused(
            Login::user("quinn"),
            user_arn("quinn"),
            DenyReason::NotAllowedBy(PolicyType::ServiceControl),
            "because no service control policy allows the dsql:DbConnect action",
        ),
        refused(
            Login::session("narrowed"),
            session_arn(ACCOUNT, "App", "narrowed"),
            DenyReason::NotAllowedBy(PolicyType::Session),
            "because no session policy allows the dsql:DbConnect action",
        ),
        refused(
            Login::session("forbidden"),
            session_arn(ACCOUNT, "App", "forbidden"),
            DenyReason::DeniedBy(PolicyType::Session),
            "with an explicit deny in a session policy",
        ),
        // A newer version than the default one would allow it.
        refused(
            Login::user("ivan"),
            user_arn("ivan"),
            DenyReason::NotAllowedBy(PolicyType::IdentityBased),
            no_policy,
        ),
        // The one action does not help the other.
        refused(
            Login::user("alice").admin(),
            user_arn("alice"),
            DenyReason::NotAllowedBy(PolicyType::IdentityBased),
            no_policy_admin,
        ),
        refused(
            Login::session("idle"),
            session_arn(ACCOUNT, "Idle", "idle"),
            DenyReason::NotAllowedBy(PolicyType::IdentityBased),
            no_policy,
        ),
        // An inline deny beside an inline allow; a deny attached to a group.
        refused(
            Login::user("carol").admin(),
            user_arn("carol"),
            DenyReason::DeniedBy(PolicyType::IdentityBased),
            denied,
        ),
        refused(
            Login::user("judy"),
            user_arn("judy"),
            DenyReason::DeniedBy(PolicyType::IdentityBased),
            denied,
        ),
        refused(
            Login::user("dave"),
            user_arn("dave"),
            DenyReason::NotAllowedBy(PolicyType::PermissionsBoundary),
            no_boundary,
        ),
        refused(
            Login::session("bounded"),
            session_arn(ACCOUNT, "Bounded", "bounded"),
            DenyReason::NotAllowedBy(PolicyType::PermissionsBoundary),
            no_boundary,
        ),
        refused(
            Login::user("dora").admin(),
            user_arn("dora"),
            DenyReason::DeniedBy(PolicyType::PermissionsBoundary),
            denied_by_boundary,
        ),
        // The log hears what is missing, the client does not.
        refused(
            Login::user("erin"),
            user_arn("erin"),
            missing("group gone"),
            no_policy,
        ),
        refused(
            Login::user("frank"),
            user_arn("frank"),
            missing(gone),
            no_policy,
        ),
        refused(
            Login::user("hugo"),
            user_arn("hugo"),
            missing(gone),
            no_policy,
        ),
        refused(
            Login::user("rita"),
            user_arn("rita"),
            DenyReason::TooMuchWork,
            no_policy,
        ),
        refused(
            Login::session("packed"),
            web("packed"),
            missing("the session policy of the session"),
            no_policy,
        ),
    ]
}

#[test]
fn every_denial_with_its_hint_and_its_check() {
    let identities = everybody();
    for (login, expected, hint, check) in cases() {
        let verdict = login.verdict(&identities);
        let is_proven = matches!(
            expected,
            Denial::OtherAccount(_) | Denial::NotAuthorized { .. }
        );
        let Refused {
            denial,
            caller,
            action,
        } = verdict.outcome.expect_err(&hint);
        assert_eq!(caller.is_some(), is_proven, "{expected}");
        let is_token = !matches!(expected, Denial::Malformed(_));
        assert_eq!(action.is_some(), is_token, "{expected}");
        assert_eq!(denial, expected);
        assert_eq!(denial.hint(), Some(hint), "{denial}");
        assert_eq!(denial.check(), check, "{denial}");
    }
}

/// The signer of a login's token.
fn principal_of(login: &Login) -> String {
    let name = login.key.trim_start_matches("AKIA").to_lowercase();
    let session = SESSIONS.iter().find(|(_, _, session, ..)| *session == name);
    match session {
        Some((account, role, ..)) => session_arn(account, role, &name),
        None if name == "eve" => format!("arn:aws:iam::{OTHER_ACCOUNT}:user/eve"),
        None if name == "retired" => user_arn("alice"),
        None => user_arn(&name),
    }
}

fn diagnosed(login: &Login, token: Option<&str>, identities: &Identities) -> Diagnosis {
    let attempt = Attempt {
        token,
        role: login.role,
        principal: &principal_of(login),
    };
    let environment = LoginEnvironment {
        now: login.now,
        cluster: &cluster(),
        identities,
        connection: ConnectionFacts {
            source_ip: Some("10.1.2.3".parse().unwrap()),
            is_tls: true,
        },
    };
    diagnose(attempt, &environment)
}

/// The documents without those that have a secret: an account's export, and what is printed of the cluster.
fn nobodys_secrets() -> Identities {
    let further = [
        conditional_account(),
        cluster_policy(),
        service_control_policy(),
    ];
    let mut texts = vec![
        include_str!("data/account.json").to_owned(),
        include_str!("data/other_account.json").to_owned(),
    ];
    texts.extend(further.map(|document| document.to_string()));
    merged(&texts)
}

/// For every denial there is a login of which `explain` says the same without the secret, and how to mend it.
#[test]
fn each_denial_is_told_without_the_secret() {
    let (all, export) = (everybody(), nobodys_secrets());
    for (login, expected, _, check) in cases() {
        let password = login.password();
        let says = |identities: &Identities, token: &str| {
            let diagnosis = diagnosed(&login, Some(token), identities);
            let of_check = diagnosis
                .checks
                .into_iter()
                .filter(|one| one.check == check);
            of_check
                .map(|one| {
                    assert_eq!(
                        one.outcome.word() == "failed",
                        one.remedy.is_some(),
                        "{one:?}"
                    );
                    (
                        one.outcome.word(),
                        one.outcome.reason().unwrap_or_default().to_owned(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let reason = ("failed", expected.to_string());
        let of_session = matches!(
            &expected,
            Denial::NotAuthorized { principal, .. } if principal.contains(":assumed-role/App/")
        );
        let with_keys = says(&all, &password);
        let without = says(&export, &password);
        match &expected {
            // It takes the secret.
            Denial::WrongSignature(_) | Denial::HostInCapitals(_) => {
                assert_eq!(with_keys[0].0, "not checked", "{expected}");
                assert_eq!(without[0].0, "not checked", "{expected}");
            }
            Denial::UnknownAccessKey(_) => {
                assert!(
                    with_keys[0].1.contains("is in no document"),
                    "{with_keys:?}"
                );
            }
            Denial::UnknownPrincipal { .. } => {
                assert!(
                    with_keys[0].1.contains("is in no document"),
                    "{with_keys:?}"
                );
                assert!(without[0].1.contains("is in no document"), "{without:?}");
            }
            // They are told by the documents of keys and sessions.
            Denial::InactiveAccessKey(_)
            | Denial::AmbiguousPrincipal { .. }
            | Denial::WrongSessionToken(_)
            | Denial::SessionOver { .. } => {
                assert!(with_keys.contains(&reason), "{expected}: {with_keys:?}")
            }
            _ if of_session => assert!(with_keys.contains(&reason), "{expected}: {with_keys:?}"),
            _ => {
                assert!(with_keys.contains(&reason), "{expected}: {with_keys:?}");
                assert!(without.contains(&reason), "{expected}: {without:?}");
            }
        }
        // The signature may be cut off, and is in no case told.
        let parts = password.split('&');
        let cut: Vec<&str> = parts
            .filter(|part| !part.starts_with("X-Amz-Signature="))
            .collect();
        if check != "token" && check != "signature" {
            assert_eq!(says(&all, &cut.join("&")), with_keys, "{expected}");
        }
        let text = diagnosed(&login, Some(&password), &all).to_string();
        assert!(
            !text.contains(&login.secret) && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_what_is_likely_first() {
    let login = Login {
        region: "eu-west-1",
        host: "example.org",
        role: "admin",
        ..Login::user("carol").at(utc_datetime!(2024-11-26 00:00:00))
    };
    let diagnosis = diagnosed(&login, Some(&login.password()), &nobodys_secrets());
    let failed = diagnosis.checks.iter().filter(|one| one.remedy.is_some());
    let failed: Vec<&str> = failed.map(|one| one.check).collect();
    assert_eq!(
        failed,
        ["action", "credential_scope", "host", "time", "policy"]
    );
    assert!(!diagnosis.is_admitted());
    let text = diagnosis.to_string();
    for line in [
        "action             FAILED: role admin cannot be used with action DbConnect",
        "                   -> sign for admin: aws dsql generate-db-connect-admin-auth-token",
        "                   -> sign for the cluster's region: --region us-east-1",
        "signature          not checked: the secret is not here",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_principal_and_a_role_are_enough() {
    let export = nobodys_secrets();
    let alice = diagnosed(&Login::user("alice"), None, &export);
    assert!(alice.is_admitted(), "{alice}");
    let web = diagnosed(&Login::session("web"), None, &export);
    assert!(web.is_admitted(), "{web}");
    let mapped = "arn:aws:iam::012345678912:role/service/team/App";
    assert_eq!(web.explanation.mapped_arn.as_deref(), Some(mapped));
    let admin = diagnosed(&Login::user("alice").admin(), None, &export);
    assert!(!admin.is_admitted(), "{admin}");
    let attempt = |principal| Attempt {
        token: None,
        role: "webapp",
        principal,
    };
    let environment = LoginEnvironment {
        now: NOW,
        cluster: &cluster(),
        identities: &export,
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    };
    let role = diagnose(attempt(mapped), &environment);
    assert_eq!(
        role.explanation.principal.as_deref(),
        Some("arn:aws:sts::012345678912:assumed-role/App/SESSION")
    );
    for nobody in ["arn:aws:iam::012345678912:root", "alice", ""] {
        let said = diagnose(attempt(nobody), &environment);
        assert!(!said.is_admitted(), "{said}");
        assert!(
            said.to_string()
                .contains("is not a user, a role or a session of a role"),
            "{said}"
        );
    }
}

/// Neither do they let pass what the whole judgement refuses for them, nor the other way round.
#[test]
fn claims_are_checked_without_identities() {
    let mut checks = BTreeSet::new();
    for (login, expected, _, check) in cases() {
        let password = login.password();
        // A password that is not a token claims nothing.
        let Ok(token) = Token::parse(&password) else {
            continue;
        };
        let claims = check_claims(&token, login.role, &cluster(), login.now);
        match check {
            "access_key" | "session" | "signature" | "account" | "policy" => {
                assert_eq!(claims, Ok(()), "{expected}");
            }
            _ => {
                assert_eq!(claims, Err(expected));
                checks.insert(check);
            }
        }
    }
    let all = BTreeSet::from(["credential_scope", "action", "host", "time"]);
    assert_eq!(checks, all);
}

/// The variant's name, if `judge` can give it. Without a wildcard, so that a variant more has to
/// be decided on here.
fn judged(denial: &Denial) -> Option<&'static str> {
    Some(match denial {
        Denial::Malformed(fault) => match fault {
            Malformed::TooLong => "Malformed::TooLong",
            Malformed::NoUrl => "Malformed::NoUrl",
            Malformed::Host => "Malformed::Host",
            Malformed::Twice(_) => "Malformed::Twice",
            Malformed::Missing(_) => "Malformed::Missing",
            Malformed::Unknown => "Malformed::Unknown",
            Malformed::OtherService(_) => "Malformed::OtherService",
            Malformed::LifeTooLong => "Malformed::LifeTooLong",
            Malformed::Value(_) => "Malformed::Value",
        },
        Denial::ScopeDate { .. } => "ScopeDate",
        Denial::ScopeRegion { .. } => "ScopeRegion",
        Denial::ScopeService(_) => "ScopeService",
        Denial::ScopeTerminator(_) => "ScopeTerminator",
        Denial::WrongAction { .. } => "WrongAction",
        Denial::WrongHost(_) => "WrongHost",
        Denial::LoopbackHost(_) => "LoopbackHost",
        Denial::Expired { .. } => "Expired",
        Denial::NotYetValid { .. } => "NotYetValid",
        Denial::UnknownAccessKey(_) => "UnknownAccessKey",
        Denial::InactiveAccessKey(_) => "InactiveAccessKey",
        Denial::UnknownPrincipal { .. } => "UnknownPrincipal",
        Denial::AmbiguousPrincipal { .. } => "AmbiguousPrincipal",
        Denial::WrongSessionToken(_) => "WrongSessionToken",
        Denial::SessionOver { .. } => "SessionOver",
        Denial::WrongSignature(_) => "WrongSignature",
        Denial::HostInCapitals(_) => "HostInCapitals",
        Denial::OtherAccount(_) => "OtherAccount",
        Denial::NotAuthorized { why, .. } => match why {
            DenyReason::NotAllowedBy(PolicyType::IdentityBased) => {
                "NotAuthorized::NoIdentityPolicy"
            }
            DenyReason::DeniedBy(PolicyType::IdentityBased) => {
                "NotAuthorized::DeniedByIdentityPolicy"
            }
            DenyReason::NotAllowedBy(PolicyType::PermissionsBoundary) => {
                "NotAuthorized::NoBoundary"
            }
            DenyReason::DeniedBy(PolicyType::PermissionsBoundary) => {
                "NotAuthorized::DeniedByBoundary"
            }
            DenyReason::NotAllowedBy(PolicyType::Session) => "NotAuthorized::NoSessionPolicy",
            DenyReason::DeniedBy(PolicyType::Session) => "NotAuthorized::DeniedBySessionPolicy",
            DenyReason::NotAllowedBy(PolicyType::ServiceControl) => {
                "NotAuthorized::NoServiceControl"
            }
            DenyReason::DeniedBy(PolicyType::ServiceControl) => {
                "NotAuthorized::DeniedByServiceControl"
            }
            DenyReason::DeniedBy(PolicyType::ResourceBased) => {
                "NotAuthorized::DeniedByClusterPolicy"
            }
            // The cluster's policy need not allow anything.
            DenyReason::NotAllowedBy(PolicyType::ResourceBased) => return None,
            DenyReason::Incomplete(_) => "NotAuthorized::Incomplete",
            DenyReason::TooMuchWork => "NotAuthorized::TooMuchWork",
        },
    })
}

#[test]
fn no_denial_lacks_a_case() {
    let covered: BTreeSet<&str> = cases()
        .iter()
        .map(|(_, denial, ..)| judged(denial).unwrap())
        .collect();
    // As many as `judged` names.
    assert_eq!(covered.len(), 38, "{covered:#?}");
}

#[test]
fn no_denial_tells_a_secret() {
    let identities = everybody();
    let mut secrets: Vec<String> = USERS.map(secret_of).to_vec();
    secrets.push(secret_of("retired"));
    for (_, _, name, ..) in SESSIONS {
        secrets.extend([secret_of(name), session_token_of(name)]);
        secrets.push(encoded(&session_token_of(name)));
    }
    secrets.push("hunter2".into());
    for (login, ..) in cases() {
        let password = login.password();
        let mut secrets = secrets.clone();
        secrets.extend([login.secret.clone(), encoded(&login.secret)]);
        for token in login.session_token.iter() {
            secrets.extend([token.clone(), encoded(token)]);
        }
        match password.split_once("&X-Amz-Signature=") {
            Some((_, rest)) => secrets.push(rest[..64].to_owned()),
            None => assert!(login.password.is_some(), "{password}"),
        }
        secrets.push(password);
        let verdict = login.verdict(&identities);
        let debug = format!("{verdict:?}");
        let denial = verdict.outcome.unwrap_err().denial;
        for text in [debug, denial.to_string(), denial.hint().unwrap_or_default()] {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}

/// The outcome of the login at that time, by name.
fn outcome_at(login: &Login, now: UtcDateTime, identities: &Identities) -> &'static str {
    match login.clone().at(now).verdict(identities).outcome {
        Ok(_) => "admitted",
        Err(refused) => judged(&refused.denial).unwrap(),
    }
}

#[test]
fn a_condition_is_asked_at_each_login() {
    let identities = everybody();
    let near = Login {
        expires: 3600,
        ..Login::user("near")
    };
    let before = utc_datetime!(2024-11-25 00:19:59);
    assert_eq!(outcome_at(&near, before, &identities), "admitted");
    let after = utc_datetime!(2024-11-25 00:20:00);
    let refused = "NotAuthorized::NoIdentityPolicy";
    assert_eq!(outcome_at(&near, after, &identities), refused);
}

#[test]
fn a_token_is_good_until_it_expires_and_not_longer() {
    let identities = everybody();
    for seconds in [1, 300, 900, 604_800] {
        let login = Login {
            expires: seconds,
            ..Login::user("alice")
        };
        let end = SIGNED + StdDuration::from_secs(seconds);
        let before = end - Duration::NANOSECOND;
        let after = end + Duration::NANOSECOND;
        assert_eq!(outcome_at(&login, before, &identities), "admitted");
        assert_eq!(outcome_at(&login, end, &identities), "admitted");
        assert_eq!(outcome_at(&login, after, &identities), "Expired");
    }
}

#[test]
fn a_signer_may_be_five_minutes_ahead_and_not_more() {
    let identities = everybody();
    let login = Login::user("alice");
    let first = SIGNED - Duration::minutes(5);
    assert_eq!(outcome_at(&login, SIGNED, &identities), "admitted");
    assert_eq!(outcome_at(&login, first, &identities), "admitted");
    for early in [Duration::NANOSECOND, Duration::SECOND] {
        let outcome = outcome_at(&login, first - early, &identities);
        assert_eq!(outcome, "NotYetValid");
    }
    let denial = login
        .at(first - Duration::SECOND)
        .verdict(&identities)
        .outcome
        .unwrap_err()
        .denial;
    assert_eq!(
        denial.hint().unwrap(),
        "Signature not yet current: 20241125T000000Z is still later than 20241124T235959Z \
         (20241124T235459Z + 5 min.)"
    );
}

#[test]
fn a_session_does_not_outlive_its_role() {
    let identities = everybody();
    let refused = Login::session("outlived").verdict(&identities).outcome;
    let refused = refused.map_err(|refused| refused.denial);
    let session = session_arn(ACCOUNT, "App", "outlived");
    let owner = format!("{session} of the role with the id AROABEFOREXXXXXXXXXXX");
    let access_key = "AKIAOUTLIVED".into();
    assert_eq!(refused, Err(Denial::UnknownPrincipal { access_key, owner }));
}

#[test]
fn a_session_is_over_at_its_end() {
    let identities = everybody();
    let login = Login {
        expires: 86_400,
        ..Login::session("web")
    };
    let end = utc_datetime!(2024-11-25 01:00:00);
    let before = end - Duration::NANOSECOND;
    assert_eq!(outcome_at(&login, before, &identities), "admitted");
    assert_eq!(outcome_at(&login, end, &identities), "SessionOver");
}

#[test]
fn a_signature_does_not_last_beyond_its_own_request() {
    let identities = everybody();
    // Each is well formed and differs from a good token in one signed thing.
    for (from, to) in [
        (HOST, "db.test"),
        (
            HOST,
            "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws:5432",
        ),
        ("X-Amz-Expires=900", "X-Amz-Expires=901"),
        ("T000000Z", "T000001Z"),
        ("AKIAALICE", "AKIABOB"),
    ] {
        let outcome = outcome_at(&Login::edited(from, to), NOW, &identities);
        assert_eq!(outcome, "WrongSignature", "{from} -> {to}");
    }
}

/// A login together with one identity that it is for, to be made wrong in several ways.
struct World {
    is_session: bool,
    login: Login,
    is_key_known: bool,
    status: &'static str,
    session_end: &'static str,
    is_principal_known: bool,
    account: &'static str,
    effect: &'static str,
}

impl World {
    fn new(is_session: bool) -> Self {
        Self {
            is_session,
            login: if is_session {
                Login::session("zoe")
            } else {
                Login::user("zoe")
            },
            is_key_known: true,
            status: "Active",
            session_end: SESSION_END,
            is_principal_known: true,
            account: ACCOUNT,
            effect: "Allow",
        }
    }

    fn outcome(&self) -> &'static str {
        let account = self.account;
        let policies = json!([{"PolicyName": "p", "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": {"Effect": self.effect, "Action": "dsql:*", "Resource": "*"}
        }}]);
        let (list, key, principal) = if self.is_session {
            (
                "RoleDetailList",
                session(account, "Zoe", "zoe", self.session_end, 0),
                json!({"RoleName": "Zoe", "Arn": format!("arn:aws:iam::{account}:role/Zoe"),
                    "RolePolicyList": policies}),
            )
        } else {
            (
                "UserDetailList",
                access_key("zoe", "zoe", self.status),
                json!({"UserName": "zoe", "Arn": format!("arn:aws:iam::{account}:user/zoe"),
                    "UserPolicyList": policies}),
            )
        };
        let mut texts = Vec::new();
        if self.is_principal_known {
            texts.push(json!({list: [principal]}).to_string());
        }
        if self.is_key_known {
            texts.push(key.to_string());
        }
        outcome_at(&self.login, self.login.now, &merged(&texts))
    }
}

/// The faults, in the order in which they have to be noticed; each for users, for sessions.
type Fault = (&'static str, bool, bool, fn(&mut World));

const FAULTS: [Fault; 17] = [
    // 1. form
    ("Malformed::Unknown", true, true, |w| {
        w.login.edits.push(("/?", "/?x&"));
    }),
    // 2. scope
    ("ScopeDate", true, true, |w| {
        w.login.edits.push(("%2F20241125%2F", "%2F20241124%2F"));
    }),
    ("ScopeRegion", true, true, |w| w.login.region = "eu-west-1"),
    ("ScopeService", true, true, |w| w.login.service = "rds-db"),
    ("ScopeTerminator", true, true, |w| {
        w.login.edits.push(("aws4_request", "aws5_request"));
    }),
    // 3. action
    ("WrongAction", true, true, |w| w.login.role = "admin"),
    // 4. host
    ("WrongHost", true, true, |w| w.login.host = "example.org"),
    // 5. time
    ("Expired", true, true, |w| w.login.now += Duration::DAY),
    ("NotYetValid", true, true, |w| w.login.now -= Duration::DAY),
    // 6. access key and session
    ("UnknownAccessKey", true, true, |w| w.is_key_known = false),
    ("InactiveAccessKey", true, false, |w| w.status = "Inactive"),
    ("WrongSessionToken", true, true, |w| {
        w.login.session_token = Some(session_token_of("another"));
    }),
    ("SessionOver", false, true, |w| {
        w.session_end = "2024-11-25T00:00:00+00:00";
    }),
    // 7. signature
    ("WrongSignature", true, true, |w| {
        w.login.secret = secret_of("another");
    }),
    // 8. principal and policies
    ("UnknownPrincipal", true, true, |w| {
        w.is_principal_known = false;
    }),
    ("OtherAccount", true, true, |w| w.account = OTHER_ACCOUNT),
    ("NotAuthorized::DeniedByIdentityPolicy", true, true, |w| {
        w.effect = "Deny";
    }),
];

#[test]
fn of_two_faults_the_earlier_one_is_reported() {
    for is_session in [false, true] {
        assert_eq!(World::new(is_session).outcome(), "admitted");
        let applies = |(_, user, session, _): &&Fault| if is_session { *session } else { *user };
        let faults: Vec<&Fault> = FAULTS.iter().filter(applies).collect();
        for (at, (earlier, .., spoil)) in faults.iter().enumerate() {
            for (later, .., spoil_too) in &faults[at..] {
                // Nothing is both too late and too early.
                if (*earlier, *later) == ("Expired", "NotYetValid") {
                    continue;
                }
                let mut world = World::new(is_session);
                spoil_too(&mut world);
                if later != earlier {
                    assert_eq!(world.outcome(), *later);
                    spoil(&mut world);
                }
                assert_eq!(world.outcome(), *earlier, "with {later}");
            }
        }
    }
}

#[test]
fn all_faults_together_are_taken_one_by_one() {
    for is_session in [false, true] {
        let mut world = World::new(is_session);
        let applies = |(name, user, session, _): &&Fault| {
            *name != "NotYetValid" && if is_session { *session } else { *user }
        };
        let faults: Vec<&Fault> = FAULTS.iter().filter(applies).collect();
        for (name, .., spoil) in faults.into_iter().rev() {
            spoil(&mut world);
            assert_eq!(world.outcome(), *name);
        }
    }
}
