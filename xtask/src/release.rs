//! `cargo xtask release`: every file that a release has, and a test that installs from them alone.
//!
//! For each version of PostgreSQL a package for Debian and an archive for any other system; the command by
//! itself, linked statically; the sources as PGXN takes them; checksums. `.github/workflows/release.yml` runs
//! this for each architecture, and uploads what it made.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::unistd::geteuid;

use crate::debian::{self, Layer, Release};
use crate::postgres::SUPPORTED;
use crate::{package, prerequisites, run, workspace};

/// The Debian that a release is built on: the oldest that is served, since what needs the C library of a
/// newer one does not start there.
const OLDEST_DEBIAN: &str = debian::RELEASES[0].name;
/// The version that has no release of its own yet, and no package of PostgreSQL to depend on.
const UNRELEASED: u32 = 19;

/// The licence, which goes along with each copy: the package has Debian's.
const LICENSE: &str = "LICENSE";

/// The arguments of `release`.
#[derive(Args)]
pub struct Arguments {
    /// Make the files of whatever the checkout holds: it need not be a tag, nor this the Debian that
    /// releases are built on
    #[arg(long)]
    dry_run: bool,

    /// The major versions of PostgreSQL [default: all that are released]
    #[arg(long, value_name = "MAJOR", num_args = 1..,
          value_parser = clap::value_parser!(u32).range(14..=19))]
    pg: Vec<u32>,

    /// Install from the files alone in each bare Debian whose PostgreSQL is among --pg, and log in; as root
    #[arg(long)]
    install: bool,

    /// Build without optimisation
    #[arg(long, requires = "dry_run")]
    debug: bool,
}

/// Makes the files in `target/release-files`, and prints their names.
///
/// # Errors
/// If the checkout is no release's, or a file cannot be made or installed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Err(fault) = is_a_release() {
        if !arguments.dry_run {
            return Err(fault.context("not a release; --dry-run makes its files all the same"));
        }
        println!("not a release: {fault:#}");
    }
    let majors: Vec<u32> = match &*arguments.pg {
        [] => SUPPORTED.filter(|major| *major != UNRELEASED).collect(),
        named => named.to_vec(),
    };
    if arguments.install {
        let own = debian::RELEASES.map(|release| release.major);
        ensure!(
            own.iter().any(|major| majors.contains(major)),
            "--install needs one of PostgreSQL {own:?} among --pg"
        );
        ensure!(
            geteuid().is_root(),
            "only root can enter a Debian of its own"
        );
    }
    let target = workspace::target_directory()?;
    let folder = target.join("release-files");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for &major in &majors {
        let postgres = prerequisites::postgres_of(major)?;
        let package = package::make(&postgres, !arguments.debug)?;
        let name = package.file_name().context("a package has a name")?;
        fs::copy(&package, folder.join(name))?;
        archive(&package::root(&target, major), major, &folder)?;
    }
    command(&target, arguments.debug, &folder)?;
    sources(&folder)?;
    // Beside the command, which is a file by itself.
    fs::copy(workspace::root().join(LICENSE), folder.join(LICENSE))?;
    let names = checksums(&folder)?;
    println!("in {}:", folder.display());
    for name in names {
        println!("  {name}");
    }
    if arguments.install {
        for release in debian::RELEASES {
            if majors.contains(&release.major) {
                println!("on Debian's {}:", release.name);
                install(release, &target, &folder)?;
            }
        }
    }
    Ok(())
}

/// Whether the checkout is that of a tag of this version, unchanged, on the Debian that releases are built on.
fn is_a_release() -> Result<()> {
    let git = |arguments: &[&str]| {
        run::output(
            Command::new("git")
                .args(arguments)
                .current_dir(workspace::root()),
        )
    };
    let tag = format!("v{}", workspace::version());
    let tags = git(&["tag", "--points-at", "HEAD"])?;
    ensure!(
        tags.lines().any(|name| name == tag),
        "the commit has no tag {tag}, which is the version in Cargo.toml"
    );
    let changed = git(&["status", "--porcelain"])?;
    ensure!(
        changed.is_empty(),
        "files differ from the commit:\n{changed}"
    );
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !system.contains(&format!("VERSION_CODENAME={OLDEST_DEBIAN}\n")) {
        bail!("releases are built on Debian's {OLDEST_DEBIAN}, the oldest that is served");
    }
    Ok(())
}

/// The name that files for this machine's kind end in.
fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Packs what the package at `root` holds for systems that are not Debian's, in a layout that says what goes
/// where: `lib` into `pg_config --pkglibdir`, `share` into `pg_config --sharedir`.
fn archive(root: &Path, major: u32, folder: &Path) -> Result<()> {
    let name = format!("dsql_iam-{}-pg{major}-{}", workspace::version(), platform());
    let staged = tempfile::tempdir_in(root)?;
    let inside = staged.path().join(&name);
    for (from, into) in [
        (format!("usr/lib/postgresql/{major}/lib"), "lib"),
        (format!("usr/lib/postgresql/{major}/bin"), "bin"),
        (
            format!("usr/share/postgresql/{major}/extension"),
            "share/extension",
        ),
    ] {
        let into = inside.join(into);
        fs::create_dir_all(&into)?;
        for entry in fs::read_dir(root.join(from))? {
            let entry = entry?;
            fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    let license = workspace::root().join(LICENSE);
    fs::copy(license, inside.join(LICENSE))?;
    // The same files give the same archive.
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--use-compress-program=gzip -n",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    .arg(format!("--mtime={}", commit_time()?))
    .arg("--file")
    .arg(folder.join(format!("{name}.tar.gz")))
    .arg("--directory")
    .arg(staged.path())
    .arg(&name)
    .env("GZIP", "-n");
    run::output(&mut tar)?;
    Ok(())
}

/// When the commit was made, as `tar` takes it.
fn commit_time() -> Result<String> {
    let mut log = Command::new("git");
    log.args(["log", "-1", "--format=@%ct"])
        .current_dir(workspace::root());
    Ok(run::output(&mut log)?.trim().to_owned())
}

/// Builds the command so that it needs no library of the system. It is linked with the C library's static
/// form: musl's would need a second toolchain, for a command that looks up users and hosts as others here do.
fn command(target: &Path, debug: bool, folder: &Path) -> Result<()> {
    let about = run::output(
        Command::new("rustc")
            .arg("-vV")
            .current_dir(workspace::root()),
    )?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not say what it builds for")?;
    let built = target.join("static");
    let mut build = workspace::cargo();
    build
        .args([
            "build",
            "--locked",
            "--package",
            "dsql-iam",
            "--target",
            host,
            "--target-dir",
        ])
        .arg(&built)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    if !debug {
        build.arg("--release");
    }
    run::run(&mut build).context("the static command was not built")?;
    let profile = if debug { "debug" } else { "release" };
    let name = format!("dsql-iam-{}-{}", workspace::version(), platform());
    let file = folder.join(name);
    fs::copy(built.join(host).join(profile).join("dsql-iam"), &file)?;
    run::output(Command::new("strip").arg(&file))?;
    Ok(())
}

/// The sources of the commit, as PGXN takes them: in a folder with the name and the version.
fn sources(folder: &Path) -> Result<()> {
    let name = format!("dsql_iam-{}", workspace::version());
    let mut git = Command::new("git");
    git.args(["archive", "--format=zip"])
        .arg(format!("--prefix={name}/"))
        .arg("--output")
        .arg(folder.join(format!("{name}.zip")))
        .arg("HEAD")
        .current_dir(workspace::root());
    run::output(&mut git)?;
    Ok(())
}

/// Writes `SHA256SUMS`, and gives the names of all files.
fn checksums(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut sums = Command::new("sha256sum");
    let sums = run::output(sums.args(&names).current_dir(folder))?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    names.push("SHA256SUMS".into());
    Ok(names)
}

/// Installs from the files in a Debian that has PostgreSQL, and neither Rust nor a compiler, and logs in.
fn install(on: Release, target: &Path, files: &Path) -> Result<()> {
    let debian = on.with_postgres(target)?;
    let layer = Layer::new_in(target)?;
    let scripts = [
        "tests/release/inside.sh",
        ".github/actions/setup/action.sh",
        ".github/actions/setup/setup.sh",
    ];
    layer.bring(scripts.map(|script| workspace::root().join(script)))?;
    let release = layer.path().join("release");
    fs::create_dir(&release)?;
    for file in fs::read_dir(files)? {
        let file = file?;
        fs::copy(file.path(), release.join(file.file_name()))?;
    }
    let mut test = layer.enter(&debian);
    test.args(["bash", "/test/inside.sh"])
        .env("MAJOR", on.major.to_string());
    run::run(&mut test)
}
