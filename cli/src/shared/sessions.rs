//! Role sessions as documents in the IAM directory, where the server finds them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use data_encoding::{BASE32_NOPAD, BASE64};
use dsql_iam_core::directory::{self, LoadError, MAX_DOCUMENTS};
use dsql_iam_core::sts::{Code, Grant, NewKey, Refusal};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, linkat, openat, unlinkat};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, UtcDateTime};

use super::owner;

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
    let opened = Opened::open(directory)?;
    opened.remove_expired(now);
    check_room(directory, MAX_DOCUMENTS - RESERVED)?;
    let key = new_key()?;
    let document = format!("{:#}\n", grant.document(&key));
    opened.store(&document, &key.id)?;
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

/// The IAM directory, which stays open: files are made, given to its owner and removed by their names in
/// it. Its owner may lead the path elsewhere meanwhile, and whoever runs this may be root.
struct Opened<'d> {
    path: &'d Path,
    directory: OwnedFd,
}

impl<'d> Opened<'d> {
    /// Where root has a directory of its own, nobody else may have led there.
    fn open(path: &'d Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| {
            let path = path.to_owned();
            LoadError::Directory { path, error }.to_string()
        };
        let directory = directory::open(path).map_err(|fault| fault.to_string())?;
        let found = fstat(&directory).map_err(|error| failed(error.into()))?;
        if owner::is_root() && found.st_uid == 0 {
            let canonical = fs::canonicalize(path).map_err(failed)?;
            owner::check_roots(&canonical)?;
            let there = fs::symlink_metadata(&canonical).map_err(failed)?;
            if (there.dev(), there.ino()) != (found.st_dev, found.st_ino) {
                return Err(format!(
                    "the IAM directory {} was put somewhere else meanwhile: try again",
                    path.display()
                ));
            }
        }
        Ok(Self { path, directory })
    }

    /// Puts the document into its place in one go, for the directory's owner alone: the server, which
    /// may be another user than this one, refuses the directory if it cannot read one document.
    fn store(&self, document: &str, access_key_id: &str) -> Result<(), String> {
        // The loader passes over names that start with a dot.
        let unfinished = format!(".{PREFIX}{access_key_id}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(
            &self.directory,
            &*unfinished,
            flags,
            Mode::RUSR | Mode::WUSR,
        );
        let file = file.map_err(|error| self.not_stored(&error.into()))?;
        let written = self.write(File::from(file), document).and_then(|()| {
            let name = format!("{PREFIX}{access_key_id}.json");
            let directory = &self.directory;
            // Unlike a renaming, this replaces nothing.
            linkat(directory, &*unfinished, directory, &*name, AtFlags::empty())
                .map_err(|error| self.not_stored(&error.into()))
        });
        let removed = unlinkat(&self.directory, &*unfinished, AtFlags::empty());
        written?;
        removed.map_err(|error| self.not_stored(&error.into()))
    }

    fn write(&self, mut file: File, document: &str) -> Result<(), String> {
        let not_stored = |error| self.not_stored(&error);
        let owner = fstat(&self.directory).map_err(|error| self.not_stored(&error.into()))?;
        let own = file.metadata().map_err(not_stored)?;
        if own.uid() != owner.st_uid {
            fchown(&file, Some(owner.st_uid), Some(owner.st_gid)).map_err(|_| {
                format!(
                    "the IAM directory {} belongs to the user with id {}, for whom the session has \
                     to be readable: run this as that user",
                    self.path.display(),
                    owner.st_uid
                )
            })?;
        }
        file.write_all(document.as_bytes()).map_err(not_stored)?;
        file.sync_all().map_err(not_stored)
    }

    fn not_stored(&self, error: &std::io::Error) -> String {
        let directory = self.path.display();
        format!("the session could not be stored in the IAM directory {directory}: {error}")
    }

    /// Removes our sessions that have been over for a while. What cannot be removed now can be later.
    fn remove_expired(&self, now: UtcDateTime) {
        let entries = Dir::read_from(&self.directory).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name().to_owned());
        let is_ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(".json");
        for name in names {
            if name.to_str().is_ok_and(is_ours) && self.is_over(&name, now) == Some(true) {
                let _ = unlinkat(&self.directory, &*name, AtFlags::empty());
            }
        }
    }

    /// Whether a session has been over for a while; `None` if the file does not say.
    fn is_over(&self, name: &CStr, now: UtcDateTime) -> Option<bool> {
        // A link is not followed, and a pipe not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::empty()).ok()?;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkfifoat};
    use serde_json::json;
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

    #[test]
    fn a_document_is_private_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let opened = Opened::open(directory.path()).unwrap();
        opened.store("{}", "ASIAX").unwrap();
        let path = directory.path().join("dsql-iam-session-ASIAX.json");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let fault = opened.store("[]", "ASIAX").unwrap_err();
        assert!(
            fault.contains("could not be stored in the IAM directory"),
            "{fault}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
        let opened = Opened::open(&link).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&new, &link).unwrap();
        opened.remove_expired(time::macros::utc_datetime!(2026-01-01 12:00));
        opened.store("{}", "ASIAX").unwrap();
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
        Opened::open(directory.path()).unwrap().remove_expired(now);
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
