//! `dsql-iam sample-identities`: users, a role and keys to begin with, in the form that the AWS CLI prints.
//!
//! Each outcome can be tried with them: the user `dba` may connect as `admin` and may assume the role
//! `example`, which may connect as the roles that are mapped to it; the user `app` may connect as both, as
//! the one identity of a pipeline; the user `visitor` may do nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, UtcDateTime};

use super::Report;
use super::create_access_key::{access_key, account_id, text, timestamp, user, wrote};
use crate::shared::error::Error;
use crate::shared::iam_directory::IamDirectory;
use crate::shared::{owner, random};

/// The document of the session, which is made anew as it ends.
const SESSION_FILE: &str = "example-session.json";
/// How long a session lasts: as long as AWS lets the longest last.
const SESSION_LIFE: Duration = Duration::hours(12);
/// With less than this left, the session is renewed.
const RENEW_BEFORE: Duration = Duration::hours(6);

/// The arguments of `dsql-iam sample-identities`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam sample-identities ./iam --account-id 012345678912
  eval \"$(dsql-iam create-access-key --user-name dba --iam-directory ./iam --format env)\"

The user dba may connect as admin, the role example as roles that are mapped to it, the user app as both,
and the user visitor as nobody. AWS knows nothing of this. It is for trying: remove the documents once you
have your own.")]
pub struct Arguments {
    /// The directory for the IAM documents: new, or empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The account
    #[arg(long, value_name = "NUMBER", value_parser = account_id)]
    account_id: String,

    /// The region of the clusters that may be connected to [default: any]
    #[arg(long, default_value = "*", hide_default_value = true)]
    region: String,

    /// The cluster that may be connected to [default: each of the account]
    #[arg(
        long,
        value_name = "ID",
        default_value = "*",
        hide_default_value = true
    )]
    cluster_id: String,

    /// Add a session of the role example, which lasts twelve hours
    #[arg(long)]
    session: bool,

    /// Only renew that session, where it is and half of its time is over; no other document is written
    #[arg(long, requires = "session")]
    renew: bool,
}

/// Writes the documents.
///
/// # Errors
/// A sentence: there are other documents, or the directory cannot be written.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    write(arguments, UtcDateTime::now()).map(Report::from)
}

fn write(arguments: &Arguments, now: UtcDateTime) -> Result<String, Error> {
    let path = &arguments.directory;
    if arguments.renew {
        return renew_session(arguments, now);
    }
    if let Some(name) = first_document(path)? {
        return Err(format!(
            "{} holds documents already, such as {name}: name an empty directory",
            path.display()
        )
        .into());
    }
    let documents = documents(arguments, now)?;
    if path.exists() {
        store(path, &documents)?;
    } else {
        // All or none: a directory that is there counts as complete.
        let failed = |error: io::Error| format!("{} could not be made: {error}", path.display());
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let new = tempfile::tempdir_in(parent.unwrap_or(Path::new("."))).map_err(failed)?;
        store(new.path(), &documents)?;
        fs::rename(new.path(), path).map_err(failed)?;
        let _ = new.keep();
    }
    let names = documents.iter();
    let mut lines: Vec<String> = names.map(|(name, _)| wrote(path, name)).collect();
    let is_roots = fs::metadata(path).is_ok_and(|found| found.uid() == 0);
    if owner::is_root() && is_roots {
        lines.push(format!(
            "{} belongs to root: give it to the server's user (chown -R)",
            path.display()
        ));
    }
    Ok(lines.join("\n"))
}

fn store(path: &Path, documents: &[(&str, Value)]) -> Result<(), Error> {
    let directory = IamDirectory::open(path)?;
    for (name, document) in documents {
        directory.store(name, &text(document))?;
    }
    Ok(())
}

/// The name and the content of each document.
fn documents(arguments: &Arguments, now: UtcDateTime) -> Result<Vec<(&'static str, Value)>, Error> {
    let role_id = format!("AROA{}", random::capitals_and_digits(17)?);
    let mut documents = vec![
        (
            "account-authorization-details.json",
            authorization_details(arguments, &role_id, now)?,
        ),
        ("dba-access-key.json", access_key("dba", now)?),
        ("app-access-key.json", access_key("app", now)?),
        ("visitor-access-key.json", access_key("visitor", now)?),
    ];
    if arguments.session {
        let assumed = json!({
            "AssumedRoleId": format!("{role_id}:local"),
            "Arn": session_arn(&arguments.account_id),
        });
        documents.push((SESSION_FILE, session(&assumed, now)?));
    }
    Ok(documents)
}

/// The name of a document in the directory, if there is one.
fn first_document(path: &Path) -> Result<Option<String>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names.into_iter().next())
}

/// As `aws iam get-account-authorization-details` prints it.
fn authorization_details(
    arguments: &Arguments,
    role_id: &str,
    now: UtcDateTime,
) -> Result<Value, Error> {
    let (account, region) = (&arguments.account_id, &arguments.region);
    let clusters = format!(
        "arn:aws:dsql:{region}:{account}:cluster/{}",
        arguments.cluster_id
    );
    let role_arn = format!("arn:aws:iam::{account}:role/example");
    let managed_arn = format!("arn:aws:iam::{account}:policy/connect");
    let created = timestamp(now);
    let allow = |action: Value, resource: &str| {
        json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": action, "Resource": resource }],
        })
    };
    let dba = json!([
        {
            "PolicyName": "connect-as-admin",
            "PolicyDocument": allow("dsql:DbConnectAdmin".into(), &clusters),
        },
        {
            "PolicyName": "assume-example",
            "PolicyDocument": allow("sts:AssumeRole".into(), &role_arn),
        },
        {
            "PolicyName": "simulate",
            "PolicyDocument": allow(json!(["iam:SimulateCustomPolicy", "iam:SimulatePrincipalPolicy"]), "*"),
        },
    ]);
    let app = json!([{
        "PolicyName": "connect-as-any",
        "PolicyDocument": allow(json!(["dsql:DbConnect", "dsql:DbConnectAdmin"]), &clusters),
    }]);
    let users = [
        user("dba", account, &dba, now)?,
        user("app", account, &app, now)?,
        user("visitor", account, &json!([]), now)?,
    ];
    Ok(json!({
        "UserDetailList": users,
        "GroupDetailList": [],
        "RoleDetailList": [{
            "Path": "/",
            "RoleName": "example",
            "RoleId": role_id,
            "Arn": role_arn,
            "CreateDate": created,
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow",
                    "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
                    "Action": "sts:AssumeRole",
                }],
            },
            "InstanceProfileList": [],
            "RolePolicyList": [],
            "AttachedManagedPolicies": [{
                "PolicyName": "connect",
                "PolicyArn": managed_arn,
            }],
            "Tags": [],
            "RoleLastUsed": {},
        }],
        "Policies": [{
            "PolicyName": "connect",
            "PolicyId": format!("ANPA{}", random::capitals_and_digits(17)?),
            "Arn": managed_arn,
            "Path": "/",
            "DefaultVersionId": "v1",
            "AttachmentCount": 1,
            "PermissionsBoundaryUsageCount": 0,
            "IsAttachable": true,
            "CreateDate": created,
            "UpdateDate": created,
            "PolicyVersionList": [{
                "Document": allow("dsql:DbConnect".into(), &clusters),
                "VersionId": "v1",
                "IsDefaultVersion": true,
                "CreateDate": created,
            }],
        }],
    }))
}

/// As `aws sts assume-role` prints it.
fn session(assumed_role: &Value, now: UtcDateTime) -> Result<Value, Error> {
    Ok(json!({
        "Credentials": {
            "AccessKeyId": format!("ASIA{}", random::capitals_and_digits(16)?),
            "SecretAccessKey": random::base64(30)?,
            "SessionToken": random::base64(300)?,
            "Expiration": timestamp(now + SESSION_LIFE),
        },
        "AssumedRoleUser": assumed_role,
    }))
}

/// Replaces the sample session if it is about to end. Anything else in its file is left alone.
fn renew_session(arguments: &Arguments, now: UtcDateTime) -> Result<String, Error> {
    let path = &arguments.directory;
    let unchanged = || Ok(format!("nothing to renew in {}", path.display()));
    let Ok(content) = fs::read_to_string(path.join(SESSION_FILE)) else {
        return unchanged();
    };
    let document: Value = serde_json::from_str(&content).unwrap_or_default();
    let assumed_role = &document["AssumedRoleUser"];
    let expiration = document["Credentials"]["Expiration"]
        .as_str()
        .and_then(|text| UtcDateTime::parse(text, &Rfc3339).ok());
    let is_ours = assumed_role["Arn"] == session_arn(&arguments.account_id);
    if !is_ours || expiration.is_none_or(|expiration| expiration - now >= RENEW_BEFORE) {
        return unchanged();
    }
    let renewed = session(assumed_role, now)?;
    IamDirectory::open(path)?.replace(SESSION_FILE, &text(&renewed))?;
    Ok(wrote(path, SESSION_FILE))
}

fn session_arn(account: &str) -> String {
    format!("arn:aws:sts::{account}:assumed-role/example/local")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsql_iam_core::{Cluster, check};

    struct Fixture {
        _folder: tempfile::TempDir,
        arguments: Arguments,
        now: UtcDateTime,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self {
                arguments: Arguments {
                    directory: folder.path().join("iam"),
                    account_id: "012345678912".into(),
                    region: "*".into(),
                    cluster_id: "*".into(),
                    session: true,
                    renew: false,
                },
                _folder: folder,
                now: UtcDateTime::now(),
            }
        }

        fn write(&self) -> String {
            write(&self.arguments, self.now).unwrap()
        }

        fn renew(&mut self, later: Duration) {
            self.arguments.renew = true;
            write(&self.arguments, self.now + later).unwrap();
        }

        fn read(&self, name: &str) -> Value {
            let text = fs::read_to_string(self.arguments.directory.join(name)).unwrap();
            serde_json::from_str(&text).unwrap()
        }
    }

    #[test]
    fn all_is_well_with_them() {
        let fixture = Fixture::new();
        let said = fixture.write();
        assert_eq!(
            said.lines()
                .filter(|line| line.starts_with("wrote "))
                .count(),
            5
        );
        let id = "abcdefghijklmnopqrstuvwxyz";
        let cluster = Cluster::new("012345678912", "us-east-1", id, "").unwrap();
        let report = check::check(&fixture.arguments.directory, Some(&cluster), fixture.now);
        assert_eq!(report.counts(), (0, 0));
        assert_eq!(report.access_keys.len(), 3);
        let other = Arguments {
            session: false,
            ..fixture.arguments
        };
        let fault = write(&other, fixture.now).unwrap_err().to_string();
        assert!(
            fault.ends_with(
                "holds documents already, such as account-authorization-details.json: name an empty directory"
            ),
            "{fault}"
        );
    }

    #[test]
    fn a_session_is_renewed_when_half_of_it_is_over() {
        let mut fixture = Fixture::new();
        fixture.write();
        let first = fixture.read(SESSION_FILE);
        fixture.renew(Duration::hours(5));
        assert_eq!(fixture.read(SESSION_FILE), first);
        fixture.renew(Duration::hours(7));
        let second = fixture.read(SESSION_FILE);
        assert_ne!(second["Credentials"], first["Credentials"]);
        assert_eq!(second["AssumedRoleUser"], first["AssumedRoleUser"]);
    }

    #[test]
    fn documents_are_left_as_they_are() {
        let mut fixture = Fixture::new();
        fixture.write();
        let iam = fixture.arguments.directory.clone();
        fs::remove_file(iam.join("visitor-access-key.json")).unwrap();
        fs::write(iam.join("dba-access-key.json"), "{\"mine\": 1}").unwrap();
        fixture.renew(Duration::hours(7));
        assert!(!iam.join("visitor-access-key.json").exists());
        assert_eq!(fixture.read("dba-access-key.json"), json!({"mine": 1}));
    }
}
