//! Counters that all processes of the server share: connections, for the limits in
//! [`dsql_iam_server::Limits`], outcomes, for [`dsql_iam_server::Counts`], and refusals, for
//! [`dsql_iam_server::RefusalLog`].

use crate::settings;
use dsql_iam_server::{Counts, Omitted, Reached, RefusalLog, Refused, Usage, Written};
use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, pg_guard, pg_sys};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use time::UtcDateTime;

#[derive(Clone, Copy, Default)]
struct Shared(Usage);

// SAFETY: plain numbers, without pointers.
unsafe impl PGRXSharedMemory for Shared {}

// SAFETY: the name is this extension's own.
static USAGE: PgLwLock<Shared> = unsafe { PgLwLock::new(c"dsql_iam") };

struct SharedCounts(Counts);

impl Default for SharedCounts {
    fn default() -> Self {
        // SAFETY: asks the system for the time, and nothing else.
        Self(Counts::new(unsafe { pg_sys::GetCurrentTimestamp() }))
    }
}

// SAFETY: atomic numbers, without pointers.
unsafe impl PGRXSharedMemory for SharedCounts {}

// Without a lock: the postmaster counts too, and has none to wait for.
// SAFETY: the name is this extension's own.
static COUNTS: PgAtomic<SharedCounts> = unsafe { PgAtomic::new(c"dsql_iam counts") };

#[derive(Clone, Copy, Default)]
struct SharedRefusalLog(RefusalLog);

// SAFETY: numbers, addresses and text in a fixed place, without pointers.
unsafe impl PGRXSharedMemory for SharedRefusalLog {}

// SAFETY: the name is this extension's own.
static REFUSAL_LOG: PgLwLock<SharedRefusalLog> = unsafe { PgLwLock::new(c"dsql_iam refusals") };

/// Notes a refusal; gives whether it is to be written.
pub fn note_refusal(refused: Refused<'_>, now: UtcDateTime) -> Written {
    let limit = settings::max_logged_refusals();
    let mut log = REFUSAL_LOG.exclusive();
    log.0.note(refused, limit, microseconds(now))
}

/// Refusals that were not written in a minute that is over: each is given once, to one process. To be called until
/// there are none.
pub fn omitted_refusals(now: UtcDateTime) -> Option<Omitted> {
    let now = microseconds(now);
    if !REFUSAL_LOG.share().0.is_due(now) {
        return None;
    }
    REFUSAL_LOG.exclusive().0.take_over(now)
}

fn microseconds(time: UtcDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

/// The counts since the server started, or since it began anew after a crash: then PostgreSQL makes its shared memory
/// again. Not to be asked for while it starts.
pub fn counts() -> &'static Counts {
    &COUNTS.get().0
}

/// Asks for the shared memory. Called once, while the server starts.
pub fn install() {
    pgrx::pg_shmem_init!(USAGE);
    pgrx::pg_shmem_init!(COUNTS);
    pgrx::pg_shmem_init!(REFUSAL_LOG);
}

/// Counts this process's connection, which is about to be admitted, until the process ends; unless a limit is
/// reached.
///
/// # Errors
/// Which one.
pub fn begin() -> Result<(), Reached> {
    // SAFETY: notes a function to be called once, or raises, with nothing counted; then asks for the time.
    unsafe {
        pg_sys::before_shmem_exit(Some(end), pg_sys::Datum::from(0));
        let now = pg_sys::GetCurrentTimestamp();
        USAGE.exclusive().0.begin(settings::limits(), now)?;
    }
    IS_COUNTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether this process's connection is counted.
static IS_COUNTED: AtomicBool = AtomicBool::new(false);

#[pg_guard]
unsafe extern "C-unwind" fn end(_code: c_int, _argument: pg_sys::Datum) {
    if IS_COUNTED.swap(false, Ordering::Relaxed) {
        USAGE.exclusive().0.end();
    }
}
