//! Counts login outcomes and document loads since the server's start, or since it began anew after a crash, for
//! monitoring.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The names of the checks, as [`Refusal::check`](crate::refusal::Refusal::check) gives them, in the order of a
/// login.
pub(crate) const CHECKS: [&str; 22] = [
    "tls",
    "cluster",
    "protocol",
    "token",
    "configuration",
    "credential_scope",
    "action",
    "host",
    "time",
    "identities",
    "access_key",
    "session",
    "signature",
    "account",
    "policy",
    "database",
    "role",
    "mapping",
    "server",
    "parameter",
    "limit",
    "internal",
];

/// The counts, which processes share.
#[derive(Debug, Default)]
pub struct Counts {
    since: i64,
    admitted: AtomicU64,
    refused: [AtomicU64; CHECKS.len()],
    loaded: AtomicU64,
    not_loaded: AtomicU64,
    /// In microseconds.
    loading: AtomicU64,
}

/// One row of what is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// `login admitted`, `login refused`, `documents loaded` or `documents refused`.
    pub event: &'static str,
    /// The check that failed, of a refused login.
    pub check: Option<&'static str>,
    /// How often.
    pub count: u64,
    /// How long all of them took together, of documents.
    pub seconds: Option<f64>,
}

impl Counts {
    /// All of them zero, at a time in microseconds of any clock.
    pub fn new(since: i64) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// When they were all zero, as [`Self::new`] was told.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Counts a login: admitted, or refused by the check of this name.
    pub fn login(&self, refused_by: Option<&str>) {
        let counter = match refused_by {
            None => &self.admitted,
            Some(check) => {
                let internal = CHECKS.len() - 1;
                let at = CHECKS.iter().position(|name| *name == check);
                &self.refused[at.unwrap_or(internal)]
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that the documents were loaded, or could not be, and how long that took.
    pub fn load(&self, is_loaded: bool, took: Duration) {
        let counter = match is_loaded {
            true => &self.loaded,
            false => &self.not_loaded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.loading.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// All of them, in an order of their own, those that are zero too.
    pub fn all(&self) -> Vec<Count> {
        let row = |event, check, counter: &AtomicU64, seconds| Count {
            event,
            check,
            count: counter.load(Ordering::Relaxed),
            seconds,
        };
        let loading = self.loading.load(Ordering::Relaxed) as f64 / 1e6;
        let mut rows = vec![row("login admitted", None, &self.admitted, None)];
        let refused = CHECKS.iter().zip(&self.refused);
        rows.extend(refused.map(|(check, count)| row("login refused", Some(*check), count, None)));
        rows.push(row("documents loaded", None, &self.loaded, Some(loading)));
        rows.push(row("documents refused", None, &self.not_loaded, None));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn the_page_on_refusals_has_the_checks_in_this_order() {
        let page = include_str!("../../docs/troubleshooting.md");
        let headings: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        assert_eq!(headings, CHECKS);
    }

    #[test]
    fn each_outcome_is_counted_by_itself() {
        let counts = Counts::new(7);
        assert_eq!(counts.since(), 7);
        counts.login(None);
        counts.login(Some(Refusal::NoTls.check()));
        counts.login(Some(Refusal::NoTls.check()));
        counts.login(Some("a check that nobody knows"));
        counts.load(true, Duration::from_millis(1500));
        counts.load(false, Duration::from_millis(500));
        let rows = counts.all();
        let count = |event, check| {
            let mut found = rows
                .iter()
                .filter(|row| (row.event, row.check) == (event, check));
            found.next().map(|row| (row.count, row.seconds))
        };
        assert_eq!(count("login admitted", None), Some((1, None)));
        assert_eq!(count("login refused", Some("tls")), Some((2, None)));
        assert_eq!(count("login refused", Some("internal")), Some((1, None)));
        assert_eq!(count("login refused", Some("policy")), Some((0, None)));
        assert_eq!(count("documents loaded", None), Some((1, Some(2.0))));
        assert_eq!(count("documents refused", None), Some((1, None)));
    }

    #[test]
    fn every_check_of_the_troubleshooting_page_has_a_count() {
        let page = include_str!("../../docs/troubleshooting.md");
        let (_, checks) = page.split_once("## Each check").unwrap();
        let named = checks.lines().filter_map(|line| line.strip_prefix("### "));
        for check in named {
            assert!(CHECKS.contains(&check), "{check}");
        }
    }
}
