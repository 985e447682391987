use super::*;
use crate::identity::Identities;
use serde_json::json;
use time::Duration;

fn fault(document: serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(&document).unwrap();
    match parse(&text) {
        Err(error) => error.to_string(),
        Ok(document) => match merge([("x.json", document)]) {
            Err((_, error)) => error.to_string(),
            Ok(_) => panic!("accepted: {text}"),
        },
    }
}

#[test]
fn the_position_of_a_fault_is_named() {
    let error = parse("{\n  \"AccessKey\": {\n    \"UserName\" \"x\"\n  }\n}")
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "expected `:` at line 3 column 16");
}

#[test]
fn a_secret_is_never_quoted() {
    for text in [
        "{\"AccessKey\": \"hunter2\"}",
        "{\"AccessKey\": {\"SecretAccessKey\": {\"hunter2\": 1}}}",
        "{\"AssumedRoleUser\": {}, \"Credentials\": \"hunter2\"}",
        "{\"AssumedRoleUser\": \"a\", \"Credentials\": {\"Expiration\": \"hunter2\", \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"b\", \"SessionToken\": \"c\"}}",
        "\"hunter2\"",
    ] {
        let error = parse(text).err().unwrap().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

const NOTHING_KNOWN: &str = "not the output of get-account-authorization-details, create-access-key, assume-role, \
    get-session-token, get-cluster-policy, get-cluster, describe-policy, get-open-id-connect-provider, \
    create-virtual-mfa-device, list-virtual-mfa-devices or list-mfa-devices, nor ContextEntries, nor the keys of an \
    identity provider";

#[test]
fn faults_are_named() {
    let user = json!({"UserName": "a", "Arn": "arn:aws:iam::012345678912:user/a"});
    let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let version = |id: &str| json!({"VersionId": id, "Document": {"Statement": statement}});
    let policy = json!({"Arn": "arn:aws:iam::aws:policy/P", "DefaultVersionId": "v2",
        "PolicyVersionList": [version("v1")]});
    for (document, expected) in [
        (json!({}), NOTHING_KNOWN),
        (
            json!({"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}),
            "credentials without their owner: add the output of aws sts get-caller-identity to a session of a user; \
             write one of a role as aws sts assume-role prints it, with that Arn in AssumedRoleUser",
        ),
        (
            json!({"roleCredentials": {"accessKeyId": "ASIA"}}),
            "credentials without their owner",
        ),
        (
            json!({"Credentials": {"AccessKeyId": "ASIA"}, "FederatedUser": {"Arn": "a"}}),
            "a session of aws sts get-federation-token, which is not supported",
        ),
        (
            json!({"Credentials": {"AccessKeyId": "ASIA"}, "FederatedUser": {"Arn": "a"},
                "Arn": "arn:aws:iam::012345678912:user/a"}),
            "a session of aws sts get-federation-token, which is not supported",
        ),
        (
            json!({"UserDetailList": [{"UserName": "a", "Arn": "a", "Tags": null}]}),
            "a member is null; it has a value, or is not there",
        ),
        (
            json!({"UserDetailList": [], "IsTruncated": true}),
            "IsTruncated is true: the export is incomplete",
        ),
        (
            json!({"UserDetailList": [], "NextToken": "eyJNYXJrZXIiOiBudWxsfQ=="}),
            "there is a NextToken: the export is incomplete",
        ),
        (
            json!({"RoleDetailList": [], "IsTruncated": false, "Marker": "m"}),
            "there is a Marker: the export is incomplete",
        ),
        (
            json!({"UserDetailList": [user, user]}),
            "duplicate arn:aws:iam::",
        ),
        (
            json!({"UserDetailList": [{"UserName": "b", "Arn": "arn:aws:iam::012345678912:user/a"}]}),
            "user/a is called b",
        ),
        (
            json!({"UserDetailList": [{"UserName": "b", "Arn": "nonsense"}]}),
            "\"nonsense\" is not the ARN of a user or role",
        ),
        (
            json!({"UserDetailList": [], "Policies": [policy]}),
            "does not hold its version v2 once",
        ),
        (
            json!({"AccessKey": {"UserName": "a", "AccessKeyId": "", "Status": "Active",
                "SecretAccessKey": "s", "CreateDate": "2026-01-01T00:00:00Z"}}),
            "AccessKeyId is empty",
        ),
        (
            json!({"AccessKey": {"UserName": "a", "AccessKeyId": "AKIA", "Status": "Active"}}),
            "SecretAccessKey is missing or empty",
        ),
    ] {
        let message = fault(document);
        assert!(message.contains(expected), "{message}");
    }
}

/// IAM has each of these once: which of two is meant could not be told.
#[test]
fn an_identity_that_is_ambiguous_is_nobodys() {
    let arn = |rest: &str| format!("arn:aws:iam::012345678912:{rest}");
    let user = |name: &str, id: &str| json!({"UserName": name, "UserId": id, "Arn": arn(&format!("user/{name}"))});
    let role = |name: &str, id: &str| json!({"RoleName": name, "RoleId": id, "Arn": arn(&format!("role/{name}"))});
    let group = |name: &str, rest: &str| json!({"GroupName": name, "Arn": arn(rest)});
    let policy = |name: &str, arn: &str| {
        json!({"PolicyName": name, "Arn": arn, "DefaultVersionId": "v1",
            "PolicyVersionList": [{"VersionId": "v1", "Document": {"Statement": []}}]})
    };
    let id = "AIDACKCEVSQ6C2EXAMPLE";
    let other = "AROACKCEVSQ6C2EXAMPLE";
    let (users, roles) = ("UserDetailList", "RoleDetailList");
    let (groups, policies) = ("GroupDetailList", "Policies");
    let has_id = "arn:aws:iam::012345678912:user/b has the unique id AIDACKCEVSQ6C2EXAMPLE, which is \
                  arn:aws:iam::012345678912:user/a's";
    for (document, expected) in [
        (json!({users: [user("a", id), user("b", id)]}), has_id),
        (
            json!({roles: [role("a", other), role("b", other)]}),
            "which is arn:aws:iam::012345678912:role/a's",
        ),
        (
            json!({users: [user("Alice", id), user("alice", "")]}),
            "user/alice and arn:aws:iam::012345678912:user/Alice differ by upper and lower case, and IAM has one user",
        ),
        (
            json!({roles: [role("App", other), role("APP", "")]}),
            "IAM has one role of such a name",
        ),
        (
            json!({users: [], groups: [group("g", "group/g"), group("G", "group/x/G")]}),
            "IAM has one group of such a name",
        ),
        (
            json!({users: [], groups: [group("g", "group/g"), group("g", "group/x/g")]}),
            "duplicate arn:aws:iam::012345678912:group/x/g",
        ),
        (
            json!({users: [], groups: [group("staff", "group/admins")]}),
            "group/admins\" is not the ARN of a group staff",
        ),
        (
            json!({users: [], groups: [group("g", "user/g")]}),
            "user/g\" is not the ARN of a group g",
        ),
        (
            json!({users: [], policies: [policy("Deny", "arn:aws:iam::012345678912:policy/x/Allow")]}),
            "policy/x/Allow\" is not the ARN of a policy Deny",
        ),
        (
            json!({users: [], policies: [policy("P", "arn:aws:s3:::policy/P")]}),
            "is not the ARN of a policy P",
        ),
    ] {
        let fault = fault(document);
        assert!(fault.contains(expected), "{fault}");
    }
    let mut other_session = session(0, json!(null));
    for id in ["AROA:another", "AROA", "AROA:web:web"] {
        other_session["AssumedRoleUser"]["AssumedRoleId"] = json!(id);
        let fault = refused(&other_session.to_string());
        assert_eq!(
            fault, "AssumedRoleId is that of another session than Arn",
            "{id}"
        );
    }
    // A user and a role may have one name, and so may users of two accounts.
    let elsewhere = json!({"UserName": "app", "Arn": "arn:aws:iam::999999999999:user/app"});
    let all = json!({users: [user("App", id), elsewhere], roles: [role("app", other)],
        groups: [group("APP", "group/y/APP")], policies: [policy("P", "arn:aws:iam::aws:policy/x/P")]});
    let parsed = parse(&all.to_string()).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(merge([("a.json", parsed)]).is_ok());
}

#[test]
fn who_no_document_can_describe() {
    let account = "arn:aws:iam::012345678912:root";
    let user = json!({"UserDetailList": [{"UserName": "root", "Arn": account}]});
    let mut federated = session(0, json!(null));
    federated["AssumedRoleUser"]["Arn"] = json!("arn:aws:sts::012345678912:federated-user/alice");
    let mut root = session(0, json!(null));
    root["AssumedRoleUser"]["Arn"] = json!(account);
    for (document, expected) in [
        (user, "is not the ARN of a user or role"),
        (
            federated,
            "AssumedRoleUser.Arn is not the ARN of a role session",
        ),
        (root, "AssumedRoleUser.Arn is not the ARN of a role session"),
    ] {
        let message = fault(document);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn more_than_an_account_can_have_is_refused() {
    let arn = "arn:aws:iam::012345678912:user/a";
    let attached = |count: usize, distinct: usize| -> Vec<serde_json::Value> {
        let policy = |number| format!("arn:aws:iam::aws:policy/P{}", number % distinct);
        (0..count)
            .map(|number| json!({ "PolicyArn": policy(number) }))
            .collect()
    };
    let user = |more: serde_json::Value| {
        let mut user = json!({"UserName": "a", "Arn": arn});
        user.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "UserDetailList": [user] })
    };
    let groups = |count: usize| (0..count).map(|n| format!("g{n}")).collect::<Vec<_>>();
    let inline = json!({"PolicyName": "p", "PolicyDocument": {"Statement": []}});
    for (more, expected) in [
        (
            json!({"AttachedManagedPolicies": attached(101, 101)}),
            "attached policies than 100",
        ),
        (
            json!({ "GroupList": groups(51) }),
            "groups it is in than 50",
        ),
        (
            json!({"UserPolicyList": vec![inline.clone(); 501]}),
            "inline policies than 500",
        ),
    ] {
        let said = fault(user(more));
        assert!(
            said.starts_with(&format!("{arn} has more {expected}")),
            "{said}"
        );
    }
    let group = json!({"UserDetailList": [], "GroupDetailList": [{"GroupName": "g",
        "Arn": "arn:aws:iam::012345678912:group/g",
        "AttachedManagedPolicies": attached(101, 101)}]});
    assert!(fault(group).contains("group/g has more attached policies than 100"));
    let policies: Vec<_> = (0..101)
        .map(|n| json!({"arn": format!("arn:p{n}")}))
        .collect();
    let session = session(6, request(json!({ "PolicyArns": policies })));
    assert!(fault(session).contains("has more session policies than 100"));

    // As often as one likes is as good as once; here and by way of a group.
    let mut document = user(json!({"AttachedManagedPolicies": attached(2_000, 2),
        "GroupList": ["g", "g"]}));
    document["GroupDetailList"] = json!([{"GroupName": "g",
        "Arn": "arn:aws:iam::012345678912:group/g",
        "AttachedManagedPolicies": attached(2_000, 3)}]);
    let policy = |number: usize| {
        json!({"Arn": format!("arn:aws:iam::aws:policy/P{number}"), "DefaultVersionId": "v1",
            "PolicyVersionList": [{"VersionId": "v1", "Document": {"Statement": []}}]})
    };
    document["Policies"] = json!([policy(0), policy(1), policy(2)]);
    let parsed = parse(&document.to_string()).ok().unwrap();
    let all = merge([("a.json", parsed)]).ok().unwrap();
    let policies = all.policies(all.principal(arn).unwrap(), None).unwrap();
    assert_eq!(policies.identity.len(), 3);
}

fn session(packed: u32, request: serde_json::Value) -> serde_json::Value {
    let mut session = json!({
        "Credentials": {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2024-11-25T12:00:00+00:00"},
        "AssumedRoleUser": {"AssumedRoleId": "AROA:web",
            "Arn": "arn:aws:sts::012345678912:assumed-role/App/web"},
        "PackedPolicySize": packed,
    });
    if !request.is_null() {
        session["Request"] = request;
    }
    session
}

/// Whether the text is refused, and with what words.
/// A session of a user, as `get-session-token` and `get-caller-identity` print it together.
fn user_session() -> serde_json::Value {
    json!({"Credentials": {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2024-11-25T12:00:00Z"},
        "Arn": "arn:aws:iam::012345678912:user/a", "UserId": "AIDAA", "Request": {}})
}

/// A document with these members too.
fn and(mut document: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    let members = more.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(members);
    document
}

fn refused(text: &str) -> String {
    let Err(fault) = parse(text) else {
        panic!("accepted: {text}")
    };
    fault.to_string()
}

#[test]
fn a_null_that_could_hide_a_limit_is_refused() {
    let user = json!({"UserDetailList": [{"UserName": "a",
        "Arn": "arn:aws:iam::012345678912:user/a"}]});
    let role = json!({"RoleDetailList": [{"RoleName": "App",
        "Arn": "arn:aws:iam::012345678912:role/App"}]});
    let cluster =
        json!({"identifier": "a", "arn": "arn:aws:dsql:us-east-1:012345678912:cluster/a"});
    let user_is = "/UserDetailList/0";
    let role_is = "/RoleDetailList/0";
    let asked = session(0, request(json!({})));
    let of_user = user_session();
    for (document, place, members) in [
        (
            &user,
            user_is,
            &[
                "PermissionsBoundary",
                "UserId",
                "Tags",
                "UserPolicyList",
                "GroupList",
                "AttachedManagedPolicies",
            ][..],
        ),
        (
            &role,
            role_is,
            &[
                "PermissionsBoundary",
                "RoleId",
                "Tags",
                "RolePolicyList",
                "MaxSessionDuration",
                "AssumeRolePolicyDocument",
                "AttachedManagedPolicies",
            ],
        ),
        (
            &asked,
            "",
            &["PackedPolicySize", "SourceIdentity", "Request"],
        ),
        (&asked, "/AssumedRoleUser", &["AssumedRoleId"]),
        (&asked, "/Credentials", &["Expiration", "SessionToken"]),
        (
            &asked,
            "/Request",
            &[
                "Policy",
                "PolicyArns",
                "Tags",
                "DurationSeconds",
                "SerialNumber",
                "SourceIdentity",
                "TransitiveTagKeys",
                "ExternalId",
                "TokenCode",
                "ProvidedContexts",
            ],
        ),
        (
            &of_user,
            "/Request",
            &["DurationSeconds", "SerialNumber", "TokenCode"],
        ),
        (
            &user,
            "",
            &[
                "RoleDetailList",
                "GroupDetailList",
                "IsTruncated",
                "policy",
                "AccessKey",
            ],
        ),
        (&cluster, "", &["tags", "Policy"]),
    ] {
        for member in members {
            let mut document = document.clone();
            parse(&document.to_string()).unwrap_or_else(|fault| panic!("{document}: {fault}"));
            document.pointer_mut(place).unwrap()[*member] = json!(null);
            let said = refused(&document.to_string());
            let is_null = said.starts_with("a member is null; it has a value, or is not there")
                || said.starts_with("invalid type: null");
            assert!(is_null, "{place}/{member}: {said}");
            assert!(!said.contains("struct "), "{said}");
        }
    }
    // The end of the AWS CLI's pages means the same as its absence.
    let mut whole = user;
    whole["NextToken"] = json!(null);
    whole["Marker"] = json!(null);
    assert!(parse(&whole.to_string()).is_ok());
}

#[test]
fn only_objects_are_documents_and_nothing_is_there_twice() {
    let printed = "invalid type: array, expected an object: what a command of the AWS CLI printed";
    for (text, fault) in [
        ("[]", printed),
        ("[[], [], [], [], [], [], [], []]", printed),
        (
            "null",
            "invalid type: null, expected an object: what a command of the AWS CLI printed",
        ),
        (
            r#"{"UserDetailList": [["a", "arn:aws:iam::012345678912:user/a"]]}"#,
            "invalid type: array, expected an object: a user",
        ),
        (
            r#"{"AccessKey": ["a", "AKIA", "Active", "secret"]}"#,
            "invalid type: array, expected an object: an access key",
        ),
        (
            r#"{"RoleDetailList": [{"RoleName": "App", "Arn": "a",
                "PermissionsBoundary": ["arn:aws:iam::aws:policy/P"]}]}"#,
            "invalid type: array, expected an object: a permissions boundary",
        ),
        (
            r#"{"UserDetailList": [{"UserName": "a", "Arn": "a",
                "PermissionsBoundary": {"PermissionsBoundaryArn": "a"},
                "PermissionsBoundary": {"PermissionsBoundaryArn": "b"}}]}"#,
            "duplicate field `PermissionsBoundary`",
        ),
        (
            r#"{"identifier": "a", "arn": "arn:aws:dsql:us-east-1:012345678912:cluster/a",
                "tags": {"team": "a", "team": "b"}}"#,
            "duplicate tag \"team\"",
        ),
        (
            "\u{feff}{\"UserDetailList\": []}",
            "it starts with a byte order mark, which JSON does not have; save it as UTF-8 without one",
        ),
    ] {
        let said = refused(text);
        assert!(said.starts_with(fault), "{text}: {said}");
    }
}

fn request(more: serde_json::Value) -> serde_json::Value {
    let request = json!({"RoleArn": "arn:aws:iam::012345678912:role/x/App",
        "RoleSessionName": "web"});
    and(request, more)
}

#[test]
fn what_a_session_was_narrowed_by() {
    let policy = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let parsed = |packed, request| {
        let Ok(Document::Key(_, key)) = parse(&session(packed, request).to_string()) else {
            panic!("a key")
        };
        match key.owner {
            Owner::Session(session) => session,
            Owner::User { .. } => panic!("a session"),
        }
    };
    // The earliest time that is possible, the usual one, and the one that was asked for.
    let hour = |hour| time::macros::utc_datetime!(2024-11-25 00:00:00) + Duration::hours(hour);
    assert_eq!(parsed(0, json!(null)).issued_at, hour(0));
    assert_eq!(parsed(0, request(json!({}))).issued_at, hour(11));
    let asked_for = request(json!({"DurationSeconds": 7200}));
    assert_eq!(parsed(0, asked_for).issued_at, hour(10));

    assert!(parsed(6, json!(null)).has_hidden_policies);
    assert!(parsed(6, request(json!({}))).has_hidden_policies);
    assert!(parsed(0, json!(null)).policies.is_none());
    let tagged = parsed(6, request(json!({"Tags": [{"Key": "a", "Value": "b"}]})));
    assert!(!tagged.has_hidden_policies && tagged.policies.is_none());
    let narrowed = parsed(
        6,
        request(json!({"Policy": policy,
        "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/P"}]})),
    );
    assert!(!narrowed.has_hidden_policies);
    let policies = narrowed.policies.unwrap();
    assert!(policies.inline.is_some());
    assert_eq!(policies.attached, ["arn:aws:iam::aws:policy/P"]);
}

#[test]
fn faults_of_the_other_documents_are_named() {
    let entry = |name: &str, values: serde_json::Value, kind: &str| {
        json!({"ContextEntries": [{"ContextKeyName": name, "ContextKeyValues": values,
            "ContextKeyType": kind}]})
    };
    let organization = |kind: &str, content: &str| {
        json!({"Policy": {"PolicySummary": {"Arn": "arn:aws:organizations::1:policy/p", "Type": kind},
            "Content": content}})
    };
    let role = |trust: serde_json::Value| {
        json!({"RoleDetailList": [{"RoleName": "App", "AssumeRolePolicyDocument": trust,
            "Arn": "arn:aws:iam::012345678912:role/App"}]})
    };
    let user = |tags: serde_json::Value| {
        json!({"UserDetailList": [{"UserName": "a", "Tags": tags,
            "Arn": "arn:aws:iam::012345678912:user/a"}]})
    };
    let cluster = "arn:aws:dsql:us-east-1:012345678912:cluster/abc";
    for (document, expected) in [
        (
            json!({"UserDetailList": [], "policy": "{}"}),
            "more than one command",
        ),
        (
            and(user_session(), json!({"UserDetailList": []})),
            "more than one command",
        ),
        (
            and(user_session(), json!({"AccessKey": {}})),
            "more than one command",
        ),
        (
            and(user_session(), json!({"AssumedRoleUser": {}})),
            "more than one command",
        ),
        (
            json!({"UserDetailList": [], "Credentials": {}}),
            "more than one command",
        ),
        (
            json!({"ContextEntries": [], "AccessKeyId": "ASIA"}),
            "more than one command",
        ),
        (
            and(
                user_session(),
                json!({"Arn": "arn:aws:sts::012345678912:assumed-role/App/s"}),
            ),
            "Arn has to be a user's ARN; write a role session's into AssumedRoleUser",
        ),
        (
            session(0, request(json!({"Polcy": "{}"}))),
            "unknown field `Polcy`",
        ),
        (
            session(0, request(json!({"Policy": "{}"}))),
            "missing field `Statement`",
        ),
        (
            session(0, request(json!({"DurationSeconds": 60}))),
            "DurationSeconds",
        ),
        (
            session(0, request(json!({"RoleSessionName": "other"}))),
            "another session",
        ),
        (
            session(
                0,
                request(json!({"RoleArn": "arn:aws:iam::012345678912:role/Other"})),
            ),
            "another session",
        ),
        (
            json!({"policy": "{}", "policyVersion": "1"}),
            "missing field `Statement`",
        ),
        (
            json!({"policy": "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}"}),
            "a statement has no Principal",
        ),
        (
            json!({"identifier": "a", "arn": "arn:aws:s3:::a"}),
            "not the ARN of a cluster",
        ),
        (
            json!({"identifier": "a", "arn": cluster, "tags": {"a": "1", "A": "2"}}),
            "duplicate tag \"a\"",
        ),
        (
            organization("TAG_POLICY", "{}"),
            "only SERVICE_CONTROL_POLICY",
        ),
        (
            organization("SERVICE_CONTROL_POLICY", "{}"),
            "missing field `Statement`",
        ),
        (entry("", json!(["a"]), "string"), "ContextKeyName is empty"),
        (
            entry("a:b", json!(["a", "b"]), "string"),
            "must have exactly one value",
        ),
        (
            entry("a:b", json!(["x"]), "numeric"),
            "\"x\" for a:b is not of type numeric",
        ),
        (
            entry("a:b", json!(["true", "x"]), "booleanList"),
            "not of type booleanList",
        ),
        (
            entry("a:b", json!(["x"]), "dateList"),
            "not of type dateList",
        ),
        (entry("a:b", json!(["x"]), "ip"), "not of type ip"),
        (entry("a:b", json!(["x"]), "binary"), "not of type binary"),
        (entry("a:b", json!(["x"]), "text"), "unknown ContextKeyType"),
        (
            entry("a:b", json!(vec!["x"; 9000]), "stringList"),
            "ContextEntries hold more than",
        ),
        (
            role(json!({"Statement": {"Effect": "Allow"}})),
            "a statement has neither Action",
        ),
        (
            role(json!(
                "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D"
            )),
            "a statement has no Principal",
        ),
        (
            user(json!([{"Key": "Team", "Value": "a"}, {"Key": "team", "Value": "b"}])),
            "duplicate tag \"team\"",
        ),
    ] {
        let message = fault(document.clone());
        assert!(message.contains(expected), "{document}: {message}");
    }
}

#[test]
fn what_can_be_there_once_only() {
    let policy = json!({"policy": "{\"Statement\": []}"}).to_string();
    let entries = json!({"ContextEntries": [{"ContextKeyName": "a:B", "ContextKeyType": "string",
        "ContextKeyValues": ["x"]}]});
    let cluster = json!({"identifier": "a", "arn": "arn:aws:dsql:us-east-1:1:cluster/a"});
    let organization = json!({"Policy": {"Content": "{\"Statement\": []}",
        "PolicySummary": {"Arn": "arn:p", "Type": "SERVICE_CONTROL_POLICY"}}});
    for text in [
        policy,
        entries.to_string(),
        cluster.to_string(),
        organization.to_string(),
    ] {
        let twice = ["a.json", "b.json"].map(|name| (name, parse(&text).ok().unwrap()));
        let (name, error) = merge(twice).err().unwrap();
        assert_eq!(name, "b.json");
        assert!(error.to_string().starts_with("duplicate "), "{error}");
    }
}

#[test]
fn the_default_version_counts_wherever_it_stands() {
    let statement =
        |effect: &str| json!({"Statement": {"Effect": effect, "Action": "*", "Resource": "*"}});
    let details = json!({"UserDetailList": [], "Policies": [{
    "Arn": "arn:aws:iam::aws:policy/P", "DefaultVersionId": "v2",
    "PolicyVersionList": [
        {"VersionId": "v3", "Document": statement("Deny")},
        {"VersionId": "v2", "Document": statement("Allow")},
        {"VersionId": "v1", "Document": statement("Deny")},
    ]}]});
    let document = parse(&details.to_string()).ok().unwrap();
    let all = merge([("a.json", document)]).ok().unwrap();
    let policy = &all.policies["arn:aws:iam::aws:policy/P"];
    assert_eq!(
        policy.statements()[0].effect(),
        crate::policy::Effect::Allow
    );
}

#[test]
fn of_aws_s_own_policies_the_newest_version_is_in_force() {
    let export = |account: &str, owner: &str, version: &str, action: &str| {
        let arn = format!("arn:aws:iam::{account}:user/u");
        let document = json!({"UserDetailList": [{"UserName": "u", "Arn": arn}], "Policies": [{
            "Arn": format!("arn:aws:iam::{owner}:policy/P"), "DefaultVersionId": version,
            "PolicyVersionList": [{"VersionId": version, "Document":
                {"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}}]}]});
        parse(&document.to_string()).ok().unwrap()
    };
    let merged = |owner: &str, versions: [(&str, &str); 2]| {
        let [one, two] = versions;
        let one = export("111111111111", owner, one.0, one.1);
        let two = export("222222222222", owner, two.0, two.1);
        let all = merge([("a.json", one), ("b.json", two)]);
        let all = all.map_err(|(name, fault)| format!("{name}: {fault}"))?;
        let policy = &all.policies[&format!("arn:aws:iam::{owner}:policy/P")];
        Ok(policy.file().unwrap().to_owned())
    };
    let differs = |owner: &str| {
        Err(format!(
            "b.json: duplicate arn:aws:iam::{owner}:policy/P, with different documents"
        ))
    };
    for (owner, versions, expected) in [
        ("aws", [("v2", "s3:a"), ("v3", "s3:b")], Ok("b.json".into())),
        (
            "aws",
            [("v10", "s3:a"), ("v9", "s3:b")],
            Ok("a.json".into()),
        ),
        ("aws", [("v2", "s3:a"), ("v2", "s3:a")], Ok("b.json".into())),
        ("aws", [("v2", "s3:a"), ("v2", "s3:b")], differs("aws")),
        ("aws", [("2", "s3:a"), ("v3", "s3:b")], differs("aws")),
        // Of an account there is one export.
        (
            "111111111111",
            [("v2", "s3:a"), ("v3", "s3:b")],
            differs("111111111111"),
        ),
    ] {
        assert_eq!(merged(owner, versions), expected, "{versions:?}");
    }
}

#[test]
fn what_is_not_json_is_said_to_be_that() {
    let other = "it is not JSON; run the AWS CLI's command with --output json";
    for (text, fault) in [
        ("GroupDetailList: []\nPolicies:\n- Arn: a\n", other),
        ("USERDETAILLIST\tarn:aws:iam::012345678912:user/a\n", other),
        ("-----------\n|  GetAccountAuthorizationDetails  |\n", other),
        ("\n\n---\nGroupDetailList: []\n", other),
        (
            "{\0\"\0",
            "it is in UTF-16, as > of Windows PowerShell writes it",
        ),
        ("", "EOF while parsing"),
        ("{\"UserDetailList\":", "EOF while parsing"),
        ("7", "invalid type: integer"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(fault), "{text:?}: {said}");
    }
    let said = BadDocument::not_utf8(b"\xff\xfe{\0", 0).to_string();
    assert!(said.starts_with("it is in UTF-16"), "{said}");
}

#[test]
fn a_user_whom_several_accounts_have_is_nobody_without_the_account() {
    let account = |number: &str| {
        let arn = format!("arn:aws:iam::{number}:user/x/alice");
        let document = json!({"UserDetailList": [{"UserName": "alice", "Arn": arn}]});
        ("a document", parse(&document.to_string()).ok().unwrap())
    };
    let (one, two) = ("111111111111", "222222222222");
    let all = merge([account(one)]).ok().unwrap();
    let found = |all: &Identities, account: Option<&str>| {
        all.user(account, "alice").map(|user| user.arn.clone())
    };
    let arn_of_one = Some("arn:aws:iam::111111111111:user/x/alice".to_owned());
    assert_eq!(found(&all, None), arn_of_one);
    assert_eq!(found(&all, Some("333333333333")), None);
    let all = merge([account(one), account(two)]).ok().unwrap();
    assert_eq!(found(&all, None), None);
    assert_eq!(found(&all, Some(one)), arn_of_one);
}

/// The secret of a device is one in each form, whosever the device is.
#[test]
fn a_document_with_the_secret_of_a_device_is_secret() {
    const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let root = json!({"User": {"Arn": "arn:aws:iam::012345678912:root"}});
    let device = json!({"SerialNumber": "arn:aws:iam::012345678912:mfa/a", "UserName": "a"});
    let hardware = json!({"SerialNumber": "GAHT12345678", "UserName": "a"});
    let has_secret = |document: &serde_json::Value| {
        let document = parse(&document.to_string());
        document
            .unwrap_or_else(|fault| panic!("{fault}"))
            .has_secret()
    };
    for device in [device.clone(), and(device, root), hardware] {
        let is_virtual = device["SerialNumber"] != "GAHT12345678";
        let forms = |device: &serde_json::Value| {
            let mut forms = vec![json!({"MFADevices": [device]})];
            if is_virtual {
                forms.push(json!({"VirtualMFADevice": device}));
                forms.push(json!({"VirtualMFADevices": [device]}));
            }
            forms
        };
        for form in forms(&device) {
            assert!(!has_secret(&form), "{form}");
        }
        for secret in [
            json!({"Base32StringSeed": SEED}),
            json!({"QRCodePNG": "iVBORw0K"}),
        ] {
            for form in forms(&and(device.clone(), secret)) {
                assert!(has_secret(&form), "{form}");
            }
        }
    }
}

#[test]
fn a_device_is_of_one_user() {
    let device = |user_id: serde_json::Value| {
        let user = json!({"Arn": "arn:aws:iam::012345678912:user/a"});
        let serial = "arn:aws:iam::012345678912:mfa/a";
        json!({"VirtualMFADevices": [{"SerialNumber": serial, "User": and(user, user_id)}]})
    };
    let merged = |devices: [serde_json::Value; 2]| {
        let parsed = devices.map(|device| ("x.json", parse(&device.to_string()).ok().unwrap()));
        merge(parsed)
            .map(|_| ())
            .map_err(|(_, fault)| fault.to_string())
    };
    let (one, other) = (json!({"UserId": "AIDAA"}), json!({"UserId": "AIDAB"}));
    assert_eq!(merged([device(one.clone()), device(one.clone())]), Ok(()));
    assert_eq!(merged([device(json!({})), device(one.clone())]), Ok(()));
    let fault = "duplicate arn:aws:iam::012345678912:mfa/a, with different users";
    assert_eq!(merged([device(one), device(other)]), Err(fault.to_owned()));
    let said = refused(&device(json!({"UserId": null})).to_string());
    assert!(said.starts_with("a member is null"), "{said}");
}
