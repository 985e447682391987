//! The directory that holds the IAM documents: the one place of this crate that reads files.
//!
//! Every `*.json` in the directory is a document. It is taken whole or not at all: one document
//! that cannot be read, understood or trusted refuses the lot, since what it would have said
//! could have been a deny.

use crate::documents::{self, BadDocument, Document};
use crate::identity::Identities;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;
/// The most documents that a directory may hold.
pub const MAX_DOCUMENTS: usize = 10_000;

/// How often a directory is looked at again if a document went away meanwhile.
const ATTEMPTS: usize = 10;

/// What a directory looked like: changes whenever a document does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory cannot be listed.
    #[error("could not read the IAM directory \"{}\": {error}", .path.display())]
    Directory {
        /// the directory
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// There are more documents than 10000.
    #[error("the IAM directory \"{}\" holds more than 10000 documents", .0.display())]
    TooMany(PathBuf),
    /// A document cannot be read.
    #[error("could not read \"{}\": {error}", .path.display())]
    Unreadable {
        /// the document
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// A document is no file, or too large.
    #[error("\"{}\" is not a regular file of at most 64 MiB", .0.display())]
    NotAFile(PathBuf),
    /// A document with a secret can be read by others.
    #[error("\"{}\" holds a secret but has mode {mode:04o}; it must be 0600", .path.display())]
    Exposed {
        /// the document
        path: PathBuf,
        /// its permission bits
        mode: u32,
    },
    /// A document is not what it should be.
    #[error("\"{}\": {error}", .path.display())]
    Broken {
        /// the document
        path: PathBuf,
        /// what is wrong, with line and column where there is one
        error: BadDocument,
    },
}

impl LoadError {
    /// Whether it comes from what the documents are, so that it will be there again as long as the
    /// directory looks the same. That somebody may not read a file is part of how it looks; any other
    /// reason why one could not be read may be gone the next time.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Directory { .. } => false,
            _ => true,
        }
    }
}

/// The fingerprint of the directory as it is now: of names, sizes, times and modes, no contents.
///
/// # Errors
/// [`LoadError::Directory`], [`LoadError::TooMany`] or [`LoadError::Unreadable`].
pub fn fingerprint(directory: &Path) -> Result<Fingerprint, LoadError> {
    settled(|| {
        let mut hash = Sha256::new();
        for path in list(directory)? {
            hash_file(&mut hash, &path, &look(&path)?);
        }
        Ok(Fingerprint(hash.finalize().into()))
    })
}

/// Whether there are more documents than `files`, or their length together is more than `bytes`.
///
/// # Errors
/// Those of [`fingerprint`].
pub fn is_larger_than(directory: &Path, files: usize, bytes: u64) -> Result<bool, LoadError> {
    settled(|| {
        let paths = list(directory)?;
        if paths.len() > files {
            return Ok(true);
        }
        let lengths = paths.iter().map(|path| Ok(look(path)?.len()));
        Ok(lengths.sum::<Result<u64, LoadError>>()? > bytes)
    })
}

/// What the system says of a document.
fn look(path: &Path) -> Result<Metadata, LoadError> {
    fs::metadata(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
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
    fingerprint: Fingerprint,
    documents: Vec<StoredDocument>,
}

struct StoredDocument {
    path: String,
    mode: u32,
    text: String,
}

impl StoredDocument {
    /// Reads a document, and what the system says of it.
    fn read(path: &Path) -> Result<(Self, Metadata), LoadError> {
        let unreadable = |error| LoadError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let not_a_file = || LoadError::NotAFile(path.to_owned());
        // Opening a pipe would wait for somebody to write into it.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(not_a_file());
        }
        let mut file = File::open(path).map_err(unreadable)?;
        // Of the opened file, not of the name: the two can differ by the time it is read.
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > MAX_DOCUMENT {
            return Err(not_a_file());
        }
        let mut bytes = Vec::new();
        let mut limited = (&mut file).take(MAX_DOCUMENT);
        limited.read_to_end(&mut bytes).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            LoadError::Broken {
                path: path.to_owned(),
                error: BadDocument::not_utf8(valid),
            }
        })?;
        let stored = Self {
            path: path.to_string_lossy().into_owned(),
            mode: metadata.mode() & 0o7777,
            text,
        };
        Ok((stored, metadata))
    }

    /// What it says, if it is all right.
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
        Ok(document)
    }
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
pub(crate) fn survey(directory: &Path) -> Result<(Vec<Entry>, Vec<PathBuf>), LoadError> {
    let (paths, others) = list_all(directory)?;
    let mut entries = Vec::new();
    for path in paths {
        let (mode, outcome) = match StoredDocument::read(&path) {
            Ok((stored, _)) => (Some(stored.mode), stored.document()),
            // Gone since the list was made, as the document of a session that is over.
            Err(_) if path.symlink_metadata().is_err() => continue,
            Err(error) => (None, Err(error)),
        };
        entries.push(Entry {
            path,
            mode,
            outcome,
        });
    }
    Ok((entries, others))
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
        let mut hash = Sha256::new();
        let mut documents = Vec::new();
        for path in list(directory)? {
            let (stored, metadata) = StoredDocument::read(&path)?;
            hash_file(&mut hash, &path, &metadata);
            documents.push(stored);
        }
        Ok(Self {
            fingerprint: Fingerprint(hash.finalize().into()),
            documents,
        })
    }

    /// The fingerprint of exactly what was read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
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

/// Loads every document of the directory.
///
/// Gives the identities with the fingerprint of exactly what was read.
///
/// # Errors
/// [`LoadError`] for the first document that is not all right.
pub fn load(directory: &Path) -> Result<(Identities, Fingerprint), LoadError> {
    let snapshot = Snapshot::read(directory)?;
    Ok((snapshot.identities()?, snapshot.fingerprint()))
}

/// How many documents the directory holds.
///
/// # Errors
/// [`LoadError::Directory`] or [`LoadError::TooMany`].
pub fn count(directory: &Path) -> Result<usize, LoadError> {
    Ok(list(directory)?.len())
}

/// When the newest document of the directory was written; `None` if there is none that can be seen.
pub fn newest(directory: &Path) -> Option<std::time::SystemTime> {
    let times = list(directory).ok()?.into_iter();
    times
        .filter_map(|path| fs::metadata(path).ok()?.modified().ok())
        .max()
}

/// The documents in the directory, sorted by name, so that every load sees the same order.
fn list(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    Ok(list_all(directory)?.0)
}

/// The same, and the names in the directory that are no documents.
fn list_all(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), LoadError> {
    let failed = |error| LoadError::Directory {
        path: directory.to_owned(),
        error,
    };
    let mut paths = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        } else if others.len() < MAX_DOCUMENTS {
            others.push(path);
        }
        if paths.len() > MAX_DOCUMENTS {
            return Err(LoadError::TooMany(directory.to_owned()));
        }
    }
    paths.sort();
    others.sort();
    Ok((paths, others))
}

fn hash_file(hash: &mut Sha256, path: &Path, metadata: &Metadata) {
    let name = path.as_os_str().as_encoded_bytes();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    for number in [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        u64::from(metadata.mode()),
    ] {
        hash.update(number.to_le_bytes());
    }
    for number in [
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ] {
        hash.update(number.to_le_bytes());
    }
}
