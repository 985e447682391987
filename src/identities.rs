//! The IAM identities in force: loaded by the postmaster, inherited by every backend, loaded
//! again by whoever finds that the directory has changed.

use crate::last_good;
use dsql_iam_core::directory::{self, Fingerprint, LoadError, Snapshot};
use dsql_iam_core::identity::Identities;
use pgrx::warning;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Loaded {
    directory: PathBuf,
    fingerprint: Fingerprint,
    identities: Identities,
}

/// What this process has loaded, or has inherited from the postmaster.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

fn loaded() -> MutexGuard<'static, Option<Loaded>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the documents in `directory` if they have changed. What cannot be loaded is named in the
/// log, and what was loaded before, by whichever process, stays in force.
pub fn refresh(directory: &Path) {
    if let Err(fault) = load_if_changed(directory) {
        let instead = go_back(directory);
        warning!("dsql_iam: {fault}; {instead}");
    }
}

fn load_if_changed(directory: &Path) -> Result<(), LoadError> {
    let now = directory::fingerprint(directory)?;
    let is_current = loaded()
        .as_ref()
        .is_some_and(|loaded| loaded.directory == directory && loaded.fingerprint == now);
    if is_current {
        return Ok(());
    }
    let snapshot = Snapshot::read(directory)?;
    let identities = snapshot.identities()?;
    put_in_force(directory, &snapshot, identities);
    if let Err(error) = last_good::publish(&snapshot) {
        warning!("dsql_iam: the loaded documents could not be kept for later connections: {error}");
    }
    Ok(())
}

fn put_in_force(directory: &Path, snapshot: &Snapshot, identities: Identities) {
    *loaded() = Some(Loaded {
        directory: directory.to_owned(),
        fingerprint: snapshot.fingerprint(),
        identities,
    });
}

/// Puts the documents in force that were the last to be loaded. Tells what came of it.
fn go_back(directory: &Path) -> &'static str {
    let last = last_good::read().and_then(|snapshot| match snapshot.identities() {
        Ok(identities) => Ok((snapshot, identities)),
        Err(_) => Err("the last good documents are not good"),
    });
    match last {
        Ok((snapshot, identities)) => {
            put_in_force(directory, &snapshot, identities);
            "the identities loaded before stay in force"
        }
        // What this process has may be older than what was lost, and let in who should stay out.
        Err(_) => {
            *loaded() = None;
            "no identities are in force, nobody can log in with a token"
        }
    }
}

/// Calls `use_them` with the identities as they are on disk now.
///
/// # Errors
/// A sentence, if none are loaded.
pub fn with_current<T>(
    directory: &Path,
    use_them: impl FnOnce(&Identities) -> T,
) -> Result<T, String> {
    refresh(directory);
    match loaded().as_ref() {
        Some(loaded) => Ok(use_them(&loaded.identities)),
        None => Err(format!("see the log about \"{}\"", directory.display())),
    }
}
