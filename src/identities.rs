//! The IAM identities by which a login is judged.
//!
//! The postmaster has all of them, parsed, and every backend inherits them. As soon as the directory
//! changes they are worth nothing; a login then reads its own part of what is in force
//! ([`crate::in_force`]), after loading the directory for everybody if nobody else has or does.

use crate::in_force::{Loader, Record};
use crate::limits;
use dsql_iam_core::directory::{self, Fingerprint, LoadError, Snapshot};
use dsql_iam_core::{Identities, IdentityCounts};
use pgrx::{debug1, log, warning};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use time::UtcDateTime;

/// The longest documents that the postmaster parses at a reload of the configuration, in bytes. No
/// client is served meanwhile, and to parse a mebibyte takes some ten milliseconds.
const MAX_AT_RELOAD: u64 = 256 * 1024;
/// The most files in the directory then: to ask the system about each takes a microsecond or more.
const MAX_FILES_AT_RELOAD: usize = 500;

/// All identities of a directory that looked like this.
struct Loaded {
    fingerprint: Fingerprint,
    identities: Arc<Identities>,
}

/// As the postmaster has them.
static INHERITED: Mutex<Option<Loaded>> = Mutex::new(None);

fn inherited() -> MutexGuard<'static, Option<Loaded>> {
    INHERITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the directory for those that are forked from here on: as the server starts.
pub fn load_in_postmaster(directory: &Path) {
    let loaded = bring_up_to_date(directory);
    let in_force = Record::now().in_force();
    let mut inherited = inherited();
    let is_in_force = |loaded: &Loaded| Some(loaded.fingerprint) == in_force;
    if inherited.as_ref().is_some_and(is_in_force) {
        return;
    }
    // Another process may have put it in force.
    let load = || load(directory).ok().map(|(_, loaded)| loaded);
    *inherited = loaded.or_else(load).filter(is_in_force);
}

/// The same at a reload of the configuration, unless it would take long: then the next login does it.
pub fn reload_in_postmaster(directory: &Path) {
    let is_larger = directory::is_larger_than(directory, MAX_FILES_AT_RELOAD, MAX_AT_RELOAD);
    // What cannot be seen is named as it is loaded.
    let is_large = is_larger.unwrap_or(false);
    debug1!("dsql_iam: a reload looks at the IAM directory, and leaves it to a login: {is_large}");
    if !is_large {
        load_in_postmaster(directory);
    }
}

/// Sees to it that what is in force is what is in the directory. What cannot be loaded is named in the
/// log, and what was in force stays so. Gives what had to be loaded for that.
fn bring_up_to_date(directory: &Path) -> Option<Loaded> {
    look_and_load(directory).unwrap_or_else(|fault| {
        let instead = match Record::now().in_force() {
            Some(_) => "the identities loaded before stay in force",
            None => "no identities are in force, nobody can log in with a token",
        };
        warning!("dsql_iam: {fault}; {instead}");
        None
    })
}

fn look_and_load(directory: &Path) -> Result<Option<Loaded>, String> {
    let look = || directory::fingerprint(directory, UtcDateTime::now());
    let now = look().map_err(|fault| fault.to_string())?;
    let record = Record::now();
    if is_settled(&record, now)? {
        return Ok(None);
    }
    let Some(loader) = Loader::begin() else {
        // Another process is loading it. What is in force decides meanwhile, if there is something.
        return match record.in_force() {
            Some(_) => Ok(None),
            None => load(directory)
                .map(|(_, loaded)| Some(loaded))
                .map_err(|fault| fault.to_string()),
        };
    };
    // Another process may have loaded it since.
    if is_settled(&Record::now(), now)? {
        return Ok(None);
    }
    let began = Instant::now();
    let outcome = load(directory);
    // There is no shared memory while the server starts.
    // SAFETY: a flag of the server.
    if !unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress } {
        limits::counts().load(outcome.is_ok(), began.elapsed());
    }
    match outcome {
        Ok((snapshot, loaded)) => {
            let IdentityCounts {
                users,
                roles,
                access_keys,
            } = loaded.identities.counts();
            log!(
                "dsql_iam: loaded {users} users, {roles} roles and {access_keys} access keys from \"{}\"",
                directory.display()
            );
            let Loaded {
                fingerprint,
                identities,
            } = &loaded;
            if let Err(error) = loader.put_in_force(*fingerprint, &snapshot, identities) {
                warning!(
                    "dsql_iam: the loaded documents could not be kept for later connections: {error}"
                );
            }
            Ok(Some(loaded))
        }
        Err(fault) => {
            let is_the_same = || look().is_ok_and(|then| then == now);
            if fault.is_lasting() && is_the_same() {
                loader.note_fault(now, &fault.to_string());
            }
            Err(fault.to_string())
        }
    }
}

/// Whether a directory that looks like this is in force; if it is known why not, that is the error.
fn is_settled(record: &Record, now: Fingerprint) -> Result<bool, String> {
    if record.in_force() == Some(now) {
        return Ok(true);
    }
    record
        .fault(now)
        .map_or(Ok(false), |fault| Err(fault.to_owned()))
}

fn load(directory: &Path) -> Result<(Snapshot, Loaded), LoadError> {
    let began = UtcDateTime::now();
    let snapshot = Snapshot::read(directory)?;
    let loaded = Loaded {
        fingerprint: snapshot.fingerprint(began),
        identities: Arc::new(snapshot.identities()?),
    };
    Ok((snapshot, loaded))
}

/// The identities in force, or the part of them that concerns this access key.
///
/// # Errors
/// A sentence, if none are in force.
pub fn current(directory: &Path, access_key_id: &str) -> Result<Arc<Identities>, String> {
    if let Some(loaded) = bring_up_to_date(directory) {
        return Ok(loaded.identities);
    }
    let in_force = Record::now().in_force();
    if let Some(loaded) = inherited().as_ref()
        && Some(loaded.fingerprint) == in_force
    {
        return Ok(Arc::clone(&loaded.identities));
    }
    Record::excerpt(access_key_id)
        .map(Arc::new)
        .map_err(|fault| format!("{fault}; see the log about \"{}\"", directory.display()))
}
