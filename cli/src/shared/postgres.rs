//! A PostgreSQL on this machine: what its `pg_config` says, and asking a server with `psql`.

use std::ffi::OsStr;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::conninfo::ConnectionString;

use crate::shared::error::Error;

/// The major versions that the extension can be built for.
pub const SUPPORTED: RangeInclusive<u32> = 14..=19;

/// Where an installation has its parts.
pub struct Installation {
    /// the `pg_config` that was asked
    pub pg_config: PathBuf,
    /// the major version
    pub major: u32,
    /// programs
    pub bin: PathBuf,
    /// loadable modules
    pub modules: PathBuf,
    /// control files and scripts of extensions
    pub extensions: PathBuf,
    /// headers of the server
    pub headers: PathBuf,
}

impl Installation {
    /// Asks a `pg_config`: the one named, else `PG_CONFIG`, else the one in `PATH`, else Debian's
    /// newest.
    ///
    /// # Errors
    /// A sentence: there is none, it does not work, or its version is not supported.
    pub fn find(named: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = named {
            return Self::ask(path);
        }
        let debian = SUPPORTED
            .rev()
            .map(|major| format!("/usr/lib/postgresql/{major}/bin/pg_config"));
        let from_path = std::env::var("PATH").unwrap_or_default();
        let found = std::env::var("PG_CONFIG")
            .into_iter()
            .chain(
                from_path
                    .split(':')
                    .map(|folder| format!("{folder}/pg_config")),
            )
            .chain(debian)
            .find(|path| Path::new(path).is_file());
        match found {
            Some(path) => Self::ask(Path::new(&path)),
            None => Err(
                "no PostgreSQL was found: install one (on Debian: apt-get install postgresql \
                 postgresql-server-dev-all), or name its pg_config with --pg-config"
                    .into(),
            ),
        }
    }

    fn ask(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let text = output(Command::new(path)).map_err(|fault| {
            format!("{shown} does not work as a pg_config ({fault}): name another with --pg-config")
        })?;
        let answer = |name: &str| {
            let value = text.lines().find_map(|line| {
                let (found, value) = line.split_once(" = ")?;
                (found.trim() == name).then(|| value.trim().to_owned())
            });
            value.ok_or_else(|| format!("{shown} does not say what {name} is"))
        };
        let version = answer("VERSION")?;
        let major = major(&version).ok_or_else(|| format!("{shown} has no version: {version}"))?;
        if !SUPPORTED.contains(&major) {
            return Err(format!(
                "{shown} is of PostgreSQL {major}, and dsql_iam is for PostgreSQL {} to {}: name \
                 another with --pg-config",
                SUPPORTED.start(),
                SUPPORTED.end()
            )
            .into());
        }
        Ok(Self {
            // Builds run in folders of their own.
            pg_config: std::path::absolute(path).map_err(|error| format!("{shown}: {error}"))?,
            major,
            bin: answer("BINDIR")?.into(),
            modules: answer("PKGLIBDIR")?.into(),
            extensions: Path::new(&answer("SHAREDIR")?).join("extension"),
            headers: answer("INCLUDEDIR-SERVER")?.into(),
        })
    }
}

/// The major version in `PostgreSQL 15.20 (Debian …)` or `postgres (PostgreSQL) 18beta1`.
pub fn major(version: &str) -> Option<u32> {
    let start = version.find(|character: char| character.is_ascii_digit())?;
    let digits = version[start..].split(|character: char| !character.is_ascii_digit());
    digits.into_iter().next()?.parse().ok()
}

/// Runs a program, gives what it printed.
///
/// # Errors
/// The last line of what it printed to standard error, or why it did not start.
pub fn output(command: Command) -> Result<String, Error> {
    output_or_all(command).map_err(|errors| {
        let errors = errors.to_string();
        errors.lines().last().unwrap_or_default().into()
    })
}

/// Runs a program, gives what it printed.
///
/// # Errors
/// All that it printed to standard error, or why it did not start. Never empty.
pub fn output_or_all(mut command: Command) -> Result<String, Error> {
    let done = command.stdin(Stdio::null()).output().map_err(Error::of)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() {
        return Ok(text(&done.stdout));
    }
    Err(match text(&done.stderr) {
        errors if errors.is_empty() => Error::of(done.status),
        errors => errors.into(),
    })
}

/// The lines of a server's log without what `log_line_prefix` puts before them.
pub fn without_prefix(log: &str) -> String {
    const LEVELS: [&str; 7] = [
        "LOG", "WARNING", "ERROR", "FATAL", "PANIC", "DETAIL", "HINT",
    ];
    let start = |line: &str| {
        let found = LEVELS.map(|level| line.find(&format!("{level}:  ")));
        found.into_iter().flatten().min().unwrap_or(0)
    };
    let lines = log.lines().map(|line| &line[start(line)..]);
    lines.collect::<Vec<_>>().join("\n")
}

/// The beginning of every script. A superuser may be asking, in a database in which others may create: what
/// they have put into a schema of the search path must not be taken for the server's own.
const TRUSTED_PATH: &str = "SET search_path = pg_catalog, pg_temp;\n";

/// Has psql run a script over a connection, gives what it printed, without headings. Nothing is found by
/// its bare name but what is in `pg_catalog`.
///
/// psql is asked, and no library, so that a connection string means what it means to all of
/// PostgreSQL's programs: services, password files and certificates included.
///
/// # Errors
/// A sentence with what psql said.
pub fn psql(connection: &str, script: &str) -> Result<String, Error> {
    let connection = ConnectionString::split(connection)?;
    let mut command = Command::new("psql");
    command
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--no-password",
        ])
        .args(["--set=ON_ERROR_STOP=1", "--dbname"])
        .args([&*connection.public, "--file=-"])
        // Its messages are looked at, and have other words in the caller's language.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Others can see a command line, and not the environment.
    if let Some(password) = connection.password {
        command.env("PGPASSWORD", password);
    }
    if std::env::var_os("PGDATABASE").is_none() {
        command.env("PGDATABASE", "postgres");
    }
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "psql was not found: install PostgreSQL's client programs (on Debian: apt-get install \
             postgresql-client), or put its folder into PATH"
                .to_owned()
        }
        _ => format!("psql: {error}"),
    };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that could not connect does not read it; what it says then is what counts.
        let _ = input.write_all([TRUSTED_PATH, script].concat().as_bytes());
    }
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim().trim_start_matches("psql: error: ");
    let said = said.strip_prefix("psql:<stdin>:").unwrap_or(said);
    Err(match remedy_for_certificate(said) {
        Some(remedy) => format!("{said}\n{remedy}").into(),
        None => said.into(),
    })
}

/// The remedy if psql does not trust the server's certificate.
fn remedy_for_certificate(said: &str) -> Option<&'static str> {
    if said.contains("does not match host name") {
        return Some(
            "connect by a name that is in the server's certificate, with hostaddr=ADDRESS beside it \
             if that name leads elsewhere",
        );
    }
    let is_unknown =
        said.contains("certificate verify failed") || said.contains("root certificate file");
    is_unknown.then_some(
        "name the certificate of the authority that signed the server's, or the server's own if it \
         signed itself: sslrootcert=FILE in the connection string, or PGSSLROOTCERT=FILE",
    )
}

/// The variables that a program needs to be found, to find its libraries, and to tell the time.
const HANDED_ON: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TZ"];

/// A program of a server's, which speaks English, with next to nothing of the environment: the `PG…` variables would
/// steer it, and which program it is may be said in a file that the server's user can write, whom
/// root's keys and sockets are no business of.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("LC_ALL", "C");
    for name in HANDED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_found_in_what_programs_say() {
        assert_eq!(major("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("nothing"), None);
    }

    #[test]
    fn what_a_program_said_is_told() {
        let script = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let said = "echo 1 >&2; echo 2 >&2; exit 3";
        assert_eq!(output(script(said)), Err("2".into()));
        assert_eq!(output_or_all(script(said)), Err("1\n2".into()));
        assert_eq!(output(script("exit 3")), Err("exit status: 3".into()));
        assert_eq!(output(script("echo 1; echo 2 >&2")), Ok("1".into()));
    }

    #[test]
    fn what_a_program_says_is_not_translated() {
        let mut command = program("sh");
        command.args(["-c", "echo $LC_ALL,$LANG,$LANGUAGE"]);
        assert_eq!(output(command), Ok("C,,".into()));
    }

    #[test]
    fn a_line_of_the_log_begins_with_its_level() {
        assert_eq!(
            without_prefix(
                "2026-01-01 00:00:00.000 UTC [1] LOG:  a \"FATAL:  b\"\nFATAL:  c\n\tgoes on"
            ),
            "LOG:  a \"FATAL:  b\"\nFATAL:  c\n\tgoes on"
        );
    }

    #[test]
    fn a_certificate_that_is_not_trusted_has_a_remedy() {
        let remedy = |said| remedy_for_certificate(said).unwrap_or_default();
        let file = "root certificate file \"/x/root.crt\" does not exist";
        for said in ["SSL error: certificate verify failed", file] {
            assert!(remedy(said).contains("PGSSLROOTCERT=FILE"), "{said}");
        }
        let name = "server certificate for \"a\" does not match host name \"b\"";
        assert!(remedy(name).starts_with("connect by a name that is in the server's"));
        assert_eq!(
            remedy("FATAL:  unable to accept connection, access denied"),
            ""
        );
    }
}
