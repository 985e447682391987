//! Writing documents into an IAM directory: private, whole, and for its owner.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use dsql_iam_core::directory::{self, LoadError};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, renameat, unlinkat};
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

    /// The folder of this name in it, which is made if it is not there: private, and its owner's.
    ///
    /// # Errors
    /// A sentence, if it cannot be made or opened, is another user's, or others can write it.
    pub fn folder(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let failed = |error: Errno| -> Error {
            format!("the folder {} cannot be used: {error}", path.display()).into()
        };
        let is_new = match mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, name, flags, Mode::empty()).map_err(failed)?;
        let owner = fstat(&self.directory).map_err(failed)?;
        if is_new {
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

    /// Adds a byte to a file of the directory's owner, which is made if it is not there.
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
        self.give_to_owner(&file, &owner)?;
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
        let unfinished = format!(".{name}.new");
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
