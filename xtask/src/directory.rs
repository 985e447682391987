//! The folder that holds everything `up` makes, and the paths in it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::account::Account;

/// A socket's path has to fit into 107 bytes, on some systems into 103.
const LONGEST_SOCKET_PATH: usize = 100;

/// The folder of one server. Its path is absolute and has no symbolic links.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens the folder at `path`, and makes it if it is not there.
    ///
    /// The server's user has to get into it. Where it cannot, a folder below `own`, which is
    /// cargo's target folder, becomes a symbolic link to one in `/var/lib`; any other is the user's
    /// choice, and an error.
    pub fn open(path: &Path, own: &Path, account: &Account) -> Result<Self> {
        let path = std::path::absolute(path)?;
        check_name(&path)?;
        if let Ok(target) = fs::read_link(&path) {
            make(&path.parent().unwrap_or(Path::new("/")).join(target))?;
        }
        make(&path)?;
        let root = fs::canonicalize(&path)?;
        if !account.is_other() || account.can_enter(&root) {
            return Ok(Self { root });
        }
        let own = fs::canonicalize(own).unwrap_or(own.to_owned());
        if !root.starts_with(own) {
            bail!(
                "the server runs as the user {}, who cannot get into {}: give another --dir, or \
                 let others through each folder of its path (chmod o+x)",
                account.name,
                root.display()
            );
        }
        let elsewhere = elsewhere(&path);
        make(&elsewhere)?;
        fs::remove_dir(&path).with_context(|| {
            let (path, elsewhere) = (path.display(), elsewhere.display());
            format!("{path} is not empty, so it cannot become a link to {elsewhere}")
        })?;
        symlink(&elsewhere, &path)?;
        Self::existing(&path)
    }

    /// The folder at `path`, which has to be there.
    pub fn existing(path: &Path) -> Result<Self> {
        let root = fs::canonicalize(path)
            .with_context(|| format!("there is no server in {}", path.display()))?;
        Ok(Self { root })
    }

    /// The folder that `open` gave for `path`: there, or elsewhere if the link to it has gone with
    /// cargo's target folder. Nothing if there is none.
    pub fn find(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        Self::existing(&path)
            .or_else(|_| Self::existing(&elsewhere(&path)))
            .ok()
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's data directory.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The mirrored PostgreSQL installation, with the extension in it.
    pub fn installation(&self) -> PathBuf {
        self.root.join("pg")
    }

    /// The certificate authority, and the server's certificate and key.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// The IAM documents.
    pub fn iam(&self) -> PathBuf {
        self.root.join("iam")
    }

    /// The AWS profiles of the sample identities.
    pub fn aws(&self) -> PathBuf {
        self.root.join("aws")
    }

    /// The log of a detached server.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The script that sets a shell up for this server.
    pub fn environment(&self) -> PathBuf {
        self.root.join("env.sh")
    }

    /// The values that `up` remembers.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Makes the folder of the Unix socket, gives its path. It is `run`, or, if that path is too
    /// long for a socket or holds a comma, which is where libpq splits a list of hosts, a private one
    /// in the system's folder for temporary files.
    pub fn sockets(&self, account: &Account) -> Result<PathBuf> {
        let near = self.root.join("run");
        let length = near.as_os_str().len() + "/.s.PGSQL.65535".len();
        if length <= LONGEST_SOCKET_PATH && !near.as_os_str().as_bytes().contains(&b',') {
            account.directory(&near, 0o700)?;
            return Ok(near);
        }
        let far = self.far_sockets();
        match fs::create_dir(&far) {
            Ok(()) => account.own(&far, 0o700)?,
            // Only our own: somebody else could have made it first, to listen in our place.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(&far)?;
                let data = fs::metadata(self.data())?;
                if !found.is_dir() || found.uid() != data.uid() || found.mode() & 0o077 != 0 {
                    bail!("{} belongs to somebody else: remove it", far.display());
                }
            }
            Err(error) => bail!("{} could not be created: {error}", far.display()),
        }
        Ok(far)
    }

    fn far_sockets(&self) -> PathBuf {
        std::env::temp_dir().join(format!("dsql-iam-{}", short_hash(&self.root)))
    }

    /// Takes the lock that keeps two `cargo xtask` from working on one folder at a time. It lasts
    /// as long as the file that this gives.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.root.join("lock");
        let file = fs::File::create(&path)
            .with_context(|| format!("{} could not be opened", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another cargo xtask in {}", self.root.display());
            file.lock()?;
        }
        Ok(file)
    }

    /// Removes whatever an earlier `up` left at `path`, through its symbolic link.
    pub fn remove(path: &Path) -> Result<()> {
        if let Some(directory) = Self::find(path) {
            for folder in [&directory.root, &directory.far_sockets()] {
                match fs::remove_dir_all(folder) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        bail!("{} could not be removed: {error}", folder.display())
                    }
                    _ => {}
                }
            }
        }
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// PostgreSQL's own pg_ctl puts paths between double quotes and hands them to a shell, so what a
/// shell sees through these cannot be part of it. Settings are lines of text.
fn check_name(path: &Path) -> Result<()> {
    let Some(text) = path.to_str() else {
        bail!("{} is not UTF-8: give another --dir", path.display());
    };
    if let Some(found) = text.chars().find(|found| "\"$`\\\n\r".contains(*found)) {
        bail!("PostgreSQL cannot run from a folder with {found:?} in its path: give another --dir");
    }
    Ok(())
}

/// Makes a folder that others may pass through; what is private in it has a mode of its own.
fn make(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("{} could not be created", path.display()))
}

/// Where the server's user can get into, in place of a folder that it cannot enter.
fn elsewhere(path: &Path) -> PathBuf {
    Path::new("/var/lib/dsql-iam").join(short_hash(path))
}

/// A short name that stands for a path.
fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    HEXLOWER.encode(&digest[..8])
}
