//! The memory of processes, as Linux tells it.

use std::fs;

use anyhow::{Context, Result};

/// The cost of children of a process that have ended: of all together, or of each.
pub(super) struct Ended {
    /// Page faults without input or output.
    pub faults: f64,
    /// Processor time, in milliseconds.
    pub time: f64,
}

impl Ended {
    /// The cost of each of the `count` that have ended since.
    pub(super) fn since(&self, before: &Self, count: f64) -> Self {
        Self {
            faults: (self.faults - before.faults) / count,
            time: (self.time - before.time) / count,
        }
    }
}

/// The cost of the children of a process that have ended, and that it has waited for.
pub(super) fn ended_children(pid: u32) -> Result<Ended> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
    ended(
        &fs::read_to_string(format!("/proc/{pid}/stat"))?,
        ticks as f64,
    )
}

/// The same, in a line of `/proc/PID/stat`, whose times are in ticks: so many make a second.
fn ended(stat: &str, ticks: f64) -> Result<Ended> {
    // The name, in parentheses, may hold anything. The state behind it is field 3.
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let field = |number: usize| -> Result<f64> {
        let field = fields.split(' ').nth(number - 3);
        Ok(field.context("too few fields")?.parse()?)
    };
    Ok(Ended {
        faults: field(11)?,
        time: (field(16)? + field(17)?) / ticks * 1e3,
    })
}

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
    fn children_that_have_ended() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 2500 0 0 3 4 50 70 20 0 1 0 5 6 7";
        let all = ended(stat, 100.0).unwrap();
        assert_eq!((all.faults, all.time), (2500.0, 1200.0));
        let before = Ended {
            faults: 500.0,
            time: 200.0,
        };
        let each = all.since(&before, 10.0);
        assert_eq!((each.faults, each.time), (200.0, 100.0));
        assert!(ended("7 (a) S 1 7", 100.0).is_err());

        let own = || ended_children(std::process::id()).unwrap();
        let before = own();
        std::process::Command::new("true").status().unwrap();
        assert!(own().since(&before, 1.0).faults > 10.0);
    }

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
