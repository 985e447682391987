//! The last documents that could be loaded, for the processes that come later.
//!
//! A backend that finds the IAM directory changed loads it for itself; the postmaster, from which
//! the next one is forked, does not learn of it before a reload. If the next change breaks a
//! document, what stays in force must be what that backend had, not what the postmaster still has:
//! a policy that was taken away in between would be back. So whoever loads successfully leaves a
//! snapshot here: in a file without a name, in the data directory, that the postmaster opened and
//! every process inherits. It ends with the server.

use dsql_iam_core::directory::Snapshot;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

static SHARED: OnceLock<File> = OnceLock::new();

/// SHA-256 of the rest, and the length of the snapshot behind it.
const HEADER: usize = 32 + 8;

/// Opens the file. Called once, while the server starts.
///
/// # Errors
/// What the system said. The server must not start without.
pub fn install(data_directory: &Path) -> io::Result<()> {
    let file = tempfile::tempfile_in(data_directory)?;
    let _ = SHARED.set(file);
    Ok(())
}

/// Leaves `snapshot` for the others. If that fails, nothing is left, and a process that would
/// need it refuses everybody instead of deciding by something older.
///
/// # Errors
/// What the system said.
pub fn publish(snapshot: &Snapshot) -> io::Result<()> {
    let Some(file) = SHARED.get() else {
        return Ok(());
    };
    let body = snapshot.to_bytes();
    let length = (body.len() as u64).to_le_bytes();
    let written = file
        .write_all_at(&body, HEADER as u64)
        .and_then(|()| file.write_all_at(&checksum(length, &body), 0))
        .and_then(|()| file.write_all_at(&length, 32));
    if written.is_err() {
        // Shorter than a header: no snapshot.
        let _ = file.set_len(1);
    }
    written
}

/// The snapshot that was left.
///
/// # Errors
/// A sentence, if there is none that is whole: two processes may have written at once, or the disk
/// was full.
pub fn read() -> Result<Snapshot, &'static str> {
    const LOST: &str = "the last good documents are lost";
    let file = SHARED.get().ok_or(LOST)?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(|_| LOST)?;
    let (hash, length) = header.split_at(32);
    let length: [u8; 8] = length.try_into().map_err(|_| LOST)?;
    let size = file.metadata().map_err(|_| LOST)?.len();
    let wanted = u64::from_le_bytes(length);
    if wanted > size {
        return Err(LOST);
    }
    let mut body = vec![0; usize::try_from(wanted).map_err(|_| LOST)?];
    file.read_exact_at(&mut body, HEADER as u64)
        .map_err(|_| LOST)?;
    if checksum(length, &body) != *hash {
        return Err(LOST);
    }
    Snapshot::from_bytes(&body).ok_or(LOST)
}

fn checksum(length: [u8; 8], body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(length);
    hash.update(body);
    hash.finalize().into()
}
