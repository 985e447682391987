//! `dsql_iam.audit_file`: each decision as a line of JSON, in the form of AWS CloudTrail's events.

use crate::settings;
use dsql_iam_core::audit::{Decision, cloudtrail_event};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Appends `decision` to the audit file, if there is one: in a single write, so that lines of
/// connections that come at once do not mix.
///
/// # Errors
/// What the system said. Whoever was to be let in must not be: nobody could tell afterwards.
pub fn record(decision: &Decision<'_>) -> io::Result<()> {
    let Some(path) = settings::audit_file() else {
        return Ok(());
    };
    let mut line = cloudtrail_event(decision).to_string();
    line.push('\n');
    // A pipe that nobody reads would hold up the login.
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the line was cut off",
        )),
    }
}
