//! The memory of processes, as Linux tells it.

use std::fs;

use anyhow::{Context, Result};

/// A process's own memory, in KiB.
pub(super) fn anonymous(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    figure(&status, "RssAnon:")
}

/// The memory of the postmaster and its children, in KiB: what several have is counted once.
pub(super) fn of_server(postmaster: u32) -> Result<u64> {
    let mut sum = proportional(postmaster)?;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent(pid) == Some(postmaster) {
            // It may have ended meanwhile.
            sum += proportional(pid).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// The process's part of all that it has, in KiB.
fn proportional(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    figure(&rollup, "Pss:")
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    figure(&status, "PPid:").ok()?.try_into().ok()
}

/// The figure in the line `NAME: 123 kB`, or `NAME: 123`.
fn figure(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let size = line.and_then(|line| line.split_whitespace().next());
    let size = size.with_context(|| format!("no {name}"))?;
    Ok(size.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_a_process_and_its_children() {
        assert_eq!(
            figure("Rss: 9 kB\nPss:      123 kB\n", "Pss:").unwrap(),
            123
        );
        assert!(figure("Rss: 9 kB\n", "Pss:").is_err());
        let own = std::process::id();
        assert!(anonymous(own).unwrap() > 0);
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(parent(child.id()), Some(own));
        assert!(of_server(own).unwrap() > proportional(child.id()).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
