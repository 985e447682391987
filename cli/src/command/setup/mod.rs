//! `dsql-iam setup`: configures a server to load the library, and undoes that.

mod arguments;
mod conf_file;
mod locate;
mod plan;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Report;
pub use arguments::Arguments;
use conf_file::{cannot, replace};
use locate::Server;
use plan::{Plan, plan, undo};

use crate::shared::error::Error;

/// Shows or does it, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
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

fn run_setup(server: &Server, plan: &Plan, yes: bool) -> Result<Vec<String>, Error> {
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

fn run_undo(server: &Server, plan: &Plan, yes: bool) -> Result<Vec<String>, Error> {
    let mut lines = plan.lines.clone();
    if plan.changes.is_empty() && plan.folder.is_none() {
        server.check_let_go()?;
        // An earlier undo left it behind while the server ran with the library.
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
fn clean_up(server: &Server) -> Result<Option<String>, Error> {
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

fn make_private(folder: &Path) -> Result<(), Error> {
    let make = || {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
    };
    make().map_err(|error| cannot(folder, &error))
}
