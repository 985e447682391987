//! The postmaster of a data directory: whether it runs, and how it is stopped.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directory::Directory;
use crate::run;

/// How long a server may take to start or to stop.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the server on the data directory, if one runs, to close its connections and end, and waits
/// until it is gone.
pub fn stop(directory: &Directory) -> Result<()> {
    let Some((pid, _)) = pid_file(directory).filter(|_| running(directory)) else {
        return Ok(());
    };
    kill(pid, Signal::SIGINT).context("the server could not be told to stop")?;
    let is_gone = run::until(PATIENCE, || Ok(!running(directory)))?;
    let seconds = PATIENCE.as_secs();
    ensure!(is_gone, "the server still ran after {seconds} seconds");
    Ok(())
}

/// The lines of the file in which a server says who and how far it is.
fn pid_file(directory: &Directory) -> Option<(Pid, Vec<String>)> {
    let text = fs::read_to_string(directory.data().join("postmaster.pid")).ok()?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let pid = lines.first()?.trim().parse().ok()?;
    Some((Pid::from_raw(pid), lines))
}

/// The process id of the server that runs on the data directory, as it says itself.
pub fn pid(directory: &Directory) -> Option<u32> {
    let (pid, _) = pid_file(directory)?;
    u32::try_from(pid.as_raw()).ok()
}

/// Whether the server with this process id says that it accepts connections.
pub fn ready(directory: &Directory, process: &Child) -> bool {
    let Some((pid, lines)) = pid_file(directory) else {
        return false;
    };
    u32::try_from(pid.as_raw()) == Ok(process.id())
        && lines.get(7).is_some_and(|status| status.trim() == "ready")
}

/// Whether a server runs on the data directory. A server works in its data directory, which tells
/// it from a stranger that has got the process id of one that died.
pub fn running(directory: &Directory) -> bool {
    let Some((pid, _)) = pid_file(directory) else {
        return false;
    };
    let alive = matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM));
    alive
        && match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(works_in) => works_in == directory.data(),
            Err(error) => error.kind() == ErrorKind::PermissionDenied || !has_proc(),
        }
}

/// Whether the system shows its processes as files.
fn has_proc() -> bool {
    Path::new("/proc/self").exists()
}
