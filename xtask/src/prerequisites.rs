//! The PostgreSQL to build for and to run, with the compilers: found, installed or fetched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::postgres::{Postgres, SUPPORTED};
use crate::{apt, fetched, run, workspace};

/// The libraries that a fetched PostgreSQL needs of the system, with Debian's packages.
const LIBRARIES: [(&str, &str); 6] = [
    ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
    ("liblz4.so.1", "liblz4-1"),
    ("libreadline.so.8", "libreadline8"),
    ("libssl.so.3", "libssl3"),
    ("libxml2.so.2", "libxml2"),
    ("libzstd.so.1", "libzstd1"),
];

/// The first major version that lets clients begin with TLS (`sslnegotiation=direct`), as AWS's samples
/// for Aurora DSQL do with libpq 17 and newer.
const DIRECT_TLS: u32 = 17;

/// The version that `up` fetches where the system has none with direct TLS.
pub const PREFERRED: u32 = 18;

/// Finds a PostgreSQL to build against and to run, and the compilers; installs what is missing.
///
/// Takes the `pg_config` that the user named, if any. Without one it looks at
/// `PGRX_PG_CONFIG_PATH`, at `PATH`, and where Debian has it, newest version first, and takes the
/// first that has everything.
pub fn postgres(named: Option<&Path>) -> Result<Postgres> {
    apt::install(&packages(named)?)?;
    match pg_config(named) {
        Some(path) => Postgres::ask(&path),
        None => complete_postgres(|_| true).context(
            "no PostgreSQL 14 to 19 with its server headers was found: name its pg_config with \
             --pg-config",
        ),
    }
}

/// The packages that [`postgres`] would install.
///
/// # Errors
/// If the PostgreSQL that is named is not supported, or lacks parts that no package has.
pub fn packages(named: Option<&Path>) -> Result<BTreeSet<String>> {
    let mut packages = apt::compilers();
    let Some(path) = pg_config(named) else {
        if complete_postgres(|_| true).is_none() {
            packages.insert("postgresql-@".into());
            packages.insert("postgresql-server-dev-@".into());
            packages.insert(apt::ICU.into());
        }
        return Ok(packages);
    };
    let postgres = Postgres::ask(&path)?;
    postgres.check_supported()?;
    let missing = postgres.missing();
    if !missing.is_empty() {
        let Some(version) = postgres.debian_version() else {
            bail!(
                "the PostgreSQL of {} lacks {}",
                path.display(),
                missing.join(", ")
            );
        };
        packages.insert(format!("postgresql-{version}"));
        packages.insert(format!("postgresql-server-dev-{version}"));
        packages.insert(apt::ICU.into());
    }
    Ok(packages)
}

/// The `pg_config` that the user named, by an option or else by the environment.
fn pg_config(named: Option<&Path>) -> Option<PathBuf> {
    let by_environment = || std::env::var_os("PGRX_PG_CONFIG_PATH").map(PathBuf::from);
    named.map(Path::to_owned).or_else(by_environment)
}

/// Finds a PostgreSQL of one major version: the system's if it has everything, else one that is
/// fetched.
pub fn postgres_of(major: u32) -> Result<Postgres> {
    apt::install(&packages_of(major))?;
    if let Some(postgres) = systems(major) {
        return Ok(postgres);
    }
    let pg_config = fetched::pg_config(major, &workspace::target_directory()?)?;
    let postgres = Postgres::ask(&pg_config)?;
    if !postgres.runs() {
        bail!(
            "the PostgreSQL that was fetched does not run here: `{}` says why",
            postgres.bin.join("postgres --version").display()
        );
    }
    Ok(postgres)
}

/// The packages that [`postgres_of`] would install.
pub fn packages_of(major: u32) -> BTreeSet<String> {
    let mut packages = apt::compilers();
    if systems(major).is_none() {
        packages.extend(fetched::packages(major));
        packages.extend(missing_libraries());
    }
    packages
}

/// The system's PostgreSQL of one major version, if it has everything.
fn systems(major: u32) -> Option<Postgres> {
    complete_postgres(|postgres| postgres.major == major)
}

/// Finds the PostgreSQL for `up`, where neither `--pg` nor `--pg-config` says which one: the system's if
/// it is of 17 or newer, else one that is fetched. Where apt has no libraries for that, as on Ubuntu 26.04, it is
/// apt's own. Where nothing of this can be had, an older one of the system's will do.
pub fn postgres_for_up() -> Result<Postgres> {
    if std::env::var_os("PGRX_PG_CONFIG_PATH").is_some() {
        return postgres(None);
    }
    if let Some(newest) = complete_postgres(|postgres| postgres.major >= DIRECT_TLS) {
        return postgres(Some(&newest.pg_config));
    }
    let by_apt = || is_better(apt::distribution(), apt::has(&missing_libraries()));
    if by_apt() {
        return postgres(None);
    }
    let error = match postgres_of(PREFERRED) {
        Ok(fetched) => return Ok(fetched),
        Err(error) => error,
    };
    // Now that apt has lists.
    if by_apt() {
        return postgres(None);
    }
    let Some(older) = complete_postgres(|_| true) else {
        return Err(error);
    };
    eprintln!(
        "note: this takes the system's PostgreSQL {}, which does not do direct TLS \
         (sslnegotiation=direct), since {PREFERRED} could not be fetched: {error:#}",
        older.major
    );
    postgres(Some(&older.pg_config))
}

/// Whether apt's own PostgreSQL is better than a fetched one: it does direct TLS, and apt lacks libraries of the other.
fn is_better(distribution: Option<u32>, has_libraries: bool) -> bool {
    !has_libraries && distribution.is_some_and(|major| major >= DIRECT_TLS)
}

/// The packages of those libraries that the system does not have, as far as it tells.
fn missing_libraries() -> BTreeSet<String> {
    let tzdata = (!Path::new("/usr/share/zoneinfo/UTC").exists()).then_some("tzdata");
    let known = run::output(Command::new("/sbin/ldconfig").arg("-p")).unwrap_or_default();
    LIBRARIES
        .iter()
        .filter(|(library, _)| !known.is_empty() && !known.contains(&format!("\t{library} ")))
        .map(|(_, package)| (*package).to_owned())
        .chain(tzdata.map(str::to_owned))
        .collect()
}

/// The first PostgreSQL of those that can be found without being told that is wanted and has all its
/// parts.
fn complete_postgres(is_wanted: impl Fn(&Postgres) -> bool) -> Option<Postgres> {
    let in_path = which::which("pg_config").ok();
    let debian = SUPPORTED
        .rev()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/pg_config")));
    in_path
        .into_iter()
        .chain(debian)
        .filter(|pg_config| pg_config.exists())
        .filter_map(|pg_config| Postgres::ask(&pg_config).ok())
        .filter(|postgres| postgres.check_supported().is_ok() && postgres.missing().is_empty())
        .find(|postgres| is_wanted(postgres))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_own_is_taken_where_a_fetched_one_would_lack_a_library() {
        // Debian 12 and 13, Ubuntu 22.04 and 24.04.
        for distribution in [15, 17, 14, 16] {
            assert!(!is_better(Some(distribution), true));
        }
        // Ubuntu 26.04 has no libxml2.so.2; what is no Debian has no apt.
        assert!(is_better(Some(18), false));
        assert!(!is_better(None, false));
        assert!(!is_better(Some(15), false));
        // A package that apt does not have.
        assert!(apt::has(&BTreeSet::new()));
        assert!(!apt::has(&BTreeSet::from(["dsql-iam-nothing".into()])));
    }
}
