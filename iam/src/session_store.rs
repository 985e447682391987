//! Stores the sessions that `dsql-iam` begins, each in a file whose path follows from its access key id.
//!
//! A document of the IAM directory is looked at by every login. These are not: a login opens the file of the
//! session whose access key it was signed with, and no other, so that sessions cost nothing to each other.
//!
//! | path in the IAM directory | what |
//! |---|---|
//! | `sessions/HOUR/ID.json` | a session, as a document has it |
//! | `sessions/HOUR/.…` | for those who begin sessions: what they have begun that ends in this hour |
//!
//! `ID` is `ASIA`, the four letters of `HOUR`, and twelve more. `HOUR` is the hour in which the session ends, since
//! 1970, in base32: expired sessions are removed one hour's folder at a time, and no other folder is listed.
//!
//! Such a file counts if it is private, belongs to the owner of the IAM directory, is reached by no symbolic link
//! below the directory, and holds the session that its name says.

use crate::directory::{LoadError, is_file, length};
use crate::documents::{self, BadDocument, Document};
use crate::identity::{AccessKey, Identities, Owner};
use crate::visible::visible_path;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, retry_on_intr};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use time::UtcDateTime;

/// The folder of the sessions, in the IAM directory.
pub const FOLDER: &str = "sessions";
/// How access key ids of sessions begin.
const PREFIX: &str = "ASIA";
/// The characters of access key ids behind that, and of hours: those of base32.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// How many letters an hour has.
const HOUR_LEN: usize = 4;
/// How many random characters an access key id ends with.
pub const RANDOM_LEN: usize = 12;
/// In how many hours a session that has begun by now can end, the present one included: those of `GetSessionToken` last
/// 36 hours, and clocks may be apart.
const HOURS: u32 = 38;
/// The longest file of a session that is read, in bytes: more than one with all that AWS allows has.
const MAX_SESSION: u64 = 256 * 1024;

/// The hour in which a session ends, counted from 1970: the name of the folder that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndingHour(u32);

impl EndingHour {
    /// The hour of this time; `None` before 1970 and after 2089.
    pub fn of(time: UtcDateTime) -> Option<Self> {
        let hours = u32::try_from(time.unix_timestamp().div_euclid(60 * 60)).ok()?;
        (hours < 1 << (5 * HOUR_LEN)).then_some(Self(hours))
    }

    /// The hour that a folder is named for.
    pub fn of_folder(name: &str) -> Option<Self> {
        if name.len() != HOUR_LEN {
            return None;
        }
        let digit = |byte| ALPHABET.iter().position(|letter| *letter == byte);
        let digits = name.bytes().map(|byte| u32::try_from(digit(byte)?).ok());
        let hours = digits.reduce(|hours, digit| Some(hours? << 5 | digit?))??;
        Some(Self(hours))
    }

    /// The name of its folder.
    pub fn folder(self) -> String {
        let digits = (0..HOUR_LEN).rev();
        let letter = |place| char::from(ALPHABET[(self.0 >> (5 * place)) as usize % 32]);
        digits.map(letter).collect()
    }

    /// When it is over, in seconds of Unix time.
    pub fn end(self) -> i64 {
        (i64::from(self.0) + 1) * 60 * 60
    }

    /// This hour and those behind it in which sessions can end that have begun by now.
    pub fn onwards(self) -> impl Iterator<Item = Self> {
        (self.0..self.0.saturating_add(HOURS)).map(Self)
    }

    /// Whether no session that ends in this hour can have begun by `now`.
    fn is_too_late(self, now: UtcDateTime) -> bool {
        Self::of(now).is_none_or(|now| self.0 >= now.0.saturating_add(HOURS))
    }

    /// The access key id of a session that ends in this hour, with [`RANDOM_LEN`] random characters of base32.
    pub fn access_key_id(self, random: &str) -> String {
        format!("{PREFIX}{}{random}", self.folder())
    }
}

/// The hour in which the session of this access key ends; `None` if no session here has such an id.
pub fn ending_hour(access_key_id: &str) -> Option<EndingHour> {
    let rest = access_key_id.strip_prefix(PREFIX)?;
    let is_of_alphabet = rest.bytes().all(|byte| ALPHABET.contains(&byte));
    if !is_of_alphabet || rest.len() != HOUR_LEN + RANDOM_LEN {
        return None;
    }
    EndingHour::of_folder(&rest[..HOUR_LEN])
}

/// The name of the file of the session with this access key.
pub fn file_name(access_key_id: &str) -> String {
    format!("{access_key_id}.json")
}

/// A session as it is stored, with its access key.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
pub struct StoredSession {
    path: PathBuf,
    pub(crate) access_key_id: String,
    pub(crate) key: AccessKey,
    document: Document,
}

/// Why a stored session is nobody's.
#[derive(Debug, thiserror::Error)]
pub enum SessionFault {
    /// It cannot be read.
    #[error("could not read \"{}\": {error}", visible_path(.path))]
    Unreadable {
        /// its file
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// It is no file, or too large.
    #[error("\"{}\" is not a regular file of at most 256 KiB", visible_path(.0))]
    NotAFile(PathBuf),
    /// Others can read or write it.
    #[error("\"{}\" holds a secret but has mode {mode:04o}; it must be 0600", visible_path(.path))]
    Exposed {
        /// its file
        path: PathBuf,
        /// its permission bits
        mode: u32,
    },
    /// It is another user's than the directory.
    #[error("\"{}\" belongs to the user {owner}, and the IAM directory to the user {expected}", visible_path(.path))]
    OthersOwn {
        /// its file
        path: PathBuf,
        /// the user who has it
        owner: u32,
        /// the user who has the directory
        expected: u32,
    },
    /// It ends later than any that has begun by now: it began while a clock was ahead.
    #[error("\"{}\" began while a clock was ahead: it ends later than any that has begun by now", visible_path(.0))]
    Early(PathBuf),
    /// It is not a session, or another one than its name says.
    #[error("\"{}\" does not hold the session that its name says", visible_path(.0))]
    Misnamed(PathBuf),
    /// It is not what it should be.
    #[error("\"{}\": {error}", visible_path(.path))]
    Broken {
        /// its file
        path: PathBuf,
        /// what is wrong, with line and column where there is one
        error: BadDocument,
    },
}

/// The session with this access key, if one is stored in the IAM `directory`. Opens one file, and looks at no other
/// session.
///
/// # Errors
/// [`SessionFault`] if there is something that is not a good session `now`. Whether it is over is not looked at.
pub fn find(
    directory: &Path,
    access_key_id: &str,
    now: UtcDateTime,
) -> Result<Option<StoredSession>, SessionFault> {
    let Some(hour) = ending_hour(access_key_id) else {
        return Ok(None);
    };
    let folder = directory.join(FOLDER).join(hour.folder());
    let path = folder.join(file_name(access_key_id));
    match read(directory, &path) {
        Ok(text) => StoredSession::new(path, access_key_id, &text, now).map(Some),
        Err(SessionFault::Unreadable { error, .. }) if is_not_there(&error) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn is_not_there(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The text of a session's file, if that is as private as it has to be.
fn read(directory: &Path, path: &Path) -> Result<String, SessionFault> {
    let unreadable = |error: io::Error| SessionFault::Unreadable {
        path: path.to_owned(),
        error,
    };
    let opened = open_below(directory, path);
    let opened = match opened {
        Err(Errno::LOOP | Errno::NXIO) => return Err(SessionFault::NotAFile(path.to_owned())),
        opened => opened.map_err(|errno| unreadable(errno.into()))?,
    };
    let stat = fstat(&opened).map_err(|errno| unreadable(errno.into()))?;
    let of_directory = statat(CWD, directory, AtFlags::empty());
    let of_directory = of_directory.map_err(|errno| unreadable(errno.into()))?;
    check(path, &stat, of_directory.st_uid)?;
    let mut text = String::new();
    let mut limited = File::from(opened).take(MAX_SESSION);
    limited.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Opens a file below the directory. No link is followed there, of a folder neither, and a pipe not waited for.
fn open_below(directory: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let open = |at: BorrowedFd<'_>, name: &Path, flags: OFlags| {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        retry_on_intr(|| openat(at, name, flags, Mode::empty()))
    };
    let names = path.strip_prefix(directory).map_err(|_| Errno::INVAL)?;
    let mut opened = open(CWD, directory, OFlags::DIRECTORY)?;
    for name in names {
        opened = open(opened.as_fd(), Path::new(name), OFlags::NOFOLLOW)?;
    }
    Ok(opened)
}

/// Checks what the system says of a session's file. `expected` is the user who has the IAM directory.
fn check(path: &Path, stat: &Stat, expected: u32) -> Result<(), SessionFault> {
    let path = path.to_owned();
    // Of another type on another system.
    #[allow(clippy::useless_conversion)]
    let mode = u32::from(stat.st_mode) & 0o7777;
    if !is_file(stat) || length(stat) > MAX_SESSION {
        return Err(SessionFault::NotAFile(path));
    }
    if stat.st_uid != expected {
        let owner = stat.st_uid;
        return Err(SessionFault::OthersOwn {
            path,
            owner,
            expected,
        });
    }
    if mode & 0o077 != 0 {
        return Err(SessionFault::Exposed { path, mode });
    }
    Ok(())
}

impl StoredSession {
    /// The session in this text, which is the file's for the access key.
    fn new(
        path: PathBuf,
        access_key_id: &str,
        text: &str,
        now: UtcDateTime,
    ) -> Result<Self, SessionFault> {
        if ending_hour(access_key_id).is_none_or(|hour| hour.is_too_late(now)) {
            return Err(SessionFault::Early(path));
        }
        let document = match documents::parse(text) {
            Ok(document) => document,
            Err(error) => return Err(SessionFault::Broken { path, error }),
        };
        match &document {
            Document::Key(id, key)
                if id == access_key_id && matches!(key.owner, Owner::Session(_)) =>
            {
                Ok(Self {
                    path,
                    access_key_id: access_key_id.to_owned(),
                    key: (**key).clone(),
                    document,
                })
            }
            _ => Err(SessionFault::Misnamed(path)),
        }
    }

    /// Its access key.
    pub fn key(&self) -> &AccessKey {
        &self.key
    }

    /// Its file, as documents are named: relative to the IAM directory.
    pub fn file(&self) -> String {
        let parts: Vec<_> = self.path.iter().rev().take(3).collect();
        let parts: PathBuf = parts.into_iter().rev().collect();
        parts.to_string_lossy().into_owned()
    }
}

impl Identities {
    /// Adds a stored session.
    ///
    /// # Errors
    /// If a document has its access key: it is not known then which of the two is meant, and it is nobody's.
    pub fn add_stored(&mut self, session: StoredSession) -> Result<(), SessionFault> {
        let StoredSession {
            path,
            document,
            access_key_id,
            ..
        } = session;
        let file = path.to_string_lossy().into_owned();
        documents::add(self, &file, document).map_err(|error| {
            self.access_keys.remove(&access_key_id);
            SessionFault::Broken { path, error }
        })
    }

    /// The identities in the documents of a directory, with the sessions stored there that end in this hour or later.
    /// For those who ask about all of them: it takes as long as there are many.
    ///
    /// # Errors
    /// Whatever keeps the server from loading the documents.
    pub fn load_with_sessions(directory: &Path, now: UtcDateTime) -> Result<Self, LoadError> {
        let mut identities = Self::load(directory)?;
        for hour in lasting_hours(now) {
            let sessions = of_hour(directory, hour, now).into_iter();
            for session in sessions.filter_map(|entry| entry.outcome.ok()) {
                // One whose key a document has is nobody's.
                let _ = identities.add_stored(session);
            }
        }
        Ok(identities)
    }
}

/// A file in the folder of the sessions, and what came of it.
pub(crate) struct Entry {
    /// The path in the IAM directory.
    pub(crate) file: String,
    pub(crate) outcome: Result<StoredSession, SessionFault>,
}

/// All sessions that are stored in the IAM `directory`, sorted by hour; of names that count for no login the fault.
/// For those who ask about everything: it takes as long as there are many.
pub(crate) fn all(directory: &Path, now: UtcDateTime) -> Vec<Entry> {
    let entries = fs::read_dir(directory.join(FOLDER)).into_iter().flatten();
    let mut hours: Vec<_> = entries
        .flatten()
        .filter_map(|entry| EndingHour::of_folder(entry.file_name().to_str()?))
        .collect();
    hours.sort();
    let of_hour = |hour| of_hour(directory, hour, now);
    hours.into_iter().flat_map(of_hour).collect()
}

/// The sessions that end in an hour, sorted.
fn of_hour(directory: &Path, hour: EndingHour, now: UtcDateTime) -> Vec<Entry> {
    let folder = directory.join(FOLDER).join(hour.folder());
    let mut names: Vec<String> = names(&folder)
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let id = name.strip_suffix(".json").unwrap_or_default();
        let outcome = match ending_hour(id) {
            Some(of_id) if of_id == hour => {
                read(directory, &path).and_then(|text| StoredSession::new(path, id, &text, now))
            }
            _ => Err(SessionFault::Misnamed(path)),
        };
        let is_gone = matches!(&outcome, Err(SessionFault::Unreadable { error, .. })
            if is_not_there(error));
        if !is_gone {
            let file = format!("{FOLDER}/{}/{name}", hour.folder());
            found.push(Entry { file, outcome });
        }
    }
    found
}

/// How many sessions are stored that end in this hour or later. Opens none of them, and keeps no name.
pub fn count_lasting(directory: &Path, now: UtcDateTime) -> usize {
    let sessions = directory.join(FOLDER);
    lasting_hours(now)
        .map(|hour| names(&sessions.join(hour.folder())).count())
        .sum()
}

/// This hour and those behind it in which sessions can end that have begun by now.
fn lasting_hours(now: UtcDateTime) -> impl Iterator<Item = EndingHour> {
    let hour = EndingHour::of(now).into_iter();
    hour.flat_map(EndingHour::onwards)
}

/// The names in a folder of sessions, but for those that begin with a dot.
fn names(folder: &Path) -> impl Iterator<Item = OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter(|name| !name.as_bytes().starts_with(b"."))
}

#[cfg(test)]
mod tests;
