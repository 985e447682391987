//! The workspace itself: where it is, where its builds go, and how its parts are built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result};

use crate::postgres::Postgres;
use crate::run;

/// The folder that holds the root `Cargo.toml`: of the checkout whose cargo runs this.
///
/// Cargo says where that is. It is not always the one that this was compiled in: cargo compiles nothing
/// anew in a checkout that was moved or copied.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let compiled_in = || env!("CARGO_MANIFEST_DIR").into();
        let said = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = said.filter(|folder| is_this_package(folder));
        let mut root = package.unwrap_or_else(compiled_in);
        root.pop();
        root
    });
    &ROOT
}

/// Whether a folder is this package's, of any checkout: another cargo's may have left the variable.
fn is_this_package(folder: &Path) -> bool {
    folder.ends_with("xtask") && folder.join("../dsql_iam.control").exists()
}

/// A `cargo` command, run in the workspace's root with the cargo that runs this program.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Where builds go: `CARGO_TARGET_DIR` and cargo's configuration are honoured, since cargo is asked.
pub fn target_directory() -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let json = run::output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Metadata =
        serde_json::from_str(&json).context("the output of cargo metadata could not be read")?;
    Ok(metadata.target_directory)
}

/// The version of the extension, which is the version of every package of the workspace.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The option of cargo that every build of the extension needs: pgrx asks for a Rust newer than the one
/// that it is built with here (docs/decisions.md).
pub const IGNORE_RUST_VERSION: &str = "--ignore-rust-version";

/// The options of cargo for what is given to others: with optimisation, of the crates that `Cargo.lock` names.
const RELEASE: [&str; 2] = ["--release", "--locked"];

/// Cargo, told which PostgreSQL to build against. Each major version has its own target folder:
/// one shared folder would be rebuilt at each change of version.
pub fn cargo_for(postgres: &Postgres, subcommand: &str, target: &Path) -> Command {
    let mut command = cargo();
    command
        .args([subcommand, IGNORE_RUST_VERSION, "--target-dir"])
        .arg(target.join(postgres.feature()))
        .env("PGRX_PG_CONFIG_PATH", &postgres.pg_config);
    command
}

/// Builds the extension for one PostgreSQL, gives the path of the library.
pub fn build_extension(postgres: &Postgres, target: &Path, release: bool) -> Result<PathBuf> {
    let mut build = cargo_for(postgres, "build", target);
    build
        .args(["--package", "dsql_iam", "--lib", "--no-default-features"])
        .args(["--features", &postgres.feature()]);
    if release {
        build.args(RELEASE);
    }
    run::run(&mut build).context("the extension was not built")?;

    let profile = if release { "release" } else { "debug" };
    let folder = target.join(postgres.feature()).join(profile);
    Ok(folder.join(library_file()))
}

/// The name that cargo gives the extension's library.
pub fn library_file() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}dsql_iam{DLL_SUFFIX}")
}

/// Builds the command `dsql-iam`, gives the folder that holds it.
pub fn build_command(target: &Path) -> Result<PathBuf> {
    build_command_as(target, false)
}

/// Builds the command `dsql-iam`, with optimisation or without, gives the folder that holds it.
pub fn build_command_as(target: &Path, release: bool) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "dsql-iam"]);
    if release {
        build.args(RELEASE);
    }
    run::run(&mut build).context("the command dsql-iam was not built")?;
    Ok(target.join(if release { "release" } else { "debug" }))
}
