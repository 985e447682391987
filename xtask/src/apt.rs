//! Debian's packages that building and testing need, and installing them where apt may be used.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

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

/// The oldest node that runs the tests: `engines` of their `package.json`.
const NODE: u32 = 20;

/// The oldest Go that runs the tests: `go` of their `go.mod`.
const GO: (u32, u32) = (1, 24);

/// Programs, and the packages that have them.
pub struct Need {
    programs: &'static [&'static str],
    packages: &'static [&'static str],
}

/// valgrind, for the test of the library's memory.
pub const VALGRIND: Need = Need {
    programs: &["valgrind"],
    packages: &["valgrind"],
};
const CHROMIUM: Need = Need {
    programs: &["chromium"],
    packages: &["chromium"],
};
/// An engine for containers, and its client.
pub const DOCKER: Need = Need {
    programs: &["docker", "dockerd"],
    packages: &["docker.io"],
};
/// debootstrap, which makes a Debian in a folder.
pub const DEBOOTSTRAP: Need = Need {
    programs: &["debootstrap"],
    packages: &["debootstrap"],
};
/// patchelf, which tells a program where its libraries are.
pub const PATCHELF: Need = Need {
    programs: &["patchelf"],
    packages: &["patchelf"],
};
/// The programs that unpack the sources of Debian's packages.
pub const UNPACKERS: Need = Need {
    programs: &["bzip2", "xz"],
    packages: &["bzip2", "xz-utils"],
};
/// Debian's tools that make packages.
pub const PACKAGE_TOOLS: Need = Need {
    programs: &["dpkg-shlibdeps", "strip", "gzip"],
    packages: &["dpkg-dev"],
};
/// Patroni and etcd, for the tests of failover.
pub const PATRONI: Need = Need {
    programs: &["patroni", "etcd", "rsync"],
    packages: &["patroni", "etcd-server", "etcd-client", "rsync"],
};
const C_COMPILER: Need = Need {
    programs: &["cc"],
    packages: &["gcc", "libc6-dev"],
};
const LIBCLANG: Need = Need {
    programs: &["clang"],
    packages: &["clang", "libclang-dev"],
};
const NODEJS: Need = Need {
    programs: &["node"],
    packages: &["nodejs", "npm"],
};
const NPM: Need = Need {
    programs: &["npm"],
    packages: &["npm"],
};
/// `java` runs a program from its source only where the compiler is there too.
const JDK: Need = Need {
    programs: &["javac"],
    packages: &["default-jdk-headless"],
};
/// A package that `postgresql-server-dev-MAJOR` needs and does not bring on Debian 13: its headers include ICU's.
pub const ICU: &str = "libicu-dev";
/// Fetches the jars that tests/java/pom.xml names.
pub const MAVEN: Need = Need {
    programs: &["mvn"],
    packages: &["maven"],
};
const PYTHON: [&str; 2] = ["python3", "python3-venv"];
/// The package of pgjdbc, and where it has the jar.
const PGJDBC: [&str; 2] = ["libpostgresql-jdbc-java", "/usr/share/java/postgresql.jar"];

impl Need {
    /// The packages, if one of the programs is not there.
    pub fn missing(&self) -> BTreeSet<String> {
        if self.programs.iter().all(|program| in_path(program)) {
            return BTreeSet::new();
        }
        self.packages.iter().map(|&name| name.to_owned()).collect()
    }

    /// Installs them if one of the programs is not there.
    ///
    /// # Errors
    /// As of [`install`].
    pub fn install(&self) -> Result<()> {
        install(&self.missing())
    }
}

/// The packages of the compilers that are not there: pgrx reads the server's headers with libclang,
/// and a C compiler builds the shim.
pub fn compilers() -> BTreeSet<String> {
    let mut packages = C_COMPILER.missing();
    if std::env::var_os("LIBCLANG_PATH").is_none() {
        packages.extend(LIBCLANG.missing());
    }
    packages
}

/// The packages of Python with its venv module, if that is not there.
pub fn python_packages() -> BTreeSet<String> {
    let mut check = Command::new("python3");
    if run::succeeds(check.args(["-c", "import venv, ensurepip"])) {
        return BTreeSet::new();
    }
    BTreeSet::from(PYTHON.map(str::to_owned))
}

/// The package of a browser, for the test of the page that `dsql-iam access` writes, if there is none and apt
/// has it: Ubuntu's does not.
pub fn browser_packages() -> BTreeSet<String> {
    let others = ["chromium-browser", "google-chrome"].map(in_path);
    let missing = CHROMIUM.missing();
    match others.contains(&true) || missing.is_empty() || candidate("chromium").is_none() {
        true => BTreeSet::new(),
        false => missing,
    }
}

/// Installs Python with its venv module.
pub fn python() -> Result<()> {
    install(&python_packages())
}

/// Installs node and npm, for the tests. Gives a sentence instead if what there is, or could be installed,
/// is too old for them.
pub fn node() -> Result<Option<String>> {
    let fault = node_fault();
    if fault.is_none() {
        install(&node_packages())?;
    }
    Ok(fault)
}

/// The packages of node and npm, as far as they are not there and the tests could use them.
pub fn node_packages() -> BTreeSet<String> {
    match node_fault() {
        Some(_) => BTreeSet::new(),
        None => &NODEJS.missing() | &NPM.missing(),
    }
}

/// A sentence if the node that there is, or else apt's, is too old for the tests.
fn node_fault() -> Option<String> {
    if in_path("node") {
        let version = run::output(Command::new("node").arg("--version")).unwrap_or_default();
        return too_old("node", &version);
    }
    candidate("nodejs").and_then(|version| too_old("apt's node", &version))
}

/// A sentence if a version of node, such as `v20.11.1` or Debian's `18.20.4+dfsg-1`, is too old.
fn too_old(name: &str, version: &str) -> Option<String> {
    let version = version.trim().trim_start_matches('v');
    let major = version.split('.').next()?.parse().unwrap_or(0);
    (major < NODE).then(|| {
        format!("{name} is of version {version}, and the tests need {NODE} or newer in PATH")
    })
}

/// Why the tests in Go cannot run, if so. Debian's Go is older than AWS's SDK needs, so none is installed.
pub fn go_fault() -> Option<String> {
    if !in_path("go") {
        return Some("go is not in PATH".into());
    }
    let version = run::output(Command::new("go").args(["env", "GOVERSION"])).unwrap_or_default();
    too_old_go(version.trim())
}

/// A sentence if a version of Go, such as `go1.24.3`, is too old.
fn too_old_go(version: &str) -> Option<String> {
    let mut parts = version.trim_start_matches("go").split('.');
    let mut number = || parts.next()?.parse().ok();
    let found: (u32, u32) = (number().unwrap_or(0), number().unwrap_or(0));
    (found < GO).then(|| {
        let (major, minor) = GO;
        format!("go is {version}, and the tests need {major}.{minor} or newer in PATH")
    })
}

/// Says if this is no Debian, where no package can be made; installs Debian's tools that make them.
/// They are asked for before anything is built.
pub fn package_tools() -> Result<()> {
    if !in_path("dpkg-deb") {
        bail!("dpkg-deb, which makes the package, is missing: this needs Debian, or a derivative");
    }
    PACKAGE_TOOLS.install()
}

/// The jar of pgjdbc that `PGJDBC_JAR` names, else where Debian has it.
fn pgjdbc() -> (PathBuf, bool) {
    match std::env::var_os("PGJDBC_JAR") {
        Some(named) => (named.into(), true),
        None => (PGJDBC[1].into(), false),
    }
}

/// The packages of a JDK and of pgjdbc, as far as they are not there.
pub fn java_packages() -> BTreeSet<String> {
    let mut packages = JDK.missing();
    let (driver, is_named) = pgjdbc();
    if !is_named && !driver.exists() {
        packages.insert(PGJDBC[0].to_owned());
    }
    packages
}

/// Installs a JDK and pgjdbc, for the tests; gives pgjdbc's jar.
pub fn java() -> Result<PathBuf> {
    install(&java_packages()).context("to use another pgjdbc, name its jar with PGJDBC_JAR")?;
    let (driver, _) = pgjdbc();
    if !driver.exists() {
        bail!(
            "PGJDBC_JAR has to name the jar of pgjdbc: {} is not there",
            driver.display()
        );
    }
    Ok(driver)
}

/// Installs packages as root, or through a sudo that asks for no password; else says what to
/// install.
pub fn install(packages: &BTreeSet<String>) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !in_path("apt-get") {
        bail!("{}", advice(packages, false, None));
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new("sh")
    } else if run::succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut command = Command::new("sudo");
        command.args(["-n", "sh"]);
        command
    } else {
        bail!("{}", advice(packages, true, distribution()));
    };
    let list: Vec<&str> = packages.iter().map(String::as_str).collect();
    println!("installing {}", list.join(" ").replace("-@", ""));
    command.args(["-c", INSTALL, "sh"]).args(packages);
    run::run(&mut command).with_context(|| advice(packages, true, distribution()))
}

/// How to install packages, in lines that can be pasted. `version` is the distribution's of
/// PostgreSQL.
fn advice(packages: &BTreeSet<String>, has_apt: bool, version: Option<u32>) -> String {
    let names: Vec<String> = packages
        .iter()
        .map(|package| match (package.strip_suffix("-@"), version) {
            (Some(name), Some(version)) => format!("{name}-{version}"),
            (Some("postgresql-server-dev"), None) => "postgresql-server-dev-all".to_owned(),
            (Some(name), None) => name.to_owned(),
            (None, _) => package.clone(),
        })
        .collect();
    let list = names.join(" ");
    if !has_apt {
        return format!(
            "these packages of Debian are missing, or this system's equivalents: {list}"
        );
    }
    // Debian's server starts as it is installed, unless it is told not to.
    let is_server = |name: &String| {
        let rest = name.strip_prefix("postgresql");
        rest.is_some_and(|rest| rest.chars().all(|c| c == '-' || c.is_ascii_digit()))
    };
    let no_server = if names.iter().any(is_server) {
        "\n  sudo mkdir -p /etc/postgresql-common/createcluster.d\
         \n  echo 'create_main_cluster = false' | \
         sudo tee /etc/postgresql-common/createcluster.d/no-server-on-5432.conf"
    } else {
        ""
    };
    format!("packages are missing. To install them:\n{no_server}\n  sudo apt-get install {list}\n")
}

/// Whether apt could install these, the packages that stand for others among them, as far as its lists tell.
pub fn has(packages: &BTreeSet<String>) -> bool {
    let mut simulate = Command::new("apt-get");
    simulate.args(["--simulate", "install", "--no-install-recommends"]);
    packages.is_empty() || run::succeeds(simulate.args(packages))
}

/// The version of PostgreSQL that the distribution has.
pub fn distribution() -> Option<u32> {
    let text = run::output(Command::new("apt-cache").args(["show", "postgresql"])).ok()?;
    let depends = text
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    depends
        .split([' ', ','])
        .find_map(|package| package.strip_prefix("postgresql-")?.parse().ok())
}

/// The version of a package that apt would install.
fn candidate(package: &str) -> Option<String> {
    let text = run::output(Command::new("apt-cache").args(["policy", package])).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

fn in_path(program: &str) -> bool {
    which::which(program).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_can_be_pasted() {
        let packages = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let compilers = packages(&["clang", "libclang-dev"]);
        assert_eq!(
            advice(&compilers, true, Some(15)),
            "packages are missing. To install them:\n\n  sudo apt-get install clang libclang-dev\n"
        );
        let server = packages(&["postgresql-@", "postgresql-server-dev-@"]);
        let said = advice(&server, true, Some(15));
        assert!(
            said.ends_with("\n  sudo apt-get install postgresql-15 postgresql-server-dev-15\n")
        );
        assert!(said.contains("create_main_cluster = false"));
        let said = advice(&server, true, None);
        assert!(said.ends_with("\n  sudo apt-get install postgresql postgresql-server-dev-all\n"));
        assert!(said.contains("create_main_cluster = false"));
        let headers = packages(&["postgresql-server-dev-@"]);
        assert!(!advice(&headers, true, Some(17)).contains("create_main_cluster"));
        assert_eq!(
            advice(&compilers, false, None),
            "these packages of Debian are missing, or this system's equivalents: \
             clang libclang-dev"
        );
    }

    /// It asks for all packages before this program can be compiled.
    #[test]
    fn x_asks_for_the_same_packages() {
        let script = std::fs::read_to_string(crate::workspace::root().join("x")).unwrap();
        let words: Vec<&str> = script
            .split(|c: char| c.is_whitespace() || "'\"$".contains(c))
            .collect();
        let needs = [
            C_COMPILER,
            LIBCLANG,
            NODEJS,
            NPM,
            JDK,
            MAVEN,
            VALGRIND,
            CHROMIUM,
            UNPACKERS,
            PACKAGE_TOOLS,
        ];
        let packages = needs.iter().flat_map(|need| need.packages).copied();
        for package in packages.chain(PYTHON).chain([PGJDBC[0], ICU]) {
            assert!(words.contains(&package), "{package}");
        }
        let oldest_node = format!("[ \"${{node:-0}}\" -lt {NODE} ]");
        assert!(script.contains(&oldest_node));
    }

    #[test]
    fn an_old_node_is_named() {
        for version in ["v20.11.1\n", "22.0.0", "20.19.2+dfsg-1"] {
            assert_eq!(too_old("node", version), None, "{version}");
        }
        for version in ["18.20.4+dfsg-1~deb12u1", "", "x"] {
            assert!(too_old("node", version).is_some(), "{version}");
        }
        let wanted = "node is of version 18.20.4, and the tests need 20 or newer in PATH";
        assert_eq!(too_old("node", "v18.20.4\n").as_deref(), Some(wanted));
    }
}
