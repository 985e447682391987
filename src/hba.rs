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
use dsql_iam_server::doctor::HBA_FILE;
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
    let ours = settings::data_directory().join(HBA_FILE);
    if is_same_file(&users_file, &ours) {
        return Err(format!(
            "hba_file is set to \"{}\", which lets in everybody once the library is not loaded; \
             set it to a file of your own, or not at all",
            users_file.display()
        ));
    }
    let users_file = USERS_FILE.get_or_init(|| users_file);
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
    let ours = settings::data_directory().join(HBA_FILE);
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

/// What stands before the user's lines.
fn own_lines(users_file: &Path) -> Result<String, String> {
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
    text += &format!("# Unix sockets and replication, from {:?}:\n", users_file);
    Ok(text)
}

// All of the user's lines come behind ours, in their order: one that is left out could be the one
// that keeps somebody from a line further down. His `host` lines come too late to matter, but for
// replication, for which `all` does not stand.

/// From 16 on a file can include another, so that the user's changes arrive by themselves.
#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
fn users_lines(users_file: &Path) -> Result<Vec<u8>, String> {
    let path = quotable(users_file)?;
    let mut line = b"include \"".to_vec();
    line.extend(path);
    line.extend(b"\"\n");
    Ok(line)
}

/// The user's file byte for byte, but for the files that it names by `@`: a relative name starts at
/// the file it stands in, which is now ours.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn users_lines(users_file: &Path) -> Result<Vec<u8>, String> {
    let read = fs::read(users_file)
        .map_err(|error| format!("could not read \"{}\": {error}", users_file.display()))?;
    let folder = users_file.parent().unwrap_or(Path::new("/"));
    let mut lines = with_absolute_inclusions(&read, quotable(folder)?);
    lines.push(b'\n');
    Ok(lines)
}

/// A path as it can stand between quotes in an hba file.
fn quotable(path: &Path) -> Result<&[u8], String> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().any(|byte| b"\"\r\n\\".contains(byte)) {
        return Err(format!(
            "\"{}\" has a quote, a backslash or a line break in its name",
            path.display()
        ));
    }
    Ok(bytes)
}

/// Puts `folder` before each relative name behind an `@` that begins a word. Words end as they do for
/// PostgreSQL: at white space or a comma outside of quotes, or where the line does, unless a
/// backslash stands there.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn with_absolute_inclusions(text: &[u8], folder: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut is_quoted, mut is_comment, mut begins_word) = (false, false, true);
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        out.push(*byte);
        let continued = [&b"\\\n"[..], b"\\\r\n"]
            .into_iter()
            .find(|end| rest.starts_with(end));
        if let Some(end) = continued {
            out.extend(&end[1..]);
            rest = &rest[end.len()..];
            continue;
        }
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b',');
        match byte {
            b'\n' => (is_quoted, is_comment, begins_word) = (false, false, true),
            _ if is_comment => {}
            b'"' => (is_quoted, begins_word) = (!is_quoted, false),
            b'#' if !is_quoted => is_comment = true,
            _ if is_space && !is_quoted => begins_word = true,
            b'@' if begins_word && !is_quoted => {
                // A lone `@` is a name.
                let names_file = !matches!(
                    behind.first(),
                    None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b'#')
                );
                let is_absolute = behind.starts_with(b"/") || behind.starts_with(b"\"/");
                if names_file && !is_absolute {
                    out.push(b'"');
                    out.extend(folder);
                    out.push(b'/');
                    if let [b'"', inside @ ..] = behind {
                        is_quoted = true;
                        rest = inside;
                        begins_word = false;
                        continue;
                    }
                    out.push(b'"');
                }
                begins_word = false;
            }
            _ => begins_word = false,
        }
        rest = behind;
    }
    out
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
