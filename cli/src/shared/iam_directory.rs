//! Writing documents into an IAM directory: private, whole, and for its owner.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use dsql_iam_core::directory::{self, LoadError};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, linkat, openat, renameat, unlinkat};

use super::owner;

/// An IAM directory, which stays open: files are made, given to its owner and removed by their names in
/// it. Its owner may lead the path elsewhere meanwhile, and whoever runs this may be root.
pub struct IamDirectory<'d> {
    path: &'d Path,
    directory: OwnedFd,
}

impl<'d> IamDirectory<'d> {
    /// Opens the directory. Where root has a directory of its own, nobody else may have led there.
    ///
    /// # Errors
    /// A sentence that names the directory.
    pub fn open(path: &'d Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| {
            let path = path.to_owned();
            LoadError::Directory { path, error }.to_string()
        };
        let directory = directory::open(path).map_err(|fault| fault.to_string())?;
        let found = fstat(&directory).map_err(|error| failed(error.into()))?;
        if owner::is_root() && found.st_uid == 0 {
            let canonical = fs::canonicalize(path).map_err(failed)?;
            owner::check_roots(&canonical)?;
            let there = fs::symlink_metadata(&canonical).map_err(failed)?;
            if (there.dev(), there.ino()) != (found.st_dev, found.st_ino) {
                return Err(format!(
                    "the IAM directory {} was put somewhere else meanwhile: try again",
                    path.display()
                ));
            }
        }
        Ok(Self { path, directory })
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
    pub fn store(&self, name: &str, document: &str) -> Result<(), String> {
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
    pub fn replace(&self, name: &str, document: &str) -> Result<(), String> {
        let unfinished = self.write(name, document)?;
        renameat(&self.directory, &*unfinished, &self.directory, name)
            .map_err(|error| self.not_stored(name, &error.into()))
    }

    /// Writes a file that does not count yet, gives its name.
    fn write(&self, name: &str, document: &str) -> Result<String, String> {
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

    fn fill(&self, mut file: File, name: &str, document: &str) -> Result<(), String> {
        let not_stored = |error| self.not_stored(name, &error);
        let owner = fstat(&self.directory).map_err(|error| not_stored(error.into()))?;
        let own = file.metadata().map_err(not_stored)?;
        if own.uid() != owner.st_uid {
            fchown(&file, Some(owner.st_uid), Some(owner.st_gid)).map_err(|_| {
                format!(
                    "the IAM directory {} belongs to the user with id {}, who has to be able to read \
                     its documents: run this as that user, or as root",
                    self.path.display(),
                    owner.st_uid
                )
            })?;
        }
        file.write_all(document.as_bytes()).map_err(not_stored)?;
        file.sync_all().map_err(not_stored)
    }

    fn not_stored(&self, name: &str, error: &std::io::Error) -> String {
        let directory = self.path.display();
        format!("{name} could not be stored in the IAM directory {directory}: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_private_and_replaces_nothing_unless_asked() {
        let directory = tempfile::tempdir().unwrap();
        let opened = IamDirectory::open(directory.path()).unwrap();
        opened.store("a.json", "{}").unwrap();
        let path = directory.path().join("a.json");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let fault = opened.store("a.json", "[]").unwrap_err();
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
}
