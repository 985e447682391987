//! `cargo xtask bench`: what authenticating costs, as ratios taken side by side in one run.
//!
//! Two servers with the same roles and tables: one without the library (`trust`, `password` and SCRAM-SHA-256, which are
//! PostgreSQL's own), one with it. Each round takes every figure once, for `--seconds`, those that are compared one after
//! the other, and every other round takes them backwards, but for those that need other documents or mappings: a machine
//! whose speed changes within minutes is as fast for both.
//! The parts of a login are measured by Criterion, in `iam/benches` and `server/benches`.

mod flood;
mod memory;
mod processes;
mod report;
mod sessions;
mod side;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::account::Account;
use crate::cluster::{ACCOUNT_ID, REGION};
use crate::{mirror, prerequisites, run, workspace};
use report::{Figures, WORDS};
use side::{ROLE, Side};

/// The arguments of `bench`.
#[derive(Args)]
pub struct Arguments {
    /// How often each figure is taken
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each takes, in seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
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

/// The tables of what is measured on servers.
fn of_server(arguments: &Arguments, target: &Path) -> Result<String> {
    let dir = target.join("bench-server");
    let side = |name| {
        Side::new(
            &dir.join(name),
            arguments.pg_config.clone(),
            arguments.seconds,
        )
    };
    let bench = Bench {
        program: workspace::build_command(target)?.join("dsql-iam"),
        with: side("with")?,
        without: side("without")?,
        arguments,
    };
    bench.tables()
}

struct Bench<'a> {
    /// The command `dsql-iam`.
    program: PathBuf,
    with: Side,
    without: Side,
    arguments: &'a Arguments,
}

/// The tokens of the logins that are measured.
struct Tokens {
    example: String,
    /// With a long session token.
    long: String,
    /// Of a session that is stored alone, and beside many.
    stored: String,
}

impl Bench<'_> {
    fn tables(&self) -> Result<String> {
        self.without.leave_library_out()?;
        let tokens = self.prepare()?;
        let mut tables = String::new();
        if self.arguments.wants(Subject::Logins) {
            let (rounds, seconds) = (self.arguments.rounds, self.arguments.seconds);
            tables += &report::of_logins(&self.measure(&tokens)?, rounds, seconds);
        }
        if self.arguments.wants(Subject::Flood) {
            self.without.server.stop()?;
            tables += &self.flood(&tokens)?;
        }
        Ok(tables)
    }

    /// Good logins, and then the same beside bad ones. Log and audit file are as they are where nobody has set anything
    /// but the audit file's name.
    fn flood(&self, tokens: &Tokens) -> Result<String> {
        self.with.superuser(&[
            "ALTER SYSTEM RESET log_min_messages",
            "ALTER SYSTEM SET dsql_iam.max_logged_refusals = 0",
            "ALTER SYSTEM SET dsql_iam.audit_file = 'audit.json'",
        ])?;
        self.with.restart()?;
        let directory = &self.with.server.directory;
        let denied = self.token(&[("AWS_PROFILE", "denied")])?;
        let target = flood::Target {
            port: self.with.server.port(),
            role: ROLE,
            token: &tokens.example,
            denied: &denied,
            files: [&directory.log(), &directory.data().join("audit.json")],
            postmaster: self.with.postmaster()?,
        };
        let time = Duration::from_secs(self.arguments.flood_seconds.into());
        println!("good logins, then beside bad ones");
        // A first run pays for one-time setup. Without a bound on its lines it begins no minute of the one to come.
        flood::run(&target, Duration::from_secs(2), true)?;
        self.with.superuser(&[
            "ALTER SYSTEM SET dsql_iam.max_logged_refusals = 60",
            "SELECT pg_reload_conf()",
        ])?;
        let idle = flood::run(&target, time, false)?;
        let flood = flood::run(&target, time, true)?;
        Ok(flood::table(&idle, &flood))
    }

    fn measure(&self, tokens: &Tokens) -> Result<Figures> {
        let mut figures = Figures::default();
        for round in 1..=self.arguments.rounds {
            println!("round {round} of {}", self.arguments.rounds);
            let is_backwards = round % 2 == 0;
            self.measure_logins(tokens, is_backwards, &mut figures)?;
            self.measure_queries(is_backwards, &mut figures)?;
            self.measure_much(tokens, &mut figures)?;
            let memory = self.without.idle_memory("bench_trust", "")?;
            figures.add("memory without", memory);
            let memory = self.with.idle_memory(ROLE, &tokens.example)?;
            figures.add("memory with", memory);
        }
        Ok(figures)
    }

    /// Logins by PostgreSQL's methods and by IAM.
    fn measure_logins(
        &self,
        tokens: &Tokens,
        is_backwards: bool,
        figures: &mut Figures,
    ) -> Result<()> {
        let (with, without) = (&self.with, &self.without);
        let mut logins = [
            ("SCRAM, TLS", without, ROLE, "bench", true),
            ("trust, TLS", without, "bench_trust", "", true),
            ("IAM, TLS", with, ROLE, &tokens.example, true),
            ("password, TLS", without, "bench_password", "bench", true),
            ("SCRAM", without, ROLE, "bench", false),
            ("trust", without, "bench_trust", "", false),
            ("IAM", with, ROLE, &tokens.example, false),
            ("password", without, "bench_password", "bench", false),
            ("IAM, long session token", with, ROLE, &tokens.long, false),
            ("IAM, a session", with, ROLE, &tokens.stored, false),
        ];
        if is_backwards {
            logins.reverse();
        }
        for (name, side, role, password, tls) in logins {
            let connections = side.connections(role, password, tls)?;
            figures.add(name, connections.rate);
            figures.add(&report::faults(name), connections.each.faults);
            figures.add(&report::processor_time(name), connections.each.time);
        }
        Ok(())
    }

    /// Queries without the library and with it.
    fn measure_queries(&self, is_backwards: bool, figures: &mut Figures) -> Result<()> {
        let mut sides = [("without", &self.without), ("with", &self.with)];
        if is_backwards {
            sides.reverse();
        }
        for (name, script) in [
            ("pgbench -S", None),
            ("words", Some(WORDY.to_owned())),
            ("identifiers", Some(many_words("word", " "))),
            ("aws", Some(many_words("aws", " "))),
            ("indented", Some(many_words("aws", INDENT))),
        ] {
            for (which, side) in sides {
                let what = match &script {
                    Some(text) => side.script(&format!("{name}.sql"), text)?,
                    None => "--builtin=select-only".into(),
                };
                figures.add(&format!("{name} {which}"), side.throughput(&what)?);
            }
        }
        Ok(())
    }

    /// Logins where there is much, and how fast sessions begin.
    fn measure_much(&self, tokens: &Tokens, figures: &mut Figures) -> Result<()> {
        let login = |token: &str| -> Result<f64> {
            self.with.settle(token)?;
            Ok(self.with.connections(ROLE, token, false)?.rate)
        };
        self.mappings(true)?;
        figures.add("IAM, 10,000 mappings", login(&tokens.example)?);
        self.mappings(false)?;
        self.use_directory(&self.large_directory())?;
        figures.add("IAM, large directory", login(&tokens.example)?);
        self.use_directory(&self.directory_of_all())?;
        figures.add("IAM, one of 50,000 sessions", login(&tokens.stored)?);
        self.use_directory(&self.with.documents())?;
        for (name, directory) in [
            ("assume-role", self.with.documents()),
            ("assume-role, 50,000 sessions", self.directory_of_sessions()),
        ] {
            let time = Duration::from_secs(self.arguments.seconds.into());
            let mut command = self.assume_role(&directory);
            figures.add(name, sessions::begun_a_second(&mut command, time)?);
        }
        self.with.settle(&tokens.example)
    }

    /// The mapping, documents and tokens for the server with the library.
    fn prepare(&self) -> Result<Tokens> {
        self.with.server.create_extension()?;
        let role = format!("arn:aws:iam::{ACCOUNT_ID}:role/example");
        self.with.superuser(&[
            &format!("AWS IAM GRANT {ROLE} TO '{role}'"),
            "ALTER SYSTEM SET dsql_iam.require_tls = off",
            "SELECT pg_reload_conf()",
        ])?;
        let hour = self.write_documents()?;
        let long = self.document("long-session.json")?;
        let id = long["Credentials"]["AccessKeyId"].as_str();
        let session = self.document("example-session.json")?;
        Ok(Tokens {
            example: self.token(&[("AWS_PROFILE", "example")])?,
            long: self.token_of(&long, id.unwrap_or_default())?,
            stored: self.token_of(&session, &sessions::id(&hour, 0))?,
        })
    }

    /// A session with a long token in the directory in force, and a large directory, one of many sessions and one of both
    /// beside it. Gives the hour in which the sessions end.
    fn write_documents(&self) -> Result<String> {
        let small = self.with.documents();
        let session = self.document("example-session.json")?;
        let mut long = session.clone();
        long["Credentials"]["AccessKeyId"] = "ASIABENCHBENCHBENCHB".into();
        long["Credentials"]["SessionToken"] = "x".repeat(LONG_TOKEN).into();
        let others = [
            self.large_directory(),
            self.directory_of_sessions(),
            self.directory_of_all(),
        ];
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
        let [large, sessions, all] = others;
        for directory in [&large, &all] {
            write(directory.join("many.json"), &many_entities())?;
        }
        let hour = sessions::hour(&mut self.assume_role(&small))?;
        sessions::store(&small, &[&sessions, &all], &hour, &session)?;
        Ok(hour)
    }

    fn large_directory(&self) -> PathBuf {
        self.with.server.directory.root().join("iam-large")
    }

    fn directory_of_sessions(&self) -> PathBuf {
        self.with.server.directory.root().join("iam-sessions")
    }

    /// The large directory, with the sessions in it.
    fn directory_of_all(&self) -> PathBuf {
        self.with.server.directory.root().join("iam-all")
    }

    /// Lets another directory be in force. Both servers load their configuration again, since all later backends have
    /// memory for that, without the library as well.
    fn use_directory(&self, directory: &Path) -> Result<()> {
        self.without.superuser(&["SELECT pg_reload_conf()"])?;
        let directory = directory.display();
        self.with.superuser(&[
            &format!("ALTER SYSTEM SET dsql_iam.iam_directory = '{directory}'"),
            "SELECT pg_reload_conf()",
        ])?;
        Ok(())
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
        self.with
            .superuser(&[&format!("SELECT count({function}) FROM {source}")])?;
        Ok(())
    }

    fn token(&self, variables: &[(&str, &str)]) -> Result<String> {
        let mut command = self.dsql_iam();
        command
            .args(["token", "--hostname", "localhost", "--region", REGION])
            .args(["--expires-in", "604800"])
            .envs(variables.iter().copied());
        Ok(run::output(&mut command)?.trim().to_owned())
    }

    /// The command `dsql-iam`, with the profiles of `env.sh`.
    fn dsql_iam(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            command.env(name, &self.with.variables[name]);
        }
        command
    }

    /// The command that begins a session of the role, and stores it in this directory.
    fn assume_role(&self, directory: &Path) -> Command {
        let role = format!("arn:aws:iam::{ACCOUNT_ID}:role/example");
        let mut command = self.dsql_iam();
        command
            .args(["assume-role", "--profile", "admin", "--role-arn", &role])
            .args(["--role-session-name", "bench", "--iam-directory"])
            .arg(directory);
        command
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
        let path = self.with.documents().join(name);
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }
}

/// A query in which the lexer asks about many words, each with `blank` behind it, and little else is done.
fn many_words(word: &str, blank: &str) -> String {
    let condition = vec![format!("{word}{blank}IS NULL"); WORDS].join(" OR ");
    // The first part alone is looked at when it runs.
    format!("SELECT 1 FROM (SELECT 1 AS {word}) w WHERE false AND ({condition});\n")
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
