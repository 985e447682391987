//! `cargo xtask bare`: README's two commands on a machine that has nothing but Rust.
//!
//! The machine is a Debian in a folder, with namespaces of its own: an init that reaps, both addresses
//! of `localhost` in `/etc/hosts`, homes that are closed to others, and of packages only those that
//! every installation has. The toolchain is this machine's; what it needs to reach its registries comes
//! along from the environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nix::unistd::geteuid;

use crate::debian::{self, Layer};
use crate::{run, workspace};

/// The packages that it has besides the essential ones.
const PACKAGES: &str = "ca-certificates,curl,git,sudo,tini,procps";

/// The variables that tell clients of registries how to reach them: these, and those that begin so.
const REGISTRIES: [&str; 16] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_",
    "npm_config_",
    "NPM_CONFIG_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_HTTP_",
    "CARGO_NET_",
];

/// The arguments of `bare`.
#[derive(Args)]
pub struct Arguments {
    /// The release of Debian
    #[arg(long, value_name = "NAME", default_value = "bookworm")]
    debian: Debian,

    /// The user who types the commands: root, or one without sudo, for whom root installs the packages
    #[arg(long, value_name = "NAME", default_value = "dev")]
    user: Typist,

    /// No more than `./x up` and a login
    #[arg(long, conflicts_with = "words")]
    up: bool,

    /// Further arguments of `./x test`, such as `-- --only unit python`
    #[arg(last = true)]
    words: Vec<String>,
}

/// The releases with a PostgreSQL that is served.
#[derive(Clone, Copy, ValueEnum)]
enum Debian {
    /// Debian 12
    Bookworm,
    /// Debian 13
    Trixie,
}

/// The user who types the commands.
#[derive(Clone, Copy, ValueEnum)]
enum Typist {
    /// the superuser
    Root,
    /// an ordinary user
    Dev,
}

/// Runs both commands.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "only root can enter a Debian of its own"
    );
    let release = arguments.debian.to_possible_value().context("no name")?;
    let user = arguments.user.to_possible_value().context("no name")?;
    let (release, user) = (release.get_name(), user.get_name());
    let folder = workspace::target_directory()?.join("bare");
    fs::create_dir_all(&folder)?;
    let debian = debian(&folder, release)?;

    let layer = Layer::new_in(&folder)?;
    clone(&layer.path(), user)?;
    layer.bring([workspace::root().join("tests/bare/inside.sh")])?;

    let toolchain = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let mut test = layer.enter(&debian);
    // Process 1 is an init that reaps, as every machine has one.
    test.args(["tini", "-s", "--", "bash", "/test/inside.sh", user])
        .env("TOOLCHAIN", toolchain.trim())
        .envs(std::env::vars().filter(|(name, _)| is_for_registries(name)));
    if arguments.up {
        test.arg("up");
    }
    run::run(test.args(&arguments.words))
        .with_context(|| format!("on Debian's {release}, as {user}"))
}

fn is_for_registries(name: &str) -> bool {
    // Folders of this machine are not there.
    let is_local = name == "PIP_FIND_LINKS";
    let is_known = REGISTRIES
        .iter()
        .any(|known| match known.strip_suffix('_') {
            Some(_) => name.starts_with(known),
            None => name == *known,
        });
    is_known && !is_local
}

/// The Debian, made once: with the users, and with what it takes to reach the registries.
fn debian(folder: &Path, release: &str) -> Result<PathBuf> {
    let root = folder.join(release);
    debian::make(&root, release, PACKAGES, finish)?;
    Ok(root)
}

/// Gives it its addresses, its users, and what clients need to reach their registries.
fn finish(new: &Path) -> Result<()> {
    fs::write(
        new.join("etc/hosts"),
        "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
    )?;
    fs::write(
        new.join("etc/apt/apt.conf.d/90yes"),
        "APT::Get::Assume-Yes \"true\";\n",
    )?;
    // It is thrown away if the machine goes down: nothing has to be on the disk before the next step.
    fs::write(new.join("etc/dpkg/dpkg.cfg.d/fast"), "force-unsafe-io\n")?;
    let authorities = Path::new("/usr/local/share/ca-certificates");
    for entry in fs::read_dir(authorities).into_iter().flatten() {
        let entry = entry?;
        let into = new.join("usr/local/share/ca-certificates");
        fs::copy(entry.path(), into.join(entry.file_name()))?;
    }
    // How this machine's clients reach their registries; the new root's own user is root.
    let home = std::env::home_dir().context("the home directory is unknown")?;
    for (from, into) in [
        (PathBuf::from("/etc/pip.conf"), "etc/pip.conf"),
        (home.join(".npmrc"), "root/.npmrc"),
        (home.join(".cargo/config.toml"), "root/.cargo/config.toml"),
    ] {
        let copy = new.join(into);
        if from.is_file() {
            fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
            fs::copy(from, copy)?;
        }
    }
    let mut setup = Command::new("chroot");
    setup.arg(new).args([
        "sh",
        "-ec",
        "update-ca-certificates; useradd --create-home --shell /bin/bash dev
         cp -r /root/.npmrc /root/.cargo /home/dev 2>/dev/null || true
         chown -R dev:dev /home/dev; chmod 700 /root /home/dev",
    ]);
    run::output(&mut setup)?;
    Ok(())
}

/// Clones what is committed into the user's home.
fn clone(upper: &Path, user: &str) -> Result<()> {
    let home = match user {
        "root" => upper.join("root"),
        user => upper.join("home").join(user),
    };
    fs::create_dir_all(&home)?;
    let checkout = home.join("dsql_iam");
    let mut clone = Command::new("git");
    clone
        .args(["clone", "--quiet", "--no-hardlinks"])
        .arg(workspace::root())
        .arg(&checkout);
    run::run(&mut clone)?;
    // The users of that Debian: its first is 1000, as everywhere.
    if user != "root" {
        run::run(Command::new("chown").args(["-R", "1000:1000"]).arg(&home))?;
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    Ok(())
}
