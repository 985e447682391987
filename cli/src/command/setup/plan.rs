//! The changes that setup would make, and its undo.

use std::path::PathBuf;

use dsql_iam_core::{Cluster, ID_LEN};
use dsql_iam_server::doctor::preloads;

use super::arguments::{
    Arguments, ENOUGH_MEMORY, EXEMPT_ROLES, LIKE_DSQL, MAX_CONNECTIONS, PRELOAD, SETTINGS,
    optional_settings,
};
use super::conf_file::{
    MADE, REPLACED, change_last, join, lines_of, notes, quote, read, replaced_line, split,
    value_in, without_us,
};
use super::locate::Server;
use crate::shared::error::Error;
use crate::shared::random;

/// A file to write, and its whole content.
pub struct Change {
    pub path: PathBuf,
    pub content: String,
}

/// The plan of setup or of its undo.
pub struct Plan {
    /// for people, line by line
    pub lines: Vec<String>,
    /// the files to write
    pub changes: Vec<Change>,
    /// the folder for the documents: to make, or to take away with `--undo`
    pub folder: Option<PathBuf>,
    /// what stays as it is, and is good to know
    pub notes: Vec<String>,
}

/// The settings as they have to be.
struct Wanted {
    /// `shared_preload_libraries`
    preload: String,
    /// the library's own settings, in the order in which they are written
    settings: Vec<(String, String)>,
    /// the folder for the documents
    folder: PathBuf,
    /// whether the cluster's id was made up just now
    is_new_id: bool,
}

impl Wanted {
    fn of(server: &Server, arguments: &Arguments, preload: &str) -> Result<Self, Error> {
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
        let directory = match directory.is_empty() {
            true => server.place_for_documents()?.to_string_lossy().into_owned(),
            false => directory,
        };
        let folder = server.data.join(&directory);
        let values = [account, region, id, directory];
        let mut settings: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|name| format!("dsql_iam.{name}"))
            .zip(values)
            .collect();
        if let Some(roles) = &arguments.exempt_roles {
            settings.push((EXEMPT_ROLES.into(), roles.clone()));
        }
        if arguments.like_dsql {
            settings.extend(like_dsql(server));
        }
        Ok(Self {
            preload: match preload.trim() {
                _ if preloads(preload) => preload.to_owned(),
                "" => "dsql_iam".to_owned(),
                others => format!("{others},dsql_iam"),
            },
            settings,
            folder,
            is_new_id,
        })
    }
}

/// The settings of `--like-dsql` for this server: more connections only where there is memory for them, and never fewer
/// than it has.
fn like_dsql(server: &Server) -> impl Iterator<Item = (String, String)> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
    let connections = server.setting(MAX_CONNECTIONS).unwrap_or_default();
    let has_memory = memory().is_some_and(|memory| memory >= ENOUGH_MEMORY);
    let is_wanted = move |(name, value): &(&str, &str)| {
        *name != MAX_CONNECTIONS || (has_memory && number(&connections) <= number(value))
    };
    let wanted = LIKE_DSQL.into_iter().filter(is_wanted);
    wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// How much memory the machine has, in kB, if it says so.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = text.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.parse().ok()
}

/// The changes, in words and in files, and the folder to make.
pub fn plan(server: &Server, arguments: &Arguments) -> Result<Plan, Error> {
    server.check_installed()?;
    let old = read(&server.config)?;
    let (base, block) = split(&old);
    let block = block.unwrap_or_default();
    // Before the others, whose absence is no fault.
    let preload = server.setting(PRELOAD)?;
    let mut wanted = Wanted::of(server, arguments, &preload)?;
    for name in optional_settings() {
        let is_wanted = wanted.settings.iter().any(|(wanted, _)| wanted == name);
        let kept = value_in(&block, name).filter(|_| !is_wanted);
        wanted
            .settings
            .extend(kept.map(|value| (name.to_owned(), value)));
    }
    let is_missing = !wanted.folder.is_dir();
    let auto = server.auto()?;
    let (new_block, outweighed) = new_block(server, &wanted, &block, &auto, &preload);
    let new = match &*new_block {
        "" => base.clone(),
        block => join(&base, block),
    };

    let (mut lines, mut auto_lines, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    if new != old {
        lines.push(format!("{}, at its end:", server.config.display()));
        lines.extend(new_block.lines().map(|line| {
            // One that is only shown is never used.
            if wanted.is_new_id && !arguments.yes && line.starts_with("dsql_iam.cluster_id") {
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
        let new = format!("{name} = {}", quote(&value));
        change_last(&mut better, &name, &new, &mut auto_lines);
    }
    if !auto_lines.is_empty() {
        let path = server.auto_path();
        lines.push(format!("{}:", path.display()));
        lines.extend(auto_lines);
        changes.push(Change {
            path,
            content: better.clone(),
        });
    }
    if is_missing {
        lines.push(format!(
            "{}: a new folder, mode 0700",
            wanted.folder.display()
        ));
    }
    let mut notes = server.elsewhere(&base, &better, |name| {
        wanted
            .settings
            .iter()
            .any(|(ours, _)| ours.eq_ignore_ascii_case(name))
    });
    if wanted.folder.starts_with(&server.data) {
        notes.push(format!(
            "note: {} lies in the data directory, so each base backup and standby gets the secrets in it: move \
             it, and name the new place with --iam-directory",
            wanted.folder.display()
        ));
    }
    if server.setting("ssl").as_deref() != Ok("on") {
        notes.push("note: ssl is off, and without TLS nobody gets in".into());
    }
    Ok(Plan {
        lines,
        changes,
        folder: is_missing.then_some(wanted.folder),
        notes,
    })
}

/// The lines that setup writes, and the settings that postgresql.auto.conf has otherwise, which counts more.
fn new_block(
    server: &Server,
    wanted: &Wanted,
    block: &str,
    auto: &str,
    preload: &str,
) -> (String, Vec<(String, String)>) {
    let (mut new, mut outweighed) = (String::new(), Vec::new());
    let auto_line = lines_of(auto, PRELOAD).last().map(|(_, line, _)| line);
    let auto_line = auto_line.filter(|_| !preloads(preload));
    if auto_line.is_some() {
        outweighed.push((PRELOAD.to_owned(), wanted.preload.clone()));
    }
    let made_before = notes(block, MADE).next().map(str::to_owned);
    let made_now = (!wanted.folder.is_dir()).then(|| wanted.folder.display().to_string());
    if let Some(path) = made_before.or(made_now) {
        new += &format!("{MADE}{path}\n");
    }
    let replaced_before = replaced_line(block, PRELOAD).filter(|_| preloads(preload));
    if let Some(line) = auto_line.or(replaced_before) {
        new += &format!("{REPLACED}{line}\n");
    } else if !preloads(preload) || block.contains(PRELOAD) {
        new += &format!("{PRELOAD} = {}\n", quote(&wanted.preload));
    }
    for (name, value) in &wanted.settings {
        let is_right = server.setting(name).as_deref() == Ok(value);
        let ours = value_in(block, name);
        let found = lines_of(auto, name).last();
        // As it was before setup, and not as setup has written it since.
        let had = replaced_line(block, name)
            .filter(|_| ours.is_some() && value_in(auto, name) == ours)
            .or_else(|| {
                found
                    .as_ref()
                    .map(|(_, line, _)| *line)
                    .filter(|_| !is_right)
            });
        if let Some(line) = had {
            new += &format!("{REPLACED}{line}\n");
        }
        if ours.is_some() || !is_right {
            new += &format!("{name} = {}\n", quote(value));
        }
        if found.is_some() && !is_right {
            outweighed.push((name.clone(), value.clone()));
        }
    }
    (new, outweighed)
}

/// The role outlives the extension, with what was granted to it.
const ADMIN_STAYS: &str = "note: the role admin stays; to drop it, as a superuser: DROP OWNED BY admin in each \
                           database that had the extension, then DROP ROLE admin";

/// The changes that undo a setup, and the folder that it made. They take back the lines that setup wrote,
/// in postgresql.auto.conf too, and the library's name where `ALTER SYSTEM` has put it there: that file is
/// the server's own, and with the library gone the server would not start.
pub fn undo(server: &Server) -> Result<Plan, Error> {
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
    let names = SETTINGS.map(|name| format!("dsql_iam.{name}"));
    for name in names
        .into_iter()
        .chain(optional_settings().map(str::to_owned))
    {
        // A setting that somebody else has made since then stays.
        if let Some(had) = replaced_line(&block, &name)
            && value_in(&better, &name) == value_in(&block, &name)
        {
            change_last(&mut better, &name, had, &mut replaced);
        }
    }
    let mut notes_left = server.elsewhere(&base, &better, |_| false);
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
    if !block.is_empty() {
        notes_left.push(ADMIN_STAYS.into());
    }
    let made = notes(&block, MADE).next().map(PathBuf::from);
    if let Some(folder) = &made {
        lines.push(format!("{}: taken away, if it is empty", folder.display()));
    }
    Ok(Plan {
        lines,
        changes,
        folder: made,
        notes: notes_left,
    })
}

fn new_cluster_id() -> Result<String, Error> {
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
