//! `dsql_iam.audit_file`: each decision as a line of JSON, in the form of AWS CloudTrail's events.

use crate::settings;
use dsql_iam_core::audit::{Decision, cloudtrail_event};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Appends `decision` to the audit file, if there is one: in a single write, so that lines of
/// connections that come at once do not mix.
///
/// # Errors
/// What the system said. Whoever was to be let in must not be: nobody could tell afterwards.
pub fn record(decision: &Decision<'_>) -> io::Result<()> {
    let Some(path) = settings::audit_file() else {
        return Ok(());
    };
    // A pipe that nobody reads would hold up the login.
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut line = String::new();
    if ends_in_a_fragment(&file)? {
        line.push('\n');
    }
    line += &cloudtrail_event(decision).to_string();
    line.push('\n');
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the line was cut off",
        )),
    }
}

/// Whether the last line was cut off, as on a full disk. It stays, as a line of its own: to cut it off the
/// file could cut off the line that another connection has written meanwhile.
fn ends_in_a_fragment(file: &File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_at(&mut last, at)?;
    }
    Ok(last != [b'\n'])
}
