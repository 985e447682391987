//! `dsql-iam setup`: configures a server to load the library, and undoes that.

mod conf_file;
mod locate;
mod plan;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Report;
use conf_file::{cannot, replace};
use locate::Server;
use plan::{Plan, plan, undo};

const PRELOAD: &str = "shared_preload_libraries";
/// The roles that keep their passwords.
const EXEMPT_ROLES: &str = "dsql_iam.exempt_roles";
/// What setup always sets, behind `dsql_iam.`.
const SETTINGS: [&str; 4] = ["account_id", "region", "cluster_id", "iam_directory"];

/// What `--like-dsql` sets, where it costs nothing: isolation, time zone, `CREATE INDEX ASYNC`, and the connections
/// that programs for Aurora DSQL count on.
const LIKE_DSQL: [(&str, &str); 5] = [
    ("default_transaction_isolation", "repeatable read"),
    ("TimeZone", "UTC"),
    ("log_timezone", "UTC"),
    ("dsql_iam.async_indexes", "on"),
    (MAX_CONNECTIONS, "1000"),
];
const MAX_CONNECTIONS: &str = "max_connections";
/// The memory in kB that a server with so many connections needs to be at ease.
const ENOUGH_MEMORY: u64 = 1_000_000;

/// The names of what is set only where it is asked for; once set, it stays until the undo.
fn optional_settings() -> impl Iterator<Item = &'static str> {
    std::iter::once(EXEMPT_ROLES).chain(LIKE_DSQL.map(|(name, _)| name))
}

/// The arguments of `dsql-iam setup`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam setup --data /var/lib/postgresql/15/main --account-id 012345678912 --region us-east-1
  dsql-iam setup --data /var/lib/postgresql/15/main --account-id 012345678912 --region us-east-1 --yes

The first shows what would be changed, the second does it. Neither restarts the server.
Take care that you can get in over the Unix socket: over TCP only tokens count from then on.")]
pub struct Arguments {
    /// Connection string of a superuser, to learn from the running server where its files are
    #[arg(conflicts_with = "data")]
    connection: Option<String>,

    /// The data directory, or on Debian the folder of the cluster's postgresql.conf
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The AWS account of the cluster [default: as it is set]
    #[arg(long, value_name = "NUMBER")]
    account_id: Option<String>,

    /// The cluster's region [default: as it is set]
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,

    /// The cluster's id, 26 characters [default: as it is set, else a new one]
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,

    /// The folder for the IAM documents [default: as it is set, else dsql_iam beside
    /// postgresql.conf or, where that is in the data directory, a folder beside that directory]
    #[arg(long, value_name = "DIR")]
    iam_directory: Option<PathBuf>,

    /// Roles that go on logging in with their passwords, separated by commas [default: as it is set]
    #[arg(long, value_name = "ROLES")]
    exempt_roles: Option<String>,

    /// Set what programs for Aurora DSQL expect of a server: repeatable read, UTC, 1,000 connections where
    /// memory allows, and CREATE INDEX ASYNC [default: as it is set]
    #[arg(long)]
    like_dsql: bool,

    /// The pg_config of the server's PostgreSQL [default: found by its version]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// Make the changes, rather than show them
    #[arg(long)]
    yes: bool,

    /// Undo what setup did
    #[arg(long)]
    undo: bool,
}

/// Shows or does it, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<Report, String> {
    let server = Server::find(arguments)?;
    let plan = match arguments.undo {
        true => undo(&server)?,
        false => plan(&server, arguments)?,
    };
    let mut lines = match arguments.undo {
        true => run_undo(&server, &plan, arguments.yes)?,
        false => run_setup(&server, &plan, arguments.yes)?,
    };
    // Behind what is changed, and before what comes next.
    let last = lines.pop();
    lines.extend(plan.notes);
    lines.extend(last);
    Ok(lines.join("\n").into())
}

/// The last line of what is only shown.
const NOT_YET: &str = "nothing is changed yet: add --yes to have it done";

fn run_setup(server: &Server, plan: &Plan, yes: bool) -> Result<Vec<String>, String> {
    let mut lines = plan.lines.clone();
    if plan.changes.is_empty() && plan.folder.is_none() {
        lines.push(format!("nothing to change in {}", server.data.display()));
        return Ok(lines);
    }
    if !yes {
        lines.push(NOT_YET.into());
        return Ok(lines);
    }
    // The folder first: with the settings and without it nobody would get in.
    if let Some(folder) = &plan.folder {
        make_private(folder)?;
    }
    for change in &plan.changes {
        replace(&change.path, &change.content)?;
    }
    lines.push(
        "done; restart the server, then as a superuser in the database postgres: CREATE EXTENSION \
         dsql_iam; dsql-iam doctor tells what is missing"
            .into(),
    );
    Ok(lines)
}

fn run_undo(server: &Server, plan: &Plan, yes: bool) -> Result<Vec<String>, String> {
    let mut lines = plan.lines.clone();
    if plan.changes.is_empty() && plan.folder.is_none() {
        server.check_let_go()?;
        // What an earlier undo left behind while the server ran with the library.
        match server.hba_file().filter(|_| !server.uses_library()) {
            None => lines.push(format!("nothing to change in {}", server.data.display())),
            Some(_) if yes => {
                lines.extend(clean_up(server)?);
                lines.push("done".into());
            }
            Some(file) => lines.extend([format!("{}: taken away", file.display()), NOT_YET.into()]),
        }
        return Ok(lines);
    }
    if !yes {
        lines.push(NOT_YET.into());
        return Ok(lines);
    }
    for change in &plan.changes {
        replace(&change.path, &change.content)?;
    }
    if let Some(folder) = &plan.folder
        && fs::remove_dir(folder).is_err()
        && folder.exists()
    {
        lines.push(format!("{} stays, since it is not empty", folder.display()));
    }
    lines.extend(clean_up(server)?);
    server.check_let_go()?;
    lines.push("done; restart the server".into());
    Ok(lines)
}

/// Takes away what the library left in the data directory, if no server needs it any more; says so.
fn clean_up(server: &Server) -> Result<Option<String>, String> {
    let Some(file) = server.hba_file() else {
        return Ok(None);
    };
    if server.uses_library() {
        return Ok(Some(format!(
            "{} is in force until the restart; after that setup --undo --yes takes it away",
            file.display()
        )));
    }
    fs::remove_file(&file).map_err(|error| cannot(&file, &error))?;
    Ok(Some(format!("{}: taken away", file.display())))
}

fn make_private(folder: &Path) -> Result<(), String> {
    let make = || {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
    };
    make().map_err(|error| cannot(folder, &error))
}
