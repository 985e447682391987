//! The IAM identities in force: loaded by the postmaster, inherited by every backend, loaded
//! again by whoever finds that the directory has changed.

use dsql_iam_core::directory::{self, Fingerprint};
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
/// log, and what was loaded before stays in force.
pub fn refresh(directory: &Path) {
    if let Err(fault) = try_refresh(directory) {
        warning!("dsql_iam: {fault}; the identities loaded before stay in force");
    }
}

fn try_refresh(directory: &Path) -> Result<(), directory::LoadError> {
    let is_current = |loaded: &Loaded, now: Fingerprint| {
        loaded.directory == directory && loaded.fingerprint == now
    };
    let now = directory::fingerprint(directory)?;
    if loaded()
        .as_ref()
        .is_some_and(|loaded| is_current(loaded, now))
    {
        return Ok(());
    }
    let (identities, fingerprint) = directory::load(directory)?;
    *loaded() = Some(Loaded {
        directory: directory.to_owned(),
        fingerprint,
        identities,
    });
    Ok(())
}

/// Calls `use_them` with the identities as they are on disk now.
///
/// # Errors
/// A sentence, if nothing could ever be loaded.
pub fn with_current<T>(
    directory: &Path,
    use_them: impl FnOnce(&Identities) -> T,
) -> Result<T, String> {
    refresh(directory);
    match loaded().as_ref() {
        Some(loaded) => Ok(use_them(&loaded.identities)),
        None => Err(format!("no documents in \"{}\"", directory.display())),
    }
}
