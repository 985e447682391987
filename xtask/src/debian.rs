//! A Debian in a folder, entered as a machine of its own: with a layer above it that is thrown away, so that the
//! Debian is the same at the next time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{apt, run, workspace};

/// Where Debian comes from.
const ARCHIVE: &str = "http://deb.debian.org/debian";

/// The file inside that is written when it was brought up to date.
const UPDATED: &str = "var/lib/dsql-iam-updated";

/// The folder inside that holds the files of a test.
const FILES: &str = "test";

/// A release of Debian.
#[derive(Clone, Copy)]
pub struct Release {
    /// Its name
    pub name: &'static str,
    /// The version of PostgreSQL that it has
    pub major: u32,
}

/// The releases whose security updates are made still.
pub const RELEASES: [Release; 2] = [
    Release {
        name: "bookworm",
        major: 15,
    },
    Release {
        name: "trixie",
        major: 17,
    },
];

impl Release {
    /// That of this machine, if it is one of these.
    pub fn of_this_machine() -> Option<Self> {
        let system = fs::read_to_string("/etc/os-release").ok()?;
        let name = system
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
        RELEASES.into_iter().find(|release| release.name == name)
    }

    /// A Debian of this release with PostgreSQL, made once, in the target folder, and brought up to date each day: with
    /// the minor release that security updates brought, as the one that the library is built with has it. A library
    /// takes functions from the server that older minor releases lack.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn with_postgres(self, target: &Path) -> Result<PathBuf> {
        let root = target.join(format!("debian-{}", self.name));
        let package = format!("postgresql-{}", self.major);
        make(&root, self.name, &package, bring_up_to_date)?;
        if is_older_than_a_day(&root.join(UPDATED)) {
            println!("bringing Debian's {} up to date", self.name);
            if let Err(error) = bring_up_to_date(&root) {
                println!("it stays as it was: {error:#}");
            }
        }
        Ok(root)
    }
}

/// Makes a Debian with further packages, separated by commas, which `finish` completes. The folder appears when it is
/// whole, and one that is there already is left as it is. Its apt knows the security updates as well, as that of an
/// installed one does, and reaches the archive by this machine's resolver.
///
/// # Errors
/// If there is no debootstrap, no network for it, or `finish` fails.
pub fn make(
    root: &Path,
    release: &str,
    packages: &str,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    apt::DEBOOTSTRAP.install()?;
    let new = root.with_extension("new");
    let _ = fs::remove_dir_all(&new);
    println!("making a Debian, once, which takes some minutes");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", "--include", packages, release])
        .arg(&new)
        .arg(ARCHIVE);
    run::output(&mut debootstrap)?;
    fs::write(
        new.join("etc/apt/sources.list"),
        format!("deb {ARCHIVE} {release} main\ndeb {ARCHIVE}-security {release}-security main\n"),
    )?;
    fs::copy("/etc/resolv.conf", new.join("etc/resolv.conf"))?;
    finish(&new)?;
    fs::rename(&new, root)?;
    Ok(())
}

/// Whether a file was last written more than a day ago, or is not there.
fn is_older_than_a_day(file: &Path) -> bool {
    let written = fs::metadata(file).and_then(|about| about.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    age.is_none_or(|age| age > Duration::from_secs(24 * 60 * 60))
}

/// Installs the security updates in a Debian. No service is started there.
fn bring_up_to_date(root: &Path) -> Result<()> {
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    let mut update = Command::new("chroot");
    update
        .arg(root)
        .args([
            "sh",
            "-ec",
            "trap 'rm -f /usr/sbin/policy-rc.d' EXIT
             printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
             chmod 755 /usr/sbin/policy-rc.d
             apt-get -qq update
             apt-get -qq --yes dist-upgrade",
        ])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive");
    run::output(&mut update)?;
    fs::write(root.join(UPDATED), "")?;
    Ok(())
}

/// Whether a Debian in this folder can be entered. It cannot in a container that may not mount, nor on a file system
/// that is an overlay itself.
///
/// # Errors
/// If not, with the reason.
pub fn can_be_entered_in(folder: &Path) -> Result<()> {
    let layer = Layer::new_in(folder)?;
    let empty = tempfile::tempdir_in(folder)?;
    for name in ["proc", "dev"] {
        fs::create_dir(empty.path().join(name))?;
    }
    run::output(&mut layer.enter(empty.path()))?;
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
