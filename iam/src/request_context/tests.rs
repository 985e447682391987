use super::*;
use crate::documents;
use crate::identity::Owner;
use serde_json::json;
use time::macros::utc_datetime;

const ARN: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";

fn identities() -> Identities {
    let account = json!({
        "UserDetailList": [{"UserName": "alice", "UserId": "AIDAALICE",
            "Arn": "arn:aws:iam::012345678912:user/staff/alice",
            "Tags": [{"Key": "Team", "Value": "blue"}]}],
        "RoleDetailList": [{"RoleName": "App", "RoleId": "AROAAPP",
            "Arn": "arn:aws:iam::012345678912:role/x/App",
            "Tags": [{"Key": "Team", "Value": "red"}, {"Key": "stage", "Value": "dev"}]}],
    });
    let session = json!({
        "Credentials": {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2024-11-25T01:00:00Z"},
        "AssumedRoleUser": {"AssumedRoleId": "AROAAPP:web",
            "Arn": "arn:aws:sts::012345678912:assumed-role/App/web"},
        "PackedPolicySize": 6,
        "Request": {"RoleArn": "arn:aws:iam::012345678912:role/x/App",
            "RoleSessionName": "web", "DurationSeconds": 7200, "SourceIdentity": "bob",
            "SerialNumber": "arn:aws:iam::012345678912:mfa/bob", "TokenCode": "123456",
            "Tags": [{"Key": "team", "Value": "green"}]},
    });
    let cluster = json!({"identifier": "abcdefghijklmnopqrstuvwxyz", "arn": ARN,
        "status": "ACTIVE", "tags": {"Env": "test"}});
    let entries = json!({"ContextEntries": [
        {"ContextKeyName": "aws:PrincipalOrgID", "ContextKeyValues": ["o-1"],
         "ContextKeyType": "string"},
        {"ContextKeyName": "AWS:username", "ContextKeyValues": ["root"],
         "ContextKeyType": "string"},
        {"ContextKeyName": "aws:PrincipalOrgPaths", "ContextKeyValues": ["o/r/", "o/s/"],
         "ContextKeyType": "stringList"}]});
    let parsed = [account, session, cluster, entries].map(|document| {
        let document = documents::parse(&document.to_string());
        (
            "a document",
            document.unwrap_or_else(|error| panic!("{error}")),
        )
    });
    documents::merge(parsed).unwrap_or_else(|(_, error)| panic!("{error}"))
}

fn cluster() -> Cluster {
    let id = "abcdefghijklmnopqrstuvwxyz";
    Cluster::new("012345678912", "us-east-1", id, "").unwrap()
}

fn context(identities: &Identities, is_session: bool) -> Context {
    let cluster = cluster();
    let environment = LoginEnvironment {
        now: utc_datetime!(2024-11-25 00:30:00),
        cluster: &cluster,
        identities,
        connection: ConnectionFacts {
            source_ip: Some("::ffff:10.1.2.3".parse().unwrap()),
            is_tls: true,
        },
    };
    if !is_session {
        let user = identities.user(Some("012345678912"), "alice").unwrap();
        return request_context(&environment, user, None);
    }
    let Owner::Session(session) = &identities.access_key("ASIA").unwrap().owner else {
        panic!("a session")
    };
    let role = identities.role("012345678912", "App").unwrap();
    request_context(&environment, role, Some(session))
}

#[test]
fn what_a_user_brings() {
    let identities = identities();
    let context = context(&identities, false);
    for (key, value) in [
        (
            "aws:PrincipalArn",
            Some("arn:aws:iam::012345678912:user/staff/alice"),
        ),
        ("aws:PrincipalAccount", Some("012345678912")),
        ("aws:PrincipalType", Some("User")),
        ("aws:PrincipalTag/team", Some("blue")),
        ("aws:userid", Some("AIDAALICE")),
        ("aws:username", Some("alice")),
        ("aws:SourceIp", Some("10.1.2.3")),
        ("aws:CurrentTime", Some("2024-11-25T00:30:00Z")),
        ("aws:EpochTime", Some("1732494600")),
        ("aws:SecureTransport", Some("true")),
        ("aws:ResourceTag/env", Some("test")),
        ("aws:ResourceAccount", Some("012345678912")),
        ("aws:RequestedRegion", Some("us-east-1")),
        ("aws:ViaAWSService", Some("false")),
        ("aws:PrincipalIsAWSService", Some("false")),
        ("aws:PrincipalOrgID", Some("o-1")),
        ("aws:VpcSourceIp", None),
        ("aws:TokenIssueTime", None),
        ("aws:MultiFactorAuthPresent", None),
    ] {
        let expected = value.map(|value| vec![value.to_owned()]);
        assert_eq!(context.values(key), expected.as_deref(), "{key}");
    }
    assert_eq!(context.values("aws:PrincipalOrgPaths").unwrap().len(), 2);
}

#[test]
fn what_a_simulated_caller_brings() {
    let identities = identities();
    let user = RequestPrincipal {
        arn: "arn:aws:iam::012345678912:user/staff/alice",
        role_arn: None,
        unique_id: None,
    };
    let session = RequestPrincipal {
        arn: "arn:aws:sts::012345678912:assumed-role/App/x",
        role_arn: Some("arn:aws:iam::012345678912:role/x/App"),
        unique_id: None,
    };
    let group = RequestPrincipal {
        arn: "arn:aws:iam::012345678912:group/staff",
        role_arn: None,
        unique_id: None,
    };
    let nobody = RequestPrincipal {
        arn: "",
        role_arn: None,
        unique_id: None,
    };
    let all = [
        (
            "aws:PrincipalAccount",
            ["012345678912", "012345678912", "012345678912", ""],
        ),
        ("aws:PrincipalType", ["User", "AssumedRole", "User", ""]),
        ("aws:PrincipalOrgID", ["o-1", "o-1", "o-1", "o-1"]),
        ("aws:userid", ["AIDAALICE", "AROAAPP:x", "", ""]),
        // A document of ContextEntries has no say in it in a login.
        ("aws:username", ["alice", "", "", ""]),
        ("aws:PrincipalTag/team", ["blue", "red", "", ""]),
        ("aws:SourceIp", [""; 4]),
        ("aws:CurrentTime", [""; 4]),
        ("aws:TokenIssueTime", [""; 4]),
        ("aws:MultiFactorAuthPresent", [""; 4]),
    ];
    for (at, caller) in [user, session, group, nobody].iter().enumerate() {
        let context = simulated_context(Some(&identities), caller);
        for (key, expected) in all {
            let value = context.values(key).map_or("", |values| values[0].as_str());
            assert_eq!(value, expected[at], "{key} of {caller:?}");
        }
        let arn = context.values("aws:PrincipalArn").map(|values| &*values[0]);
        let expected = caller.role_arn.unwrap_or(caller.arn);
        assert_eq!(arn, Some(expected).filter(|arn| !arn.is_empty()));
        // Without documents, what the ARN says.
        let alone = simulated_context(None, caller);
        for key in ["aws:userid", "aws:PrincipalOrgID", "aws:PrincipalTag/team"] {
            assert_eq!(alone.values(key), None, "{key}");
        }
        assert_eq!(alone.values("aws:username"), context.values("aws:username"));
    }
    // One that is in no document has what its ARN says.
    let bob = RequestPrincipal {
        arn: "arn:aws:iam::999999999999:user/bob",
        role_arn: None,
        unique_id: None,
    };
    let context = simulated_context(Some(&identities), &bob);
    assert_eq!(context.values("aws:username").unwrap(), ["bob"]);
    assert_eq!(context.values("aws:userid"), None);
}

#[test]
fn what_a_session_brings() {
    let identities = identities();
    let context = context(&identities, true);
    for (key, value) in [
        (
            "aws:PrincipalArn",
            Some("arn:aws:iam::012345678912:role/x/App"),
        ),
        ("aws:PrincipalType", Some("AssumedRole")),
        ("aws:PrincipalTag/Team", Some("green")),
        ("aws:PrincipalTag/stage", Some("dev")),
        ("aws:userid", Some("AROAAPP:web")),
        // No document makes a session a user.
        ("aws:username", None),
        ("aws:TokenIssueTime", Some("2024-11-24T23:00:00Z")),
        ("aws:MultiFactorAuthPresent", Some("true")),
        ("aws:MultiFactorAuthAge", Some("5400")),
        ("aws:SourceIdentity", Some("bob")),
    ] {
        let expected = value.map(|value| vec![value.to_owned()]);
        assert_eq!(context.values(key), expected.as_deref(), "{key}");
    }
}

#[test]
fn what_a_login_has_is_among_what_it_may_have() {
    let identities = identities();
    let (keys, lists) = possible_keys(&identities, None);
    let mut seen = HashSet::new();
    for is_session in [false, true] {
        seen.extend(context(&identities, is_session).keys().map(str::to_owned));
    }
    assert_eq!(seen, keys);
    assert_eq!(lists, HashSet::from(["aws:principalorgpaths".to_owned()]));
    let id = "zzzzzzzzzzzzzzzzzzzzzzzzzz";
    let other = Cluster::new("012345678912", "us-east-1", id, "").unwrap();
    let (keys, _) = possible_keys(&identities, Some(&other));
    assert!(!keys.contains("aws:resourcetag/env"));
}

/// Every key that is known here, whether the principal has it or not, with a value of a document.
#[test]
fn no_document_changes_what_is_known() {
    let plain = identities();
    let mut changed = identities();
    let tags = ["PrincipalTag/team", "principaltag/DBA", "ResourceTag/env"];
    let more = tags.into_iter().chain(["ResourceTag/stage", "vpcsourceip"]);
    let known = POSSIBLE.iter().map(|key| (*key).to_owned());
    for key in known.chain(more.map(|key| format!("aws:{key}"))) {
        changed
            .context_entries
            .retain(|(other, _)| !other.eq_ignore_ascii_case(&key));
        changed.context_entries.push((key, vec!["true".to_owned()]));
    }
    for is_session in [false, true] {
        assert_eq!(context(&changed, is_session), context(&plain, is_session));
    }
    let cluster = cluster();
    let (keys, lists) = possible_keys(&changed, Some(&cluster));
    assert_eq!((keys, lists), possible_keys(&plain, Some(&cluster)));
}

/// Of a cluster that no document describes, the tags are not known.
#[test]
fn tags_of_a_cluster_that_is_not_described() {
    let mut identities = identities();
    identities.clusters.clear();
    let entry = ("aws:ResourceTag/owner".to_owned(), vec!["a".to_owned()]);
    identities.context_entries.push(entry);
    let (keys, _) = possible_keys(&identities, None);
    assert!(keys.contains("aws:resourcetag/owner"));
    let context = context(&identities, false);
    let owner = context.values("aws:ResourceTag/owner");
    assert_eq!(owner, Some(&["a".to_owned()][..]));
}

#[test]
fn the_address_behind_a_vpc_endpoint() {
    let mut identities = identities();
    let entry = ("AWS:SourceVPC".to_owned(), vec!["vpc-1".to_owned()]);
    identities.context_entries.push(entry);
    let (keys, _) = possible_keys(&identities, None);
    assert!(keys.contains("aws:vpcsourceip") && !keys.contains("aws:sourceip"));
    let context = context(&identities, false);
    assert_eq!(context.values("aws:SourceIp"), None);
    assert_eq!(context.values("aws:VpcSourceIp").unwrap(), ["10.1.2.3"]);
}

/// A Deny may ask for it, and a session's document can have it where the export does not.
#[test]
fn the_user_id_of_a_session_counts_where_the_export_has_none() {
    let user_arn = "arn:aws:iam::012345678912:user/alice";
    let role_arn = "arn:aws:iam::012345678912:role/App";
    let session_arn = "arn:aws:sts::012345678912:assumed-role/App/web";
    for (principal_arn, arn, principal_id, own, expected) in [
        (user_arn, user_arn, None, Some("AIDA1"), Some("AIDA1")),
        (user_arn, user_arn, Some("AIDA1"), None, Some("AIDA1")),
        (user_arn, user_arn, None, None, None),
        (
            role_arn,
            session_arn,
            None,
            Some("AROA1:web"),
            Some("AROA1:web"),
        ),
        (
            role_arn,
            session_arn,
            Some("AROA1"),
            None,
            Some("AROA1:web"),
        ),
        (role_arn, session_arn, None, None, None),
    ] {
        let now = utc_datetime!(2024-11-25 00:30:00);
        let principal = Principal {
            arn: principal_arn.to_owned(),
            unique_id: principal_id.map(str::to_owned),
            ..Principal::simulated_member("arn:aws:iam::012345678912:group/staff").unwrap()
        };
        let mut session = Session::plain(arn.to_owned(), now);
        session.user_id = own.map(str::to_owned);
        let mut context = Context::default();
        add_principal(&mut context, now, &principal, Some(&session));
        let found = context.values("aws:userid").map(|ids| ids.join(","));
        assert_eq!(found.as_deref(), expected, "{arn} {principal_id:?} {own:?}");
        let caller = Authenticated {
            principal: &principal,
            session: Some(&session),
        };
        assert_eq!(caller.user_id(), expected.unwrap_or_default());
    }
}
