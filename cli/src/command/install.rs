//! `dsql-iam install`: puts the extension's files into a PostgreSQL that is there.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::Report;
use crate::shared::postgres::Installation;

/// The version of the extension, which is the command's own.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the text in a library of ours begins with.
const MARK: &[u8] = b"dsql_iam library, version ";

/// What `dsql-iam install` takes.
#[derive(Args)]
#[command(after_help = "\
Example, in a checkout of dsql_iam:
  sudo dsql-iam install --pg-config /usr/lib/postgresql/15/bin/pg_config

It builds the library, unless --library names one, and copies it with its control file and scripts to
where that PostgreSQL looks for them. No server is changed or restarted: dsql-iam setup is next.")]
pub struct Arguments {
    /// The pg_config of the PostgreSQL [default: PG_CONFIG, else the one in PATH]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// A folder to put before all paths, for packages
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,

    /// The checkout of dsql_iam to build from
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,

    /// A library that was built for this PostgreSQL before
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// Installs, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<Report, String> {
    let installation = Installation::find(arguments.pg_config.as_deref())?;
    let source = &arguments.source;
    let control = source.join("dsql_iam.control");
    let control = fs::read_to_string(&control).map_err(|_| {
        format!(
            "{} is no checkout of dsql_iam: it has no dsql_iam.control; name one with --source",
            source.display()
        )
    })?;
    let given = match &arguments.library {
        Some(library) => Some(read_library(library, &installation)?),
        None => None,
    };
    let below = |path: &Path| match &arguments.destdir {
        Some(folder) => folder.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let (modules, extensions) = (
        below(&installation.modules),
        below(&installation.extensions),
    );
    // Before a build that takes minutes.
    for folder in [&modules, &extensions] {
        fs::create_dir_all(folder)
            .and_then(|()| tempfile::tempfile_in(folder).map(drop))
            .map_err(|error| denied(folder, &error))?;
    }
    let content = match given {
        Some(content) => content,
        None => read_library(&build(&installation, source)?, &installation)?,
    };
    let mut lines = Vec::new();
    put(&modules.join("dsql_iam.so"), &content, 0o755, &mut lines)?;
    let control = control.replace("@CARGO_VERSION@", VERSION);
    put(
        &extensions.join("dsql_iam.control"),
        control.as_bytes(),
        0o644,
        &mut lines,
    )?;
    let folder = source.join("sql");
    let scripts = fs::read_dir(&folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut scripts: Vec<PathBuf> = scripts.flatten().map(|entry| entry.path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();
    for script in scripts {
        let content = fs::read(&script)
            .map_err(|error| format!("{} cannot be read: {error}", script.display()))?;
        let name = script.file_name().unwrap_or_default();
        put(&extensions.join(name), &content, 0o644, &mut lines)?;
    }
    if arguments.destdir.is_none() {
        lines
            .push("next: dsql-iam setup --data DIR, with the data directory of your server".into());
    }
    Ok(lines.join("\n").into())
}

/// Reads a library, and makes sure that this PostgreSQL will load it: with any other in
/// `shared_preload_libraries` a server does not start.
fn read_library(path: &Path, installation: &Installation) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let content = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let Some((version, major)) = built_for(&content) else {
        return Err(format!(
            "{shown} is no library of dsql_iam: name a libdsql_iam.so that cargo built, or leave \
             --library out"
        ));
    };
    if major != installation.major {
        return Err(format!(
            "{shown} is built for PostgreSQL {major}, and {} is of PostgreSQL {}: name another of the two, \
             or leave --library out",
            installation.pg_config.display(),
            installation.major
        ));
    }
    if version != VERSION {
        return Err(format!(
            "{shown} is of dsql_iam {version}, and this command and its scripts are of {VERSION}: use those \
             of one version"
        ));
    }
    Ok(content)
}

/// The version of a library of ours, and the major version of PostgreSQL that it is built for, by the text
/// that `build.rs` of the library puts into it; `None` if it is none.
fn built_for(content: &[u8]) -> Option<(&str, u32)> {
    // A shared object: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html. A static library
    // has the text as well.
    let is_shared = matches!(content.get(16..18), Some([3, 0] | [0, 3]));
    if !content.starts_with(b"\x7fELF") || !is_shared {
        return None;
    }
    let mut places = memchr::memmem::find_iter(content, MARK);
    // This command is a shared object too, and has the mark alone.
    places.find_map(|place| {
        let text = &content[place + MARK.len()..];
        let text = std::str::from_utf8(text.split(|byte| *byte == 0).next()?).ok()?;
        let (version, major) = text.split_once(" for PostgreSQL ")?;
        Some((version, major.parse().ok()?))
    })
}

fn build(installation: &Installation, source: &Path) -> Result<PathBuf, String> {
    let major = installation.major;
    let header = installation.headers.join("postgres.h");
    if !header.is_file() {
        return Err(format!(
            "the PostgreSQL of {} has no server headers ({} is missing): install them (on Debian: \
             apt-get install postgresql-server-dev-{major}), or name a library that is built with \
             --library",
            installation.pg_config.display(),
            header.display()
        ));
    }
    let target = source.join("target").join(format!("pg{major}"));
    if io::stderr().is_terminal() {
        eprintln!("building the extension for PostgreSQL {major}, which takes some minutes");
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--release",
            // pgrx asks for a newer Rust than it needs: docs/decisions.md.
            "--ignore-rust-version",
            "--package",
            "dsql_iam",
            "--lib",
            "--no-default-features",
        ])
        .args(["--features", &format!("pg{major}"), "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("PGRX_PG_CONFIG_PATH", &installation.pg_config)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if !io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(target.join("release/libdsql_iam.so")),
        Ok(status) => Err(format!("cargo did not build the extension ({status})")),
        Err(error) => Err(format!(
            "cargo could not be started ({error}): install Rust (https://rustup.rs), or name a \
             library that is built with --library"
        )),
    }
}

/// Writes a file, unless it is there and the same. The new one takes the old one's place in one
/// step, since a running server may have that mapped.
fn put(path: &Path, content: &[u8], mode: u32, lines: &mut Vec<String>) -> Result<(), String> {
    if fs::read(path).is_ok_and(|found| found == content) {
        lines.push(format!("is there    {}", path.display()));
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        let permissions = fs::Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| denied(folder, &error))?;
    lines.push(format!("installed   {}", path.display()));
    Ok(())
}

fn denied(folder: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run it as the owner of that folder, mostly root",
        _ => "",
    };
    format!("{} cannot be written ({error}){advice}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::built_for;

    #[test]
    fn a_library_of_ours_says_what_it_is_built_for() {
        let library = |kind: [u8; 2], text: &str| {
            let mut content = b"\x7fELF\x02\x01\x01".to_vec();
            content.resize(16, 0);
            content.extend(kind);
            content.extend(b"\0\xffdsql_iam library, version \0");
            content.extend(text.as_bytes());
            content.extend(b"\0more");
            content
        };
        let ours = "dsql_iam library, version 0.1.0 for PostgreSQL 17";
        assert_eq!(built_for(&library([3, 0], ours)), Some(("0.1.0", 17)));
        assert_eq!(built_for(&library([0, 3], ours)), Some(("0.1.0", 17)));
        // An object file, an executable at a fixed place.
        for kind in [[1, 0], [2, 0]] {
            assert_eq!(built_for(&library(kind, ours)), None);
        }
        for text in [
            "",
            "dsql_iam library, version 0.1.0",
            "dsql_iam library, version 0.1.0 for PostgreSQL ",
            "dsql_iam library, version 0.1.0 for PostgreSQL 17x",
        ] {
            assert_eq!(built_for(&library([3, 0], text)), None, "{text}");
        }
        assert_eq!(built_for(ours.as_bytes()), None);
        assert_eq!(built_for(b"\x7fELF"), None);
        assert_eq!(built_for(b""), None);
    }
}
