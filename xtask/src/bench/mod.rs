//! `cargo xtask bench`: what authenticating costs, as ratios taken side by side in one run.
//!
//! One cluster, started by turns without the library (`trust`, `password` and SCRAM-SHA-256, which are
//! PostgreSQL's own) and with it. Each figure is the median of its rounds. Machines are noisy, so
//! what counts is the ratio, not the number. The parts of a login are measured by Criterion, in
//! `iam/benches` and `server/benches`.

mod flood;
mod memory;
mod processes;
mod report;
mod sessions;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::account::{Account, without_pg_variables};
use crate::cluster::{ACCOUNT_ID, REGION};
use crate::directory::Directory;
use crate::server::{self, Options, Server};
use crate::{environment, mirror, ports, prerequisites, run, workspace};
use report::{Figures, WORDS};

/// The arguments of `bench`.
#[derive(Args)]
pub struct Arguments {
    /// How often each figure is taken
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each takes, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// The pg_config of the PostgreSQL to use [default: PGRX_PG_CONFIG_PATH, else one that is found]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// Measure only these
    #[arg(long, value_name = "WHAT", num_args = 1..)]
    only: Vec<Subject>,

    /// How long the flood of bad logins lasts, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    flood_seconds: u32,

    /// Write the tables to docs/performance.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// The subject of the measurement.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Logins and queries, with the library and without
    Logins,
    /// Good logins beside bad ones
    Flood,
    /// The parts of a login, in one process
    Parts,
}

impl Arguments {
    fn wants(&self, subject: Subject) -> bool {
        self.only.is_empty() || self.only.contains(&subject)
    }
}

/// The ports of the server: away from where people, and the tests, have theirs.
const FIRST_PORT: u16 = 25432;
/// The role that connects, and its SCRAM password.
const ROLE: &str = "bench";
/// How many roles and managed policies the large directory holds, and how many mappings there are.
const ENTITIES: usize = 5_000;
const MAPPINGS: usize = 10_000;
/// The length of the long session token.
const LONG_TOKEN: usize = 4_096;

/// An expression full of words that the lexer asks its table of keywords about.
const WORDY: &str = "SELECT relname AS aws, relkind AS iam, relpages AS pages, reltuples AS tuples, \
    relnatts AS attributes, relchecks AS checks, relowner AS owner, reltype AS type_of \
    FROM pg_class AS aws WHERE relname = 'pg_class' AND relkind = 'r' AND relnatts > 0;\n";

/// The white space behind a word at the end of a line: the hook looks past it for `IAM`.
const INDENT: &str = "\n            ";

/// Runs it and prints the tables.
pub fn run(arguments: &Arguments) -> Result<()> {
    let target = workspace::target_directory()?;
    let mut tables = String::new();
    if arguments.wants(Subject::Logins) || arguments.wants(Subject::Flood) {
        tables += &of_server(arguments, &target)?;
    }
    if arguments.wants(Subject::Parts) {
        tables += &report::of_parts(&target)?;
    }
    println!("\n{tables}");
    if arguments.write {
        let path = workspace::root().join("docs/performance.md");
        let page = fs::read_to_string(&path)?;
        fs::write(&path, report::page(&page, &tables, &machine(arguments)?)?)?;
        println!("written to docs/performance.md");
    }
    Ok(())
}

/// The tables of what is measured on a server.
fn of_server(arguments: &Arguments, target: &Path) -> Result<String> {
    let dir = target.join("bench-server");
    server::stop_in(&dir)?;
    Directory::remove(&dir)?;
    let server = Server::prepare(&Options {
        dir: Some(dir.clone()),
        port: Some(ports::free(FIRST_PORT)?),
        pg_config: arguments.pg_config.clone(),
        release: true,
        plain: true,
        ..Options::default()
    })?;
    let bench = Bench {
        variables: environment::read(&dir.join("env.sh"))?,
        scripts: tempfile::tempdir()?,
        server,
        arguments,
    };
    let tables = bench.tables();
    bench.server.stop()?;
    tables
}

struct Bench<'a> {
    server: Server,
    variables: BTreeMap<String, String>,
    scripts: tempfile::TempDir,
    arguments: &'a Arguments,
}

impl Bench<'_> {
    fn tables(&self) -> Result<String> {
        let hour = self.prepare()?;
        let mut tables = String::new();
        if self.arguments.wants(Subject::Logins) {
            let (rounds, seconds) = (self.arguments.rounds, self.arguments.seconds);
            tables += &report::of_logins(&self.measure(&hour)?, rounds, seconds);
        }
        if self.arguments.wants(Subject::Flood) {
            tables += &self.flood()?;
        }
        Ok(tables)
    }

    /// Good logins, and then the same beside bad ones. Log and audit file are as they are where nobody has set anything
    /// but the audit file's name.
    fn flood(&self) -> Result<String> {
        self.superuser(&[
            "ALTER SYSTEM RESET log_min_messages",
            "ALTER SYSTEM SET dsql_iam.max_logged_refusals = 0",
            "ALTER SYSTEM SET dsql_iam.audit_file = 'audit.json'",
        ])?;
        self.restart(true)?;
        let data = self.server.directory.data();
        let pid_file = fs::read_to_string(data.join("postmaster.pid"))?;
        let pid = pid_file.lines().next().context("no postmaster")?;
        let token = self.token(&[("AWS_PROFILE", "example")])?;
        let denied = self.token(&[("AWS_PROFILE", "denied")])?;
        let target = flood::Target {
            port: self.server.port(),
            role: ROLE,
            token: &token,
            denied: &denied,
            files: [&self.server.directory.log(), &data.join("audit.json")],
            postmaster: pid.trim().parse()?,
        };
        let time = Duration::from_secs(self.arguments.flood_seconds.into());
        println!("good logins, then beside bad ones");
        // A first run pays for one-time setup. Without a bound on its lines it begins no minute of the one to come.
        flood::run(&target, Duration::from_secs(2), true)?;
        self.superuser(&[
            "ALTER SYSTEM SET dsql_iam.max_logged_refusals = 60",
            "SELECT pg_reload_conf()",
        ])?;
        let idle = flood::run(&target, time, false)?;
        let flood = flood::run(&target, time, true)?;
        Ok(flood::table(&idle, &flood))
    }

    fn measure(&self, hour: &str) -> Result<Figures> {
        let mut figures = Figures::new();
        for round in 1..=self.arguments.rounds {
            println!("round {round} of {}", self.arguments.rounds);
            let mut take = |name, value| figures.entry(name).or_default().push(value);

            self.restart(false)?;
            for (trust, password, scram, tls) in [
                ("trust, TLS", "password, TLS", "SCRAM, TLS", true),
                ("trust", "password", "SCRAM", false),
            ] {
                take(trust, self.connections("bench_trust", "", tls)?);
                take(password, self.connections("bench_password", "bench", tls)?);
                take(scram, self.connections(ROLE, "bench", tls)?);
            }
            take(
                "pgbench -S without",
                self.throughput(&["--builtin=select-only"])?,
            );
            take(
                "words without",
                self.throughput(&[&self.script("wordy.sql", WORDY)?])?,
            );
            for (name, word, blank) in [
                ("identifiers without", "word", " "),
                ("aws without", "aws", " "),
                ("indented without", "aws", INDENT),
            ] {
                take(name, self.throughput(&[&self.many_words(word, blank)?])?);
            }
            take("memory without", self.idle_memory("bench_trust", "")?);

            self.restart(true)?;
            let token = self.token(&[("AWS_PROFILE", "example")])?;
            take("IAM, TLS", self.connections(ROLE, &token, true)?);
            take("IAM", self.connections(ROLE, &token, false)?);
            take(
                "pgbench -S with",
                self.throughput(&["--builtin=select-only"])?,
            );
            take(
                "words with",
                self.throughput(&[&self.script("wordy.sql", WORDY)?])?,
            );
            for (name, word, blank) in [
                ("identifiers with", "word", " "),
                ("aws with", "aws", " "),
                ("indented with", "aws", INDENT),
            ] {
                take(name, self.throughput(&[&self.many_words(word, blank)?])?);
            }
            take("memory with", self.idle_memory(ROLE, &token)?);

            let long = self.long_token()?;
            take(
                "IAM, long session token",
                self.connections(ROLE, &long, false)?,
            );
            self.mappings(true)?;
            take(
                "IAM, 10,000 mappings",
                self.connections(ROLE, &token, false)?,
            );
            self.mappings(false)?;
            let session = self.document("example-session.json")?;
            let stored = self.token_of(&session, &sessions::id(hour, 0))?;
            take("IAM, a session", self.connections(ROLE, &stored, false)?);
            self.use_directory(&self.large_directory())?;
            take(
                "IAM, large directory",
                self.connections(ROLE, &token, false)?,
            );
            self.use_directory(&self.directory_of_sessions())?;
            take(
                "IAM, one of 50,000 sessions",
                self.connections(ROLE, &stored, false)?,
            );
            self.use_directory(&self.directory())?;
            for (name, directory) in [
                ("assume-role", self.directory()),
                ("assume-role, 50,000 sessions", self.directory_of_sessions()),
            ] {
                let time = Duration::from_secs(self.arguments.seconds.into());
                let mut command = self.assume_role(&directory)?;
                take(name, sessions::begun_a_second(&mut command, time)?);
            }
        }
        Ok(figures)
    }

    /// Roles, tables, documents, and the hba lines for the server without the library. Gives the hour in which the
    /// stored sessions end.
    fn prepare(&self) -> Result<String> {
        let hba = self.server.directory.data().join("pg_hba.conf");
        let lines = fs::read_to_string(&hba)?
            + "host postgres bench_trust all trust\nhost postgres bench all scram-sha-256\n\
               host postgres bench_password all password\n";
        mirror::write(&hba, lines.as_bytes(), 0o600)?;
        Account::find()?.own(&hba, 0o600)?;
        self.server.start_detached()?;
        self.server.create_extension()?;
        let role = format!("arn:aws:iam::{ACCOUNT_ID}:role/example");
        self.superuser(&[
            "CREATE ROLE bench_trust LOGIN",
            "CREATE ROLE bench LOGIN PASSWORD 'bench'",
            // MD5 takes no time, so that what is left is the exchange.
            "SET password_encryption = 'md5'",
            "CREATE ROLE bench_password LOGIN PASSWORD 'bench'",
            &format!("AWS IAM GRANT bench TO '{role}'"),
            "ALTER SYSTEM SET dsql_iam.require_tls = off",
            "ALTER SYSTEM SET log_min_messages = fatal",
            "ALTER SYSTEM SET log_connections = off",
            "ALTER SYSTEM SET log_disconnections = off",
        ])?;
        let mut load = self.program("pgbench");
        load.args(["--initialize", "--quiet", "--scale=10"])
            .arg(&self.variables["DSQL_SUPERUSER"]);
        run::output(&mut load)?;
        self.write_documents()
    }

    /// A session with a long token in the directory in force, and a large directory and one of many sessions beside it.
    /// Gives the hour in which these end.
    fn write_documents(&self) -> Result<String> {
        let small = self.directory();
        let session = self.document("example-session.json")?;
        let mut long = session.clone();
        long["Credentials"]["AccessKeyId"] = "ASIABENCHBENCHBENCHB".into();
        long["Credentials"]["SessionToken"] = "x".repeat(LONG_TOKEN).into();
        let others = [self.large_directory(), self.directory_of_sessions()];
        let account = Account::find()?;
        for other in &others {
            account.directory(other, 0o700)?;
        }
        let write = |path: PathBuf, document: &Value| -> Result<()> {
            mirror::write(&path, document.to_string().as_bytes(), 0o600)?;
            account.own(&path, 0o600)
        };
        write(small.join("long-session.json"), &long)?;
        for entry in fs::read_dir(&small)? {
            let path = entry?.path();
            if path.is_dir() {
                continue;
            }
            let name = path.file_name().context("a document has no name")?;
            let document = serde_json::from_slice(&fs::read(&path)?)?;
            for other in &others {
                write(other.join(name), &document)?;
            }
        }
        let [large, many] = others;
        write(large.join("many.json"), &many_entities())?;
        let hour = sessions::hour(&mut self.assume_role(&small)?)?;
        sessions::store(&small, &many, &hour, &session)?;
        Ok(hour)
    }

    /// The directory that is in force unless another is measured.
    fn directory(&self) -> PathBuf {
        PathBuf::from(&self.variables["DSQL_IAM_DIRECTORY"])
    }

    fn large_directory(&self) -> PathBuf {
        self.server.directory.root().join("iam-large")
    }

    fn directory_of_sessions(&self) -> PathBuf {
        self.server.directory.root().join("iam-sessions")
    }

    fn use_directory(&self, directory: &Path) -> Result<()> {
        let directory = directory.display();
        self.superuser(&[
            &format!("ALTER SYSTEM SET dsql_iam.iam_directory = '{directory}'"),
            "SELECT pg_reload_conf()",
        ])
    }

    fn mappings(&self, are_there: bool) -> Result<()> {
        let (function, source) = if are_there {
            let arn = format!("'arn:aws:iam::{ACCOUNT_ID}:role/bench-' || i");
            (
                format!("sys.iam_grant('bench', {arn})"),
                format!("generate_series(1, {MAPPINGS}) i"),
            )
        } else {
            (
                "sys.iam_revoke('bench', arn)".into(),
                "sys.iam_pg_role_mappings WHERE arn LIKE '%bench-%'".into(),
            )
        };
        self.superuser(&[&format!("SELECT count({function}) FROM {source}")])
    }

    fn restart(&self, with_library: bool) -> Result<()> {
        let library = if with_library { "dsql_iam" } else { "plpgsql" };
        self.superuser(&[&format!(
            "ALTER SYSTEM SET shared_preload_libraries = {library}"
        )])?;
        self.server.stop()?;
        self.server.start_detached()
    }

    fn superuser(&self, statements: &[&str]) -> Result<()> {
        let mut psql = self.program("psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
        ])
        .arg(&self.variables["DSQL_SUPERUSER"]);
        for statement in statements {
            psql.args(["--command", statement]);
        }
        run::output(&mut psql).map(drop)
    }

    /// One of PostgreSQL's programs, from where `env.sh` has them.
    fn program(&self, name: &str) -> Command {
        let mut command = without_pg_variables(self.server.programs().join(name));
        command.env(
            "PGSSLROOTCERT",
            self.variables.get("PGSSLROOTCERT").map_or("", |v| v),
        );
        command
    }

    fn token(&self, variables: &[(&str, &str)]) -> Result<String> {
        let mut command = self.dsql_iam()?;
        command
            .args(["token", "--hostname", "localhost", "--region", REGION])
            .args(["--expires-in", "604800"])
            .envs(variables.iter().copied());
        Ok(run::output(&mut command)?.trim().to_owned())
    }

    /// The command `dsql-iam`, with the profiles of `env.sh`.
    fn dsql_iam(&self) -> Result<Command> {
        let folder = workspace::build_command(&workspace::target_directory()?)?;
        let mut command = Command::new(folder.join("dsql-iam"));
        for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            command.env(name, &self.variables[name]);
        }
        Ok(command)
    }

    /// The command that begins a session of the role, and stores it in this directory.
    fn assume_role(&self, directory: &Path) -> Result<Command> {
        let role = format!("arn:aws:iam::{ACCOUNT_ID}:role/example");
        let mut command = self.dsql_iam()?;
        command
            .args(["assume-role", "--profile", "admin", "--role-arn", &role])
            .args(["--role-session-name", "bench", "--iam-directory"])
            .arg(directory);
        Ok(command)
    }

    fn long_token(&self) -> Result<String> {
        let session = self.document("long-session.json")?;
        let id = session["Credentials"]["AccessKeyId"].as_str();
        self.token_of(&session, id.unwrap_or_default())
    }

    /// A token with the credentials of a session, but for the id of its access key.
    fn token_of(&self, session: &Value, access_key_id: &str) -> Result<String> {
        let text = |name: &str| session["Credentials"][name].as_str().unwrap_or_default();
        self.token(&[
            ("AWS_ACCESS_KEY_ID", access_key_id),
            ("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey")),
            ("AWS_SESSION_TOKEN", text("SessionToken")),
        ])
    }

    /// A document of the directory in force.
    fn document(&self, name: &str) -> Result<Value> {
        let path = self.directory().join(name);
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// New connections a second, four clients at a time.
    fn connections(&self, role: &str, password: &str, tls: bool) -> Result<f64> {
        let mut pgbench = self.program("pgbench");
        pgbench
            .args(["--no-vacuum", "--connect", "--client=4", "--jobs=2"])
            .arg(format!("--time={}", self.arguments.seconds))
            .arg(format!(
                "--file={}",
                self.script_path("one.sql", "SELECT 1;\n")?
            ))
            .args(["--host=localhost", "--username", role])
            .arg(format!("--port={}", self.server.port()))
            .arg("postgres")
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", if tls { "verify-full" } else { "disable" });
        tps(&run::output(&mut pgbench)?)
    }

    /// Queries a second over two connections that stay.
    fn throughput(&self, what: &[&str]) -> Result<f64> {
        let mut pgbench = self.program("pgbench");
        pgbench
            .args(["--no-vacuum", "--client=2", "--jobs=2"])
            .arg(format!("--time={}", self.arguments.seconds))
            .args(what)
            .arg(&self.variables["DSQL_SUPERUSER"]);
        tps(&run::output(&mut pgbench)?)
    }

    fn script_path(&self, name: &str, text: &str) -> Result<String> {
        let path = self.scripts.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A query in which the lexer asks about many words, each with `blank` behind it, and little else is
    /// done.
    fn many_words(&self, word: &str, blank: &str) -> Result<String> {
        let condition = vec![format!("{word}{blank}IS NULL"); WORDS].join(" OR ");
        // The first part alone is looked at when it runs.
        let query =
            format!("SELECT 1 FROM (SELECT 1 AS {word}) w WHERE false AND ({condition});\n");
        self.script(&format!("{word}.sql"), &query)
    }

    fn script(&self, name: &str, text: &str) -> Result<String> {
        Ok(format!("--file={}", self.script_path(name, text)?))
    }
}

/// As `aws iam get-account-authorization-details` prints it: roles with a managed policy each.
fn many_entities() -> Value {
    let mut roles = Vec::new();
    let mut policies = Vec::new();
    for number in 0..ENTITIES {
        let policy = format!("arn:aws:iam::{ACCOUNT_ID}:policy/bench-{number}");
        roles.push(json!({
            "Path": "/", "RoleName": format!("bench-{number}"), "RoleId": format!("AROA{number}"),
            "Arn": format!("arn:aws:iam::{ACCOUNT_ID}:role/bench-{number}"),
            "RolePolicyList": [], "Tags": [], "InstanceProfileList": [],
            "AttachedManagedPolicies": [{"PolicyName": format!("bench-{number}"), "PolicyArn": policy}],
        }));
        policies.push(json!({
            "PolicyName": format!("bench-{number}"), "PolicyId": format!("ANPA{number}"),
            "Arn": policy, "Path": "/", "DefaultVersionId": "v1",
            "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": true, "Document": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow", "Action": ["dsql:DbConnect", "s3:Get*"],
                    "Resource": [format!("arn:aws:dsql:{REGION}:{ACCOUNT_ID}:cluster/bench{number}"), "arn:aws:s3:::bucket/*"],
                }],
            }}],
        }));
    }
    json!({"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": roles, "Policies": policies})
}

/// The figure in `tps = 123.4 (…)`.
fn tps(printed: &str) -> Result<f64> {
    let figure = printed.lines().find_map(|line| {
        line.strip_prefix("tps = ")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    match figure {
        Some(figure) if figure > 0.0 => Ok(figure),
        _ => bail!("pgbench gave no figure:\n{printed}"),
    }
}

/// The machine and the PostgreSQL that are measured.
fn machine(arguments: &Arguments) -> Result<String> {
    let postgres = prerequisites::postgres(arguments.pg_config.as_deref())?;
    let version = run::output(Command::new(&postgres.pg_config).arg("--version"))?;
    let cores = std::thread::available_parallelism()?;
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    Ok(format!(
        "Taken on a machine with {cores} cores ({processor}), {}.",
        version.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_understood() {
        let printed = "latency average = 9.1 ms\ntps = 438.25 (including reconnection times)\n";
        assert_eq!(tps(printed).unwrap(), 438.25);
        assert!(tps("pgbench: error").is_err());
    }
}
