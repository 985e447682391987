//! A Debian in a folder, entered as a machine of its own: with a layer above it that is thrown away, so that the
//! Debian is the same at the next time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::workspace;

/// Where Debian comes from.
pub const ARCHIVE: &str = "http://deb.debian.org/debian";

/// The folder inside that holds the files of a test.
const FILES: &str = "test";

/// Has the apt of a Debian know its security updates as well, as that of an installed one does, and reach the
/// archive by this machine's resolver.
///
/// # Errors
/// If a file cannot be written.
pub fn set_up_apt(root: &Path, release: &str) -> Result<()> {
    let lines =
        format!("deb {ARCHIVE} {release} main\ndeb {ARCHIVE}-security {release}-security main\n");
    fs::write(root.join("etc/apt/sources.list"), lines)?;
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    Ok(())
}

/// All that is written in a Debian, until this is dropped.
pub struct Layer(TempDir);

impl Layer {
    /// An empty one, in a folder on a file system that can be an overlay's upper one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new_in(folder: &Path) -> Result<Self> {
        let layer = tempfile::tempdir_in(folder)?;
        // The users of that Debian go through it.
        fs::set_permissions(layer.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["upper", "work", "root"] {
            let made = layer.path().join(name);
            fs::create_dir(&made)?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self(layer))
    }

    /// The folder that lies above the Debian's `/`.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("upper")
    }

    /// The folder that is `/test` inside.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn files(&self) -> Result<PathBuf> {
        let files = self.path().join(FILES);
        fs::create_dir_all(&files)?;
        Ok(files)
    }

    /// Copies files, which keep their names, into `/test`.
    ///
    /// # Errors
    /// If one cannot be copied.
    pub fn bring(&self, files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let into = self.files()?;
        for file in files {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(&file, into.join(name))
                .with_context(|| format!("{} could not be copied", file.display()))?;
        }
        Ok(())
    }

    /// A command that runs the words added to it inside, as root and with nothing of this process's environment.
    /// All that they start is gone when they end.
    pub fn enter(&self, debian: &Path) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "bash"])
            .arg(workspace::root().join("tests/enter.sh"))
            .args([debian, self.0.path()])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command
    }
}
