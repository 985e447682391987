//! Writing documents into an IAM directory: private, whole, and for its owner.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use dsql_iam_core::directory::{self, LoadError};
use nix::unistd::geteuid;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::owner;

use crate::shared::error::Error;

/// An IAM directory, which stays open: files are made, given to its owner and removed by their names in
/// it. Its owner may lead the path elsewhere meanwhile, and whoever runs this may be root.
pub struct IamDirectory {
    path: PathBuf,
    directory: OwnedFd,
}

impl IamDirectory {
    /// Opens the directory. Where root has a directory of its own, nobody else may have led there.
    ///
    /// # Errors
    /// A sentence that names the directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            let path = path.to_owned();
            LoadError::Directory { path, error }.to_string()
        };
        let directory = directory::open(path).map_err(Error::of)?;
        let found = fstat(&directory).map_err(|error| failed(error.into()))?;
        if owner::is_root() && found.st_uid == 0 {
            let canonical = fs::canonicalize(path).map_err(failed)?;
            owner::check_roots(&canonical)?;
            let there = fs::symlink_metadata(&canonical).map_err(failed)?;
            if (there.dev(), there.ino()) != (found.st_dev, found.st_ino) {
                return Err(format!(
                    "the IAM directory {} was put somewhere else meanwhile: try again",
                    path.display()
                )
                .into());
            }
        }
        let path = path.to_owned();
        Ok(Self { path, directory })
    }

    /// The folder of this name in it, which is made if it is not there: private, and its owner's. An empty one of
    /// root's is given to the owner too: another run of root's has just made it, or was ended then.
    ///
    /// # Errors
    /// A sentence, if it cannot be made or opened, is another user's, or others can write it.
    pub fn folder(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let failed = |error: Errno| -> Error {
            format!("the folder {} cannot be used: {error}", path.display()).into()
        };
        match mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, name, flags, Mode::empty()).map_err(failed)?;
        let owner = fstat(&self.directory).map_err(failed)?;
        // In this order: whoever puts something into it has given it away before.
        let is_empty = names(&directory).map_err(failed)?.next().is_none();
        let found = fstat(&directory).map_err(failed)?;
        if is_empty && is_not_given_yet(&found, &owner) {
            self.give_to_owner(&directory, &owner)?;
        }
        let found = fstat(&directory).map_err(failed)?;
        if found.st_uid != owner.st_uid {
            return Err(format!(
                "the folder {} belongs to the user with id {}, and the one that it is in to {}",
                path.display(),
                found.st_uid,
                owner.st_uid
            )
            .into());
        }
        if found.st_mode & 0o022 != 0 {
            return Err(format!(
                "the folder {} can be written by others: chmod go-w {0}",
                path.display()
            )
            .into());
        }
        Ok(Self { path, directory })
    }

    /// Gives what this has made to the directory's owner.
    fn give_to_owner(&self, file: impl AsFd, owner: &Stat) -> Result<(), Error> {
        let own = fstat(&file).map_err(Error::of)?;
        if own.st_uid == owner.st_uid {
            return Ok(());
        }
        fchown(&file, Some(owner.st_uid), Some(owner.st_gid)).map_err(|_| {
            format!(
                "the IAM directory {} belongs to the user with id {}, who has to be able to read \
                 its documents: run this as that user, or as root",
                self.path.display(),
                owner.st_uid
            )
            .into()
        })
    }

    /// Adds a byte to a file of the directory's owner, which is made if it is not there. One process does it at a time.
    ///
    /// # Errors
    /// A sentence.
    pub fn count(&self, name: &str) -> Result<(), Error> {
        let not_stored = |error: Errno| self.not_stored(name, &error.into());
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, mode).map_err(not_stored)?;
        let owner = fstat(&self.directory).map_err(not_stored)?;
        let found = fstat(&file).map_err(not_stored)?;
        // The owner can have moved or linked another file of root's here.
        let is_new = found.st_size == 0 && found.st_nlink == 1;
        if is_new && is_not_given_yet(&found, &owner) {
            self.give_to_owner(&file, &owner)?;
        } else if found.st_uid != owner.st_uid {
            let fault = format!("it belongs to the user with id {}", found.st_uid);
            return Err(self.not_stored(name, &io::Error::other(fault)));
        }
        File::from(file)
            .write_all(b".")
            .map_err(|error| self.not_stored(name, &error))
    }

    /// Makes an empty file of the directory's owner; `false` if it is there already.
    ///
    /// # Errors
    /// A sentence.
    pub fn claim(&self, name: &str) -> Result<bool, Error> {
        let not_stored = |error: Errno| self.not_stored(name, &error.into());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(false),
            Err(error) => return Err(not_stored(error)),
        };
        let owner = fstat(&self.directory).map_err(not_stored)?;
        self.give_to_owner(&file, &owner)?;
        Ok(true)
    }

    /// The names in it but its own and its parent's, one by one, as the system gives them.
    pub fn names(&self) -> impl Iterator<Item = CString> {
        let names = names(&self.directory).into_iter().flatten();
        names.map_while(Result::ok)
    }

    /// The open directory.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.directory
    }

    /// Puts a new document into its place in one go, with mode 0600 and for the directory's owner: the
    /// server, which may be another user than this one, refuses the directory if it cannot read one
    /// document.
    ///
    /// # Errors
    /// A sentence. A document that is there already stays as it is.
    pub fn store(&self, name: &str, document: &str) -> Result<(), Error> {
        let unfinished = self.write(name, document)?;
        let directory = &self.directory;
        // Unlike a renaming, this replaces nothing.
        let linked = linkat(directory, &*unfinished, directory, name, AtFlags::empty());
        let removed = unlinkat(directory, &*unfinished, AtFlags::empty());
        linked
            .and(removed)
            .map_err(|error| self.not_stored(name, &error.into()))
    }

    /// As [`Self::store`], but in the place of the document of this name.
    ///
    /// # Errors
    /// A sentence.
    pub fn replace(&self, name: &str, document: &str) -> Result<(), Error> {
        let unfinished = self.write(name, document)?;
        renameat(&self.directory, &*unfinished, &self.directory, name)
            .map_err(|error| self.not_stored(name, &error.into()))
    }

    /// Writes a file that does not count yet, gives its name.
    fn write(&self, name: &str, document: &str) -> Result<String, Error> {
        // The loader passes over names that start with a dot.
        let unfinished = format!(".{name}{UNFINISHED}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.directory, &*unfinished, flags, mode);
        let file = file.map_err(|error| self.not_stored(name, &error.into()))?;
        let written = self.fill(File::from(file), name, document);
        if written.is_err() {
            let _ = unlinkat(&self.directory, &*unfinished, AtFlags::empty());
        }
        written.map(|()| unfinished)
    }

    fn fill(&self, mut file: File, name: &str, document: &str) -> Result<(), Error> {
        let not_stored = |error| self.not_stored(name, &error);
        let owner = fstat(&self.directory).map_err(|error| not_stored(error.into()))?;
        self.give_to_owner(&file, &owner)?;
        file.write_all(document.as_bytes()).map_err(not_stored)?;
        file.sync_all().map_err(not_stored)
    }

    fn not_stored(&self, name: &str, error: &std::io::Error) -> Error {
        let directory = self.path.display();
        format!("{name} could not be stored in the IAM directory {directory}: {error}").into()
    }
}

/// How the names of files end that are not whole yet.
const UNFINISHED: &str = ".new";

/// The name that an unfinished file is to get; `None` if its name is not one's.
pub fn finished_name(unfinished: &str) -> Option<&str> {
    unfinished.strip_prefix('.')?.strip_suffix(UNFINISHED)
}

/// The names in a folder but its own and its parent's.
fn names(folder: &OwnedFd) -> Result<impl Iterator<Item = Result<CString, Errno>>, Errno> {
    let names =
        Dir::read_from(folder)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let is_itself = |name: &CString| matches!(name.to_bytes(), b"." | b"..");
    Ok(names.filter(move |name| !name.as_ref().is_ok_and(is_itself)))
}

/// Whether what was found is the user's who runs this, and still to be given to the owner.
fn is_not_given_yet(found: &Stat, owner: &Stat) -> bool {
    found.st_uid != owner.st_uid && found.st_uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory that, for root, is somebody else's.
    fn somebodys() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        if owner::is_root() {
            std::os::unix::fs::chown(directory.path(), Some(4711), Some(4711)).unwrap();
        }
        directory
    }

    fn owner_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn a_folder_that_many_make_at_once_is_the_owners_for_each() {
        for _ in 0..50 {
            let directory = somebodys();
            let path = directory.path();
            let make = || {
                let folder = IamDirectory::open(path).unwrap().folder("a").unwrap();
                assert_eq!(owner_of(&path.join("a")), owner_of(path));
                let name = format!("{:?}.json", std::thread::current().id());
                folder.store(&name, "{}").unwrap();
            };
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(make);
                }
            });
        }
    }

    #[test]
    fn what_a_run_that_was_ended_has_not_given_away_is_given_then() {
        let directory = somebodys();
        let path = directory.path().join("a");
        let opened = IamDirectory::open(directory.path()).unwrap();
        fs::DirBuilder::new().create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let folder = opened.folder("a").unwrap();
        assert_eq!(owner_of(&path), owner_of(directory.path()));
        fs::write(path.join(".n"), "").unwrap();
        folder.count(".n").unwrap();
        assert_eq!(owner_of(&path.join(".n")), owner_of(directory.path()));
        assert_eq!(fs::read(path.join(".n")).unwrap(), b".");
    }

    /// The directory's owner can move and link files of root's that are not theirs.
    #[test]
    fn nothing_else_of_roots_is_given_away() {
        let directory = somebodys();
        let is_other = owner_of(directory.path()) != geteuid().as_raw();
        let opened = IamDirectory::open(directory.path()).unwrap();
        let roots = directory.path().join("roots");
        fs::create_dir(&roots).unwrap();
        fs::write(roots.join("secret"), "a secret").unwrap();
        fs::write(roots.join("empty"), "").unwrap();
        assert_eq!(opened.folder("roots").is_err(), is_other);
        let folder = opened.folder("a").unwrap();
        let path = directory.path().join("a");
        fs::hard_link(roots.join("secret"), path.join("secret")).unwrap();
        fs::hard_link(roots.join("empty"), path.join("empty")).unwrap();
        fs::write(roots.join("moved"), "a secret").unwrap();
        fs::rename(roots.join("moved"), path.join("moved")).unwrap();
        if is_other {
            for name in ["secret", "empty", "moved"] {
                let fault = folder.count(name).unwrap_err().to_string();
                assert!(
                    fault.starts_with(&format!("{name} could not be")),
                    "{fault}"
                );
                assert!(
                    fault.ends_with("it belongs to the user with id 0"),
                    "{fault}"
                );
                assert_eq!(owner_of(&path.join(name)), 0);
            }
            assert_eq!(fs::read(path.join("moved")).unwrap(), b"a secret");
        }
    }

    #[test]
    fn a_document_is_private_and_replaces_nothing_unless_asked() {
        let directory = tempfile::tempdir().unwrap();
        let opened = IamDirectory::open(directory.path()).unwrap();
        opened.store("a.json", "{}").unwrap();
        let path = directory.path().join("a.json");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let fault = opened.store("a.json", "[]").unwrap_err().to_string();
        assert!(
            fault.starts_with("a.json could not be stored in the IAM directory"),
            "{fault}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        opened.replace("a.json", "[]").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_private_and_no_link_leads_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let opened = IamDirectory::open(directory.path()).unwrap();
        let folder = opened.folder("a").unwrap();
        folder.store("b.json", "{}").unwrap();
        let path = directory.path().join("a");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert!(path.join("b.json").is_file());
        for _ in 0..3 {
            opened.folder("a").unwrap().count(".n").unwrap();
        }
        assert_eq!(folder.claim(".c"), Ok(true));
        assert_eq!(folder.claim(".c"), Ok(false));
        let counted = fs::metadata(path.join(".n")).unwrap();
        assert_eq!((counted.len(), counted.mode() & 0o7777), (3, 0o600));
        std::os::unix::fs::symlink(&path, directory.path().join("link")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        for name in ["link", "file"] {
            let fault = opened.folder(name).err().unwrap().to_string();
            assert!(
                fault.contains(&format!("/{name} cannot be used: ")),
                "{fault}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let fault = opened.folder("a").err().unwrap().to_string();
        assert!(
            fault.contains("can be written by others: chmod go-w "),
            "{fault}"
        );
    }
}
