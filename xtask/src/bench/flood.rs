//! `cargo xtask bench --only flood`: bad logins, as many as the machine makes, beside good ones.
//!
//! All clients are on loopback and without TLS, so that the machine makes more of them. A good login is due at a fixed
//! time, whether the one before has ended or not, and its time runs from then: who waits longer is not counted less.
//!
//! A minute's bad logins write their lines as it begins (`dsql_iam.max_logged_refusals`), so a run that begins with a
//! new minute has the lines of as many whole minutes as it has begun.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::processes;

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
    /// The token of a principal whom no policy lets in.
    pub denied: &'a str,
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
    /// How long it was to take.
    time: Duration,
    /// At its beginning, and in each second.
    samples: Vec<Sample>,
}

/// The server at one moment.
struct Sample {
    /// The postmaster's own memory, and what the server's processes have together, in KiB.
    memory: [u64; 2],
    /// The lengths of log and audit file, in bytes.
    lengths: [u64; 2],
}

type Figure = fn(&Sample) -> u64;

impl Outcome {
    /// The first, the last and the largest of a figure.
    fn extent(&self, figure: Figure) -> [u64; 3] {
        let all = || self.samples.iter().map(figure);
        [all().next(), all().next_back(), all().max()].map(Option::unwrap_or_default)
    }

    /// By how many bytes the log (0) or the audit file (1) grew.
    fn growth(&self, file: usize) -> u64 {
        let length = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.lengths[file]);
        length(self.samples.last()).saturating_sub(length(self.samples.first()))
    }

    /// How many minutes it has begun.
    fn minutes(&self) -> u64 {
        self.time.as_secs().div_ceil(60).max(1)
    }
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
    let bad: [&str; 4] = ["hunter2", &forged, &unknown, target.denied];
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let first = sample(target)?;
    let began = Instant::now();
    let (mut good, mut samples) = thread::scope(|scope| -> Result<_> {
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
        let sampler = scope.spawn(move || samples(target, began, time));
        let clients: Vec<_> = (0..GOOD_CLIENTS)
            .map(|first| scope.spawn(move || good_logins(target, first, began, time)))
            .collect();
        let good: Result<Vec<_>> = clients.into_iter().map(|client| join(client)).collect();
        is_over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            join(attacker)?;
        }
        Ok((good?.concat(), join(sampler)?))
    })?;
    good.sort_unstable();
    samples.insert(0, first);
    Ok(Outcome {
        good,
        bad: count.into_inner(),
        took: began.elapsed(),
        time,
        samples,
    })
}

/// One in the middle of each second, so that the last one is not of a minute that has just begun.
fn samples(target: &Target<'_>, began: Instant, time: Duration) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut due = Duration::from_millis(500);
    while due < time {
        keep_time(began + due);
        samples.push(sample(target)?);
        due += Duration::from_secs(1);
    }
    Ok(samples)
}

/// Lets the time pass until `due`: a schedule, and no wait for something to happen.
fn keep_time(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

fn sample(target: &Target<'_>) -> Result<Sample> {
    Ok(Sample {
        memory: [
            processes::anonymous(target.postmaster)?,
            processes::of_server(target.postmaster)?,
        ],
        lengths: target
            .files
            .map(|path| fs::metadata(path).map_or(0, |file| file.len())),
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
        keep_time(due);
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

/// The table: an idle server's good logins, and those beside bad ones.
pub fn table(idle: &Outcome, flood: &Outcome) -> String {
    let mut table =
        String::from("\n| under attack | idle | beside bad logins |\n|---|---:|---:|\n");
    let rate = |outcome: &Outcome, count: u64| count as f64 / outcome.took.as_secs_f64();
    // Without the lines of the good ones, which the idle server has as well.
    let of_bad = |file: usize| {
        let growth = flood.growth(file).saturating_sub(idle.growth(file));
        growth as f64 / flood.minutes() as f64
    };
    let mut row = |what: &str, of_idle: String, of_flood: String| {
        let _ = writeln!(table, "| {what} | {of_idle} | {of_flood} |");
    };
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
    let extent = |outcome: &Outcome, figure| {
        let [first, last, largest] = outcome.extent(figure);
        format!("{first}, {last}, {largest} KiB")
    };
    let figures: [(&str, Figure); 2] = [
        ("the postmaster", |sample| sample.memory[0]),
        ("all processes together", |sample| sample.memory[1]),
    ];
    for (whose, figure) in figures {
        row(
            &format!("memory of {whose}: first, last, largest"),
            extent(idle, figure),
            extent(flood, figure),
        );
    }
    for (what, file) in [("log", 0), ("audit file", 1)] {
        let size = format!("{:.1} kB a minute", of_bad(file) / 1e3);
        row(
            &format!("growth of the {what} by bad logins"),
            String::new(),
            size,
        );
    }
    let seconds = flood.took.as_secs_f64();
    let _ = writeln!(
        table,
        "\n{seconds:.0} s each, {BAD_CLIENTS} clients with bad logins, without TLS; memory once a second."
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

    fn outcome(good: u64, bad: u64, time: u64, samples: &[([u64; 2], [u64; 2])]) -> Outcome {
        let samples = samples
            .iter()
            .map(|&(memory, lengths)| Sample { memory, lengths });
        Outcome {
            good: (1..=good).map(Duration::from_millis).collect(),
            bad,
            took: Duration::from_secs(time),
            time: Duration::from_secs(time),
            samples: samples.collect(),
        }
    }

    #[test]
    fn the_table_has_memory_and_what_a_minute_of_bad_logins_writes() {
        let first = ([2_500, 30_000], [1_000, 500]);
        let idle = outcome(100, 0, 90, &[first, ([2_500, 31_000], [21_000, 40_500])]);
        let largest = ([2_540, 60_000], [100_000, 90_000]);
        let last = ([2_520, 50_000], [171_000, 180_500]);
        let flood = outcome(100, 9_000, 90, &[first, largest, last]);
        // Two minutes have begun: (170,000 - 20,000) / 2 and (180,000 - 40,000) / 2.
        let expected = "
| under attack | idle | beside bad logins |
|---|---:|---:|
| bad logins, each of them refused |  | 100/s |
| good logins, each of them served | 1/s | 1/s |
| how long a good one takes: median | 50.0 ms | 50.0 ms |
| how long a good one takes: 99th percentile | 99.0 ms | 99.0 ms |
| how long a good one takes: longest | 100.0 ms | 100.0 ms |
| memory of the postmaster: first, last, largest | 2500, 2500, 2500 KiB | 2500, 2520, 2540 KiB |
| memory of all processes together: first, last, largest | 30000, 31000, 31000 KiB | 30000, 50000, 60000 KiB |
| growth of the log by bad logins |  | 75.0 kB a minute |
| growth of the audit file by bad logins |  | 70.0 kB a minute |

90 s each, 8 clients with bad logins, without TLS; memory once a second.
";
        assert_eq!(table(&idle, &flood), expected);
    }

    #[test]
    fn a_run_has_the_lines_of_each_minute_that_it_begins() {
        for (seconds, minutes) in [(5, 1), (60, 1), (61, 2), (300, 5)] {
            assert_eq!(outcome(0, 0, seconds, &[]).minutes(), minutes);
        }
    }
}
