//! Role sessions as documents in the IAM directory, where the server finds them.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64};
use dsql_iam_core::directory::{self, LoadError, MAX_DOCUMENTS};
use dsql_iam_core::sts::{Code, Grant, NewKey, Refusal};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, UtcDateTime};

/// How the names of our own documents start; nothing else is ever removed.
const PREFIX: &str = "dsql-iam-session-";

/// How long a session that is over keeps its document, so that whoever still uses it hears that it
/// is over, and not that nobody knows it.
const KEPT: Duration = Duration::hours(1);

/// How many documents sessions leave room for. A directory with more than [`MAX_DOCUMENTS`] is refused
/// whole, so that whoever may begin sessions could otherwise keep every later change out of force.
const RESERVED: usize = 1_000;

/// Why no session was begun.
#[derive(Debug)]
pub enum NotBegun {
    /// There are too many of them: what AWS says of that.
    Refused(Refusal),
    /// Something does not work.
    Failed(String),
}

impl From<String> for NotBegun {
    fn from(fault: String) -> Self {
        Self::Failed(fault)
    }
}

/// Begins the session: removes what expired long enough before `now`, makes an access key, and
/// stores the session in `directory`.
///
/// # Errors
/// [`NotBegun`]. Nothing is left behind then.
pub fn begin(grant: &Grant, directory: &Path, now: UtcDateTime) -> Result<NewKey, NotBegun> {
    remove_expired(directory, now);
    check_room(directory, MAX_DOCUMENTS - RESERVED)?;
    let key = new_key()?;
    let document = format!("{:#}\n", grant.document(&key));
    store(&document, &key.id, directory)?;
    Ok(key)
}

/// Whether the directory holds fewer than `most` documents.
fn check_room(directory: &Path, most: usize) -> Result<(), NotBegun> {
    match directory::count(directory) {
        Ok(count) if count < most => Ok(()),
        Ok(_) | Err(LoadError::TooMany(_)) => {
            let reason = format!(
                "the IAM directory {} holds {most} documents or more: sessions take no more room",
                directory.display()
            );
            let refusal = Refusal::new(Code::Throttling, "Rate exceeded");
            Err(NotBegun::Refused(refusal.because(reason)))
        }
        Err(fault) => Err(NotBegun::Failed(fault.to_string())),
    }
}

/// A temporary access key from the system's source of random bytes.
fn new_key() -> Result<NewKey, String> {
    let mut id = BASE32_NOPAD.encode(&random::<10>()?);
    id.insert_str(0, "ASIA");
    Ok(NewKey {
        id,
        secret: BASE64.encode(&random::<30>()?),
        session_token: BASE64.encode(&random::<300>()?),
    })
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], String> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|fault| format!("the system gave no random bytes: {fault}"))?;
    Ok(bytes)
}

/// Puts the document into its place in one go, for the directory's owner alone: the server, which
/// may be another user than this one, refuses the directory if it cannot read one document.
fn store(document: &str, access_key_id: &str, directory: &Path) -> Result<(), String> {
    let fault = |fault: std::io::Error| {
        let directory = directory.display();
        format!("the session could not be stored in the IAM directory {directory}: {fault}")
    };
    let owner = fs::metadata(directory).map_err(fault)?;
    // The loader passes over names that start with a dot.
    let mut file = tempfile::Builder::new()
        .prefix(".dsql-iam-session-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(fault)?;
    let own = file.as_file().metadata().map_err(fault)?;
    if own.uid() != owner.uid() {
        fchown(file.as_file(), Some(owner.uid()), Some(owner.gid())).map_err(|_| {
            format!(
                "the IAM directory {} belongs to the user with id {}, for whom the session has to \
                 be readable: run this as that user",
                directory.display(),
                owner.uid()
            )
        })?;
    }
    file.write_all(document.as_bytes()).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    let path = directory.join(format!("{PREFIX}{access_key_id}.json"));
    file.persist_noclobber(path)
        .map_err(|persisting| fault(persisting.error))?;
    Ok(())
}

/// The part of a stored session that says how long it lasts.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    credentials: StoredCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredCredentials {
    expiration: String,
}

/// Removes our sessions that have been over for a while. What cannot be removed now can be later.
fn remove_expired(directory: &Path, now: UtcDateTime) {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".json"))
    };
    let is_over = |path: &PathBuf| {
        let text = fs::read(path).ok()?;
        let stored: Stored = serde_json::from_slice(&text).ok()?;
        let end = UtcDateTime::parse(&stored.credentials.expiration, &Rfc3339).ok()?;
        Some(end.checked_add(KEPT)? < now)
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    // Nothing else is opened: a pipe would be waited for.
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|found| found.is_file()));
    let paths = files.map(|entry| entry.path()).filter(is_ours);
    for path in paths.filter(|path| is_over(path) == Some(true)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_new_and_look_like_aws_s() {
        let (one, two) = (new_key().unwrap(), new_key().unwrap());
        assert!(one.id != two.id && one.secret != two.secret);
        assert!(one.session_token != two.session_token);
        assert_eq!(
            (one.id.len(), &one.id[..4], one.secret.len()),
            (20, "ASIA", 40)
        );
    }

    #[test]
    fn a_document_is_private_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        store("{}", "ASIAX", directory.path()).unwrap();
        let path = directory.path().join("dsql-iam-session-ASIAX.json");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let fault = store("[]", "ASIAX", directory.path()).unwrap_err();
        assert!(
            fault.contains("could not be stored in the IAM directory"),
            "{fault}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn sessions_leave_room_for_other_documents() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.json", "c.txt", ".d.json"] {
            fs::write(directory.path().join(name), "{}").unwrap();
        }
        check_room(directory.path(), 3).unwrap();
        let Err(NotBegun::Refused(refusal)) = check_room(directory.path(), 2) else {
            panic!("there is no room")
        };
        assert_eq!(refusal.to_string(), "Throttling: Rate exceeded");
        assert_eq!(refusal.code.status(), 400);
        let reason = refusal.reason.unwrap();
        assert!(reason.ends_with("holds 2 documents or more: sessions take no more room"));
        let missing = check_room(&directory.path().join("missing"), 2);
        assert!(matches!(missing, Err(NotBegun::Failed(_))));
    }

    #[test]
    fn only_our_own_that_are_long_over_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let now = time::macros::utc_datetime!(2026-01-01 12:00);
        let session = |end: &str| json!({"Credentials": {"Expiration": end}}).to_string();
        let over = session("2026-01-01T10:59:59+00:00");
        for (name, text) in [
            ("dsql-iam-session-A.json", &over),
            (
                "dsql-iam-session-B.json",
                &session("2026-01-01T11:00:01+00:00"),
            ),
            ("dsql-iam-session-C.json", &"nonsense".to_owned()),
            ("mine.json", &over),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        remove_expired(directory.path(), now);
        let left = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<_> = left
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected = [
            "dsql-iam-session-B.json",
            "dsql-iam-session-C.json",
            "mine.json",
        ];
        assert_eq!(left, expected);
    }
}
