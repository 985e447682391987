//! The line in /etc/hosts that lets the cluster's own name lead here.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::run;

/// The system's file.
pub const FILE: &str = "/etc/hosts";

/// The line for a name.
pub fn line(name: &str) -> String {
    format!("127.0.0.1 {name}")
}

/// Whether the name leads here already.
pub fn has(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("127.0.0.1" | "::1")) && words.any(|word| word == name)
    })
}

/// Adds the line, as root or through a sudo that asks for no password; else says how to.
pub fn add(file: &Path, name: &str) -> Result<()> {
    if has(file, name) {
        return Ok(());
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let added = addition(&text, name);
    if geteuid().is_root() {
        // Not replaced: where it is mounted, as in containers, it cannot be.
        return append(file, &added);
    }
    if !run::succeeds(Command::new("sudo").args(["-n", "true"])) {
        bail!(
            "only root can write {}. To add the line:\n\n  echo '{}' | sudo tee -a {}\n",
            file.display(),
            line(name),
            file.display()
        );
    }
    let mut tee = Command::new("sudo")
        .args(["-n", "tee", "-a"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut input = tee.stdin.take().context("tee has an input")?;
    input.write_all(added.as_bytes())?;
    drop(input);
    if !tee.wait()?.success() {
        bail!("{} could not be written", file.display());
    }
    Ok(())
}

/// The text to add to a file, whose last line may have no end.
fn addition(text: &str, name: &str) -> String {
    let begin = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{begin}{}\n", line(name))
}

fn append(file: &Path, text: &str) -> Result<()> {
    let open = fs::File::options().append(true).create(true).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("{} could not be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_where_it_leads_here() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = "a.dsql.us-east-1.on.aws";
        for (text, wanted) in [
            ("127.0.0.1 localhost", false),
            ("127.0.0.1\tlocalhost a.dsql.us-east-1.on.aws # here", true),
            ("::1 a.dsql.us-east-1.on.aws", true),
            ("# 127.0.0.1 a.dsql.us-east-1.on.aws", false),
            ("127.0.0.1 b # a.dsql.us-east-1.on.aws", false),
            ("10.0.0.1 a.dsql.us-east-1.on.aws", false),
            ("127.0.0.1 ba.dsql.us-east-1.on.aws", false),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(has(file.path(), name), wanted, "{text}");
        }
    }

    #[test]
    fn a_line_is_added_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "127.0.0.1 localhost").unwrap();
        append(file.path(), &addition("127.0.0.1 localhost", "a.b")).unwrap();
        let wanted = "127.0.0.1 localhost\n127.0.0.1 a.b\n";
        assert_eq!(fs::read_to_string(file.path()).unwrap(), wanted);
        add(file.path(), "a.b").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), wanted);
    }
}
