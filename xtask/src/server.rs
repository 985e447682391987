//! One PostgreSQL server with the extension: made ready, started, stopped.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::account::{Account, without_pg_variables};
use crate::certificates::{self, Certificates};
use crate::cluster::{ACCOUNT_ID, Cluster, Linked, REGION};
use crate::directory::Directory;
use crate::environment::Environment;
use crate::postgres::{Postgres, SUPPORTED};
use crate::postmaster::{self, PATIENCE};
use crate::settings::{self, Settings};
use crate::{mirror, ports, prerequisites, random, run, samples, sts, workspace};

/// Which server is wanted.
#[derive(Debug, Default)]
pub struct Options {
    /// The folder that holds everything; nothing means `dsql-iam` in cargo's target folder.
    pub dir: Option<PathBuf>,
    /// The TCP port; nothing means the one of last time, else 5432 or the next that is free.
    pub port: Option<u16>,
    /// The PostgreSQL to build for and to run.
    pub pg_config: Option<PathBuf>,
    /// The major version of PostgreSQL. Without it and `pg_config` it is the one of last time, else one
    /// that does direct TLS, found or fetched.
    pub pg: Option<u32>,
    /// Whether to build the extension with optimisation.
    pub release: bool,
    /// Whether to leave out the settings that only make it more like Aurora DSQL's.
    pub plain: bool,
    /// Whether to run `dsql-iam sts` beside it.
    pub sts: bool,
    /// Whether to have the cluster's own name lead to it.
    pub hosts: bool,
    /// The account; nothing means the one of last time, else the sample's.
    pub account_id: Option<String>,
    /// The region; nothing means the one of last time, else the sample's.
    pub region: Option<String>,
    /// The cluster's id; nothing means the one of last time, else a random one.
    pub cluster_id: Option<String>,
    /// The clusters linked with it; none means those of last time.
    pub linked: Vec<Linked>,
}

/// The values that are the same at the next `up`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// The cluster that it stands for.
    #[serde(flatten)]
    cluster: Cluster,
    /// The clusters linked with it.
    #[serde(default)]
    linked: Vec<Linked>,
    /// The TCP port.
    port: u16,
    /// The port of `dsql-iam sts`, if that runs beside it.
    sts: Option<u16>,
    /// The folder of PostgreSQL's programs.
    bin: PathBuf,
    /// The checkout that made it; older ones did not say.
    checkout: Option<PathBuf>,
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
    /// The copy of `postgres` that runs.
    program: PathBuf,
    /// Held while this is worked on.
    lock: Option<fs::File>,
}

impl Server {
    /// Builds the extension, installs it into a private mirror of PostgreSQL, and makes cluster,
    /// certificates, identities and `env.sh`, as far as they are not there from last time.
    pub fn prepare(options: &Options) -> Result<Self> {
        let dir = match &options.dir {
            Some(dir) => dir.clone(),
            None => default_directory()?,
        };
        let postgres = match (&options.pg_config, options.pg.or_else(|| major_of(&dir))) {
            (Some(pg_config), _) => prerequisites::postgres(Some(pg_config))?,
            (None, Some(major)) => prerequisites::postgres_of(major)?,
            (None, None) => prerequisites::postgres_for_up()?,
        };
        let account = Account::find()?;
        let target = workspace::target_directory()?;
        // The builds come first: no other `up` has to wait for the lock meanwhile.
        let library = workspace::build_extension(&postgres, &target, options.release)?;
        let command = workspace::build_command(&target)?;

        let directory = Directory::open(&dir, &target, &account)?;
        let lock = directory.lock()?;
        check_same_major(&directory, &postgres)?;
        let before = State::load(&directory)?;
        check_same_checkout(&dir, before.as_ref())?;
        if before
            .as_ref()
            .is_some_and(|state| state.bin != postgres.bin)
        {
            postmaster::stop(&directory)?;
            fs::remove_dir_all(directory.installation())?;
        }
        let running = postmaster::running(&directory);

        let cluster = choose_cluster(options, before.as_ref(), &directory)?;
        let linked = choose_linked(options, before.as_ref(), &cluster)?;
        let occupied = before.as_ref().map(|state| state.port);
        // Before anything is changed: a server that runs may have to stay as it is.
        let port = ports::choose(options.port, occupied, running)?;
        // The service beside it holds no connections, and is started anew.
        sts::stop(&directory)?;

        let now = OffsetDateTime::now_utc();
        let installed = mirror::install(&postgres, &library, &directory.installation())?;
        let names = cluster.host_names(&linked);
        let certificates = certificates::prepare(&directory.tls(), &account, &names, now)?;
        let program = command.join("dsql-iam");
        samples::prepare(&directory.iam(), &account, &cluster.account_id, &program)?;
        samples::write_profiles(&directory.aws(), &directory.iam(), &program, &cluster)?;
        if !directory.data().exists() {
            create_cluster(&directory, &account, &postgres.bin)?;
        }

        let sts = match (options.sts, before.and_then(|state| state.sts)) {
            (false, _) => None,
            (true, Some(last)) if ports::is_free(last) => Some(last),
            (true, _) => Some(ports::free(sts::DEFAULT_PORT)?),
        };
        let state = State {
            port,
            sts,
            cluster,
            linked,
            bin: postgres.bin,
            checkout: Some(workspace::root().to_owned()),
        };
        state.save(&directory)?;
        let mut server = Self {
            changed: installed.changed || certificates.changed,
            directory,
            account,
            state,
            program: installed.server,
            lock: Some(lock),
        };
        let certificates = postgres.tls.then_some(&certificates);
        server.configure(certificates, &command, options.plain)?;
        if let Some(port) = sts {
            sts::start(&server.directory, &server.account, &command, port)?;
        }
        Ok(server)
    }

    /// Writes the settings and `env.sh`.
    fn configure(
        &mut self,
        certificates: Option<&Certificates>,
        command: &Path,
        plain: bool,
    ) -> Result<()> {
        if certificates.is_none() {
            eprintln!(
                "warning: this PostgreSQL was built without TLS, so tokens travel unencrypted and \
                 dsql_iam.require_tls is off; Aurora DSQL always asks for TLS"
            );
        }
        let directory = &self.directory;
        let sockets = directory.sockets(&self.account)?;
        let settings = Settings {
            port: self.state.port,
            sockets: &sockets,
            certificates,
            cluster: &self.state.cluster,
            linked: &self.state.linked,
            iam: &directory.iam(),
            plain,
        };
        let file = directory.data().join(settings::FILE);
        self.changed |= mirror::write(&file, settings.render().as_bytes(), 0o600)?;
        self.account.own(&file, 0o600)?;
        Environment {
            port: self.state.port,
            sockets: &sockets,
            authority: certificates.map(|certificates| &*certificates.authority),
            bundle: certificates.and_then(|certificates| certificates.bundle.as_deref()),
            cluster: &self.state.cluster,
            sts: self.state.sts,
            iam: &directory.iam(),
            aws: &directory.aws(),
            command,
            programs: &self.state.bin,
        }
        .write(&directory.environment())
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.state.port
    }

    /// The cluster's public name, and those of the clusters linked with it.
    pub fn endpoints(&self) -> Vec<String> {
        let State {
            cluster, linked, ..
        } = &self.state;
        let linked = linked.iter().map(|linked| cluster.at(linked).endpoint());
        std::iter::once(cluster.endpoint()).chain(linked).collect()
    }

    /// The port of `dsql-iam sts`, if that runs beside it.
    pub fn sts(&self) -> Option<u16> {
        self.state.sts
    }

    /// The folder of PostgreSQL's programs.
    pub fn programs(&self) -> &Path {
        &self.state.bin
    }

    /// Whether it is running.
    pub fn is_running(&self) -> bool {
        postmaster::running(&self.directory)
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
        let mut start = self.account.command(self.state.bin.join("pg_ctl"));
        start
            .args(["start", "--silent", "--wait", "--timeout"])
            .arg(PATIENCE.as_secs().to_string())
            .arg("-p")
            .arg(&self.program)
            .arg("--pgdata")
            .arg(self.directory.data())
            .arg("--log")
            .arg(&path)
            .current_dir(self.directory.root());
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
            .command(&self.program)
            .arg("-D")
            .arg(self.directory.data())
            .current_dir(self.directory.root())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("the server could not be started")?;
        let is_ready = run::until(PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                bail!("the server did not start ({status}); its log is above");
            }
            Ok(postmaster::ready(&self.directory, &child))
        })?;
        if !is_ready {
            child.kill()?;
            bail!(
                "the server was not ready after {} seconds",
                PATIENCE.as_secs()
            );
        }
        Ok(child)
    }

    /// Stops it, closing the connections it has, and waits until it is gone.
    pub fn stop(&self) -> Result<()> {
        postmaster::stop(&self.directory)
    }

    /// Stops what runs beside it.
    pub fn stop_sts(&self) -> Result<()> {
        sts::stop(&self.directory)
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

/// Stops the server that an earlier `up` started in a folder, gives whether one ran there.
pub fn stop_in(dir: &Path) -> Result<bool> {
    let Some(directory) = Directory::find(dir) else {
        return Ok(false);
    };
    let Some(state) = State::load(&directory)? else {
        return Ok(false);
    };
    check_same_checkout(dir, Some(&state))?;
    let _lock = directory.lock()?;
    let ran = postmaster::running(&directory);
    postmaster::stop(&directory)?;
    sts::stop(&directory)?;
    Ok(ran)
}

/// Removes what an earlier `up` made in a folder, gives whether there was anything. The folder of
/// something else is an error.
pub fn remove(dir: &Path) -> Result<bool> {
    let Some(directory) = Directory::find(dir) else {
        return Ok(false);
    };
    if !directory.state().exists() {
        bail!(
            "{} was not made by cargo xtask up, so it stays: it has no state.json",
            dir.display()
        );
    }
    Directory::remove(dir)?;
    Ok(true)
}

/// An error if another checkout made what is in a folder, and still exists. A checkout that was copied
/// has the folder too, or the link to it: both would work on one server. One that was moved is the same.
fn check_same_checkout(dir: &Path, state: Option<&State>) -> Result<()> {
    let Some(other) = state.and_then(|state| state.checkout.as_deref()) else {
        return Ok(());
    };
    let root = |path| fs::canonicalize(path).ok();
    if root(other).is_none() || root(other) == root(workspace::root()) {
        return Ok(());
    }
    let remove = if fs::symlink_metadata(dir).is_ok_and(|found| found.is_symlink()) {
        "rm"
    } else {
        "rm -r"
    };
    bail!(
        "{} belongs to the checkout in {}: give another --dir, or remove this one: {remove} {}",
        dir.display(),
        other.display(),
        shlex::try_quote(&dir.to_string_lossy())?
    )
}

/// The folder that is used if none is named.
pub fn default_directory() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("dsql-iam"))
}

/// Settles which cluster it stands for.
fn choose_cluster(
    options: &Options,
    before: Option<&State>,
    directory: &Directory,
) -> Result<Cluster> {
    let last = before.map(|state| &state.cluster);
    if let (Some(asked), Some(last)) = (&options.account_id, last)
        && *asked != last.account_id
    {
        bail!(
            "the identities in {} are of the account {}: give another --dir, or remove this one \
             (./x down --remove)",
            directory.root().display(),
            last.account_id
        );
    }
    let choose = |asked: &Option<String>, last: Option<&String>, other: &str| {
        let chosen = asked.as_ref().or(last);
        chosen.map_or_else(|| other.to_owned(), Clone::clone)
    };
    let random = random::capitals_and_digits(26)?.to_lowercase();
    Ok(Cluster {
        account_id: choose(
            &options.account_id,
            last.map(|last| &last.account_id),
            ACCOUNT_ID,
        ),
        region: choose(&options.region, last.map(|last| &last.region), REGION),
        id: choose(&options.cluster_id, last.map(|last| &last.id), &random),
    })
}

/// Settles which clusters are linked with it: those asked for, else last time's.
fn choose_linked(
    options: &Options,
    before: Option<&State>,
    cluster: &Cluster,
) -> Result<Vec<Linked>> {
    let mut linked = options.linked.clone();
    if linked.is_empty() {
        linked = before.map_or_else(Vec::new, |state| state.linked.clone());
    }
    let mut taken = vec![(&cluster.id, &cluster.region)];
    for Linked { id, region } in &linked {
        if taken
            .iter()
            .any(|(other, there)| *other == id || *there == region)
        {
            bail!(
                "--linked {id}@{region} has the id or the region of another cluster of this server: each has \
                 its own"
            );
        }
        taken.push((id, region));
    }
    Ok(linked)
}

/// The major version that made the cluster in a folder, if there is one.
fn major_of(dir: &Path) -> Option<u32> {
    let version = Directory::find(dir)?.data().join("PG_VERSION");
    let major = fs::read_to_string(version).ok()?.trim().parse().ok()?;
    SUPPORTED.contains(&major).then_some(major)
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
