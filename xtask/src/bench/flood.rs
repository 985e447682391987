//! `cargo xtask bench --only flood`: bad logins, as many as the machine makes, beside good ones.
//!
//! All clients are on loopback and without TLS, so that the machine makes more of them. A good login is due at a fixed
//! time, whether the one before has ended or not, and its time runs from then: who waits longer is not counted less.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Good logins a second.
const GOOD_RATE: u32 = 100;
/// The threads that make them by turns: more than are ever under way at once, unless the server hangs.
const GOOD_CLIENTS: u32 = 32;
/// The threads that make bad ones, each as fast as it can.
const BAD_CLIENTS: usize = 8;
/// The longest message of a server that is read.
const MAX_MESSAGE: usize = 64 * 1024;

/// Where the logins go, and who makes them.
pub struct Target<'a> {
    /// The server's port.
    pub port: u16,
    /// The role of the good ones.
    pub role: &'a str,
    /// Their token.
    pub token: &'a str,
    /// The server's log and its audit file.
    pub files: [&'a Path; 2],
    /// The postmaster.
    pub postmaster: u32,
}

/// The results of one run.
pub struct Outcome {
    /// How long good logins took, sorted.
    good: Vec<Duration>,
    /// How many bad ones there were.
    bad: u64,
    took: Duration,
    /// The postmaster's own memory before and after, in KiB.
    memory: [u64; 2],
    /// By how many bytes log and audit file grew.
    growth: [u64; 2],
}

/// Makes good logins for `time`, and bad ones beside them if `is_flood`.
///
/// # Errors
/// If a good one is refused, a bad one is not, or the server does not answer.
pub fn run(target: &Target<'_>, time: Duration, is_flood: bool) -> Result<Outcome> {
    let forged = forged(target.token)?;
    // No access key id begins like this.
    let unknown = target
        .token
        .replace("X-Amz-Credential=A", "X-Amz-Credential=B");
    ensure!(unknown != target.token, "the token names no access key");
    let bad: [&str; 3] = ["hunter2", &forged, &unknown];
    let lengths = || {
        target
            .files
            .map(|path| fs::metadata(path).map_or(0, |file| file.len()))
    };
    let memory = || memory(target.postmaster);
    let (length_before, memory_before) = (lengths(), memory()?);
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let good = thread::scope(|scope| -> Result<Vec<Duration>> {
        let (is_over, count) = (&is_over, &count);
        let clients = if is_flood { BAD_CLIENTS } else { 0 };
        let attackers: Vec<_> = (0..clients)
            .map(|first| {
                scope.spawn(move || -> Result<()> {
                    for password in bad.iter().cycle().skip(first) {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        ensure!(!login(target, password)?, "a bad login is admitted");
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let clients: Vec<_> = (0..GOOD_CLIENTS)
            .map(|first| scope.spawn(move || good_logins(target, first, began, time)))
            .collect();
        let good: Result<Vec<_>> = clients.into_iter().map(|client| join(client)).collect();
        is_over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            join(attacker)?;
        }
        Ok(good?.concat())
    });
    let mut good = good?;
    good.sort_unstable();
    let length_after = lengths();
    Ok(Outcome {
        good,
        bad: count.into_inner(),
        took: began.elapsed(),
        memory: [memory_before, memory()?],
        growth: [0, 1].map(|file| length_after[file].saturating_sub(length_before[file])),
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(_) => bail!("a client panicked"),
    }
}

/// One client's part of the good logins: those that follow `first` at equal distances. Gives how long each took.
fn good_logins(
    target: &Target<'_>,
    first: u32,
    began: Instant,
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in (first..).step_by(GOOD_CLIENTS as usize) {
        let due = Duration::from_secs(1) * number / GOOD_RATE;
        if due >= time {
            break;
        }
        let due = began + due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        ensure!(login(target, target.token)?, "a good login is refused");
        times.push(due.elapsed());
    }
    Ok(times)
}

/// A token with another signature.
fn forged(token: &str) -> Result<String> {
    let start = token.len().checked_sub(4).context("no token")?;
    Ok(format!("{}0000", &token[..start]))
}

/// Logs in, as far as the server's first readiness for a query. Gives whether it was admitted.
fn login(target: &Target<'_>, password: &str) -> Result<bool> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port))?;
    server.set_nodelay(true)?;
    server.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", target.role, "database", "postgres", ""] {
        startup.extend_from_slice(text.as_bytes());
        startup.push(0);
    }
    send(&mut server, None, &startup)?;
    loop {
        match receive(&mut server)? {
            // AuthenticationCleartextPassword
            (b'R', body) if body == 3_u32.to_be_bytes() => {
                send(
                    &mut server,
                    Some(b'p'),
                    &[password.as_bytes(), b"\0"].concat(),
                )?;
            }
            (b'E', _) => return Ok(false),
            (b'Z', _) => {
                send(&mut server, Some(b'X'), &[])?;
                return Ok(true);
            }
            _ => {}
        }
    }
}

/// Sends a message: its type, unless it is the first one, its length, and the body.
fn send(server: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> Result<()> {
    let length = u32::try_from(body.len() + 4)?.to_be_bytes();
    let kind: &[u8] = kind.as_slice();
    Ok(server.write_all(&[kind, &length, body].concat())?)
}

fn receive(server: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    server.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(
        (4..=MAX_MESSAGE).contains(&length),
        "no message of PostgreSQL's"
    );
    let mut body = vec![0; length - 4];
    server.read_exact(&mut body)?;
    Ok((kind, body))
}

/// A process's own memory, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let size = line.and_then(|line| line.split_whitespace().next());
    size.context("no RssAnon")?.parse().context("RssAnon")
}

/// The table: an idle server's good logins, and those beside bad ones.
pub fn table(idle: &Outcome, flood: &Outcome) -> String {
    let mut table =
        String::from("\n| under attack | idle | beside bad logins |\n|---|---:|---:|\n");
    let rate = |outcome: &Outcome, count: u64| count as f64 / outcome.took.as_secs_f64();
    // Without the lines of the good ones, whose length the idle server tells.
    let per_refusal = |file: usize| {
        let per_admission = idle.growth[file] as f64 / idle.good.len().max(1) as f64;
        let of_admissions = per_admission * flood.good.len() as f64;
        (flood.growth[file] as f64 - of_admissions).max(0.0) / flood.bad.max(1) as f64
    };
    let mut row = |what: &str, of_idle: String, of_flood: String| {
        let _ = writeln!(table, "| {what} | {of_idle} | {of_flood} |");
    };
    let both = |what: fn(&Outcome) -> String| (what(idle), what(flood));
    let (of_idle, of_flood) = (String::new(), format!("{:.0}/s", rate(flood, flood.bad)));
    row("bad logins, each of them refused", of_idle, of_flood);
    let good = |outcome: &Outcome| format!("{:.0}/s", rate(outcome, outcome.good.len() as u64));
    row("good logins, each of them served", good(idle), good(flood));
    for (what, part) in [("median", 0.5), ("99th percentile", 0.99), ("longest", 1.0)] {
        let time = |outcome: &Outcome| {
            let seconds = percentile(&outcome.good, part).as_secs_f64();
            format!("{:.1} ms", seconds * 1e3)
        };
        row(
            &format!("how long a good one takes: {what}"),
            time(idle),
            time(flood),
        );
    }
    let (of_idle, of_flood) =
        both(|Outcome { memory, .. }| format!("{} KiB, {} KiB", memory[0], memory[1]));
    row(
        "memory of the postmaster, before and after",
        of_idle,
        of_flood,
    );
    for (what, file) in [("log", 0), ("audit file", 1)] {
        let size = format!("{:.1} bytes", per_refusal(file));
        row(
            &format!("growth of the {what} by a bad login"),
            String::new(),
            size,
        );
    }
    let seconds = flood.took.as_secs_f64();
    let _ = writeln!(
        table,
        "\n{seconds:.0} s each, {BAD_CLIENTS} clients with bad logins, without TLS."
    );
    table
}

/// The time that this part of the sorted times does not exceed.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    let found = sorted.get(place.saturating_sub(1));
    found.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_millis(100));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 1.0), Duration::from_millis(200));
        assert_eq!(percentile(&[], 0.99), Duration::ZERO);
    }

    #[test]
    fn a_forged_token_has_the_length_of_a_good_one() {
        assert_eq!(
            forged("host/?X-Amz-Signature=abcdef").unwrap(),
            "host/?X-Amz-Signature=ab0000"
        );
        assert!(forged("").is_err());
    }
}
