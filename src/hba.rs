//! The library's own hba file.
//!
//! The hook asks for a token only on lines with the method `trust`; such a line without the
//! library would be an open door. So no such line is ever written into the user's file: the library
//! brings a file of its own and puts it in force for as long as it is loaded. With the library out
//! of `shared_preload_libraries` the user's own file is back.
//!
//! What the file says, in order, the first match counting:
//! 1. roles in `dsql_iam.exempt_roles` log in over TCP with SCRAM
//! 2. everybody else needs a token over TCP
//! 3. Unix sockets and replication: as the user's own file says

use crate::settings;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const FILE_NAME: &str = "dsql_iam_hba.conf";

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
    // SAFETY: a setting that always exists; the answer is copied at once.
    let users_file = unsafe {
        let value = pg_sys::GetConfigOption(c"hba_file".as_ptr(), false, false);
        if value.is_null() {
            return Err("hba_file is not set".into());
        }
        PathBuf::from(CStr::from_ptr(value).to_string_lossy().into_owned())
    };
    let users_file = USERS_FILE.get_or_init(|| users_file);
    let ours = settings::data_directory().join(FILE_NAME);
    write_if_changed(&ours, &contents(users_file)?)
        .map_err(|error| format!("could not write \"{}\": {error}", ours.display()))?;
    let path = crate::port::c_string(ours.to_string_lossy().as_bytes());
    // SAFETY: two C strings; the value is copied.
    unsafe {
        pg_sys::SetConfigOption(
            c"hba_file".as_ptr(),
            path.as_ptr(),
            pg_sys::GucContext::PGC_POSTMASTER,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
    Ok(())
}

/// Brings changes of the user's file into ours. Called by the postmaster on a reload, before it
/// reads the hba file.
pub fn refresh() {
    let Some(users_file) = USERS_FILE.get() else {
        return;
    };
    let ours = settings::data_directory().join(FILE_NAME);
    let written = contents(users_file)
        .and_then(|text| write_if_changed(&ours, &text).map_err(|error| error.to_string()));
    if let Err(fault) = written {
        pgrx::warning!("dsql_iam: \"{}\" stays as it was: {fault}", ours.display());
    }
}

fn contents(users_file: &Path) -> Result<String, String> {
    let mut text = String::from(
        "# Written by dsql_iam at every start and reload. Changes made here are lost.\n\
         # dsql_iam stands behind the line that says trust, and asks for a token.\n",
    );
    for role in settings::exempt_roles() {
        // From 16 on a name that starts with a slash is a pattern, quoted or not.
        if role.contains(['"', '\n', '\r', '\\']) || role.starts_with('/') {
            return Err(format!(
                "dsql_iam.exempt_roles holds a name that an hba file cannot hold: {role:?}"
            ));
        }
        text += &format!("host all \"{role}\" all scram-sha-256\n");
    }
    text += "host all all all trust\n";
    text += &format!(
        "# Unix sockets and replication, from {}:\n",
        users_file.display()
    );
    text += &users_lines(users_file)?;
    Ok(text)
}

/// From 16 on a file can include another, so that the user's changes arrive by themselves. Its
/// `host` lines come too late to matter, but for replication.
#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
fn users_lines(users_file: &Path) -> Result<String, String> {
    let path = users_file.display().to_string();
    if path.contains(['"', '\n']) {
        return Err(format!(
            "hba_file \"{path}\" has a quote or line break in its name"
        ));
    }
    Ok(format!("include \"{path}\"\n"))
}

/// The `local` and `replication` lines of the user's file, word for word.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn users_lines(users_file: &Path) -> Result<String, String> {
    let read = fs::read(users_file)
        .map_err(|error| format!("could not read \"{}\": {error}", users_file.display()))?;
    let mut kept = String::new();
    // A backslash at the end of a line joins it with the next.
    let joined = String::from_utf8_lossy(&read)
        .replace("\\\r\n", "")
        .replace("\\\n", "");
    for line in joined.lines() {
        let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
        let kind = fields.next().unwrap_or("");
        let databases = fields.next().unwrap_or("");
        let is_replication =
            kind.starts_with("host") && databases.split(',').any(|name| name == "replication");
        if kind != "local" && !is_replication {
            continue;
        }
        if line.contains('@') {
            // The file it names is looked for beside the file it is named in, which is now ours.
            pgrx::warning!(
                "dsql_iam: a line with @ in \"{}\" is left out",
                users_file.display()
            );
            continue;
        }
        kept += line;
        kept.push('\n');
    }
    Ok(kept)
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let new = path.with_extension("conf.new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
