//! The excerpt that one login needs of the documents: as good as all of them, and nothing more.

use dsql_iam_core::documents::{merge, parse};
use dsql_iam_core::excerpts::{read, write};
use dsql_iam_core::{Identities, Owner};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io;

const ACCOUNT: &str = "012345678912";
const OTHER: &str = "111111111111";

fn allow(action: &str) -> Value {
    json!({"Version": "2012-10-17",
           "Statement": [{"Sid": "One", "Effect": "Allow", "Action": action, "Resource": "*"}]})
}

fn managed(name: &str) -> Value {
    json!({"Arn": format!("arn:aws:iam::{ACCOUNT}:policy/{name}"), "DefaultVersionId": "v1",
           "PolicyVersionList": [{"VersionId": "v1", "Document": allow(&format!("x:{name}"))}]})
}

fn attached(names: &[&str]) -> Vec<Value> {
    let arn = |name| json!({"PolicyArn": format!("arn:aws:iam::{ACCOUNT}:policy/{name}")});
    names.iter().map(arn).collect()
}

fn key(user: &str, id: &str) -> Value {
    json!({"AccessKey": {"UserName": user, "AccessKeyId": id, "Status": "Active",
                         "SecretAccessKey": format!("secret of {id}")}})
}

fn session(role: &str, id: &str, request: &Value) -> Value {
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/s");
    let mut session = json!({
        "Credentials": {"AccessKeyId": id, "SecretAccessKey": format!("secret of {id}"),
                        "SessionToken": "token", "Expiration": "2099-01-01T00:00:00Z"},
        "AssumedRoleUser": {"Arn": arn},
    });
    if !request.is_null() {
        session["Request"] = request.clone();
    }
    session
}

fn user(account: &str, name: &str, rest: Value) -> Value {
    let mut user =
        json!({"UserName": name, "Arn": format!("arn:aws:iam::{account}:user/p/{name}")});
    user.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    user
}

fn role(name: &str, rest: Value) -> Value {
    let mut role =
        json!({"RoleName": name, "Arn": format!("arn:aws:iam::{ACCOUNT}:role/p/{name}")});
    role.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    role
}

/// One of everything, in two accounts.
fn documents() -> Vec<String> {
    let session_policy = json!({
        "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/p/App"), "RoleSessionName": "s",
        "Policy": allow("x:inline").to_string(), "Tags": [{"Key": "team", "Value": "ü"}],
        "PolicyArns": [{"arn": format!("arn:aws:iam::{ACCOUNT}:policy/session")}]});
    let plain = json!({"RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/p/App"),
                       "RoleSessionName": "s"});
    let group = |name: &str| {
        json!({"GroupName": name, "Arn": format!("arn:aws:iam::{ACCOUNT}:group/{name}"),
               "GroupPolicyList": [{"PolicyName": "g", "PolicyDocument": allow("x:group")}],
               "AttachedManagedPolicies": attached(&[name])})
    };
    let policies = ["one", "two", "limit", "session", "staff", "others", "other"].map(managed);
    let first = json!({
        "UserDetailList": [
            user(ACCOUNT, "alice", json!({
                "GroupList": ["staff", "gone"], "Tags": [{"Key": "a", "Value": "b"}],
                "UserPolicyList": [{"PolicyName": "i", "PolicyDocument": allow("x:own")}],
                "AttachedManagedPolicies": attached(&["one", "two", "gone"]),
                "PermissionsBoundary": {
                    "PermissionsBoundaryArn": format!("arn:aws:iam::{ACCOUNT}:policy/limit")}})),
            user(ACCOUNT, "bob", json!({"GroupList": ["staff"]})),
        ],
        "GroupDetailList": [group("staff"), group("others")],
        "RoleDetailList": [
            role("App", json!({"AttachedManagedPolicies": attached(&["two"])})),
            role("Other", json!({"AttachedManagedPolicies": attached(&["other"])})),
        ],
        "Policies": policies,
    });
    let second = json!({
        "UserDetailList": [user(OTHER, "bob", json!({})), user(OTHER, "carol", json!({}))],
        "RoleDetailList": [], "Policies": [managed("two")],
    });
    let scp = json!({"Policy": {
        "PolicySummary": {"Arn": "arn:aws:organizations::1:policy/o-1/service_control_policy/p-1",
                          "Type": "SERVICE_CONTROL_POLICY"},
        "Content": allow("*").to_string()}});
    let cluster = json!({"identifier": "abcdefghijklmnopqrstuvwxyz",
        "arn": format!("arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/abcdefghijklmnopqrstuvwxyz"),
        "tags": {"env": "test"}});
    let cluster_policy = json!({"policy": json!({"Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "dsql:*", "Resource": "*"}]}).to_string()});
    let entries = json!({"ContextEntries": [{"ContextKeyName": "aws:SourceVpc",
        "ContextKeyValues": ["vpc-1"], "ContextKeyType": "string"}]});
    let all = [
        first,
        second,
        scp,
        cluster,
        cluster_policy,
        entries,
        key("alice", "AKIAALICE"),
        key("alice", "AKIAALICE2"),
        key("bob", "AKIABOB"),
        key("carol", "AKIACAROL"),
        key("nobody", "AKIANOBODY"),
        session("App", "ASIAPLAIN", &plain),
        session("App", "ASIAPOLICY", &session_policy),
        session("Gone", "ASIAGONE", &Value::Null),
    ];
    all.iter().map(|value| format!("{value:#}\n")).collect()
}

/// Each with the path of a file; some share one.
fn named(documents: &[String]) -> impl Iterator<Item = (&str, &str)> {
    let names = ["/iam/x.json", "/iam/y.json", "z.json"].into_iter().cycle();
    names.zip(documents.iter().map(String::as_str))
}

fn load(documents: &[String]) -> Identities {
    let parsed = named(documents).map(|(name, text)| (name, parse(text).unwrap()));
    merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
}

fn written(documents: &[String]) -> Vec<u8> {
    write(named(documents), &load(documents)).unwrap()
}

fn excerpt(bytes: &[u8], id: &str) -> io::Result<Identities> {
    read(id, |offset, len| {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(part.to_vec())
    })
}

/// All that a login asks of identities, for one access key.
fn answers(identities: &Identities, id: &str) -> Vec<String> {
    let mut answers = vec![
        format!("{:?}", identities.cluster_policy()),
        format!("{:?}", identities.context_entries()),
        format!(
            "{:?}",
            identities
                .cluster("arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz")
        ),
    ];
    let Some(key) = identities.access_key(id) else {
        return answers;
    };
    answers.push(format!(
        "{} {:?} {:?}",
        key.is_active, key.expiration, key.owner
    ));
    let (principals, session) = match &key.owner {
        Owner::User { name, .. } => {
            let accounts = [ACCOUNT, OTHER, "222222222222"];
            (
                accounts.map(|account| identities.user(Some(account), name)),
                None,
            )
        }
        Owner::Session(session) => {
            let role = session.arn.split('/').nth(1).unwrap();
            (
                [identities.role(ACCOUNT, role), None, None],
                Some(&**session),
            )
        }
    };
    for principal in principals {
        let policies = principal.map(|principal| identities.policies(principal, session));
        answers.push(format!("{principal:?} {policies:?}"));
    }
    answers
}

#[test]
fn an_excerpt_answers_as_the_whole_does() {
    let documents = documents();
    let (all, bytes) = (load(&documents), written(&documents));
    let ids = [
        "AKIAALICE",
        "AKIAALICE2",
        "AKIABOB",
        "AKIACAROL",
        "AKIANOBODY",
        "ASIAPLAIN",
        "ASIAPOLICY",
        "ASIAGONE",
        "AKIAUNKNOWN",
        "",
    ];
    for id in ids {
        let part = excerpt(&bytes, id).unwrap();
        let answers_of_part = answers(&part, id);
        assert_eq!(answers_of_part, answers(&all, id), "{id}");
        // With the file that each policy came from.
        assert!(answers_of_part[0].contains(r#"file: Some(""#), "{id}");
        let same_secret = match (part.access_key(id), all.access_key(id)) {
            (Some(part), Some(all)) => part == all,
            (None, None) => true,
            _ => false,
        };
        assert!(same_secret, "{id}");
    }
}

/// Of a policy of AWS's own that changed between two exports, in whatever order they are read.
#[test]
fn an_excerpt_has_the_newest_version_of_a_policy() {
    let export = |account: &str, name: &str, version: &str| {
        let arn = "arn:aws:iam::aws:policy/Changed";
        let attached = json!({"AttachedManagedPolicies": [{"PolicyArn": arn}]});
        let policy = json!({"Arn": arn, "DefaultVersionId": version, "PolicyVersionList":
            [{"VersionId": version, "Document": allow(&format!("x:{version}"))}]});
        json!({"UserDetailList": [user(account, name, attached)], "Policies": [policy]}).to_string()
    };
    let key = key("alice", "AKIAALICE").to_string();
    for (first, second) in [("v9", "v10"), ("v10", "v9")] {
        let documents = [
            export(ACCOUNT, "alice", first),
            export(OTHER, "bob", second),
            key.clone(),
        ];
        let part = excerpt(&written(&documents), "AKIAALICE").unwrap();
        let answers_of_part = answers(&part, "AKIAALICE");
        assert_eq!(answers_of_part, answers(&load(&documents), "AKIAALICE"));
        assert!(answers_of_part.concat().contains("x:v10"), "{first}");
    }
}

#[test]
fn an_excerpt_holds_nothing_of_others() {
    let bytes = written(&documents());
    for (id, counts) in [
        ("AKIAALICE", (1, 0, 1)),
        // Of both accounts: which is meant, the login finds out.
        ("AKIABOB", (2, 0, 1)),
        ("ASIAPOLICY", (0, 1, 1)),
        ("AKIAUNKNOWN", (0, 0, 0)),
    ] {
        assert_eq!(counts_of(&excerpt(&bytes, id).unwrap()), counts, "{id}");
    }
}

/// The reads of one login: the steps of the search, and how many texts of how many bytes.
#[derive(Debug)]
struct Reads {
    steps: usize,
    texts: usize,
    bytes: usize,
}

/// The account of `documents()`, with so many more roles, each with a policy of its own and a session.
fn large_account(others: usize) -> Vec<u8> {
    let mut documents = documents();
    let mut roles = Vec::new();
    let mut policies = Vec::new();
    for number in 0..others {
        let name = format!("n{number}");
        roles.push(role(
            &name,
            json!({"AttachedManagedPolicies": attached(&[&name])}),
        ));
        policies.push(managed(&name));
        documents.push(session(&name, &format!("ASIAOTHER{number}"), &Value::Null).to_string());
    }
    documents.push(json!({"RoleDetailList": roles, "Policies": policies}).to_string());
    written(&documents)
}

/// Users, roles and access keys.
fn counts_of(identities: &Identities) -> (usize, usize, usize) {
    let counts = identities.counts();
    (counts.users, counts.roles, counts.access_keys)
}

fn reads(account: &[u8], id: &str, counts: (usize, usize, usize)) -> Reads {
    let entries = u64::from_le_bytes(account[..8].try_into().unwrap());
    let index = 8..8 + entries * 48;
    let all = RefCell::new(Vec::new());
    let identities = read(id, |offset, len| {
        all.borrow_mut().push((offset, len));
        let start = usize::try_from(offset).unwrap();
        Ok(account[start..start + len].to_vec())
    });
    assert_eq!(counts_of(&identities.unwrap()), counts, "{id}");
    let all = all.into_inner();
    let steps = all.iter().filter(|(offset, _)| index.contains(offset));
    let texts = all.iter().filter(|(offset, _)| *offset >= index.end);
    Reads {
        steps: steps.count(),
        texts: texts.clone().count(),
        bytes: texts.map(|(_, len)| len).sum(),
    }
}

/// With 5,000 roles and 5,000 policies a login reads what it reads with three of them. All that grows is the
/// search, by a step for each doubling, and the digits of the places in its list.
#[test]
fn a_login_reads_no_more_of_a_large_account() {
    let (small, large) = (large_account(3), large_account(5_000));
    for (id, counts) in [
        ("AKIAALICE", (1, 0, 1)),
        ("AKIABOB", (2, 0, 1)),
        ("ASIAPLAIN", (0, 1, 1)),
        ("ASIAPOLICY", (0, 1, 1)),
        ("ASIAOTHER2", (0, 1, 1)),
        ("AKIAUNKNOWN", (0, 0, 0)),
    ] {
        let few = reads(&small, id, counts);
        let many = reads(&large, id, counts);
        assert_eq!(few.texts, many.texts, "{id}");
        let digits = many.texts * large.len().to_string().len();
        assert!(many.bytes <= few.bytes + digits, "{id}: {few:?}, {many:?}");
        // An id that is not there is looked for, and then what concerns everybody.
        let searches = if id == "AKIAUNKNOWN" { 2 } else { 1 };
        assert!(many.steps <= searches * 13, "{id}: {many:?}");
    }
}

/// Of those identities the policies that a login is judged by are the principal's own, however many there are.
#[test]
fn a_login_is_judged_by_no_more_policies_in_a_large_account() {
    let asked_of = |others: usize| {
        let account = large_account(others);
        let identities = excerpt(&account, "ASIAOTHER2").unwrap();
        let role = identities.role(ACCOUNT, "n2").unwrap();
        let policies = identities.policies(role, None).unwrap();
        let all = policies
            .identity
            .into_iter()
            .map(|one| one.source.to_string());
        all.collect::<Vec<_>>()
    };
    let own = [format!("arn:aws:iam::{ACCOUNT}:policy/n2")];
    assert_eq!(asked_of(3), own);
    assert_eq!(asked_of(500), own);
}

/// Wherever a file ends or is damaged, there is an error or an excerpt, and never a panic.
#[test]
fn what_was_not_written_like_this_is_an_error() {
    let documents = &documents()[6..];
    let (all, whole) = (load(documents), written(documents));
    for end in 0..whole.len() {
        if let Ok(part) = excerpt(&whole[..end], "AKIAALICE") {
            assert_eq!(
                answers(&part, "AKIAALICE"),
                answers(&all, "AKIAALICE"),
                "{end}"
            );
        }
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        let _ = excerpt(&damaged, "AKIAALICE");
    }
    for garbage in [&b""[..], &[0xff; 8], &[0xff; 200], b"{}"] {
        assert!(excerpt(garbage, "AKIAALICE").is_err());
    }
}
