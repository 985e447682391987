//! Running other programs, with errors that say which one failed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The exit status of `timeout` if it had to stop what it ran.
const TIMED_OUT: i32 = 124;

/// Runs a command whose output the person should see; an exit status other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{name} could not be started"))?;
    if status.code() == Some(TIMED_OUT) && command.get_program() == "timeout" {
        bail!("{name} did not end in time, so it was stopped");
    }
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a command and gives its stdout, which is not translated. Its output is shown only if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let command = untranslated(command);
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} could not be started"))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        bail!("{name} failed ({status})\n{stdout}{stderr}");
    }
    Ok(stdout)
}

/// Has a command speak English, in UTF-8: `apt-cache policy` and psql do not have the same words in other languages.
pub fn untranslated(command: &mut Command) -> &mut Command {
    // Some programs follow LANGUAGE whatever the locale is.
    command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE")
}

/// Whether a command, kept quiet, exits with status 0.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// How often [`until`] looks.
const POLL: Duration = Duration::from_millis(20);

/// Waits for a condition; gives whether it held within `patience`.
pub fn until(patience: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + patience;
    while !holds()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
    Ok(true)
}

/// Runs an installation unless it ran for the same input before: `stamp` holds a copy of that.
pub fn once(input: &Path, stamp: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let content = fs::read(input).with_context(|| format!("{} is missing", input.display()))?;
    if fs::read(stamp).is_ok_and(|installed| installed == content) {
        return Ok(());
    }
    install()?;
    // npm makes no folder where there is nothing to install.
    fs::create_dir_all(stamp.parent().context("the stamp has no folder")?)?;
    fs::write(stamp, content)?;
    Ok(())
}

/// A program's own name, which is enough to find it in an error; the arguments may be long. Of
/// `timeout` it is the name of what that runs.
fn name(command: &Command) -> String {
    let mut program = Path::new(command.get_program());
    if program.ends_with("timeout") {
        let options = |word: &&OsStr| word.as_encoded_bytes().starts_with(b"-");
        // After the options comes the duration.
        let mut words = command.get_args().skip_while(options).skip(1);
        program = words.next().map_or(program, Path::new);
    }
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_failed_is_named_and_not_its_watch() {
        let fault = |words: &str| {
            let mut words = words.split(' ');
            let mut command = Command::new(words.next().unwrap());
            run(command.args(words)).unwrap_err().to_string()
        };
        assert_eq!(fault("false 1"), "false failed (exit status: 1)");
        let watched = "timeout --foreground --kill-after=10 20 false 1";
        assert_eq!(fault(watched), "false failed (exit status: 1)");
        let late = "timeout --foreground 0.01 sleep 60";
        assert_eq!(fault(late), "sleep did not end in time, so it was stopped");
    }

    /// The caller's locale has no say.
    #[test]
    fn what_is_parsed_is_not_translated() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $LANG,$LC_ALL,$LANGUAGE"])
            .env("LANG", "de_DE.UTF-8")
            .env("LC_ALL", "de_DE.UTF-8")
            .env("LANGUAGE", "de:fr");
        assert_eq!(output(&mut command).unwrap(), "de_DE.UTF-8,C.UTF-8,\n");
    }

    #[test]
    fn an_installation_runs_once_for_each_input() {
        let folder = tempfile::tempdir().unwrap();
        let (input, stamp) = (folder.path().join("input"), folder.path().join("stamp"));
        let mut times = 0;
        for content in ["one", "one", "two"] {
            fs::write(&input, content).unwrap();
            once(&input, &stamp, || {
                times += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(times, 2);
    }
}
