//! Sessions of roles and users in the IAM directory, each where the server finds it by its access key id
//! ([`dsql_iam_core::session_store`]).
//!
//! How many there are is counted as they begin, in files beside them: one byte for each, in the folder of the hour
//! in which it ends, once for all and once for the principal that began it. So nobody looks through a folder to begin
//! a session, and what is over is no longer counted as soon as its hour is.

use std::ffi::CStr;
use std::path::Path;

use data_encoding::HEXLOWER;
use dsql_iam_core::session_store::{EndingHour, FOLDER, RANDOM_LEN, ending_hour, file_name};
use dsql_iam_core::sts::{Code, Grant, NewKey, StsError, UsedCode};
use rustix::fs::{AtFlags, FlockOperation, flock, statat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use time::{Duration, UtcDateTime};

use super::iam_directory::{IamDirectory, finished_name};
use super::random;

use crate::shared::error::Error;

/// How many sessions there may be that are not over, whoever began them.
const MAX_SESSIONS: u64 = 100_000;
/// How many of these one user or role may have begun, unless something else is said.
pub const DEFAULT_QUOTA: u64 = 5_000;

/// How long a session that is over is kept, so that whoever still uses it hears that it is over, and not
/// that nobody knows it.
const KEPT: Duration = Duration::hours(1);

/// The file that counts the sessions which end in an hour.
const COUNT: &str = ".count";

/// How the names of files begin that say that a code of a device was used.
const CODE: &str = ".code";

/// Why no session was begun.
#[derive(Debug)]
pub enum NotBegun {
    /// There are too many of them: what AWS says of that.
    Refused(StsError),
    /// Something does not work.
    Failed(Error),
}

impl From<Error> for NotBegun {
    fn from(fault: Error) -> Self {
        Self::Failed(fault)
    }
}

/// Begins the session: makes an access key, and stores the session in `directory`. `owner` is the ARN of the user or
/// role that it counts for, of which there may be `quota` that are not over.
///
/// # Errors
/// [`NotBegun`]. No session is left behind then.
pub fn begin(
    grant: &Grant,
    owner: &str,
    quota: u64,
    directory: &Path,
    now: UtcDateTime,
) -> Result<NewKey, NotBegun> {
    let folder = IamDirectory::open(directory)?.folder(FOLDER)?;
    let hours = EndingHour::of(now).zip(EndingHour::of(grant.expiration));
    let (now, end) = hours.ok_or_else(|| Error::from("the time is out of range"))?;
    let of_hour = folder.folder(&end.folder())?;
    {
        let _lock = Lock::on(&folder)?;
        let of_owner = count_file(owner);
        check_room(
            &folder,
            now,
            (COUNT, MAX_SESSIONS),
            "the IAM directory holds",
        )?;
        check_room(
            &folder,
            now,
            (&of_owner, quota),
            &format!("{owner} has begun"),
        )?;
        if let Some(used) = &grant.used_code {
            use_up(&folder, used)?;
        }
        // Before there is a session: none is there that is not counted.
        of_hour.count(COUNT)?;
        of_hour.count(&of_owner)?;
    }
    let key = NewKey {
        id: end.access_key_id(&random::capitals_and_digits(RANDOM_LEN)?),
        secret: random::base64(30)?,
        session_token: random::base64(300)?,
    };
    let document = format!("{:#}\n", grant.document(&key));
    of_hour.store(&file_name(&key.id), &document)?;
    Ok(key)
}

/// Takes the code of a device, which counts once: by a file in the folder of the hour that it is of, which is removed
/// with it, long after the code has ceased to count.
fn use_up(folder: &IamDirectory, used: &UsedCode) -> Result<(), NotBegun> {
    let hour = EndingHour::of(used.step.begin());
    let hour = hour.ok_or_else(|| Error::from("the time is out of range"))?;
    let text = format!("{} {}", used.serial_number, used.step.number());
    let name = format!("{CODE}-{}", HEXLOWER.encode(&Sha256::digest(text)[..16]));
    match folder.folder(&hour.folder())?.claim(&name)? {
        true => Ok(()),
        false => Err(NotBegun::Refused(used.again())),
    }
}

/// The file that counts the sessions of a principal which end in an hour.
fn count_file(owner: &str) -> String {
    let hash = HEXLOWER.encode(&Sha256::digest(owner)[..16]);
    format!("{COUNT}-{hash}")
}

/// Whether there are fewer sessions than `most` that are not over, by the files of this name that count them.
fn check_room(
    folder: &IamDirectory,
    now: EndingHour,
    (name, most): (&str, u64),
    whose: &str,
) -> Result<(), NotBegun> {
    let mut count = 0;
    for hour in now.onwards() {
        let path = format!("{}/{name}", hour.folder());
        match statat(folder.descriptor(), path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => count += u64::try_from(found.st_size).unwrap_or(u64::MAX),
            Err(Errno::NOENT) => {}
            Err(error) => {
                let fault = format!("sessions cannot be counted: {error}");
                return Err(Error::from(fault).into());
            }
        }
    }
    if count < most {
        return Ok(());
    }
    let reason = format!("{whose} {count} sessions that are not over, and {most} is the most");
    let refusal = StsError::new(Code::Throttling, "Rate exceeded");
    Err(NotBegun::Refused(refusal.because(reason)))
}

/// The right to begin a session, which one process has at a time.
struct Lock<'f>(&'f IamDirectory);

impl<'f> Lock<'f> {
    fn on(folder: &'f IamDirectory) -> Result<Self, Error> {
        let locked = flock(folder.descriptor(), FlockOperation::LockExclusive);
        locked.map_err(|error| format!("the folder of sessions cannot be locked: {error}"))?;
        Ok(Self(folder))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0.descriptor(), FlockOperation::Unlock);
    }
}

/// Removes the files of sessions that have been over for a while, `most` at the most. Looks into no other folder, and
/// leaves what is not of `dsql-iam`. One that cannot be removed now can be later.
pub fn remove_expired(directory: &Path, most: usize, now: UtcDateTime) {
    let Ok(opened) = IamDirectory::open(directory) else {
        return;
    };
    // It is not made for this.
    if statat(opened.descriptor(), FOLDER, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return;
    }
    let Ok(sessions) = opened.folder(FOLDER) else {
        return;
    };
    let mut left = most;
    for name in sessions.names() {
        let hour = name.to_str().ok().and_then(EndingHour::of_folder);
        let is_over = |hour: EndingHour| hour.end() + KEPT.whole_seconds() <= now.unix_timestamp();
        let Some(hour) = hour.filter(|hour| is_over(*hour)) else {
            continue;
        };
        let Ok(of_hour) = sessions.folder(&hour.folder()) else {
            continue;
        };
        for name in of_hour.names().filter(|name| is_ours(name, hour)) {
            if left == 0 {
                return;
            }
            left -= 1;
            let _ = unlinkat(of_hour.descriptor(), &*name, AtFlags::empty());
        }
        // Only an empty one goes.
        let _ = unlinkat(sessions.descriptor(), &*name, AtFlags::REMOVEDIR);
    }
}

/// Whether a file in the folder of an hour is one that is made here: a session of the hour, also an unfinished one,
/// or one that counts.
fn is_ours(name: &CStr, hour: EndingHour) -> bool {
    let Ok(name) = name.to_str() else {
        return false;
    };
    let is_hash = |text: &str| text.len() == 32 && HEXLOWER.decode(text.as_bytes()).is_ok();
    let is_hashed = |kind: &str| {
        let hash = name
            .strip_prefix(kind)
            .and_then(|rest| rest.strip_prefix('-'));
        hash.is_some_and(is_hash)
    };
    let id = finished_name(name).unwrap_or(name).strip_suffix(".json");
    name == COUNT || is_hashed(COUNT) || is_hashed(CODE) || id.and_then(ending_hour) == Some(hour)
}

#[cfg(test)]
mod tests;
