//! Role sessions as documents in the IAM directory, where the server finds them.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use dsql_iam_core::directory::{self, LoadError, MAX_DOCUMENTS};
use dsql_iam_core::sts::{Code, Grant, NewKey, StsError};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, unlinkat};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, UtcDateTime};

use super::iam_directory::IamDirectory;
use super::random;

/// How the names of our own documents start; nothing else is ever removed.
const PREFIX: &str = "dsql-iam-session-";

/// How long a session that is over keeps its document, so that whoever still uses it hears that it
/// is over, and not that nobody knows it.
const KEPT: Duration = Duration::hours(1);

/// How many documents sessions leave room for. A directory with more than [`MAX_DOCUMENTS`] is refused
/// whole, so that whoever may begin sessions could otherwise keep every later change out of force.
const RESERVED: usize = 1_000;

/// How much of a document is read to see whether its session is over, in bytes: more than one has.
const MAX_SESSION: u64 = 1024 * 1024;

/// Why no session was begun.
#[derive(Debug)]
pub enum NotBegun {
    /// There are too many of them: what AWS says of that.
    Refused(StsError),
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
    let opened = IamDirectory::open(directory)?;
    remove_expired(opened.descriptor(), now);
    check_room(directory, MAX_DOCUMENTS - RESERVED)?;
    let key = new_key()?;
    let document = format!("{:#}\n", grant.document(&key));
    opened.store(&format!("{PREFIX}{}.json", key.id), &document)?;
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
            let refusal = StsError::new(Code::Throttling, "Rate exceeded");
            Err(NotBegun::Refused(refusal.because(reason)))
        }
        Err(fault) => Err(NotBegun::Failed(fault.to_string())),
    }
}

/// A temporary access key from the system's source of random bytes.
fn new_key() -> Result<NewKey, String> {
    Ok(NewKey {
        id: format!("ASIA{}", random::capitals_and_digits(16)?),
        secret: random::base64(30)?,
        session_token: random::base64(300)?,
    })
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
fn remove_expired(directory: &OwnedFd, now: UtcDateTime) {
    let entries = Dir::read_from(directory).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name().to_owned());
    let is_ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(".json");
    for name in names {
        if name.to_str().is_ok_and(is_ours) && is_over(directory, &name, now) == Some(true) {
            let _ = unlinkat(directory, &*name, AtFlags::empty());
        }
    }
}

/// Whether a session has been over for a while; `None` if the file does not say.
fn is_over(directory: &OwnedFd, name: &CStr, now: UtcDateTime) -> Option<bool> {
    // A link is not followed, and a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let found = fstat(&file).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    let mut limited = File::from(file).take(MAX_SESSION);
    limited.read_to_end(&mut text).ok()?;
    let stored: Stored = serde_json::from_slice(&text).ok()?;
    let end = UtcDateTime::parse(&stored.credentials.expiration, &Rfc3339).ok()?;
    Some(end.checked_add(KEPT)? < now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkfifoat};
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::symlink;

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

    /// Otherwise the directory's owner would have root make, give away and remove files elsewhere.
    #[test]
    fn a_session_stays_with_its_directory_when_the_path_leads_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("iam");
        let [old, new] = ["old", "new"].map(|name| parent.path().join(name));
        let over = json!({"Credentials": {"Expiration": "2025-01-01T00:00:00+00:00"}}).to_string();
        for directory in [&old, &new] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("dsql-iam-session-A.json"), &over).unwrap();
        }
        symlink(&old, &link).unwrap();
        let opened = IamDirectory::open(&link).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&new, &link).unwrap();
        remove_expired(
            opened.descriptor(),
            time::macros::utc_datetime!(2026-01-01 12:00),
        );
        opened.store("dsql-iam-session-ASIAX.json", "{}").unwrap();
        let names = |directory| -> Vec<_> {
            let entries = fs::read_dir(directory).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(&old), ["dsql-iam-session-ASIAX.json"]);
        assert_eq!(names(&new), ["dsql-iam-session-A.json"]);
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
        // What a link leads to is not looked at, and nobody waits for a pipe's other end.
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::write(&elsewhere, &over).unwrap();
        symlink(&elsewhere, directory.path().join("dsql-iam-session-D.json")).unwrap();
        let pipe = "dsql-iam-session-E.json";
        mkfifoat(CWD, directory.path().join(pipe), Mode::RUSR).unwrap();
        let opened = IamDirectory::open(directory.path()).unwrap();
        remove_expired(opened.descriptor(), now);
        let left = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<_> = left
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected = [
            "dsql-iam-session-B.json",
            "dsql-iam-session-C.json",
            "dsql-iam-session-D.json",
            "dsql-iam-session-E.json",
            "mine.json",
        ];
        assert_eq!(left, expected);
    }
}
