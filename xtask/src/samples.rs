//! Sample identities, which `dsql-iam sample-identities` writes, and AWS profiles to use them with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::account::Account;
use crate::cluster::Cluster;
use crate::mirror;

/// The document of the session, which is made anew as it ends.
const SESSION_FILE: &str = "example-session.json";

/// Has `command`, which is `dsql-iam`, write the documents into `folder` if that is not there yet, else
/// only renew the session: documents that somebody added, changed or removed stay as they are. All of them
/// end up readable for the server's user, and for nobody else.
pub fn prepare(folder: &Path, account: &Account, account_id: &str, command: &Path) -> Result<()> {
    let is_new = !folder.exists();
    let status = Command::new(command)
        .arg("sample-identities")
        .arg(folder)
        // For clusters of any region: the server may be given another one later.
        .args(["--account-id", account_id, "--session"])
        .args((!is_new).then_some("--renew"))
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{} could not be started", command.display()))?;
    ensure!(status.success(), "the sample identities were not made");
    account.own(folder, 0o700)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            account.own(&entry.path(), 0o600)?;
        }
    }
    Ok(())
}

/// Writes the AWS profiles `admin`, `app`, `example` and `denied` into `folder`, each if its document
/// is still in `documents`; and `assumed`, whose sessions `command`, which is `dsql-iam`, begins as
/// they are asked for. They belong to whoever runs this: clients read them, the server does not.
pub fn write_profiles(
    folder: &Path,
    documents: &Path,
    command: &Path,
    cluster: &Cluster,
) -> Result<()> {
    let region = &cluster.region;
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let mut config = "# Written by cargo xtask up; changes are lost at the next one.\n".to_owned();
    let mut credentials = config.clone();
    for (profile, file, pointer) in [
        ("admin", "dba-access-key.json", "/AccessKey"),
        ("app", "app-access-key.json", "/AccessKey"),
        ("example", SESSION_FILE, "/Credentials"),
        ("denied", "visitor-access-key.json", "/AccessKey"),
    ] {
        let Some(key) = read(&documents.join(file)).and_then(|mut document| {
            let key = document.pointer_mut(pointer)?;
            Some(key.take())
        }) else {
            continue;
        };
        config.push_str(&format!("\n[profile {profile}]\nregion = {region}\n"));
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
            config.push_str(&assumed_profile(profile, documents, command, cluster)?);
        }
    }
    mirror::write(&folder.join("config"), config.as_bytes(), 0o600)?;
    mirror::write(&folder.join("credentials"), credentials.as_bytes(), 0o600)?;
    Ok(())
}

/// The profile `assumed`, whose credentials come from `dsql-iam assume-role`.
fn assumed_profile(
    source: &str,
    documents: &Path,
    command: &Path,
    cluster: &Cluster,
) -> Result<String> {
    let (command, documents) = (command.to_string_lossy(), documents.to_string_lossy());
    let role = format!("arn:aws:iam::{}:role/example", cluster.account_id);
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
        "\n[profile assumed]\nregion = {}\ncredential_process = {line}\n",
        cluster.region
    ))
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn profiles_follow_the_documents() {
        let folder = tempfile::tempdir().unwrap();
        let iam = folder.path().join("iam");
        fs::create_dir(&iam).unwrap();
        for (file, member, id) in [
            ("dba-access-key.json", "AccessKey", "AKIADBA"),
            (SESSION_FILE, "Credentials", "ASIASESSION"),
        ] {
            let key = json!({"AccessKeyId": id, "SecretAccessKey": "s", "SessionToken": "t"});
            fs::write(iam.join(file), json!({ member: key }).to_string()).unwrap();
        }
        let aws = folder.path().join("aws");
        write_profiles(&aws, &iam, Path::new("/a b/dsql-iam"), &Cluster::sample()).unwrap();
        let credentials = fs::read_to_string(aws.join("credentials")).unwrap();
        assert!(credentials.contains("[admin]\naws_access_key_id = AKIADBA\n"));
        assert!(credentials.contains("aws_session_token = t"));
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
        write_profiles(&aws, &iam, Path::new("dsql-iam"), &Cluster::sample()).unwrap();
        let config = fs::read_to_string(aws.join("config")).unwrap();
        assert!(!config.contains("[profile assumed]"));
    }
}
