//! What policies can ask about a login: its request context.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>. What
//! cannot be known here (`aws:SourceVpc`, `aws:PrincipalOrgID`, …) a document can add; what is
//! known here no document can change.

use crate::arn::{IamArn, IamKind, account_of};
use crate::cluster::Cluster;
use crate::identity::{Identities, Owner, Principal, RoleSession, Tag};
use crate::policy::{Caller, Context};
use crate::time::iso8601;
use std::collections::HashSet;
use std::net::IpAddr;
use time::UtcDateTime;

/// What is known of the connection that a login comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// The client's address, if it has one.
    pub source_ip: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

/// All that a login is judged by, but for what the client sent.
#[derive(Clone, Copy)]
pub struct Circumstances<'c> {
    /// The time.
    pub now: UtcDateTime,
    /// The cluster.
    pub cluster: &'c Cluster,
    /// What the documents say.
    pub identities: &'c Identities,
    /// The connection.
    pub connection: ConnectionFacts,
}

/// The request context of a login as `principal`, or as a session of it.
pub fn request_context(
    circumstances: &Circumstances<'_>,
    principal: &Principal,
    session: Option<&RoleSession>,
) -> Context {
    let Circumstances {
        now,
        cluster,
        identities,
        connection,
    } = *circumstances;
    let mut context = request_facts(now, identities, connection, cluster.region());
    context.set("aws:ResourceAccount", cluster.account());
    if let Some(description) = identities.cluster(&cluster.arn()) {
        context.remove_prefix("aws:resourcetag/");
        for (key, value) in &description.tags {
            context.set(&format!("aws:ResourceTag/{key}"), value);
        }
    }
    add_principal(&mut context, now, principal, session);
    context
}

/// What is known of a request of which nothing but the caller is: the keys that documents add, and who
/// asks, with what the documents say of the user or of the session's role. Nothing of a caller without an
/// ARN.
///
/// The time and the connection are not in it, nor what only a real session has.
pub fn simulated_context(identities: Option<&Identities>, caller: &Caller<'_>) -> Context {
    let mut context = Context::default();
    let added = identities.map_or(&[][..], Identities::context_entries);
    for (key, values) in added.iter().filter(|(key, _)| !is_known_of_a_login(key)) {
        context.set_all(key, values.clone());
    }
    if caller.arn.is_empty() {
        return context;
    }
    let arn = caller.role_arn.unwrap_or(caller.arn);
    let known = identities.and_then(|identities| identities.principal(arn));
    context.set("aws:PrincipalArn", arn);
    context.set("aws:PrincipalAccount", caller.account());
    for (key, value) in known.map_or(&[][..], |principal| &principal.tags) {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
    }
    let unique_id = known.and_then(|principal| principal.unique_id.as_ref());
    if caller.role_arn.is_some() {
        context.set("aws:PrincipalType", "AssumedRole");
        if let Some(id) = unique_id {
            context.set("aws:userid", format!("{id}:{}", last_name(caller.arn)));
        }
    } else if IamArn::parse(arn).is_ok_and(|parsed| parsed.kind == IamKind::User) {
        context.set("aws:PrincipalType", "User");
        context.set("aws:username", last_name(arn));
        if let Some(id) = unique_id {
            context.set("aws:userid", id);
        }
    }
    context
}

/// Whether a login knows the key itself, so that no document can add it. Whether it knows the cluster's tags
/// is another question.
fn is_known_of_a_login(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut known = POSSIBLE.iter();
    key.starts_with("aws:principaltag/")
        || key == "aws:vpcsourceip"
        || known.any(|known| known.eq_ignore_ascii_case(&key))
}

/// What follows the last slash of an ARN.
fn last_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or("")
}

/// The condition keys that a login may have, whoever logs in, in lower case; and those of them that
/// may have several values. Without a cluster its tags are those of any cluster in the documents.
pub(crate) fn possible_keys(
    identities: &Identities,
    cluster: Option<&Cluster>,
) -> (HashSet<String>, HashSet<String>) {
    let mut keys: HashSet<String> = POSSIBLE
        .iter()
        .map(|key| key.to_ascii_lowercase())
        .collect();
    let mut add = |prefix: &str, tags: &[Tag]| {
        let names = tags.iter().map(|(key, _)| key.to_ascii_lowercase());
        keys.extend(names.map(|name| format!("{prefix}/{name}")));
    };
    for principal in identities.principals.values() {
        add("aws:principaltag", &principal.tags);
    }
    for key in identities.access_keys.values() {
        if let Owner::Session(session) = &key.owner {
            add("aws:principaltag", &session.tags);
        }
    }
    let own = cluster.map(Cluster::arn);
    for (arn, description) in &identities.clusters {
        if own.as_ref().is_none_or(|own| own == arn) {
            add("aws:resourcetag", &description.tags);
        }
    }
    let is_described = |arn: &str| identities.cluster(arn).is_some();
    let has_tags_known = own.as_deref().is_some_and(is_described);
    let mut lists = HashSet::new();
    for (key, values) in identities.context_entries() {
        let key = key.to_ascii_lowercase();
        let is_known = has_tags_known && key.starts_with("aws:resourcetag/");
        if is_known || is_known_of_a_login(&key) {
            continue;
        }
        if values.len() > 1 {
            lists.insert(key.clone());
        }
        keys.insert(key);
    }
    // Which of the two it is, these entries decide.
    let is_vpc = ["aws:sourcevpc", "aws:sourcevpce"].map(|key| keys.contains(key));
    if is_vpc.contains(&true) {
        keys.remove("aws:sourceip");
        keys.insert("aws:vpcsourceip".into());
    }
    (keys, lists)
}

/// The keys that [`request_context`] sets for somebody, but for tags.
const POSSIBLE: [&str; 17] = [
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalType",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SecureTransport",
    "aws:SourceIdentity",
    "aws:SourceIp",
    "aws:TokenIssueTime",
    "aws:userid",
    "aws:username",
    "aws:ViaAWSService",
];

/// Keys that tell of the principal or its session, and are absent if there is nothing to tell.
const OF_THE_PRINCIPAL: [&str; 6] = [
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:SourceIdentity",
    "aws:TokenIssueTime",
    "aws:userid",
    "aws:username",
];

/// What is known of any request: the keys that documents add, the time, the connection.
pub(crate) fn request_facts(
    now: UtcDateTime,
    identities: &Identities,
    connection: ConnectionFacts,
    region: &str,
) -> Context {
    let mut context = Context::default();
    for (key, values) in identities.context_entries() {
        context.set_all(key, values.clone());
    }
    context.set("aws:CurrentTime", iso8601(now));
    context.set("aws:EpochTime", now.unix_timestamp().to_string());
    context.set("aws:SecureTransport", connection.is_tls.to_string());
    context.set("aws:RequestedRegion", region);
    context.set("aws:ViaAWSService", "false");
    context.set("aws:PrincipalIsAWSService", "false");
    // Through a VPC endpoint AWS gives the address as another key.
    let through_vpc = ["aws:SourceVpc", "aws:SourceVpce"].map(|key| context.values(key).is_some());
    let address_key = if through_vpc.contains(&true) {
        "aws:VpcSourceIp"
    } else {
        "aws:SourceIp"
    };
    context.remove("aws:SourceIp");
    context.remove("aws:VpcSourceIp");
    if let Some(address) = connection.source_ip {
        context.set(address_key, address.to_canonical().to_string());
    }
    context
}

/// Adds what is known of a user, or of a session of a role.
pub(crate) fn add_principal(
    context: &mut Context,
    now: UtcDateTime,
    principal: &Principal,
    session: Option<&RoleSession>,
) {
    let account = account_of(&principal.arn);
    context.set("aws:PrincipalArn", &principal.arn);
    context.set("aws:PrincipalAccount", account);
    // Known here whether they are there or not: what a principal does not have, no document gives it.
    for key in OF_THE_PRINCIPAL {
        context.remove(key);
    }
    context.remove_prefix("aws:principaltag/");
    for (key, value) in &principal.tags {
        context.set(&format!("aws:PrincipalTag/{key}"), value);
    }
    match session {
        None => {
            context.set("aws:PrincipalType", "User");
            context.set("aws:username", last_name(&principal.arn));
            if let Some(id) = &principal.unique_id {
                context.set("aws:userid", id);
            }
        }
        Some(session) => {
            context.set("aws:PrincipalType", "AssumedRole");
            let from_role = || {
                Some(format!(
                    "{}:{}",
                    principal.unique_id.as_ref()?,
                    last_name(&session.arn)
                ))
            };
            if let Some(id) = session.assumed_role_id.clone().or_else(from_role) {
                context.set("aws:userid", id);
            }
            context.set("aws:TokenIssueTime", iso8601(session.issued_at));
            context.set("aws:MultiFactorAuthPresent", session.has_mfa.to_string());
            if session.has_mfa {
                let age = now - session.issued_at;
                context.set("aws:MultiFactorAuthAge", age.whole_seconds().to_string());
            }
            if let Some(identity) = &session.source_identity {
                context.set("aws:SourceIdentity", identity);
            }
            for (key, value) in &session.tags {
                context.set(&format!("aws:PrincipalTag/{key}"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let circumstances = Circumstances {
            now: utc_datetime!(2024-11-25 00:30:00),
            cluster: &cluster,
            identities,
            connection: ConnectionFacts {
                source_ip: Some("::ffff:10.1.2.3".parse().unwrap()),
                is_tls: true,
            },
        };
        if !is_session {
            let user = identities.user("012345678912", "alice").unwrap();
            return request_context(&circumstances, user, None);
        }
        let Owner::Session(session) = &identities.access_key("ASIA").unwrap().owner else {
            panic!("a session")
        };
        let role = identities.role("012345678912", "App").unwrap();
        request_context(&circumstances, role, Some(session))
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
        let user = Caller {
            arn: "arn:aws:iam::012345678912:user/staff/alice",
            role_arn: None,
        };
        let session = Caller {
            arn: "arn:aws:sts::012345678912:assumed-role/App/x",
            role_arn: Some("arn:aws:iam::012345678912:role/x/App"),
        };
        let group = Caller {
            arn: "arn:aws:iam::012345678912:group/staff",
            role_arn: None,
        };
        let nobody = Caller {
            arn: "",
            role_arn: None,
        };
        let all = [
            (
                "aws:PrincipalAccount",
                ["012345678912", "012345678912", "012345678912", ""],
            ),
            ("aws:PrincipalType", ["User", "AssumedRole", "", ""]),
            ("aws:PrincipalOrgID", ["o-1", "o-1", "o-1", "o-1"]),
            ("aws:userid", ["AIDAALICE", "AROAAPP:x", "", ""]),
            // What a document of ContextEntries says of it counts in no login.
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
        let bob = Caller {
            arn: "arn:aws:iam::999999999999:user/bob",
            role_arn: None,
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
}
