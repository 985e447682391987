//! The cost of a login and of its parts: small and large accounts, long policies.
//!
//! `cargo xtask bench` runs this and has the figures in its table.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dsql_iam_core::directory::fingerprint;
use dsql_iam_core::documents::{merge, parse};
use dsql_iam_core::policy::{Context, Kind, Policy, RequestPrincipal};
use dsql_iam_core::sigv4::{Token, signature};
use dsql_iam_core::{
    Cluster, ConnectionFacts, Identities, LoginEnvironment, Policies, Request, Source, Sourced,
    authorize, excerpts, judge,
};
use serde_json::{Value, json};
use std::fs;
use std::hint::black_box;
use time::UtcDateTime;
use time::macros::utc_datetime;

const ACCOUNT: &str = "012345678912";
const ID: &str = "abcdefghijklmnopqrstuvwxyz";
const NOW: UtcDateTime = utc_datetime!(2024-11-25 00:05:00);
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// As many roles and policies as the issue of a large account names.
const MANY: usize = 5_000;

/// A token as AWS's SDKs sign it.
fn signed_token() -> String {
    let unsigned = format!(
        "{ID}.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential={KEY}%2F20241125%2Fus-east-1%2Fdsql%2Faws4_request\
         &X-Amz-Date=20241125T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature="
    );
    let draft = format!("{unsigned}{}", "0".repeat(64));
    let token = Token::parse(&draft).expect("a token");
    let signature = signature(
        &token.canonical_request(),
        token.signed_at,
        &token.credential.scope,
        SECRET,
    );
    unsigned + &signature
}

/// Documents with a user who may connect, as `cargo xtask up` makes them, and `others` more roles with
/// a managed policy each.
fn documents(others: usize) -> Vec<String> {
    let user = json!({
        "UserName": "alice", "UserId": "AIDAEXAMPLE", "GroupList": [], "Tags": [],
        "Arn": format!("arn:aws:iam::{ACCOUNT}:user/alice"), "AttachedManagedPolicies": [],
        "UserPolicyList": [{"PolicyName": "connect", "PolicyDocument": statements(1)}],
    });
    let arn = |kind, number| format!("arn:aws:iam::{ACCOUNT}:{kind}/other-{number}");
    let roles: Vec<Value> = (0..others)
        .map(|number| {
            json!({"RoleName": format!("other-{number}"), "Arn": arn("role", number),
                   "AttachedManagedPolicies": [{"PolicyArn": arn("policy", number)}]})
        })
        .collect();
    let policies: Vec<Value> = (0..others)
        .map(|number| {
            json!({"Arn": arn("policy", number), "DefaultVersionId": "v1",
                   "PolicyVersionList": [{"VersionId": "v1", "Document": statements(1)}]})
        })
        .collect();
    let key = json!({"AccessKey": {"UserName": "alice", "AccessKeyId": KEY, "Status": "Active",
                                   "SecretAccessKey": SECRET}});
    let account = json!({"UserDetailList": [user], "RoleDetailList": roles, "Policies": policies});
    vec![account.to_string(), key.to_string()]
}

/// A policy of so many statements, of which the last allows the login.
fn statements(count: usize) -> Value {
    let cluster = |number| {
        let id = if number + 1 == count {
            ID.into()
        } else {
            format!("{number:026}")
        };
        json!({"Effect": "Allow", "Action": ["dsql:DbConnect", "dsql:Get*"],
               "Resource": format!("arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/{id}"),
               "Condition": {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1"]}}})
    };
    let statements: Vec<Value> = (0..count).map(cluster).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn load(documents: &[String]) -> Identities {
    let parsed = documents
        .iter()
        .map(|text| ("bench.json", parse(text).expect("a document")));
    merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

fn logins(criterion: &mut Criterion) {
    let cluster = Cluster::new(ACCOUNT, "us-east-1", ID, "").expect("a cluster");
    let text = signed_token();
    let token = Token::parse(&text).expect("a token");
    criterion.bench_function("parse", |bencher| {
        bencher.iter(|| Token::parse(black_box(&text)).is_ok());
    });
    criterion.bench_function("canonical request", |bencher| {
        bencher.iter(|| black_box(&token).canonical_request());
    });
    criterion.bench_function("signature", |bencher| {
        bencher.iter(|| assert!(black_box(&token).is_signed_with(SECRET)));
    });
    let mut logins = criterion.benchmark_group("login");
    for (name, others) in [("small account", 3), ("large account", MANY)] {
        let documents = documents(others);
        let identities = load(&documents);
        let judged = |identities: &Identities| {
            let environment = LoginEnvironment {
                now: NOW,
                cluster: &cluster,
                identities,
                connection: ConnectionFacts {
                    source_ip: Some([127, 0, 0, 1].into()),
                    is_tls: true,
                },
            };
            let verdict = judge(black_box(&text), "example", &environment);
            assert!(verdict.outcome.is_ok(), "{:?}", verdict.outcome);
        };
        logins.bench_function(name, |bencher| bencher.iter(|| judged(&identities)));

        let texts = documents.iter().map(|text| ("bench.json", text.as_str()));
        let bytes = excerpts::write(texts, &identities).expect("what was loaded can be written");
        let excerpt = || {
            excerpts::read(KEY, |offset, len| {
                let start = usize::try_from(offset).expect("a place in memory");
                Ok(bytes[start..start + len].to_vec())
            })
            .expect("what was written can be read")
        };
        logins.bench_function(format!("{name}, by an excerpt"), |bencher| {
            bencher.iter(|| judged(&excerpt()));
        });
    }
    logins.finish();
}

fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    let mut context = Context::default();
    context.set_all("aws:SourceIp", vec!["127.0.0.1".to_owned()]);
    let arn = format!("arn:aws:iam::{ACCOUNT}:user/alice");
    let resource = format!("arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/{ID}");
    for count in [1, 10, 100, 1_000] {
        let text = statements(count).to_string();
        let policy = Policy::parse(&text, Kind::IdentityBased).expect("a policy");
        let policies = Policies {
            identity: vec![Sourced {
                source: Source::Other("bench"),
                policy: &policy,
            }],
            ..Policies::default()
        };
        let caller = RequestPrincipal {
            arn: &arn,
            role_arn: None,
            unique_id: None,
        };
        let request = Request {
            action: "dsql:DbConnect",
            resource: &resource,
            resource_account: None,
            context: &context,
        };
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| authorize(black_box(&policies), &caller, &request).kind);
        });
    }
    group.finish();
}

fn documents_of_an_account(criterion: &mut Criterion) {
    let documents = documents(MANY);
    let mut group = criterion.benchmark_group("documents");
    group.sample_size(10);
    group.bench_function("load a large account", |bencher| {
        bencher.iter(|| load(&documents).counts());
    });
    let identities = load(&documents);
    group.bench_function("write its excerpts", |bencher| {
        bencher.iter(|| {
            excerpts::write(
                documents.iter().map(|text| ("bench.json", text.as_str())),
                &identities,
            )
        });
    });
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..MANY {
        let path = directory
            .path()
            .join(format!("dsql-iam-session-{number:020}.json"));
        fs::write(path, "{}").expect("a document");
    }
    group.bench_function("look at many", |bencher| {
        bencher.iter(|| fingerprint(directory.path(), UtcDateTime::now()));
    });
    group.finish();
}

criterion_group!(benches, logins, policies, documents_of_an_account);
criterion_main!(benches);
