//! The IAM documents in force: the same for all processes of the server.
//!
//! The first process that finds the directory changed loads it for all, one process at a time, and stores the result
//! here: the documents, as excerpts that a login can read without the rest, or why they could not be loaded. Until
//! then the documents before stay in force.
//!
//! **Why not in each process?** The next backend is forked from the postmaster, which learns of a change
//! only at a reload of the configuration. Each login would load everything again; and if the next
//! change broke a document, it would fall back on what the postmaster has, in which a policy that
//! was taken away in between is back.
//!
//! **Where?** In three files without a name in the data directory, which the postmaster opened and every
//! process inherits. They end with the server. One holds a [`Record`], the others documents by turns:
//! those in force are never written over.
//!
//! **What if something goes wrong?** Without a record that can be read, no documents are in force, and
//! logins are refused. Nothing older takes its place: it could let in who should stay out.

use dsql_iam_core::directory::{Fingerprint, Snapshot};
use dsql_iam_core::session_store::StoredSession;
use dsql_iam_core::{Identities, excerpts};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

static FILES: OnceLock<Files> = OnceLock::new();

struct Files {
    record: File,
    documents: [File; 2],
}

/// SHA-256 of the record, and its length.
const HEADER: usize = 32 + 4;
/// More than a record can have. It is written at once.
const MAX_RECORD: usize = 16 * 1024;
/// The length of a record without a fault at most: a login touches no more memory for it.
const USUAL_RECORD: usize = 1024;
/// The most characters of a fault that are kept; a path can have 4,096.
const MAX_FAULT: usize = 2_000;
/// How often a record is read that is being written, or documents are that others replace.
const ATTEMPTS: usize = 100;

/// The state of the directory that all processes share.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    documents: Option<Documents>,
    /// The fingerprint of a directory that could not be loaded, and why.
    refused: Option<(Fingerprint, String)>,
}

/// Which documents are in force.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Documents {
    fingerprint: Fingerprint,
    file: usize,
    /// The process that wrote them and the time: no other documents have the same.
    written: (u32, Duration),
}

/// Makes the files. Called once, while the server starts.
///
/// # Errors
/// The system's error. The server must not start without the files.
pub fn install(data_directory: &Path) -> io::Result<()> {
    let file = || tempfile::tempfile_in(data_directory);
    let _ = FILES.set(Files {
        record: file()?,
        documents: [file()?, file()?],
    });
    Ok(())
}

impl Record {
    /// The record as it is now; an empty one if there is none.
    pub fn now() -> Self {
        let files = FILES.get();
        let read = |_| files.and_then(|files| read_record(&files.record));
        // It may be read while it is written.
        (0..ATTEMPTS).find_map(read).unwrap_or_default()
    }

    /// The fingerprint of the directory from which the documents in force were read.
    pub fn in_force(&self) -> Option<Fingerprint> {
        self.documents
            .as_ref()
            .map(|documents| documents.fingerprint)
    }

    /// Why a directory that looks like this could not be loaded, if that is known.
    pub fn fault(&self, fingerprint: Fingerprint) -> Option<&str> {
        let (refused, fault) = self.refused.as_ref()?;
        (*refused == fingerprint).then_some(fault)
    }

    /// The part of the documents in force that a login with this access key needs, with its stored session, if there
    /// is one.
    ///
    /// # Errors
    /// A sentence, if they cannot be read, or nothing is in force.
    pub fn excerpt(
        access_key_id: &str,
        stored: Option<&StoredSession>,
    ) -> Result<Identities, String> {
        for _ in 0..ATTEMPTS {
            let record = Self::now();
            let (Some(documents), Some(files)) = (&record.documents, FILES.get()) else {
                return Err("no identities are in force".into());
            };
            let file = files.documents.get(documents.file);
            let read = |offset, len| {
                let mut bytes = vec![0; len];
                let file = file.ok_or(io::ErrorKind::InvalidData)?;
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            };
            let excerpt = match stored {
                Some(session) => excerpts::read_for(session, read),
                None => excerpts::read(access_key_id, read),
            };
            // They may have been replaced meanwhile; then it is not known what was read.
            if Self::now().documents == record.documents {
                return excerpt.map_err(|error| error.to_string());
            }
        }
        Err("the documents changed during each attempt to read them".into())
    }
}

fn read_record(file: &File) -> Option<Record> {
    let mut usual = [0; USUAL_RECORD];
    let len = file.read_at(&mut usual, 0).ok()?;
    let (hash, rest) = usual[..len].split_at_checked(32)?;
    let (json_len, rest) = rest.split_first_chunk()?;
    let json_len = u32::from_le_bytes(*json_len) as usize;
    let json = match rest.get(..json_len) {
        Some(json) => Cow::Borrowed(json),
        None if json_len > MAX_RECORD - HEADER => return None,
        None => {
            let mut json = vec![0; json_len];
            file.read_exact_at(&mut json, HEADER as u64).ok()?;
            Cow::Owned(json)
        }
    };
    (hash == checksum(&json).as_slice()).then(|| serde_json::from_slice(&json).ok())?
}

fn checksum(json: &[u8]) -> [u8; 32] {
    Sha256::digest(json).into()
}

/// The right to change the record, which one process has at a time.
pub struct Loader<'f> {
    files: &'f Files,
}

impl Loader<'_> {
    /// The right, unless another process has it. It ends with the process that has it, if not before.
    pub fn begin() -> Option<Self> {
        let files = FILES.get()?;
        // Not flock(): that would be one lock for all processes that inherited the file.
        fcntl_lock(&files.record, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { files })
    }

    /// Puts the documents of a directory that looked like this in force. If that fails, nothing is in force
    /// any more.
    ///
    /// # Errors
    /// The system's error.
    pub fn put_in_force(
        &self,
        fingerprint: Fingerprint,
        snapshot: &Snapshot,
        identities: &Identities,
    ) -> io::Result<()> {
        let written = self.write_documents(fingerprint, snapshot, identities);
        if written.is_err() {
            self.forget();
        }
        written
    }

    fn write_documents(
        &self,
        fingerprint: Fingerprint,
        snapshot: &Snapshot,
        identities: &Identities,
    ) -> io::Result<()> {
        let before = Record::now().documents;
        let file = before.map_or(0, |documents| 1 - documents.file.min(1));
        let bytes = excerpts::write(snapshot.documents(), identities)?;
        let documents = &self.files.documents[file];
        documents.set_len(0)?;
        documents
            .write_all_at(&bytes, 0)
            // Room that others could use.
            .inspect_err(|_| drop(documents.set_len(0)))?;
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.write(&Record {
            documents: Some(Documents {
                fingerprint,
                file,
                written: (process::id(), time.unwrap_or_default()),
            }),
            refused: None,
        })
    }

    /// Notes that a directory with this fingerprint cannot be loaded. The documents in force stay.
    pub fn note_fault(&self, fingerprint: Fingerprint, fault: &str) {
        let end = fault.char_indices().map(|(at, _)| at).nth(MAX_FAULT);
        let fault = &fault[..end.unwrap_or(fault.len())];
        let record = Record {
            refused: Some((fingerprint, fault.to_owned())),
            ..Record::now()
        };
        if self.write(&record).is_err() {
            self.forget();
        }
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let json = serde_json::to_vec(record)?;
        if json.len() > MAX_RECORD - HEADER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let len = u32::try_from(json.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let bytes = [&checksum(&json)[..], &len.to_le_bytes(), &json].concat();
        self.files.record.write_all_at(&bytes, 0)
    }

    fn forget(&self) {
        // A file shorter than a header is no record.
        let _ = self.files.record.set_len(0);
    }
}

impl Drop for Loader<'_> {
    fn drop(&mut self) {
        let _ = fcntl_lock(&self.files.record, FlockOperation::Unlock);
    }
}
