//! One PostgreSQL server with the extension: made ready, started, stopped.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::account::{Account, without_pg_variables};
use crate::directory::Directory;
use crate::environment::Environment;
use crate::postgres::Postgres;
use crate::settings::{self, Settings};
use crate::{certificates, mirror, prerequisites, random, run, samples, workspace};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// The port to try first.
const DEFAULT_PORT: u16 = 5432;

/// Which server is wanted.
#[derive(Debug, Default)]
pub struct Options {
    /// The folder that holds everything; nothing means `dsql-iam` in cargo's target folder.
    pub dir: Option<PathBuf>,
    /// The TCP port; nothing means the one of last time, else 5432 or the next that is free.
    pub port: Option<u16>,
    /// The PostgreSQL to build for and to run; nothing means one that is found.
    pub pg_config: Option<PathBuf>,
    /// Whether to build the extension with optimisation.
    pub release: bool,
}

/// What has to be the same at the next `up`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// The cluster's id.
    cluster_id: String,
    /// The TCP port.
    port: u16,
    /// The folder of the mirrored programs.
    bin: PathBuf,
    /// The folder of the programs they were copied from.
    copied_from: PathBuf,
}

/// A server whose files are all there.
#[derive(Debug)]
pub struct Server {
    /// The folder and the paths in it.
    pub directory: Directory,
    /// Whether a server that was started before would now be another one.
    pub changed: bool,
    account: Account,
    state: State,
    /// Held while this is worked on.
    lock: Option<fs::File>,
}

impl Server {
    /// Builds the extension, installs it into a private mirror of PostgreSQL, and makes cluster,
    /// certificates, identities and `env.sh`, as far as they are not there from last time.
    pub fn prepare(options: &Options) -> Result<Self> {
        let postgres = prerequisites::postgres(options.pg_config.as_deref())?;
        let account = Account::find()?;
        let target = workspace::target_directory()?;
        let dir = match &options.dir {
            Some(dir) => dir.clone(),
            None => default_directory()?,
        };
        // The builds come first: no other `up` has to wait for the lock meanwhile.
        let library = workspace::build_extension(&postgres, &target, options.release)?;
        let command = workspace::build_command(&target)?;

        let directory = Directory::open(&dir, &target, &account)?;
        let lock = directory.lock()?;
        check_same_major(&directory, &postgres)?;
        let before = State::load(&directory)?;
        let running = running(&directory);
        leave_other_installation(&directory, &account, before.as_ref(), &postgres, running)?;

        let now = OffsetDateTime::now_utc();
        let installed = mirror::install(&postgres, &library, &directory.installation())?;
        let certificates = certificates::prepare(&directory.tls(), &account, now)?;
        samples::prepare(&directory.iam(), &account, now)?;
        samples::write_profiles(&directory.aws(), &directory.iam())?;
        if !directory.data().exists() {
            create_cluster(&directory, &account, &installed.bin)?;
        }

        let occupied = before.as_ref().map(|state| state.port);
        let state = State {
            port: choose_port(options.port, occupied, running)?,
            cluster_id: match before {
                Some(state) => state.cluster_id,
                None => random::capitals_and_digits(26)?.to_lowercase(),
            },
            bin: installed.bin,
            copied_from: postgres.bin.clone(),
        };
        let sockets = directory.sockets(&account)?;
        let settings = Settings {
            port: state.port,
            sockets: &sockets,
            certificates: postgres.tls.then_some(&certificates),
            cluster_id: &state.cluster_id,
            iam: &directory.iam(),
        };
        let settings_file = directory.data().join(settings::FILE);
        let reconfigured = mirror::write(&settings_file, settings.render().as_bytes(), 0o600)?;
        account.own(&settings_file, 0o600)?;
        if !postgres.tls {
            eprintln!(
                "warning: this PostgreSQL was built without TLS, so tokens travel unencrypted and \
                 dsql_iam.require_tls is off; Aurora DSQL always asks for TLS"
            );
        }
        Environment {
            port: state.port,
            sockets: &sockets,
            authority: postgres.tls.then_some(&certificates.authority),
            cluster_id: &state.cluster_id,
            iam: &directory.iam(),
            aws: &directory.aws(),
            command: &command,
            programs: &state.bin,
        }
        .write(&directory.environment())?;
        state.save(&directory)?;
        Ok(Self {
            changed: installed.changed || certificates.changed || reconfigured,
            directory,
            account,
            state,
            lock: Some(lock),
        })
    }

    /// The server that an earlier `up` made in a folder; nothing if there is none.
    pub fn existing(dir: &Path) -> Result<Option<Self>> {
        let Ok(directory) = Directory::existing(dir) else {
            return Ok(None);
        };
        let lock = directory.lock()?;
        let Some(state) = State::load(&directory)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            directory,
            changed: false,
            account: Account::find()?,
            state,
            lock: Some(lock),
        }))
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.state.port
    }

    /// Whether it is running.
    pub fn is_running(&self) -> bool {
        running(&self.directory)
    }

    /// Starts it in the background, its log in a file, and waits until it accepts connections.
    pub fn start_detached(&self) -> Result<()> {
        let path = self.directory.log();
        let mut log = fs::File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)?;
        self.account.own(&path, 0o600)?;
        let before = log.seek(SeekFrom::End(0))?;
        let mut start = self.pg_ctl("start");
        start.arg("--log").arg(&path);
        if let Err(error) = run::output(&mut start) {
            let mut said = String::new();
            log.seek(SeekFrom::Start(before))?;
            log.read_to_string(&mut said)?;
            if said.is_empty() {
                return Err(error);
            }
            bail!("the server did not start; its log says:\n{said}");
        }
        Ok(())
    }

    /// Starts it as a child of this process, its log on the terminal, and waits until it accepts
    /// connections. It gets a process group of its own, so that Ctrl-C reaches this process alone.
    pub fn start_attached(&self) -> Result<Child> {
        let mut child = self
            .account
            .command(self.state.bin.join("postgres"))
            .arg("-D")
            .arg(self.directory.data())
            .current_dir(self.directory.root())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("the server could not be started")?;
        let deadline = Instant::now() + PATIENCE;
        while !ready(&self.directory, child.id()) {
            if let Some(status) = child.try_wait()? {
                bail!("the server did not start ({status}); its log is above");
            }
            if Instant::now() > deadline {
                child.kill()?;
                bail!(
                    "the server was not ready after {} seconds",
                    PATIENCE.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(child)
    }

    /// Stops it, closing the connections it has, and waits until it is gone.
    pub fn stop(&self) -> Result<()> {
        run::output(self.pg_ctl("stop").args(["--mode", "fast"]))
            .context("the server could not be stopped")?;
        Ok(())
    }

    /// Installs the extension in the database, or brings it up to the version of the files.
    pub fn create_extension(&self) -> Result<()> {
        let mut psql = without_pg_variables(self.state.bin.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"])
            .args(["--dbname", &self.superuser()?])
            .args(["--command", "SET client_min_messages = warning"])
            .args(["--command", "CREATE EXTENSION IF NOT EXISTS dsql_iam"])
            .args(["--command", "ALTER EXTENSION dsql_iam UPDATE"]);
        run::output(&mut psql).context("the extension could not be created in the database")?;
        Ok(())
    }

    /// Lets other `cargo xtask` work on the folder, while this one only waits.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// How the superuser connects.
    fn superuser(&self) -> Result<String> {
        let sockets = self.directory.sockets(&self.account)?;
        Ok(format!(
            "host={} port={} user=postgres dbname=postgres",
            settings::quote_conninfo(&sockets.to_string_lossy()),
            self.state.port
        ))
    }

    fn pg_ctl(&self, action: &str) -> std::process::Command {
        pg_ctl(&self.directory, &self.account, &self.state.bin, action)
    }
}

impl State {
    fn load(directory: &Directory) -> Result<Option<Self>> {
        let path = directory.state();
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .with_context(|| format!("{} could not be read", path.display()))
                .map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn save(&self, directory: &Directory) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        mirror::write(&directory.state(), json.as_bytes(), 0o644)?;
        Ok(())
    }
}

/// The folder that is used if none is named.
pub fn default_directory() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("dsql-iam"))
}

/// A port that nothing listens on, at or after `from`.
pub fn free_port(from: u16) -> Result<u16> {
    (from..=u16::MAX)
        .find(|port| is_free(*port))
        .with_context(|| format!("no port from {from} on is free"))
}

/// Settles the port: the one asked for, else last time's, else one that is free.
fn choose_port(asked: Option<u16>, last: Option<u16>, running: bool) -> Result<u16> {
    if running && last.is_some() && (asked.is_none() || asked == last) {
        return last.context("there is a last one");
    }
    match (asked, last) {
        (Some(port), _) if is_free(port) => Ok(port),
        (Some(port), _) => bail!("something else listens on port {port}: give another --port"),
        (None, Some(port)) if is_free(port) => Ok(port),
        (None, _) => free_port(DEFAULT_PORT),
    }
}

fn is_free(port: u16) -> bool {
    [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ]
    .into_iter()
    .all(|address| match TcpListener::bind((address, port)) {
        Ok(_) => true,
        // A machine without IPv6 is no reason to refuse a port.
        Err(error) => error.kind() == ErrorKind::AddrNotAvailable,
    })
}

/// A cluster can only be run by the major version that made it.
fn check_same_major(directory: &Directory, postgres: &Postgres) -> Result<()> {
    let Ok(version) = fs::read_to_string(directory.data().join("PG_VERSION")) else {
        return Ok(());
    };
    let version = version.trim();
    if version != postgres.major.to_string() {
        bail!(
            "{} holds a cluster of PostgreSQL {version}, and {} is of PostgreSQL {}: give another \
             --dir, or remove this one",
            directory.root().display(),
            postgres.pg_config.display(),
            postgres.major
        );
    }
    Ok(())
}

/// If the mirror is one of another installation of the same major version, stops what runs from it
/// and removes it.
fn leave_other_installation(
    directory: &Directory,
    account: &Account,
    before: Option<&State>,
    postgres: &Postgres,
    running: bool,
) -> Result<()> {
    let Some(state) = before.filter(|state| state.copied_from != postgres.bin) else {
        return Ok(());
    };
    if running {
        run::output(&mut pg_ctl(directory, account, &state.bin, "stop"))?;
    }
    fs::remove_dir_all(directory.installation())?;
    Ok(())
}

/// Creates the data directory. It is made beside its place and moved there when complete, so that
/// an interrupted run leaves none that is half done.
fn create_cluster(directory: &Directory, account: &Account, bin: &Path) -> Result<()> {
    let data = directory.data();
    let unfinished = directory.root().join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    account.directory(&unfinished, 0o700)?;
    let initdb = |locale: &str| {
        let mut command = account.command(bin.join("initdb"));
        command
            .args([
                "--username",
                "postgres",
                "--encoding",
                "UTF8",
                "--locale",
                locale,
            ])
            .args(["--auth-local", "peer", "--auth-host", "scram-sha-256"])
            .args(["--no-sync", "--no-instructions", "--pgdata"])
            .arg(&unfinished)
            .current_dir(directory.root());
        run::output(&mut command)
    };
    initdb("C.UTF-8")
        .or_else(|_| initdb("C"))
        .context("the cluster could not be created")?;

    let users = ["root", &account.name, &account.invoker];
    let mut users = users.to_vec();
    users.sort_unstable();
    users.dedup();
    let configuration = unfinished.join("postgresql.conf");
    let text = fs::read_to_string(&configuration)? + "\n" + settings::INCLUDE + "\n";
    for (name, content) in [
        ("postgresql.conf", text.as_str()),
        ("pg_hba.conf", settings::HBA),
        ("pg_ident.conf", &settings::ident(users)),
    ] {
        mirror::write(&unfinished.join(name), content.as_bytes(), 0o600)?;
        account.own(&unfinished.join(name), 0o600)?;
    }
    fs::rename(&unfinished, &data)?;
    Ok(())
}

fn pg_ctl(
    directory: &Directory,
    account: &Account,
    bin: &Path,
    action: &str,
) -> std::process::Command {
    let mut command = account.command(bin.join("pg_ctl"));
    command
        .args([action, "--silent", "--wait", "--timeout"])
        .arg(PATIENCE.as_secs().to_string())
        .arg("--pgdata")
        .arg(directory.data())
        .current_dir(directory.root());
    command
}

/// The lines of the file in which a server says who and how far it is.
fn pid_file(directory: &Directory) -> Option<(u32, Vec<String>)> {
    let text = fs::read_to_string(directory.data().join("postmaster.pid")).ok()?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let pid = lines.first()?.trim().parse().ok()?;
    Some((pid, lines))
}

/// Whether the server with this process id says that it accepts connections.
fn ready(directory: &Directory, process: u32) -> bool {
    let Some((pid, lines)) = pid_file(directory) else {
        return false;
    };
    pid == process && lines.get(7).is_some_and(|status| status.trim() == "ready")
}

/// Whether a server runs on the data directory. A server works in its data directory, which tells
/// it from a stranger that has got the process id of one that died.
fn running(directory: &Directory) -> bool {
    let Some((pid, _)) = pid_file(directory) else {
        return false;
    };
    let Ok(id) = i32::try_from(pid) else {
        return false;
    };
    let alive = matches!(kill(Pid::from_raw(id), None), Ok(()) | Err(Errno::EPERM));
    alive
        && match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(works_in) => works_in == directory.data(),
            Err(_) => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_asked_for_and_taken_is_an_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(choose_port(Some(port), None, false).is_err());
        assert_ne!(choose_port(None, Some(port), false).unwrap(), port);
        // A server of our own has taken it.
        assert_eq!(choose_port(None, Some(port), true).unwrap(), port);
        assert_eq!(choose_port(Some(port), Some(port), true).unwrap(), port);
    }
}
