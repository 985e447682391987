//! The measured figures, as tables for a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{run, workspace};

/// The figures by name: one value for each round.
pub type Figures = BTreeMap<&'static str, Vec<f64>>;

/// How many words the lexer is asked about in the queries that measure what one costs.
pub const WORDS: usize = 200;

/// The benchmarks of `iam/benches` and `server/benches`: the name there, a description, and the target if there is one.
const PARTS: [(&str, &str, &str); 16] = [
    ("parse", "a token is taken apart", ""),
    ("canonical request", "its canonical request", ""),
    (
        "signature",
        "its signature, the canonical request included",
        "",
    ),
    (
        "login/small account, by an excerpt",
        "a login's own work: its part of the documents, token and policies",
        "≤ 15 µs",
    ),
    (
        "login/large account, by an excerpt",
        "the same, of 5,000 roles and policies",
        "≤ 15 µs",
    ),
    (
        "login/small account",
        "the same, by documents that are in memory",
        "",
    ),
    ("login/large account", "of 5,000 roles and policies", ""),
    ("policy/1", "a policy of 1 statement decides", ""),
    ("policy/10", "of 10 statements", ""),
    ("policy/100", "of 100 statements", ""),
    ("policy/1000", "of 1,000 statements", ""),
    (
        "documents/load a large account",
        "5,000 roles and policies are loaded",
        "",
    ),
    (
        "documents/write its excerpts",
        "and written for other processes",
        "",
    ),
    (
        "documents/look at many",
        "5,000 documents are looked at, whether one has changed",
        "",
    ),
    (
        "statement/AWS IAM GRANT",
        "a statement is found and rewritten, once its place is known",
        "",
    ),
    (
        "statement/a column aws",
        "a word `aws` that is none, the same",
        "",
    ),
];

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// The table: what, its median, against what, the ratio, and the target for it.
pub fn of_logins(figures: &Figures, rounds: u32, seconds: u32) -> String {
    let of = |name: &str| figures.get(name).map_or(f64::NAN, |values| median(values));
    let mut table = String::from(
        "| figure | median | against | its median | ratio | target |\n|---|---:|---|---:|---:|---|\n",
    );
    for (name, base, target) in [
        ("IAM, TLS", "trust, TLS", "≥ 0.97"),
        ("IAM", "trust", "≥ 0.97"),
        ("IAM, TLS", "SCRAM, TLS", "≥ 2"),
        ("IAM", "SCRAM", "≥ 2"),
        ("password, TLS", "trust, TLS", ""),
        ("password", "trust", ""),
        ("IAM, TLS", "password, TLS", "≥ 0.985"),
        ("IAM", "password", "≥ 0.985"),
        ("IAM, long session token", "IAM", ""),
        ("IAM, 10,000 mappings", "IAM", ""),
        ("IAM, large directory", "IAM", ""),
        ("IAM, a session", "IAM", ""),
        ("IAM, one of 50,000 sessions", "IAM, a session", ""),
        ("IAM, one of 50,000 sessions", "IAM", "≥ 0.97"),
        ("assume-role, 50,000 sessions", "assume-role", ""),
        ("pgbench -S with", "pgbench -S without", "≥ 0.99"),
        ("words with", "words without", "≥ 0.99"),
        ("identifiers with", "identifiers without", ""),
        ("aws with", "aws without", ""),
        ("indented with", "indented without", ""),
    ] {
        let (value, against) = (of(name), of(base));
        let _ = writeln!(
            table,
            "| {name} | {value:.0}/s | {base} | {against:.0}/s | {:.3} | {target} |",
            value / against
        );
    }
    // Two clients at a time: a query takes as long as two queries of one of them.
    let per_word = |with, without| 2e9 * (1.0 / of(with) - 1.0 / of(without)) / WORDS as f64;
    for (name, cost) in [
        (
            "an identifier costs",
            per_word("identifiers with", "identifiers without"),
        ),
        (
            "an identifier `aws` costs",
            per_word("aws with", "aws without"),
        ),
        (
            "one at the end of a line costs",
            per_word("indented with", "indented without"),
        ),
    ] {
        let _ = writeln!(table, "| {name} | {cost:.0} ns more | | | | |");
    }
    let (with, without) = (of("memory with"), of("memory without"));
    let _ = writeln!(
        table,
        "| memory with | {with:.0} KiB | memory without | {without:.0} KiB | +{:.0} KiB | ≤ +48 KiB |",
        with - without
    );
    let _ = writeln!(table, "\nMedians of {rounds} rounds of {seconds} s.");
    table
}

/// Has Criterion measure the parts of a login, and gives the table of its medians.
pub fn of_parts(target: &Path) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(serde::Deserialize)]
    struct Estimate {
        /// In nanoseconds.
        point_estimate: f64,
    }

    let mut bench = workspace::cargo();
    bench.args(["bench", "--package", "dsql-iam-core", "--bench", "login"]);
    bench.args(["--package", "dsql-iam-server", "--bench", "statement"]);
    // Medians of what takes nanoseconds settle in less than Criterion's own time.
    let times = ["--warm-up-time", "1", "--measurement-time", "3"];
    run::run(bench.args(["--", "--noplot"]).args(times))?;
    let mut table = String::from("\n| part, in one process | median | target |\n|---|---:|---|\n");
    for (name, what, limit) in PARTS {
        // Criterion makes one folder of a name, and one of each part of a group's.
        let folder = target.join("criterion").join(name);
        let path = folder.join("new/estimates.json");
        let text = fs::read(&path).with_context(|| format!("Criterion did not measure {name}"))?;
        let nanoseconds = serde_json::from_slice::<Estimates>(&text)?
            .median
            .point_estimate;
        let median = match nanoseconds {
            long if long >= 1e6 => format!("{:.1} ms", long / 1e6),
            middle if middle >= 1e3 => format!("{:.1} µs", middle / 1e3),
            short => format!("{short:.0} ns"),
        };
        let _ = writeln!(table, "| {what} | {median} | {limit} |");
    }
    Ok(table)
}

/// The page with these tables: what stands above its first table stays as it is.
///
/// # Errors
/// If the page has no table.
pub fn page(page: &str, tables: &str, machine: &str) -> Result<String> {
    let head = page.find("\n| figure |").context("no table of figures")?;
    Ok(format!("{}\n{tables}\n{machine}\n", &page[..head]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_list() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_text_above_the_tables_stays() {
        let before =
            "# Performance\n\nText.\n\n| figure | median |\n|---|---|\n| a | 1 |\n\nTaken then.\n";
        let after = page(
            before,
            "| figure | median |\n|---|---|\n| a | 2 |\n",
            "Taken now.",
        )
        .unwrap();
        let expected =
            "# Performance\n\nText.\n\n| figure | median |\n|---|---|\n| a | 2 |\n\nTaken now.\n";
        assert_eq!(after, expected);
        assert!(page("# Performance\n", "", "").is_err());
    }

    /// The figures of a page that have a target, by the names of decisions.md, and whether they meet it.
    fn targets(page: &str) -> Vec<(String, bool)> {
        let amount = |text: &str| {
            let text = text.trim_start_matches(['≥', '≤', ' ', '+']);
            let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
            let scale = match unit {
                "µs" => 1e3,
                "ms" => 1e6,
                "" | "ns" | "KiB" => 1.0,
                _ => panic!("the unit of {text}"),
            };
            number.parse::<f64>().unwrap() * scale
        };
        let rows = page
            .lines()
            .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect());
        let of_row = |cells: Vec<&str>| {
            let (name, value, target) = match cells[..] {
                [figure, _, against, _, value, target] => {
                    (format!("`{figure}` against `{against}`"), value, target)
                }
                [part, value, target] => (format!("`{part}`"), value, target),
                _ => return None,
            };
            let is_met = match target.chars().next()? {
                '≥' => amount(value) >= amount(target),
                '≤' => amount(value) <= amount(target),
                _ => return None,
            };
            Some((name, is_met))
        };
        rows.filter_map(of_row).collect()
    }

    #[test]
    fn targets_that_are_met_and_missed() {
        let page = "| figure | median | against | its median | ratio | target |\n\
                    |---|---:|---|---:|---:|---|\n\
                    | a | 9/s | b | 10/s | 0.900 | ≥ 0.97 |\n\
                    | c | 10/s | b | 10/s | 1.000 |  |\n\
                    | d | 8 KiB | e | 1 KiB | +7 KiB | ≤ +8 KiB |\n\
                    | f | 1.1 ms | ≤ 15 µs |\n\
                    | g | 900 ns | ≤ 15 µs |\n";
        let expected = [
            ("`a` against `b`", false),
            ("`d` against `e`", true),
            ("`f`", false),
            ("`g`", true),
        ];
        assert_eq!(
            targets(page),
            expected.map(|(name, is_met)| (name.to_owned(), is_met))
        );
    }

    #[test]
    fn a_figure_that_misses_its_target_has_its_reason() {
        let read = |name| fs::read_to_string(workspace::root().join(name)).unwrap();
        let targets = targets(&read("docs/performance.md"));
        assert!(targets.len() > 5, "{targets:?}");
        let decisions = read("docs/decisions.md");
        let (_, section) = decisions
            .split_once("### Figures that miss their target")
            .unwrap();
        // A line may end within a name.
        let section = section.split("\n#").next().unwrap().replace('\n', " ");
        let missed = targets.iter().filter(|(_, is_met)| !is_met);
        let unexplained: Vec<_> = missed.filter(|(name, _)| !section.contains(name)).collect();
        assert!(
            unexplained.is_empty(),
            "not in docs/decisions.md: {unexplained:?}"
        );
    }
}
