//! Cargo's tools that are not part of it, and installing those that the machine does not have.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{run, workspace};

/// A program `cargo-NAME` of crates.io: the one in `PATH`, or one of `version` in the target folder,
/// which is installed there.
pub fn installed(name: &str, version: &str, target: &Path) -> Result<PathBuf> {
    let crate_name = format!("cargo-{name}");
    if let Ok(found) = which::which(&crate_name) {
        return Ok(found);
    }
    let root = target.join("tools");
    let program = root
        .join("bin")
        .join(format!("{crate_name}{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        println!("installing {crate_name}, once, which takes some minutes");
        let mut install = workspace::cargo();
        install
            .args(["install", &crate_name, "--locked", "--version", version])
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(root.join("build"));
        run::run(&mut install).with_context(|| format!("{crate_name} could not be installed"))?;
    }
    Ok(program)
}
