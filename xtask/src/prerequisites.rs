//! What has to be on the machine before anything can be built or run, and installing it where apt
//! and the rights to use it are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::postgres::{Postgres, SUPPORTED};
use crate::{fetched, run, workspace};

/// Installs packages. `postgresql-@` and `postgresql-server-dev-@` stand for the distribution's own
/// version. The drop-in keeps Debian from starting a server of its own as a side effect, and goes
/// away again.
const INSTALL: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
dropin=/etc/postgresql-common/createcluster.d/dsql-iam-xtask.conf
trap 'rm -f "$dropin"' EXIT
mkdir -p "${dropin%/*}"
echo 'create_main_cluster = false' > "$dropin"
apt-get -o DPkg::Lock::Timeout=300 update -qq
version=$(apt-cache show postgresql 2>/dev/null | sed -n 's/^Depends:.*postgresql-\([0-9][0-9]*\).*/\1/p' | head -n 1)
packages=
for package in "$@"; do
    case $package in *-@) package=${package%@}$version ;; esac
    packages="$packages $package"
done
apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $packages
"#;

/// What a fetched PostgreSQL needs of the system, as Debian's packages.
const LIBRARIES: [&str; 7] = [
    "libgssapi-krb5-2",
    "liblz4-1",
    "libreadline8",
    "libssl3",
    "libxml2",
    "libzstd1",
    "tzdata",
];

/// Finds a PostgreSQL to build against and to run, and the compilers; installs what is missing.
///
/// Takes the `pg_config` that the user named, if any. Without one it looks at
/// `PGRX_PG_CONFIG_PATH`, at `PATH`, and where Debian has it, newest version first, and takes the
/// first that has everything.
pub fn postgres(named: Option<&Path>) -> Result<Postgres> {
    let mut packages = compilers_to_install();
    let named = match named {
        Some(path) => Some(path.to_owned()),
        None => std::env::var_os("PGRX_PG_CONFIG_PATH").map(PathBuf::from),
    };
    match &named {
        Some(path) => {
            let postgres = Postgres::ask(path)?;
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
            }
        }
        None => {
            if complete_postgres(|_| true).is_none() {
                packages.insert("postgresql-@".into());
                packages.insert("postgresql-server-dev-@".into());
            }
        }
    }
    install(&packages)?;

    match named {
        Some(path) => Postgres::ask(&path),
        None => complete_postgres(|_| true).context(
            "no PostgreSQL 14 to 18 with its server headers was found: name its pg_config with \
             --pg-config",
        ),
    }
}

/// Finds a PostgreSQL of one major version: the system's if it has everything, else one that is
/// fetched.
pub fn postgres_of(major: u32) -> Result<Postgres> {
    install(&compilers_to_install())?;
    if let Some(postgres) = complete_postgres(|postgres| postgres.major == major) {
        return Ok(postgres);
    }
    let pg_config = fetched::pg_config(major, &workspace::target_directory()?)?;
    let postgres = Postgres::ask(&pg_config)?;
    if !postgres.runs() {
        install(&LIBRARIES.map(str::to_owned).into())?;
    }
    Ok(postgres)
}

/// Installs Python with its venv module, for the tests.
pub fn python() -> Result<()> {
    let mut check = Command::new("python3");
    if run::succeeds(check.args(["-c", "import venv, ensurepip"])) {
        return Ok(());
    }
    install(&BTreeSet::from(["python3".into(), "python3-venv".into()]))
}

/// Installs node and npm, for the tests.
pub fn node() -> Result<()> {
    let missing = ["node", "npm"].iter().any(|name| !in_path(name));
    if !missing {
        return Ok(());
    }
    install(&BTreeSet::from(["nodejs".into(), "npm".into()]))
}

/// Installs valgrind, for the test of the library's memory.
pub fn valgrind() -> Result<()> {
    if in_path("valgrind") {
        return Ok(());
    }
    install(&BTreeSet::from(["valgrind".into()]))
}

/// Installs debootstrap, for the test of the package.
pub fn debootstrap() -> Result<()> {
    if in_path("debootstrap") {
        return Ok(());
    }
    install(&BTreeSet::from(["debootstrap".into()]))
}

/// Installs a JDK and pgjdbc, for the tests; gives pgjdbc's jar.
///
/// That is the one that `PGJDBC_JAR` names, else where Debian has it.
pub fn java() -> Result<PathBuf> {
    let mut packages = BTreeSet::new();
    // `java` runs a program from its source only where the compiler is there too.
    if !in_path("javac") {
        packages.insert("default-jdk-headless".to_owned());
    }
    let named = std::env::var_os("PGJDBC_JAR").map(PathBuf::from);
    let driver = match named {
        Some(named) => named,
        None => {
            let debian = PathBuf::from("/usr/share/java/postgresql.jar");
            if !debian.exists() {
                packages.insert("libpostgresql-jdbc-java".to_owned());
            }
            debian
        }
    };
    install(&packages).context("to use another pgjdbc, name its jar with PGJDBC_JAR")?;
    if !driver.exists() {
        bail!(
            "PGJDBC_JAR has to name the jar of pgjdbc: {} is not there",
            driver.display()
        );
    }
    Ok(driver)
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

/// The packages of the compilers that are not there: pgrx reads the server's headers with libclang,
/// and a C compiler builds the shim.
fn compilers_to_install() -> BTreeSet<String> {
    let mut packages = BTreeSet::new();
    if !in_path("cc") {
        packages.extend(["gcc".to_owned(), "libc6-dev".to_owned()]);
    }
    if !in_path("clang") && std::env::var_os("LIBCLANG_PATH").is_none() {
        packages.extend(["clang".to_owned(), "libclang-dev".to_owned()]);
    }
    packages
}

/// Installs packages as root, or through a sudo that asks for no password; else says what to
/// install.
fn install(packages: &BTreeSet<String>) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list: Vec<&str> = packages.iter().map(String::as_str).collect();
    let list = list.join(" ");
    let advice = format!(
        "please install these packages, or what is like them on this system: {}",
        list.replace("-@", "")
    );
    if !in_path("apt-get") {
        bail!("{advice}");
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new("sh")
    } else if run::succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut command = Command::new("sudo");
        command.args(["-n", "sh"]);
        command
    } else {
        bail!("{advice}");
    };
    println!("installing {list}");
    command.args(["-c", INSTALL, "sh"]).args(packages);
    run::run(&mut command).context(advice)
}

fn in_path(program: &str) -> bool {
    which::which(program).is_ok()
}
