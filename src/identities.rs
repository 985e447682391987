//! The IAM identities by which a login is judged.
//!
//! A login reads its own part of the documents in force ([`crate::in_force`]). The first login that finds the
//! directory changed loads it for all processes, unless another is doing so. The postmaster loads it at start and at
//! reloads, and keeps no identities: each backend is a copy of it, and would have every secret of the account.
//! A session that `dsql-iam` began is in a file of its own ([`session_store`]), which its login alone reads.

use crate::in_force::{Loader, Record};
use crate::{limits, port};
use dsql_iam_core::directory::{self, Fingerprint, LoadError, Snapshot};
use dsql_iam_core::session_store::{self, SessionFault};
use dsql_iam_core::{Identities, IdentityCounts, visible_path};
use dsql_iam_server::Refusal;
use pgrx::debug1;
use std::path::Path;
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
    identities: Identities,
}

/// Loads the directory for those that are forked from here on: as the server starts. The postmaster keeps
/// nothing of it in its memory.
pub fn load_in_postmaster(directory: &Path) {
    drop(bring_up_to_date(directory));
}

/// The same at a reload of the configuration, unless it would take long: then the next login does it.
pub fn reload_in_postmaster(directory: &Path) {
    let is_larger = directory::is_larger_than(directory, MAX_FILES_AT_RELOAD, MAX_AT_RELOAD);
    // A fault is named when the directory is loaded.
    let is_large = is_larger.unwrap_or(false);
    debug1!("dsql_iam: a reload looks at the IAM directory, and leaves it to a login: {is_large}");
    if !is_large {
        load_in_postmaster(directory);
    }
}

/// Puts the documents of the directory in force if they are not. A fault is named in the log, and the documents before
/// stay in force. Gives the documents if they had to be loaded.
fn bring_up_to_date(directory: &Path) -> Option<Loaded> {
    look_and_load(directory).unwrap_or_else(|fault| {
        let instead = match Record::now().in_force() {
            Some(_) => "the identities loaded before stay in force",
            None => "no identities are in force, nobody can log in with a token",
        };
        port::warn(format!("dsql_iam: {fault}; {instead}"));
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
        // Another process is loading it. The documents in force decide meanwhile, if there are any.
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
            port::log(format!(
                "dsql_iam: loaded {users} users, {roles} roles and {access_keys} access keys from \"{}\"",
                visible_path(directory)
            ));
            let Loaded {
                fingerprint,
                identities,
            } = &loaded;
            if let Err(error) = loader.put_in_force(*fingerprint, &snapshot, identities) {
                port::warn(format!(
                    "dsql_iam: the loaded documents could not be kept for later connections: {error}"
                ));
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
        identities: snapshot.identities()?,
    };
    Ok((snapshot, loaded))
}

/// The part of the identities in force that concerns this access key; all of them in the process that has just
/// loaded them. With the session that is stored for the key, if one is.
///
/// # Errors
/// If none are in force, or the stored session is not a good one.
pub fn current(directory: &Path, access_key_id: &str) -> Result<Identities, Refusal> {
    let unusable = |fault: SessionFault| Refusal::StoredSession(fault.to_string());
    let loaded = bring_up_to_date(directory);
    let stored =
        session_store::find(directory, access_key_id, UtcDateTime::now()).map_err(unusable)?;
    let mut identities = match loaded {
        Some(loaded) => loaded.identities,
        None => Record::excerpt(access_key_id, stored.as_ref()).map_err(|fault| {
            let directory = visible_path(directory);
            Refusal::NoIdentities(format!("{fault}; see the log about \"{directory}\""))
        })?,
    };
    if let Some(session) = stored {
        identities.add_stored(session).map_err(unusable)?;
    }
    Ok(identities)
}
