//! The server that is meant: its data directory, its configuration and its program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dsql_iam_server::doctor::preloads;
use dsql_iam_server::hba;

use super::arguments::{Arguments, PRELOAD};
use super::conf_file::{cannot, lines_of, own_settings, read};
use crate::shared::error::Error;
use crate::shared::owner;
use crate::shared::postgres::{
    self, SUPPORTED, major, output, output_or_all, program, psql, without_prefix,
};

/// A server's files.
pub struct Server {
    /// the data directory
    pub data: PathBuf,
    /// `postgresql.conf`
    pub config: PathBuf,
    /// the program `postgres`
    program: PathBuf,
}

impl Server {
    /// Finds the server that is meant. Root goes on as its user.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn find(arguments: &Arguments) -> Result<Self, Error> {
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
            // The path that was checked is the one that is read and written.
            config = fs::canonicalize(&config).map_err(|error| cannot(&config, &error))?;
            owner::check_configuration(&config)?;
        } else {
            // Before a program is run that its owner has named.
            owner::check_own(&data)?;
        }
        let text = read(&data.join("PG_VERSION"))?;
        let version = major(&text).ok_or_else(|| format!("{} has no version", data.display()))?;
        if !SUPPORTED.contains(&version) {
            return Err(format!(
                "{} is of PostgreSQL {version}, and dsql_iam is for PostgreSQL {} to {}",
                data.display(),
                SUPPORTED.start(),
                SUPPORTED.end()
            )
            .into());
        }
        Ok(Self {
            program: program_for(version, &data, named)?,
            data,
            config,
        })
    }

    /// A setting as the server's files have it; an error if it is not set, or they are broken.
    pub fn setting(&self, name: &str) -> Result<String, Error> {
        let mut postgres = program(&self.program);
        // This one may be where the server's user does not get.
        postgres.current_dir(&self.data);
        let folder = self.config.parent().unwrap_or(&self.data);
        postgres.args(["-C", name, "-D"]).arg(folder);
        postgres
            .arg("-c")
            .arg(format!("config_file={}", self.config.display()));
        postgres
            .arg("-c")
            .arg(format!("data_directory={}", self.data.display()));
        // PostgreSQL complains, before anything else, about a folder that its user cannot go back to.
        if self.config.is_absolute() {
            postgres.current_dir(&self.data);
        }
        output_or_all(postgres).map_err(|said| {
            // Which line is at fault stands before the last one.
            let said = without_prefix(&said.to_string());
            format!("{} cannot be read:\n{said}", self.config.display()).into()
        })
    }

    /// The file that `ALTER SYSTEM` writes.
    pub fn auto_path(&self) -> PathBuf {
        self.data.join("postgresql.auto.conf")
    }

    /// The content of that, which need not be there.
    pub fn auto(&self) -> Result<String, Error> {
        let path = self.auto_path();
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            content => content.map_err(|error| cannot(&path, &error)),
        }
    }

    /// Whether the server no longer loads the library, after an undo; an error that names the line
    /// if it does, since with the library gone it would not start.
    pub fn check_let_go(&self) -> Result<(), Error> {
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
        )
        .into())
    }

    /// A server whose library is named and not there does not start.
    pub fn check_installed(&self) -> Result<(), Error> {
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        let asked = output({
            let mut pg_config = program(bin.join("pg_config"));
            pg_config.arg("--pkglibdir").current_dir(&self.data);
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
        )
        .into())
    }

    /// The library's own hba file, if it has left one.
    pub fn hba_file(&self) -> Option<PathBuf> {
        let file = self.data.join(hba::FILE);
        file.exists().then_some(file)
    }

    /// Whether a server runs that has loaded the library, whose hba file may be in force then. One whose
    /// libraries cannot be seen has.
    pub fn uses_library(&self) -> bool {
        let number = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let number = number.lines().next().unwrap_or_default().trim().to_owned();
        let process = Path::new("/proc").join(&number);
        if number.is_empty() || !process.exists() {
            return false;
        }
        let maps = fs::read(process.join("maps"));
        maps.map_or(true, |maps| {
            memchr::memmem::find(&maps, b"/dsql_iam.so").is_some()
        })
    }

    /// Where the documents go if nobody says: beside the configuration, else beside the data directory,
    /// but never in it, since base backups would have their secrets.
    ///
    /// # Errors
    /// A sentence, if this user may write at neither place.
    pub fn place_for_documents(&self) -> Result<PathBuf, Error> {
        let beside_config = self.config.parent().map(|folder| folder.join("dsql_iam"));
        let name = self.data.file_name().unwrap_or_default().to_string_lossy();
        let beside_data = self.data.with_file_name(format!("{name}.dsql_iam"));
        let places = beside_config.into_iter().chain([beside_data]);
        let mut places = places.filter(|place| !place.starts_with(&self.data));
        let fits = |place: &PathBuf| {
            let parent = place.parent().unwrap_or(Path::new("/"));
            place.is_dir() || rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok()
        };
        places.find(fits).ok_or_else(|| {
            format!(
                "the server's user may make a folder neither beside {} nor beside {}: make one for the IAM \
                 documents (as root: install -d -m 700 -o {} /etc/dsql_iam) and name it with --iam-directory",
                self.config.display(),
                self.data.display(),
                owner::name()
            )
            .into()
        })
    }

    /// The settings of the library that stand in the files as they will be, each in a sentence, but for
    /// those that setup writes.
    pub fn elsewhere(
        &self,
        config: &str,
        auto: &str,
        is_written: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut found = own_settings(&self.config, config);
        found.extend(own_settings(&self.auto_path(), auto));
        found
            .into_iter()
            .filter(|(_, _, name, _)| !is_written(name))
            .map(|(path, number, name, value)| {
                format!(
                    "note: line {number} of {} stays: {name} = '{value}'",
                    path.display()
                )
            })
            .collect()
    }
}

/// The data directory and `postgresql.conf`, from a folder that is one or holds the other.
///
/// Where folder or file are not root's, root has stepped down before they are read.
fn files_of(folder: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let folder = fs::canonicalize(folder).map_err(|error| cannot(folder, &error))?;
    owner::step_down(&folder)?;
    let mut config = folder.join("postgresql.conf");
    if let Ok(file) = fs::canonicalize(&config) {
        owner::step_down(&file)?;
        // The path that was checked is the one that is read.
        config = file;
    }
    match fs::metadata(folder.join("PG_VERSION")) {
        Ok(_) if config.is_file() => Ok((folder, config)),
        Ok(_) => match elsewhere(&folder) {
            Some(config) => Ok((folder, config)),
            None => Err(format!(
                "{} has no postgresql.conf: name the folder that has it with --data",
                folder.display()
            )
            .into()),
        },
        // Debian has the file in a folder of /etc, and in it the data directory's name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = fs::read_to_string(&config).unwrap_or_default();
            match data_directory(&text) {
                Some(data) => Ok((data, config)),
                None => Err(format!(
                    "{} is not a data directory: it has no PG_VERSION",
                    folder.display()
                )
                .into()),
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

fn files_by_connection(connection: &str) -> Result<(PathBuf, PathBuf), Error> {
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
        ).into());
    }
    Ok((data, config))
}

/// The `postgres` of a data directory: of the `pg_config` named, else the one that ran there last,
/// else the one in `PATH` or of Debian, each if its version fits.
fn program_for(
    version: u32,
    data: &Path,
    named: Option<postgres::Installation>,
) -> Result<PathBuf, Error> {
    let version_of = |path: &Path| {
        let mut postgres = program(path);
        postgres.arg("--version").current_dir(data);
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
            )
            .into());
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
            .into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_read_from_the_configuration() {
        let config = "a = 1\ndata_directory = '/d' # x\n#data_directory = '/e'\n";
        assert_eq!(data_directory(config), Some("/d".into()));
        assert_eq!(data_directory("#data_directory = '/e'\n"), None);
    }
}
