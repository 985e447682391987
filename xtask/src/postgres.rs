//! A PostgreSQL installation, as its `pg_config` describes it.

use std::collections::HashMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// The major versions that pgrx, and so the extension, can be built for.
pub const SUPPORTED: RangeInclusive<u32> = 14..=19;

/// The programs that `up` cannot do without.
const NEEDED_PROGRAMS: [&str; 4] = ["initdb", "pg_ctl", "postgres", "psql"];

/// Where one PostgreSQL installation has its parts.
#[derive(Debug)]
pub struct Postgres {
    /// The `pg_config` that was asked.
    pub pg_config: PathBuf,
    /// The major version, such as 15.
    pub major: u32,
    /// The whole version, such as `15.20`, as Debian writes it: what comes before `19` is `19~rc1`.
    pub release: String,
    /// The programs.
    pub bin: PathBuf,
    /// Loadable modules.
    pub pkglib: PathBuf,
    /// Shared libraries such as libpq.
    pub lib: PathBuf,
    /// Files that do not depend on the architecture, `extension/` among them.
    pub share: PathBuf,
    /// Headers for code that runs in the server.
    pub headers: PathBuf,
    /// Whether the server can do TLS.
    pub tls: bool,
}

impl Postgres {
    /// Asks a `pg_config`.
    pub fn ask(pg_config: &Path) -> Result<Self> {
        let shown = pg_config.display();
        let text = run::output(&mut Command::new(pg_config))
            .with_context(|| format!("{shown} does not work as a pg_config"))?;
        let answers: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let answer = |name: &str| {
            let value = answers.get(name).copied();
            value.with_context(|| format!("{shown} does not say what {name} is"))
        };
        let version = answer("VERSION")?;
        let configure = answer("CONFIGURE")?;
        Ok(Self {
            // Builds run in folders of their own.
            pg_config: std::path::absolute(pg_config)?,
            major: major(version)
                .with_context(|| format!("{shown} names no version that is known: {version}"))?,
            release: release(version),
            bin: answer("BINDIR")?.into(),
            pkglib: answer("PKGLIBDIR")?.into(),
            lib: answer("LIBDIR")?.into(),
            share: answer("SHAREDIR")?.into(),
            headers: answer("INCLUDEDIR-SERVER")?.into(),
            tls: configure.contains("--with-openssl") || configure.contains("--with-ssl=openssl"),
        })
    }

    /// The cargo feature, and the name of the target folder, for this version: `pg15`.
    pub fn feature(&self) -> String {
        format!("pg{}", self.major)
    }

    /// An error if the extension cannot be built for this version.
    pub fn check_supported(&self) -> Result<()> {
        if !SUPPORTED.contains(&self.major) {
            bail!(
                "{} is of PostgreSQL {}, and dsql_iam is for PostgreSQL {} to {}: name another \
                 with --pg-config",
                self.pg_config.display(),
                self.major,
                SUPPORTED.start(),
                SUPPORTED.end()
            );
        }
        Ok(())
    }

    /// The parts that this installation lacks, in words for an error.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = NEEDED_PROGRAMS
            .iter()
            .map(|program| self.bin.join(program))
            .filter(|program| !program.exists())
            .map(|program| program.display().to_string())
            .collect();
        let header = self.headers.join("postgres.h");
        if !header.exists() {
            missing.push(format!("the server headers ({})", header.display()));
        }
        if self.lacks_icu() {
            missing.push("the headers of ICU, which those of the server include".into());
        }
        missing
    }

    /// Whether the headers include ICU's, and a C compiler does not find these.
    fn lacks_icu(&self) -> bool {
        let config = fs::read_to_string(self.headers.join("pg_config.h")).unwrap_or_default();
        let mut preprocess = Command::new("cc");
        preprocess
            .args(["-E", "-x", "c", "-include", "unicode/ucol.h", "-I"])
            .arg(&self.headers)
            .arg("/dev/null");
        uses_icu(&config) && !run::succeeds(&mut preprocess)
    }

    /// Whether its programs find their shared libraries.
    pub fn runs(&self) -> bool {
        NEEDED_PROGRAMS
            .iter()
            .all(|program| run::succeeds(Command::new(self.bin.join(program)).arg("--version")))
    }

    /// The version whose Debian packages make up this installation, if it is where they put it.
    pub fn debian_version(&self) -> Option<u32> {
        let expected = format!("/usr/lib/postgresql/{}/bin", self.major);
        (self.bin == Path::new(&expected)).then_some(self.major)
    }
}

/// Whether a `pg_config.h` is of a server with ICU.
fn uses_icu(config: &str) -> bool {
    config.lines().any(|line| line == "#define USE_ICU 1")
}

/// The major version in `PostgreSQL 15.20 (Debian …)` or `PostgreSQL 18beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("PostgreSQL ")?;
    let end = number
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

/// The version in what `pg_config` calls so, such as `PostgreSQL 15.20 (Debian 15.20-0+deb12u1)`.
fn release(version: &str) -> String {
    let word = version.split_whitespace().nth(1).unwrap_or_default();
    word.replace("beta", "~beta").replace("rc", "~rc")
}

#[cfg(test)]
mod tests {
    use super::{major, uses_icu};

    #[test]
    fn a_server_with_icu_says_so() {
        assert!(uses_icu("#define USE_FLOAT8_BYVAL 1\n#define USE_ICU 1\n"));
        assert!(!uses_icu("/* #undef USE_ICU */\n"));
        assert!(!uses_icu(""));
    }

    #[test]
    fn the_major_version_is_read_from_any_kind_of_release() {
        assert_eq!(major("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)"), Some(15));
        assert_eq!(major("PostgreSQL 18beta1"), Some(18));
        assert_eq!(major("PostgreSQL 17"), Some(17));
        assert_eq!(major("EnterpriseDB"), None);
    }
}
