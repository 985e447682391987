//! Root steps down: a server's files belong to the server's user, and so does what they name.
//!
//! A program that is started from there, a file that is written through a link, a folder that the
//! configuration names: each would hand root's rights to that user. So nothing in such a folder is
//! read before root's rights are given up, and these are the questions to ask on the way.
//!
//! - *Whose is it?* What the system says of the path itself, never what stands in a file below it.
//! - *Can somebody else put another thing in its place meanwhile?* Each folder on the way has to be
//!   root's or that user's, and not writable by others. (Without links, which the caller resolves.)
//! - *What goes along?* The user's own groups, not those of the path: `chown postgres` leaves the
//!   group root. Of the environment, [`super::postgres::program`] hands on next to nothing.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use crate::shared::error::Error;

/// Whether this is root, who has to step down.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Has root go on as the owner of a path, which has to be canonical. Root stays root at what is
/// root's, and anybody else who they are.
///
/// # Errors
/// A sentence, if somebody else could put another thing in its place, or root's rights cannot be
/// given up.
pub fn step_down(path: &Path) -> Result<(), Error> {
    if !is_root() {
        return Ok(());
    }
    let found = fs::symlink_metadata(path).map_err(|error| cannot(path, &error))?;
    refuse_if_others_can_change(path, found.uid())?;
    match found.uid() {
        0 => Ok(()),
        user => become_user(Uid::from_raw(user), Gid::from_raw(found.gid())),
    }
}

/// Refuses a path that somebody else than root and a user could put another thing in the place of.
fn refuse_if_others_can_change(path: &Path, user: u32) -> Result<(), Error> {
    match part_of_others(path, user)? {
        None => Ok(()),
        Some(part) => Err(format!(
            "{} can be written by others than root and the owner of {}, who could have root work on \
             other files: run it as that owner",
            part.display(),
            path.display()
        ).into()),
    }
}

/// Refuses a path of root's that others led to, who could have led to any other. It has to be canonical.
///
/// # Errors
/// A sentence that names the part of the path that is theirs.
pub fn check_roots(path: &Path) -> Result<(), Error> {
    match part_of_others(path, 0)? {
        None => Ok(()),
        Some(part) => Err(format!(
            "{} belongs to root, and {} can be written by others, who could have root work on other \
             files: give it to the server's user, or have it where nobody but root can write",
            path.display(),
            part.display()
        ).into()),
    }
}

/// The part of a path that others than root and a user can put something else in the place of.
fn part_of_others(path: &Path, user: u32) -> Result<Option<&Path>, Error> {
    for part in path.ancestors() {
        let of_part = fs::symlink_metadata(part).map_err(|error| cannot(part, &error))?;
        let is_others = ![0, user].contains(&of_part.uid());
        // In a folder like /tmp nobody moves what is somebody else's; but everybody puts things there.
        let is_sticky = of_part.is_dir() && of_part.mode() & 0o1000 != 0 && part != path;
        if is_others || (of_part.mode() & 0o022 != 0 && !is_sticky) {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

/// Checks a configuration that a server named, now that root has stepped down to the owner of
/// its data directory. `path` has to be canonical.
///
/// # Errors
/// A sentence, if it is neither root's nor that user's, or others could put another in its place: they
/// would write into that user's files.
pub fn check_configuration(path: &Path) -> Result<(), Error> {
    let owner = fs::symlink_metadata(path)
        .map_err(|error| cannot(path, &error))?
        .uid();
    let user = geteuid().as_raw();
    if ![0, user].contains(&owner) {
        return Err(format!(
            "{} belongs to the user {owner}, and the data directory to the user {user}: run it as the \
             one that the server runs as",
            path.display()
        ).into());
    }
    refuse_if_others_can_change(path, user)
}

/// `group` is for a user whom the system does not know.
fn become_user(user: Uid, group: Gid) -> Result<(), Error> {
    let failed = |error| -> Error {
        format!("root could not become the server's user {user}: {error}").into()
    };
    match User::from_uid(user).map_err(failed)? {
        Some(known) => {
            let name = CString::new(known.name).unwrap_or_default();
            initgroups(&name, known.gid)
                .and_then(|()| setgid(known.gid))
                .map_err(failed)?;
        }
        None if group.as_raw() == 0 => {
            return Err(format!(
                "the system does not know the server's user {user}, nor a group for it: run it as \
                 that user"
            )
            .into());
        }
        None => setgroups(&[group])
            .and_then(|()| setgid(group))
            .map_err(failed)?,
    }
    setuid(user).map_err(failed)
}

/// Checks that a data directory is the user's own, where that is not root, since programs are run that its
/// owner has named.
///
/// # Errors
/// A sentence that names the owner.
pub fn check_own(data: &Path) -> Result<(), Error> {
    let owner = fs::metadata(data)
        .map_err(|error| cannot(data, &error))?
        .uid();
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(format!(
        "{} belongs to the user {}: run it as that user, or as root",
        data.display(),
        name_of(Uid::from_raw(owner))
    )
    .into())
}

/// The name of the user who runs this, or has stepped down to be.
pub fn name() -> String {
    name_of(geteuid())
}

fn name_of(user: Uid) -> String {
    let known = User::from_uid(user).ok().flatten();
    known.map_or_else(|| user.to_string(), |known| known.name)
}

/// Checks a data directory, now that root has stepped down on the way to it.
///
/// # Errors
/// A sentence, if it is root's, or of another user than the configuration that names it.
pub fn check_data_directory(data: &Path) -> Result<(), Error> {
    let owner = fs::metadata(data)
        .map_err(|error| cannot(data, &error))?
        .uid();
    if owner == 0 {
        return Err(format!(
            "{} belongs to root, and PostgreSQL never runs as root: name the data directory of a \
             server with --data",
            data.display()
        )
        .into());
    }
    if owner != geteuid().as_raw() {
        return Err(format!(
            "{} belongs to the user {owner}, and the configuration that names it to the user {}: \
             run it as the one that the server runs as",
            data.display(),
            geteuid()
        )
        .into());
    }
    Ok(())
}

fn cannot(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
