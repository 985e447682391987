//! `cargo xtask reproducible`: the library is built twice, in two folders, and has to be the same.
//! Being there, it is looked at for what it must not use.
//!
//! docs/engineering.md says how others repeat the build.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::postgres::Postgres;
use crate::{prerequisites, run, workspace};

/// The folders: of different length, for a path that is left in the library moves what is behind it.
const FOLDERS: [&str; 2] = ["once", "and-once-more"];

/// The functions that take a program onto the network. The server talks to its clients itself; the library has no
/// business there.
const NETWORK: [&str; 10] = [
    "socket",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "getaddrinfo",
    "gethostbyname",
];

/// The arguments of `reproducible`.
#[derive(Args)]
pub struct Arguments {
    /// The pg_config of the PostgreSQL to build for [default: PGRX_PG_CONFIG_PATH, else one that is
    /// found]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,
}

/// Runs `reproducible`, and prints the library's SHA-256.
pub fn run(arguments: &Arguments) -> Result<()> {
    let postgres = prerequisites::postgres(arguments.pg_config.as_deref())?;
    let target = workspace::target_directory()?.join("reproducible");
    let libraries = FOLDERS.map(|name| build(&target.join(name), &postgres));
    let [first, second] = libraries;
    let (first, second) = (first?, second?);
    if fs::read(&first)? != fs::read(&second)? {
        bail!(
            "{} and {} differ, though they were built from the same sources",
            first.display(),
            second.display()
        );
    }
    let mut symbols = Command::new("nm");
    let symbols = run::output(symbols.args(["-D", "--undefined-only", "-P"]).arg(&first))?;
    let used = imports(&symbols).filter(|name| NETWORK.contains(name));
    let used: Vec<&str> = used.collect();
    if !used.is_empty() {
        bail!("the library uses the network: {}", used.join(", "));
    }
    let sum = run::output(Command::new("sha256sum").arg(&first))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    println!("two builds in two folders gave the same library: {sum}");
    Ok(())
}

/// Builds the library in a copy of the sources, and gives its path.
fn build(folder: &Path, postgres: &Postgres) -> Result<PathBuf> {
    let source = folder.join("source");
    copy_sources(&source)?;
    // Paths of the machine are no part of the library.
    let mut flags = OsString::new();
    let mut c_flags = OsString::new();
    for (path, name) in [(folder, "/build"), (&cargo_home()?, "/cargo")] {
        for (option, flags) in [
            ("--remap-path-prefix=", &mut flags),
            ("-ffile-prefix-map=", &mut c_flags),
        ] {
            flags.push(option);
            flags.push(path);
            flags.push(format!("={name} "));
        }
    }
    println!("building in {}", source.display());
    let built = folder.join("built");
    let mut build = workspace::cargo();
    build
        .current_dir(&source)
        .args(["build", "--quiet", "--release", "--locked"])
        .arg(workspace::IGNORE_RUST_VERSION)
        .args(["--package", "dsql_iam", "--lib", "--no-default-features"])
        .args(["--features", &postgres.feature(), "--target-dir"])
        .arg(&built)
        .env("PGRX_PG_CONFIG_PATH", &postgres.pg_config)
        .env("SOURCE_DATE_EPOCH", "1")
        .env("RUSTFLAGS", flags)
        .env("CFLAGS", c_flags);
    run::run(&mut build).context("the library was not built")?;
    Ok(built.join("release").join(workspace::library_file()))
}

/// The names that a library takes from others, as `nm -P` prints them, without their versions.
fn imports(symbols: &str) -> impl Iterator<Item = &str> {
    symbols
        .lines()
        .filter_map(|line| line.split([' ', '@']).next())
}

/// Puts the sources that git knows, as they are now, into an empty folder.
fn copy_sources(to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut list = Command::new("git");
    list.current_dir(workspace::root())
        .args(["ls-files", "-z", "--cached"]);
    let files = run::output(&mut list).context("git could not list the sources")?;
    for file in files.split_terminator('\0') {
        let copy = to.join(file);
        fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
        fs::copy(workspace::root().join(file), &copy)
            .with_context(|| format!("{file} could not be copied"))?;
    }
    Ok(())
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_without_their_versions() {
        let printed =
            "connect@GLIBC_2.2.5 U         \npalloc U         \n__errno_location@GLIBC_2.2.5 U\n";
        let names: Vec<&str> = imports(printed).collect();
        assert_eq!(names, ["connect", "palloc", "__errno_location"]);
        assert_eq!(
            names.iter().filter(|name| NETWORK.contains(name)).count(),
            1
        );
    }
}
