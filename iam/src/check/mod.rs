//! Reports the contents of a directory of IAM documents, and which parts have no effect or are probably mistakes.
//!
//! The documents are read and judged by the loader itself ([`crate::directory`]): what is an error
//! here keeps the server from loading the directory, and nothing else does. A warning names what is
//! allowed, but does nothing, or not what it seems to do. No finding holds a secret.

mod candidates;
mod lint;
mod near_miss;
mod references;
mod report;
mod statements;
mod trust;

pub(crate) use near_miss::near_miss;
pub use report::{
    DocumentReport, Finding, IdentityReport, KeyReport, PolicyReport, Report, SessionReport,
    Severity,
};

use crate::arn::{IamArn, IamKind};
use crate::cluster::Cluster;
use crate::directory::{LoadError, OtherEntry, survey};
use crate::documents::{self, Document};
use crate::identity::{AccessKey, Identities, Owner, Principal};
use crate::login::redacted_key_id;
use crate::policy::Policy;
use crate::session_store;
use crate::time::rfc3339;
use std::collections::HashMap;
use std::path::Path;
use time::UtcDateTime;

/// Checks the directory as of `now`, for the logins to `cluster`, or, if that is not given, to the one
/// cluster that documents describe.
pub fn check(directory: &Path, cluster: Option<&Cluster>, now: UtcDateTime) -> Report {
    let mut report = Report {
        directory: directory.display().to_string(),
        cluster: cluster.map(Cluster::arn),
        ..Report::default()
    };
    let contents = match survey(directory) {
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
        versions: HashMap::new(),
        cluster: cluster.cloned(),
        now,
    };
    checker.directory(directory, contents.mode_if_writable);
    for other in contents.others {
        checker.ignored(&other);
    }
    for entry in contents.documents {
        checker.document(&entry.path, entry.mode, entry.outcome);
    }
    for entry in session_store::all(directory, now) {
        checker.stored_session(entry);
    }
    checker.described_cluster();
    checker.identities();
    checker.keys();
    checker.policies();
    checker.superseded();
    let (errors, _) = checker.report.counts();
    if errors == 0 {
        // All documents are in: from here on only findings are added.
        let all = std::mem::take(&mut checker.all);
        checker.references(&all);
        checker.statements(&all);
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
    /// The version of each managed policy, and the file that brings it.
    versions: HashMap<String, Vec<(String, String)>>,
    cluster: Option<Cluster>,
    now: UtcDateTime,
}

/// The names under which the files of an identity provider and of its keys are remembered.
fn provider_name(issuer: &str) -> String {
    format!("identity provider {issuer}")
}

fn keys_name(issuer: &str) -> String {
    format!("keys of {issuer}")
}

/// The name under which the file of the cluster's policy is remembered, and shown.
const CLUSTER_POLICY: &str = "the cluster's policy";

impl Checker {
    fn warn(&mut self, place: Place<'_>, check: &'static str, found: String, remedy: String) {
        self.report(Severity::Warning, place, check, found, remedy);
    }

    fn report(
        &mut self,
        severity: Severity,
        place: Place<'_>,
        check: &'static str,
        found: String,
        remedy: String,
    ) {
        self.report.findings.push(Finding {
            severity,
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

    fn directory(&mut self, directory: &Path, mode_if_writable: Option<u32>) {
        if let Some(mode) = mode_if_writable {
            self.report.findings.push(Finding {
                severity: Severity::Error,
                file: None,
                subject: None,
                check: "mode",
                found: format!(
                    "the directory has mode {mode:04o}: others than its owner can put documents into it"
                ),
                remedy: Some(format!("chmod go-w {}", directory.display())),
            });
        }
    }

    fn ignored(&mut self, other: &OtherEntry) {
        let name = name_of(&other.path);
        if other.is_folder && name == session_store::FOLDER {
            return;
        }
        let why = if name.starts_with('.') {
            "its name starts with a dot"
        } else if other.is_folder {
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

    /// Takes a stored session in. A bad one keeps the server from nothing but that session's logins.
    fn stored_session(&mut self, entry: session_store::Entry) {
        let file = entry.file;
        let added = entry.outcome.and_then(|session| {
            self.files
                .insert(session.access_key_id.clone(), file.clone());
            self.all.add_stored(session)
        });
        if let Err(fault) = added {
            self.report.findings.push(Finding {
                severity: Severity::Error,
                file: Some(file.clone()),
                subject: None,
                check: "session",
                found: fault.to_string(),
                remedy: Some(format!("rm {}/{file}", self.report.directory)),
            });
        }
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
                LoadError::Writable { .. } => Some(format!("chmod go-w {}", path.display())),
                _ => None,
            };
            let (check, found) = match fault {
                LoadError::Broken { error, .. } => ("document", error.to_string()),
                LoadError::Exposed { mode, .. } => (
                    "mode",
                    format!("it holds a secret but has mode {mode:04o}; it must be 0600"),
                ),
                LoadError::Writable { mode, .. } => (
                    "mode",
                    format!("it has mode {mode:04o}: others than its owner can write it"),
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
                for (arn, version) in details.managed() {
                    let versions = self.versions.entry(arn.to_owned()).or_default();
                    versions.push((version.to_owned(), file.to_owned()));
                }
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
                    Owner::User { name, .. } => (
                        "create-access-key",
                        format!("access key {} of user {name}", redacted_key_id(id)),
                    ),
                    Owner::Session(session) if session.is_of_user() => {
                        ("get-session-token", format!("session of {}", session.arn))
                    }
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
            Document::OidcProvider(provider) => {
                let issuer = provider.issuer();
                remember(&provider_name(&issuer));
                (
                    "get-open-id-connect-provider",
                    format!("identity provider {issuer}"),
                )
            }
            Document::KeySet(keys) => {
                remember(&keys_name(&keys.issuer));
                let count = counted(keys.keys.len(), "key");
                ("jwks_uri", format!("{count} of {}", keys.issuer))
            }
            Document::MfaDevices { list, .. } => {
                list.iter().for_each(|(serial, _)| remember(serial));
                let brings = counted(list.len(), "device for multi-factor authentication");
                ("list-virtual-mfa-devices", brings)
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
                Owner::User { name, .. } => self.report.access_keys.push(KeyReport {
                    id: redacted_key_id(id).to_owned(),
                    file,
                    user: name.clone(),
                    is_active: key.is_active,
                }),
                Owner::Session(session) => {
                    for arn in session.policies.iter().flat_map(|p| &p.attached) {
                        *self.uses.entry(arn.clone()).or_default() += 1;
                    }
                    self.report.sessions.push(SessionReport {
                        arn: session.arn.clone(),
                        file,
                        access_key_id: redacted_key_id(id).to_owned(),
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

    /// Tells which versions of managed policies are not in force, since another document brings a newer one.
    fn superseded(&mut self) {
        for (arn, versions) in std::mem::take(&mut self.versions) {
            let in_force = self.all.policy_versions.get(&arn);
            let Some(in_force) = in_force.cloned() else {
                continue;
            };
            for (version, file) in versions {
                if documents::is_newer(&in_force, &version) == Some(true) {
                    let place = Place {
                        file: Some(&file),
                        subject: Some(arn.clone()),
                    };
                    let found =
                        format!("{version} is not in force: another document has {in_force}");
                    let remedy = "export the account again, if it is to have the same".to_owned();
                    self.report(Severity::Note, place, "managed_policy", found, remedy);
                }
            }
        }
    }

    fn policies(&mut self) {
        let row = |name: &str, policy: &Policy| PolicyReport {
            name: name.to_owned(),
            file: policy
                .file()
                .map_or_else(|| self.file_of(name), str::to_owned),
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

    /// The findings on the policy of a user with one statement, where these clusters are described.
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
        // The cluster that is given counts, whatever is described.
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
    fn a_policy_of_aws_is_not_linted_and_the_newest_version_is_in_force() {
        let directory = tempfile::tempdir().unwrap();
        for (account, version, action) in [
            ("111111111111", "v1", "dsql:DbConnect"),
            ("222222222222", "v2", "dsql:OfTomorrow"),
        ] {
            let document = json!({"UserDetailList": [{"UserName": "u",
                "Arn": format!("arn:aws:iam::{account}:user/u")}],
                "Policies": [{"Arn": "arn:aws:iam::aws:policy/P", "DefaultVersionId": version,
                    "PolicyVersionList": [{"VersionId": version, "Document": {"Statement":
                        {"Effect": "Allow", "Action": action, "Resource": "*"}}}]}]});
            let path = directory.path().join(format!("{account}.json"));
            std::fs::write(path, document.to_string()).unwrap();
        }
        let report = check(directory.path(), None, utc_datetime!(2024-11-25 00:00:00));
        assert_eq!(report.counts(), (0, 0), "{:?}", report.findings);
        let [note] = &report.findings[..] else {
            panic!("{:?}", report.findings)
        };
        assert_eq!(note.file.as_deref(), Some("111111111111.json"));
        assert_eq!(note.subject.as_deref(), Some("arn:aws:iam::aws:policy/P"));
        assert_eq!(note.found, "v1 is not in force: another document has v2");
        assert_eq!(report.policies[0].file, "222222222222.json");
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
