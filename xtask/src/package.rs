//! `cargo xtask package`: a Debian package for one major version of PostgreSQL; and its test, which
//! installs it in a Debian of its own.
//!
//! `dsql-iam install --destdir` lays the extension out, as for anybody else who packages it;
//! `dpkg-deb` makes the package.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::unistd::geteuid;

use crate::debian::{self, Layer};
use crate::postgres::Postgres;
use crate::{apt, prerequisites, run, workspace};

/// The scripts that the package runs as it is installed and removed.
const MAINTAINER_SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The arguments of `package`.
#[derive(Args)]
pub struct Arguments {
    /// The major version of PostgreSQL [default: the one that is found]
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u32).range(14..=19))]
    pg: Option<u32>,

    /// Build without optimisation
    #[arg(long)]
    debug: bool,
}

/// Makes the package, and says where it is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let postgres = match arguments.pg {
        Some(major) => prerequisites::postgres_of(major)?,
        None => prerequisites::postgres(None)?,
    };
    let package = make(&postgres, !arguments.debug)?;
    println!("{}", package.display());
    Ok(())
}

fn name(major: u32) -> String {
    format!("postgresql-{major}-dsql-iam")
}

/// The folder that a package is made of, below the target folder.
pub fn root(target: &Path, major: u32) -> PathBuf {
    target.join("package").join(name(major))
}

/// Builds everything, gives the path of the package.
pub fn make(postgres: &Postgres, release: bool) -> Result<PathBuf> {
    apt::package_tools()?;
    let major = postgres.major;
    let target = workspace::target_directory()?;
    let library = workspace::build_extension(postgres, &target, release)?;
    let command = workspace::build_command_as(&target, release)?.join("dsql-iam");

    let folder = target.join("package");
    let root = root(&target, major);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let lib = root.join(format!("usr/lib/postgresql/{major}"));
    let share = root.join(format!("usr/share/postgresql/{major}"));
    let extra = share.join("dsql-iam");
    for folder in [&lib.join("bin"), &extra, &share.join("man/man1")] {
        fs::create_dir_all(folder)?;
    }
    lay_out_extension(
        &command,
        postgres,
        &library,
        &folder,
        [&lib.join("lib"), &share.join("extension")],
    )?;
    fs::copy(&command, lib.join("bin/dsql-iam"))?;
    let printed = |arguments: &[&str]| run::output(Command::new(&command).args(arguments));
    for shell in ["bash", "zsh", "fish"] {
        fs::write(
            extra.join(format!("dsql-iam.{shell}")),
            printed(&["completions", shell])?,
        )?;
    }
    let pages = share.join("man/man1");
    run::output(Command::new(&command).args(["man", "--into"]).arg(&pages))?;
    let pages = fs::read_dir(&pages)?.collect::<Result<Vec<_>, _>>()?;
    let pages = pages.iter().map(fs::DirEntry::path);
    run::run(Command::new("gzip").args(["-9n"]).args(pages))?;
    let documentation = root.join("usr/share/doc").join(name(major));
    fs::create_dir_all(&documentation)?;
    fs::write(documentation.join("copyright"), COPYRIGHT)?;

    let binaries = [lib.join("lib/dsql_iam.so"), lib.join("bin/dsql-iam")];
    for binary in &binaries {
        run::run(Command::new("strip").arg("--strip-unneeded").arg(binary))?;
    }
    control(&root, postgres, &binaries, &folder)?;
    let package = folder.join(format!(
        "{}_{}_{}.deb",
        name(major),
        workspace::version(),
        architecture()?
    ));
    let mut deb = Command::new("dpkg-deb");
    deb.args(["--root-owner-group", "--build"])
        .arg(&root)
        .arg(&package);
    run::output(&mut deb)?;
    Ok(package)
}

/// Has `dsql-iam install` lay the files out, and moves them to where Debian has them: a PostgreSQL
/// that was fetched has them elsewhere.
fn lay_out_extension(
    command: &Path,
    postgres: &Postgres,
    library: &Path,
    folder: &Path,
    [modules, extensions]: [&Path; 2],
) -> Result<()> {
    let staged = tempfile::tempdir_in(folder)?;
    let mut install = Command::new(command);
    install
        .args(["install", "--pg-config"])
        .arg(&postgres.pg_config)
        .arg("--library")
        .arg(library)
        .arg("--destdir")
        .arg(staged.path())
        .current_dir(workspace::root());
    run::output(&mut install)?;
    let below = |path: &Path| staged.path().join(path.strip_prefix("/").unwrap_or(path));
    fs::rename(below(&postgres.pkglib), modules)?;
    fs::rename(below(&postgres.share.join("extension")), extensions)?;
    Ok(())
}

/// Writes the package's control files.
fn control(root: &Path, postgres: &Postgres, binaries: &[PathBuf], folder: &Path) -> Result<()> {
    let major = postgres.major;
    let debian = root.join("DEBIAN");
    fs::create_dir(&debian)?;
    let text = format!(
        "\
Package: {}
Version: {}
Architecture: {}
Maintainer: The dsql_iam contributors <noreply@github.com>
Section: database
Priority: optional
Homepage: {}
Depends: postgresql-{major} (>= {}), {}
Description: Amazon Aurora DSQL authentication for PostgreSQL {major}
 Makes an unpatched PostgreSQL authenticate the way Amazon Aurora DSQL does:
 authentication tokens as passwords, IAM policies, and AWS IAM GRANT. For
 development and tests without AWS.
 .
 A server loads it after dsql-iam setup, and not before.
",
        name(major),
        workspace::version(),
        architecture()?,
        env!("CARGO_PKG_REPOSITORY"),
        // An older minor release may lack functions that the headers of this one call.
        postgres.release,
        libraries(binaries, folder)?,
    );
    fs::write(debian.join("control"), text)?;
    for script in MAINTAINER_SCRIPTS {
        let source = workspace::root().join("packaging/debian").join(script);
        let text = fs::read_to_string(&source)
            .with_context(|| format!("{} could not be read", source.display()))?;
        let script = debian.join(script);
        fs::write(&script, text.replace("@MAJOR@", &major.to_string()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The packages whose shared libraries the binaries use, with versions, as `dpkg-shlibdeps` says.
fn libraries(binaries: &[PathBuf], folder: &Path) -> Result<String> {
    let source = tempfile::tempdir_in(folder)?;
    fs::create_dir(source.path().join("debian"))?;
    fs::write(
        source.path().join("debian/control"),
        "Source: dsql-iam\n\nPackage: dsql-iam\nArchitecture: any\n",
    )?;
    let mut shlibdeps = Command::new("dpkg-shlibdeps");
    shlibdeps
        .arg("-O")
        .args(binaries)
        .current_dir(source.path());
    let text = run::output(&mut shlibdeps)
        .context("dpkg-shlibdeps (Debian's package dpkg-dev) could not find the dependencies")?;
    let depends = text.trim().strip_prefix("shlibs:Depends=");
    depends
        .map(str::to_owned)
        .context("dpkg-shlibdeps did not answer")
}

fn architecture() -> Result<String> {
    let text = run::output(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(text.trim().to_owned())
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: https://github.com/dsql-iam/dsql_iam

Files: *
Copyright: The dsql_iam contributors
License: Apache-2.0
 See /usr/share/common-licenses/Apache-2.0.
";

/// Makes the package and looks at what is in it; where it is Debian's own PostgreSQL, installs it in a
/// Debian that has that and nothing else, runs a server there and takes the package away. Gives the
/// reason if any of this cannot be done here.
pub fn test(postgres: &Postgres) -> Result<Option<String>> {
    let not_installed =
        |reason: &str| Ok(Some(format!("made and looked at, not installed: {reason}")));
    if let Err(error) = apt::package_tools() {
        return Ok(Some(format!("{error:#}")));
    }
    let package = make(postgres, false)?;
    look_at(&package, postgres.major)?;
    if postgres.debian_version().is_none() {
        return not_installed("this PostgreSQL is no package of Debian's");
    }
    if !geteuid().is_root() {
        return not_installed("only root can enter a Debian of its own");
    }
    let Some(release) =
        debian::Release::of_this_machine().filter(|one| one.major == postgres.major)
    else {
        return not_installed("this Debian's own PostgreSQL is of another version");
    };
    let target = workspace::target_directory()?;
    let debian = debian::can_be_entered_in(&target).and_then(|()| release.with_postgres(&target));
    let debian = match debian {
        Ok(debian) => debian,
        Err(error) => return not_installed(&format!("{error:#}")),
    };

    let layer = Layer::new_in(&target)?;
    let scripts = ["tests/package/inside.sh", "tests/package/container.sh"];
    layer.bring(scripts.map(|script| workspace::root().join(script)))?;
    let files = layer.files()?;
    fs::copy(&package, files.join("package.deb"))?;
    lay_out_image(postgres, &target, &files.join("out"))?;
    let mut test = layer.enter(&debian);
    test.args(["bash", "-ec"])
        .arg("bash /test/inside.sh; bash /test/container.sh")
        .env("VERSION", postgres.major.to_string());
    run::run(&mut test)?;
    Ok(None)
}

/// Looks whether a package has what it should, for its own major version and no other.
fn look_at(package: &Path, major: u32) -> Result<()> {
    let ask = |arguments: &[&str]| {
        let mut deb = Command::new("dpkg-deb");
        deb.arg(arguments[0]).arg(package).args(&arguments[1..]);
        run::output(&mut deb)
    };
    let field = |field: &str| Ok::<_, anyhow::Error>(ask(&["--field", field])?.trim().to_owned());
    ensure!(
        field("Package")? == name(major),
        "it is {}",
        field("Package")?
    );
    ensure!(field("Version")? == workspace::version());
    let depends = field("Depends")?;
    ensure!(
        depends.starts_with(&format!("postgresql-{major} (>= {major}"))
            && depends.contains("libc6 (>= "),
        "it depends on {depends}"
    );

    // `-rwxr-xr-x root/root  123 2026-01-01 00:00 ./usr/lib/…`
    let list = ask(&["--contents"])?;
    let entries: Vec<(&str, &str, &str)> = list
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?, words.nth(3)?))
        })
        .collect();
    let (lib, share) = (
        format!("./usr/lib/postgresql/{major}"),
        format!("./usr/share/postgresql/{major}"),
    );
    let version = workspace::version();
    for (mode, path) in [
        ("-rwxr-xr-x", format!("{lib}/lib/dsql_iam.so")),
        ("-rwxr-xr-x", format!("{lib}/bin/dsql-iam")),
        ("-rw-r--r--", format!("{share}/extension/dsql_iam.control")),
        (
            "-rw-r--r--",
            format!("{share}/extension/dsql_iam--{version}.sql"),
        ),
        ("-rw-r--r--", format!("{share}/man/man1/dsql-iam.1.gz")),
        (
            "-rw-r--r--",
            format!("{share}/man/man1/dsql-iam-token.1.gz"),
        ),
        ("-rw-r--r--", format!("{share}/dsql-iam/dsql-iam.bash")),
        ("-rw-r--r--", format!("{share}/dsql-iam/dsql-iam.zsh")),
        ("-rw-r--r--", format!("{share}/dsql-iam/dsql-iam.fish")),
        (
            "-rw-r--r--",
            format!("./usr/share/doc/{}/copyright", name(major)),
        ),
    ] {
        let found = entries.iter().find(|entry| entry.2 == path);
        let (found, owner, _) = found.with_context(|| format!("it lacks {path}:\n{list}"))?;
        ensure!(
            (*found, *owner) == (mode, "root/root"),
            "{path} has mode {found} and is {owner}'s"
        );
    }
    // Two of them can be there at once: what both have is in folders of their own.
    let own = [&lib, &share, &format!("./usr/share/doc/{}", name(major))];
    let shared = entries.iter().find(|(mode, _, path)| {
        !mode.starts_with('d') && !own.iter().any(|own| path.starts_with(&format!("{own}/")))
    });
    ensure!(
        shared.is_none(),
        "it has files that other packages have too: {shared:?}"
    );

    let folder = tempfile::tempdir()?;
    let extracted = folder.path().join("control");
    run::output(
        Command::new("dpkg-deb")
            .arg("--control")
            .arg(package)
            .arg(&extracted),
    )?;
    for script in MAINTAINER_SCRIPTS {
        let text = fs::read_to_string(extracted.join(script))?;
        ensure!(
            text.contains(&format!("\nmajor={major}\n")) && !text.contains("@MAJOR@"),
            "{script} is not for PostgreSQL {major}"
        );
    }
    Ok(())
}

/// Runs the part of the Dockerfile that lays out what the image gets, behind the one that compiles:
/// as it stands, but for the folder, and for the library, which is one that is compiled already.
fn lay_out_image(postgres: &Postgres, target: &Path, out: &Path) -> Result<()> {
    const INSTALL: &str = "target/release/dsql-iam install --destdir /out";
    let library = workspace::build_extension(postgres, target, false)?;
    let command = workspace::build_command_as(target, false)?.join("dsql-iam");
    let file = workspace::root().join("packaging/docker/Dockerfile");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("{} could not be read", file.display()))?
        .replace("\\\n", " ");
    let steps = text
        .lines()
        .filter(|line| line.starts_with("RUN "))
        .find_map(|line| line.find(INSTALL).map(|start| &line[start..]))
        .context("the Dockerfile no longer lays anything out")?;
    ensure!(
        text.contains("\nCOPY --from=build /out /\n"),
        "the Dockerfile does not take what it laid out"
    );
    let steps = steps
        .replacen(
            INSTALL,
            &format!("{INSTALL} --library {}", shell(&library)?),
            1,
        )
        .replace("/out", &shell(out)?);

    // The checkout as it is copied into the image, with the command compiled.
    let source = tempfile::tempdir_in(target)?;
    for entry in fs::read_dir(workspace::root())? {
        let entry = entry?;
        if entry.file_name() != "target" {
            symlink(entry.path(), source.path().join(entry.file_name()))?;
        }
    }
    let release = source.path().join("target/release");
    fs::create_dir_all(&release)?;
    fs::copy(&command, release.join("dsql-iam"))?;
    run::output(
        Command::new("bash")
            .args(["-o", "pipefail", "-ec", &steps])
            .env("PG", postgres.major.to_string())
            .current_dir(source.path()),
    )?;
    Ok(())
}

/// Quotes a path for the shell.
fn shell(path: &Path) -> Result<String> {
    let path = path.to_str().context("a path that is not UTF-8")?;
    Ok(shlex::try_quote(path)?.into_owned())
}
