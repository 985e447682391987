//! Sessions that `dsql-iam` begins: how many a second, where few are stored and where many are.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::account::Account;
use crate::{mirror, run};

/// How many sessions are stored where there are many.
const SESSIONS: usize = 50_000;
/// The most that are begun each time, since one user may have begun 5,000.
const MOST: u32 = 100;

/// The access key id of a stored session that ends in this hour.
pub fn id(hour: &str, number: usize) -> String {
    let digit = |place: u32| char::from(b'A' + (number / 26_usize.pow(place) % 26) as u8);
    let digits: String = (0..4).rev().map(digit).collect();
    format!("ASIA{hour}SESSIONS{digits}")
}

/// The hour in which the session ends that a command begins, as its id has it.
///
/// # Errors
/// If none begins.
pub fn hour(assume_role: &mut Command) -> Result<String> {
    let printed: Value = serde_json::from_str(&run::output(assume_role)?)?;
    let id = printed["Credentials"]["AccessKeyId"].as_str();
    let hour = id.and_then(|id| id.get(4..8)).context("no session")?;
    Ok(hour.to_owned())
}

/// How many sessions a command begins in a second, one after the other, in about this time.
///
/// # Errors
/// If one does not begin.
pub fn begun_a_second(assume_role: &mut Command, time: Duration) -> Result<f64> {
    let begin = Instant::now();
    let mut count = 0;
    while count < MOST && begin.elapsed() < time {
        run::output(assume_role)?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// Stores sessions that end in this hour as `dsql-iam` does: one in the directory for few, and the same and others in
/// each of those for many.
///
/// # Errors
/// If they cannot be written.
pub fn store(few: &Path, many: &[&Path], hour: &str, like: &Value) -> Result<()> {
    store_in(few, hour, 1, like)?;
    many.iter()
        .try_for_each(|many| store_in(many, hour, SESSIONS, like))
}

fn store_in(directory: &Path, hour: &str, count: usize, like: &Value) -> Result<()> {
    let account = Account::find()?;
    let sessions = directory.join("sessions");
    let folder = sessions.join(hour);
    account.directory(&sessions, 0o700)?;
    account.directory(&folder, 0o700)?;
    let write = |name: &str, content: &[u8]| -> Result<()> {
        let path = folder.join(name);
        mirror::write(&path, content, 0o600)?;
        account.own(&path, 0o600)
    };
    let mut session = like.clone();
    for number in 0..count {
        let id = id(hour, number);
        session["Credentials"]["AccessKeyId"] = id.as_str().into();
        write(&format!("{id}.json"), session.to_string().as_bytes())?;
    }
    // The file that counts them has a byte for each.
    let counted = folder.join(".count");
    let before = fs::metadata(&counted).map_or(0, |found| found.len() as usize);
    write(".count", &vec![b'.'; before + count])
}
