//! What setup would change, and what its undo would.

use std::path::PathBuf;

use dsql_iam_core::cluster::{Cluster, ID_LEN};
use dsql_iam_server::doctor::preloads;

use super::conf_file::{
    MADE, REPLACED, change_last, join, lines_of, notes, quote, read, replaced_line, split,
    value_in, without_us,
};
use super::locate::Server;
use super::{Arguments, PRELOAD, SETTINGS};
use crate::shared::random;

/// What to write: a file, and its whole content.
pub struct Change {
    pub path: PathBuf,
    pub content: String,
}

/// What setup or its undo would do.
pub struct Plan {
    /// for people, line by line
    pub lines: Vec<String>,
    /// the files to write
    pub changes: Vec<Change>,
    /// the folder for the documents: to make, or to take away with `--undo`
    pub folder: Option<PathBuf>,
}

/// What has to be changed, in words and in files, and the folder to make.
pub fn plan(server: &Server, arguments: &Arguments) -> Result<Plan, String> {
    server.check_installed()?;
    let old = read(&server.config)?;
    let (base, block) = split(&old);
    let block = block.unwrap_or_default();
    // Before the others, whose absence is no fault.
    let preload = server.setting(PRELOAD)?;
    let setting = |name: &str, given: Option<&str>| match given {
        Some(value) => value.to_owned(),
        None => server.setting(name).unwrap_or_default(),
    };
    let account = setting("dsql_iam.account_id", arguments.account_id.as_deref());
    let region = setting("dsql_iam.region", arguments.region.as_deref());
    let mut id = setting("dsql_iam.cluster_id", arguments.cluster_id.as_deref());
    let is_new_id = id.is_empty();
    if is_new_id {
        id = new_cluster_id()?;
    }
    Cluster::new(&account, &region, &id, "").map_err(|fault| {
        format!("{fault}: give --account-id, --region and, if you have one, --cluster-id")
    })?;
    let directory = match &arguments.iam_directory {
        Some(path) => std::path::absolute(path)
            .map_err(|error| format!("{}: {error}", path.display()))?
            .to_string_lossy()
            .into_owned(),
        None => setting("dsql_iam.iam_directory", None),
    };
    let directory = if directory.is_empty() {
        "dsql_iam".into()
    } else {
        directory
    };
    let folder = server.data.join(&directory);
    let made_before = notes(&block, MADE).next().map(str::to_owned);
    let is_missing = !folder.is_dir();

    let wanted = if preloads(&preload) {
        preload.clone()
    } else if preload.trim().is_empty() {
        "dsql_iam".to_owned()
    } else {
        format!("{},dsql_iam", preload.trim())
    };
    let auto = server.auto()?;
    let auto_line = lines_of(&auto, PRELOAD).last().map(|(_, line, _)| line);
    let auto_line = auto_line.filter(|_| !preloads(&preload));
    // What ALTER SYSTEM has set counts more than what stands in postgresql.conf.
    let mut outweighed = Vec::new();
    if auto_line.is_some() {
        outweighed.push((PRELOAD.to_owned(), &wanted));
    }

    let mut new_block = String::new();
    if let Some(path) = made_before.or(is_missing.then(|| folder.display().to_string())) {
        new_block += &format!("{MADE}{path}\n");
    }
    let replaced_before = replaced_line(&block, PRELOAD).filter(|_| preloads(&preload));
    let replaced = auto_line.or(replaced_before);
    if let Some(line) = replaced {
        new_block += &format!("{REPLACED}{line}\n");
    } else if !preloads(&preload) || block.contains(PRELOAD) {
        new_block += &format!("{PRELOAD} = {}\n", quote(&wanted));
    }
    for (name, value) in SETTINGS
        .into_iter()
        .zip([&account, &region, &id, &directory])
    {
        let name = format!("dsql_iam.{name}");
        let is_right = server.setting(&name).as_deref() == Ok(value);
        let ours = value_in(&block, &name);
        let found = lines_of(&auto, &name).last();
        // As it was before setup, and not as setup has written it since.
        let had = replaced_line(&block, &name)
            .filter(|_| ours.is_some() && value_in(&auto, &name) == ours)
            .or_else(|| {
                found
                    .as_ref()
                    .map(|(_, line, _)| *line)
                    .filter(|_| !is_right)
            });
        if let Some(line) = had {
            new_block += &format!("{REPLACED}{line}\n");
        }
        if ours.is_some() || !is_right {
            new_block += &format!("{name} = {}\n", quote(value));
        }
        if found.is_some() && !is_right {
            outweighed.push((name, value));
        }
    }
    let new = match &*new_block {
        "" => base,
        block => join(&base, block),
    };

    let (mut lines, mut auto_lines, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    if new != old {
        lines.push(format!("{}, at its end:", server.config.display()));
        lines.extend(new_block.lines().map(|line| {
            // One that is only shown is never used.
            if is_new_id && !arguments.yes && line.starts_with("dsql_iam.cluster_id") {
                return "  + dsql_iam.cluster_id is made anew with --yes; choose one with --cluster-id"
                    .to_owned();
            }
            format!("  + {line}")
        }));
        let path = server.config.clone();
        changes.push(Change { path, content: new });
    }
    let mut better = auto.clone();
    for (name, value) in outweighed {
        let new = format!("{name} = {}", quote(value));
        change_last(&mut better, &name, &new, &mut auto_lines);
    }
    if !auto_lines.is_empty() {
        let path = server.auto_path();
        lines.push(format!("{}:", path.display()));
        lines.extend(auto_lines);
        changes.push(Change {
            path,
            content: better,
        });
    }
    if is_missing {
        lines.push(format!("{}: a new folder, mode 0700", folder.display()));
    }
    if server.setting("ssl").as_deref() != Ok("on") {
        lines.push("note: ssl is off, and without TLS nobody gets in".into());
    }
    Ok(Plan {
        lines,
        changes,
        folder: is_missing.then_some(folder),
    })
}

/// What has to be changed to take it back, and the folder that was made. Taken back is what setup wrote,
/// in postgresql.auto.conf too, and the library's name where `ALTER SYSTEM` has put it there: that file is
/// the server's own, and with the library gone the server would not start.
pub fn undo(server: &Server) -> Result<Plan, String> {
    let old = read(&server.config)?;
    let (base, block) = split(&old);
    let (mut lines, mut changes) = (Vec::new(), Vec::new());
    if let Some(block) = &block {
        lines.push(format!("{}:", server.config.display()));
        lines.extend(block.lines().map(|line| format!("  - {line}")));
    }
    let block = block.unwrap_or_default();
    let content = server.auto()?;
    let (mut better, mut replaced) = without_us(&content, replaced_line(&block, PRELOAD));
    for name in SETTINGS.map(|name| format!("dsql_iam.{name}")) {
        // What somebody else has set since then stays.
        if let Some(had) = replaced_line(&block, &name)
            && value_in(&better, &name) == value_in(&block, &name)
        {
            change_last(&mut better, &name, had, &mut replaced);
        }
    }
    if better != content {
        let path = server.auto_path();
        lines.push(format!("{}:", path.display()));
        lines.extend(replaced);
        changes.push(Change {
            path,
            content: better,
        });
    }
    if base != old {
        changes.push(Change {
            path: server.config.clone(),
            content: base,
        });
    }
    let made = notes(&block, MADE).next().map(PathBuf::from);
    if let Some(folder) = &made {
        lines.push(format!("{}: taken away, if it is empty", folder.display()));
    }
    Ok(Plan {
        lines,
        changes,
        folder: made,
    })
}

fn new_cluster_id() -> Result<String, String> {
    Ok(random::capitals_and_digits(ID_LEN)?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_one_that_a_cluster_can_have() {
        let id = new_cluster_id().expect("there is randomness");
        assert!(Cluster::new("012345678912", "us-east-1", &id, "").is_ok());
    }
}
