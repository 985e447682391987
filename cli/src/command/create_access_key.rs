//! `dsql-iam create-access-key`: makes up an access key of a user, in the form of
//! `aws iam create-access-key`.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/reference/iam/create-access-key.html>.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dsql_iam_core::{Identities, is_account_id};
use serde_json::{Value, json};
use time::UtcDateTime;
use time::macros::format_description;

use super::Report;
use crate::shared::error::Error;
use crate::shared::iam_directory::IamDirectory;
use crate::shared::random;

/// The longest name of a user, in characters.
const MAX_NAME: usize = 64;

/// The arguments of `dsql-iam create-access-key`.
#[derive(Args)]
#[command(after_help = "\
Example:
  eval \"$(dsql-iam create-access-key --user-name dba --iam-directory ./iam --format env)\"
  dsql-iam create-access-key --user-name alice --iam-directory ./iam --create-user \\
    --account-id 012345678912 --allow dsql:DbConnectAdmin

The key is made up: AWS does not know it, and is not asked. Its secret is in the new document, and is
printed only with --format.")]
pub struct Arguments {
    /// The user
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    user_name: String,

    /// The directory of the IAM documents, into which the key is written
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    iam_directory: PathBuf,

    /// Add the user too, if no document has one of this name
    #[arg(long)]
    create_user: bool,

    /// Allow the new user this on every cluster of the account [default: nothing]
    #[arg(long, value_name = "ACTION", num_args = 1.., requires = "create_user",
          value_parser = ["dsql:DbConnect", "dsql:DbConnectAdmin"])]
    allow: Vec<String>,

    /// The account of the user [default: the one that the documents are of]
    #[arg(long, value_name = "NUMBER", value_parser = account_id)]
    account_id: Option<String>,

    /// Print the key, with its secret [default: neither]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// The values of `--format`.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// As `aws iam create-access-key` prints it
    Json,
    /// As lines that set a shell's environment
    Env,
}

/// Writes the key.
///
/// # Errors
/// A sentence: the user is unknown, or the directory cannot be read or written.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let path = &arguments.iam_directory;
    let identities = Identities::load(path).map_err(Error::of)?;
    let user = &arguments.user_name;
    let is_new = !is_known(arguments, &identities)?;
    let directory = IamDirectory::open(path)?;
    let now = UtcDateTime::now();
    let mut lines = Vec::new();
    let mut key = access_key(user, now)?;
    if let Some(account) = &arguments.account_id {
        // AWS does not say it; without it the key of a user whom several accounts have is nobody's.
        key["AccessKey"]["AccountId"] = account.as_str().into();
    }
    if is_new {
        let account = account(arguments, &identities)?;
        let name = format!("user-{user}.json");
        let document = user_document(user, &account, &arguments.allow, now)?;
        directory.store(&name, &text(&document))?;
        lines.push(wrote(path, &name));
        if arguments.allow.is_empty() {
            lines.push(format!(
                "{user} has no policy yet, so the key opens nothing: add one to {name}"
            ));
        }
    }
    let id = key["AccessKey"]["AccessKeyId"].as_str().unwrap_or_default();
    let name = format!("access-key-{user}-{id}.json");
    directory.store(&name, &text(&key))?;
    lines.push(wrote(path, &name));
    let said = lines.join("\n");
    let printed = match arguments.format {
        None => return Ok(said.into()),
        Some(Format::Json) => format!("{key:#}"),
        Some(Format::Env) => environment(&key),
    };
    // Standard output is for the key then.
    eprintln!("{said}");
    Ok(printed.into())
}

/// Whether there is the user already; an error if it is to be known, and is not.
fn is_known(arguments: &Arguments, identities: &Identities) -> Result<bool, Error> {
    let user = &arguments.user_name;
    let all = identities.accounts();
    let holders: Vec<&str> = all
        .into_iter()
        .filter(|account| identities.user(Some(account), user).is_some())
        .collect();
    match (&holders[..], &arguments.account_id) {
        ([], _) if arguments.create_user => Ok(false),
        ([one], None) if !one.is_empty() => Ok(true),
        ([one], Some(wanted)) if one == wanted => Ok(true),
        ([_, _, ..], Some(wanted)) if holders.contains(&wanted.as_str()) => Ok(true),
        ([_, _, ..], None) => Err(format!(
            "several accounts have a user {user}, {}: name one with --account-id",
            holders.join(", ")
        ).into()),
        ([other], Some(wanted)) if arguments.create_user => Err(format!(
            "the account {other} has a user {user} too, so its keys would log in nowhere: {wanted} needs \
             another name"
        ).into()),
        _ => Err(format!(
            "no document in {} has a user {user}{}: name one that is there, or add --create-user",
            arguments.iam_directory.display(),
            match &arguments.account_id {
                Some(account) => format!(" in the account {account}"),
                None => String::new(),
            }
        ).into()),
    }
}

/// The account of a new user.
fn account(arguments: &Arguments, identities: &Identities) -> Result<String, Error> {
    if let Some(account) = &arguments.account_id {
        return Ok(account.clone());
    }
    let accounts: Vec<&str> = identities.accounts().into_iter().collect();
    match accounts[..] {
        [account] => Ok(account.to_owned()),
        [] => Err("the documents do not name an account yet: name it with --account-id".into()),
        _ => Err(format!(
            "the documents are of several accounts, {}: name one with --account-id",
            accounts.join(", ")
        )
        .into()),
    }
}

/// A key as `aws iam create-access-key` prints it.
///
/// # Errors
/// A sentence, if the system has no randomness.
pub fn access_key(user: &str, now: UtcDateTime) -> Result<Value, Error> {
    Ok(json!({
        "AccessKey": {
            "UserName": user,
            "AccessKeyId": format!("AKIA{}", random::capitals_and_digits(16)?),
            "Status": "Active",
            "SecretAccessKey": random::base64(30)?,
            "CreateDate": timestamp(now),
        },
    }))
}

/// A user as in what `aws iam get-account-authorization-details` prints, with inline policies.
///
/// # Errors
/// A sentence, if the system has no randomness.
pub fn user(name: &str, account: &str, policies: &Value, now: UtcDateTime) -> Result<Value, Error> {
    Ok(json!({
        "Path": "/",
        "UserName": name,
        "UserId": format!("AIDA{}", random::capitals_and_digits(17)?),
        "Arn": format!("arn:aws:iam::{account}:user/{name}"),
        "CreateDate": timestamp(now),
        "UserPolicyList": policies,
        "GroupList": [],
        "AttachedManagedPolicies": [],
        "Tags": [],
    }))
}

fn user_document(
    name: &str,
    account: &str,
    actions: &[String],
    now: UtcDateTime,
) -> Result<Value, Error> {
    let policies = match actions {
        [] => json!([]),
        actions => json!([{
            "PolicyName": "connect",
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow",
                    "Action": actions,
                    "Resource": format!("arn:aws:dsql:*:{account}:cluster/*"),
                }],
            },
        }]),
    };
    Ok(json!({"UserDetailList": [user(name, account, &policies, now)?]}))
}

/// Lines that set the key in a shell, and unset what would count instead or beside it.
fn environment(key: &Value) -> String {
    let field = |name: &str| {
        key["AccessKey"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    format!(
        "export AWS_ACCESS_KEY_ID='{}'\nexport AWS_SECRET_ACCESS_KEY='{}'\nunset AWS_SESSION_TOKEN AWS_PROFILE",
        field("AccessKeyId"),
        field("SecretAccessKey")
    )
}

/// A time as the AWS CLI prints it.
pub fn timestamp(time: UtcDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
    time.format(format).unwrap_or_default()
}

/// A document's text.
pub fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A line about a new document.
pub fn wrote(directory: &Path, name: &str) -> String {
    format!("wrote {}, mode 0600", directory.join(name).display())
}

fn user_name(text: &str) -> Result<String, Error> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    let is_name = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err("a user's name has 1 to 64 characters of A-Z, a-z, 0-9 and _+=,.@-".into()),
    }
}

/// An account id, for clap.
pub fn account_id(text: &str) -> Result<String, Error> {
    match is_account_id(text) {
        true => Ok(text.to_owned()),
        false => Err("an account id has twelve digits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn arguments(directory: &Path, user: &str) -> Arguments {
        Arguments {
            user_name: user.into(),
            iam_directory: directory.into(),
            create_user: false,
            allow: Vec::new(),
            account_id: None,
            format: None,
        }
    }

    fn identities(directory: &Path) -> Identities {
        Identities::load(directory).unwrap()
    }

    fn fault(arguments: &Arguments) -> String {
        match run(arguments) {
            Ok(report) => panic!("{}", report.text),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn a_key_of_a_new_user_and_one_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut alice = arguments(path, "alice");
        assert_eq!(
            fault(&alice),
            format!(
                "no document in {} has a user alice: name one that is there, or add --create-user",
                path.display()
            )
        );
        alice.create_user = true;
        assert_eq!(
            fault(&alice),
            "the documents do not name an account yet: name it with --account-id"
        );
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        alice.account_id = Some("012345678912".into());
        alice.allow = vec!["dsql:DbConnectAdmin".into()];
        let said = run(&alice).unwrap().text;
        assert_eq!(said.lines().count(), 2, "{said}");
        let known = identities(path);
        assert!(known.user(None, "alice").is_some());
        assert_eq!(known.counts().users, 1);
        // Now it is known, in this account alone.
        let more = run(&arguments(path, "alice")).unwrap().text;
        assert_eq!(more.lines().count(), 1, "{more}");
        alice.account_id = Some("999999999999".into());
        assert!(fault(&alice).starts_with("the account 012345678912 has a user alice too"));
        alice.create_user = false;
        assert!(fault(&alice).contains("has a user alice in the account 999999999999: "));
        for entry in fs::read_dir(path).unwrap() {
            let metadata = entry.unwrap().metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        }
        assert_eq!(fs::read_dir(path).unwrap().count(), 3);
    }

    #[test]
    fn a_name_of_several_accounts_needs_the_account() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for account in ["012345678912", "999999999999"] {
            let user = user_document("alice", account, &[], UtcDateTime::now()).unwrap();
            fs::write(path.join(format!("{account}.json")), text(&user)).unwrap();
        }
        let mut alice = arguments(path, "alice");
        assert_eq!(
            fault(&alice),
            "several accounts have a user alice, 012345678912, 999999999999: name one with --account-id"
        );
        alice.account_id = Some("999999999999".into());
        alice.format = Some(Format::Json);
        let key: Value = serde_json::from_str(&run(&alice).unwrap().text).unwrap();
        assert_eq!(key["AccessKey"]["AccountId"], "999999999999");
    }

    #[test]
    fn the_secret_is_told_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut alice = arguments(folder.path(), "alice");
        alice.create_user = true;
        alice.account_id = Some("012345678912".into());
        let said = run(&alice).unwrap().text;
        assert!(said.contains("alice has no policy yet"), "{said}");
        let secret = |id: &str| {
            let name = format!("access-key-alice-{id}.json");
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            let key: Value = serde_json::from_str(&text).unwrap();
            key["AccessKey"]["SecretAccessKey"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let id = said.split("access-key-alice-").nth(1).unwrap();
        assert!(!said.contains(&secret(&id[..20])));
        alice.format = Some(Format::Json);
        let printed: Value = serde_json::from_str(&run(&alice).unwrap().text).unwrap();
        let key = &printed["AccessKey"];
        assert_eq!(
            key["SecretAccessKey"],
            secret(key["AccessKeyId"].as_str().unwrap())
        );
        assert_eq!(
            (&key["UserName"], &key["Status"]),
            (&json!("alice"), &json!("Active"))
        );
        alice.format = Some(Format::Env);
        let lines = run(&alice).unwrap().text;
        let id = lines.split('\'').nth(1).unwrap();
        assert_eq!(lines.split('\'').nth(3).unwrap(), secret(id));
    }

    #[test]
    fn names_that_aws_has_no_user_of() {
        assert!(user_name("a.b@c-d_e+f=g,h").is_ok());
        for name in ["", "a/b", "../a", "ä", " ", &"a".repeat(65)] {
            assert!(user_name(name).is_err(), "{name}");
        }
    }
}
