//! A private copy of a PostgreSQL installation, with the extension in it.
//!
//! PostgreSQL finds its modules and its shared files relative to the real path of the program
//! `postgres`. So a copy of that one, with symbolic links to all the rest laid out in the same way
//! around it, is an installation of its own: no root is needed, and the system's is not touched.
//! The other programs are used from where they are.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::postgres::Postgres;
use crate::workspace;

/// The installed files.
pub struct Installed {
    /// The program `postgres` of the mirror.
    pub server: PathBuf,
    /// Whether anything that a running server uses is different from before.
    pub changed: bool,
}

/// Mirrors `postgres` below `into`, and puts the extension's `library`, control file and SQL
/// scripts there. Costs little if all of that is there already.
pub fn install(postgres: &Postgres, library: &Path, into: &Path) -> Result<Installed> {
    let prefix = common_ancestor(&[&postgres.bin, &postgres.pkglib, &postgres.share])
        .with_context(|| {
            let pg_config = postgres.pg_config.display();
            format!("the folders of {pg_config} have nothing in common, so it cannot be mirrored")
        })?;
    let mirrored = |path: &Path| {
        let below = path.strip_prefix(&prefix).expect("it is below the prefix");
        into.join(below)
    };
    let bin = mirrored(&postgres.bin);
    let pkglib = mirrored(&postgres.pkglib);
    let share = mirrored(&postgres.share);
    let extension = share.join("extension");
    for folder in [&bin, &pkglib, &extension] {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} could not be created", folder.display()))?;
    }

    let server = bin.join("postgres");
    let mut changed = copy(&postgres.bin.join("postgres"), &server, 0o755)?;
    changed |= copy(library, &pkglib.join(module_file_name()), 0o755)?;
    changed |= install_scripts(&extension)?;

    link_entries(&postgres.pkglib, &pkglib)?;
    link_entries(&postgres.share, &share)?;
    link_entries(&postgres.share.join("extension"), &extension)?;
    // An installation with a prefix of its own may have its libpq beside its programs.
    let shared_with_the_system = ["/usr", "/usr/local"].map(Path::new).contains(&&*prefix);
    if !shared_with_the_system && postgres.lib.starts_with(&prefix) {
        let lib = mirrored(&postgres.lib);
        fs::create_dir_all(&lib)?;
        link_entries(&postgres.lib, &lib)?;
    }
    Ok(Installed { server, changed })
}

/// The name under which PostgreSQL looks for the module `dsql_iam`.
fn module_file_name() -> String {
    format!("dsql_iam{}", std::env::consts::DLL_SUFFIX)
}

/// Installs the control file, with the version filled in, and each SQL script.
fn install_scripts(extension: &Path) -> Result<bool> {
    let root = workspace::root();
    let control = fs::read_to_string(root.join("dsql_iam.control"))
        .context("dsql_iam.control could not be read")?
        .replace("@CARGO_VERSION@", workspace::version());
    let mut changed = write(
        &extension.join("dsql_iam.control"),
        control.as_bytes(),
        0o644,
    )?;

    let mut scripts = 0;
    for entry in fs::read_dir(root.join("sql")).context("the folder sql could not be read")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("dsql_iam--") && name.ends_with(".sql") {
            changed |= copy(&path, &extension.join(&*name), 0o644)?;
            scripts += 1;
        }
    }
    if scripts == 0 {
        bail!("there is no sql/dsql_iam--*.sql to install");
    }
    Ok(changed)
}

/// Links each entry of one folder into another, except what is there already as something of our
/// own. Links to what no longer exists go away.
fn link_entries(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(into)? {
        let path = entry?.path();
        if path.is_symlink() && !path.exists() {
            fs::remove_file(path)?;
        }
    }
    let entries =
        fs::read_dir(from).with_context(|| format!("{} could not be read", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let link = into.join(entry.file_name());
        if link
            .symlink_metadata()
            .is_ok_and(|found| !found.is_symlink())
        {
            continue;
        }
        if fs::read_link(&link).is_ok_and(|target| target == entry.path()) {
            continue;
        }
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        symlink(entry.path(), &link)
            .with_context(|| format!("{} could not be linked", link.display()))?;
    }
    Ok(())
}

/// Copies a file if the copy is not there or differs; says whether it did.
fn copy(from: &Path, to: &Path, mode: u32) -> Result<bool> {
    let content =
        fs::read(from).with_context(|| format!("{} could not be read", from.display()))?;
    write(to, &content, mode)
}

/// Writes a file if it is not there or holds something else; says whether it did. The new file
/// takes the old one's place in one step: a running server may have the old one mapped.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    if fs::read(path).is_ok_and(|found| found == content) {
        return Ok(false);
    }
    let replace = || -> Result<()> {
        let folder = path.parent().context("it has no parent")?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    replace().with_context(|| format!("{} could not be written", path.display()))?;
    Ok(true)
}

/// The deepest folder that holds all of these; nothing if that is `/`.
fn common_ancestor(paths: &[&Path]) -> Option<PathBuf> {
    let (first, rest) = paths.split_first()?;
    first
        .ancestors()
        .find(|candidate| rest.iter().all(|path| path.starts_with(candidate)))
        .filter(|found| found.parent().is_some())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{common_ancestor, write};

    fn ancestor(paths: &[&str]) -> Option<PathBuf> {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        common_ancestor(&paths)
    }

    #[test]
    fn the_prefix_is_what_all_folders_share() {
        let debian = [
            "/usr/lib/postgresql/15/bin",
            "/usr/lib/postgresql/15/lib",
            "/usr/share/postgresql/15",
        ];
        assert_eq!(ancestor(&debian), Some("/usr".into()));
        let own = ["/opt/pg/bin", "/opt/pg/lib", "/opt/pg/share"];
        assert_eq!(ancestor(&own), Some("/opt/pg".into()));
        assert_eq!(ancestor(&["/usr/bin", "/opt/lib"]), None);
    }

    #[test]
    fn a_file_that_holds_the_same_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(write(&file, b"one", 0o600).unwrap());
        assert!(!write(&file, b"one", 0o600).unwrap());
        assert!(write(&file, b"two", 0o600).unwrap());
        assert_eq!(std::fs::read(file).unwrap(), b"two");
    }
}
