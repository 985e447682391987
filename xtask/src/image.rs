//! The step `image`: the container image, built by a Docker engine, and containers of it.
//!
//! `tests/image/run.sh` starts an engine if there is none, makes stand-ins for the official images where those
//! cannot be pulled, builds the Dockerfile and runs `tests/image/test_image.py`. An image that the variable
//! `IMAGE` names is tested as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::unistd::geteuid;

use crate::{apt, run, workspace};

/// The version of PostgreSQL in the image: that of the Debian that the stand-in is made of, and the
/// Dockerfile's own.
const MAJOR: &str = "17";

/// Builds the image and tests it with the `python` that has the packages of the tests. Gives the reason if
/// that cannot be done here.
///
/// # Errors
/// The image is not built, or a test failed.
pub fn test(target: &Path, python: &Path) -> Result<Option<String>> {
    if !geteuid().is_root() {
        return Ok(Some(
            "only root can start an engine and make the images that it has no other way to get"
                .into(),
        ));
    }
    if let Err(error) = apt::DOCKER.install() {
        return Ok(Some(format!("{error:#}")));
    }
    apt::DEBOOTSTRAP.install()?;
    let folder = target.join("image");
    fs::create_dir_all(&folder)?;
    let mut test = Command::new("bash");
    test.arg(workspace::root().join("tests/image/run.sh"))
        .arg(&folder)
        .arg(python)
        .arg(MAJOR)
        .current_dir(workspace::root());
    run::run(&mut test)?;
    Ok(None)
}
