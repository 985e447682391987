//! The memory that a backend has for itself.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

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
