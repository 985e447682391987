//! `cargo xtask test --arch arm64`: the extension, built for 64-bit Arm and tested under qemu, on x86-64.
//!
//! `tests/arm64/run.sh` makes a Debian unstable in the target folder, with a cross compiler and PyPI's
//! PostgreSQL for Arm, and runs there the tests that depend on the architecture: statements, refusals, the
//! lexer, sessions, servers without the syntax, and the unit tests of `iam`.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use nix::unistd::geteuid;

use crate::{apt, fetched, run, workspace};

/// An architecture other than the machine's.
#[derive(Clone, Copy, ValueEnum)]
pub enum Arch {
    /// 64-bit Arm, by qemu's emulation of its programs
    Arm64,
}

/// Runs the tests with each of these major versions of PostgreSQL.
///
/// # Errors
/// If the machine is of another kind, or a test failed.
pub fn test(majors: &[u32]) -> Result<()> {
    if let Some(major) = majors.iter().find(|major| !fetched::is_in_pypi(**major)) {
        bail!(
            "PyPI, which has the PostgreSQL for this, has no {major} yet: name older ones with --pg"
        );
    }
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "this is for Linux on x86-64: on 64-bit Arm leave --arch out, and the tests run as they are"
    );
    ensure!(
        geteuid().is_root(),
        "only root can make a Debian of its own and have the kernel run programs for Arm by qemu"
    );
    apt::DEBOOTSTRAP.install()?;
    let root = workspace::target_directory()?.join("arm64-root");
    for major in majors {
        let mut tests = Command::new("bash");
        tests
            .arg(workspace::root().join("tests/arm64/run.sh"))
            .arg(workspace::root())
            .arg(major.to_string())
            .arg(&root);
        run::run(&mut tests)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::test;

    #[test]
    fn a_version_that_pypi_does_not_have_is_refused() {
        let fault = test(&[19, 18]).unwrap_err().to_string();
        assert!(fault.contains("has no 19 yet: name older ones with --pg"));
    }
}
