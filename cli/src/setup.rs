//! `dsql-iam setup`: has a server load the library, and takes that back.
//!
//! What it writes into `postgresql.conf` stands between two lines of its own at the end of the file,
//! so that taking it out leaves every other byte as it is, whoever changed what meanwhile.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use clap::Args;
use dsql_iam_core::cluster::{Cluster, ID_LEN};
use dsql_iam_server::doctor::{HBA_FILE, preloads};

use crate::owner;
use crate::postgres::{
    self, SUPPORTED, major, output, output_or_all, program, psql, without_prefix,
};

const BEGIN: &str =
    "# BEGIN dsql_iam, written by dsql-iam setup; dsql-iam setup --undo takes it out\n";
const END: &str = "# END dsql_iam\n";
/// Says that the last line before [`BEGIN`] had no line break.
const NO_BREAK: &str = "# the line before had no line break\n";
/// Names the folder that was made.
const MADE: &str = "# made: ";
/// Holds the line of postgresql.auto.conf that was replaced.
const REPLACED: &str = "# postgresql.auto.conf had: ";
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

/// A server's files.
struct Server {
    /// the data directory
    data: PathBuf,
    /// `postgresql.conf`
    config: PathBuf,
    /// the program `postgres`
    program: PathBuf,
}

/// What to write: a file, and its whole content.
struct Change {
    path: PathBuf,
    content: String,
}

/// Shows or does it, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<String, String> {
    let server = Server::find(arguments)?;
    let (mut lines, changes, folder) = if arguments.undo {
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
            None => return Ok(format!("nothing to change in {}", server.data.display())),
            Some(_) if arguments.yes => {
                lines.extend(clean_up(&server)?);
                lines.push("done".into());
                return Ok(lines.join("\n"));
            }
            Some(file) => lines.push(format!("{}: taken away", file.display())),
        }
    }
    if !arguments.yes {
        lines.push("nothing is changed yet: add --yes to have it done".into());
        return Ok(lines.join("\n"));
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
    Ok(lines.join("\n"))
}

type Plan = (Vec<String>, Vec<Change>, Option<PathBuf>);

/// What has to be changed, in words and in files, and the folder to make.
fn plan(server: &Server, arguments: &Arguments) -> Result<Plan, String> {
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
    Ok((lines, changes, is_missing.then_some(folder)))
}

/// What has to be changed to take it back, and the folder that was made. Taken back is what setup wrote,
/// in postgresql.auto.conf too, and the library's name where `ALTER SYSTEM` has put it there: that file is
/// the server's own, and with the library gone the server would not start.
fn undo(server: &Server) -> Result<Plan, String> {
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
    Ok((lines, changes, made))
}

impl Server {
    fn find(arguments: &Arguments) -> Result<Self, String> {
        // Named by whoever runs this, so it may be where only root gets.
        let named = match &arguments.pg_config {
            Some(path) => Some(postgres::Installation::find(Some(path))?),
            None => None,
        };
        let was_root = owner::is_root();
        let (data, mut config) = match (&arguments.data, &arguments.connection) {
            (Some(folder), _) => files_of(folder)?,
            (None, Some(connection)) => files_by_connection(connection)?,
            (None, None) => return Err("name the server: --data DIR, or a connection".into()),
        };
        let data = fs::canonicalize(&data).map_err(|error| cannot(&data, &error))?;
        owner::step_down(&data)?;
        if was_root {
            owner::check_data_directory(&data)?;
            // What was looked at is what is read and written.
            config = fs::canonicalize(&config).map_err(|error| cannot(&config, &error))?;
            owner::check_configuration(&config)?;
        }
        let text = read(&data.join("PG_VERSION"))?;
        let version = major(&text).ok_or_else(|| format!("{} has no version", data.display()))?;
        if !SUPPORTED.contains(&version) {
            return Err(format!(
                "{} is of PostgreSQL {version}, and dsql_iam is for PostgreSQL {} to {}",
                data.display(),
                SUPPORTED.start(),
                SUPPORTED.end()
            ));
        }
        Ok(Self {
            program: program_for(version, &data, named)?,
            data,
            config,
        })
    }

    /// A setting as the server's files have it; an error if it is not set, or they are broken.
    fn setting(&self, name: &str) -> Result<String, String> {
        let mut postgres = program(&self.program);
        let folder = self.config.parent().unwrap_or(&self.data);
        postgres.args(["-C", name, "-D"]).arg(folder);
        postgres
            .arg("-c")
            .arg(format!("config_file={}", self.config.display()));
        postgres
            .arg("-c")
            .arg(format!("data_directory={}", self.data.display()));
        output_or_all(postgres).map_err(|said| {
            // Which line is at fault stands before the last one.
            let said = without_prefix(&said);
            format!("{} cannot be read:\n{said}", self.config.display())
        })
    }

    /// What `ALTER SYSTEM` writes into.
    fn auto_path(&self) -> PathBuf {
        self.data.join("postgresql.auto.conf")
    }

    /// The content of that, which need not be there.
    fn auto(&self) -> Result<String, String> {
        let path = self.auto_path();
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            content => content.map_err(|error| cannot(&path, &error)),
        }
    }

    /// Whether the server no longer loads the library, after an undo; an error that names the line
    /// if it does, since with the library gone it would not start.
    fn check_let_go(&self) -> Result<(), String> {
        if !preloads(&self.setting(PRELOAD)?) {
            return Ok(());
        }
        let line = [self.auto_path(), self.config.clone()]
            .into_iter()
            .find_map(|path| {
                let content = fs::read_to_string(&path).ok()?;
                let (number, _, value) = lines_of(&content, PRELOAD).last()?;
                preloads(&value).then(|| format!("line {number} of {}", path.display()))
            });
        let line = line.unwrap_or_else(|| format!("a file that {} names", self.config.display()));
        Err(format!(
            "{line} has the server load the library, and setup did not write that: take dsql_iam \
             out of {PRELOAD} there, or the server does not start once the library is gone"
        ))
    }

    /// A server whose library is named and not there does not start.
    fn check_installed(&self) -> Result<(), String> {
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        let asked = output({
            let mut pg_config = program(bin.join("pg_config"));
            pg_config.arg("--pkglibdir");
            pg_config
        });
        let beside = ["../lib", "../lib/postgresql"].map(|folder| bin.join(folder));
        let mut folders = beside.into_iter().chain(asked.ok().map(PathBuf::from));
        if folders.any(|folder| folder.join("dsql_iam.so").is_file()) {
            return Ok(());
        }
        Err(format!(
            "the PostgreSQL of {} does not have the extension's files: dsql-iam install puts them \
             there, or the package postgresql-{}-dsql-iam",
            self.program.display(),
            read(&self.data.join("PG_VERSION"))?.trim()
        ))
    }

    /// The library's own hba file, if it has left one.
    fn hba_file(&self) -> Option<PathBuf> {
        let file = self.data.join(HBA_FILE);
        file.exists().then_some(file)
    }

    fn is_running(&self) -> bool {
        let number = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let number = number.lines().next().unwrap_or_default().trim().to_owned();
        !number.is_empty() && Path::new("/proc").join(number).exists()
    }
}

/// The data directory and `postgresql.conf`, from a folder that is one or holds the other.
///
/// Where folder or file are not root's, root has stepped down before they are read.
fn files_of(folder: &Path) -> Result<(PathBuf, PathBuf), String> {
    let folder = fs::canonicalize(folder).map_err(|error| cannot(folder, &error))?;
    owner::step_down(&folder)?;
    let mut config = folder.join("postgresql.conf");
    if let Ok(file) = fs::canonicalize(&config) {
        owner::step_down(&file)?;
        // What was looked at is what is read.
        config = file;
    }
    match fs::metadata(folder.join("PG_VERSION")) {
        Ok(_) if config.is_file() => Ok((folder, config)),
        Ok(_) => match elsewhere(&folder) {
            Some(config) => Ok((folder, config)),
            None => Err(format!(
                "{} has no postgresql.conf: name the folder that has it with --data",
                folder.display()
            )),
        },
        // Debian has the file in a folder of /etc, and in it the data directory's name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = fs::read_to_string(&config).unwrap_or_default();
            match data_directory(&text) {
                Some(data) => Ok((data, config)),
                None => Err(format!(
                    "{} is no data directory: it has no PG_VERSION",
                    folder.display()
                )),
            }
        }
        Err(error) => Err(cannot(&folder, &error)),
    }
}

/// The configuration of a data directory that has none: on Debian one in /etc names it.
fn elsewhere(data: &Path) -> Option<PathBuf> {
    let entries = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let clusters = entries(Path::new("/etc/postgresql"))
        .into_iter()
        .flat_map(|version| entries(&version));
    clusters
        .map(|cluster| cluster.join("postgresql.conf"))
        .find(|config| {
            let text = fs::read_to_string(config).unwrap_or_default();
            data_directory(&text).and_then(|named| fs::canonicalize(named).ok())
                == Some(data.to_owned())
        })
}

/// The value of `data_directory` in a `postgresql.conf`.
fn data_directory(config: &str) -> Option<PathBuf> {
    let line = config
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("data_directory"))?;
    let value = line
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .strip_prefix('\'')?;
    Some(PathBuf::from(value.split('\'').next()?))
}

fn files_by_connection(connection: &str) -> Result<(PathBuf, PathBuf), String> {
    let answer = psql(connection, "SHOW data_directory; SHOW config_file;")
        .map_err(|fault| format!("the server could not be asked: {fault}"))?;
    let mut lines = answer.lines().map(PathBuf::from);
    let (Some(data), Some(config)) = (lines.next(), lines.next()) else {
        return Err("the server did not tell where its files are".into());
    };
    if !data.is_dir() {
        return Err(format!(
            "the server's data directory {} cannot be seen from here: run it on the server's machine",
            data.display()
        ));
    }
    Ok((data, config))
}

/// The `postgres` of a data directory: of the `pg_config` named, else the one that ran there last,
/// else the one in `PATH` or of Debian, each if its version fits.
fn program_for(
    version: u32,
    data: &Path,
    named: Option<postgres::Installation>,
) -> Result<PathBuf, String> {
    let version_of = |path: &Path| {
        let mut postgres = program(path);
        postgres.arg("--version");
        major(&output(postgres).ok()?)
    };
    if let Some(found) = named {
        if found.major != version {
            return Err(format!(
                "{} is of PostgreSQL {version}, and {} of PostgreSQL {}: name the right one with \
                 --pg-config",
                data.display(),
                found.pg_config.display(),
                found.major
            ));
        }
        return Ok(found.bin.join("postgres"));
    }
    let last = fs::read_to_string(data.join("postmaster.opts")).unwrap_or_default();
    let last = last
        .split(" \"")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let candidates = std::iter::once(last)
        .chain(path.split(':').map(|folder| format!("{folder}/postgres")))
        .chain([format!("/usr/lib/postgresql/{version}/bin/postgres")]);
    candidates
        .map(PathBuf::from)
        .find(|path| path.is_file() && version_of(path) == Some(version))
        .ok_or_else(|| {
            format!(
                "{} is of PostgreSQL {version}, which was not found: name its pg_config with \
                 --pg-config",
                data.display()
            )
        })
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

/// The file without what setup wrote, and what that is.
fn split(content: &str) -> (String, Option<String>) {
    let block = content.find(BEGIN).and_then(|start| {
        let inside = start + BEGIN.len();
        let length = content[inside..].find(END)?;
        Some((
            start,
            &content[inside..inside + length],
            inside + length + END.len(),
        ))
    });
    let Some((start, block, end)) = block else {
        return (content.to_owned(), None);
    };
    let mut before = &content[..start];
    if block.starts_with(NO_BREAK) {
        before = before.strip_suffix('\n').unwrap_or(before);
    }
    let block = block.strip_prefix(NO_BREAK).unwrap_or(block);
    (
        format!("{before}{}", &content[end..]),
        Some(block.to_owned()),
    )
}

/// The file with what setup writes, at its end.
fn join(base: &str, block: &str) -> String {
    if base.is_empty() || base.ends_with('\n') {
        format!("{base}{BEGIN}{block}{END}")
    } else {
        format!("{base}\n{BEGIN}{NO_BREAK}{block}{END}")
    }
}

/// What the lines of a block say that start with `kind`.
fn notes<'b>(block: &'b str, kind: &'static str) -> impl Iterator<Item = &'b str> {
    block
        .lines()
        .filter_map(move |line| line.strip_prefix(kind))
}

/// The line of postgresql.auto.conf that a block says was replaced, if it set this.
fn replaced_line<'b>(block: &'b str, name: &str) -> Option<&'b str> {
    notes(block, REPLACED).find(|line| value_in(line, name).is_some())
}

/// The lines of a configuration file that set this: number, line, value. The last one counts.
fn lines_of<'c>(content: &'c str, name: &str) -> impl Iterator<Item = (usize, &'c str, String)> {
    content
        .lines()
        .enumerate()
        .filter_map(move |(index, line)| {
            let line_start = line.trim_start();
            let is_name = |character: char| {
                character.is_ascii_alphanumeric() || ['_', '.'].contains(&character)
            };
            let (found, rest) =
                line_start.split_at(line_start.find(|character| !is_name(character))?);
            if !found.eq_ignore_ascii_case(name) {
                return None;
            }
            let rest = rest.trim_start();
            let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
            let value = match rest.strip_prefix('\'') {
                Some(quoted) => unquote(quoted),
                None => rest
                    .split([' ', '\t', '#'])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            };
            Some((index + 1, line, value))
        })
}

/// What a configuration file sets this to.
fn value_in(content: &str, name: &str) -> Option<String> {
    lines_of(content, name).last().map(|(_, _, value)| value)
}

/// Puts another line in the place of the last that sets this, and notes in words what it did.
fn change_last(content: &mut String, name: &str, new: &str, words: &mut Vec<String>) {
    if let Some((number, line, _)) = lines_of(content, name).last() {
        words.push(format!("  - {line}\n  + {new}"));
        *content = with_line(content, number, Some(new));
    }
}

/// The value that [`quote`] has made this of, behind the quote that begins it.
fn unquote(quoted: &str) -> String {
    let mut value = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next()),
            '\'' if characters.next_if_eq(&'\'').is_none() => break,
            other => value.push(other),
        }
    }
    value
}

/// postgresql.auto.conf with the library taken out, and what is changed in it, in words. `had` is
/// the line as it was before setup, which comes back if nothing else has changed.
fn without_us(content: &str, had: Option<&str>) -> (String, Vec<String>) {
    let others = |value: &str| {
        let entries = value.split(',').map(str::trim);
        entries
            .filter(|entry| !entry.is_empty() && !preloads(entry))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let had = had.and_then(|had| Some((had, others(&value_in(had, PRELOAD)?))));
    let (mut better, mut words) = (content.to_owned(), Vec::new());
    // From the last on, so that the numbers of those before stay.
    let found: Vec<_> = lines_of(content, PRELOAD)
        .filter(|(_, _, value)| preloads(value))
        .collect();
    for (number, line, value) in found.into_iter().rev() {
        let kept = others(&value);
        let back = match &had {
            Some((had, before)) if *before == kept => Some((*had).to_owned()),
            _ if kept.is_empty() => None,
            _ => Some(format!("{PRELOAD} = '{kept}'")),
        };
        words.push(format!("  - {line}"));
        words.extend(back.iter().map(|back| format!("  + {back}")));
        better = with_line(&better, number, back.as_deref());
    }
    (better, words)
}

/// A file with another line in the place of the one with this number, or without it.
fn with_line(content: &str, number: usize, new: Option<&str>) -> String {
    let mut lines = String::new();
    for (index, line) in content.split_inclusive('\n').enumerate() {
        match new {
            _ if index + 1 != number => lines += line,
            Some(new) => {
                lines += new;
                lines += &line[line.trim_end_matches(['\r', '\n']).len()..];
            }
            None => {}
        }
    }
    lines
}

/// Quotes a value for `postgresql.conf`, where a backslash escapes.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

fn new_cluster_id() -> Result<String, String> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0_u8; ID_LEN];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| cannot(path, &error))
}

fn make_private(folder: &Path) -> Result<(), String> {
    let make = || {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
    };
    make().map_err(|error| cannot(folder, &error))
}

/// Puts a file with this content in the place of one that is there, with its owner and mode.
fn replace(path: &Path, content: &str) -> Result<(), String> {
    let write = || -> io::Result<()> {
        // Where the name is a link, the file that it leads to.
        let path = fs::canonicalize(path)?;
        let old = fs::metadata(&path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(content.as_bytes())?;
        give(new.path(), (old.uid(), old.gid()))?;
        new.as_file().set_permissions(old.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| cannot(path, &error))
}

/// Hands a file over, if it is not theirs already. Where that takes root's rights it is an error.
fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if (metadata.uid(), metadata.gid()) == (user, group) {
        return Ok(());
    }
    chown(path, Some(user), Some(group))
}

fn cannot(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run it as root, or as the server's user, who has to have the right to it"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_leaves_every_other_byte() {
        for base in ["", "a = 1\n", "a = 1", "a = 1\n\n"] {
            let with = join(base, "x = 'y'\n");
            assert_eq!(
                split(&with),
                (base.to_owned(), Some("x = 'y'\n".to_owned()))
            );
            let and_more = format!("{with}b = 2\n");
            assert_eq!(split(&and_more).0, format!("{base}b = 2\n"));
            assert_eq!(split(base), (base.to_owned(), None));
        }
    }

    #[test]
    fn other_libraries_stay() {
        let had = "shared_preload_libraries = 'a'";
        let taken_out = |line: &str, had| without_us(&format!("x = 1\n{line}\ny = 2\n"), had).0;
        let with = |line: &str| format!("x = 1\n{line}\ny = 2\n");
        assert_eq!(
            taken_out("shared_preload_libraries = 'a,dsql_iam'", Some(had)),
            with(had)
        );
        for had in [Some(had), None] {
            assert_eq!(
                taken_out("shared_preload_libraries = 'a, dsql_iam, b'", had),
                with("shared_preload_libraries = 'a, b'")
            );
            assert_eq!(
                taken_out("shared_preload_libraries = '$libdir/dsql_iam.so'", had),
                "x = 1\ny = 2\n"
            );
            // Nothing of ours, nothing changed.
            for line in [
                "shared_preload_libraries = 'a ,b'",
                "shared_preload_libraries_x = 'dsql_iam'",
                "#shared_preload_libraries = 'dsql_iam'",
                "dsql_iam.region = 'us-east-1'",
            ] {
                assert_eq!(without_us(&with(line), had), (with(line), vec![]));
            }
        }
    }

    #[test]
    fn the_line_that_counts_is_the_one_that_changes() {
        let comment = "#shared_preload_libraries = 'a, dsql_iam'\n";
        let line = "shared_preload_libraries = 'a, dsql_iam'";
        for (before, after) in [
            (
                format!("{comment}{line}\n"),
                format!("{comment}shared_preload_libraries = 'a'\n"),
            ),
            (
                format!("{comment}{line}"),
                format!("{comment}shared_preload_libraries = 'a'"),
            ),
            (
                "x = 1\nshared_preload_libraries = 'dsql_iam'".into(),
                "x = 1\n".into(),
            ),
            (
                format!("{line}\n{line}\n"),
                "shared_preload_libraries = 'a'\n".repeat(2),
            ),
        ] {
            assert_eq!(without_us(&before, None).0, after);
        }
        assert_eq!(with_line("a\nb\r\na\n", 2, Some("c")), "a\nc\r\na\n");
        assert_eq!(with_line("a\nb\na", 3, Some("c")), "a\nb\nc");
    }

    #[test]
    fn the_list_of_libraries_is_found_however_it_is_written() {
        let values = |content: &str| {
            let lines = lines_of(content, PRELOAD);
            lines
                .map(|(number, _, value)| (number, value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(
                "x = 1\nshared_preload_libraries = 'a, b' # c\n  Shared_Preload_Libraries\tdsql_iam#c\n\
                 shared_preload_libraries='a'\nshared_preload_librariesx = 'a'\n"
            ),
            [
                (2, "a, b".to_owned()),
                (3, "dsql_iam".to_owned()),
                (4, "a".to_owned())
            ]
        );
        assert_eq!(values("#shared_preload_libraries = 'a'\n"), []);
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        for value in ["a", "it's", r"\\a\'b''", ""] {
            let content = format!("dsql_iam.region = {} # c\n", quote(value));
            assert_eq!(
                value_in(&content, "DSQL_IAM.Region"),
                Some(value.to_owned())
            );
        }
        assert_eq!(value_in("a = 1\na = 2 # x\n", "a"), Some("2".to_owned()));
        assert_eq!(value_in("dsql_iam.region_x = 1\n", "dsql_iam.region"), None);
        let block = format!("{REPLACED}b = 'x'\n{REPLACED}a = 'y'\nb = 'z'\n");
        assert_eq!(replaced_line(&block, "a"), Some("a = 'y'"));
        assert_eq!(replaced_line(&block, "c"), None);
    }

    #[test]
    fn the_data_directory_is_read_from_the_configuration() {
        let config = "a = 1\ndata_directory = '/d' # x\n#data_directory = '/e'\n";
        assert_eq!(data_directory(config), Some("/d".into()));
        assert_eq!(data_directory("#data_directory = '/e'\n"), None);
    }

    #[test]
    fn a_new_id_is_one_that_a_cluster_can_have() {
        let id = new_cluster_id().expect("there is randomness");
        assert!(Cluster::new("012345678912", "us-east-1", &id, "").is_ok());
    }
}
