//! The memory that a backend has for itself.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::report::median;
use super::side::Side;
use crate::run;

/// How many sessions are idle at once while their memory is measured.
const IDLE_SESSIONS: usize = 5;

impl Side {
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
        let mut printed = String::new();
        let are_there = run::until(Duration::from_secs(20), || {
            printed = self.superuser(&[PIDS])?;
            Ok(printed.split_whitespace().count() == IDLE_SESSIONS)
        })?;
        ensure!(are_there, "the idle sessions did not appear");
        let memory: Result<Vec<f64>> = printed.split_whitespace().map(private_memory).collect();
        Ok(median(&memory?))
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
