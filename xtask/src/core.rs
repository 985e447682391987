//! PostgreSQL's own regression suite, to see what the library changes in it.
//!
//! It runs twice, each time against a fresh server: without the library and with it. A difference without it has other
//! reasons, such as a source of another minor version, and is expected of the second run too. Any other difference
//! there has to be as in `tests/core/MAJOR/TEST.patch`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::account::Account;
use crate::directory::Directory;
use crate::postgres::Postgres;
use crate::server::{self, Options, Server};
use crate::{apt, ports, run, workspace};

/// The port of the server, which only its socket is used of.
const FIRST_PORT: u16 = 16432;

/// The suite's settings, as it has them where it starts a server itself; durability is not tested.
const SETTINGS: &str = "\
max_prepared_transactions = 2
log_connections = off
log_disconnections = off
fsync = off
";

/// Gets the suite's source from Debian's archive, with sources lists of its own: the system's are
/// left as they are. Takes the package, the version that is installed, and the folder to work in.
/// Where that version cannot be had, takes the newest that can.
const DOWNLOAD: &str = r#"
set -eu
package=$1 installed=$2
cd "$3"
mkdir -p sources lists/partial cache/archives/partial
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file"
done > sources/all.list
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" > "sources/${file##*/}"
done
set -- -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$PWD/sources" \
    -o "Dir::State::Lists=$PWD/lists" -o "Dir::Cache=$PWD/cache"
# An archive without sources is an error of this command only.
apt-get "$@" -qq update || true
others=$(apt-cache "$@" showsrc --only-source "$package" | sed -n 's/^Version: //p')
for version in "$installed" $others; do
    rm -f "${package}"_*
    if apt-get "$@" -qq source --download-only --only-source "$package=$version"; then
        echo "the source is of $version, the server of $installed"
        exec tar -xf "${package}"_*.orig.tar.* --strip-components=1 --wildcards '*/src/test/regress'
    fi
done
exit 1
"#;

/// A folder with PostgreSQL's source, as far as the suite needs it: the one that is named, else one
/// that is downloaded, once for each version.
pub fn source(named: Option<&Path>, postgres: &Postgres, target: &Path) -> Result<PathBuf> {
    if let Some(source) = named {
        return Ok(std::path::absolute(source)?);
    }
    let major = postgres.debian_version().context(
        "this PostgreSQL is not one of Debian's packages: name its source with --postgres-source",
    )?;
    let package = format!("postgresql-{major}");
    let mut query = Command::new("dpkg-query");
    let version = run::output(query.args(["--show", "--showformat=${Version}", &package]))?;
    let folder = target.join("postgres-source").join(&version);
    if !folder.join("complete").exists() {
        fs::create_dir_all(&folder)?;
        apt::UNPACKERS.install()?;
        let mut download = Command::new("sh");
        download.args(["-c", DOWNLOAD, "sh", &package, &version]);
        run::run(download.arg(&folder)).with_context(|| {
            format!(
                "the source of {package} could not be downloaded: name it with --postgres-source"
            )
        })?;
        fs::write(folder.join("complete"), "")?;
    }
    Ok(folder)
}

/// Runs the suite in `source`. With `accept`, what the library changes becomes what is accepted.
pub fn run(source: &Path, postgres: Postgres, target: &Path, accept: bool) -> Result<()> {
    let accepted = workspace::root()
        .join("tests/core")
        .join(postgres.major.to_string());
    let suite = Suite {
        source: source.join("src/test/regress"),
        directory: target.join("core-server"),
        postgres,
        account: Account::find()?,
    };
    let stock = suite.run(Library::NotLoaded, &BTreeMap::new())?;
    let loaded = suite.run(Library::Loaded, &stock.printed)?;
    suite.remove_server()?;

    if accept {
        write_patches(&accepted, &loaded.differences)?;
    }
    let wanted = read_patches(&accepted)?;
    let names = loaded.differences.keys().chain(wanted.keys());
    let mut faults: Vec<&str> = names
        .filter(|name| {
            let changes = |patch: Option<&String>| patch.map(|patch| changes(patch).join("\n"));
            changes(loaded.differences.get(*name)) != changes(wanted.get(*name))
        })
        .map(String::as_str)
        .collect();
    faults.sort_unstable();
    faults.dedup();
    for name in &faults {
        match loaded.differences.get(*name) {
            Some(difference) => println!("{name}: the library changes this\n{difference}"),
            None => println!("{name}: not changed any more, though a patch says so"),
        }
    }
    println!(
        "{} differ without the library too: {}",
        stock.differences.len(),
        list(stock.differences.keys())
    );
    println!(
        "{} differ as accepted: {}",
        wanted.len(),
        list(wanted.keys())
    );
    let passed = loaded.count.saturating_sub(faults.len());
    println!("{passed} passed, {} failed", faults.len());
    if !faults.is_empty() {
        bail!(
            "the library changes more than is accepted: {}",
            faults.join(", ")
        );
    }
    Ok(())
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether the server has the library.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Library {
    NotLoaded,
    Loaded,
}

/// The suite, and the server to run it against.
struct Suite {
    source: PathBuf,
    directory: PathBuf,
    postgres: Postgres,
    account: Account,
}

/// The results of one run.
struct Results {
    /// How many tests there are.
    count: usize,
    /// For each test that printed something else than expected, the difference, as a patch.
    differences: BTreeMap<String, String>,
    /// All that each of these printed.
    printed: BTreeMap<String, Vec<u8>>,
}

impl Suite {
    /// Runs it against a fresh server; `expected` replaces the suite's own files.
    fn run(&self, library: Library, expected: &BTreeMap<String, Vec<u8>>) -> Result<Results> {
        self.remove_server()?;
        let server = Server::prepare(&Options {
            dir: Some(self.directory.clone()),
            port: Some(ports::free(FIRST_PORT)?),
            pg_config: Some(self.postgres.pg_config.clone()),
            plain: true,
            ..Options::default()
        })?;
        let root = server.directory.root();
        let data = server.directory.data();
        // The suite connects as roles of its own. The folder of the socket lets nobody else in.
        append(&data.join("pg_hba.conf"), "local all all trust\n")?;
        append(&data.join("postgresql.conf"), SETTINGS)?;
        if library == Library::NotLoaded {
            append(
                &data.join("postgresql.conf"),
                "shared_preload_libraries = ''\n",
            )?;
        }
        server.start_detached()?;
        if library == Library::Loaded {
            server.create_extension()?;
        }

        let input = root.join("suite");
        run::run(Command::new("cp").arg("-r").arg(&self.source).arg(&input))?;
        for (name, text) in expected {
            fs::write(input.join("expected").join(format!("{name}.out")), text)?;
        }
        let output = root.join("output");
        self.account.directory(&output, 0o755)?;
        self.compile(&input.join("regress.c"), &output)?;

        let sockets = server.directory.sockets(&self.account)?;
        let path = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut pg_regress = self.account.command(self.pg_regress()?);
        pg_regress
            .arg(path("inputdir", &input))
            .arg(path("outputdir", &output))
            .arg(path("dlpath", &output))
            .arg(path("bindir", &self.postgres.bin))
            .arg(path("host", &sockets))
            .arg(format!("--port={}", server.port()))
            .args([
                "--user=postgres",
                "--no-locale",
                "--max-concurrent-tests=20",
            ])
            .arg(path("schedule", &input.join("parallel_schedule")))
            .current_dir(&input);
        let ended = run::output(&mut pg_regress);
        server.stop()?;
        let differences = output.join("regression.diffs");
        if !differences.exists() {
            ended?;
        }
        Results::read(&output)
    }

    fn remove_server(&self) -> Result<()> {
        server::stop_in(&self.directory)?;
        Directory::remove(&self.directory)
    }

    fn pg_regress(&self) -> Result<PathBuf> {
        let program = self
            .postgres
            .pkglib
            .join("pgxs/src/test/regress/pg_regress");
        if !program.exists() {
            bail!("{} is missing", program.display());
        }
        Ok(program)
    }

    /// Compiles the suite's library of C functions, and puts those of contrib beside it that it uses.
    fn compile(&self, source: &Path, into: &Path) -> Result<()> {
        let suffix = std::env::consts::DLL_SUFFIX;
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-fPIC", "-shared", "-I"])
            .arg(&self.postgres.headers)
            .arg("-o")
            .arg(into.join(format!("regress{suffix}")))
            .arg(source);
        run::run(&mut cc)?;
        for name in ["autoinc", "refint"] {
            let module = self.postgres.pkglib.join(format!("{name}{suffix}"));
            if module.exists() {
                fs::copy(&module, into.join(format!("{name}{suffix}")))?;
            }
        }
        Ok(())
    }
}

impl Results {
    fn read(output: &Path) -> Result<Self> {
        let folder = output.join("results");
        let differences = match fs::read(output.join("regression.diffs")) {
            Ok(text) => patches(&String::from_utf8_lossy(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        let mut printed = BTreeMap::new();
        for name in differences.keys() {
            printed.insert(name.clone(), fs::read(folder.join(format!("{name}.out")))?);
        }
        Ok(Self {
            count: files(&folder, "out")?.len(),
            differences,
            printed,
        })
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::File::options().append(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Takes `regression.diffs` apart: a patch for each test, with names in its head that are the same
/// everywhere.
fn patches(differences: &str) -> BTreeMap<String, String> {
    let mut patches = BTreeMap::new();
    for section in format!("\n{differences}").split("\ndiff ").skip(1) {
        let mut lines = section.lines();
        let name = lines
            .next()
            .and_then(|head| Path::new(head).file_stem())
            .unwrap_or_default()
            .to_string_lossy();
        let mut patch = format!("--- expected/{name}.out\n+++ results/{name}.out\n");
        for line in lines.skip_while(|line| !line.starts_with("@@")) {
            patch.push_str(line);
            patch.push('\n');
        }
        patches.insert(name.into_owned(), patch);
    }
    patches
}

/// The lines that a patch takes away and adds: where they stand differs between minor versions.
fn changes(patch: &str) -> Vec<&str> {
    patch
        .lines()
        .skip_while(|line| !line.starts_with("@@"))
        .filter(|line| line.starts_with(['-', '+']))
        .collect()
}

fn read_patches(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut patches = BTreeMap::new();
    if folder.exists() {
        for path in files(folder, "patch")? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            patches.insert(name.into_owned(), fs::read_to_string(&path)?);
        }
    }
    Ok(patches)
}

/// The files in a folder whose names end so.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Makes `patches` those in the folder.
fn write_patches(folder: &Path, patches: &BTreeMap<String, String>) -> Result<()> {
    for name in read_patches(folder)?.keys() {
        fs::remove_file(folder.join(format!("{name}.patch")))?;
    }
    fs::create_dir_all(folder)?;
    for (name, patch) in patches {
        fs::write(folder.join(format!("{name}.patch")), patch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFFERENCES: &str = "\
diff -U3 /a/expected/copy.out /b/results/copy.out
--- /a/expected/copy.out\t2026-11-24 03:08:51 +0000
+++ /b/results/copy.out\t2026-11-24 03:08:54 +0000
@@ -1,3 +1,3 @@
 diff is a word
-one
+two
diff -U3 /a/expected/int_1.out /b/results/int.out
--- /a/expected/int_1.out\t2026-11-24 03:08:51 +0000
+++ /b/results/int.out\t2026-11-24 03:08:54 +0000
@@ -7 +7,2 @@
+--- three
";

    #[test]
    fn each_test_has_its_patch_without_paths_and_times() {
        let patches = patches(DIFFERENCES);
        assert_eq!(patches.keys().collect::<Vec<_>>(), ["copy", "int"]);
        assert!(patches["copy"].starts_with("--- expected/copy.out\n+++ results/copy.out\n@@"));
        assert_eq!(changes(&patches["copy"]), ["-one", "+two"]);
        assert_eq!(changes(&patches["int"]), ["+--- three"]);
    }

    #[test]
    fn patches_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("15");
        write_patches(&folder, &patches(DIFFERENCES)).unwrap();
        assert_eq!(read_patches(&folder).unwrap(), patches(DIFFERENCES));
        write_patches(&folder, &BTreeMap::new()).unwrap();
        assert!(read_patches(&folder).unwrap().is_empty());
    }
}
