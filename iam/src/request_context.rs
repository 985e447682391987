//! The request context of a login: the keys that conditions can ask for.
//!
//! Follows
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>. What
//! cannot be known here (`aws:SourceVpc`, `aws:PrincipalOrgID`, …) a document can add; what is
//! known here no document can change.

use crate::arn::{IamArn, IamKind, account_of};
use crate::cluster::Cluster;
use crate::credentials::Authenticated;
use crate::identity::{Identities, Owner, Principal, Session, Tag};
use crate::policy::{Context, RequestPrincipal};
use crate::time::iso8601;
use std::collections::HashSet;
use std::net::IpAddr;
use time::UtcDateTime;

/// The facts of the connection that a login comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// The client's address, if it has one.
    pub source_ip: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

/// All that a login is judged by, but for what the client sent.
#[derive(Clone, Copy)]
pub struct LoginEnvironment<'c> {
    /// The time.
    pub now: UtcDateTime,
    /// The cluster.
    pub cluster: &'c Cluster,
    /// The identities in the documents.
    pub identities: &'c Identities,
    /// The connection.
    pub connection: ConnectionFacts,
}

/// The request context of a login as `principal`, or as a session of it.
pub fn request_context(
    environment: &LoginEnvironment<'_>,
    principal: &Principal,
    session: Option<&Session>,
) -> Context {
    let LoginEnvironment {
        now,
        cluster,
        identities,
        connection,
    } = *environment;
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

/// The request context of a simulated request, of which only the caller is known: the keys that documents add, and who
/// asks, with what the documents say of the user or of the session's role. Nothing of a caller without an
/// ARN.
///
/// The time and the connection are not in it, nor what only a real session has.
pub fn simulated_context(
    identities: Option<&Identities>,
    caller: &RequestPrincipal<'_>,
) -> Context {
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
    } else {
        // A group: whoever is in it is a user.
        context.set("aws:PrincipalType", "User");
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

/// The text behind the last slash of an ARN.
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

/// The context of any request: the keys that documents add, the time, the connection.
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

/// Adds what is known of a user, or of a session of a user or role.
pub(crate) fn add_principal(
    context: &mut Context,
    now: UtcDateTime,
    principal: &Principal,
    session: Option<&Session>,
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
    let caller = Authenticated { principal, session };
    if caller.role_session().is_some() {
        context.set("aws:PrincipalType", "AssumedRole");
    } else {
        context.set("aws:PrincipalType", "User");
        context.set("aws:username", last_name(&principal.arn));
    }
    if let Some(id) = caller.known_user_id() {
        context.set("aws:userid", id);
    }
    if let Some(session) = session {
        add_session(context, now, session);
    }
}

/// Adds what only temporary credentials tell.
fn add_session(context: &mut Context, now: UtcDateTime, session: &Session) {
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

#[cfg(test)]
mod tests;
