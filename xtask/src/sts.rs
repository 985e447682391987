//! `dsql-iam sts` beside the server, for `up --sts`.
//!
//! It runs in the background as the server's user, who can read the documents, from a copy of the command
//! in the server's folder: that user need not get into the checkout.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::account::Account;
use crate::directory::Directory;
use crate::{mirror, run};

/// The port to try first.
pub const DEFAULT_PORT: u16 = 8300;

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the command in `folder`, on a port of the loopback address, and waits until it listens.
pub fn start(
    directory: &Directory,
    account: &Account,
    folder: &std::path::Path,
    port: u16,
) -> Result<()> {
    let program = program(directory);
    let command = fs::read(folder.join("dsql-iam"))?;
    mirror::write(&program, &command, 0o755)?;
    let path = log(directory);
    let log = fs::File::create(&path)?;
    account.own(&path, 0o600)?;
    let mut child = account
        .command(&program)
        .args(["sts", "--listen", &format!("127.0.0.1:{port}")])
        .arg("--iam-directory")
        .arg(directory.iam())
        .current_dir(directory.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("dsql-iam sts could not be started")?;
    fs::write(pid_file(directory), format!("{}\n", child.id()))?;
    let listens = run::until(PATIENCE, || {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(&path).unwrap_or_default();
            bail!("dsql-iam sts did not start ({status}): {}", said.trim());
        }
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    })?;
    if !listens {
        child.kill()?;
        bail!("dsql-iam sts does not listen on port {port}");
    }
    Ok(())
}

/// Stops the one that an earlier `up` started for a folder, if it runs.
pub fn stop(directory: &Directory) -> Result<()> {
    let Some(pid) = running(directory) else {
        return Ok(());
    };
    kill(pid, Signal::SIGTERM).context("dsql-iam sts could not be told to stop")?;
    let is_gone = run::until(PATIENCE, || Ok(running(directory).is_none()))?;
    ensure!(is_gone, "dsql-iam sts still runs, as process {pid}");
    fs::remove_file(pid_file(directory))?;
    Ok(())
}

/// Its process, if that is still it: it works in the server's folder. One that has ended and is not
/// collected yet works nowhere.
fn running(directory: &Directory) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(directory)).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (works_in == directory.root()).then_some(Pid::from_raw(pid))
}

fn program(directory: &Directory) -> PathBuf {
    directory.root().join("dsql-iam")
}

fn log(directory: &Directory) -> PathBuf {
    directory.root().join("sts.log")
}

fn pid_file(directory: &Directory) -> PathBuf {
    directory.root().join("sts.pid")
}
