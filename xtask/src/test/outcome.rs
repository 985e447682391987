//! The outcomes of the steps, and the table of them.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

/// The result of a step.
pub enum Outcome {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// A line of the table: the step, how long it took, and what came of it.
pub struct Line {
    pub step: String,
    pub time: Duration,
    pub outcome: Outcome,
}

impl Outcome {
    /// The outcome that counts: with `no_skips` a skipped step has failed, and says why.
    pub fn counted(self, no_skips: bool) -> Self {
        match self {
            Self::Skipped(reason) if no_skips => {
                eprintln!("error: skipped, which --no-skips forbids: {reason}");
                Self::Failed
            }
            outcome => outcome,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Failed => formatter.write_str("FAILED"),
            Self::Skipped(reason) => {
                let reason: Vec<&str> = reason.split_whitespace().collect();
                write!(formatter, "skipped: {}", reason.join(" "))
            }
        }
    }
}

/// Prints the table and the closing line.
///
/// # Errors
/// If a step failed.
pub fn conclude(lines: &[Line]) -> Result<()> {
    println!();
    for line in lines {
        let seconds = line.time.as_secs_f64();
        println!("{:<14} {seconds:>7.1} s  {}", line.step, line.outcome);
    }
    let count = |wanted: fn(&Outcome) -> bool| {
        let outcomes = lines.iter().map(|line| &line.outcome);
        outcomes.filter(|outcome| wanted(outcome)).count()
    };
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let skipped_too = match skipped {
        0 => String::new(),
        number => format!(", {number} skipped"),
    };
    println!("\n{passed} passed, {failed} failed{skipped_too}");
    if failed > 0 {
        bail!("not all tests passed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_fails_where_nothing_may_be() {
        let skipped = || Outcome::Skipped("go is not in PATH".into());
        let counted = |outcome: Outcome, no_skips| outcome.counted(no_skips).to_string();
        assert_eq!(counted(skipped(), false), "skipped: go is not in PATH");
        assert_eq!(counted(skipped(), true), "FAILED");
        assert_eq!(counted(Outcome::Passed, true), "passed");
    }
}
