//! The summary of an import, for people: the parts read, filled in, and left out, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Collects what an import did. Every line is there once.
#[derive(Default)]
pub struct Summary {
    /// how many of each type were read
    read: BTreeMap<String, usize>,
    filled_in: BTreeSet<String>,
    unknown: BTreeSet<String>,
    left_out: BTreeSet<String>,
    /// how many statements of other services hold something unknown
    elsewhere: usize,
}

impl Summary {
    /// A resource of this type was read.
    pub fn read(&mut self, resource_type: &str) {
        *self.read.entry(resource_type.to_owned()).or_default() += 1;
    }

    /// A value that the input does not hold was filled in.
    pub fn fill_in(&mut self, line: impl Into<String>) {
        self.filled_in.insert(line.into());
    }

    /// A value is not known, with what came of it: less is allowed, or more denied.
    pub fn unknown(&mut self, line: impl Into<String>) {
        self.unknown.insert(line.into());
    }

    /// A value is not known in a statement that has no say in a login.
    pub fn unknown_elsewhere(&mut self) {
        self.elsewhere += 1;
    }

    /// Something was left out, with the reason.
    pub fn leave_out(&mut self, line: impl Into<String>) {
        self.left_out.insert(line.into());
    }

    /// A resource is of a type that is not read; one whose type begins with one of `prefixes` is left out.
    pub fn not_understood(&mut self, place: &str, resource_type: &str, prefixes: &[&str]) {
        let is_ours = |prefix: &&str| resource_type.starts_with(*prefix);
        if prefixes.iter().any(is_ours) {
            self.leave_out(format!("{place}: {resource_type} is not understood"));
        }
    }

    /// Whether nothing is unknown or left out.
    pub fn is_complete(&self) -> bool {
        self.unknown.is_empty() && self.left_out.is_empty()
    }

    /// The text, which ends without a line break.
    pub fn text(&self, way_past: &str) -> String {
        let mut text = String::from("Read\n");
        for (resource_type, count) in &self.read {
            let _ = writeln!(text, "  {count:>4}  {resource_type}");
        }
        if self.read.is_empty() {
            text.push_str("  nothing that has a say in a login\n");
        }
        let sections = [
            ("Filled in", &self.filled_in),
            (
                "Unknown: lets nobody in, and denies as much as it could",
                &self.unknown,
            ),
            ("Left out", &self.left_out),
        ];
        for (title, lines) in sections {
            if !lines.is_empty() {
                let _ = writeln!(text, "{title}");
            }
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        if !self.unknown.is_empty() {
            let _ = writeln!(text, "  -> {way_past}");
        }
        if self.elsewhere > 0 {
            let count = self.elsewhere;
            let _ = writeln!(
                text,
                "Unknown, in statements that have no say in a login: {count}"
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}
