//! `dsql_iam.audit_file`: each decision as a line of JSON, in the form of AWS CloudTrail's events.

use crate::settings;
use rustix::fs::OFlags;
use serde_json::Value;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a connection waits for others that write to the audit file. Each takes microseconds; a process
/// that takes longer is no login.
const PATIENCE: Duration = Duration::from_secs(2);

/// Appends an event to the audit file, if there is one: one connection after the other, and each in a single write.
///
/// # Errors
/// The system's error. The login must be refused then: an admission without a record could not be traced.
pub fn record(event: impl FnOnce() -> Value) -> io::Result<()> {
    let Some(path) = settings::audit_file() else {
        return Ok(());
    };
    let mut file = open(&path)?;
    let mut line = String::new();
    if ends_in_a_fragment(&file)? {
        line.push('\n');
    }
    line += &event().to_string();
    line.push('\n');
    match file.write(line.as_bytes())? {
        written if written == line.len() => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the line was cut off",
        )),
    }
}

/// Whether the audit file can be written: everything that [`record`] does, but the writing.
///
/// # Errors
/// The system's error.
pub fn try_out(path: &Path) -> io::Result<()> {
    ends_in_a_fragment(&open(path)?).map(drop)
}

/// Opens the file, makes it if it is not there, and takes its lock.
fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads would hold up the login, and a look at the name before would be at something else.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path);
    let not_a_file = || io::Error::other("it is not a file");
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => not_a_file(),
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(not_a_file());
    }
    lock(&file)?;
    Ok(file)
}

/// Takes the file's lock, which goes with the file. Without it a line that another connection is writing
/// looks as if it had been cut off.
fn lock(file: &File) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "somebody else has locked it",
                ));
            }
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(1)),
        }
    }
}

/// Whether the last line was cut off, as on a full disk. It stays, as a line of its own: its reader
/// sees that something is missing.
fn ends_in_a_fragment(file: &File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_at(&mut last, at)?;
    }
    Ok(last != [b'\n'])
}
