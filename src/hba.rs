//! The library's own hba file.
//!
//! The hook asks for a token only on lines with the method `trust`; such a line without the
//! library would be an open door. So no such line is ever written into the user's file: the library
//! brings a file of its own and puts it in force for as long as it is loaded. With the library out
//! of `shared_preload_libraries` the user's own file is back.
//! [`dsql_iam_server::hba`] has its text.

use crate::{port, settings};
use dsql_iam_server::hba;
use pgrx::pg_sys;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The hba file that was in force before ours.
static USERS_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Writes the file and puts it in force. Called while the server starts.
///
/// # Errors
/// A sentence. The server must not start then: its own hba file may not fit any more.
pub fn install() -> Result<(), String> {
    if !settings::manages_hba() {
        return Ok(());
    }
    let users_file = settings::of_server(c"hba_file").ok_or("hba_file is not set")?;
    let ours = settings::data_directory().join(hba::FILE);
    if is_same_file(&users_file, &ours) {
        return Err(format!(
            "hba_file is set to \"{}\", which would admit everybody once the library is not loaded; \
             set it to a file of your own, or not at all",
            users_file.display()
        ));
    }
    let users_file = USERS_FILE.get_or_init(|| users_file);
    write_if_changed(&ours, &contents(users_file)?)
        .map_err(|error| format!("could not write \"{}\": {error}", ours.display()))?;
    let path = port::c_string(ours.to_string_lossy().as_bytes());
    let users_path = port::c_string(users_file.as_os_str().as_bytes());
    // SAFETY: two C strings; the value is copied.
    unsafe {
        pg_sys::SetConfigOption(
            c"hba_file".as_ptr(),
            path.as_ptr(),
            pg_sys::GucContext::PGC_POSTMASTER,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
    if !port::note_users_hba_file(&users_path, &path) {
        return Err("out of memory".into());
    }
    Ok(())
}

/// Whether two names are of one file, by whatever way.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Brings changes of the user's file into ours. Called by the postmaster on a reload, before it
/// reads the hba file.
pub fn refresh() {
    let Some(users_file) = USERS_FILE.get() else {
        return;
    };
    let ours = settings::data_directory().join(hba::FILE);
    let written = contents(users_file)
        .and_then(|text| write_if_changed(&ours, &text).map_err(|error| error.to_string()));
    if let Err(fault) = written {
        pgrx::warning!("dsql_iam: \"{}\" stays as it was: {fault}", ours.display());
    }
}

/// The hba file that would be in force without ours, if ours is, and how many lines ours has before that one's:
/// before PostgreSQL 16 those are copied.
pub fn users_file() -> Option<(&'static Path, usize)> {
    let path = USERS_FILE.get()?;
    Some((path, own_lines(path).ok()?.lines().count()))
}

fn contents(users_file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = own_lines(users_file)?.into_bytes();
    bytes.extend(users_lines(users_file)?);
    Ok(bytes)
}

fn own_lines(users_file: &Path) -> Result<String, String> {
    hba::own_lines(&settings::exempt_roles(), users_file).map_err(|fault| fault.to_string())
}

#[cfg(not(any(feature = "pg14", feature = "pg15")))]
fn users_lines(users_file: &Path) -> Result<Vec<u8>, String> {
    hba::inclusion(users_file).map_err(|fault| fault.to_string())
}

#[cfg(any(feature = "pg14", feature = "pg15"))]
fn users_lines(users_file: &Path) -> Result<Vec<u8>, String> {
    let read = fs::read(users_file)
        .map_err(|error| format!("could not read \"{}\": {error}", users_file.display()))?;
    hba::copied(&read, users_file).map_err(|fault| fault.to_string())
}

fn write_if_changed(path: &Path, text: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let new = path.with_extension("conf.new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
