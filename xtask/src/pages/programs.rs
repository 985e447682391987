//! Runs the blocks whose info string says `run` as they stand: `sh`, and programs in `python`, `js`, `rust`, `java`
//! and `go`, which have to print the ARN of the profile `admin`, to show that they connected.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::commands::Program;
use crate::cluster::ACCOUNT_ID;
use crate::{run, workspace};

/// The tools that run the programs.
pub struct Tools {
    /// Python with the packages of the tests.
    pub python: PathBuf,
    /// Why node cannot run its programs, if it cannot.
    pub without_node: Option<String>,
    /// Why Go cannot run its programs, if it cannot.
    pub without_go: Option<String>,
    /// pgjdbc.
    pub jdbc_driver: PathBuf,
    /// Where the programs in Rust are built.
    pub target: PathBuf,
    /// The major version of the server.
    pub major: u32,
}

/// Runs those that are for this server's version and whose language is there; gives a sentence for each failure.
pub fn run(
    programs: &[Program],
    variables: &BTreeMap<String, OsString>,
    tools: &Tools,
) -> Vec<String> {
    let mut problems = Vec::new();
    for program in programs {
        println!("\n```{}\n{}```", program.language, program.code);
        if program.since > tools.major {
            println!("skipped, since it needs PostgreSQL {}", program.since);
            continue;
        }
        let without = match &*program.language {
            "js" => &tools.without_node,
            "go" => &tools.without_go,
            _ => &None,
        };
        if let Some(reason) = without {
            println!("skipped: {reason}");
            continue;
        }
        if let Err(error) = run_program(program, variables, tools) {
            problems.push(format!("{error:#}, running:\n{}", program.code));
        }
    }
    problems
}

/// Runs a block; a program has to print the ARN.
fn run_program(
    program: &Program,
    variables: &BTreeMap<String, OsString>,
    tools: &Tools,
) -> Result<()> {
    let root = workspace::root();
    // Makes the cluster's name lead here, as the pages say that a line in /etc/hosts does.
    let hosts = root.join("tests/docs");
    let folder = tempfile::tempdir().context("no folder for the program")?;
    let mut command = match program.language.as_str() {
        "sh" => {
            let mut bash = Command::new("bash");
            bash.args(["-euo", "pipefail", "-c", &program.code])
                .current_dir(root)
                .envs(variables);
            return run::run(&mut bash);
        }
        "python" => {
            let mut python = Command::new(&tools.python);
            python.args(["-c", &program.code]).env("PYTHONPATH", &hosts);
            python
        }
        "js" => {
            let mut node = Command::new("node");
            node.arg("--import")
                .arg(hosts.join("hosts.mjs"))
                .args(["--input-type=module", "--eval", &program.code])
                .current_dir(root.join("tests/node"));
            node
        }
        "rust" => Command::new(build_rust(program, &tools.target.join("documents"))?),
        "java" => {
            let source = folder.path().join("Connect.java");
            fs::write(&source, &program.code)?;
            let mut java = Command::new("java");
            java.arg("--class-path").arg(&tools.jdbc_driver).arg(source);
            java.env("PGPASSWORD", admin_token(variables)?);
            java
        }
        "go" => {
            let source = folder.path().join("main.go");
            fs::write(&source, &program.code)?;
            let mut go = Command::new("go");
            // With the modules of the tests.
            go.arg("run").arg(source).current_dir(root.join("tests/go"));
            go
        }
        other => bail!("nothing here runs blocks of the language {other:?}"),
    };
    command.envs(variables).env("AWS_PROFILE", "admin");
    let printed = run::output(&mut command)?;
    let arn = format!("arn:aws:iam::{ACCOUNT_ID}:user/dba");
    if !printed.contains(&arn) {
        bail!("it did not print {arn}, but {printed:?}");
    }
    Ok(())
}

/// A token for `admin`, which the pages give pgjdbc as its password.
fn admin_token(variables: &BTreeMap<String, OsString>) -> Result<String> {
    let mut bash = Command::new("bash");
    bash.args(["-c", "dsql-iam token --admin --hostname \"$PGHOST\""])
        .envs(variables)
        .env("AWS_PROFILE", "admin");
    Ok(run::output(&mut bash)?.trim_end().to_owned())
}

/// Builds a program in a package of its own, so that the dependencies it shows are those it gets; gives
/// the path of the program.
fn build_rust(program: &Program, folder: &Path) -> Result<PathBuf> {
    if program.dependencies.is_empty() {
        bail!("there is no block of toml with its dependencies before it");
    }
    let package = folder.join("package");
    fs::create_dir_all(package.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"connect\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.dev]\ndebug = false\nincremental = false\n\n{}",
        program.dependencies
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::write(package.join("src/main.rs"), &program.code)?;
    // The versions of the workspace, as far as they go.
    fs::copy(
        workspace::root().join("Cargo.lock"),
        package.join("Cargo.lock"),
    )?;
    let mut build = workspace::cargo();
    build
        .args(["build", "--quiet", "--target-dir"])
        .arg(folder)
        .current_dir(&package);
    run::output(&mut build)?;
    Ok(folder.join("debug/connect"))
}
