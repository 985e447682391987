//! One of the two servers that are compared: the programs that run on it, and their cost to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::processes::{self, Ended};
use crate::account::{Account, without_pg_variables};
use crate::directory::Directory;
use crate::server::{self, Options, Server};
use crate::{environment, mirror, ports, postmaster, run};

/// The ports of the servers: away from where people, and the tests, have theirs.
const FIRST_PORT: u16 = 25432;
/// The role that connects, with this for its SCRAM password.
pub(super) const ROLE: &str = "bench";

/// A server.
pub(super) struct Side {
    pub server: Server,
    /// The variables that its `env.sh` sets.
    pub variables: BTreeMap<String, String>,
    scripts: tempfile::TempDir,
    /// How long a figure takes, in seconds.
    seconds: u32,
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Err(error) = self.server.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// The result of connecting for a time.
pub(super) struct Connections {
    /// New connections a second.
    pub rate: f64,
    /// The cost of one of them to the server.
    pub each: Ended,
}

impl Side {
    /// Makes a server anew in this folder, with its roles and tables, and leaves it running with the library. Each figure
    /// will take so many seconds.
    ///
    /// # Errors
    /// If it does not start, or does not take them.
    pub(super) fn new(dir: &Path, pg_config: Option<PathBuf>, seconds: u32) -> Result<Self> {
        server::stop_in(dir)?;
        Directory::remove(dir)?;
        let server = Server::prepare(&Options {
            dir: Some(dir.to_owned()),
            port: Some(ports::free(FIRST_PORT)?),
            pg_config,
            release: true,
            plain: true,
            ..Options::default()
        })?;
        let side = Self {
            variables: environment::read(&dir.join("env.sh"))?,
            scripts: tempfile::tempdir()?,
            server,
            seconds,
        };
        side.forget_code()?;
        side.fill()?;
        Ok(side)
    }

    /// Drops the code from the page cache: Linux reads it again in larger pieces than those in which it was written, as
    /// after the machine's start, and a login pays for each piece.
    fn forget_code(&self) -> Result<()> {
        run::output(&mut Command::new("sync"))?;
        let mut find = Command::new("find");
        find.arg(self.server.directory.installation())
            .args([
                "-type",
                "f",
                "-exec",
                "dd",
                "if={}",
                "iflag=nocache",
                "count=0",
            ])
            .args(["status=none", ";"]);
        run::output(&mut find).map(drop)
    }

    /// Roles, tables, and the hba lines for a server without the library.
    fn fill(&self) -> Result<()> {
        let hba = self.server.directory.data().join("pg_hba.conf");
        let lines = fs::read_to_string(&hba)?
            + "host postgres bench_trust all trust\nhost postgres bench all scram-sha-256\n\
               host postgres bench_password all password\n";
        mirror::write(&hba, lines.as_bytes(), 0o600)?;
        Account::find()?.own(&hba, 0o600)?;
        self.server.start_detached()?;
        self.superuser(&[
            "CREATE ROLE bench_trust LOGIN",
            "CREATE ROLE bench LOGIN PASSWORD 'bench'",
            // MD5 takes no time, so that what is left is the exchange.
            "SET password_encryption = 'md5'",
            "CREATE ROLE bench_password LOGIN PASSWORD 'bench'",
            "ALTER SYSTEM SET log_min_messages = fatal",
            "ALTER SYSTEM SET log_connections = off",
            "ALTER SYSTEM SET log_disconnections = off",
        ])?;
        let mut load = self.program("pgbench");
        load.args(["--initialize", "--quiet", "--scale=10"])
            .arg(&self.variables["DSQL_SUPERUSER"]);
        run::output(&mut load).map(drop)
    }

    /// Starts it again, without the library.
    pub(super) fn leave_library_out(&self) -> Result<()> {
        self.superuser(&["ALTER SYSTEM SET shared_preload_libraries = plpgsql"])?;
        self.restart()
    }

    pub(super) fn restart(&self) -> Result<()> {
        self.server.stop()?;
        self.server.start_detached()
    }

    /// Runs these statements as the superuser, and gives the values that they give.
    pub(super) fn superuser(&self, statements: &[&str]) -> Result<String> {
        let mut psql = self.program("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
            .args(["--tuples-only", "--no-align", "--dbname"])
            .arg(&self.variables["DSQL_SUPERUSER"]);
        for statement in statements {
            psql.args(["--command", statement]);
        }
        run::output(&mut psql)
    }

    /// One of PostgreSQL's programs, from where `env.sh` has them.
    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = without_pg_variables(self.server.programs().join(name));
        let authority = self.variables.get("PGSSLROOTCERT");
        command.env("PGSSLROOTCERT", authority.map_or("", |path| path));
        command
    }

    /// The directory that is in force unless another is measured.
    pub(super) fn documents(&self) -> PathBuf {
        PathBuf::from(&self.variables["DSQL_IAM_DIRECTORY"])
    }

    /// The postmaster's process.
    pub(super) fn postmaster(&self) -> Result<u32> {
        postmaster::pid(&self.server.directory).context("no postmaster")
    }

    /// Connects for the time that a figure takes, four clients at a time.
    pub(super) fn connections(&self, role: &str, password: &str, tls: bool) -> Result<Connections> {
        let postmaster = self.postmaster()?;
        let before = processes::ended_children(postmaster)?;
        let mut pgbench = self.connecting(role, password, tls)?;
        pgbench.arg(format!("--time={}", self.seconds));
        let printed = run::output(pgbench.arg("postgres"))?;
        let count = figure(&printed, "number of transactions actually processed:")?;
        Ok(Connections {
            rate: figure(&printed, "tps =")?,
            each: processes::ended_children(postmaster)?.since(&before, count),
        })
    }

    /// Connects a few times, so that what was changed before is in force and paid for.
    pub(super) fn settle(&self, password: &str) -> Result<()> {
        let mut pgbench = self.connecting(ROLE, password, false)?;
        run::output(pgbench.args(["--transactions=10", "postgres"])).map(drop)
    }

    fn connecting(&self, role: &str, password: &str, tls: bool) -> Result<Command> {
        let mut pgbench = self.program("pgbench");
        pgbench
            .args(["--no-vacuum", "--connect", "--client=4", "--jobs=2"])
            .arg(self.script("one.sql", "SELECT 1;\n")?)
            .args(["--host=localhost", "--username", role])
            .arg(format!("--port={}", self.server.port()))
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", if tls { "verify-full" } else { "disable" });
        Ok(pgbench)
    }

    /// Queries a second over two connections that stay. `what` is the argument of pgbench that says which.
    pub(super) fn throughput(&self, what: &str) -> Result<f64> {
        let mut pgbench = self.program("pgbench");
        pgbench
            .args(["--no-vacuum", "--client=2", "--jobs=2", what])
            .arg(format!("--time={}", self.seconds))
            .arg(&self.variables["DSQL_SUPERUSER"]);
        figure(&run::output(&mut pgbench)?, "tps =")
    }

    /// Writes a script for pgbench, and gives the argument that names it.
    pub(super) fn script(&self, name: &str, text: &str) -> Result<String> {
        let path = self.scripts.path().join(name);
        fs::write(&path, text)?;
        Ok(format!("--file={}", path.display()))
    }
}

/// The figure behind this name in what pgbench printed, such as `tps = 123.4 (…)`.
fn figure(printed: &str, name: &str) -> Result<f64> {
    let found = printed.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.split_whitespace().next()?;
        value.split('/').next()?.parse::<f64>().ok()
    });
    match found {
        Some(figure) if figure > 0.0 => Ok(figure),
        _ => bail!("pgbench gave no figure after `{name}`:\n{printed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_understood() {
        let printed = "number of transactions actually processed: 439\n\
                       latency average = 9.1 ms\ntps = 438.25 (including reconnection times)\n";
        assert_eq!(figure(printed, "tps =").unwrap(), 438.25);
        let count = "number of transactions actually processed:";
        assert_eq!(figure(printed, count).unwrap(), 439.0);
        assert_eq!(figure(&format!("{count} 40/40\n"), count).unwrap(), 40.0);
        for none in ["pgbench: error", "tps = 0\n", "tps = none\n"] {
            assert!(figure(none, "tps =").is_err());
        }
    }
}
