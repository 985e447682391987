//! README.md and the pages in docs/: their links lead somewhere, their commands and programs are run by some test,
//! and the tests that they name exist.

mod commands;
#[cfg(test)]
mod fidelity;
#[cfg(test)]
mod links;
mod page;
mod programs;

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::workspace;
pub use programs::Tools;

/// Checks the commands of the documents, and runs those that are to be run, with the server's environment.
pub fn run(variables: &BTreeMap<String, OsString>, tools: &Tools) -> Result<()> {
    let all = commands::all()?;
    let mut problems = commands::uncovered(&all, &commands::list()?, workspace::root());
    problems.extend(programs::run(&all.run, variables, tools));
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
