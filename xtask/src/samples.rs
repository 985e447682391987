//! Sample identities, in documents as the AWS CLI prints them, and AWS profiles to use them with.
//!
//! Three of them, so that each outcome can be tried: `dba` may connect as `admin`, the role
//! `example` as any other role that is mapped to it, and `visitor` as nobody. `dba` may assume the
//! role `example`, which the profile `assumed` does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use crate::account::Account;
use crate::{mirror, random};

/// The account of the sample identities, and of the server.
pub const ACCOUNT_ID: &str = "012345678912";

/// The region of the server.
pub const REGION: &str = "us-east-1";

/// The document of the session, which is made anew as it ends.
const SESSION_FILE: &str = "example-session.json";

/// How long a session lasts: as long as AWS lets the longest last.
const SESSION_LIFE: Duration = Duration::hours(12);

/// With less than this left, `up` makes a new session.
const RENEW_BEFORE: Duration = Duration::hours(6);

/// Writes the documents into `folder` if that is not there yet, else only renews the session:
/// documents that somebody added, changed or removed stay as they are. All of them end up readable
/// for the server's user, and for nobody else.
pub fn prepare(folder: &Path, account: &Account, now: OffsetDateTime) -> Result<()> {
    if folder.exists() {
        renew_session(folder, now)?;
    } else {
        // All or none: a folder that is there counts as complete.
        let parent = folder
            .parent()
            .context("the folder of the documents has no parent")?;
        let temporary = tempfile::tempdir_in(parent)?;
        for (name, document) in documents(now)? {
            write(&temporary.path().join(name), &document)?;
        }
        fs::rename(temporary.keep(), folder)?;
    }
    account.own(folder, 0o700)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            account.own(&entry.path(), 0o600)?;
        }
    }
    Ok(())
}

/// Writes the AWS profiles `admin`, `example` and `denied` into `folder`, each if its document is
/// still in `documents`; and `assumed`, whose sessions `command`, which is `dsql-iam`, begins as
/// they are asked for. They belong to whoever runs this: clients read them, the server does not.
pub fn write_profiles(folder: &Path, documents: &Path, command: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let mut config = "# Written by cargo xtask up; changes are lost at the next one.\n".to_owned();
    let mut credentials = config.clone();
    for (profile, file, pointer) in [
        ("admin", "dba-access-key.json", "/AccessKey"),
        ("example", SESSION_FILE, "/Credentials"),
        ("denied", "visitor-access-key.json", "/AccessKey"),
    ] {
        let Some(key) = read(&documents.join(file)).and_then(|mut document| {
            let key = document.pointer_mut(pointer)?;
            Some(key.take())
        }) else {
            continue;
        };
        config.push_str(&format!("\n[profile {profile}]\nregion = {REGION}\n"));
        credentials.push_str(&format!("\n[{profile}]\n"));
        for (setting, field) in [
            ("aws_access_key_id", "AccessKeyId"),
            ("aws_secret_access_key", "SecretAccessKey"),
            ("aws_session_token", "SessionToken"),
        ] {
            if let Some(value) = key[field].as_str() {
                credentials.push_str(&format!("{setting} = {value}\n"));
            }
        }
        if profile == "admin" {
            config.push_str(&assumed_profile(profile, documents, command)?);
        }
    }
    mirror::write(&folder.join("config"), config.as_bytes(), 0o600)?;
    mirror::write(&folder.join("credentials"), credentials.as_bytes(), 0o600)?;
    Ok(())
}

/// The profile `assumed`, whose credentials come from `dsql-iam assume-role`.
fn assumed_profile(source: &str, documents: &Path, command: &Path) -> Result<String> {
    let (command, documents) = (command.to_string_lossy(), documents.to_string_lossy());
    let role = format!("arn:aws:iam::{ACCOUNT_ID}:role/example");
    let words = [
        &*command,
        "assume-role",
        "--profile",
        source,
        "--role-arn",
        &role,
        "--role-session-name",
        "assumed",
        "--iam-directory",
        &*documents,
        "--format",
        "credential-process",
    ];
    let line = shlex::try_join(words)?;
    Ok(format!(
        "\n[profile assumed]\nregion = {REGION}\ncredential_process = {line}\n"
    ))
}

/// The name and the content of each document.
fn documents(now: OffsetDateTime) -> Result<[(&'static str, Value); 4]> {
    let role_id = format!("AROA{}", random::capitals_and_digits(17)?);
    let assumed_role = json!({
        "AssumedRoleId": format!("{role_id}:local"),
        "Arn": session_arn(),
    });
    Ok([
        (
            "account-authorization-details.json",
            authorization_details(&role_id, now)?,
        ),
        ("dba-access-key.json", access_key("dba", now)?),
        ("visitor-access-key.json", access_key("visitor", now)?),
        (SESSION_FILE, session(&assumed_role, now)?),
    ])
}

/// As `aws iam get-account-authorization-details` prints it.
fn authorization_details(role_id: &str, now: OffsetDateTime) -> Result<Value> {
    let now = timestamp(now)?;
    let clusters = format!("arn:aws:dsql:{REGION}:{ACCOUNT_ID}:cluster/*");
    let managed_arn = format!("arn:aws:iam::{ACCOUNT_ID}:policy/connect");
    let allow = |action: &str| {
        json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": action, "Resource": clusters }],
        })
    };
    let user = |name: &str, policies: Value| -> Result<Value> {
        Ok(json!({
            "Path": "/",
            "UserName": name,
            "UserId": format!("AIDA{}", random::capitals_and_digits(17)?),
            "Arn": format!("arn:aws:iam::{ACCOUNT_ID}:user/{name}"),
            "CreateDate": now,
            "UserPolicyList": policies,
            "GroupList": [],
            "AttachedManagedPolicies": [],
            "Tags": [],
        }))
    };
    let connect_as_admin = json!({
        "PolicyName": "connect-as-admin",
        "PolicyDocument": allow("dsql:DbConnectAdmin"),
    });
    let mut assume_example = json!({
        "PolicyName": "assume-example",
        "PolicyDocument": allow("sts:AssumeRole"),
    });
    assume_example["PolicyDocument"]["Statement"][0]["Resource"] =
        json!(format!("arn:aws:iam::{ACCOUNT_ID}:role/example"));
    let dba = json!([connect_as_admin, assume_example]);
    let users = [user("dba", dba)?, user("visitor", json!([]))?];
    Ok(json!({
        "UserDetailList": users,
        "GroupDetailList": [],
        "RoleDetailList": [{
            "Path": "/",
            "RoleName": "example",
            "RoleId": role_id,
            "Arn": format!("arn:aws:iam::{ACCOUNT_ID}:role/example"),
            "CreateDate": now,
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow",
                    "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT_ID}:root") },
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
            "CreateDate": now,
            "UpdateDate": now,
            "PolicyVersionList": [{
                "Document": allow("dsql:DbConnect"),
                "VersionId": "v1",
                "IsDefaultVersion": true,
                "CreateDate": now,
            }],
        }],
    }))
}

/// As `aws iam create-access-key` prints it.
fn access_key(user: &str, now: OffsetDateTime) -> Result<Value> {
    Ok(json!({
        "AccessKey": {
            "UserName": user,
            "AccessKeyId": format!("AKIA{}", random::capitals_and_digits(16)?),
            "Status": "Active",
            "SecretAccessKey": random::base64(30)?,
            "CreateDate": timestamp(now)?,
        },
    }))
}

/// As `aws sts assume-role` prints it.
fn session(assumed_role: &Value, now: OffsetDateTime) -> Result<Value> {
    Ok(json!({
        "Credentials": {
            "AccessKeyId": format!("ASIA{}", random::capitals_and_digits(16)?),
            "SecretAccessKey": random::base64(30)?,
            "SessionToken": random::base64(300)?,
            "Expiration": timestamp(now + SESSION_LIFE)?,
        },
        "AssumedRoleUser": assumed_role,
    }))
}

/// Replaces the sample session if it is about to end. Anything else in its file is left alone.
fn renew_session(folder: &Path, now: OffsetDateTime) -> Result<()> {
    let path = folder.join(SESSION_FILE);
    let Some(document) = read(&path) else {
        return Ok(());
    };
    let assumed_role = &document["AssumedRoleUser"];
    if assumed_role["Arn"] != session_arn() {
        return Ok(());
    }
    let expiration = document["Credentials"]["Expiration"]
        .as_str()
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    if expiration.is_some_and(|expiration| expiration - now < RENEW_BEFORE) {
        write(&path, &session(assumed_role, now)?)?;
    }
    Ok(())
}

fn session_arn() -> String {
    format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/example/local")
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, document: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(document)? + "\n";
    mirror::write(path, text.as_bytes(), 0o600)?;
    Ok(())
}

/// A time as the AWS CLI prints it.
fn timestamp(time: OffsetDateTime) -> Result<String> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
    Ok(time.to_offset(time::UtcOffset::UTC).format(format)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        account: Account,
        now: OffsetDateTime,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                account: Account::of_this_process(),
                now: OffsetDateTime::now_utc(),
            }
        }

        fn prepare(&self, later: Duration) {
            prepare(
                &self.folder.path().join("iam"),
                &self.account,
                self.now + later,
            )
            .unwrap();
        }

        fn read(&self, name: &str) -> Value {
            read(&self.folder.path().join("iam").join(name)).unwrap()
        }
    }

    #[test]
    fn a_session_is_renewed_when_half_of_it_is_over() {
        let fixture = Fixture::new();
        fixture.prepare(Duration::ZERO);
        let first = fixture.read(SESSION_FILE);
        fixture.prepare(Duration::hours(5));
        assert_eq!(fixture.read(SESSION_FILE), first);
        fixture.prepare(Duration::hours(7));
        let second = fixture.read(SESSION_FILE);
        assert_ne!(second["Credentials"], first["Credentials"]);
        assert_eq!(second["AssumedRoleUser"], first["AssumedRoleUser"]);
    }

    #[test]
    fn documents_are_left_as_they_are() {
        let fixture = Fixture::new();
        fixture.prepare(Duration::ZERO);
        let iam = fixture.folder.path().join("iam");
        fs::remove_file(iam.join("visitor-access-key.json")).unwrap();
        fs::write(iam.join("dba-access-key.json"), "{\"mine\": 1}").unwrap();
        fixture.prepare(Duration::hours(7));
        assert!(!iam.join("visitor-access-key.json").exists());
        assert_eq!(fixture.read("dba-access-key.json"), json!({"mine": 1}));
    }

    #[test]
    fn profiles_follow_the_documents() {
        let fixture = Fixture::new();
        fixture.prepare(Duration::ZERO);
        let iam = fixture.folder.path().join("iam");
        fs::remove_file(iam.join("visitor-access-key.json")).unwrap();
        let aws = fixture.folder.path().join("aws");
        write_profiles(&aws, &iam, Path::new("/a b/dsql-iam")).unwrap();
        let credentials = fs::read_to_string(aws.join("credentials")).unwrap();
        let key = fixture.read("dba-access-key.json")["AccessKey"]["AccessKeyId"].clone();
        assert!(credentials.contains(&format!(
            "[admin]\naws_access_key_id = {}",
            key.as_str().unwrap()
        )));
        assert!(credentials.contains("aws_session_token = "));
        assert!(!credentials.contains("[denied]"));
        let config = fs::read_to_string(aws.join("config")).unwrap();
        let line = config
            .lines()
            .find(|line| line.starts_with("credential_process = "));
        let line = line.unwrap().trim_start_matches("credential_process = ");
        assert_eq!(
            &shlex::split(line).unwrap()[..2],
            ["/a b/dsql-iam", "assume-role"]
        );
        fs::remove_file(iam.join("dba-access-key.json")).unwrap();
        write_profiles(&aws, &iam, Path::new("dsql-iam")).unwrap();
        let config = fs::read_to_string(aws.join("config")).unwrap();
        assert!(!config.contains("[profile assumed]"));
    }
}
