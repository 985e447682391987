//! `dsql-iam install`: puts the extension's files into a PostgreSQL that is there.

mod build;
mod library;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Report;
use crate::shared::error::Error;
use crate::shared::postgres::Installation;
use library::VERSION;

/// The arguments of `dsql-iam install`.
#[derive(Args)]
#[command(after_help = "\
Example, in a checkout of dsql_iam, as the user who has Rust:
  dsql-iam install --pg-config /usr/lib/postgresql/15/bin/pg_config

It builds the library, unless --library names one, and copies it with its control file and scripts to
where that PostgreSQL looks for them. Where only root may write there, it ends with the line for root.
No server is changed or restarted: dsql-iam setup is next.")]
pub struct Arguments {
    /// The pg_config of the PostgreSQL [default: PG_CONFIG, else the one in PATH]
    #[arg(long, value_name = "PATH")]
    pg_config: Option<PathBuf>,

    /// A folder to put before all paths, for packages
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,

    /// The checkout of dsql_iam to build from
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,

    /// A library that was built for this PostgreSQL before
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,

    /// Remove the extension's files
    #[arg(long, conflicts_with = "library")]
    undo: bool,
}

/// Installs, gives the lines to print.
///
/// # Errors
/// A sentence that says what to do.
pub fn run(arguments: &Arguments) -> Result<Report, Error> {
    let installation = Installation::find(arguments.pg_config.as_deref())?;
    let below = |path: &Path| match &arguments.destdir {
        Some(folder) => folder.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let (modules, extensions) = (
        below(&installation.modules),
        below(&installation.extensions),
    );
    if arguments.undo {
        return undo(&modules, &extensions).map(|lines| lines.join("\n").into());
    }
    let source = &arguments.source;
    let control = source.join("dsql_iam.control");
    let control = fs::read_to_string(&control).map_err(|_| {
        format!(
            "{} is not a checkout of dsql_iam: it has no dsql_iam.control; name one with --source",
            source.display()
        )
    })?;
    let by_root = line_for_root(arguments, &installation)?;
    let given = match &arguments.library {
        Some(path) => Some(library::read(path, &installation)?),
        None => None,
    };
    // Before a build that takes minutes.
    for folder in [&modules, &extensions] {
        let tried =
            fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
        match tried {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && given.is_none() => {
                let built = build::build(&installation, source, &by_root)?;
                library::read(&built, &installation)?;
                return Ok(format!(
                    "built       {}\nnothing is installed yet, since {} is not yours to write; next, as \
                     root:\n{by_root}",
                    built.display(),
                    folder.display()
                )
                .into());
            }
            Err(error) => return Err(denied(folder, &error)),
        }
    }
    let content = match given {
        Some(content) => content,
        None => library::read(
            &build::build(&installation, source, &by_root)?,
            &installation,
        )?,
    };
    let mut lines = Vec::new();
    put(&modules.join("dsql_iam.so"), &content, 0o755, &mut lines)?;
    let control = control.replace("@CARGO_VERSION@", VERSION);
    put(
        &extensions.join("dsql_iam.control"),
        control.as_bytes(),
        0o644,
        &mut lines,
    )?;
    let folder = source.join("sql");
    let scripts = fs::read_dir(&folder)
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut scripts: Vec<PathBuf> = scripts.flatten().map(|entry| entry.path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();
    for script in scripts {
        let content = fs::read(&script)
            .map_err(|error| format!("{} cannot be read: {error}", script.display()))?;
        let name = script.file_name().unwrap_or_default();
        put(&extensions.join(name), &content, 0o644, &mut lines)?;
    }
    if arguments.destdir.is_none() {
        lines
            .push("next: dsql-iam setup --data DIR, with the data directory of your server".into());
    }
    Ok(lines.join("\n").into())
}

/// The line that installs, as root, the library that is built.
fn line_for_root(arguments: &Arguments, installation: &Installation) -> Result<String, Error> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let source = absolute(&arguments.source)?;
    let mut words = vec![
        "sudo".to_owned(),
        program.display().to_string(),
        "install".to_owned(),
        "--pg-config".to_owned(),
        installation.pg_config.display().to_string(),
        "--source".to_owned(),
        source.display().to_string(),
        "--library".to_owned(),
        build::library(installation, &source).display().to_string(),
    ];
    if let Some(folder) = &arguments.destdir {
        words.extend([
            "--destdir".to_owned(),
            absolute(folder)?.display().to_string(),
        ]);
    }
    shlex::try_join(words.iter().map(String::as_str)).map_err(Error::of)
}

/// Removes what an installation put there, in whatever version.
fn undo(modules: &Path, extensions: &Path) -> Result<Vec<String>, Error> {
    let mut files = vec![
        modules.join("dsql_iam.so"),
        extensions.join("dsql_iam.control"),
    ];
    let scripts = fs::read_dir(extensions).into_iter().flatten().flatten();
    let mut scripts: Vec<PathBuf> = scripts.map(|entry| entry.path()).collect();
    scripts.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("dsql_iam--") && name.ends_with(".sql")
    });
    scripts.sort();
    files.extend(scripts);
    let mut lines = Vec::new();
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => lines.push(format!("removed     {}", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(denied(file.parent().unwrap_or(&file), &error)),
        }
    }
    lines.push(match lines.is_empty() {
        true => format!("nothing to remove in {}", extensions.display()),
        false => "a server that still names dsql_iam in shared_preload_libraries will not start: dsql-iam setup \
                  --undo takes it out"
            .into(),
    });
    Ok(lines)
}

/// Writes a file, unless it is there and the same. The new one takes the old one's place in one
/// step, since a running server may have that mapped.
fn put(path: &Path, content: &[u8], mode: u32, lines: &mut Vec<String>) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|found| found == content) {
        lines.push(format!("is there    {}", path.display()));
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        let permissions = fs::Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| denied(folder, &error))?;
    lines.push(format!("installed   {}", path.display()));
    Ok(())
}

fn denied(folder: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run it as the owner of that folder, mostly root",
        _ => "",
    };
    format!("{} cannot be written ({error}){advice}", folder.display()).into()
}
