//! `cargo xtask test`: every test there is, in order, and a table of what came of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::directory::Directory;
use crate::server::{self, Options};
use crate::{core, environment, in_server, prerequisites, readme, run, up, workspace};

/// What `test` takes.
#[derive(Args)]
pub struct Arguments {
    /// Run only these; the server is started for those that need it
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<Name>,

    /// The pg_config of the PostgreSQL to test with [default: PGRX_PG_CONFIG_PATH, else one that is
    /// found]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// Write what the in-server tests print into their expected files, instead of comparing; the
    /// same for what the library changes in PostgreSQL's own suite
    #[arg(long)]
    accept: bool,

    /// Fail, rather than skip the step `core`, if the source of PostgreSQL's own suite is not there
    #[arg(long)]
    core: bool,

    /// The folder of PostgreSQL's source, for the step `core` [default: downloaded, on Debian]
    #[arg(long, value_name = "PATH")]
    postgres_source: Option<PathBuf>,
}

/// The steps, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The unit tests of the crates that need no server
    Unit,
    /// A fresh server for the steps that follow
    Server,
    /// SQL run by the superuser, compared with what it should print
    InServer,
    /// End to end, with Python's clients and signer
    Python,
    /// End to end, with node's clients and signer
    Node,
    /// End to end, with Rust's clients and signer
    Rust,
    /// The commands of README.md
    Readme,
    /// The end of the server
    Down,
    /// PostgreSQL's own regression suite, on servers of its own
    Core,
}

/// The ports of the test server: away from where people have theirs.
const FIRST_PORT: u16 = 15432;

/// The longest that a step may take, in seconds: one that hangs should not cost CI its hour.
const STEP_LIMIT: &str = "1200";

/// What the steps share.
struct Suite {
    target: PathBuf,
    directory: PathBuf,
    pg_config: PathBuf,
    accept: bool,
    /// The source of PostgreSQL, if the user named it.
    source: Option<PathBuf>,
    /// Whether `core` may be skipped.
    core_is_optional: bool,
    /// The variables of the server's `env.sh`, and those that tell tests where things are; nothing
    /// until the server is up.
    variables: Option<BTreeMap<String, OsString>>,
}

/// What came of a step.
enum Outcome {
    Passed,
    Failed,
    /// With the reason.
    Skipped(&'static str),
}

impl Name {
    fn needs_server(self) -> bool {
        !matches!(self, Self::Unit | Self::Server | Self::Down | Self::Core)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no step is hidden");
        formatter.pad(value.get_name())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Failed => formatter.write_str("FAILED"),
            Self::Skipped(reason) => write!(formatter, "skipped, since {reason}"),
        }
    }
}

/// Runs the steps; an error if any of them failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let steps = chosen(&arguments.only);
    let target = workspace::target_directory()?;
    let mut suite = Suite {
        directory: target.join("test-server"),
        target,
        pg_config: prerequisites::postgres(arguments.pg_config.as_deref())?.pg_config,
        accept: arguments.accept,
        source: arguments.postgres_source.clone(),
        core_is_optional: !arguments.core && !arguments.only.contains(&Name::Core),
        variables: None,
    };

    let mut results = Vec::new();
    for step in steps {
        println!("\n=== {step} ===");
        let start = Instant::now();
        let outcome = if step.needs_server() && suite.variables.is_none() {
            Outcome::Skipped("there is no server")
        } else {
            match suite.run(step) {
                Ok(outcome) => outcome,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    Outcome::Failed
                }
            }
        };
        results.push((step, start.elapsed(), outcome));
    }
    conclude(&results)
}

/// The steps to run for `--only`: those, and the server's start and end if one of them needs it.
fn chosen(only: &[Name]) -> Vec<Name> {
    let all = Name::value_variants().iter().copied();
    if only.is_empty() {
        return all.collect();
    }
    let server = only
        .iter()
        .any(|step| step.needs_server() || *step == Name::Server);
    all.filter(|step| match step {
        Name::Server | Name::Down => server,
        step => only.contains(step),
    })
    .collect()
}

/// Prints the table and the closing line.
fn conclude(results: &[(Name, Duration, Outcome)]) -> Result<()> {
    println!();
    for (step, time, outcome) in results {
        println!("{step:<10} {:>7.1} s  {outcome}", time.as_secs_f64());
    }
    let count = |wanted: fn(&Outcome) -> bool| {
        results
            .iter()
            .filter(|(_, _, outcome)| wanted(outcome))
            .count()
    };
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let skipped_too = match skipped {
        0 => String::new(),
        number => format!(", {number} skipped"),
    };
    println!("\n{passed} passed, {failed} failed{skipped_too}");
    if failed > 0 {
        bail!("not all tests passed");
    }
    Ok(())
}

impl Suite {
    fn run(&mut self, step: Name) -> Result<Outcome> {
        match step {
            Name::Unit => unit(),
            Name::Server => self.server(),
            Name::InServer => in_server::run(self.variables(), self.accept),
            Name::Python => self.python(),
            Name::Node => self.node(),
            Name::Rust => self.rust(),
            Name::Readme => readme::run(self.variables()),
            Name::Down => up::stop(&self.directory),
            Name::Core => return self.core(),
        }?;
        Ok(Outcome::Passed)
    }

    /// Runs PostgreSQL's own suite, if its source can be had.
    fn core(&self) -> Result<Outcome> {
        let postgres = prerequisites::postgres(Some(&self.pg_config))?;
        let source = match core::source(self.source.as_deref(), &postgres, &self.target) {
            Ok(source) => source,
            Err(error) if self.core_is_optional => {
                eprintln!("{error:#}");
                return Ok(Outcome::Skipped("there is no source of PostgreSQL"));
            }
            Err(error) => return Err(error),
        };
        core::run(&source, postgres, &self.target, self.accept)?;
        Ok(Outcome::Passed)
    }

    fn variables(&self) -> &BTreeMap<String, OsString> {
        self.variables
            .as_ref()
            .expect("steps that need it run only if it is there")
    }

    /// Starts a server in a fresh folder.
    fn server(&mut self) -> Result<()> {
        up::stop(&self.directory)?;
        Directory::remove(&self.directory)?;
        up::start_detached(&Options {
            dir: Some(self.directory.clone()),
            port: Some(server::free_port(FIRST_PORT)?),
            pg_config: Some(self.pg_config.clone()),
            release: false,
        })?;
        let mut variables: BTreeMap<String, OsString> =
            environment::read(&self.directory.join("env.sh"))?
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
        variables.insert("XTASK".into(), std::env::current_exe()?.into());
        variables.insert("WORKSPACE".into(), workspace::root().into());
        variables.insert("PG_CONFIG".into(), self.pg_config.clone().into());
        self.variables = Some(variables);
        Ok(())
    }

    /// Runs pytest in a virtual environment, which is made anew only if the requirements changed.
    fn python(&self) -> Result<()> {
        prerequisites::python()?;
        let tests = workspace::root().join("tests/python");
        let environment = self.target.join("test-python");
        let requirements = tests.join("requirements.txt");
        once(
            &requirements,
            &environment.join("installed-requirements.txt"),
            || {
                let mut venv = Command::new("python3");
                run::run(venv.args(["-m", "venv", "--clear"]).arg(&environment))?;
                let mut pip = Command::new(environment.join("bin/pip"));
                run::run(
                    pip.args(["install", "--quiet", "--requirement"])
                        .arg(&requirements),
                )
            },
        )?;
        let mut pytest = self.client(environment.join("bin/python"));
        run::run(pytest.args(["-m", "pytest", "-q"]).arg(&tests))
    }

    /// Runs node's own test runner, after `npm ci` if the lock file changed.
    fn node(&self) -> Result<()> {
        prerequisites::node()?;
        let tests = workspace::root().join("tests/node");
        let stamp = tests.join("node_modules/.installed-package-lock.json");
        once(&tests.join("package-lock.json"), &stamp, || {
            let mut npm = Command::new("npm");
            run::run(
                npm.args(["ci", "--no-audit", "--no-fund"])
                    .current_dir(&tests),
            )
        })?;
        run::run(
            self.client("node")
                .args(["--test", "--test-timeout=60000"])
                .current_dir(&tests),
        )
    }

    /// Runs the end-to-end tests in Rust.
    fn rust(&self) -> Result<()> {
        let cargo = workspace::cargo();
        let mut test = self.client(cargo.get_program());
        run::run(test.args(["test", "--package", "dsql-iam-e2e"]))
    }

    /// A command that knows the server, and that ends as failed if it hangs.
    fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "--kill-after=10", STEP_LIMIT])
            .arg(program)
            .current_dir(workspace::root())
            .envs(self.variables());
        command
    }
}

fn unit() -> Result<()> {
    let packages = [
        "--package",
        "dsql-iam-core",
        "--package",
        "dsql-iam",
        "--package",
        "xtask",
    ];
    run::run(workspace::cargo().arg("test").args(packages))
}

/// Runs an installation unless it ran for the same input before: `stamp` holds a copy of that.
fn once(input: &Path, stamp: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let content = fs::read(input).with_context(|| format!("{} is missing", input.display()))?;
    if fs::read(stamp).is_ok_and(|installed| installed == content) {
        return Ok(());
    }
    install()?;
    // npm makes no folder where there is nothing to install.
    fs::create_dir_all(stamp.parent().context("the stamp has no folder")?)?;
    fs::write(stamp, content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[Name]) -> String {
        let names: Vec<String> = chosen(only).iter().map(Name::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn a_step_brings_the_server_it_needs() {
        assert_eq!(names(&[Name::Unit]), "unit");
        assert_eq!(names(&[Name::Rust]), "server rust down");
        assert_eq!(names(&[Name::Core]), "core");
        assert_eq!(
            names(&[]),
            "unit server in-server python node rust readme down core"
        );
    }

    #[test]
    fn an_installation_runs_once_for_each_input() {
        let folder = tempfile::tempdir().unwrap();
        let (input, stamp) = (folder.path().join("input"), folder.path().join("stamp"));
        let mut times = 0;
        for content in ["one", "one", "two"] {
            fs::write(&input, content).unwrap();
            once(&input, &stamp, || {
                times += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(times, 2);
    }
}
