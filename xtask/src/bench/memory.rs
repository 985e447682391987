//! The memory of the server's processes.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::report::median;
use crate::run;

/// How many sessions are idle at once while their memory is measured.
const IDLE_SESSIONS: usize = 5;

impl Bench<'_> {
    /// Memory that an idle backend has for itself, in KiB: the median of some that are there at once, so that what they
    /// share is not taken for one's own.
    pub(super) fn idle_memory(&self, role: &str, password: &str) -> Result<f64> {
        let mut sessions = Vec::new();
        for _ in 0..IDLE_SESSIONS {
            let mut psql = self.program("psql");
            psql.args([
                "--no-psqlrc",
                "--host=localhost",
                "--username",
                role,
                "--dbname=postgres",
            ])
            .arg(format!("--port={}", self.server.port()))
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", "disable")
            .env("PGAPPNAME", "bench_idle")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
            sessions.push(psql.spawn()?);
        }
        let memory = self.memory_of_sessions();
        for mut session in sessions {
            drop(session.stdin.take());
            session.wait()?;
        }
        memory
    }

    fn memory_of_sessions(&self) -> Result<f64> {
        const PIDS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bench_idle' \
            AND state = 'idle'";
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut psql = self.program("psql");
            psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--dbname"])
                .arg(&self.variables["DSQL_SUPERUSER"])
                .args(["--command", PIDS]);
            let printed = run::output(&mut psql)?;
            let pids: Vec<&str> = printed.split_whitespace().collect();
            if pids.len() == IDLE_SESSIONS {
                let memory: Result<Vec<f64>> = pids.into_iter().map(private_memory).collect();
                return Ok(median(&memory?));
            }
            if Instant::now() > deadline {
                bail!("the idle sessions did not appear");
            }
        }
    }
}

/// The memory that a process has written and no other has, in KiB, without memory that is meant to be shared:
/// the first to touch a page of it has that page for itself until another comes.
fn private_memory(pid: &str) -> Result<f64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut is_private = false;
    let mut sum = 0.0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Private_Dirty:"), Some(size)) if is_private => sum += size.parse::<f64>()?,
            // A mapping begins: addresses, then its permissions.
            (Some(first), Some(permissions)) if !first.ends_with(':') => {
                is_private = permissions.ends_with('p');
            }
            _ => {}
        }
    }
    Ok(sum)
}

/// A process's own memory, in KiB.
pub(super) fn anonymous(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&status, "RssAnon:")
}

/// The memory of the postmaster and its children, in KiB: what several have is counted once.
pub(super) fn of_server(postmaster: u32) -> Result<u64> {
    let mut sum = proportional(postmaster)?;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent(pid) == Some(postmaster) {
            // It may have ended meanwhile.
            sum += proportional(pid).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// The process's part of all that it has, in KiB.
fn proportional(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    kibibytes(&rollup, "Pss:")
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The figure in the line `NAME: 123 kB`.
fn kibibytes(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let size = line.and_then(|line| line.split_whitespace().next());
    let size = size.with_context(|| format!("no {name}"))?;
    Ok(size.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_a_process_and_its_children() {
        assert_eq!(
            kibibytes("Rss: 9 kB\nPss:      123 kB\n", "Pss:").unwrap(),
            123
        );
        assert!(kibibytes("Rss: 9 kB\n", "Pss:").is_err());
        let own = std::process::id();
        assert!(anonymous(own).unwrap() > 0);
        let mut child = std::process::Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(parent(child.id()), Some(own));
        assert!(of_server(own).unwrap() > proportional(child.id()).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
