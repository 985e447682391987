//! Lists who may connect as whom: each principal of the documents, and whether its login is allowed.
//!
//! The answers are those of [`may_connect`], which each login asks too. No signature is checked, so principals
//! without an access key are listed as well.

use crate::actions::Action;
use crate::arn::{IamArn, IamKind};
use crate::authorization::{DecisionKind, DenyReason, Matched, PolicyType};
use crate::credentials::Authenticated;
use crate::denial::{self, Denial};
use crate::identity::{KnownSession, Principal, Session};
use crate::login::{ADMIN, Access, may_connect};
use crate::request_context::LoginEnvironment;
use crate::time::format_amz_date;
use std::collections::{BTreeMap, BTreeSet};

/// The role that stands for each role that a principal may be mapped to, where no mapping is known.
pub const ANY_ROLE: &str = "*";

/// The kind of principal of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrincipalType {
    /// A user.
    User,
    /// A group: what a user in it may by the group alone.
    Group,
    /// A role: what a session of it may that nothing narrows.
    Role,
    /// A session of the documents, of a role or of a user.
    Session,
}

impl PrincipalType {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
            Self::Session => "session",
        }
    }
}

/// Whether a principal gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is let in.
    Allowed,
    /// IAM lets it in, as whatever role it is mapped to.
    IfMapped,
    /// It is refused.
    Denied,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::IfMapped => "if mapped",
            Self::Denied => "denied",
        }
    }
}

/// A statement that an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its effect, its policy, its place and its file, in words.
    pub text: String,
    /// The policy that it is in, as [`crate::Source`] shows it.
    pub policy: String,
    /// The file that the policy is in.
    pub file: Option<String>,
    /// Its place in the policy, from 0.
    pub index: usize,
}

/// One principal, one database role, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell<'s> {
    /// The principal's ARN.
    pub principal: &'s str,
    /// Its kind.
    pub principal_type: PrincipalType,
    /// The ARN that a mapping would name: of the user, or of the session's role; a group has none.
    pub mapped_arn: Option<&'s str>,
    /// The database role, or [`ANY_ROLE`].
    pub role: &'s str,
    /// Yes or no.
    pub outcome: Outcome,
    /// The check that fails, by the name that it has in the server's log; `mapping` for the database's.
    pub check: Option<&'static str>,
    /// Why it is refused; empty if it is not.
    pub reason: String,
    /// The statements that decide, each with its policy and file; where nothing allows it, none.
    pub statements: &'s [Statement],
    /// Condition keys that policies ask for and that are not known here.
    pub missing_context: &'s [String],
    /// Whether the principal is mapped to the role; `None` where no mapping counts or is known.
    pub is_mapped: Option<bool>,
}

/// IAM's decision on one action.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// The failed check, and why.
    denial: Option<(&'static str, String)>,
    statements: Vec<Statement>,
    missing_context: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    arn: String,
    principal_type: PrincipalType,
    /// The ARN that a mapping names; a group has none.
    mapped_arn: Option<String>,
    admin: Answer,
    custom: Answer,
}

/// Everybody, and each database role that somebody is mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Sorted by ARN.
    rows: Vec<Row>,
    /// The roles of each ARN; `None` if no mappings are known.
    mappings: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The roles that are mapped, sorted.
    roles: Vec<String>,
}

impl Survey {
    /// Asks for each principal of the documents, as of the time and with the connection of the
    /// `environment`. `mappings` are pairs of an ARN and a role; `None` if they are not known.
    pub fn new<'m>(
        environment: &LoginEnvironment<'_>,
        mappings: Option<impl Iterator<Item = (&'m str, &'m str)>>,
    ) -> Self {
        Self::asked(environment, mappings, None)
    }

    /// Asks for the principal, group or session of this ARN alone.
    pub fn of<'m>(
        arn: &str,
        environment: &LoginEnvironment<'_>,
        mappings: Option<impl Iterator<Item = (&'m str, &'m str)>>,
    ) -> Self {
        Self::asked(environment, mappings, Some(arn))
    }

    fn asked<'m>(
        environment: &LoginEnvironment<'_>,
        mappings: Option<impl Iterator<Item = (&'m str, &'m str)>>,
        only: Option<&str>,
    ) -> Self {
        let mut known: Option<BTreeMap<String, BTreeSet<String>>> = None;
        let mut roles = BTreeSet::new();
        if let Some(mappings) = mappings {
            let known = known.get_or_insert_default();
            for (arn, role) in mappings.filter(|(_, role)| *role != ADMIN) {
                roles.insert(role.to_owned());
                known
                    .entry(arn.to_owned())
                    .or_default()
                    .insert(role.to_owned());
            }
        }
        let is_asked = |arn: &str| only.is_none_or(|only| only == arn);
        let mut rows = rows(environment, &is_asked);
        let named: BTreeSet<&str> = rows.iter().map(|row| row.arn.as_str()).collect();
        let strangers = known.iter().flat_map(BTreeMap::keys);
        let strangers = strangers.filter(|arn| is_asked(arn) && !named.contains(arn.as_str()));
        let strangers: Vec<Row> = strangers.map(|arn| Row::stranger(arn)).collect();
        rows.extend(strangers);
        rows.sort_by(|one, other| one.arn.cmp(&other.arn));
        Self {
            rows,
            mappings: known,
            roles: roles.into_iter().collect(),
        }
    }

    /// The database roles that are asked about: `admin`, and those that are mapped, or [`ANY_ROLE`].
    pub fn roles(&self) -> Vec<&str> {
        let mapped = self.roles.iter().map(String::as_str);
        let any = self.mappings.is_none().then_some(ANY_ROLE);
        [ADMIN].into_iter().chain(mapped).chain(any).collect()
    }

    /// The answers, sorted by principal, and for each in the order of [`Self::roles`].
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..).map_while(|place| self.cell_at(place))
    }

    /// The answer at this place, from 0, in the order of [`Self::cells`]; `None` behind the last. For those who keep
    /// none of them: there can be more than fit into memory.
    pub fn cell_at(&self, place: usize) -> Option<Cell<'_>> {
        let roles = 1 + self.roles.len() + usize::from(self.mappings.is_none());
        let row = self.rows.get(place / roles)?;
        let role = match place % roles {
            0 => ADMIN,
            at => self.roles.get(at - 1).map_or(ANY_ROLE, String::as_str),
        };
        Some(self.cell(row, role))
    }

    /// The answer for one principal and one role; `None` if no document names the principal. Sessions of one
    /// ARN are one: the first that gets in.
    pub fn answer<'s>(&'s self, principal: &str, role: &'s str) -> Option<Cell<'s>> {
        let start = self
            .rows
            .partition_point(|row| row.arn.as_str() < principal);
        let rows = self.rows[start..].iter();
        let rows = rows.take_while(|row| row.arn == principal);
        rows.map(|row| self.cell(row, role))
            .min_by_key(|cell| cell.outcome)
    }

    fn cell<'s>(&'s self, row: &'s Row, role: &'s str) -> Cell<'s> {
        let is_admin = role == ADMIN;
        let answer = if is_admin { &row.admin } else { &row.custom };
        let mapped = || {
            let mappings = self.mappings.as_ref()?;
            // A group cannot be mapped, and whether those in it are is told in their own rows.
            let arn = row.mapped_arn.as_ref()?;
            let roles = mappings.get(arn);
            Some(roles.is_some_and(|roles| roles.contains(role)))
        };
        let is_mapped = (!is_admin).then(mapped).flatten();
        let (outcome, check, reason) = match (&answer.denial, is_mapped) {
            (Some((check, reason)), _) => (Outcome::Denied, Some(*check), reason.clone()),
            (None, Some(false)) => {
                let arn = row.mapped_arn.as_deref().unwrap_or_default();
                let reason = format!("{arn} is not mapped to role {role} (AWS IAM GRANT)");
                (Outcome::Denied, Some("mapping"), reason)
            }
            (None, None) if !is_admin => (Outcome::IfMapped, None, String::new()),
            (None, _) => (Outcome::Allowed, None, String::new()),
        };
        Cell {
            principal: &row.arn,
            principal_type: row.principal_type,
            mapped_arn: row.mapped_arn.as_deref(),
            role,
            outcome,
            check,
            reason,
            statements: &answer.statements,
            missing_context: &answer.missing_context,
            is_mapped,
        }
    }
}

impl Row {
    fn asked(
        arn: &str,
        principal_type: PrincipalType,
        caller: &Authenticated<'_>,
        environment: &LoginEnvironment<'_>,
    ) -> Self {
        let answer = |action| {
            let access = may_connect(caller, action, environment);
            Answer::of(&access, caller)
        };
        Self {
            arn: arn.to_owned(),
            principal_type,
            mapped_arn: Some(caller.principal.arn.clone()),
            admin: answer(Action::DbConnectAdmin),
            custom: answer(Action::DbConnect),
        }
    }

    /// A session of the documents, with what authenticating as it would say beforehand.
    fn of_session(known: &KnownSession<'_>, environment: &LoginEnvironment<'_>) -> Self {
        let KnownSession {
            session,
            expiration,
            is_active,
        } = *known;
        let owner = environment.identities.principal_of(session);
        let end = expiration.filter(|end| environment.now >= *end);
        let refused = match (owner, end) {
            _ if !is_active => Answer::no("access_key", "its access key is not active".into()),
            (_, Some(end)) => {
                Answer::no("session", format!("it ended at {}", format_amz_date(end)))
            }
            (None, None) if session.is_of_user() => {
                Answer::no("access_key", "its user is in no document".into())
            }
            (None, None) => Answer::no("access_key", "its role is in no document".into()),
            (Some(principal), None) => {
                let session = Some(session);
                let caller = Authenticated { principal, session };
                let arn = caller.arn();
                return Self::asked(arn, PrincipalType::Session, &caller, environment);
            }
        };
        Self {
            arn: session.arn.clone(),
            principal_type: PrincipalType::Session,
            mapped_arn: owner.map(|owner| owner.arn.clone()),
            admin: refused.clone(),
            custom: refused,
        }
    }

    /// A principal that is mapped and in no document.
    fn stranger(arn: &str) -> Self {
        let principal_type = match IamArn::parse(arn) {
            Ok(arn) if arn.kind == IamKind::Role => PrincipalType::Role,
            _ => PrincipalType::User,
        };
        let answer = Answer::no("access_key", format!("{arn} is in no document"));
        Self {
            arn: arn.to_owned(),
            principal_type,
            mapped_arn: Some(arn.to_owned()),
            admin: answer.clone(),
            custom: answer,
        }
    }
}

impl Statement {
    fn of(matched: &Matched<'_>) -> Self {
        Self {
            text: matched.to_string().trim_end_matches(": decides").to_owned(),
            policy: matched.source.to_string(),
            file: matched.file.map(str::to_owned),
            index: matched.index,
        }
    }
}

impl Answer {
    fn no(check: &'static str, reason: String) -> Self {
        Self {
            denial: Some((check, reason)),
            statements: Vec::new(),
            missing_context: Vec::new(),
        }
    }

    fn of(access: &Access<'_>, caller: &Authenticated<'_>) -> Self {
        let decision = access.decision.as_ref();
        let is_implicit = decision.is_some_and(|d| d.kind == DecisionKind::ImplicitDeny);
        // Where nothing decides, all that applies is of interest.
        let statements = decision.into_iter().flat_map(|decision| &decision.matched);
        let statements = statements.filter(|matched| matched.decides || is_implicit);
        let denial = access.outcome.as_ref().err();
        Self {
            denial: denial.map(|denial| (denial.check(), reason(denial, caller))),
            statements: statements.map(Statement::of).collect(),
            missing_context: decision.map_or_else(Vec::new, |d| d.missing_context.clone()),
        }
    }
}

/// Why it is refused, without the names of the principal, the action and the cluster, which are known.
fn reason(denial: &Denial, caller: &Authenticated<'_>) -> String {
    let Denial::NotAuthorized { action, why, .. } = denial else {
        return denial.to_string();
    };
    let reason = denial::reason(action.iam_name(), why);
    match (why, &caller.principal.boundary) {
        (DenyReason::NotAllowedBy(PolicyType::PermissionsBoundary), Some(arn)) => {
            format!("{reason}: {arn}")
        }
        _ => reason,
    }
}

/// Those in the documents whose ARN is asked about.
fn rows(environment: &LoginEnvironment<'_>, is_asked: &dyn Fn(&str) -> bool) -> Vec<Row> {
    let LoginEnvironment {
        now, identities, ..
    } = *environment;
    let mut rows = Vec::new();
    for principal in identities.principals() {
        if !is_asked(&principal.arn) {
            continue;
        }
        let is_role = IamArn::parse(&principal.arn).is_ok_and(|arn| arn.kind == IamKind::Role);
        // Nobody acts as a role but in a session of it.
        let session = is_role.then(|| Session::simulated(&principal.arn, now));
        let principal_type = match is_role {
            true => PrincipalType::Role,
            false => PrincipalType::User,
        };
        let session = session.as_ref();
        let caller = Authenticated { principal, session };
        let row = Row::asked(&principal.arn, principal_type, &caller, environment);
        rows.push(row);
    }
    for group in identities.groups() {
        let Some(member) = Principal::simulated_member(&group.arn) else {
            continue;
        };
        if !is_asked(&group.arn) {
            continue;
        }
        let caller = Authenticated {
            principal: &member,
            session: None,
        };
        let row = Row::asked(&group.arn, PrincipalType::Group, &caller, environment);
        // Nobody is mapped as a member of a group.
        rows.push(Row {
            mapped_arn: None,
            ..row
        });
    }
    let sessions = identities.sessions().into_iter();
    let sessions = sessions.filter(|known| is_asked(&known.session.arn));
    rows.extend(sessions.map(|known| Row::of_session(&known, environment)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::documents;
    use crate::identity::Identities;
    use crate::request_context::ConnectionFacts;
    use time::macros::utc_datetime;

    const ALICE: &str = "arn:aws:iam::012345678912:user/alice";
    const GUEST: &str = "arn:aws:iam::999999999999:user/guest";
    const APP: &str = "arn:aws:iam::012345678912:role/x/app";
    const STAFF: &str = "arn:aws:iam::012345678912:group/staff";
    const SESSION: &str = "arn:aws:sts::012345678912:assumed-role/app/s";

    fn identities() -> Identities {
        let policy = r#"[{"PolicyName": "p", "PolicyDocument": {"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Action": "dsql:DbConnect", "Resource": "*",
             "Condition": {"StringEquals": {"aws:PrincipalType": ["User", "AssumedRole"]}}}}}]"#;
        let export = format!(
            r#"{{"UserDetailList": [{{"UserName": "alice", "Arn": "{ALICE}", "GroupList": ["staff"]}},
                {{"UserName": "guest", "Arn": "{GUEST}", "UserPolicyList": {policy}}}],
                "GroupDetailList": [{{"GroupName": "staff", "Arn": "{STAFF}", "GroupPolicyList": {policy}}}],
                "RoleDetailList": [{{"RoleName": "app", "Arn": "{APP}", "RolePolicyList": {policy}}}]}}"#
        );
        let session = |key: &str, end: &str| {
            format!(
                r#"{{"Credentials": {{"AccessKeyId": "{key}", "SecretAccessKey": "s",
                    "SessionToken": "t", "Expiration": "{end}"}},
                    "AssumedRoleUser": {{"AssumedRoleId": "AROA:s", "Arn": "{SESSION}"}}}}"#
            )
        };
        let texts = [
            export,
            session("ASIAOVER", "2025-01-01T00:00:00Z"),
            session("ASIALIVE", "2027-01-01T00:00:00Z"),
        ];
        let parsed = texts.iter().map(|text| {
            let document = documents::parse(text).unwrap_or_else(|fault| panic!("{fault}"));
            ("a.json", document)
        });
        documents::merge(parsed).unwrap_or_else(|(_, fault)| panic!("{fault}"))
    }

    #[test]
    fn everybody_is_asked_once_and_one_alone_as_among_all() {
        let identities = identities();
        let id = "abcdefghijklmnopqrstuvwxyz";
        let cluster = Cluster::new("012345678912", "us-east-1", id, "").unwrap();
        let environment = LoginEnvironment {
            now: utc_datetime!(2026-01-01 12:00),
            cluster: &cluster,
            identities: &identities,
            connection: ConnectionFacts {
                source_ip: None,
                is_tls: true,
            },
        };
        let mappings = [(APP, "reader"), (GUEST, "reader"), (ALICE, ADMIN)];
        let survey = Survey::new(&environment, Some(mappings.into_iter()));
        assert_eq!(survey.roles(), [ADMIN, "reader"]);
        let told: Vec<_> = survey
            .cells()
            .filter(|cell| cell.role == "reader")
            .map(|cell| (cell.principal, cell.outcome, cell.check, cell.is_mapped))
            .collect();
        use Outcome::{Allowed, Denied, IfMapped};
        assert_eq!(
            told,
            [
                (STAFF, IfMapped, None, None),
                (APP, Allowed, None, Some(true)),
                (ALICE, Denied, Some("mapping"), Some(false)),
                (GUEST, Denied, Some("account"), Some(true)),
                (SESSION, Denied, Some("session"), Some(true)),
                (SESSION, Allowed, None, Some(true)),
            ]
        );
        for arn in [STAFF, APP, ALICE, GUEST, SESSION] {
            let alone = Survey::of(arn, &environment, Some(mappings.into_iter()));
            assert_eq!(alone.answer(arn, "reader"), survey.answer(arn, "reader"));
            assert_eq!(
                alone.answer("arn:aws:iam::012345678912:user/x", ADMIN),
                None
            );
        }
        // Of the sessions of one ARN, the one that gets in.
        assert_eq!(survey.answer(SESSION, "reader").unwrap().outcome, Allowed);
    }
}
