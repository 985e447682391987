//! `dsql-iam setup`: has a server load the library, and takes that back.

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
/// What setup sets, behind `dsql_iam.`.
const SETTINGS: [&str; 4] = ["account_id", "region", "cluster_id", "iam_directory"];

/// What `dsql-iam setup` takes.
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

    /// The folder for the IAM documents [default: as it is set, else dsql_iam in the data directory]
    #[arg(long, value_name = "DIR")]
    iam_directory: Option<PathBuf>,

    /// The pg_config of the server's PostgreSQL [default: found by its version]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// Do it, rather than show it
    #[arg(long)]
    yes: bool,

    /// Take back what setup did
    #[arg(long)]
    undo: bool,
}

/// Shows or does it, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<Report, String> {
    let server = Server::find(arguments)?;
    let Plan {
        mut lines,
        changes,
        folder,
    } = if arguments.undo {
        undo(&server)?
    } else {
        plan(&server, arguments)?
    };
    if changes.is_empty() && folder.is_none() {
        if arguments.undo {
            server.check_let_go()?;
        }
        // What an undo leaves behind while the server runs.
        let leftover = server
            .hba_file()
            .filter(|_| arguments.undo && !server.is_running());
        match leftover {
            None => return Ok(format!("nothing to change in {}", server.data.display()).into()),
            Some(_) if arguments.yes => {
                lines.extend(clean_up(&server)?);
                lines.push("done".into());
                return Ok(lines.join("\n").into());
            }
            Some(file) => lines.push(format!("{}: taken away", file.display())),
        }
    }
    if !arguments.yes {
        lines.push("nothing is changed yet: add --yes to have it done".into());
        return Ok(lines.join("\n").into());
    }
    // The folder first: with the settings and without it nobody would get in.
    if let Some(folder) = folder.as_deref().filter(|_| !arguments.undo) {
        make_private(folder)?;
    }
    for change in &changes {
        replace(&change.path, &change.content)?;
    }
    if arguments.undo {
        if let Some(folder) = folder
            && fs::remove_dir(&folder).is_err()
            && folder.exists()
        {
            lines.push(format!("{} stays, since it is not empty", folder.display()));
        }
        lines.extend(clean_up(&server)?);
        server.check_let_go()?;
    }
    lines.push(if arguments.undo {
        "done; restart the server".into()
    } else {
        "done; restart the server, then as a superuser in the database postgres: CREATE EXTENSION \
         dsql_iam; dsql-iam doctor tells what is missing"
            .into()
    });
    Ok(lines.join("\n").into())
}

/// Takes away what the library left in the data directory, if no server needs it any more; says so.
fn clean_up(server: &Server) -> Result<Option<String>, String> {
    let Some(file) = server.hba_file() else {
        return Ok(None);
    };
    if server.is_running() {
        return Ok(Some(format!(
            "{} is in force until the restart; after that it can be deleted, and setup --undo does that \
             while the server is stopped",
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
