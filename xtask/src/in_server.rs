//! The in-server tests: `pgrx-tests/sql/NAME.sql`, run by the superuser, has to print
//! `pgrx-tests/expected/NAME.out`. Each runs in a database of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use similar::TextDiff;

use crate::account::without_pg_variables;
use crate::{run, workspace};

/// Runs them all. With `accept`, what they print becomes what is expected.
pub fn run(variables: &BTreeMap<String, OsString>, accept: bool) -> Result<()> {
    let superuser = variables
        .get("DSQL_SUPERUSER")
        .and_then(|value| value.to_str())
        .context("env.sh does not say how the superuser connects")?;
    let psql = || {
        let mut psql = without_pg_variables("psql");
        run::untranslated(&mut psql).args(["--no-psqlrc", "--quiet"]);
        if let Some(path) = variables.get("PATH") {
            psql.env("PATH", path);
        }
        psql
    };
    let folder = workspace::root().join("pgrx-tests");
    let mut failed = Vec::new();
    let scripts = scripts(&folder.join("sql"))?;
    for script in &scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy();
        let database = format!("in_server_{}", name.replace('-', "_"));
        run::output(
            psql()
                .args([
                    "--dbname",
                    superuser,
                    "--command",
                    "SET client_min_messages = warning",
                ])
                .args([
                    "--command",
                    &format!("DROP DATABASE IF EXISTS \"{database}\""),
                ])
                .args(["--command", &format!("CREATE DATABASE \"{database}\"")]),
        )?;
        let connection = format!("{superuser} dbname={database}");
        let actual = print(psql().args(["--echo-all", "--dbname", &connection]), script)?;

        let expected = folder.join("expected").join(format!("{name}.out"));
        if accept {
            fs::create_dir_all(folder.join("expected"))?;
            fs::write(&expected, &actual)?;
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if actual == wanted {
            println!("{name}: ok");
        } else {
            let (before, after) = (expected.to_string_lossy(), "what it printed");
            let diff = TextDiff::from_lines(&wanted, &actual);
            println!(
                "{name}: differs\n{}",
                diff.unified_diff().header(&before, after)
            );
            failed.push(name.into_owned());
        }
    }
    if !failed.is_empty() {
        bail!("not as expected: {}", failed.join(", "));
    }
    println!("{} passed, 0 failed", scripts.len());
    Ok(())
}

/// The scripts, in the order of their names.
fn scripts(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("{} is missing", folder.display()))?;
    let mut scripts = entries
        .map(|entry| Ok(entry?.path()))
        .filter(|path| {
            path.as_ref()
                .is_ok_and(|path| path.extension().is_some_and(|e| e == "sql"))
        })
        .collect::<Result<Vec<_>>>()?;
    scripts.sort();
    if scripts.is_empty() {
        bail!("{} holds no test", folder.display());
    }
    Ok(scripts)
}

/// Runs a script in psql and gives its output, errors between the results as on a terminal. As the script comes
/// from stdin, errors do not name its path.
fn print(psql: &mut Command, script: &Path) -> Result<String> {
    let mut both = tempfile::tempfile()?;
    psql.stdin(fs::File::open(script)?)
        .stdout(Stdio::from(both.try_clone()?))
        .stderr(Stdio::from(both.try_clone()?))
        .status()
        .context("psql could not be started")?;
    both.seek(SeekFrom::Start(0))?;
    Ok(std::io::read_to_string(both)?)
}
