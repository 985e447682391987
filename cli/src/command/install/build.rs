//! Building the library with cargo, never with root's rights in somebody else's checkout.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use crate::shared::error::Error;
use crate::shared::owner;
use crate::shared::postgres::Installation;

/// Builds the library in `source`, gives its path. `by_root` is the line that installs it afterwards.
///
/// # Errors
/// A sentence that says what to do.
pub fn build(installation: &Installation, source: &Path, by_root: &str) -> Result<PathBuf, Error> {
    let major = installation.major;
    let header = installation.headers.join("postgres.h");
    if !header.is_file() {
        return Err(format!(
            "the PostgreSQL of {} has no server headers ({} is missing): install them (on Debian: \
             apt-get install postgresql-server-dev-{major} libicu-dev), or name a library that is built with \
             --library",
            installation.pg_config.display(),
            header.display()
        )
        .into());
    }
    let builder = builder(source, by_root)?;
    let target = target(installation, source);
    if io::stderr().is_terminal() {
        eprintln!("building the extension for PostgreSQL {major}, which takes some minutes");
    }
    let mut cargo = cargo(builder.as_ref());
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "dsql_iam",
            "--lib",
            "--no-default-features",
            // pgrx asks for a newer Rust than it needs: docs/decisions.md.
            "--ignore-rust-version",
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
        Ok(status) if status.success() => Ok(library(installation, source)),
        Ok(status) => Err(format!("cargo did not build the extension ({status})").into()),
        Err(error) => Err(format!(
            "cargo could not be started ({error}): install Rust (https://rustup.rs); or, where another user \
             has it, build as that user, and then as root: {by_root}"
        ).into()),
    }
}

/// The library that [`build`] makes.
pub fn library(installation: &Installation, source: &Path) -> PathBuf {
    target(installation, source).join("release/libdsql_iam.so")
}

/// A folder for each version, since what one built is of no use to another.
fn target(installation: &Installation, source: &Path) -> PathBuf {
    source
        .join("target")
        .join(format!("pg{}", installation.major))
}

/// The user whom cargo runs as, where that is not the one who runs this. Root builds in a checkout of
/// root's. In that of the user who called sudo this user does; otherwise root would run that user's build
/// scripts, and leave files that this user cannot write.
fn builder(source: &Path, by_root: &str) -> Result<Option<User>, Error> {
    if !owner::is_root() {
        return Ok(None);
    }
    let manifest = source.join("Cargo.toml");
    let found = fs::metadata(&manifest)
        .map_err(|error| format!("{} cannot be read: {error}", manifest.display()))?;
    if found.uid() == 0 {
        return Ok(None);
    }
    let caller = std::env::var("SUDO_UID").ok();
    let caller = caller.and_then(|number| number.parse::<u32>().ok());
    let user = User::from_uid(Uid::from_raw(found.uid())).ok().flatten();
    match user {
        Some(user) if caller == Some(found.uid()) => Ok(Some(user)),
        user => Err(format!(
            "the checkout {} belongs to the user {}, and root does not build there: run dsql-iam install as \
             that user, which builds, and then as root: {by_root}",
            source.display(),
            user.map_or(found.uid().to_string(), |user| user.name)
        ).into()),
    }
}

/// Cargo, as this user or as the builder, whose home has Rust's toolchains.
fn cargo(builder: Option<&User>) -> Command {
    let named = std::env::var_os("CARGO").map(PathBuf::from);
    let Some(user) = builder else {
        return Command::new(named.unwrap_or_else(|| "cargo".into()));
    };
    // sudo's secure_path does not have the folder of rustup.
    let rustups = user.dir.join(".cargo/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let program = named.unwrap_or_else(|| {
        let beside = rustups.join("cargo");
        if beside.is_file() {
            beside
        } else {
            "cargo".into()
        }
    });
    let mut cargo = Command::new(program);
    // Of root's groups none goes along: with another user the standard library gives them up.
    cargo
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .env("HOME", &user.dir)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("PATH", format!("{}:{path}", rustups.display()));
    cargo
}
