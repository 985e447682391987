//! What a directory of IAM documents brings, and what in it cannot be meant so.
//!
//! The documents are read and judged by the loader itself ([`crate::directory`]): what is an error
//! here keeps the server from loading the directory, and nothing else does. A warning names what is
//! allowed, but does nothing, or not what it seems to do. No finding holds a secret.

use crate::arn::{IamArn, IamKind, SessionArn, account_of};
use crate::cluster::Cluster;
use crate::directory::{LoadError, survey};
use crate::documents::{self, Document};
use crate::identity::{AccessKey, Identities, Owner, Principal, RoleSession};
use crate::login::shown;
use crate::policy::{LoginFacts, Policy, Trusted};
use crate::request_context::possible_keys;
use crate::time::rfc3339;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use time::UtcDateTime;

/// In the path of the roles that IAM Identity Center makes for its permission sets.
const IDENTITY_CENTER: &str = ":role/aws-reserved/sso.amazonaws.com/";

/// Everybody may write.
const WRITABLE: u32 = 0o002;

/// What a directory holds.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The directory.
    pub directory: String,
    /// The ARN of the cluster that it was checked for, if that is known.
    pub cluster: Option<String>,
    /// Each file that counts.
    pub documents: Vec<DocumentReport>,
    /// Each user, by ARN.
    pub users: Vec<IdentityReport>,
    /// Each group, by ARN.
    pub groups: Vec<IdentityReport>,
    /// Each role, by ARN.
    pub roles: Vec<IdentityReport>,
    /// Each access key of a user.
    pub access_keys: Vec<KeyReport>,
    /// Each role session.
    pub sessions: Vec<SessionReport>,
    /// Each policy that is no part of an identity: managed, of the cluster, of the organization.
    pub policies: Vec<PolicyReport>,
    /// What is wrong: errors first, then warnings.
    pub findings: Vec<Finding>,
    /// What could not be looked at, a sentence each.
    pub not_checked: Vec<String>,
}

/// A document.
#[derive(Debug, Serialize)]
pub struct DocumentReport {
    /// The file's name.
    pub file: String,
    /// Its permission bits, in octal, if it can be read.
    pub mode: Option<String>,
    /// The command that prints such a document, or `ContextEntries`; `None` if it is broken.
    pub kind: Option<&'static str>,
    /// What it brings, for people.
    pub brings: String,
}

/// A user, group or role.
#[derive(Debug, Serialize)]
pub struct IdentityReport {
    /// The ARN.
    pub arn: String,
    /// The document that brings it.
    pub file: String,
    /// The names of its inline policies.
    pub inline: Vec<String>,
    /// The ARNs of its managed policies.
    pub attached: Vec<String>,
    /// The names of a user's groups.
    pub groups: Vec<String>,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
}

/// An access key of a user, without its secret.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// The access key id.
    pub id: String,
    /// The document that brings it.
    pub file: String,
    /// The user's name.
    pub user: String,
    /// Whether its status is `Active`.
    pub is_active: bool,
}

/// A role session, without its secrets.
#[derive(Debug, Serialize)]
pub struct SessionReport {
    /// The session's ARN.
    pub arn: String,
    /// The document that brings it.
    pub file: String,
    /// The access key id.
    pub access_key_id: String,
    /// When it ends, such as `2026-01-31T12:00:00Z`.
    pub expiration: String,
    /// Whether it has ended.
    pub is_over: bool,
}

/// A policy.
#[derive(Debug, Serialize)]
pub struct PolicyReport {
    /// Its ARN, or `the cluster's policy`.
    pub name: String,
    /// The document that brings it.
    pub file: String,
    /// How many statements it has.
    pub statements: usize,
    /// How many users, groups, roles and sessions it is attached to, boundaries included.
    pub attachments: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The server does not load the directory.
    Error,
    /// It does, but something in it does not do what it seems to.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name; `None` if it is about the directory.
    pub file: Option<String>,
    /// What it is about within the file: an ARN, a policy, a statement.
    pub subject: Option<String>,
    /// The name of the check.
    pub check: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Report {
    /// How many findings are errors, and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let is_error = |finding: &&Finding| finding.severity == Severity::Error;
        let errors = self.findings.iter().filter(is_error).count();
        (errors, self.findings.len() - errors)
    }
}

/// Checks the directory as of `now`, for the logins to `cluster`, or, if that is not given, to the one
/// cluster that documents describe.
pub fn check(directory: &Path, cluster: Option<&Cluster>, now: UtcDateTime) -> Report {
    let mut report = Report {
        directory: directory.display().to_string(),
        cluster: cluster.map(Cluster::arn),
        ..Report::default()
    };
    let (entries, others) = match survey(directory) {
        Ok(all) => all,
        Err(fault) => {
            report.findings.push(Finding {
                severity: Severity::Error,
                file: None,
                subject: None,
                check: "directory",
                found: fault.to_string(),
                remedy: Some("name the directory with --iam-directory".into()),
            });
            return report;
        }
    };
    let mut checker = Checker {
        report,
        all: Identities::default(),
        files: HashMap::new(),
        uses: HashMap::new(),
        cluster: cluster.cloned(),
        now,
    };
    checker.directory(directory);
    for path in others {
        checker.ignored(&path);
    }
    for entry in entries {
        checker.document(&entry.path, entry.mode, entry.outcome);
    }
    checker.described_cluster();
    checker.identities();
    checker.keys();
    checker.policies();
    let (errors, _) = checker.report.counts();
    if errors == 0 {
        checker.references();
        checker.statements();
    } else {
        checker.report.not_checked.push(
            "what refers to other documents, and what the statements say: mend the errors first"
                .into(),
        );
    }
    checker.report.findings.sort();
    checker.report
}

/// The state of one check.
struct Checker {
    report: Report,
    all: Identities,
    /// The file of each user, role, group, policy and access key.
    files: HashMap<String, String>,
    /// How often each managed policy is attached.
    uses: HashMap<String, usize>,
    cluster: Option<Cluster>,
    now: UtcDateTime,
}

/// The name under which the file of the cluster's policy is remembered, and shown.
const CLUSTER_POLICY: &str = "the cluster's policy";

impl Checker {
    fn warn(&mut self, place: Place<'_>, check: &'static str, found: String, remedy: String) {
        self.report.findings.push(Finding {
            severity: Severity::Warning,
            file: place.file.map(str::to_owned),
            subject: place.subject,
            check,
            found,
            remedy: Some(remedy),
        });
    }

    fn file_of(&self, name: &str) -> String {
        self.files.get(name).cloned().unwrap_or_default()
    }

    /// Warns about something that one of the documents brings under this name.
    fn warn_of(&mut self, name: &str, check: &'static str, found: String, remedy: String) {
        let file = self.file_of(name);
        let place = Place {
            file: Some(&file),
            subject: Some(name.to_owned()),
        };
        self.warn(place, check, found, remedy);
    }

    fn directory(&mut self, directory: &Path) {
        let mode = fs::metadata(directory).map(|found| found.permissions().mode() & 0o7777);
        if let Ok(mode) = mode
            && mode & WRITABLE != 0
        {
            self.warn(
                Place::default(),
                "mode",
                format!("the directory has mode {mode:04o}: everybody can put documents into it"),
                format!("chmod o-w {}", directory.display()),
            );
        }
    }

    fn ignored(&mut self, path: &Path) {
        let name = name_of(path);
        // Written to by `dsql-iam assume-role` before it becomes a document.
        if name.starts_with(".dsql-iam-session-") {
            return;
        }
        let why = if name.starts_with('.') {
            "its name starts with a dot"
        } else if path.is_dir() {
            "it is a folder"
        } else {
            "its name does not end in .json"
        };
        self.warn(
            Place::of_file(&name),
            "ignored",
            format!("it is ignored, since {why}"),
            "give it a name that counts, or keep it elsewhere".into(),
        );
    }

    /// Takes a document in.
    fn document(&mut self, path: &Path, mode: Option<u32>, outcome: Result<Document, LoadError>) {
        let file = name_of(path);
        let mut row = DocumentReport {
            file: file.clone(),
            mode: mode.map(|mode| format!("{mode:04o}")),
            kind: None,
            brings: "nothing: it is broken".into(),
        };
        let fault = match outcome {
            Ok(document) => {
                let kind = self.contents(&document, &file);
                match documents::add(&mut self.all, &file, document) {
                    Ok(()) => {
                        (row.kind, row.brings) = (Some(kind.0), kind.1);
                        None
                    }
                    Err(error) => Some(LoadError::Broken {
                        path: path.to_owned(),
                        error,
                    }),
                }
            }
            Err(fault) => Some(fault),
        };
        self.report.documents.push(row);
        if let Some(fault) = fault {
            let remedy = match &fault {
                LoadError::Exposed { .. } => Some(format!("chmod 0600 {}", path.display())),
                _ => None,
            };
            let (check, found) = match fault {
                LoadError::Broken { error, .. } => ("document", error.to_string()),
                LoadError::Exposed { mode, .. } => (
                    "mode",
                    format!("it holds a secret but has mode {mode:04o}; it must be 0600"),
                ),
                LoadError::Unreadable { error, .. } => {
                    ("document", format!("it cannot be read: {error}"))
                }
                other => ("document", other.to_string()),
            };
            self.report.findings.push(Finding {
                severity: Severity::Error,
                file: Some(file),
                subject: None,
                check,
                found,
                remedy,
            });
        } else if let Some(mode) = mode.filter(|mode| mode & WRITABLE != 0) {
            self.warn(
                Place::of_file(&file),
                "mode",
                format!("it has mode {mode:04o}: everybody can change who may log in"),
                format!("chmod o-w {}", path.display()),
            );
        }
    }

    /// Remembers what is in which file; gives the document's kind and contents, in words.
    fn contents(&mut self, document: &Document, file: &str) -> (&'static str, String) {
        let mut remember = |name: &str| {
            let known = self.files.entry(name.to_owned());
            known.or_insert_with(|| file.to_owned());
        };
        match document {
            Document::Account(details) => {
                let contents = details.contents();
                let lists = [
                    (&contents.users, "user"),
                    (&contents.groups, "group"),
                    (&contents.roles, "role"),
                    (&contents.policies, "managed policy"),
                ];
                let mut brings = Vec::new();
                for (list, what) in lists {
                    list.iter().for_each(|arn| remember(arn));
                    if !list.is_empty() {
                        brings.push(counted(list.len(), what));
                    }
                }
                let none = if brings.is_empty() { "nothing" } else { "" };
                let brings = format!("{none}{}", brings.join(", "));
                ("get-account-authorization-details", brings)
            }
            Document::Key(id, key) => {
                remember(id);
                match &key.owner {
                    Owner::User(user) => (
                        "create-access-key",
                        format!("access key {} of user {user}", shown(id)),
                    ),
                    Owner::Session(session) => ("assume-role", format!("session {}", session.arn)),
                }
            }
            Document::ClusterPolicy(_) => {
                remember(CLUSTER_POLICY);
                ("get-cluster-policy", "the policy of the cluster".into())
            }
            Document::Cluster(arn, description) => {
                let tags = counted(description.tags.len(), "tag");
                ("get-cluster", format!("{tags} of {arn}"))
            }
            Document::ServiceControlPolicy(arn, _) => {
                remember(arn);
                ("describe-policy", format!("service control policy {arn}"))
            }
            Document::ContextEntries(entries) => {
                let names = entries.iter().map(|(key, _)| key.as_str());
                ("ContextEntries", names.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Where no cluster is given, takes the one that documents describe, as `dsql-iam explain` does.
    fn described_cluster(&mut self) {
        let mut described = self.all.cluster_arns();
        if let (None, Some(arn), None) = (&self.cluster, described.next(), described.next()) {
            let cluster = Cluster::with_arn(arn, None, "");
            self.cluster = cluster.and_then(Result::ok);
            self.report.cluster = self.cluster.as_ref().map(Cluster::arn);
        }
    }

    fn identities(&mut self) {
        let all = &self.all;
        let file = |arn: &String| self.files.get(arn).cloned().unwrap_or_default();
        let names = |inline: &[crate::identity::InlinePolicy]| {
            inline.iter().map(|policy| policy.name.clone()).collect()
        };
        for principal in all.principals.values() {
            let row = IdentityReport {
                arn: principal.arn.clone(),
                file: file(&principal.arn),
                inline: names(&principal.inline),
                attached: principal.attached.clone(),
                groups: principal.groups.clone(),
                boundary: principal.boundary.clone(),
            };
            match is_user(principal) {
                true => self.report.users.push(row),
                false => self.report.roles.push(row),
            }
        }
        let groups = all.groups.values().map(|group| IdentityReport {
            arn: group.arn.clone(),
            file: file(&group.arn),
            inline: names(&group.inline),
            attached: group.attached.clone(),
            groups: Vec::new(),
            boundary: None,
        });
        self.report.groups = groups.collect();
        let report = &mut self.report;
        for list in [&mut report.users, &mut report.groups, &mut report.roles] {
            list.sort_by(|one, other| one.arn.cmp(&other.arn));
            for arn in list
                .iter()
                .flat_map(|row| row.attached.iter().chain(&row.boundary))
            {
                *self.uses.entry(arn.clone()).or_default() += 1;
            }
        }
    }

    fn keys(&mut self) {
        for (id, key) in &self.all.access_keys {
            let file = self.file_of(id);
            match &key.owner {
                Owner::User(user) => self.report.access_keys.push(KeyReport {
                    id: shown(id).to_owned(),
                    file,
                    user: user.clone(),
                    is_active: key.is_active,
                }),
                Owner::Session(session) => {
                    for arn in session.policies.iter().flat_map(|p| &p.attached) {
                        *self.uses.entry(arn.clone()).or_default() += 1;
                    }
                    self.report.sessions.push(SessionReport {
                        arn: session.arn.clone(),
                        file,
                        access_key_id: shown(id).to_owned(),
                        expiration: key.expiration.map_or_else(String::new, rfc3339),
                        is_over: self.is_over(key),
                    });
                }
            }
        }
        let by_file = |one: &KeyReport, other: &KeyReport| one.file.cmp(&other.file);
        self.report.access_keys.sort_by(by_file);
        let by_arn = |one: &SessionReport, other: &SessionReport| {
            (&one.arn, &one.file).cmp(&(&other.arn, &other.file))
        };
        self.report.sessions.sort_by(by_arn);
    }

    fn is_over(&self, key: &AccessKey) -> bool {
        key.expiration.is_some_and(|end| self.now >= end)
    }

    fn policies(&mut self) {
        let row = |name: &str, policy: &Policy| PolicyReport {
            name: name.to_owned(),
            file: self.file_of(name),
            statements: policy.statements().len(),
            attachments: self.uses.get(name).copied().unwrap_or(0),
        };
        let managed = self
            .all
            .policies
            .iter()
            .map(|(arn, policy)| row(arn, policy));
        let mut rows: Vec<PolicyReport> = managed.collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        let control = self.all.service_control.iter();
        rows.extend(control.map(|(arn, policy)| row(arn, policy)));
        let cluster = self.all.cluster_policy.iter();
        rows.extend(cluster.map(|policy| row(CLUSTER_POLICY, policy)));
        self.report.policies = rows;
    }

    // What names something that is in no document, or that nobody can be.

    fn references(&mut self) {
        let all = std::mem::take(&mut self.all);
        if all.principals.is_empty() && all.access_keys.is_empty() {
            self.warn(
                Place::default(),
                "empty",
                "the documents bring no identity: nobody can log in with a token".into(),
                "aws iam get-account-authorization-details > account.json".into(),
            );
        }
        let trusting = Trust::of(&all, self.now);
        for principal in all.principals.values() {
            self.attachments(&all, &principal.arn, &principal.attached);
            if let Some(boundary) = &principal.boundary {
                self.attachments(&all, &principal.arn, std::slice::from_ref(boundary));
            }
            let account = account_of(&principal.arn);
            for name in &principal.groups {
                if !all.groups.contains_key(&(account.to_owned(), name.clone())) {
                    self.warn_of(
                        &principal.arn,
                        "group",
                        format!("is in the group {name}, which is in no document; it is refused"),
                        "export the account again, with its groups".into(),
                    );
                }
            }
            if !is_user(principal) {
                self.role(&all, principal, &trusting);
            }
        }
        for group in all.groups.values() {
            self.attachments(&all, &group.arn, &group.attached);
        }
        for (id, key) in &all.access_keys {
            match &key.owner {
                Owner::User(name) => self.access_key(&all, id, key, name),
                Owner::Session(session) => self.session(&all, id, key, session),
            }
        }
        self.all = all;
    }

    fn attachments(&mut self, all: &Identities, owner: &str, attached: &[String]) {
        for arn in attached.iter().filter(|arn| !all.has_managed(arn)) {
            self.warn_of(
                owner,
                "attached_policy",
                format!("has the policy {arn}, which is in no document; whoever it counts for is refused"),
                with_managed(arn),
            );
        }
    }

    fn role(&mut self, all: &Identities, role: &Principal, trust: &Trust<'_>) {
        let policies = all
            .policies(role, None)
            .map_or(Vec::new(), |all| all.identity);
        let concerns_logins = policies.iter().any(|one| one.policy.may_allow_connecting());
        if !concerns_logins || trust.someone_may_be(role) {
            return;
        }
        let found = match IamArn::parse(&role.arn) {
            Ok(arn) => match trust.sessions.get(&(arn.account, arn.name)) {
                Some(false) => return,
                Some(true) => "nobody in the documents may assume it, and its session is over",
                None => "nobody in the documents may assume it, and it has no session",
            },
            Err(_) => return,
        };
        let trust_policy = role.trust_policy.as_ref();
        let federated = trust_policy.map_or(Vec::new(), Policy::federated_commands);
        let arn = &role.arn;
        let remedy = if arn.contains(IDENTITY_CENTER) {
            // Nobody gets at the assertion with which IAM Identity Center begins its sessions.
            "write a session of it into a document, in the form that aws sts assume-role-with-saml \
             prints; aws sso get-role-credentials prints another"
                .to_owned()
        } else if federated.is_empty() {
            format!(
                "name a user in its trust policy, or add the output of aws sts assume-role \
                 --role-arn {arn}"
            )
        } else {
            let commands = federated.iter();
            let commands = commands.map(|command| format!("aws sts {command} --role-arn {arn}"));
            let commands = commands.collect::<Vec<_>>().join(" or ");
            format!("add the output of {commands}: its trust policy names an identity provider")
        };
        let found = format!("may connect, but {found}");
        self.warn_of(arn, "role", found, remedy);
    }

    fn access_key(&mut self, all: &Identities, id: &str, key: &AccessKey, name: &str) {
        let file = self.file_of(id);
        let place = || Place {
            file: Some(&file),
            subject: Some(format!("access key {}", shown(id))),
        };
        let account = self.cluster.as_ref().map_or("", Cluster::account);
        let account = account.to_owned();
        match all.user(&account, name) {
            None => {
                let found = match all.users_by_name.get(name) {
                    Some(_) => format!("belongs to {name}, and several accounts have one"),
                    None => format!("belongs to the user {name}, who is in no document"),
                };
                let remedy = "add the export of the user's account, or take the key out";
                self.warn(place(), "access_key", found, remedy.into());
            }
            Some(user) if !account.is_empty() && account_of(&user.arn) != account => {
                let found = format!("belongs to {}, not to the cluster's account", user.arn);
                let remedy = format!("use a principal of {account}: others are refused");
                self.warn(place(), "access_key", found, remedy);
            }
            Some(_) => {}
        }
        if !key.is_active {
            self.warn(
                place(),
                "access_key",
                "is not active, and is refused".into(),
                format!("set Status to Active in {file}, or take the file out"),
            );
        }
    }

    fn session(&mut self, all: &Identities, id: &str, key: &AccessKey, session: &RoleSession) {
        let file = self.file_of(id);
        let place = || Place {
            file: Some(&file),
            subject: Some(session.arn.clone()),
        };
        let arn = SessionArn::parse(&session.arn);
        let role = arn.as_ref().and_then(|arn| all.role(arn.account, arn.role));
        if role.is_none() {
            self.warn(
                place(),
                "session",
                "is of a role that is in no document; it is refused".into(),
                "add the export of the role's account".into(),
            );
        }
        if self.is_over(key) {
            self.warn(
                place(),
                "session",
                format!(
                    "ended at {}",
                    key.expiration.map_or_else(String::new, rfc3339)
                ),
                "begin it again with dsql-iam assume-role, or take the file out".into(),
            );
        }
        if session.has_hidden_policies {
            self.warn(
                place(),
                "session",
                "was given policies or tags that the document does not show; it is refused".into(),
                "add the request as a member Request, in the form of --cli-input-json".into(),
            );
        }
        let attached = session
            .policies
            .iter()
            .flat_map(|policies| &policies.attached);
        for arn in attached.filter(|arn| !all.has_managed(arn)) {
            self.warn(
                place(),
                "attached_policy",
                format!("has the session policy {arn}, which is in no document; it is refused"),
                with_managed(arn),
            );
        }
    }

    // What the statements say.

    fn statements(&mut self) {
        let (keys, lists) = possible_keys(&self.all, self.cluster.as_ref());
        let mut clusters: Vec<String> = self.cluster.iter().map(Cluster::arn).collect();
        let own = clusters.first().map(String::as_str);
        let others = self.all.cluster_arns().filter(|arn| Some(*arn) != own);
        let mut others: Vec<String> = others.map(str::to_owned).collect();
        others.sort();
        clusters.extend(others);
        if clusters.is_empty() {
            self.report.not_checked.push(
                "whether the policies name a cluster that exists: the cluster is not known; \
                 name it with --cluster-arn, or add the output of aws dsql get-cluster"
                    .into(),
            );
        }
        let facts = LoginFacts {
            clusters,
            keys,
            lists,
            now: self.now,
        };
        let all = std::mem::take(&mut self.all);
        for principal in all.principals.values() {
            for inline in &principal.inline {
                let name = format!("{}, policy {}", principal.arn, inline.name);
                self.policy(&principal.arn, &name, &inline.policy, &facts);
            }
            if let Some(trust) = &principal.trust_policy {
                let name = format!("{}, trust policy", principal.arn);
                self.policy(&principal.arn, &name, trust, &facts);
            }
        }
        for group in all.groups.values() {
            for inline in &group.inline {
                let name = format!("{}, policy {}", group.arn, inline.name);
                self.policy(&group.arn, &name, &inline.policy, &facts);
            }
        }
        for (arn, policy) in all.policies.iter().chain(
            all.service_control
                .iter()
                .map(|(arn, policy)| (arn, policy)),
        ) {
            self.policy(arn, arn, policy, &facts);
        }
        if let Some(policy) = &all.cluster_policy {
            self.policy(CLUSTER_POLICY, CLUSTER_POLICY, policy, &facts);
        }
        for (id, key) in &all.access_keys {
            if let Owner::Session(session) = &key.owner
                && let Some(policy) = session.policies.as_ref().and_then(|p| p.inline.as_ref())
            {
                let name = format!("{}, session policy", session.arn);
                self.policy(id, &name, policy, &facts);
            }
        }
        self.all = all;
    }

    fn policy(&mut self, brought_as: &str, name: &str, policy: &Policy, facts: &LoginFacts) {
        for (index, statement) in policy.statements().iter().enumerate() {
            for fault in statement.faults(facts) {
                let sid = statement.sid().filter(|sid| !sid.is_empty());
                let subject = match sid {
                    Some(sid) => format!("{name}, statement {sid}"),
                    None => format!("{name}, statement {}", index + 1),
                };
                let file = self.file_of(brought_as);
                let place = Place {
                    file: Some(&file),
                    subject: Some(subject),
                };
                self.warn(place, fault.check, fault.found, fault.remedy);
            }
        }
    }
}

/// Where something was found.
#[derive(Default)]
struct Place<'p> {
    file: Option<&'p str>,
    subject: Option<String>,
}

impl<'p> Place<'p> {
    fn of_file(name: &'p str) -> Self {
        Self {
            file: Some(name),
            subject: None,
        }
    }
}

/// Who is there, for the question who can be a role.
struct Trust<'i> {
    principals: &'i HashMap<String, Principal>,
    /// How many users and roles an account has.
    accounts: HashMap<&'i str, usize>,
    /// Roles by account and name.
    roles: HashSet<(&'i str, &'i str)>,
    /// Roles that have sessions, and whether all of these are over.
    sessions: HashMap<(&'i str, &'i str), bool>,
}

impl<'i> Trust<'i> {
    fn of(all: &'i Identities, now: UtcDateTime) -> Self {
        let mut trust = Self {
            principals: &all.principals,
            accounts: HashMap::new(),
            roles: HashSet::new(),
            sessions: HashMap::new(),
        };
        for arn in all
            .principals
            .keys()
            .filter_map(|arn| IamArn::parse(arn).ok())
        {
            *trust.accounts.entry(arn.account).or_default() += 1;
            if arn.kind == IamKind::Role {
                trust.roles.insert((arn.account, arn.name));
            }
        }
        for key in all.access_keys.values() {
            if let Owner::Session(session) = &key.owner
                && let Some(arn) = SessionArn::parse(&session.arn)
            {
                let is_over = key.expiration.is_some_and(|end| now >= end);
                let all_over = trust
                    .sessions
                    .entry((arn.account, arn.role))
                    .or_insert(true);
                *all_over &= is_over;
            }
        }
        trust
    }

    /// Whether somebody in the documents, other than the role, is named by its trust policy.
    fn someone_may_be(&self, role: &Principal) -> bool {
        let mut trusted = role.trust_policy.iter().flat_map(Policy::trusted);
        trusted.any(|one| match one {
            Trusted::Everybody => self.principals.len() > 1,
            Trusted::Account(account) => self.accounts.get(account).is_some_and(|n| *n > 1),
            Trusted::Arn(arn) => {
                let is_session = || {
                    let session = SessionArn::parse(arn);
                    session.is_some_and(|s| self.roles.contains(&(s.account, s.role)))
                };
                self.principals.contains_key(arn) || is_session()
            }
            Trusted::Other => false,
        })
    }
}

/// What brings a managed policy into the export.
fn with_managed(arn: &str) -> String {
    let filter = match account_of(arn) {
        "aws" => "AWSManagedPolicy",
        _ => "LocalManagedPolicy",
    };
    format!("export the account again, with {filter} in --filter if there is one")
}

fn is_user(principal: &Principal) -> bool {
    IamArn::parse(&principal.arn).is_ok_and(|arn| arn.kind == IamKind::User)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// `1 user`, `2 policies`
fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use time::macros::utc_datetime;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz";
    const TYPO: &str = "abcdefghijklmnopqrstuvwxyy";

    fn arn(region: &str, account: &str, id: &str) -> String {
        format!("arn:aws:dsql:{region}:{account}:cluster/{id}")
    }

    /// What is found in the policy of a user with one statement, where these clusters are described.
    fn found(effect: &str, resource: &Value, clusters: &[String], given: Option<&str>) -> Report {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, document: Value| {
            std::fs::write(directory.path().join(name), document.to_string()).unwrap();
        };
        let statement = json!({"Effect": effect, "Action": "dsql:DbConnect", "Resource": resource});
        let user = json!({"UserName": "alice", "Arn": "arn:aws:iam::012345678912:user/alice",
            "UserPolicyList": [{"PolicyName": "p", "PolicyDocument":
                {"Version": "2012-10-17", "Statement": statement}}]});
        write("account.json", json!({"UserDetailList": [user]}));
        for (number, arn) in clusters.iter().enumerate() {
            let id = arn.rsplit('/').next();
            let cluster = json!({"identifier": id, "arn": arn, "tags": {}});
            write(&format!("cluster{number}.json"), cluster);
        }
        let given = given.map(|arn| Cluster::with_arn(arn, None, "").unwrap().unwrap());
        let now = utc_datetime!(2024-11-25 00:00:00);
        check(directory.path(), given.as_ref(), now)
    }

    fn about_clusters(report: &Report) -> Vec<&str> {
        let findings = report.findings.iter();
        let findings = findings.filter(|finding| finding.check == "cluster");
        findings.map(|finding| finding.found.as_str()).collect()
    }

    #[test]
    fn the_cluster_is_the_one_that_documents_describe() {
        let own = arn("us-east-1", "012345678912", ID);
        let typo = arn("us-east-1", "012345678912", TYPO);
        let other = arn("eu-west-1", "012345678912", ID);
        let no_cluster = |named: &str| format!("Resource names no cluster that exists: {named}");
        // Nothing is described, and nothing given.
        let report = found("Allow", &json!(typo), &[], None);
        assert_eq!(about_clusters(&report), [""; 0]);
        let said = "whether the policies name a cluster that exists: the cluster is not known; name it \
            with --cluster-arn, or add the output of aws dsql get-cluster";
        assert_eq!(report.not_checked, [said]);
        // One is described.
        let report = found("Allow", &json!(typo), std::slice::from_ref(&own), None);
        assert_eq!(report.cluster.as_deref(), Some(own.as_str()));
        assert_eq!(report.not_checked, [""; 0]);
        assert_eq!(about_clusters(&report), [no_cluster(&typo)]);
        // Several are: which of them it is, is not known, but not that each of them exists.
        let two = [own.clone(), other.clone()];
        let report = found("Allow", &json!(typo), &two, None);
        assert_eq!(report.cluster, None);
        assert_eq!(about_clusters(&report), [no_cluster(&typo)]);
        for named in [&own, &other] {
            let report = found("Allow", &json!(named), &two, None);
            assert_eq!(about_clusters(&report), [""; 0], "{named}");
        }
        // What is given counts, whatever is described.
        let report = found(
            "Allow",
            &json!(own),
            std::slice::from_ref(&other),
            Some(&typo),
        );
        assert_eq!(report.cluster.as_deref(), Some(typo.as_str()));
        assert_eq!(about_clusters(&report), [no_cluster(&own)]);
    }

    #[test]
    fn a_deny_of_a_cluster_that_is_not_there() {
        let own = arn("us-east-1", "012345678912", ID);
        let typo = arn("us-east-1", "012345678912", TYPO);
        let all = std::slice::from_ref(&own);
        let said = |resource: Value| {
            let report = found("Deny", &resource, all, None);
            let found = about_clusters(&report).join("; ");
            let mut about = report
                .findings
                .into_iter()
                .filter(|one| one.check == "cluster");
            (found, about.next().and_then(|finding| finding.remedy))
        };
        let expected = (
            format!("Resource names no cluster that exists: {typo}"),
            Some(format!("name this one: {own}")),
        );
        assert_eq!(said(json!(typo)), expected);
        assert_eq!(said(json!([typo])), expected);
        for resource in [
            json!(own),
            json!([typo, own]),
            json!([typo, "arn:aws:dsql:*:*:cluster/x"]),
            json!("*"),
            // A deny of what may be elsewhere, or may come, is as it should be.
            json!("arn:aws:dsql:us-east-1:012345678912:cluster/zzz*"),
            json!(arn("eu-west-1", "012345678912", TYPO)),
            json!(arn("us-east-1", "999999999999", TYPO)),
            json!(format!("{typo}?")),
            json!([typo, arn("eu-west-1", "012345678912", TYPO)]),
            json!("arn:aws:dsql:us-east-1:012345678912:cluster/${aws:PrincipalTag/cluster}"),
        ] {
            assert_eq!(said(resource.clone()), (String::new(), None), "{resource}");
        }
    }
}
