//! Reads the directory of the IAM documents.
//!
//! Every `*.json` in the directory is a document. One that is unreadable, malformed or writable by others makes
//! the whole directory invalid, since it could hold a Deny.

use crate::documents::{self, BadDocument, Document};
use crate::identity::Identities;
use crate::visible::visible_path;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, openat,
    statat,
};
use rustix::io::{Errno, retry_on_intr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use time::UtcDateTime;

/// The largest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;
/// The most documents that a directory may hold.
pub const MAX_DOCUMENTS: usize = 10_000;

/// How far, in nanoseconds, a file's time may be from the clock's, so that another change could still come to have the
/// same: before Linux 6.13 times of files go by the system's tick, of 10 ms at the most.
const TICK: i128 = 20_000_000;

/// How often a directory is looked at again if a document went away meanwhile.
const ATTEMPTS: usize = 10;

/// The fingerprint of a directory, which changes whenever a document does. As long as a document could change and look
/// the same, no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory cannot be listed.
    #[error("could not read the IAM directory \"{}\": {error}", visible_path(.path))]
    Directory {
        /// the directory
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// There are more documents than 10000.
    #[error("the IAM directory \"{}\" holds more than 10000 documents", visible_path(.0))]
    TooMany(PathBuf),
    /// A document cannot be read.
    #[error("could not read \"{}\": {error}", visible_path(.path))]
    Unreadable {
        /// the document
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// A document is no file, or too large.
    #[error("\"{}\" is not a regular file of at most 64 MiB", visible_path(.0))]
    NotAFile(PathBuf),
    /// A document with a secret can be read by others.
    #[error("\"{}\" holds a secret but has mode {mode:04o}; it must be 0600", visible_path(.path))]
    Exposed {
        /// the document
        path: PathBuf,
        /// its permission bits
        mode: u32,
    },
    /// Others than its owner can write a document, or put one into the directory.
    #[error("\"{}\" has mode {mode:04o}: others than its owner can write it", visible_path(.path))]
    Writable {
        /// the document or the directory
        path: PathBuf,
        /// its permission bits
        mode: u32,
    },
    /// A document is not what it should be.
    #[error("\"{}\": {error}", visible_path(.path))]
    Broken {
        /// the document
        path: PathBuf,
        /// what is wrong, with line and column where there is one
        error: BadDocument,
    },
}

impl LoadError {
    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. }
            | Self::TooMany(path)
            | Self::Unreadable { path, .. }
            | Self::NotAFile(path)
            | Self::Exposed { path, .. }
            | Self::Writable { path, .. }
            | Self::Broken { path, .. } => path,
        }
    }

    /// Whether it comes from what the documents are, so that it will be there again as long as the
    /// directory looks the same. That somebody may not read a file is part of how it looks; any other
    /// reason why one could not be read may be gone the next time.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            // Of the directory, whose mode is not in the fingerprint, or of a document, which is read again.
            Self::Directory { .. } | Self::Writable { .. } => false,
            _ => true,
        }
    }
}

/// The fingerprint of the directory as it is `now`: of names, sizes, times and modes, no contents.
///
/// # Errors
/// [`LoadError::Directory`], [`LoadError::TooMany`] or [`LoadError::Unreadable`].
pub fn fingerprint(directory: &Path, now: UtcDateTime) -> Result<Fingerprint, LoadError> {
    settled(|| {
        let listing = Listing::read(directory)?;
        let mut appearance = Appearance::of(&listing);
        for name in &listing.documents {
            appearance.add(name, &listing.stat(name)?);
        }
        Ok(appearance.fingerprint(now))
    })
}

/// Whether there are more files than `files`, documents or not, or the documents together are longer
/// than `bytes`. No more files than these are listed.
///
/// # Errors
/// Those of [`fingerprint`].
pub fn is_larger_than(directory: &Path, files: usize, bytes: u64) -> Result<bool, LoadError> {
    settled(|| {
        let (_, mut names) = open_directory(directory)?;
        if names.nth(files).is_some() {
            return Ok(true);
        }
        let listing = Listing::read(directory)?;
        let names = listing.documents.iter();
        let lengths = names.map(|name| Ok(length(&listing.stat(name)?)));
        Ok(lengths.sum::<Result<u64, LoadError>>()? > bytes)
    })
}

/// Tries again if a document went away between the list and the look at it, as that of a session
/// does which is over.
fn settled<T>(attempt: impl Fn() -> Result<T, LoadError>) -> Result<T, LoadError> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(LoadError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            }
            settled => return settled,
        }
    }
    attempt()
}

/// The documents of a directory as they were read.
///
/// Deliberately without `Debug`: it holds secrets.
pub struct Snapshot {
    appearance: Appearance,
    documents: Vec<StoredDocument>,
}

struct StoredDocument {
    path: String,
    mode: u32,
    /// Whether others than its owner can write it.
    is_writable: bool,
    text: String,
}

impl StoredDocument {
    /// Reads a document, and what the system says of it.
    fn read(listing: &Listing<'_>, name: &CStr) -> Result<(Self, Stat), LoadError> {
        let unreadable = |error| listing.unreadable(name, error);
        let not_a_file = || LoadError::NotAFile(listing.path_of(name));
        let mut file = match listing.open(name) {
            // A socket, or a device that nothing is behind.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                return Err(not_a_file());
            }
            opened => opened.map_err(unreadable)?,
        };
        // Of the opened file, not of the name: the two can differ by the time it is read.
        let stat = fstat(&file).map_err(|error| unreadable(error.into()))?;
        if !is_file(&stat) || length(&stat) > MAX_DOCUMENT {
            return Err(not_a_file());
        }
        let mut bytes = Vec::new();
        let mut limited = (&mut file).take(MAX_DOCUMENT);
        limited.read_to_end(&mut bytes).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            LoadError::Broken {
                path: listing.path_of(name),
                error: BadDocument::not_utf8(error.as_bytes(), valid),
            }
        })?;
        // Of another type on another system.
        #[allow(clippy::useless_conversion)]
        let mode = u32::from(stat.st_mode);
        let stored = Self {
            path: listing.path_of(name).to_string_lossy().into_owned(),
            mode: mode & 0o7777,
            is_writable: others_can_write(&file, mode),
            text,
        };
        Ok((stored, stat))
    }

    /// The document, or why it cannot be loaded.
    fn document(&self) -> Result<Document, LoadError> {
        let path = || PathBuf::from(&self.path);
        let document = documents::parse(&self.text).map_err(|error| LoadError::Broken {
            path: path(),
            error,
        })?;
        let mode = self.mode;
        if document.has_secret() && mode & 0o077 != 0 {
            return Err(LoadError::Exposed { path: path(), mode });
        }
        if self.is_writable {
            return Err(LoadError::Writable { path: path(), mode });
        }
        Ok(document)
    }
}

/// All that a directory holds.
pub(crate) struct Contents {
    /// The permission bits of the directory itself, if others than its owner can put documents into it.
    pub(crate) mode_if_writable: Option<u32>,
    /// Each file that counts.
    pub(crate) documents: Vec<Entry>,
    /// Everything else, sorted.
    pub(crate) others: Vec<OtherEntry>,
}

/// An entry of the directory that is not a document.
pub(crate) struct OtherEntry {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Whether it is a folder.
    pub(crate) is_folder: bool,
}

/// A file that counts as a document, and what came of it.
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Its permission bits, if it can be read.
    pub(crate) mode: Option<u32>,
    pub(crate) outcome: Result<Document, LoadError>,
}

/// Everything in the directory: each document for itself, and the names that do not count.
///
/// # Errors
/// [`LoadError::Directory`] or [`LoadError::TooMany`].
pub(crate) fn survey(directory: &Path) -> Result<Contents, LoadError> {
    let mut others = Vec::new();
    let listing = Listing::read_with(directory, |other| {
        if others.len() < MAX_DOCUMENTS {
            others.push(directory.join(OsStr::from_bytes(other.to_bytes())));
        }
    })?;
    others.sort();
    let mut documents = Vec::new();
    for name in &listing.documents {
        let path = listing.path_of(name);
        let (mode, outcome) = match StoredDocument::read(&listing, name) {
            Ok((stored, _)) => (Some(stored.mode), stored.document()),
            // Gone since the list was made, as the document of a session that is over.
            Err(_) if path.symlink_metadata().is_err() => continue,
            Err(error) => (None, Err(error)),
        };
        documents.push(Entry {
            path,
            mode,
            outcome,
        });
    }
    let others = others.into_iter().map(|path| OtherEntry {
        is_folder: path.is_dir(),
        path,
    });
    Ok(Contents {
        mode_if_writable: listing.mode_if_writable()?,
        documents,
        others: others.collect(),
    })
}

impl Snapshot {
    /// Reads every document of the directory, and judges none of them.
    ///
    /// # Errors
    /// [`LoadError`] for the first document that cannot be read.
    pub fn read(directory: &Path) -> Result<Self, LoadError> {
        settled(|| Self::read_once(directory))
    }

    fn read_once(directory: &Path) -> Result<Self, LoadError> {
        let listing = Listing::read(directory)?;
        let mut appearance = Appearance::of(&listing);
        let mut documents = Vec::new();
        for name in &listing.documents {
            let (stored, stat) = StoredDocument::read(&listing, name)?;
            appearance.add(name, &stat);
            documents.push(stored);
        }
        Ok(Self {
            appearance,
            documents,
        })
    }

    /// The fingerprint of exactly what was read. `began` is the time before the reading.
    pub fn fingerprint(&self, began: UtcDateTime) -> Fingerprint {
        self.appearance.fingerprint(began)
    }

    /// The identities in the documents.
    ///
    /// # Errors
    /// [`LoadError`] for the first document that is not all right.
    pub fn identities(&self) -> Result<Identities, LoadError> {
        let mut parsed: Vec<(&str, Document)> = Vec::new();
        for stored in &self.documents {
            parsed.push((&stored.path, stored.document()?));
        }
        documents::merge(parsed).map_err(|(name, error)| LoadError::Broken {
            path: name.into(),
            error,
        })
    }

    /// The documents: the name of each one's file, and its text.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored = self.documents.iter();
        stored.map(|stored| (stored.path.as_str(), stored.text.as_str()))
    }
}

impl Identities {
    /// Reads and merges the documents of a directory, as the server does.
    ///
    /// # Errors
    /// Whatever keeps the server from loading it.
    pub fn load(directory: &Path) -> Result<Self, LoadError> {
        Snapshot::read(directory)?.identities()
    }
}

/// How many documents the directory holds.
///
/// # Errors
/// [`LoadError::Directory`] or [`LoadError::TooMany`].
pub fn count(directory: &Path) -> Result<usize, LoadError> {
    Ok(Listing::read(directory)?.documents.len())
}

/// When the newest document of the directory was written; `None` if there is none that can be seen.
pub fn newest(directory: &Path) -> Option<std::time::SystemTime> {
    let listing = Listing::read(directory).ok()?;
    let modified = |name| fs::metadata(listing.path_of(name)).ok()?.modified().ok();
    let times = listing.documents.iter();
    times.filter_map(|name| modified(name)).max()
}

/// The documents of a directory, which stays open: they are reached by their names in it. That is less
/// work for the system than a whole path each, and all of them are of one directory, whatever its path
/// leads to meanwhile.
struct Listing<'d> {
    path: &'d Path,
    directory: OwnedFd,
    /// Sorted, so that every load sees the same order.
    documents: Vec<CString>,
}

impl<'d> Listing<'d> {
    fn read(path: &'d Path) -> Result<Self, LoadError> {
        let listing = Self::read_with(path, |_| ())?;
        match listing.mode_if_writable()? {
            None => Ok(listing),
            Some(mode) => Err(LoadError::Writable {
                path: path.to_owned(),
                mode,
            }),
        }
    }

    /// The permission bits of the directory, if others than its owner can put documents into it.
    fn mode_if_writable(&self) -> Result<Option<u32>, LoadError> {
        let stat = fstat(&self.directory).map_err(|error| LoadError::Directory {
            path: self.path.to_owned(),
            error: error.into(),
        })?;
        // Of another type on another system.
        #[allow(clippy::useless_conversion)]
        let mode = u32::from(stat.st_mode);
        Ok(others_can_write(&self.directory, mode).then_some(mode & 0o7777))
    }

    /// Calls `other` with each name that is no document's.
    fn read_with(path: &'d Path, mut other: impl FnMut(&CStr)) -> Result<Self, LoadError> {
        let (directory, names) = open_directory(path)?;
        let mut documents = Vec::new();
        for name in names {
            let name = name?;
            if !is_document(&name) {
                other(&name);
            } else if documents.len() < MAX_DOCUMENTS {
                documents.push(name);
            } else {
                return Err(LoadError::TooMany(path.to_owned()));
            }
        }
        documents.sort_unstable();
        Ok(Self {
            path,
            directory,
            documents,
        })
    }

    fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.to_bytes()))
    }

    fn unreadable(&self, name: &CStr, error: io::Error) -> LoadError {
        LoadError::Unreadable {
            path: self.path_of(name),
            error,
        }
    }

    fn stat(&self, name: &CStr) -> Result<Stat, LoadError> {
        statat(&self.directory, name, AtFlags::empty())
            .map_err(|error| self.unreadable(name, error.into()))
    }

    /// Opens whatever has the name, and waits for nothing: a pipe would otherwise wait for somebody to write into it,
    /// and a look at the name before would be at something else.
    fn open(&self, name: &CStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = retry_on_intr(|| openat(&self.directory, name, flags, Mode::empty()))?;
        Ok(File::from(opened))
    }
}

/// The parts of a fingerprint.
struct Appearance {
    hash: Sha256,
    /// When the documents changed last, in nanoseconds of Unix time.
    changed: i128,
}

impl Appearance {
    /// That of a directory, without its documents.
    fn of(listing: &Listing<'_>) -> Self {
        let mut hash = Sha256::new();
        hash_text(&mut hash, listing.path.as_os_str().as_bytes());
        Self {
            hash,
            changed: i128::MIN,
        }
    }

    fn add(&mut self, name: &CStr, stat: &Stat) {
        hash_text(&mut self.hash, name.to_bytes());
        for number in [
            &stat.st_dev.to_le_bytes()[..],
            &stat.st_ino.to_le_bytes(),
            &stat.st_size.to_le_bytes(),
            &stat.st_mode.to_le_bytes(),
            &stat.st_mtime.to_le_bytes(),
            &stat.st_mtime_nsec.to_le_bytes(),
            &stat.st_ctime.to_le_bytes(),
            &stat.st_ctime_nsec.to_le_bytes(),
        ] {
            self.hash.update(number);
        }
        let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
        self.changed = self.changed.max(changed);
    }

    fn fingerprint(&self, now: UtcDateTime) -> Fingerprint {
        let mut hash = self.hash.clone();
        let now = now.unix_timestamp_nanos();
        if now.saturating_sub(self.changed).abs() < TICK {
            hash.update(now.to_le_bytes());
        }
        Fingerprint(hash.finalize().into())
    }
}

/// Opens the directory, for what is done by names in it.
///
/// # Errors
/// [`LoadError::Directory`].
pub fn open(directory: &Path) -> Result<OwnedFd, LoadError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| openat(CWD, directory, flags, Mode::empty())).map_err(|error| {
        LoadError::Directory {
            path: directory.to_owned(),
            error: error.into(),
        }
    })
}

/// Opens a directory. Gives the names in it as well, but its own and its parent's.
fn open_directory(
    path: &Path,
) -> Result<(OwnedFd, impl Iterator<Item = Result<CString, LoadError>>), LoadError> {
    let failed = |error: io::Error| LoadError::Directory {
        path: path.to_owned(),
        error,
    };
    let directory = open(path)?;
    let listed = directory.try_clone().map_err(failed)?;
    let entries = Dir::new(listed).map_err(|error| failed(error.into()))?;
    let names = entries.filter_map(move |entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(Ok(entry.file_name().to_owned())),
        Err(error) => Some(Err(failed(error.into()))),
    });
    Ok((directory, names))
}

/// Whether the mode lets others than the owner write, and the file system does: a read-only mount, as of
/// a secret in a container, has files that nobody can write, whatever their mode.
fn others_can_write(file: impl AsFd, mode: u32) -> bool {
    let is_read_only =
        || fstatvfs(file).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    mode & 0o022 != 0 && !is_read_only()
}

fn is_document(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.ends_with(b".json") && !name.starts_with(b".")
}

pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// The length of a file in bytes.
pub(crate) fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

fn hash_text(hash: &mut Sha256, text: &[u8]) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A pipe that comes under the name between a look and an open would hang whoever opens it, the postmaster too.
    #[test]
    fn no_pipe_and_no_socket_holds_up_who_reads_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let document = path.join("z.json");
        let aside = path.join("aside");
        fs::write(&document, "{}").unwrap();
        rustix::fs::mknodat(CWD, &aside, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let (is_done, done) = std::sync::mpsc::channel();
        let reader = path.clone();
        std::thread::spawn(move || {
            let mut found = [0; 2];
            while found.iter().any(|found| *found < 50) {
                match Snapshot::read(&reader) {
                    Ok(_) => found[0] += 1,
                    Err(LoadError::NotAFile(_)) => found[1] += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            is_done.send(()).unwrap();
        });
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        loop {
            rustix::fs::renameat_with(CWD, &document, CWD, &aside, exchange).unwrap();
            match done.try_recv() {
                Ok(()) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => panic!("the reader failed"),
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
            }
            assert!(std::time::Instant::now() < end, "the reader hangs");
        }
        let _ = (fs::remove_file(&aside), fs::remove_file(&document));
        let _socket = std::os::unix::net::UnixListener::bind(&document).unwrap();
        assert!(matches!(Snapshot::read(&path), Err(LoadError::NotAFile(_))));
    }

    /// Otherwise what was read could be half of the one and half of the other, and in neither.
    #[test]
    fn a_listing_stays_with_its_directory_when_the_path_leads_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("iam");
        for (name, text) in [("old", "{}"), ("new", "{ }")] {
            let directory = parent.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("x.json"), text).unwrap();
        }
        symlink(parent.path().join("old"), &link).unwrap();
        let listing = Listing::read(&link).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(parent.path().join("new"), &link).unwrap();
        let (stored, stat) = StoredDocument::read(&listing, &listing.documents[0]).unwrap();
        assert_eq!((stored.text.as_str(), length(&stat)), ("{}", 2));
        assert_eq!(stored.path, link.join("x.json").to_string_lossy());
        assert!(is_larger_than(&link, 1, 2).unwrap());
    }
}
