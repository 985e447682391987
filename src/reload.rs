//! Has the postmaster read the IAM directory and the user's hba file again at a reload of the configuration.
//!
//! PostgreSQL calls an assign hook at every reload, in the postmaster too, for each setting that
//! stands in a file, changed or not; there is no other hook for it.

use crate::settings::{self, AssignHooks};
use crate::{hba, identities, memory};
use pgrx::pg_guard;
use pgrx::pg_sys::{PgReloadTime, TimestampTz};
use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// For the settings that a look depends on.
pub const HOOKS: AssignHooks = AssignHooks {
    iam_directory: assign_iam_directory,
    other: assign_other,
};

/// Calls `refresh` as the postmaster, never in a backend or while the server starts.
fn refresh_in_postmaster(refresh: impl FnOnce()) {
    // SAFETY: two flags of the server.
    let is_running_postmaster = unsafe {
        !pgrx::pg_sys::IsUnderPostmaster
            && !pgrx::pg_sys::process_shared_preload_libraries_in_progress
    };
    if is_running_postmaster {
        refresh();
    }
}

/// The reload and the directory of the last look: several settings have an assign hook.
static LAST_LOOK: Mutex<Option<(TimestampTz, PathBuf)>> = Mutex::new(None);

/// Has the postmaster look at the IAM directory and at the user's hba file again, once for each reload.
fn refresh(directory: PathBuf) {
    // SAFETY: a variable of the server: the time of the last reload, the one before this.
    let look = (unsafe { PgReloadTime }, directory);
    let mut last = LAST_LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref() != Some(&look) {
        identities::reload_in_postmaster(&look.1);
        hba::refresh();
        *last = Some(look);
        memory::join_free_pieces();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_iam_directory(new: *const c_char, _extra: *mut c_void) {
    let new = if new.is_null() {
        String::new()
    } else {
        // SAFETY: PostgreSQL hands over the new value, a C string.
        unsafe { CStr::from_ptr(new) }
            .to_string_lossy()
            .into_owned()
    };
    refresh_in_postmaster(|| refresh(settings::absolute(&new)));
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_other(_new: *const c_char, _extra: *mut c_void) {
    refresh_in_postmaster(|| refresh(settings::iam_directory()));
}
